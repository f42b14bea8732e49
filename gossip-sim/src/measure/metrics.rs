//! The metrics: what each is called, its unit, and what it means.

/// A metric of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its family, by which scenarios leave it out.
    pub family: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether less is better; `None` if it depends.
    pub less_is_better: Option<bool>,
    /// What it is, in one sentence.
    pub meaning: &'static str,
}

macro_rules! metrics {
    ($($family:literal { $($name:ident, $unit:literal, $better:expr, $meaning:literal;)* })*) => {
        /// All metrics, in the order of the report.
        pub const METRICS: &[Metric] = &[$($(Metric {
            name: stringify!($name),
            family: $family,
            unit: $unit,
            less_is_better: $better,
            meaning: $meaning,
        },)*)*];
    };
}

const LESS: Option<bool> = Some(true);
const MORE: Option<bool> = Some(false);
const EITHER: Option<bool> = None;

metrics! {
    "detection" {
        outages, "", EITHER, "Faults of nodes in a run: each crash, pause, stop or farewell of one node is one.";
        detected, "", MORE, "Outages after which some node declared the member failed.";
        fully_detected, "", MORE, "Outages of which every healthy node learnt.";
        first_suspicion, "s", LESS, "From the fault to the first suspicion at any node; a sample per outage.";
        first_detection, "s", LESS, "From the fault to the first declaration of failure at any node; a sample per detected outage.";
        first_detection_periods, "periods", LESS, "The same in periods of probing, of the configuration.";
        first_suspicion_periods, "periods", LESS, "From the fault to the first suspicion, in periods of probing.";
        first_suspicion_whole_periods, "periods", LESS, "The same rounded down: in lock-step, in which period after the one of the fault the member was probed first.";
        full_detection, "s", LESS, "From the fault until the last healthy node knew; a sample per fully detected outage.";
        spread, "s", LESS, "From the first declaration at any node to each other healthy node's own; a sample per node.";
    }
    "false-positives" {
        false_positives, "", LESS, "Declarations of failure, by any node, of members that had no fault (the Lifeguard paper's FP).";
        false_positives_healthy, "", LESS, "Those of them by nodes that had no fault (FP-).";
        false_suspicions, "", LESS, "Suspicions, at any node, of members that had no fault.";
        false_suspicions_healthy, "", LESS, "Those of them at nodes that had no fault.";
        lost_members, "", LESS, "Healthy members that some healthy node does not count at the end.";
        kept_members, "", LESS, "Faulty members that some healthy node still counts at the end.";
        flaps, "", LESS, "Times a healthy node took a member back that it had declared failed.";
    }
    "views" {
        formed, "s", LESS, "From time 0 until all nodes saw all; only in runs that do not begin formed.";
        agreed, "", MORE, "1 if all running nodes saw all running nodes, and nobody else, at the end; 0 if not.";
        convergence, "s", LESS, "From the end of the last step until all nodes agreed, and went on to; only in runs that did.";
        view_sizes, "", LESS, "Different numbers of members that nodes reported over time.";
        views_at_end, "", LESS, "Different sets of members counted by healthy nodes at the end.";
        view_min, "", EITHER, "The smallest view of a healthy node at the end, itself included.";
        view_mean, "", EITHER, "The mean view.";
        view_max, "", EITHER, "The largest view.";
    }
    "dissemination" {
        delivery, "s", LESS, "From an event to its delivery; a sample per node and event.";
        last_delivery, "s", LESS, "From an event to its last delivery; a sample per event.";
        residue, "share", LESS, "Share of the nodes that an event never reached; a sample per event.";
        incomplete, "share", LESS, "Share of events that did not reach everybody.";
        event_sends, "", LESS, "Times a node sent an event, per event: a mean over the nodes, with all other user messages since measuring began.";
        last_hop, "", LESS, "Hops of datagrams to the node that was farthest, of the first event; in runs that keep series, or if the scenario shows it.";
        redundancy, "", LESS, "Copies of the first event that nodes were handed, per node that it reached, less the one that it needs; as last_hop.";
        query_acks, "share", MORE, "Share of the nodes that acknowledged a query.";
        query_answers, "share", MORE, "Share of the nodes whose answer to a query arrived.";
    }
    "coordinates" {
        coordinate_error, "share", LESS, "By how much the coordinates of two nodes miss their mean round trip at the end; a sample per pair of the first 64 nodes.";
    }
    "leaving" {
        leaves, "", EITHER, "Farewells in a run.";
        leave_spread, "s", LESS, "From the command to leave until the last healthy node knew; a sample per leave of which all knew.";
        left_as_failed, "share", LESS, "Share of the healthy nodes at which one who left was declared failed; a sample per leave.";
    }
    "traffic" {
        datagrams_sent, "1/s", LESS, "Datagrams per node and second, over the time that is measured.";
        datagrams_received, "1/s", LESS, "Datagrams that a node was handed, per node and second.";
        datagrams_per_period, "", LESS, "Datagrams sent per node and period of probing.";
        bytes_sent, "B/s", LESS, "Bytes of datagrams per node and second.";
        bytes_received, "B/s", LESS, "Bytes of datagrams that a node was handed, per node and second.";
        busiest_sent, "B/s", LESS, "Bytes of datagrams per second of the node that sent most.";
        datagram_size, "B", EITHER, "Mean size of a datagram.";
        stream_bytes, "B/s", LESS, "Bytes of streams per node and second.";
        streams, "1/s", LESS, "Streams opened per node and second.";
        messages_received, "1/s", LESS, "Messages in datagrams, per node and second.";
    }
    "cost" {
        memory, "B", LESS, "Memory for members, rumors, streams and events per node, at the end.";
        queued, "", LESS, "Rumors of all kinds that wait at a node: mean over nodes and looks.";
        queued_max, "", LESS, "The most rumors that were seen to wait at a node.";
        refutations, "", EITHER, "Refutations in a run.";
        stalls, "", EITHER, "Times nodes noticed that they had stalled.";
        health, "", LESS, "Mean score of local health at the end; 0 is healthy.";
        overflowed, "", LESS, "Datagrams dropped because a node's socket was full.";
    }
}

/// Whether that is a metric.
pub fn is_metric(name: &str) -> bool {
    find(name).is_some()
}

/// The metric of that name.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// Whether that is a metric or a family of them.
pub(crate) fn is_known(name: &str) -> bool {
    METRICS.iter().any(|metric| metric.name == name || metric.family == name)
}

pub(crate) fn unknown(name: &str) -> String {
    let names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
    format!("{name:?} is no metric; there are {}", names.join(", "))
}

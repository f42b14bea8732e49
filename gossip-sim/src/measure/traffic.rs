//! What a run cost in traffic, between two moments.
//!
//! Read from the machines' own counters, twice a run. What it is for is another matter, see `kinds.rs`.

use core::time::Duration;

use gossip_proto::{Instant, Machine};
use transport_mem::net::{Network, Traffic};

use crate::measure::meter::{Samples, thin};
use crate::measure::series::Series;

/// The counters when measuring began, and when it ended if that was before the run did.
#[derive(Debug, Default)]
pub(super) struct Measured {
    from: Option<Counted>,
    until: Option<Counted>,
}

/// What was counted at one time.
#[derive(Debug)]
struct Counted {
    at: Instant,
    /// Datagrams and bytes sent and received, messages received, user messages sent; of nodes that run.
    nodes: Vec<Option<[u64; 6]>>,
    traffic: Traffic,
}

impl Counted {
    fn now<M: Machine>(net: &Network<M>) -> Self {
        let counters = |machine: &M| {
            let stats = machine.stats();
            [
                stats.datagrams_sent,
                stats.bytes_sent,
                stats.datagrams_received,
                stats.bytes_received,
                stats.messages_received,
                stats.user_messages_sent,
            ]
        };
        let nodes = net.nodes().map(|node| net.machine(node).map(counters)).collect();
        Self { at: net.now(), nodes, traffic: net.traffic() }
    }
}

impl Measured {
    pub(super) fn begin<M: Machine>(&mut self, net: &Network<M>) {
        self.from = Some(Counted::now(net));
    }

    pub(super) fn end<M: Machine>(&mut self, net: &Network<M>) {
        self.until = Some(Counted::now(net));
    }

    /// The samples, and over how many seconds they are; `rumors` is how many events there were.
    pub(super) fn finish<M: Machine>(
        self,
        net: &Network<M>,
        probe_interval: Duration,
        rumors: usize,
        samples: &mut Samples,
        series: &mut Option<Series>,
    ) -> f64 {
        let Some(from) = self.from else { return 0.0 };
        let until = self.until.unwrap_or_else(|| Counted::now(net));
        let mut sample = |metric, value| samples.entry(metric).or_default().push(value);
        let seconds = until.at.saturating_duration_since(from.at).as_secs_f64();
        // Counters of a machine that was replaced began anew; those nodes tell nothing about traffic.
        let mut nodes = Vec::new();
        for (node, after) in until.nodes.iter().enumerate() {
            let Some(after) = after else { continue };
            let before = from.nodes.get(node).copied().flatten().unwrap_or_default();
            if after.iter().zip(&before).all(|(after, before)| after >= before) {
                nodes.push(core::array::from_fn::<f64, 6, _>(|i| (after[i] - before[i]) as f64));
            }
        }
        if seconds <= 0.0 || nodes.is_empty() {
            return 0.0;
        }
        let mean = |i: usize| nodes.iter().map(|node| node[i]).sum::<f64>() / nodes.len() as f64 / seconds;
        let [sent, bytes_sent, received, bytes_received, messages] = [0, 1, 2, 3, 4].map(mean);
        sample("datagrams_sent", sent);
        sample("datagrams_received", received);
        if !probe_interval.is_zero() {
            sample("datagrams_per_period", sent * probe_interval.as_secs_f64());
        }
        sample("bytes_sent", bytes_sent);
        sample("bytes_received", bytes_received);
        sample("messages_received", messages);
        if rumors > 0 {
            sample("event_sends", mean(5) * seconds / rumors as f64);
        }
        sample("busiest_sent", nodes.iter().map(|node| node[1]).fold(0.0, f64::max) / seconds);
        if sent > 0.0 {
            sample("datagram_size", bytes_sent / sent);
        }
        let running = until.nodes.iter().flatten().count().max(1) as f64;
        let streams = (until.traffic.streams - from.traffic.streams) as f64;
        sample("streams", streams / running / seconds);
        let stream_bytes = (until.traffic.stream_bytes - from.traffic.stream_bytes) as f64;
        sample("stream_bytes", stream_bytes / running / seconds);
        let overflowed = until.traffic.datagrams_overflowed - from.traffic.datagrams_overflowed;
        sample("overflowed", overflowed as f64);
        if let Some(series) = series {
            series.bytes_sent = thin(nodes.iter().map(|node| node[1]).collect());
            series.bytes_received = thin(nodes.iter().map(|node| node[3]).collect());
            series.nodes = net.nodes().count();
        }
        seconds
    }
}

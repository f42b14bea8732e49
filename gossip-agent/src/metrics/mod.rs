//! `--metrics`: the node's figures as Prometheus reads them, under the names that Serf's have with go-metrics' Prometheus
//! sink, and further ones under `gossip_`.

mod http;
mod names;
mod page;

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use transport_tokio::gossip_proto::Machine as _;
use transport_tokio::{Clocks, Cluster, Error, Node, Notice, Queues, Stats, Subscription};

use crate::feed::Feed;
use crate::local::Local;
use crate::tally::{Invocations, Tally};
use names::Names;
use page::Page;

/// Where to ask for them.
pub(crate) struct Endpoint {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Endpoint {
    pub(crate) async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        Ok(Self { addr: listener.local_addr()?, listener })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until the runtime ends.
    pub(crate) async fn serve(self, cluster: Cluster<Node>, feed: Feed, tally: Tally) {
        let names = Arc::new(Mutex::new(Names::default()));
        tokio::spawn(count_names(cluster.subscribe().await, names.clone()));
        let source = Source { cluster, feed, tally, names };
        http::serve(self.listener, move || {
            let source = source.clone();
            async move { source.page().await }
        })
        .await;
    }
}

/// Prints the figures to standard error, once.
pub(crate) async fn dump(local: Local) {
    let Local { cluster, feed, tally, .. } = local;
    let source = Source { cluster, feed, tally, names: Arc::default() };
    if let Some(page) = source.page().await {
        // Whoever reads it may be slow.
        let _ = tokio::task::spawn_blocking(move || write!(anstream::stderr(), "{page}")).await;
    }
}

#[derive(Clone)]
struct Source {
    cluster: Cluster<Node>,
    feed: Feed,
    tally: Tally,
    names: Arc<Mutex<Names>>,
}

/// What the node says, all at one moment.
struct Figures {
    stats: Stats,
    clocks: Clocks,
    queues: Queues,
    health: u32,
    /// Alive, failed, left.
    members: [usize; 3],
}

impl Source {
    /// `None` when the node has ended.
    async fn page(&self) -> Option<String> {
        let look = |node: &Node, _| Figures {
            stats: node.stats().clone(),
            clocks: node.clocks(),
            queues: node.queues(),
            health: node.health(),
            members: [node.num_alive(), node.num_failed(), node.num_left()],
        };
        let figures: Result<Figures, Error> = self.cluster.inspect(look).await;
        let names = self.names.lock().map(|names| names.clone()).unwrap_or_default();
        Some(render(&figures.ok()?, &names, &self.feed, &self.tally))
    }
}

fn render(figures: &Figures, names: &Names, feed: &Feed, tally: &Tally) -> String {
    let Figures { stats, clocks, queues, health, members } = figures;
    let mut page = Page::default();
    let stat = |name: &str| stats.iter().find(|(of, _)| *of == name).map(|(_, count)| count);
    for (name, of, help) in SERF {
        if let Some(count) = stat(of) {
            page.counter(name, help, count);
        }
    }
    for (name, count, bytes, help) in [
        ("serf_msgs_received", stats.user_messages, stats.user_bytes, "Serf's messages received, in bytes."),
        (
            "serf_msgs_sent",
            stats.user_messages_sent,
            stats.user_bytes_sent,
            "Serf's messages gossiped, in bytes.",
        ),
    ] {
        page.summary(name, help, count, bytes as f64);
    }
    page.summary(
        "serf_coordinate_adjustment_ms",
        "How far round trips moved this node's network coordinate, in milliseconds.",
        stats.coordinates_updated,
        stats.coordinate_moved_nanos as f64 / 1e6,
    );
    for (name, waiting, help) in [
        ("serf_queue_Intent", queues.intents, "Join and leave intents that wait to be gossiped."),
        ("serf_queue_Event", queues.events, "User events that wait to be gossiped."),
        ("serf_queue_Query", queues.queries, "Queries that wait to be gossiped."),
    ] {
        page.gauge(name, help, waiting as f64);
    }
    page.counter("agent_ipc_accept", "Connections of RPC clients.", tally.ipc_accepts());
    page.counter("agent_ipc_command", "Commands of RPC clients.", tally.ipc_commands());
    let mut invocations: BTreeMap<String, Invocations> = BTreeMap::new();
    for (script, ran) in tally.invocations() {
        // Scripts that differ in what is not shown count together.
        *invocations.entry(page::name(&["agent_invoke_", program(&script)])).or_default() += ran;
    }
    for (name, ran) in invocations {
        let help = "Runs of an event handler's script, in milliseconds.";
        page.summary(&name, help, ran.count, ran.took.as_secs_f64() * 1e3);
    }
    names.write(&mut page);
    page.gauge("memberlist_health_score", "Local health: 0 is healthy.", f64::from(*health));
    page.labelled(
        "gossip_members",
        "Members, by status.",
        "status",
        [("alive", members[0] as f64), ("failed", members[1] as f64), ("left", members[2] as f64)],
    );
    page.labelled(
        "gossip_lamport_time",
        "Lamport clocks: the next time to use.",
        "clock",
        [("member", clocks.member as f64), ("event", clocks.event as f64), ("query", clocks.query as f64)],
    );
    page.counter(
        "gossip_agent_events_dropped_total",
        "Events that event handlers and streams did not keep up with.",
        feed.dropped(),
    );
    for (name, count) in stats.iter() {
        page.counter(&page::name(&["gossip_", name, "_total"]), "A counter of the node; see `Stats`.", count);
    }
    page.finish()
}

/// What of a script names its series: its program. Serf's has the whole text, in which there may be secrets.
fn program(script: &str) -> &str {
    let word = script.split_whitespace().next().unwrap_or_default();
    let is_path = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    match word.rsplit('/').next() {
        Some(name) if is_path && !name.is_empty() => name,
        // Shell, such as a variable that is set.
        _ => "script",
    }
}

/// Counts user events and queries by name, as Serf does.
async fn count_names(mut news: Subscription, names: Arc<Mutex<Names>>) {
    while let Some(notice) = news.recv().await {
        let Ok(mut names) = names.lock() else { return };
        match notice {
            Notice::UserEvent { name, .. } => names.event(&name),
            Notice::Query { name, .. } => names.query(&name),
            _ => {}
        }
    }
}

/// Serf's and memberlist's counters: name, the counter of the node that stands for it, help.
const SERF: &[(&str, &str, &str)] = &[
    ("serf_member_join", "members_joined", "Times a member joined."),
    ("serf_member_left", "members_left", "Times a member left."),
    ("serf_member_failed", "members_failed", "Times a member failed."),
    ("serf_member_update", "members_updated", "Times a member's tags or address changed."),
    ("serf_member_flap", "member_flaps", "Times a member came back soon after it had failed."),
    ("serf_events", "user_events", "User events."),
    ("serf_queries", "queries", "Queries."),
    ("serf_query_acks", "query_acks", "Acknowledgements of this node's queries."),
    ("serf_query_responses", "query_responses", "Answers to this node's queries."),
    ("serf_query_duplicate_acks", "query_duplicate_acks", "Acknowledgements that came again."),
    ("serf_query_duplicate_responses", "query_duplicate_responses", "Answers that came again."),
    ("serf_coordinate_rejected", "coordinates_rejected", "Network coordinates refused."),
    ("serf_coordinate_zero_rtt", "coordinate_zero_rtts", "Round trips too short for the clock."),
    ("memberlist_udp_sent", "bytes_sent", "Bytes sent in datagrams."),
    ("memberlist_udp_received", "bytes_received", "Bytes received in datagrams."),
    ("memberlist_msg_alive", "alive_accepted", "Alive messages accepted."),
    ("memberlist_msg_suspect", "suspect_accepted", "Suspect messages accepted."),
    ("memberlist_msg_dead", "dead_accepted", "Dead messages accepted."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use transport_tokio::gossip_proto::{Instant, NonceSecret};
    use transport_tokio::{Config, Seed, ServiceConfig};

    fn page() -> String {
        let config = Config::lan("a", ([10, 0, 0, 1], 7946).into());
        let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
        let mut node = Node::new(Instant::ORIGIN, config, ServiceConfig::default(), seed, nonces).unwrap();
        node.user_event(Instant::ORIGIN, b"deploy", b"v1", false).unwrap();
        let figures = Figures {
            stats: node.stats().clone(),
            clocks: node.clocks(),
            queues: node.queues(),
            health: node.health(),
            members: [node.num_alive(), 2, 3],
        };
        let mut names = Names::default();
        names.event(b"deploy");
        let tally = Tally::default();
        tally.invoked("./run-it.sh --token s3cret", Duration::from_millis(250));
        tally.invoked("/opt/run_it.sh", Duration::from_millis(500));
        tally.invoked("TOKEN=s3cret ./run-it.sh", Duration::from_millis(125));
        render(&figures, &names, &Feed::default(), &tally)
    }

    #[test]
    fn every_counter_that_stands_for_one_of_serfs_exists() {
        let stats = Stats::default();
        for (name, of, _) in SERF {
            assert!(stats.iter().any(|(known, _)| known == *of), "{name}: {of}");
        }
    }

    #[test]
    fn the_page_has_serfs_names_and_ours() {
        let page = page();
        for line in [
            "# TYPE serf_member_join counter",
            "serf_member_join 1",
            "serf_events 1",
            "serf_events_deploy 1",
            "# TYPE serf_msgs_received summary",
            "serf_msgs_received_sum 0",
            "serf_msgs_received_count 0",
            "# TYPE serf_queue_Event gauge",
            "serf_queue_Event 1",
            "agent_invoke_run_it_sh_sum 750",
            "agent_invoke_run_it_sh_count 2",
            "agent_invoke_script_count 1",
            "memberlist_health_score 0",
            "gossip_members{status=\"failed\"} 2",
            "gossip_lamport_time{clock=\"event\"} 2",
            "gossip_user_events_total 1",
        ] {
            assert!(page.lines().any(|have| have == line), "no {line:?} in\n{page}");
        }
        assert!(!page.contains("s3cret"), "arguments of scripts may be secrets:\n{page}");
    }

    #[test]
    fn the_page_is_well_formed() {
        let page = page();
        assert!(page.ends_with('\n'));
        let mut declared = std::collections::BTreeSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(declared.insert(rest.split(' ').next().unwrap()), "{line} twice");
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap();
                let name = sample.split('{').next().unwrap();
                let family =
                    name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count")).unwrap_or(name);
                assert!(declared.contains(family) || declared.contains(name), "{line} without a type");
                assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
            }
        }
    }
}

//! Clusters to run scenarios on.

use core::time::Duration;

use gossip_proto::{Cause, ChangeKind, Config, Membership, Seed};
use transport_mem::Conditions;
use transport_mem::net::{Change, Network, NodeId, Replay};

pub(crate) type Net = Network<Membership>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Nodes on a local network, none of which knows another.
pub(crate) fn strangers(
    replay: &Replay,
    configure: impl Fn(&mut Config) + Clone + 'static,
) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    let nodes = (0..replay.nodes()).map(|_| add(&mut net, configure.clone())).collect();
    (net, nodes)
}

/// One more node.
pub(crate) fn add(net: &mut Net, configure: impl Fn(&mut Config) + 'static) -> NodeId {
    net.add_node(move |start| {
        let mut config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
        configure(&mut config);
        Membership::new(start.now, config, start.seed, start.nonces).expect("the configuration is sound")
    })
}

/// A cluster in which everybody knows everybody, with memberlist's parameters for a local network.
pub(crate) fn cluster(replay: &Replay) -> (Net, Vec<NodeId>) {
    cluster_with(replay, |_| {})
}

/// As [`cluster`], with other parameters.
pub(crate) fn cluster_with(
    replay: &Replay,
    configure: impl Fn(&mut Config) + Clone + 'static,
) -> (Net, Vec<NodeId>) {
    let (mut net, nodes) = strangers(replay, configure);
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    converge(&mut net, 60 * SECOND);
    for &node in &nodes {
        net.clear_log(node);
    }
    (net, nodes)
}

/// Runs until all running nodes see the same, and says how long that took.
pub(crate) fn converge(net: &mut Net, within: Duration) -> Duration {
    let begun = net.now();
    match net.run_until(within, |net| net.agrees()) {
        Some(at) => at - begun,
        None => panic!("no agreement within {within:?}\n{}", net.table()),
    }
}

/// Runs until something holds, and says how long that took.
pub(crate) fn until(
    net: &mut Net,
    within: Duration,
    what: &str,
    holds: impl FnMut(&Net) -> bool,
) -> Duration {
    let begun = net.now();
    match net.run_until(within, holds) {
        Some(at) => at - begun,
        None => panic!("not within {within:?}: {what}\n{}", net.table()),
    }
}

/// What a node said about another.
pub(crate) fn changes(net: &Net, viewer: NodeId, subject: NodeId) -> impl Iterator<Item = &Change> {
    let name = net.name(subject).clone();
    net.log(viewer).changes.iter().filter(move |change| change.name == name)
}

/// Members that somebody has declared failed, with who did and why.
pub(crate) fn failures(net: &Net) -> Vec<(NodeId, String, Cause)> {
    let of = |viewer: NodeId| {
        let failed = net.log(viewer).changes.iter().filter(|change| change.kind == ChangeKind::Failed);
        failed.map(move |change| (viewer, change.name.to_string(), change.cause.clone()))
    };
    net.nodes().flat_map(of).collect()
}

/// spec 4.7: the shortest suspicion with memberlist's parameters for a local network.
pub(crate) fn suspicion_min(nodes: usize) -> Duration {
    let scale = (nodes as f64).log10().max(1.0);
    Duration::from_millis(4 * (1000.0 * scale) as u64)
}

/// spec 4.7: the longest, which nobody's confirmation has shortened; small clusters have none to wait for.
pub(crate) fn suspicion_max(nodes: usize) -> Duration {
    let min = suspicion_min(nodes);
    if nodes < 4 { min } else { min * 6 }
}

/// spec 4.10: how long a new node may take until it has exchanged its whole state with another: up to one interval of
/// stagger, and then one that grows with the cluster. What gossip missed by chance is known by then.
pub(crate) fn push_pull_bound(nodes: usize) -> Duration {
    let scale = if nodes <= 32 { 1 } else { (nodes as f64).log2().ceil() as u32 - 4 };
    30 * SECOND * (1 + scale) + 5 * SECOND
}

pub(crate) fn lossy(loss: f64) -> Conditions {
    Conditions::LAN.loss(loss)
}

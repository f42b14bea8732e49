//! Clusters to watch.

use core::time::Duration;

use gossip_proto::{Config, Membership, Seed};
use transport_mem::net::{Network, NodeId, Replay};

pub(crate) type Net = Network<Membership>;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Nodes that do not know each other yet; no logs are kept.
pub(crate) fn strangers(
    replay: &Replay,
    configure: impl Fn(&mut Config) + Clone + 'static,
) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    net.keep_logs(false);
    let nodes = (0..replay.nodes())
        .map(|_| {
            let configure = configure.clone();
            net.add_node(move |start| {
                let mut config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
                configure(&mut config);
                Membership::new(start.now, config, start.seed, start.nonces).expect("a sound configuration")
            })
        })
        .collect();
    (net, nodes)
}

/// All join through the first.
pub(crate) fn join_all(net: &mut Net, nodes: &[NodeId]) {
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
}

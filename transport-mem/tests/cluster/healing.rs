//! Clusters that find together again by themselves: after partitions of any length, and after everybody was restarted.

use core::time::Duration;

use gossip_proto::{Config, Node, Seed, ServiceConfig, Status};
use transport_mem::net::{Network, NodeId, Replay, seeds};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// How often views are compared.
const LOOK: Duration = Duration::from_millis(50);

type Net = Network<Node>;

fn add(net: &mut Net, configure: impl Fn(&mut Config, &mut ServiceConfig) + 'static) -> NodeId {
    net.add_node(move |start| {
        let mut config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
        let mut services = ServiceConfig::default();
        configure(&mut config, &mut services);
        Node::new(start.now, config, services, start.seed, start.nonces).expect("the configuration is sound")
    })
}

fn cluster(
    replay: &Replay,
    configure: impl Fn(&mut Config, &mut ServiceConfig) + Clone + 'static,
) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    net.keep_logs(false);
    let nodes: Vec<_> = (0..replay.nodes()).map(|_| add(&mut net, configure.clone())).collect();
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    until(&mut net, 100 * SECOND, "agreement", Network::agrees);
    (net, nodes)
}

fn until(net: &mut Net, within: Duration, what: &str, mut holds: impl FnMut(&Net) -> bool) -> Duration {
    let begun = net.now();
    while !holds(net) {
        assert!(net.now() - begun < within, "not within {within:?}: {what}\n{}", net.table());
        net.run_for(LOOK);
    }
    net.now() - begun
}

/// How often a node of one side does not see one of the other as alive.
fn missed(net: &Net, left: &[NodeId], right: &[NodeId]) -> usize {
    let pairs = left.iter().flat_map(|&a| right.iter().flat_map(move |&b| [(a, b), (b, a)]));
    pairs.filter(|&(viewer, subject)| net.status(viewer, subject) != Some(Status::Alive)).count()
}

/// Cuts a cluster in two for that long, and says after healing how long it took until the sides met, and from then until
/// all views were equal.
fn cut(net: &mut Net, left: &[NodeId], right: &[NodeId], span: Duration) -> (Duration, Duration) {
    net.partition(&[left, right]);
    net.run_for(span);
    let before = missed(net, left, right);
    net.heal();
    let met = match before {
        0 => Duration::ZERO,
        _ => until(net, 40 * SECOND, "contact", |net| missed(net, left, right) < before),
    };
    let agreed = until(net, 120 * SECOND, "agreement", Network::agrees);
    (met, agreed)
}

/// First contact comes within one reconnect interval, and agreement within so long of that.
fn heals(
    test: &'static str,
    nodes: usize,
    sides: &[usize],
    spans: &[Duration],
    sweep: core::ops::Range<u64>,
) {
    let limit = if nodes <= 20 { 5 * SECOND } else { 20 * SECOND };
    for seed in seeds(sweep) {
        for &side in sides {
            for &span in spans {
                let replay = Replay::new("cluster", test, seed, nodes);
                let (mut net, nodes) = cluster(&replay, |_, _| {});
                let (left, right) = nodes.split_at(side);
                let (met, agreed) = cut(&mut net, left, right, span);
                println!(
                    "n = {} cut {side} to {} for {span:?}, seed {seed}: met after {met:?}, agreed {agreed:?} later",
                    nodes.len(),
                    nodes.len() - side
                );
                assert!(met <= 31 * SECOND, "met after {met:?}");
                assert!(agreed <= limit, "agreed {agreed:?} after they met\n{}", net.table());
                net.run_for(30 * SECOND);
                assert!(net.agrees(), "{}", net.table());
            }
        }
    }
}

#[test]
fn two_and_three_find_together() {
    let spans = [15 * SECOND, MINUTE, 10 * MINUTE];
    heals("healing::two_and_three_find_together", 2, &[1], &spans, 0..3);
    heals("healing::two_and_three_find_together", 3, &[1], &spans, 0..3);
}

#[test]
fn twenty_find_together() {
    let spans = [15 * SECOND, MINUTE, 10 * MINUTE];
    heals("healing::twenty_find_together", 20, &[1, 10], &spans, 0..1);
}

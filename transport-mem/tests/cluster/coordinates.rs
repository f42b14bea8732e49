//! Network coordinates on the virtual network: what they predict against what the links take.

use core::time::Duration;

use gossip_proto::coordinate::distance;
use gossip_proto::{Config, Machine, Node, Seed, ServiceConfig};
use transport_mem::Conditions;
use transport_mem::net::{Network, NodeId, Replay, seeds};

const SECOND: Duration = Duration::from_secs(1);

type Net = Network<Node>;

/// Data centres of `per_site` nodes each, 1 ms there and back inside of one and 40 ms more for each step between two.
fn sites(replay: &Replay, per_site: usize, configure: fn(usize, &mut ServiceConfig)) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    let nodes: Vec<_> = (0..replay.nodes())
        .map(|_| {
            net.add_node(move |start| {
                let config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
                let mut services = ServiceConfig::default();
                configure(start.number, &mut services);
                Node::new(start.now, config, services, start.seed, start.nonces)
                    .expect("a sound configuration")
            })
        })
        .collect();
    for &a in &nodes {
        for &b in &nodes {
            let latency = truth(per_site, a, b) / 2;
            net.set_link(a, b, Some(Conditions::PERFECT.delay(latency, latency / 20)));
        }
    }
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    assert!(net.run_until(100 * SECOND, Network::agrees).is_some(), "no agreement\n{}", net.table());
    (net, nodes)
}

fn truth(per_site: usize, a: NodeId, b: NodeId) -> Duration {
    let steps = (a.number() / per_site).abs_diff(b.number() / per_site);
    Duration::from_millis(1 + 40 * steps as u64)
}

#[test]
fn estimates_approach_the_latencies_of_the_network() {
    for seed in seeds(0..3) {
        let replay =
            Replay::new("cluster", "coordinates::estimates_approach_the_latencies_of_the_network", seed, 15);
        let (mut net, nodes) = sites(&replay, 5, |_, _| {});
        net.run_for(900 * SECOND);
        let mut errors = Vec::new();
        for (i, a) in nodes.iter().enumerate() {
            let node = net.machine(*a).expect("it runs");
            assert_eq!((node.stats().coordinates_rejected, node.stats().coordinate_resets), (0, 0));
            assert!(node.stats().coordinates_updated > 500, "{:?}", node.stats());
            let own = node.coordinate().expect("coordinates are on");
            // Of pairs that this node is in, and of pairs that it is not.
            for b in &nodes[i + 1..] {
                let there = node.coordinate_of(net.name(*b).as_bytes()).expect("it was probed");
                let actual = truth(5, *a, *b).as_secs_f64();
                errors
                    .push((distance(own, there).expect("a distance").as_secs_f64() - actual).abs() / actual);
                let observer = net.machine(nodes[(i + 7) % nodes.len()]).expect("it runs");
                let of = |node: &NodeId| observer.coordinate_of(net.name(*node).as_bytes());
                let (there, here) = (of(a).expect("known"), of(b).expect("known"));
                errors
                    .push((distance(there, here).expect("a distance").as_secs_f64() - actual).abs() / actual);
            }
        }
        errors.sort_by(f64::total_cmp);
        let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
        // Between sites, where it matters, a few per cent; one of a millisecond may be missed by two.
        assert!(median < 0.05 && worst < 2.0, "median {median}, worst {worst}");
    }
}

// upstream: TestSerf_Coordinates
#[test]
fn who_has_them_switched_off_is_in_nobodys_way() {
    let replay = Replay::new("cluster", "coordinates::who_has_them_switched_off_is_in_nobodys_way", 1, 3);
    let (mut net, nodes) = sites(&replay, 3, |number, services| {
        services.coordinates(number != 2);
    });
    net.run_for(60 * SECOND);
    let name = |node: usize| net.name(nodes[node]).as_bytes();
    let at = |node: usize, of: usize| net.machine(nodes[node]).expect("it runs").coordinate_of(name(of));
    assert!(at(0, 1).is_some() && at(1, 0).is_some() && at(0, 0).is_some());
    assert!([0, 1, 2].iter().all(|&node| at(node, 2).is_none() && at(2, node).is_none()));
    for &node in &nodes {
        assert_eq!(net.machine(node).expect("it runs").stats().coordinates_rejected, 0);
    }
}

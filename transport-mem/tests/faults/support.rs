//! Nodes that do nothing on their own account.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::wire::layers::Compression;
use gossip_proto::{Config, Instant, JoinFailure, Machine, Membership, Name, Outcome, Seed};
use transport_mem::Conditions;
use transport_mem::net::{Network, News, NodeId};

pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// Links of exactly ten milliseconds, and nodes that neither probe nor gossip, nor compress what tests count.
pub(crate) fn quiet(nodes: usize) -> (Network<Membership>, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(1));
    net.set_conditions(Conditions::PERFECT.delay(LATENCY, Duration::ZERO));
    let nodes = (0..nodes).map(|number| {
        net.add_node(move |start| {
            let mut config = Config::lan(format!("n{number}").as_str(), start.addr);
            config
                .probe_interval(Duration::ZERO)
                .gossip_interval(Duration::ZERO)
                .push_pull_interval(Duration::ZERO)
                .compression(Compression::Off);
            Membership::new(start.now, config, start.seed, start.nonces).unwrap()
        })
    });
    let nodes = nodes.collect();
    (net, nodes)
}

/// Nodes as they ship, which all begin to join the first.
pub(crate) fn joining(seed: u64, nodes: usize) -> (Network<Membership>, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(seed));
    let nodes: Vec<_> = (0..nodes)
        .map(|number| {
            net.add_node(move |start| {
                let config = Config::lan(format!("n{number}").as_str(), start.addr);
                Membership::new(start.now, config, start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    (net, nodes)
}

/// As [`quiet`], and all have joined the first.
pub(crate) fn joined(nodes: usize) -> (Network<Membership>, Vec<NodeId>) {
    let (mut net, nodes) = quiet(nodes);
    // Twice: without gossip the early ones hear of the late ones only so.
    for &node in nodes[1..].iter().chain(&nodes[1..]) {
        net.join(node, &nodes[..1]);
        net.run_for(Duration::from_secs(1));
    }
    assert!(net.agrees());
    for &node in &nodes {
        net.clear_log(node);
    }
    (net, nodes)
}

pub(crate) fn send(net: &mut Network<Membership>, from: NodeId, to: NodeId, payload: &[u8]) {
    let name: Name = net.name(to).clone();
    let payload = Bytes::copy_from_slice(payload);
    net.with(from, |machine, now| {
        let key = machine.find(name.as_bytes()).unwrap().key;
        machine.send(now, key, payload).unwrap();
    });
}

pub(crate) fn send_reliable(net: &mut Network<Membership>, from: NodeId, to: NodeId, payload: &[u8]) {
    let name: Name = net.name(to).clone();
    let payload = Bytes::copy_from_slice(payload);
    net.with(from, |machine, now| {
        let key = machine.find(name.as_bytes()).unwrap().key;
        machine.send_reliable(now, key, payload).unwrap();
    });
}

pub(crate) fn messages(net: &Network<Membership>, node: NodeId) -> Vec<(Instant, Vec<u8>)> {
    let payload = |news: &News| match news {
        News::Message { payload, .. } => Some(payload.clone()),
        _ => None,
    };
    net.log(node).events.iter().filter_map(|(at, news)| Some((*at, payload(news)?))).collect()
}

pub(crate) fn outcomes(net: &Network<Membership>, node: NodeId) -> Vec<(Instant, Outcome)> {
    net.log(node).completions.iter().map(|(at, done)| (*at, done.outcome().unwrap().clone())).collect()
}

pub(crate) fn join_failure(net: &Network<Membership>, node: NodeId) -> Option<(Instant, JoinFailure)> {
    match outcomes(net, node).as_slice() {
        [(at, Outcome::Joined { contacted: 0, failed })] => Some((*at, failed[0].1.clone())),
        _ => None,
    }
}

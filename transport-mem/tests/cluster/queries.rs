//! Serf's queries on the virtual network: asked, answered, and not missed.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::{
    Completion, Config, Instant, Machine, Node, Outcome, QueryParams, RequestId, Seed, ServiceConfig, Stats,
    Status,
};
use transport_mem::Conditions;
use transport_mem::net::{Network, News, NodeId, Replay, seeds};

const SECOND: Duration = Duration::from_secs(1);

type Net = Network<Node>;

fn add(net: &mut Net, name: Option<&'static str>) -> NodeId {
    net.add_node(move |start| {
        let own = format!("node-{:03}", start.number);
        let config = Config::lan(name.unwrap_or(&own), start.addr);
        let mut services = ServiceConfig::default();
        let role = if start.number.is_multiple_of(2) { "web" } else { "db" };
        services.tags(vec![(Bytes::from("role"), Bytes::from(role))]);
        Node::new(start.now, config, services, start.seed, start.nonces).expect("the configuration is sound")
    })
}

fn cluster(replay: &Replay) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    let nodes: Vec<_> = (0..replay.nodes()).map(|_| add(&mut net, None)).collect();
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    net.run_until(100 * SECOND, Network::agrees).expect("agreement");
    for &node in &nodes {
        net.clear_log(node);
    }
    (net, nodes)
}

/// Lets time pass; whoever has heard a query answers it with its name, half of them only after a while.
fn answering(net: &mut Net, nodes: &[NodeId], duration: Duration) {
    let end = net.now() + duration;
    let mut answered = vec![0; nodes.len()];
    while net.now() < end {
        net.run_for(Duration::from_millis(50));
        for (number, &node) in nodes.iter().enumerate() {
            let heard = queries(net, node);
            while let Some(&(at, id)) = heard.get(answered[number]) {
                if number % 2 == 1 && net.now() - at < Duration::from_millis(300) {
                    break;
                }
                answered[number] += 1;
                let name = net.name(node).clone();
                net.with(node, |machine, now| machine.respond(now, id, name.as_bytes()).unwrap());
            }
        }
    }
}

fn queries(net: &Net, node: NodeId) -> Vec<(Instant, RequestId)> {
    let query = |(at, news): &(Instant, News)| match news {
        News::Query { id, .. } => Some((*at, *id)),
        _ => None,
    };
    net.log(node).events.iter().filter_map(query).collect()
}

/// Who acknowledged and who answered, sorted.
fn answers(net: &Net, node: NodeId) -> (Vec<String>, Vec<String>) {
    let (mut acks, mut responses) = (Vec::new(), Vec::new());
    for (_, news) in &net.log(node).events {
        match news {
            News::QueryAck { from, .. } => acks.push(from.to_string()),
            News::QueryResponse { from, payload, .. } => {
                assert_eq!(payload, from.as_bytes());
                responses.push(from.to_string());
            }
            _ => {}
        }
    }
    acks.sort();
    responses.sort();
    (acks, responses)
}

fn outcome(net: &Net, node: NodeId) -> Option<&Outcome> {
    net.log(node).completions.last().and_then(|(_, completion)| completion.outcome())
}

fn stats(net: &Net, node: NodeId) -> &Stats {
    net.machine(node).expect("a node that runs").stats()
}

fn names(net: &Net, nodes: impl IntoIterator<Item = NodeId>) -> Vec<String> {
    nodes.into_iter().map(|node| net.name(node).to_string()).collect()
}

// upstream: TestSerf_Query
#[test]
fn a_query_misses_nobody_whatever_gets_lost() {
    for (seed, count) in seeds(0..4).flat_map(|seed| [3, 6, 20, 60].map(|nodes| (seed, nodes))) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "queries::a_query_misses_nobody_whatever_gets_lost",
            seed,
            count,
        );
        let (mut net, nodes) = cluster(&replay);
        net.set_conditions(Conditions::LAN.loss(0.1).duplicate(0.05));
        let mut params = QueryParams::default();
        params.ack(true).everybody_answers(true).relay_factor(2);
        net.with(nodes[0], |machine, now| machine.query(now, b"load", b"", &params).unwrap());
        answering(&mut net, &nodes, 7 * SECOND);
        let everybody = names(&net, nodes.iter().copied());
        assert_eq!(answers(&net, nodes[0]), (everybody.clone(), everybody));
        assert_eq!(outcome(&net, nodes[0]), Some(&Outcome::Query { acks: count, responses: count }));
        for &node in &nodes {
            assert_eq!(queries(&net, node).len(), 1, "{} heard it more than once, or not", net.name(node));
        }
    }
}

#[test]
fn who_was_away_while_gossip_went_round_is_asked_again() {
    for seed in seeds(0..8) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "queries::who_was_away_while_gossip_went_round_is_asked_again",
            seed,
            10,
        );
        let (mut net, nodes) = cluster(&replay);
        net.set_loss(nodes[7], 1.0, 1.0);
        net.with(nodes[4], |machine, now| {
            machine.query(now, b"_serf_ping", b"", QueryParams::default().ack(true)).unwrap()
        });
        // By then everybody has passed it on as often as they will.
        net.run_for(2 * SECOND);
        assert_eq!(answers(&net, nodes[4]).0.len(), 9);
        net.set_loss(nodes[7], 0.0, 0.0);
        net.run_for(5 * SECOND);
        assert_eq!(answers(&net, nodes[4]).0, names(&net, nodes.iter().copied()));
        assert_eq!(stats(&net, nodes[4]).queries_resent, 1);
    }
}

// upstream: TestSerf_Query_Filter
#[test]
fn filters_choose_and_the_others_pass_it_on() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "queries::filters_choose_and_the_others_pass_it_on",
        1,
        12,
    );
    let (mut net, nodes) = cluster(&replay);
    let mut params = QueryParams::default();
    params.ack(true).relay_factor(1).nodes(vec![net.name(nodes[1]).clone()]);
    net.with(nodes[2], |machine, now| machine.query(now, b"load", b"sup girl", &params).unwrap());
    answering(&mut net, &nodes, 7 * SECOND);
    let one = names(&net, [nodes[1]]);
    assert_eq!(answers(&net, nodes[2]), (one.clone(), one));
    assert_eq!(stats(&net, nodes[2]).queries_resent, 0);
    for &node in &nodes {
        net.clear_log(node);
    }
    let mut params = QueryParams::default();
    params.tags(vec![(Bytes::from("role"), Bytes::from("^(?i:DB)$"))]);
    net.with(nodes[2], |machine, now| machine.query(now, b"load", b"", &params).unwrap());
    answering(&mut net, &nodes, 7 * SECOND);
    assert_eq!(answers(&net, nodes[2]), (Vec::new(), names(&net, nodes.iter().copied().skip(1).step_by(2))));
    assert_eq!(queries(&net, nodes[0]).len(), 0);
}

// upstream: TestSerf_NameResolution
#[test]
fn of_two_nodes_with_one_name_the_minority_goes() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "queries::of_two_nodes_with_one_name_the_minority_goes",
            seed,
            8,
        );
        let (mut net, nodes) = cluster(&replay);
        let double = add(&mut net, Some("node-003"));
        net.join(double, &nodes[..1]);
        net.run_for(10 * SECOND);
        let lost = |net: &Net, node| {
            net.log(node).completions.iter().find_map(|(_, completion)| match completion {
                &Completion::NameLost { other, responses, matching } => Some((other, responses, matching)),
                _ => None,
            })
        };
        // Everybody but the two that have the name.
        assert_eq!(lost(&net, double), Some((net.addr(nodes[3]), 7, 0)));
        net.vanish(double);
        net.run_for(60 * SECOND);
        for &node in &nodes {
            assert_eq!(lost(&net, node), None);
            assert_eq!(net.view(node).iter().filter(|seen| seen.status == Status::Alive).count(), 8);
        }
    }
}

#[test]
fn two_nodes_alone_with_one_name_both_stay() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "queries::two_nodes_alone_with_one_name_both_stay",
        1,
        1,
    );
    let (mut net, nodes) = cluster(&replay);
    let double = add(&mut net, Some("node-000"));
    net.join(double, &nodes);
    net.run_for(60 * SECOND);
    for node in [nodes[0], double] {
        let ends = &net.log(node).completions;
        assert!(!ends.iter().any(|(_, end)| matches!(end, Completion::NameLost { .. })), "{ends:?}");
    }
    assert!(stats(&net, double).name_conflicts > 0);
}

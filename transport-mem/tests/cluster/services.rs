//! Serf's services on the virtual network: user events, tags, intents, reconnecting.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::{ChangeKind, Config, Machine, Node, Outcome, Seed, ServiceConfig, Status};
use transport_mem::Conditions;
use transport_mem::net::{Network, News, NodeId, Replay, seeds};

const SECOND: Duration = Duration::from_secs(1);

type Net = Network<Node>;

fn add(net: &mut Net, configure: impl Fn(&mut ServiceConfig) + 'static) -> NodeId {
    net.add_node(move |start| {
        let config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
        let mut services = ServiceConfig::default();
        let tags = [("role", "web".to_owned()), ("number", start.number.to_string())];
        services
            .tags(tags.into_iter().map(|(name, value)| (Bytes::from(name), Bytes::from(value))).collect());
        configure(&mut services);
        Node::new(start.now, config, services, start.seed, start.nonces).expect("the configuration is sound")
    })
}

fn cluster(replay: &Replay) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    let nodes: Vec<_> = (0..replay.nodes()).map(|_| add(&mut net, |_| {})).collect();
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    until(&mut net, 100 * SECOND, "agreement", Network::agrees);
    for &node in &nodes {
        net.clear_log(node);
    }
    (net, nodes)
}

fn until(net: &mut Net, within: Duration, what: &str, holds: impl FnMut(&Net) -> bool) -> Duration {
    let begun = net.now();
    match net.run_until(within, holds) {
        Some(at) => at - begun,
        None => panic!("not within {within:?}: {what}\n{}", net.table()),
    }
}

/// The user events a node has heard, in order.
fn heard(net: &Net, node: NodeId) -> Vec<(u64, String, Vec<u8>)> {
    let event = |news: &News| match news {
        News::UserEvent { ltime, name, payload, .. } => {
            Some((*ltime, String::from_utf8_lossy(name).into_owned(), payload.clone()))
        }
        _ => None,
    };
    net.log(node).events.iter().filter_map(|(_, news)| event(news)).collect()
}

fn kinds(net: &Net, viewer: NodeId, subject: NodeId) -> Vec<ChangeKind> {
    let name = net.name(subject);
    net.log(viewer).changes.iter().filter(|change| change.name == *name).map(|change| change.kind).collect()
}

// upstream: TestSerf_eventsUser
// upstream: TestBroadcastFinished_nilNotify
#[test]
fn a_user_event_reaches_everybody_exactly_once() {
    for (seed, nodes) in seeds(0..3).flat_map(|seed| [3, 20, 60].map(|nodes| (seed, nodes))) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "services::a_user_event_reaches_everybody_exactly_once",
            seed,
            nodes,
        );
        let (mut net, nodes) = cluster(&replay);
        net.set_conditions(Conditions::LAN.loss(0.05).duplicate(0.05));
        for (number, &node) in nodes.iter().enumerate().take(10) {
            let payload = number.to_string();
            net.with(node, |machine, now| {
                machine.user_event(now, b"deploy", payload.as_bytes(), false).unwrap()
            });
            net.run_for(Duration::from_millis(300));
        }
        // Gossip, or else the next push/pull (serf.md 2.3).
        let count = nodes.len().min(10);
        until(&mut net, 150 * SECOND, "all events everywhere", |net| {
            nodes.iter().all(|node| heard(net, *node).len() >= count)
        });
        net.run_for(100 * SECOND);
        for &node in &nodes {
            let mut payloads: Vec<_> = heard(&net, node).into_iter().map(|(_, _, payload)| payload).collect();
            payloads.sort();
            let expected: Vec<_> = (0..count).map(|number| number.to_string().into_bytes()).collect();
            assert_eq!(payloads, expected, "{}", net.name(node));
        }
    }
}

// upstream: TestSerf_Join_IgnoreOld
#[test]
fn a_newcomer_hears_old_events_unless_it_asks_not_to() {
    for ignore in [false, true] {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "services::a_newcomer_hears_old_events_unless_it_asks_not_to",
            3,
            5,
        );
        let (mut net, nodes) = cluster(&replay);
        net.with(nodes[0], |machine, now| machine.user_event(now, b"old", b"", false).unwrap());
        net.run_for(20 * SECOND);
        let newcomer = add(&mut net, |_| {});
        if ignore {
            let target = net.addr(nodes[1]).into();
            net.with(newcomer, |machine, now| machine.join_ignoring_old(now, &[target]).unwrap());
        } else {
            net.join(newcomer, &nodes[1..2]);
        }
        net.run_for(60 * SECOND);
        net.with(nodes[2], |machine, now| machine.user_event(now, b"new", b"", false).unwrap());
        net.run_for(10 * SECOND);
        let names: Vec<_> = heard(&net, newcomer).into_iter().map(|(_, name, _)| name).collect();
        assert_eq!(names, if ignore { vec!["new"] } else { vec!["old", "new"] });
    }
}

#[test]
fn events_that_follow_each_other_have_rising_lamport_times() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "services::events_that_follow_each_other_have_rising_lamport_times",
        1,
        10,
    );
    let (mut net, nodes) = cluster(&replay);
    for &node in nodes.iter().take(5) {
        net.with(node, |machine, now| machine.user_event(now, b"step", b"", false).unwrap());
        until(&mut net, 65 * SECOND, "the event everywhere", |net| {
            let count = heard(net, node).len();
            nodes.iter().all(|other| heard(net, *other).len() == count)
        });
    }
    for &node in &nodes {
        let times: Vec<_> = heard(&net, node).into_iter().map(|(ltime, _, _)| ltime).collect();
        assert!(times.len() == 5 && times.is_sorted_by(|a, b| a < b), "{times:?}");
        let clock = net.machine(node).unwrap().clocks().event;
        assert!(clock > *times.last().unwrap(), "{clock}");
    }
}

// upstream: TestSerf_SetTags
#[test]
fn new_tags_reach_everybody() {
    for seed in seeds(0..3) {
        let replay =
            Replay::new(env!("CARGO_PKG_NAME"), "cluster", "services::new_tags_reach_everybody", seed, 20);
        let (mut net, nodes) = cluster(&replay);
        let tags = vec![(Bytes::from("role"), Bytes::from("db")), (Bytes::from("rack"), Bytes::from("7"))];
        net.with(nodes[3], |machine, now| machine.set_tags(now, tags).unwrap());
        let name = net.name(nodes[3]).clone();
        until(&mut net, 65 * SECOND, "the tags everywhere", |net| {
            net.running().all(|node| {
                let member = net.machine(node).unwrap().find(name.as_bytes()).unwrap();
                let tags: Vec<_> = member.tags().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
                tags.contains(&(b"role".to_vec(), b"db".to_vec())) && tags.len() == 2
            })
        });
        for &node in &nodes {
            assert_eq!(kinds(&net, node, nodes[3]), [ChangeKind::Updated], "{}", net.name(node));
        }
        net.run_for(6 * SECOND);
        assert_eq!(net.log(nodes[3]).completions[0].1.outcome(), Some(&Outcome::Announced { in_time: true }));
    }
}

/// serf.md 4: who announced its leave is left, not failed, and stays listed.
// upstream: TestSerf_eventsLeave
#[test]
fn a_leave_is_seen_as_such_by_all_and_remembered() {
    for (seed, nodes) in seeds(0..3).flat_map(|seed| [2, 10, 40].map(|nodes| (seed, nodes))) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "services::a_leave_is_seen_as_such_by_all_and_remembered",
            seed,
            nodes,
        );
        let (mut net, nodes) = cluster(&replay);
        let leaver = nodes[1];
        net.with(leaver, |machine, now| machine.leave(now).unwrap());
        until(&mut net, 15 * SECOND, "the end of the leave", |net| !net.log(leaver).completions.is_empty());
        assert_eq!(net.log(leaver).completions[0].1.outcome(), Some(&Outcome::Left { announced: true }));
        net.crash(leaver);
        until(&mut net, 65 * SECOND, "left everywhere", |net| net.all_see(leaver, Status::Left));
        net.run_for(120 * SECOND);
        assert!(net.all_see(leaver, Status::Left), "{}", net.table());
        let mut missed = 0;
        for &node in nodes.iter().filter(|node| **node != leaver) {
            let kinds = kinds(&net, node, leaver);
            assert_eq!(kinds.iter().filter(|kind| **kind == ChangeKind::Left).count(), 1, "{kinds:?}");
            // serf.md 4.3: who has missed the intent takes the farewell for a failure, until the intent is made up for.
            missed += usize::from(kinds.contains(&ChangeKind::Failed));
            let machine = net.machine(node).unwrap();
            assert_eq!((machine.num_left(), machine.num_failed()), (1, 0));
        }
        assert!(missed <= nodes.len() / 5, "{missed}");
    }
}

// upstream: TestSerf_reconnect, TestSerf_eventsFailed
#[test]
fn a_failed_member_stays_listed_and_comes_back_by_itself() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "services::a_failed_member_stays_listed_and_comes_back_by_itself",
            seed,
            8,
        );
        let (mut net, nodes) = cluster(&replay);
        net.crash(nodes[5]);
        until(&mut net, 60 * SECOND, "failed everywhere", |net| net.all_see(nodes[5], Status::Failed));
        net.run_for(200 * SECOND);
        assert!(net.all_see(nodes[5], Status::Failed), "{}", net.table());
        assert!(nodes.iter().filter_map(|node| net.machine(*node)).all(|machine| machine.num_failed() == 1));
        // It is told nobody's address: the others try it (serf.md 4.12).
        net.restart(nodes[5]);
        until(&mut net, 300 * SECOND, "agreement", Network::agrees);
    }
}

/// serf.md 4.12: failed members are tried again, so that a partition heals without an operator.
#[test]
fn a_long_partition_heals_by_itself() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "services::a_long_partition_heals_by_itself",
            seed,
            12,
        );
        let (mut net, nodes) = cluster(&replay);
        let (left, right) = nodes.split_at(5);
        net.partition(&[left, right]);
        net.run_for(300 * SECOND);
        assert!(net.agree_among(left) && net.agree_among(right), "{}", net.table());
        assert!(
            left.iter().all(|l| right.iter().all(|r| net.status(*l, *r) == Some(Status::Failed))),
            "{}",
            net.table()
        );
        net.with(left[0], |machine, now| machine.user_event(now, b"left", b"", false).unwrap());
        net.with(right[0], |machine, now| machine.user_event(now, b"right", b"", false).unwrap());
        net.run_for(5 * SECOND);
        net.heal();
        until(&mut net, 300 * SECOND, "agreement", Network::agrees);
        // What happened on the other side is told in the exchanges.
        until(&mut net, 60 * SECOND, "both events everywhere", |net| {
            nodes.iter().all(|node| heard(net, *node).len() == 2)
        });
    }
}

// upstream: TestSerf_RemoveFailedNode, TestSerf_RemoveFailedNode_prune, TestSerf_forceLeaveFailed
#[test]
fn an_operator_turns_failed_into_left() {
    for (seed, prune) in seeds(0..2).flat_map(|seed| [(seed, false), (seed, true)]) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "services::an_operator_turns_failed_into_left",
            seed,
            8,
        );
        let (mut net, nodes) = cluster(&replay);
        net.crash(nodes[5]);
        until(&mut net, 60 * SECOND, "failed everywhere", |net| net.all_see(nodes[5], Status::Failed));
        let name = net.name(nodes[5]).clone();
        net.with(nodes[0], |machine, now| machine.force_leave(now, name.as_bytes(), prune).unwrap());
        // Who misses the intent by chance learns of it in an exchange; but of one with prune nobody remembers anything.
        let expected = if prune { None } else { Some(Status::Left) };
        let may_miss = usize::from(prune);
        let differ = |net: &Net| net.running().filter(|node| net.status(*node, nodes[5]) != expected).count();
        until(&mut net, 65 * SECOND, "left or forgotten everywhere", |net| differ(net) <= may_miss);
        net.run_for(100 * SECOND);
        assert!(differ(&net) <= may_miss, "{}", net.table());
    }
}

/// A node of which a leave is told while it lives denies it (serf.md 4.2).
#[test]
fn forcing_out_a_living_member_fails() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "services::forcing_out_a_living_member_fails", 4, 6);
    let (mut net, nodes) = cluster(&replay);
    let name = net.name(nodes[2]).clone();
    net.with(nodes[0], |machine, now| machine.force_leave(now, name.as_bytes(), false).unwrap());
    net.run_for(20 * SECOND);
    assert!(net.agrees(), "{}", net.table());
}

// upstream: TestSerf_joinLeaveJoin
#[test]
fn a_node_that_left_can_come_back() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "services::a_node_that_left_can_come_back", 4, 8);
    let (mut net, nodes) = cluster(&replay);
    net.with(nodes[2], |machine, now| machine.leave(now).unwrap());
    until(&mut net, 65 * SECOND, "left everywhere", |net| net.all_see(nodes[2], Status::Left));
    net.run_for(5 * SECOND);
    net.crash(nodes[2]);
    net.restart(nodes[2]);
    net.join(nodes[2], &nodes[..1]);
    until(&mut net, 65 * SECOND, "agreement", Network::agrees);
    for &node in nodes.iter().filter(|node| **node != nodes[2]) {
        assert_eq!(kinds(&net, node, nodes[2]).last(), Some(&ChangeKind::Joined));
    }
}

#[test]
fn two_runs_of_serf_nodes_are_equal() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "services::two_runs_of_serf_nodes_are_equal", 12, 20);
    let run = || {
        let (mut net, nodes) = cluster(&replay);
        net.set_conditions(Conditions::LAN.loss(0.05));
        net.with(nodes[3], |machine, now| machine.user_event(now, b"x", b"y", true).unwrap());
        net.crash(nodes[1]);
        net.with(nodes[2], |machine, now| machine.leave(now).unwrap());
        net.partition(&[&nodes[5..10]]);
        net.run_for(20 * SECOND);
        net.heal();
        net.run_for(60 * SECOND);
        net.trace().hash()
    };
    assert_eq!(run(), run());
}

//! Clocks that are fast, slow, or set while the node runs.

use core::time::Duration;

use gossip_proto::{Instant, JoinFailure, Machine, Membership, Outcome, StreamFailure};
use transport_mem::net::observe::Invariants;
use transport_mem::net::{Change, Clock, Network, News, NodeId, Observer};

use crate::support::joining;

const SECOND: Duration = Duration::from_secs(1);

type Net = Network<Membership>;

/// Nodes that have joined, after which nothing happens for a minute.
fn formed(count: usize) -> (Net, Vec<NodeId>) {
    let (mut net, nodes) = joining(29, count);
    net.run_for(60 * SECOND);
    assert!(net.agrees(), "{}", net.table());
    for &node in &nodes {
        net.clear_log(node);
    }
    (net, nodes)
}

fn probes(net: &Net, node: NodeId) -> u64 {
    net.machine(node).unwrap().stats().probes
}

/// What nodes said of others since the logs were cleared: nothing, in a healthy cluster.
fn changes(net: &Net) -> Vec<&Change> {
    net.nodes().flat_map(|node| &net.log(node).changes).collect()
}

#[test]
fn a_fast_clock_probes_more_often_and_a_slow_one_less_often_by_what_was_asked_for() {
    let run = || {
        let (mut net, nodes) = formed(10);
        net.observe(Invariants::new("the seed is in the test"));
        for (node, ppm) in [(1, 100_000), (2, -100_000), (3, 1_000_000)] {
            net.skew_clock(nodes[node], ppm);
        }
        let before: Vec<_> = nodes.iter().map(|node| probes(&net, *node)).collect();
        net.run_for(1000 * SECOND);
        let probed: Vec<_> =
            nodes.iter().zip(before).map(|(node, before)| probes(&net, *node) - before).collect();
        assert_eq!(changes(&net), Vec::<&Change>::new());
        (probed, net.trace().hash())
    };
    let (probed, hash) = run();
    for (node, expected) in [(0, 1000), (1, 1100), (2, 900), (3, 2000), (4, 1000)] {
        assert!(probed[node].abs_diff(expected) <= 1, "node {node}: {} of {expected}", probed[node]);
    }
    assert_eq!(run(), (probed, hash), "one seed, one run");
}

#[test]
fn a_deadline_comes_when_the_node_s_clock_shows_it() {
    for (ppm, nanos) in [(0, 10_000_000_000), (100_000, 9_090_909_091), (-500_000, 20_000_000_000)] {
        let (mut net, nodes) = formed(2);
        net.vanish(nodes[1]);
        net.skew_clock(nodes[0], ppm);
        let begun = net.now();
        net.join(nodes[0], &nodes[1..]);
        let alone = net.log(nodes[0]).completions.len();
        net.run_for(30 * SECOND);
        let (at, done) = &net.log(nodes[0]).completions[alone];
        let timed_out = JoinFailure::Stream(StreamFailure::TimedOut);
        assert!(
            matches!(done.outcome(), Some(Outcome::Joined { failed, .. }) if failed[0].1 == timed_out),
            "{done:?}"
        );
        assert_eq!(*at - begun, Duration::from_nanos(nanos), "{ppm}");
    }
}

#[test]
fn timers_are_kept_when_the_rate_changes_before_they_are_due() {
    let (mut net, nodes) = formed(10);
    let due = |net: &Net| net.machine(nodes[0]).unwrap().poll_timeout().unwrap();
    // The clock is a millionth of itself: what is due within a second takes days.
    net.skew_clock(nodes[0], -999_999);
    let (was, before) = (due(&net), probes(&net, nodes[0]));
    net.run_for(300 * SECOND);
    assert_eq!((due(&net), probes(&net, nodes[0])), (was, before));
    assert_eq!(net.clock(nodes[0]).ppm(), -999_999);
    net.skew_clock(nodes[0], 0);
    net.run_for(10 * SECOND);
    let probed = probes(&net, nodes[0]) - before;
    assert!((9..=11).contains(&probed), "{probed}\n{}", net.table());
}

#[test]
fn a_clock_that_is_set_forward_is_a_stall_to_its_node_and_accuses_nobody() {
    let (mut net, nodes) = formed(10);
    let before = probes(&net, nodes[4]);
    net.set_clock_forward(nodes[4], 3600 * SECOND);
    assert_eq!(net.clock(nodes[4]).reads(net.now()), net.now() + 3600 * SECOND);
    let late = net.log(nodes[4]).events.iter().find_map(|(at, news)| match news {
        News::Stalled { late } => Some((*at, *late)),
        _ => None,
    });
    let Some((at, late)) = late else { panic!("{:?}", net.log(nodes[4]).events) };
    assert_eq!(at, net.now());
    assert!((3590 * SECOND..=3600 * SECOND).contains(&late), "{late:?}");
    net.run_for(100 * SECOND);
    assert_eq!(changes(&net), Vec::<&Change>::new());
    assert!(
        (99..=102).contains(&(probes(&net, nodes[4]) - before)),
        "it does not catch up on an hour of probes"
    );
    let others = nodes.iter().filter(|node| **node != nodes[4]);
    assert!(others.clone().all(|node| net.machine(*node).unwrap().stats().stalls == 0));
}

#[test]
fn a_clock_that_is_set_back_stops_timers_until_it_has_made_up_for_it() {
    let (mut net, nodes) = formed(10);
    let stats = |net: &Net| net.machine(nodes[4]).unwrap().stats().clone();
    let before = stats(&net);
    assert_eq!(before.time_went_back, 0);
    net.set_clock_back(nodes[4], 30 * SECOND);
    net.run_for(29 * SECOND);
    let during = stats(&net);
    assert_eq!(during.probes, before.probes, "no timer is due");
    assert!(during.time_went_back > 0);
    assert_eq!(changes(&net), Vec::<&Change>::new(), "it answers, so nobody suspects it");
    net.run_for(30 * SECOND);
    let after = stats(&net);
    assert!((27..=31).contains(&(after.probes - before.probes)), "{}", after.probes - before.probes);
    assert_eq!(after.stalls, 0);
    assert_eq!(changes(&net), Vec::<&Change>::new());
    net.run_for(SECOND);
    assert_eq!(stats(&net).time_went_back, after.time_went_back, "the clock is where it was");
}

#[test]
fn a_clock_keeps_its_rate_and_time_over_a_restart() {
    let (mut net, nodes) = formed(3);
    net.skew_clock(nodes[2], 500_000);
    net.set_clock_forward(nodes[2], 100 * SECOND);
    net.crash(nodes[2]);
    net.run_for(10 * SECOND);
    let shows = Instant::ORIGIN + (60 + 100 + 15) * SECOND;
    assert_eq!(net.clock(nodes[2]).reads(net.now()), shows);
    net.restart(nodes[2]);
    net.with(nodes[2], |_, now| assert_eq!(now, shows));
    net.join(nodes[2], &nodes[..1]);
    net.run_for(20 * SECOND);
    assert!(net.agrees(), "{}", net.table());
}

/// The clocks that an observer was told of.
#[derive(Default)]
struct Clocks(Vec<(NodeId, i32)>, Vec<&'static str>);

impl<M> Observer<M> for Clocks {
    fn clock_set(&mut self, _: Instant, node: NodeId, clock: Clock) {
        self.0.push((node, clock.ppm()));
    }

    fn faulted(&mut self, _: Instant, node: Option<NodeId>, what: &'static str) {
        assert!(node.is_some());
        self.1.push(what);
    }
}

#[test]
fn observers_are_told_of_clocks() {
    let (mut net, nodes) = formed(2);
    let told = net.observe(Clocks::default());
    net.skew_clock(nodes[1], 7);
    net.set_clock_back(nodes[1], SECOND);
    net.set_clock_forward(nodes[0], SECOND);
    let Clocks(clocks, faults) = net.unobserve(told);
    assert_eq!(clocks, [(nodes[1], 7), (nodes[1], 7), (nodes[0], 0)]);
    assert_eq!(faults, ["skew_clock", "set_clock_back", "set_clock_forward"]);
}

#[test]
fn a_cluster_of_clocks_that_all_differ_finds_the_dead() {
    let (mut net, nodes) = formed(20);
    for (number, &node) in nodes.iter().enumerate() {
        net.skew_clock(node, (number as i32 - 10) * 20_000); // from -20 % to +18 %
        net.set_clock_forward(node, number as u32 * 1000 * SECOND);
    }
    net.run_for(60 * SECOND);
    assert!(changes(&net).is_empty(), "{:?}", changes(&net));
    net.crash(nodes[0]);
    net.run_for(60 * SECOND);
    assert!(net.agrees(), "{}", net.table());
}

//! Slow processes and processes that run in bursts, measured against what was asked for.

use core::time::Duration;
use gossip_proto::{Instant, Machine, Membership};
use transport_mem::net::{Bursts, Network, NodeId, Observer};

use crate::support::joining;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// When datagrams were handed to the machine of node 3.
#[derive(Default)]
struct Received(Vec<Instant>);

impl<M> Observer<M> for Received {
    fn received(&mut self, now: Instant, _: NodeId, to: NodeId, _: &[u8]) {
        if to.number() == 3 {
            self.0.push(now);
        }
    }
}

/// Thirty nodes that have joined; then the fault at node 3, and a minute that is watched.
fn run(fault: impl FnOnce(&mut Network<Membership>, NodeId)) -> (Vec<Instant>, u64) {
    let (mut net, nodes) = joining(17, 30);
    net.run_for(20 * SECOND);
    fault(&mut net, nodes[3]);
    let seen = net.observe(Received::default());
    net.run_for(60 * SECOND);
    let hash = net.trace().hash();
    (net.unobserve(seen).0, hash)
}

fn gaps(times: &[Instant]) -> Vec<Duration> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn a_slow_process_takes_one_input_per_call_time() {
    let (usual, _) = run(|_, _| ());
    assert!(gaps(&usual).iter().any(|gap| *gap < 50 * MS), "without the fault there are shorter gaps");
    let slow = || run(|net, node| net.set_slow(node, 300 * MS));
    let (times, hash) = slow();
    let gaps = gaps(&times);
    assert!(gaps.iter().all(|gap| *gap >= 300 * MS), "{gaps:?}");
    let behind = gaps.iter().filter(|gap| **gap == 300 * MS).count();
    assert!(behind * 4 > gaps.len(), "what waits is taken as soon as the call before it ends: {gaps:?}");
    assert!(times.len() > 40, "it goes on for the whole minute: {}", times.len());
    assert_eq!(slow(), (times, hash), "one seed, one run");
}

#[test]
fn timers_of_a_slow_process_take_turns_with_its_inputs_if_that_is_asked_for() {
    let ticks = |drain: Option<usize>| {
        let mut probes = 0;
        run(|net, node| {
            // Slower than it is asked, so that something always waits for it.
            net.set_slow(node, SECOND);
            if let Some(inputs) = drain {
                net.set_drain(node, inputs);
            }
            let before = net.machine(node).unwrap().stats().probes;
            net.run_for(300 * SECOND);
            probes = net.machine(node).unwrap().stats().probes - before;
        });
        probes
    };
    let (drained, in_turn) = (ticks(None), ticks(Some(1)));
    assert!(in_turn > 3 * drained && in_turn > 3, "{in_turn} probes in turn, {drained} after all inputs");
}

#[test]
fn a_process_in_bursts_reads_in_them_only() {
    let bursts = Bursts { awake: 20 * MS, least: SECOND, most: 2 * SECOND };
    let in_bursts = || run(|net, node| net.set_bursts(node, Some(bursts)));
    let (times, hash) = in_bursts();
    let gaps = gaps(&times);
    assert!(gaps.iter().all(|gap| *gap <= 20 * MS || *gap >= SECOND), "{gaps:?}");
    let waits = gaps.iter().filter(|gap| **gap >= SECOND).count();
    assert!((25..=60).contains(&waits), "a minute has forty bursts of this kind, not {waits}");
    assert!(times.len() > waits + 20, "what has waited is read together");
    assert_eq!(in_bursts(), (times, hash), "one seed, one run");
}

#[test]
fn a_process_that_gets_its_processor_back_is_as_before() {
    let (times, _) = run(|net, node| {
        net.set_slow(node, SECOND);
        net.set_bursts(node, Some(Bursts { awake: MS, least: SECOND, most: SECOND }));
        net.run_for(10 * SECOND);
        net.set_slow(node, Duration::ZERO);
        net.set_bursts(node, None);
        net.run_for(10 * SECOND);
        assert!(net.agrees());
    });
    assert!(gaps(&times).iter().any(|gap| *gap < 50 * MS));
}

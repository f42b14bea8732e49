//! Each invariant is broken once, and none in good runs.

use core::time::Duration;

use gossip_proto::wire::message::{MessageType, Ping};
use gossip_proto::{ChangeKind, Instant, Machine, Membership};
use transport_mem::Conditions;
use transport_mem::net::observe::{Bound, Broken, Invariants, Rule};
use transport_mem::net::{Change, NodeId, Observer, Replay, Watch, seeds};

use crate::support::*;

fn watched(
    test: &'static str,
    nodes: usize,
    how: fn(Invariants) -> Invariants,
) -> (Net, Vec<NodeId>, Watch<Invariants>) {
    let replay = Replay::new(env!("CARGO_PKG_NAME"), "observe", test, 1, nodes);
    let (mut net, nodes) = strangers(&replay, |_| {});
    let watch = net.observe(how(Invariants::new(replay.line()).collecting()));
    join_all(&mut net, &nodes);
    net.run_for(20 * SECOND);
    assert!(net.agrees());
    assert_eq!(net[watch].broken(), [], "nothing is broken yet");
    (net, nodes, watch)
}

/// Hands an observer something that no node did.
fn observer(net: &mut Net, watch: Watch<Invariants>) -> &mut dyn Observer<Membership> {
    &mut net[watch]
}

fn only(net: &Net, watch: Watch<Invariants>, rule: Rule) -> Broken {
    let [broken] = net[watch].broken() else { panic!("{:?}", net[watch].broken()) };
    assert_eq!(broken.rule, rule);
    assert!(broken.replay.contains("SEED=1") && broken.to_string().contains(&broken.replay));
    broken.clone()
}

#[test]
fn a_falling_incarnation_is_reported_unless_the_address_changed_or_the_member_was_forgotten() {
    let test = "invariants::a_falling_incarnation_is_reported_unless_the_address_changed_or_the_member_was_forgotten";
    let (mut net, nodes, watch) = watched(test, 3, |checks| checks);
    let member = net.machine(nodes[0]).unwrap().find(net.name(nodes[1]).as_bytes()).unwrap();
    let change = |port: u16, incarnation: u32, kind: ChangeKind| {
        let mut addr = member.addr;
        addr.set_port(port);
        (member.key, member.name.clone(), addr, member.status, incarnation, kind)
    };
    let told: Vec<_> = [
        change(7946, 9, ChangeKind::Updated),
        change(7947, 2, ChangeKind::Updated),
        change(7947, 2, ChangeKind::Reaped),
        change(7947, 1, ChangeKind::Joined),
        change(7947, 3, ChangeKind::Updated),
        change(7947, 0, ChangeKind::Updated),
        change(7947, 3, ChangeKind::Updated),
        change(7947, 2, ChangeKind::Updated),
    ]
    .into_iter()
    .collect();
    let at = net.now();
    for (step, (key, name, addr, status, incarnation, kind)) in told.into_iter().enumerate() {
        let change = Change {
            at,
            key,
            name,
            addr: Some(addr),
            status: Some(status),
            incarnation,
            kind,
            cause: gossip_proto::Cause::Local,
        };
        observer(&mut net, watch).changed(nodes[0], &change);
        assert_eq!(net[watch].broken().len(), usize::from(step == 7));
    }
    let broken = only(&net, watch, Rule::Incarnation);
    assert_eq!((broken.node, broken.at), (Some(nodes[0]), at));
}

#[test]
fn pings_beyond_the_rule_are_reported() {
    let (mut net, nodes, watch) =
        watched("invariants::pings_beyond_the_rule_are_reported", 3, |checks| checks);
    let mut datagram = vec![MessageType::Ping.byte()];
    Ping { seq: 1, ..Ping::default() }.encode(&mut datagram).unwrap();
    let at = net.now();
    // It has sent at most one in each second; one more than there were seconds must be too many.
    for _ in 0..22 {
        observer(&mut net, watch).sent(at, nodes[1], Some(nodes[0]), &datagram);
    }
    let broken = net[watch].broken()[0].clone();
    assert_eq!((broken.rule, broken.node), (Rule::Probes, Some(nodes[1])));
}

/// A machine goes on from the time it had; and how long a dead member is remembered is a matter of its node's clock.
#[test]
fn clocks_that_are_wrong_break_no_rule() {
    let test = "invariants::clocks_that_are_wrong_break_no_rule";
    let (mut net, nodes, watch) = watched(test, 4, |checks| checks);
    net.set_clock_back(nodes[0], 15 * SECOND);
    // What it is asked to ping for others it pings all the same.
    net.cut(nodes[2], nodes[3], true);
    net.run_for(20 * SECOND);
    net.heal();
    assert_eq!(net[watch].broken(), []);

    // It refutes, so that its incarnation rises; then it is gone for as long as a fast clock takes to forget it.
    net.pause(nodes[3]);
    net.run_until(60 * SECOND, |net| net.none_counts(nodes[3])).expect("it is missed");
    net.resume(nodes[3]);
    net.run_until(60 * SECOND, |net| net.agrees()).expect("it is back");
    net.skew_clock(nodes[1], 500_000);
    net.crash(nodes[3]);
    let failed = |net: &Net| net.status(nodes[1], nodes[3]) == Some(gossip_proto::Status::Failed);
    net.run_until(60 * SECOND, failed).expect("it is missed");
    net.run_for(25 * SECOND);
    net.restart(nodes[3]);
    net.join(nodes[3], &nodes[1..2]);
    let from_the_beginning = |net: &Net| {
        let seen = net.machine(nodes[1]).unwrap().find(net.name(nodes[3]).as_bytes());
        seen.is_some_and(|seen| (seen.status, seen.incarnation) == (gossip_proto::Status::Alive, 1))
    };
    net.run_until(5 * SECOND, from_the_beginning).expect("it was forgotten");
    net.run_for(5 * SECOND);
    assert_eq!(net[watch].broken(), []);
}

#[test]
fn long_datagrams_and_too_many_bytes_are_reported() {
    let test = "invariants::long_datagrams_and_too_many_bytes_are_reported";
    let (mut net, nodes, watch) = watched(test, 3, |checks| checks.budget(50_000));
    let at = net.now() + SECOND;
    observer(&mut net, watch).sent(at, nodes[0], None, &[0; 1400]);
    observer(&mut net, watch).sent(at, nodes[0], None, &[0; 1401]);
    only(&net, watch, Rule::Datagram);
    for _ in 0..50 {
        observer(&mut net, watch).sent(at, nodes[2], None, &[0; 1400]);
    }
    let broken = &net[watch].broken()[1..];
    assert_eq!(
        (broken.len(), broken[0].rule, broken[0].node),
        (1, Rule::Budget, Some(nodes[2])),
        "once a second"
    );
}

#[test]
#[should_panic(expected = "repeat it with: SEED=1")]
fn a_broken_invariant_ends_the_run_with_the_line_that_repeats_it() {
    let (mut net, nodes) = strangers(&Replay::new(env!("CARGO_PKG_NAME"), "observe", "none", 1, 2), |_| {});
    let watch = net.observe(Invariants::new("SEED=1"));
    observer(&mut net, watch).sent(Instant::ORIGIN, nodes[0], None, &[0; 1401]);
}

/// Crashes are not noticed in a second, and links that lose everything are no cut that the network knows of.
#[test]
fn what_does_not_settle_in_time_is_reported_once_for_each_fault() {
    let test = "invariants::what_does_not_settle_in_time_is_reported_once_for_each_fault";
    let (mut net, nodes, watch) = watched(test, 6, |checks| checks.within(Bound(SECOND)));
    net.crash(nodes[5]);
    net.run_for(60 * SECOND);
    only(&net, watch, Rule::Disagreement);
    let dead = |net: &Net| net.status(nodes[1], nodes[0]) == Some(gossip_proto::Status::Failed);
    let lost = Conditions::LAN.loss(1.0);
    for &other in &nodes[1..5] {
        net.set_link(nodes[0], other, Some(lost));
        net.set_link(other, nodes[0], Some(lost));
    }
    assert!(net.run_until(90 * SECOND, dead).is_some());
    // A mark of its own: nothing is mended by it.
    net.heal();
    net.run_for(5 * SECOND);
    let last = net[watch].broken().last().unwrap();
    assert_eq!(last.rule, Rule::StaysDead, "{last}");
}

#[test]
fn good_runs_break_nothing() {
    for seed in seeds(0..3) {
        let replay =
            Replay::new(env!("CARGO_PKG_NAME"), "observe", "invariants::good_runs_break_nothing", seed, 16);
        let (mut net, nodes) = strangers(&replay, |_| {});
        let config = net.machine(nodes[0]).unwrap().config().clone();
        let bound = Bound::of(&config, nodes.len(), Duration::ZERO);
        assert!(bound.0 > 60 * SECOND && bound.0 < 300 * SECOND, "{bound:?}");
        let watch = net.observe(Invariants::new(replay.line()).budget(100_000).within(bound));
        net.set_conditions(Conditions::LAN.loss(0.05).duplicate(0.02));
        join_all(&mut net, &nodes);
        net.run_for(20 * SECOND);
        net.partition(&[&nodes[..4]]);
        net.run_for(15 * SECOND);
        net.heal();
        net.pause(nodes[9]);
        net.run_for(4 * SECOND);
        net.resume(nodes[9]);
        net.crash(nodes[10]);
        net.run_for(3 * SECOND);
        net.restart(nodes[10]);
        net.join(nodes[10], &nodes[..2]);
        net.vanish(nodes[11]);
        net.run_for(bound.0 + 2 * SECOND);
        assert_eq!(net[watch].broken(), []);
    }
}

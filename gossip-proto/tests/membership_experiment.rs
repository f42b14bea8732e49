//! Each switch for the papers, by what it changes in one machine.
use crate::support;

use core::time::Duration;
use gossip_proto::wire::message::*;
use gossip_proto::*;
use support::node::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// As [`with_members`], with switches.
fn with(names: &[&str], configure: impl FnOnce(&mut Config, &mut Experiment)) -> Script {
    with_members(names, |config| {
        let mut experiment = Experiment::default();
        configure(config, &mut experiment);
        config.experiment(experiment);
    })
}

/// Runs until a member fails, every probe answered; when that is.
fn fails_at(script: &mut Script, name: &str) -> Instant {
    for _ in 0..10_000 {
        if script.status(name) == Some(Status::Failed) {
            return script.now;
        }
        script.next();
        for sent in script.sent() {
            if sent.kinds()[0] == MessageType::Ping {
                let seq = sent.ping().seq;
                script.datagram(sent.to, &ack(seq)).expect("an ack");
            }
        }
    }
    panic!("{name} never fails");
}

/// What the answer to a ping of b's holds after the ack.
fn rumors(script: &mut Script) -> Vec<Vec<u8>> {
    script.datagram(addr(2), &ping(7, "self", "b", addr(2))).expect("a ping");
    script.one().expect("an ack").messages.split_off(1)
}

#[test]
fn without_lha_probe_nothing_slows_down_and_no_nack_is_asked_for() {
    for on in [true, false] {
        let mut script = with(&["b", "c", "d", "e"], |config, experiment| {
            config.stream_pings(false);
            experiment.lha_probe(on);
        });
        probes(&mut script);
        script.next();
        let asked = script.sent();
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|request| request.indirect().nack == on));
        script.next();
        assert_eq!(script.machine.health(), if on { 3 } else { 0 });
        script.hear(&suspect("self", 1, "b"));
        assert_eq!(script.machine.health(), if on { 4 } else { 0 });
    }
}

#[test]
fn without_lha_suspicion_accusers_change_nothing() {
    for (on, accusers, lasts) in [(true, 0, 24_000), (true, 2, 4000), (false, 0, 4000), (false, 2, 4000)] {
        let mut script = with(&["b", "c", "d", "e"], |_, experiment| {
            experiment.lha_suspicion(on);
        });
        script.hear(&suspect("b", 1, "c"));
        let began = script.now;
        script.drain(addr(3));
        for by in ["d", "e"].iter().take(accusers) {
            script.hear(&suspect("b", 1, by));
            assert_eq!(script.drain(addr(3)).contains(&suspect("b", 1, by)), on);
        }
        assert_eq!(fails_at(&mut script, "b"), began + ms(lasts), "{on} {accusers}");
    }
}

#[test]
fn k_says_how_many_accusers_make_a_suspicion_short() {
    // 24 s less 20 s by the logarithms of what was heard and what is waited for.
    for (k, lasts) in [(None, 11_381), (Some(0), 4000), (Some(1), 4000), (Some(3), 14_000), (Some(9), 24_000)]
    {
        let mut script = with(&["b", "c", "d", "e", "f"], |_, experiment| {
            experiment.suspicion_k(k);
        });
        script.hear(&suspect("b", 1, "c"));
        let began = script.now;
        script.hear(&suspect("b", 1, "d"));
        // Of six no nine can accuse.
        let lasts = if k == Some(9) { 4000 } else { lasts };
        assert_eq!(fails_at(&mut script, "b"), began + ms(lasts), "{k:?}");
    }
    let mut config = config("self", 1);
    let mut experiment = Experiment::default();
    experiment.suspicion_k(Some(1025));
    config.experiment(experiment);
    let refused = Membership::new(Instant::ORIGIN, config, Seed::from_u64(1), NonceSecret::new([1; 32]));
    let why = ConfigError::OutOfRange { parameter: "experiment.suspicion_k", allowed: "0 to 1024" };
    assert_eq!(refused.expect_err("too many"), why);
}

#[test]
fn without_the_buddy_system_a_suspect_is_not_told() {
    for on in [true, false] {
        let mut script = with(&["b"], |_, experiment| {
            experiment.buddy_system(on);
        });
        script.hear(&suspect("b", 1, "c"));
        // News of somebody who will not be probed instead.
        script.hear(&plain_alive("z", 9, 1));
        script.drain(addr(2));
        script.hear(&dead("z", 1, "z"));
        let kinds = probes(&mut script).kinds();
        let second = if on { MessageType::Suspect } else { MessageType::Dead };
        assert_eq!(kinds, [MessageType::Ping, second]);
    }
}

#[test]
fn the_probe_timeout_can_grow_with_the_health_score() {
    for (scaled, wait) in [(false, 500), (true, 1500)] {
        let mut script = with(&["b"], |_, experiment| {
            experiment.scaled_probe_timeout(scaled);
        });
        script.hear(&suspect("self", 1, "b"));
        script.hear(&suspect("self", 2, "b"));
        assert_eq!(script.machine.health(), 2);
        probes(&mut script);
        let handed_out = script.now;
        script.at(handed_out + ms(wait - 1));
        assert!(script.machine.poll_stream().is_none());
        script.at(handed_out + ms(wait));
        assert!(script.machine.poll_stream().is_some(), "the stream ping that goes with the second phase");
    }
}

#[test]
fn without_suspicion_silence_is_death() {
    for (on, status) in [(true, Status::Suspect), (false, Status::Failed)] {
        let mut script = with(&["b"], |_, experiment| {
            experiment.suspicion(on);
        });
        probes(&mut script);
        script.next();
        script.next();
        assert_eq!(script.status("b"), Some(status));
    }
}

#[test]
fn deaths_can_be_final() {
    for is_final in [false, true] {
        let mut script = with(&["b", "c"], |_, experiment| {
            experiment.final_deaths(is_final);
        });
        script.hear(&dead("b", 1, "c"));
        script.hear(&plain_alive("b", 2, 5));
        assert_eq!(script.status("b"), Some(if is_final { Status::Failed } else { Status::Alive }));
        script.hear(&dead("self", 1, "c"));
        assert_eq!(script.incarnation("self"), if is_final { 1 } else { 2 });
        // A suspicion is refuted all the same.
        script.hear(&suspect("self", script.incarnation("self"), "c"));
        assert_eq!(script.incarnation("self"), if is_final { 2 } else { 3 });
    }
}

/// In how many answers a rumor goes out.
fn transmissions(script: &mut Script) -> usize {
    script.hear(&plain_alive("z", 90, 1));
    let count = (0..100).take_while(|_| !rumors(script).is_empty()).count();
    assert!(count < 100);
    count
}

#[test]
fn the_logarithm_scales_suspicions_and_transmissions() {
    let names: Vec<String> = (0..24).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = core::iter::once("b").chain(names.iter().map(String::as_str)).collect();
    // With the one that is told of 27 members: their decimal logarithm is 1.431, their natural one is above 3.
    for (log, sent, lasts) in [(Logarithm::Ten, 6, 4293), (Logarithm::Natural, 12, 12_000)] {
        let mut script = with(&names, |config, experiment| {
            config.suspicion_mult(3).retransmit_mult(3).suspicion_max_mult(1);
            experiment.logarithm(log);
        });
        assert_eq!(transmissions(&mut script), sent);
        script.hear(&suspect("m1", 1, "m2"));
        let began = script.now;
        assert_eq!(fails_at(&mut script, "m1"), began + ms(lasts));
    }
}

#[test]
fn the_transmit_limit_can_be_fixed() {
    for (limit, sent) in [(None, 4), (Some(0), 1), (Some(1), 1), (Some(7), 7)] {
        let mut script = with(&["b"], |_, experiment| {
            experiment.transmit_limit(limit);
        });
        assert_eq!(transmissions(&mut script), sent);
    }
}

#[test]
fn rumors_can_be_left_to_gossip() {
    for on in [true, false] {
        let mut script = with(&["b"], |config, experiment| {
            config.gossip_interval(ms(200)).probe_interval(Duration::ZERO);
            experiment.piggyback(on);
        });
        // With nothing on answers, gossip gets rid of the first ones.
        script.at_ms(5000);
        while script.machine.poll_timeout().is_some() {
            script.sent();
            script.next();
        }
        script.hear(&plain_alive("z", 9, 1));
        assert_eq!(rumors(&mut script).len(), usize::from(on));
        script.next();
        let gossip = script.one().expect("gossip");
        assert_eq!(gossip.kinds(), [MessageType::Alive]);
    }
}

#[test]
fn the_rumors_of_a_packet_can_be_limited() {
    for (max, found) in [(usize::MAX, 9), (6, 6), (0, 0)] {
        let mut script = with(&["b"], |_, experiment| {
            experiment.max_updates(max);
        });
        for host in 20..29 {
            script.hear(&plain_alive(&format!("n{host}"), host, 1));
        }
        assert_eq!(rumors(&mut script).len(), found);
    }
}

#[test]
fn one_lane_keeps_to_the_order_of_the_reference() {
    for one_lane in [false, true] {
        let mut script = with(&["b"], |_, experiment| {
            experiment.one_lane(one_lane);
        });
        script.hear(&plain_alive("longer than this node's name", 30, 1));
        script.hear(&suspect("self", 1, "b"));
        let first = rumors(&mut script).remove(0);
        let first = Alive::decode(&first[1..]).expect("an alive").0;
        assert_eq!(*first.node == *b"self", !one_lane);
    }
}

#[test]
fn without_the_stall_rule_a_late_node_judges_at_once() {
    for (on, status) in [(true, Status::Suspect), (false, Status::Failed)] {
        let mut script = with(&["b", "c"], |config, experiment| {
            config.suspicion_max_mult(1).indirect_checks(0).stream_pings(false);
            experiment.stall_rule(on);
        });
        script.hear(&suspect("b", 1, "c"));
        script.late(script.now + ms(6000));
        assert_eq!(script.status("b"), Some(status));
        assert_eq!(script.machine.stats().stalls, u64::from(on));
    }
}

#[test]
fn without_healing_the_accused_are_left_to_gossip() {
    for on in [true, false] {
        let mut script = with(&["b", "c"], |_, experiment| {
            experiment.healing(on);
        });
        script.hear(&suspect("b", 1, "c"));
        script.drain(addr(3));
        // b asks, and is told, or not.
        assert_eq!(rumors(&mut script).len(), usize::from(on));
        // c still accuses this node at an incarnation that it has refuted.
        script.hear(&suspect("self", 1, "c"));
        script.drain(addr(3));
        script.hear(&suspect("self", 1, "c"));
        assert_eq!(script.drain(addr(3)).len(), usize::from(on));
        // b comes back, and whoever misses somebody turns to it.
        script.hear(&suspect("self", 2, "c"));
        script.drain(addr(3));
        script.at(script.now + ms(60_000));
        assert_eq!(script.machine.stats().follow_ups > 0, on);
    }
}

/// When a lonely node with only that tick wakes up in its first 20 s, every seventh time 410 ms late.
fn wakeups(seed: u64, start: u64, lockstep: bool, which: Wakeup, interval: Duration) -> Vec<u64> {
    let mut config = config("self", 1);
    let mut experiment = Experiment::default();
    experiment.lockstep(lockstep);
    config.experiment(experiment);
    let only = |tick| if tick == which { interval } else { Duration::ZERO };
    config.probe_interval(only(Wakeup::Probe)).gossip_interval(only(Wakeup::Gossip));
    config.push_pull_interval(only(Wakeup::Exchange));
    let (now, seed) = (Instant::from_millis(start), Seed::from_u64(seed));
    let mut machine = Membership::new(now, config, seed, NonceSecret::new([1; 32])).expect("a node");
    let mut ticks = Vec::new();
    while let Some((wakeup, at)) = machine.next_wakeup().filter(|(_, at)| *at <= Instant::from_millis(20_000))
    {
        assert_eq!(wakeup, which);
        ticks.push(at.as_nanos() / 1_000_000);
        machine.handle_timeout(at + if ticks.len() % 7 == 0 { ms(410) } else { Duration::ZERO });
    }
    ticks
}

#[test]
fn in_lock_step_all_nodes_tick_at_the_same_instants() {
    for (which, interval) in [(Wakeup::Probe, 1000), (Wakeup::Gossip, 300), (Wakeup::Exchange, 1500)] {
        let ticks = |seed, start, lockstep| wakeups(seed, start, lockstep, which, ms(interval));
        for (seed, start) in [(1, 0), (2, 1234), (3, 6789)] {
            let ticks = ticks(seed, start, true);
            assert!(ticks.len() > 5 && ticks.iter().all(|at| at % interval == 0), "{which:?} {ticks:?}");
        }
        assert_eq!(ticks(1, 0, true), ticks(2, 0, true));
        // As it ships each begins where it likes.
        assert_ne!(ticks(1, 0, false), ticks(2, 0, false));
        assert!(ticks(1, 0, false).iter().any(|at| at % interval != 0));
    }
}

#[test]
fn a_probe_from_its_tick_fails_when_its_ping_leaves_too_late() {
    for (from_tick, status) in [(false, Status::Alive), (true, Status::Suspect)] {
        let mut script = with(&["b", "c"], |config, experiment| {
            config.indirect_checks(0).stream_pings(false);
            experiment.probe_from_tick(from_tick);
        });
        // The socket is full for some intervals: nothing is polled, and nobody is accused meanwhile.
        for _ in 0..60 {
            script.next();
        }
        assert_eq!((script.status("b"), script.status("c")), (Some(Status::Alive), Some(Status::Alive)));
        // Then the ping leaves, and its time is over already, or only begins.
        let target = script.sent().into_iter().find(|sent| sent.kinds()[0] == MessageType::Ping);
        let target = target.expect("one ping").to;
        for _ in 0..3 {
            script.late(script.now);
        }
        let name = if target == addr(2) { "b" } else { "c" };
        assert_eq!(script.status(name), Some(status));
    }
}

#[test]
fn a_probe_from_its_tick_is_not_judged_before_its_helpers_were_asked() {
    for from_tick in [false, true] {
        let mut script = with(&["b", "c"], |config, experiment| {
            config.indirect_checks(1).stream_pings(false).suspicion_mult(100);
            experiment.probe_from_tick(from_tick);
        });
        let target = probes(&mut script).to;
        let name = if target == addr(2) { "b" } else { "c" };
        // Nobody answers, and then the socket is full for some intervals.
        for _ in 0..60 {
            script.next();
        }
        assert_eq!(script.status(name) == Some(Status::Suspect), !from_tick, "{from_tick}");
        if from_tick {
            assert!(script.sent().iter().any(|sent| sent.kinds()[0] == MessageType::IndirectPing));
            script.late(script.now);
            assert_eq!(script.status(name), Some(Status::Suspect));
        }
    }
}

#[test]
fn a_kept_gossip_tick_is_made_up_for_when_its_packets_have_left() {
    for keeps in [false, true] {
        let mut script = with(&["b", "c", "d", "e"], |config, experiment| {
            // Gossip alone, to two of the four.
            config.probe_interval(Duration::ZERO).gossip_interval(ms(200)).gossip_nodes(2);
            experiment.gossip_keeps_tick(keeps);
        });
        script.hear(&plain_alive("z", 9, 1));
        // The socket is full for many ticks.
        for _ in 0..10 {
            script.next();
        }
        assert_eq!(script.sent().len(), 2, "the packets of one tick have waited");
        // At the same instant there is one more tick, and no more than that.
        for left in [if keeps { 2 } else { 0 }, 0] {
            script.late(script.now);
            assert_eq!(script.sent().len(), left, "{keeps}");
        }
    }
}

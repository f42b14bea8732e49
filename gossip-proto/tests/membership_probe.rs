//! The failure detector of one node, told what happens and when (spec 4.8, Lifeguard).
use crate::support;

use core::time::Duration;
use gossip_proto::wire::layers::Compression;
use gossip_proto::wire::message::*;
use gossip_proto::*;
use support::node::*;

const ACCUSED: ChangeKind = ChangeKind::Suspected;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

// upstream: TestMemberList_ProbeNode, TestMemberList_Probe, TestMemberList_ProbeNode_Awareness_Improved
#[test]
fn an_answered_probe_is_over_and_improves_health() {
    let mut script = with_members(&["b"], |_| {});
    script.hear(&suspect("self", 1, "b"));
    assert_eq!(script.machine.health(), 1);
    script.drain(addr(2));
    let sent = probes(&mut script);
    let ping = sent.ping();
    assert_eq!((sent.to, &*ping.node, &*ping.source_node), (addr(2), &b"b"[..], &b"self"[..]));
    assert_eq!((&*ping.source_addr, ping.source_port), (&[10, 0, 0, 1][..], 7946));
    let seq = ping.seq;
    // Each phase is judged by a clock that starts when the ping is handed out.
    assert_eq!(script.machine.next_wakeup(), Some((Wakeup::ProbePhase, script.now + ms(500))));
    script.now += ms(20);
    script.datagram(addr(2), &ack(seq)).unwrap();
    assert_eq!(script.machine.health(), 0);
    assert_eq!(script.machine.stats().probes_succeeded, 1);
    // A second ack with that number answers nothing.
    script.datagram(addr(2), &ack(seq)).unwrap();
    assert_eq!(script.machine.stats().ack_unknown, 1);
    assert_eq!(script.machine.next_wakeup().unwrap().0, Wakeup::Probe);
    assert!(script.changes().is_empty());
}

// upstream: TestMemberList_ProbeNode_Suspect, TestMemberList_ProbeNode_Awareness_Degraded
#[test]
fn a_silent_member_is_suspected_after_helpers_were_asked() {
    let mut script = with_members(&["b", "c", "d"], |config| {
        config.stream_pings(false);
    });
    let direct = probes(&mut script);
    let (target, seq) = (direct.to, direct.ping().seq);
    let handed_out = script.now;
    assert_eq!(script.next(), handed_out + ms(500));
    let asked = script.sent();
    assert_eq!(asked.len(), 2, "everybody but the target and itself");
    for request in &asked {
        let request_to = request.to;
        let request = request.indirect();
        assert_ne!(request_to, target);
        assert_eq!((request.seq, request.nack, request.port), (seq, true, 7946));
        assert_eq!(
            (&*request.target, &*request.source_node),
            (&[10, 0, 0, target.ip().to_string().as_bytes()[7] - b'0'][..], &b"self"[..])
        );
    }
    // Both helpers say that they got no answer either: then it is not us.
    script.now += ms(400);
    for request in &asked {
        script.datagram(request.to, &nack(seq)).unwrap();
        script.datagram(request.to, &nack(seq)).unwrap();
    }
    assert_eq!(script.machine.poll_timeout(), Some(handed_out + ms(1000)));
    script.at(handed_out + ms(1000));
    let changes = script.changes();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].1, ACCUSED);
    assert_eq!(script.machine.health(), 0);
    let name = changes[0].0.clone();
    assert_eq!(script.status(&name), Some(Status::Suspect));
    assert_eq!(script.drain(asked[0].to), [suspect(&name, 1, "self")]);
    // It asks us something, so it lives, and hears of the suspicion with the answer.
    script.datagram(target, &ping(9, "self", &name, target)).unwrap();
    assert_eq!(script.one().unwrap().messages, [ack(9), suspect(&name, 1, "self")]);
}

#[test]
fn the_cause_tells_what_the_probe_has_tried() {
    let mut script = with_members(&["b", "c"], |_| {});
    let started = probes(&mut script);
    script.next();
    for request in script.sent() {
        // Who says it twice is still one helper.
        script.datagram(request.to, &nack(started.ping().seq)).unwrap();
        script.datagram(request.to, &nack(started.ping().seq)).unwrap();
    }
    assert_eq!(script.machine.stats().nacks, 1);
    script.next();
    let change = script.machine.poll_membership().unwrap();
    assert_eq!(change.cause, Cause::Probe { waited: ms(1000), helpers: 1, nacks: 1, stream: true });
}

// upstream: TestMemberList_ProbeNode_Awareness_MissedNack
#[test]
fn each_missing_nack_degrades_health() {
    let mut script = with_members(&["b", "c", "d", "e"], |config| {
        config.stream_pings(false);
    });
    let direct = probes(&mut script);
    let seq = direct.ping().seq;
    script.next();
    let asked = script.sent();
    assert_eq!(asked.len(), 3);
    script.datagram(asked[0].to, &nack(seq)).unwrap();
    script.next();
    assert_eq!(script.machine.health(), 2);
    // The next probe takes three intervals; its timeout is not scaled.
    let next = probes(&mut script);
    let handed_out = script.now;
    assert_eq!(
        script.machine.poll_timeout().unwrap().min(handed_out + ms(500)),
        script.machine.poll_timeout().unwrap()
    );
    script.at(handed_out + ms(2999));
    assert_eq!(script.machine.stats().probes_failed, 1);
    script.at(handed_out + ms(3000));
    assert_eq!(script.machine.stats().probes_failed, 2, "{next:?}");
}

// upstream: TestMemberList_ProbeNode_Awareness_OldProtocol
#[test]
fn without_helpers_that_nack_a_failure_degrades_health_by_one() {
    let mut script = Script::new(|_| {});
    let vsn = [1, 3, 2, 0, 0, 0];
    for (host, name) in [(2, "b"), (3, "c"), (4, "d")] {
        script.hear(
            &AliveOf { name, incarnation: 1, addr: &[10, 0, 0, host], port: 7946, meta: b"", vsn: &vsn }
                .encode(),
        );
    }
    script.drain(addr(2));
    probes(&mut script);
    script.next();
    assert!(script.sent().iter().all(|sent| !sent.indirect().nack));
    script.next();
    assert_eq!(script.machine.health(), 1);
}

#[test]
fn a_forwarded_ack_ends_the_probe_well() {
    let mut script = with_members(&["b", "c"], |_| {});
    let direct = probes(&mut script);
    script.next();
    let asked = script.sent();
    script.datagram(asked[0].to, &ack(direct.ping().seq)).unwrap();
    assert_eq!(script.machine.stats().probes_succeeded, 1);
    let target = script.now + ms(5000);
    script.at(target);
    assert!(script.changes().iter().all(|(_, kind)| *kind != ChangeKind::Failed));
}

// upstream: TestMemberList_invokeAckHandler_Channel_Ack, TestMemberList_invokeAckHandler_Channel_Nack
#[test]
fn a_nack_is_counted_and_an_ack_still_waited_for() {
    let mut script = with_members(&["b", "c"], |config| {
        config.stream_pings(false);
    });
    let seq = probes(&mut script).ping().seq;
    script.next();
    let asked = script.sent();
    script.datagram(asked[0].to, &nack(seq)).unwrap();
    assert_eq!((script.machine.stats().nacks, script.machine.stats().probes_succeeded), (1, 0));
    script.datagram(asked[0].to, &ack(seq)).unwrap();
    script.datagram(asked[0].to, &nack(seq)).unwrap();
    let stats = script.machine.stats();
    assert_eq!(
        (stats.nacks, stats.probes_succeeded, stats.ack_unknown),
        (1, 1, 1),
        "after the ack nobody waits"
    );
}

// upstream: TestMemberList_ProbeNode_Buddy
#[test]
fn a_suspect_is_told_with_the_ping() {
    let mut script = with_members(&["b"], |_| {});
    script.hear(&suspect("b", 1, "x"));
    let sent = probes(&mut script);
    assert_eq!(sent.kinds(), [MessageType::Ping, MessageType::Suspect]);
    assert_eq!(sent.messages[1], suspect("b", 1, "self"));
    // The other side: whoever is told refutes at once, with the ack.
    let mut buddy = Script::new(|_| {});
    buddy.hear(&plain_alive("b", 2, 1));
    buddy.drain(addr(2));
    buddy.datagram(addr(2), &ping(1, "self", "b", addr(2))).unwrap();
    buddy.datagram(addr(2), &suspect("self", 1, "b")).unwrap();
    let answer = buddy.one().unwrap();
    assert_eq!(answer.kinds(), [MessageType::Ack, MessageType::Alive]);
    assert_eq!(buddy.incarnation("self"), 2);
}

/// Where a name is so long that its suspicion has no room beside the ping, the ping goes alone.
#[test]
fn a_suspect_with_a_long_name_is_probed_all_the_same() {
    let name = "b".repeat(500);
    let mut script = with_members(&[&name], |config| {
        config.max_datagram(900);
    });
    script.hear(&suspect(&name, 1, "x"));
    assert_eq!(probes(&mut script).kinds(), [MessageType::Ping]);
    assert_eq!(script.machine.stats().probes_unsent, 0);
}

// upstream: TestMemberList_ProbeNode_FallbackTCP
#[test]
fn a_stream_ping_saves_whom_datagrams_do_not_reach() {
    let mut script = with_members(&["b"], |config| {
        config.compression(Compression::Off);
    });
    let direct = probes(&mut script);
    let handed_out = script.now;
    script.next();
    let Some(StreamAction::Open { id, to, deadline, .. }) = script.machine.poll_stream() else {
        panic!("no stream")
    };
    assert_eq!((to, deadline), (addr(2), handed_out + ms(1000)));
    script.machine.handle_stream_opened(script.now, id);
    assert_eq!(script.machine.poll_stream(), Some(StreamAction::Writable { id }));
    let mut buf = [0; 200];
    let written = script.machine.poll_stream_data(script.now, id, &mut buf);
    assert_eq!(buf[..written.len], direct.messages[0], "the same ping, number and all");
    let reply = ack(direct.ping().seq);
    assert_eq!(script.machine.handle_stream_data(script.now, id, &reply, false), Ok(reply.len()));
    assert_eq!(script.machine.poll_stream(), Some(StreamAction::Close { id }));
    assert_eq!(script.machine.stats().probes_succeeded, 0, "it counts when the time is up");
    script.at(handed_out + ms(1000));
    assert_eq!(script.machine.stats().probes_saved_by_stream, 1);
    assert_eq!(script.status("b"), Some(Status::Alive));
}

// upstream: TestTCPPing
#[test]
fn a_stream_ack_with_another_number_saves_nobody() {
    for reply in [ack(12345), nack(1), suspect("b", 1, "x"), b"\x0d\x81\xa5Error\xa1x".to_vec()] {
        let mut script = with_members(&["b"], |_| {});
        probes(&mut script);
        script.next();
        let Some(StreamAction::Open { id, .. }) = script.machine.poll_stream() else { panic!("no stream") };
        script.machine.handle_stream_opened(script.now, id);
        let _ = script.machine.handle_stream_data(script.now, id, &reply, true);
        script.at(script.now + ms(500));
        assert_eq!(script.status("b"), Some(Status::Suspect));
    }
}

// upstream: TestMemberList_ProbeNode_FallbackTCP_Disabled, TestMemberList_ProbeNode_FallbackTCP_OldProtocol
#[test]
fn no_stream_ping_where_it_is_off_or_not_understood() {
    let mut off = with_members(&["b"], |config| {
        config.stream_pings(false);
    });
    let mut old = Script::new(|_| {});
    let vsn = [1, 2, 2, 0, 0, 0];
    old.hear(
        &AliveOf { name: "b", incarnation: 1, addr: &[10, 0, 0, 2], port: 7946, meta: b"", vsn: &vsn }
            .encode(),
    );
    old.drain(addr(2));
    for script in [&mut off, &mut old] {
        probes(script);
        script.next();
        assert_eq!(script.machine.poll_stream(), None);
        script.next();
        assert_eq!(script.status("b"), Some(Status::Suspect));
    }
}

#[test]
fn a_ping_never_handed_out_accuses_nobody() {
    let mut script = with_members(&["b"], |_| {});
    // The socket is full: nothing is polled for minutes.
    for _ in 0..300 {
        script.next();
    }
    assert!(script.machine.stats().probes_unsent > 20);
    assert_eq!((script.machine.stats().probes_failed, script.machine.health()), (0, 0));
    assert_eq!(script.status("b"), Some(Status::Alive));
    // And then one ping is sent, not one per interval.
    assert!(script.sent().len() <= 1);
}

#[test]
fn a_ping_that_waited_has_its_whole_time_from_then() {
    let mut script = with_members(&["b"], |config| {
        config.stream_pings(false);
    });
    while script.machine.stats().probes == 0 {
        script.next();
    }
    script.now += ms(900);
    let sent = script.one().unwrap();
    assert_eq!(sent.to, addr(2));
    let handed_out = script.now;
    script.at(handed_out + ms(499));
    assert_eq!(script.machine.stats().indirect_pings, 0);
    script.at(handed_out + ms(999));
    assert_eq!(script.status("b"), Some(Status::Alive));
    script.at(handed_out + ms(1000));
    assert_eq!(script.status("b"), Some(Status::Suspect));
}

// upstream: TestMemberlist_FailedRemote
#[test]
fn only_the_networks_refusal_of_its_own_ping_goes_on_to_helpers() {
    for (why, helpers) in
        [(TransmitFailure::Unreachable, 1), (TransmitFailure::Local, 0), (TransmitFailure::TooBig(100), 0)]
    {
        let mut script = with_members(&["b", "c"], |config| {
            config.stream_pings(false);
        });
        let sent = probes(&mut script);
        script.machine.handle_transmit_failed(script.now, sent.id, why);
        let asked = script.sent();
        assert_eq!(asked.len(), helpers, "{why:?}");
        script.at(script.now + ms(999));
        assert!(script.changes().is_empty());
        if helpers > 0 {
            script.at(script.now + ms(1));
            assert_eq!(script.changes().len(), 1);
        }
    }
}

/// spec 4.8: helpers are asked once, and whom they are asked about was reached by then for all we know.
#[test]
fn a_refusal_after_helpers_were_asked_changes_nothing() {
    let mut script = with_members(&["b", "c"], |config| {
        config.stream_pings(false);
    });
    script.hear(&suspect("self", 1, "b"));
    script.drain(addr(2));
    let sent = probes(&mut script);
    script.next();
    assert_eq!(script.sent().len(), 1);
    script.machine.handle_transmit_failed(script.now, sent.id, TransmitFailure::Unreachable);
    assert!(script.sent().is_empty());
    script.datagram(sent.to, &ack(sent.ping().seq)).unwrap();
    assert_eq!((script.machine.stats().probes_succeeded, script.machine.health()), (1, 0));
}

#[test]
fn a_failed_transmit_of_something_else_leaves_the_probe_alone() {
    let mut script = with_members(&["b", "c"], |_| {});
    script.datagram(addr(2), &ping(5, "self", "b", addr(2))).unwrap();
    let other = script.one().unwrap();
    let sent = probes(&mut script);
    script.machine.handle_transmit_failed(script.now, other.id, TransmitFailure::Local);
    script.datagram(addr(2), &ack(sent.ping().seq)).unwrap();
    assert_eq!(script.machine.stats().probes_succeeded, 1);
}

#[test]
fn after_a_failed_send_success_does_not_improve_health() {
    let mut script = with_members(&["b", "c"], |_| {});
    script.hear(&suspect("self", 1, "b"));
    script.drain(addr(2));
    assert_eq!(script.machine.health(), 1);
    let sent = probes(&mut script);
    script.machine.handle_transmit_failed(script.now, sent.id, TransmitFailure::Unreachable);
    script.datagram(addr(3), &ack(sent.ping().seq)).unwrap();
    assert_eq!((script.machine.stats().probes_succeeded, script.machine.health()), (1, 1));
}

#[test]
fn every_member_is_probed_once_in_each_round() {
    let mut script = with_members(&["b", "c", "d", "e", "f"], |_| {});
    for _ in 0..10 {
        let mut round = Vec::new();
        for _ in 0..5 {
            let sent = probes(&mut script);
            let seq = sent.ping().seq;
            script.datagram(sent.to, &ack(seq)).unwrap();
            round.push(sent.to);
        }
        round.sort();
        assert_eq!(round, [2, 3, 4, 5, 6].map(addr));
    }
}

#[test]
fn the_dead_and_the_left_are_not_probed() {
    let mut script = with_members(&["b", "c", "d"], |_| {});
    script.hear(&dead("b", 1, "x"));
    script.hear(&dead("c", 1, "c"));
    script.drain(addr(4));
    for _ in 0..8 {
        let sent = probes(&mut script);
        assert_eq!(sent.to, addr(4));
        let seq = sent.ping().seq;
        script.datagram(sent.to, &ack(seq)).unwrap();
    }
}

#[test]
fn a_late_timer_call_gives_the_probe_its_time_back() {
    let mut script = with_members(&["b"], |config| {
        config.stream_pings(false);
    });
    let sent = probes(&mut script);
    let handed_out = script.now;
    // The process was stopped for a minute, with the ack in the socket all the while.
    script.late(handed_out + ms(60_000));
    assert_eq!(script.machine.stats().stalls, 1);
    assert!(script.events().iter().any(|event| event.contains("Stalled")));
    script.datagram(addr(2), &ack(sent.ping().seq)).unwrap();
    assert_eq!(script.machine.stats().probes_succeeded, 1);
    assert_eq!(script.status("b"), Some(Status::Alive));
    // One that is really gone is still found out.
    let mut script = with_members(&["b"], |config| {
        config.stream_pings(false);
    });
    probes(&mut script);
    script.late(script.now + ms(60_000));
    assert_eq!(script.status("b"), Some(Status::Alive));
    script.at(script.now + ms(1000));
    assert_eq!(script.status("b"), Some(Status::Suspect));
}

// upstream: TestMemberList_NextSeq, TestMemberList_invokeAckHandler, TestMemberList_setProbeChannels
#[test]
fn sequence_numbers_ascend_from_a_random_start() {
    let first = |seed: u64| {
        let mut config = config("self", 1);
        config.probe_interval(ms(100));
        let mut machine = machine(config, seed);
        let alive = plain_alive("b", 2, 1);
        machine
            .handle_datagram(Instant::ORIGIN, Source::unauthenticated(addr(2)), &mut alive.clone())
            .unwrap();
        let mut script = Script { machine, now: Instant::ORIGIN };
        script.drain(addr(2));
        let a = probes(&mut script).ping().seq;
        script.datagram(addr(2), &ack(a)).unwrap();
        let b = probes(&mut script).ping().seq;
        assert_eq!(b, a.wrapping_add(1));
        a
    };
    assert!(first(1) != first(2) && first(1) > 1000, "{} {}", first(1), first(2));
}

#[test]
fn an_ack_to_nobody_changes_nothing() {
    let mut script = with_members(&["b"], |_| {});
    let before = script.machine.health();
    script.hear(&ack(4));
    script.hear(&nack(4));
    assert_eq!((script.machine.stats().ack_unknown, script.machine.health()), (2, before));
}

//! Dissemination: what is sent to whom, how often, and within which bounds (spec 4.9, 4.11).
use crate::support;

use core::time::Duration;
use gossip_proto::wire::message::MessageType;
use gossip_proto::*;
use support::node::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A node with gossip every 200 ms, no probes, and members b and so on; all news sent.
fn gossiping(names: &[&str], configure: impl FnOnce(&mut Config)) -> Script {
    let mut script = Script::new(|config| {
        config.probe_interval(Duration::ZERO).gossip_interval(ms(200));
        configure(config);
    });
    for (host, name) in (2..).zip(names) {
        script.hear(&plain_alive(name, host, 1));
    }
    script.drain(addr(2));
    script
}

/// Lets one gossip interval pass.
fn tick(script: &mut Script) {
    script.at(script.now + ms(200));
}

// upstream: TestMemberlist_Gossip, TestRetransmitLimit
#[test]
fn a_rumor_is_sent_as_often_as_the_cluster_is_large() {
    let mut script = gossiping(&["b", "c", "d", "e"], |_| {});
    script.hear(&plain_alive("f", 6, 1));
    let (mut copies, mut ticks) = (0, 0);
    for _ in 0..10 {
        tick(&mut script);
        let sent = script.sent();
        ticks += usize::from(!sent.is_empty());
        for sent in sent {
            assert_eq!(sent.messages, [plain_alive("f", 6, 1)]);
            assert_ne!(sent.to, addr(1));
            copies += 1;
        }
    }
    // mult 4, 6 members: 4 times, 3 of them in the first tick.
    assert_eq!((copies, ticks), (4, 2));
}

// upstream: TestMemberlist_GossipToDead
#[test]
fn the_dead_get_gossip_for_a_while_and_the_left_never() {
    for (leave, later, expected) in [(false, 1_000, true), (false, 29_000, true), (true, 1_000, false)] {
        let mut script = gossiping(&["b", "c"], |config| {
            config.gossip_to_the_dead(ms(30_000));
        });
        script.hear(&dead("b", 1, if leave { "b" } else { "x" }));
        script.drain(addr(3));
        script.at_ms(later);
        script.sent();
        script.hear(&plain_alive("d", 4, 1));
        let mut to_dead = false;
        for _ in 0..5 {
            tick(&mut script);
            to_dead |= script.sent().iter().any(|sent| sent.to == addr(2));
        }
        assert_eq!(to_dead, expected, "{leave} {later}");
    }
}

/// W-4: the count of a compound is one byte.
#[test]
fn a_compound_never_has_more_messages_than_its_count_can_say() {
    let mut script = gossiping(&["b"], |config| {
        config.max_datagram(9000);
    });
    for byte in 0..300u32 {
        script.machine.broadcast(script.now, vec![byte as u8].into()).unwrap();
    }
    let mut heard = 0;
    for _ in 0..20 {
        tick(&mut script);
        for sent in script.sent() {
            assert!(sent.messages.len() <= 255);
            heard += sent.messages.len();
        }
    }
    assert_eq!(heard, 300 * 4);
    // Also with a message in front.
    for byte in 0..300u32 {
        script.machine.broadcast(script.now, vec![byte as u8].into()).unwrap();
    }
    script.datagram(addr(2), &ping(1, "self", "b", addr(2))).unwrap();
    let sent = script.one().unwrap();
    assert_eq!((sent.messages.len(), &sent.messages[0]), (255, &ack(1)));
}

#[test]
fn a_flood_of_one_kind_does_not_keep_a_refutation_waiting() {
    let mut script = gossiping(&["b"], |_| {});
    for n in 0..2000u32 {
        script.hear(&plain_alive(&format!("n{n}"), 100, 1));
        script.machine.broadcast(script.now, vec![0; 500].into()).ok();
    }
    script.hear(&suspect("self", 1, "x"));
    script.next();
    let sent = script.one().unwrap();
    assert!(sent.messages.contains(&alive("self", 1, 2)));
    assert!(sent.kinds().contains(&MessageType::Alive));
    // The long ones save up for their turn.
    assert!(script.sent().iter().any(|sent| sent.kinds().contains(&MessageType::User)));
}

#[test]
fn the_queue_is_bounded() {
    let mut script = gossiping(&["b"], |config| {
        config.max_rumors(16).max_operations(10_000);
    });
    for n in 0..100u8 {
        script.machine.broadcast(script.now, vec![n].into()).unwrap();
    }
    assert_eq!(script.machine.stats().rumors_pruned, 84);
    // Whoever waited for a pruned one is told, and that it may have gone nowhere.
    let ends: Vec<_> = core::iter::from_fn(|| script.machine.poll_completion()).collect();
    assert_eq!(ends.len(), 84);
    let pruned = |end: &Completion| {
        matches!(end, Completion::Ended { outcome: Outcome::Announced { in_time: false }, .. })
    };
    assert!(ends.iter().all(pruned), "{ends:?}");
}

#[test]
fn the_newest_news_about_a_member_is_the_only_news() {
    let mut script = gossiping(&["b"], |_| {});
    script.hear(&plain_alive("c", 3, 1));
    script.hear(&suspect("c", 1, "x"));
    script.hear(&plain_alive("c", 3, 2));
    assert_eq!(script.drain(addr(2)), [plain_alive("c", 3, 2)]);
    assert_eq!(script.machine.stats().rumors_displaced, 2);
}

/// The application's own news as well, where it says what they are about (spec 4.11).
#[test]
fn a_newer_broadcast_about_a_subject_displaces_the_older_one() {
    let mut script = gossiping(&["b"], |_| {});
    let now = script.now;
    let first = script.machine.broadcast_about(now, b"silence/1", "until noon".into()).unwrap();
    script.machine.broadcast_about(now, b"silence/2", "for good".into()).unwrap();
    script.machine.broadcast(now, "about nothing".into()).unwrap();
    script.machine.broadcast(now, "about nothing".into()).unwrap();
    let second = script.machine.broadcast_about(now, b"silence/1", "until ten".into()).unwrap();
    let displaced = Outcome::Announced { in_time: true };
    assert_eq!(
        script.machine.poll_completion(),
        Some(Completion::Ended { operation: first, outcome: displaced.clone() })
    );
    assert_eq!((script.machine.poll_completion(), script.machine.stats().rumors_displaced), (None, 1));
    let told = script.drain(addr(2));
    let heard: Vec<_> = told.iter().map(|message| String::from_utf8_lossy(&message[1..])).collect();
    assert_eq!(heard, ["about nothing", "until ten", "for good"], "drained once each");
    // What is out is out: the subject is free for the next word, which displaces nothing.
    assert!(
        core::iter::from_fn(|| script.machine.poll_completion())
            .any(|end| end == Completion::Ended { operation: second, outcome: displaced.clone() })
    );
    script.machine.broadcast_about(now, b"silence/1", "over".into()).unwrap();
    assert_eq!((script.drain(addr(2)).len(), script.machine.stats().rumors_displaced), (1, 1));
    let long = script.machine.broadcast_about(now, &[b'x'; 513], "x".into());
    assert_eq!(long, Err(CommandError::TooBig { len: 513, max: 512, limit: "a subject" }));
    let large = vec![0; script.machine.max_broadcast() + 1];
    assert!(matches!(
        script.machine.broadcast_about(now, b"s", large.into()),
        Err(CommandError::TooBig { .. })
    ));
}

/// Subjects are remembered as long as their broadcast is queued, and the queue is bounded.
#[test]
fn subjects_are_as_bounded_as_the_queue() {
    let mut script = gossiping(&["b"], |config| {
        config.max_rumors(16).max_operations(10_000);
    });
    for n in 0..1000u32 {
        // Of different lengths, so that the one that is pruned is now an old one, now the new one.
        let payload = vec![b'x'; 10 + (n * 7 % 13) as usize];
        script.machine.broadcast_about(script.now, &(n % 500).to_be_bytes(), payload.into()).unwrap();
    }
    let stats = script.machine.stats();
    assert_eq!(stats.rumors_pruned + stats.rumors_displaced, 1000 - 16);
    let ended = core::iter::from_fn(|| script.machine.poll_completion()).count();
    assert_eq!(ended, 1000 - 16, "who was pruned is told");
    let before = script.machine.stats().rumors_displaced;
    for n in 0..500u32 {
        script.machine.broadcast_about(script.now, &n.to_be_bytes(), vec![b'y'; 30].into()).unwrap();
    }
    assert!(script.machine.stats().rumors_displaced - before <= 16);
}

#[test]
fn a_full_socket_does_not_pile_up_gossip() {
    let mut script = gossiping(&["b", "c", "d"], |_| {});
    script.hear(&plain_alive("e", 5, 1));
    for _ in 0..100 {
        script.next();
    }
    assert!(script.sent().len() <= 3);
}

// upstream: TestRawSendUdp_CRC
#[test]
fn checksums_go_to_those_that_check_them() {
    let mut script = Script::new(|config| {
        config.probe_interval(Duration::ZERO);
    });
    script.hear(&alive("b", 2, 1));
    script.hear(&plain_alive("c", 3, 1));
    let mut buf = [0; 1400];
    for (host, checksum) in [(2, true), (3, false), (4, false)] {
        script.datagram(addr(host), &ping(1, "self", "x", addr(host))).unwrap();
        let transmit = script.machine.poll_transmit(script.now, &mut buf).unwrap();
        assert!(transmit.len > 0);
        assert_eq!(buf[0] == MessageType::Checksum.byte(), checksum, "{host}");
    }
}

#[test]
fn nothing_to_tell_means_nothing_sent_and_no_wake_up() {
    let mut script = gossiping(&["b", "c"], |_| {});
    tick(&mut script);
    assert!(script.sent().is_empty());
    assert_eq!(script.machine.poll_timeout(), None);
}

#[test]
fn gossip_that_rested_goes_on_in_step() {
    for waited in [1, 199, 200, 201, 10_300, 1_000_000] {
        let mut script = gossiping(&["b"], |_| {});
        script.hear(&plain_alive("c", 3, 1));
        let before = script.machine.poll_timeout().unwrap();
        script.drain(addr(2));
        tick(&mut script);
        assert_eq!(script.machine.poll_timeout(), None);
        script.now += ms(waited);
        script.hear(&plain_alive("d", 4, 1));
        let after = script.machine.poll_timeout().unwrap();
        assert!((script.now..script.now + ms(200)).contains(&after), "{waited}: {after:?}");
        assert_eq!((after - before).as_nanos() % ms(200).as_nanos(), 0, "{waited}");
        script.at(after);
        assert!(!script.sent().is_empty());
    }
}

/// The tick is what a stall is noticed by soon (contract rule 6), so it does not rest while there is something to judge.
#[test]
fn gossip_does_not_rest_while_a_suspicion_runs() {
    let mut script = gossiping(&["b", "c"], |_| {});
    script.hear(&suspect("b", 1, "x"));
    script.drain(addr(3));
    for _ in 0..5 {
        tick(&mut script);
    }
    let due = script.machine.poll_timeout().unwrap();
    assert!(due <= script.now + ms(200));
    script.late(due + ms(400));
    assert_eq!(script.machine.stats().stalls, 1);
}

#[test]
fn a_node_alone_keeps_quiet_and_keeps_its_news() {
    let mut script = Script::new(|config| {
        config.gossip_interval(ms(200)).push_pull_interval(ms(1000));
    });
    for _ in 0..100 {
        script.next();
    }
    assert!(script.sent().is_empty() && script.machine.poll_stream().is_none());
    script.hear(&plain_alive("b", 2, 1));
    let told = script.drain(addr(2));
    assert!(told.contains(&alive("self", 1, 1)));
}

/// W-6
#[test]
fn nested_layers_are_looked_into_a_few_levels_deep() {
    let mut script = gossiping(&["b"], |_| {});
    let mut packet = ping(1, "self", "b", addr(2));
    for depth in 0..50 {
        let answered = {
            script.datagram(addr(2), &packet).unwrap();
            script.sent().len() == 1
        };
        assert_eq!(answered, depth <= 4, "{depth}");
        packet = [&[7, 1][..], &(packet.len() as u16).to_be_bytes(), &packet].concat();
    }
    assert!(script.machine.stats().dropped_limits > 40);
}

#[test]
fn a_reader_that_does_not_keep_up_is_told_what_it_lost() {
    let mut script = gossiping(&["b"], |config| {
        config.max_event_bytes(10_000);
    });
    for _ in 0..1000 {
        script.hear(&[&[8][..], &[1; 400]].concat());
    }
    let events = script.events();
    assert!(events[0].contains("Lagged"), "{}", events[0]);
    assert!((15..30).contains(&events.len()));
    assert_eq!(script.machine.stats().events_lost, 1000 - (events.len() as u64 - 1));
}

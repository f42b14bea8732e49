//! Probing on behalf of others (spec 4.8, W-8, W-13).
use crate::support;

use core::time::Duration;
use gossip_proto::wire::message::*;
use gossip_proto::*;
use std::borrow::Cow;
use support::node::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn request(seq: u32, host: u8, node: &str, nack: bool) -> Vec<u8> {
    message(MessageType::IndirectPing, |bytes| {
        IndirectPing {
            seq,
            target: [10, 0, 0, host].as_slice().into(),
            port: 7946,
            node: Cow::Borrowed(node.as_bytes()),
            nack,
            source_addr: [10, 0, 0, 2].as_slice().into(),
            source_port: 7946,
            source_node: Cow::Borrowed(b"b"),
        }
        .encode(bytes)
    })
}

fn helper(configure: impl FnOnce(&mut Config)) -> Script {
    let mut script = Script::new(|config| {
        config.probe_interval(Duration::ZERO);
        configure(config);
    });
    script.hear(&plain_alive("b", 2, 1));
    script.hear(&plain_alive("c", 3, 1));
    script.drain(addr(2));
    script
}

// upstream: TestHandleIndirectPing, TestMemberList_setAckHandler
#[test]
fn an_answer_is_forwarded_with_the_requesters_number() {
    let mut script = helper(|_| {});
    script.datagram(addr(2), &request(77, 3, "c", true)).unwrap();
    let sent = script.one().unwrap();
    let ping = sent.ping();
    assert_eq!((sent.to, &*ping.node, &*ping.source_node), (addr(3), &b"c"[..], &b"self"[..]));
    assert_ne!(ping.seq, 77);
    let seq = ping.seq;
    script.now += ms(30);
    script.datagram(addr(3), &ack(seq)).unwrap();
    let answer = script.one().unwrap();
    assert_eq!((answer.to, &answer.messages), (addr(2), &vec![ack(77)]));
    // Nothing is left of it.
    assert_eq!(script.machine.poll_timeout(), None);
}

#[test]
fn a_nack_leaves_in_time_to_be_counted_and_a_late_answer_still_goes_on() {
    let mut script = helper(|_| {});
    script.datagram(addr(2), &request(77, 3, "c", true)).unwrap();
    let seq = script.one().unwrap().ping().seq;
    script.fires_at_ms(400);
    assert_eq!(script.one().unwrap().messages, [nack(77)]);
    script.now += ms(50);
    script.datagram(addr(3), &ack(seq)).unwrap();
    assert_eq!(script.one().unwrap().messages, [ack(77)]);
    // Another one whose target stays silent: one nack, and an answer after the timeout is nobody's.
    script.datagram(addr(2), &request(78, 3, "c", true)).unwrap();
    let seq = script.one().unwrap().ping().seq;
    script.fires_at_ms(850);
    assert_eq!(script.one().unwrap().messages, [nack(78)]);
    script.fires_at_ms(950);
    script.datagram(addr(3), &ack(seq)).unwrap();
    assert!(script.sent().is_empty());
    assert_eq!(script.machine.stats().ack_unknown, 1);
}

#[test]
fn who_wants_no_nack_gets_none() {
    let mut script = helper(|_| {});
    script.datagram(addr(2), &request(77, 3, "c", false)).unwrap();
    assert_eq!(script.sent().len(), 1);
    script.fires_at_ms(500);
    assert!(script.sent().is_empty());
}

#[test]
fn nobody_is_probed_who_is_no_member() {
    let mut script = helper(|_| {});
    script.datagram(addr(2), &request(77, 8, "x", true)).unwrap();
    script.datagram(addr(2), &request(77, 8, "c", true)).unwrap();
    assert!(script.sent().is_empty());
    assert_eq!(script.machine.stats().relay_refused, 2);
}

#[test]
fn relays_are_bounded() {
    let mut script = helper(|config| {
        config.max_relays(4);
    });
    for seq in 0..10 {
        script.datagram(addr(2), &request(seq, 3, "c", true)).unwrap();
    }
    assert_eq!((script.sent().len(), script.machine.stats().relay_full), (4, 6));
    script.fires_at_ms(400);
    assert_eq!(script.sent().len(), 4);
    script.fires_at_ms(500);
    script.datagram(addr(2), &request(99, 3, "c", true)).unwrap();
    assert_eq!(script.sent().len(), 1, "room again");
}

// upstream: TestHandlePing, TestHandleCompoundPing, TestHandlePing_WrongNode, TestSendMsg_Piggyback
#[test]
fn pings_are_answered_where_they_say_and_rumors_ride_along() {
    let mut script = helper(|_| {});
    script.datagram(addr(2), &ping(42, "self", "b", addr(2))).unwrap();
    assert_eq!(script.one().unwrap().messages, [ack(42)]);
    script.datagram(addr(2), &ping(43, "other", "b", addr(2))).unwrap();
    assert!(script.sent().is_empty());
    let pings: Vec<_> = (1..4).map(|seq| ping(seq, "self", "b", addr(2))).collect();
    let mut compound = vec![7, 3];
    pings.iter().for_each(|ping| compound.extend((ping.len() as u16).to_be_bytes()));
    compound.extend(pings.concat());
    script.datagram(addr(2), &compound).unwrap();
    let answers: Vec<_> = script.sent().into_iter().map(|sent| sent.messages).collect();
    assert_eq!(answers, [[ack(1)], [ack(2)], [ack(3)]]);
    script.hear(&plain_alive("d", 4, 1));
    script.datagram(addr(2), &ping(44, "self", "b", addr(2))).unwrap();
    assert_eq!(script.one().unwrap().messages, [ack(44), plain_alive("d", 4, 1)]);
}

/// W-9: whoever is no member neither reads the queue nor uses it up.
#[test]
fn strangers_get_no_rumors() {
    let mut script = helper(|_| {});
    script.hear(&plain_alive("d", 4, 1));
    for seq in 0..100 {
        script.datagram(addr(200), &ping(seq, "self", "x", addr(200))).unwrap();
        assert_eq!(script.one().unwrap().messages, [ack(seq)]);
    }
    assert_eq!(script.drain(addr(2)), [plain_alive("d", 4, 1)]);
}

/// W-9: nor does who plays a member's recorded pings again, from wherever.
#[test]
fn pings_that_are_played_again_use_up_no_rumors() {
    let mut script = helper(|_| {});
    script.hear(&plain_alive("d", 4, 1));
    for seq in 0..100 {
        script.datagram(addr(200), &ping(seq, "self", "b", addr(2))).unwrap();
        script.datagram(addr(200), &request(seq, 3, "c", true)).unwrap();
        for sent in script.sent() {
            assert_eq!(sent.messages.len(), 1, "{:?}", sent.messages);
            if sent.to == addr(3) {
                let asked = sent.ping().seq;
                script.datagram(addr(3), &ack(asked)).unwrap();
            }
        }
        assert!(script.sent().iter().all(|sent| sent.messages.len() == 1));
        script.now += ms(100);
    }
    assert_eq!(script.drain(addr(2)), [plain_alive("d", 4, 1)]);
}

/// In a WAN the requester's interval ends before our timeout does.
#[test]
fn a_nack_leaves_before_the_requester_judges() {
    let mut script = helper(|config| {
        config.probe_timeout(ms(3000)).probe_interval(ms(5000));
    });
    script.datagram(addr(2), &request(77, 3, "c", true)).unwrap();
    let nacked = |script: &mut Script| script.sent().iter().any(|sent| sent.messages.contains(&nack(77)));
    let end = script.now + ms(2000);
    while let Some(due) = script.machine.poll_timeout().filter(|due| *due < end) {
        script.now = due;
        script.machine.handle_timeout(due);
        if nacked(&mut script) {
            return;
        }
    }
    panic!("no nack within the two seconds that the requester waits");
}

#[test]
fn answers_that_the_socket_does_not_take_are_bounded() {
    let mut script = helper(|config| {
        config.max_outgoing(16);
    });
    for seq in 0..100 {
        script.datagram(addr(2), &ping(seq, "self", "b", addr(2))).unwrap();
    }
    assert_eq!((script.sent().len(), script.machine.stats().outgoing_full), (16, 84));
}

/// spec 4.17
#[test]
fn with_names_required_the_nameless_get_no_answer() {
    let mut script = Script::new(|config| {
        config.require_node_names(true);
    });
    let nameless = message(MessageType::Ping, |bytes| Ping { seq: 1, ..Ping::default() }.encode(bytes));
    script.datagram(addr(2), &nameless).unwrap();
    assert!(script.sent().is_empty());
    script.datagram(addr(2), &ping(1, "self", "b", addr(2))).unwrap();
    assert_eq!(script.sent().len(), 1);
    let now = script.now;
    assert_eq!(script.machine.join(now, &[addr(2).into()]), Err(CommandError::NameRequired));
    let named = JoinTarget { addr: addr(2), name: Some("b".into()) };
    assert!(script.machine.join(now, &[named]).is_ok());
}

//! Counters that tell an operator what a node does and refuses, where no test of the behaviour itself looks at them; and
//! that each of them has such a test somewhere.
use crate::support;

use core::net::SocketAddr;
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::node::*;

/// A compound of these messages.
fn compound(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = vec![7, messages.len() as u8];
    messages.iter().for_each(|message| packet.extend((message.len() as u16).to_be_bytes()));
    packet.extend(messages.concat());
    packet
}

fn quiet() -> Script {
    Script::new(|config| {
        config.probe_interval(core::time::Duration::ZERO);
    })
}

/// W-8: a stranger is answered where it is, whatever it says, and once per datagram.
#[test]
fn strangers_aim_at_nobody_and_multiply_nothing() {
    let mut script = quiet();
    let (stranger, victim) = (addr(200), addr(66));
    script.datagram(stranger, &ping(1, "self", "x", victim)).unwrap();
    assert_eq!(script.one().unwrap().to, stranger);
    assert_eq!(script.machine.stats().ping_source_ignored, 1);
    // Who names no port names no address: nothing is ignored.
    script.datagram(stranger, &ping(1, "self", "x", (victim.ip(), 0).into())).unwrap();
    assert_eq!((script.one().unwrap().to, script.machine.stats().ping_source_ignored), (stranger, 1));
    let pings: Vec<_> = (1..=5).map(|seq| ping(seq, "self", "x", stranger)).collect();
    script.datagram(stranger, &compound(&pings)).unwrap();
    assert_eq!((script.sent().len(), script.machine.stats().ack_suppressed), (1, 4));
    // A member may name another member's address: that is how a node behind two addresses is answered.
    script.hear(&plain_alive("b", 2, 1));
    script.datagram(addr(3), &ping(2, "self", "b", addr(2))).unwrap();
    assert_eq!((script.one().unwrap().to, script.machine.stats().ping_source_ignored), (addr(2), 1));
}

#[test]
fn what_comes_and_goes_is_counted() {
    let mut script = quiet();
    let alive = plain_alive("b", 2, 1);
    script.hear(&compound(&[alive.clone(), dead("b", 1, "c")]));
    let stats = script.machine.stats();
    assert_eq!((stats.datagrams_received, stats.messages_received), (1, 2));
    assert_eq!(stats.bytes_received, (2 + 2 * 2 + alive.len() + dead("b", 1, "c").len()) as u64);
    assert_eq!((stats.alive_accepted, stats.dead_accepted), (1, 1));
    script.datagram(addr(9), &ping(1, "self", "c", addr(9))).unwrap();
    assert_eq!(script.sent().len(), 1);
    assert!(script.machine.stats().datagrams_sent == 1 && script.machine.stats().bytes_sent > 0);
    let now = script.now;
    script.machine.join(now, &[addr(4).into(), addr(5).into()]).unwrap();
    assert_eq!(script.machine.stats().exchanges_begun, 2);
}

#[test]
fn each_reason_to_drop_has_a_counter_of_its_own() {
    let mut script = quiet();
    let alive = plain_alive("b", 2, 1);
    let counts = |script: &Script| {
        let stats = script.machine.stats();
        [
            stats.dropped_crc,
            stats.dropped_type,
            stats.compound_truncated,
            stats.ping_wrong_name,
            stats.alive_accepted,
        ]
    };
    let checked = [&[12, 0, 0, 0, 1][..], &alive].concat();
    assert!(script.datagram(addr(2), &checked).is_err());
    assert_eq!(counts(&script), [1, 0, 0, 0, 0]);
    script.hear(&[14, 1]);
    script.hear(&message(MessageType::PushPull, |_| Ok::<(), ()>(())));
    assert_eq!(counts(&script), [1, 2, 0, 0, 0]);
    let mut cut = compound(&[alive.clone(), alive.clone(), alive.clone()]);
    cut.truncate(cut.len() - alive.len() - 1);
    script.hear(&cut);
    assert_eq!(counts(&script), [1, 2, 2, 0, 1], "one whole, two not");
    script.datagram(addr(2), &ping(1, "other", "b", addr(2))).unwrap();
    assert_eq!(counts(&script), [1, 2, 2, 1, 1]);
    script.hear(b"\x08twelve bytes");
    assert_eq!((script.machine.stats().user_messages, script.machine.stats().user_bytes), (1, 12));
}

// upstream: TestHandleCommand, TestIngestPacket_ExportedFunc_EmptyMessage
#[test]
fn nothing_is_no_message() {
    let mut script = quiet();
    assert!(script.datagram(addr(2), &[]).is_err());
    script.datagram(addr(2), &compound(&[vec![], ping(1, "self", "b", addr(2))])).unwrap();
    assert_eq!((script.sent().len(), script.machine.stats().dropped_malformed), (1, 2));
}

/// The datagram is then as long as the buffer allows, and peers with more to say are not harmed.
#[test]
fn a_buffer_below_the_datagram_size_is_the_callers_error() {
    let mut script = quiet();
    script.datagram(addr(9), &ping(1, "self", "c", addr(9))).unwrap();
    let mut buf = [0; 300];
    let transmit = script.machine.poll_transmit(script.now, &mut buf).expect("an ack fits all the same");
    assert!(transmit.len <= 300);
    assert_eq!(script.machine.stats().buffer_too_small, 1);
}

#[test]
fn narrow_paths_are_remembered_up_to_a_bound() {
    let mut script = Script::new(|config| {
        config.probe_interval(core::time::Duration::ZERO).max_members(4);
    });
    let path = |host: u8| SocketAddr::from(([192, 0, 2, host], 7946));
    for host in 0..10 {
        script.machine.handle_path(script.now, path(host), 600);
    }
    assert_eq!(script.machine.stats().paths_full, 6);
    // One that is known may change, and one that widens makes room.
    script.machine.handle_path(script.now, path(0), 500);
    script.machine.handle_path(script.now, path(1), 9000);
    script.machine.handle_path(script.now, path(20), 600);
    assert_eq!(script.machine.stats().paths_full, 6);
}

/// A datagram may not make the node work more than its own share, however far it inflates.
#[test]
fn what_a_datagram_may_inflate_to_is_configured() {
    let long = message(MessageType::User, |bytes| {
        bytes.extend([b'x'; 50_000]);
        Ok::<(), ()>(())
    });
    let mut packed = Vec::new();
    Deflater::new().append_message(&[&long], &mut packed);
    for (limit, heard) in [(1 << 20, 1), (10_000, 0)] {
        let mut script = Script::new(|config| {
            config.max_inflated(limit);
        });
        script.hear(&packed);
        let stats = script.machine.stats();
        assert_eq!((stats.user_messages, stats.dropped_limits), (heard, 1 - heard), "{limit}");
    }
}

/// A counter that nothing moves, or that moves unseen, tells an operator lies.
#[test]
fn each_counter_is_looked_at_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for dir in ["src", "tests", "../gossip-driver/tests", "../transport-mem/tests"] {
        collect(&root.join(dir), &mut tests);
    }
    let words: BTreeSet<&str> = tests.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let unseen: Vec<_> =
        Stats::default().iter().map(|(name, _)| name).filter(|name| !words.contains(name)).collect();
    assert_eq!(unseen, [""; 0]);
}

/// The code of tests: whole files of them, and what follows `cfg(test)` in others.
fn collect(dir: &Path, tests: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        if path.is_dir() {
            collect(&path, tests);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let whole = name.contains("/tests/") || name.ends_with("tests.rs");
            let start = if whole { Some(0) } else { text.find("#[cfg(test)]") };
            tests.push_str(start.map_or("", |start| &text[start..]));
        }
    }
}

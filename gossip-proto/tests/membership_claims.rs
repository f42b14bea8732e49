//! What a claim does beside what it says of a member: what is counted, passed on, answered and looked after (spec 4.3, 4.4).
use crate::support;

use core::time::Duration;
use std::borrow::Cow;
use std::collections::BTreeMap;

use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::wire::stream::write_stream_with;
use gossip_proto::*;
use support::node::*;

/// A node without probes.
fn quiet(configure: impl FnOnce(&mut Config)) -> Script {
    Script::new(|config| {
        config.probe_interval(Duration::ZERO).compression(Compression::Off);
        configure(config);
    })
}

fn alive_of(name: &str, host: u8, port: u16, incarnation: u32, meta: &[u8]) -> Vec<u8> {
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port, meta, vsn: &PLAIN }.encode()
}

/// Nearly all alive messages say nothing new and are put aside before anything is looked at; but not those that would be
/// refused or are a conflict.
#[test]
fn old_news_is_still_refused_and_counted() {
    let mut script = quiet(|config| {
        config.metadata("blue1".into()).admission(vec![Admission::MetadataPrefix("blue".into())]);
    });
    script.hear(&alive_of("b", 2, 7946, 1, b"blue2"));
    script.hear(&alive_of("b", 2, 7946, 1, b"red"));
    assert_eq!(script.machine.stats().admission_refused, 1);

    let mut script = quiet(|config| {
        config.cidrs_allowed(vec![Cidr::new("10.0.0.0".parse().unwrap(), 30).unwrap()]);
    });
    script.datagram(addr(2), &plain_alive("b", 2, 1)).unwrap();
    script.datagram(addr(9), &plain_alive("b", 2, 1)).unwrap();
    assert_eq!(script.machine.stats().cidr_refused, 1, "somebody outside says so");

    let mut script = quiet(|config| {
        config.identities(true);
    });
    script.datagram(addr(3), &plain_alive("b", 2, 1)).unwrap();
    script.datagram(addr(2), &plain_alive("b", 2, 1)).unwrap();
    assert_eq!(script.machine.stats().identity_refused, 1, "who says it of itself proves who it is");

    let mut script = quiet(|_| {});
    script.hear(&plain_alive("b", 2, 1));
    script.hear(&alive_of("b", 2, 7946, 1, &[7; 513]));
    script.hear(&alive_of("b", 2, 7947, 1, b""));
    let no_range = [5, 1, 2, 0, 0, 0];
    script.hear(
        &AliveOf { name: "b", incarnation: 1, addr: &[10, 0, 0, 2], port: 7946, meta: b"", vsn: &no_range }
            .encode(),
    );
    let stats = script.machine.stats();
    assert_eq!((stats.claim_malformed, stats.conflicts, stats.alive_accepted), (1, 1, 1));
    assert_eq!(stats.alive_bad_versions, 1);
}

/// spec 4.3: what others remember of an earlier run of this node must not stand, though its incarnation is the present one.
#[test]
fn an_alive_about_oneself_with_other_metadata_is_refuted() {
    let mut script = quiet(|_| {});
    script.hear(&alive("self", 1, 1));
    assert_eq!(script.incarnation("self"), 1, "that is what it is");
    script.hear(
        &AliveOf { name: "self", incarnation: 1, addr: &[10, 0, 0, 1], port: 7946, meta: b"x", vsn: &VSN }
            .encode(),
    );
    assert_eq!(script.incarnation("self"), 2);
}

/// spec 4.3 step 1.
#[test]
fn who_leaves_still_learns_of_others_and_does_not_contradict_what_is_said_of_it() {
    let mut script = quiet(|_| {});
    script.hear(&plain_alive("b", 2, 1));
    script.machine.leave(script.now).unwrap();
    script.hear(&plain_alive("c", 3, 1));
    assert_eq!(script.status("c"), Some(Status::Alive));
    script.hear(&alive("self", 1, 9));
    assert_eq!(script.incarnation("self"), 1);
}

/// Who has missed the refutation is told once more; strangers and what is said of others do not make this node talk (W-17).
#[test]
fn only_a_member_that_accuses_this_node_hears_the_refutation_again() {
    let mut script = quiet(|_| {});
    script.hear(&plain_alive("b", 2, 5));
    script.hear(&plain_alive("c", 3, 5));
    script.hear(&plain_alive("gone", 4, 5));
    script.hear(&dead("gone", 5, "c"));
    script.hear(&suspect("self", 1, "b"));
    script.drain(addr(2));
    assert_eq!(script.incarnation("self"), 2);
    let by = ["stranger", "gone", "self"];
    let of_self = by.iter().flat_map(|by| [suspect("self", 1, by), dead("self", 1, by)]);
    for old in of_self.chain([suspect("b", 4, "c"), dead("b", 4, "c")]) {
        script.hear(&old);
        assert!(script.drain(addr(2)).is_empty());
    }
    for accused in [suspect("self", 1, "b"), dead("self", 1, "b")] {
        script.hear(&accused);
        assert_eq!(script.drain(addr(2)).len(), 1);
    }
    assert_eq!(script.incarnation("self"), 2, "with the same incarnation");
    assert_eq!(script.machine.stats().refutations, 1);
}

/// The lane of this node's own words is for nobody else's: it goes first (spec 5).
#[test]
fn accusations_of_others_have_a_lane_of_their_own() {
    let mut script = quiet(|_| {});
    script.hear(&plain_alive("b", 2, 1));
    script.drain(addr(2));
    script.hear(&suspect("b", 1, "c"));
    let queued: Vec<_> =
        script.machine.depths().into_iter().filter(|depth| depth.len > 0).map(|depth| depth.what).collect();
    assert_eq!(queued, ["accusations", "members"]);
}

/// With identities on, a member is bound by its own word alone: what others say of it neither gives it an identity nor takes it.
#[test]
fn hearsay_neither_binds_an_identity_nor_lets_go_of_it() {
    let mut script = quiet(|config| {
        config.identities(true);
    });
    let mut hear = |host: u8, identity: u64, incarnation: u32| {
        let source = Source { addr: addr(host), identity: Some(IdentityId(identity)) };
        script.machine.handle_datagram(script.now, source, &mut plain_alive("b", 2, incarnation)).unwrap();
        (script.incarnation("b"), script.machine.stats().identity_refused)
    };
    assert_eq!(hear(3, 33, 1), (1, 0), "c speaks of b");
    assert_eq!(hear(2, 22, 2), (2, 0), "so that b is not bound to the identity of c");
    assert_eq!(hear(3, 33, 3), (3, 0));
    assert_eq!(hear(2, 44, 4), (3, 1), "and is still bound to its own");
    assert_eq!(hear(2, 22, 4), (4, 1));
}

/// Two that come back while a third is missed are a sign that a partition is over: it is worth an exchange with somebody.
#[test]
fn members_that_come_back_are_a_reason_to_look_again() {
    for (returned, looks) in [(0, 0), (1, 1), (2, 2)] {
        let mut script = quiet(|_| {});
        for (host, name) in [(2, "b"), (3, "c"), (4, "d"), (5, "e")] {
            script.hear(&plain_alive(name, host, 1));
        }
        for name in ["b", "c", "d"] {
            script.hear(&dead(name, 1, "e"));
        }
        for (host, name) in [(2, "b"), (3, "c")].into_iter().take(returned) {
            script.hear(&plain_alive(name, host, 2));
        }
        script.at(script.now + Duration::from_secs(8));
        // One for the member that was taken for dead, and one for the sign.
        assert_eq!(script.machine.stats().follow_ups, looks, "{returned} of them");
    }
}

/// Newcomers that an exchange brings are passed on in full while few rumors wait, and once beyond that: who sent them has told
/// others. What is news of members that were known is passed on in full.
#[test]
fn a_crowd_of_newcomers_from_an_exchange_is_passed_on_once_each() {
    let mut script = quiet(|config| {
        config.gossip_interval(Duration::from_millis(200));
    });
    script.hear(&plain_alive("b", 2, 1));
    script.drain(addr(2));
    exchange(&mut script, &(0..40).map(|number| (number, 1)).collect::<Vec<_>>());
    exchange(&mut script, &[(39, 2)]);
    assert_eq!(script.machine.num_alive(), 42);
    let mut sent: BTreeMap<(String, u32), u32> = BTreeMap::new();
    let end = script.now + Duration::from_secs(20);
    while script.machine.poll_timeout().is_some_and(|at| at < end) {
        script.next();
        for sent_now in script.sent() {
            for bytes in sent_now.messages.iter().filter(|bytes| bytes[0] == MessageType::Alive.byte()) {
                let (alive, _) = Alive::decode(&bytes[1..]).unwrap();
                let name = String::from_utf8(alive.node.to_vec()).unwrap();
                *sent.entry((name, alive.incarnation)).or_default() += 1;
            }
        }
    }
    let often = *sent.values().max().unwrap();
    assert!(often > 4, "{sent:?}");
    let once: Vec<_> =
        sent.iter().filter(|(_, times)| **times == 1).map(|(what, _)| what.0.clone()).collect();
    let full = sent.values().filter(|times| **times == often).count();
    // The last one that was new is told by what came after it.
    assert_eq!((once.len(), full), (7, 33), "{sent:?}");
    assert_eq!(sent.get(&("n39".into(), 2)), Some(&often));
}

/// Whoever holds the key can claim any content of everybody: that sets eight packets going, and one more for each probe
/// interval. Of what is older or newer, or of another address, nobody is told.
#[test]
fn members_are_told_what_is_said_of_them_within_a_ration() {
    let mut script = quiet(|config| {
        config.gossip_interval(Duration::ZERO).probe_interval(Duration::from_secs(3600));
    });
    exchange(&mut script, &(0..40).map(|number| (number, 2)).collect::<Vec<_>>());
    script.sent();
    let hearsay = |script: &mut Script, members: &[(u8, u32)], meta: &[u8]| {
        exchange_with(script, members, meta);
        let alive = |bytes: &Vec<u8>| {
            let alive = Alive::decode(bytes.strip_prefix(&[MessageType::Alive.byte()])?).ok()?.0;
            Some((String::from_utf8_lossy(&alive.node).into_owned(), alive.meta.to_vec()))
        };
        // The first two: rumors may follow.
        let told =
            |sent: &Sent| (sent.to, sent.messages.iter().filter_map(alive).take(2).collect::<Vec<_>>());
        script.sent().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(hearsay(&mut script, &[(1, 1), (2, 2)], b""), []);
    assert_eq!(hearsay(&mut script, &[(1, 1)], b"x"), []);
    assert_eq!(hearsay(&mut script, &[(1, 2)], &[7; 513]), []);
    script.hear(&plain_alive("n50", 9, 2));
    assert_eq!(hearsay(&mut script, &[(50, 2)], b"x"), [], "it is at 10.0.0.9 here, and at 10.1.0.50 there");
    let to_2 = core::net::SocketAddr::from(([10, 1, 0, 2], 7946));
    let both = [b"x".to_vec(), Vec::new()].map(|meta| ("n2".to_owned(), meta)).to_vec();
    assert_eq!(hearsay(&mut script, &[(2, 2)], b"x"), [(to_2, both)]);
    let all = hearsay(&mut script, &(0..40).map(|number| (number, 2)).collect::<Vec<_>>(), b"y");
    assert_eq!(all.len(), 7);
    let stats = script.machine.stats();
    assert_eq!((stats.hearsay_told, stats.hearsay_withheld), (8, 33));
    assert_eq!(
        script.machine.find(b"n2").unwrap().metadata.to_vec(),
        b"",
        "nobody is believed before the member is"
    );
}

/// Nor is there more of it where probes, whose interval paces it, are switched off.
#[test]
fn without_probes_the_ration_of_what_members_are_told_is_no_larger() {
    let mut script = quiet(|config| {
        config.gossip_interval(Duration::ZERO).probe_interval(Duration::ZERO);
    });
    let all: Vec<_> = (0..40).map(|number| (number, 2)).collect();
    exchange(&mut script, &all);
    for meta in [b"x", b"y"] {
        exchange_with(&mut script, &all, meta);
        script.at(script.now + Duration::from_secs(1));
    }
    let stats = script.machine.stats();
    assert_eq!((stats.hearsay_told, stats.hearsay_withheld), (8, 72));
}

/// An exchange that somebody opens, with these members alive.
fn exchange(script: &mut Script, members: &[(u8, u32)]) {
    exchange_with(script, members, b"");
}

/// The same, with this metadata for all of them.
fn exchange_with(script: &mut Script, members: &[(u8, u32)], meta: &[u8]) {
    let header = PushPullHeader { nodes: members.len() as i64, user_state_len: 0, join: false };
    let mut body = message(MessageType::PushPull, |bytes| header.encode(bytes));
    for &(number, incarnation) in members {
        let (name, addr) = (format!("n{number}"), [10, 1, 0, number]);
        let state = NodeState {
            name: Cow::Borrowed(name.as_bytes()),
            addr: addr.as_slice().into(),
            port: 7946,
            incarnation,
            meta: meta.into(),
            vsn: PLAIN.as_slice().into(),
            ..NodeState::default()
        };
        state.encode(&mut body).unwrap();
    }
    let mut bytes = Vec::new();
    write_stream_with(&Layers::default(), true, &[&body], &[0; 12], &mut Deflater::new(), &mut bytes)
        .unwrap();
    let id = script.machine.accept_stream(script.now, Source::unauthenticated(addr(2))).unwrap();
    assert_eq!(script.machine.handle_stream_data(script.now, id, &bytes, true), Ok(bytes.len()));
    while script.machine.poll_timeout().is_some_and(|at| at <= script.now) {
        script.machine.handle_timeout(script.now);
    }
}

//! What is remembered of members that are listed no longer, and of those that flap.

use alloc::format;
use alloc::string::ToString;
use core::net::SocketAddr;

use super::*;
use crate::output::StreamAction;
use crate::swim::Contact;
use crate::wire::field::Raw;
use crate::wire::layers::Layers;
use crate::wire::message::{Ack, MessageType};
use crate::wire::stream::{Side, StreamLimits, StreamMessage, StreamReader};
use crate::{Name, Restore};

const HOUR: Duration = Duration::from_secs(3600);

fn learnt(bed: &Bed) -> Vec<alloc::string::String> {
    bed.services.learnt.iter().map(|(name, ..)| name.to_string()).collect()
}

fn short() -> ServiceConfig {
    let mut config = ServiceConfig::default();
    config.reconnect_timeout(Duration::from_secs(60)).tombstone_timeout(Duration::from_secs(60));
    config
}

/// Streams that the node wants to open now.
fn opened(bed: &mut Bed) -> Vec<(u64, SocketAddr)> {
    let mut opened = Vec::new();
    while let Some(action) = bed.swim.poll_stream() {
        if let StreamAction::Open { id, to, .. } = action {
            opened.push((id.as_u64(), to));
        }
    }
    opened
}

#[test]
fn who_failed_is_learnt_and_who_left_is_not() {
    let mut bed = Bed::with(short());
    for name in ["a", "bb", "ccc", "dddd"] {
        bed.alive(name, 1);
    }
    bed.leave_intent("bb", 5, false);
    for name in ["a", "bb", "ccc", "dddd"] {
        bed.dead(name, 1, "x");
    }
    // An operator gives one up before its time, by name, with prune.
    bed.leave_intent("dddd", 6, true);
    assert_eq!(learnt(&bed), ["a", "ccc"], "at once: this node may be restarted before it forgets them");
    bed.run(Duration::from_secs(70));
    assert_eq!(bed.services.listed, 1);
    assert_eq!(learnt(&bed), ["a", "ccc"]);
    // It can be given up afterwards as well, by anybody's intent.
    assert!(bed.services.force_leave(&mut bed.swim, b"nobody", false).is_err());
    assert!(bed.services.force_leave(&mut bed.swim, b"ccc", false).is_ok());
    assert_eq!(learnt(&bed), ["a"]);
    // Back, it is a member like any other.
    bed.alive("a", 9);
    assert_eq!((learnt(&bed).len(), bed.says("a")), (0, Some(Status::Alive)));
}

#[test]
fn learnt_addresses_are_tried_for_three_days() {
    let mut bed = Bed::with(short());
    bed.alive("a", 1);
    bed.dead("a", 1, "x");
    bed.run(70 * HOUR);
    assert_eq!(learnt(&bed), ["a"]);
    // Once in each interval, since nobody else is there.
    let tried = bed.swim.stats.learnt_tried;
    assert!((70 * 120 - 5..=70 * 120).contains(&tried), "{tried}");
    bed.run(3 * HOUR);
    assert_eq!((learnt(&bed).len(), bed.swim.stats.learnt_found), (0, 0));
}

#[test]
fn no_more_are_learnt_than_there_is_room_for() {
    let mut config = short();
    config.max_learnt(3);
    let mut bed = Bed::with(config);
    for number in 1..=5 {
        let name = "n".repeat(number);
        bed.alive(&name, 1);
        bed.dead(&name, 1, "x");
        bed.run(Duration::from_secs(1));
    }
    bed.run(Duration::from_secs(70));
    assert_eq!(learnt(&bed), ["nnn", "nnnn", "nnnnn"], "who ends first gave way");
    assert_eq!(bed.swim.stats.learnt_full, 2);
}

/// The address must answer to the name before states are exchanged with it.
#[test]
fn an_address_is_joined_only_if_the_member_is_there() {
    let there: SocketAddr = "10.0.0.9:7946".parse().unwrap();
    let restore = Restore { alive: alloc::vec![("web-9".into(), there)], ..Restore::default() };
    let mut config = ServiceConfig::default();
    config.restore(Some(restore));
    for answers in [false, true] {
        let mut bed = Bed::with(config.clone());
        let [(key, to)] = opened(&mut bed)[..] else { panic!("the address is tried at once") };
        assert_eq!(to, there);
        bed.swim.stream_opened(key);
        let mut buf = [0; 512];
        let len = bed.swim.poll_stream_data(key, &mut buf).len;
        let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
        reader.feed(&Layers::default(), &buf[..len], 1 << 20).unwrap();
        let Some(StreamMessage::Ping(ping)) = reader.message() else { panic!("a ping") };
        assert_eq!((&*ping.node, &*ping.source_node), (&b"web-9"[..], &b"self"[..]));
        if !answers {
            // Somebody else hangs up on a ping that is not for it.
            let _ = bed.swim.stream_data(&mut bed.services, key, &[], true);
            bed.swim.settle(&mut bed.services);
            assert_eq!(opened(&mut bed), []);
            assert_eq!(learnt(&bed), ["web-9"], "it may be there another time");
            continue;
        }
        let mut ack = alloc::vec![MessageType::Ack.byte()];
        Ack { seq: ping.seq, payload: Raw::NIL }.encode(&mut ack).unwrap();
        bed.swim.stream_data(&mut bed.services, key, &ack, true).unwrap();
        let [(exchange, to)] = opened(&mut bed)[..] else { panic!("now states are exchanged") };
        assert_eq!((to, exchange != key), (there, true));
        assert_eq!((bed.swim.stats.learnt_tried, bed.swim.stats.exchanges_begun), (1, 1));
    }
}

#[test]
fn a_restart_tries_one_after_the_other_until_one_is_there() {
    let alive = (1..=20).map(|n| (Name::new(format!("n{n}")), SocketAddr::from(([10, 0, 1, n], 7946))));
    let restore = Restore { alive: alive.collect(), ..Restore::default() };
    let mut config = ServiceConfig::default();
    config.restore(Some(restore)).reconnect_interval(Duration::ZERO);
    let mut bed = Bed::with(config);
    let mut tried = opened(&mut bed);
    assert_eq!(tried.len(), 3, "a few at once");
    for round in 0..17 {
        bed.swim.stream_failed(tried[round].0, crate::output::StreamFailure::Unreachable);
        bed.swim.settle(&mut bed.services);
        tried.extend(opened(&mut bed));
    }
    let mut addresses: Vec<_> = tried.iter().map(|(_, to)| *to).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 20, "each once");
    assert_eq!(learnt(&bed).len(), 20);
}

// upstream: TestSerf_perNodeReconnectTimeout
#[test]
fn a_member_says_itself_how_long_it_is_to_be_remembered() {
    let mut config = short();
    config.reconnect_tag(Some(b"rc_tm".as_slice().into()));
    let mut bed = Bed::with(config);
    let tagged = |bed: &mut Bed, name: &str, value: &str| {
        let mut metadata = Vec::new();
        crate::wire::serf::encode_tags(&mut metadata, [(b"rc_tm".as_slice(), value.as_bytes())].into_iter())
            .unwrap();
        let addr = WireAddr::new(&[10, 0, 0, name.len() as u8 + 10]).unwrap();
        let claim = AliveClaim {
            name: name.as_bytes(),
            incarnation: 1,
            addr,
            port: 7946,
            metadata: &metadata,
            versions: [1, 5, 2, 2, 5, 5],
        };
        let source = Source::unauthenticated(addr.socket(7946));
        let known = bed.swim.known(claim.name);
        bed.swim.alive(&mut bed.services, known, &claim, Via::Datagram(source));
        bed.dead(name, 1, "x");
    };
    for (name, value) in [("a", "5s"), ("bb", "2m"), ("ccc", "0s"), ("dddd", "-5s"), ("eeeee", "soon")] {
        tagged(&mut bed, name, value);
    }
    let says = |bed: &Bed| ["a", "bb", "ccc", "dddd", "eeeee"].map(|name| bed.says(name).is_some());
    bed.run(Duration::from_secs(6));
    assert_eq!(says(&bed), [false, true, true, true, true]);
    bed.run(Duration::from_secs(60));
    assert_eq!(says(&bed), [false, true, false, false, false], "what is no time leaves it to us");
    bed.run(Duration::from_secs(60));
    assert_eq!(says(&bed), [false; 5]);
    assert_eq!(learnt(&bed), ["ccc", "dddd", "eeeee"], "who wants to be forgotten is");
}

#[test]
fn who_is_back_soon_after_it_failed_flaps() {
    let mut bed = Bed::new();
    for (incarnation, wait, flaps) in [(1, 30, 0), (3, 61, 1), (5, 59, 1), (7, 1, 2)] {
        bed.alive("a", incarnation);
        assert_eq!(bed.swim.stats.member_flaps, flaps);
        bed.dead("a", incarnation, "x");
        bed.run(Duration::from_secs(wait));
    }
    // One that left and comes back does not.
    bed.alive("bb", 1);
    bed.leave_intent("bb", 5, false);
    bed.dead("bb", 1, "bb");
    bed.alive("bb", 2);
    assert_eq!(bed.swim.stats.member_flaps, 2);
}

/// As behind a balancer. All nodes of a large cluster would exchange states by it more often than among themselves.
#[test]
fn a_seed_that_is_never_a_member_is_asked_less_often_in_a_large_cluster() {
    for (members, pause) in [(10, 30), (200, 120)] {
        let mut bed = Bed::new();
        (0..members).for_each(|n| bed.alive(&"x".repeat(n + 1), 1));
        bed.swim.set_seeds(&["10.9.9.9:7946".parse().unwrap()]);
        bed.run(Duration::from_millis(1));
        bed.swim.contact_ended(Contact::Seed { id: 1, alone: false }, true);
        bed.run(Duration::from_secs(pause / 2 - 1));
        assert_eq!(bed.swim.stats.seeds_tried, 1, "{members} members");
        bed.run(Duration::from_secs(pause / 2 + 2));
        assert!(bed.swim.stats.seeds_tried > 1, "{members} members");
    }
}

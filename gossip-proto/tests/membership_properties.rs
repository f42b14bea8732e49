//! What holds of one node whatever it is told: how much is due at once, how long datagrams are, and time that does as it likes.

use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::wire::layers::Compression;
use gossip_proto::wire::message::{Accusation, MessageType};
use gossip_proto::*;
use proptest::prelude::*;

fn addr(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 7946))
}

fn name(number: u16) -> String {
    format!("member-{number}")
}

/// A node that has known so many others for long.
fn node(config: &mut Config, members: u16) -> Membership {
    let (seed, nonces) = (Seed::from_u64(u64::from(members)), NonceSecret::new([1; 32]));
    let mut node = Membership::new(Instant::ORIGIN, config.clone(), seed, nonces).expect("a configuration");
    let known: Vec<_> = (1..=members)
        .map(|number| KnownMember {
            name: Name::from(name(number).as_str()),
            addr: addr(number),
            metadata: Bytes::new(),
            incarnation: 1,
            versions: [1, 5, 2, 0, 0, 0],
        })
        .collect();
    assert_eq!(node.know(Instant::ORIGIN, &known), usize::from(members));
    node
}

fn lan() -> Config {
    Config::lan("self", addr(0))
}

fn accuse(node: &mut Membership, now: Instant, about: &str, by: &str, incarnation: u32) {
    let accusation = Accusation { incarnation, node: about.as_bytes().into(), from: by.as_bytes().into() };
    let mut datagram = vec![MessageType::Suspect.byte()];
    accusation.encode(&mut datagram).expect("a vector has room");
    node.handle_datagram(now, Source::unauthenticated(addr(1)), &mut datagram).expect("a datagram");
}

fn drain(node: &mut Membership, now: Instant) {
    let mut buf = vec![0; node.config().datagram_size()];
    while let Some(transmit) = node.poll_transmit(now, &mut buf) {
        assert!(transmit.len <= node.config().datagram_size());
    }
    while node.poll_stream().is_some() {}
    while node.poll_membership().is_some() {}
    while node.poll_completion().is_some() {}
    while node.poll_event().is_some() {}
}

/// Calls at one instant until nothing is due any more.
fn settle(node: &mut Membership, now: Instant) -> usize {
    let mut calls = 0;
    while node.poll_timeout().is_some_and(|due| due <= now) {
        node.handle_timeout(now);
        calls += 1;
        assert!(calls < 10_000, "it never settles: {:?}", node.next_wakeup());
    }
    calls
}

/// Beside one for each 256 units: a timer of each kind, and the phases of a probe.
const BESIDES: usize = 8;

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn all_that_is_due_at_once_settles_in_members_by_256_calls(members in 2u16..1500, accused in 0u16..1500, jump in 0u64..200_000) {
        let mut node = node(&mut lan(), members);
        let mut now = Instant::from_millis(1);
        for number in 1..=accused.min(members) {
            accuse(&mut node, now, &name(number), &name(1 + number % members), 1);
        }
        for after in [0, 500, jump, 0, 60_000, 100_000] {
            now += Duration::from_millis(after);
            let calls = settle(&mut node, now);
            prop_assert!(calls <= usize::from(members) / 256 + BESIDES, "{} calls for {} members", calls, members);
            drain(&mut node, now);
        }
    }

    #[test]
    fn no_datagram_is_longer_than_its_path_carries(
        limit in 256usize..1500,
        path in 0usize..1600,
        (label, sealed, all) in ("[a-z]{0,40}", any::<bool>(), any::<bool>()),
        members in 1u16..60,
        payloads in prop::collection::vec(0usize..1400, 0..12),
    ) {
        let mut config = lan();
        config.max_datagram(limit).label(label.into_bytes().into());
        config.compression(if all { Compression::All } else { Compression::Off });
        if sealed {
            config.keyring(Some(Keyring::new(Key::new(&[7; 32]).expect("a key"), []).expect("a ring")));
        }
        let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
        // Some names and limits leave no room for a ping; then there is no node.
        prop_assume!(Membership::new(Instant::ORIGIN, config.clone(), seed, nonces).is_ok());
        let mut node = node(&mut config, members);
        let mut now = Instant::from_millis(1);
        for number in 1..=members {
            node.handle_path(now, addr(number), path);
        }
        for len in payloads {
            // What is too long is refused.
            let _ = node.broadcast(now, vec![0xaa; len].into());
            if let Some(key) = node.find(name(1).as_bytes()).map(|member| member.key) {
                let _ = node.send(now, key, vec![0x55; len].into());
            }
        }
        // Less than the least that is ever sent does not count.
        let most = if path == 0 { limit } else { path.clamp(256, limit.max(256)) };
        let mut buf = vec![0; limit];
        for _ in 0..20 {
            now += Duration::from_millis(200);
            settle(&mut node, now);
            while let Some(transmit) = node.poll_transmit(now, &mut buf) {
                prop_assert!(transmit.len <= limit.min(most), "{} bytes where {} go", transmit.len, limit.min(most));
            }
        }
    }

    #[test]
    fn time_may_go_back_jump_or_stand_still(steps in prop::collection::vec((0u8..4, 0u64..100_000), 1..60)) {
        let mut node = node(&mut lan(), 5);
        let mut now = Instant::from_millis(1);
        for (kind, millis) in steps {
            let span = Duration::from_millis(millis);
            match kind {
                0 => now += Duration::from_millis(millis % 1000),
                // Asleep: no timer was called in between.
                1 => now += span,
                2 => {
                    node.handle_timeout(now);
                    settle(&mut node, now);
                    // It keeps its own time: nothing is due that was not, and nothing that was is not.
                    let (went_back, due) = (node.stats().time_went_back, node.poll_timeout());
                    let past = now.saturating_sub(span);
                    node.handle_timeout(past);
                    prop_assert_eq!(node.stats().time_went_back > went_back, past < now);
                    prop_assert_eq!(node.poll_timeout(), due);
                }
                _ => accuse(&mut node, now, &name(1 + (millis % 5) as u16), "x", (millis % 3) as u32),
            }
            let calls = settle(&mut node, now);
            prop_assert!(calls <= BESIDES, "{} calls", calls);
            prop_assert!(node.poll_timeout().is_none_or(|due| due > now));
            prop_assert!(node.local().status == Status::Alive && node.find(b"self").is_some());
            drain(&mut node, now);
        }
    }

    /// Whatever it is accused with, it says something higher, or the accusation is none that anybody would believe.
    #[test]
    fn who_lives_answers_every_accusation(accusations in prop::collection::vec(any::<u32>(), 1..20)) {
        let mut node = node(&mut lan(), 3);
        let now = Instant::from_millis(1);
        for incarnation in accusations {
            let before = node.local().incarnation;
            accuse(&mut node, now, "self", "x", incarnation);
            let after = node.local().incarnation;
            let within = incarnation <= (u32::MAX / 2).max(before.saturating_add(1 << 15)).min(u32::MAX - 2);
            let answered = after > incarnation;
            prop_assert!(answered || !within, "accused at {incarnation}, it stays at {after}");
            prop_assert!(after >= before && node.local().status == Status::Alive);
        }
    }
}

//! Whole machines under arbitrary sequences of all their calls: whatever a network, a peer and an application can do to them.

mod bench;
mod watch;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use self::bench::Bench;
pub(super) use self::watch::Watch;
use super::forge::{address, name};
use super::layers::layers;
use crate::output::*;
use crate::wire::keyring::Key;
use crate::wire::layers::Compression;
use crate::{
    Admission, Cidr, Config, ConsulClient, Ending, Instant, JoinTarget, KeyCommand, Machine, Membership,
    Name, Node, NonceSecret, Playback, QueryParams, Restore, Seed, ServiceConfig,
};

/// Members that a machine under test may know.
const MAX_MEMBERS: usize = 12;

/// The same of one that may see a crowd come.
const MANY_MEMBERS: usize = 64;

/// Streams that it may have, inbound and its own each.
const MAX_STREAMS: usize = 4;

/// Work that one of its calls may do, in units.
const WORK: usize = 16;

/// A byte that selects the machine and its configuration, and a program: each byte is a call, followed by its arguments. After
/// each call what must always hold is checked. It runs twice on fresh machines, which must do exactly the same; the
/// second one may be recorded, and then the recording is played.
pub fn fuzz_node_ops(input: &[u8]) {
    let Some((&kind, program)) = input.split_first() else { return };
    if kind & 1 == 0 {
        twice(|| membership(kind), kind, program);
    } else {
        twice(|| node(kind), kind, program);
    }
}

fn twice<M: Subject>(fresh: impl Fn() -> M, kind: u8, program: &[u8]) {
    let first = Bench::new(fresh(), kind, program).run();
    let second = Bench::new(fresh(), kind, program);
    if kind & 32 == 0 {
        assert_eq!(first, second.run(), "the same calls do not give the same result");
        return;
    }
    let (second, recording) = second.run_recorded();
    assert_eq!(first, second, "being recorded makes a difference");
    let mut playback = Playback::open(&recording).expect("its own recording");
    while let Some(step) = playback.step() {
        step.expect("its own recording goes the same way");
    }
    assert_eq!(playback.ending(), Some(Ending::Stopped), "the recording breaks off");
    assert_eq!(playback.machine().state_hash(), second.state, "playing the recording leads elsewhere");

    // Whoever is sent a recording may be sent anything.
    let mut damaged = recording;
    let draw = program.iter().fold(0, |draw: usize, &byte| draw.wrapping_mul(31).wrapping_add(byte.into()));
    let (at, len) = (draw % damaged.len(), draw / 8 % damaged.len());
    damaged[at] ^= 1 << (draw % 8);
    if draw & 1 == 0 {
        damaged.truncate(len);
    }
    if let Ok(mut playback) = Playback::open(&damaged) {
        while let Some(Ok(_)) = playback.step() {}
    }
}

/// Small limits everywhere, so that a fuzzer reaches them.
fn limit(config: &mut Config, kind: u8) {
    let set = |bit: u8| kind >> bit & 1 == 1;
    config
        .max_members(if set(7) { MANY_MEMBERS } else { MAX_MEMBERS })
        .max_rumors(16)
        .max_streams(MAX_STREAMS)
        .max_operations(8)
        .max_outgoing(16)
        .max_relays(2)
        .max_exchange_bytes(128 * 1024)
        .max_event_bytes(2048)
        .work_per_call(WORK)
        .ask_before_merge(set(2))
        .identities(set(3));
    if set(1) {
        config.keyring(layers(4).keyring);
    }
    if set(4) {
        config.compression(Compression::All).label(b"blah"[..].into());
    }
}

/// Who refuses some of those that there are, if its seventh bit says so; for long distances, if its eighth does.
fn membership(kind: u8) -> Membership {
    let preset = if kind & 128 == 0 { Config::lan } else { Config::wan };
    let mut config = preset("self", address(0));
    // Those that are forged have Serf's; it would merge nothing that they say.
    config.delegate_versions([2, 5, 4]);
    limit(&mut config, kind);
    if kind & 64 != 0 {
        let few = Cidr::new(address(0).ip(), 29).expect("a short prefix");
        config.cidrs_allowed(vec![few]).admission(vec![Admission::PlainName]);
    }
    Membership::new(Instant::ORIGIN, config, Seed::from_u64(1), NonceSecret::new([1; 32]))
        .expect("the configuration is valid")
}

/// One of Consul, if its seventh bit says so; in its second life, if its eighth does.
fn node(kind: u8) -> Node {
    let (mut config, mut services) = if kind & 64 == 0 {
        (Config::lan("self", address(0)), ServiceConfig::default())
    } else {
        let mut consul = ConsulClient::new("dc1", "40e4a748-2192-161a-0510-9bf59fe950b5");
        consul.reconnect_timeout(Duration::from_secs(24 * 3600));
        Config::consul_client("self", address(0), &consul).expect("a data centre and an id")
    };
    limit(&mut config, kind);
    services.event_buffer(8).max_events_per_ltime(3).max_open_queries(3).max_recent_intents(3).max_learnt(4);
    if kind & 128 != 0 {
        services.restore(Some(earlier_life()));
    }
    Node::new(Instant::ORIGIN, config, services, Seed::from_u64(1), NonceSecret::new([1; 32]))
        .expect("the configuration is valid")
}

fn earlier_life() -> Restore {
    let known = |number: u8| (Name::new(name(number)), address(number));
    let forgotten = |number: u8| (Name::new(name(number)), address(number | 0x80), Duration::from_secs(3600));
    Restore {
        last: Clocks { member: 7, event: 5, query: 3 },
        alive: (1..4).map(known).collect(),
        learnt: (3..6).map(forgotten).collect(),
    }
}

/// What only one kind of machine has.
pub(in crate::testing) trait Subject: Machine {
    /// Whether its user messages are Serf's; else they are whatever the application makes of them.
    const SERF: bool;

    fn own_command(&mut self, now: Instant, which: u8, bytes: &[u8]);

    fn layers(&self) -> &crate::wire::layers::Layers;

    /// What time it was last told.
    fn told(&self) -> Instant;

    /// The clocks, all zero if there are none.
    fn lamport(&self) -> Clocks {
        Clocks::default()
    }

    /// What must hold of the parts that only this kind has; `gone` members have failed or left.
    fn check_own(&self, _gone: usize) {}
}

impl Subject for Membership {
    const SERF: bool = false;

    fn own_command(&mut self, now: Instant, which: u8, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        match which % 4 {
            0 => drop(self.set_metadata(now, bytes)),
            1 => drop(self.broadcast(now, bytes)),
            2 => drop(self.broadcast_about(now, &[which & 16], bytes)),
            _ => drop(self.set_user_state(bytes)),
        }
    }

    fn layers(&self) -> &crate::wire::layers::Layers {
        self.swim.layers()
    }

    fn told(&self) -> Instant {
        self.swim.now
    }
}

impl Subject for Node {
    const SERF: bool = true;

    fn own_command(&mut self, now: Instant, which: u8, bytes: &[u8]) {
        // Refusals are part of the game.
        match which % 6 {
            0 => drop(self.set_tags(now, vec![(Bytes::from_static(b"role"), Bytes::copy_from_slice(bytes))])),
            1 => drop(self.user_event(now, b"event", bytes, which & 4 != 0)),
            2 => {
                drop(self.force_leave(now, &name(bytes.first().copied().unwrap_or_default()), which & 4 != 0))
            }
            3 => {
                let mut params = QueryParams::default();
                params.ack(which & 8 != 0).relay_factor(which >> 4).timeout(Some(Duration::from_secs(1)));
                let names = bytes.iter().take(4).map(|&number| name(number)[..].into()).collect();
                let tags = vec![(Bytes::from_static(b"role"), Bytes::copy_from_slice(bytes))];
                params.everybody_answers(which & 128 != 0);
                params.nodes(if which & 16 != 0 { names } else { Vec::new() });
                params.tags(if which & 32 != 0 { tags } else { Vec::new() });
                drop(self.query(now, if which & 64 != 0 { b"_serf_ping" } else { b"query" }, b"", &params));
            }
            4 if which & 64 != 0 => {
                let key = Key::new(bytes.get(..16).unwrap_or(&[1; 16]));
                let command = match (which & 24, key) {
                    (0, Ok(key)) => KeyCommand::Install(key),
                    (8, Ok(key)) => KeyCommand::Use(key),
                    (16, Ok(key)) => KeyCommand::Remove(key),
                    _ => KeyCommand::List,
                };
                self.persist_keyring(which & 32 != 0);
                drop(self.keys(now, &command, which >> 7));
                let number = bytes.first().copied().unwrap_or_default();
                let stored = if number & 1 == 0 { Ok(()) } else { Err("full".into()) };
                drop(self.keyring_stored(now, RequestId((1 << 62) + u64::from(number / 2)), stored));
            }
            4 => {
                let number = bytes.first().copied().unwrap_or_default();
                drop(self.respond(now, RequestId((1 << 52) + u64::from(number)), bytes));
            }
            _ => drop(self.join_ignoring_old(now, &[JoinTarget::from(address(which))])),
        }
    }

    fn layers(&self) -> &crate::wire::layers::Layers {
        self.swim.layers()
    }

    fn told(&self) -> Instant {
        self.swim.now
    }

    fn lamport(&self) -> Clocks {
        self.clocks()
    }

    fn check_own(&self, gone: usize) {
        assert_eq!(self.num_failed() + self.num_left(), gone, "members that are gone are counted otherwise");
        for Depth { what, len, cap } in self.upper.held(&self.swim) {
            assert!(len <= cap, "{len} {what}, and {cap} may be");
        }
        let coordinate = self.coordinate().expect("coordinates are on");
        let peers = (0..8).filter_map(|number| self.coordinate_of(&name(number)));
        for coordinate in peers.chain([coordinate]) {
            assert!(coordinate.height.is_finite() && coordinate.error.is_finite(), "{coordinate:?}");
        }
        for (_, _, left) in self.learnt() {
            assert!(left <= Duration::from_secs(72 * 3600), "an address is kept for {left:?}");
        }
    }
}

//! What a node believes, against a naive model written from the text of spec 4.3 to 4.6.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

use super::arguments::Arguments;
use super::forge::{address, name};
use crate::output::{Source, Status};
use crate::wire::message::{Accusation, Alive, MessageType};
use crate::{Config, Instant, Machine, Membership, NonceSecret, Seed};

/// Ours, beyond the text (W-3): how far an alive claim and an accusation raise a known member, and how high a newcomer may stand.
const LARGEST_RAISE: u32 = 1 << 16;
const LARGEST_ACCUSATION: u32 = 1 << 15;
const HIGHEST_UNKNOWN: u32 = u32::MAX / 2;

/// Claims about a few names, one after the other, with all timers standing still. After each, the table of a real machine
/// is that of the model.
pub fn fuzz_claims(input: &[u8]) {
    let mut config = Config::lan(&name(0)[..], address(0));
    // No suspicion may be shortened to nothing, and no member be refused for want of room.
    config
        .probe_interval(core::time::Duration::ZERO)
        .push_pull_interval(core::time::Duration::ZERO)
        // As in what is claimed, or no words would be our own.
        .delegate_versions([2, 5, 4]);
    let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
    let mut machine =
        Membership::new(Instant::ORIGIN, config, seed, nonces).expect("the configuration is valid");
    let mut model = Text::new(&machine);
    let mut arguments = Arguments::new(input);
    while let Some(kind) = arguments.next() {
        let claim = Said::read(kind, &mut arguments);
        let source = Source::unauthenticated(address(9));
        let handed = machine.handle_datagram(Instant::ORIGIN, source, &mut claim.datagram());
        assert!(handed.is_ok(), "a well-formed datagram is refused: {handed:?}");
        model.hear(&claim);
        model.compare(&machine, &claim);
    }
}

/// A claim, as its sender means it.
#[derive(Debug)]
enum Said {
    Alive { about: u8, incarnation: u32, ip: Ipv4Addr, mapped: bool, port: u16, meta: Vec<u8> },
    Suspect { about: u8, incarnation: u32, by: u8 },
    Dead { about: u8, incarnation: u32, by: u8 },
}

impl Said {
    fn read(kind: u8, arguments: &mut Arguments<'_>) -> Self {
        let [about, incarnation, by] = arguments.array();
        // Near what is there already, near the ends of the ranges, or anything.
        let incarnation = match incarnation {
            0..0x80 => u32::from(incarnation % 16),
            0x80..0x90 => LARGEST_ACCUSATION - 8 + u32::from(incarnation % 16),
            0x90..0xa0 => LARGEST_RAISE - 8 + u32::from(incarnation % 16),
            0xa0..0xc0 => HIGHEST_UNKNOWN - 16 + u32::from(incarnation % 32),
            0xc0..0xe0 => u32::MAX - u32::from(incarnation % 32),
            _ => u32::from_be_bytes(arguments.array()),
        };
        let (about, by) = (about % 8, by % 8);
        match kind % 4 {
            0 | 1 => Self::Alive {
                about,
                incarnation,
                ip: Ipv4Addr::new(10, 0, 0, if kind & 4 == 0 { about } else { by }),
                mapped: kind & 32 != 0,
                port: if kind & 8 == 0 { 7946 } else { 7947 },
                meta: if kind & 16 == 0 { Vec::new() } else { Vec::from([by]) },
            },
            2 => Self::Suspect { about, incarnation, by },
            _ => Self::Dead { about, incarnation, by },
        }
    }

    fn datagram(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let accusation = |out: &mut Vec<u8>, kind: MessageType, about: u8, incarnation, by: u8| {
            out.push(kind.byte());
            let (node, from) = (name(about), name(by));
            let accusation = Accusation { incarnation, node: node[..].into(), from: from[..].into() };
            accusation.encode(out).expect("a vector has room");
        };
        match self {
            Self::Alive { about, incarnation, ip, mapped, port, meta } => {
                out.push(MessageType::Alive.byte());
                let node = name(*about);
                let addr = if *mapped { ip.to_ipv6_mapped().octets().to_vec() } else { ip.octets().to_vec() };
                let alive = Alive {
                    incarnation: *incarnation,
                    node: node[..].into(),
                    addr: addr[..].into(),
                    port: *port,
                    meta: meta[..].into(),
                    vsn: VERSIONS[..].into(),
                };
                alive.encode(&mut out).expect("a vector has room");
            }
            Self::Suspect { about, incarnation, by } => {
                accusation(&mut out, MessageType::Suspect, *about, *incarnation, *by)
            }
            Self::Dead { about, incarnation, by } => {
                accusation(&mut out, MessageType::Dead, *about, *incarnation, *by)
            }
        }
        out
    }
}

/// The table of the text.
struct Text {
    records: BTreeMap<u8, Record>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    state: State,
    incarnation: u32,
    addr: SocketAddr,
    meta: Vec<u8>,
    versions: [u8; 6],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Suspect,
    Dead,
    Left,
}

impl Text {
    fn new(machine: &Membership) -> Self {
        let own = machine.local();
        let record = Record {
            state: State::Alive,
            incarnation: own.incarnation,
            addr: own.addr,
            meta: own.metadata.into(),
            versions: own.versions,
        };
        Self { records: BTreeMap::from([(0, record)]) }
    }

    fn hear(&mut self, claim: &Said) {
        match claim {
            Said::Alive { about, incarnation, ip, port, meta, .. } => {
                self.alive(*about, *incarnation, SocketAddr::from((*ip, *port)), meta);
            }
            Said::Suspect { about, incarnation, .. } => self.suspect(*about, *incarnation),
            Said::Dead { about, incarnation, by } => self.dead(*about, *incarnation, about == by),
        }
    }

    /// 4.3. The node does not leave, there are no delegates and no lists of networks, and nothing is reclaimed.
    fn alive(&mut self, about: u8, incarnation: u32, addr: SocketAddr, meta: &[u8]) {
        let own = about == 0;
        // It is followed as far as one claim may go (ours, W-3).
        let reach = self.records.get(&about).map_or(HIGHEST_UNKNOWN, |record| {
            record.incarnation.saturating_add(LARGEST_RAISE).clamp(HIGHEST_UNKNOWN + 1, u32::MAX - 1)
        });
        let incarnation = incarnation.min(reach);
        let fresh = Record { state: State::Alive, incarnation, addr, meta: meta.into(), versions: VERSIONS };
        let Some(record) = self.records.get_mut(&about) else {
            // 4. An unknown name. Incarnation 0 makes a ghost upstream; here it makes nothing.
            if incarnation > 0 {
                self.records.insert(about, fresh);
            }
            return;
        };
        // 5. Another address: only for who has left; the dead are not reclaimed. Another form of it is none (ours, Q-1).
        let mut updates = false;
        if record.addr != addr {
            if record.state != State::Left {
                return;
            }
            updates = true;
        }
        // 6.
        if incarnation <= record.incarnation && !own && !updates {
            return;
        }
        // 7.
        if incarnation < record.incarnation && own {
            return;
        }
        // 10.
        if own {
            let echo =
                incarnation == record.incarnation && *meta == record.meta && record.versions == VERSIONS;
            if !echo {
                self.refute(incarnation);
            }
            return;
        }
        if incarnation > 0 {
            *record = fresh;
        }
    }

    /// 4.4.
    fn suspect(&mut self, about: u8, incarnation: u32) {
        let Some(record) = self.records.get_mut(&about) else { return };
        let incarnation = if about == 0 { incarnation.min(farthest_accusation(record)) } else { incarnation };
        // 2, 3, 4: what is older, what only confirms, and the dead.
        if incarnation < record.incarnation || record.state != State::Alive {
            return;
        }
        // 5.
        if about == 0 {
            return self.refute(incarnation);
        }
        // 6.
        if may_accuse(record, incarnation) {
            (record.state, record.incarnation) = (State::Suspect, incarnation);
        }
    }

    /// 4.5.
    fn dead(&mut self, about: u8, incarnation: u32, leave: bool) {
        let Some(record) = self.records.get_mut(&about) else { return };
        let incarnation = if about == 0 { incarnation.min(farthest_accusation(record)) } else { incarnation };
        // 2, 4.
        if incarnation < record.incarnation || matches!(record.state, State::Dead | State::Left) {
            return;
        }
        // 5.
        if about == 0 {
            return self.refute(incarnation);
        }
        // 6.
        if may_accuse(record, incarnation) {
            record.state = if leave { State::Left } else { State::Dead };
            record.incarnation = incarnation;
        }
    }

    /// 4.6.
    fn refute(&mut self, accused: u32) {
        let own = self.records.get_mut(&0).expect("the node itself");
        own.incarnation += 1;
        if accused >= own.incarnation {
            own.incarnation = accused + 1;
        }
    }

    fn compare(&self, machine: &Membership, after: &Said) {
        for (number, record) in &self.records {
            let found = machine.find(&name(*number));
            let found = found.unwrap_or_else(|| panic!("node {number} is missing after {after:?}"));
            let state = match found.status {
                Status::Alive | Status::Leaving => State::Alive,
                Status::Suspect => State::Suspect,
                Status::Failed => State::Dead,
                Status::Left => State::Left,
            };
            let seen = Record {
                state,
                incarnation: found.incarnation,
                addr: found.addr,
                meta: found.metadata.into(),
                versions: found.versions,
            };
            assert_eq!(&seen, record, "node {number} after {after:?}");
        }
        assert_eq!(machine.members().count(), self.records.len(), "members after {after:?}");
    }
}

/// What is said of this node may be as high as a newcomer's; it answers as far as that, and further the next time (ours, W-3).
fn farthest_accusation(own: &Record) -> u32 {
    own.incarnation.saturating_add(LARGEST_ACCUSATION).clamp(HIGHEST_UNKNOWN, u32::MAX - 2)
}

fn may_accuse(record: &Record, incarnation: u32) -> bool {
    incarnation <= record.incarnation.saturating_add(LARGEST_ACCUSATION).min(u32::MAX - 2)
}

/// pmin, pmax, pcur, dmin, dmax, dcur.
const VERSIONS: [u8; 6] = [1, 5, 2, 2, 5, 4];

//! What is measured: a membership machine of a given size, and single operations of its packet path.
//!
//! Each operation checks that it did what it is named after, so that a benchmark cannot get fast by doing nothing.

pub mod heap;
pub mod peers;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use gossip_proto::wire::compound::Packer;
use gossip_proto::wire::field::Raw;
use gossip_proto::wire::keyring::{Key, Keyring, Nonces};
use gossip_proto::wire::layers::Layers;
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::{Alive, MessageType, Ping};
use gossip_proto::wire::packet::Envelope;
use gossip_proto::{Config, Instant, Machine, Membership, NonceSecret, Seed, Source};

/// The sizes of cluster that everything is measured at.
pub const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// How many alive messages the operations with many of them carry in one datagram; about what fits.
pub const ALIVES: usize = 15;

const KEY: [u8; 16] = [0x5a; 16];
const ANOTHER_KEY: [u8; 16] = [0xa5; 16];
const DATAGRAM: usize = 1400;
/// What a seal adds: version, nonce and tag.
const SEAL: usize = 29;

/// An operation of the packet path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A ping comes in, its ack goes out; nothing is left to be gossiped.
    PingAck,
    /// As `PingAck`, encrypted.
    PingAckSealed,
    /// A full datagram of alive messages that are all known.
    KnownAlives,
    /// One alive message that is news and has to be passed on, and a ping whose ack carries it.
    News,
    /// A ping that is sealed with a key which the ring does not have: it is dropped.
    WrongKey,
    /// As `WrongKey`, a datagram of 1,400 bytes.
    WrongKeyFull,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::PingAck,
        Self::PingAckSealed,
        Self::KnownAlives,
        Self::News,
        Self::WrongKey,
        Self::WrongKeyFull,
    ];

    /// The key that its datagrams are sealed with, if any.
    fn key(self) -> Option<[u8; 16]> {
        match self {
            Self::PingAckSealed => Some(KEY),
            Self::WrongKey | Self::WrongKeyFull => Some(ANOTHER_KEY),
            Self::PingAck | Self::KnownAlives | Self::News => None,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PingAck => "ping-ack",
            Self::PingAckSealed => "ping-ack-sealed",
            Self::KnownAlives => "known-alives",
            Self::News => "news",
            Self::WrongKey => "wrong-key",
            Self::WrongKeyFull => "wrong-key-full",
        }
    }
}

/// A machine that knows many members, with its timers of probing and exchanges off: what happens is what is handed in.
#[derive(Debug)]
pub struct Bed {
    operation: Operation,
    machine: Membership,
    now: Instant,
    layers: Layers,
    nonces: Nonces,
    deflater: Deflater,
    members: usize,
    turn: usize,
    incarnation: u32,
    /// What arrives, before it is copied to where it is opened.
    template: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Bed {
    /// A machine with that many members, itself included, that has nothing more to say.
    pub fn new(operation: Operation, members: usize) -> Self {
        let keyring = operation.key().map(|_| ring(&KEY));
        let mut config = Config::lan("node-0", address(0));
        config
            .keyring(keyring.clone())
            .probe_interval(Duration::ZERO)
            .push_pull_interval(Duration::ZERO)
            .max_members(members.max(64));
        let machine = Membership::new(Instant::ORIGIN, config, Seed::from_u64(1), NonceSecret::new([2; 32]))
            .expect("a valid configuration");
        let mut bed = Self {
            operation,
            machine,
            now: Instant::ORIGIN,
            layers: Layers { keyring, ..Layers::default() },
            nonces: Nonces::new([3; 32]),
            deflater: Deflater::new(),
            members,
            turn: 0,
            incarnation: 1,
            template: Vec::new(),
            input: Vec::new(),
            output: vec![0; 65_536],
        };
        bed.populate();
        bed.template = match operation {
            Operation::PingAck | Operation::PingAckSealed | Operation::News => bed.ping(),
            Operation::WrongKey | Operation::WrongKeyFull => {
                bed.layers.keyring = operation.key().map(|key| ring(&key));
                match operation {
                    Operation::WrongKey => bed.ping(),
                    _ => bed.wrap(&[0; DATAGRAM - SEAL]),
                }
            }
            Operation::KnownAlives => bed.alives(1, ALIVES.min(members - 1), 1),
        };
        bed
    }

    /// Carries out the operation once. Returns the number of datagrams sent.
    #[inline(never)]
    pub fn measured(&mut self) -> usize {
        match self.operation {
            Operation::PingAck | Operation::PingAckSealed => {
                self.receive_template();
                let sent = self.send();
                assert_eq!(sent, 1, "one ping, one ack");
                sent
            }
            Operation::KnownAlives => {
                let accepted = self.machine.stats().alive_accepted;
                self.receive_template();
                let sent = self.send();
                assert_eq!(self.machine.stats().alive_accepted, accepted, "they were known");
                sent
            }
            Operation::WrongKey | Operation::WrongKeyFull => {
                let dropped = self.machine.stats().dropped_seal;
                self.input.clear();
                self.input.extend_from_slice(&self.template);
                let source = Source::unauthenticated(address(1));
                let refused = self.machine.handle_datagram(self.now, source, &mut self.input);
                assert!(
                    refused.is_err() && self.machine.stats().dropped_seal == dropped + 1,
                    "no key opens it"
                );
                0
            }
            Operation::News => {
                let accepted = self.machine.stats().alive_accepted;
                // Each member in turn says something new about itself, all of them before the first one again.
                self.turn = self.turn % (self.members - 1) + 1;
                if self.turn == 1 {
                    self.incarnation += 1;
                }
                self.input.clear();
                let mut body = vec![MessageType::Alive.byte()];
                alive(&name(self.turn), self.turn, self.incarnation, &mut body);
                self.input.extend_from_slice(&body);
                self.receive();
                assert_eq!(self.machine.stats().alive_accepted, accepted + 1, "it was news");
                self.receive_template();
                let sent = self.send();
                assert_eq!(sent, 1, "one ping, one ack");
                sent
            }
        }
    }

    /// Introduces the members, and lets the machine gossip until it has nothing more to say.
    fn populate(&mut self) {
        let mut next = 1;
        while next < self.members {
            let count = ALIVES.min(self.members - next);
            self.input = self.alives(next, count, 1);
            self.receive();
            self.drain();
            next += count;
        }
        assert_eq!(self.machine.num_alive(), self.members);
        let give_up = self.now + Duration::from_secs(3600);
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due < give_up) {
            self.now = self.now.max(due);
            let before = self.machine.stats().bytes_sent;
            self.machine.handle_timeout(self.now);
            self.drain();
            if self.machine.stats().bytes_sent == before && self.now > Instant::from_millis(2_000) {
                break;
            }
        }
    }

    fn drain(&mut self) {
        self.send();
        while self.machine.poll_membership().is_some() {}
        while self.machine.poll_event().is_some() {}
        while self.machine.poll_completion().is_some() {}
    }

    fn receive_template(&mut self) {
        self.input.clear();
        self.input.extend_from_slice(&self.template);
        self.receive();
    }

    fn receive(&mut self) {
        let source = Source::unauthenticated(address(1));
        self.machine.handle_datagram(self.now, source, &mut self.input).expect("a datagram that opens");
    }

    fn send(&mut self) -> usize {
        let mut sent = 0;
        while self.machine.poll_transmit(self.now, &mut self.output).is_some() {
            sent += 1;
        }
        while self.machine.poll_membership().is_some() {}
        sent
    }

    fn ping(&mut self) -> Vec<u8> {
        let addr = octets(1);
        let (from, to) = (name(1), name(0));
        let ping = Ping {
            seq: 7,
            node: to.as_bytes().into(),
            source_addr: Raw::from(&addr[..]),
            source_port: 7946,
            source_node: from.as_bytes().into(),
        };
        let mut body = vec![MessageType::Ping.byte()];
        ping.encode(&mut body).expect("a vector has room");
        self.wrap(&body)
    }

    fn alives(&mut self, first: usize, count: usize, incarnation: u32) -> Vec<u8> {
        let mut body = vec![0; DATAGRAM];
        let mut packer = Packer::new(&mut body);
        for number in first..first + count {
            let mut message = vec![MessageType::Alive.byte()];
            alive(&name(number), number, incarnation, &mut message);
            packer.push(&message).expect("it fits");
        }
        let len = packer.finish();
        body.truncate(len);
        self.wrap(&body)
    }

    fn wrap(&mut self, body: &[u8]) -> Vec<u8> {
        let mut out = vec![0; DATAGRAM + 100];
        let mut envelope =
            Envelope::new(&self.layers, &mut out, DATAGRAM + 100, false).expect("there is room");
        envelope.body()[..body.len()].copy_from_slice(body);
        let len = envelope.finish(body.len(), &mut self.nonces, &mut self.deflater).expect("it fits");
        out.truncate(len);
        out
    }
}

fn ring(key: &[u8]) -> Keyring {
    Keyring::new(Key::new(key).expect("16 bytes"), []).expect("one key")
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

fn octets(number: usize) -> [u8; 4] {
    let [.., a, b] = u32::try_from(number).expect("few members").to_be_bytes();
    [10, 0, a, b]
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(octets(number)), 7946))
}

fn alive(name: &str, number: usize, incarnation: u32, out: &mut Vec<u8>) {
    let addr = octets(number);
    let alive = Alive {
        incarnation,
        node: name.as_bytes().into(),
        addr: Raw::from(&addr[..]),
        port: 7946,
        meta: Raw::NIL,
        vsn: Raw::from(&[1, 5, 2, 0, 0, 0][..]),
    };
    alive.encode(out).expect("a vector has room");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_does_what_it_says() {
        for operation in Operation::ALL {
            let mut bed = Bed::new(operation, 50);
            for _ in 0..200 {
                bed.measured();
            }
        }
    }
}

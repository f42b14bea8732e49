//! What is measured: a membership machine that knows a whole cluster, and single operations of it.
//!
//! Each operation checks that it did what it is named after, so that a benchmark cannot get fast by doing nothing.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;
use gossip_proto::wire::layers::Compression;
use gossip_proto::wire::message::{MessageType, Ping};
use gossip_proto::{
    Config, DatagramKind, Experiment, Instant, KnownMember, Machine, Membership, NonceSecret, Seed, Source,
};

use crate::exchange::Exchange;
use crate::packets::{ANOTHER_KEY, Forge, KEY, VERSIONS, address, alive, name, ring};

/// The sizes of cluster that everything is measured at.
pub(crate) const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// Alive messages in a packet of them.
const ALIVES: usize = 10;

/// What members say of themselves where a full packet shall be as full with a queue of ten as with one of thousands: with
/// that, nine fill it.
const METADATA: [u8; 64] = *b"role=web,dc=east,version=1.24.3,region=eu-central-1,weight=00100";

/// What is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A ping comes in, its ack goes out; nothing is left to be gossiped.
    PingAck,
    /// A packet of ten alive messages comes in, all of them known.
    Known,
    /// A packet of ten alive messages comes in, all of them news; rumors about all members are queued.
    News,
    /// A full packet of gossip goes out; rumors about all members are queued.
    Packet,
    /// As `Packet`, rumors without metadata: twice as many fill it in a large cluster, and in one of ten there are not enough.
    PacketSmall,
    /// One simulated second of a node to which nothing happens: it probes one member and is probed by one.
    Idle,
    /// A whole state comes in by stream and the own one goes out; nothing in it is news.
    Exchange,
    /// A ping that is sealed with a key which the ring does not have: it is dropped.
    WrongKey,
    /// As `WrongKey`, a packet of 1,400 bytes.
    WrongKeyFull,
}

/// How traffic is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrap {
    Plain,
    Sealed,
    Compressed,
}

/// An operation of a hot path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    name: &'static str,
    what: What,
    wrap: Wrap,
}

const fn operation(name: &'static str, what: What, wrap: Wrap) -> Operation {
    Operation { name, what, wrap }
}

impl Operation {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        operation("ping-ack", What::PingAck, Wrap::Plain),
        operation("ping-ack-sealed", What::PingAck, Wrap::Sealed),
        operation("known", What::Known, Wrap::Plain),
        operation("known-sealed", What::Known, Wrap::Sealed),
        operation("known-lzw", What::Known, Wrap::Compressed),
        operation("news", What::News, Wrap::Plain),
        operation("packet", What::Packet, Wrap::Plain),
        operation("packet-sealed", What::Packet, Wrap::Sealed),
        operation("packet-lzw", What::Packet, Wrap::Compressed),
        operation("packet-small", What::PacketSmall, Wrap::Plain),
        operation("idle", What::Idle, Wrap::Plain),
        operation("idle-sealed", What::Idle, Wrap::Sealed),
        operation("exchange", What::Exchange, Wrap::Plain),
        operation("exchange-sealed", What::Exchange, Wrap::Sealed),
        operation("exchange-lzw", What::Exchange, Wrap::Compressed),
        operation("wrong-key", What::WrongKey, Wrap::Sealed),
        operation("wrong-key-full", What::WrongKeyFull, Wrap::Sealed),
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    /// The sizes of cluster that it is measured at: one is enough of what does not come to look at members.
    pub(crate) fn sizes(self) -> &'static [usize] {
        match self.what {
            What::WrongKey | What::WrongKeyFull => &SIZES[..1],
            _ => &SIZES,
        }
    }

    /// Whether it takes as long as there are members.
    pub(crate) fn is_exchange(self) -> bool {
        self.what == What::Exchange
    }

    fn queues_all(self) -> bool {
        matches!(self.what, What::News | What::Packet | What::PacketSmall)
    }
}

/// A machine that knows many members. What happens to it is what is handed in: its timers are off except where they are
/// what is measured.
#[derive(Debug)]
pub(crate) struct Bed {
    operation: Operation,
    machine: Membership,
    now: Instant,
    forge: Forge,
    members: usize,
    /// Of each member, the last incarnation it made known.
    incarnations: Vec<u32>,
    draws: u64,
    /// Packets that arrive, and from whom.
    prepared: VecDeque<(usize, Vec<u8>)>,
    /// Packets that have arrived: their memory is used again.
    spent: Vec<Vec<u8>>,
    output: Vec<u8>,
    exchange: Option<Exchange>,
}

impl Bed {
    /// A machine with that many members, itself included, that has nothing to say but what the operation needs.
    pub(crate) fn new(operation: Operation, members: usize) -> Self {
        let key = (operation.wrap == Wrap::Sealed).then_some(KEY);
        let compression =
            if operation.wrap == Wrap::Compressed { Compression::All } else { Compression::Off };
        let metadata = if operation.what == What::Packet { &METADATA[..] } else { &[] };
        let mut forever = Experiment::default();
        forever.transmit_limit(Some(u32::MAX));
        let config = |number| {
            let mut config = Config::lan(name(number).as_str(), address(number));
            config
                .keyring(key.map(|key| ring(&key)))
                .compression(compression)
                .push_pull_interval(Duration::ZERO)
                // Rumors that were sent often enough would leave the queue, and it shall stay as long as it is.
                .experiment(forever.clone())
                .max_rumors(members.max(64))
                .max_members(members.max(64));
            if operation.what != What::Idle {
                config.probe_interval(Duration::ZERO);
            }
            config
        };
        let machine = |number: usize| {
            let (seed, nonces) = (Seed::from_u64(number as u64), NonceSecret::new([number as u8; 32]));
            let mut machine = Membership::new(Instant::ORIGIN, config(number), seed, nonces)
                .expect("a valid configuration");
            let known: Vec<_> =
                (0..members).filter(|&other| other != number).map(|other| member(other, metadata)).collect();
            assert_eq!(machine.know(Instant::ORIGIN, &known), members - 1);
            machine
        };
        let forged_with = match operation.what {
            What::WrongKey | What::WrongKeyFull => Some(&ANOTHER_KEY[..]),
            _ => key.as_ref().map(|key| &key[..]),
        };
        let mut bed = Self {
            operation,
            machine: machine(0),
            now: Instant::ORIGIN,
            forge: Forge::new(forged_with, compression),
            members,
            incarnations: vec![1; members],
            draws: 1,
            prepared: VecDeque::new(),
            spent: Vec::new(),
            output: vec![0; 65_536],
            exchange: operation.is_exchange().then(|| Exchange::record(machine(1), machine(0).local().addr)),
        };
        if operation.queues_all() {
            bed.queue_all(metadata);
        }
        bed
    }

    /// Makes what the next turn needs.
    pub(crate) fn prepare(&mut self) {
        let mut packet = self.spent.pop().unwrap_or_default();
        let from = self.draw();
        match self.operation.what {
            What::PingAck | What::WrongKey | What::Idle => self.forge.ping(&mut packet, from, 0),
            What::WrongKeyFull => self.forge.noise(&mut packet),
            What::Known | What::News => {
                let mut of = [(0, 0); ALIVES];
                for (number, incarnation) in &mut of {
                    *number = self.draw();
                    let latest = &mut self.incarnations[*number];
                    if self.operation.what == What::News {
                        *latest += 1;
                    }
                    *incarnation = *latest;
                }
                self.forge.packet(&mut packet, |packer| {
                    of.iter().for_each(|&(number, incarnation)| alive(packer, number, incarnation, &[]));
                });
            }
            What::Packet | What::PacketSmall | What::Exchange => {}
        }
        self.prepared.push_back((from, packet));
    }

    /// Carries the operation out once.
    pub(crate) fn turn(&mut self) {
        let (from, mut packet) = self.prepared.pop_front().expect("it was prepared");
        match self.operation.what {
            What::Packet | What::PacketSmall => {
                // One tick sends to three members, so that it is another operation only every third time.
                if self.machine.poll_timeout().is_some_and(|due| due <= self.now) || self.is_spent() {
                    self.tick();
                }
                self.measured_packet();
            }
            What::Idle => self.idle_second(from, &mut packet),
            What::Exchange => {
                let exchange = self.exchange.as_mut().expect("it is recorded");
                exchange.measured(&mut self.machine, self.now, &mut self.output);
            }
            _ => self.measured(from, &mut packet),
        }
        self.spent.push(packet);
    }

    /// How long the longest single call of the machine took in any exchange.
    pub(crate) fn longest_call(&self) -> Option<Duration> {
        self.exchange.as_ref().map(Exchange::longest_call)
    }

    /// A packet arrives, and what comes of it leaves.
    #[inline(never)]
    fn measured(&mut self, from: usize, packet: &mut [u8]) {
        let before = self.machine.stats().alive_accepted;
        let taken = self.machine.handle_datagram(self.now, Source::unauthenticated(address(from)), packet);
        let mut sent = 0;
        while self.machine.poll_transmit(self.now, &mut self.output).is_some() {
            sent += 1;
        }
        let accepted = self.machine.stats().alive_accepted - before;
        match self.operation.what {
            What::WrongKey | What::WrongKeyFull => assert!(taken.is_err() && sent == 0, "no key opens it"),
            What::PingAck => assert!(taken.is_ok() && sent == 1, "one ping, one ack"),
            What::News => assert!(accepted == ALIVES as u64 && sent == 0, "they were news"),
            _ => assert!(taken.is_ok() && accepted == 0 && sent == 0, "they were known"),
        }
    }

    /// A packet of gossip is composed.
    #[inline(never)]
    fn measured_packet(&mut self) {
        let transmit = self.machine.poll_transmit(self.now, &mut self.output).expect("gossip");
        assert_eq!(transmit.kind, DatagramKind::Gossip);
        let is_full = self.operation.wrap == Wrap::Compressed || transmit.len > 1_200;
        assert!(
            is_full || self.operation.what == What::PacketSmall && self.members < 1_000,
            "{}",
            transmit.len
        );
    }

    /// The timers of one second fire, a ping goes out and is answered, another comes in and is answered.
    fn idle_second(&mut self, from: usize, packet: &mut [u8]) {
        let end = self.now + Duration::from_secs(1);
        let probed = self.machine.stats().probes_succeeded;
        while let Some(due) = self.machine.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let Some((to, len)) = self.measured_timers() else { continue };
            let seq = self.pinged(len);
            let mut answer = self.spent.pop().unwrap_or_default();
            self.forge.ack(&mut answer, seq, &[]);
            self.measured_arrival(to, &mut answer);
            self.spent.push(answer);
        }
        self.now = end;
        let pings = self.machine.stats().datagrams_sent;
        self.measured_arrival(address(from), packet);
        assert_eq!(self.machine.stats().datagrams_sent, pings + 1, "a ping is answered");
        assert!(self.machine.stats().probes_succeeded <= probed + 1, "one probe a second");
        assert!(self.now < Instant::from_millis(3_000) || self.machine.stats().probes_succeeded > 0);
    }

    /// What is due happens; a datagram may come of it.
    #[inline(never)]
    fn measured_timers(&mut self) -> Option<(core::net::SocketAddr, usize)> {
        self.machine.handle_timeout(self.now);
        self.machine.poll_transmit(self.now, &mut self.output).map(|transmit| (transmit.to, transmit.len))
    }

    #[inline(never)]
    fn measured_arrival(&mut self, from: core::net::SocketAddr, packet: &mut [u8]) {
        self.machine.handle_datagram(self.now, Source::unauthenticated(from), packet).expect("a packet");
        while self.machine.poll_transmit(self.now, &mut self.output).is_some() {}
        while self.machine.poll_membership().is_some() {}
    }

    /// The number of the ping that was sent.
    fn pinged(&mut self, len: usize) -> u32 {
        let body =
            gossip_proto::wire::packet::open(&self.forge.layers, &mut self.output[..len]).expect("a packet");
        assert_eq!(body[0], MessageType::Ping.byte());
        Ping::decode(&body[1..]).expect("a ping").0.seq
    }

    /// Whether all packets of the last gossip tick are composed.
    fn is_spent(&self) -> bool {
        self.machine.depths().iter().any(|depth| depth.what == "outgoing packets" && depth.len == 0)
    }

    fn tick(&mut self) {
        while self.is_spent() {
            self.now = self.machine.poll_timeout().expect("gossip goes on").max(self.now);
            self.machine.handle_timeout(self.now);
        }
    }

    /// Has a rumor about every member queued.
    fn queue_all(&mut self, metadata: &[u8]) {
        for number in 1..self.members {
            self.incarnations[number] += 1;
            let (incarnation, mut packet) = (self.incarnations[number], Vec::new());
            self.forge.packet(&mut packet, |packer| alive(packer, number, incarnation, metadata));
            let source = Source::unauthenticated(address(number));
            self.machine.handle_datagram(self.now, source, &mut packet).expect("a packet");
        }
    }

    /// Another member, drawn uniformly.
    fn draw(&mut self) -> usize {
        // xorshift64: it need not be good, it must be the same on every run.
        self.draws ^= self.draws << 13;
        self.draws ^= self.draws >> 7;
        self.draws ^= self.draws << 17;
        1 + ((self.draws >> 33) as usize) % (self.members - 1)
    }
}

/// As others know a member.
pub(crate) fn member(number: usize, metadata: &[u8]) -> KnownMember {
    KnownMember {
        name: name(number).as_str().into(),
        addr: address(number),
        metadata: Bytes::copy_from_slice(metadata),
        incarnation: 1,
        versions: VERSIONS,
    }
}

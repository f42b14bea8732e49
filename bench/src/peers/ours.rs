//! Our own contender: `gossip_proto::Membership`, datagrams in and out as on the wire, LAN parameters, nothing sealed or
//! compressed.

use core::time::Duration;

use gossip_proto::wire::compound::{Packer, Parts};
use gossip_proto::wire::field::Raw;
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::message::{MessageType, Ping};
use gossip_proto::wire::packet::open;
use gossip_proto::{
    Config, Instant, KnownMember, Machine, Membership, Node, NonceSecret, Seed, Source, Transmit,
};

use super::measure::{self, Peer, Sent, Wanted};
use super::report::Report;
use super::work::{Datagram, Update, address, name, number};
use super::{cluster, ours_cluster};
use crate::messages;

/// Protocol versions that members announce.
const VERSIONS: [u8; 6] = [1, 5, 2, 0, 0, 0];
const DATAGRAM: usize = 1400;

/// A node, and the buffer that it composes into.
#[derive(Debug)]
pub struct Ours {
    machine: Membership,
    now: Instant,
    output: Vec<u8>,
}

impl Peer for Ours {
    fn grown(members: usize, quiet: bool) -> Self {
        let mut config = Config::lan(name(0).as_str(), address(0).into());
        config
            .compression(Compression::Off)
            .push_pull_interval(Duration::ZERO)
            // So that the queue holds an update about each.
            .max_rumors(members.max(4096));
        if quiet {
            config.probe_interval(Duration::ZERO);
        }
        let now = Instant::ORIGIN;
        let mut machine = Membership::new(now, config, Seed::from_u64(1), NonceSecret::new([2; 32]))
            .expect("a valid configuration");
        let known: Vec<KnownMember> = (1..members)
            .map(|number| KnownMember {
                name: name(number).as_str().into(),
                addr: address(number).into(),
                metadata: Default::default(),
                incarnation: 1,
                versions: VERSIONS,
            })
            .collect();
        assert_eq!(machine.know(now, &known), members - 1, "all are new");
        let mut ours = Self { machine, now, output: vec![0; DATAGRAM] };
        // What it says of itself at the start.
        ours.idle(3);
        ours
    }

    fn alives(&mut self, from: usize, updates: &[Update]) -> Datagram {
        let mut bytes = vec![0; DATAGRAM];
        let mut packer = Packer::new(&mut bytes);
        for update in updates {
            let (name, addr) = (name(update.member), address(update.member));
            let message = messages::alive(&name, addr, update.incarnation, Raw::NIL, VERSIONS);
            packer.push(&message).expect("ten fit");
        }
        let len = packer.finish();
        bytes.truncate(len);
        Datagram { from, bytes }
    }

    fn ping(&mut self, from: usize) -> Datagram {
        let bytes = messages::ping(7, &name(0), &name(from), address(from));
        Datagram { from, bytes }
    }

    fn deliver(&mut self, datagrams: &mut [Datagram]) -> Sent {
        let mut sent = Sent::default();
        for datagram in datagrams {
            self.receive(datagram.from, &mut datagram.bytes);
            self.drain(&mut |_, bytes| sent.count(bytes));
        }
        sent
    }

    fn gossip(&mut self, rounds: usize) -> Sent {
        let mut sent = Sent::default();
        let interval = *self.machine.config().values().gossip_interval;
        self.pass(interval * rounds as u32, |_, bytes| sent.count(bytes));
        sent
    }

    fn idle(&mut self, seconds: u64) -> u64 {
        let end = self.now + Duration::from_secs(seconds);
        let mut probes = Vec::new();
        let mut number_of_probes = 0;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
            self.drain(&mut |transmit, bytes| probes.extend(answer(transmit, bytes)));
            number_of_probes += probes.len() as u64;
            for mut ack in probes.drain(..) {
                self.now += Duration::from_millis(1);
                self.receive(ack.from, &mut ack.bytes);
            }
        }
        self.now = end;
        number_of_probes
    }

    fn members(&self) -> usize {
        self.machine.num_alive()
    }

    fn incarnation(&self, member: usize) -> u32 {
        self.machine.find(name(member).as_bytes()).expect("it is known").incarnation
    }

    fn queued(&self) -> Option<usize> {
        let rumors = self.machine.depths().into_iter().find(|depth| depth.what == "alive rumors");
        Some(rumors.expect("there is such a queue").len)
    }
}

impl Ours {
    fn receive(&mut self, from: usize, bytes: &mut [u8]) {
        let source = Source::unauthenticated(address(from).into());
        self.machine.handle_datagram(self.now, source, bytes).expect("a datagram that opens");
    }

    /// Lets that much time go by.
    fn pass(&mut self, time: Duration, mut sent: impl FnMut(Transmit, &[u8])) {
        let end = self.now + time;
        while let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
            self.drain(&mut sent);
        }
        self.now = end;
    }

    fn drain(&mut self, sent: &mut impl FnMut(Transmit, &[u8])) {
        while let Some(transmit) = self.machine.poll_transmit(self.now, &mut self.output) {
            sent(transmit, &self.output[..transmit.len]);
        }
        while self.machine.poll_membership().is_some() {}
        while self.machine.poll_event().is_some() {}
        while self.machine.poll_completion().is_some() {}
    }
}

impl Sent {
    /// One datagram more.
    pub(super) fn count(&mut self, bytes: &[u8]) {
        self.datagrams += 1;
        self.bytes += bytes.len();
    }
}

/// The ack that a ping gets.
fn answer(transmit: Transmit, bytes: &[u8]) -> Option<Datagram> {
    let core::net::SocketAddr::V4(to) = transmit.to else { return None };
    let mut bytes = bytes.to_vec();
    let body = open(&Layers::default(), &mut bytes).expect("our own datagram");
    // A compound begins with the ping, if there is one.
    let first = match body.split_first()? {
        (&kind, parts) if kind == MessageType::Compound.byte() => Parts::new(parts).ok()?.next()?,
        _ => &*body,
    };
    let (&kind, message) = first.split_first()?;
    if kind != MessageType::Ping.byte() {
        return None;
    }
    let (ping, _) = Ping::decode(message).expect("our own ping");
    Some(Datagram { from: number(to), bytes: messages::ack(ping.seq) })
}

type Joining = ours_cluster::Ours<Membership>;

/// Measures it.
pub fn report(wanted: &Wanted) -> Report {
    let mut report = measure::report("gossip-proto", env!("CARGO_PKG_VERSION"), &REMARKS);
    measure::node::<Ours>(wanted, &mut report);
    cluster::measure::<Joining, ours_cluster::Ours<Node>>(wanted, &mut report);
    report
}

const REMARKS: [&str; 2] = [
    "The machine `Membership`: bytes in, bytes out, in the wire format of HashiCorp's memberlist.",
    "In clusters exchanges are compressed, as shipped; the event is one of `Node`'s, the machine with Serf's services.",
];

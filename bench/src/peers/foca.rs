//! The contender foca: members are socket addresses, packets are of its own postcard codec, parameters are those it has for a
//! LAN.

use core::net::SocketAddrV4;
use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::BTreeMap;

use foca::{Codec, Config, Foca, Header, Identity, Member, Message, NoCustomBroadcast, PostcardCodec};
use foca::{Notification, Runtime, State, Timer};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::measure::{self, Peer, Sent, Wanted};
use super::report::Report;
use super::work::{Datagram, Update, address, number};
use super::{cluster, foca_cluster};

/// A node and what it is driven by.
#[expect(missing_debug_implementations, reason = "foca's state machine has none")]
pub struct Theirs {
    machine: Foca<SocketAddrV4, PostcardCodec, StdRng, NoCustomBroadcast>,
    surroundings: Surroundings,
}

/// What the machine tells its driver.
#[derive(Default)]
struct Surroundings {
    now: Duration,
    /// By when they are due, and then in the order in which they were set.
    timers: BTreeMap<(Duration, u64), Timer<SocketAddrV4>>,
    timers_set: u64,
    sent: Sent,
    /// Whom it has pinged, if somebody is to answer.
    pinged: Option<Vec<(SocketAddrV4, u8)>>,
}

impl Runtime<SocketAddrV4> for &mut Surroundings {
    fn notify(&mut self, _: Notification<'_, SocketAddrV4>) {}

    fn send_to(&mut self, to: SocketAddrV4, data: &[u8]) {
        self.sent.count(data);
        if let Some(pinged) = &mut self.pinged {
            let header: Header<SocketAddrV4> = PostcardCodec.decode_header(data).expect("its own datagram");
            if let Message::Ping(probe) = header.message {
                pinged.push((to, probe));
            }
        }
    }

    fn submit_after(&mut self, event: Timer<SocketAddrV4>, after: Duration) {
        self.timers_set += 1;
        self.timers.insert((self.now + after, self.timers_set), event);
    }
}

impl Peer for Theirs {
    fn grown(members: usize, _quiet: bool) -> Self {
        let nodes = NonZeroU32::new(members as u32).expect("at least two");
        let mut config = Config::new_lan(nodes);
        // Its exchanges of state.
        config.periodic_announce = None;
        config.periodic_announce_to_down_members = None;
        let machine = Foca::new(address(0), config, StdRng::seed_from_u64(1), PostcardCodec);
        let mut theirs = Self { machine, surroundings: Surroundings::default() };
        let all = (1..members).map(|number| Member::new(address(number), 1, State::Alive));
        theirs
            .machine
            .apply_many(all, false, &mut theirs.surroundings)
            .expect("nothing is sent that could fail");
        theirs
    }

    fn alives(&mut self, from: usize, updates: &[Update]) -> Datagram {
        let mut datagram = self.datagram(from, Message::Gossip);
        datagram.bytes.extend((updates.len() as u16).to_be_bytes());
        for update in updates {
            let incarnation = u16::try_from(update.incarnation).expect("foca counts to 65,535");
            let member = Member::new(address(update.member), incarnation, State::Alive);
            PostcardCodec.encode_member(&member, &mut datagram.bytes).expect("a vector has room");
        }
        datagram
    }

    fn ping(&mut self, from: usize) -> Datagram {
        self.datagram(from, Message::Ping(7))
    }

    fn deliver(&mut self, datagrams: &mut [Datagram]) -> Sent {
        self.surroundings.sent = Sent::default();
        for datagram in datagrams {
            self.receive(&datagram.bytes);
        }
        self.surroundings.sent
    }

    fn gossip(&mut self, rounds: usize) -> Sent {
        self.surroundings.sent = Sent::default();
        for _ in 0..rounds {
            self.machine.gossip(&mut self.surroundings).expect("it can be encoded");
        }
        self.surroundings.sent
    }

    fn idle(&mut self, seconds: u64) -> u64 {
        let end = self.surroundings.now + Duration::from_secs(seconds);
        self.surroundings.pinged = Some(Vec::new());
        let mut probes = 0;
        while let Some(first) = self.surroundings.timers.first_entry().filter(|first| first.key().0 <= end) {
            let ((due, _), timer) = first.remove_entry();
            self.surroundings.now = due;
            self.machine.handle_timer(timer, &mut self.surroundings).expect("a timer of its own");
            let pinged = self.surroundings.pinged.as_mut().map(core::mem::take).unwrap_or_default();
            probes += pinged.len() as u64;
            for (member, probe) in pinged {
                let ack = self.datagram(number(member), Message::Ack(probe));
                self.receive(&ack.bytes);
            }
        }
        self.surroundings.now = end;
        self.surroundings.pinged = None;
        probes
    }

    fn members(&self) -> usize {
        self.machine.num_members() + 1
    }

    fn incarnation(&self, member: usize) -> u32 {
        let addr = address(member).addr();
        let mut all = self.machine.iter_members();
        all.find(|known| *known.id() == addr).expect("it is known").incarnation().into()
    }

    fn queued(&self) -> Option<usize> {
        Some(self.machine.updates_backlog())
    }
}

impl Theirs {
    /// A datagram without updates. What a sender says of itself in the header is never news.
    fn datagram(&mut self, from: usize, message: Message<SocketAddrV4>) -> Datagram {
        let header = Header { src: address(from), src_incarnation: 0, dst: address(0), message };
        let mut bytes = Vec::new();
        PostcardCodec.encode_header(&header, &mut bytes).expect("a vector has room");
        Datagram { from, bytes }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.machine.handle_data(bytes, &mut self.surroundings).expect("a datagram that it takes");
    }
}

/// Measures it.
pub fn report(wanted: &Wanted) -> Report {
    let mut report = measure::report("foca", VERSION, &REMARKS);
    measure::node::<Theirs>(wanted, &mut report);
    cluster::measure::<foca_cluster::Theirs, foca_cluster::Theirs>(wanted, &mut report);
    report
}

/// What Cargo.toml asks for; a test compares it with Cargo.lock.
const VERSION: &str = "2.0.0";

const REMARKS: [&str; 4] = [
    "Its state machine with its own postcard codec: bytes in, bytes out.",
    "Members have no names and no metadata: they are their socket addresses. An update is 10 bytes on the wire.",
    "In clusters its own announcements to others are on, which are its exchanges.",
    "It has no Lifeguard, no exchanges of state by stream, no encryption, and incarnations of 16 bits.",
];

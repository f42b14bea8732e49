//! What is between the nodes: the clock, the events to come, links, datagrams and connections under way. What concerns
//! streams only is in [`streams`].

mod streams;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;

use gossip_proto::{Instant, Seed, StreamId, TransmitFailure};

use crate::conn::{ConnKey, Conns, Side};
use crate::link::Links;
use crate::net::NodeId;
use crate::net::device::{Delivery, Devices, Kind, Packet};
use crate::net::observe::Observers;
use crate::net::trace::{Entry, NOBODY, Trace};
use crate::pool::Pool;
use crate::queue::Queue;
use crate::rng::{Purpose, Rng};

pub(crate) use streams::EPHEMERAL;

/// Something that will happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A datagram reaches a node's own line.
    Arrival { to: u32, from: u32, buffer: u32 },
    /// A datagram reaches a node's socket.
    Datagram { to: u32, from: u32, buffer: u32 },
    /// A node's timer.
    Wake { node: u32 },
    /// A process that was held up may go on.
    Turn { node: u32 },
    /// A request to connect reaches the other side.
    Request { conn: ConnKey },
    /// The answer reaches the opener.
    Answer { conn: ConnKey, accepted: bool },
    /// The opener waits no longer.
    GiveUp { conn: ConnKey },
    /// Bytes written by that side arrive.
    Segment { conn: ConnKey, writer: Side },
    /// A slow reader may read on.
    Read { conn: ConnKey, reader: Side },
    /// A node's process writes to its disk, if it is that life.
    Disk { node: u32, life: u32 },
    /// The reader made room for that side to write.
    Room { conn: ConnKey, writer: Side },
}

/// What has been carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams that nodes sent.
    pub datagrams: u64,
    /// Bytes in them.
    pub datagram_bytes: u64,
    /// Datagrams that did not arrive: lost, cut off, or nobody was there.
    pub datagrams_lost: u64,
    /// Datagrams dropped because a socket's buffer was full.
    pub datagrams_overflowed: u64,
    /// Streams that nodes asked for.
    pub streams: u64,
    /// Bytes written to streams.
    pub stream_bytes: u64,
}

/// What a node's driver keeps with its end of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// The machine's name for it.
    pub(crate) id: Option<StreamId>,
    /// A notice of new bytes waits in the node's inbox.
    pub(crate) notified: bool,
    /// A slow reader is busy until then with what it read.
    pub(crate) busy: Instant,
    /// It will be told then.
    pub(crate) told: Option<Instant>,
    /// Bytes it has written.
    pub(crate) written: u64,
    /// The machine wants to see nothing more: it had the end, or refused what it saw.
    pub(crate) deaf: bool,
}

/// Everything but the nodes.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) queue: Queue<Event>,
    pub(crate) links: Links,
    pub(crate) pool: Pool,
    pub(crate) conns: Conns<Held>,
    pub(crate) trace: Trace,
    pub(crate) traffic: Traffic,
    /// Only looked up in, never iterated: its order depends on the process.
    pub(crate) nodes: HashMap<SocketAddr, u32>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Whether a process listens there.
    pub(crate) alive: Vec<bool>,
    pub(crate) settings: Settings,
    pub(crate) observers: Observers,
    pub(crate) devices: Devices,
    segments: Rng,
    dirty: Vec<u32>,
    marked: Vec<bool>,
    pub(crate) buffer: Vec<u8>,
}

/// How sockets and streams behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Most bytes of datagrams that wait for a process that does not read.
    pub(crate) socket_buffer: usize,
    /// Most bytes of a stream that arrive, and are handed over, at a time.
    pub(crate) max_segment: usize,
    /// Streams tell the reader when the writer is done, as QUIC's do.
    pub(crate) half_close: bool,
    /// Sockets hear, and say, that no process listens at the destination.
    pub(crate) report_unreachable: bool,
    pub(crate) keep_log: bool,
    /// Most bytes that the recording of each node takes that is started.
    pub(crate) record: Option<u64>,
}

impl World {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            now: Instant::ORIGIN,
            queue: Queue::new(),
            links: Links::new(seed),
            pool: Pool::default(),
            conns: Conns::default(),
            trace: Trace::new(),
            traffic: Traffic::default(),
            nodes: HashMap::new(),
            addresses: Vec::new(),
            alive: Vec::new(),
            settings: Settings {
                socket_buffer: 2 << 20, // what Serf's agents ask their kernel for (spec 1.1)
                max_segment: 16 << 10,
                half_close: false,
                report_unreachable: false,
                keep_log: true,
                record: None,
            },
            observers: Observers::default(),
            devices: Devices::default(),
            segments: Rng::new(seed, Purpose::Segment, 0),
            dirty: Vec::new(),
            marked: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Registers an address; a node that moves keeps its number.
    pub(crate) fn bind(&mut self, node: u32, addr: SocketAddr) {
        assert!(!self.nodes.contains_key(&addr), "two nodes at {addr}");
        if let Some(old) = self.addresses.get_mut(node as usize) {
            self.nodes.remove(old);
            *old = addr;
        } else {
            self.addresses.push(addr);
            self.alive.push(false);
            self.marked.push(false);
        }
        self.nodes.insert(addr, node);
    }

    /// Notes that a node has something to do at this instant.
    pub(crate) fn mark(&mut self, node: u32) {
        if !core::mem::replace(&mut self.marked[node as usize], true) {
            self.dirty.push(node);
        }
    }

    /// The nodes that were marked, in the order in which they were.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<u32>) {
        into.clear();
        core::mem::swap(&mut self.dirty, into);
        for &node in into.iter() {
            self.marked[node as usize] = false;
        }
    }

    /// Takes a datagram, or says why the socket does not.
    pub(crate) fn send(&mut self, from: u32, to: SocketAddr, bytes: &[u8]) -> Result<(), TransmitFailure> {
        self.traffic.datagrams += 1;
        self.traffic.datagram_bytes += bytes.len() as u64;
        let peer = self.nodes.get(&to).copied();
        self.trace.bytes(Entry::Datagram, self.now, from, peer.unwrap_or(NOBODY), bytes);
        let now = self.now;
        self.observers.tell(|observer| observer.sent(now, NodeId(from), peer.map(NodeId), bytes));
        let limit = peer.map_or(usize::MAX, |peer| self.links.limit(from, peer));
        if bytes.len() > limit {
            self.traffic.datagrams_lost += 1;
            return Err(TransmitFailure::TooBig(limit));
        }
        if self.devices.is_empty() {
            return self.carry(from, peer, to, bytes, Duration::ZERO);
        }
        let packet = self.packet(from, peer, to, bytes);
        let passed = self.devices.pass(&packet);
        if passed.delay.is_none() {
            self.traffic.datagrams_lost += 1;
            self.ended(from, peer, to, &passed.bytes, Delivery::Dropped);
        }
        let mut result = Ok(());
        for delay in passed.delay.into_iter().chain(passed.copies.iter().copied()) {
            result = self.carry(from, peer, to, &passed.bytes, delay);
        }
        result
    }

    /// Hands a datagram to the link, to leave that much later.
    fn carry(
        &mut self,
        from: u32,
        peer: Option<u32>,
        addr: SocketAddr,
        bytes: &[u8],
        delay: Duration,
    ) -> Result<(), TransmitFailure> {
        let Some(to) = peer.filter(|peer| self.alive[*peer as usize]) else {
            self.traffic.datagrams_lost += 1;
            self.ended(from, peer, addr, bytes, Delivery::Nobody);
            return self.unreachable();
        };
        let fate = self.links.datagram(self.now + delay, from, to, bytes.len());
        if fate.copies[0].is_none() {
            self.traffic.datagrams_lost += 1;
            self.ended(from, peer, addr, bytes, Delivery::Lost);
        }
        for link in fate.copies.into_iter().flatten() {
            let buffer = self.pool.put(bytes);
            let event = match self.links.has_downlink(to) {
                true => Event::Arrival { to, from, buffer },
                false => Event::Datagram { to, from, buffer },
            };
            self.queue.push(self.now + delay + link, event);
        }
        Ok(())
    }

    /// A datagram takes its turn on the line of who receives it.
    pub(crate) fn arrival(&mut self, to: u32, from: u32, buffer: u32) {
        let len = self.pool.len(buffer);
        match self.links.received(self.now, to, len, false) {
            Some(delay) => self.queue.push(self.now + delay, Event::Datagram { to, from, buffer }),
            None => {
                self.traffic.datagrams_lost += 1;
                self.ended_in_pool(from, to, buffer, Delivery::Lost);
                self.pool.discard(buffer);
            }
        }
    }

    /// Tells the devices what became of a datagram.
    pub(crate) fn ended(
        &mut self,
        from: u32,
        to: Option<u32>,
        addr: SocketAddr,
        bytes: &[u8],
        how: Delivery,
    ) {
        if !self.devices.is_empty() {
            let packet = self.packet(from, to, addr, bytes);
            self.devices.ended(&packet, how);
        }
    }

    /// As [`World::ended`], of one whose bytes lie in the pool.
    pub(crate) fn ended_in_pool(&mut self, from: u32, to: u32, buffer: u32, how: Delivery) {
        if !self.devices.is_empty() {
            let bytes = self.pool.take(buffer);
            self.ended(from, Some(to), self.addresses[to as usize], &bytes, how);
            self.pool.put_back(buffer, bytes);
        }
    }

    fn packet<'b>(&self, from: u32, to: Option<u32>, addr: SocketAddr, bytes: &'b [u8]) -> Packet<'b> {
        Packet {
            at: self.now,
            from: NodeId(from),
            to: to.map(NodeId),
            source: self.addresses[from as usize],
            destination: addr,
            kind: Kind::Datagram,
            stream: 0,
            bytes,
        }
    }

    /// What a socket says of a destination where no process listens: mostly nothing.
    fn unreachable(&self) -> Result<(), TransmitFailure> {
        if self.settings.report_unreachable { Err(TransmitFailure::Unreachable) } else { Ok(()) }
    }

    pub(crate) fn later(&self, by: Duration) -> Instant {
        self.now + by
    }
}

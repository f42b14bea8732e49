//! What the bus holds: endpoints, connections, and what is under way between them.

use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io;

use gossip_proto::{Instant, Seed, StreamFailure};

use crate::conn::{ConnKey, Conns, Side, State as Standing};
use crate::link::Links;
use crate::pipe::End;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::rng::{Purpose, Rng};

/// Something that reaches the other side.
#[derive(Clone, Copy, Debug)]
enum Event {
    Datagram { to: u32, from: u32, buffer: u32 },
    Request { conn: ConnKey },
    Answer { conn: ConnKey, accepted: bool },
    Segment { conn: ConnKey, writer: Side },
    Room { conn: ConnKey, writer: Side },
}

/// An address that something is or was bound to.
#[derive(Debug, Default)]
struct Port {
    bound: bool,
    inbox: VecDeque<(u32, u32)>,
    inbox_bytes: usize,
    requests: VecDeque<ConnKey>,
    receiver: Option<Waker>,
    acceptor: Option<Waker>,
}

/// Who waits at one end of a connection.
#[derive(Debug, Default)]
struct Waiting {
    open: Option<Waker>,
    read: Option<Waker>,
    write: Option<Waker>,
    failed: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) now: Instant,
    pub(crate) links: Links,
    /// To be woken once the lock is released: a waker may do anything.
    pub(crate) wakes: Vec<Waker>,
    /// The task that delivers what takes time.
    pub(crate) courier: Option<Waker>,
    pub(crate) max_segment: usize,
    pub(crate) socket_buffer: usize,
    queue: Queue<Event>,
    /// Of streams, what a cut holds up until it is healed.
    held: Vec<Event>,
    pool: Pool,
    conns: Conns<Waiting>,
    ports: Vec<Port>,
    addresses: Vec<SocketAddr>,
    numbers: BTreeMap<SocketAddr, u32>,
    segments: Rng,
    next_port: u16,
}

impl State {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            now: Instant::ORIGIN,
            links: Links::new(seed),
            wakes: Vec::new(),
            courier: None,
            max_segment: 16 << 10,
            socket_buffer: 2 << 20,
            queue: Queue::new(),
            held: Vec::new(),
            pool: Pool::default(),
            conns: Conns::default(),
            ports: Vec::new(),
            addresses: Vec::new(),
            numbers: BTreeMap::new(),
            segments: Rng::new(seed, Purpose::Segment, 0),
            next_port: FIRST_PORT,
        }
    }

    // Endpoints.

    pub(crate) fn bind(&mut self, addr: SocketAddr) -> io::Result<(u32, SocketAddr)> {
        let addr = self.free_address(addr)?;
        let number = self.number(addr);
        self.ports[number as usize].bound = true;
        Ok((number, addr))
    }

    /// An endpoint goes to another address. What it holds goes with it, and what is under way to it still arrives.
    pub(crate) fn relocate(&mut self, number: u32, to: SocketAddr) -> io::Result<SocketAddr> {
        let to = self.free_address(to)?;
        // Nobody is there; from now on nobody is where it was.
        let vacant = self.number(to);
        let from = self.addresses[number as usize];
        self.numbers.insert(to, number);
        self.numbers.insert(from, vacant);
        self.addresses.swap(number as usize, vacant as usize);
        Ok(to)
    }

    /// That address, with a port that is free if none is given.
    fn free_address(&mut self, mut addr: SocketAddr) -> io::Result<SocketAddr> {
        if addr.port() == 0 {
            // Every port once; who has bound them all gets the error below.
            for _ in FIRST_PORT..u16::MAX {
                addr.set_port(self.next_port);
                self.next_port = if self.next_port == u16::MAX { FIRST_PORT } else { self.next_port + 1 };
                if !self.is_bound(addr) {
                    break;
                }
            }
        }
        if self.is_bound(addr) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{addr} is in use on this bus")));
        }
        Ok(addr)
    }

    pub(crate) fn unbind(&mut self, number: u32) {
        let port = core::mem::take(&mut self.ports[number as usize]);
        for (_, buffer) in port.inbox {
            self.pool.discard(buffer);
        }
        for conn in port.requests {
            self.close(conn, 1, true);
        }
    }

    fn is_bound(&self, addr: SocketAddr) -> bool {
        self.numbers.get(&addr).is_some_and(|number| self.ports[*number as usize].bound)
    }

    /// The number of an address, bound or not.
    pub(crate) fn number(&mut self, addr: SocketAddr) -> u32 {
        let next = self.ports.len() as u32;
        let number = *self.numbers.entry(addr).or_insert(next);
        if number == next {
            self.ports.push(Port::default());
            self.addresses.push(addr);
        }
        number
    }

    /// Endpoints bound, connections not over, datagrams not received.
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        (self.ports.iter().filter(|port| port.bound).count(), self.conns.len(), self.pool.in_use())
    }

    // Datagrams.

    pub(crate) fn send(&mut self, from: u32, to: SocketAddr, bytes: &[u8]) {
        let Some(&to) = self.numbers.get(&to) else { return };
        for delay in self.links.datagram(self.now, from, to, bytes.len()).copies.into_iter().flatten() {
            let buffer = self.pool.put(bytes);
            self.push(self.now + delay, Event::Datagram { to, from, buffer });
        }
    }

    /// Takes the next datagram that fits, after writing it with `write`.
    pub(crate) fn receive(&mut self, at: u32, mut write: impl FnMut(SocketAddr, &[u8]) -> bool) -> bool {
        let port = &mut self.ports[at as usize];
        let Some(&(from, buffer)) = port.inbox.front() else { return false };
        let bytes = self.pool.take(buffer);
        let taken = write(self.addresses[from as usize], &bytes);
        if taken {
            port.inbox.pop_front();
            port.inbox_bytes -= bytes.len();
            self.pool.give(buffer, bytes);
        } else {
            self.pool.put_back(buffer, bytes);
        }
        taken
    }

    pub(crate) fn wait_receive(&mut self, at: u32, cx: &Context<'_>) {
        register(&mut self.ports[at as usize].receiver, cx);
    }

    // Streams.

    pub(crate) fn connect(&mut self, from: u32, to: SocketAddr) -> ConnKey {
        let to = self.number(to);
        let conn = self.conns.open(from, Waiting::default(), Some(to));
        let delay = self.links.segment(self.now, from, to, 0);
        self.push(self.now + delay, Event::Request { conn });
        conn
    }

    pub(crate) fn accept(&mut self, at: u32, cx: &Context<'_>) -> Option<(ConnKey, SocketAddr)> {
        while let Some(key) = self.ports[at as usize].requests.pop_front() {
            let Some(conn) = self.conns.get(key) else { continue };
            conn.ends[1].state = Standing::Open;
            if let Some(opener) = conn.ends[0].node {
                return Some((key, self.addresses[opener as usize]));
            }
        }
        register(&mut self.ports[at as usize].acceptor, cx);
        None
    }

    pub(crate) fn poll_open(
        &mut self,
        key: ConnKey,
        side: Side,
        cx: &Context<'_>,
    ) -> Poll<Result<(), StreamFailure>> {
        let Some(conn) = self.conns.get(key) else { return Poll::Ready(Err(StreamFailure::Reset)) };
        let end = &mut conn.ends[side];
        match end.state {
            Standing::Open => Poll::Ready(Ok(())),
            _ if end.own.failed => Poll::Ready(Err(StreamFailure::Unreachable)),
            _ => {
                register(&mut end.own.open, cx);
                Poll::Pending
            }
        }
    }

    pub(crate) fn read(
        &mut self,
        key: ConnKey,
        side: Side,
        buf: &mut [u8],
        cx: &Context<'_>,
    ) -> Poll<Result<usize, StreamFailure>> {
        let Some(conn) = self.conns.get(key) else { return Poll::Ready(Err(StreamFailure::Reset)) };
        let pipe = &mut conn.pipes[1 - side];
        let piece = pipe.readable();
        let len = piece.len().min(buf.len());
        if len > 0 {
            buf[..len].copy_from_slice(&piece[..len]);
            if pipe.consume(len) {
                self.make_room(key, 1 - side);
            }
            return Poll::Ready(Ok(len));
        }
        match pipe.end() {
            End::Finished => Poll::Ready(Ok(0)),
            End::Reset => Poll::Ready(Err(StreamFailure::Reset)),
            End::Open => {
                register(&mut conn.ends[side].own.read, cx);
                Poll::Pending
            }
        }
    }

    pub(crate) fn write(
        &mut self,
        key: ConnKey,
        side: Side,
        bytes: &[u8],
        cx: &Context<'_>,
    ) -> Poll<Result<usize, StreamFailure>> {
        let reset = Poll::Ready(Err(StreamFailure::Reset));
        let Some((from, to)) = self.conns.ends(key, side) else { return reset };
        let Some(conn) = self.conns.get(key) else { return reset };
        if conn.pipes[1 - side].end() == End::Reset || conn.ends[side].state != Standing::Open {
            return reset;
        }
        let room = conn.pipes[side].room().min(bytes.len());
        if room == 0 {
            register(&mut conn.ends[side].own.write, cx);
            return Poll::Pending;
        }
        let mut rest = &bytes[..room];
        while !rest.is_empty() {
            let most = self.max_segment.min(rest.len()) as u64;
            let (segment, after) = rest.split_at(1 + self.segments.below(most) as usize);
            let at = self.now + self.links.segment(self.now, from, to, segment.len());
            if let Some(conn) = self.conns.get(key) {
                conn.pipes[side].write(segment, at);
            }
            rest = after;
        }
        self.arm(key, side);
        Poll::Ready(Ok(room))
    }

    /// Nothing more will be written, the end stays.
    pub(crate) fn finish(&mut self, key: ConnKey, side: Side, broken: bool) {
        let Some((from, to)) = self.conns.ends(key, side) else { return };
        let at = self.now + self.links.segment(self.now, from, to, 0);
        let Some(conn) = self.conns.get(key) else { return };
        if broken {
            conn.pipes[side].reset(at);
        } else {
            conn.pipes[side].finish(at);
        }
        self.arm(key, side);
    }

    pub(crate) fn close(&mut self, key: ConnKey, side: Side, broken: bool) {
        self.finish(key, side, broken);
        let Some(conn) = self.conns.get(key) else { return };
        conn.ends[side].state = Standing::Closed;
        conn.ends[side].own = Waiting::default();
        if conn.pipes[1 - side].discard() {
            self.make_room(key, 1 - side);
        }
        self.conns.release(key);
    }

    // What happens.

    fn make_room(&mut self, key: ConnKey, writer: Side) {
        let Some((from, to)) = self.conns.ends(key, 1 - writer) else { return };
        let at = self.now + self.links.segment(self.now, from, to, 0);
        self.push(at, Event::Room { conn: key, writer });
    }

    fn arm(&mut self, key: ConnKey, writer: Side) {
        let Some(conn) = self.conns.get(key) else { return };
        let Some(at) = conn.pipes[writer].next_at() else { return };
        if conn.scheduled[writer].is_none_or(|scheduled| at < scheduled) {
            conn.scheduled[writer] = Some(at);
            self.push(at, Event::Segment { conn: key, writer });
        }
    }

    /// Lets it happen then: at once if that is now.
    fn push(&mut self, at: Instant, event: Event) {
        if at <= self.now {
            return self.happen(event);
        }
        if self.queue.next_at().is_none_or(|next| at < next) {
            self.wakes.extend(self.courier.take());
        }
        self.queue.push(at, event);
    }

    /// Lets happen what is due, and says when to call again.
    pub(crate) fn deliver(&mut self) -> Option<Instant> {
        while let Some((_, event)) = self.queue.pop_until(self.now) {
            self.happen(event);
        }
        self.queue.next_at()
    }

    /// Goes on with what was held up.
    pub(crate) fn retry_held(&mut self) {
        for event in core::mem::take(&mut self.held) {
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram { to, from, buffer } => self.arrive(to, from, buffer),
            Event::Request { conn } => self.request(conn, event),
            Event::Answer { conn: key, accepted } => {
                let Some((opener, other)) = self.conns.ends(key, 0) else { return };
                if !self.links.connected(other, opener) {
                    return self.held.push(event);
                }
                let Some(conn) = self.conns.get(key) else { return };
                let end = &mut conn.ends[0];
                if end.state == Standing::Connecting {
                    if accepted {
                        end.state = Standing::Open;
                    }
                    end.own.failed = !accepted;
                    self.wakes.extend(end.own.open.take());
                }
            }
            Event::Segment { conn, writer } => self.segment(conn, writer, event),
            Event::Room { conn, writer } => {
                if let Some(conn) = self.conns.get(conn) {
                    self.wakes.extend(conn.ends[writer].own.write.take());
                }
            }
        }
    }

    fn arrive(&mut self, to: u32, from: u32, buffer: u32) {
        let len = self.pool.len(buffer);
        let port = &mut self.ports[to as usize];
        if !port.bound || port.inbox_bytes + len > self.socket_buffer {
            return self.pool.discard(buffer);
        }
        port.inbox.push_back((from, buffer));
        port.inbox_bytes += len;
        self.wakes.extend(port.receiver.take());
    }

    fn request(&mut self, key: ConnKey, event: Event) {
        let Some((opener, other)) = self.conns.ends(key, 0) else { return };
        let Some(conn) = self.conns.get(key) else { return };
        if conn.ends[0].state != Standing::Connecting {
            return;
        }
        if !self.links.connected(opener, other) {
            return self.held.push(event);
        }
        let port = &mut self.ports[other as usize];
        let accepted = port.bound;
        if accepted {
            conn.ends[1].state = Standing::Backlog;
            port.requests.push_back(key);
            self.wakes.extend(port.acceptor.take());
        }
        let at = self.now + self.links.segment(self.now, other, opener, 0);
        self.push(at, Event::Answer { conn: key, accepted });
    }

    fn segment(&mut self, key: ConnKey, writer: Side, event: Event) {
        let Some((from, to)) = self.conns.ends(key, writer) else { return };
        let flows = self.links.streams_flow(from, to);
        let Some(conn) = self.conns.get(key) else { return };
        if conn.scheduled[writer].is_none_or(|at| at > self.now) {
            return; // an earlier arrival was scheduled after this one
        }
        if !flows {
            return self.held.push(event);
        }
        conn.scheduled[writer] = None;
        let arrived = conn.pipes[writer].arrive(self.now);
        let reader = &mut conn.ends[1 - writer];
        if reader.state == Standing::Closed {
            if conn.pipes[writer].discard() {
                self.make_room(key, writer);
            }
        } else if arrived {
            self.wakes.extend(reader.own.read.take());
            // A reset concerns the writing half as well.
            self.wakes.extend(reader.own.write.take());
        }
        self.arm(key, writer);
    }
}

/// Keeps the latest waker of a method.
fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// Ports that are given out start here.
const FIRST_PORT: u16 = 49_152;

//! The streams of the loop. Every stream has a waker of its own, and none gets more than its share of one turn.

use core::net::SocketAddr;
use core::task::Context;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use gossip_proto::{Instant, Machine, MemberKey, Source, StreamAction, StreamFailure, StreamId};

use crate::conn::{Conn, Drive, Phase};
use crate::log::{Throttle, emit};
use crate::transport::{Stream, Transport};
use crate::wake::WakeSet;

/// All streams, and which of them are worth polling.
pub(crate) struct Streams<S> {
    slots: Vec<Option<Conn<S>>>,
    free: Vec<usize>,
    ids: BTreeMap<StreamId, usize>,
    ready: VecDeque<usize>,
    /// Streams whose bytes the machine had no memory for.
    paused: Vec<usize>,
    inbound: usize,
    limit: usize,
    close_timeout: Duration,
    /// Where the bytes of all streams are read into, one after the other.
    scratch: Box<[u8]>,
    refused: Throttle,
    turned_away: Throttle,
}

impl<S: Stream> Streams<S> {
    pub(crate) fn new(limit: usize, close_timeout: Duration) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ids: BTreeMap::new(),
            ready: VecDeque::new(),
            paused: Vec::new(),
            inbound: 0,
            limit: limit.max(2),
            close_timeout,
            scratch: vec![0; CHUNK].into_boxed_slice(),
            refused: Throttle::default(),
            turned_away: Throttle::default(),
        }
    }

    /// Whether a stream that a peer opened may be taken.
    pub(crate) fn may_accept(&self) -> bool {
        self.inbound < self.limit - self.limit / 4
    }

    /// A peer opened a stream.
    pub(crate) fn accept<M: Machine>(&mut self, now: Instant, stream: S, source: Source, machine: &mut M) {
        match machine.accept_stream(now, source) {
            Ok(id) => {
                emit!(debug, "memberlist: Stream connection from={}", source.addr);
                self.inbound += 1;
                let until = now + *machine.config().values().stream_timeout;
                let index = self.insert(Conn::new(id, stream, source.addr, Phase::Open, true, until));
                self.wake(index);
            }
            Err(why) => {
                let from = source.addr;
                let what = format_args!("memberlist: Refusing stream connection from={from}: {why}");
                self.turned_away.report(now, what);
            }
        }
    }

    /// Does what the machine wants done about its streams.
    pub(crate) fn act<M, T>(&mut self, now: Instant, machine: &mut M, transport: &mut T)
    where
        M: Machine,
        T: Transport<Stream = S>,
    {
        while let Some(action) = machine.poll_stream() {
            match action {
                StreamAction::Open { id, to, peer, deadline } => {
                    self.open(now, id, to, peer, deadline, machine, transport);
                }
                StreamAction::Writable { id } => {
                    if let Some(&index) = self.ids.get(&id)
                        && let Some(conn) = &mut self.slots[index]
                    {
                        // The reply to a request has a time of its own (spec 1.4).
                        if conn.inbound && !conn.writable {
                            conn.until = now + *machine.config().values().stream_timeout;
                        }
                        conn.writable = true;
                        self.wake(index);
                    }
                }
                StreamAction::Close { id } => self.close(now, id, machine),
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one action, and the two it acts on")]
    fn open<M, T>(
        &mut self,
        now: Instant,
        id: StreamId,
        to: SocketAddr,
        peer: Option<MemberKey>,
        deadline: Instant,
        machine: &mut M,
        transport: &mut T,
    ) where
        M: Machine,
        T: Transport<Stream = S>,
    {
        if self.is_full() {
            machine.handle_stream_failed(now, id, StreamFailure::Local);
            return;
        }
        let stream = transport.open(to, peer);
        let index = self.insert(Conn::new(id, stream, to, Phase::Opening { deadline }, false, deadline));
        self.wake(index);
    }

    /// The machine is done with the stream: what it wrote still goes out.
    fn close<M: Machine>(&mut self, now: Instant, id: StreamId, machine: &mut M) {
        let Some(index) = self.ids.remove(&id) else { return };
        let Some(conn) = &mut self.slots[index] else { return };
        if matches!(conn.phase, Phase::Opening { .. }) {
            self.remove(index);
            return;
        }
        // What the machine still had to say, an error reply for instance; it forgets the id with this call.
        while conn.writable && conn.unwritten.len() < FAREWELL {
            let len = conn.pull(now, machine, &mut self.scratch);
            conn.unwritten.extend_from_slice(&self.scratch[..len]);
        }
        conn.close(now, self.close_timeout);
        self.wake(index);
        self.resume();
    }

    /// A stream is worth polling.
    pub(crate) fn wake(&mut self, index: usize) {
        if let Some(conn) = self.slots.get_mut(index).and_then(Option::as_mut)
            && !core::mem::replace(&mut conn.queued, true)
        {
            self.ready.push_back(index);
        }
    }

    /// Offers the machine again what it had no memory for.
    pub(crate) fn resume(&mut self) {
        while let Some(index) = self.paused.pop() {
            self.wake(index);
        }
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Gives streams that are worth polling one turn each, those first that have waited longest.
    pub(crate) fn drive<M: Machine>(&mut self, now: Instant, wakes: &mut WakeSet, machine: &mut M) {
        for _ in 0..self.ready.len().min(TURNS) {
            let Some(index) = self.ready.pop_front() else { return };
            let waker = wakes.waker(FIRST_STREAM + index).clone();
            let mut cx = Context::from_waker(&waker);
            let Some(conn) = self.slots.get_mut(index).and_then(Option::as_mut) else { continue };
            conn.queued = false;
            match conn.drive(now, &mut cx, machine, &mut self.scratch, self.close_timeout) {
                Drive::Wait => {}
                Drive::Again => self.wake(index),
                Drive::Pause if self.paused.contains(&index) => {}
                Drive::Pause => self.paused.push(index),
                Drive::Refused => {
                    let peer = conn.peer;
                    self.wake(index);
                    self.refused.report(now, format_args!("memberlist: Failed to receive from={peer}"));
                }
                Drive::Done => self.remove(index),
                Drive::Failed(why) => {
                    let id = conn.id;
                    self.remove(index);
                    machine.handle_stream_failed(now, id, why);
                }
            }
        }
    }

    /// When a stream must have been connected or closed.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let crowded = self.is_crowded();
        self.slots.iter().flatten().filter_map(|conn| conn.deadline(crowded)).min()
    }

    /// Makes streams ready whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        let crowded = self.is_crowded();
        for index in 0..self.slots.len() {
            let Some(conn) = &mut self.slots[index] else { continue };
            if conn.deadline(crowded).is_some_and(|deadline| deadline <= now) {
                if matches!(conn.phase, Phase::Flushing { .. }) {
                    conn.phase = Phase::Closing { deadline: now };
                }
                self.wake(index);
            }
        }
    }

    /// At the end: drops those that the machine was not done with.
    pub(crate) fn keep_closing(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index].as_ref().is_some_and(|conn| !conn.is_closing()) {
                self.remove(index);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// A new stream finds no place.
    fn is_crowded(&self) -> bool {
        !self.may_accept() || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.slots.len() - self.free.len() >= self.limit
    }

    fn insert(&mut self, conn: Conn<S>) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.ids.insert(conn.id, index);
        self.slots[index] = Some(conn);
        index
    }

    fn remove(&mut self, index: usize) {
        let Some(conn) = self.slots[index].take() else { return };
        self.inbound -= usize::from(conn.inbound);
        // A stream that is closing has given its id back already, and another may have it.
        if self.ids.get(&conn.id) == Some(&index) {
            self.ids.remove(&conn.id);
        }
        self.paused.retain(|&paused| paused != index);
        self.free.push(index);
        self.resume();
    }
}

/// The number of the first stream's waker; those below belong to the loop.
pub(crate) const FIRST_STREAM: usize = 8;
/// Streams that get a turn between two looks at the other sources.
const TURNS: usize = 32;
/// Bytes moved at once in each direction.
const CHUNK: usize = 64 << 10;
/// Most bytes taken over from a machine that closes a stream.
const FAREWELL: usize = 1 << 20;

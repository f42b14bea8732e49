//! The third output, and the buffers that user messages and service broadcasts live in.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::Instant;
use crate::output::{Event, OperationId, RequestId, Source};

/// Byte buffers that are used again, so that messages cost no allocation once the node is warm.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Vec<Vec<u8>>,
}

/// Buffers kept for use again, and the capacity beyond which one is not worth keeping.
const KEPT: usize = 4096;
const KEPT_CAPACITY: usize = 2048;
/// First capacity: most messages fit, so that a buffer seldom has to grow.
const FIRST_CAPACITY: usize = 256;

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self { free: Vec::new() }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(FIRST_CAPACITY))
    }

    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.free.len() < KEPT && buffer.capacity() <= KEPT_CAPACITY {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.free.iter().map(Vec::capacity).sum::<usize>() + self.free.capacity() * size_of::<Vec<u8>>()
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    UserEvent { ltime: u64, coalesce: bool },
    Query { id: RequestId, ltime: u64, from: usize, deadline: Instant },
    QueryAck { operation: OperationId },
    QueryResponse { operation: OperationId },
    Message { from: Source, reliable: bool },
    UserState { from: Source, join: bool },
    MergeRequested { id: RequestId, from: Source, members: usize, deadline: Instant },
    Conflict { known: SocketAddr, claimed: SocketAddr },
    Stalled { late: Duration },
    RosterFull,
    RecordingStopped,
    Lagged { lost: u64 },
}

/// One event: its bytes are a first part of `split` bytes (a name) and the rest (a payload).
#[derive(Debug)]
struct Stored {
    kind: Kind,
    bytes: Vec<u8>,
    split: usize,
}

/// A ring of events, bounded in bytes.
#[derive(Debug)]
pub(crate) struct EventRing {
    queue: VecDeque<Stored>,
    shown: Option<Stored>,
    bytes: usize,
    max: usize,
    lost: u64,
}

/// What an event costs beyond its bytes.
const OVERHEAD: usize = 96;

impl EventRing {
    pub(crate) const fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), shown: None, bytes: 0, max, lost: 0 }
    }

    fn push(&mut self, buffers: &mut Buffers, kind: Kind, first: &[u8], rest: &[u8]) -> u64 {
        let mut lost = 0;
        let cost = first.len() + rest.len() + OVERHEAD;
        if cost > self.max && self.bytes > self.max {
            // One that is larger than the ring may wait in it, a second one not.
            self.lost += 1;
            return 1;
        }
        while cost <= self.max && self.bytes + cost > self.max {
            let Some(oldest) = self.queue.pop_front() else { break };
            self.bytes -= oldest.bytes.len() + OVERHEAD;
            buffers.give(oldest.bytes);
            lost += 1;
        }
        self.lost += lost;
        let mut bytes = buffers.take();
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(rest);
        self.bytes += cost;
        self.queue.push_back(Stored { kind, bytes, split: first.len() });
        lost
    }

    pub(crate) fn poll(&mut self, buffers: &mut Buffers) -> Option<Event<'_>> {
        if let Some(shown) = self.shown.take() {
            buffers.give(shown.bytes);
        }
        let stored = if self.lost > 0 {
            let lost = core::mem::take(&mut self.lost);
            Stored { kind: Kind::Lagged { lost }, bytes: Vec::new(), split: 0 }
        } else {
            let stored = self.queue.pop_front()?;
            self.bytes -= stored.bytes.len() + OVERHEAD;
            stored
        };
        let Stored { kind, bytes, split } = self.shown.insert(stored);
        let (first, rest) = bytes.split_at(*split);
        Some(match *kind {
            Kind::UserEvent { ltime, coalesce } => {
                Event::UserEvent { ltime, name: first, payload: rest, coalesce }
            }
            Kind::Query { id, ltime, from, deadline } => {
                let (payload, from) = rest.split_at(rest.len() - from);
                Event::Query { id, ltime, name: first, payload, from, deadline }
            }
            Kind::QueryAck { operation } => Event::QueryAck { operation, from: first },
            Kind::QueryResponse { operation } => {
                Event::QueryResponse { operation, from: first, payload: rest }
            }
            Kind::Message { from, reliable } => Event::Message { from, reliable, payload: rest },
            Kind::UserState { from, join } => Event::UserState { from, join, state: rest },
            Kind::MergeRequested { id, from, members, deadline } => {
                Event::MergeRequested { id, from, members, deadline }
            }
            Kind::Conflict { known, claimed } => Event::Conflict { name: first, known, claimed },
            Kind::Stalled { late } => Event::Stalled { late },
            Kind::RosterFull => Event::RosterFull,
            Kind::RecordingStopped => Event::RecordingStopped,
            Kind::Lagged { lost } => Event::Lagged { lost },
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.lost == 0
    }

    /// Whether the next poll will do anything, if only let go of what was shown.
    pub(crate) fn is_stirred(&self) -> bool {
        self.shown.is_some() || !self.is_empty()
    }

    pub(crate) fn memory(&self) -> usize {
        self.bytes
    }
}

impl super::Swim {
    fn push_event(&mut self, kind: Kind, first: &[u8], rest: &[u8]) {
        self.stats.events_lost += self.events.push(&mut self.buffers, kind, first, rest);
    }

    pub(crate) fn emit_user_event(&mut self, ltime: u64, name: &[u8], payload: &[u8], coalesce: bool) {
        self.push_event(Kind::UserEvent { ltime, coalesce }, name, payload);
    }

    pub(crate) fn emit_query(
        &mut self,
        id: RequestId,
        ltime: u64,
        name: &[u8],
        payload: &[u8],
        from: &[u8],
        deadline: Instant,
    ) {
        let mut rest = self.buffers.take();
        rest.extend_from_slice(payload);
        rest.extend_from_slice(from);
        self.push_event(Kind::Query { id, ltime, from: from.len(), deadline }, name, &rest);
        self.buffers.give(rest);
    }

    pub(crate) fn emit_query_ack(&mut self, operation: OperationId, from: &[u8]) {
        self.push_event(Kind::QueryAck { operation }, from, &[]);
    }

    pub(crate) fn emit_query_response(&mut self, operation: OperationId, from: &[u8], payload: &[u8]) {
        self.push_event(Kind::QueryResponse { operation }, from, payload);
    }

    pub(crate) fn emit_message(&mut self, from: Source, reliable: bool, payload: &[u8]) {
        self.push_event(Kind::Message { from, reliable }, &[], payload);
    }

    pub(crate) fn emit_user_state(&mut self, from: Source, join: bool, state: &[u8]) {
        self.push_event(Kind::UserState { from, join }, &[], state);
    }

    pub(crate) fn emit_merge_requested(
        &mut self,
        id: RequestId,
        from: Source,
        members: usize,
        deadline: Instant,
    ) {
        self.push_event(Kind::MergeRequested { id, from, members, deadline }, &[], &[]);
    }

    pub(crate) fn emit_conflict(&mut self, name: &[u8], known: SocketAddr, claimed: SocketAddr) {
        self.push_event(Kind::Conflict { known, claimed }, name, &[]);
    }

    pub(crate) fn emit_stalled(&mut self, late: Duration) {
        self.push_event(Kind::Stalled { late }, &[], &[]);
    }

    pub(crate) fn emit_roster_full(&mut self) {
        self.push_event(Kind::RosterFull, &[], &[]);
    }

    pub(crate) fn emit_recording_stopped(&mut self) {
        self.push_event(Kind::RecordingStopped, &[], &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_way_and_the_reader_is_told() {
        let (mut ring, mut buffers) = (EventRing::new(3 * (OVERHEAD + 10)), Buffers::new());
        for i in 0..5u8 {
            ring.push(&mut buffers, Kind::UserEvent { ltime: i.into(), coalesce: false }, b"name", &[i; 6]);
        }
        assert!(!ring.is_empty());
        assert_eq!(ring.poll(&mut buffers), Some(Event::Lagged { lost: 2 }));
        for i in 2..5u8 {
            let event =
                Event::UserEvent { ltime: i.into(), name: b"name", payload: &[i; 6], coalesce: false };
            assert_eq!(ring.poll(&mut buffers), Some(event));
        }
        assert_eq!(ring.poll(&mut buffers), None);
        assert_eq!(ring.memory(), 0);
        assert!(ring.is_empty());
    }
}

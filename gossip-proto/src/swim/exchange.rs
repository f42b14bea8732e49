//! Push/pull: the whole table, both ways (spec 4.10).

use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::streams::{Purpose, Stream};
use super::{Swim, Upper};
use crate::output::{JoinFailure, StreamFailure};
use crate::roster::{LOCAL, Standing};
use crate::wire::message::{MessageType, NodeState, PushPullHeader};

/// The node states of a push/pull, encoded once per version of the roster and shared by all exchanges that overlap; and what
/// the services added last, which they share for as long as it stays the same: peers that do not read hold one copy, not one
/// each. With the last stream all of it is let go: in a large cluster it is as large as the roster, and between exchanges of
/// no use.
#[derive(Debug)]
pub(crate) struct Snapshot {
    version: Option<u64>,
    bytes: Bytes,
    user_state: Bytes,
    nodes: usize,
    building: Option<Building>,
    /// Streams that wait for it, and whether each is a join.
    waiting: Vec<(u64, bool)>,
    /// Bytes of states that were compressed or sealed for one stream each and are not written yet.
    copied: usize,
}

#[derive(Debug)]
struct Building {
    version: u64,
    next: u32,
    nodes: usize,
    bytes: Vec<u8>,
}

impl Snapshot {
    pub(crate) const fn new() -> Self {
        Self {
            version: None,
            bytes: Bytes::new(),
            user_state: Bytes::new(),
            nodes: 0,
            building: None,
            waiting: Vec::new(),
            copied: 0,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        let building = self.building.as_ref().map_or(0, |building| building.bytes.capacity());
        self.bytes.len() + self.user_state.len() + self.copied + building
    }

    /// Lets go of what is encoded, and of what is being encoded.
    pub(crate) fn forget(&mut self) {
        (self.version, self.bytes, self.user_state) = (None, Bytes::new(), Bytes::new());
        self.building = None;
    }

    /// So much of what was copied for one stream is written, or the stream is gone.
    pub(crate) fn release(&mut self, copied: usize) {
        self.copied -= copied;
    }

    /// A stream that is gone waits for nothing.
    pub(crate) fn leave_out(&mut self, key: u64) {
        self.waiting.retain(|&(waiting, _)| waiting != key);
    }

    pub(crate) fn is_building(&self) -> bool {
        self.building.is_some()
    }
}

impl Swim {
    /// The push/pull interval is up: one random alive member.
    pub(crate) fn exchange_tick(&mut self) {
        let mut chosen: SmallVec<[u32; 8]> = SmallVec::new();
        let roster = &self.roster;
        let wanted = |slot| {
            slot != LOCAL && roster.get(slot).tracked() && roster.get(slot).standing == Standing::Alive
        };
        roster.order().sample(&mut self.rng, 1, wanted, &mut chosen);
        let begun = chosen.first().is_some_and(|&slot| {
            let (to, key) = (self.roster.get(slot).socket(), self.roster.key(slot));
            self.open_stream(to, Some(key), Purpose::Exchange { operation: None }).is_some()
        });
        if begun {
            self.stats.exchanges_begun += 1;
        } else {
            self.schedule_exchange();
        }
    }

    /// Sends our state on a stream, as soon as it is encoded.
    pub(crate) fn send_state(&mut self, key: u64, join: bool) {
        // Who asked may have gone, and with the last stream what is encoded for them all.
        if self.streams.get(key).is_none() {
            return;
        }
        self.stats.exchange_memory_full += u64::from(!self.may_send_state(key));
        self.snapshot.waiting.push((key, join));
        if self.snapshot.building.is_none() && self.snapshot.version != Some(self.roster.version()) {
            self.snapshot.building =
                Some(Building { version: self.roster.version(), next: 0, nodes: 0, bytes: Vec::new() });
        }
    }

    /// Encodes some more of the state; when it is whole, those that waited get it.
    pub(crate) fn build_state<U: Upper>(&mut self, upper: &mut U, work: &mut usize) {
        if let Some(mut building) = self.snapshot.building.take() {
            while *work > 0 && building.next < self.roster.slots() {
                *work -= 1;
                let record = self.roster.used(building.next).filter(|record| record.tracked());
                building.next += 1;
                let Some(record) = record else { continue };
                let alive = record.alive();
                let state = NodeState {
                    name: alive.node,
                    addr: alive.addr,
                    port: alive.port,
                    meta: alive.meta,
                    incarnation: alive.incarnation,
                    state: record.standing.wire(),
                    vsn: alive.vsn,
                };
                if state.encode(&mut building.bytes).is_ok() {
                    building.nodes += 1;
                }
            }
            if building.next < self.roster.slots() {
                self.snapshot.building = Some(building);
                return;
            }
            // What changed while it was built is missing, which any state sent a moment earlier would lack as well; the
            // version tells that the next exchange needs a new one.
            self.own_outdated();
            self.snapshot.version = Some(building.version);
            self.snapshot.nodes = building.nodes;
            self.snapshot.bytes = building.bytes.into();
        }
        // Each goes through the services' table.
        let cost = 1 + self.roster.slots() as usize / 16;
        while *work > 0
            && let Some(next) = self.next_to_tell()
        {
            let (key, join) = self.snapshot.waiting.remove(next);
            *work = work.saturating_sub(cost);
            self.write_state(upper, key, join);
        }
    }

    pub(crate) fn state_is_wanted(&self) -> bool {
        self.snapshot.is_building() || self.next_to_tell().is_some()
    }

    fn next_to_tell(&self) -> Option<usize> {
        if self.packs_state() {
            return None;
        }
        self.snapshot.waiting.iter().position(|&(key, _)| self.may_send_state(key))
    }

    /// Whether there is memory for the state on that stream: sealed or compressed it is a copy for the stream alone, and peers
    /// that do not read must not have us hold one each. What this node asks for itself does not wait for them.
    fn may_send_state(&self, key: u64) -> bool {
        let Snapshot { bytes, user_state, copied, .. } = &self.snapshot;
        let own = |stream: &Stream| !matches!(stream.purpose, Purpose::Inbound);
        *copied == 0
            || copied + bytes.len() + user_state.len() <= self.config.max_exchange_bytes
            || self.streams.get(key).is_none_or(own)
    }

    /// What waits to be written on a stream is a copy of its own. A message is the application's, which sent it.
    pub(crate) fn state_copied(&mut self, key: u64) {
        if let Some(stream) = self.streams.get_mut(key)
            && !matches!(stream.purpose, Purpose::Message { .. })
        {
            stream.copied = stream.unwritten();
            self.snapshot.copied += stream.copied;
        }
    }

    /// What is encoded is about to be another. Who has not read the old one holds it alone from here on, or a peer that changes
    /// the table before each question, and reads no answer, would have as many tables kept as it has streams.
    fn own_outdated(&mut self) {
        let shares = |stream: &Stream| stream.copied == 0 && stream.unwritten() > 0;
        let sharing: Vec<u64> =
            self.streams.iter().filter(|(_, stream)| shares(stream)).map(|(key, _)| key).collect();
        for key in sharing {
            self.state_copied(key);
        }
    }

    fn write_state<U: Upper>(&mut self, upper: &mut U, key: u64, join: bool) {
        let Some(stream) = self.streams.get(key) else { return };
        let reply = matches!(stream.purpose, Purpose::Inbound);
        let mut user_state = Vec::new();
        upper.local_state(self, join, &mut user_state);
        if self.snapshot.user_state != user_state {
            self.own_outdated();
            self.snapshot.user_state = user_state.into();
        }
        let user_state = self.snapshot.user_state.clone();
        let header = PushPullHeader {
            nodes: self.snapshot.nodes as i64,
            user_state_len: user_state.len() as i64,
            join,
        };
        let mut head = Vec::with_capacity(64);
        head.push(MessageType::PushPull.byte());
        if header.encode(&mut head).is_err() {
            return self.stream_failed(key, StreamFailure::Local);
        }
        if reply {
            self.stats.exchanges_answered += 1;
            self.renew_deadline(key);
        }
        self.write_long(key, [head.into(), self.snapshot.bytes.clone(), user_state], reply);
    }

    /// One of our exchanges is over; a join counts it, the schedule goes on from here.
    pub(crate) fn exchange_ended(
        &mut self,
        operation: Option<u64>,
        with: SocketAddr,
        result: Result<(), JoinFailure>,
    ) {
        match operation {
            Some(operation) => self.join_progress(operation, with, result),
            None => self.schedule_exchange(),
        }
    }
}

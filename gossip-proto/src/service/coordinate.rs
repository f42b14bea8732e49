//! Where this node and the others are in the latency space (serf.md 6.7): told with every ack, moved by every round trip.

use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::Services;
use crate::Seed;
use crate::coordinate::{Coordinate, DIMENSIONS, LatencyFilter, Vivaldi, distance};
use crate::roster::LOCAL;
use crate::slab::reach;
use crate::stats::Stats;
use crate::swim::Swim;
use crate::time::nanos;
use crate::wire::msgpack::Sink;
use crate::wire::serf::{PING_VERSION, PingPayload, Vector};

/// This node's coordinate, and what is known of each member's.
#[derive(Debug)]
pub(super) struct Coordinates {
    own: Vivaldi,
    /// By slot, so that there are never more than members, and each is forgotten with its member.
    peers: alloc::vec::Vec<Peer>,
}

/// There may be tens of thousands: a [`Coordinate`] of any number of dimensions would take 96 bytes instead of 88.
#[derive(Clone, Debug, Default)]
struct Peer {
    /// Empty as long as nothing of it was believed.
    filter: LatencyFilter,
    /// Where it last said to be.
    vec: [f64; DIMENSIONS],
    error: f64,
    adjustment: f64,
    height: f64,
}

impl Peer {
    fn coordinate(&self) -> Option<Coordinate> {
        let &Self { ref filter, vec, error, adjustment, height } = self;
        (!filter.is_empty()).then(|| Coordinate { vec: Vector(vec.into()), error, adjustment, height })
    }

    /// Only what was believed comes here, which is of that many dimensions.
    fn moved_to(&mut self, told: &Coordinate) {
        self.vec.iter_mut().zip(told.vec.iter()).for_each(|(own, told)| *own = *told);
        (self.error, self.adjustment, self.height) = (told.error, told.adjustment, told.height);
    }
}

impl Coordinates {
    pub(super) fn new(seed: &Seed) -> Self {
        let own = Vivaldi::new(DIMENSIONS, seed).unwrap_or_default();
        Self { own, peers: alloc::vec::Vec::new() }
    }

    /// A member's direct ack came, with what rode on it.
    pub(super) fn measured(&mut self, stats: &mut Stats, slot: u32, rtt: Duration, payload: &[u8]) {
        // Its coordinates are switched off.
        if payload.is_empty() {
            return;
        }
        let peer = &mut self.peers[slot as usize];
        let told = PingPayload::decode(payload).ok().map(|payload| payload.coordinate);
        let before = self.own.coordinate().clone();
        match told.filter(|told| self.own.update(&mut peer.filter, told, rtt).is_ok()) {
            Some(told) => {
                stats.coordinates_updated += 1;
                stats.coordinate_zero_rtts += u64::from(rtt.is_zero());
                stats.coordinate_moved_nanos += distance(&before, self.own.coordinate()).map_or(0, nanos);
                stats.coordinate_resets = self.own.resets();
                peer.moved_to(&told);
            }
            None => stats.coordinates_rejected += 1,
        }
    }

    /// Makes room for a member, of which nothing is known.
    pub(super) fn add(&mut self, slot: u32) {
        reach(&mut self.peers, slot, Peer::default());
        self.forget(slot);
    }

    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(peer) = self.peers.get_mut(slot as usize) {
            *peer = Peer::default();
        }
    }

    pub(super) fn own(&self) -> &Coordinate {
        self.own.coordinate()
    }

    pub(super) fn of(&self, slot: u32) -> Option<Coordinate> {
        self.peers.get(slot as usize)?.coordinate()
    }

    /// The payload of acks. Not by way of [`PingPayload`], which would own a copy.
    pub(super) fn encode<S: Sink>(&self, sink: &mut S) {
        // Writing to a vector cannot run out of room.
        let _ = sink.put(&[PING_VERSION]).and_then(|()| self.own().encode(sink));
    }
}

impl Services {
    /// Where the node itself is, or where a member last said to be.
    pub(crate) fn coordinate_of(&self, swim: &Swim, name: &[u8]) -> Option<Coordinate> {
        let coordinates = self.coordinates.as_ref()?;
        match self.listed_slot(swim, name)? {
            LOCAL => Some(coordinates.own().clone()),
            slot => coordinates.of(slot),
        }
    }
}

impl Hash for Coordinates {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Coordinate { vec, error, adjustment, height } = self.own();
        vec.iter().chain([error, adjustment, height]).for_each(|value| value.to_bits().hash(hasher));
    }
}

#[cfg(test)]
#[path = "coordinate_tests.rs"]
mod tests;

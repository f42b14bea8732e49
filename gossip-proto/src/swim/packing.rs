//! Compression of what is long and goes on a stream: in slices, one message after the other.
//!
//! One at a time because each takes tables of its own, and because all of them together would not be done sooner: the first is
//! done soonest this way. So what a peer can have us hold by opening many streams is one compressor, whatever their number.

use bytes::Bytes;

use super::streams::Purpose;
use super::{BYTES_PER_UNIT, Swim};
use crate::wire::lzw::Deflation;

/// A message that waits for its compression, or is in it.
#[derive(Debug)]
pub(crate) struct Packing {
    key: u64,
    /// What of it is not compressed yet.
    parts: [Bytes; 3],
    close: bool,
    /// The state of an exchange.
    state: bool,
    begun: Option<Deflation>,
}

impl Packing {
    /// The stream that it goes on.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Bytes that it takes beside what it is made from.
    pub(crate) fn memory(&self) -> usize {
        self.begun.as_ref().map_or(0, Deflation::memory)
    }

    /// Goes on as far as `work` goes; whether it is done.
    fn go_on(&mut self, work: &mut usize) -> bool {
        let deflation = self.begun.get_or_insert_default();
        while let Some(part) = self.parts.iter_mut().find(|part| !part.is_empty()) {
            if *work == 0 {
                return false;
            }
            let slice = part.split_to(part.len().min(work.saturating_mul(BYTES_PER_UNIT)));
            deflation.add(&slice);
            *work -= slice.len().div_ceil(BYTES_PER_UNIT);
        }
        true
    }
}

impl Swim {
    /// Has a message compressed, and then written. A state goes before messages of the application: those may be long, and
    /// the deadline of an exchange is short.
    pub(crate) fn pack(&mut self, key: u64, parts: [Bytes; 3], close: bool) {
        let state =
            self.streams.get(key).is_some_and(|stream| !matches!(stream.purpose, Purpose::Message { .. }));
        let packing = Packing { key, parts, close, state, begun: None };
        // The one in work keeps its tables.
        let place = if state { self.packing.len().min(1) } else { self.packing.len() };
        self.packing.insert(place, packing);
    }

    /// Whether a state is being compressed. The next one is put together after that, so that not all who asked for one have
    /// their own.
    pub(crate) fn packs_state(&self) -> bool {
        self.packing.iter().any(|packing| packing.state)
    }

    /// Goes on compressing; what is done is written.
    pub(crate) fn work_off_packing(&mut self, work: &mut usize) {
        while *work > 0
            && let Some(mut packing) = self.packing.pop_front()
        {
            if !packing.go_on(work) {
                return self.packing.push_front(packing);
            }
            let Packing { key, close, state, begun, .. } = packing;
            let mut packed = begun.map_or_else(alloc::vec::Vec::new, Deflation::finish);
            // It may wait for a peer that reads slowly: without the room in which it grew.
            packed.shrink_to_fit();
            if close && state {
                self.renew_deadline(key);
            }
            self.write_packed(key, [Bytes::new(), packed.into(), Bytes::new()], close);
        }
    }
}

#[cfg(test)]
#[path = "packing_tests.rs"]
mod tests;

//! What was seen lately: rings indexed by Lamport time (serf.md 2.3, 2.4).

use alloc::vec::Vec;

/// Whether something is to be delivered and passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    Duplicate,
    /// The slot of its time is full (serf.md Q7), or it is of a time that has given way to later ones.
    Full,
}

/// User events by time. A slot's buffers are used again when its time comes round, so that a warm ring does not
/// allocate.
#[derive(Debug)]
pub(crate) struct EventHistory {
    slots: Vec<EventSlot>,
    per_slot: usize,
    /// Bytes that all events take in an exchange: what every exchange carries must stay far below what one may (spec 1.11).
    bytes: usize,
    /// The last time that gave way to later ones. Nothing more is taken of it and those before, or what was delivered would be
    /// delivered again.
    given_up: Option<u64>,
}

#[derive(Debug, Default)]
struct EventSlot {
    ltime: u64,
    /// Ends of name and payload of each event in `bytes`.
    ends: Vec<(u32, u32)>,
    bytes: Vec<u8>,
}

impl EventSlot {
    fn weight(&self) -> usize {
        self.bytes.len() + FRAME * self.ends.len()
    }

    fn events(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        (0..self.ends.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1].1 as usize };
            let (name, payload) = (self.ends[i].0 as usize, self.ends[i].1 as usize);
            (&self.bytes[start..name], &self.bytes[name..payload])
        })
    }
}

impl EventHistory {
    pub(crate) fn new(len: usize, per_slot: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(len, EventSlot::default);
        Self { slots, per_slot, bytes: 0, given_up: None }
    }

    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Remembers an event. Another time in the slot is one that has come round: comparing it is what tells a new event
    /// from one that had the same name and payload a turn ago.
    pub(crate) fn insert(&mut self, ltime: u64, name: &[u8], payload: &[u8]) -> Seen {
        let index = (ltime % self.len()) as usize;
        let slot = &mut self.slots[index];
        if slot.ltime != ltime {
            self.bytes -= slot.weight();
            slot.ltime = ltime;
            slot.ends.clear();
            slot.bytes.clear();
            // What a large event once took is given back, or one place after the other would keep it.
            if slot.bytes.capacity() > KEPT_CAPACITY {
                slot.bytes = Vec::new();
            }
        }
        if slot.events().any(|event| event == (name, payload)) {
            return Seen::Duplicate;
        }
        let len = FRAME + name.len() + payload.len();
        let full = slot.ends.len() >= self.per_slot || self.given_up.is_some_and(|last| ltime <= last);
        if full || !self.make_room(len, ltime) {
            return Seen::Full;
        }
        self.bytes += len;
        let slot = &mut self.slots[index];
        slot.bytes.extend_from_slice(name);
        let name_end = slot.bytes.len() as u32;
        slot.bytes.extend_from_slice(payload);
        slot.ends.push((name_end, slot.bytes.len() as u32));
        Seen::New
    }

    /// The oldest times give way, or whoever once fills the ring has silenced all events until it has turned: hundreds of them.
    fn make_room(&mut self, len: usize, ltime: u64) -> bool {
        while self.bytes + len > MAX_BYTES {
            let earlier = self.slots.iter_mut().filter(|slot| !slot.ends.is_empty() && slot.ltime < ltime);
            let Some(oldest) = earlier.min_by_key(|slot| slot.ltime) else { return false };
            self.bytes -= oldest.weight();
            self.given_up = self.given_up.max(Some(oldest.ltime));
            oldest.ends.clear();
            oldest.bytes = Vec::new();
        }
        true
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn held(&self) -> crate::output::Depth {
        let fits = self.slots.iter().all(|slot| slot.ends.len() <= self.per_slot);
        let kept: usize = self.slots.iter().map(EventSlot::weight).sum();
        assert!(fits && kept == self.bytes, "{kept} bytes of events are counted as {}", self.bytes);
        crate::output::Depth { what: "bytes of events", len: kept, cap: MAX_BYTES }
    }

    /// The slots in use: time, and events as name and payload.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, impl ExactSizeIterator<Item = (&[u8], &[u8])>)> {
        self.slots.iter().filter(|slot| !slot.ends.is_empty()).map(|slot| (slot.ltime, slot.events()))
    }
}

/// Most bytes that remembered events take in an exchange.
const MAX_BYTES: usize = 1 << 20;
/// What an event takes beside its name and payload: the names of the fields and the lengths (serf.md 1.6).
const FRAME: usize = 24;
/// Room that a slot keeps for its next time.
const KEPT_CAPACITY: usize = 2048;

/// Query ids by time.
#[derive(Debug)]
pub(crate) struct QueryHistory {
    slots: Vec<(u64, Vec<u32>)>,
    per_slot: usize,
}

impl QueryHistory {
    pub(crate) fn new(len: usize, per_slot: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(len, || (0, Vec::new()));
        Self { slots, per_slot }
    }

    pub(crate) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(crate) fn insert(&mut self, ltime: u64, id: u32) -> Seen {
        let index = (ltime % self.len()) as usize;
        let (time, ids) = &mut self.slots[index];
        if *time != ltime {
            *time = ltime;
            ids.clear();
        }
        if ids.contains(&id) {
            return Seen::Duplicate;
        }
        if ids.len() >= self.per_slot {
            return Seen::Full;
        }
        ids.push(id);
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn the_same_event_a_turn_later_is_new() {
        let mut ring = EventHistory::new(8, 4);
        assert_eq!(ring.insert(3, b"deploy", b"1"), Seen::New);
        assert_eq!(ring.insert(3, b"deploy", b"1"), Seen::Duplicate);
        assert_eq!(ring.insert(3, b"deploy", b"2"), Seen::New);
        assert_eq!(ring.insert(11, b"deploy", b"1"), Seen::New);
        let kept: Vec<_> = ring.iter().map(|(ltime, events)| (ltime, events.len())).collect();
        assert_eq!(kept, [(11, 1)]);
    }

    #[test]
    fn name_and_payload_are_told_apart() {
        let mut ring = EventHistory::new(8, 4);
        assert_eq!(ring.insert(1, b"ab", b"c"), Seen::New);
        assert_eq!(ring.insert(1, b"a", b"bc"), Seen::New);
    }

    #[test]
    fn a_slot_is_bounded() {
        let (mut events, mut queries) = (EventHistory::new(4, 2), QueryHistory::new(4, 2));
        for (i, expected) in [Seen::New, Seen::New, Seen::Full].into_iter().enumerate() {
            assert_eq!(events.insert(5, &[i as u8], b""), expected);
            assert_eq!(queries.insert(5, i as u32), expected);
        }
        assert_eq!(queries.insert(5, 0), Seen::Duplicate);
        assert_eq!(queries.insert(9, 0), Seen::New);
    }

    /// serf.md 2.3, 2.4: a time has a place of its own until the ring has turned.
    #[test]
    fn times_of_one_turn_do_not_share_a_place() {
        let (mut events, mut queries) = (EventHistory::new(4, 1), QueryHistory::new(4, 1));
        for expected in [Seen::New, Seen::Duplicate] {
            for ltime in 21..25 {
                assert_eq!(events.insert(ltime, b"deploy", b""), expected);
                assert_eq!(queries.insert(ltime, 7), expected);
            }
        }
        let times: Vec<u64> = events.iter().map(|(ltime, _)| ltime).collect();
        assert_eq!(times, [24, 21, 22, 23], "in the order of the places");
    }

    #[test]
    fn a_place_gives_back_what_a_large_event_took_and_keeps_the_rest() {
        let mut ring = EventHistory::new(1, 1);
        for (len, kept) in [(KEPT_CAPACITY + 1, false), (KEPT_CAPACITY, true)] {
            assert_eq!(ring.insert(ring.slots[0].ltime + 1, b"", &vec![7; len]), Seen::New);
            let before = ring.slots[0].bytes.capacity();
            assert_eq!(ring.insert(ring.slots[0].ltime + 1, b"", b""), Seen::New);
            assert_eq!(ring.slots[0].bytes.capacity(), if kept { before } else { 0 }, "after {len} bytes");
        }
    }

    /// spec 1.11: all remembered events go into every exchange, so that their bytes are counted over all times.
    #[test]
    fn the_bytes_of_all_times_are_bounded_and_the_oldest_time_gives_way() {
        let half = [7; MAX_BYTES / 2 - FRAME - 3];
        let mut ring = EventHistory::new(4, 3);
        assert_eq!(ring.insert(2, b"abc", &half), Seen::New);
        assert_eq!(ring.insert(3, b"abc", &half), Seen::New, "the last byte is used");
        let kept = |ring: &EventHistory| ring.iter().map(|(ltime, _)| ltime).collect::<Vec<_>>();
        assert_eq!(ring.insert(1, b"a", b""), Seen::Full, "itself the oldest");
        assert_eq!(ring.insert(3, b"a", b""), Seen::New);
        assert_eq!((kept(&ring), ring.bytes), (vec![3], MAX_BYTES / 2 + FRAME + 1));
        assert_eq!(ring.insert(2, b"abc", &half), Seen::Full, "what gave way is not delivered again");
        assert_eq!(ring.insert(3, b"abc", &half), Seen::Duplicate);
        for ltime in 4..100 {
            assert_eq!(ring.insert(ltime, b"abc", &half), Seen::New, "what is new is never refused");
            assert!(kept(&ring).contains(&ltime) && ring.bytes <= MAX_BYTES);
        }
        assert_eq!(ring.insert(99, b"a", b""), Seen::New);
        assert_eq!((kept(&ring), ring.bytes), (vec![99], MAX_BYTES / 2 + FRAME + 1));
        assert_eq!(ring.insert(99, b"abcd", &half), Seen::Full, "nothing older is left to give way");
        assert_eq!(ring.insert(98, b"a", b""), Seen::Full);
    }
}

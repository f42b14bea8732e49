//! Dynamic deadlines: one heap, ordered by time and then by the order in which they were armed.

use alloc::vec::Vec;

use crate::time::Instant;

/// Names one armed deadline; it never names a later one that reuses its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TimerId {
    index: u32,
    generation: u32,
}

impl TimerId {
    /// As one number, of which the lower half is an index.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// What was packed.
    pub(crate) fn unpack(packed: u64) -> Self {
        Self { index: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// Deadlines that come and go with what they belong to: suspicions, open exchanges, queries.
///
/// The heap is indexed: a deadline that is cancelled or moved leaves its place at once, in O(log n). So there are no
/// stale entries, whatever a peer makes us arm and cancel, and the size is the number of armed deadlines.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    heap: Vec<Entry<K>>,
    places: Vec<Place>,
    first_free: u32,
    next_serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K> {
    at: Instant,
    serial: u64,
    place: u32,
    key: K,
}

impl<K> Entry<K> {
    fn rank(&self) -> (Instant, u64) {
        (self.at, self.serial)
    }
}

/// Where the deadline with this index is in the heap or, if there is none, the next free index.
#[derive(Clone, Copy, Debug)]
struct Place {
    generation: u32,
    link: u32,
}

impl<K: Copy> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), places: Vec::new(), first_free: NONE, next_serial: 0 }
    }

    /// Arms a deadline. Deadlines at the same instant come due in the order in which they were armed.
    pub(crate) fn arm(&mut self, at: Instant, key: K) -> TimerId {
        let index = match self.first_free {
            NONE => {
                self.places.push(Place { generation: 0, link: NONE });
                (self.places.len() - 1) as u32
            }
            free => {
                self.first_free = self.places[free as usize].link;
                free
            }
        };
        let serial = self.take_serial();
        let position = self.heap.len();
        self.heap.push(Entry { at, serial, place: index, key });
        self.places[index as usize].link = position as u32;
        self.sift_up(position);
        TimerId { index, generation: self.places[index as usize].generation }
    }

    /// Disarms a deadline; false if it has come due or was cancelled before.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        let Some(position) = self.position(id) else { return false };
        self.take(position);
        true
    }

    /// Moves a deadline, which keeps its id; among equal times it counts as armed now. False if it is not armed.
    pub(crate) fn rearm(&mut self, id: TimerId, at: Instant) -> bool {
        let Some(position) = self.position(id) else { return false };
        let serial = self.take_serial();
        let entry = &mut self.heap[position];
        (entry.at, entry.serial) = (at, serial);
        self.settle(position);
        true
    }

    /// Takes the first deadline that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, K, TimerId)> {
        let &Entry { at, key, place, .. } = self.heap.first()?;
        if at > now {
            return None;
        }
        let id = TimerId { index: place, generation: self.places[place as usize].generation };
        self.take(0);
        Some((at, key, id))
    }

    /// When the first deadline comes due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.at)
    }

    /// How many deadlines are armed.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    fn position(&self, id: TimerId) -> Option<usize> {
        // A place that was freed has moved on to its next generation, so this also tells armed from not armed.
        let place = self.places.get(id.index as usize)?;
        (place.generation == id.generation).then_some(place.link as usize)
    }

    fn take_serial(&mut self) -> u64 {
        let serial = self.next_serial;
        self.next_serial += 1;
        serial
    }

    fn take(&mut self, position: usize) {
        let entry = self.heap.swap_remove(position);
        let place = &mut self.places[entry.place as usize];
        place.generation = place.generation.wrapping_add(1);
        place.link = self.first_free;
        self.first_free = entry.place;
        if position < self.heap.len() {
            self.note(position);
            self.settle(position);
        }
    }

    fn settle(&mut self, position: usize) {
        let position = self.sift_up(position);
        self.sift_down(position);
    }

    fn sift_up(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].rank() < self.heap[position].rank() {
                break;
            }
            self.swap(parent, position);
            position = parent;
        }
        position
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            let Some(mut child) = self.heap.get(left).map(|_| left) else { return };
            if self.heap.get(left + 1).is_some_and(|right| right.rank() < self.heap[left].rank()) {
                child = left + 1;
            }
            if self.heap[position].rank() < self.heap[child].rank() {
                return;
            }
            self.swap(position, child);
            position = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.note(a);
        self.note(b);
    }

    fn note(&mut self, position: usize) {
        self.places[self.heap[position].place as usize].link = position as u32;
    }
}

const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn equal_times_come_due_in_the_order_of_arming() {
        let mut timers = Timers::new();
        let moved = timers.arm(ms(5), 'a');
        timers.arm(ms(5), 'b');
        timers.arm(ms(4), 'c');
        timers.arm(ms(5), 'd');
        assert!(timers.rearm(moved, ms(5)));
        let due: Vec<char> = core::iter::from_fn(|| timers.pop_due(ms(5))).map(|(_, key, _)| key).collect();
        assert_eq!(due, ['c', 'b', 'd', 'a']);
        assert_eq!((timers.next(), timers.len()), (None, 0));
    }

    #[test]
    fn nothing_is_due_early() {
        let mut timers = Timers::new();
        let id = timers.arm(ms(5), ());
        assert_eq!(timers.pop_due(ms(4)), None);
        assert_eq!(timers.next(), Some(ms(5)));
        assert_eq!(timers.pop_due(ms(9)), Some((ms(5), (), id)));
    }

    #[test]
    fn an_id_never_names_the_next_tenant() {
        let mut timers = Timers::new();
        let first = timers.arm(ms(1), 1);
        assert!(timers.cancel(first));
        let second = timers.arm(ms(2), 2);
        assert_eq!(first.index, second.index, "the place is reused");
        assert!(!timers.cancel(first));
        assert!(!timers.rearm(first, ms(0)));
        assert_eq!(timers.pop_due(ms(2)), Some((ms(2), 2, second)));
        assert!(!timers.cancel(second));
    }

    #[test]
    fn churn_does_not_grow_it() {
        let mut timers = Timers::new();
        let keep = timers.arm(ms(1_000_000), 0);
        for n in 0..100_000 {
            let id = timers.arm(ms(n), 1);
            assert!(timers.rearm(id, ms(n + 1)));
            assert!(timers.cancel(id));
        }
        assert!(timers.rearm(keep, ms(7)));
        assert_eq!((timers.len(), timers.next()), (1, Some(ms(7))));
        assert!(timers.heap.capacity() <= 8 && timers.places.capacity() <= 8);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(u64),
        Cancel(usize),
        Rearm(usize, u64),
        Pop(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => (0u64..20).prop_map(Op::Arm),
            1 => (0usize..64).prop_map(Op::Cancel),
            1 => ((0usize..64), (0u64..20)).prop_map(|(which, at)| Op::Rearm(which, at)),
            2 => (0u64..20).prop_map(Op::Pop),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(ops in proptest::collection::vec(op(), 1..200)) {
            let mut timers = Timers::new();
            let mut model: Vec<(Instant, u64, usize)> = Vec::new();
            let mut ids: Vec<TimerId> = Vec::new();
            for (serial, op) in (0u64..).zip(ops) {
                match op {
                    Op::Arm(at) => {
                        model.push((ms(at), serial, ids.len()));
                        ids.push(timers.arm(ms(at), ids.len()));
                    }
                    Op::Cancel(which) if which < ids.len() => {
                        let armed = model.iter().position(|entry| entry.2 == which);
                        prop_assert_eq!(timers.cancel(ids[which]), armed.is_some());
                        armed.map(|index| model.remove(index));
                    }
                    Op::Rearm(which, at) if which < ids.len() => {
                        let armed = model.iter().position(|entry| entry.2 == which);
                        prop_assert_eq!(timers.rearm(ids[which], ms(at)), armed.is_some());
                        if let Some(index) = armed {
                            model[index] = (ms(at), serial, which);
                        }
                    }
                    Op::Cancel(_) | Op::Rearm(..) => {}
                    Op::Pop(now) => {
                        let expected = model.iter().copied().min().filter(|first| first.0 <= ms(now));
                        let popped = timers.pop_due(ms(now));
                        prop_assert_eq!(popped, expected.map(|(at, _, key)| (at, key, ids[key])));
                        model.retain(|entry| Some(*entry) != expected);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.next(), model.iter().map(|entry| entry.0).min());
            }
        }
    }
}

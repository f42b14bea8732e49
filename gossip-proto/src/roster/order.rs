//! One permutation of the members for both sampling and probing.
//!
//! SWIM probes round robin over a shuffled list (SWIM §4.3). The shuffle is done one step at a time: the member at the
//! cursor is drawn from those not yet probed in this round, so that a round costs nothing at its start. A member that joins
//! is inserted anywhere, as upstream does (spec 4.3 step 4), so that it may be missed for one round, and another be probed twice.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::rng::Rng;
use crate::slab::make_room;

/// Slots in a random order; those before the cursor were probed in this round.
#[derive(Debug)]
pub(crate) struct Order {
    slots: Vec<u32>,
    cursor: usize,
}

impl Order {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), cursor: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.slots
    }

    /// Adds a slot at a random place: before the cursor, who was there has another turn instead. Were all put behind it, a round
    /// would not end while newcomers come faster than members are probed, and who had its turn would have no other.
    pub(crate) fn insert(&mut self, slot: u32, rng: &mut Rng, mut moved: impl FnMut(u32, u32)) {
        make_room(&mut self.slots, 1);
        self.slots.push(slot);
        let last = self.slots.len() - 1;
        let place = rng.below(self.slots.len() as u32) as usize;
        if place < self.cursor {
            self.slots.swap(place, last);
            moved(self.slots[last], last as u32);
            moved(slot, place as u32);
        } else {
            moved(slot, last as u32);
        }
    }

    /// Takes out the slot at `position`; `moved(slot, position)` is told who changed place.
    pub(crate) fn remove(&mut self, position: u32, mut moved: impl FnMut(u32, u32)) {
        let mut hole = position as usize;
        if hole < self.cursor {
            // The last of the probed fills the hole, so that nobody is probed twice in a round.
            self.cursor -= 1;
            self.slots[hole] = self.slots[self.cursor];
            moved(self.slots[hole], hole as u32);
            hole = self.cursor;
        }
        self.slots.swap_remove(hole);
        if let Some(&slot) = self.slots.get(hole) {
            moved(slot, hole as u32);
        }
    }

    /// The next to probe, drawn from those not probed in this round; at the end of a round the next one begins.
    pub(crate) fn next(&mut self, rng: &mut Rng, mut moved: impl FnMut(u32, u32)) -> Option<u32> {
        if self.cursor >= self.slots.len() {
            self.cursor = 0;
        }
        let left = self.slots.len() - self.cursor;
        if left == 0 {
            return None;
        }
        let chosen = self.cursor + rng.below(left as u32) as usize;
        self.slots.swap(self.cursor, chosen);
        moved(self.slots[chosen], chosen as u32);
        moved(self.slots[self.cursor], self.cursor as u32);
        self.cursor += 1;
        Some(self.slots[self.cursor - 1])
    }

    /// Up to `k` different slots that `wanted` admits, uniformly at random (spec 4.14): a small list is searched to its
    /// end, in a large one a bounded number of draws is made.
    pub(crate) fn sample(
        &self,
        rng: &mut Rng,
        k: usize,
        mut wanted: impl FnMut(u32) -> bool,
        chosen: &mut SmallVec<[u32; 8]>,
    ) {
        chosen.clear();
        let n = self.slots.len();
        if n < 3 * k {
            let mut all: SmallVec<[u32; 32]> = SmallVec::from_slice(&self.slots);
            for i in 0..n {
                if chosen.len() == k {
                    return;
                }
                all.swap(i, i + rng.below((n - i) as u32) as usize);
                if wanted(all[i]) {
                    chosen.push(all[i]);
                }
            }
            return;
        }
        for _ in 0..3 * n.min(MAX_DRAWS) {
            if chosen.len() == k {
                return;
            }
            let slot = self.slots[rng.below(n as u32) as usize];
            if !chosen.contains(&slot) && wanted(slot) {
                chosen.push(slot);
            }
        }
    }
}

/// Bounds the draws when most of a large table is dead; upstream makes 3n, which is not flat in n.
const MAX_DRAWS: usize = 64;

//! Numbers drawn from a seed.

use core::cell::Cell;
use core::ops::RangeInclusive;
use core::time::Duration;

/// SplitMix64: small, and the same on every machine.
#[derive(Clone, Debug)]
pub(super) struct Random(Cell<u64>);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    fn next(&self) -> u64 {
        let mut z = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(z);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`, which is above 0.
    pub(super) fn below(&self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    pub(super) fn between(&self, range: RangeInclusive<u64>) -> u64 {
        let (least, most) = range.into_inner();
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// As many below as above the geometric mean: short and long alike. `least` is above 0.
    pub(super) fn spread(&self, range: RangeInclusive<u64>) -> u64 {
        let (least, most) = range.into_inner();
        // Doublings by whole steps and one uniform draw in the last: logarithms differ between machines.
        let doublings = (most.max(least) / least).ilog2();
        let low = least << self.below(u64::from(doublings) + 1);
        self.between(low..=most.min(low.saturating_mul(2)).max(low))
    }

    pub(super) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Some of these, in order.
    pub(super) fn some(&self, count: usize, of: &[usize]) -> Vec<usize> {
        let mut all = of.to_vec();
        let count = count.min(all.len());
        for place in 0..count {
            let other = place + self.below((all.len() - place) as u64) as usize;
            all.swap(place, other);
        }
        all.truncate(count);
        all.sort_unstable();
        all
    }
}

/// As scenario files have it, in quotes.
pub(super) fn time(time: Duration) -> String {
    format!("\"{}ms\"", time.as_millis())
}

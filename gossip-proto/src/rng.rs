//! The protocol's choices: a pinned generator whose output is part of the determinism contract.
//!
//! Whoever holds a recording replays it with the recorded seed, on any version that promises the same traces.
//! So the algorithm, its seeding and every derived operation here are fixed by golden values in the tests, and no
//! generator is taken from a crate that may change its streams. Nothing here is secret: nonces come from elsewhere.

use core::fmt;
use core::time::Duration;

use crate::time::nanos;

/// 32 bytes that decide every random choice a node makes.
///
/// There is no default: a fleet that shared one would probe and gossip in lockstep. Draw it from the operating
/// system, and record it: with the inputs it reproduces a run exactly.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A seed spread from one number, for tests and simulations. A real node wants all 32 bytes random.
    pub fn from_u64(number: u64) -> Self {
        let mut state = number;
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes());
        }
        Self(bytes)
    }

    /// The bytes, for recording.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// xoshiro256** by Blackman and Vigna: 256 bits of state, no allocation, a few instructions per number.
#[derive(Clone, Debug)]
pub(crate) struct Rng([u64; 4]);

impl Rng {
    /// One of the independent streams of a seed.
    ///
    /// Each purpose draws from a stream of its own, so that one more draw for one purpose does not move another's.
    pub(crate) fn from_seed(seed: &Seed, stream: u64) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(seed.0.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        // Every state word depends on all of the seed and on the stream: seeds that differ in one bit, or
        // streams 0 and 1, would otherwise give related sequences.
        let mut mixer = words.iter().fold(mix(stream), |digest, word| mix(digest ^ word));
        for word in &mut words {
            *word = mix(*word ^ split_mix(&mut mixer));
        }
        if words == [0; 4] {
            words[0] = GAMMA; // the one state that xoshiro never leaves
        }
        Self(words)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// The upper half of one step, which is the better half.
    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Uniform in `0..n` without modulo bias (Lemire's multiplication); 0 if `n` is 0.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let rejected = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= rejected {
                return (product >> 32) as u32;
            }
        }
    }

    /// As [`Rng::below`], for 64 bits.
    pub(crate) fn below64(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let rejected = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= rejected {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform below `limit` in whole nanoseconds; zero if `limit` is zero.
    pub(crate) fn duration_below(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below64(nanos(limit)))
    }
}

/// One step of splitmix64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GAMMA);
    finish(*state)
}

fn mix(value: u64) -> u64 {
    finish(value.wrapping_add(GAMMA))
}

fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn is_xoshiro256_star_star() {
        // The published vector of the reference implementation for the state [1, 2, 3, 4].
        let mut rng = Rng([1, 2, 3, 4]);
        let expected: [u64; 10] = [
            11520,
            0,
            1509978240,
            1215971899390074240,
            1216172134540287360,
            607988272756665600,
            16172922978634559625,
            8476171486693032832,
            10595114339597558777,
            2904607092377533576,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn seeding_is_pinned() {
        // splitmix64's published sequence for the seed 1234567.
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);

        let seed = Seed::from_u64(42);
        assert_eq!(format!("{seed:?}"), GOLDEN_SEED);
        let mut first = Rng::from_seed(&seed, 0);
        let mut second = Rng::from_seed(&seed, 1);
        assert_eq!([(); 3].map(|()| first.next_u64()), GOLDEN_STREAM_0);
        assert_eq!([(); 3].map(|()| second.next_u64()), GOLDEN_STREAM_1);
    }

    #[test]
    fn derived_choices_are_pinned() {
        let mut rng = Rng::from_seed(&Seed::from_u64(7), 3);
        assert_eq!([10, 100, u32::MAX].map(|n| rng.below(n)), GOLDEN_BELOW);
        rng.next_u64();
        assert_eq!(rng.duration_below(Duration::from_secs(1)), GOLDEN_DURATION);
    }

    #[test]
    fn one_bit_of_seed_or_stream_changes_everything() {
        let base = Rng::from_seed(&Seed::new([0; 32]), 0);
        let mut bytes = [0; 32];
        bytes[31] = 0x80;
        for other in [Rng::from_seed(&Seed::new(bytes), 0), Rng::from_seed(&Seed::new([0; 32]), 1)] {
            let differing: u32 = base.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!((90..166).contains(&differing), "{differing} of 256 bits differ");
        }
    }

    // upstream: TestRandomOffset, TestRandomOffset_Zero
    #[test]
    fn below_is_uniform_and_total() {
        let mut rng = Rng::from_seed(&Seed::from_u64(1), 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[rng.below(6) as usize] += 1;
        }
        // Six standard deviations of a binomial with n = 60,000 and p = 1/6 are 548.
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 548), "{counts:?}");

        // A modulus would hit the lower half twice as often here.
        let n = (u64::MAX / 3) * 2;
        let low = (0..60_000).filter(|_| rng.below64(n) < n / 2).count();
        assert!(low.abs_diff(30_000) < 735, "{low}");

        assert_eq!((rng.below(0), rng.below64(0), rng.below(1), rng.below64(1)), (0, 0, 0, 0));
        assert_eq!(rng.duration_below(Duration::ZERO), Duration::ZERO);
    }

    const GOLDEN_SEED: &str = "956eeb2f2632d7bd03f166b233e3ef28529f0f135767524794e34a0effe11c58";
    const GOLDEN_STREAM_0: [u64; 3] =
        [8_514_346_107_627_685_354, 8_703_830_409_893_236_941, 15_293_649_415_541_719_823];
    const GOLDEN_STREAM_1: [u64; 3] =
        [8_182_073_803_749_936_752, 6_550_273_516_358_286_653, 18_359_197_647_015_324_539];
    const GOLDEN_BELOW: [u32; 3] = [5, 33, 2_449_940_189];
    const GOLDEN_DURATION: Duration = Duration::from_nanos(103_008_866);
}

//! Randomness of the simulated world: pinned, and one stream per purpose.

use core::time::Duration;

use gossip_proto::Seed;

/// What a stream of random numbers is for. Each purpose has a stream of its own, so that switching loss on, say, does
/// not also change every latency of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Latency = 1,
    Loss = 2,
    Duplicate = 3,
    Segment = 4,
    Node = 5,
    Nonce = 6,
    Scenario = 7,
    Burst = 8,
    Reorder = 9,
    Inject = 10,
    Pace = 11,
    Disk = 12,
}

/// splitmix64: one addition and a finaliser per number. Its output is part of what a seed promises to reproduce.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of that purpose; `index` tells the streams of one purpose apart.
    pub(crate) fn new(seed: &Seed, purpose: Purpose, index: u64) -> Self {
        let mut state = finish((purpose as u64).wrapping_mul(GAMMA) ^ finish(index.wrapping_add(GAMMA)));
        for chunk in seed.as_bytes().as_chunks::<8>().0 {
            state = finish(state.wrapping_add(GAMMA) ^ u64::from_le_bytes(*chunk));
        }
        Self(state)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        finish(self.0)
    }

    /// Uniform in `0..n`; 0 if `n` is 0. The bias of 2⁻⁶⁴ times `n` is far below what any simulation shows.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// Uniform below `limit`, in nanoseconds.
    pub(crate) fn duration_below(&mut self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// True with that probability. Draws nothing when the answer is certain.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        probability > 0.0 && (probability >= 1.0 || ((self.next_u64() >> 11) as f64 * STEP) < probability)
    }

    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.as_chunks_mut::<8>().0 {
            *chunk = self.next_u64().to_le_bytes();
        }
        bytes
    }
}

/// The same number, if it is a probability.
pub(crate) fn probability(what: &str, value: f64) -> f64 {
    assert!((0.0..=1.0).contains(&value), "{what} must be a probability, from 0 to 1, not {value}");
    value
}

/// The finaliser of splitmix64.
pub(crate) fn finish(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_splitmix64() {
        // The published vector for the state 1234567.
        let mut rng = Rng(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| rng.next_u64()), expected);
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_index() {
        let base = Rng::new(&Seed::from_u64(1), Purpose::Loss, 0).next_u64();
        assert_eq!(base, Rng::new(&Seed::from_u64(1), Purpose::Loss, 0).next_u64());
        assert_ne!(base, Rng::new(&Seed::from_u64(2), Purpose::Loss, 0).next_u64());
        assert_ne!(base, Rng::new(&Seed::from_u64(1), Purpose::Latency, 0).next_u64());
        assert_ne!(base, Rng::new(&Seed::from_u64(1), Purpose::Loss, 1).next_u64());
    }

    #[test]
    fn certain_outcomes_draw_nothing() {
        let mut rng = Rng(7);
        assert!(!rng.chance(0.0) && rng.chance(1.0));
        assert_eq!(rng.next_u64(), Rng(7).next_u64());
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| rng.below(3) < 3));
    }
}

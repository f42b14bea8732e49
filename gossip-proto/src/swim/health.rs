//! Local health: how much a node trusts its own failure detector (spec 4.8, Lifeguard).

use core::time::Duration;

/// The local health multiplier.
///
/// A node that misses acks it should have got, or has to refute, is likely slow itself; it probes more rarely, so
/// that its own trouble does not become everybody's suspicion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Health {
    score: u32,
    worst: u32,
}

impl Health {
    /// Healthy, with scores below `max`. A `max` of 0 counts as 1: the score then stays 0 and nothing is scaled.
    pub(crate) const fn new(max: u32) -> Self {
        Self { score: 0, worst: max.saturating_sub(1) }
    }

    /// Worsens (positive) or improves (negative) the score within its bounds.
    pub(crate) fn apply(&mut self, delta: i32) {
        self.score = self.score.saturating_add_signed(delta).min(self.worst);
    }

    /// 0 is healthy.
    pub(crate) const fn score(&self) -> u32 {
        self.score
    }

    /// The probe interval at this health.
    pub(crate) fn scale(&self, interval: Duration) -> Duration {
        interval.saturating_mul(self.score.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestAwareness
    #[test]
    fn stays_within_its_bounds() {
        let second = Duration::from_secs(1);
        let mut health = Health::new(8);
        let steps = [
            (0, 0),
            (-1, 0),
            (-10, 0),
            (1, 1),
            (-1, 0),
            (10, 7),
            (-1, 6),
            (-1, 5),
            (i32::MIN, 0),
            (i32::MAX, 7),
        ];
        for (delta, expected) in steps {
            health.apply(delta);
            assert_eq!(health.score(), expected);
            assert_eq!(health.scale(second), second * (expected + 1));
        }
        assert_eq!(health.scale(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn without_range_it_never_scales() {
        for max in [0, 1] {
            let mut health = Health::new(max);
            health.apply(5);
            assert_eq!(health.scale(Duration::from_secs(1)), Duration::from_secs(1));
        }
    }
}

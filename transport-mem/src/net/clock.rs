//! The clock of one node: how the network's time looks to it.

use core::time::Duration;

use gossip_proto::Instant;

const MILLION: u128 = 1_000_000;

/// A node's clock, as it has run since it was last set or skewed: at a constant rate from what it showed then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Millionths by which it is too fast.
    ppm: i32,
    /// What it showed then, by the network's time.
    since: Instant,
    showed: Instant,
}

impl Clock {
    /// Millionths by which it is too fast; below 0, too slow.
    pub fn ppm(&self) -> i32 {
        self.ppm
    }

    /// What it shows at that time of the network's, which must not be before it was last set.
    pub fn reads(&self, at: Instant) -> Instant {
        let passed = at.saturating_duration_since(self.since);
        self.showed.saturating_add(match self.ppm {
            0 => passed,
            _ => nanos(passed.as_nanos() * self.rate() / MILLION),
        })
    }

    /// The first time of the network's at which it shows that or more, and not before it was last set. Deadlines that a
    /// machine gives are on its node's clock.
    pub fn when(&self, reads: Instant) -> Instant {
        if reads == Instant::MAX {
            return reads;
        }
        let left = reads.saturating_duration_since(self.showed);
        self.since.saturating_add(match self.ppm {
            0 => left,
            _ => nanos((left.as_nanos() * MILLION).div_ceil(self.rate())),
        })
    }

    pub(crate) fn skew(&mut self, now: Instant, ppm: i32) {
        assert!(ppm > -1_000_000, "a clock must go forward, and at {ppm} millionths it does not");
        self.set(now, self.reads(now));
        self.ppm = ppm;
    }

    pub(crate) fn set_forward(&mut self, now: Instant, by: Duration) {
        self.set(now, self.reads(now).saturating_add(by));
    }

    pub(crate) fn set_back(&mut self, now: Instant, by: Duration) {
        self.set(now, self.reads(now).saturating_sub(by));
    }

    fn set(&mut self, now: Instant, to: Instant) {
        (self.since, self.showed) = (now, to);
    }

    /// Millionths of a second that it shows more after a second.
    fn rate(&self) -> u128 {
        (1_000_000 + i64::from(self.ppm)).unsigned_abs().into()
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn a_clock_that_nobody_touched_shows_the_time() {
        let clock = Clock::default();
        for time in [0, 1, 12_345, u64::MAX - 1, u64::MAX].map(at) {
            assert_eq!((clock.reads(time), clock.when(time)), (time, time));
        }
    }

    #[test]
    fn a_skewed_clock_gains_or_loses_so_much() {
        let mut clock = Clock::default();
        clock.skew(at(1_000_000), 100_000);
        assert_eq!(clock.reads(at(1_000_000)), at(1_000_000));
        assert_eq!(clock.reads(at(2_000_000)), at(2_100_000));
        assert_eq!(clock.when(at(12_000_000)), at(11_000_000));
        clock.skew(at(2_000_000), -500_000);
        assert_eq!(clock.reads(at(3_000_000)), at(2_600_000));
    }

    #[test]
    fn a_timer_is_never_early_and_at_most_a_tick_late() {
        for ppm in [-999_999, -700_001, -3, 0, 1, 37, 100_000, i32::MAX] {
            let mut clock = Clock::default();
            clock.skew(at(17), ppm);
            for reads in (17..5_000).chain([123_456_789]).map(at) {
                let when = clock.when(reads);
                assert!(clock.reads(when) >= reads, "{ppm} {reads:?}");
                assert!(when == at(17) || clock.reads(at(when.as_nanos() - 1)) < reads, "{ppm} {reads:?}");
            }
            assert_eq!(clock.when(Instant::MAX), Instant::MAX);
        }
    }

    #[test]
    fn a_clock_that_was_set_goes_on_from_there_and_never_below_its_origin() {
        let mut clock = Clock::default();
        clock.set_forward(at(100), Duration::from_nanos(50));
        assert_eq!((clock.reads(at(110)), clock.when(at(120))), (at(160), at(100)));
        clock.set_back(at(110), Duration::from_nanos(1_000));
        assert_eq!((clock.reads(at(110)), clock.reads(at(115)), clock.when(at(7))), (at(0), at(5), at(117)));
    }

    #[test]
    #[should_panic(expected = "a clock must go forward")]
    fn a_clock_that_stands_still_is_refused() {
        Clock::default().skew(Instant::ORIGIN, -1_000_000);
    }
}

//! Lamport clocks (serf.md 2.1).

/// A clock that holds the *next* time to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock(u64);

/// A time further ahead than this is no news but an attack: it would make every honest message look old (serf.md Q3).
const REACH: u64 = 1 << 32;

/// As far as one exchange takes a clock: there is as much room again to go on.
const HALF: u64 = 1 << 63;

/// As far as several do. What is beyond cannot have come about by chance, nor by a few forged messages.
const FURTHEST: u64 = HALF + (REACH << 16);

impl Clock {
    /// A fresh node's clock stands at 1.
    pub(crate) const fn new() -> Self {
        Self(1)
    }

    pub(crate) fn time(self) -> u64 {
        self.0
    }

    /// Takes the current time for a message of our own; the clock moves on.
    pub(crate) fn take(&mut self) -> u64 {
        let time = self.0;
        self.0 = self.0.saturating_add(1);
        time
    }

    /// Moves past a time that was seen. Saturates where upstream wraps to 0.
    pub(crate) fn witness(&mut self, time: u64) {
        if time >= self.0 {
            self.0 = time.saturating_add(1);
        }
    }

    /// Whether a time that came by gossip is one that an honest cluster can have reached.
    pub(crate) fn reaches(self, time: u64) -> bool {
        time <= self.0.saturating_add(REACH)
    }

    /// Whether a time in a push/pull is one to follow: a cluster that has moved far ahead stays there, so that only what
    /// leaves no room to go on is none.
    pub(crate) fn follows(self, time: u64) -> bool {
        time <= self.horizon()
    }

    /// Moves towards a time in a push/pull, and says whether it got there; the rest is left to later exchanges. Who stood still
    /// instead, with others a little beyond the half of the range, would hear nothing of theirs, nor they of its, for good.
    pub(crate) fn follow(&mut self, time: u64) -> bool {
        let there = self.follows(time);
        if there || time <= FURTHEST {
            self.witness(time.min(self.horizon()));
        }
        there
    }

    /// Whether a node that was restarted may go on from this time of its former life: as far as clocks can have been followed.
    pub(crate) const fn can_resume(time: u64) -> bool {
        time <= FURTHEST + REACH
    }

    fn horizon(self) -> u64 {
        self.0.max(HALF).saturating_add(REACH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestLamportClock
    #[test]
    fn the_clock_holds_the_next_time() {
        let mut clock = Clock::new();
        assert_eq!((clock.take(), clock.time()), (1, 2));
        clock.witness(41);
        assert_eq!(clock.time(), 42);
        clock.witness(41);
        assert_eq!(clock.time(), 42);
        clock.witness(42);
        assert_eq!(clock.time(), 43);
        clock.witness(30);
        assert_eq!(clock.time(), 43);
    }

    #[test]
    fn it_never_wraps() {
        let mut clock = Clock::new();
        clock.witness(u64::MAX);
        assert_eq!((clock.take(), clock.time()), (u64::MAX, u64::MAX));
    }

    #[test]
    fn far_ahead_is_refused() {
        let clock = Clock::new();
        assert!(clock.reaches(1 << 32) && !clock.reaches((1 << 32) + 2));
        let horizon = HALF + REACH;
        assert!(clock.follows(1 << 40) && clock.follows(horizon) && !clock.follows(horizon + 1));
    }

    #[test]
    fn a_clock_is_resumed_from_as_far_as_it_can_have_come() {
        let mut clock = Clock(FURTHEST);
        assert!(clock.follow(FURTHEST + REACH));
        assert!(Clock::can_resume(clock.time() - 1) && !Clock::can_resume(clock.time()));
    }

    /// Whatever a few exchanges have done to a cluster, who joins it gets there by as many.
    #[test]
    fn no_clock_is_out_of_reach_for_good() {
        let mut ahead = Clock::new();
        assert!(!ahead.follow(u64::MAX) && ahead.follow(HALF));
        for forged in 1..5 {
            for _ in 0..1000 {
                ahead.take();
            }
            let mut fresh = Clock::new();
            let exchanges = (1..10).find(|_| fresh.follow(ahead.time() - 1));
            assert_eq!(exchanges, Some(forged));
            assert!(fresh.reaches(ahead.time()));
            assert!(ahead.follow(ahead.time() + REACH));
        }
    }
}

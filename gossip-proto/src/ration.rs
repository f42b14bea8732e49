//! So many at once, and one more after each pause: what others may set going.

use core::time::Duration;

use crate::time::Instant;

/// What has been taken of a ration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ration {
    taken: u32,
    /// Since when one of them is being given back.
    since: Instant,
}

impl Ration {
    /// Takes one, unless `most` are taken; one is given back after each `pause`.
    pub(crate) fn take(&mut self, now: Instant, most: u32, pause: Duration) -> bool {
        let passed = now.saturating_duration_since(self.since).as_nanos() / pause.as_nanos().max(1);
        let back = u32::try_from(passed).unwrap_or(u32::MAX).min(self.taken);
        self.taken -= back;
        self.since = if self.taken == 0 { now } else { self.since + pause * back };
        let free = self.taken < most;
        self.taken += u32::from(free);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_given_back_after_each_pause() {
        const PAUSE: Duration = Duration::from_secs(10);
        let mut ration = Ration::default();
        let mut now = Instant::from_nanos(u64::from(u32::MAX) * 1_000_000_000);
        let mut take = |now, often: u32| (0..often).filter(|_| ration.take(now, 4, PAUSE)).count();
        assert_eq!(take(now, 10), 4);
        now += PAUSE / 2;
        assert_eq!(take(now, 10), 0);
        now += PAUSE / 2;
        assert_eq!(take(now, 10), 1);
        // Parts of a pause add up, and no more than all are given back.
        now += PAUSE * 5 / 2;
        assert_eq!(take(now, 10), 2);
        now += PAUSE / 2;
        assert_eq!(take(now, 10), 1);
        now += PAUSE * 100;
        assert_eq!((take(now, 1), take(now, 10)), (1, 3));
        assert_eq!(take(Instant::MAX, 10), 4);
        assert!(Ration::default().take(now, 1, Duration::ZERO));
    }
}

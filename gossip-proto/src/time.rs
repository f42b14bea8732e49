//! Time as the machine knows it: an offset that the driver hands in, never a clock it reads.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

/// A point in time, in nanoseconds since an origin that the driver picks.
///
/// The machine reads no clock: every instant it sees came in with an input. Only differences matter to it, so the
/// origin may be process start, boot, or zero in a simulation. All arithmetic saturates: 2⁶⁴ ns are 584 years, and
/// a hostile or absurd duration must end as "never", not as an instant in the past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's origin.
    pub const ORIGIN: Self = Self(0);
    /// Later than every deadline: never.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant this many nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant this many milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This much later, at most [`Instant::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// This much earlier, at least [`Instant::ORIGIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.saturating_add(duration);
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// Seconds and milliseconds since the origin, as in a trace: `12.345s`; [`Instant::MAX`] is `never`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MAX {
            return f.pad("never");
        }
        let millis = self.0 / NANOS_PER_MILLI;
        write!(f, "{}.{:03}s", millis / 1000, millis % 1000)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A duration in nanoseconds; what does not fit is as good as forever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const NANOS_PER_MILLI: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let t = Instant::from_millis(1500);
        assert_eq!(t + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::MAX + Duration::from_nanos(1), Instant::MAX);
        assert_eq!(t.saturating_sub(Duration::from_secs(2)), Instant::ORIGIN);
        assert_eq!(t - Instant::from_millis(2000), Duration::ZERO);
        assert_eq!(Instant::from_millis(2000) - t, Duration::from_millis(500));
        assert_eq!(Instant::from_millis(u64::MAX), Instant::MAX);
        let mut later = t;
        later += Duration::from_nanos(1);
        assert_eq!(later.as_nanos(), 1_500_000_001);
    }

    #[test]
    fn shows_seconds_with_milliseconds() {
        assert_eq!(format!("{}", Instant::from_nanos(12_345_999_999)), "12.345s");
        assert_eq!(format!("{:?}", Instant::ORIGIN), "0.000s");
        assert_eq!(format!("{}", Instant::MAX), "never");
    }
}

//! How intervals, timeouts and repetitions grow with the cluster.
//!
//! Nodes of one cluster must agree on these, so they are equal to the reference to the last digit: digit counts are
//! taken by integers, and logarithms only from `libm`, also where the platform's own would be at hand.

use core::time::Duration;

use crate::config::Logarithm;
use crate::time::{Instant, nanos};

/// How long a suspicion lasts at least, before anybody confirms it (spec 4.7).
pub(crate) fn suspicion_timeout(log: Logarithm, mult: u32, n: usize, interval: Duration) -> Duration {
    if log == Logarithm::Natural {
        return interval.saturating_mul(mult.saturating_mul(natural(n)));
    }
    let scale = f64::max(1.0, libm::log10(n.max(1) as f64));
    let thousandths = (1000.0 * scale) as u128;
    let timeout = u128::from(mult) * thousandths * u128::from(nanos(interval)) / 1000;
    Duration::from_nanos(u64::try_from(timeout).unwrap_or(u64::MAX))
}

/// What is left of a suspicion that has just begun when it already has `confirmations` of the `k` that it waits for
/// (spec 4.7). The caller subtracts the time that has passed.
pub(crate) fn remaining_suspicion(confirmations: u32, k: u32, min: Duration, max: Duration) -> Duration {
    if k == 0 {
        return min; // nobody is expected to confirm, so nothing is gained by waiting (and ln 1 divides by zero)
    }
    let fraction = libm::log(f64::from(confirmations) + 1.0) / libm::log(f64::from(k) + 1.0);
    let (low, high) = (min.as_secs_f64(), max.as_secs_f64());
    let raw = high - fraction * (high - low);
    // Cut to whole milliseconds: the reference does, and a peer's trace is compared with ours.
    Duration::from_millis(libm::floor(1000.0 * raw) as u64).max(min)
}

/// How often a member of a cluster of `n` starts an exchange (spec 4.10): the base up to 32 members, then once more
/// for each doubling.
pub(crate) fn push_pull_interval(base: Duration, n: usize) -> Duration {
    if n <= UNSCALED_EXCHANGES {
        return base;
    }
    let doublings = (n - 1).ilog2() - UNSCALED_EXCHANGES.ilog2() + 1;
    base.saturating_mul(doublings + 1)
}

/// How often one rumor is sent in a cluster of `n` (spec 4.11). Zero for an empty cluster, where it is still sent
/// once.
pub(crate) fn transmit_limit(log: Logarithm, mult: u32, n: usize) -> u32 {
    mult.saturating_mul(match log {
        Logarithm::Ten => digits(n),
        Logarithm::Natural => natural(n),
    })
}

/// The first whole multiple of an interval after `now`: where ticks in lock-step fall.
pub(crate) fn period_after(now: Instant, interval: Duration) -> Instant {
    let interval = nanos(interval).max(1);
    Instant::from_nanos((now.as_nanos() / interval).saturating_add(1).saturating_mul(interval))
}

/// By how much a query waits longer in a cluster of `n` (serf.md 5.1).
pub(crate) fn query_timeout(n: usize) -> u32 {
    digits(n.max(1))
}

/// ⌈log₁₀(n + 1)⌉, which is the number of decimal digits of `n`, and 0 for 0.
fn digits(n: usize) -> u32 {
    n.checked_ilog10().map_or(0, |log| log + 1)
}

/// ⌈ln(n + 1)⌉. The logarithm of a whole number above 1 is never whole, so that no rounding can go wrong.
fn natural(n: usize) -> u32 {
    libm::ceil(libm::log(n as f64 + 1.0)) as u32
}

const UNSCALED_EXCHANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use serde_json::Value;

    /// The vectors, and the files that the environment variable `EXTRA_VECTORS` names.
    fn vector_files() -> Vec<Value> {
        let mut files = Vec::new();
        files.push(include_str!("../../../vectors/memberlist-vectors.json").into());
        if let Some(extra) = std::env::var_os("EXTRA_VECTORS") {
            let paths = std::env::split_paths(&extra).filter(|path| !path.as_os_str().is_empty());
            files.extend(paths.map(|path| std::fs::read_to_string(path).unwrap()));
        }
        files.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// Checks each row of one table of the vectors, and that the table was not empty.
    fn each_row(table: &str, columns: usize, check: impl Fn(&[u64])) {
        let mut rows = Vec::new();
        for vectors in vector_files() {
            rows.extend(vectors["formulas"][table]["rows"].as_array().into_iter().flatten().cloned());
        }
        assert!(rows.len() > 30, "{table} has {} rows", rows.len());
        for row in rows {
            let row: Vec<u64> = row.as_array().unwrap().iter().map(|cell| cell.as_u64().unwrap()).collect();
            assert_eq!(row.len(), columns);
            check(&row);
        }
    }

    // upstream: TestSuspicionTimeout
    #[test]
    fn suspicion_timeout_matches_the_vectors() {
        each_row("suspicion_timeout", 4, |row| {
            let timeout = suspicion_timeout(
                Logarithm::Ten,
                row[0] as u32,
                row[1] as usize,
                Duration::from_millis(row[2]),
            );
            assert_eq!(timeout, Duration::from_nanos(row[3]), "{row:?}");
        });
    }

    // upstream: TestSuspicion_remainingSuspicionTime
    #[test]
    fn remaining_suspicion_matches_the_vectors() {
        each_row("remaining_suspicion_time", 5, |row| {
            let (min, max) = (Duration::from_millis(row[2]), Duration::from_millis(row[3]));
            let left = remaining_suspicion(row[0] as u32, row[1] as u32, min, max);
            assert_eq!(left, Duration::from_nanos(row[4]), "{row:?}");
        });
    }

    #[test]
    fn transmit_limit_matches_the_vectors() {
        each_row("retransmit_limit", 3, |row| {
            assert_eq!(
                u64::from(transmit_limit(Logarithm::Ten, row[0] as u32, row[1] as usize)),
                row[2],
                "{row:?}"
            );
        });
    }

    // upstream: TestPushPullScale
    #[test]
    fn push_pull_interval_matches_the_vectors() {
        each_row("push_pull_scale", 3, |row| {
            let interval = push_pull_interval(Duration::from_millis(row[0]), row[1] as usize);
            assert_eq!(interval, Duration::from_millis(row[2]), "{row:?}");
        });
    }

    // Where the plotted timeout of SWIM's paper steps up: from 9 periods to 12 at 20 members, to 15 at 54.
    #[test]
    fn natural_logarithms_step_where_the_paper_steps() {
        let periods = |n| suspicion_timeout(Logarithm::Natural, 3, n, Duration::from_secs(2)).as_secs() / 2;
        assert_eq!([0, 1, 2, 19, 20, 53, 54, 128].map(periods), [0, 3, 6, 9, 12, 12, 15, 15]);
        let sent = |n| transmit_limit(Logarithm::Natural, 3, n);
        assert_eq!([0, 1, 19, 20, 54].map(sent), [0, 3, 9, 12, 15]);
    }

    #[test]
    fn periods_are_whole_and_lie_ahead() {
        let after = |millis| period_after(Instant::from_millis(millis), Duration::from_millis(200));
        for (now, next) in [(0, 200), (1, 200), (199, 200), (200, 400), (1001, 1200)] {
            assert_eq!(after(now), Instant::from_millis(next));
        }
    }

    #[test]
    fn digits_are_exact_where_floating_point_would_waver() {
        let mut power = 1usize;
        for expected in 1..=18 {
            assert_eq!(digits(power), expected);
            power *= 10;
            assert_eq!(digits(power - 1), expected);
        }
        assert_eq!(digits(0), 0);
    }

    #[test]
    fn absurd_values_saturate() {
        assert_eq!(
            suspicion_timeout(Logarithm::Ten, u32::MAX, usize::MAX, Duration::MAX),
            Duration::from_nanos(u64::MAX)
        );
        assert_eq!(push_pull_interval(Duration::MAX, usize::MAX), Duration::MAX);
        for log in [Logarithm::Ten, Logarithm::Natural] {
            assert_eq!(transmit_limit(log, u32::MAX, usize::MAX), u32::MAX);
            assert!(
                suspicion_timeout(log, u32::MAX, usize::MAX, Duration::MAX) > Duration::from_secs(1 << 33)
            );
        }
        assert_eq!(period_after(Instant::MAX, Duration::from_secs(1)), Instant::MAX);
        assert!(remaining_suspicion(1, u32::MAX, Duration::MAX, Duration::MAX) >= Duration::MAX / 2);
        // More confirmations than expected never undercut the minimum.
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(6));
        assert_eq!(remaining_suspicion(9, 2, min, max), min);
    }
}

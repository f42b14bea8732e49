//! Figures of many values.

use core::fmt;
use core::time::Duration;

/// What many values come to: exact, from all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many values; with none, all else is 0.
    pub count: usize,
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median: like all quantiles, the smallest value that so many are not above (nearest rank).
    pub p50: f64,
    /// 99 % are not above it.
    pub p99: f64,
    /// 99.9 % are not above it; with fewer than a thousand values, the greatest.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
    /// The mean of what was sampled lies within this of `mean`, 95 % sure (Student's t); 0 below two values.
    pub ci95: f64,
}

impl Summary {
    /// Of these values. What is no number is left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Self::default() };
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let rank = |per_mille: usize| values[(count * per_mille).div_ceil(1000).max(1) - 1];
        let ci95 = if count < 2 {
            0.0
        } else {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let free = count - 1;
            student95(free) * (squares / free as f64 / count as f64).sqrt()
        };
        Self { count, min, mean, p50: rank(500), p99: rank(990), p999: rank(999), max, ci95 }
    }

    /// Of these spans of time, in seconds.
    pub fn of_seconds(spans: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(spans.into_iter().map(|span| span.as_secs_f64()))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, min, mean, p50, p99, p999, max, ci95 } = self;
        write!(
            f,
            "{mean:.3} ±{ci95:.3} (n {count}, min {min:.3}, p50 {p50:.3}, p99 {p99:.3}, p99.9 {p999:.3}, max {max:.3})"
        )
    }
}

/// The 97.5 % quantile of Student's t, by which 95 % confidence intervals are wide: tabulated up to 30 degrees of freedom, then by the first terms of its expansion about
/// the normal quantile 1.960, which are off by less than 0.001 there.
pub fn student95(free: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    match free.checked_sub(1).and_then(|index| TABLE.get(index)) {
        Some(quantile) => *quantile,
        None => {
            const Z: f64 = 1.959_964;
            let free = free as f64;
            Z + (Z.powi(3) + Z) / (4.0 * free)
                + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * free * free)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_by_nearest_rank() {
        let summary = Summary::of((1..=1000).rev().map(f64::from));
        assert_eq!((summary.count, summary.min, summary.max), (1000, 1.0, 1000.0));
        assert_eq!((summary.p50, summary.p99, summary.p999, summary.mean), (500.0, 990.0, 999.0, 500.5));
        let few = Summary::of([3.0, 1.0, f64::NAN, 2.0]);
        assert_eq!((few.count, few.p50, few.p99, few.p999), (3, 2.0, 3.0, 3.0));
    }

    #[test]
    fn the_interval_is_students() {
        // Mean 3, deviation sqrt(2.5), t(4) = 2.776.
        let summary = Summary::of([1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((summary.ci95 - 2.776 * (2.5f64 / 5.0).sqrt()).abs() < 1e-9);
        assert!((student95(40) - 2.021).abs() < 0.001 && (student95(120) - 1.980).abs() < 0.001);
        assert_eq!(student95(1), 12.706);
        assert!((student95(60) - 2.000).abs() < 2e-3 && (student95(31) - 2.040).abs() < 4e-3);
        assert!((student95(1_000_000) - 1.960).abs() < 1e-3);
        assert_eq!(Summary::of([7.0]).ci95, 0.0);
    }

    #[test]
    fn nothing_comes_to_nothing() {
        assert_eq!(Summary::of([]), Summary::default());
        let half = Summary::of_seconds([Duration::from_millis(500)]);
        assert_eq!((half.count, half.mean), (1, 0.5));
    }
}

//! Figures of samples: mean, spread, percentiles, and how far the mean can be trusted.

use serde::{Deserialize, Serialize};
use transport_mem::net::observe::student95;

/// The figures of a metric over all samples of some runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many samples there were, of all runs.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; 0 of one sample.
    pub sd: f64,
    /// Half the width of the 95 % confidence interval of the mean. The runs are taken for independent, the samples of one
    /// run are not. None of one run.
    pub ci95: Option<f64>,
    /// The least.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// The figures of the samples of some runs; `None` if there are none at all.
    pub fn new(runs: &[&[f64]]) -> Option<Self> {
        let mut all: Vec<f64> = runs.iter().flat_map(|run| run.iter().copied()).collect();
        if all.is_empty() {
            return None;
        }
        all.sort_by(f64::total_cmp);
        let count = all.len();
        let mean = all.iter().sum::<f64>() / count as f64;
        let squares: f64 = all.iter().map(|value| (value - mean) * (value - mean)).sum();
        let sd = if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 };
        Some(Self {
            count,
            mean,
            sd,
            ci95: half_width(runs, mean, count),
            min: all[0],
            p50: quantile(&all, 0.5),
            p99: quantile(&all, 0.99),
            p999: quantile(&all, 0.999),
            max: all[count - 1],
        })
    }
}

/// The deviation of a mean over clusters: sums of deviations per run, which are independent, instead of samples, which
/// are not. With one sample per run it is the usual one.
fn half_width(runs: &[&[f64]], mean: f64, count: usize) -> Option<f64> {
    let groups = runs.iter().filter(|run| !run.is_empty()).count();
    if groups < 2 {
        return None;
    }
    let of = |run: &&[f64]| {
        let sum: f64 = run.iter().map(|value| value - mean).sum();
        sum * sum
    };
    let variance =
        runs.iter().map(of).sum::<f64>() / (count * count) as f64 * groups as f64 / (groups - 1) as f64;
    Some(student95(groups - 1) * variance.sqrt())
}

/// The value that a proportion `q` of the sorted values lies below: between two neighbours by their distance.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = sorted[(low + 1).min(sorted.len() - 1)];
    sorted[low] + (high - sorted[low]) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_known_samples() {
        let summary = Summary::new(&[&[1.0, 2.0], &[3.0, 4.0]]).unwrap();
        assert_eq!((summary.count, summary.mean, summary.min, summary.max), (4, 2.5, 1.0, 4.0));
        assert!((summary.sd - 1.290_994).abs() < 1e-6);
        assert_eq!(summary.p50, 2.5);
        assert!(Summary::new(&[&[]]).is_none());
    }

    #[test]
    fn one_sample_per_run_gives_the_textbook_interval() {
        // 1, 2, 3, 4, 5: mean 3, sd 1.5811, standard error 0.7071, and 2.776 of them with four degrees of freedom.
        let values = [[1.0], [2.0], [3.0], [4.0], [5.0]];
        let runs: Vec<&[f64]> = values.iter().map(<[f64; 1]>::as_slice).collect();
        assert!((Summary::new(&runs).unwrap().ci95.unwrap() - 1.9629).abs() < 1e-3);
    }

    #[test]
    fn samples_of_one_run_do_not_count_as_independent() {
        let copies = |n: usize| [vec![1.0; n], vec![2.0; n], vec![4.0; n]];
        let width = |runs: &[Vec<f64>; 3]| {
            Summary::new(&runs.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap().ci95.unwrap()
        };
        assert!((width(&copies(1)) - width(&copies(1000))).abs() < 1e-9);
        assert_eq!(
            Summary::new(&[&[1.0, 2.0, 3.0]]).unwrap().ci95,
            None,
            "one run says nothing about others"
        );
    }
}

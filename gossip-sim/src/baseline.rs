//! Figures that must stay what they are: a few quick runs whose figures are committed, so that a change of protocol behaviour
//! that nobody meant does not go by.
//!
//! Runs are the same every time, so the figures are compared exactly. Left out are the hashes of traces and what the machine
//! needs of memory: those change with every rearrangement inside. What is run is in `baseline.toml` beside this crate.

use std::collections::BTreeMap;

use crate::compare::Difference;
use crate::execute::title;
use crate::report::Report;
use crate::results::Tables;

/// What is run for it.
const RUNS: &str = include_str!("../baseline.toml");
/// Metrics of the program rather than of the protocol.
const LEFT_OUT: &[&str] = &["memory"];

/// The means of all metrics, by command, by variant and cell, and by metric.
pub type Baseline = BTreeMap<String, BTreeMap<String, BTreeMap<String, f64>>>;

/// Runs everything that is compared.
///
/// # Errors
/// What went wrong in a run.
pub fn measure(jobs: usize) -> Result<Baseline, String> {
    let mut baseline = Baseline::new();
    for table in &Tables::parse(RUNS)?.tables {
        baseline.insert(table.command(), figures(&table.run(jobs, &|_, _| {})?));
    }
    Ok(baseline)
}

fn figures(report: &Report) -> BTreeMap<String, BTreeMap<String, f64>> {
    let rows = report.rows.iter().filter(|row| row.pooled.is_empty()).map(|row| {
        let kept = row.metrics.iter().filter(|(metric, _)| !LEFT_OUT.contains(&metric.as_str()));
        let means = kept.map(|(metric, figures)| (metric.clone(), figures.summary.mean));
        (title(&row.variant, &row.cell), means.collect())
    });
    rows.collect()
}

/// As JSON, ending with a line break.
pub fn to_json(baseline: &Baseline) -> String {
    // Writing to a string cannot fail, and every map in it has texts for keys.
    let mut text = serde_json::to_string_pretty(baseline).unwrap_or_default();
    text.push('\n');
    text
}

/// Reads what [`to_json`] wrote.
///
/// # Errors
/// It is something else.
pub fn from_json(text: &str) -> Result<Baseline, String> {
    serde_json::from_str(text).map_err(|error| format!("no baseline of gossip-sim: {error}"))
}

/// All figures that are not the same in both, and those that only one has.
pub fn compare(before: &Baseline, after: &Baseline) -> Vec<Difference> {
    let flat = |baseline: &Baseline| {
        let mut all = BTreeMap::new();
        for (command, rows) in baseline {
            let name = command.strip_prefix("gossip-sim run ").unwrap_or(command);
            for (row, metrics) in rows {
                let of =
                    |(metric, mean): (&String, &f64)| ((format!("{name}: {row}"), metric.clone()), *mean);
                all.extend(metrics.iter().map(of));
            }
        }
        all
    };
    let (before, after) = (flat(before), flat(after));
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let difference = |key: &(String, String)| {
        let means = (before.get(key).copied(), after.get(key).copied());
        let relative = match means {
            (Some(a), Some(b)) => Some(b / a - 1.0).filter(|relative| relative.is_finite()),
            _ => None,
        };
        (means.0 != means.1).then(|| Difference {
            row: key.0.clone(),
            metric: key.1.clone(),
            means,
            relative,
            beyond_noise: true,
        })
    };
    keys.into_iter().filter_map(difference).collect()
}

//! Two reports, metric by metric.

use comfy_table::Table;

use crate::execute::title;
use crate::measure::metrics::{self, METRICS};
use crate::report::{Figures, Report};
use crate::table::{align, new_table, number, with_unit};

/// One difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Variant and cell.
    pub row: String,
    /// The metric.
    pub metric: String,
    /// Its means; none where a report does not have it.
    pub means: (Option<f64>, Option<f64>),
    /// The second over the first, less one.
    pub relative: Option<f64>,
    /// Whether it is more than chance makes of equal clusters: beyond the 95 % intervals of both, added as deviations are;
    /// where there are none, whether the means differ at all.
    pub beyond_noise: bool,
}

/// Compares the means of all metrics that either has, in the rows that both have.
///
/// # Errors
/// They are of different scenarios, or have no row in common.
pub fn compare(a: &Report, b: &Report) -> Result<Vec<Difference>, String> {
    if a.scenario.name != b.scenario.name {
        return Err(format!("different scenarios: {} and {}", a.scenario.name, b.scenario.name));
    }
    let mut differences = Vec::new();
    let mut common = 0;
    for row in &a.rows {
        let Some(other) = b.row(&row.variant, &row.cell) else { continue };
        common += 1;
        for metric in METRICS {
            let (first, second) = (row.metrics.get(metric.name), other.metrics.get(metric.name));
            if first.is_some() || second.is_some() {
                let row = title(&row.variant, &row.cell);
                differences.push(difference(row, metric.name, first, second));
            }
        }
    }
    if common == 0 {
        return Err("the reports have no variant and cell in common".into());
    }
    Ok(differences)
}

fn difference(row: String, metric: &str, first: Option<&Figures>, second: Option<&Figures>) -> Difference {
    let mean = |figures: Option<&Figures>| figures.map(|figures| figures.summary.mean);
    let means = (mean(first), mean(second));
    let (Some(first), Some(second), (Some(a), Some(b))) = (first, second, means) else {
        return Difference { row, metric: metric.to_owned(), means, relative: None, beyond_noise: true };
    };
    let noise = match (first.summary.ci95, second.summary.ci95) {
        (Some(a), Some(b)) => a.hypot(b),
        _ => 0.0,
    };
    let relative = if a == b { Some(0.0) } else { Some(b / a - 1.0).filter(|relative| relative.is_finite()) };
    Difference { row, metric: metric.to_owned(), means, relative, beyond_noise: (b - a).abs() > noise }
}

impl Difference {
    /// Whether it is more than a share of the first report's mean, and more than noise.
    pub fn exceeds(&self, tolerance: f64) -> bool {
        self.beyond_noise && self.relative.is_none_or(|relative| relative.abs() > tolerance)
    }
}

/// The differences as a table; equal means are left out unless all are wanted.
pub fn table(differences: &[Difference], all: bool) -> Table {
    let mut table = new_table(&["variant, cell", "metric", "first", "second", "difference", ""]);
    let mut last = "";
    for difference in differences.iter().filter(|difference| all || difference.means.0 != difference.means.1)
    {
        let heading = if last == difference.row { String::new() } else { difference.row.clone() };
        last = &difference.row;
        let known = metrics::find(&difference.metric);
        let shown = |mean: Option<f64>| mean.map_or_else(|| "none".into(), number);
        table.add_row(vec![
            heading,
            with_unit(&difference.metric, known.map_or("", |metric| metric.unit)),
            shown(difference.means.0),
            shown(difference.means.1),
            difference.relative.map_or_else(String::new, |relative| format!("{:+.1} %", relative * 100.0)),
            judgement(difference, known.and_then(|metric| metric.less_is_better)).to_owned(),
        ]);
    }
    align(&mut table, 2..5);
    table
}

fn judgement(difference: &Difference, less_is_better: Option<bool>) -> &'static str {
    let (Some(a), Some(b)) = difference.means else { return "only in one" };
    match less_is_better {
        _ if a == b => "",
        _ if !difference.beyond_noise => "within noise",
        Some(less) if (b < a) == less => "better",
        Some(_) => "worse",
        None => "beyond noise",
    }
}

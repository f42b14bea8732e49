//! Reports as tables for people.

use core::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};

use crate::execute::title;
use crate::measure::metrics::{self, METRICS};
use crate::report::{Report, Row, cell_text};
use crate::scenario::Stat;

/// What is shown of a scenario that does not say what to show.
const USUAL: &[&str] = &[
    "first_detection",
    "full_detection",
    "false_positives",
    "false_positives_healthy",
    "formed",
    "agreed",
    "convergence",
    "view_sizes",
    "delivery",
    "residue",
    "leave_spread",
    "datagrams_sent",
    "bytes_sent",
];

/// The whole report: what was published first, then every row.
pub fn report(report: &Report) -> String {
    let about = &report.scenario;
    let mut text = format!("{}: {}\n", about.name, about.title);
    let (first, count) = report.seeds;
    let seeds =
        if count == 1 { format!("seed {first}") } else { format!("seeds {first} to {}", first + count - 1) };
    let _ = writeln!(text, "{seeds}, {} runs", report.runs.len());
    if !report.published.is_empty() {
        let _ = write!(text, "\nPublished figures and ours:\n{}\n", published(report));
    }
    // Pools say it shorter; the cells one by one are in the JSON.
    let pools: Vec<_> = report.rows.iter().filter(|row| !row.pooled.is_empty()).collect();
    let cells: Vec<_> = report.rows.iter().filter(|row| row.pooled.is_empty()).collect();
    let rows = if pools.is_empty() { cells } else { pools };
    let _ = write!(text, "\n{}\n", figures(report, &rows));
    text
}

fn published(report: &Report) -> Table {
    let mut table = new_table(&["variant", "cell", "metric", "ours", "±95%", "published", "ratio", "source"]);
    for comparison in &report.published {
        let stat =
            if comparison.stat == Stat::Mean { String::new() } else { format!(" {}", stat(comparison.stat)) };
        let of = comparison.relative_to.as_ref().map_or_else(String::new, |base| format!(" / {base}"));
        let unit = if comparison.relative_to.is_some() { "" } else { unit_of(&comparison.metric) };
        table.add_row(vec![
            comparison.variant.clone(),
            cell_text(&comparison.cell),
            with_unit(&format!("{}{stat}{of}", comparison.metric), unit),
            comparison.ours.map_or_else(|| "none".into(), number),
            comparison.ci95.map_or_else(String::new, number),
            number(comparison.published),
            comparison.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            comparison.source.clone(),
        ]);
    }
    align(&mut table, 3..7);
    table
}

fn figures(report: &Report, rows: &[&Row]) -> Table {
    let mut table = new_table(&["variant, cell", "metric", "mean", "±95%", "p50", "p99", "max", "samples"]);
    let show = &report.scenario.show;
    let shown = |name: &str| {
        if show.is_empty() { USUAL.contains(&name) } else { show.iter().any(|shown| shown == name) }
    };
    for row in rows {
        let mut heading = title(&row.variant, &row.cell);
        for metric in METRICS.iter().filter(|metric| shown(metric.name)) {
            let Some(figures) = row.metrics.get(metric.name) else { continue };
            let summary = &figures.summary;
            table.add_row(vec![
                core::mem::take(&mut heading),
                with_unit(metric.name, metric.unit),
                number(summary.mean),
                summary.ci95.map_or_else(String::new, number),
                number(summary.p50),
                number(summary.p99),
                number(summary.max),
                summary.count.to_string(),
            ]);
        }
    }
    align(&mut table, 2..8);
    table
}

pub(crate) fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    table
}

pub(crate) fn align(table: &mut Table, columns: core::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

pub(crate) fn unit_of(metric: &str) -> &'static str {
    metrics::find(metric).map_or("", |metric| metric.unit)
}

pub(crate) fn with_unit(name: &str, unit: &str) -> String {
    if unit.is_empty() { name.to_owned() } else { format!("{name} [{unit}]") }
}

pub(crate) fn stat(stat: Stat) -> &'static str {
    match stat {
        Stat::Mean => "mean",
        Stat::Min => "min",
        Stat::P50 => "p50",
        Stat::P99 => "p99",
        Stat::P999 => "p99.9",
        Stat::Max => "max",
    }
}

/// A number to four significant digits, without an exponent where that is readable.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = value.abs().log10().floor();
    if !(-5.0..9.0).contains(&digits) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.*}", (3.0 - digits).clamp(0.0, 8.0) as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_four_digits_and_no_zeros_to_spare() {
        let shown = [0.0, 1.0, 12.4449, 0.012_345, 123_456.7, 1.5e12, 2.0e-7, -3.25].map(number);
        assert_eq!(shown, ["0", "1", "12.44", "0.01235", "123457", "1.500e12", "2.000e-7", "-3.25"]);
    }
}

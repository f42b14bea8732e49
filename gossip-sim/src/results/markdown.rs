//! Tables for a document: what was published beside what came out.

use core::fmt::Write;

use crate::execute::title;
use crate::report::{Comparison, Report, Row, RunRecord};
use crate::results::{Claim, Table};
use crate::scenario::Stat;
use crate::table::{number, stat, unit_of, with_unit};
use crate::value::Parameters;

/// The text between a table's marks, with a line break at both ends.
pub(crate) fn table(table: &Table, report: &Report) -> String {
    let (first, count) = report.seeds;
    let seeds =
        if count == 1 { format!("seed {first}") } else { format!("seeds {first} to {}", first + count - 1) };
    let runs = report.runs.len();
    let mut text =
        format!("\n`{}`: {seeds}, {runs} {}.\n\n", table.command(), if runs == 1 { "run" } else { "runs" });
    let lines = lines(table, report);
    match &table.columns {
        Some(parameter) => wide(&mut text, parameter, &lines),
        None => long(&mut text, &lines),
    }
    for claim in &table.claims {
        judge(&mut text, claim, table, report);
    }
    text.push('\n');
    text
}

/// A figure, with what was published of it if anything was.
struct Line {
    variant: String,
    cell: Parameters,
    what: String,
    ours: Option<f64>,
    ci95: Option<f64>,
    published: Option<f64>,
}

fn lines(table: &Table, report: &Report) -> Vec<Line> {
    let mut lines: Vec<_> = report
        .published
        .iter()
        .filter(|comparison| table.show.is_empty() || table.show.contains(&comparison.metric))
        .filter(|comparison| table.shows(&comparison.cell))
        .map(|comparison| Line {
            variant: comparison.variant.clone(),
            cell: comparison.cell.clone(),
            what: what(comparison),
            ours: comparison.ours,
            ci95: comparison.ci95,
            published: Some(comparison.published),
        })
        .collect();
    let named = |metric: &str| {
        if table.show.is_empty() {
            report.published.is_empty() && report.scenario.show.iter().any(|shown| shown == metric)
        } else {
            table.show.iter().any(|shown| shown == metric)
        }
    };
    let order: Vec<&String> = if table.show.is_empty() {
        report.scenario.show.iter().collect()
    } else {
        table.show.iter().collect()
    };
    let pools = !table.cells && report.rows.iter().any(|row| !row.pooled.is_empty());
    for row in report.rows.iter().filter(|row| row.pooled.is_empty() != pools && table.shows(&row.cell)) {
        for metric in order.iter().filter(|metric| named(metric)) {
            // What stands there with a published figure need not stand there again.
            let known = |line: &Line| {
                line.variant == row.variant
                    && line.cell == row.cell
                    && line.what == with_unit(metric, unit_of(metric))
            };
            if !lines.iter().any(known) {
                lines.extend(own(row, metric));
            }
        }
    }
    lines
}

fn own(row: &Row, metric: &str) -> Option<Line> {
    let figures = row.metrics.get(metric)?;
    Some(Line {
        variant: row.variant.clone(),
        cell: row.cell.clone(),
        what: with_unit(metric, &figures.unit),
        ours: Some(figures.summary.mean),
        ci95: figures.summary.ci95,
        published: None,
    })
}

fn what(comparison: &Comparison) -> String {
    let which =
        if comparison.stat == Stat::Mean { String::new() } else { format!(" {}", stat(comparison.stat)) };
    let name = format!("{}{which}", comparison.metric);
    match &comparison.relative_to {
        Some(base) => format!("{name}, share of {base}'s"),
        None => with_unit(&name, unit_of(&comparison.metric)),
    }
}

/// Every figure in a line of its own.
fn long(text: &mut String, lines: &[Line]) {
    let published = lines.iter().any(|line| line.published.is_some());
    text.push_str("| variant, cell | figure |");
    text.push_str(if published {
        " published | ours | ± 95 % | ratio |\n|---|---|--:|--:|--:|--:|\n"
    } else {
        " ours | ± 95 % |\n|---|---|--:|--:|\n"
    });
    let mut last = None;
    for line in lines {
        let heading = title(&line.variant, &line.cell);
        let shown = if last.as_ref() == Some(&heading) { "" } else { heading.as_str() };
        let _ = write!(text, "| {shown} | {} |", line.what);
        let ours = line.ours.map_or_else(|| "none".into(), number);
        let ci95 = line.ci95.map_or_else(String::new, number);
        if published {
            let ratio = ratio(line).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let _ = writeln!(
                text,
                " {} | {ours} | {ci95} | {ratio} |",
                line.published.map_or_else(String::new, number)
            );
        } else {
            let _ = writeln!(text, " {ours} | {ci95} |");
        }
        last = Some(heading);
    }
}

fn ratio(line: &Line) -> Option<f64> {
    let published = line.published.filter(|published| *published != 0.0)?;
    Some(line.ours? / published)
}

/// A column for each value of a parameter; in each field ours, and what was published.
fn wide(text: &mut String, parameter: &str, lines: &[Line]) {
    let mut columns: Vec<String> = Vec::new();
    let mut rows: Vec<(String, &str)> = Vec::new();
    let row_of = |line: &Line| {
        let mut rest = line.cell.clone();
        rest.remove(parameter);
        title(&line.variant, &rest)
    };
    let column_of = |line: &Line| {
        line.cell.get(parameter).map_or_else(|| "all".into(), |value| format!("{parameter}={value}"))
    };
    for line in lines {
        if !columns.contains(&column_of(line)) {
            columns.push(column_of(line));
        }
        if !rows.iter().any(|(row, what)| *row == row_of(line) && *what == line.what) {
            rows.push((row_of(line), &line.what));
        }
    }
    let published = lines.iter().any(|line| line.published.is_some());
    let _ = writeln!(text, "| variant | figure | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "--:|".repeat(columns.len()));
    for (row, what) in rows {
        let _ = write!(text, "| {row} | {what} |");
        for column in &columns {
            let line = lines
                .iter()
                .find(|line| row_of(line) == row && line.what == what && column_of(line) == *column);
            let _ = write!(text, " {} |", line.map_or_else(String::new, field));
        }
        text.push('\n');
    }
    if published {
        text.push_str("\nIn each field: ours / published, and the ratio.\n");
    }
}

fn field(line: &Line) -> String {
    let ours = line.ours.map_or_else(|| "none".into(), number);
    match (line.published, ratio(line)) {
        (None, _) => ours,
        (Some(published), None) => format!("{ours} / {}", number(published)),
        (Some(published), Some(ratio)) => format!("{ours} / {}, {ratio:.2}", number(published)),
    }
}

/// Says of how many figures a claim holds, and of which it does not.
fn judge(text: &mut String, claim: &Claim, table: &Table, report: &Report) {
    let about = |comparison: &&Comparison| {
        comparison.metric == claim.metric
            && comparison.stat == claim.stat
            && comparison.relative_to.is_some() == claim.relative
            && table.shows(&comparison.cell)
            && (claim.variants.is_empty() || claim.variants.contains(&comparison.variant))
    };
    let about: Vec<_> = report.published.iter().filter(about).collect();
    let holds = |comparison: &Comparison| match claim.within {
        Some(within) => comparison.ratio.is_some_and(|ratio| ratio <= within && ratio >= 1.0 / within),
        None => false,
    } || (claim.sampling && within_sampling(comparison, report));
    let not: Vec<_> = about.iter().filter(|comparison| !holds(comparison)).collect();
    let which = if claim.stat == Stat::Mean { String::new() } else { format!(" {}", stat(claim.stat)) };
    let relative = if claim.relative { ", as a share" } else { "" };
    let range = match claim.within {
        Some(within) => format!("within a factor of {within} of what was published"),
        None => "within sampling error of what was published".into(),
    };
    let _ = write!(
        text,
        "\n`{}`{which}{relative}, {range}: {} of {}",
        claim.metric,
        about.len() - not.len(),
        about.len()
    );
    if not.is_empty() {
        text.push_str(", met.\n");
        return;
    }
    let named: Vec<_> = not
        .iter()
        .map(|comparison| {
            let ratio = comparison.ratio.map_or_else(|| "none".into(), |ratio| format!("{ratio:.2}"));
            format!("{} ({ratio})", title(&comparison.variant, &comparison.cell))
        })
        .collect();
    let _ = writeln!(text, ". Not met: {}.", named.join(", "));
}

/// Whether so many runs could well have given ours if the published share were true: of all counts they could give, those as
/// low or as high as ours have a chance of half a percent or more each.
fn within_sampling(comparison: &Comparison, report: &Report) -> bool {
    let of = |run: &&RunRecord| {
        run.variant == comparison.variant
            && comparison.cell.iter().all(|(name, value)| run.cell.get(name) == Some(value))
    };
    let runs = report.runs.iter().filter(of).count() as i32;
    let Some(ours) = comparison.ours else { return false };
    let count = (ours * f64::from(runs)).round() as i32;
    let (share, rest) = (comparison.published, 1.0 - comparison.published);
    if share <= 0.0 || rest <= 0.0 {
        return ours == share;
    }
    let mut chance = rest.powi(runs);
    let (mut low, mut high) = (0.0, 0.0);
    for k in 0..=runs {
        low += if k <= count { chance } else { 0.0 };
        high += if k >= count { chance } else { 0.0 };
        chance *= f64::from(runs - k) / f64::from(k + 1) * share / rest;
    }
    low >= 0.005 && high >= 0.005
}

//! The pictures that compare variants, and those of single runs. Each is there only if the report has data for it.

use std::collections::BTreeMap;

use super::spacetime::mark_text;
use super::svg::{Axis, Plot};
use crate::execute::title;
use crate::measure::metrics;
use crate::measure::series::{self, Series};
use crate::report::{Comparison, Figures, Report, Row, cell_text};
use crate::scenario::Stat;
use crate::table::{number, stat, with_unit};
use crate::value::Scalar;

/// So many colours there are, and so many lines can be told apart.
const COLOURS: usize = 8;

/// How samples are distributed, as a share of samples that are not larger, a line per row. Pools stand for their cells.
pub(super) fn distribution(report: &Report, metric: &str) -> Option<String> {
    let with = |row: &&Row| row.metrics.contains_key(metric);
    let fewest = report.rows.iter().filter(with).map(|row| row.cell.len()).min()?;
    let rows: Vec<&Row> = report.rows.iter().filter(with).filter(|row| row.cell.len() == fewest).collect();
    let shown = &rows[..rows.len().min(COLOURS)];
    let published = |row: &Row| {
        let here = |other: &&Comparison| {
            other.metric == metric && other.variant == row.variant && other.cell == row.cell
        };
        let of = report.published.iter().filter(here).filter(|other| other.relative_to.is_none());
        of.filter_map(|other| Some((share(other.stat)?, other))).collect::<Vec<_>>()
    };
    let figures = |row: &Row| row.metrics.get(metric).cloned();
    let ours = shown.iter().filter_map(|row| figures(row)).map(|figures| figures.summary.max);
    let theirs = shown.iter().flat_map(|row| published(row)).map(|(_, other)| other.published);
    let max = ours.chain(theirs).fold(0.0, f64::max);

    let about = metrics::find(metric);
    let unit = about.map_or("", |about| about.unit);
    let mut plot = Plot::new(
        Axis::linear(&with_unit(&metric.replace('_', " "), unit), 0.0, max),
        Axis::linear("% of samples at or below", 0.0, 100.0),
    );
    for (order, row) in shown.iter().enumerate() {
        // Where a variant has one row, it keeps its colour from picture to picture.
        let place = if fewest == 0 { variant_place(report, &row.variant) } else { order };
        let Some(figures) = figures(row) else { continue };
        let name = title(&row.variant, &row.cell);
        plot.line(&steps(&figures), &format!("line c{place}"), &name);
        let (p50, p99) = (figures.summary.p50, figures.summary.p99);
        for (value, percent) in [(p50, 50.0), (p99, 99.0)] {
            let text = format!("{name}: p{percent} is {} {unit}", number(value));
            plot.dot(value, percent, &format!("dot c{place}"), &text);
        }
        let text = format!(
            "{name}: p50 {}, p99 {} {unit} ({} samples)",
            number(p50),
            number(p99),
            figures.summary.count
        );
        plot.legend(&format!("line c{place}"), text.trim_end());
        for (share, other) in published(row) {
            let text = format!(
                "{name}: {} published {} {unit}, {}",
                stat(other.stat),
                other.published,
                other.source
            );
            plot.diamond(other.published, share, &format!("diamond c{place}"), &text);
        }
    }
    let mut caption = String::from("Dots: p50 and p99.");
    if shown.iter().any(|row| !published(row).is_empty()) {
        plot.legend("diamond c9", "published percentiles, in the colour of the variant");
    }
    if let Some(about) = about {
        caption = format!("{} {caption}", about.meaning);
    }
    if rows.len() > shown.len() {
        caption.push_str(&format!(" The first {} of {} rows.", shown.len(), rows.len()));
    }
    Some(plot.finish(&metric.replace('_', " "), &caption))
}

fn variant_place(report: &Report, variant: &str) -> usize {
    report.scenario.variants.iter().position(|(name, _)| name == variant).unwrap_or(0) % COLOURS
}

/// At which percentage a figure stands in a distribution; a mean stands nowhere.
fn share(stat: Stat) -> Option<f64> {
    match stat {
        Stat::Mean => None,
        Stat::Min => Some(0.0),
        Stat::P50 => Some(50.0),
        Stat::P99 => Some(99.0),
        Stat::P999 => Some(99.9),
        Stat::Max => Some(100.0),
    }
}

fn steps(figures: &Figures) -> Vec<(f64, f64)> {
    let Figures { summary, samples, .. } = figures;
    let [first, .., _] = samples.as_slice() else {
        return vec![(summary.min, 0.0), (summary.min, 100.0), (summary.max, 100.0)];
    };
    let mut points = vec![(*first, 0.0)];
    // A short list has every sample, a long one those at even ranks from the first to the last.
    let whole = samples.len() == summary.count;
    for (place, value) in samples.iter().enumerate() {
        let (before, after) = if whole { (place, place + 1) } else { (place, place) };
        let of = if whole { samples.len() } else { samples.len() - 1 } as f64;
        points.push((*value, 100.0 * before as f64 / of));
        points.push((*value, 100.0 * after as f64 / of));
    }
    points
}

/// A count of false positives over a swept number: `C` if there is one, or the only one.
pub(super) fn by_concurrency(report: &Report, metric: &str) -> Option<String> {
    let sweep = &report.scenario.sweep;
    let parameter =
        if sweep.contains_key("C") { "C" } else { sweep.keys().next().filter(|_| sweep.len() == 1)? };
    let mut lines: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    for (variant, _) in report.scenario.variants.iter().take(COLOURS) {
        // Means over all cells with the same value, weighted by their runs.
        let mut sums: BTreeMap<u64, (f64, f64, f64)> = BTreeMap::new();
        for row in report.rows.iter().filter(|row| row.variant == *variant && row.pooled.is_empty()) {
            let (Some(at), Some(figures)) =
                (row.cell.get(parameter).and_then(value), row.metrics.get(metric))
            else {
                continue;
            };
            let sum = sums.entry(at.to_bits()).or_insert((at, 0.0, 0.0));
            sum.1 += figures.summary.mean * row.runs as f64;
            sum.2 += row.runs as f64;
        }
        let mut points: Vec<_> = sums.values().map(|(at, sum, runs)| (*at, sum / runs.max(1.0))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if !points.is_empty() {
            lines.push((variant.as_str(), points));
        }
    }
    if lines.iter().all(|(_, points)| points.len() < 2) {
        return None;
    }
    let theirs = |variant: &str| {
        let here = |other: &&Comparison| {
            other.metric == metric
                && other.variant == variant
                && other.relative_to.is_none()
                && other.stat == Stat::Mean
                && other.cell.len() == 1
        };
        let mut points: Vec<_> = report
            .published
            .iter()
            .filter(here)
            .filter_map(|other| Some((other.cell.get(parameter).and_then(value)?, other.published)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let all: Vec<(f64, f64)> =
        lines.iter().flat_map(|(variant, points)| points.iter().copied().chain(theirs(variant))).collect();
    let positive = || all.iter().map(|point| point.1).filter(|value| *value > 0.0);
    let name = metric.replace('_', " ");
    if positive().next().is_none() {
        return Some(format!("<p>{}: none in any run.</p>\n", super::svg::escape(&name)));
    }
    let (low, high) =
        positive().fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)));
    let reach = all.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at.0), high.max(at.0)));
    let label = if parameter == "C" {
        "C: members with a fault at the same time".to_owned()
    } else {
        parameter.to_string()
    };
    let mut plot = Plot::new(
        Axis::linear(&label, reach.0.min(0.0), reach.1).whole(),
        Axis::log(&format!("{name} per run"), low, high),
    );
    for (variant, points) in &lines {
        let place = variant_place(report, variant);
        plot.line(points, &format!("line c{place}"), variant);
        for (at, value) in points {
            let text = format!("{variant}, {parameter}={at}: {} per run", number(*value));
            plot.dot(*at, *value, &format!("dot c{place}"), &text);
        }
        plot.legend(&format!("line c{place}"), variant);
        let theirs = theirs(variant);
        if !theirs.is_empty() {
            plot.line(&theirs, &format!("line dash c{place}"), &format!("{variant}, published"));
            plot.legend(&format!("line dash c{place}"), &format!("{variant}, published"));
        }
    }
    let meaning = metrics::find(metric).map_or("", |about| about.meaning);
    Some(plot.finish(&format!("{name} by {parameter}"), &format!("{meaning} Mean of all runs.")))
}

fn value(scalar: &Scalar) -> Option<f64> {
    match scalar {
        Scalar::Int(value) => Some(*value as f64),
        Scalar::Float(value) => Some(*value),
        Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}

/// What a rumor did not reach against what was sent for it, and the law of blind pushing: e to the minus of the sends.
pub(super) fn residue(report: &Report) -> Option<String> {
    let mean = |row: &Row, metric: &str| Some(row.metrics.get(metric)?.summary.mean);
    let points = |variant: &str| {
        let of = report.rows.iter().filter(|row| row.variant == variant && row.pooled.is_empty());
        let mut points: Vec<_> = of
            .filter_map(|row| Some((mean(row, "event_sends")?, mean(row, "residue")?, cell_text(&row.cell))))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let variants: Vec<_> = report.scenario.variants.iter().take(COLOURS).collect();
    let most = variants.iter().flat_map(|(name, _)| points(name)).map(|point| point.0).fold(0.0, f64::max);
    if variants.iter().all(|(name, _)| points(name).len() < 2) || most <= 0.0 {
        return None;
    }
    let low = variants.iter().flat_map(|(name, _)| points(name)).map(|point| point.1);
    let low = low.filter(|residue| *residue > 0.0).fold((-most).exp(), f64::min);
    let mut plot = Plot::new(
        Axis::linear("m: times that a node sent it, on average", 0.0, most),
        Axis::log("share of the nodes that it never reached", low, 1.0),
    );
    let law: Vec<_> = (0..=60).map(|i| most * f64::from(i) / 60.0).map(|m| (m, (-m).exp())).collect();
    plot.line(&law, "line dash c7", "e^-m");
    plot.legend("line dash c7", "e^-m, the law of Demers et al.");
    for (place, (name, _)) in variants.iter().enumerate() {
        let points = points(name);
        let line: Vec<_> = points.iter().map(|point| (point.0, point.1)).collect();
        plot.line(&line, &format!("line c{place}"), name);
        for (sends, residue, cell) in &points {
            let text = format!("{name} {cell}: {} sends, {} not reached", number(*sends), number(*residue));
            plot.dot(*sends, *residue, &format!("dot c{place}"), &text);
        }
        plot.legend(&format!("line c{place}"), name);
    }
    Some(plot.finish("residue by sends", "A dot is one cell, the mean of its runs. Lower is better."))
}

/// How many knew, over the time since it happened.
pub(super) fn infection(title: &str, series: &Series) -> Option<String> {
    let curves: Vec<_> =
        series.infection.iter().filter(|curve| !curve.at.is_empty() && curve.of > 0).collect();
    let ends = curves.iter().filter_map(|curve| Some(curve.at.last()? - curve.since));
    let end = ends.fold(0.0, f64::max);
    if curves.is_empty() {
        return None;
    }
    let mut plot = Plot::new(
        Axis::linear("seconds since it happened", 0.0, end),
        Axis::linear("% of the nodes that ought to know", 0.0, 100.0),
    );
    // Few have a colour each; of many, those of one kind have one.
    let few = curves.len() <= 6;
    let kind = |what: &str| what.split(' ').next().unwrap_or_default().to_owned();
    let mut kinds: Vec<String> = Vec::new();
    for (place, curve) in curves.iter().enumerate() {
        let name = if few { curve.what.clone() } else { format!("each {}", kind(&curve.what)) };
        if !kinds.contains(&name) {
            kinds.push(name.clone());
        }
        let colour =
            if few { place } else { kinds.iter().position(|other| *other == name).unwrap_or(0) } % COLOURS;
        // A long list is thinned, the last one included; it then stands for all that were to know.
        let thinned = curve.at.len() >= series::NODES && curve.of > series::NODES;
        let of = if thinned { curve.at.len() } else { curve.of } as f64;
        let steps = |times: &[f64]| {
            let mut points = vec![(0.0, 0.0)];
            for (count, at) in times.iter().enumerate() {
                let at = (at - curve.since).max(0.0);
                points.push((at, 100.0 * count as f64 / of));
                points.push((at, 100.0 * (count + 1) as f64 / of));
            }
            points.push((end, 100.0 * times.len() as f64 / of));
            points
        };
        if !curve.suspected.is_empty() {
            let text = format!("{}: suspected", curve.what);
            plot.line(&steps(&curve.suspected), &format!("line dash c{colour}"), &text);
        }
        plot.line(&steps(&curve.at), &format!("line c{colour}"), &format!("{}: known", curve.what));
        plot.legend(&format!("line c{colour}"), &name);
    }
    let mut caption = String::from("A step up is one more node that knows.");
    if curves.iter().any(|curve| !curve.suspected.is_empty()) {
        plot.legend("line dash c9", "nodes that suspect it, which comes first");
        caption.push_str(" Of a fault, that is one more healthy node that declares the member failed.");
    }
    Some(plot.finish(title, &caption))
}

/// The smallest, mean and largest view over time, and how many ran.
pub(super) fn views(title: &str, series: &Series) -> Option<String> {
    let (first, last) = (series.views.first()?, series.views.last()?);
    let (least, most) = series.views.iter().fold((usize::MAX, 0), |(least, most), view| {
        (least.min(view.min).min(view.running), most.max(view.max).max(view.running))
    });
    // From 0, unless that hides what happens far above it.
    let room = (most - least).max(1);
    let bottom = if least > 3 * room { least.saturating_sub(room) } else { 0 };
    let mut plot = Plot::new(
        Axis::exact("seconds since time 0", first.at.min(0.0), last.at),
        Axis::linear("members in a node's view", bottom as f64, (most + room.div_ceil(10)) as f64).whole(),
    );
    for mark in series.timeline.iter().filter(|mark| mark.at <= last.at) {
        plot.across(mark.at, "mark", &mark_text(mark));
    }
    let band: Vec<_> = series.views.iter().map(|view| (view.at, view.min as f64, view.max as f64)).collect();
    plot.band(&band, "area c0");
    let mean: Vec<_> = series.views.iter().map(|view| (view.at, view.mean)).collect();
    plot.line(&mean, "line c0", "mean view");
    let running: Vec<_> = series.views.iter().map(|view| (view.at, view.running as f64)).collect();
    plot.line(&running, "line dash c3", "nodes that run");
    plot.legend("area c0", "from the smallest to the largest view");
    plot.legend("line c0", "mean view");
    plot.legend("line dash c3", "nodes that run");
    if !series.timeline.is_empty() {
        plot.legend("mark", "what the scenario did");
    }
    let note = if bottom > 0 { "The axis does not begin at 0." } else { "" };
    Some(plot.finish(title, note))
}

/// Bytes of each node, from the one that sent most to the one that sent least.
pub(super) fn bytes(title: &str, series: &Series) -> Option<String> {
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    };
    let (sent, received) = (sorted(&series.bytes_sent), sorted(&series.bytes_received));
    let most = sent.first()?.max(received.first().copied().unwrap_or(0.0));
    if most <= 0.0 {
        return None;
    }
    let count = sent.len().max(received.len());
    let mut plot = Plot::new(
        Axis::exact("nodes, from most to least", 0.0, count as f64).whole(),
        Axis::linear("bytes in the measured time", 0.0, most),
    );
    for (place, value) in sent.iter().enumerate() {
        let (from, to) = (place as f64 + 0.1, place as f64 + 0.9);
        plot.bar(from, to, *value, "area c0", &format!("sent: {} B", number(*value)));
    }
    let steps: Vec<_> = received
        .iter()
        .enumerate()
        .flat_map(|(place, value)| [(place as f64, *value), (place as f64 + 1.0, *value)])
        .collect();
    plot.line(&steps, "line c1", "received");
    let median = sent[sent.len() / 2];
    plot.legend("area c0", &format!("sent; median {} B", number(median)));
    plot.legend("line c1", "received, sorted by itself");
    let fewer =
        if series.nodes > count { format!(" {count} of {} nodes.", series.nodes) } else { String::new() };
    Some(plot.finish(title, &format!("Datagrams only.{fewer}")))
}

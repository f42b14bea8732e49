//! A report as a page that needs nothing else: no script, no font and no image from elsewhere.
//!
//! The pictures are drawn by a few functions of this crate's own: a plot library would bring fonts and colours that do not
//! follow the page's, and none of them has the picture of who told whom.

mod figures;
mod kinds;
mod over_time;
mod spacetime;
mod svg;
#[cfg(test)]
mod tests;

use core::fmt::Write;

use self::svg::escape;
use crate::execute::title;
use crate::measure::metrics::METRICS;
use crate::measure::series::Series;
use crate::report::{Report, Row, cell_text};
use crate::table::{number, stat, unit_of, with_unit};

/// Ours beyond this factor from what was published stands out: an order that is right, and no more than that.
const FACTOR: f64 = 2.0;
/// Of so many rows there are pictures of a run; of the largest ones fewer.
const RUNS: usize = 6;
const SPACE_TIMES: usize = 3;
/// Metrics whose distribution is drawn.
const DISTRIBUTIONS: &[&str] = &["first_detection", "full_detection", "delivery", "leave_spread"];

/// The page: one HTML document with everything in it, the same for the same report.
pub fn page(report: &Report) -> String {
    let about = &report.scenario;
    let heading = escape(&about.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>{}: {heading}</title>\n\
         <style>\n{}</style>\n</head>\n<body>\n<h1>{heading}</h1>\n",
        escape(&about.name),
        include_str!("style.css")
    );
    head(&mut page, report);
    if !report.published.is_empty() {
        published(&mut page, report);
    }
    let drawn = DISTRIBUTIONS.iter().filter_map(|metric| figures::distribution(report, metric));
    section(&mut page, "How long it takes", "figures", drawn.collect());
    let drawn = ["false_positives", "false_positives_healthy"]
        .iter()
        .filter_map(|metric| figures::by_concurrency(report, metric));
    section(&mut page, "False positives", "figures", drawn.collect());

    section(&mut page, "Residue of rumors", "figures", figures::residue(report).into_iter().collect());

    let (runs, left) = runs(report);
    let note = |left: usize| match left {
        0 => String::new(),
        left => format!("<p class=\"soft\">{left} more cells and variants are in the JSON.</p>\n"),
    };
    let kinds = [
        ("Infection: how many know", figures::infection as fn(&str, &Series) -> Option<String>),
        ("Views over time", figures::views),
        ("Rumors that wait", over_time::queues),
        ("Memory", over_time::memory),
        ("Bytes per node", figures::bytes),
        ("What they are for", kinds::table),
    ];
    if let [(title, series)] = runs.as_slice() {
        // One run: its pictures beside each other.
        let drawn = kinds.iter().filter_map(|(name, figure)| figure(name, series));
        section(&mut page, &format!("One run: {}", escape(title)), "figures", drawn.collect());
    } else {
        for (name, figure) in kinds {
            let mut drawn: Vec<_> = runs.iter().filter_map(|(title, series)| figure(title, series)).collect();
            if !drawn.is_empty() && left > 0 {
                drawn.push(note(left));
            }
            section(&mut page, name, "figures", drawn);
        }
    }
    let with_told: Vec<_> = runs.iter().filter(|(_, series)| !series.told.is_empty()).collect();
    let mut drawn: Vec<_> = with_told
        .iter()
        .take(SPACE_TIMES)
        .filter_map(|(title, series)| spacetime::picture(title, series))
        .collect();
    let more = left + with_told.len().saturating_sub(SPACE_TIMES);
    if !drawn.is_empty() && more > 0 {
        drawn.push(note(more));
    }
    section(&mut page, "Who told whom", "wide", drawn);
    all_figures(&mut page, report);
    page.push_str("</body>\n</html>\n");
    page
}

fn section(page: &mut String, name: &str, class: &str, drawn: Vec<String>) {
    if !drawn.is_empty() {
        let _ = write!(page, "<h2>{name}</h2>\n<div class=\"{class}\">\n{}</div>\n", drawn.concat());
    }
}

/// The runs of which there are pictures, and how many more there are: the first of each variant before others.
fn runs(report: &Report) -> (Vec<(String, &Series)>, usize) {
    let with: Vec<(&Row, &Series)> =
        report.rows.iter().filter_map(|row| Some((row, row.series.as_ref()?))).collect();
    let first = |place: usize| with[..place].iter().all(|(row, _)| row.variant != with[place].0.variant);
    let (firsts, others): (Vec<_>, Vec<_>) = (0..with.len()).partition(|place| first(*place));
    let mut places: Vec<_> = firsts.into_iter().chain(others).take(RUNS).collect();
    places.sort_unstable();
    let left = with.len() - places.len();
    let seed = report.seeds.0;
    let named = places.into_iter().map(|place| {
        let (row, series) = with[place];
        (format!("{}, seed {seed}", title(&row.variant, &row.cell)), series)
    });
    (named.collect(), left)
}

/// What the scenario shows, where it comes from, and how to do it again.
fn head(page: &mut String, report: &Report) {
    let about = &report.scenario;
    if !about.shows.is_empty() {
        for paragraph in about.shows.split("\n\n") {
            let _ = writeln!(page, "<p>{}</p>", prose(paragraph));
        }
    }
    if !about.paper.is_empty() {
        let _ = writeln!(page, "<p>Recipe: {}</p>", prose(&about.paper));
    }
    let (first, count) = report.seeds;
    let mut command = format!("gossip-sim run {} --first-seed {first} --seeds {count}", word(&about.name));
    for (key, value) in &report.set {
        let _ = match key.as_str() {
            "nodes" => write!(command, " --nodes {}", word(value)),
            _ => write!(command, " --set {}", word(&format!("{key}={value}"))),
        };
    }
    if let Some(filter) = &report.filter {
        let _ = write!(command, " --filter {}", word(filter));
    }
    let fixed = cell_text(&about.parameters);
    let sweep: Vec<_> = about
        .sweep
        .iter()
        .map(|(name, values)| {
            let values: Vec<_> = values.iter().map(ToString::to_string).collect();
            format!("{name} in {}", values.join(", "))
        })
        .collect();
    let parameters: Vec<_> = [fixed, sweep.join("; ")].into_iter().filter(|text| !text.is_empty()).collect();
    if !parameters.is_empty() {
        let _ = writeln!(page, "<p>Parameters: {}</p>", escape(&parameters.join("; ")));
    }
    let titled: Vec<_> = about.variants.iter().filter(|(_, title)| !title.is_empty()).collect();
    if !titled.is_empty() {
        page.push_str("<p>Variants:</p>\n<ul>\n");
        for (name, title) in titled {
            let _ = writeln!(page, "<li><b>{}</b>: {}</li>", escape(name), escape(title));
        }
        page.push_str("</ul>\n");
    }
    let runs = report.runs.len();
    let _ = writeln!(
        page,
        "<p class=\"soft\">{runs} {}, gossip-sim {}: <code>{}</code></p>",
        if runs == 1 { "run" } else { "runs" },
        escape(&report.program),
        escape(&command)
    );
}

/// Text in which what stands between backticks is code.
fn prose(text: &str) -> String {
    let parts: Vec<_> = text.split('`').map(escape).collect();
    if parts.len() % 2 == 0 {
        return escape(text);
    }
    let marked = |(place, part): (usize, &String)| match place % 2 {
        0 => part.clone(),
        _ => format!("<code>{part}</code>"),
    };
    parts.iter().enumerate().map(marked).collect()
}

/// An argument as a shell reads it.
fn word(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=.,/:%+".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn published(page: &mut String, report: &Report) {
    page.push_str("<h2>Ours and what was published</h2>\n");
    let _ = writeln!(
        page,
        "<p class=\"soft\">Rows that are coloured, with ▲ or ▼, are more than a factor of {FACTOR} away.</p>"
    );
    page.push_str(
        "<div class=\"wide\"><table>\n<tr><th>variant<th>cell<th>figure<th class=\"n\">ours<th class=\"n\">±95 %\
         <th class=\"n\">published<th class=\"n\">ours / published<th>source</tr>\n",
    );
    for row in &report.published {
        let far = match row.ratio {
            Some(ratio) if ratio > FACTOR => " ▲",
            Some(ratio) if ratio < 1.0 / FACTOR => " ▼",
            _ => "",
        };
        let of = row.relative_to.as_ref().map_or_else(String::new, |base| format!(" / {base}"));
        let unit = if row.relative_to.is_some() { "" } else { unit_of(&row.metric) };
        let figure = with_unit(&format!("{} {}{of}", row.metric, stat(row.stat)), unit);
        let _ = writeln!(
            page,
            "<tr{}><td>{}<td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}{far}<td>{}</tr>",
            if far.is_empty() { "" } else { " class=\"far\"" },
            escape(&row.variant),
            escape(&cell_text(&row.cell)),
            escape(&figure),
            row.ours.map_or_else(|| "none".into(), number),
            row.ci95.map_or_else(String::new, number),
            number(row.published),
            row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            escape(&row.source)
        );
    }
    page.push_str("</table></div>\n");
}

/// Every figure of every row: those the scenario shows, open if there are few, and all others.
fn all_figures(page: &mut String, report: &Report) {
    let pooled = report.rows.iter().any(|row| !row.pooled.is_empty());
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.pooled.is_empty() != pooled).collect();
    let show = &report.scenario.show;
    let shown = |name: &str| show.is_empty() || show.iter().any(|shown| shown == name);
    let open = if rows.len() <= 4 { " open" } else { "" };
    page.push_str("<h2>Figures</h2>\n");
    table(page, &format!("<details{open}><summary>Mean, spread and percentiles</summary>"), &rows, &shown);
    if !show.is_empty() {
        let other = |name: &str| !shown(name);
        table(page, "<details><summary>All other figures</summary>", &rows, &other);
    }
}

fn table(page: &mut String, head: &str, rows: &[&Row], shown: &dyn Fn(&str) -> bool) {
    let _ = writeln!(page, "{head}");
    page.push_str(
        "<div class=\"wide\"><table>\n<tr><th>variant, cell<th>figure<th class=\"n\">mean<th class=\"n\">±95 %\
         <th class=\"n\">min<th class=\"n\">p50<th class=\"n\">p99<th class=\"n\">max<th class=\"n\">samples<th>what it is</tr>\n",
    );
    for row in rows {
        let mut heading = title(&row.variant, &row.cell);
        for metric in METRICS.iter().filter(|metric| shown(metric.name)) {
            let Some(figures) = row.metrics.get(metric.name) else { continue };
            let summary = &figures.summary;
            let _ = write!(
                page,
                "<tr><td>{}<td>{}",
                escape(&core::mem::take(&mut heading)),
                escape(&with_unit(metric.name, &figures.unit))
            );
            let ci95 = summary.ci95.map_or_else(String::new, number);
            let [min, p50, p99, max] = [summary.min, summary.p50, summary.p99, summary.max].map(number);
            for value in [number(summary.mean), ci95, min, p50, p99, max, summary.count.to_string()] {
                let _ = write!(page, "<td class=\"n\">{value}");
            }
            let _ = writeln!(page, "<td class=\"says\">{}</tr>", escape(metric.meaning));
        }
    }
    page.push_str("</table></div>\n</details>\n");
}

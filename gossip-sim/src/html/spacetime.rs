//! Who told whom: a line per node, time to the right.

use std::collections::BTreeSet;

use super::svg::{Axis, Plot, escape};
use crate::measure::series::{Mark, Series, Told};

/// So many lines and tellings can be told apart on a page.
const LINES: usize = 64;
const TELLINGS: usize = 600;
/// From line to line.
const LINE: f64 = 13.0;

/// The picture, if anything was told.
pub(super) fn picture(title: &str, series: &Series) -> Option<String> {
    let mut told: Vec<&Told> = series.told.iter().filter(|told| told.at.is_finite()).collect();
    told.sort_by(|a, b| a.at.total_cmp(&b.at));
    let all = told.len();
    told.truncate(TELLINGS);
    let (first, last) = (told.first()?.at, told.last()?.at);
    let nodes = chosen(series, &told);
    let line = |node: usize| nodes.binary_search(&node).ok().map(|place| place as f64);

    // From the last fault before the first telling, so that what led to it is seen.
    let before = series.timeline.iter().map(|mark| mark.at).filter(|at| *at <= first);
    let start = before.fold(f64::NEG_INFINITY, f64::max);
    let start = if start.is_finite() { start } else { first };
    let room = ((last - start) * 0.03).max(0.05);
    let (start, end) = (start - room, last + room);
    let x = Axis::exact("seconds since time 0", start, end);
    let y = Axis::exact("node", 0.0, nodes.len() as f64);
    let mut plot = Plot::sized(x, y, 84.0, 1000.0, LINE * nodes.len() as f64);
    let height = |line: f64| nodes.len() as f64 - 0.5 - line;

    for (place, node) in nodes.iter().enumerate() {
        let at = plot.py(height(place as f64));
        let (left, right) = (plot.px(start), plot.px(end));
        plot.draw(&format!(
            "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>\
             <text class=\"node\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">node-{node}</text>",
            left - 6.0,
            at + 3.5
        ));
    }
    for (number, mark) in series.timeline.iter().enumerate().filter(|(_, mark)| mark.at <= end) {
        let known: Vec<_> = mark.nodes.iter().filter_map(|node| line(*node)).collect();
        if mark.nodes.is_empty() {
            if mark.at >= start {
                plot.across(mark.at, "mark", &mark_text(mark));
            }
            continue;
        }
        if mark.what.starts_with("undo ") {
            continue;
        }
        let until = ended(&series.timeline[number + 1..], mark).unwrap_or(end).min(end);
        for place in known.into_iter().filter(|_| until >= start) {
            let (from, to, at) = (plot.px(mark.at.max(start)), plot.px(until), plot.py(height(place)));
            let text = escape(&mark_text(mark));
            plot.draw(&format!(
                "<path class=\"fault\" d=\"M{from:.1} {at:.1}H{to:.1}\"><title>{text}</title></path>"
            ));
            plot.legend("fault", "a node with a fault, as long as it lasts");
        }
    }
    let (mut outside, mut arrows) = (0, false);
    let mut heads = String::new();
    for told in &told {
        let Some(to) = line(told.to) else {
            outside += 1;
            continue;
        };
        let (x, y) = (plot.px(told.at), plot.py(height(to)));
        let class = class(&told.what);
        let text = escape(&sentence(told));
        match told.from.and_then(line) {
            Some(from) if from != to => {
                arrows = true;
                let teller = plot.py(height(from));
                plot.draw(&format!(
                    "<path class=\"arrow {class}\" d=\"M{:.1} {teller:.1}L{x:.1} {y:.1}\"/>",
                    x - 7.0
                ));
                let tip = if teller < y { -6.0 } else { 6.0 };
                heads.push_str(&format!(
                    "<path class=\"told {class}\" d=\"M{x:.1} {y:.1}l-3.5 {tip:.1}h7Z\"><title>{text}</title></path>\n"
                ));
                plot.legend(&format!("told {class}"), &format!("told: {}", told.what));
            }
            _ => {
                heads.push_str(&format!(
                    "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{text}</title></circle>\n"
                ));
                plot.legend(
                    &format!("dot {class}"),
                    &format!("{}, teller not known or not shown", told.what),
                );
            }
        }
    }
    plot.draw(&heads);
    let mut caption = String::from(if arrows {
        "An arrow ends at the node that learnt it, when it did; it begins at the teller's line, slanted only to be seen."
    } else {
        "A dot is a node that learnt it, when it did. The report does not say of whom."
    });
    if all > told.len() {
        caption.push_str(&format!(" The first {} of {all} tellings that the report keeps.", told.len()));
    }
    if nodes.len() < series.nodes {
        caption.push_str(&format!(" {} of {} nodes, those with faults first.", nodes.len(), series.nodes));
    }
    if outside > 0 {
        caption.push_str(&format!(" {outside} tellings are to nodes that are not shown."));
    }
    Some(plot.finish_with(title, &caption, false))
}

/// The nodes that get a line, by number: all, or else those with faults and those told of and told first.
fn chosen(series: &Series, told: &[&Told]) -> Vec<usize> {
    let mut nodes = BTreeSet::new();
    let faults = series.timeline.iter().flat_map(|mark| mark.nodes.iter().copied());
    let told = told.iter().flat_map(|told| [told.about, told.from, Some(told.to)].into_iter().flatten());
    let all = if series.nodes <= LINES { 0..series.nodes } else { 0..0 };
    for node in all.chain(faults).chain(told) {
        if nodes.len() < LINES {
            nodes.insert(node);
        }
    }
    nodes.into_iter().collect()
}

/// When something that was done is undone.
fn ended(later: &[Mark], mark: &Mark) -> Option<f64> {
    let undone = |other: &&Mark| {
        other.what.strip_prefix("undo ") == Some(mark.what.as_str()) && other.nodes == mark.nodes
    };
    later.iter().find(undone).map(|other| other.at)
}

/// A mark in words.
pub(super) fn mark_text(mark: &Mark) -> String {
    let what =
        mark.what.strip_prefix("undo ").map_or_else(|| mark.what.clone(), |what| format!("{what} ends"));
    let when = crate::table::number(mark.at);
    match (mark.nodes.as_slice(), mark.count) {
        ([], 0) => format!("{what}, {when} s"),
        ([node], _) => format!("{what}: node-{node}, {when} s"),
        (_, count) => format!("{what}: {count} nodes, {when} s"),
    }
}

fn sentence(told: &Told) -> String {
    let about = told.about.map_or_else(String::new, |node| format!(" node-{node}"));
    let from = told.from.map_or_else(|| " (teller not known)".into(), |node| format!(" from node-{node}"));
    format!("{:.3} s: node-{} learns: {}{about}{from}", told.at, told.to, told.what)
}

fn class(what: &str) -> &'static str {
    match what {
        "suspected" => "c1",
        "failed" => "c3",
        "joined" => "c2",
        "refuted" => "c0",
        "left" => "c4",
        _ => "c5",
    }
}

//! What nodes hold over time, beside their views.

use super::spacetime::mark_text;
use super::svg::{Axis, Plot};
use crate::measure::series::{Series, View};
use crate::table::number;

/// The rumors that wait at nodes.
pub(super) fn queues(title: &str, series: &Series) -> Option<String> {
    let of = |view: &View| (view.queued, view.queued_max as f64);
    let longest: Vec<_> = series
        .longest
        .iter()
        .filter(|longest| longest.most > 0)
        .map(|longest| format!("{} {} of {}", longest.what, longest.most, longest.cap))
        .collect();
    let caption = match longest.is_empty() {
        true => String::new(),
        false => format!("The longest of each kind at any node, and what it takes: {}.", longest.join(", ")),
    };
    picture(title, series, "rumors that wait at a node", "node with most", of, &caption)
}

/// The memory of nodes.
pub(super) fn memory(title: &str, series: &Series) -> Option<String> {
    let of = |view: &View| (view.memory, view.memory_max as f64);
    let last = series.views.last().map_or(0.0, |view| view.memory);
    let caption = format!("Members, rumors, streams and events; {} B on average at the end.", number(last));
    picture(title, series, "bytes that a node holds", "node that holds most", of, &caption)
}

/// The mean and the most over time; none if there never was any.
fn picture(
    title: &str,
    series: &Series,
    label: &str,
    most: &str,
    of: impl Fn(&View) -> (f64, f64),
    caption: &str,
) -> Option<String> {
    let (first, last) = (series.views.first()?, series.views.last()?);
    let top = series.views.iter().map(|view| of(view).1).fold(0.0, f64::max);
    if top <= 0.0 {
        return None;
    }
    let mut plot = Plot::new(
        Axis::exact("seconds since time 0", first.at.min(0.0), last.at),
        Axis::linear(label, 0.0, top),
    );
    for mark in series.timeline.iter().filter(|mark| mark.at <= last.at) {
        plot.across(mark.at, "mark", &mark_text(mark));
    }
    let line =
        |of: &dyn Fn(&View) -> f64| series.views.iter().map(|view| (view.at, of(view))).collect::<Vec<_>>();
    plot.line(&line(&|view| of(view).1), "line dash c1", most);
    plot.line(&line(&|view| of(view).0), "line c0", "mean of all nodes");
    plot.legend("line c0", "mean of all nodes");
    plot.legend("line dash c1", most);
    Some(plot.finish(title, caption))
}

use std::collections::BTreeMap;

use super::page;
use super::svg::{Axis, Plot, escape};
use crate::measure::series::{Curve, KindLoad, Longest, Mark, Series, Told, View};
use crate::report::{About, Comparison, Figures, Report, Row};
use crate::scenario::Stat;
use crate::statistics::Summary;
use crate::value::{Parameters, Scalar};

const EVIL: &str = "<script>alert(\"x\")</script> & 'y'";

fn figures(values: &[f64]) -> Figures {
    let summary = Summary::new(&[values]).unwrap();
    Figures { unit: "s".into(), summary, samples: values.to_vec() }
}

fn row(variant: &str, cell: Parameters, metric: &str, values: &[f64]) -> Row {
    let metrics = BTreeMap::from([(metric.to_owned(), figures(values))]);
    Row { variant: variant.into(), cell, pooled: Vec::new(), runs: 1, metrics, series: None }
}

fn comparison(metric: &str, stat: Stat, cell: Parameters, published: f64, ratio: f64) -> Comparison {
    Comparison {
        metric: metric.into(),
        stat,
        variant: "ours".into(),
        cell,
        relative_to: None,
        published,
        ours: Some(published * ratio),
        ci95: None,
        ratio: Some(ratio),
        source: EVIL.into(),
    }
}

fn at(c: i64) -> Parameters {
    BTreeMap::from([("C".to_owned(), Scalar::Int(c))])
}

fn empty() -> Report {
    let mut report = Report::new(About {
        name: "name".into(),
        title: EVIL.into(),
        shows: EVIL.into(),
        paper: EVIL.into(),
        parameters: BTreeMap::from([("k".to_owned(), Scalar::Text(EVIL.into()))]),
        sweep: BTreeMap::new(),
        variants: vec![("ours".into(), EVIL.into())],
        show: Vec::new(),
        digest: String::new(),
    });
    report.seeds = (1, 1);
    report.set.push(("x".into(), EVIL.into()));
    report
}

fn series() -> Series {
    let view = |at, min| View {
        at,
        min,
        mean: 2.5,
        max: 3,
        sizes: 2,
        running: 2,
        queued: 1.5,
        queued_max: 4,
        memory: 1000.0,
        memory_max: 2000,
    };
    let told = |at, from, what: &str| Told { at, from, to: 1, what: what.into(), about: Some(2) };
    Series {
        timeline: vec![Mark { at: 1.0, what: EVIL.into(), nodes: vec![2], count: 1 }],
        infection: vec![Curve {
            what: EVIL.into(),
            since: 1.0,
            of: 2,
            suspected: vec![1.5],
            at: vec![2.0, 3.0],
        }],
        views: vec![view(0.0, 3), view(5.0, 2)],
        bytes_sent: vec![10.0, 30.0, 20.0],
        bytes_received: vec![20.0, 20.0, 20.0],
        kinds: vec![KindLoad {
            kind: EVIL.into(),
            messages_sent: 1.0,
            bytes_sent: 50.0,
            messages_received: 1.0,
            bytes_received: 40.0,
        }],
        longest: vec![Longest { what: EVIL.into(), most: 3, cap: 4096 }],
        told: vec![told(3.0, Some(0), "failed"), told(2.0, None, EVIL)],
        nodes: 3,
    }
}

fn full() -> Report {
    let mut report = empty();
    report.scenario.sweep.insert("C".into(), vec![Scalar::Int(1), Scalar::Int(4)]);
    let mut first = row("ours", at(1), "first_detection", &[1.0, 2.0, 4.0]);
    first.metrics.insert("false_positives".into(), figures(&[0.0]));
    first.series = Some(series());
    report.rows = vec![first, row("ours", at(4), "false_positives", &[30.0])];
    report.published = vec![
        comparison("first_detection", Stat::P50, at(1), 2.5, 0.8),
        comparison("false_positives", Stat::Mean, at(4), 10.0, 3.0),
    ];
    report
}

#[test]
fn a_report_without_data_has_no_picture() {
    let page = page(&empty());
    assert!(!page.contains("<svg"), "{page}");
    assert!(!page.contains("published</h2>"));
}

#[test]
fn each_picture_is_there_when_its_data_is() {
    let all = full();
    let headings = [
        "How long it takes",
        "False positives",
        "false positives by C",
        "Infection: how many know",
        "Views over time",
        "Bytes per node",
        "Who told whom",
        "what was published",
        "Rumors that wait",
        "Memory",
        "What they are for",
    ];
    let seen = |report: &Report| {
        let page = page(report);
        headings.map(|heading| page.contains(heading))
    };
    assert_eq!(seen(&all), [true; 11]);
    let without = |change: &dyn Fn(&mut Report)| {
        let mut report = full();
        change(&mut report);
        let missing = seen(&report);
        headings
            .into_iter()
            .zip(missing)
            .filter(|(_, there)| !there)
            .map(|(heading, _)| heading)
            .collect::<Vec<_>>()
    };
    fn of(report: &mut Report) -> &mut Series {
        report.rows[0].series.as_mut().unwrap()
    }
    assert_eq!(without(&|report| drop(report.rows[0].metrics.remove("first_detection"))), [headings[0]]);
    assert_eq!(without(&|report| report.scenario.sweep.clear()), [headings[1], headings[2]]);
    assert_eq!(without(&|report| of(report).infection.clear()), [headings[3]]);
    assert_eq!(without(&|report| of(report).views.clear()), [headings[4], headings[8], headings[9]]);
    assert_eq!(without(&|report| of(report).kinds.clear()), [headings[10]]);
    assert_eq!(without(&|report| of(report).bytes_sent.clear()), [headings[5]]);
    assert_eq!(without(&|report| of(report).told.clear()), [headings[6]]);
    assert_eq!(without(&|report| report.published.clear()), [headings[7]]);
}

#[test]
fn what_was_published_is_drawn_and_far_figures_stand_out() {
    let page = page(&full());
    assert_eq!(page.matches("class=\"diamond c0\"").count(), 1);
    assert_eq!(page.matches("<tr class=\"far\">").count(), 1);
    assert!(page.contains("3.00 ▲"));
    assert!(page.contains("nodes that suspect it"));
    assert!(page.contains("class=\"arrow c3\"") && page.contains("class=\"fault\""));
}

#[test]
fn residue_stands_against_the_law_where_sends_were_counted() {
    let mut report = empty();
    for (c, sends, residue) in [(1, 1.0, 0.4), (2, 2.0, 0.0)] {
        let mut row = row("ours", at(c), "residue", &[residue]);
        row.metrics.insert("event_sends".into(), figures(&[sends]));
        report.rows.push(row);
    }
    let drawn = page(&report);
    assert!(drawn.contains("e^-m") && drawn.matches("class=\"dot c0\"").count() == 2);
    assert!(!drawn.contains("NaN"), "one cell that reached all has its place on the axis");
    report.rows[1].metrics.remove("event_sends");
    assert!(!page(&report).contains("e^-m"), "one dot is no line");
}

#[test]
fn what_stands_between_backticks_is_code() {
    let mut report = empty();
    report.scenario.shows = "sent (`a<b`), and ` alone".into();
    assert!(page(&report).contains("sent (`a&lt;b`), and ` alone"), "they do not pair");
    report.scenario.shows = "one\nline\n\nnext".into();
    assert!(page(&report).contains("<p>one\nline</p>\n<p>next</p>"));
    report.scenario.shows = "sent (`a<b`), alone".into();
    assert!(page(&report).contains("sent (<code>a&lt;b</code>), alone"));
}

#[test]
fn the_page_needs_nothing_else_and_text_is_text() {
    let page = page(&full());
    for forbidden in ["http", "<script", "<link", "<img", "@import", "url(", "src="] {
        assert!(!page.contains(forbidden), "{forbidden} in the page");
    }
    assert!(page.contains(&escape(EVIL)));
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn the_same_report_gives_the_same_page() {
    let report = full();
    let again = Report::from_json(&report.to_json()).unwrap();
    assert_eq!(page(&report), page(&again));
}

#[test]
fn axes_end_at_round_numbers_and_zero_has_a_place_on_a_logarithmic_one() {
    let plot = Plot::new(Axis::linear("x", 0.0, 13.2), Axis::log("y", 0.3, 40.0));
    let picture = plot.finish("t", "");
    for tick in ["0", "5", "10", "15", "0.1", "1", "100"] {
        assert!(picture.contains(&format!(">{tick}</text>")), "{tick} in {picture}");
    }
    let plot = Plot::new(Axis::linear("x", 0.0, 1.0), Axis::log("y", 1.0, 10.0));
    assert!(plot.py(0.0) > plot.py(1.0) && plot.py(1.0) > plot.py(2.0));
}

//! The rows of one node as curves over the number of members, both axes logarithmic.

use core::ops::Range;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, Rectangle, Text};
use plotters::prelude::IntoLogRange;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, IntoFont, RGBColor, WHITE};

use super::comparison::Comparison;
use super::report::{Report, Row};
use crate::document::{grouped, short};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = DrawingAreaErrorKind<std::io::Error>;

/// Pixels, across and down.
const SIZE: (u32, u32) = (1200, 760);
/// Pixels for the names above the panels.
const HEAD: u32 = 44;
/// Panels, across and down.
const PANELS: (usize, usize) = (3, 2);

/// Okabe and Ito's, which those who see few colours can tell apart; ours first.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// A drawing as SVG: a panel for each row of one node, a curve for each contender.
///
/// # Errors
/// There is nothing to draw: no such row was measured.
pub fn svg(comparison: &Comparison) -> Result<String, String> {
    let rows: Vec<Row> = Row::ALL.into_iter().filter(|row| range(comparison, *row).is_some()).collect();
    if rows.is_empty() {
        return Err("nothing to plot: no row of one node was measured".to_owned());
    }
    let mut text = String::new();
    drawn(comparison, &rows, &mut text).map_err(|error| format!("the plot cannot be drawn: {error}"))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn drawn(comparison: &Comparison, rows: &[Row], text: &mut String) -> Result<(), Failure> {
    let all = SVGBackend::with_string(text, SIZE).into_drawing_area();
    all.fill(&WHITE)?;
    let (head, body) = all.split_vertically(HEAD);
    names(comparison, &head)?;
    for (area, &row) in body.split_evenly((PANELS.1, PANELS.0)).iter().zip(rows) {
        panel(comparison, row, area)?;
    }
    all.present()
}

fn names(comparison: &Comparison, area: &Area<'_>) -> Result<(), Failure> {
    let mut left = 60;
    for (report, colour) in comparison.contenders.iter().zip(COLOURS.iter().cycle()) {
        let name = format!("{} {}", report.name, report.version);
        area.draw(&Rectangle::new([(left, 22), (left + 22, 26)], colour.filled()))?;
        let style = ("sans-serif", 16).into_font().color(&BLACK);
        left += 30;
        area.draw(&Text::new(name.clone(), (left, 15), style))?;
        left += 9 * name.chars().count() as i32 + 40;
    }
    Ok(())
}

fn panel(comparison: &Comparison, row: Row, area: &Area<'_>) -> Result<(), Failure> {
    let Some((across, up)) = range(comparison, row) else { return Ok(()) };
    let (title, unit) = row.title();
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{title}, {unit}"), ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d(across.log_scale(), up.log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("members")
        .x_labels(6)
        .y_labels(8)
        .x_label_formatter(&|members| grouped(members.round() as usize))
        .y_label_formatter(&|value| short(*value))
        .label_style(("sans-serif", 12))
        .draw()?;
    for (report, colour) in comparison.contenders.iter().zip(COLOURS.iter().cycle()) {
        let points = points(report, row);
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, colour.filled())))?;
    }
    Ok(())
}

/// A contender's figures by size. What is 0 has no place on such an axis.
fn points(report: &Report, row: Row) -> Vec<(f64, f64)> {
    let figures = report.figures.iter().filter(|figure| figure.row == row && figure.value() > 0.0);
    let mut points: Vec<_> = figures.map(|figure| (figure.members as f64, figure.value())).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// From where to where both axes of a panel go; `None` if there is no panel.
fn range(comparison: &Comparison, row: Row) -> Option<(Range<f64>, Range<f64>)> {
    if row.is_of_cluster() {
        return None;
    }
    let all: Vec<_> = comparison.contenders.iter().flat_map(|report| points(report, row)).collect();
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let (least, most) =
            (all.iter().map(of).min_by(f64::total_cmp), all.iter().map(of).max_by(f64::total_cmp));
        Some(least? / 1.6..most? * 1.6)
    };
    Some((ends(|point| point.0)?, ends(|point| point.1)?))
}

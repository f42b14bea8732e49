//! Pictures with two axes, as SVG inside a page. Colours come from the classes of the page's style.

use core::fmt::Write;

/// What must not stand in text or attributes as it is.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A number at an axis.
pub(super) fn short(value: f64) -> String {
    let (scale, unit) = match value.abs() {
        size if size >= 1e9 => (1e9, " G"),
        size if size >= 1e6 => (1e6, " M"),
        size if size >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    format!("{}{unit}", crate::table::number(value / scale))
}

/// One axis: from where to where, and what it is of.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    label: String,
    min: f64,
    max: f64,
    log: bool,
    whole: bool,
}

/// Of the length of a logarithmic axis, the part at its beginning that stands for 0.
const ZERO: f64 = 0.08;

impl Axis {
    /// From `min` to the round number at or after `max`.
    pub(super) fn linear(label: &str, min: f64, max: f64) -> Self {
        let max = if max > min { max } else { min + 1.0 };
        let step = step(max - min);
        let (min, max) = ((min / step).floor() * step, (max / step - 1e-9).ceil() * step);
        Self { label: label.to_owned(), min, max, log: false, whole: false }
    }

    /// The same without rounding.
    pub(super) fn exact(label: &str, min: f64, max: f64) -> Self {
        let max = if max > min { max } else { min + 1.0 };
        Self { label: label.to_owned(), min, max, log: false, whole: false }
    }

    /// Only whole numbers are marked.
    pub(super) fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    /// Whole powers of ten around these values, which are greater than 0, and below them a place for 0.
    pub(super) fn log(label: &str, min: f64, max: f64) -> Self {
        let low = min.log10().floor();
        let high = max.log10().ceil().max(low + 1.0);
        Self { label: label.to_owned(), min: low, max: high, log: true, whole: false }
    }

    /// Where a value is, as a share of the length.
    fn place(&self, value: f64) -> f64 {
        if !self.log {
            return ((value - self.min) / (self.max - self.min)).clamp(0.0, 1.0);
        }
        if value <= 0.0 {
            return 0.0;
        }
        let share = (value.log10() - self.min) / (self.max - self.min);
        (ZERO + (1.0 - ZERO) * share).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let decades = (self.max - self.min) as i32;
            let parts: &[f64] = if decades <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let powers = (0..decades).map(|power| 10f64.powf(self.min + f64::from(power)));
            let mut ticks: Vec<_> =
                powers.flat_map(|power| parts.iter().map(move |part| power * part)).collect();
            ticks.insert(0, 0.0);
            ticks.push(10f64.powf(self.max));
            return ticks;
        }
        let step = step(self.max - self.min);
        let step = if self.whole { step.max(1.0) } else { step };
        let (first, last) = ((self.min / step - 1e-9).ceil() as i64, (self.max / step + 1e-9).floor() as i64);
        (first..=last).map(|number| number as f64 * step).collect()
    }
}

/// The distance of round ticks over a length.
fn step(length: f64) -> f64 {
    let rough = length / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0].map(|part| part * power).into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power)
}

/// A picture that is being drawn.
#[derive(Debug)]
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    left: f64,
    width: f64,
    height: f64,
    body: String,
    legend: Vec<(String, String)>,
    labels: Vec<f64>,
}

/// Room above the axes, and below them for ticks and label.
const TOP: f64 = 20.0;
const BOTTOM: f64 = 44.0;
const RIGHT: f64 = 16.0;

impl Plot {
    /// Of the usual size.
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self::sized(x, y, 64.0, 540.0, 240.0)
    }

    /// With so much room at the left, and this size between the axes.
    pub(super) fn sized(x: Axis, y: Axis, left: f64, width: f64, height: f64) -> Self {
        Self { x, y, left, width, height, body: String::new(), legend: Vec::new(), labels: Vec::new() }
    }

    pub(super) fn px(&self, value: f64) -> f64 {
        self.left + self.x.place(value) * self.width
    }

    pub(super) fn py(&self, value: f64) -> f64 {
        TOP + (1.0 - self.y.place(value)) * self.height
    }

    /// Something in the units of the picture.
    pub(super) fn draw(&mut self, svg: &str) {
        self.body.push_str(svg);
        self.body.push('\n');
    }

    /// What a class stands for: `line`, `dash`, `dot`, `hollow` or `area`, then the colour's.
    pub(super) fn legend(&mut self, class: &str, text: &str) {
        if !self.legend.iter().any(|(_, known)| known == text) {
            self.legend.push((class.to_owned(), text.to_owned()));
        }
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        let mut last = None;
        for &(x, y) in points {
            let place = format!("{:.1} {:.1}", self.px(x), self.py(y));
            if last.as_ref() != Some(&place) {
                let _ = write!(path, "{}{place}", if last.is_none() { "M" } else { "L" });
                last = Some(place);
            }
        }
        path
    }

    /// A line through these points; a pointer over it shows `text`.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str, text: &str) {
        let path = self.path(points);
        self.draw(&format!("<path class=\"{class}\" d=\"{path}\"><title>{}</title></path>", escape(text)));
    }

    /// The area between two lines over the same places.
    pub(super) fn band(&mut self, points: &[(f64, f64, f64)], class: &str) {
        let there = points.iter().map(|&(x, low, _)| (x, low));
        let back = points.iter().rev().map(|&(x, _, high)| (x, high));
        let path = self.path(&there.chain(back).collect::<Vec<_>>());
        self.draw(&format!("<path class=\"{class}\" d=\"{path}Z\"/>"));
    }

    pub(super) fn dot(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let (x, y) = (self.px(x), self.py(y));
        self.draw(&format!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
            escape(text)
        ));
    }

    /// A diamond, for what others published.
    pub(super) fn diamond(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let (x, y) = (self.px(x), self.py(y));
        self.draw(&format!(
            "<path class=\"{class}\" d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6Z\"><title>{}</title></path>",
            y - 6.0,
            escape(text)
        ));
    }

    pub(super) fn bar(&mut self, from: f64, to: f64, value: f64, class: &str, text: &str) {
        let (from, to, y, zero) = (self.px(from), self.px(to), self.py(value), self.py(0.0));
        self.draw(&format!(
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            (to - from).max(0.3),
            zero - y,
            escape(text)
        ));
    }

    /// A line across at a value of the x axis; its text above it, where there is room for it.
    pub(super) fn across(&mut self, x: f64, class: &str, text: &str) {
        let (place, text) = (self.px(x), escape(text));
        let (top, bottom) = (TOP, TOP + self.height);
        self.draw(&format!(
            "<path class=\"{class}\" d=\"M{place:.1} {top:.1}V{bottom:.1}\"><title>{text}</title></path>"
        ));
        if self.labels.iter().all(|other| (other - place).abs() > 110.0) {
            self.labels.push(place);
            let late = place > self.left + 0.8 * self.width;
            let anchor = if late { "end" } else { "start" };
            self.draw(&format!(
                "<text class=\"note\" x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
                top - 6.0
            ));
        }
    }

    /// The picture, with its legend and a line on what it shows.
    pub(super) fn finish(self, title: &str, caption: &str) -> String {
        self.finish_with(title, caption, true)
    }

    /// The same; the ticks of the y axis may be somebody else's.
    pub(super) fn finish_with(self, title: &str, caption: &str, y_ticks: bool) -> String {
        let (width, height) = (self.left + self.width + RIGHT, TOP + self.height + BOTTOM);
        let title = escape(title);
        let mut svg = format!(
            "<figure>\n<h3>{title}</h3>\n<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        let (left, right, top, bottom) = (self.left, self.left + self.width, TOP, TOP + self.height);
        for value in self.x.ticks() {
            let (x, text) = (self.px(value), short(value));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                bottom + 15.0
            );
        }
        for value in self.y.ticks().into_iter().filter(|_| y_ticks) {
            let (y, text) = (self.py(value), short(value));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                left - 6.0,
                y + 4.0
            );
        }
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\"/>");
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, right),
            bottom + 36.0,
            escape(&self.x.label)
        );
        let middle = f64::midpoint(top, bottom);
        let _ = writeln!(
            svg,
            "<text class=\"label\" x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
            escape(&self.y.label)
        );
        svg.push_str(&self.body);
        svg.push_str("</svg>\n<figcaption>");
        for (class, text) in &self.legend {
            let shape = match class.split(' ').next() {
                Some("dot" | "hollow") => "<circle cx=\"12\" cy=\"6\" r=\"4\"/>",
                Some("diamond") => "<path d=\"M12 0l6 6l-6 6l-6 -6Z\"/>",
                Some("area") => "<path d=\"M2 1H22V11H2Z\"/>",
                Some("told") => "<path d=\"M12 11l-5 -9h10Z\"/>",
                _ => "<path d=\"M1 6H23\"/>",
            };
            let _ = write!(
                svg,
                "<span><svg class=\"key\" viewBox=\"0 0 24 12\"><g class=\"{class}\">{shape}</g></svg>{}</span> ",
                escape(text)
            );
        }
        let _ = write!(svg, "{}</figcaption>\n</figure>\n", escape(caption));
        svg
    }
}

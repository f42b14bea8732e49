//! The text format, version 0.0.4. The client libraries are made for metrics that live in them, and those of OpenMetrics
//! append `_total` to Serf's names.

use core::fmt::{Display, Write as _};

/// A page being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.head(name, help, "counter");
        self.sample(name, "", count);
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        self.sample(name, "", value);
    }

    /// How many there were, and their sum; without quantiles.
    pub(super) fn summary(&mut self, name: &str, help: &str, count: u64, sum: f64) {
        self.head(name, help, "summary");
        self.sample(name, "_sum", sum);
        self.sample(name, "_count", count);
    }

    /// A gauge for each value of a label.
    pub(super) fn labelled<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, f64); N],
    ) {
        self.head(name, help, "gauge");
        for (of, value) in values {
            // Writing to a string does not fail.
            let _ = writeln!(self.text, "{name}{{{label}=\"{of}\"}} {value}");
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, suffix: &str, value: impl Display) {
        let _ = writeln!(self.text, "{name}{suffix} {value}");
    }
}

/// A metric's name from these parts; what no name may have becomes an underscore.
pub(super) fn name(parts: &[&str]) -> String {
    parts.concat().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

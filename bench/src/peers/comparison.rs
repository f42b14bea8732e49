//! The contenders' reports beside each other: as JSON, as a table, and in a document.

use core::fmt::Write;

use serde::{Deserialize, Serialize};

use super::report::{Figure, Report, Row, SCHEMA};
use crate::document::{Place, grouped, short, table};

/// What one run of all found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The contenders, ours first.
    pub contenders: Vec<Report>,
    /// Those that could not be run.
    pub left_out: Vec<LeftOut>,
}

/// A contender that could not be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Its name on the command line.
    pub name: String,
    /// Why.
    pub why: String,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { schema: SCHEMA, contenders: Vec::new(), left_out: Vec::new() }
    }
}

impl Comparison {
    /// Reads what [`Comparison::to_json`] wrote.
    ///
    /// # Errors
    /// It is not of this form; says where.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let comparison: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for report in &comparison.contenders {
            Report::from_json(&report.to_json()).map_err(|error| format!("{}: {error}", report.name))?;
        }
        Ok(comparison)
    }

    /// All figures.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and texts");
        text.push('\n');
        text
    }

    /// The tables, in Markdown: times and sizes with ratios, allocations, and what is to be known about them.
    pub fn markdown(&self) -> String {
        let mut notes = Notes::default();
        let mut text = self.figures(&mut notes);
        let allocations = self.allocations();
        if !allocations.is_empty() {
            let _ = write!(text, "\nAllocations in one operation:\n\n{allocations}");
        }
        text.push('\n');
        for (number, note) in notes.0.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", number + 1);
        }
        text.push('\n');
        for report in &self.contenders {
            let _ = writeln!(text, "- {} {}: {}", report.name, report.version, report.remarks.join(" "));
        }
        text
    }

    /// The sizes at which a row was measured, by anybody.
    pub(super) fn sizes(&self, row: Row) -> Vec<usize> {
        let figures = self.contenders.iter().flat_map(|report| &report.figures);
        let mut sizes: Vec<usize> =
            figures.filter(|figure| figure.row == row).map(|figure| figure.members).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn head(&self) -> Vec<String> {
        let names = self.contenders.iter().map(|report| format!("{} {}", report.name, report.version));
        let missing = self.left_out.iter().map(|left_out| left_out.name.clone());
        ["".to_owned(), "N".to_owned()].into_iter().chain(names).chain(missing).collect()
    }

    fn figures(&self, notes: &mut Notes) -> String {
        let mut lines = vec![self.head()];
        for row in Row::ALL {
            for members in self.sizes(row) {
                let (title, unit) = row.title();
                let ours = self.contenders.first().and_then(|ours| ours.figure(row, members));
                let comma = if unit.is_empty() { "" } else { ", " };
                let mut line = vec![format!("{title}{comma}{unit}"), grouped(members)];
                for (place, report) in self.contenders.iter().enumerate() {
                    line.push(match report.figure(row, members) {
                        Some(figure) if place == 0 => cell(figure),
                        Some(figure) => format!("{}{}", cell(figure), ratio(figure, ours)),
                        None => match report.absent(row, members) {
                            Some(absent) => format!("– [{}]", notes.number(&report.name, &absent.why)),
                            None => "–".to_owned(),
                        },
                    });
                }
                let missing = self.left_out.iter();
                line.extend(missing.map(|LeftOut { name, why }| format!("– [{}]", notes.number(name, why))));
                lines.push(line);
            }
        }
        table(&lines)
    }

    fn allocations(&self) -> String {
        let mut lines = vec![self.head()];
        for row in Row::ALL {
            for members in self.sizes(row) {
                let counted = self.contenders.iter().map(|report| report.figure(row, members)?.allocations);
                let counted: Vec<Option<f64>> = counted.collect();
                if counted.iter().all(Option::is_none) {
                    continue;
                }
                let missing = self.left_out.iter().map(|_| None);
                let counted = counted.into_iter().chain(missing);
                let texts = counted.map(|count| count.map_or_else(|| "–".to_owned(), short));
                let line = [row.title().0.to_owned(), grouped(members)].into_iter().chain(texts);
                lines.push(line.collect());
            }
        }
        if lines.len() == 1 { String::new() } else { table(&lines) }
    }
}

/// The marks around the tables in a document.
pub const PLACE: Place =
    Place { begin: "<!-- peers: written by gossip-bench -->", end: "<!-- end of peers -->" };

/// Remarks below a table, each once.
#[derive(Default)]
struct Notes(Vec<String>);

impl Notes {
    fn number(&mut self, name: &str, why: &str) -> usize {
        let note = format!("{name}: {why}");
        let known = self.0.iter().position(|known| *known == note);
        known.unwrap_or_else(|| {
            self.0.push(note);
            self.0.len() - 1
        }) + 1
    }
}

fn cell(figure: &Figure) -> String {
    if figure.row.is_of_cluster() {
        let (least, most) = (short(figure.best), short(figure.worst));
        let span = if least == most { String::new() } else { format!(", {least} to {most}") };
        return format!("{}{span}", short(figure.median));
    }
    let more = (figure.median / figure.best - 1.0) * 100.0;
    let spread = if figure.repetitions > 1 && more >= 0.5 { format!(" +{more:.0} %") } else { String::new() };
    format!("{}{spread}", short(figure.best))
}

/// How many times ours it is; in bold if it is less.
fn ratio(figure: &Figure, ours: Option<&Figure>) -> String {
    match ours {
        Some(ours) if ours.value() > 0.0 => {
            let ratio = figure.value() / ours.value();
            let text = if ratio >= 9.95 {
                format!("{}×", grouped(ratio.round() as usize))
            } else {
                format!("{ratio:.1}×")
            };
            if ratio < 0.95 { format!(" (**{ratio:.2}×**)") } else { format!(" ({text})") }
        }
        _ => String::new(),
    }
}

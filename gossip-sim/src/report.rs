//! The report of a scenario, as JSON: the same bytes for the same scenario, options and seeds, however many threads ran it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::measure::series::Series;
use crate::scenario::Stat;
use crate::statistics::Summary;
use crate::value::{Parameters, Scalar};

/// Version of the format; a reader refuses others.
pub const VERSION: u32 = 1;
/// What the file says it is.
const FORMAT: &str = "gossip-sim report";

/// What came out of a scenario. There is nothing in it that depends on when, where or by how many threads it was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `gossip-sim report`.
    pub format: String,
    /// Of the format: 1.
    pub version: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// The scenario.
    pub scenario: About,
    /// What was set by options.
    pub set: Vec<(String, String)>,
    /// The cell that `--filter` left, as written.
    pub filter: Option<String>,
    /// The seeds, in order: the first one, and how many.
    pub seeds: (u64, u64),
    /// A row for each variant and cell, and for each pool of cells.
    pub rows: Vec<Row>,
    /// Published figures with ours beside them.
    pub published: Vec<Comparison>,
    /// Every run, in order.
    pub runs: Vec<RunRecord>,
}

/// What a report says about its scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its title.
    pub title: String,
    /// What it shows.
    pub shows: String,
    /// Where the recipe comes from.
    pub paper: String,
    /// Parameters that were not swept.
    pub parameters: BTreeMap<String, Scalar>,
    /// Parameters that were, with their values.
    pub sweep: BTreeMap<String, Vec<Scalar>>,
    /// The variants, by name, with their titles, in the order of the file.
    pub variants: Vec<(String, String)>,
    /// Metrics to show first.
    pub show: Vec<String>,
    /// Of all in its file that a run depends on: another scenario has another one. Empty in reports of before it was there.
    #[serde(default)]
    pub digest: String,
}

/// The figures of one variant in one cell, or in several cells together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The variant.
    pub variant: String,
    /// The values of swept parameters.
    pub cell: Parameters,
    /// Swept parameters whose values are pooled in this row; none in the row of a cell.
    pub pooled: Vec<String>,
    /// How many runs it is of.
    pub runs: usize,
    /// The figures, by metric.
    pub metrics: BTreeMap<String, Figures>,
    /// The series of the run with the first seed; only in rows of cells.
    pub series: Option<Series>,
}

/// The figures of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The unit.
    pub unit: String,
    /// Mean, spread and percentiles.
    #[serde(flatten)]
    pub summary: Summary,
    /// The samples in order of size, at most 201 of them: then those at every half percent of the ranks. Left out where
    /// all are equal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
}

/// A published figure and ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The metric.
    pub metric: String,
    /// Which figure of it.
    pub stat: Stat,
    /// The variant.
    pub variant: String,
    /// The cell; what is not named is pooled.
    pub cell: Parameters,
    /// Both figures are shares of this variant's.
    pub relative_to: Option<String>,
    /// What was published: a figure per run.
    pub published: f64,
    /// What came out; none if nothing did.
    pub ours: Option<f64>,
    /// Half the width of the 95 % confidence interval of ours, if it is a mean.
    pub ci95: Option<f64>,
    /// Ours over theirs.
    pub ratio: Option<f64>,
    /// Who published it, and where.
    pub source: String,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The variant.
    pub variant: String,
    /// The cell.
    pub cell: Parameters,
    /// The seed.
    pub seed: u64,
    /// The hash of its trace, in hexadecimal.
    pub trace: String,
    /// How long it ran from time 0, in virtual seconds.
    pub seconds: f64,
}

impl Report {
    pub(crate) fn new(scenario: About) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").into(),
            scenario,
            set: Vec::new(),
            filter: None,
            seeds: (0, 0),
            rows: Vec::new(),
            published: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// The report as JSON, ending with a line break.
    pub fn to_json(&self) -> String {
        // Writing to a string cannot fail, and every map in it has texts for keys.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads a report.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let head: Head =
            serde_json::from_str(text).map_err(|error| format!("no report of gossip-sim: {error}"))?;
        if head.format != FORMAT {
            return Err(format!("no report of gossip-sim: its format is {:?}", head.format));
        }
        if head.version != VERSION {
            return Err(format!(
                "a report of version {}; this program reads version {VERSION}",
                head.version
            ));
        }
        serde_json::from_str(text).map_err(|error| format!("a damaged report: {error}"))
    }

    /// The row of a variant with these values of parameters, everything else pooled or not swept.
    pub fn row(&self, variant: &str, cell: &Parameters) -> Option<&Row> {
        self.rows.iter().find(|row| row.variant == variant && row.cell == *cell)
    }
}

impl Figures {
    /// One of the figures.
    pub fn get(&self, stat: Stat) -> f64 {
        let summary = &self.summary;
        match stat {
            Stat::Mean => summary.mean,
            Stat::Min => summary.min,
            Stat::P50 => summary.p50,
            Stat::P99 => summary.p99,
            Stat::P999 => summary.p999,
            Stat::Max => summary.max,
        }
    }
}

/// Writes a file so that a reader sees either the old one or the whole new one: beside it, synced and renamed.
///
/// # Errors
/// What the file system says.
pub fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".gossip-sim-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    #[cfg(unix)]
    {
        // As any new file; a temporary one is for its owner alone.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all().or(Ok(()))
}

/// A cell as people read it: `C=4 D=128ms`.
pub fn cell_text(cell: &Parameters) -> String {
    let parts: Vec<_> = cell.iter().map(|(name, value)| format!("{name}={value}")).collect();
    parts.join(" ")
}

//! `gossip-sim results`: every table of `docs/results.md` that this program can make, made by one command.
//!
//! Which scenarios are run for it, with how many seeds and with what set, is in `results.toml` beside this crate. The tables
//! go between marks, `<!-- results: e7 -->` and `<!-- end of e7 -->`; the text around them is written by hand and stays.

mod markdown;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::report::{Report, write_file};
use crate::scenario::{Overrides, Scenario, Stat, find};
use crate::value::{Parameters, Scalar};
use crate::{Options, execute, metrics};

/// The tables that come along.
const TABLES: &str = include_str!("../../results.toml");

/// A list of tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// They, in the order in which they are made.
    #[serde(rename = "table")]
    pub tables: Vec<Table>,
}

/// One table: a scenario, how it is run, and what is shown of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The name in its marks and in `--only`; nothing else is called so.
    pub id: String,
    /// The scenario, by name. Default: as the table is called.
    pub scenario: Option<String>,
    /// How many seeds. Default 1.
    #[serde(default = "one")]
    pub seeds: u64,
    /// What is set, as by `--set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Which cells and variants are run, as by `--filter`.
    pub filter: Option<String>,
    /// Whether it takes minutes; `--quick` leaves it out.
    #[serde(default)]
    pub slow: bool,
    /// The parameter whose values become columns. Without one, every figure is a line.
    pub columns: Option<String>,
    /// Columns are run one after the other and kept each in a report of its own, as long tables want that may be interrupted.
    /// Figures of all columns together are left out.
    #[serde(default)]
    pub apart: bool,
    /// The metrics that are shown, published or not. Default: those that were published, or else what the scenario shows.
    #[serde(default)]
    pub show: Vec<String>,
    /// Whether cells are shown one by one where the scenario pools them.
    #[serde(default)]
    pub cells: bool,
    /// What is to hold of the ratios; whether it does is said below the table.
    #[serde(default, rename = "claim")]
    pub claims: Vec<Claim>,
}

/// How near ours should be to what was published.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The metric.
    pub metric: String,
    /// Which figure of it.
    #[serde(default)]
    pub stat: Stat,
    /// Only those variants; all if none is named.
    #[serde(default)]
    pub variants: Vec<String>,
    /// Whether it is about shares of another variant's figure.
    #[serde(default)]
    pub relative: bool,
    /// The ratio may be from one over this to this.
    pub within: Option<f64>,
    /// Or: the figures are shares of runs, and ours could well have come from the published one by chance.
    #[serde(default)]
    pub sampling: bool,
}

/// What is wanted of [`results`].
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only the tables of these names; all if there are none.
    pub only: Vec<String>,
    /// Leaves out what takes minutes.
    pub quick: bool,
    /// Where reports are kept. One that is there, and is of the same scenario, settings and seeds, is not made again.
    pub kept: Option<PathBuf>,
    /// The document whose tables are replaced; they are printed if there is none.
    pub write: Option<PathBuf>,
    /// Threads.
    pub jobs: usize,
}

fn one() -> u64 {
    1
}

impl Tables {
    /// The tables that come along.
    ///
    /// # Errors
    /// The list is wrong; a test rules that out.
    pub fn builtin() -> Result<Self, String> {
        Self::parse(TABLES)
    }

    /// Reads a list, and the scenarios in it.
    ///
    /// # Errors
    /// What is wrong in it first.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tables: Self = toml::from_str(text).map_err(|error| format!("results.toml: {error}"))?;
        let mut names = BTreeSet::new();
        for table in &tables.tables {
            let wrong = |what: String| format!("results.toml: {}: {what}", table.id);
            if !names.insert(&table.id) {
                return Err(wrong("there are two of that name".into()));
            }
            let scenario = table.parse_scenario().map_err(wrong)?;
            let swept = |parameter: &String| scenario.sweep.contains_key(parameter);
            if table.apart && !table.columns.as_ref().is_some_and(swept) {
                return Err(wrong("apart: columns must name a parameter that is swept".into()));
            }
            let named = table.claims.iter().map(|claim| &claim.metric).chain(&table.show);
            for metric in named {
                if !metrics::is_metric(metric) {
                    return Err(wrong(metrics::unknown(metric)));
                }
            }
        }
        Ok(tables)
    }
}

impl Table {
    fn overrides(&self) -> Result<Overrides, String> {
        let pair = |text: &String| {
            let pair = text.split_once('=').ok_or_else(|| format!("{text}: write NAME=VALUE"))?;
            Ok::<_, String>((pair.0.to_owned(), pair.1.to_owned()))
        };
        Ok(Overrides { nodes: None, set: self.set.iter().map(pair).collect::<Result<_, _>>()? })
    }

    fn parse_scenario(&self) -> Result<Scenario, String> {
        let name = self.scenario.as_ref().unwrap_or(&self.id);
        let (file, text) = find(name).map_err(|error| error.to_string())?;
        Scenario::parse(&file, &text, &self.overrides()?).map_err(|error| error.to_string())
    }

    /// The command that runs it alone.
    pub fn command(&self) -> String {
        let mut command = format!("gossip-sim run {}", self.scenario.as_ref().unwrap_or(&self.id));
        for set in &self.set {
            command.push_str(&format!(" --set {set}"));
        }
        if let Some(filter) = &self.filter {
            command.push_str(&format!(" --filter {filter}"));
        }
        command.push_str(&format!(" --seeds {}", self.seeds));
        command
    }

    /// Whether figures of that cell are shown.
    fn shows(&self, cell: &Parameters) -> bool {
        !self.apart || self.columns.as_ref().is_none_or(|parameter| cell.contains_key(parameter))
    }

    /// What is run by itself and kept by itself: the end of the name of its file, and its filter.
    fn parts(&self, scenario: &Scenario) -> Vec<(String, Option<String>)> {
        let Some(parameter) = self.columns.as_ref().filter(|_| self.apart) else {
            return vec![(String::new(), self.filter.clone())];
        };
        let values = scenario.sweep.get(parameter).into_iter().flatten();
        let part = |value: &Scalar| {
            let column = format!("{parameter}={value}");
            let filter = self.filter.iter().fold(column, |column, rest| format!("{column},{rest}"));
            (format!(".{value}"), Some(filter))
        };
        values.map(part).collect()
    }

    /// The report that is kept of a part, if it is of the same.
    fn kept(&self, path: &Path, scenario: &Scenario, filter: Option<&String>) -> Option<Report> {
        let report = Report::from_json(&fs::read_to_string(path).ok()?).ok()?;
        let same = report.scenario.digest == scenario.digest()
            && report.program == env!("CARGO_PKG_VERSION")
            && Ok(&report.set) == self.overrides().map(|overrides| overrides.set).as_ref()
            && report.filter.as_ref() == filter
            && report.seeds == (1, self.seeds);
        same.then_some(report)
    }

    /// Runs it. `progress` is told how many of how many runs are over; of each part anew.
    ///
    /// # Errors
    /// What went wrong in a run.
    pub fn run(&self, jobs: usize, progress: &(dyn Fn(usize, usize) + Sync)) -> Result<Report, String> {
        self.report(&Wanted { jobs, ..Wanted::default() }, &|_, over, of| progress(over, of))
    }

    fn report(
        &self,
        wanted: &Wanted,
        progress: &(dyn Fn(&str, usize, usize) + Sync),
    ) -> Result<Report, String> {
        let wrong = |error: String| format!("{}: {error}", self.id);
        let scenario = self.parse_scenario().map_err(wrong)?;
        let mut whole: Option<Report> = None;
        for (name, filter) in self.parts(&scenario) {
            let path = wanted.kept.as_ref().map(|folder| folder.join(format!("{}{name}.json", self.id)));
            let kept = path.as_ref().and_then(|path| self.kept(path, &scenario, filter.as_ref()));
            let report = match kept {
                Some(report) => report,
                None => {
                    let progress = |over, of| progress(&format!("{}{name}", self.id), over, of);
                    let options =
                        Options { first_seed: 1, seeds: Some(self.seeds), jobs: wanted.jobs, filter };
                    let (mut report, _) = execute(&scenario, &options, &progress).map_err(wrong)?;
                    report.set = self.overrides()?.set;
                    if let Some(path) = path {
                        write_file(&path, &report.to_json())
                            .map_err(|error| format!("{}: {error}", path.display()))?;
                    }
                    report
                }
            };
            match &mut whole {
                None => whole = Some(report),
                Some(whole) => {
                    whole.rows.extend(report.rows);
                    whole.published.extend(report.published);
                    whole.runs.extend(report.runs);
                }
            }
        }
        let mut whole = whole.ok_or_else(|| wrong("nothing to run".into()))?;
        whole.filter.clone_from(&self.filter);
        whole.rows.retain(|row| self.shows(&row.cell));
        whole.published.retain(|comparison| self.shows(&comparison.cell));
        Ok(whole)
    }
}

/// Makes tables, and puts each into the document as soon as it is there. Gives their text if there is no document.
/// `progress` is told the table and how many of how many of its runs are over.
///
/// # Errors
/// A table that does not exist, a document without its marks: before anything is run. Or what became of a run.
pub fn results(
    tables: &Tables,
    wanted: &Wanted,
    progress: &(dyn Fn(&str, usize, usize) + Sync),
) -> Result<String, String> {
    for name in &wanted.only {
        if !tables.tables.iter().any(|table| table.id == *name) {
            let names: Vec<_> = tables.tables.iter().map(|table| table.id.as_str()).collect();
            return Err(format!("--only {name}: no such table; there are {}", names.join(", ")));
        }
    }
    let chosen = |table: &&Table| {
        let named = wanted.only.contains(&table.id);
        named || (wanted.only.is_empty() && !(wanted.quick && table.slow))
    };
    let chosen: Vec<_> = tables.tables.iter().filter(chosen).collect();
    if let Some(folder) = &wanted.kept
        && !folder.is_dir()
    {
        return Err(format!("{}: not a folder", folder.display()));
    }
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    if let Some(path) = &wanted.write {
        let text = read(path)?;
        for table in &chosen {
            place(&text, &table.id).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    let mut said = String::new();
    for table in chosen {
        let report = table.report(wanted, progress)?;
        let made = markdown::table(table, &report);
        let Some(path) = &wanted.write else {
            said.push_str(&format!("{}: {}\n\n{made}\n", table.id, report.scenario.title));
            continue;
        };
        // Read again: somebody may have written in it meanwhile.
        let text = read(path)?;
        let place = place(&text, &table.id).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = format!("{}\n{made}{}", &text[..place.start], &text[place.end..]);
        write_file(path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(said)
}

/// Where a table stands in a document: after its first mark and before its last one.
fn place(text: &str, id: &str) -> Result<core::ops::Range<usize>, String> {
    let (first, last) = (format!("<!-- results: {id} -->"), format!("<!-- end of {id} -->"));
    let missing = || format!("no place for table {id}: write `{first}` and, below it, `{last}`");
    let start = text.find(&first).ok_or_else(missing)? + first.len();
    let end = start + text[start..].find(&last).ok_or_else(missing)?;
    Ok(start..end)
}

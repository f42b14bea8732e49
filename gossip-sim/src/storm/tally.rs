//! What many storms came to, in all, and over several calls of the program.

use core::fmt::Write;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::storm::draw::draw;
use crate::storm::run::Ended;

/// Of the form of the file.
const VERSION: u32 = 1;

/// The sum of many storms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Of the form of this file.
    pub version: u32,
    /// Storms that were run; one that was run twice is one.
    pub runs: u64,
    /// How many of them were run twice, to see whether they are the same.
    pub compared: u64,
    /// Nodes, all runs together.
    pub nodes: u64,
    /// Virtual seconds times nodes. Those that broke something do not count, here and below.
    pub node_seconds: f64,
    /// Seconds of processors, second runs included.
    pub cpu_seconds: f64,
    /// Comparisons that the invariants made.
    pub checked: u64,
    /// What was done to nodes and links, each by itself, and how often.
    pub done: BTreeMap<String, u64>,
    /// Which storms these were.
    pub parts: Vec<Part>,
    /// What broke.
    pub broken: Vec<Broken>,
}

/// Storms that one call of the program ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The version of this crate.
    pub program: String,
    /// Of what draws: equal seeds are equal storms where it is equal.
    pub drawn_by: String,
    /// The first seed; the others follow it.
    pub first_seed: u64,
    /// How many.
    pub runs: u64,
    /// Seconds of processors.
    pub cpu_seconds: f64,
    /// How many of them broke something.
    pub broken: u64,
}

/// A storm that broke something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// Its seed.
    pub seed: u64,
    /// The line that repeats it.
    pub line: String,
    /// What was broken, where and when.
    pub what: String,
}

impl Broken {
    /// What happened, and how to see it again.
    pub fn text(&self) -> String {
        let Self { line, what, .. } = self;
        if what.contains(line.as_str()) { what.clone() } else { format!("{what}\nrepeat it with: {line}") }
    }
}

impl Tally {
    /// Nothing yet, of storms from that seed on.
    pub fn new(first_seed: u64) -> Self {
        let part = Part {
            program: env!("CARGO_PKG_VERSION").into(),
            drawn_by: format!("{:016x}", fingerprint()),
            first_seed,
            runs: 0,
            cpu_seconds: 0.0,
            broken: 0,
        };
        Self { parts: vec![part], ..Self::empty() }
    }

    fn empty() -> Self {
        Self {
            version: VERSION,
            runs: 0,
            compared: 0,
            nodes: 0,
            node_seconds: 0.0,
            cpu_seconds: 0.0,
            checked: 0,
            done: BTreeMap::new(),
            parts: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Reads what [`Tally::to_json`] wrote.
    ///
    /// # Errors
    /// It is none, or of another version.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let tally: Self =
            serde_json::from_str(text).map_err(|error| format!("no totals of storms: {error}"))?;
        match tally.version {
            VERSION => Ok(tally),
            version => Err(format!("totals of version {version}; this program reads version {VERSION}")),
        }
    }

    /// As a file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Adds one.
    pub(super) fn count(&mut self, ended: Ended) {
        let cpu = ended.cpu.as_secs_f64();
        self.runs += 1;
        self.cpu_seconds += cpu;
        self.compared += u64::from(ended.compared);
        if let Some(outcomes) = ended.outcomes {
            self.nodes += ended.nodes as u64;
            self.node_seconds += outcomes.node_seconds;
            self.checked += outcomes.checked;
            for (what, count) in outcomes.done {
                *self.done.entry(what.to_owned()).or_default() += count;
            }
        }
        if let Some(part) = self.parts.last_mut() {
            part.runs += 1;
            part.cpu_seconds += cpu;
            part.broken += u64::from(ended.broken.is_some());
        }
        self.broken.extend(ended.broken);
    }

    /// The sum of two.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.runs += other.runs;
        sum.compared += other.compared;
        sum.nodes += other.nodes;
        sum.node_seconds += other.node_seconds;
        sum.cpu_seconds += other.cpu_seconds;
        sum.checked += other.checked;
        for (what, count) in &other.done {
            *sum.done.entry(what.clone()).or_default() += count;
        }
        sum.parts.extend(other.parts.iter().filter(|part| part.runs > 0).cloned());
        sum.broken.extend(other.broken.iter().cloned());
        sum
    }

    /// How it stands, in one line.
    pub fn line(&self) -> String {
        format!(
            "{} storms, {:.1} node-hours in {:.0} s of a processor, {} broken",
            self.runs,
            self.node_seconds / 3600.0,
            self.cpu_seconds,
            self.broken.len()
        )
    }

    /// All of it, for people.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{} storms with {} nodes, {} of them run twice\n\
             {:.1} node-hours in {:.2} hours of processors\n\
             {} comparisons by invariants\n",
            self.runs,
            self.nodes,
            self.compared,
            self.node_seconds / 3600.0,
            self.cpu_seconds / 3600.0,
            self.checked
        );
        for (what, count) in &self.done {
            let _ = writeln!(text, "{count:>10} {what}");
        }
        for Part { first_seed, runs, drawn_by, broken, .. } in &self.parts {
            let last = first_seed.wrapping_add(runs.saturating_sub(1));
            let _ = writeln!(text, "seeds {first_seed} to {last}, drawn by {drawn_by}: {broken} broken");
        }
        text
    }
}

/// Of what draws: FNV-1a in 64 bits over some storms.
fn fingerprint() -> u64 {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let texts = (0..64).map(|seed| draw(seed).text().unwrap_or_default());
    texts.fold(0xcbf2_9ce4_8422_2325, |hash, text| text.bytes().fold(hash, fold))
}

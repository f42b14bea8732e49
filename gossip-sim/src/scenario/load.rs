//! From files to scenarios: finding, overriding, reading.

use core::fmt;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use crate::scenario::{Scenario, check};
use crate::settings;
use crate::value::Scalar;

/// What is wrong with a scenario. Whoever wrote it, or the options, is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file, or the name of the built-in scenario.
    pub file: String,
    /// The line, if it is known.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl core::error::Error for ScenarioError {}

/// What options change about a scenario, before it is read.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The number of nodes.
    pub nodes: Option<usize>,
    /// Names and values: a parameter (`C=4` or `C=1,4`), a field of `Config` or `ServiceConfig` (`suspicion_mult=5`), or
    /// a place in the file (`stop.after=60s`).
    pub set: Vec<(String, String)>,
}

macro_rules! builtin {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// The scenarios that the program brings along: name and text, in the order of the list.
const BUILTIN: &[(&str, &str)] = builtin![
    "steady",
    "crash",
    "partition",
    "e1",
    "e2",
    "e3",
    "e4",
    "e5",
    "e6",
    "e7",
    "e8",
    "e9",
    "e10",
    "e11",
    "e11-in",
    "e12",
    "e13",
    "e14",
    "e15",
    "e18",
    "e19",
    "e20",
    "e23",
    "e23-line",
    "e23-grid",
    "e23-circle",
];

/// All scenarios that the program brings along, as they are.
///
/// # Panics
/// If one of them is wrong, which a test rules out.
pub fn builtins() -> Vec<Scenario> {
    BUILTIN
        .iter()
        .map(|(name, text)| {
            Scenario::parse(name, text, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
}

/// The text of a built-in scenario, by name or alias.
pub fn builtin(name: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Names {
        #[serde(default)]
        aliases: Vec<String>,
    }
    let is_called = |text: &str| {
        toml::from_str::<Names>(text).is_ok_and(|names| names.aliases.iter().any(|alias| alias == name))
    };
    BUILTIN.iter().find(|(known, text)| *known == name || is_called(text)).map(|(_, text)| *text)
}

/// Finds a scenario by name, alias or path, and gives what it is to be called in errors and its text.
///
/// # Errors
/// There is none, or the file cannot be read.
pub fn find(what: &str) -> Result<(String, String), ScenarioError> {
    if let Some(text) = builtin(what) {
        return Ok((what.to_owned(), text.to_owned()));
    }
    let path = Path::new(what);
    let error = |message: String| ScenarioError { file: what.to_owned(), line: None, message };
    if !path.exists() && !what.contains(['/', '.']) {
        let names: Vec<_> = BUILTIN.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        return Err(error(format!(
            "no scenario of that name, and no such file; the built-in ones are {names}"
        )));
    }
    let text = fs::read_to_string(path).map_err(|cause| error(format!("cannot be read: {cause}")))?;
    Ok((what.to_owned(), text))
}

impl Scenario {
    /// Reads a scenario; `file` is what errors call it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line, and what would be right.
    pub fn parse(file: &str, text: &str, overrides: &Overrides) -> Result<Self, ScenarioError> {
        let wrong = |line, message| ScenarioError { file: file.to_owned(), line, message };
        let at = |span: Option<core::ops::Range<usize>>| span.map(|span| line_of(text, span.start));
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| wrong(at(error.span()), error.message().to_owned()))?;
        check::check(&scenario).map_err(|(span, message)| wrong(at(span), message))?;
        if overrides.nodes.is_some() || !overrides.set.is_empty() {
            let mut table: Table = text.parse().map_err(|_| wrong(None, "is not TOML".into()))?;
            apply(&mut table, &scenario, overrides).map_err(|message| wrong(None, message))?;
            // Written and read again, so that what is wrong with an override is said with its place.
            let text = table.to_string();
            let place = |span: Option<core::ops::Range<usize>>| {
                span.and_then(|span| text.lines().nth(line_of(&text, span.start) - 1))
                    .unwrap_or_default()
                    .to_owned()
            };
            scenario = toml::from_str(&text).map_err(|error| {
                wrong(None, format!("with what is set: `{}`: {}", place(error.span()), error.message()))
            })?;
            check::check(&scenario)
                .map_err(|(_, message)| wrong(None, format!("with what is set: {message}")))?;
        }
        (scenario.file, scenario.overrides) = (file.to_owned(), overrides.clone());
        scenario.digest = digest(text);
        Ok(scenario)
    }

    /// What to put after `gossip-sim run`, so that the same scenario is run with the same options set.
    pub(crate) fn command(&self) -> String {
        let mut command = quoted(&self.file);
        if let Some(nodes) = self.overrides.nodes {
            command.push_str(&format!(" --nodes {nodes}"));
        }
        for (key, value) in &self.overrides.set {
            command.push_str(&format!(" --set {}", quoted(&format!("{key}={value}"))));
        }
        command
    }
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=.,:/+%@".contains(&byte);
    match word.bytes().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Of everything that a run depends on, comments and explanations left out: FNV-1a in 64 bits.
fn digest(text: &str) -> u64 {
    let mut table: Table = text.parse().unwrap_or_default();
    for explanation in ["aliases", "title", "shows", "paper"] {
        table.remove(explanation);
    }
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    table.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, fold)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

fn apply(table: &mut Table, scenario: &Scenario, overrides: &Overrides) -> Result<(), String> {
    if let Some(nodes) = overrides.nodes {
        match &scenario.cluster.nodes {
            crate::value::Val::Parameter(name) => set(table, scenario, name, &nodes.to_string())?,
            crate::value::Val::Fixed(_) => put(table, "cluster.nodes", Value::Integer(nodes as i64))?,
        }
    }
    overrides.set.iter().try_for_each(|(key, value)| set(table, scenario, key, value))
}

fn set(table: &mut Table, scenario: &Scenario, key: &str, word: &str) -> Result<(), String> {
    let value = |word: &str| match Scalar::from_word(word.trim()) {
        Scalar::Bool(value) => Value::Boolean(value),
        Scalar::Int(value) => Value::Integer(value),
        Scalar::Float(value) => Value::Float(value),
        Scalar::Text(value) => Value::String(value),
    };
    if scenario.sweep.contains_key(key) || (scenario.parameters.contains_key(key) && word.contains(',')) {
        if let Some(Value::Table(parameters)) = table.get_mut("parameters") {
            parameters.remove(key);
        }
        return put(table, &format!("sweep.{key}"), Value::Array(word.split(',').map(value).collect()));
    }
    if scenario.parameters.contains_key(key) {
        return put(table, &format!("parameters.{key}"), value(word));
    }
    if key.contains('.') {
        return put(table, key, value(word));
    }
    let section = settings::section(key).ok_or_else(|| {
        let parameters: Vec<_> = scenario.sweep.keys().chain(scenario.parameters.keys()).cloned().collect();
        let parameters = if parameters.is_empty() { "none".to_owned() } else { parameters.join(", ") };
        format!(
            "--set {key}: no parameter (this scenario has {parameters}), no setting of a node, and no place in the file \
             (like stop.after)"
        )
    })?;
    put(table, &format!("cluster.{section}.{key}"), value(word))
}

/// Sets the value at a dotted path, making tables on the way.
fn put(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    let mut table = table;
    let mut keys: Vec<_> = path.split('.').collect();
    let Some(last) = keys.pop() else { return Ok(()) };
    for key in keys {
        let next = table.entry(key).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(next) = next else { return Err(format!("--set {path}: {key} is no table")) };
        table = next;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

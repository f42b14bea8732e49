//! The vector files, the rules of `deviations.toml`, and the count of what passes. The crates above this one use it too.
#![allow(dead_code, reason = "gossip-agent uses a part of it")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// One entry of a vector file.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) value: Value,
}

impl Case {
    /// A string of the entry; empty if there is none.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.value[key].as_str().unwrap_or_default()
    }

    /// The bytes of a member in hex.
    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        unhex(self.value[key].as_str().unwrap_or_else(|| panic!("{}: no {key}", self.name)))
    }
}

/// Section `section` of every memberlist file, the additional ones included.
pub(crate) fn memberlist_cases(section: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, content) in files() {
        if let Some(Value::Array(entries)) = content.get(section) {
            cases.extend(entries.iter().map(|entry| case(&file, entry)));
        }
    }
    cases
}

/// The entries of every Serf file whose name starts with `prefix` and a dot, the additional ones included.
pub(crate) fn serf_cases(prefix: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (file, content) in files() {
        if let Value::Array(entries) = &content {
            cases.extend(entries.iter().map(|entry| case(&file, entry)));
        }
    }
    cases.retain(|case| case.name.split('.').next() == Some(prefix));
    cases
}

/// Whether an entry of the section `vectors` is about the framing of packets and streams rather than about one message.
pub(crate) fn is_frame(name: &str) -> bool {
    const FRAMES: [&str; 7] = ["compound", "crc_", "compress_", "encrypt", "packet_", "stream_", "label_"];
    name != "compress_struct" && FRAMES.iter().any(|prefix| name.starts_with(prefix))
}

/// What a case says about its input, for rules to refer to.
pub(crate) type Facts<'f> = &'f [(&'f str, &'f str)];

/// The count of one section. Every case passes, or deviates by a rule, or fails the test.
#[derive(Debug)]
pub(crate) struct Tally {
    section: String,
    rules: Vec<Rule>,
    cases: usize,
    passed: usize,
    deviated: usize,
    failures: Vec<String>,
}

impl Tally {
    pub(crate) fn new(section: &str) -> Self {
        let text = fs::read_to_string(vectors().join("deviations.toml")).expect("deviations.toml");
        Self::with_rules(section, &text)
    }

    /// As `new`, with the rules given.
    pub(crate) fn with_rules(section: &str, text: &str) -> Self {
        let table: toml::Table = text.parse().expect("deviations.toml is TOML");
        let rules = table["rule"].as_array().expect("[[rule]]").iter().map(Rule::parse);
        let rules = rules.filter(|rule| rule.section == section).collect();
        Self { section: section.into(), rules, cases: 0, passed: 0, deviated: 0, failures: Vec::new() }
    }

    /// Counts one case. `matches` is Ok if our outcome is the recorded one, else it says how they differ; `ours` is the
    /// code of our outcome, which a rule must name.
    pub(crate) fn judge(&mut self, case: &Case, facts: Facts<'_>, ours: &str, matches: Result<(), String>) {
        self.cases += 1;
        let rule = self.rules.iter_mut().find(|rule| rule.covers(&case.name, facts));
        let verdict = match (rule, matches) {
            (None, Ok(())) => {
                self.passed += 1;
                return;
            }
            (Some(rule), Err(_)) if rule.ours == ours => {
                rule.used = true;
                self.deviated += 1;
                return;
            }
            (None, Err(difference)) => difference,
            (Some(rule), Err(difference)) => {
                format!("the rule says '{}', the outcome is '{ours}': {difference}", rule.ours)
            }
            (Some(rule), Ok(())) => {
                format!("covered by the rule for '{}', but it does as recorded", rule.ours)
            }
        };
        self.failures.push(format!("{} ({}): {verdict}", case.name, case.file));
    }

    /// As [`judge`](Self::judge), for a case in which several rules may apply at once: `ours` has a code for each way in
    /// which our outcome is another, and each needs a rule; `matches` is about the recorded outcome with these applied.
    pub(crate) fn judge_all(
        &mut self,
        case: &Case,
        facts: Facts<'_>,
        ours: &[&str],
        matches: Result<(), String>,
    ) {
        self.cases += 1;
        let mut verdict = matches;
        for rule in self.rules.iter_mut().filter(|rule| rule.covers(&case.name, facts)) {
            if ours.contains(&rule.ours.as_str()) {
                rule.used = true;
            } else if verdict.is_ok() {
                verdict = Err(format!("covered by the rule for '{}', but it does as recorded", rule.ours));
            }
        }
        for code in ours {
            let covered = self.rules.iter().any(|rule| rule.ours == *code && rule.covers(&case.name, facts));
            if !covered && verdict.is_ok() {
                verdict = Err(format!("no rule says '{code}'"));
            }
        }
        match verdict {
            Ok(()) if ours.is_empty() => self.passed += 1,
            Ok(()) => self.deviated += 1,
            Err(difference) => self.failures.push(format!("{} ({}): {difference}", case.name, case.file)),
        }
    }

    /// Fails the test unless every case is accounted for and every rule was needed.
    pub(crate) fn finish(self) {
        println!(
            "{}: {} cases, {} passed, {} deviated",
            self.section, self.cases, self.passed, self.deviated
        );
        assert!(self.failures.is_empty(), "{}:\n{}", self.section, self.failures.join("\n"));
        assert!(self.cases > 0, "{}: no cases", self.section);
        assert_eq!(self.cases, self.passed + self.deviated, "{}: not every case was counted", self.section);
        for rule in self.rules {
            assert!(rule.used || rule.unseen, "{}: no case needs the rule {:?}", self.section, rule.when);
        }
    }
}

#[derive(Debug)]
struct Rule {
    section: String,
    when: Vec<(String, String)>,
    ours: String,
    unseen: bool,
    used: bool,
}

impl Rule {
    fn parse(value: &toml::Value) -> Self {
        let text = |key: &str| {
            let text = value.get(key).and_then(toml::Value::as_str);
            text.unwrap_or_else(|| panic!("a rule has no {key}: {value}")).to_owned()
        };
        assert!(!text("clause").is_empty() && !text("why").is_empty(), "a rule gives no reason: {value}");
        let when = value.get("when").and_then(toml::Value::as_table).expect("a rule has no condition");
        assert!(!when.is_empty(), "a rule for everything: {value}");
        let when =
            when.iter().map(|(key, value)| (key.clone(), value.as_str().expect("a string").to_owned()));
        let unseen = value.get("unseen").and_then(toml::Value::as_bool).unwrap_or(false);
        Self { section: text("section"), when: when.collect(), ours: text("ours"), unseen, used: false }
    }

    fn covers(&self, name: &str, facts: Facts<'_>) -> bool {
        self.when.iter().all(|(key, wanted)| match key.as_str() {
            "name" => glob(wanted, name),
            _ => facts.iter().any(|(fact, value)| fact == key && value == wanted),
        })
    }
}

/// `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.is_char_boundary(at) && glob(rest, &text[at..]))
        }),
    }
}

fn case(file: &str, entry: &Value) -> Case {
    let name = entry["name"].as_str().expect("an entry has a name").to_owned();
    Case { file: file.to_owned(), name, value: entry.clone() }
}

/// The recordings, the cases that nobody recorded but the specification describes, and the files that the environment
/// variable `EXTRA_VECTORS` names.
fn files() -> Vec<(String, Value)> {
    let mut paths: Vec<PathBuf> = ["memberlist-vectors.json", "serf-vectors.json", "described-vectors.json"]
        .iter()
        .map(|name| vectors().join(name))
        .collect();
    if let Some(extra) = env::var_os("EXTRA_VECTORS") {
        paths.extend(env::split_paths(&extra).filter(|path| !path.as_os_str().is_empty()));
    }
    paths.iter().map(|path| load(path)).collect()
}

fn load(path: &Path) -> (String, Value) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let content = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), content)
}

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors")
}

/// Bytes from hex.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "not hex: {text}");
    let digits = text.as_bytes().chunks(2).map(|pair| core::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("not hex: {text}"))).collect()
}

/// Bytes to hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [[rule]]
        section = "s"
        when = { name = "a*c", kind = "odd" }
        ours = "other"
        clause = "1"
        why = "because"
    "#;

    fn entry(name: &str) -> Case {
        Case { file: String::new(), name: name.into(), value: Value::Null }
    }

    #[test]
    fn a_rule_covers_by_name_and_facts() {
        let mut tally = Tally::with_rules("s", RULES);
        tally.judge(&entry("abc"), &[("kind", "odd")], "other", Err("differs".into()));
        tally.judge(&entry("abc"), &[("kind", "even")], "", Ok(()));
        assert_eq!((tally.cases, tally.passed, tally.deviated), (2, 1, 1));
        tally.finish();
    }

    #[test]
    #[should_panic(expected = "the outcome is 'third'")]
    fn a_deviation_must_be_the_one_of_the_rule() {
        let mut tally = Tally::with_rules("s", RULES);
        tally.judge(&entry("ac"), &[("kind", "odd")], "third", Err("differs".into()));
        tally.finish();
    }

    #[test]
    #[should_panic(expected = "does as recorded")]
    fn a_rule_too_broad_fails() {
        let mut tally = Tally::with_rules("s", RULES);
        tally.judge(&entry("ac"), &[("kind", "odd")], "", Ok(()));
        tally.finish();
    }

    #[test]
    #[should_panic(expected = "no case needs the rule")]
    fn a_rule_without_cases_fails() {
        let mut tally = Tally::with_rules("s", RULES);
        tally.judge(&entry("b"), &[], "", Ok(()));
        tally.finish();
    }

    #[test]
    #[should_panic(expected = "differs")]
    fn a_difference_without_a_rule_fails() {
        let mut tally = Tally::with_rules("s", RULES);
        tally.judge(&entry("b"), &[], "", Err("differs".into()));
        tally.finish();
    }
}

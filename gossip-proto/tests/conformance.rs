//! Keeps docs/conformance.md in step with the tests: it lists which test of ours stands for which test of memberlist or
//! Serf, as the comments `upstream: TestName` above the tests say. vectors/upstream-tests.toml has the names of upstream's,
//! and why some have no counterpart. `WRITE_CONFORMANCE=1` writes the page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

const INTRODUCTION: &str = "\
# Conformance

Which tests of memberlist and Serf have a counterpart here. A counterpart checks the behaviour that the upstream test
checks, by its own means: virtual time instead of sleeping, a simulated network instead of sockets. The messages
themselves are checked against recorded vectors, see `vectors/`.

This page is generated from the `upstream:` comments above the tests and from `vectors/upstream-tests.toml`:
`WRITE_CONFORMANCE=1 cargo test -p gossip-proto --test suite conformance`.
";

#[test]
fn the_page_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text =
        fs::read_to_string(root.join("vectors/upstream-tests.toml")).expect("the names of upstream's tests");
    let inventory = Inventory::parse(&text);
    let mut claims = BTreeMap::new();
    collect(&root, &root, &mut claims);
    let complaints = inventory.complaints(&claims);
    assert!(complaints.is_empty(), "vectors/upstream-tests.toml:\n{}", complaints.join("\n"));
    let page = inventory.page(&claims);
    let path = root.join("docs/conformance.md");
    if env::var_os("WRITE_CONFORMANCE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/conformance.md is stale: WRITE_CONFORMANCE=1 cargo test -p gossip-proto --test suite conformance"
    );
}

/// Upstream's tests: their names by project and file, and why some have no counterpart.
struct Inventory {
    projects: Vec<Project>,
    without: BTreeMap<String, String>,
}

struct Project {
    title: &'static str,
    /// Every test needs a counterpart or a reason. If not, those without are left out.
    whole: bool,
    files: Vec<(String, Vec<String>)>,
}

impl Inventory {
    fn parse(text: &str) -> Self {
        let table: toml::Table = text.parse().expect("TOML");
        let names = |value: &toml::Value| -> Vec<String> {
            let names = value.as_array().expect("a list of names").iter();
            names.map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        let project = |key: &str, title, whole| {
            let files = table[key].as_table().expect("a project").iter();
            Project { title, whole, files: files.map(|(file, value)| (file.clone(), names(value))).collect() }
        };
        let without = table["without"].as_table().expect("reasons").iter();
        let inventory = Self {
            projects: [
                project("memberlist", "memberlist", true),
                project("serf", "Serf, the library", true),
                project("agent", "Serf, the agent", false),
            ]
            .into(),
            without: without
                .map(|(name, why)| (name.clone(), why.as_str().expect("a reason").to_owned()))
                .collect(),
        };
        let mut seen = BTreeSet::new();
        for name in inventory.projects.iter().flat_map(Project::tests) {
            assert!(seen.insert(name), "{name} is there twice");
        }
        inventory
    }

    fn complaints(&self, claims: &Claims) -> Vec<String> {
        let mut complaints = Vec::new();
        let known: BTreeSet<&String> = self.projects.iter().flat_map(Project::tests).collect();
        for (name, ours) in claims.iter().filter(|(name, _)| !known.contains(name)) {
            complaints.push(format!("no upstream test is called {name}, as {} says", join(ours)));
        }
        for name in self.without.keys().filter(|name| !known.contains(name)) {
            complaints.push(format!("a reason for {name}, which no upstream test is called"));
        }
        for name in self.without.keys().filter(|name| claims.contains_key(*name)) {
            complaints.push(format!("{name} has a counterpart, and a reason why it has none"));
        }
        for project in self.projects.iter().filter(|project| project.whole) {
            for name in project.tests() {
                if !claims.contains_key(name) && !self.without.contains_key(name) {
                    complaints.push(format!("{name} has neither a counterpart nor a reason why it has none"));
                }
            }
        }
        complaints
    }

    fn page(&self, claims: &Claims) -> String {
        let mut page = String::from(INTRODUCTION);
        for project in &self.projects {
            page.push_str(&format!("\n## {}\n\n", project.title));
            let all = project.tests().count();
            let with = project.tests().filter(|name| claims.contains_key(*name)).count();
            page.push_str(&match project.whole {
                true => format!("{all} tests, {with} with a counterpart.\n"),
                false => format!("The {with} of {all} tests that have a counterpart.\n"),
            });
            for (file, tests) in &project.files {
                let mut rows = Vec::new();
                for name in tests {
                    let ours = match (claims.get(name), self.without.get(name)) {
                        (Some(ours), _) => join(ours),
                        (None, Some(why)) => format!("none: {why}"),
                        (None, None) => continue,
                    };
                    rows.push(format!("| {name} | {ours} |\n"));
                }
                if !rows.is_empty() {
                    page.push_str(&format!("\n| {file} | counterpart |\n|---|---|\n{}", rows.concat()));
                }
            }
        }
        page
    }
}

impl Project {
    fn tests(&self) -> impl Iterator<Item = &String> {
        self.files.iter().flat_map(|(_, tests)| tests)
    }
}

fn join(ours: &BTreeSet<String>) -> String {
    ours.iter().map(String::as_str).collect::<Vec<_>>().join("<br>")
}

type Claims = BTreeMap<String, BTreeSet<String>>;

/// Goes through all sources below `dir`, other than what was built or fetched.
fn collect(root: &Path, dir: &Path, claims: &mut Claims) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") && name != "fuzz" {
                collect(root, &path, claims);
            }
        } else if name.ends_with(".rs") && name != "conformance.rs" {
            let file = path.strip_prefix(root).expect("below the root").display().to_string();
            read(&file, &fs::read_to_string(&path).expect("a source file"), claims);
        }
    }
}

/// Takes the claims of one file. A comment that is indented further than the last function's head stands inside of it;
/// any other belongs to the next function.
fn read(file: &str, text: &str, claims: &mut Claims) {
    let mut function: Option<(&str, usize)> = None;
    let mut waiting: Vec<&str> = Vec::new();
    let mut claim = |name: &str, function: &str| {
        claims.entry(name.into()).or_default().insert(format!("`{function}` ({file})"));
    };
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(names) = line.trim().strip_prefix("// upstream:") {
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                match function {
                    Some((function, head)) if indent > head => claim(name, function),
                    _ => waiting.push(name),
                }
            }
        } else if let Some(name) = function_name(line.trim()) {
            waiting.drain(..).for_each(|upstream| claim(upstream, name));
            function = Some((name, indent));
        }
    }
    assert!(waiting.is_empty(), "{file}: nothing follows `upstream: {}`", waiting.join(", "));
}

fn function_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = rest.strip_prefix("async ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

#[test]
fn comments_are_found_above_and_inside_of_functions() {
    let text = "
        // upstream: TestA, TestB
        #[test]
        fn above() {
            body();
        }

        // upstream: TestC
        /// With documentation.
        #[test]
        fn documented() {}

        fn inside() {
            // upstream: TestA
        }
    ";
    let mut claims = Claims::new();
    read("x.rs", text, &mut claims);
    let of = |name: &str| claims[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("TestA"), ["`above` (x.rs)", "`inside` (x.rs)"]);
    assert_eq!(of("TestB"), ["`above` (x.rs)"]);
    assert_eq!(of("TestC"), ["`documented` (x.rs)"]);

    let inventory = |memberlist: &str, without: &str| {
        Inventory::parse(&format!(
            "[memberlist]\nfile = [{memberlist}]\n[serf]\nfile = []\n[agent]\nfile = [\"TestC\"]\n[without]\n{without}"
        ))
    };
    let whole = inventory("'TestA', 'TestB', 'TestX'", "TestX = 'for a reason'");
    assert_eq!(whole.complaints(&claims), [""; 0]);
    let page = whole.page(&claims);
    assert!(
        page.contains("| TestC | `documented` (x.rs) |\n")
            && page.contains("| TestX | none: for a reason |\n")
    );
    for (memberlist, without, complaint) in [
        ("'TestA'", "", "no upstream test is called TestB, as `above` (x.rs) says"),
        ("'TestA', 'TestB'", "TestX = 'x'", "a reason for TestX, which no upstream test is called"),
        ("'TestA', 'TestB'", "TestB = 'x'", "TestB has a counterpart, and a reason why it has none"),
        ("'TestA', 'TestB', 'TestX'", "", "TestX has neither a counterpart nor a reason why it has none"),
    ] {
        assert_eq!(inventory(memberlist, without).complaints(&claims), [complaint]);
    }
}

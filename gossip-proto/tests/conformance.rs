//! Keeps docs/conformance.md in step with the tests: it lists which test of ours stands for which test of memberlist or
//! Serf, as the comments `upstream: TestName` above the tests say. `WRITE_CONFORMANCE=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

const INTRODUCTION: &str = "\
# Conformance

Which tests of memberlist and Serf have a counterpart here. A counterpart checks the behaviour that the upstream test
checks, by its own means: virtual time instead of sleeping, a simulated network instead of sockets. The messages
themselves are checked against recorded vectors, see `vectors/`.

This page is generated from the `upstream:` comments above the tests:
`WRITE_CONFORMANCE=1 cargo test -p gossip-proto --test conformance`.

| upstream test | counterpart |
|---|---|
";

#[test]
fn the_page_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut claims = BTreeMap::new();
    collect(&root, &root, &mut claims);
    let page = page(&claims);
    let path = root.join("docs/conformance.md");
    if env::var_os("WRITE_CONFORMANCE").is_some() {
        fs::write(&path, &page).expect("the page can be written");
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/conformance.md is stale: WRITE_CONFORMANCE=1 cargo test -p gossip-proto --test conformance"
    );
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

fn page(claims: &Claims) -> String {
    let mut page = String::from(INTRODUCTION);
    for (upstream, ours) in claims {
        let ours: Vec<_> = ours.iter().map(String::as_str).collect();
        page.push_str(&format!("| {upstream} | {} |\n", ours.join("<br>")));
    }
    page.push_str(&format!("\n{} upstream tests have a counterpart.\n", claims.len()));
    page
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
    assert!(page(&claims).contains("| TestC | `documented` (x.rs) |\n"));
}

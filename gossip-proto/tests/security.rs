//! `SECURITY.md` promises what tests show: those it names must be there, and those of attacks must be named.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_tests_that_security_names_exist_and_no_attack_is_left_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let named: BTreeSet<&str> = page.lines().filter_map(tests_column).flatten().collect();
    assert!(named.len() > 50, "{named:?}");
    let mut all = BTreeSet::new();
    let mut attacks = BTreeSet::new();
    for folder in fs::read_dir(&root).expect("the repository") {
        let path = folder.expect("an entry").path();
        if path.join("Cargo.toml").exists() {
            ["src", "tests"].iter().for_each(|part| collect(&path.join(part), &mut all));
        }
    }
    for part in ["attacks", "bounds"] {
        collect(&root.join("gossip-proto/tests").join(part), &mut attacks);
    }
    let missing: Vec<_> = named.iter().filter(|name| !all.contains(**name)).collect();
    assert!(missing.is_empty(), "there are no tests {missing:?}");
    // What leaves nothing behind is not worth a line.
    let trifles = ["messages_of_no_known_kind_leave_a_count"];
    let unnamed: Vec<_> = attacks
        .iter()
        .filter(|name| !named.contains(name.as_str()) && !trifles.contains(&name.as_str()))
        .collect();
    assert!(unnamed.is_empty(), "SECURITY.md does not name {unnamed:?}");
}

/// The words in backticks of the last column of a table's row.
fn tests_column(line: &str) -> Option<impl Iterator<Item = &str>> {
    let row = line.strip_prefix('|')?.strip_suffix('|')?;
    let (_, last) = row.rsplit_once('|')?;
    Some(last.split('`').skip(1).step_by(2))
}

/// The names of all tests below a folder.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name = line
                    .trim_start_matches("async ")
                    .strip_prefix("fn ")
                    .and_then(|rest| rest.split('(').next());
                if let Some(name) = name.filter(|_| core::mem::take(&mut is_test)) {
                    names.insert(name.to_owned());
                }
            }
        }
    }
}

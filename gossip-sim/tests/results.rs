//! The tables of the results, and the figures that must stay what they are.

use std::fs;

use gossip_sim::baseline;
use gossip_sim::compare::table;
use gossip_sim::results::{Tables, Wanted, results};

const LIST: &str = "[[table]]\nid = \"a\"\nscenario = \"e7\"\nset = [\"n=8\"]\nfilter = \"variant=swim\"\nseeds = 2\n\
                    columns = \"n\"\n[[table.claim]]\nmetric = \"datagrams_per_period\"\nwithin = 1.5\n\
                    [[table]]\nid = \"b\"\nscenario = \"e12\"\nslow = true\n";

#[test]
fn what_was_measured_is_what_is_committed() {
    let committed = baseline::from_json(include_str!("../baseline.json")).unwrap();
    let differences = baseline::compare(&committed, &baseline::measure(2).unwrap());
    assert!(
        differences.is_empty(),
        "the protocol behaves otherwise than when gossip-sim/baseline.json was written. If that is meant, write it anew:\n  \
         cargo run --release -p gossip-sim -- baseline gossip-sim/baseline.json --write\n{}",
        table(&differences, true)
    );
}

#[test]
fn figures_that_changed_came_or_went_are_all_named() {
    let figures = |json: &str| baseline::from_json(json).unwrap();
    let before =
        figures(r#"{"gossip-sim run x": {"ours": {"first_detection": 2.0, "formed": 1.0, "flaps": 3.0}}}"#);
    let after =
        figures(r#"{"gossip-sim run x": {"ours": {"first_detection": 3.0, "stalls": 0.0, "flaps": 3.0}}}"#);
    let differences = baseline::compare(&before, &after);
    let named: Vec<_> =
        differences.iter().map(|difference| (difference.metric.as_str(), difference.means)).collect();
    let expected = [
        ("first_detection", (Some(2.0), Some(3.0))),
        ("formed", (Some(1.0), None)),
        ("stalls", (None, Some(0.0))),
    ];
    assert_eq!(named, expected);
    assert_eq!(differences[0].row, "x: ours");
    assert_eq!(differences[0].relative, Some(0.5));
    assert!(baseline::compare(&before, &before).is_empty());
    assert_eq!(figures(&baseline::to_json(&before)), before);
    assert!(baseline::from_json("[]").unwrap_err().contains("no baseline"));
}

#[test]
fn the_tables_that_come_along_have_their_places_in_the_document() {
    let tables = Tables::builtin().unwrap();
    let document = include_str!("../../docs/results.md");
    for table in &tables.tables {
        for mark in [format!("<!-- results: {} -->", table.id), format!("<!-- end of {} -->", table.id)] {
            assert_eq!(document.matches(&mark).count(), 1, "{mark}");
        }
    }
}

#[test]
fn a_list_that_is_wrong_is_said_to_be_before_anything_runs() {
    for (from, to, says) in [
        ("n=8", "m=8", "m"),
        ("\"e7\"", "\"e777\"", "e777"),
        ("id = \"b\"", "id = \"a\"", "two of that name"),
        ("datagrams_per_period", "datagrams_per_decade", "datagrams_per_decade"),
        ("within", "witin", "witin"),
    ] {
        assert!(LIST.contains(from), "{from}");
        let error = Tables::parse(&LIST.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(says), "{to}: {error}");
    }
    let wanted = Wanted { only: vec!["c".into()], jobs: 1, ..Wanted::default() };
    let error = results(&Tables::parse(LIST).unwrap(), &wanted, &|_, _, _| {}).unwrap_err();
    assert!(error.contains("there are a, b"), "{error}");
}

#[test]
fn tables_go_between_their_marks_and_what_was_run_is_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("results.md");
    let tables = Tables::parse(LIST).unwrap();
    let wanted = Wanted {
        quick: true,
        kept: Some(folder.path().into()),
        write: Some(document.clone()),
        jobs: 1,
        ..Wanted::default()
    };
    let ran = core::sync::atomic::AtomicUsize::new(0);
    let make = |tables: &Tables| {
        results(tables, &wanted, &|table, _, _| {
            assert_eq!(table, "a", "b takes long");
            ran.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        })
    };

    fs::write(&document, "no place").unwrap();
    assert!(make(&tables).unwrap_err().contains("<!-- results: a -->"));
    assert_eq!(ran.load(core::sync::atomic::Ordering::Relaxed), 0);

    fs::write(&document, "before\n<!-- results: a -->\nold\n<!-- end of a -->\nafter\n").unwrap();
    assert_eq!(make(&tables).unwrap(), "");
    let text = fs::read_to_string(&document).unwrap();
    assert!(
        text.starts_with("before\n<!-- results: a -->\n") && text.ends_with("<!-- end of a -->\nafter\n"),
        "{text}"
    );
    assert!(!text.contains("old"));
    let command = "`gossip-sim run e7 --set n=8 --filter variant=swim --seeds 2`: seeds 1 to 2, 2 runs.";
    assert!(text.contains(command), "{text}");
    assert!(text.contains("| swim | datagrams_per_period |") && text.contains(" / 2, 1."), "{text}");
    assert!(text.contains("within a factor of 1.5 of what was published: 1 of 1, met."), "{text}");
    let runs = ran.load(core::sync::atomic::Ordering::Relaxed);
    assert!(runs > 0);

    make(&tables).unwrap();
    assert_eq!(ran.load(core::sync::atomic::Ordering::Relaxed), runs, "the report was kept");
    assert_eq!(fs::read_to_string(&document).unwrap(), text);
    make(&Tables::parse(&LIST.replacen("seeds = 2", "seeds = 1", 1)).unwrap()).unwrap();
    assert!(ran.load(core::sync::atomic::Ordering::Relaxed) > runs, "a report of other seeds is another one");
    assert!(fs::read_to_string(&document).unwrap().contains("seed 1, 1 run."));
}

#[test]
fn a_table_in_parts_is_kept_column_by_column() {
    let list = "[[table]]\nid = \"a\"\nscenario = \"e7\"\nset = [\"n=8,16\"]\nfilter = \"variant=swim\"\ncolumns = \"n\"\n\
                apart = true\nshow = [\"datagrams_per_period\"]\n";
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted { kept: Some(folder.path().into()), jobs: 1, ..Wanted::default() };
    let whole = Tables::parse(&list.replace("apart = true\n", "")).unwrap();
    let whole = results(&whole, &Wanted { jobs: 1, ..Wanted::default() }, &|_, _, _| {}).unwrap();
    let ran = std::sync::Mutex::new(Vec::new());
    let make = || {
        results(&Tables::parse(list).unwrap(), &wanted, &|part, _, _| {
            ran.lock().unwrap().push(part.to_owned())
        })
    };
    assert_eq!(make().unwrap(), whole, "the parts together are the whole");

    // What an interruption has left is not run again.
    fs::remove_file(folder.path().join("a.16.json")).unwrap();
    ran.lock().unwrap().clear();
    assert_eq!(make().unwrap(), whole);
    assert!(ran.lock().unwrap().iter().all(|part| part == "a.16"));
    let wrong = Tables::parse(&list.replace("columns = \"n\"\n", "")).unwrap_err();
    assert!(wrong.contains("columns must name"), "{wrong}");
}

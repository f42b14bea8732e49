//! The program, as people call it.

use std::fs;
use std::process::{Command, Output};

fn gossip_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gossip-sim")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn lists_and_shows_what_there_is() {
    let list = gossip_sim(&["list"]);
    assert!(list.status.success());
    for name in ["steady", "crash", "lifeguard-interval"] {
        assert!(stdout(&list).contains(name), "{name}");
    }
    let show = gossip_sim(&["show", "lifeguard-threshold"]);
    assert!(stdout(&show).starts_with("name = \"e2\""));
}

#[test]
fn runs_writes_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (a, b, page) = (path("a.json"), path("b.json"), path("a.html"));
    let run = |json: &str, more: &[&str]| {
        let output =
            gossip_sim(&[&["run", "crash", "--seeds", "1", "--nodes", "8", "--json", json], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let said = stdout(&run(&a, &["--html", &page, "--jobs", "1"]));
    assert!(said.contains("first_detection"), "{said}");
    run(&b, &["--jobs", "2"]);
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no temporary file is left");

    assert!(gossip_sim(&["compare", &a, &b, "--tolerance", "0"]).status.success());
    run(&b, &["--first-seed", "9", "--set", "suspicion_mult=12"]);
    let differs = gossip_sim(&["compare", &a, &b, "--tolerance", "0.05"]);
    assert_eq!(differs.status.code(), Some(1), "{}", stdout(&differs));
}

#[test]
fn says_what_is_wrong_before_it_runs_anything() {
    for (arguments, says) in [
        (&["run", "no-such"][..], "no-such"),
        (&["run", "crash", "--set", "nodess=3"], "nodess"),
        (&["run", "crash", "--jobs", "0"], "--jobs"),
        (&["run", "crash", "--json", "/no/such/folder/x.json"], "folder"),
        (&["compare", "/no/such/a.json", "/no/such/b.json"], "a.json"),
    ] {
        let output = gossip_sim(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

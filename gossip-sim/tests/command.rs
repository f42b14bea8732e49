//! The program, as people call it.

use core::time::Duration;
use std::fs;
use std::process::{Command, Output};

use gossip_proto::{Config, Node, Seed, ServiceConfig};
use transport_mem::net::Network;

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

/// What a node of three was told and did in 30 simulated seconds, in which another crashes.
fn recording() -> Vec<u8> {
    let mut net = Network::<Node>::new(Seed::from_u64(5));
    net.record_starts(Some(16 << 20));
    let nodes: Vec<_> = (0..3)
        .map(|number| {
            net.add_node(move |start| {
                let config = Config::lan(format!("node-{number}").as_str(), start.addr);
                Node::new(start.now, config, ServiceConfig::default(), start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    net.join(nodes[1], &nodes[..1]);
    net.join(nodes[2], &nodes[..1]);
    net.run_for(Duration::from_secs(10));
    net.with(nodes[1], |node, now| node.user_event(now, b"deploy", b"v2", false)).unwrap();
    net.vanish(nodes[2]);
    net.run_for(Duration::from_secs(20));
    net.stop_recording(nodes[0]);
    net.recording(nodes[0]).to_vec()
}

#[test]
fn replays_a_recording_and_says_how_exact_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node-0.rec");
    let file = path.to_str().unwrap();
    let recording = recording();
    fs::write(&path, &recording).unwrap();

    let whole = gossip_sim(&["replay", file]);
    let said = stdout(&whole);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    assert!(said.contains("replay is exact, to its end") && said.contains("node-2"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("node-2") && line.contains("Failed")), "{said}");
    assert!(said.contains("event   user event \"deploy\", 2 bytes"), "{said}");
    assert!(!said.lines().any(|line| line.ends_with(" nothing")), "what came to nothing is left out");
    let asked = stdout(&gossip_sim(&["replay", file, "--only", "output"]));
    assert!(asked.lines().any(|line| line.ends_with(" nothing")), "{asked}");

    let early = stdout(&gossip_sim(&["replay", file, "--until", "9s", "--only", "member"]));
    assert!(early.lines().any(|line| line.starts_with("node-2") && line.contains("Alive")), "{early}");
    assert!(
        early.contains("more follows") && early.lines().filter(|line| line.contains(" input ")).count() == 0
    );

    fs::write(&path, &recording[..recording.len() / 2]).unwrap();
    let cut = gossip_sim(&["replay", file]);
    assert!(cut.status.success() && stdout(&cut).contains("where it is cut off"));

    let mut damaged = recording.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let damaged = gossip_sim(&["replay", file]);
    assert!(damaged.status.code() == Some(2) || stdout(&damaged).contains("cut off"));

    fs::write(&path, b"no recording").unwrap();
    let none = gossip_sim(&["replay", file]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no recording"));
}

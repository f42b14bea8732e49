//! Storms: what is drawn can be run, nothing is left out, and some of them are.

use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use gossip_sim::scenario::{Action, Overrides, Scenario};
use gossip_sim::storm::{Storms, Tally, draw, storms};
use gossip_sim::{Options, execute};

fn gossip_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gossip-sim")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A new kind of step must be drawn as well, and with all that can be said of it.
#[test]
fn every_action_and_every_field_is_drawn_and_all_that_is_drawn_is_a_scenario() {
    let mut missing: BTreeSet<(Action, &str)> = Action::ALL
        .iter()
        .flat_map(|action| {
            let (needed, optional) = action.fields();
            needed.iter().chain(optional).map(|field| (*action, *field)).chain([(*action, "do")])
        })
        .collect();
    for seed in 0..1000 {
        let file = draw(seed).text().unwrap();
        let scenario = Scenario::parse("storm", &file, &Overrides::default());
        for step in scenario.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{file}")).steps {
            let step = step.into_inner();
            let names = |field: &str| file.contains(&format!("\n{field} = "));
            missing.retain(|(action, field)| *action != step.action || !names(field));
            missing.remove(&(step.action, "do"));
        }
    }
    assert_eq!(missing, BTreeSet::new());
    assert_eq!(draw(7).text(), draw(7).text());
    assert_ne!(draw(7).text(), draw(8).text());
}

/// Only Serf tries members that failed again. Without it a cluster that was split is one again by its seeds, the first of which
/// is `node-0`.
#[test]
fn without_serf_who_comes_back_joins_a_seed_and_that_is_not_gone_for_good() {
    let mut joins = 0;
    for seed in 0..1000 {
        let file: toml::Table = draw(seed).text().unwrap().parse().unwrap();
        let steps = file["step"].as_array().unwrap();
        let is =
            |step: &toml::Value, field, text| step.get(field).and_then(toml::Value::as_str) == Some(text);
        let in_the_end = |step| is(step, "do", "join") && is(step, "nodes", "all") && is(step, "via", "all");
        if file["cluster"]["machine"].as_str() != Some("membership") || steps.iter().any(in_the_end) {
            continue;
        }
        for step in steps.iter().filter(|step| !is(step, "do", "join")) {
            let whom = step.get("via");
            assert!(whom.is_none_or(|whom| whom.as_str() == Some("node-0")), "seed {seed}: {step}");
            joins += usize::from(whom.is_some());
            let down = ["leave", "crash", "vanish"].iter().any(|action| is(step, "do", action));
            assert!(
                !down || step.get("for").is_some() || !is(step, "nodes", "node-0"),
                "seed {seed}: {step}"
            );
        }
    }
    assert!(joins > 50, "{joins}");
}

#[test]
fn some_storms_break_nothing_and_are_counted() {
    let how = Storms { first_seed: 832, runs: Some(3), cpu: None, threads: 2, keep_going: true };
    let tally = storms(&how, &AtomicBool::new(false), &|_| {});
    assert_eq!(tally.broken, []);
    assert_eq!((tally.runs, tally.compared, tally.parts.len()), (3, 1, 1));
    assert!(tally.node_seconds > 1000.0 && tally.checked > 10_000 && tally.done.len() > 10, "{tally:?}");
    assert_eq!((tally.parts[0].first_seed, tally.parts[0].runs), (832, 3));

    let again = Tally::from_json(&tally.to_json()).unwrap();
    assert_eq!(again, tally);
    let sum = tally.with(&again);
    let done = |tally: &Tally| tally.done.values().sum::<u64>();
    assert_eq!((sum.runs, sum.parts.len(), done(&sum)), (6, 2, 2 * done(&tally)));
    assert!(Tally::from_json("{}").unwrap_err().contains("no totals"));
    assert!(Tally::from_json(&tally.to_json().replacen(": 1", ": 9", 1)).unwrap_err().contains("version 9"));
}

/// Scenarios that storms came to, without the steps that do not matter, and the seeds that they broke something with.
#[test]
fn what_storms_broke_once_is_mended() {
    for (file, seed) in [
        (include_str!("storms/leave-in-a-partition.toml"), 1010),
        (include_str!("storms/back-from-disks.toml"), 101_207),
        (include_str!("storms/last-one-left.toml"), 938_563_656_079),
        (include_str!("storms/two-contents.toml"), 234_819_505_852),
        (include_str!("storms/leave-that-one-heard-of.toml"), 940_386_251_573),
    ] {
        let scenario = Scenario::parse("storm", file, &Overrides::default()).unwrap();
        let options = Options { first_seed: seed, seeds: Some(1), jobs: 1, filter: None };
        execute(&scenario, &options, &|_, _| {}).unwrap();
    }
}

#[test]
fn storms_stop_when_they_are_told_to_and_when_the_time_is_over() {
    let how = Storms {
        first_seed: 1,
        runs: None,
        cpu: Some(Duration::from_nanos(1)),
        threads: 1,
        keep_going: false,
    };
    assert_eq!(storms(&how, &AtomicBool::new(false), &|_| {}).runs, 1);
    assert_eq!(storms(&how, &AtomicBool::new(true), &|_| {}).runs, 0);
}

#[test]
fn the_command_adds_up_and_prints_what_can_be_run_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (totals, once, file) = (path("totals.json"), path("once.json"), path("storm.toml"));
    for seed in ["5", "35"] {
        let output = gossip_sim(&["storm", "--seed", seed, "--runs", "2", "--add", &totals, "--json", &once]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("node-hours"));
    }
    let read = |path: &str| Tally::from_json(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((read(&totals).runs, read(&once).runs, read(&once).parts[0].first_seed), (4, 2, 35));
    assert_eq!(read(&totals).parts.iter().map(|part| part.first_seed).collect::<Vec<_>>(), [5, 35]);

    fs::write(&file, gossip_sim(&["storm", "--seed", "5", "--print"]).stdout).unwrap();
    let output = gossip_sim(&["run", &file, "--seeds", "1", "--first-seed", "5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let output = gossip_sim(&["storm", "--seed", "5", "--shrink"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("breaks nothing"), "{}", text(&output.stderr));
    fs::write(&totals, "{}").unwrap();
    let output = gossip_sim(&["storm", "--seed", "5", "--runs", "1", "--add", &totals]);
    assert!(
        text(&output.stderr).contains("no totals of storms"),
        "nothing was run: {}",
        text(&output.stderr)
    );
}

/// What the judge is there for: each of these ends with a cluster that has not settled, and it says why.
#[test]
fn a_cluster_that_has_not_settled_is_told_with_what_is_wrong() {
    let end = |step: &str, config: &str| {
        let file = format!(
            "name = \"unsettled\"\ntitle = \"Unsettled\"\n[cluster]\nnodes = 5\nconfig = {{ {config} }}\n\
             [start]\nsettle = \"5s\"\n[[step]]\n{step}\n[check]\nsettled = true\n\
             [stop]\nwhen = \"settled\"\nhold = \"15s\"\nafter = \"40s\"\n"
        );
        let scenario = Scenario::parse("test.toml", &file, &Overrides::default()).unwrap();
        let options = Options { first_seed: 1, seeds: Some(1), jobs: 1, filter: None };
        execute(&scenario, &options, &|_, _| {}).map(drop)
    };
    end("do = \"crash\"\nnodes = \"node-1\"", "").unwrap();
    for (step, config, says) in [
        ("do = \"pause\"\nnodes = \"node-1\"", "", "node-0 sees node-1 Failed, which runs"),
        ("do = \"cut\"\nfrom = \"node-0\"\nto = \"all\"\nboth_ways = true", "", "which runs"),
        (
            "do = \"crash\"\nnodes = \"node-1\"",
            "suspicion_mult = 100",
            "node-0 sees node-1 Suspect, which is down",
        ),
        (
            "do = \"set-tag\"\nnodes = \"node-1\"\nname = \"a\"\nat = \"39900ms\"",
            "gossip_interval = \"10s\"",
            "in incarnation",
        ),
        (
            "do = \"user-event\"\nnodes = \"node-1\"\nat = \"39900ms\"",
            "gossip_interval = \"10s\"",
            "clocks of node-0 and node-1 differ",
        ),
    ] {
        let error = end(step, config).unwrap_err();
        assert!(error.contains("not settled at") && error.contains(says), "{step}: {error}");
        assert!(error.contains("gossip-sim run test.toml --seeds 1 --first-seed 1"), "{error}");
    }
}

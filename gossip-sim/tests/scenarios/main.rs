//! Scenario files: what they may say, what their steps do, and that a report depends on nothing else.

mod steps;

use gossip_sim::compare::compare;
use gossip_sim::scenario::{Action, Overrides, Scenario, builtins};
use gossip_sim::{Options, Report, Row, execute};

fn parse(text: &str) -> Result<Scenario, String> {
    Scenario::parse("test.toml", text, &Overrides::default()).map_err(|error| error.to_string())
}

fn run(text: &str, jobs: usize) -> Report {
    run_seeds(text, jobs, 2)
}

fn run_seeds(text: &str, jobs: usize, seeds: u64) -> Report {
    let scenario = parse(text).unwrap();
    let options = Options { first_seed: 1, seeds: Some(seeds), jobs, filter: None };
    execute(&scenario, &options, &|_, _| {}).unwrap().0
}

/// A cluster of eight to which one step is done.
fn one_step(machine: &str, step: &str, stop: &str) -> String {
    format!(
        "name = \"one-step\"\ntitle = \"One step\"\n[cluster]\nmachine = \"{machine}\"\nnodes = 8\n\
         [start]\nsettle = \"5s\"\n[[group]]\nname = \"some\"\nnumbers = [3, 4]\n\
         [[step]]\n{step}\n[stop]\n{stop}\n"
    )
}

fn only(report: &Report) -> &Row {
    assert_eq!(report.rows.len(), 1, "one variant, one cell");
    &report.rows[0]
}

fn mean(report: &Report, metric: &str) -> f64 {
    let row = only(report);
    row.metrics.get(metric).unwrap_or_else(|| panic!("{metric} among {:?}", row.metrics.keys())).summary.mean
}

#[test]
fn the_scenarios_that_come_along_are_sound_and_have_names_of_their_own() {
    let mut names = Vec::new();
    for scenario in builtins() {
        assert!(!scenario.title.is_empty() && !scenario.shows.is_empty(), "{}", scenario.name);
        names.extend(core::iter::once(scenario.name).chain(scenario.aliases));
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn the_example_of_the_documentation_is_a_scenario() {
    let source = include_str!("../../src/lib.rs");
    let example: String = source
        .lines()
        .skip_while(|line| *line != "//! ```toml")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| format!("{}\n", line.trim_start_matches("//! ").trim_start_matches("//!")))
        .collect();
    assert!(example.contains("[[published]]"));
    let scenario = parse(&example).unwrap();
    assert_eq!((scenario.cells().len(), scenario.all_variants().len()), (2, 2));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line_and_what_would_be_right() {
    let good = one_step("node", "do = \"crash\"\nnodes = \"some\"", "after = \"20s\"");
    parse(&good).unwrap();
    for (from, to, says) in [
        ("after = \"20s\"", "after = \"20 parsecs\"", "20 parsecs"),
        ("after = \"20s\"", "after = \"20s\"\nwhenever = 1", "whenever"),
        ("do = \"crash\"", "do = \"crush\"", "crush"),
        ("nodes = \"some\"", "nodes = \"others\"", "others"),
        ("nodes = \"some\"", "nodes = \"some\"\nrate = 1.0", "rate"),
        ("nodes = 8", "nodes = \"$many\"", "many"),
        ("nodes = 8", "nodes = 8\nconfig = { suspicion_mul = 5 }", "suspicion_mult"),
        ("nodes = 8", "nodes = 8\nexperiment = { logarithm = \"two\" }", "natural"),
        ("numbers = [3, 4]", "numbers = [3, 40]", "below 8"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = parse(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.starts_with("test.toml") && error.contains(says), "{to:?}: {error}");
    }
}

#[test]
fn a_report_is_the_same_however_many_threads_made_it_and_every_time() {
    let text = one_step("node", "do = \"crash\"\nnodes = \"some\"", "after = \"40s\"\nwhen = \"detected\"");
    let once = run(&text, 1);
    let json = once.to_json();
    assert_eq!(run(&text, 2).to_json(), json);
    assert_eq!(run(&text, 1).to_json(), json);
    assert!(once.runs.iter().all(|run| run.trace.len() == 16) && once.runs[0].trace != once.runs[1].trace);

    let read = Report::from_json(&json).unwrap();
    assert_eq!(read, once);
    assert!(compare(&once, &read).unwrap().iter().all(|difference| !difference.exceeds(0.0)));
    assert!(Report::from_json("{}").unwrap_err().contains("no report"));
    let later = json.replacen("\"version\": 1", "\"version\": 9", 1);
    assert!(Report::from_json(&later).unwrap_err().contains('9'));
}

#[test]
fn reports_that_differ_are_told_apart() {
    let quick = one_step("node", "do = \"crash\"\nnodes = \"some\"", "after = \"90s\"\nwhen = \"detected\"");
    let slow = quick.replacen("nodes = 8", "nodes = 8\nconfig = { suspicion_mult = 12 }", 1);
    let differences = compare(&run_seeds(&quick, 2, 8), &run_seeds(&slow, 2, 8)).unwrap();
    let detection = differences.iter().find(|difference| difference.metric == "first_detection").unwrap();
    assert!(detection.means.1 > detection.means.0 && detection.exceeds(0.2));
}

#[test]
fn crashes_and_losses_of_power_are_detected() {
    for action in ["crash", "vanish"] {
        for machine in ["node", "membership"] {
            let step = format!("do = \"{action}\"\nnodes = \"some\"\nat = \"1s\"");
            let report = run(&one_step(machine, &step, "after = \"60s\"\nwhen = \"detected\""), 2);
            assert_eq!(mean(&report, "outages"), 2.0);
            assert_eq!(mean(&report, "fully_detected"), 2.0, "{action} {machine}");
            assert_eq!(mean(&report, "false_positives"), 0.0);
        }
    }
}

#[test]
fn a_member_that_stands_still_for_long_fails_and_comes_back() {
    for action in ["pause", "stop-io"] {
        let step = format!("do = \"{action}\"\nnodes = \"some\"\nfor = \"40s\"");
        let report = run(&one_step("node", &step, "after = \"100s\"\nwhen = \"agreed\""), 2);
        assert_eq!(mean(&report, "fully_detected"), 2.0, "{action}");
        assert_eq!(mean(&report, "agreed"), 1.0, "{action}");
        let brief = step.replace("40s", "200ms");
        let report = run(&one_step("node", &brief, "after = \"20s\""), 2);
        assert_eq!(mean(&report, "detected"), 0.0, "{action}");
    }
}

#[test]
fn a_partition_heals() {
    let step = "do = \"partition\"\ngroups = [\"some\"]\nfor = \"30s\"";
    let report = run(&one_step("node", step, "after = \"120s\"\nwhen = \"agreed\""), 2);
    assert_eq!(mean(&report, "agreed"), 1.0);
    assert!(mean(&report, "convergence") > 0.0);
    let cut = step.replace("30s", "500s");
    let report = run(&one_step("node", &cut, "after = \"60s\""), 2);
    assert_eq!(mean(&report, "agreed"), 0.0, "it is still cut");
}

#[test]
fn losses_cuts_and_blocked_datagrams_do_harm_while_they_last() {
    for (step, harm) in [
        ("do = \"loss\"\nnodes = \"some\"\nin = 1.0\nout = 1.0", true),
        ("do = \"loss\"\nnodes = \"some\"\nin = 0.0", false),
        ("do = \"cut\"\nfrom = \"all\"\nto = \"some\"\nboth_ways = true", true),
        ("do = \"block-datagrams\"\nfrom = \"all\"\nto = \"some\"\nboth_ways = true", false),
    ] {
        let report = run(&one_step("membership", step, "after = \"40s\""), 2);
        let view = mean(&report, "view_min");
        assert_eq!(view < 8.0, harm, "{step}: {view}");
    }
}

#[test]
fn farewells_events_queries_and_tags_reach_everybody() {
    let leave =
        run(&one_step("node", "do = \"leave\"\nnodes = \"some\"", "after = \"30s\"\nwhen = \"detected\""), 2);
    assert_eq!((mean(&leave, "leaves"), mean(&leave, "left_as_failed")), (2.0, 0.0));
    let event =
        run(&one_step("node", "do = \"user-event\"\nnodes = \"some\"\nsize = 64", "after = \"10s\""), 2);
    assert_eq!(mean(&event, "residue"), 0.0);
    assert!(mean(&event, "last_delivery") > 0.0);
    assert!(mean(&event, "event_sends") > 0.0);
    let query = run(&one_step("node", "do = \"query\"\nnodes = \"some\"", "after = \"20s\""), 2);
    assert_eq!((mean(&query, "query_acks"), mean(&query, "query_answers")), (1.0, 1.0));
    let tag = one_step(
        "node",
        "do = \"set-tag\"\nnodes = \"some\"\nname = \"role\"\nvalue = \"x\"",
        "after = \"10s\"",
    );
    assert_ne!(run(&tag, 1).runs[0].trace, run(&tag.replace("\"x\"", "\"y\""), 1).runs[0].trace);
}

#[test]
fn churn_replaces_nodes_and_the_rest_agrees_afterwards() {
    let step = "do = \"churn\"\nrate = 0.2\nfor = \"30s\"\naway = \"3s\"";
    let report = run(&one_step("node", step, "after = \"120s\"\nwhen = \"agreed\""), 2);
    assert!(mean(&report, "outages") >= 3.0);
    assert_eq!(mean(&report, "agreed"), 1.0);
}

#[test]
fn every_action_has_a_name_of_its_own_and_fields() {
    let mut names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Action::ALL.len());
}

#[test]
fn clusters_form_in_every_way() {
    let base = one_step("node", "do = \"heal\"", "after = \"60s\"\nwhen = \"agreed\"");
    for how in ["seed-then-all", "sequential"] {
        let every = if how == "sequential" { "every = \"1s\"" } else { "settle = \"2s\"" };
        let text = base.replacen("settle = \"5s\"", &format!("how = \"{how}\"\n{every}"), 1);
        let report = run(&text, 2);
        assert_eq!(mean(&report, "agreed"), 1.0, "{how}");
        assert!(mean(&report, "formed") > 0.0, "{how}");
    }
    for machine in ["node", "membership"] {
        let text =
            one_step(machine, "do = \"crash\"\nnodes = \"some\"", "after = \"60s\"\nwhen = \"detected\"");
        let text = text.replacen("settle = \"5s\"", "how = \"known\"", 1);
        let report = run(&text, 2);
        assert_eq!(mean(&report, "fully_detected"), 2.0, "{machine}: they knew each other");
        assert!(!only(&report).metrics.contains_key("formed"));
        assert_eq!(mean(&report, "false_positives"), 0.0);
    }
    let text = base.replacen("settle = \"5s\"", "how = \"strangers\"", 1);
    assert_eq!(mean(&run(&text, 2), "agreed"), 0.0);
}

fn error_of(text: &str, overrides: &Overrides) -> String {
    let scenario = Scenario::parse("test.toml", text, overrides).unwrap();
    let options = Options { first_seed: 7, seeds: Some(1), jobs: 1, filter: None };
    execute(&scenario, &options, &|_, _| {}).unwrap_err()
}

#[test]
fn a_run_that_breaks_a_rule_fails_and_says_how_to_repeat_it() {
    let text = one_step("node", "do = \"crash\"\nnodes = \"some\"", "after = \"20s\"");
    let overrides = Overrides {
        nodes: Some(9),
        set: vec![("check.budget".into(), "300".into()), ("label".into(), "a b".into())],
    };
    let error = error_of(&text, &overrides);
    assert!(error.contains("Budget broken at") && error.contains("300 may be"), "{error}");
    let line = "repeat it with: gossip-sim run test.toml --nodes 9 --set check.budget=300 --set 'label=a b' --seeds 1 \
                --first-seed 7 --filter variant=ours";
    assert!(error.ends_with(line) && error.matches("repeat it with").count() == 1, "{error}");
}

#[test]
fn nodes_that_never_agree_break_a_rule_where_they_are_to_agree() {
    let split = "do = \"partition\"\ngroups = [\"some\"]\nfor = \"200s\"";
    let stop = "after = \"15m\"\nwhen = \"agreed\"";
    // memberlist's machine has forgotten the other side by then, and looks for nobody.
    let membership = one_step("membership", split, stop);
    assert_eq!(mean(&run_seeds(&membership, 1, 1), "agreed"), 0.0, "nothing is promised");
    let error = error_of(&format!("{membership}[check]\neventually = true\n"), &Overrides::default());
    assert!(error.contains("Disagreement broken at") && error.contains("views at"), "{error}");
    assert_eq!(mean(&run_seeds(&one_step("node", split, stop), 1, 1), "agreed"), 1.0);
}

#[test]
fn what_traffic_is_for_what_waits_and_how_far_an_event_goes_is_in_the_report() {
    for machine in ["node", "membership"] {
        let step = "do = \"user-event\"\nnodes = \"node-0\"\nat = \"5s\"";
        let report = run_seeds(&one_step(machine, step, "after = \"20s\""), 1, 1);
        let series = only(&report).series.as_ref().unwrap();
        let kind = |name: &str| {
            series.kinds.iter().find(|load| load.kind == name).unwrap_or_else(|| panic!("no {name}"))
        };
        // A ping and an acknowledgement per node and second, as eight nodes hear them.
        for name in ["ping", "ack"] {
            assert!((0.9..1.2).contains(&kind(name).messages_sent), "{machine}: {:?}", kind(name));
            assert_eq!(kind(name).messages_sent, kind(name).messages_received, "nothing is lost");
        }
        let event = kind(if machine == "node" { "user event" } else { "user" });
        assert!(event.messages_received > 0.0 && event.bytes_sent > 0.0, "{machine}: {event:?}");
        let datagrams: f64 = series.kinds.iter().map(|load| load.bytes_sent).sum();
        let counted = mean(&report, "bytes_sent") + mean(&report, "stream_bytes");
        assert!((datagrams / counted - 1.0).abs() < 0.02, "{machine}: {datagrams} of {counted}");

        assert!((1.0..6.0).contains(&mean(&report, "last_hop")), "{machine}");
        assert!(mean(&report, "redundancy") >= 0.0);
        assert!(mean(&report, "queued_max") >= 1.0, "the event waited somewhere");
        assert!(series.longest.iter().any(|longest| longest.what == "members" && longest.most == 8));
        assert!(
            series.views.iter().all(|view| view.memory > 1000.0 && view.memory_max as f64 >= view.memory)
        );
        let without = format!("{}\n[measure]\nseries = false\n", one_step(machine, step, "after = \"20s\""));
        let without = run_seeds(&without, 1, 1);
        assert!(!only(&without).metrics.contains_key("last_hop"));
        assert_eq!(without.runs[0].trace, report.runs[0].trace, "who looks changes nothing");
        let asked = format!(
            "{}\n[measure]\nseries = false\nshow = [\"last_hop\"]\n",
            one_step(machine, step, "after = \"20s\"")
        );
        assert_eq!(mean(&run_seeds(&asked, 1, 1), "last_hop"), mean(&report, "last_hop"));
    }
}

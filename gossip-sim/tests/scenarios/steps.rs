//! What can be done to a cluster, that it is done, and that it is undone.

use super::{mean, one_step, only, parse, run, run_seeds};

/// A minute of a cluster of eight whose members exchange all they know every five seconds.
fn minute(machine: &str, step: &str) -> String {
    let text = one_step(machine, step, "after = \"60s\"");
    text.replacen("nodes = 8", "nodes = 8\nconfig = { push_pull_interval = \"5s\" }", 1)
}

#[test]
fn nodes_that_get_too_little_processor_or_line_are_found_out() {
    for step in [
        "do = \"slow\"\nnodes = \"some\"\nper_call = \"3s\"",
        "do = \"bursts\"\nnodes = \"some\"\nawake = \"0s\"\nleast = \"20s\"\nmost = \"25s\"",
        "do = \"line\"\nnodes = \"some\"\nup = 1\nbuffer = 1",
        "do = \"link\"\nfrom = \"all\"\nto = \"some\"\nboth_ways = true\nconditions = { loss = 1.0 }",
        "do = \"link\"\nfrom = \"all\"\nto = \"some\"\nconditions = { preset = \"wan\", latency = \"20s\" }",
    ] {
        let broken = run(&minute("membership", step), 2);
        let view = mean(&broken, "view_min");
        assert!(view < 8.0, "{step}: {view}");
        // A second of it, and nobody notices for long.
        let brief = format!("{step}\nfor = \"1s\"");
        assert_eq!(mean(&run(&minute("membership", &brief), 2), "view_min"), 8.0, "{brief}");
    }
}

#[test]
fn paths_carry_no_larger_datagrams_than_they_are_said_to() {
    let run = |bytes: usize| {
        let step = format!("do = \"limit-path\"\nfrom = \"all\"\nto = \"all\"\nbytes = {bytes}");
        run_seeds(&minute("membership", &step), 1, 1).runs[0].trace.clone()
    };
    assert_eq!(run(1400), run(9000), "none is as large");
    assert_ne!(run(1400), run(20));
}

#[test]
fn clocks_go_wrong() {
    let datagrams = |ppm: i32| {
        let step = format!("do = \"skew-clock\"\nnodes = \"all\"\nppm = {ppm}");
        mean(&run(&minute("membership", &step), 2), "datagrams_per_period")
    };
    let (right, fast) = (datagrams(0), datagrams(1_000_000));
    assert!((1.9..2.1).contains(&(fast / right)), "twice as fast: {fast} instead of {right}");
    let stalls = |step: &str| mean(&run(&minute("node", step), 2), "stalls");
    assert_eq!(stalls("do = \"set-clock\"\nnodes = \"some\"\nforward = \"1ms\""), 0.0);
    assert!(stalls("do = \"set-clock\"\nnodes = \"some\"\nforward = \"30s\"\nat = \"10s\"") >= 2.0);
    // Half a minute without a timer, and it is as if they slept; but they answer.
    let back = minute("membership", "do = \"set-clock\"\nnodes = \"some\"\nback = \"60s\"\nat = \"5s\"");
    let all = minute("membership", "do = \"set-clock\"\nnodes = \"some\"\nforward = \"0s\"");
    let (back, all) = (run(&back, 2), run(&all, 2));
    assert_eq!(mean(&back, "view_min"), 8.0);
    assert!(mean(&back, "datagrams_sent") < mean(&all, "datagrams_sent"));
}

#[test]
fn streams_are_refused_held_up_and_broken() {
    let bytes = |step: &str| mean(&run(&minute("membership", step), 2), "stream_bytes");
    let whole = bytes("do = \"heal\"");
    assert!(whole > 100.0, "{whole}");
    for step in
        ["do = \"refuse-streams\"\nnodes = \"all\"", "do = \"block-connects\"\nfrom = \"all\"\nto = \"all\""]
    {
        assert_eq!(bytes(step), 0.0, "{step}");
        let brief = bytes(&format!("{step}\nfor = \"30s\""));
        assert!(brief > 0.2 * whole && brief < 0.8 * whole, "{step}: {brief} of {whole}");
    }
    for step in [
        "do = \"stall-streams\"\nfrom = \"all\"\nto = \"all\"",
        "do = \"break-streams\"\nfrom = \"all\"\nto = \"all\"\nbytes = 0",
    ] {
        let left = bytes(step);
        assert!(
            left > 0.0 && left < 0.7 * whole,
            "{step}: what was asked is written, and nothing answers: {left}"
        );
    }
    let slow = "do = \"slow-reader\"\nnodes = \"all\"\nbytes = 1";
    assert!(bytes(slow) < whole, "exchanges do not end");
}

/// Two zones of four.
fn zones(step: &str) -> String {
    let text = one_step("node", step, "after = \"60s\"");
    let zones = "name = \"east\"\nfirst = 4\nzone = true\n[[group]]\nname = \"west\"\nlast = 4\nzone = true";
    text.replacen("name = \"some\"\nnumbers = [3, 4]", zones, 1)
}

#[test]
fn zones_have_links_and_cuts_of_their_own() {
    let views = |step: &str| mean(&run(&zones(step), 2), "view_min");
    assert_eq!(
        views("do = \"link\"\nfrom = \"east\"\nto = \"west\"\nconditions = { preset = \"wan\" }"),
        8.0
    );
    let lossy =
        "do = \"link\"\nfrom = \"east\"\nto = \"west\"\nconditions = { loss = 1.0 }\nboth_ways = true";
    assert!(views(lossy) < 8.0, "streams get through, slowly");
    assert_eq!(views("do = \"cut\"\nfrom = \"east\"\nto = \"west\"\nboth_ways = true"), 4.0);
    assert_eq!(views("do = \"cut\"\nfrom = \"east\"\nto = \"west\"\nboth_ways = true\nfor = \"1s\""), 8.0);
    let twice = zones("do = \"heal\"").replacen("last = 4", "last = 5", 1);
    let scenario = parse(&twice).unwrap();
    let options = gossip_sim::Options { first_seed: 1, seeds: Some(1), jobs: 1, filter: None };
    let error = gossip_sim::execute(&scenario, &options, &|_, _| {}).unwrap_err();
    assert!(error.contains("node-3 is in a zone already"), "{error}");
}

#[test]
fn coordinates_are_compared_with_links_that_are_known() {
    let far = "conditions = { preset = \"perfect\", latency = \"50ms\" }\nboth_ways = true";
    let error = |from: &str| {
        let text = zones(&format!("do = \"link\"\nfrom = \"{from}\"\nto = \"west\"\n{far}"));
        let long = text.replacen("after = \"60s\"", "after = \"400s\"", 1);
        let report = run_seeds(&long, 1, 1);
        let figures = only(&report).metrics.get("coordinate_error")?.clone();
        assert_eq!(figures.summary.count, 28, "pairs of eight");
        // Those between the zones are 16 of them, and long against the noise.
        Some(figures.samples[15])
    };
    assert!(error("east").unwrap() < 0.1, "{:?}", error("east"));
    assert_eq!(error("all"), None, "links of single pairs are not followed");
}

#[test]
fn packets_are_doubled_and_overtake_each_other() {
    let received = |network: &str| {
        let text = minute("membership", "do = \"heal\"").replacen(
            "[start]",
            &format!("[network]\n{network}\n[start]"),
            1,
        );
        run_seeds(&text, 1, 1)
    };
    let plain = received("preset = \"lan\"");
    let doubled = received("duplicate = \"100%\"");
    assert!(mean(&doubled, "datagrams_received") > 1.9 * mean(&plain, "datagrams_received"));
    let late = received("reorder = \"20%\"\nreorder_by = \"50ms\"");
    assert_ne!(late.runs[0].trace, plain.runs[0].trace);
    assert_eq!(mean(&late, "view_min"), 8.0);
}

#[test]
fn the_end_of_a_split_ends_nothing_else() {
    let split = "do = \"partition\"\ngroups = [\"some\"]\nfor = \"5s\"";
    let cut = "[[step]]\ndo = \"cut\"\nfrom = \"all\"\nto = \"node-7\"\nboth_ways = true";
    let longer = "[[step]]\ndo = \"partition\"\ngroups = [\"some\"]\nat = \"2s\"\nfor = \"80s\"";
    let views = |more: &str| mean(&run(&minute("membership", &format!("{split}\n{more}")), 2), "view_min");
    assert_eq!(views(""), 8.0);
    assert!(views(cut) < 8.0, "node 7 is still alone");
    assert!(views(longer) < 8.0, "the second split goes on");
}

#[test]
fn a_step_that_ends_does_not_end_another_at_the_same_node_or_link() {
    for step in [
        "do = \"loss\"\nnodes = \"some\"\nin = 1.0\nout = 1.0",
        "do = \"cut\"\nfrom = \"all\"\nto = \"some\"\nboth_ways = true",
        "do = \"link\"\nfrom = \"all\"\nto = \"some\"\nboth_ways = true\nconditions = { latency = \"20s\" }",
        "do = \"pause\"\nnodes = \"some\"",
        "do = \"crash\"\nnodes = \"some\"",
    ] {
        let harmed = |more: &str| {
            let brief = format!("{step}\nat = \"2s\"\nfor = \"1s\"{more}");
            let report = run_seeds(&minute("membership", &brief), 1, 1);
            mean(&report, "detected") > 0.0 || mean(&report, "view_min") < 8.0
        };
        assert!(!harmed(""), "{step}");
        for longer in ["at = \"1s\"\nfor = \"200s\"", "at = \"2500ms\"\nfor = \"200s\"", "at = \"1s\""] {
            assert!(harmed(&format!("\n[[step]]\n{step}\n{longer}")), "{step} {longer}");
        }
    }
}

#[test]
fn what_nodes_knew_is_on_their_disks() {
    let text = |disk: &str, state: bool| {
        let join = "do = \"join\"\nnodes = \"all\"\nat = \"2s\"";
        let crash = format!(
            "do = \"crash\"\nnodes = \"all\"\nat = \"20s\"\nfor = \"2s\"\nstate = {state}\nvia = \"node-0\""
        );
        let crash = if state { crash.replace("\nvia = \"node-0\"", "") } else { crash };
        let text = minute("node", &format!("{join}\n[[step]]\n{crash}{disk}"));
        text.replacen("[start]\n", "[start]\nhow = \"strangers\"\n", 1).replacen("settle = \"5s\"\n", "", 1)
    };
    let agreed = |disk: &str, state| mean(&run_seeds(&text(disk, state), 1, 1), "agreed");
    assert_eq!(agreed("", true), 1.0, "all come back to those that their disks name");
    let fails = "\n[[step]]\ndo = \"fail-disk\"\nnodes = \"all\"";
    assert_eq!(agreed(fails, true), 0.0, "nothing was written");
    assert_eq!(agreed(&format!("{fails}\nfor = \"5s\""), true), 1.0, "or late");
    assert_eq!(agreed(fails, false), 1.0, "those without state join");
}

#[test]
fn traffic_counts_in_the_time_that_is_measured() {
    let step = "do = \"crash\"\nnodes = \"some\"\nat = \"20s\"";
    let text = |after: &str, measure: &str| {
        one_step("membership", step, &format!("after = \"{after}\"\n[measure]\n{measure}"))
    };
    let quiet = run(&text("20s", ""), 1);
    let until = run(&text("60s", "until = \"20s\""), 1);
    let whole = run(&text("60s", ""), 1);
    // The run that ends there has no nodes down yet at its end; those that then crash count as long as they ran.
    assert_eq!(mean(&quiet, "datagrams_sent"), mean(&until, "datagrams_sent"));
    assert_ne!(mean(&quiet, "datagrams_sent"), mean(&whole, "datagrams_sent"));
    let error = parse(&text("60s", "from = \"5s\"\nuntil = \"5s\"")).unwrap_err();
    assert!(error.contains("measure.until"), "{error}");
}

#[test]
fn nodes_that_churn_will_replace_are_faulty_from_the_start() {
    let text = |group: &str| {
        let cut = "do = \"cut\"\nfrom = \"all\"\nto = \"node-3\"\nboth_ways = true\nfor = \"8s\"";
        let churn = "do = \"churn\"\nrate = 1.0\nfor = \"2s\"\naway = \"1s\"\nat = \"50s\"";
        minute("node", &format!("{cut}\n[[step]]\n{churn}\nnodes = \"{group}\""))
    };
    let replaced = run(&text("some"), 2);
    assert_eq!(mean(&replaced, "outages"), 2.0, "both are replaced");
    assert_eq!(mean(&replaced, "false_positives_healthy"), 0.0, "node 3 is one of them");
    assert!(mean(&run(&text("node-5"), 2), "false_positives_healthy") > 0.0, "and is none");
}

#[test]
fn what_a_step_cannot_be_is_said() {
    for (step, says) in [
        (
            "do = \"bursts\"\nnodes = \"some\"\nawake = \"1s\"\nleast = \"2s\"\nmost = \"1s\"",
            "not more than `most`",
        ),
        ("do = \"bursts\"\nnodes = \"some\"\nawake = \"1s\"\nleast = \"0s\"\nmost = \"1s\"", "at least 1ms"),
        ("do = \"skew-clock\"\nnodes = \"some\"\nppm = -1000000", "would not go forward"),
        ("do = \"set-clock\"\nnodes = \"some\"", "either `forward` or `back`"),
        ("do = \"set-clock\"\nnodes = \"some\"\nforward = \"1s\"\nfor = \"1s\"", "cannot be undone"),
        ("do = \"line\"\nnodes = \"some\"", "`up` or `down`"),
        ("do = \"line\"\nnodes = \"some\"\nup = 0", "up: at least 1"),
        ("do = \"slow-reader\"\nnodes = \"some\"\nbytes = 0", "bytes: at least 1"),
        ("do = \"link\"\nfrom = \"all\"\nto = \"some\"", "`conditions` is missing"),
        ("do = \"link\"\nfrom = \"all\"\nto = \"some\"\nconditions = { socket_buffer = 1 }", "sockets"),
        (
            "do = \"link\"\nfrom = \"all\"\nto = \"some\"\nconditions = { shape = \"line\" }",
            "under [network]",
        ),
        ("do = \"link\"\nfrom = \"all\"\nto = \"some\"\nconditions = { loss = 0.9, burst = 2 }", "burst"),
        ("do = \"churn\"\nrate = 1000000\nfor = \"1h\"", "would be replaced"),
    ] {
        let error = parse(&one_step("node", step, "after = \"20s\"")).unwrap_err();
        assert!(error.contains(says), "{step}: {error}");
    }
}

#[test]
fn a_shape_says_what_packets_take_and_the_end_of_a_link_leaves_it() {
    let text = |network: &str, link: &str| {
        let step = "do = \"user-event\"\nnodes = \"node-0\"\nat = \"5s\"";
        let text = one_step("node", &format!("{step}{link}"), "after = \"300s\"");
        text.replacen(
            "[start]",
            &format!("[network]\npreset = \"perfect\"\n{network}\n[start]\nhow = \"known\""),
            1,
        )
    };
    let error = |network: &str| parse(&text(network, "")).unwrap_err();
    assert!(error("shape = \"line\"\nlatency = \"1ms\"").contains("leave away"));
    assert!(error("spacing = \"1ms\"").contains("which is missing"));
    assert!(error("shape = \"star\"").contains("star"));
    let trace = |network: &str, link: &str| run_seeds(&text(network, link), 1, 1);
    for shape in ["line", "grid", "circle"] {
        let report = trace(&format!("shape = \"{shape}\"\nspacing = \"20ms\""), "");
        let figures = &only(&report).metrics["coordinate_error"];
        assert!(figures.summary.mean < 0.05, "{shape}: {}", figures.summary.mean);
    }
    // Slower for a second that says nothing to anybody, and then as before.
    let link = |conditions: &str| {
        format!(
            "\n[[step]]\ndo = \"link\"\nfrom = \"all\"\nto = \"all\"\nconditions = {{ {conditions} }}\nat = \"100ms\"\nfor = \"1us\""
        )
    };
    let shape = "shape = \"line\"\nspacing = \"20ms\"";
    let (whole, brief) = (trace(shape, ""), trace(shape, &link("latency = \"1s\"")));
    assert_eq!(whole.runs[0].trace, brief.runs[0].trace);
    assert_ne!(whole.runs[0].trace, trace("shape = \"line\"\nspacing = \"30ms\"", "").runs[0].trace);
}

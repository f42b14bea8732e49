//! Recorded nodes are played to the same outputs and the same state.

use core::time::Duration;

use gossip_proto::{
    Config, Ending, Experiment, Machine, Node, Playback, PlaybackError, QueryParams, Recording, Seed,
    ServiceConfig, StepKind,
};
use transport_mem::Conditions;
use transport_mem::net::{Network, NodeId};

const SECOND: Duration = Duration::from_secs(1);

fn run(seed: u64, limit: Option<u64>) -> (Network<Node>, Vec<NodeId>) {
    run_with(seed, limit, |_, _| ())
}

/// As [`run`], with faults once all nodes are there.
fn run_with(
    seed: u64,
    limit: Option<u64>,
    faults: impl FnOnce(&mut Network<Node>, &[NodeId]),
) -> (Network<Node>, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(seed));
    net.record_starts(limit);
    let nodes: Vec<_> = (0..5)
        .map(|_| {
            net.add_node(|start| {
                let mut config = Config::lan(format!("node-{}", start.number).as_str(), start.addr);
                let mut experiment = Experiment::default();
                experiment.lockstep(start.number == 1).suspicion_k(Some(1));
                config.experiment(experiment).push_pull_interval(5 * SECOND);
                let mut services = ServiceConfig::default();
                services.tags(vec![("role".into(), "web".into())]);
                services.restore((!start.saved.restore.alive.is_empty()).then_some(start.saved.restore));
                Node::new(start.now, config, services, start.seed, start.nonces).expect("a node")
            })
        })
        .collect();
    faults(&mut net, &nodes);
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    net.run_for(5 * SECOND);
    net.with(nodes[1], |machine, now| {
        machine.user_event(now, b"deploy", b"v1", false).expect("an event");
        machine.query(now, b"load", b"", &QueryParams::default()).expect("a query");
    });
    net.crash(nodes[3]);
    net.run_for(25 * SECOND);
    net.restart(nodes[3]);
    net.join(nodes[3], &nodes[..1]);
    net.run_for(10 * SECOND);
    (net, nodes)
}

/// Plays to the end or to the first error.
fn play(bytes: &[u8]) -> Result<Playback<'_>, PlaybackError> {
    let mut playback = Playback::open(bytes)?;
    while let Some(step) = playback.step() {
        step?;
    }
    Ok(playback)
}

#[test]
fn every_node_is_played_to_the_state_it_is_in() {
    let (mut net, nodes) = run(1, Some(1 << 30));
    for &node in &nodes {
        net.stop_recording(node);
        let playback = play(net.recording(node)).expect("an exact replay");
        let machine = net.machine(node).expect("a node that runs");
        assert_eq!(playback.ending(), Some(Ending::Stopped));
        assert_eq!(playback.machine().state_hash(), machine.state_hash());
        let table = |members: gossip_proto::Members<'_>| {
            members.map(|member| format!("{member:?}")).collect::<Vec<_>>()
        };
        assert_eq!(table(playback.machine().members()), table(machine.members()));
        // The fourth one has only run again for ten seconds.
        assert!(playback.entries() > if node == nodes[3] { 100 } else { 400 }, "{}", playback.entries());
    }
    // A second run is the same, and so is all that was recorded of it.
    let (mut again, _) = run(1, Some(1 << 30));
    assert_eq!(again.trace().hash(), net.trace().hash());
    for &node in &nodes {
        again.stop_recording(node);
        assert!(again.recording(node) == net.recording(node), "{}", net.name(node));
    }
    // Recording leaves the run alone, and so does the place where it is kept.
    let (plain, _) = run(1, None);
    assert_eq!(plain.trace().hash(), net.trace().hash());
    assert!(plain.recording(nodes[0]).is_empty());
}

#[test]
fn nodes_with_lossy_links_and_wrong_clocks_are_played_to_the_state_they_are_in() {
    let faulty = |seed, limit| {
        run_with(seed, limit, |net, nodes| {
            net.set_conditions(Conditions::LAN.loss(0.2).duplicate(0.1).reorder(0.1, SECOND / 5));
            net.add_disk(nodes[3], false); // it crashes, and goes on where it was
            net.skew_clock(nodes[0], 50_000);
            net.skew_clock(nodes[2], -80_000);
            net.skew_clock(nodes[3], 120_000);
            net.set_clock_forward(nodes[2], 1_000 * SECOND);
            net.set_read_rate(nodes[4], Some(20_000));
        })
    };
    for seed in 5..9 {
        let (mut net, nodes) = faulty(seed, Some(1 << 30));
        // Set while there are probes, suspicions and queries under way.
        net.set_clock_forward(nodes[0], 3 * SECOND);
        net.set_clock_back(nodes[1], 4 * SECOND);
        net.break_streams(nodes[4], nodes[0], Some(100));
        net.pause(nodes[4]);
        net.run_for(3 * SECOND);
        net.resume(nodes[4]);
        net.run_for(20 * SECOND);
        assert!(net.machine(nodes[0]).expect("it runs").stats().stalls > 0);
        assert!(net.machine(nodes[1]).expect("it runs").stats().time_went_back > 0);
        assert!(net.machine(nodes[3]).expect("it runs").num_alive() > 1);
        for &node in &nodes {
            net.stop_recording(node);
            let playback =
                play(net.recording(node)).unwrap_or_else(|error| panic!("seed {seed}, {node:?}: {error}"));
            let machine = net.machine(node).expect("it runs");
            assert_eq!(playback.ending(), Some(Ending::Stopped));
            assert_eq!(playback.machine().state_hash(), machine.state_hash(), "seed {seed}, {node:?}");
            assert!(playback.entries() > 300, "{}", playback.entries());
        }
    }
    assert_eq!(faulty(5, None).0.trace().hash(), faulty(5, Some(1 << 30)).0.trace().hash());
}

#[test]
fn a_timeline_tells_what_happened_and_why() {
    let (net, nodes) = run(3, Some(1 << 30));
    let mut playback = Playback::open(net.recording(nodes[0])).expect("a recording");
    let mut steps = Vec::new();
    while let Some(step) = playback.step() {
        steps.push(step.expect("an exact replay"));
    }
    let has = |kind, part: &str| steps.iter().any(|step| step.kind == kind && step.text.contains(part));
    assert!(has(StepKind::Member, "node-3: Failed, Expired"));
    assert!(has(StepKind::Member, "node-3: Joined"));
    assert!(has(StepKind::Event, "user event \"deploy\""));
    assert!(has(StepKind::Input, "datagram from 10.0.0.2:7946: "));
    assert!(has(StepKind::Timer, "due") && has(StepKind::Check, "as recorded"));
    assert!(steps.is_sorted_by_key(|step| (step.entry, step.at)));
}

#[test]
fn a_recording_cut_off_anywhere_plays_up_to_there() {
    let (net, nodes) = run(3, Some(30_000));
    let bytes = net.recording(nodes[0]);
    assert!(bytes.len() <= 30_000 && bytes.len() > 28_000);
    let whole = play(bytes).expect("an exact replay");
    assert_eq!(whole.ending(), Some(Ending::Full), "{} bytes, {} entries", bytes.len(), whole.entries());
    let first = Recording::entries(bytes).next().expect("an entry").len();
    let mut before = 0;
    for cut in (0..bytes.len()).step_by(97) {
        match play(&bytes[..cut]) {
            Ok(playback) => {
                assert_eq!(playback.ending(), Some(Ending::CutOff));
                assert!(playback.entries() >= before);
                before = playback.entries();
            }
            Err(error) => assert!(cut < first && error == PlaybackError::NoRecording, "{cut}: {error}"),
        }
    }
    assert!(before > 100);
}

#[test]
fn a_flipped_bit_is_found_where_it_is() {
    let (net, nodes) = run(4, Some(20_000));
    let bytes = net.recording(nodes[0]);
    let whole = play(bytes).expect("an exact replay").entries();
    for at in (0..bytes.len()).step_by(397) {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        match play(&bytes) {
            Err(PlaybackError::Damaged { entry }) => assert!(entry <= whole),
            Err(PlaybackError::NoRecording) => assert!(at < 1000),
            // A length that reaches beyond the end looks like an end that is missing.
            Ok(playback) => assert_eq!(playback.ending(), Some(Ending::CutOff)),
            Err(other) => panic!("{at}: {other}"),
        }
    }
}

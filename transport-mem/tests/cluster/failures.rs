//! Crashes, pauses, loss: what must be noticed, and what must not be.

use core::time::Duration;

use gossip_proto::{Cause, ChangeKind, Machine, Status};
use transport_mem::net::{News, Replay, seeds};

use crate::support::*;

/// spec 4.8: the first probe of a dead node comes soon, since all others probe; after it the suspicion (spec 4.7), which
/// confirmations shorten; then the news must spread.
// upstream: TestMemberlist_JoinShutdown
#[test]
fn a_crash_is_noticed_by_all_in_time_and_not_too_soon() {
    for (seed, nodes) in seeds(0..4).flat_map(|seed| [3, 5, 10, 30, 100].map(|nodes| (seed, nodes))) {
        let test = "failures::a_crash_is_noticed_by_all_in_time_and_not_too_soon";
        let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", test, seed, nodes);
        let (mut net, nodes) = cluster(&replay);
        let count = nodes.len();
        let victim = nodes[count / 2];
        if seed % 2 == 0 {
            net.crash(victim);
        } else {
            net.vanish(victim);
        }
        let crashed = net.now();
        // In the worst case two wraps pass before the first probe; no probe takes longer than a second when healthy.
        let rounds = (2 * count as u32).min(8);
        let bound = SECOND * rounds + SECOND + suspicion_max(count) + 3 * SECOND;
        until(&mut net, bound, "failed everywhere", |net| net.all_see(victim, Status::Failed));
        for node in net.running().collect::<Vec<_>>() {
            let kinds: Vec<_> = changes(&net, node, victim).map(|change| change.kind).collect();
            assert!(
                matches!(
                    kinds.as_slice(),
                    [ChangeKind::Suspected, ChangeKind::Failed] | [ChangeKind::Failed]
                ),
                "{kinds:?}"
            );
            let failed = changes(&net, node, victim).last().unwrap();
            let after = failed.at - crashed;
            assert!(after >= suspicion_min(count), "{after:?} at {}", net.name(node));
            match &failed.cause {
                Cause::Expired { accusers, after } => {
                    assert!(!accusers.is_empty());
                    assert!((suspicion_min(count)..=suspicion_max(count)).contains(after), "{after:?}");
                }
                Cause::Declared { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(failures(&net).iter().all(|(_, name, _)| *name == net.name(victim).to_string()));
    }
}

/// Lifeguard: with enough accusers the suspicion is as short as it can be.
#[test]
fn confirmations_shorten_the_suspicion() {
    for seed in seeds(0..5) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::confirmations_shorten_the_suspicion",
            seed,
            30,
        );
        let (mut net, nodes) = cluster(&replay);
        net.crash(nodes[9]);
        let took =
            until(&mut net, 60 * SECOND, "failed everywhere", |net| net.all_see(nodes[9], Status::Failed));
        // Three independent probes in a few seconds, against 35 s without any.
        assert!(took < suspicion_min(30) + 8 * SECOND, "{took:?}");
    }
}

#[test]
fn several_crashes_at_once_are_all_noticed() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::several_crashes_at_once_are_all_noticed",
            seed,
            40,
        );
        let (mut net, nodes) = cluster(&replay);
        let victims = &nodes[5..15];
        for &victim in victims {
            net.vanish(victim);
        }
        until(&mut net, 120 * SECOND, "all victims failed everywhere", |net| {
            victims.iter().all(|victim| net.none_counts(*victim))
        });
        let survivors: Vec<_> = net.running().collect();
        assert!(net.agree_among(&survivors), "{}", net.table());
        let wrong = failures(&net)
            .into_iter()
            .find(|(_, name, _)| survivors.iter().any(|survivor| *name == net.name(*survivor).to_string()));
        assert_eq!(wrong, None);
    }
}

// upstream: TestMemberList_ResetNodes
#[test]
fn the_dead_are_forgotten() {
    let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", "failures::the_dead_are_forgotten", 1, 10);
    let (mut net, nodes) = cluster(&replay);
    net.crash(nodes[4]);
    until(&mut net, 60 * SECOND, "failed everywhere", |net| net.all_see(nodes[4], Status::Failed));
    until(&mut net, 60 * SECOND, "forgotten everywhere", |net| {
        net.running().all(|node| net.status(node, nodes[4]).is_none())
    });
    for node in net.running() {
        let last = net.log(node).changes.last().unwrap();
        assert_eq!((last.kind, &last.cause), (ChangeKind::Reaped, &Cause::Aged));
    }
}

/// A short pause may be suspected but must be refuted, and the paused node must not blame others for its own absence.
#[test]
fn a_pause_shorter_than_the_suspicion_is_refuted() {
    let mut suspected = 0;
    for seed in seeds(0..12) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::a_pause_shorter_than_the_suspicion_is_refuted",
            seed,
            20,
        );
        let (mut net, nodes) = cluster(&replay);
        let victim = nodes[3];
        let before = net.machine(victim).unwrap().local().incarnation;
        net.pause(victim);
        net.run_for(suspicion_min(20));
        net.resume(victim);
        net.run_for(20 * SECOND);
        assert!(net.agrees(), "{}", net.table());
        assert_eq!(failures(&net), []);
        let blamed: Vec<_> =
            net.log(victim).changes.iter().filter(|c| c.kind == ChangeKind::Suspected).collect();
        assert!(blamed.is_empty(), "the paused node blames others: {blamed:?}");
        let stalled = net.log(victim).events.iter().any(|(_, news)| matches!(news, News::Stalled { .. }));
        assert!(stalled, "a stall is an event");
        let was_suspected = net
            .nodes()
            .any(|node| changes(&net, node, victim).any(|change| change.kind == ChangeKind::Suspected));
        let after = net.machine(victim).unwrap().local().incarnation;
        assert_eq!(after > before, was_suspected, "{before} and {after}");
        suspected += u32::from(was_suspected);
    }
    assert!(suspected > 0 || std::env::var("SEED").is_ok(), "no run put the mechanism to the test");
}

/// Design: drain before judge. Everything that the paused node would have heard waits in its socket.
#[test]
fn a_long_pause_is_survived_by_the_others_and_by_the_node() {
    for seed in seeds(0..5) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::a_long_pause_is_survived_by_the_others_and_by_the_node",
            seed,
            10,
        );
        let (mut net, nodes) = cluster(&replay);
        let victim = nodes[3];
        net.pause(victim);
        until(&mut net, 60 * SECOND, "the paused node failed everywhere", |net| {
            net.nodes()
                .filter(|node| *node != victim)
                .all(|node| net.status(node, victim) == Some(Status::Failed))
        });
        net.resume(victim);
        // It hears of its death, within the 30 s in which the dead are gossiped to, and refutes.
        converge(&mut net, 30 * SECOND);
        assert!(failures(&net).iter().all(|(_, name, _)| *name == net.name(victim).to_string()));
    }
}

#[test]
fn stopped_sockets_make_a_node_doubt_itself_before_others() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "failures::stopped_sockets_make_a_node_doubt_itself_before_others",
        2,
        10,
    );
    let (mut net, nodes) = cluster(&replay);
    net.stop_io(nodes[0]);
    net.run_for(3 * SECOND);
    net.start_io(nodes[0]);
    net.run_for(20 * SECOND);
    assert!(net.agrees(), "{}", net.table());
    assert_eq!(failures(&net), []);
}

/// One in ten datagrams lost, both ways, for two minutes: indirect probes, stream pings and refutations hold.
#[test]
fn loss_alone_kills_nobody() {
    for seed in seeds(0..3) {
        let replay =
            Replay::new(env!("CARGO_PKG_NAME"), "cluster", "failures::loss_alone_kills_nobody", seed, 30);
        let (mut net, _) = cluster(&replay);
        net.set_conditions(lossy(0.1));
        net.run_for(120 * SECOND);
        assert_eq!(failures(&net), []);
        net.set_conditions(lossy(0.0));
        net.run_for(15 * SECOND);
        assert!(net.agrees(), "{}", net.table());
    }
}

/// spec 4.8: a member whose datagrams are dropped somewhere still answers stream pings.
// upstream: TestMemberList_ProbeNode_FallbackTCP
#[test]
fn a_node_without_datagrams_lives_by_its_streams() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "failures::a_node_without_datagrams_lives_by_its_streams",
        6,
        8,
    );
    let (mut net, nodes) = cluster(&replay);
    for &other in &nodes[1..] {
        net.block_datagrams(other, nodes[0], true);
        net.block_datagrams(nodes[0], other, true);
    }
    net.run_for(60 * SECOND);
    assert_eq!(failures(&net), []);
    let saved: u64 =
        net.running().map(|node| net.machine(node).unwrap().stats().probes_saved_by_stream).sum();
    assert!(saved > 20, "{saved}");
}

/// spec 4.8: helpers reach what the prober cannot.
#[test]
fn a_cut_between_two_is_bridged_by_helpers() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::a_cut_between_two_is_bridged_by_helpers",
            seed,
            8,
        );
        let (mut net, nodes) = cluster_with(&replay, |config| {
            config.stream_pings(false);
        });
        net.cut(nodes[0], nodes[1], true);
        net.run_for(60 * SECOND);
        assert_eq!(failures(&net), []);
        assert!(net.machine(nodes[0]).unwrap().stats().indirect_pings > 0);
    }
}

/// A node that hears nothing but is heard: it must not take the cluster with it.
#[test]
fn a_deaf_node_does_not_kill_its_peers() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::a_deaf_node_does_not_kill_its_peers",
            seed,
            20,
        );
        let (mut net, nodes) = cluster(&replay);
        let deaf = nodes[0];
        for &other in &nodes[1..] {
            net.cut(other, deaf, true);
        }
        net.run_for(60 * SECOND);
        let wrong: Vec<_> = failures(&net)
            .into_iter()
            .filter(|(viewer, name, _)| *viewer != deaf && *name != net.name(deaf).to_string())
            .collect();
        assert_eq!(wrong, []);
        assert!(net.none_counts(deaf), "{}", net.table());
    }
}

#[test]
fn crashes_and_restarts_without_end_settle_once_they_stop() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::crashes_and_restarts_without_end_settle_once_they_stop",
            seed,
            16,
        );
        let (mut net, nodes) = cluster(&replay);
        net.set_conditions(lossy(0.05));
        for _ in 0..40 {
            // The first two stay, so that there is a cluster to come back to.
            let node = nodes[2 + net.random(nodes.len() as u64 - 2) as usize];
            match (net.machine(node).is_some(), net.random(3)) {
                (true, 0) => net.crash(node),
                (true, 1) => net.vanish(node),
                (true, _) => {
                    net.pause(node);
                    net.run_for(Duration::from_millis(700));
                    net.resume(node);
                }
                (false, _) => {
                    net.restart(node);
                    net.join(node, &nodes[..2]);
                }
            }
            let wait = net.random(3000);
            net.run_for(Duration::from_millis(wait));
        }
        for node in nodes {
            if net.machine(node).is_none() {
                net.restart(node);
            }
        }
        let all: Vec<_> = net.nodes().collect();
        for &node in &all[2..] {
            net.join(node, &all[..2]);
        }
        converge(&mut net, 120 * SECOND);
    }
}

/// What sockets of one machine report ends the direct phase of a probe early, and nothing else.
#[test]
fn a_crash_is_noticed_where_sockets_report_it() {
    for seed in seeds(0..5) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "failures::a_crash_is_noticed_where_sockets_report_it",
            seed,
            10,
        );
        let (mut net, nodes) = cluster(&replay);
        net.report_unreachable(true);
        net.crash(nodes[4]);
        let crashed = net.now();
        let bound = 10 * SECOND + suspicion_max(10);
        until(&mut net, bound, "failed everywhere", |net| net.all_see(nodes[4], Status::Failed));
        assert!(net.now() - crashed >= suspicion_min(10), "a report is no proof");
        assert!(net.running().any(|node| net.machine(node).unwrap().stats().transmit_failed > 0));
        net.restart(nodes[4]);
        net.join(nodes[4], &nodes[..1]);
        converge(&mut net, push_pull_bound(10));
    }
}

//! Coming, changing, going, and coming back.

use bytes::Bytes;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{Cause, ChangeKind, Config, Machine, Outcome, Status};
use transport_mem::net::{News, NodeId, Replay, seeds};

use crate::support::*;

// upstream: TestMemberlist_Join
#[test]
fn everybody_learns_of_everybody() {
    for nodes in [2, 3, 10, 40, 100] {
        for seed in seeds(0..3) {
            let replay = Replay::new(
                env!("CARGO_PKG_NAME"),
                "cluster",
                "joining::everybody_learns_of_everybody",
                seed,
                nodes,
            );
            let (mut net, nodes) = strangers(&replay, |_| {});
            for &node in &nodes[1..] {
                net.join(node, &nodes[..1]);
            }
            // Everything is in the first node after one exchange each. Gossip reaches nearly all in seconds, and what it
            // misses by chance the next push/pull brings (spec 4.10).
            net.run_for(10 * SECOND);
            let count = nodes.len();
            let known: usize = nodes.iter().map(|node| net.machine(*node).unwrap().num_alive()).sum();
            assert!(
                known as f64 >= 0.98 * (count * count) as f64,
                "{known} of {}\n{}",
                count * count,
                net.table()
            );
            converge(&mut net, push_pull_bound(count));
            net.run_for(30 * SECOND);
            assert!(net.agrees(), "{}", net.table());
            assert_eq!(failures(&net), []);
        }
    }
}

#[test]
fn joining_works_through_loss_and_duplicates() {
    for seed in seeds(0..5) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "joining::joining_works_through_loss_and_duplicates",
            seed,
            20,
        );
        let (mut net, nodes) = strangers(&replay, |_| {});
        net.set_conditions(lossy(0.2).duplicate(0.1));
        for &node in &nodes[1..] {
            net.join(node, &nodes[..1]);
        }
        converge(&mut net, 60 * SECOND);
    }
}

// upstream: TestMemberlist_Integ
#[test]
fn a_chain_of_sealed_joins_is_one_cluster() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "joining::a_chain_of_sealed_joins_is_one_cluster",
        5,
        16,
    );
    let (mut net, nodes) = strangers(&replay, sealed);
    for pair in nodes.windows(2) {
        net.join(pair[1], &pair[..1]);
    }
    converge(&mut net, 60 * SECOND);
}

#[test]
fn streams_that_come_byte_by_byte_are_understood() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "joining::streams_that_come_byte_by_byte_are_understood",
        2,
        6,
    );
    let (mut net, nodes) = strangers(&replay, |_| {});
    net.set_max_segment(1);
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    converge(&mut net, 10 * SECOND);
}

fn sealed(config: &mut Config) {
    let primary = Key::new(&[7; 32]).unwrap();
    let old = Key::new(&[8; 16]).unwrap();
    config.keyring(Some(Keyring::new(primary, [old]).unwrap())).label(Bytes::from_static(b"blue"));
}

// upstream: TestMemberlist_Join_with_Labels, TestMemberlist_Join_with_Labels_and_Encryption, TestGossip_MismatchedKeys
#[test]
fn sealed_and_labelled_clusters_admit_only_their_own() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "joining::sealed_and_labelled_clusters_admit_only_their_own",
            seed,
            8,
        );
        let (mut net, nodes) = cluster_with(&replay, sealed);
        let old_key = add(&mut net, |config| {
            let (old, primary) = (Key::new(&[8; 16]).unwrap(), Key::new(&[7; 32]).unwrap());
            config.keyring(Some(Keyring::new(old, [primary]).unwrap())).label(Bytes::from_static(b"blue"));
        });
        net.join(old_key, &nodes[..1]);
        converge(&mut net, push_pull_bound(9));

        let strangers: Vec<_> = [
            add(&mut net, |_| {}),
            add(&mut net, |config| {
                config.label(Bytes::from_static(b"blue"));
            }),
            add(&mut net, |config| {
                sealed(config);
                config.label(Bytes::from_static(b"green"));
            }),
            add(&mut net, |config| {
                sealed(config);
                config.keyring(Some(Keyring::new(Key::new(&[9; 32]).unwrap(), []).unwrap()));
            }),
        ]
        .to_vec();
        for &stranger in &strangers {
            net.join(stranger, &nodes[..2]);
            net.join(nodes[0], &[stranger]);
        }
        net.run_for(40 * SECOND);
        for &stranger in &strangers {
            assert_eq!(net.machine(stranger).unwrap().members().count(), 1, "{}", net.table());
            let joined = net.log(stranger).completions[0].1.outcome().unwrap();
            assert!(
                matches!(joined, Outcome::Joined { contacted: 0, failed } if failed.len() == 2),
                "{joined:?}"
            );
        }
        for &node in &nodes {
            assert_eq!(net.machine(node).unwrap().members().count(), nodes.len() + 1, "{}", net.table());
        }
    }
}

// upstream: TestMemberlist_delegateMeta_Update
#[test]
fn new_metadata_reaches_everybody() {
    for seed in seeds(0..5) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "joining::new_metadata_reaches_everybody",
            seed,
            30,
        );
        let (mut net, nodes) = cluster(&replay);
        net.set_conditions(lossy(0.05));
        let metadata = Bytes::from_static(b"zone=b");
        net.with(nodes[7], |machine, now| machine.set_metadata(now, metadata.clone()).unwrap());
        let name = net.name(nodes[7]).clone();
        until(&mut net, 65 * SECOND, "the metadata everywhere", |net| {
            net.running()
                .all(|node| net.machine(node).unwrap().find(name.as_bytes()).unwrap().metadata == metadata)
        });
        for &node in &nodes {
            let updates =
                changes(&net, node, nodes[7]).filter(|change| change.kind == ChangeKind::Updated).count();
            assert_eq!(updates, 1, "{}", net.name(node));
        }
        net.run_for(6 * SECOND);
        let announced = net.log(nodes[7]).completions[0].1.outcome().unwrap();
        assert_eq!(*announced, Outcome::Announced { in_time: true });
    }
}

// upstream: TestMemberlist_Leave
#[test]
fn a_farewell_is_seen_as_such_by_all() {
    for (seed, nodes) in seeds(0..3).flat_map(|seed| [3, 20, 60].map(|nodes| (seed, nodes))) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "joining::a_farewell_is_seen_as_such_by_all",
            seed,
            nodes,
        );
        let (mut net, nodes) = cluster(&replay);
        let leaver = nodes[1];
        net.with(leaver, |machine, now| machine.leave(now).unwrap());
        until(&mut net, 6 * SECOND, "the end of the leave", |net| !net.log(leaver).completions.is_empty());
        let (_, completion) = &net.log(leaver).completions[0];
        assert_eq!(completion.outcome(), Some(&Outcome::Left { announced: true }));
        net.crash(leaver);
        // Gossip may miss one in a large cluster by chance; that one hears of it in an exchange, or finds it dead.
        let may_miss = nodes.len() / 20;
        until(&mut net, 6 * SECOND, "left everywhere", |net| {
            net.running().filter(|node| net.status(*node, leaver) != Some(Status::Left)).count() <= may_miss
        });
        // Forgotten after 30 s (spec 4.13).
        let bound = push_pull_bound(nodes.len()) + suspicion_max(nodes.len()) + 60 * SECOND;
        until(&mut net, bound, "forgotten everywhere", |net| {
            net.running().all(|node| net.status(node, leaver).is_none())
        });
        let heard =
            |node: &NodeId| changes(&net, *node, leaver).any(|change| change.kind == ChangeKind::Left);
        if net.running().any(|node| !heard(&node)) {
            // It was never told, and may even have brought the leaver back after the others had forgotten it: with
            // memberlist's tables nothing can prevent that.
            continue;
        }
        assert_eq!(failures(&net), []);
        for &node in nodes.iter().filter(|node| **node != leaver) {
            let left = changes(&net, node, leaver).find(|change| change.kind == ChangeKind::Left);
            let cause = left.map(|change| &change.cause);
            assert!(
                matches!(cause, Some(Cause::Farewell | Cause::Exchange { .. })),
                "{cause:?} at {}",
                net.name(node)
            );
        }
    }
}

#[test]
fn the_last_two_can_leave_one_after_the_other() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "joining::the_last_two_can_leave_one_after_the_other",
        1,
        2,
    );
    let (mut net, nodes) = cluster(&replay);
    for &node in &nodes {
        net.with(node, |machine, now| machine.leave(now).unwrap());
        until(&mut net, 6 * SECOND, "the end of the leave", |net| !net.log(node).completions.is_empty());
        assert_eq!(net.log(node).completions[0].1.outcome(), Some(&Outcome::Left { announced: true }));
        net.crash(node);
    }
}

/// spec 4.18: the joiner finds its old entry in the answer, and refutes it.
#[test]
fn a_restarted_node_takes_its_place_again() {
    for seed in seeds(0..10) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "joining::a_restarted_node_takes_its_place_again",
            seed,
            12,
        );
        let (mut net, nodes) = cluster(&replay);
        let victim = nodes[3];
        net.with(victim, |machine, now| {
            machine.set_metadata(now, Bytes::from_static(b"first life")).unwrap()
        });
        net.run_for(5 * SECOND);
        net.crash(victim);
        // Before anybody notices, while it is suspected, and after it was declared dead.
        let down = net.random(25);
        net.run_for(SECOND * down as u32);
        net.restart(victim);
        net.join(victim, &nodes[..2]);
        converge(&mut net, push_pull_bound(12));
        let name = net.name(victim).clone();
        net.run_for(10 * SECOND);
        for node in net.running().collect::<Vec<_>>() {
            let member = net.machine(node).unwrap().find(name.as_bytes()).unwrap();
            assert_eq!((member.status, member.metadata), (Status::Alive, [].as_slice()), "down for {down} s");
            assert!(member.incarnation > 2, "{} after {down} s", member.incarnation);
        }
    }
}

/// spec 4.18: at another address the name is free only once the dead entry is forgotten; upstream has it so too.
#[test]
fn a_node_that_moved_is_admitted_when_its_old_entry_is_forgotten() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "joining::a_node_that_moved_is_admitted_when_its_old_entry_is_forgotten",
            seed,
            6,
        );
        let (mut net, nodes) = cluster(&replay);
        let mover = nodes[2];
        net.crash(mover);
        net.restart_at(mover, "10.77.0.1:7946".parse().unwrap());
        net.join(mover, &nodes[..1]);
        net.run_for(3 * SECOND);
        let conflict = net.log(nodes[0]).events.iter().find_map(|(_, news)| match news {
            News::Conflict { name, known, claimed } => Some((name.clone(), *known, *claimed)),
            _ => None,
        });
        let old = "10.0.0.3:7946".parse().unwrap();
        assert_eq!(conflict, Some((net.name(mover).clone(), old, net.addr(mover))));
        assert_ne!(net.machine(nodes[0]).unwrap().find(b"node-002").unwrap().addr, net.addr(mover));
        // Dead after the suspicion, forgotten 30 s and a wrap later.
        net.run_for(60 * SECOND);
        net.join(mover, &nodes[..1]);
        converge(&mut net, 40 * SECOND);
    }
}

/// spec 4.3 step 5: a member that left may come back from anywhere, at once.
#[test]
fn a_node_that_left_may_move() {
    let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", "joining::a_node_that_left_may_move", 4, 6);
    let (mut net, nodes) = cluster(&replay);
    let mover = nodes[2];
    net.with(mover, |machine, now| machine.leave(now).unwrap());
    until(&mut net, 10 * SECOND, "left everywhere", |net| net.all_see(mover, Status::Left));
    net.crash(mover);
    net.restart_at(mover, "10.77.0.1:7946".parse().unwrap());
    net.join(mover, &nodes[..1]);
    converge(&mut net, push_pull_bound(6));
    assert_eq!(failures(&net), []);
}

// upstream: TestMemberlist_conflictDelegate
#[test]
fn two_nodes_with_one_name_are_told() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "joining::two_nodes_with_one_name_are_told", 3, 5);
    let (mut net, nodes) = cluster(&replay);
    let double = net.add_node(|start| {
        let config = Config::lan("node-001", start.addr);
        gossip_proto::Membership::new(start.now, config, start.seed, start.nonces).unwrap()
    });
    net.join(double, &nodes[..1]);
    net.run_for(5 * SECOND);
    let conflicts =
        |node| net.log(node).events.iter().filter(|(_, news)| matches!(news, News::Conflict { .. })).count();
    assert!(conflicts(nodes[0]) > 0, "the node that was asked");
    assert!(conflicts(double) > 0, "the newcomer");
    for &node in &nodes {
        let member = net.machine(node).unwrap().find(b"node-001").unwrap();
        assert_eq!(
            (member.addr, member.status),
            (net.addr(nodes[1]), Status::Alive),
            "the first keeps its name"
        );
    }
}

/// Paths that carry less than the configured datagram: what is sent there is packed smaller.
#[test]
fn narrow_paths_carry_all_news_in_smaller_packets() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "joining::narrow_paths_carry_all_news_in_smaller_packets",
        8,
        20,
    );
    let (mut net, nodes) = strangers(&replay, |config| {
        config.metadata(Bytes::from(vec![b'm'; 100]));
    });
    for &from in &nodes {
        for &to in &nodes {
            net.set_path(from, to, Some(400));
        }
    }
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    converge(&mut net, push_pull_bound(20));
    let failed =
        |net: &Net| net.nodes().map(|node| net.machine(node).unwrap().stats().transmit_failed).sum::<u64>();
    let learning = failed(&net);
    assert!(learning > 0);
    net.run_for(60 * SECOND);
    assert!(failed(&net) <= (nodes.len() * nodes.len()) as u64, "each path is learnt once");
    assert!(net.agrees(), "{}", net.table());
}

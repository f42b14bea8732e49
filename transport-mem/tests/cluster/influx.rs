//! Very many that become known at once.

use gossip_proto::{Experiment, Machine};
use transport_mem::net::{NodeId, Replay, seeds};

use crate::support::*;

fn whole(net: &Net, nodes: &[NodeId], count: usize) -> usize {
    nodes.iter().filter(|node| net.machine(**node).unwrap().num_alive() == count).count()
}

fn follow_ups(net: &Net, nodes: &[NodeId]) -> u64 {
    nodes.iter().map(|node| net.machine(*node).unwrap().stats().follow_ups).sum()
}

#[test]
fn a_cluster_that_starts_at_once_knows_itself_in_seconds() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "influx::a_cluster_that_starts_at_once_knows_itself_in_seconds",
        1,
        200,
    );
    let start = |healing| {
        let (mut net, nodes) = strangers(&replay, move |config| {
            let mut experiment = Experiment::default();
            experiment.healing(healing);
            config.experiment(experiment);
        });
        for &node in &nodes[1..] {
            net.join(node, &nodes[..1]);
        }
        net.run_for(3 * SECOND);
        (net, nodes)
    };
    let (mut net, nodes) = start(true);
    assert!(whole(&net, &nodes, 200) >= 198, "{} views", whole(&net, &nodes, 200));
    net.run_for(5 * SECOND);
    assert_eq!(whole(&net, &nodes, 200), 200, "{}", net.table());
    // Three each would do if all were as lucky as most.
    assert!(follow_ups(&net, &nodes) < 4 * 200, "{} exchanges", follow_ups(&net, &nodes));
    assert_eq!(failures(&net), []);

    // As upstream has it.
    let (net, nodes) = start(false);
    assert!(whole(&net, &nodes, 200) < 180, "{} views by gossip alone", whole(&net, &nodes, 200));
}

#[test]
fn two_clusters_become_one_by_one_join() {
    for seed in seeds(0..1) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "influx::two_clusters_become_one_by_one_join",
            seed,
            160,
        );
        let (mut net, nodes) = strangers(&replay, |_| {});
        let (one, two) = nodes.split_at(80);
        for side in [one, two] {
            for &node in &side[1..] {
                net.join(node, &side[..1]);
            }
        }
        until(&mut net, push_pull_bound(80), "each side knows itself", |net| whole(net, &nodes, 80) == 160);
        net.join(one[7], &two[7..8]);
        until(&mut net, 5 * SECOND, "nearly all know both", |net| whole(net, &nodes, 160) >= 152);
        // Whom gossip missed by chance, the next push/pull brings (spec 4.10).
        until(&mut net, push_pull_bound(160), "both are one", |net| whole(net, &nodes, 160) == 160);
    }
}

#[test]
fn a_few_that_join_set_no_exchanges_going_but_one_of_their_own() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "influx::a_few_that_join_set_no_exchanges_going_but_one_of_their_own",
        0,
        150,
    );
    let (mut net, nodes) = strangers(&replay, |_| {});
    net.form();
    let late: Vec<NodeId> = (0..20).map(|_| add(&mut net, |_| {})).collect();
    for &node in &late {
        net.join(node, &nodes[..1]);
    }
    net.run_for(15 * SECOND);
    assert_eq!(whole(&net, &nodes, 170), 150, "{}", net.table());
    assert_eq!(follow_ups(&net, &nodes), 0);
    assert_eq!((whole(&net, &late, 170), follow_ups(&net, &late)), (20, 20), "{}", net.table());
}

#[test]
fn without_an_end_of_newcomers_the_exchanges_end() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "influx::without_an_end_of_newcomers_the_exchanges_end",
        0,
        40,
    );
    let (mut net, nodes) = strangers(&replay, |_| {});
    net.form();
    // Forty more every second: each of those who were there has reason for an exchange at every look.
    for _ in 0..10 {
        let late: Vec<NodeId> = (0..40).map(|_| add(&mut net, |_| {})).collect();
        for &node in &late {
            net.join(node, &nodes[..1]);
        }
        net.run_for(SECOND);
    }
    // Eight at once, and then as many as the schedule has, which is one in half a minute or less.
    for &node in &nodes {
        let follow_ups = net.machine(node).unwrap().stats().follow_ups;
        assert!((1..=9).contains(&follow_ups), "{follow_ups} exchanges");
    }
}

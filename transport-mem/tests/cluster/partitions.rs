//! Networks that fall apart and come together again.

use core::time::Duration;

use gossip_proto::Status;
use transport_mem::net::{Replay, seeds};

use crate::support::*;

/// Everybody is suspected by the other side. Who refutes in time stays; whoever is too late is brought back by the next
/// push/pull, because there "dead" is no more than a suspicion (spec 4.10).
#[test]
fn a_short_partition_leaves_no_trace() {
    for seed in seeds(0..5) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "partitions::a_short_partition_leaves_no_trace",
            seed,
            20,
        );
        let (mut net, nodes) = cluster(&replay);
        net.partition(&[&nodes[..8]]);
        net.run_for(3 * SECOND);
        net.heal();
        converge(&mut net, push_pull_bound(20));
        net.run_for(60 * SECOND);
        assert!(net.agrees(), "{}", net.table());
    }
}

#[test]
fn each_side_of_a_partition_goes_on_alone() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "partitions::each_side_of_a_partition_goes_on_alone",
            seed,
            12,
        );
        let (mut net, nodes) = cluster(&replay);
        let (left, right) = nodes.split_at(5);
        net.partition(&[left, right]);
        until(&mut net, 120 * SECOND, "both sides by themselves", |net| {
            let apart = |a: &[_], b: &[_]| {
                a.iter().all(|viewer| {
                    b.iter().all(|subject| {
                        !matches!(net.status(*viewer, *subject), Some(Status::Alive | Status::Suspect))
                    })
                })
            };
            net.agree_among(left) && net.agree_among(right) && apart(left, right) && apart(right, left)
        });
        // Longer than anybody remembers: only a join brings them together, as with memberlist.
        net.run_for(120 * SECOND);
        net.heal();
        net.run_for(30 * SECOND);
        assert!(!net.agrees());
        net.join(right[0], &left[..1]);
        converge(&mut net, 30 * SECOND);
    }
}

#[test]
fn a_link_that_flaps_does_not_split_the_cluster() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "partitions::a_link_that_flaps_does_not_split_the_cluster",
            seed,
            16,
        );
        let (mut net, nodes) = cluster(&replay);
        for _ in 0..15 {
            net.partition(&[&nodes[..8]]);
            net.run_for(Duration::from_millis(1500));
            net.heal();
            net.run_for(Duration::from_millis(2500));
        }
        // A node that missed a refutation by chance may be wrong about one member, but not the cluster.
        for &subject in &nodes {
            let name = net.name(subject).to_string();
            let wrong = failures(&net).into_iter().filter(|(_, failed, _)| *failed == name).count();
            assert!(wrong <= 2, "{wrong} nodes gave {name} up");
        }
        converge(&mut net, push_pull_bound(16));
    }
}

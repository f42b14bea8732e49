//! One seed, one run: byte for byte.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{Config, Machine, Membership, Seed};
use transport_mem::net::{Network, Replay};

use crate::support::*;

/// Fifty nodes, half a minute, and every kind of fault there is; sealed, so that nonces are part of it.
fn eventful(seed: u64, count: usize, keep: bool) -> Net {
    let mut net = Network::new(Seed::from_u64(seed));
    if keep {
        net.keep_trace();
    }
    net.set_conditions(lossy(0.05).duplicate(0.02));
    let nodes: Vec<_> = (0..count)
        .map(|number| {
            net.add_node(move |start| {
                let mut config = Config::lan(format!("node-{number:03}").as_str(), start.addr);
                let key = Key::new(&[3; 32]).unwrap();
                config.label(Bytes::from_static(b"x")).keyring(Some(Keyring::new(key, []).unwrap()));
                Membership::new(start.now, config, start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
        net.run_for(Duration::from_millis(20));
    }
    net.run_for(5 * SECOND);
    net.partition(&[&nodes[..count / 3]]);
    net.crash(nodes[1]);
    net.vanish(nodes[2]);
    net.pause(nodes[3]);
    net.stop_io(nodes[4]);
    net.run_for(4 * SECOND);
    net.resume(nodes[3]);
    net.start_io(nodes[4]);
    net.heal();
    net.restart(nodes[1]);
    net.join(nodes[1], &nodes[5..7]);
    net.with(nodes[6], |machine, now| machine.set_metadata(now, Bytes::from_static(b"new")).unwrap());
    net.with(nodes[7], |machine, now| machine.leave(now).unwrap());
    net.run_for(15 * SECOND);
    net
}

#[test]
fn two_runs_from_one_seed_are_equal_byte_for_byte() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "determinism::two_runs_from_one_seed_are_equal_byte_for_byte",
        2026,
        50,
    );
    let (seed, nodes) = (replay.seed(), replay.nodes());
    let (first, second) = (eventful(seed, nodes, true), eventful(seed, nodes, true));
    assert_eq!(first.trace().hash(), second.trace().hash());
    assert!(first.trace().entries() > 10_000, "{}", first.trace().entries());
    assert!(first.trace().record().len() > 1_000_000);
    assert!(first.trace().record() == second.trace().record(), "the hashes agree and the records do not");
    assert_eq!(first.traffic(), second.traffic());

    let state =
        |net: &Net| net.running().map(|node| net.machine(node).unwrap().state_hash()).collect::<Vec<_>>();
    assert_eq!(state(&first), state(&second));
    for node in first.nodes() {
        assert_eq!(first.log(node).changes, second.log(node).changes);
    }
}

#[test]
fn another_seed_is_another_run() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "determinism::another_seed_is_another_run", 2026, 50);
    let (seed, nodes) = (replay.seed(), replay.nodes());
    let hashes: Vec<_> = (0..3).map(|offset| eventful(seed + offset, nodes, false).trace().hash()).collect();
    assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2], "{hashes:x?}");
}

#[test]
fn looking_changes_nothing() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "determinism::looking_changes_nothing", 9, 10);
    let run = |look: bool| {
        let (mut net, _) = cluster(&replay);
        if look {
            let _ = net.run_until(5 * SECOND, |net| net.table().is_empty());
        } else {
            net.run_for(5 * SECOND);
        }
        net.trace().hash()
    };
    assert_eq!(run(true), run(false));
}

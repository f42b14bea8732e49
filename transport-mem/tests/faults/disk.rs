//! Nodes that are restarted with what they kept, with less, and without.

use core::time::Duration;

use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{Config, Machine, Membership, Node, Seed, ServiceConfig, Snapshot, Status};
use transport_mem::net::{Network, NodeId, Persistent, Start};

const SECOND: Duration = Duration::from_secs(1);

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

fn ring(keys: &[u8]) -> Keyring {
    Keyring::new(key(keys[0]), keys[1..].iter().copied().map(key)).unwrap()
}

/// A node that makes use of what it finds.
fn serf(start: Start) -> Node {
    let mut config = Config::lan(format!("n{}", start.number).as_str(), start.addr);
    config.keyring(Some(start.saved.keyring.unwrap_or_else(|| ring(&[1]))));
    let mut services = ServiceConfig::default();
    services.restore(Some(start.saved.restore));
    Node::new(start.now, config, services, start.seed, start.nonces).unwrap()
}

/// As [`serf`], with memberlist alone.
fn memberlist(start: Start) -> Membership {
    let mut config = Config::lan(format!("n{}", start.number).as_str(), start.addr);
    config.seeds(start.saved.restore.alive.iter().map(|(_, addr)| *addr).collect());
    Membership::new(start.now, config, start.seed, start.nonces).unwrap()
}

/// Five nodes that have joined; the last one has a disk.
fn formed<M: Persistent + 'static>(seed: u64, make: fn(Start) -> M, rejoin: bool) -> (Network<M>, NodeId) {
    let mut net = Network::new(Seed::from_u64(seed));
    let nodes: Vec<_> = (0..5).map(|_| net.add_node(make)).collect();
    net.add_disk(nodes[4], rejoin);
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    net.run_for(20 * SECOND);
    assert!(net.agrees(), "{}", net.table());
    (net, nodes[4])
}

fn alive(net: &Network<Node>, node: NodeId) -> usize {
    Snapshot::replay(net.snapshot(node).unwrap(), false).0.alive().len()
}

/// Crashes the node, waits until the others have noticed, and restarts it; nobody joins anybody.
fn reborn<M: Persistent>(net: &mut Network<M>, node: NodeId) {
    net.crash(node);
    net.run_for(30 * SECOND);
    assert!(net.none_counts(node), "{}", net.table());
    net.restart(node);
    net.run_for(60 * SECOND);
}

#[test]
fn a_node_goes_on_where_its_snapshot_ends() {
    let run = || {
        let (mut net, node) = formed(1, serf, false);
        for number in 0..10_u8 {
            net.with(node, |node, now| node.user_event(now, &[b'a' + number], b"", false).unwrap());
        }
        net.run_for(5 * SECOND);
        let clock = net.machine(node).unwrap().clocks().event;
        assert!(clock > 10);
        net.crash(node);
        net.restart(node);
        assert_eq!(net.machine(node).unwrap().clocks().event, clock, "before it has heard of anybody");
        net.run_for(5 * SECOND);
        reborn(&mut net, node);
        assert!(net.agrees(), "it finds the others by itself\n{}", net.table());
        net.trace().hash()
    };
    assert_eq!(run(), run(), "one seed, one run");
}

#[test]
fn memberlist_alone_finds_the_others_by_the_addresses_it_kept() {
    let (mut net, node) = formed(2, memberlist, false);
    reborn(&mut net, node);
    assert!(net.agrees(), "{}", net.table());
}

#[test]
fn a_wiped_disk_and_none_at_all_are_a_restart_without_state() {
    let (mut net, node) = formed(3, serf, false);
    net.crash(node);
    net.wipe_disk(node);
    assert_eq!(net.snapshot(node), Some(&b""[..]));
    net.restart(node);
    let fresh = net.add_node(serf);
    assert_eq!(net.machine(node).unwrap().clocks(), net.machine(fresh).unwrap().clocks());
    assert_eq!(net.machine(node).unwrap().num_alive(), 1);
    assert_eq!(alive(&net, node), 0);

    let (mut net, _) = formed(3, memberlist, false);
    let other = net.nodes().nth(3).unwrap();
    assert_eq!((net.snapshot(other), net.stored_keyring(other)), (None, None));
    net.crash(other);
    net.restart(other);
    assert_eq!(net.machine(other).unwrap().num_alive(), 1);
}

#[test]
fn lines_are_written_twice_a_second_and_a_crash_costs_those_since() {
    let (mut net, node) = formed(4, serf, false);
    assert_eq!(alive(&net, node), 5);
    let first = net.nodes().next().unwrap();
    let late = net.add_node(serf);
    net.join(late, &[first]);
    net.run_until(20 * SECOND, |net| net.status(node, late) == Some(Status::Alive)).unwrap();
    assert_eq!(alive(&net, node), 5, "it knows, and has not written it");
    let before = net.snapshot(node).unwrap().to_vec();
    net.crash(node);
    net.run_for(SECOND);
    assert_eq!(net.snapshot(node).unwrap(), before);
    net.restart(node);
    net.run_for(60 * SECOND);
    assert!(net.agrees() && alive(&net, node) == 6, "{}", net.table());
    net.pause(node);
    let paused = net.snapshot(node).unwrap().to_vec();
    net.crash(late);
    net.run_for(60 * SECOND);
    assert_eq!(net.snapshot(node).unwrap(), paused, "a process that stands still writes nothing");
    net.resume(node);
    net.run_for(60 * SECOND);
    assert_eq!(alive(&net, node), 5);
}

#[test]
fn a_power_cut_costs_what_is_not_on_the_disk_yet_and_may_tear_a_line() {
    let (mut torn, mut lost) = (0, 0);
    for seed in 0..40 {
        let (mut net, node) = formed(seed, serf, false);
        let before = net.snapshot(node).unwrap().to_vec();
        net.vanish(node);
        let after = net.snapshot(node).unwrap().to_vec();
        assert!(before.starts_with(&after));
        lost += before.len() - after.len();
        torn += usize::from(after.last().is_some_and(|last| *last != b'\n'));
        net.restart(node);
        net.run_for(20 * SECOND);
        let whole = after.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        assert!(net.snapshot(node).unwrap().starts_with(&after[..whole]));
        let (snapshot, read) = Snapshot::replay(net.snapshot(node).unwrap(), false);
        assert_eq!(
            (snapshot.oddities(), read),
            ((0, 0), net.snapshot(node).unwrap().len()),
            "no line goes on a torn one"
        );
    }
    assert!(torn > 20 && lost > 1_000, "{torn} of 40 torn, {lost} bytes lost");

    // Half a minute after the last change all of it is safe.
    let (mut net, node) = formed(1, serf, false);
    net.run_for(60 * SECOND);
    let before = net.snapshot(node).unwrap().to_vec();
    net.vanish(node);
    assert_eq!(net.snapshot(node).unwrap(), before);
    net.restart(node);
    net.run_for(60 * SECOND);
    assert!(net.agrees(), "{}", net.table());
}

#[test]
fn a_farewell_is_on_the_disk_when_it_is_said() {
    for rejoin in [false, true] {
        let (mut net, node) = formed(5, serf, rejoin);
        net.with(node, |machine, now| machine.leave(now).unwrap());
        assert!(net.snapshot(node).unwrap().windows(5).any(|line| line == b"leave"));
        net.run_for(10 * SECOND);
        net.vanish(node);
        assert!(net.snapshot(node).unwrap().windows(5).any(|line| line == b"leave"));
        net.restart(node);
        net.run_for(60 * SECOND);
        assert_eq!(net.agrees(), rejoin, "{}", net.table());
    }
}

#[test]
fn a_keyring_is_stored_before_it_counts_and_a_disk_that_fails_takes_the_change_back() {
    let (mut net, node) = formed(6, serf, false);
    assert_eq!(net.stored_keyring(node), None);
    let install = |net: &mut Network<Node>, byte: u8| {
        net.with(node, |machine, now| machine.install_key(now, &[byte; 32]).unwrap());
        net.machine(node).unwrap().config().values().keyring.clone()
    };
    install(&mut net, 2);
    assert_eq!(net.stored_keyring(node), Some(&ring(&[1, 2])));
    net.fail_disk(node, true);
    install(&mut net, 3);
    assert_eq!(net.stored_keyring(node), Some(&ring(&[1, 2])));
    net.fail_disk(node, false);
    install(&mut net, 4);
    assert_eq!(net.stored_keyring(node), Some(&ring(&[1, 2, 4])), "3 was taken back");
    net.crash(node);
    net.restart(node);
    net.with(node, |machine, now| machine.use_key(now, &[4; 32]).expect("the key came back from the disk"));
    assert_eq!(net.stored_keyring(node), Some(&ring(&[4, 1, 2])));
}

#[test]
fn a_snapshot_that_could_not_be_written_is_written_anew_when_it_can() {
    let (mut net, node) = formed(7, serf, false);
    let before = net.snapshot(node).unwrap().to_vec();
    net.fail_disk(node, true);
    let gone = net.nodes().nth(2).unwrap();
    net.crash(gone);
    net.run_for(60 * SECOND);
    assert_eq!(net.snapshot(node).unwrap(), before);
    net.fail_disk(node, false);
    net.run_for(SECOND);
    assert_eq!(alive(&net, node), 4);
    let file = net.snapshot(node).unwrap();
    assert!(
        !file.windows(10).any(|line| line == b"not-alive:"),
        "it is new: {:?}",
        String::from_utf8_lossy(file)
    );
}

#[test]
#[should_panic(expected = "node 0 has no disk")]
fn a_node_without_a_disk_has_none_to_wipe() {
    let (mut net, _) = formed(8, memberlist, false);
    let first = net.nodes().next().unwrap();
    net.wipe_disk(first);
}

//! What observers measure, against what is known otherwise.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{Config, Machine, Membership, Node, Seed, ServiceConfig};
use transport_mem::net::observe::{Convergence, Detection, FalsePositives, Kind, Load, Series, Spread};
use transport_mem::net::{Network, Replay};

use crate::support::*;

#[test]
fn convergence_is_counted_from_the_last_fault_and_detection_from_the_crash() {
    let test = "measures::convergence_is_counted_from_the_last_fault_and_detection_from_the_crash";
    let replay = Replay::new(env!("CARGO_PKG_NAME"), "observe", test, 3, 20);
    let (mut net, nodes) = strangers(&replay, |_| {});
    let convergence = net.observe(Convergence::every(Duration::from_millis(10)));
    let detection = net.observe(Detection::new());
    let wrong = net.observe(FalsePositives::new());
    join_all(&mut net, &nodes);
    let agreed = net.run_until(60 * SECOND, |net| net.agrees()).unwrap();
    assert_eq!(net[convergence].agreed_at(), Some(agreed));
    net.run_for(5 * SECOND);
    let crashed = net.now();
    net.vanish(nodes[7]);
    assert_eq!((net[convergence].since(), net[convergence].took()), (Some(crashed), None));
    let all = net.run_until(60 * SECOND, |net| net.agrees()).unwrap();
    assert_eq!(net[convergence].took(), Some(all - crashed));
    assert_eq!(net[convergence].spans().count(), 2);
    let case = net[detection].case(nodes[7]).unwrap().clone();
    let (suspected, dead) = (case.to_suspicion().unwrap(), case.to_death().unwrap());
    assert!(suspected < dead && dead - suspected >= 5 * SECOND, "spec 4.7: {suspected:?}, {dead:?}");
    assert!(case.to_all().unwrap() >= dead && case.to_all().unwrap() <= all - crashed);
    assert_eq!(case.informed.len(), 19);
    assert_eq!(net[wrong].total(), 0, "it is dead indeed");
    net.restart(nodes[7]);
    assert_eq!(net[detection].cases()[0].until, Some(net.now()));
}

/// A partition makes each side declare the other dead, with nobody's process at fault.
#[test]
fn false_positives_are_deaths_of_the_healthy_wherever_they_are_raised() {
    let test = "measures::false_positives_are_deaths_of_the_healthy_wherever_they_are_raised";
    let replay = Replay::new(env!("CARGO_PKG_NAME"), "observe", test, 1, 6);
    let (mut net, nodes) = strangers(&replay, |_| {});
    join_all(&mut net, &nodes);
    net.run_for(10 * SECOND);
    let wrong = net.observe(FalsePositives::new());
    net[wrong].set_anomalous([nodes[0]]);
    net.partition(&[&nodes[..1]]);
    net.run_for(90 * SECOND);
    // The lone node raised five; what the five say of it is none, for it is anomalous.
    assert_eq!((net[wrong].total(), net[wrong].at_healthy()), (5, 0));
    assert!(net[wrong].events().iter().all(|event| event.observer == nodes[0] && event.own));
    net[wrong].clear();
    net[wrong].set_anomalous([]);
    net.heal();
    net.partition(&[&nodes[1..2]]);
    net.run_for(90 * SECOND);
    let (all, healthy) = (net[wrong].total(), net[wrong].at_healthy());
    assert!(all == healthy && all >= 8, "{all}");
    assert!(net[wrong].events().iter().any(|event| !event.own), "those who were told count as well");
}

#[test]
fn bytes_of_all_kinds_are_the_bytes_on_the_wire_sealed_and_compressed_too() {
    let test = "measures::bytes_of_all_kinds_are_the_bytes_on_the_wire_sealed_and_compressed_too";
    for sealed in [false, true] {
        let replay = Replay::new(env!("CARGO_PKG_NAME"), "observe", test, 1, 8);
        let (mut net, nodes) = strangers(&replay, move |config: &mut Config| {
            if sealed {
                let keyring = Keyring::new(Key::new(&[3; 32]).unwrap(), []).unwrap();
                config.label(Bytes::from_static(b"blue")).keyring(Some(keyring));
                config.compression(gossip_proto::wire::layers::Compression::All);
            }
        });
        let keyring = Keyring::new(Key::new(&[3; 32]).unwrap(), []).unwrap();
        let watch = net.observe(if sealed { Load::new().keyring(keyring) } else { Load::new() });
        let blind = net.observe(Load::new());
        join_all(&mut net, &nodes);
        net.run_for(60 * SECOND);
        let (load, traffic) = (&net[watch], net.traffic());
        let sum: u64 = Kind::ALL.iter().map(|kind| load.total(*kind).bytes).sum();
        assert_eq!(sum, traffic.datagram_bytes + traffic.stream_bytes);
        assert_eq!(load.total(Kind::Opaque).bytes, 0, "all of it could be opened: {load:?}");
        let unopened = net[blind].total(Kind::Opaque).messages;
        assert_eq!(unopened, if sealed { traffic.datagrams } else { 0 }, "without the key");
        let stats = |count: fn(&gossip_proto::Stats) -> u64| -> u64 {
            nodes.iter().map(|node| count(net.machine(*node).unwrap().stats())).sum()
        };
        assert_eq!(load.total(Kind::Ping).messages, stats(|stats| stats.probes));
        // Compounds count as messages in the machine, so it has more.
        let received: u64 = nodes.iter().map(|node| load.received(*node, Kind::Ack).messages).sum();
        assert!(received > 0 && load.total(Kind::Ack).messages - received <= 2);
        assert!(load.total(Kind::Alive).messages > 20 && load.total(Kind::Exchange).messages >= 14);
        assert!(load.total(Kind::Exchange).bytes > load.total(Kind::StreamPing).bytes);
        assert!(load.sent_by(nodes[0]).bytes > 0 && load.sent(nodes[0], Kind::Ping).messages > 40);
    }
}

#[test]
fn a_user_event_reaches_all_with_copies_to_spare_and_hops_that_grow() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "observe",
        "measures::a_user_event_reaches_all_with_copies_to_spare_and_hops_that_grow",
        1,
        30,
    );
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    net.keep_logs(false);
    let nodes: Vec<_> = (0..replay.nodes())
        .map(|_| {
            net.add_node(|start| {
                let config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
                Node::new(start.now, config, ServiceConfig::default(), start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    assert!(net.run_until(60 * SECOND, |net| net.agrees()).is_some());
    let spread = net.observe(Spread::of_event("deploy", "v2"));
    let other = net.observe(Spread::of_event("deploy", "v3"));
    let load = net.observe(Load::serf());
    net.with(nodes[4], |node, now| node.user_event(now, b"deploy", b"v2", false).unwrap());
    net.run_for(10 * SECOND);
    let spread = &net[spread];
    assert_eq!(spread.origin().unwrap().0, nodes[4]);
    assert_eq!((spread.reached(), spread.by_exchange().len()), (30, 0));
    let sent: u64 = net[load].total(Kind::UserEvent).messages;
    assert!(sent >= spread.copies() && spread.copies() > 29);
    assert_eq!(spread.redundancy(), Some(spread.copies() as f64 / 29.0 - 1.0));
    let last = spread.last_hop().unwrap();
    assert!((2..=8).contains(&last), "fanout 3 reaches 30 in log₄ 30 hops at best: {last}");
    for (at, from, hop) in spread.first().values() {
        let before = match spread.first().get(from) {
            Some((earlier, _, hop)) => {
                assert!(earlier <= at);
                *hop
            }
            None => Some(0),
        };
        assert_eq!(*hop, before.map(|hop| hop + 1));
    }
    assert_eq!((net[other].reached(), net[other].redundancy()), (0, None));
}

#[test]
fn a_death_spreads_from_where_it_was_declared() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "observe",
        "measures::a_death_spreads_from_where_it_was_declared",
        2,
        20,
    );
    let (mut net, nodes) = strangers(&replay, |_| {});
    join_all(&mut net, &nodes);
    net.run_for(10 * SECOND);
    let name = Bytes::copy_from_slice(net.name(nodes[3]).as_bytes());
    let (spread, detection) = (net.observe(Spread::of_death(name)), net.observe(Detection::new()));
    net.crash(nodes[3]);
    net.run_for(60 * SECOND);
    let first = net[detection].case(nodes[3]).unwrap().first_death.unwrap();
    assert_eq!(net[spread].origin(), Some((first.1, first.0)));
    assert_eq!(net[spread].reached(), 19);
}

#[test]
fn view_sizes_queues_and_memory_are_sampled() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "observe",
        "measures::view_sizes_queues_and_memory_are_sampled",
        1,
        12,
    );
    let (mut net, nodes) = strangers(&replay, |_| {});
    let sizes = net.observe(Series::<Membership>::view_sizes());
    let memory = net.observe(Series::<Membership>::memory(SECOND));
    let rumors = net.observe(Series::<Membership>::queue(SECOND / 10, None));
    net.run_for(2 * SECOND);
    join_all(&mut net, &nodes);
    net.run_for(30 * SECOND);
    net.pause(nodes[0]);
    net.run_for(SECOND);
    let sizes = &net[sizes];
    assert_eq!((sizes.rows().len(), sizes.rows()[0].max, sizes.rows()[0].nodes), (33, 1, 12));
    let last = sizes.rows().last().unwrap();
    assert_eq!((last.nodes, last.min, last.max, last.distinct, last.mean), (11, 12, 12, 1, 12.0));
    assert_eq!(sizes.distinct().values().sum::<u64>(), 32 * 12 + 11);
    assert!(sizes.distinct().contains_key(&1) && sizes.distinct().contains_key(&12));
    assert_eq!(sizes.summary().count, 32 * 12 + 11);
    let memory = net[memory].last_summary();
    assert_eq!(
        memory.max,
        nodes[1..].iter().map(|node| net.machine(*node).unwrap().memory()).max().unwrap() as f64
    );
    assert!(net[rumors].rows().iter().any(|row| row.max >= 5) && net[rumors].rows().last().unwrap().max == 0);
}

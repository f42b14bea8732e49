//! User messages of memberlist clusters.

use bytes::Bytes;
use gossip_proto::{Machine, Outcome};
use transport_mem::net::{News, NodeId, Replay, seeds};

use crate::support::*;

fn payloads(net: &Net, node: NodeId) -> Vec<Vec<u8>> {
    let payload = |news: &News| match news {
        News::Message { payload, .. } => Some(payload.clone()),
        _ => None,
    };
    net.log(node).events.iter().filter_map(|(_, news)| payload(news)).collect()
}

// upstream: TestMemberlist_SendTo
#[test]
fn a_direct_message_arrives_once_by_either_way() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "cluster",
        "messages::a_direct_message_arrives_once_by_either_way",
        1,
        5,
    );
    let (mut net, nodes) = cluster(&replay);
    let name = net.name(nodes[4]).clone();
    net.with(nodes[0], |machine, now| {
        let key = machine.find(name.as_bytes()).unwrap().key;
        machine.send(now, key, Bytes::from_static(b"datagram")).unwrap();
        machine.send_reliable(now, key, Bytes::from(vec![9; 100_000])).unwrap();
    });
    net.run_for(5 * SECOND);
    let mut received = payloads(&net, nodes[4]);
    received.sort();
    assert_eq!(received, [vec![9; 100_000], b"datagram".to_vec()]);
    assert_eq!(net.log(nodes[0]).completions[0].1.outcome(), Some(&Outcome::Sent(Ok(()))));
    for &node in &nodes[..4] {
        assert_eq!(payloads(&net, node), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn a_broadcast_ends_in_time_and_is_sent_as_often_as_the_limit_says() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "messages::a_broadcast_ends_in_time_and_is_sent_as_often_as_the_limit_says",
            seed,
            30,
        );
        let (mut net, nodes) = cluster(&replay);
        net.run_for(10 * SECOND); // the news of the joins is through
        net.with(nodes[0], |machine, now| machine.broadcast(now, Bytes::from_static(b"news")).unwrap());
        net.run_for(10 * SECOND);
        assert_eq!(
            net.log(nodes[0]).completions.last().unwrap().1.outcome(),
            Some(&Outcome::Announced { in_time: true })
        );
        let received: usize = nodes.iter().map(|node| payloads(&net, *node).len()).sum();
        // spec 4.11: 4 * ceil(log10(31)) transmissions, and receivers do not pass it on.
        assert_eq!(received, 8);
    }
}

// upstream: TestMemberList_Ping
#[test]
fn a_ping_measures_the_round_trip() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "cluster", "messages::a_ping_measures_the_round_trip", 1, 3);
    let (mut net, nodes) = cluster(&replay);
    let latency = core::time::Duration::from_millis(25);
    net.set_conditions(transport_mem::Conditions::PERFECT.delay(latency, core::time::Duration::ZERO));
    let name = net.name(nodes[2]).clone();
    let ping = |net: &mut Net| {
        net.with(nodes[0], |machine, now| {
            let key = machine.find(name.as_bytes()).unwrap().key;
            machine.ping(now, key).unwrap()
        });
        net.run_for(SECOND);
        net.log(nodes[0]).completions.last().unwrap().1.outcome().unwrap().clone()
    };
    assert_eq!(ping(&mut net), Outcome::Ping { rtt: Some(latency * 2) });
    net.cut(nodes[2], nodes[0], true);
    assert_eq!(ping(&mut net), Outcome::Ping { rtt: None });
}

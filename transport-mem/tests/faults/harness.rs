//! Tests of the virtual network itself, with machines that do nothing on their own account: what arrives, when, and in
//! which order.

use core::time::Duration;

use gossip_proto::{Instant, JoinFailure, Machine, Outcome, StreamFailure};
use transport_mem::Conditions;

use crate::support::{LATENCY, join_failure, joined, messages, outcomes, quiet, send, send_reliable};

#[test]
fn a_join_takes_two_round_trips() {
    let (mut net, nodes) = quiet(2);
    net.join(nodes[1], &nodes[..1]);
    net.run_for(Duration::from_secs(1));
    let expected = Outcome::Joined { contacted: 1, failed: vec![] };
    assert_eq!(outcomes(&net, nodes[1]), [(Instant::ORIGIN + LATENCY * 4, expected)]);
    assert!(net.agrees(), "{}", net.table());
    assert_eq!(net.in_flight(), (0, 0));
    assert_eq!(net.traffic().streams, 1);
}

// upstream: TestMemberlist_Join_DeadNode
#[test]
fn a_crashed_node_refuses_and_a_vanished_one_is_silent() {
    let (mut net, nodes) = quiet(3);
    net.crash(nodes[0]);
    net.join(nodes[1], &nodes[..1]);
    net.run_for(Duration::from_secs(1));
    let refused = JoinFailure::Stream(StreamFailure::Unreachable);
    assert_eq!(join_failure(&net, nodes[1]), Some((Instant::ORIGIN + LATENCY * 2, refused)));

    net.vanish(nodes[1]);
    let begun = net.now();
    net.join(nodes[2], &nodes[1..2]);
    net.run_for(Duration::from_secs(20));
    let silent = JoinFailure::Stream(StreamFailure::TimedOut);
    assert_eq!(join_failure(&net, nodes[2]), Some((begun + Duration::from_secs(10), silent)));
    assert_eq!((net.in_flight(), net.open_streams(nodes[2])), ((0, 0), 0));
}

#[test]
fn a_cut_holds_streams_up_and_loses_datagrams() {
    let (mut net, nodes) = joined(2);
    net.cut(nodes[0], nodes[1], true);
    send(&mut net, nodes[0], nodes[1], b"lost");
    send_reliable(&mut net, nodes[0], nodes[1], b"late");
    net.run_for(Duration::from_secs(2));
    send(&mut net, nodes[1], nodes[0], b"the other way");
    net.run_for(Duration::from_millis(100));
    assert_eq!(messages(&net, nodes[1]), []);
    assert_eq!(messages(&net, nodes[0]).len(), 1);
    net.cut(nodes[0], nodes[1], false);
    let healed = net.now();
    net.run_for(Duration::from_secs(2));
    let received = messages(&net, nodes[1]);
    assert_eq!(received.len(), 1);
    assert!(received[0].1 == b"late" && received[0].0 > healed);
}

#[test]
fn a_block_of_datagrams_leaves_streams_alone_and_a_stall_the_opposite() {
    let (mut net, nodes) = joined(2);
    net.block_datagrams(nodes[0], nodes[1], true);
    send(&mut net, nodes[0], nodes[1], b"datagram");
    send_reliable(&mut net, nodes[0], nodes[1], b"stream");
    net.run_for(Duration::from_secs(1));
    assert_eq!(messages(&net, nodes[1]).into_iter().map(|m| m.1).collect::<Vec<_>>(), [b"stream"]);

    net.heal();
    net.stall_streams(nodes[0], nodes[1], true);
    net.stall_streams(nodes[1], nodes[0], true);
    send(&mut net, nodes[0], nodes[1], b"datagram");
    net.join(nodes[0], &nodes[1..]);
    net.run_for(Duration::from_secs(20));
    assert_eq!(messages(&net, nodes[1]).len(), 2);
    let failure = outcomes(&net, nodes[0]).pop().unwrap().1;
    assert!(
        matches!(&failure, Outcome::Joined { failed, .. } if failed[0].1 == JoinFailure::Stream(StreamFailure::TimedOut)),
        "{failure:?}"
    );
}

#[test]
fn a_partition_separates_groups_only() {
    let (mut net, nodes) = joined(4);
    net.partition(&[&nodes[..2]]);
    for (from, to) in [(0, 1), (0, 2), (2, 3), (3, 1)] {
        send(&mut net, nodes[from], nodes[to], &[from as u8]);
    }
    net.run_for(LATENCY);
    let received: Vec<_> = nodes.iter().map(|node| messages(&net, *node).len()).collect();
    assert_eq!(received, [0, 1, 0, 1]);
    net.heal();
    send(&mut net, nodes[0], nodes[2], b"again");
    net.run_for(LATENCY);
    assert_eq!(messages(&net, nodes[2]).len(), 1);
}

#[test]
fn a_paused_process_finds_what_arrived_in_order_when_it_goes_on() {
    let (mut net, nodes) = joined(2);
    net.pause(nodes[1]);
    for number in 0..100 {
        send(&mut net, nodes[0], nodes[1], &[number]);
        net.run_for(Duration::from_millis(10));
    }
    net.run_for(Duration::from_secs(5));
    assert_eq!(messages(&net, nodes[1]), []);
    let resumed = net.now();
    net.resume(nodes[1]);
    let expected: Vec<_> = (0..100).map(|number| (resumed, vec![number])).collect();
    assert_eq!(messages(&net, nodes[1]), expected);
    assert_eq!(net.in_flight().1, 0);
}

#[test]
fn the_socket_buffer_drops_what_does_not_fit() {
    let (mut net, nodes) = joined(2);
    net.set_socket_buffer(1000);
    net.pause(nodes[1]);
    for number in 0..30 {
        send(&mut net, nodes[0], nodes[1], &[number; 99]); // and one byte of type
    }
    net.run_for(Duration::from_secs(1));
    net.resume(nodes[1]);
    let received: Vec<_> = messages(&net, nodes[1]).iter().map(|(_, bytes)| bytes[0]).collect();
    let dropped = net.traffic().datagrams_overflowed;
    assert_eq!(received.len() + dropped as usize, 30);
    assert!((5..=10).contains(&received.len()), "{received:?}");
    assert_eq!(received, (0..received.len() as u8).collect::<Vec<_>>());
}

#[test]
fn stopped_sockets_neither_take_nor_give() {
    let (mut net, nodes) = joined(2);
    net.stop_io(nodes[1]);
    send(&mut net, nodes[0], nodes[1], b"in");
    send(&mut net, nodes[1], nodes[0], b"out");
    net.run_for(Duration::from_secs(1));
    assert_eq!((messages(&net, nodes[0]), messages(&net, nodes[1])), (vec![], vec![]));
    let started = net.now();
    net.start_io(nodes[1]);
    net.run_for(LATENCY);
    assert_eq!(messages(&net, nodes[1]), [(started, b"in".to_vec())]);
    assert_eq!(messages(&net, nodes[0]), [(started + LATENCY, b"out".to_vec())]);
}

#[test]
fn streams_keep_order_through_any_segmentation_and_beyond_the_window() {
    let payload: Vec<u8> = (0..600_000u32).map(|i| (i ^ (i >> 8)) as u8).collect();
    for (segment, len) in [(1, 3000), (7, 20_000), (16 << 10, payload.len())] {
        let (mut net, nodes) = joined(2);
        net.set_conditions(Conditions::LAN.delay(LATENCY, LATENCY).loss(0.05));
        net.set_max_segment(segment);
        send_reliable(&mut net, nodes[0], nodes[1], &payload[..len]);
        net.run_for(Duration::from_secs(9));
        let received = messages(&net, nodes[1]);
        assert_eq!(received.len(), 1, "segments of {segment}");
        assert!(received[0].1 == payload[..len], "segments of {segment}");
        assert_eq!(net.in_flight(), (0, 0));
    }
}

#[test]
fn streams_that_finish_one_side_work_as_well() {
    let (mut net, nodes) = quiet(2);
    net.set_half_close(true);
    net.join(nodes[1], &nodes[..1]);
    net.run_for(Duration::from_secs(1));
    assert!(net.agrees(), "{}", net.table());
    send_reliable(&mut net, nodes[0], nodes[1], b"hello");
    net.run_for(Duration::from_secs(1));
    assert_eq!(messages(&net, nodes[1]).len(), 1);
    assert_eq!(net.in_flight(), (0, 0));
}

#[test]
fn a_crash_resets_streams_and_a_power_cut_does_not() {
    for (vanish, why) in [(false, StreamFailure::Reset), (true, StreamFailure::TimedOut)] {
        let (mut net, nodes) = joined(2);
        net.pause(nodes[0]); // accepts, but does not answer
        let begun = net.now();
        net.join(nodes[1], &nodes[..1]);
        net.run_for(Duration::from_millis(500));
        if vanish {
            net.vanish(nodes[0]);
        } else {
            net.crash(nodes[0]);
        }
        net.run_for(Duration::from_secs(20));
        let (at, failure) = join_failure(&net, nodes[1]).unwrap();
        assert_eq!(failure, JoinFailure::Stream(why));
        // A stream has ten seconds from when it is open.
        let expected =
            if vanish { Duration::from_secs(10) + LATENCY * 2 } else { Duration::from_millis(500) + LATENCY };
        assert_eq!(at, begun + expected);
        assert_eq!(net.in_flight(), (0, 0));
    }
}

#[test]
fn a_restarted_node_has_forgotten_everything_and_has_another_seed() {
    let (mut net, nodes) = joined(2);
    assert_eq!(net.machine(nodes[1]).unwrap().num_alive(), 2);
    net.crash(nodes[1]);
    assert!(net.machine(nodes[1]).is_none());
    assert_eq!(net.running().collect::<Vec<_>>(), nodes[..1]);
    net.restart(nodes[1]);
    assert_eq!(net.machine(nodes[1]).unwrap().num_alive(), 1);
    assert_eq!(net.name(nodes[1]).as_bytes(), b"n1");
    // What is sent to the old process does not confuse the new one.
    send(&mut net, nodes[0], nodes[1], b"hello");
    net.run_for(LATENCY);
    assert_eq!(messages(&net, nodes[1]).len(), 1);
}

#[test]
fn a_node_that_moves_is_found_at_its_new_address() {
    let (mut net, nodes) = joined(2);
    net.crash(nodes[1]);
    let addr = "10.9.9.9:7946".parse().unwrap();
    net.restart_at(nodes[1], addr);
    assert_eq!((net.addr(nodes[1]), net.machine(nodes[1]).unwrap().local().addr), (addr, addr));
    send(&mut net, nodes[0], nodes[1], b"to the old address");
    net.run_for(Duration::from_secs(1));
    assert_eq!(messages(&net, nodes[1]), []);
    assert_eq!(net.traffic().datagrams_lost, 1);
}

#[test]
fn duplicates_arrive_twice() {
    let (mut net, nodes) = joined(2);
    net.set_conditions(Conditions::PERFECT.duplicate(1.0));
    send(&mut net, nodes[0], nodes[1], b"twice");
    net.run_for(LATENCY);
    assert_eq!(messages(&net, nodes[1]).len(), 2);
}

#[test]
fn looking_until_something_holds_stops_there() {
    let (mut net, nodes) = quiet(2);
    net.join(nodes[1], &nodes[..1]);
    let at = net.run_until(Duration::from_secs(5), |net| net.agrees()).unwrap();
    assert_eq!((at, net.now()), (Instant::ORIGIN + LATENCY * 4, at));
    assert_eq!(net.run_until(Duration::from_secs(5), |_| false), None);
    assert_eq!(net.now(), at + Duration::from_secs(5));
}

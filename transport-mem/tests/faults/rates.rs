//! Nodes' own lines: what they send and receive has a rate and a buffer.

use core::time::Duration;

use gossip_proto::Instant;
use transport_mem::{Conditions, Rate};

use crate::support::{LATENCY, joined, messages, send, send_reliable};

const MS: Duration = Duration::from_millis(1);

/// A payload that makes a datagram of exactly a thousand bytes: there is a type before it, and a checksum of five bytes.
const PAYLOAD: [u8; 994] = [5; 994];

fn rate(bytes_per_second: u64, buffer: usize) -> Option<Rate> {
    Some(Rate { bytes_per_second, buffer })
}

fn after(begun: Instant, times: &[(Instant, Vec<u8>)]) -> Vec<Duration> {
    times.iter().map(|(at, _)| *at - begun).collect()
}

#[test]
fn an_uplink_is_shared_by_all_that_a_node_sends() {
    let (mut net, nodes) = joined(4);
    net.set_uplink(nodes[0], rate(100_000, 1 << 20));
    let begun = net.now();
    for to in [1, 2, 3, 1] {
        send(&mut net, nodes[0], nodes[to], &PAYLOAD);
        send(&mut net, nodes[to], nodes[0], &PAYLOAD);
    }
    net.run_for(Duration::from_secs(1));
    assert_eq!(after(begun, &messages(&net, nodes[1])), [LATENCY + 10 * MS, LATENCY + 40 * MS]);
    assert_eq!(after(begun, &messages(&net, nodes[2])), [LATENCY + 20 * MS]);
    assert_eq!(after(begun, &messages(&net, nodes[3])), [LATENCY + 30 * MS]);
    assert_eq!(after(begun, &messages(&net, nodes[0])), [LATENCY; 4], "what it receives is not concerned");
}

#[test]
fn a_downlink_is_shared_by_all_that_a_node_receives_in_the_order_of_arrival() {
    let (mut net, nodes) = joined(4);
    net.set_downlink(nodes[0], rate(100_000, 1 << 20));
    // What node 1 sends first arrives last.
    net.set_link(nodes[1], nodes[0], Some(Conditions::PERFECT.delay(50 * MS, Duration::ZERO)));
    let begun = net.now();
    for from in [1, 2, 3] {
        send(&mut net, nodes[from], nodes[0], &PAYLOAD);
        send(&mut net, nodes[0], nodes[from], &PAYLOAD);
    }
    net.run_for(Duration::from_secs(1));
    assert_eq!(after(begun, &messages(&net, nodes[0])), [20 * MS, 30 * MS, 60 * MS]);
    for from in [1, 2, 3] {
        assert_eq!(after(begun, &messages(&net, nodes[from])), [LATENCY]);
    }
}

#[test]
fn a_full_buffer_drops_datagrams_and_an_idle_line_takes_any() {
    for up in [true, false] {
        let (mut net, nodes) = joined(2);
        let (from, to) = (nodes[0], nodes[1]);
        match up {
            true => net.set_uplink(from, rate(100_000, 3_000)),
            false => net.set_downlink(to, rate(100_000, 3_000)),
        }
        let (begun, lost) = (net.now(), net.traffic().datagrams_lost);
        for _ in 0..5 {
            send(&mut net, from, to, &PAYLOAD);
        }
        net.run_for(Duration::from_secs(1));
        assert_eq!(after(begun, &messages(&net, to)), [20 * MS, 30 * MS, 40 * MS], "up: {up}");
        assert_eq!(net.traffic().datagrams_lost - lost, 2);
        // For ten seconds twice what fits is sent.
        net.clear_log(to);
        for _ in 0..2_000 {
            send(&mut net, from, to, &PAYLOAD);
            net.run_for(5 * MS);
        }
        net.run_for(Duration::from_secs(1));
        let carried = messages(&net, to).len();
        assert!((1_000..=1_004).contains(&carried), "{carried} of 1,000 bytes at 100,000 a second, up: {up}");
        match up {
            true => net.set_uplink(from, None),
            false => net.set_downlink(to, None),
        }
        net.clear_log(to);
        let begun = net.now();
        send(&mut net, from, to, &PAYLOAD);
        net.run_for(Duration::from_secs(1));
        assert_eq!(after(begun, &messages(&net, to)), [LATENCY]);
    }
}

#[test]
fn a_stream_takes_its_turns_too_and_loses_nothing() {
    for up in [true, false] {
        let run = || {
            let (mut net, nodes) = joined(2);
            match up {
                true => net.set_uplink(nodes[0], rate(100_000, 3_000)),
                false => net.set_downlink(nodes[1], rate(100_000, 3_000)),
            }
            let begun = net.now();
            send_reliable(&mut net, nodes[0], nodes[1], &vec![9; 500_000]);
            net.run_for(Duration::from_secs(9));
            let got = messages(&net, nodes[1]);
            assert_eq!((got.len(), got[0].1.len()), (1, 500_000), "up: {up}");
            let took = (got[0].0 - begun).as_secs_f64();
            assert!((5.0..5.2).contains(&took), "up: {up}, {took} s");
            net.trace().hash()
        };
        assert_eq!(run(), run(), "one seed, one run");
    }
}

#[test]
fn a_line_and_a_link_are_passed_one_after_the_other() {
    let (mut net, nodes) = joined(2);
    net.set_link(
        nodes[0],
        nodes[1],
        Some(Conditions::PERFECT.delay(LATENCY, Duration::ZERO).rate(200_000, 1 << 20)),
    );
    net.set_uplink(nodes[0], rate(100_000, 1 << 20));
    net.set_downlink(nodes[1], rate(50_000, 1 << 20));
    let begun = net.now();
    send(&mut net, nodes[0], nodes[1], &PAYLOAD);
    send(&mut net, nodes[0], nodes[1], &PAYLOAD);
    net.run_for(Duration::from_secs(1));
    let first = 10 * MS + 5 * MS + LATENCY + 20 * MS;
    assert_eq!(
        after(begun, &messages(&net, nodes[1])),
        [first, first + 20 * MS],
        "the narrowest sets the pace"
    );
}

#[test]
#[should_panic(expected = "a rate is at least 1 byte a second")]
fn a_rate_of_nothing_is_refused() {
    let (mut net, nodes) = joined(2);
    net.set_uplink(nodes[0], rate(0, 1));
}

//! What can go wrong with streams, while datagrams are well.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::{Instant, JoinFailure, Machine, Membership, StreamFailure};
use transport_mem::net::{Network, NodeId, Observer, StreamPath};

use crate::support::{LATENCY, join_failure, joined, messages, quiet, send, send_reliable};

const SECOND: Duration = Duration::from_secs(1);

/// What was read of streams, and what was written, by whom and when.
#[derive(Default)]
struct Seen {
    read: Vec<(Instant, NodeId, usize)>,
    wrote: Vec<(Instant, NodeId, usize)>,
}

impl<M> Observer<M> for Seen {
    fn read(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]) {
        self.read.push((at, stream.to, bytes.len()));
    }

    fn wrote(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]) {
        self.wrote.push((at, stream.from, bytes.len()));
    }
}

fn total(bytes: &[(Instant, NodeId, usize)], of: NodeId) -> usize {
    bytes.iter().filter(|(_, node, _)| *node == of).map(|(_, _, len)| len).sum()
}

#[test]
fn a_port_that_refuses_says_so_at_once_and_takes_datagrams() {
    let (mut net, nodes) = joined(2);
    net.refuse_streams(nodes[0], true);
    net.crash(nodes[1]);
    net.restart(nodes[1]);
    let begun = net.now();
    net.join(nodes[1], &nodes[..1]);
    net.run_for(SECOND);
    let refused = JoinFailure::Stream(StreamFailure::Unreachable);
    assert_eq!(join_failure(&net, nodes[1]), Some((begun + LATENCY * 2, refused)));
    // The other direction works, and so does the port when it is told to.
    net.clear_log(nodes[1]);
    net.join(nodes[0], &nodes[1..]);
    net.run_for(SECOND);
    assert!(net.agrees());
    send(&mut net, nodes[1], nodes[0], b"datagram");
    net.refuse_streams(nodes[0], false);
    send_reliable(&mut net, nodes[1], nodes[0], b"stream");
    net.run_for(SECOND);
    assert_eq!(messages(&net, nodes[0]).len(), 2);
}

#[test]
fn a_request_that_is_dropped_hangs_until_the_deadline_or_until_it_gets_through() {
    let (mut net, nodes) = quiet(2);
    net.block_connects(nodes[1], nodes[0], true);
    let begun = net.now();
    net.join(nodes[1], &nodes[..1]);
    net.run_for(20 * SECOND);
    let silent = JoinFailure::Stream(StreamFailure::TimedOut);
    assert_eq!(join_failure(&net, nodes[1]), Some((begun + 10 * SECOND, silent)));
    assert_eq!(net.in_flight(), (0, 0));

    net.clear_log(nodes[1]);
    let begun = net.now();
    net.join(nodes[1], &nodes[..1]);
    net.run_for(5 * SECOND);
    assert!(!net.agrees());
    net.heal();
    net.run_for(SECOND);
    assert!(net.agrees(), "it asks again five times a second\n{}", net.table());
    let (at, _) = net.log(nodes[1]).completions[0];
    assert!((5 * SECOND..5 * SECOND + Duration::from_millis(300)).contains(&(at - begun)), "{at}");
}

#[test]
fn a_block_of_connects_leaves_datagrams_and_the_other_direction_alone() {
    let (mut net, nodes) = joined(2);
    net.block_connects(nodes[0], nodes[1], true);
    send(&mut net, nodes[0], nodes[1], b"datagram");
    send_reliable(&mut net, nodes[0], nodes[1], b"never");
    send_reliable(&mut net, nodes[1], nodes[0], b"stream");
    net.run_for(20 * SECOND);
    assert_eq!(messages(&net, nodes[1]).iter().map(|m| &m.1[..]).collect::<Vec<_>>(), [b"datagram"]);
    assert_eq!(messages(&net, nodes[0]).len(), 1);
}

#[test]
fn a_stream_breaks_after_so_many_bytes_and_both_ends_are_told() {
    for after in [0, 1, 137, 50_000] {
        let (mut net, nodes) = joined(2);
        net.break_streams(nodes[1], nodes[0], Some(after));
        let failed =
            |net: &Network<Membership>, node: NodeId| net.machine(node).unwrap().stats().exchanges_failed;
        let bytes = net.observe(Seen::default());
        // A large state, so that there is more to send than breaks it.
        let state = Bytes::from(vec![7; 60_000]);
        net.with(nodes[1], |machine, _| machine.set_user_state(state.clone()).unwrap());
        let before = failed(&net, nodes[1]);
        net.join(nodes[1], &nodes[..1]);
        let begun = net.now();
        net.run_for(SECOND);
        let broken = JoinFailure::Stream(StreamFailure::Reset);
        let (at, failure) = join_failure(&net, nodes[1]).unwrap();
        assert_eq!(failure, broken, "after {after}");
        assert!(at - begun <= LATENCY * 4, "long before any deadline: {at}");
        assert!(failed(&net, nodes[1]) > before);
        assert_eq!(total(&net[bytes].read, nodes[0]) as u64, after, "those before arrive, and none else");
        assert_eq!(net.in_flight(), (0, 0));
        assert_eq!((net.open_streams(nodes[0]), net.open_streams(nodes[1])), (0, 0));
    }
}

#[test]
fn a_stream_that_carries_less_does_not_break_and_the_other_direction_does_not_count() {
    let (mut net, nodes) = joined(2);
    net.break_streams(nodes[1], nodes[0], Some(200));
    send_reliable(&mut net, nodes[0], nodes[1], &[1; 5_000]);
    send_reliable(&mut net, nodes[1], nodes[0], &[1; 100]);
    net.run_for(SECOND);
    assert_eq!((messages(&net, nodes[0]).len(), messages(&net, nodes[1]).len()), (1, 1));
    send_reliable(&mut net, nodes[1], nodes[0], &[1; 300]);
    net.run_for(SECOND);
    assert_eq!(messages(&net, nodes[0]).len(), 1);
    net.break_streams(nodes[1], nodes[0], None);
    send_reliable(&mut net, nodes[1], nodes[0], &[1; 300]);
    net.run_for(SECOND);
    assert_eq!(messages(&net, nodes[0]).len(), 2);
}

#[test]
fn a_slow_reader_reads_at_its_rate_and_the_sender_s_buffer_fills() {
    let (mut net, nodes) = joined(2);
    net.set_read_rate(nodes[0], Some(100_000));
    let bytes = net.observe(Seen::default());
    let begun = net.now();
    // A stream has ten seconds; half a megabyte takes five of them, half of it waits at the sender.
    send_reliable(&mut net, nodes[1], nodes[0], &vec![9; 500_000]);
    net.run_for(SECOND);
    let [read, wrote] = [total(&net[bytes].read, nodes[0]), total(&net[bytes].wrote, nodes[1])];
    assert!((96_000..=100_000).contains(&read), "{read}");
    assert!((256 << 10..=(256 << 10) + 100_000).contains(&wrote), "no more than fits is written: {wrote}");
    assert_eq!(messages(&net, nodes[0]), []);
    net.run_for(5 * SECOND);
    let read = messages(&net, nodes[0]);
    let [(at, payload)] = read.as_slice() else { panic!("{} messages", read.len()) };
    assert_eq!(payload.len(), 500_000);
    let took = (*at - begun).as_secs_f64();
    assert!((4.97..5.1).contains(&took), "{took}");
    let pieces = &net[bytes].read;
    assert!(pieces.iter().all(|(_, _, len)| *len <= 1_000));
    assert_eq!(net.in_flight(), (0, 0));
}

#[test]
fn a_reader_of_a_few_bytes_a_second_gets_them_one_by_one_and_runs_into_the_deadline() {
    let run = || {
        let (mut net, nodes) = joined(2);
        net.set_read_rate(nodes[0], Some(4));
        let bytes = net.observe(Seen::default());
        let begun = net.now();
        net.join(nodes[1], &nodes[..1]);
        net.run_for(20 * SECOND);
        // The reader has ten seconds too, from when it accepted, and then closes without having read all.
        let gave_up = JoinFailure::Stream(StreamFailure::Reset);
        let (at, failure) = join_failure(&net, nodes[1]).unwrap();
        assert_eq!((at - begun, failure), (10 * SECOND + LATENCY * 2, gave_up));
        let read: Vec<_> = net[bytes].read.iter().filter(|(_, node, _)| *node == nodes[0]).copied().collect();
        assert!((36..=42).contains(&read.len()), "ten seconds of it: {}", read.len());
        assert!(read.iter().all(|(_, _, len)| *len == 1));
        assert!(read.windows(2).all(|pair| pair[1].0 - pair[0].0 == SECOND / 4));
        // Who reads as usual again gets on.
        net.set_read_rate(nodes[0], None);
        net.clear_log(nodes[1]);
        net.join(nodes[1], &nodes[..1]);
        net.run_for(SECOND);
        assert_eq!(join_failure(&net, nodes[1]), None);
        net.trace().hash()
    };
    assert_eq!(run(), run(), "one seed, one run");
}

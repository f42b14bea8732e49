//! Data that expands (memberlist#362: 198 KB to 256 MiB).

use super::*;
use crate::bounds::Victim;
use crate::support::heap::Heap;
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;

const MIB: usize = 1 << 20;

/// A message of that many equal bytes, compressed.
fn bomb(len: usize) -> Vec<u8> {
    let mut packed = Vec::new();
    Deflater::new().append_message(&[&[MessageType::User.byte()], &vec![0; len]], &mut packed);
    packed
}

fn packed(message: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    Deflater::new().append_message(&[message], &mut packed);
    packed
}

/// One datagram may inflate to `max_inflated`, 1 MiB, in all of its parts together; the rest of it is not looked at.
#[test]
fn a_datagram_expands_to_a_mebibyte_at_most() {
    let single = bomb(60 * MIB);
    assert!(single.len() < 65_507, "{} bytes", single.len());
    let small = bomb(MIB * 3 / 4);
    let many = compound(&vec![small.clone(); 40]);
    let nested = packed(&packed(&bomb(8 * MIB)));
    for (what, datagram, over) in [("single", single, 1), ("many", many, 39), ("nested", nested, 1)] {
        let mut victim = Victim::new(|_, _| {});
        let heap = Heap::now();
        victim.datagram(addr(9), &mut datagram.clone());
        assert_eq!(victim.stats().dropped_limits, over, "{what}");
        let (held, peak) = (heap.held(), heap.peak() - datagram.len() as isize);
        // Space is doubled as it fills, and what is not ordinary is given back.
        assert!(peak <= 3 * MIB as isize && held <= 512 << 10, "{what}: {held} of {peak} bytes");
    }
}

/// A stream expands to 40 MiB at most, as upstream's do, and within the memory for exchanges.
#[test]
fn a_stream_expands_within_the_memory_for_exchanges() {
    let bytes = bomb(41 * MIB);
    for (limit, refused) in [(64 * MIB, true), (8 * MIB, false)] {
        let mut victim = Victim::new(|config, _| {
            config.max_exchange_bytes(limit);
        });
        let heap = Heap::now();
        let id = victim.node.accept_stream(victim.now, Source::unauthenticated(addr(2))).expect("a place");
        assert!(victim.node.handle_stream_data(victim.now, id, &bytes, false).is_ok());
        // What is left to do is done by and by; where memory is short it waits until the stream's time is over.
        victim.settle();
        assert_eq!(victim.stats().streams_malformed, u64::from(refused));
        let mut reply = [0; 300];
        let written = victim.node.poll_stream_data(victim.now, id, &mut reply);
        assert_eq!(written.len > 0, refused, "a refusal is answered, and says why");
        victim.run(11 * SECOND);
        assert_eq!(victim.stats().streams_timed_out, u64::from(!refused));
        let (held, peak) = (heap.held(), heap.peak());
        assert!(peak <= limit as isize + (2 * MIB) as isize && held < 256 << 10, "{held} of {peak} bytes");
    }
}

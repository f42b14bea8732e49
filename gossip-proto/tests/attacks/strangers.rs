//! Senders without the key.

use super::*;
use crate::bounds::Victim;
use gossip_proto::wire::keyring::{Key, Keyring, Nonces};
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::{MessageType, PushPullHeader};
use gossip_proto::wire::packet::Envelope;
use gossip_proto::wire::stream::write_stream;

fn ring(byte: u8) -> Option<Keyring> {
    Some(Keyring::new(Key::new(&[byte; 16]).expect("16 bytes"), []).expect("one key"))
}

fn sealed(keyring: Option<Keyring>, nonces: &mut Nonces, body: &[u8]) -> Vec<u8> {
    let layers = Layers { keyring, compression: Compression::Off, ..Layers::default() };
    let mut bytes = vec![0; body.len() + 100];
    let len = bytes.len();
    let mut envelope = Envelope::new(&layers, &mut bytes, len, false).expect("there is room");
    envelope.body()[..body.len()].copy_from_slice(body);
    let len = envelope.finish(body.len(), nonces, &mut Deflater::new()).expect("it fits");
    bytes.truncate(len);
    bytes
}

/// A sender with another key, at full speed: each datagram leaves a count and nothing else. What one costs is in
/// `docs/results.md`.
#[test]
fn who_has_another_key_leaves_a_count_and_nothing_else() {
    let mut victim = Victim::alone(|config, _| {
        config.keyring(ring(1));
    });
    let (due, rounds) = (victim.node.poll_timeout(), 5000);
    let mut nonces = Nonces::new([5; 32]);
    let bodies = [alive("x", 66, 1), ping(1, "self", "b", addr(2)), dead("b", 5, "b"), vec![0; 1300]];
    let mut datagrams: Vec<_> = bodies.iter().map(|body| sealed(ring(2), &mut nonces, body)).collect();
    datagrams.push(bodies[0].clone());
    datagrams.push(vec![0xff; 1400]);
    let bytes: usize = datagrams.iter().map(Vec::len).sum();
    let before = victim.stats().clone();
    let mut buffer = vec![0; 2000];
    let heap = crate::support::heap::Heap::now();
    for _ in 0..rounds {
        for datagram in &datagrams {
            let copy = &mut buffer[..datagram.len()];
            copy.copy_from_slice(datagram);
            let from = Source::unauthenticated(addr(2));
            let result = victim.node.handle_datagram(victim.now, from, copy);
            assert!(matches!(result, Err(PacketError::Seal(_))), "{result:?}");
        }
    }
    assert_eq!((heap.held(), heap.peak()), (0, 0), "nothing is allocated for them either");
    let mut expected = before;
    expected.datagrams_received += rounds * 6;
    expected.bytes_received += rounds * bytes as u64;
    expected.dropped_seal += rounds * 6;
    assert_eq!((victim.stats(), victim.node.poll_timeout()), (&expected, due));
    assert!(victim.sent().is_empty() && victim.node.poll_event().is_none());
}

/// The same by streams: the first frame that no key opens ends it. What is answered is that it is refused, sealed with a key
/// that the other side has not.
#[test]
fn a_stream_of_another_key_is_refused_under_seal() {
    let mut victim = Victim::alone(|config, _| {
        config.keyring(ring(1));
    });
    let mut bytes = Vec::new();
    let layers = Layers { keyring: ring(2), ..Layers::default() };
    let header = PushPullHeader { nodes: 0, user_state_len: 0, join: true };
    let body = message(MessageType::PushPull, |bytes| header.encode(bytes));
    write_stream(&layers, true, &[&body], &mut Nonces::new([5; 32]), &mut Deflater::new(), &mut bytes)
        .expect("short enough");
    for whole in [bytes.as_slice(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 100], &body] {
        let id = victim.node.accept_stream(victim.now, Source::unauthenticated(addr(9))).expect("a place");
        let refused = victim.node.handle_stream_data(victim.now, id, whole, true);
        assert_eq!(refused, Err(StreamError::Refused));
        let mut buf = [0; 4096];
        let written = victim.node.poll_stream_data(victim.now, id, &mut buf);
        assert!((60..200).contains(&written.len) && written.fin && buf[0] == MessageType::Encrypted.byte());
    }
    assert_eq!((victim.stats().exchanges_answered, victim.stats().streams_malformed), (0, 4));
}

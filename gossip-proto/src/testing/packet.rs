//! Whole datagrams: opened, unpacked, and wrapped again.

use alloc::vec;
use alloc::vec::Vec;

use super::fuzz_decode;
use super::layers::{layers, nonces};
use crate::wire::layers::Layers;
use crate::wire::lzw::Deflater;
use crate::wire::message::MessageType;
use crate::wire::packet::{Envelope, Scratch, UnpackLimits, open, unpack};

/// Small, so that a fuzzer reaches them.
const LIMITS: UnpackLimits = UnpackLimits { inflated: 32 * 1024, messages: 64 };

/// A byte that selects the layers, then a datagram. It is opened and unpacked as received; and it is wrapped as the body
/// of a datagram of our own, which must come out unchanged.
pub fn fuzz_packet(input: &[u8]) {
    let Some((selector, datagram)) = input.split_first() else { return };
    let layers = layers(*selector);
    let mut received = datagram.to_vec();
    if let Ok(body) = open(&layers, &mut received) {
        assert!(!body.is_empty() && body.len() <= datagram.len(), "a body comes out of its datagram");
        let body = body.to_vec();
        for message in messages(&body).0 {
            decode(&message);
        }
    }
    // With the label check off, a body that looks like a label is refused as one. That is not ours to send.
    if !layers.skip_inbound_label_check && datagram.first() != Some(&MessageType::Label.byte()) {
        round_trip(&layers, datagram);
    }
}

/// What a body unpacks to, checked against the limits, and whether it reached one.
fn messages(body: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let found = unpack(body, &mut Scratch::new(), &LIMITS, &mut |message| seen.push(message.to_vec()));
    assert_eq!(found.messages, seen.len(), "every message is counted");
    assert!(seen.len() <= LIMITS.messages + 1, "more messages than allowed");
    let bytes: usize = seen.iter().map(Vec::len).sum();
    assert!(bytes <= body.len() + LIMITS.inflated, "more bytes than allowed: parts of a body cannot overlap");
    (seen, found.over_limit > 0)
}

/// Decodes a message as what its first byte says it is.
fn decode(message: &[u8]) {
    let Some((kind, body)) = message.split_first() else { return };
    let name = match MessageType::from_byte(*kind) {
        Some(MessageType::Ping) => "Ping",
        Some(MessageType::IndirectPing) => "IndirectPing",
        Some(MessageType::Ack) => "Ack",
        Some(MessageType::Nack) => "Nack",
        Some(MessageType::Suspect | MessageType::Dead) => "Accusation",
        Some(MessageType::Alive) => "Alive",
        Some(MessageType::User) => return,
        other => panic!("{other:?} has no place in a packet"),
    };
    let selector = super::KINDS.iter().position(|kind| *kind == name).expect("the name is in the list");
    let mut input = vec![selector as u8];
    input.extend_from_slice(body);
    fuzz_decode(&input);
}

/// Wraps a body and opens the datagram again. With a seal, no single byte of it may be changed unnoticed.
fn round_trip(layers: &Layers, body: &[u8]) {
    for crc in [false, true] {
        let mut buf = vec![0; body.len() + 512];
        let room = buf.len();
        let mut envelope = Envelope::new(layers, &mut buf, room, crc).expect("there is room for a body");
        envelope.body()[..body.len()].copy_from_slice(body);
        let Ok(len) = envelope.finish(body.len(), &mut nonces(), &mut Deflater::new()) else {
            assert!(body.is_empty(), "only an empty body is refused here");
            return;
        };
        let sent = &buf[..len];
        let mut received = sent.to_vec();
        let opened = match open(layers, &mut received) {
            Ok(opened) => opened,
            // Without a checksum of its own, a plain body may look like one.
            Err(_) if !crc && body[0] == MessageType::Checksum.byte() => continue,
            Err(error) => panic!("our own datagram is refused: {error}"),
        };
        if opened != body && (crc || body[0] != MessageType::Checksum.byte()) {
            // It was compressed: then it is what comes out again that counts.
            assert_eq!(opened[0], MessageType::Compressed.byte(), "the body has changed");
            assert!(opened.len() < body.len(), "compressed although it did not get smaller");
            // One more level of nesting: what was just within the limits may now be beyond them, and is left out. That makes
            // room for others where there was none.
            let (before, was_full) = messages(body);
            let (after, _) = messages(opened);
            let mut rest = before.iter();
            let are_there = after.iter().all(|message| rest.any(|other| other == message));
            assert!(are_there || was_full, "the messages have changed");
        }
        if layers.sealing_key().is_some() && layers.verify_incoming {
            tamper(layers, sent, body);
        }
    }
}

fn tamper(layers: &Layers, sent: &[u8], body: &[u8]) {
    // Any byte would do; which one depends on the input, so that a corpus covers them all.
    let at = body.iter().fold(body.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)))
        % sent.len();
    let mut changed = sent.to_vec();
    changed[at] ^= 1;
    if let Ok(opened) = open(layers, &mut changed) {
        // The version byte is outside of what the seal covers (W-1); taken for the other version, the text is padding
        // that happens to be well-formed.
        assert_eq!(at, layers.label.header_len(), "a changed byte went unnoticed");
        assert!(opened.len() <= sent.len());
    }
}

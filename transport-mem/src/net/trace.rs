//! The record of a run: everything that was sent and said, so that two runs can be compared byte for byte.

use core::fmt::{self, Write};

use gossip_proto::Instant;

use crate::rng::finish;

/// What an entry of a trace is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Entry {
    Datagram = 1,
    Connect = 2,
    Written = 3,
    Closed = 4,
    Membership = 5,
    Completion = 6,
    Event = 7,
    Power = 8,
}

/// A running hash over a run, and its whole record if that was asked for.
///
/// An entry is: what it is (1 byte), when (8), the node (4), the peer (4, or `u32::MAX`), the length (4), and that many
/// bytes: the datagram, the bytes written to a stream, or the text of an output. Numbers are little endian.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    entries: u64,
    record: Option<Vec<u8>>,
    text: String,
    is_off: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { hash: 0, entries: 0, record: None, text: String::new(), is_off: false }
    }

    /// The hash over all entries so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many entries there were.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The entries since [`Trace::keep`], as bytes; empty if it was not called.
    pub fn record(&self) -> &[u8] {
        self.record.as_deref().unwrap_or_default()
    }

    /// Keeps all entries from now on.
    pub fn keep(&mut self) {
        self.record.get_or_insert_default();
    }

    /// Takes nothing in from now on: to write down what each node says takes about a fourth of a run, which who measures the nodes
    /// does not want to measure as well.
    pub fn stop(&mut self) {
        self.is_off = true;
    }

    pub(crate) fn bytes(&mut self, entry: Entry, at: Instant, node: u32, peer: u32, bytes: &[u8]) {
        if self.is_off {
            return;
        }
        let mut head = [0; 21];
        head[0] = entry as u8;
        head[1..9].copy_from_slice(&at.as_nanos().to_le_bytes());
        head[9..13].copy_from_slice(&node.to_le_bytes());
        head[13..17].copy_from_slice(&peer.to_le_bytes());
        head[17..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.hash = absorb(absorb(self.hash, &head), bytes);
        self.entries += 1;
        if let Some(record) = &mut self.record {
            record.extend_from_slice(&head);
            record.extend_from_slice(bytes);
        }
    }

    /// An entry whose bytes are the text of a value.
    pub(crate) fn value(&mut self, entry: Entry, at: Instant, node: u32, value: &dyn fmt::Debug) {
        if self.is_off {
            return;
        }
        let mut text = core::mem::take(&mut self.text);
        text.clear();
        let _ = write!(text, "{value:?}");
        self.bytes(entry, at, node, NOBODY, text.as_bytes());
        self.text = text;
    }
}

/// The peer of entries that have none.
pub(crate) const NOBODY: u32 = u32::MAX;

/// Chained, so that order counts; each word passes a full finaliser, so that one flipped bit anywhere shows.
fn absorb(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    hash = step(hash, u64::from_le_bytes(last));
    step(hash, bytes.len() as u64)
}

fn step(hash: u64, word: u64) -> u64 {
    finish(hash.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_every_part_and_on_the_order() {
        let one = |entry, at, node, peer, bytes: &[u8]| {
            let mut trace = Trace::new();
            trace.bytes(entry, Instant::from_nanos(at), node, peer, bytes);
            trace.hash()
        };
        let base = one(Entry::Datagram, 1, 2, 3, b"abc");
        assert_eq!(base, one(Entry::Datagram, 1, 2, 3, b"abc"));
        let others = [
            one(Entry::Written, 1, 2, 3, b"abc"),
            one(Entry::Datagram, 2, 2, 3, b"abc"),
            one(Entry::Datagram, 1, 3, 3, b"abc"),
            one(Entry::Datagram, 1, 2, 4, b"abc"),
            one(Entry::Datagram, 1, 2, 3, b"abd"),
            one(Entry::Datagram, 1, 2, 3, b"abc\0"),
        ];
        assert!(others.iter().all(|other| *other != base));

        let two = |first: &[u8], second: &[u8]| {
            let mut trace = Trace::new();
            trace.bytes(Entry::Datagram, Instant::ORIGIN, 0, 0, first);
            trace.bytes(Entry::Datagram, Instant::ORIGIN, 0, 0, second);
            trace.hash()
        };
        assert_ne!(two(b"a", b"b"), two(b"b", b"a"));
    }

    #[test]
    fn the_record_holds_what_was_sent_after_it_was_asked_for() {
        let mut trace = Trace::new();
        trace.bytes(Entry::Datagram, Instant::ORIGIN, 0, 0, b"before");
        assert_eq!(trace.record(), b"");
        trace.keep();
        trace.bytes(Entry::Written, Instant::from_nanos(0x0102), 7, 8, b"xyz");
        trace.value(Entry::Event, Instant::ORIGIN, 1, &"text");
        let (first, second) = trace.record().split_at(24);
        assert_eq!(first, b"\x03\x02\x01\0\0\0\0\0\0\x07\0\0\0\x08\0\0\0\x03\0\0\0xyz");
        assert_eq!(&second[21..], b"\"text\"");
        assert_eq!(trace.entries(), 3);
        let hash = trace.hash();
        trace.stop();
        trace.value(Entry::Event, Instant::ORIGIN, 1, &"text");
        assert_eq!((trace.entries(), trace.record().len(), trace.hash()), (3, 24 + 27, hash));
    }
}

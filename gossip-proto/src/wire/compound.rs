//! Compounds: several messages in one packet (spec 1.9).

use smallvec::SmallVec;

use super::message::MessageType;
use super::msgpack::Full;

/// Most messages in one compound: their number travels in one byte (W-4).
pub const MAX_PARTS: usize = 255;

/// Bytes in front of the length table.
pub const COMPOUND_HEADER: usize = 2;

/// Bytes that each message adds to the length table.
pub const PART_OVERHEAD: usize = 2;

/// The messages of a received compound, in order. Ends before the first one that is cut short.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    lengths: &'a [u8],
    rest: &'a [u8],
    truncated: usize,
}

impl<'a> Parts<'a> {
    /// Reads the length table of a compound without its type byte.
    pub fn new(body: &'a [u8]) -> Result<Self, BadCompound> {
        let (count, rest) = body.split_first().ok_or(BadCompound::NoCount)?;
        let table = usize::from(*count) * PART_OVERHEAD;
        let (lengths, rest) = rest.split_at_checked(table).ok_or(BadCompound::TableTruncated)?;
        Ok(Self { lengths, rest, truncated: 0 })
    }

    /// How many messages were announced but are not there; known once the iterator has ended.
    pub fn truncated(&self) -> usize {
        self.truncated
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, lengths) = self.lengths.split_first_chunk()?;
        match self.rest.split_at_checked(usize::from(u16::from_be_bytes(*len))) {
            Some((part, rest)) => {
                self.lengths = lengths;
                self.rest = rest;
                Some(part)
            }
            None => {
                self.truncated = self.lengths.len() / PART_OVERHEAD;
                self.lengths = &[];
                None
            }
        }
    }
}

/// Why nothing of a compound can be used. The sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadCompound {
    /// There is no count.
    NoCount,
    /// The length table is cut short.
    TableTruncated,
}

/// Writes the header of a compound whose messages have these lengths, to the front of `out`, and returns its
/// length. Refuses what cannot be sent: more than [`MAX_PARTS`], messages over 65,535 bytes, and empty ones,
/// which make old nodes panic.
pub fn write_header<I>(out: &mut [u8], lengths: I) -> Result<usize, Full>
where
    I: ExactSizeIterator<Item = usize>,
{
    let count = u8::try_from(lengths.len()).map_err(|_| Full)?;
    let len = COMPOUND_HEADER + usize::from(count) * PART_OVERHEAD;
    let (head, table) = out.get_mut(..len).ok_or(Full)?.split_at_mut_checked(COMPOUND_HEADER).ok_or(Full)?;
    head.copy_from_slice(&[MessageType::Compound.byte(), count]);
    for (entry, len) in table.as_chunks_mut::<PART_OVERHEAD>().0.iter_mut().zip(lengths) {
        *entry = u16::try_from(len).ok().filter(|len| *len > 0).ok_or(Full)?.to_be_bytes();
    }
    Ok(len)
}

/// Composes a packet body out of messages that are drawn one by one: a single message stays bare, several
/// become a compound (spec 4.9). Allocates nothing.
#[derive(Debug)]
pub struct Packer<'b> {
    buf: &'b mut [u8],
    used: usize,
    /// Of the messages so far. Not an array: to fill one with zeros would take longer than to compose an acknowledgement.
    lengths: SmallVec<[u16; 256]>,
}

impl<'b> Packer<'b> {
    /// Composes into `buf`, whose length is the limit of the body.
    pub fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, used: 0, lengths: SmallVec::new() }
    }

    /// Messages so far.
    pub fn count(&self) -> usize {
        self.lengths.len()
    }

    /// Length of the longest message that can still be added; 0 if none can.
    pub fn room(&self) -> usize {
        let count = self.count();
        if count == MAX_PARTS {
            return 0;
        }
        let table = if count == 0 { 0 } else { COMPOUND_HEADER + (count + 1) * PART_OVERHEAD };
        self.buf.len().saturating_sub(self.used).saturating_sub(table).min(usize::from(u16::MAX))
    }

    /// Where the next message may be written, [`room`](Self::room) bytes long. It counts only once
    /// [`commit`](Self::commit) says how long it became.
    pub fn spare(&mut self) -> &mut [u8] {
        let end = self.used + self.room();
        self.buf.get_mut(self.used..end).unwrap_or_default()
    }

    /// Adds the first `len` bytes of [`spare`](Self::spare) as a message. An empty one is refused.
    pub fn commit(&mut self, len: usize) -> Result<(), Full> {
        if len == 0 || len > self.room() {
            return Err(Full);
        }
        self.lengths.push(u16::try_from(len).map_err(|_| Full)?);
        self.used += len;
        Ok(())
    }

    /// Adds a message that exists already.
    pub fn push(&mut self, message: &[u8]) -> Result<(), Full> {
        self.spare().get_mut(..message.len()).ok_or(Full)?.copy_from_slice(message);
        self.commit(message.len())
    }

    /// Completes the body and returns its length, 0 if it has no messages. No message can be added any more.
    pub fn finish(&mut self) -> usize {
        if self.count() > 1 {
            let header = COMPOUND_HEADER + self.count() * PART_OVERHEAD;
            self.buf.copy_within(..self.used, header);
            let lengths = self.lengths.iter().map(|len| usize::from(*len));
            self.used = write_header(self.buf, lengths).map_or(0, |header| header + self.used);
        }
        self.buf = &mut [];
        self.lengths.clear();
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn parts(body: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut parts = Parts::new(body).unwrap();
        let list = parts.by_ref().collect();
        (list, parts.truncated())
    }

    // upstream: TestDecodeCompoundMessage, TestDecodeCompoundMessage_Trunc
    #[test]
    fn complete_parts_are_yielded_and_cut_ones_counted() {
        let body = b"\x03\0\x02\0\x05\0\x01abcdefgh?";
        assert_eq!(parts(body), (vec![&b"ab"[..], b"cdefg", b"h"], 0));
        assert_eq!(parts(&body[..body.len() - 2]), (vec![&b"ab"[..], b"cdefg"], 1));
        // Once one part does not fit, no later one counts even if it would.
        assert_eq!(parts(&body[..10]), (vec![&b"ab"[..]], 2));
        assert_eq!(parts(b"\x02\0\x05\0\0abc"), (vec![], 2));
    }

    #[test]
    fn empty_parts_and_no_parts_are_legal_to_receive() {
        assert_eq!(parts(b"\0"), (vec![], 0));
        assert_eq!(parts(b"\x02\0\0\0\x01x"), (vec![&b""[..], b"x"], 0));
    }

    // upstream: TestDecodeCompoundMessage_NumberOfPartsOverflow
    #[test]
    fn a_header_that_is_cut_voids_the_whole() {
        assert_eq!(Parts::new(b"").unwrap_err(), BadCompound::NoCount);
        assert_eq!(Parts::new(b"\x03\0\x01\0\x01").unwrap_err(), BadCompound::TableTruncated);
    }

    #[test]
    fn a_single_message_stays_bare() {
        let mut buf = [0; 4];
        let mut packer = Packer::new(&mut buf);
        assert_eq!(packer.room(), 4);
        packer.push(b"abcd").unwrap();
        assert_eq!(packer.room(), 0);
        assert_eq!(packer.finish(), 4);
        assert_eq!(&buf, b"abcd");
    }

    // upstream: TestMakeCompoundMessage
    #[test]
    fn messages_come_out_as_they_went_in_and_fill_the_buffer_exactly() {
        let mut buf = [0; 2 + 3 * 2 + 6];
        let mut packer = Packer::new(&mut buf);
        packer.push(b"a").unwrap();
        packer.spare()[..2].copy_from_slice(b"bb");
        packer.commit(2).unwrap();
        assert_eq!(packer.room(), 3);
        assert_eq!(packer.push(b"cccc"), Err(Full));
        assert_eq!(packer.commit(0), Err(Full));
        packer.push(b"ccc").unwrap();
        let len = packer.finish();
        assert_eq!(len, buf.len());
        assert_eq!(parts(&buf[1..len]), (vec![&b"a"[..], b"bb", b"ccc"], 0));
    }

    #[test]
    fn the_256th_message_is_refused() {
        let mut buf = vec![0; 4096];
        let mut packer = Packer::new(&mut buf);
        for _ in 0..255 {
            packer.push(b"x").unwrap();
        }
        assert_eq!((packer.room(), packer.push(b"x")), (0, Err(Full)));
        let len = packer.finish();
        assert_eq!(parts(&buf[1..len]), (vec![&b"x"[..]; 255], 0));
        assert_eq!(write_header(&mut [0; 4096], [1; 256].into_iter()), Err(Full));
    }

    #[test]
    fn no_length_that_cannot_be_sent_is_written() {
        assert_eq!(write_header(&mut [0; 16], [65_536].into_iter()), Err(Full));
        assert_eq!(write_header(&mut [0; 16], [0].into_iter()), Err(Full));
        assert_eq!(write_header(&mut [0; 5], [1, 1].into_iter()), Err(Full));
        let mut buf = vec![0; 70_000];
        assert_eq!(Packer::new(&mut buf).room(), 65_535);
    }
}

//! Compression: LZW as in GIF, in reusable coders with bounded output, and the message around it (spec 1.8).

use super::msgpack::{Full, Sink, SliceSink, put_raw};
use alloc::vec::Vec;
use core::fmt;
use weezl::{BitOrder, LzwError, LzwStatus};

/// The only algorithm that exists.
pub const ALGO_LZW: u8 = 0;

/// Bits of a literal.
const LITERAL_BITS: u8 = 8;

/// Steps of a decompression that may come to nothing: so many, and one more for each so many bytes that came out. An encoder
/// clears its table once in at least 3,838 bytes.
pub(crate) const FREE_CLEARS: usize = 64;
const BYTES_PER_CLEAR: usize = 1024;

/// Bytes that an output vector grows by at a time.
const CHUNK: usize = 16 * 1024;

/// What the tables of a compressor take at most, for accounting: 8 KiB of codes, 3,840 nodes of 50 bytes or fewer and larger ones.
const DEFLATER_BYTES: usize = 192 * 1024;

/// A compressed message up to the length of its data: type byte, then `{Algo: 0, Buf: `.
const PREFIX: [u8; 12] = *b"\x09\x82\xa4Algo\x00\xa3Buf";

/// Most bytes of a raw length header.
const MAX_RAW_HEADER: usize = 5;

/// Decompresses; its tables are kept from one input to the next.
pub struct Inflater {
    decoder: weezl::decode::Decoder,
    produced: usize,
    /// Clear codes right behind one another so far.
    idle_clears: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

impl Inflater {
    /// A decompressor, some 60 KiB large.
    pub fn new() -> Self {
        Self {
            decoder: weezl::decode::Decoder::new(BitOrder::Lsb, LITERAL_BITS),
            produced: 0,
            idle_clears: 0,
        }
    }

    /// Prepares for another input.
    pub fn reset(&mut self) {
        self.decoder.reset();
        (self.produced, self.idle_clears) = (0, 0);
    }

    /// Decompresses all of `input` to the end of `out`, at most `limit` bytes of it. What was appended before
    /// an error stays, so that the caller can account for the work.
    pub fn inflate(&mut self, mut input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), InflateError> {
        self.reset();
        let end = out.len().saturating_add(limit);
        // The usual packet expands to about twice its size; a cleared chunk would cost more than its decoding.
        let chunk = input.len().saturating_mul(3).clamp(512, CHUNK);
        loop {
            let room = end.saturating_sub(out.len()).min(chunk);
            let step = self.step(input, out, room)?;
            input = input.get(step.consumed..).unwrap_or_default();
            match step.stop {
                Stop::Ended => return Ok(()),
                Stop::Starved => return Err(InflateError::MissingEnd),
                Stop::Filled if out.len() >= end => return self.expect_end(input, limit),
                Stop::Filled => {}
            }
        }
    }

    /// One slice of a decompression that was prepared with [`reset`](Self::reset): appends at most `room`
    /// bytes to `out`.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Result<Inflated, InflateError> {
        let start = out.len();
        out.resize(start.saturating_add(room), 0);
        let (result, consumed, produced) = self.run(input, out.get_mut(start..).unwrap_or_default());
        out.truncate(start + produced);
        Ok(Inflated { consumed, stop: result? })
    }

    /// After the limit was reached: fine if in `input`, all that is left, nothing but the end follows.
    pub fn expect_end(&mut self, input: &[u8], limit: usize) -> Result<(), InflateError> {
        match self.run(input, &mut [0]) {
            (_, _, 1..) => Err(InflateError::TooLarge { limit }),
            (Ok(Stop::Ended), _, _) => Ok(()),
            (Ok(_), _, _) => Err(InflateError::MissingEnd),
            (Err(error), _, _) => Err(error),
        }
    }

    /// Goes on until there is a reason to stop; also says how much was consumed and produced.
    fn run(&mut self, mut input: &[u8], mut space: &mut [u8]) -> (Result<Stop, InflateError>, usize, usize) {
        let (mut consumed, mut produced, mut idle) = (0, 0, 0);
        while !space.is_empty() {
            let step = self.decoder.decode_bytes(input, space);
            consumed += step.consumed_in;
            produced += step.consumed_out;
            self.produced += step.consumed_out;
            input = input.get(step.consumed_in..).unwrap_or_default();
            space = core::mem::take(&mut space).get_mut(step.consumed_out..).unwrap_or_default();
            match step.status {
                Ok(LzwStatus::Done) => return (Ok(Stop::Ended), consumed, produced),
                Err(LzwError::InvalidCode) => return (Err(InflateError::InvalidCode), consumed, produced),
                Ok(LzwStatus::NoProgress) => return (Ok(Stop::Starved), consumed, produced),
                Ok(LzwStatus::Ok) => {}
            }
            // Each has the table made anew, for nine bits. What is packed twice can hold a million of them and come to nothing,
            // so that no limit of what comes out would end it.
            if step.consumed_out == 0 && !input.is_empty() {
                self.idle_clears += 1;
                if self.idle_clears > FREE_CLEARS + self.produced / BYTES_PER_CLEAR {
                    return (Err(InflateError::InvalidCode), consumed, produced);
                }
            }
            // A clear code may come out of the bits that the decoder holds already: progress that shows on
            // neither side. It holds 64 bits at most, so this ends, or something is wrong.
            idle = if step.consumed_in == 0 && step.consumed_out == 0 { idle + 1 } else { 0 };
            if idle > 64 {
                return (Ok(Stop::Starved), consumed, produced);
            }
        }
        let stop = if self.decoder.has_ended() { Stop::Ended } else { Stop::Filled };
        (Ok(stop), consumed, produced)
    }
}

/// Progress of one [`Inflater::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inflated {
    /// Input bytes that need not be given again.
    pub consumed: usize,
    /// Why it went no further.
    pub stop: Stop,
}

/// Why a step of a decompression went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The end code was reached; what follows it in the input is ignored.
    Ended,
    /// The input is used up, without an end code so far.
    Starved,
    /// The output is full.
    Filled,
}

/// Why data cannot be decompressed. The sender's fault. The texts travel in error replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// The data stops before its end code.
    MissingEnd,
    /// A code that does not exist yet, or the table is cleared again and again.
    InvalidCode,
    /// More data than the limit allows.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for InflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingEnd => f.write_str("unexpected EOF"),
            Self::InvalidCode => f.write_str("lzw: invalid code"),
            Self::TooLarge { limit } => write!(f, "decompressed message is larger than limit ({limit})"),
        }
    }
}

impl core::error::Error for InflateError {}

/// Compresses; its tables and its buffer are kept from one message to the next, until it is told to [rest](Self::rest).
pub struct Deflater {
    encoder: Option<weezl::encode::Encoder>,
    spare: Vec<u8>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflater")
    }
}

impl Deflater {
    /// A compressor; tables are made for the first message.
    pub fn new() -> Self {
        Self { encoder: None, spare: Vec::new() }
    }

    /// Lets go of the tables, up to 192 KiB. To make new ones costs little beside compressing a large message.
    pub fn rest(&mut self) {
        self.encoder = None;
    }

    /// Ready for a new message.
    fn encoder(encoder: &mut Option<weezl::encode::Encoder>) -> &mut weezl::encode::Encoder {
        let encoder = encoder.get_or_insert_with(new_encoder);
        encoder.reset();
        encoder
    }

    /// Replaces a message at the front of `packet` by its compressed form if that is strictly smaller (spec
    /// 1.3 step 2) and returns the length that it has then.
    pub fn shrink(&mut self, packet: &mut [u8], len: usize) -> usize {
        let Some(message) = packet.get_mut(..len) else { return len };
        let Some(room) = len.checked_sub(PREFIX.len() + 2) else { return len };
        self.spare.clear();
        self.spare.resize(room, 0);
        let Some(packed) = encode_whole(Self::encoder(&mut self.encoder), message, &mut self.spare) else {
            return len;
        };
        let data = self.spare.get(..packed).unwrap_or_default();
        if PREFIX.len() + raw_header(packed).1 + packed >= len {
            return len;
        }
        let mut sink = SliceSink::new(message);
        match sink.put(&PREFIX).and_then(|()| put_raw(&mut sink, data)) {
            Ok(()) => sink.len(),
            // Cannot be: the sum above said that it fits.
            Err(Full) => len,
        }
    }

    /// Appends the compressed form of a message given in parts, however large it becomes (spec 1.4 step 2).
    pub fn append_message(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        let data = begin_message(out);
        self.append(parts, out);
        end_message(out, data);
    }

    /// Appends the bare compressed data of `parts`.
    pub fn append(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        let encoder = Self::encoder(&mut self.encoder);
        for part in parts {
            append_run(encoder, part, false, out);
        }
        append_run(encoder, &[], true, out);
    }
}

/// A message that is compressed a slice at a time. What comes out is what [`Deflater::append_message`] makes of the whole.
pub struct Deflation {
    encoder: weezl::encode::Encoder,
    out: Vec<u8>,
    /// Where in `out` the compressed data begins.
    data: usize,
}

impl Default for Deflation {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Deflation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflation").field("len", &self.out.len()).finish_non_exhaustive()
    }
}

impl Deflation {
    /// The beginning of a message, with tables of its own.
    #[must_use]
    pub fn new() -> Self {
        let mut out = Vec::new();
        let data = begin_message(&mut out);
        Self { encoder: new_encoder(), out, data }
    }

    /// Compresses the next bytes of the message.
    pub fn add(&mut self, slice: &[u8]) {
        append_run(&mut self.encoder, slice, false, &mut self.out);
    }

    /// The compressed message, once all of it was added.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        append_run(&mut self.encoder, &[], true, &mut self.out);
        end_message(&mut self.out, self.data);
        self.out
    }

    /// Bytes that it holds at most, for accounting.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.out.capacity() + DEFLATER_BYTES
    }
}

/// What stands before the compressed data; returns where that begins if its length takes the most bytes.
fn begin_message(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&PREFIX);
    out.extend_from_slice(&[0; MAX_RAW_HEADER]);
    out.len()
}

/// The length field in front of the data is as short as the length allows, which is known only now.
fn end_message(out: &mut Vec<u8>, data: usize) {
    let (header, len) = raw_header(out.len() - data);
    let start = data - MAX_RAW_HEADER;
    out.drain(start..data - len);
    for (to, from) in out.iter_mut().skip(start).zip(header.iter().take(len)) {
        *to = *from;
    }
}

fn new_encoder() -> weezl::encode::Encoder {
    weezl::encode::Encoder::new(BitOrder::Lsb, LITERAL_BITS)
}

fn append_run(encoder: &mut weezl::encode::Encoder, mut input: &[u8], finish: bool, out: &mut Vec<u8>) {
    if finish {
        encoder.finish();
    }
    loop {
        let start = out.len();
        out.resize(start + CHUNK.min(input.len() / 2 + 64), 0);
        let step = encoder.encode_bytes(input, out.get_mut(start..).unwrap_or_default());
        out.truncate(start + step.consumed_out);
        input = input.get(step.consumed_in..).unwrap_or_default();
        let done = if finish { matches!(step.status, Ok(LzwStatus::Done)) } else { input.is_empty() };
        if done || (step.consumed_in == 0 && step.consumed_out == 0) {
            return;
        }
    }
}

/// Compresses into a slice of fixed size; `None` if it is too small.
fn encode_whole(encoder: &mut weezl::encode::Encoder, mut input: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    encoder.finish();
    loop {
        let step = encoder.encode_bytes(input, out.get_mut(len..)?);
        len += step.consumed_out;
        input = input.get(step.consumed_in..)?;
        match step.status {
            Ok(LzwStatus::Done) => return Some(len),
            Ok(_) if step.consumed_in > 0 || step.consumed_out > 0 => {}
            _ => return None,
        }
    }
}

/// The header of a raw string of `len` bytes, and how long it is. Data beyond 4 GiB does not exist here:
/// streams are limited to far less.
fn raw_header(len: usize) -> ([u8; MAX_RAW_HEADER], usize) {
    let [b0, b1, b2, b3] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    match len {
        0..32 => ([0xa0 | b3, 0, 0, 0, 0], 1),
        32..0x1_0000 => ([0xda, b2, b3, 0, 0], 3),
        _ => ([0xdb, b0, b1, b2, b3], 5),
    }
}

#[cfg(test)]
#[path = "lzw_tests.rs"]
mod tests;

//! Streams: one message in each direction of a connection, with its layers (spec 1.4).

mod error;
mod push_pull;
mod steps;
mod writer;

pub use error::StreamReadError;
pub use push_pull::PushPull;
pub use writer::{
    FrameTooLong, needs_compression, needs_sealing, seal_stream, write_stream, write_stream_with,
};

use super::label::MAX_LABEL;
use super::layers::Layers;
use super::lzw::Inflater;
use super::message::{Ack, ErrorReply, Ping};
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Largest sealed frame, its header not counted.
pub const MAX_FRAME: u32 = 20 * 1024 * 1024;

/// Bytes in front of a sealed frame: its type and length.
const FRAME_HEADER: usize = 5;

/// Longest authenticated data of a frame: its header and a label.
const MAX_AAD: usize = FRAME_HEADER + MAX_LABEL;

/// Bytes that [`StreamReader::feed`] decompresses or decodes in a call.
const WORK_PER_CALL: usize = 256 * 1024;

/// What the tables of a decompressor take, for accounting.
const INFLATER_BYTES: usize = 64 * 1024;

/// Bounds of what a stream may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Bytes received in all (W-12).
    pub received: usize,
    /// Bytes that a compressed message may expand to.
    pub inflated: usize,
    /// Node states in a push/pull.
    pub nodes: usize,
    /// Bytes of user state in a push/pull.
    pub user_state: usize,
    /// Bytes of a user message.
    pub user_message: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            received: MAX_FRAME as usize + 64 * 1024,
            inflated: 40 * 1024 * 1024,
            nodes: 1 << 20,
            user_state: 20 * 1024 * 1024,
            user_message: 20 * 1024 * 1024,
        }
    }
}

/// Which end of the stream reads: only the accepting one finds a label header in front, and each takes other
/// messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads the request.
    Accepting,
    /// Reads the reply.
    Opening,
}

/// Why a reader has not got on although it need not wait for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing: it waits for bytes, or is done.
    Nothing,
    /// The work of one call was used up; feed it again, with or without bytes.
    Work,
    /// The budget was used up while it decompressed; feed it again when there is room.
    Budget,
}

/// Reads one message from a stream, in pieces of any size, without ever holding more than was received or
/// decompressed.
#[derive(Debug)]
pub struct StreamReader {
    side: Side,
    limits: StreamLimits,
    buf: Vec<u8>,
    /// Where in `buf` the innermost message known so far begins.
    start: usize,
    /// Length of `buf` below which looking again is pointless.
    need: usize,
    attempts: u16,
    /// Nothing that is still to come belongs to the message.
    whole: bool,
    pending: Pending,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Label,
    Type,
    Frame,
    Compressed,
    Inflating(Box<Inflating>),
    Body,
    Nodes { head: Head, left: usize, states: usize, at: usize },
    Complete { end: usize, shape: Shape },
    Spent,
}

#[derive(Debug)]
struct Inflating {
    /// Made when there is work to spend on it: what only waits holds no tables.
    inflater: Option<Inflater>,
    input: Vec<u8>,
    range: Range<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    join: bool,
    nodes: usize,
    user_state: usize,
}

#[derive(Clone, Debug)]
enum Shape {
    Ping,
    Ack,
    Error,
    User { at: usize },
    PushPull { join: bool, nodes: usize, states: Range<usize> },
}

/// Whether to go on at once.
enum Step {
    Next,
    Wait,
}

/// A complete message, borrowed from its reader.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamMessage<'a> {
    /// A probe over a stream, to be answered by an ack.
    Ping(Ping<'a>),
    /// The answer to a ping.
    Ack(Ack<'a>),
    /// The accepting side refused the request; the text is for people.
    Error(Cow<'a, [u8]>),
    /// A message of the layer above.
    User(&'a [u8]),
    /// The peer's state; get it with [`StreamReader::take_push_pull`].
    PushPull {
        /// Whether the peer is joining.
        join: bool,
        /// How many node states it sent.
        nodes: usize,
    },
}

impl StreamReader {
    /// A reader for one direction of one connection.
    #[must_use]
    pub fn new(side: Side, limits: StreamLimits) -> Self {
        let stage = match side {
            Side::Accepting => Stage::Label,
            Side::Opening => Stage::Type,
        };
        Self {
            side,
            limits,
            buf: Vec::new(),
            start: 0,
            need: 1,
            attempts: 0,
            whole: false,
            pending: Pending::Nothing,
            stage,
        }
    }

    /// Takes received bytes and gets on as far as the work of one call goes; see [`pending`](Self::pending).
    /// Returns how many it took: fewer than given if [`buffered`](Self::buffered) would otherwise grow by
    /// more than `budget` bytes. Bytes after the message are taken and forgotten, also after an error.
    ///
    /// # Errors
    /// Once; after that the reader is finished.
    pub fn feed(&mut self, layers: &Layers, data: &[u8], budget: usize) -> Result<usize, StreamReadError> {
        self.feed_within(layers, data, budget, &mut { WORK_PER_CALL })
    }

    /// As [`feed`](Self::feed), with as much work as `work` has left: bytes that it decompresses, and bytes that it decodes.
    /// Opening a sealed message is not counted, as that can only be done at once.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_within(
        &mut self,
        layers: &Layers,
        data: &[u8],
        mut budget: usize,
        work: &mut usize,
    ) -> Result<usize, StreamReadError> {
        let result = self.take_bytes(data, &mut budget).and_then(|taken| {
            self.advance(layers, &mut budget, work)?;
            Ok(taken)
        });
        self.fail_on(result)
    }

    /// The peer has closed its direction, and everything it sent before has been taken.
    ///
    /// # Errors
    /// The message is not complete.
    pub fn finish(&mut self) -> Result<(), StreamReadError> {
        let settled = self.whole || matches!(self.stage, Stage::Complete { .. } | Stage::Spent);
        self.whole = true;
        let result = match self.pending {
            _ if settled => Ok(()),
            // It will turn out when the work goes on.
            Pending::Work | Pending::Budget => Ok(()),
            Pending::Nothing if self.buf.is_empty() => Err(StreamReadError::Closed),
            Pending::Nothing => Err(StreamReadError::Truncated),
        };
        self.fail_on(result)
    }

    /// Takes, instead of what a peer sent, a message that [`opened`](Self::opened) gave once: replaying needs
    /// neither keys nor labels. The reader must be new.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_opened(&mut self, layers: &Layers, message: &[u8]) -> Result<(), StreamReadError> {
        self.buf = message.to_vec();
        self.whole = true;
        self.stage = Stage::Body;
        let result = self.advance(layers, &mut 0, &mut { WORK_PER_CALL });
        self.fail_on(result)
    }

    /// The message, once it is complete.
    #[must_use]
    pub fn message(&self) -> Option<StreamMessage<'_>> {
        let Stage::Complete { end, shape } = &self.stage else { return None };
        let body = self.buf.get(self.start + 1..*end)?;
        Some(match shape {
            Shape::Ping => StreamMessage::Ping(Ping::decode(body).ok()?.0),
            Shape::Ack => StreamMessage::Ack(Ack::decode(body).ok()?.0),
            Shape::Error => StreamMessage::Error(ErrorReply::decode(body).ok()?.0.text),
            Shape::User { at } => StreamMessage::User(self.buf.get(*at..*end)?),
            Shape::PushPull { join, nodes, .. } => StreamMessage::PushPull { join: *join, nodes: *nodes },
        })
    }

    /// Hands over a complete push/pull, and with it the memory. The reader is finished then.
    pub fn take_push_pull(&mut self) -> Option<PushPull> {
        let Stage::Complete { end, shape: Shape::PushPull { join, nodes, states } } = &self.stage else {
            return None;
        };
        let user_state = states.end..*end;
        let taken = PushPull::new(core::mem::take(&mut self.buf), *join, *nodes, states.clone(), user_state);
        self.stage = Stage::Spent;
        Some(taken)
    }

    /// The complete message without its layers, type byte first, for recording. Gone once the push/pull was
    /// taken.
    #[must_use]
    pub fn opened(&self) -> Option<&[u8]> {
        match &self.stage {
            Stage::Complete { end, .. } => self.buf.get(self.start..*end),
            _ => None,
        }
    }

    /// Why it stands still although it need not wait for bytes.
    #[must_use]
    pub fn pending(&self) -> Pending {
        self.pending
    }

    /// Bytes held, for accounting.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let inflating = match &self.stage {
            Stage::Inflating(state) => {
                state.input.capacity() + state.inflater.as_ref().map_or(0, |_| INFLATER_BYTES)
            }
            _ => 0,
        };
        self.buf.capacity() + inflating
    }

    fn fail_on<T>(&mut self, result: Result<T, StreamReadError>) -> Result<T, StreamReadError> {
        if result.is_err() {
            self.buf = Vec::new();
            self.pending = Pending::Nothing;
            self.stage = Stage::Spent;
        }
        result
    }

    fn take_bytes(&mut self, data: &[u8], budget: &mut usize) -> Result<usize, StreamReadError> {
        if self.whole || matches!(self.stage, Stage::Complete { .. } | Stage::Spent) {
            return Ok(data.len());
        }
        let limit = self.limits.received.saturating_add(2 + MAX_LABEL);
        let room = steps::grow(&mut self.buf, data.len(), limit, budget);
        let taken = data.get(..room).unwrap_or(data);
        self.buf.extend_from_slice(taken);
        if self.buf.len() > limit {
            return Err(self.too_long());
        }
        Ok(taken.len())
    }

    fn advance(
        &mut self,
        layers: &Layers,
        budget: &mut usize,
        work: &mut usize,
    ) -> Result<(), StreamReadError> {
        self.pending = Pending::Nothing;
        while self.whole || self.buf.len() >= self.need {
            if let Step::Wait = self.step(layers, work, budget)? {
                break;
            }
        }
        Ok(())
    }
}

/// Writes what a frame authenticates besides its text: its own header and the label, in both directions.
fn frame_aad(aad: &mut [u8; MAX_AAD], header: [u8; FRAME_HEADER], label: &[u8]) {
    for (to, from) in aad.iter_mut().zip(header.iter().chain(label)) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests;

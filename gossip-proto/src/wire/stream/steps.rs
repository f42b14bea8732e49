//! How a reader gets from one layer of a stream to the next.

use super::{
    FRAME_HEADER, Head, Inflating, MAX_AAD, MAX_FRAME, Pending, Shape, Side, Stage, Step, StreamReadError,
    StreamReader, frame_aad,
};
use crate::wire::keyring::Keyring;
use crate::wire::label::{Found, Label};
use crate::wire::layers::Layers;
use crate::wire::lzw::{ALGO_LZW, InflateError, Stop};
use crate::wire::message::{
    Ack, Compressed, ErrorReply, MessageType, NodeState, Ping, PushPullHeader, UserHeader,
};
use crate::wire::msgpack::DecodeError;
use crate::wire::seal;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Largest single structure, apart from the one around compressed data: names and metadata that fit into
/// datagrams are far below.
const MAX_STRUCT: usize = 64 * 1024;

/// How often a structure may turn out to be incomplete. One that arrives byte by byte needs a few attempts
/// per field.
const MAX_ATTEMPTS: u16 = 256;

/// Least work that a node state counts for: one can be a single byte, but it is a state to be merged all the
/// same.
const MIN_STATE_WORK: usize = 64;

impl StreamReader {
    pub(super) fn step(
        &mut self,
        layers: &Layers,
        work: &mut usize,
        budget: &mut usize,
    ) -> Result<Step, StreamReadError> {
        match &self.stage {
            Stage::Label => self.read_label(layers),
            Stage::Type => self.read_type(layers),
            Stage::Frame => self.open_frame(layers),
            Stage::Compressed => self.read_compressed(),
            Stage::Inflating(_) => self.inflate(work, budget),
            Stage::Body => self.read_body(),
            Stage::Nodes { .. } => self.read_nodes(work),
            Stage::Complete { .. } | Stage::Spent => Ok(Step::Wait),
        }
    }

    fn read_label(&mut self, layers: &Layers) -> Result<Step, StreamReadError> {
        let header = match Label::find(&self.buf).map_err(|_| StreamReadError::LabelEmpty)? {
            Found::Partial => return self.wait_for(self.buf.len() + 1),
            found => {
                layers.admit_label(found)?;
                if let Found::Header(label) = found { 2 + label.len() } else { 0 }
            }
        };
        self.buf.drain(..header);
        self.go(Stage::Type, 1)
    }

    fn read_type(&mut self, layers: &Layers) -> Result<Step, StreamReadError> {
        let Some(kind) = self.buf.first() else { return self.wait_for(1) };
        if *kind == MessageType::Encrypted.byte() {
            ring(layers)?;
            return self.go(Stage::Frame, FRAME_HEADER);
        }
        if layers.verify_incoming && layers.ring().is_some() {
            return Err(StreamReadError::NotEncrypted);
        }
        self.read_inner_type()
    }

    /// Layers 1 and 2 of spec 1.4 are gone; a compressed message is the only layer left.
    fn read_inner_type(&mut self) -> Result<Step, StreamReadError> {
        let compressed = self.buf.get(self.start) == Some(&MessageType::Compressed.byte());
        let stage = if compressed { Stage::Compressed } else { Stage::Body };
        self.go(stage, self.start + 1)
    }

    fn open_frame(&mut self, layers: &Layers) -> Result<Step, StreamReadError> {
        let Some(header) = self.buf.first_chunk::<FRAME_HEADER>().copied() else {
            return self.wait_for(FRAME_HEADER);
        };
        let [_, b0, b1, b2, b3] = header;
        let len = u32::from_be_bytes([b0, b1, b2, b3]);
        // Before a single byte of it is waited for.
        let end = FRAME_HEADER + len as usize;
        if len > MAX_FRAME || end > self.limits.received {
            return Err(StreamReadError::FrameTooLong(len));
        }
        let Some(blob) = self.buf.get_mut(FRAME_HEADER..end) else { return self.wait_for(end) };
        let label = layers.label.as_bytes();
        let mut aad = [0; MAX_AAD];
        frame_aad(&mut aad, header, label);
        let aad = aad.get(..FRAME_HEADER + label.len()).unwrap_or_default();
        let text =
            seal::open(ring(layers)?, aad, layers.accept_padded, blob).map_err(StreamReadError::Seal)?;
        let text = text.len();
        if text == 0 {
            return Err(StreamReadError::SealedEmpty);
        }
        self.start = FRAME_HEADER + seal::SEAL_HEADER;
        self.buf.truncate(self.start + text);
        self.whole = true;
        self.read_inner_type()
    }

    fn read_compressed(&mut self) -> Result<Step, StreamReadError> {
        let at = self.start + 1;
        let Compressed { algo, buf } = match Compressed::decode(self.buf.get(at..).unwrap_or_default()) {
            Ok((compressed, _)) => compressed,
            Err(DecodeError::Truncated { need }) => return self.wait_for_struct(at, need, usize::MAX),
            Err(error) => return Err(StreamReadError::BadCompressed(error)),
        };
        if algo != ALGO_LZW {
            return Err(StreamReadError::Algorithm(algo));
        }
        let (input, range) = match buf.into_text() {
            // Taken where it was received: copying would double what a large state takes.
            Cow::Borrowed(data) => {
                let from = data.as_ptr().addr().wrapping_sub(self.buf.as_ptr().addr());
                let range = if data.is_empty() { 0..0 } else { from..from + data.len() };
                (core::mem::take(&mut self.buf), range)
            }
            Cow::Owned(data) => {
                let range = 0..data.len();
                self.buf = Vec::new();
                (data, range)
            }
        };
        let state = Inflating { inflater: None, input, range };
        self.start = 0;
        self.whole = true;
        self.go(Stage::Inflating(Box::new(state)), 0)
    }

    fn inflate(&mut self, work: &mut usize, budget: &mut usize) -> Result<Step, StreamReadError> {
        let Stage::Inflating(state) = &mut self.stage else { return Ok(Step::Wait) };
        if *work == 0 {
            self.pending = Pending::Work;
            return Ok(Step::Wait);
        }
        let inflater = state.inflater.get_or_insert_default();
        // Input is sliced as well: it can be long and expand to nothing.
        let Range { start, end } = state.range;
        let last = end - start <= *work;
        let input = state.input.get(start..if last { end } else { start + *work }).unwrap_or_default();
        let left = self.limits.inflated.saturating_sub(self.buf.len());
        let stop = if left == 0 {
            let rest = state.input.get(start..end).unwrap_or_default();
            inflater.expect_end(rest, self.limits.inflated).map_err(StreamReadError::Inflate)?;
            Stop::Ended
        } else {
            let room = grow(&mut self.buf, left.min(*work), self.limits.inflated, budget);
            if room == 0 {
                self.pending = Pending::Budget;
                return Ok(Step::Wait);
            }
            let before = self.buf.len();
            let step = inflater.step(input, &mut self.buf, room).map_err(StreamReadError::Inflate)?;
            state.range.start += step.consumed;
            *work = work.saturating_sub(step.consumed.max(self.buf.len() - before).max(1));
            step.stop
        };
        match stop {
            Stop::Starved if last => Err(StreamReadError::Inflate(InflateError::MissingEnd)),
            Stop::Starved | Stop::Filled => Ok(Step::Next),
            Stop::Ended => match self.buf.first() {
                None => Err(StreamReadError::InflatedEmpty),
                Some(_) => self.go(Stage::Body, 0),
            },
        }
    }

    fn read_body(&mut self) -> Result<Step, StreamReadError> {
        let Some(kind) = self.buf.get(self.start).copied() else { return self.wait_for(self.start + 1) };
        let at = self.start + 1;
        let body = self.buf.get(at..).unwrap_or_default();
        // An empty body is a message cut short, not a nil one, so the kind is judged first.
        let decoded = match (self.side, MessageType::from_byte(kind)) {
            (Side::Accepting, Some(MessageType::Ping)) => {
                Ping::decode(body).map(|(_, used)| (Shape::Ping, at + used))
            }
            (Side::Opening, Some(MessageType::Ack)) => {
                Ack::decode(body).map(|(_, used)| (Shape::Ack, at + used))
            }
            (Side::Opening, Some(MessageType::Error)) => {
                ErrorReply::decode(body).map(|(_, used)| (Shape::Error, at + used))
            }
            (Side::Accepting, Some(MessageType::User)) => match UserHeader::decode(body) {
                Ok((UserHeader { len }, used)) => {
                    let len =
                        within(len, self.limits.user_message).ok_or(StreamReadError::UserMessage(len))?;
                    let payload = at + used;
                    if self.buf.len() < payload + len {
                        return self.wait_for(payload + len);
                    }
                    Ok((Shape::User { at: payload }, payload + len))
                }
                Err(error) => Err(error),
            },
            (_, Some(MessageType::PushPull)) => match PushPullHeader::decode(body) {
                Ok((header, used)) => return self.begin_nodes(&header, at + used),
                Err(error) => Err(error),
            },
            _ => return Err(StreamReadError::UnexpectedType(kind)),
        };
        match decoded {
            Ok((shape, end)) => self.go(Stage::Complete { end, shape }, 0),
            Err(DecodeError::Truncated { need }) => self.wait_for_struct(at, need, MAX_STRUCT),
            Err(error) => Err(StreamReadError::Malformed(error)),
        }
    }

    fn begin_nodes(&mut self, header: &PushPullHeader, at: usize) -> Result<Step, StreamReadError> {
        let nodes = within(header.nodes, self.limits.nodes).ok_or(StreamReadError::Nodes(header.nodes))?;
        let user_state = within(header.user_state_len, self.limits.user_state)
            .ok_or(StreamReadError::UserState(header.user_state_len))?;
        let head = Head { join: header.join, nodes, user_state };
        self.go(Stage::Nodes { head, left: nodes, states: at, at }, at)
    }

    fn read_nodes(&mut self, work: &mut usize) -> Result<Step, StreamReadError> {
        let Stage::Nodes { head, left, states, at } = &mut self.stage else { return Ok(Step::Wait) };
        while *left > 0 {
            if *work == 0 {
                self.pending = Pending::Work;
                return Ok(Step::Wait);
            }
            match NodeState::decode(self.buf.get(*at..).unwrap_or_default()) {
                Ok((_, used)) => {
                    *at += used;
                    *left -= 1;
                    *work = work.saturating_sub(used.max(MIN_STATE_WORK));
                    self.attempts = 0;
                }
                Err(DecodeError::Truncated { need }) => {
                    let at = *at;
                    return self.wait_for_struct(at, need, MAX_STRUCT);
                }
                Err(error) => return Err(StreamReadError::Malformed(error)),
            }
        }
        let (head, states) = (*head, *states..*at);
        let end = states.end + head.user_state;
        if self.buf.len() < end {
            return self.wait_for(end);
        }
        let shape = Shape::PushPull { join: head.join, nodes: head.nodes, states };
        self.go(Stage::Complete { end, shape }, 0)
    }

    fn go(&mut self, stage: Stage, need: usize) -> Result<Step, StreamReadError> {
        self.stage = stage;
        self.need = need;
        self.attempts = 0;
        Ok(Step::Next)
    }

    /// Waits until the buffer holds `need` bytes.
    fn wait_for(&mut self, need: usize) -> Result<Step, StreamReadError> {
        if self.whole {
            return Err(if self.buf.is_empty() {
                StreamReadError::Closed
            } else {
                StreamReadError::Truncated
            });
        }
        if need > self.limits.received {
            return Err(self.too_long());
        }
        self.need = need;
        Ok(Step::Wait)
    }

    /// Waits for the rest of a structure that begins at `at` and has at least `need` bytes.
    fn wait_for_struct(&mut self, at: usize, need: usize, limit: usize) -> Result<Step, StreamReadError> {
        if need > limit {
            return Err(self.too_long());
        }
        // A map of many small unknown entries asks for one byte more each time: decoding it again for each of
        // them would take quadratic time.
        self.attempts += 1;
        if self.attempts > MAX_ATTEMPTS {
            return Err(StreamReadError::Dribble);
        }
        self.wait_for(at.saturating_add(need).max(self.buf.len() + 1))
    }

    pub(super) fn too_long(&self) -> StreamReadError {
        match self.stage {
            Stage::Compressed => StreamReadError::CompressedTooLong,
            _ => StreamReadError::TooLong,
        }
    }
}

fn ring(layers: &Layers) -> Result<&Keyring, StreamReadError> {
    layers.ring().ok_or(StreamReadError::Encrypted)
}

/// A signed count as a length, if it is in `0..=limit`.
fn within(count: i64, limit: usize) -> Option<usize> {
    usize::try_from(count).ok().filter(|count| *count <= limit)
}

/// Makes room for up to `want` more bytes, in steps that grow with what is held already but not beyond
/// `limit` unless `want` goes there, and takes what the allocation grows by from `budget`. Returns how many
/// fit.
pub(super) fn grow(buf: &mut Vec<u8>, want: usize, limit: usize, budget: &mut usize) -> usize {
    let before = buf.capacity();
    let spare = before - buf.len();
    if want > spare && *budget > 0 {
        let least = want - spare;
        let ample = (buf.len() / 2).min(limit.saturating_sub(before));
        buf.reserve_exact(spare + least.max(ample).min(*budget));
        *budget = budget.saturating_sub(buf.capacity() - before);
    }
    want.min(buf.capacity() - buf.len())
}

//! Packets: the layers around a datagram, and the messages inside it (spec 1.3).

use super::compound::Parts;
use super::keyring::{NONCE_LEN, Nonces};
use super::label::Label;
use super::layers::{CRC_HEADER, Compression, LabelRefused, Layers};
use super::lzw::{ALGO_LZW, Deflater, Inflater};
use super::message::{Compressed, MessageType};
use super::msgpack::Full;
use super::seal::{self, OpenError, SEAL_HEADER};
use alloc::vec::Vec;
use core::fmt;

/// Strips label, seal and checksum from a datagram, in place, and returns the body: a type byte and what
/// belongs to it.
pub fn open<'d>(layers: &Layers, datagram: &'d mut [u8]) -> Result<&'d mut [u8], PacketError> {
    if datagram.is_empty() {
        return Err(PacketError::Empty);
    }
    let found = Label::find(datagram).map_err(|_| PacketError::LabelEmpty)?;
    layers.admit_label(found)?;
    let header = match found {
        super::label::Found::Header(label) => 2 + label.len(),
        _ => 0,
    };
    let mut body = datagram.get_mut(header..).unwrap_or_default();
    if let Some(ring) = layers.ring() {
        // Opening leaves the bytes alone if no key fits, so that they can be taken for plain ones while
        // encryption is rolled out. Bytes that a key has authenticated are never plain ones, hence no second
        // chance for them.
        let result = match seal::open(ring, layers.label.as_bytes(), layers.accept_padded, body) {
            Ok(text) => Ok(Some(text.len())),
            Err(OpenError::Padding) => Err(OpenError::Padding),
            Err(error) if layers.verify_incoming => Err(error),
            Err(_) => Ok(None),
        };
        if let Some(len) = result.map_err(PacketError::Seal)? {
            body = body.get_mut(SEAL_HEADER..SEAL_HEADER + len).unwrap_or_default();
        }
    }
    if let [kind, c0, c1, c2, c3, rest @ ..] = &*body
        && *kind == MessageType::Checksum.byte()
    {
        if crc32fast::hash(rest) != u32::from_be_bytes([*c0, *c1, *c2, *c3]) {
            return Err(PacketError::Checksum);
        }
        body = body.get_mut(CRC_HEADER..).unwrap_or_default();
    }
    if body.is_empty() { Err(PacketError::BodyEmpty) } else { Ok(body) }
}

/// Why a datagram was dropped as a whole. Its sender's fault, the network's or an attacker's; nothing changes
/// by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketError {
    /// A datagram of no bytes.
    Empty,
    /// A label header is cut short.
    LabelTruncated,
    /// A label header without a label.
    LabelEmpty,
    /// Another label than the configured one, or one where none is configured, or none where one is.
    LabelMismatch,
    /// A label header although something in front of this node is configured to have removed it.
    LabelUnexpected,
    /// Encryption is on and the datagram is not sealed with a key of the ring. Either the sender does not
    /// encrypt, or it has other keys, or the datagram was tampered with.
    Seal(OpenError),
    /// The checksum is not that of the body.
    Checksum,
    /// There is no message inside the layers.
    BodyEmpty,
}

impl From<LabelRefused> for PacketError {
    fn from(refused: LabelRefused) -> Self {
        match refused {
            LabelRefused::Truncated => Self::LabelTruncated,
            LabelRefused::Mismatch => Self::LabelMismatch,
            LabelRefused::Unexpected => Self::LabelUnexpected,
        }
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("datagram is empty"),
            Self::LabelTruncated => f.write_str("label header is cut short"),
            Self::LabelEmpty => f.write_str("label header without a label"),
            Self::LabelMismatch => f.write_str("label is not the configured one"),
            Self::LabelUnexpected => f.write_str("label header where none may be left"),
            Self::Seal(error) => error.fmt(f),
            Self::Checksum => f.write_str("checksum does not match"),
            Self::BodyEmpty => f.write_str("packet holds no message"),
        }
    }
}

impl core::error::Error for PacketError {}

/// How much work one datagram may cause (W-6). Honest traffic stays far below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes that all compressed messages of a datagram may expand to.
    pub inflated: usize,
    /// Messages looked at per datagram, compounds and compressed ones included.
    pub messages: usize,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self { inflated: 1 << 20, messages: 1024 }
    }
}

/// How deep compounds and compressed messages may nest. Honest traffic needs 2 (W-6).
pub const MAX_DEPTH: usize = 4;

/// Space for decompression, kept from one datagram to the next: one buffer per level of nesting, grown by
/// what is really decompressed, all of them together at most [`UnpackLimits::inflated`] bytes at a time.
#[derive(Debug, Default)]
pub struct Scratch {
    inflater: Inflater,
    levels: [Vec<u8>; MAX_DEPTH],
}

impl Scratch {
    /// Space that is allocated when the first compressed packet comes.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a hostile packet has blown up is given back; ordinary packets never get there.
    fn shrink(&mut self) {
        for level in &mut self.levels {
            level.clear();
            level.shrink_to(KEPT_SCRATCH);
        }
    }
}

/// Capacity that a level of [`Scratch`] keeps: more than any datagram carries uncompressed.
const KEPT_SCRATCH: usize = 128 * 1024;

/// What [`unpack`] found, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Messages visited.
    pub messages: usize,
    /// Parts of compounds that were announced but are not there.
    pub truncated: usize,
    /// Parts of compounds without a byte.
    pub empty: usize,
    /// Compounds without a usable header; nothing of them was visited.
    pub bad_compound: usize,
    /// Compressed messages that could not be decompressed, or to nothing.
    pub bad_compressed: usize,
    /// Messages not looked into because they were nested too deep.
    pub too_deep: usize,
    /// Times that a limit of [`UnpackLimits`] was hit; what followed was not looked at.
    pub over_limit: usize,
    /// Messages of an unknown type, or of one that has no place in a packet or inside another message.
    pub misplaced: usize,
}

/// Walks through the compounds and compressed messages of a packet and hands every plain message, type byte
/// first, to `visit`. Only types that belong in packets get there; everything else is counted and passed over
/// (spec 1.9).
pub fn unpack(
    body: &[u8],
    scratch: &mut Scratch,
    limits: &UnpackLimits,
    visit: &mut dyn FnMut(&[u8]),
) -> Unpacked {
    let mut walk = Walk {
        inflater: &mut scratch.inflater,
        inflated_left: limits.inflated,
        messages_left: limits.messages,
        visit,
        found: Unpacked::default(),
    };
    walk.message(body, 0, &mut scratch.levels);
    let (found, inflated) = (walk.found, walk.inflated_left < limits.inflated);
    if inflated {
        scratch.shrink();
    }
    found
}

struct Walk<'w> {
    inflater: &'w mut Inflater,
    inflated_left: usize,
    messages_left: usize,
    visit: &'w mut dyn FnMut(&[u8]),
    found: Unpacked,
}

impl Walk<'_> {
    fn message(&mut self, message: &[u8], depth: usize, levels: &mut [Vec<u8>]) {
        let Some((kind, body)) = message.split_first() else {
            self.found.empty += 1;
            return;
        };
        match MessageType::from_byte(*kind) {
            Some(
                MessageType::Ping
                | MessageType::IndirectPing
                | MessageType::Ack
                | MessageType::Suspect
                | MessageType::Alive
                | MessageType::Dead
                | MessageType::User
                | MessageType::Nack,
            ) => {
                self.found.messages += 1;
                (self.visit)(message);
            }
            Some(MessageType::Compound | MessageType::Compressed) if depth >= MAX_DEPTH => {
                self.found.too_deep += 1;
            }
            Some(MessageType::Compound) => self.compound(body, depth, levels),
            Some(MessageType::Compressed) => self.compressed(body, depth, levels),
            Some(
                MessageType::PushPull
                | MessageType::Encrypted
                | MessageType::Checksum
                | MessageType::Error
                | MessageType::Label,
            )
            | None => self.found.misplaced += 1,
        }
    }

    fn compound(&mut self, body: &[u8], depth: usize, levels: &mut [Vec<u8>]) {
        let Ok(mut parts) = Parts::new(body) else {
            self.found.bad_compound += 1;
            return;
        };
        for part in parts.by_ref() {
            let Some(left) = self.messages_left.checked_sub(1) else {
                self.found.over_limit += 1;
                return;
            };
            self.messages_left = left;
            self.message(part, depth + 1, levels);
        }
        self.found.truncated += parts.truncated();
    }

    fn compressed(&mut self, body: &[u8], depth: usize, levels: &mut [Vec<u8>]) {
        let Some((level, deeper)) = levels.split_first_mut() else {
            self.found.too_deep += 1;
            return;
        };
        let Ok((Compressed { algo: ALGO_LZW, buf: data }, _)) = Compressed::decode(body) else {
            self.found.bad_compressed += 1;
            return;
        };
        level.clear();
        let result = self.inflater.inflate(&data, level, self.inflated_left);
        // What was decompressed in vain counts too, or a packet full of broken data would be free.
        self.inflated_left = self.inflated_left.saturating_sub(level.len());
        match result {
            Ok(()) if level.is_empty() => self.found.bad_compressed += 1,
            Ok(()) => self.message(level, depth + 1, deeper),
            Err(super::lzw::InflateError::TooLarge { .. }) => {
                self.inflated_left = 0;
                self.found.over_limit += 1;
            }
            Err(_) => self.found.bad_compressed += 1,
        }
    }
}

/// A datagram in the making: the caller's buffer with the front reserved for the layers, so that the body is
/// encoded where it will be sealed and sent.
#[derive(Debug)]
pub struct Envelope<'l, 'b> {
    layers: &'l Layers,
    buf: &'b mut [u8],
    frame: Frame,
}

impl<'l, 'b> Envelope<'l, 'b> {
    /// Starts a datagram of at most `max_datagram` bytes in `buf`, with a checksum if `crc`; `None` if the
    /// layers leave no room for a body.
    pub fn new(layers: &'l Layers, buf: &'b mut [u8], max_datagram: usize, crc: bool) -> Option<Self> {
        let frame = Frame::new(layers, max_datagram.min(buf.len()), crc)?;
        Some(Self { layers, buf, frame })
    }

    /// Where the body goes; exactly as long as it may become.
    pub fn body(&mut self) -> &mut [u8] {
        self.frame.body(self.buf)
    }

    /// Completes the datagram around the first `len` bytes of [`body`](Self::body) and returns its length:
    /// compresses if that helps, then checksum, seal and label as the layers say. Refuses an empty or too
    /// long body.
    pub fn finish(self, len: usize, nonces: &mut Nonces, deflater: &mut Deflater) -> Result<usize, Full> {
        self.frame.finish(self.layers, self.buf, len, nonces, deflater)
    }

    /// [`finish`](Self::finish) with a given nonce, to reproduce known datagrams. A nonce used twice under
    /// one key gives away both datagrams and lets anyone forge more.
    pub fn finish_with(
        self,
        len: usize,
        nonce: &[u8; NONCE_LEN],
        deflater: &mut Deflater,
    ) -> Result<usize, Full> {
        self.frame.finish_with(self.layers, self.buf, len, nonce, deflater)
    }
}

/// Where in its buffer the body of an [`Envelope`] lies. For who cannot have the layers borrowed while it composes the body; they
/// must not change before the datagram is finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    front: usize,
    max_body: usize,
    crc: bool,
}

impl Frame {
    pub(crate) fn new(layers: &Layers, max_datagram: usize, crc: bool) -> Option<Self> {
        let max_body = layers.max_packet_body(max_datagram, crc);
        (max_body > 0).then(|| Self { front: layers.packet_front(crc), max_body, crc })
    }

    pub(crate) fn body<'b>(&self, buf: &'b mut [u8]) -> &'b mut [u8] {
        buf.get_mut(self.front..self.front + self.max_body).unwrap_or_default()
    }

    pub(crate) fn finish(
        self,
        layers: &Layers,
        buf: &mut [u8],
        len: usize,
        nonces: &mut Nonces,
        deflater: &mut Deflater,
    ) -> Result<usize, Full> {
        let nonce = if layers.sealing_key().is_some() { nonces.next_nonce() } else { [0; NONCE_LEN] };
        self.finish_with(layers, buf, len, &nonce, deflater)
    }

    fn finish_with(
        self,
        layers: &Layers,
        buf: &mut [u8],
        len: usize,
        nonce: &[u8; NONCE_LEN],
        deflater: &mut Deflater,
    ) -> Result<usize, Full> {
        if len == 0 || len > self.max_body {
            return Err(Full);
        }
        let len = match layers.compression {
            Compression::All => deflater.shrink(self.body(buf), len),
            Compression::Off | Compression::Streams => len,
        };
        let label = layers.label.write_header(buf).ok_or(Full)?;
        let inner = buf.get_mut(label..).ok_or(Full)?;
        let (text_at, key) = match layers.sealing_key() {
            Some(key) => (SEAL_HEADER, Some(key)),
            None => (0, None),
        };
        let mut text = len;
        if self.crc {
            text += CRC_HEADER;
            let (header, rest) =
                inner.get_mut(text_at..text_at + text).and_then(<[u8]>::split_first_chunk_mut).ok_or(Full)?;
            let [c0, c1, c2, c3] = crc32fast::hash(rest).to_be_bytes();
            *header = [MessageType::Checksum.byte(), c0, c1, c2, c3];
        }
        let inner = match key {
            Some(key) => seal::seal(key, layers.seal_version, nonce, layers.label.as_bytes(), inner, text)
                .ok_or(Full)?,
            None => text,
        };
        Ok(label + inner)
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;

//! Why a stream was given up.

use crate::wire::layers::LabelRefused;
use crate::wire::lzw::InflateError;
use crate::wire::msgpack::DecodeError;
use crate::wire::seal::OpenError;
use core::fmt;

/// Why the message of a stream cannot be used. The peer's fault or the network's; nothing changes by it
/// except that the stream ends. The text is what is sent back where the error [is
/// answered](Self::is_answered); never parse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamReadError {
    /// The peer closed before it sent anything.
    Closed,
    /// The peer closed within its message, or a length inside the message points beyond its end.
    Truncated,
    /// A label header without a label.
    LabelEmpty,
    /// Another label than the configured one, or one where none is configured, or none where one is.
    LabelMismatch,
    /// A label header although something in front of this node is configured to have removed it.
    LabelUnexpected,
    /// The peer encrypts and this node does not.
    Encrypted,
    /// This node requires encryption and the peer did not encrypt.
    NotEncrypted,
    /// A sealed frame announces more bytes than are allowed.
    FrameTooLong(u32),
    /// A sealed frame that no key opens.
    Seal(OpenError),
    /// A sealed frame with nothing inside, which crashes upstream nodes (W-5).
    SealedEmpty,
    /// The structure around compressed data is malformed.
    BadCompressed(DecodeError),
    /// The structure around compressed data is larger than any message may be (W-12).
    CompressedTooLong,
    /// Compressed in an unknown way.
    Algorithm(u8),
    /// The compressed data is damaged or expands too far.
    Inflate(InflateError),
    /// The compressed data expands to nothing.
    InflatedEmpty,
    /// A message type that this side of a stream does not take, or two layers of compression.
    UnexpectedType(u8),
    /// The message is malformed.
    Malformed(DecodeError),
    /// A push/pull header announces a number of nodes that is negative or too large.
    Nodes(i64),
    /// A push/pull header announces a user state whose length is negative or too large.
    UserState(i64),
    /// A user message header announces a length that is negative or too large.
    UserMessage(i64),
    /// The message, or a single structure in it, is larger than any may be (W-12).
    TooLong,
    /// A single structure arrives in so many pieces that waiting for the rest is an attack on the processor.
    Dribble,
}

impl StreamReadError {
    /// Whether an accepting node tells its peer, by an error message through the usual layers, before it
    /// closes (spec 1.4). Where it does not, a reply would only help who probes for labels, or confuse a peer
    /// that has been answered already. An opening node never answers.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        match self {
            Self::Encrypted
            | Self::NotEncrypted
            | Self::FrameTooLong(_)
            | Self::Seal(_)
            | Self::SealedEmpty
            | Self::BadCompressed(_)
            | Self::CompressedTooLong
            | Self::Algorithm(_)
            | Self::Inflate(_)
            | Self::InflatedEmpty => true,
            Self::Closed
            | Self::Truncated
            | Self::LabelEmpty
            | Self::LabelMismatch
            | Self::LabelUnexpected
            | Self::UnexpectedType(_)
            | Self::Malformed(_)
            | Self::Nodes(_)
            | Self::UserState(_)
            | Self::UserMessage(_)
            | Self::TooLong
            | Self::Dribble => false,
        }
    }
}

impl From<LabelRefused> for StreamReadError {
    fn from(refused: LabelRefused) -> Self {
        match refused {
            LabelRefused::Truncated => Self::Truncated,
            LabelRefused::Mismatch => Self::LabelMismatch,
            LabelRefused::Unexpected => Self::LabelUnexpected,
        }
    }
}

impl fmt::Display for StreamReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("stream closed before any message"),
            Self::Truncated => f.write_str("unexpected EOF"),
            Self::LabelEmpty => f.write_str("label header without a label"),
            Self::LabelMismatch => f.write_str("label is not the configured one"),
            Self::LabelUnexpected => f.write_str("label header where none may be left"),
            Self::Encrypted => f.write_str("remote state is encrypted and encryption is not configured"),
            Self::NotEncrypted => f.write_str("encryption is configured but remote state is not encrypted"),
            Self::FrameTooLong(len) => write!(f, "remote node state is larger than limit ({len})"),
            Self::Seal(error) => error.fmt(f),
            Self::SealedEmpty => f.write_str("encrypted message is empty"),
            Self::BadCompressed(error) | Self::Malformed(error) => error.fmt(f),
            Self::CompressedTooLong => f.write_str("compressed message is larger than limit"),
            Self::Algorithm(algo) => write!(f, "cannot decompress unknown algorithm {algo}"),
            Self::Inflate(error) => error.fmt(f),
            Self::InflatedEmpty => f.write_str("decompressed message is empty"),
            Self::UnexpectedType(kind) => write!(f, "message type {kind} is not expected here"),
            Self::Nodes(count) => write!(f, "invalid number of nodes ({count})"),
            Self::UserState(len) => write!(f, "invalid user state length ({len})"),
            Self::UserMessage(len) => write!(f, "invalid user message length ({len})"),
            Self::TooLong => f.write_str("message is larger than limit"),
            Self::Dribble => f.write_str("message arrives in too many pieces"),
        }
    }
}

impl core::error::Error for StreamReadError {}

//! The sending direction of a stream.

use super::{FRAME_HEADER, MAX_FRAME, frame_aad};
use crate::wire::keyring::{NONCE_LEN, Nonces};
use crate::wire::layers::{Compression, Layers};
use crate::wire::lzw::Deflater;
use crate::wire::message::MessageType;
use crate::wire::seal::{self, SEAL_HEADER};
use alloc::vec::Vec;
use core::fmt;

/// Whether a message has to be sealed, so that it must be whole in memory before its first byte can be sent. If not, the [label
/// header](crate::wire::label::Label::write_header) (from the opener) and then the message, compressed or not, is all that goes
/// on the wire.
#[must_use]
pub fn needs_sealing(layers: &Layers) -> bool {
    layers.sealing_key().is_some()
}

/// Whether messages on streams are compressed, even where it makes one larger; that is what every receiver sees (spec 1.4).
#[must_use]
pub fn needs_compression(layers: &Layers) -> bool {
    layers.compression != Compression::Off
}

/// Appends to `out` what one side writes to a stream: the label header if it opened the stream, and one
/// message, the parts one after the other, compressed and sealed as the layers say. A message of no bytes is
/// not written at all: sealed or compressed it would crash its reader. On an error `out` is as before.
pub fn write_stream(
    layers: &Layers,
    opener: bool,
    parts: &[&[u8]],
    nonces: &mut Nonces,
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
) -> Result<(), FrameTooLong> {
    write_stream_with(layers, opener, parts, &next_nonce(layers, nonces), deflater, out)
}

/// As [`write_stream`], of a message that is compressed already if it has to be.
pub fn seal_stream(
    layers: &Layers,
    opener: bool,
    parts: &[&[u8]],
    nonces: &mut Nonces,
    out: &mut Vec<u8>,
) -> Result<(), FrameTooLong> {
    write(layers, opener, parts, &next_nonce(layers, nonces), None, out)
}

fn next_nonce(layers: &Layers, nonces: &mut Nonces) -> [u8; NONCE_LEN] {
    if layers.sealing_key().is_some() { nonces.next_nonce() } else { [0; NONCE_LEN] }
}

/// [`write_stream`] with a given nonce, to reproduce known streams. A nonce used twice under one key gives
/// away both messages and lets anyone forge more.
pub fn write_stream_with(
    layers: &Layers,
    opener: bool,
    parts: &[&[u8]],
    nonce: &[u8; NONCE_LEN],
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
) -> Result<(), FrameTooLong> {
    write(layers, opener, parts, nonce, needs_compression(layers).then_some(deflater), out)
}

fn write(
    layers: &Layers,
    opener: bool,
    parts: &[&[u8]],
    nonce: &[u8; NONCE_LEN],
    deflater: Option<&mut Deflater>,
    out: &mut Vec<u8>,
) -> Result<(), FrameTooLong> {
    if parts.iter().all(|part| part.is_empty()) {
        return Ok(());
    }
    let before = out.len();
    if opener {
        let label = layers.label.header_len();
        out.resize(before + label, 0);
        // Fits: the room was made for it.
        let _ = out.get_mut(before..).and_then(|room| layers.label.write_header(room));
    }
    let frame = out.len();
    let key = layers.sealing_key();
    if key.is_some() {
        out.resize(frame + FRAME_HEADER + SEAL_HEADER, 0);
    }
    let text = out.len();
    match deflater {
        Some(deflater) => deflater.append_message(parts, out),
        None => parts.iter().for_each(|part| out.extend_from_slice(part)),
    }
    let Some(key) = key else { return Ok(()) };
    let text = out.len() - text;
    let sealed = layers.seal_version.sealed_len(text);
    let header = match u32::try_from(sealed) {
        Ok(len) if len <= MAX_FRAME => frame_header(len),
        _ => {
            out.truncate(before);
            return Err(FrameTooLong { len: sealed });
        }
    };
    // What padding and the tag will take.
    out.resize(frame + FRAME_HEADER + sealed, 0);
    let (mut aad, aad_len) = ([0; super::MAX_AAD], FRAME_HEADER + layers.label.as_bytes().len());
    frame_aad(&mut aad, header, layers.label.as_bytes());
    let (head, blob) =
        out.get_mut(frame..).unwrap_or_default().split_at_mut_checked(FRAME_HEADER).unwrap_or_default();
    head.copy_from_slice(&header);
    let aad = aad.get(..aad_len).unwrap_or_default();
    if seal::seal(key, layers.seal_version, nonce, aad, blob, text).is_none() {
        out.truncate(before);
        return Err(FrameTooLong { len: sealed });
    }
    Ok(())
}

fn frame_header(len: u32) -> [u8; FRAME_HEADER] {
    let [b0, b1, b2, b3] = len.to_be_bytes();
    [MessageType::Encrypted.byte(), b0, b1, b2, b3]
}

/// A message that no receiver would take, as its sealed frame exceeds [`MAX_FRAME`]. The caller's state is
/// too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong {
    /// Length that the frame would have.
    pub len: usize,
}

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sealed message of {} bytes exceeds the limit of {MAX_FRAME}", self.len)
    }
}

impl core::error::Error for FrameTooLong {}

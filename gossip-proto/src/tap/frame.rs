//! How entries lie in a recording: in frames of bounded size, each under a checksum that goes on from the one before, so
//! that a frame that is damaged, missing or out of place is noticed.

use alloc::collections::VecDeque;

use crate::machine::ReplayError;

/// The largest frame, and so the smallest buffer that serves for [`crate::Machine::poll_tap`] in all cases.
pub const MAX_TAP_FRAME: usize = 16 * 1024;

/// Length prefix, flags, checksum.
pub(crate) const FRAME_OVERHEAD: usize = 9;

/// The entry goes on in the next frame.
const MORE: u8 = 1;

/// A frame, taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) more: bool,
    pub(crate) body: &'a [u8],
    pub(crate) checksum: u32,
}

/// Appends an entry in as many frames as it needs; the checksum of the last.
pub(crate) fn write(mut body: &[u8], mut checksum: u32, out: &mut VecDeque<u8>) -> u32 {
    loop {
        let (part, rest) = body.split_at(body.len().min(MAX_TAP_FRAME - FRAME_OVERHEAD));
        let flags = if rest.is_empty() { 0 } else { MORE };
        let mut hasher = crc32fast::Hasher::new_with_initial(checksum);
        hasher.update(&[flags]);
        hasher.update(part);
        checksum = hasher.finalize();
        out.extend(&((part.len() + FRAME_OVERHEAD - 4) as u32).to_le_bytes());
        out.push_back(flags);
        out.extend(part);
        out.extend(&checksum.to_le_bytes());
        if rest.is_empty() {
            return checksum;
        }
        body = rest;
    }
}

/// Bytes that an entry takes in frames.
pub(crate) fn framed_len(body: usize) -> usize {
    body + FRAME_OVERHEAD * body.div_ceil(MAX_TAP_FRAME - FRAME_OVERHEAD).max(1)
}

/// Takes one frame apart, which follows one with that checksum; 0 stands for none.
pub(crate) fn read(frame: &[u8], checksum: u32) -> Result<Frame<'_>, ReplayError> {
    let (prefix, rest) = frame.split_first_chunk::<4>().ok_or(ReplayError::Damaged)?;
    let (inner, found) = rest.split_last_chunk::<4>().ok_or(ReplayError::Damaged)?;
    let (&flags, body) = inner.split_first().ok_or(ReplayError::Damaged)?;
    let mut hasher = crc32fast::Hasher::new_with_initial(checksum);
    hasher.update(inner);
    let checksum = hasher.finalize();
    let is_whole = u32::from_le_bytes(*prefix) as usize == rest.len() && frame.len() <= MAX_TAP_FRAME;
    if !is_whole || u32::from_le_bytes(*found) != checksum || flags > MORE {
        return Err(ReplayError::Damaged);
    }
    Ok(Frame { more: flags == MORE, body, checksum })
}

/// Length of the frame at the start of `bytes`, if it is all there.
pub(crate) fn len(bytes: &[u8]) -> Option<usize> {
    let prefix = bytes.first_chunk::<4>()?;
    let len = (u32::from_le_bytes(*prefix) as usize).checked_add(4)?;
    (len <= bytes.len()).then_some(len)
}

/// Moves whole frames to `out`, as many as fit; how many bytes that were.
pub(crate) fn take(queue: &mut VecDeque<u8>, out: &mut [u8]) -> usize {
    let mut len = 0;
    loop {
        let mut prefix = [0; 4];
        prefix.iter_mut().zip(queue.iter().skip(len)).for_each(|(to, from)| *to = *from);
        let next = len + 4 + u32::from_le_bytes(prefix) as usize;
        if len == queue.len() || next > out.len() {
            break;
        }
        len = next;
    }
    let (front, back) = queue.as_slices();
    let first = front.len().min(len);
    out[..first].copy_from_slice(&front[..first]);
    out[first..len].copy_from_slice(&back[..len - first]);
    queue.drain(..len);
    len
}

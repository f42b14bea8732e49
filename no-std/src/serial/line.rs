//! A serial line, simulated: one direction of it. It carries frames of up to 512 bytes at 115,200 baud, one after the other, and
//! noise spoils some of them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use gossip_proto::Instant;

/// The largest frame, with its kind and its checksum.
pub(crate) const FRAME: usize = 512;
/// What is left for the one who sends.
pub(crate) const BODY: usize = FRAME - 3;

/// 115,200 baud with one start and one stop bit.
const BYTES_PER_SECOND: u64 = 11_520;
/// One frame in so many is spoiled. Fixed, so that each run of the program is the same.
const NOISE: u32 = 11;

pub(crate) struct Line {
    /// Until then the last frame is still being clocked out.
    free: Instant,
    sent: u32,
    under_way: VecDeque<(Instant, Vec<u8>)>,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { free: Instant::ORIGIN, sent: 0, under_way: VecDeque::new() }
    }

    /// A frame could be sent now.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        now >= self.free
    }

    /// Clocks a frame out. Only while there is room, and at most [`BODY`] bytes.
    pub(crate) fn send(&mut self, now: Instant, kind: u8, body: &[u8]) {
        let mut frame = Vec::with_capacity(body.len() + 3);
        frame.push(kind);
        frame.extend_from_slice(body);
        frame.extend_from_slice(&checksum(&frame).to_be_bytes());
        self.sent += 1;
        if self.sent.is_multiple_of(NOISE) {
            let hit = frame.len() / 2;
            frame[hit] ^= 0x10;
        }
        self.free = now + Duration::from_nanos(frame.len() as u64 * 1_000_000_000 / BYTES_PER_SECOND);
        self.under_way.push_back((self.free, frame));
    }

    /// The next frame that has arrived whole: its kind and its body. Spoiled ones are dropped here.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<(u8, Vec<u8>)> {
        while self.under_way.front().is_some_and(|(arrival, _)| *arrival <= now) {
            let (_, mut frame) = self.under_way.pop_front()?;
            let end = frame.len() - 2;
            let sum = [frame[end], frame[end + 1]];
            frame.truncate(end);
            if checksum(&frame).to_be_bytes() == sum {
                return Some((frame.remove(0), frame));
            }
        }
        None
    }

    /// When something happens on it next: a frame arrives, or there is room again.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        let arrival = self.under_way.front().map(|(arrival, _)| *arrival);
        arrival.into_iter().chain((self.free > now).then_some(self.free)).min()
    }
}

/// CRC-16 as of X.25, without its final inversion.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0x8408 } else { sum >> 1 })
    })
}

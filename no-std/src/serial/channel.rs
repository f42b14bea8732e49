//! A small reliable channel over frames that get lost: records arrive once and in order. One record is under way at a time, and
//! the next one follows when it was acknowledged; so whoever acknowledges late slows the sender down.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use gossip_proto::Instant;

use crate::line::BODY;

/// The kinds of frames that are the channel's.
pub(crate) const RECORD: u8 = 1;
pub(crate) const ACKNOWLEDGEMENT: u8 = 2;
/// The largest record: what a frame has left beside the number.
pub(crate) const MAX_RECORD: usize = BODY - 1;

/// A full frame takes 45 ms; the acknowledgement may have to wait for one of the other direction.
const RESEND: Duration = Duration::from_millis(200);
/// After so many times without an acknowledgement the peer is taken to be gone: 10 s.
const TRIES: u32 = 50;

pub(crate) struct Channel {
    /// The first one is under way.
    records: VecDeque<Vec<u8>>,
    number: u8,
    resend: Instant,
    tries: u32,
    /// The number of the last record that came.
    last: u8,
    acknowledge: bool,
}

impl Channel {
    pub(crate) fn new() -> Self {
        let records = VecDeque::new();
        Self { records, number: 1, resend: Instant::ORIGIN, tries: 0, last: 0, acknowledge: false }
    }

    /// Queues a record.
    pub(crate) fn push(&mut self, record: Vec<u8>) {
        self.records.push_back(record);
    }

    /// Nothing waits behind what is under way: whoever has more to say may queue it.
    pub(crate) fn has_room(&self) -> bool {
        self.records.len() < 2
    }

    /// Whether a record is a new one; then [`Channel::acknowledge`] is called once it was dealt with.
    pub(crate) fn handle_record(&mut self, number: u8) -> bool {
        let new = number != self.last;
        self.last = number;
        new
    }

    /// The last record was dealt with, or came once more.
    pub(crate) fn acknowledge(&mut self) {
        self.acknowledge = true;
    }

    pub(crate) fn handle_acknowledgement(&mut self, number: u8) {
        if number == self.number && self.tries > 0 {
            self.records.pop_front();
            self.next();
        }
    }

    /// The frame that is to be sent now: its kind and its body.
    pub(crate) fn poll_frame(&mut self, now: Instant) -> Option<(u8, Vec<u8>)> {
        if core::mem::take(&mut self.acknowledge) {
            return Some((ACKNOWLEDGEMENT, [self.last].into()));
        }
        let record = self.records.front()?;
        if self.tries > 0 && now < self.resend {
            return None;
        }
        self.resend = now + RESEND;
        self.tries += 1;
        Some((RECORD, [&[self.number], record.as_slice()].concat()))
    }

    /// The peer does not acknowledge any more; all that was queued for it is dropped.
    pub(crate) fn poll_gone(&mut self) -> bool {
        let gone = self.tries > TRIES;
        if gone {
            self.records.clear();
            self.next();
        }
        gone
    }

    /// When [`Channel::poll_frame`] has something again by itself.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        (self.tries > 0).then_some(self.resend)
    }

    fn next(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.tries = 0;
    }
}

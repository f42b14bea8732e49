//! Recording what a machine is told, in a form that a fresh machine can be told again.
//!
//! Every call of the contract that may change state becomes an entry, written before it takes effect; what the call finds
//! in opened datagrams and streams is added to it, so that a replay needs no keys. Keys themselves are replaced by
//! pseudonyms ([`scrub`]).

mod entry;
mod frame;
mod scrub;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

pub use self::frame::MAX_TAP_FRAME;

pub(crate) use self::entry::{Entry, FORMAT, Fault, Fed, Input, Key, Payload, Trail};

use self::entry::{Item, START, Writer};
use self::frame::{FRAME_OVERHEAD, framed_len};
use self::scrub::Scrub;
use crate::machine::ReplayError;
use crate::{Instant, Name, Seed};

/// Entries on their way to whoever keeps them.
#[derive(Debug)]
pub(crate) struct Tap {
    queue: VecDeque<u8>,
    /// The body of the entry of the call at hand.
    open: Vec<u8>,
    /// What that may grow to.
    max_open: usize,
    limit: usize,
    checksum: u32,
    scrub: Scrub,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The entry of the call at hand has no room.
    Overflown,
    Ended,
}

/// Room kept for the last entry.
const LAST: usize = 32;

/// Capacity that is kept for the next entry.
const KEPT: usize = 64 * 1024;

impl Tap {
    /// A tap that holds at most `limit` bytes. `serf` says that user messages are Serf's.
    pub(crate) fn new(limit: usize, salt: [u8; 16], serf: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            open: Vec::new(),
            max_open: 0,
            limit,
            checksum: 0,
            scrub: Scrub::new(salt, serf),
            state: State::Running,
        }
    }

    /// Begins the entry of a call; the one before is complete.
    pub(crate) fn begin(&mut self, input: &Input<'_>) {
        self.commit();
        let room = self.limit.saturating_sub(self.queue.len() + LAST);
        self.max_open = room.saturating_sub(FRAME_OVERHEAD * (room / MAX_TAP_FRAME + 2));
        self.add(input);
    }

    /// Adds to the entry of the call at hand.
    pub(crate) fn add<'a>(&mut self, item: &impl Item<'a>) {
        if self.state != State::Running {
            return;
        }
        let mut writer = Writer::new(&mut self.open, self.max_open, &self.scrub);
        item.put(&mut writer);
        if !writer.fits() {
            self.state = State::Overflown;
        }
    }

    /// Ends a recording whose call at hand has no room: it is left out, and the recording says so. Whether it just ended.
    pub(crate) fn end_if_full(&mut self) -> bool {
        let is_full = self.state == State::Overflown;
        if is_full {
            self.open.clear();
            self.end(&Input::Full {});
        }
        is_full
    }

    /// Writes the last entry.
    pub(crate) fn end(&mut self, last: &Input<'_>) {
        self.commit();
        if self.state != State::Ended {
            self.state = State::Ended;
            last.put(&mut Writer::new(&mut self.open, LAST, &self.scrub));
            self.commit();
        }
    }

    fn commit(&mut self) {
        // The last entry has its room kept, except where there was not even room for the first.
        let len = framed_len(self.open.len());
        if !self.open.is_empty() && self.queue.len() + len <= self.limit {
            if self.queue.len() + len > self.queue.capacity() {
                // Twice as large as before, but no larger than ever needed.
                let capacity = (2 * self.queue.capacity()).clamp(self.queue.len() + len, self.limit);
                self.queue.reserve_exact(capacity - self.queue.len());
            }
            self.checksum = frame::write(&self.open, self.checksum, &mut self.queue);
        }
        self.open.clear();
        self.open.shrink_to(KEPT);
    }

    /// Hands out whole frames.
    pub(crate) fn poll(&mut self, out: &mut [u8]) -> usize {
        self.commit();
        frame::take(&mut self.queue, out)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether it has ended and everything was handed out.
    pub(crate) fn is_spent(&self) -> bool {
        self.state == State::Ended && self.queue.is_empty()
    }

    pub(crate) fn memory(&self) -> usize {
        self.queue.capacity() + self.open.capacity()
    }
}

/// A replay under way.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    checksum: u32,
    /// The parts so far of an entry of several frames.
    partial: Vec<u8>,
    /// What reading streams comes to in the call at hand.
    pub(crate) fed: VecDeque<(Fed, Option<Box<[u8]>>)>,
    /// The call at hand read a stream although the recorded one did not.
    pub(crate) astray: bool,
    /// What the call at hand handed out.
    pub(crate) out: Vec<u8>,
}

/// The longest entry: beyond what any call brings.
const MAX_ENTRY: usize = 64 << 20;

impl Replay {
    /// Takes a frame; the entry's body once it is whole. On an error nothing has changed.
    pub(crate) fn take(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>, ReplayError> {
        let frame = frame::read(frame, self.checksum)?;
        let len = self.partial.len() + frame.body.len();
        if len > MAX_ENTRY {
            return Err(ReplayError::Damaged);
        }
        self.partial.extend_from_slice(frame.body);
        if !frame.more && Entry::read(&self.partial).is_none() {
            self.partial.truncate(len - frame.body.len());
            return Err(ReplayError::Damaged);
        }
        self.checksum = frame.checksum;
        Ok((!frame.more).then(|| core::mem::take(&mut self.partial)))
    }

    /// Has the streams read as they were then.
    pub(crate) fn expect(&mut self, trail: &[Trail<'_>]) {
        self.astray = false;
        self.fed = trail
            .iter()
            .filter_map(|item| match item {
                Trail::Fed(fed, message) => Some((fed.clone(), message.map(Into::into))),
                Trail::Message(_) => None,
            })
            .collect();
    }

    /// Whether the call went another way than the recorded one.
    pub(crate) fn has_diverged(&self) -> bool {
        self.astray || !self.fed.is_empty()
    }
}

/// What a recording begins with: all that a machine which replays it must be made of, apart from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The seed of the recorded machine.
    pub seed: Seed,
    /// Its name.
    pub name: Name,
    /// The address it told others.
    pub advertise: SocketAddr,
    /// When the recording began, by the driver's clock.
    pub started: Instant,
    /// The version of this library that wrote it.
    pub version: String,
    /// Pseudonyms of the keys it had, the primary one first. A machine that replays has these for keys, so that what it
    /// sends is as long as what was sent, and can be opened.
    pub keys: Vec<Vec<u8>>,
}

impl Recording {
    /// Reads the beginning of a recording from its first entry.
    ///
    /// # Errors
    /// Bytes that are no first entry, or one of another format.
    pub fn read(first: &[u8]) -> Result<Self, ReplayError> {
        let frame = frame::read(first, 0)?;
        if let [START, format, ..] = *frame.body
            && format != FORMAT
        {
            return Err(ReplayError::Format(format));
        }
        match Entry::read(frame.body).map(|entry| entry.input) {
            Some(Input::Start { version, now, seed, name, advertise, keys, .. }) => Ok(Self {
                seed: Seed::new(seed),
                name: Name::new(name),
                advertise,
                started: now,
                version: String::from_utf8_lossy(version).into_owned(),
                keys: keys.iter().map(|key| key.0.to_vec()).collect(),
            }),
            _ => Err(ReplayError::NotStarted),
        }
    }

    /// The entries of a recording that was kept as it was polled. An entry cut off at the end is left out.
    pub fn entries(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        core::iter::from_fn(move || {
            let (entry, rest) = bytes.split_at(frame::len(bytes)?);
            bytes = rest;
            Some(entry)
        })
    }
}

#[cfg(test)]
mod tests;

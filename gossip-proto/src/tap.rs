//! Recording what a machine is told, in a form that a fresh machine can be told again.
//!
//! Every call of the contract that may change state becomes an entry, written before it takes effect; what the call finds
//! in opened datagrams and streams is added to it, so that a replay needs no keys. Keys themselves are replaced by
//! pseudonyms ([`scrub`]).

mod entry;
mod frame;
mod scrub;
mod settings;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use siphasher::sip::SipHasher13;

pub use self::frame::MAX_TAP_FRAME;

pub(crate) use self::entry::{Entry, FORMAT, Fault, Fed, Input, Key, Payload, Trail};
pub(crate) use self::settings::write as write_settings;

use self::entry::{Item, START, Writer};
use self::frame::{FRAME_OVERHEAD, framed_len};
use self::scrub::Scrub;
use crate::config::{Config, ServiceConfig};
use crate::machine::ReplayError;
use crate::{Instant, Seed};

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
    /// Bytes that may yet be handed out or wait to be, in all.
    total: u64,
    /// Over what was handed out so far.
    outputs: Outputs,
    /// When the next entry with the state is due.
    next_check: Instant,
}

/// A running hash over the outputs of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs(pub(crate) u64);

impl Outputs {
    /// Takes one in.
    pub(crate) fn add(&mut self, output: u32) {
        self.0 = SipHasher13::new_with_keys(self.0, 0).hash(&output.to_le_bytes());
    }
}

/// How often the state goes into a recording. It is a hash over the whole table.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The entry of the call at hand has no room.
    Overflown,
    Ended,
}

/// Room kept for the last entry.
const LAST: usize = 48;

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
            total: u64::MAX,
            outputs: Outputs::default(),
            next_check: Instant::ORIGIN,
        }
    }

    /// Ends the recording before it takes more than that, from its first byte on.
    pub(crate) fn set_total(&mut self, total: u64) {
        self.commit();
        match total.checked_sub((self.queue.len() + LAST) as u64) {
            Some(rest) => self.total = rest + LAST as u64,
            // Not even room for the first entry and a last one.
            None => {
                self.queue.clear();
                (self.total, self.checksum, self.state) = (0, 0, State::Overflown);
            }
        }
    }

    /// Notes what the call at hand handed out.
    pub(crate) fn output(&mut self, hash: u32) {
        if self.state == State::Running {
            self.outputs.add(hash);
            self.add(&Trail::Output(hash));
        }
    }

    pub(crate) fn outputs(&self) -> u64 {
        self.outputs.0
    }

    /// Whether the state is to be noted now.
    pub(crate) fn is_check_due(&mut self, now: Instant) -> bool {
        let due = self.state == State::Running && now >= self.next_check;
        if due {
            self.next_check = now + CHECK_INTERVAL;
        }
        due
    }

    /// Begins the entry of a call; the one before is complete.
    pub(crate) fn begin(&mut self, input: &Input<'_>) {
        self.commit();
        let total = usize::try_from(self.total).unwrap_or(usize::MAX);
        let room = self.limit.saturating_sub(self.queue.len()).min(total).saturating_sub(LAST);
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
        // The last entry has its room kept, except where there was not even room for the first. What has no room is half an
        // entry.
        let len = framed_len(self.open.len());
        let fits = self.queue.len() + len <= self.limit && len as u64 <= self.total;
        if !self.open.is_empty() && self.state != State::Overflown && fits {
            if self.queue.len() + len > self.queue.capacity() {
                // Twice as large as before, but no larger than ever needed.
                let capacity = (2 * self.queue.capacity()).clamp(self.queue.len() + len, self.limit);
                self.queue.reserve_exact(capacity - self.queue.len());
            }
            self.checksum = frame::write(&self.open, self.checksum, &mut self.queue);
            self.total = self.total.saturating_sub(len as u64);
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
    /// Whether the first entry was taken.
    pub(crate) begun: bool,
    /// The hash of what the call handed out when it was recorded, and of what it does now.
    expected: Option<u32>,
    pub(crate) output: Option<u32>,
    pub(crate) outputs: Outputs,
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
        self.output = None;
        self.expected = trail.iter().find_map(|item| match item {
            Trail::Output(hash) => Some(*hash),
            _ => None,
        });
        self.fed = trail
            .iter()
            .filter_map(|item| match item {
                Trail::Fed(fed, message) => Some((fed.clone(), message.map(Into::into))),
                Trail::Message(_) | Trail::Output(_) => None,
            })
            .collect();
    }

    /// Whether the call went another way than the recorded one.
    pub(crate) fn has_diverged(&self) -> bool {
        self.astray || !self.fed.is_empty() || self.output != self.expected
    }
}

/// What a recording begins with: all that a machine which replays it must be made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recording {
    /// The seed of the recorded machine.
    pub seed: Seed,
    /// Its configuration, without keys.
    pub config: Config,
    /// That of its services; `None` for a [`crate::Membership`].
    pub services: Option<ServiceConfig>,
    /// When the machine was made, by the driver's clock.
    pub created: Instant,
    /// When the recording began, by the driver's clock.
    pub started: Instant,
    /// The version of this library that wrote it.
    pub version: String,
    /// Pseudonyms of the keys it had, the primary one first. A machine that replays has these for keys, so that what it
    /// sends is as long as what was sent, and can be opened.
    pub keys: Vec<Vec<u8>>,
}

impl Recording {
    /// Reads the first entry of a recording; what follows it does not matter.
    ///
    /// # Errors
    /// Bytes that begin with no first entry, or one of another format; [`ReplayError::Mismatch`] if a version with other
    /// parameters wrote it, see [`Recording::version_of`].
    pub fn read(recording: &[u8]) -> Result<Self, ReplayError> {
        let body = Self::first(recording)?;
        if let [START, format, ..] = *body
            && format != FORMAT
        {
            return Err(ReplayError::Format(format));
        }
        match Entry::read(&body).map(|entry| entry.input) {
            Some(Input::Start { version, created, now, seed, settings, keys, .. }) => {
                let (config, services) = settings::read(settings).ok_or(ReplayError::Mismatch)?;
                Ok(Self {
                    seed: Seed::new(seed),
                    config,
                    services,
                    created,
                    started: now,
                    version: String::from_utf8_lossy(version).into_owned(),
                    keys: keys.iter().map(|key| key.0.to_vec()).collect(),
                })
            }
            _ => Err(ReplayError::NotStarted),
        }
    }

    /// The version of this library that wrote a recording, whether it can be replayed or not.
    pub fn version_of(recording: &[u8]) -> Option<String> {
        let body = Self::first(recording).ok()?;
        match Entry::read(&body)?.input {
            Input::Start { version, .. } => Some(String::from_utf8_lossy(version).into_owned()),
            _ => None,
        }
    }

    /// The body of the first entry.
    fn first(recording: &[u8]) -> Result<Vec<u8>, ReplayError> {
        let (mut body, mut checksum) = (Vec::new(), 0);
        for bytes in Self::entries(recording) {
            let frame = frame::read(bytes, checksum)?;
            checksum = frame.checksum;
            body.extend_from_slice(frame.body);
            if !frame.more {
                return Ok(body);
            }
        }
        Err(ReplayError::Damaged)
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

//! What the engine adds to a recording, and what it does differently when it replays one.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::hash::Hasher;

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::{Swim, Upper, outline};
use crate::error::KeyringError;
use crate::machine::ReplayError;
use crate::output::{Event, Source};
use crate::tap::{Entry, FORMAT, Fault, Fed, Input, Key, Replay, Tap, Trail, write_settings};
use crate::wire::keyring::{self, Keyring};
use crate::wire::stream::{Pending, StreamReadError};
use crate::{Instant, StreamId};

impl Swim {
    /// Notes a call that is about to take effect, if a recording runs. Time is what the machine takes it for.
    #[inline]
    pub(crate) fn record<'i>(&mut self, input: impl FnOnce(Instant) -> Input<'i>) {
        let now = self.now;
        if let Some(tap) = &mut self.tap {
            tap.begin(&input(now));
            self.end_full_recording();
        }
    }

    /// Notes a message of the datagram at hand.
    #[inline]
    pub(crate) fn record_message(&mut self, message: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap.add(&Trail::Message(message));
            self.end_full_recording();
        }
    }

    /// Notes what reading a stream came to.
    fn record_fed(&mut self, key: u64, fed: &Fed) {
        if let Some(tap) = &mut self.tap {
            let message = self.streams.get(key).and_then(|stream| stream.reader.opened());
            tap.add(&Trail::Fed(fed.clone(), message));
            self.end_full_recording();
        }
    }

    fn end_full_recording(&mut self) {
        if self.tap.as_mut().is_some_and(|tap| tap.end_if_full()) {
            self.emit_recording_stopped();
        }
    }

    pub(crate) fn start_recording<U: Upper>(&mut self, upper: &U, buffer: usize, salt: [u8; 16]) {
        let mut tap = Box::new(Tap::new(buffer, salt, self.roster.serviced));
        let keys: SmallVec<[Key<'_>; 8]> =
            self.layers.ring().map_or(&[][..], Keyring::keys).iter().map(|key| Key(key.as_bytes())).collect();
        let settings = write_settings(&self.config, upper.services());
        tap.begin(&Input::Start {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").as_bytes(),
            created: self.created,
            now: self.now,
            seed: *self.seed.as_bytes(),
            settings: &settings,
            config: self.config_hash(upper),
            state: self.state_hash(upper),
            keys: keys.as_slice().into(),
        });
        drop(keys);
        self.tap = Some(tap);
        self.end_full_recording();
    }

    pub(crate) fn stop_recording<U: Upper>(&mut self, upper: &U) {
        if self.tap.as_ref().is_some_and(|tap| tap.is_running()) {
            let state = self.state_hash(upper);
            if let Some(tap) = &mut self.tap {
                let last = Input::Stop { now: self.now, state, outputs: tap.outputs() };
                tap.end(&last);
            }
        }
    }

    pub(crate) fn poll_tap(&mut self, buf: &mut [u8]) -> usize {
        let Some(tap) = &mut self.tap else { return 0 };
        let len = tap.poll(buf);
        if tap.is_spent() {
            self.tap = None;
        }
        len
    }

    /// Whether what is handed out is hashed.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.tap.is_some() || self.replay.is_some()
    }

    /// Notes what the call at hand hands out; `None` for what is written as text is not nothing, and is noted too.
    #[inline]
    pub(crate) fn record_output(&mut self, output: impl FnOnce() -> u32) {
        if self.is_watched() {
            let hash = output();
            note(&mut self.tap, &mut self.replay, hash);
            self.end_full_recording();
        }
    }

    /// The third output, which borrows from this machine.
    pub(crate) fn poll_event(&mut self) -> Option<Event<'_>> {
        // What has no room ends the recording; that is said by an event, so that there is nothing to do here.
        let noted = self.events.is_stirred() && self.is_watched();
        let event = self.events.poll(&mut self.buffers);
        if noted {
            note(&mut self.tap, &mut self.replay, outline::event(event.as_ref()));
        }
        event
    }

    /// Notes the state, so that a replay can tell where it went astray; every ten seconds.
    pub(crate) fn record_check<U: Upper>(&mut self, upper: &U, now: Instant) {
        if self.tap.as_mut().is_some_and(|tap| tap.is_check_due(now)) {
            let state = self.state_hash(upper);
            let outputs = self.tap.as_ref().map_or(0, |tap| tap.outputs());
            self.record(|now| Input::Check { now, state, outputs });
        }
    }

    pub(crate) fn limit_recording(&mut self, total: u64) {
        if let Some(tap) = &mut self.tap {
            tap.set_total(total);
        }
    }

    /// Over what this machine has handed out since the replay began.
    pub(crate) fn replayed_outputs(&self) -> u64 {
        self.replay.as_ref().map_or(0, |replay| replay.outputs.0)
    }

    /// Whether `poll_transmit` may do anything at all.
    pub(crate) fn may_transmit(&self) -> bool {
        !self.outgoing.is_empty() || !self.notices.is_empty()
    }

    pub(crate) fn may_tell_stream(&self) -> bool {
        !self.actions.is_empty()
    }

    pub(crate) fn may_tell_change(&self) -> bool {
        self.changes.is_stirred()
    }

    pub(crate) fn may_complete(&self) -> bool {
        !self.completions.is_empty()
    }

    /// How much of a buffer `poll_stream_data` can fill.
    pub(crate) fn stream_room(&self, key: u64, buf: usize) -> usize {
        self.streams.get(key).map_or(0, |stream| stream.unwritten().min(buf))
    }

    /// Over everything that was configured, keys left out: those are not in `config` any more.
    fn config_hash<U: Upper>(&self, upper: &U) -> u64 {
        struct Text(SipHasher13);
        impl Write for Text {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut text = Text(SipHasher13::new());
        // Hashing cannot fail.
        let _ = write!(text, "{:?} {:?}", self.config, upper.config());
        text.0.finish()
    }

    /// Takes a frame of a recording; the entry's body once it is whole, except for the first entry, which it acts on.
    pub(crate) fn take_frame<U: Upper>(
        &mut self,
        upper: &U,
        frame: &[u8],
    ) -> Result<Option<Vec<u8>>, ReplayError> {
        if self.replay.as_ref().is_none_or(|replay| !replay.begun) {
            // Of the first entry nothing counts before it is whole, and nothing of one that does not fit.
            let mut replay = self.replay.take().unwrap_or_default();
            if let Some(body) = replay.take(frame)? {
                self.begin_replay(upper, &body)?;
                replay.begun = true;
            }
            self.replay = Some(replay);
            return Ok(None);
        }
        let Some(replay) = &mut self.replay else { return Ok(None) };
        // An event is on loan when its call ends, so that it is compared here.
        if replay.has_diverged() {
            return Err(ReplayError::Diverged);
        }
        let body = replay.take(frame)?;
        if let Some(entry) = body.as_deref().and_then(Entry::read) {
            replay.expect(&entry.trail);
        }
        Ok(body)
    }

    /// Makes this machine one that replays: its keys are the pseudonyms from now on.
    fn begin_replay<U: Upper>(&mut self, upper: &U, body: &[u8]) -> Result<(), ReplayError> {
        let Some(Input::Start { format, now, config, state, keys, .. }) =
            Entry::read(body).map(|entry| entry.input)
        else {
            return Err(ReplayError::NotStarted);
        };
        if format != FORMAT {
            return Err(ReplayError::Format(format));
        }
        if config != self.config_hash(upper) {
            return Err(ReplayError::Mismatch);
        }
        let ring = ring_of(&keys).map_err(|_| ReplayError::Damaged)?;
        let before = self.now;
        self.advance(now);
        if state != self.state_hash(upper) {
            self.now = before;
            return Err(ReplayError::Mismatch);
        }
        self.layers.keyring = (!ring.is_empty()).then_some(ring);
        Ok(())
    }

    /// Acts once more on the messages of a datagram.
    pub(crate) fn opened_again<U: Upper>(&mut self, upper: &mut U, source: Source, trail: &[Trail<'_>]) {
        let source = self.heard_from(source);
        for item in trail {
            if let Trail::Message(message) = item {
                self.stats.messages_received += 1;
                if self.message(upper, source, message).is_err() {
                    self.stats.dropped_decode += 1;
                }
            }
        }
    }

    /// Feeds a stream's reader, or has it be as it was when the call at hand was recorded.
    pub(crate) fn feed(&mut self, key: u64, data: &[u8], fin: bool, work: &mut usize) -> Option<Fed> {
        if self.replay.is_some() {
            return self.feed_again(key);
        }
        let budget = self.config.max_exchange_bytes.saturating_sub(self.stream_bytes);
        let stream = self.streams.get_mut(key)?;
        let taken = match stream.reader.feed_within(&self.layers, data, budget, work) {
            Ok(taken) if fin && taken == data.len() => stream.reader.finish().map(|()| taken),
            other => other,
        };
        let fed = Fed {
            taken: taken.map_err(|error| fault(&error)),
            pending: stream.reader.pending(),
            held: stream.reader.buffered(),
        };
        self.record_fed(key, &fed);
        self.account(key, fed.held);
        Some(fed)
    }

    fn feed_again(&mut self, key: u64) -> Option<Fed> {
        let stream = self.streams.get_mut(key)?;
        let replay = self.replay.as_mut()?;
        let Some((fed, message)) = replay.fed.pop_front() else {
            replay.astray = true;
            return None;
        };
        if let Some(message) = message {
            let mut read = stream.reader.feed_opened(&self.layers, &message);
            while read.is_ok() && stream.reader.pending() == Pending::Work {
                read = stream.reader.feed(&self.layers, &[], 0).map(drop);
            }
            replay.astray |= read.is_err();
        }
        self.account(key, fed.held);
        Some(fed)
    }

    /// How many bytes of that stream `poll_stream_data` is to be asked for in a replay: no more than there are.
    pub(crate) fn replay_buffer(&mut self, len: usize) -> Vec<u8> {
        let mut out = self.replay.as_mut().map(|replay| core::mem::take(&mut replay.out)).unwrap_or_default();
        out.clear();
        out.resize(len, 0);
        out
    }

    /// Keeps what was handed out, for [`Swim::replayed`].
    pub(crate) fn keep_replayed(&mut self, mut out: Vec<u8>, len: usize) {
        if let Some(replay) = &mut self.replay {
            out.truncate(len);
            replay.out = out;
        }
    }

    pub(crate) fn replayed(&self) -> &[u8] {
        self.replay.as_ref().map_or(&[], |replay| &replay.out)
    }

    pub(crate) fn has_diverged(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.has_diverged())
    }

    /// Notes bytes of a stream, which say nothing yet.
    pub(crate) fn record_stream_data(&mut self, id: StreamId, len: usize, fin: bool) {
        self.record(|now| Input::StreamData { now, id: id.0, len, fin });
    }
}

fn ring_of(keys: &[Key<'_>]) -> Result<Keyring, KeyringError> {
    let mut ring = Keyring::empty();
    for key in keys {
        ring.add(keyring::Key::new(key.0)?)?;
    }
    Ok(ring)
}

fn note(tap: &mut Option<Box<Tap>>, replay: &mut Option<Box<Replay>>, hash: u32) {
    if let Some(tap) = tap {
        tap.output(hash);
    }
    if let Some(replay) = replay {
        replay.output = Some(hash);
        replay.outputs.add(hash);
    }
}

fn fault(error: &StreamReadError) -> Fault {
    match error {
        StreamReadError::Closed => Fault::Closed,
        StreamReadError::Truncated => Fault::Cut,
        error if error.is_answered() => Fault::Answered(alloc::format!("{error}")),
        _ => Fault::Odd,
    }
}

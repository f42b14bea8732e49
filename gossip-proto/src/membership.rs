//! The memberlist-level machine: who is there, and user messages. Complete on its own.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hash;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use crate::contract::machine;
use crate::error::{CommandError, ConfigError, ONE_DATAGRAM};
use crate::machine::ReplayError;
use crate::output::{OperationId, Source};
use crate::swim::{Lane, News, Swim, Upper, Waiter};
use crate::tap::{Input, Payload};
use crate::{Config, Instant, NonceSecret, Seed};

/// A node of a memberlist cluster: membership, metadata, user messages and user state, without Serf's services.
#[derive(Debug)]
pub struct Membership {
    pub(crate) swim: Swim,
    pub(crate) upper: Plain,
}

/// The layer above membership when the application is that layer itself.
#[derive(Debug)]
pub(crate) struct Plain {
    user_state: Bytes,
}

impl Membership {
    /// A node that knows only itself. The seed decides all protocol choices; the nonce secret must be fresh from the
    /// operating system for every process.
    ///
    /// # Errors
    /// What in the configuration cannot be run; the user's fault.
    pub fn new(now: Instant, config: Config, seed: Seed, nonces: NonceSecret) -> Result<Self, ConfigError> {
        let mut upper = Plain { user_state: Bytes::new() };
        let mut swim = Swim::new(now, config, &seed, nonces)?;
        swim.start(&mut upper);
        Ok(Self { swim, upper })
    }

    /// Changes this node's metadata. Ends with [`crate::Outcome::Announced`].
    ///
    /// # Errors
    /// Metadata over 512 bytes, or the node has left.
    pub fn set_metadata(&mut self, now: Instant, metadata: Bytes) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::SetMetadata { now, metadata: &metadata });
        self.swim.set_metadata(&mut self.upper, metadata)
    }

    /// Gossips a user message: it is sent to random members until the transmit limit is reached, so that in a large
    /// cluster it reaches only some, and one may get it twice. Receivers that shall spread it broadcast it again
    /// themselves (spec 4.20). Ends with [`crate::Outcome::Announced`].
    ///
    /// # Errors
    /// A message larger than one datagram carries, or the node has left.
    pub fn broadcast(&mut self, now: Instant, payload: Bytes) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::Broadcast { now, payload: Payload(&payload) });
        let key = self.begin_broadcast(&payload)?;
        self.swim.broadcast(Lane::Event, &[&payload], Some(Waiter::Operation(key)));
        self.swim.end_lonely_announcement(key);
        Ok(OperationId(key))
    }

    /// As [`Membership::broadcast`], about a subject of the application's choice: what this node has queued about the same
    /// subject is out of date, and is not sent any more; that operation ends as announced. The subject stays here: it is
    /// not part of the message.
    ///
    /// # Errors
    /// As for `broadcast`; or a subject of more than 512 bytes.
    pub fn broadcast_about(
        &mut self,
        now: Instant,
        subject: &[u8],
        payload: Bytes,
    ) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::BroadcastAbout { now, subject, payload: Payload(&payload) });
        if subject.len() > MAX_SUBJECT {
            return Err(CommandError::TooBig { len: subject.len(), max: MAX_SUBJECT, limit: "a subject" });
        }
        let key = self.begin_broadcast(&payload)?;
        let waiter = Some(Waiter::Operation(key));
        self.swim.broadcast_about(Bytes::copy_from_slice(subject), &payload, waiter);
        self.swim.end_lonely_announcement(key);
        Ok(OperationId(key))
    }

    /// Longest payload of a broadcast: one that fills a datagram.
    pub fn max_broadcast(&self) -> usize {
        self.swim.max_broadcast()
    }

    fn begin_broadcast(&mut self, payload: &[u8]) -> Result<u64, CommandError> {
        if self.swim.leaving {
            return Err(CommandError::Left);
        }
        let max = self.swim.max_broadcast();
        if payload.len() > max {
            return Err(CommandError::TooBig { len: payload.len(), max, limit: ONE_DATAGRAM });
        }
        self.swim.begin_announcement()
    }

    fn leave_cluster(&mut self) -> Result<OperationId, CommandError> {
        self.swim.leave(&mut self.upper)
    }

    fn replay_own(&mut self, input: Input<'_>) -> Result<(), ReplayError> {
        match input {
            Input::SetMetadata { now, metadata } => {
                drop(self.set_metadata(now, Bytes::copy_from_slice(metadata)))
            }
            Input::Broadcast { now, payload } => drop(self.broadcast(now, Bytes::copy_from_slice(payload.0))),
            Input::BroadcastAbout { now, subject, payload } => {
                drop(self.broadcast_about(now, subject, Bytes::copy_from_slice(payload.0)))
            }
            Input::SetUserState { state } => drop(self.set_user_state(Bytes::copy_from_slice(state))),
            _ => return Err(ReplayError::Mismatch),
        }
        Ok(())
    }

    /// What is sent along with each push/pull from now on. Peers take 20 MiB at most, together with the roster. It comes
    /// to them as [`crate::Event::UserState`].
    ///
    /// # Errors
    /// A state that no peer would take.
    pub fn set_user_state(&mut self, state: Bytes) -> Result<(), CommandError> {
        self.swim.record(|_| Input::SetUserState { state: &state });
        if state.len() > MAX_USER_STATE {
            return Err(CommandError::TooBig {
                len: state.len(),
                max: MAX_USER_STATE,
                limit: "a user state",
            });
        }
        self.upper.user_state = state;
        Ok(())
    }
}

/// Longest subject of a broadcast.
const MAX_SUBJECT: usize = 512;
/// Leaves room for the headers and some hundred members in the largest frame that is read (spec 1.6).
const MAX_USER_STATE: usize = crate::wire::stream::MAX_FRAME as usize - (64 << 10);

impl Upper for Plain {
    fn num_alive(&self, swim: &Swim) -> usize {
        swim.roster.num_members()
    }

    fn changed(&mut self, swim: &mut Swim, slot: u32, news: News) {
        if news == News::Reaped {
            swim.mark_reaped(slot);
        }
        swim.service_members = swim.roster.len();
    }

    fn message(&mut self, swim: &mut Swim, from: Source, reliable: bool, payload: &[u8]) {
        swim.emit_message(from, reliable, payload);
    }

    fn conflicted(&mut self, _swim: &mut Swim, _slot: u32, _claimed: SocketAddr) {}

    fn local_state(&mut self, _swim: &mut Swim, _join: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.user_state);
    }

    fn merge_state(&mut self, swim: &mut Swim, from: Source, join: bool, state: &[u8]) {
        swim.emit_user_state(from, join, state);
    }

    fn joined(&mut self, _swim: &mut Swim, _operation: u64, _contacted: usize) {}

    fn sought(&mut self, _swim: &mut Swim, _token: u64, _found: bool) {}

    fn announced(&mut self, _swim: &mut Swim, _step: u64, _out: bool) {}

    fn timeout(&mut self, _swim: &mut Swim, _timer: u64) {}

    fn keyring_stored(&mut self, _swim: &mut Swim, _change: u64, _result: Result<(), String>) {}

    fn ping_completed(
        &mut self,
        _swim: &mut Swim,
        _slot: u32,
        _rtt: Duration,
        _payload: &[u8],
        _at: Instant,
    ) {
    }

    fn ack_payload(&self, _out: &mut Vec<u8>) {}

    fn has_backlog(&self) -> bool {
        false
    }

    fn work_off(&mut self, _swim: &mut Swim, _work: &mut usize) {}

    fn hash(&self, hasher: &mut SipHasher13) {
        self.user_state.hash(hasher);
    }

    fn config(&self) -> &dyn fmt::Debug {
        &"membership"
    }
}

machine!(Membership, Plain);

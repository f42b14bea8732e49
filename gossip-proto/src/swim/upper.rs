//! How the layer above takes part. Static dispatch inside this crate, not a delegate of the user's: the calls come at
//! defined points, in order, and may use the engine.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use super::Swim;
use crate::Instant;
use crate::output::Source;

/// What memberlist calls NotifyJoin, NotifyLeave and NotifyUpdate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Joined,
    /// Dead or left.
    Gone,
    Updated,
    /// SWIM forgot it.
    Reaped,
}

/// What waits for a broadcast to be out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    /// An operation of the application.
    Operation(u64),
    /// A step of the service's own.
    Service(u64),
}

/// The layer above membership.
pub(crate) trait Upper {
    /// How many of the members that applications see are alive or suspect.
    fn num_alive(&self, swim: &Swim) -> usize;
    /// A member's state changed.
    fn changed(&mut self, swim: &mut Swim, slot: u32, news: News);
    /// A user message arrived.
    fn message(&mut self, swim: &mut Swim, from: Source, reliable: bool, payload: &[u8]);
    /// Another node claims to be the member in this slot, from an address of its own.
    fn conflicted(&mut self, swim: &mut Swim, slot: u32, claimed: SocketAddr);
    /// Appends the user state for a push/pull.
    fn local_state(&mut self, swim: &mut Swim, join: bool, out: &mut Vec<u8>);
    /// The remote's user state, after membership was merged.
    fn merge_state(&mut self, swim: &mut Swim, from: Source, join: bool, state: &[u8]);
    /// A join operation ended with this many contacts.
    fn joined(&mut self, swim: &mut Swim, operation: u64, contacted: usize);
    /// An address that the service had sought out was joined, or was not.
    fn sought(&mut self, swim: &mut Swim, token: u64, found: bool);
    /// A broadcast of the service's own is out, or was given up.
    fn announced(&mut self, swim: &mut Swim, step: u64, out: bool);
    /// A timer of the service's own.
    fn timeout(&mut self, swim: &mut Swim, timer: u64);
    /// A change of the keyring is in its file, or was taken back because it could not be written, and why.
    fn keyring_stored(&mut self, swim: &mut Swim, change: u64, result: Result<(), String>);
    /// A direct probe was answered.
    fn ping_completed(&mut self, swim: &mut Swim, slot: u32, rtt: Duration, payload: &[u8], at: Instant);
    /// Appends the payload of acknowledgements to members.
    fn ack_payload(&self, out: &mut Vec<u8>);
    /// Whether work was put off.
    fn has_backlog(&self) -> bool;
    /// Goes on with it, as far as `work` goes.
    fn work_off(&mut self, swim: &mut Swim, work: &mut usize);
    /// Its part of the state hash.
    fn hash(&self, hasher: &mut SipHasher13);
    /// What it was configured with, to tell whether two machines are alike.
    fn config(&self) -> &dyn fmt::Debug;
    /// The same, of services.
    fn services(&self) -> Option<&crate::config::ServiceConfig> {
        None
    }
}

//! The contract: what every machine takes and gives. See the crate's documentation for the rules of driving it.

use core::net::SocketAddr;

use bytes::Bytes;

use crate::error::{CommandError, PacketError, Refused, StreamError};
use crate::output::*;
use crate::view::{Member, Members};
use crate::{Config, Instant, Name, Stats};

/// Where to join: an address, and the name of the node there if it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTarget {
    /// The address to connect to.
    pub addr: SocketAddr,
    /// The name of the node there; needed when `require_node_names` is set.
    pub name: Option<Name>,
}

impl From<SocketAddr> for JoinTarget {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, name: None }
    }
}

pub(crate) mod sealed {
    /// Keeps [`super::Machine`] to the machines of this crate, so that methods can be added to it.
    pub trait Sealed {}
}

/// A gossip machine: [`crate::Membership`] or [`crate::Node`].
///
/// Four kinds of method. `handle_*` tell it what happened outside; commands tell it what the application wants; `poll_*`
/// say what the driver must do now; getters look. `now` comes first and never goes back; if it does, the machine keeps
/// its old time.
pub trait Machine: sealed::Sealed {
    // 1. What happened outside.

    /// A datagram arrived. It is opened in place. An error means it was dropped, counted, and nothing changed;
    /// it is safe to ignore.
    fn handle_datagram(&mut self, now: Instant, source: Source, datagram: &mut [u8]) -> Result<(), PacketError>;

    /// Time passed. Call it when `poll_timeout` is due, after all that has arrived was handed over (drain before
    /// judge), and again while `poll_timeout` is still due.
    fn handle_timeout(&mut self, now: Instant);

    /// A datagram could not be sent.
    fn handle_transmit_failed(&mut self, now: Instant, id: TransmitId, why: TransmitFailure);

    /// A datagram left later than it was polled; it gives no round trip time.
    fn handle_transmit_delayed(&mut self, now: Instant, id: TransmitId);

    /// The path to `to` carries datagrams of at most `max_datagram` bytes.
    fn handle_path(&mut self, now: Instant, to: SocketAddr, max_datagram: usize);

    /// A peer opened a stream.
    fn accept_stream(&mut self, now: Instant, source: Source) -> Result<StreamId, Refused>;

    /// A stream that the machine asked for is connected.
    fn handle_stream_opened(&mut self, now: Instant, id: StreamId);

    /// A stream could not be connected, or broke.
    fn handle_stream_failed(&mut self, now: Instant, id: StreamId, why: StreamFailure);

    /// Bytes arrived on a stream, `fin` if no more will follow. Says how many were consumed: fewer than given means
    /// that the memory for exchanges is used up; offer the rest again after other streams have closed or when the
    /// machine was next polled. After an error go on polling: an error reply may follow before `Close`.
    fn handle_stream_data(&mut self, now: Instant, id: StreamId, data: &[u8], fin: bool) -> Result<usize, StreamError>;

    // 2. What the application wants.

    /// Joins the cluster through these addresses: all are tried. Ends with [`Outcome::Joined`].
    fn join(&mut self, now: Instant, targets: &[JoinTarget]) -> Result<OperationId, CommandError>;

    /// Leaves the cluster: says good-bye and waits until that is out. Ends with [`Outcome::Left`]; go on driving until
    /// then.
    fn leave(&mut self, now: Instant) -> Result<OperationId, CommandError>;

    /// Sends a user message in one datagram, best effort. On a [`crate::Node`] Serf peers log it as unknown.
    fn send(&mut self, now: Instant, to: MemberKey, payload: Bytes) -> Result<(), CommandError>;

    /// Sends a user message by stream. Ends with [`Outcome::Sent`].
    fn send_reliable(&mut self, now: Instant, to: MemberKey, payload: Bytes) -> Result<OperationId, CommandError>;

    /// Measures the round trip time to a member, once, within the probe timeout. Ends with [`Outcome::Ping`].
    fn ping(&mut self, now: Instant, to: MemberKey) -> Result<OperationId, CommandError>;

    /// Accepts a merge.
    fn accept(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError>;

    /// Refuses a merge.
    fn refuse(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError>;

    /// Adds a key to the keyring (spec 1.6): what is sealed with it can be opened from now on.
    fn install_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError>;

    /// Makes an installed key the primary one: what is sent is sealed with it from now on.
    fn use_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError>;

    /// Removes a key that is not the primary one.
    fn remove_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError>;

    /// Starts recording into a buffer of that many bytes; see [`Machine::poll_tap`].
    fn start_recording(&mut self, now: Instant, buffer: usize, salt: [u8; 16]);

    /// Stops recording; what is in the buffer can still be polled.
    fn stop_recording(&mut self, now: Instant);

    // 3. What the driver must do now.

    /// Composes the next datagram at the front of `buf`, which must have at least [`Config::datagram_size`] bytes.
    /// `None` means that nothing is left to send now.
    fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit>;

    /// What to do about streams.
    fn poll_stream(&mut self) -> Option<StreamAction>;

    /// Bytes to write on a stream.
    fn poll_stream_data(&mut self, now: Instant, id: StreamId, buf: &mut [u8]) -> Written;

    /// First output: membership changes.
    fn poll_membership(&mut self) -> Option<MembershipChange>;

    /// Second output: operations that ended.
    fn poll_completion(&mut self) -> Option<Completion>;

    /// Third output: events and messages.
    fn poll_event(&mut self) -> Option<Event<'_>>;

    /// Recorded inputs, as whole entries; how many bytes were written to `buf`. Each entry is a length-prefixed record
    /// that [`Machine::replay`] takes. An entry that does not fit `buf` stays.
    fn poll_tap(&mut self, buf: &mut [u8]) -> usize;

    /// Applies one recorded entry to a machine made with the same configuration (keys left out) and seed.
    fn replay(&mut self, entry: &[u8]) -> Result<(), ReplayError>;

    /// When to call `handle_timeout` at the latest. May lie in the past while sliced work remains.
    fn poll_timeout(&self) -> Option<Instant>;

    // 4. Getters.

    /// The configuration it runs with.
    fn config(&self) -> &Config;

    /// The node itself.
    fn local(&self) -> Member<'_>;

    /// All members in slot order: alive, suspect, and those failed or left that are still remembered.
    fn members(&self) -> Members<'_>;

    /// One member.
    fn member(&self, key: MemberKey) -> Option<Member<'_>>;

    /// The member of that name.
    fn find(&self, name: &[u8]) -> Option<Member<'_>>;

    /// Members alive or suspect, this node included.
    fn num_alive(&self) -> usize;

    /// The counters.
    fn stats(&self) -> &Stats;

    /// The local health score: 0 is healthy (Lifeguard).
    fn health(&self) -> u32;

    /// Which timer fires next, and when.
    fn next_wakeup(&self) -> Option<(Wakeup, Instant)>;

    /// Bytes of memory held for members, rumors, streams and events.
    fn memory(&self) -> usize;

    /// A hash over everything that decides future behaviour, to compare a replay with the original.
    fn state_hash(&self) -> u64;
}

/// A recorded entry that cannot be applied. The recording is damaged or belongs to another version; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayError;

impl core::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the entry cannot be replayed: damaged, or written by another version")
    }
}

impl core::error::Error for ReplayError {}

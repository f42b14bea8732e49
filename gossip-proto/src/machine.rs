//! The contract: what every machine takes and gives. See the crate's documentation for the rules of driving it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::error::{CommandError, PacketError, Refused, StreamError};
use crate::output::*;
use crate::view::{KnownMember, Member, Members, MergeMember};
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

/// How a query is asked. By default it is for everybody, nobody acknowledges it, and it runs as long as it takes gossip
/// to get round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryParams {
    pub(crate) nodes: Vec<Name>,
    pub(crate) tags: Vec<(Bytes, Bytes)>,
    pub(crate) ack: bool,
    pub(crate) everybody_answers: bool,
    pub(crate) relay_factor: u8,
    pub(crate) timeout: Option<Duration>,
}

impl QueryParams {
    /// Only for the members of these names; none is all.
    pub fn nodes(&mut self, nodes: Vec<Name>) -> &mut Self {
        self.nodes = nodes;
        self
    }

    /// Only for members that have in each of these tags a value which the regular expression is found in. A tag that is
    /// not there has the empty value. Expressions are Go's, at most 512 bytes long.
    pub fn tags(&mut self, tags: Vec<(Bytes, Bytes)>) -> &mut Self {
        self.tags = tags;
        self
    }

    /// Whoever receives the query says so. Members that do not are asked again, directly, until the query ends, eight times in the
    /// usual time of a query and then once in each such time: with acknowledgements a query misses nobody whom datagrams reach
    /// at all.
    pub fn ack(&mut self, ack: bool) -> &mut Self {
        self.ack = ack;
        self
    }

    /// Everybody whom the query is for has an answer: who has not given it is asked again, directly, until the query
    /// ends. For a query that most have nothing to say to, this costs eight datagrams for each of them, and more if it is asked for
    /// longer than usual.
    pub fn everybody_answers(&mut self, everybody_answers: bool) -> &mut Self {
        self.everybody_answers = everybody_answers;
        self
    }

    /// Each answer also travels by this many other members, in case it gets lost on the straight way. Nodes like this one
    /// take more than 8 for 8.
    pub fn relay_factor(&mut self, relay_factor: u8) -> &mut Self {
        self.relay_factor = relay_factor;
        self
    }

    /// How long answers are waited for; `None` or zero is the default, which grows with the cluster.
    pub fn timeout(&mut self, timeout: Option<Duration>) -> &mut Self {
        self.timeout = timeout;
        self
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
    fn handle_datagram(
        &mut self,
        now: Instant,
        source: Source,
        datagram: &mut [u8],
    ) -> Result<(), PacketError>;

    /// Time passed. Call it when `poll_timeout` is due, after all that has arrived was handed over (drain before
    /// judge), and again while `poll_timeout` is still due.
    fn handle_timeout(&mut self, now: Instant);

    /// A datagram could not be sent.
    fn handle_transmit_failed(&mut self, now: Instant, id: TransmitId, why: TransmitFailure);

    /// A datagram left later than it was polled; it gives no round trip time.
    fn handle_transmit_delayed(&mut self, now: Instant, id: TransmitId);

    /// The path to `to` is open and carries datagrams of at most `max_datagram` bytes; 0 says that it is closed, and what
    /// the next one carries not known.
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
    fn handle_stream_data(
        &mut self,
        now: Instant,
        id: StreamId,
        data: &[u8],
        fin: bool,
    ) -> Result<usize, StreamError>;

    // 2. What the application wants.

    /// Joins the cluster through these addresses: all are tried, at most half of [`Config::max_streams`] at once. Ends with
    /// [`Outcome::Joined`]; addresses that had not been tried when the node left count as failed on its own side.
    fn join(&mut self, now: Instant, targets: &[JoinTarget]) -> Result<OperationId, CommandError>;

    /// Leaves the cluster: says good-bye and waits until that is out. Ends with [`Outcome::Left`]; go on driving until
    /// then.
    fn leave(&mut self, now: Instant) -> Result<OperationId, CommandError>;

    /// Sends a user message in one datagram, best effort. On a [`crate::Node`] Serf peers log it as unknown.
    fn send(&mut self, now: Instant, to: MemberKey, payload: Bytes) -> Result<(), CommandError>;

    /// Sends a user message by stream. Ends with [`Outcome::Sent`].
    fn send_reliable(
        &mut self,
        now: Instant,
        to: MemberKey,
        payload: Bytes,
    ) -> Result<OperationId, CommandError>;

    /// Measures the round trip time to a member, once, within the probe timeout. Ends with [`Outcome::Ping`].
    fn ping(&mut self, now: Instant, to: MemberKey) -> Result<OperationId, CommandError>;

    /// Replaces the addresses that are joined now and again whenever no alive member has them; see
    /// [`Config::seeds`].
    fn set_seeds(&mut self, now: Instant, seeds: &[SocketAddr]);

    /// For simulations and tests that begin with a cluster that has stood for long: takes members as alive and known, and
    /// says how many of them were new. Unlike with a merge, no change is reported and nothing is gossiped about them, nor
    /// about this node, so call it before anything else. Who is known already, or would be refused if a peer brought
    /// it (admission rules, allowed networks, a full roster, odd versions), is left out, the latter counted as ever.
    fn know(&mut self, now: Instant, members: &[KnownMember]) -> usize;

    /// Accepts a merge; see [`Machine::merge_members`].
    fn accept(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError>;

    /// Refuses a merge.
    fn refuse(&mut self, now: Instant, id: RequestId) -> Result<(), CommandError>;

    /// Adds a key to the keyring (spec 1.6): what is sealed with it can be opened from now on.
    fn install_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError>;

    /// Makes an installed key the primary one: what is sent is sealed with it from now on.
    fn use_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError>;

    /// Removes a key that is not the primary one.
    fn remove_key(&mut self, now: Instant, key: &[u8]) -> Result<(), CommandError>;

    /// Whether a file follows the keyring: from now on each change of it comes out as [`Completion::KeyringChanged`], and
    /// counts once [`Machine::keyring_stored`] says so. Off at first.
    fn persist_keyring(&mut self, on: bool);

    /// Answers [`Completion::KeyringChanged`]: the ring is safely stored, or why not. If not, the change is taken back.
    fn keyring_stored(
        &mut self,
        now: Instant,
        id: RequestId,
        result: Result<(), String>,
    ) -> Result<(), CommandError>;

    /// Starts recording everything that this machine is told, for [`Machine::replay`]; a recording that runs is dropped.
    /// A recording can be replayed from where the machine stands now: begin before anything else is done with it, unless
    /// what a fresh machine has to go through first is at hand.
    ///
    /// `buffer` is how many bytes may wait for [`Machine::poll_tap`]. When a call finds no room, the recording ends before
    /// that call, with a last entry and [`Event::RecordingStopped`] that say so; it never grows. One that has no room for
    /// its first entry is empty. Bounding what is kept, and keeping it from other users, is the driver's business.
    ///
    /// `salt` must be random and forgotten: under it keys give way to pseudonyms, in commands as in Serf's messages.
    /// Everything else stands there as it is, the seed, tags and payloads included.
    fn start_recording(&mut self, now: Instant, buffer: usize, salt: [u8; 16]);

    /// Has the running recording end before it takes more than `total` bytes, counted from those that wait to be polled now,
    /// as if its buffer were full: call it right after [`Machine::start_recording`]. Without this it goes on for as long as
    /// it is polled. Nothing happens if no recording runs.
    fn limit_recording(&mut self, total: u64);

    /// Stops recording, with a last entry that has a replay check where it got to; what is in the buffer can still be
    /// polled. Nothing happens if no recording runs.
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

    /// What was recorded, in whole entries; how many bytes were written to `buf`. Each entry begins with its length and
    /// goes to [`Machine::replay`] as it is; [`crate::Recording::entries`] finds them again. An entry that does not fit
    /// `buf` stays; none is larger than [`crate::MAX_TAP_FRAME`].
    fn poll_tap(&mut self, buf: &mut [u8]) -> usize;

    /// Applies one recorded entry to a machine made with the same configuration, keys left out, and the seed and time
    /// that [`crate::Recording`] tells; gives what the call gave then. Entries come in their order, from the first.
    ///
    /// The machine seals under pseudonyms of the keys, so that datagrams come out as long as they were, though compressed
    /// key material may make a difference; apart from that and from nonces, all outputs and [`Machine::state_hash`] are
    /// the original's. Counters of datagrams that could not be opened are not: those are not recorded. A machine that
    /// replays is good for nothing else.
    ///
    /// # Errors
    /// What is wrong, and by it whether anything changed.
    fn replay(&mut self, entry: &[u8]) -> Result<Replayed<'_>, ReplayError>;

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

    /// Whom the merge in question would bring ([`Event::MergeRequested`]), itself included, as the peer describes them;
    /// nobody once the question is settled. Each is decoded when it is asked for: of tens of thousands that takes milliseconds in all.
    fn merge_members(&self, id: RequestId) -> impl Iterator<Item = MergeMember>;

    /// Members alive or suspect, this node included.
    fn num_alive(&self) -> usize;

    /// The counters.
    fn stats(&self) -> &Stats;

    /// The local health score: 0 is healthy (Lifeguard).
    fn health(&self) -> u32;

    /// Whether [`Machine::accept_stream`] would take a stream now. While it would not, leave connections where they wait
    /// to be accepted: a crowd that joins through one node at once is served in turn instead of being sent away.
    fn may_accept_stream(&self) -> bool;

    /// Which timer fires next, and when.
    fn next_wakeup(&self) -> Option<(Wakeup, Instant)>;

    /// The queues and tables that others can make grow: rumors by kind, outgoing packets, operations, relays, streams,
    /// members. Always the same ones, in the same order.
    fn depths(&self) -> [Depth; 12];

    /// Bytes of memory held for members, rumors, streams and events.
    fn memory(&self) -> usize;

    /// A hash over everything that decides future behaviour, to compare a replay with the original.
    fn state_hash(&self) -> u64;
}

/// What a recorded call handed out when it was made again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Replayed<'a> {
    /// Nothing: it was an input or a command, or the entry goes on in the next one.
    Nothing,
    /// `poll_transmit`: a datagram, sealed under a pseudonym if the original was sealed.
    Transmit {
        /// Where to, and its name.
        transmit: Transmit,
        /// Its bytes.
        datagram: &'a [u8],
    },
    /// `poll_stream`.
    Stream(StreamAction),
    /// `poll_stream_data`, sealed under a pseudonym if the original was sealed.
    StreamData {
        /// The stream.
        id: StreamId,
        /// What was written.
        bytes: &'a [u8],
        /// Nothing follows.
        fin: bool,
    },
    /// `poll_membership`.
    Membership(MembershipChange),
    /// `poll_completion`.
    Completion(Completion),
    /// `poll_event`.
    Event(Event<'a>),
    /// The recording ends here.
    Stopped {
        /// Because its buffer was full, not because it was asked to.
        full: bool,
    },
}

/// A recorded entry that cannot be applied. Whoever brought it is at fault; except for [`ReplayError::Diverged`] nothing
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// The entry is damaged, or the one before it is missing.
    Damaged,
    /// The recording has this format, which this version does not read.
    Format(u8),
    /// The entry is not the first of a recording, but should be.
    NotStarted,
    /// The recording belongs to a machine with another configuration or seed, or of another kind, or in another state.
    Mismatch,
    /// The machine went another way than the recorded one, and is of no use any more: the recording was not written by a
    /// version that promises the same behaviour.
    Diverged,
}

impl core::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Damaged => f.write_str("the entry is damaged, or the one before it is missing"),
            Self::Format(format) => write!(f, "recordings of format {format} cannot be read by this version"),
            Self::NotStarted => f.write_str("the entry is not the first one of a recording"),
            Self::Mismatch => f.write_str("the recording belongs to another configuration, seed or state"),
            Self::Diverged => f.write_str("the replay went another way than the recorded run"),
        }
    }
}

impl core::error::Error for ReplayError {}

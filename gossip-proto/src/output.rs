//! What the machine hands out: things for the driver to do, and the three outputs for the application.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::keys::KeyReport;
use crate::wire::keyring::Keyring;
use crate::{Instant, Name};

/// Where an input came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The peer's transport address. IPv4-mapped IPv6 addresses are treated as IPv4.
    pub addr: SocketAddr,
    /// Who the transport proved the peer to be; `None` on transports that do not authenticate.
    pub identity: Option<IdentityId>,
}

impl Source {
    /// A source without a proven identity.
    pub fn unauthenticated(addr: SocketAddr) -> Self {
        Self { addr, identity: None }
    }
}

/// An authenticated peer, numbered by the transport: equal numbers mean the same proven key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityId(pub u64);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// The number itself, for logs and maps; it has no meaning beyond being unique.
            pub fn as_u64(self) -> u64 {
                self.0
            }
        }
    )*};
}

ids! {
    /// One composed datagram, to report what became of it.
    TransmitId;
    /// One stream, inbound or outbound.
    StreamId;
    /// A command that ends later with a [`Completion`].
    OperationId;
    /// A question of the machine that the application answers.
    RequestId;
}

impl TransmitId {
    /// An id with this number, for who hands datagrams to a transport without a machine: tests of it, measurements.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl RequestId {
    /// The id with this number, which [`as_u64`](Self::as_u64) gave: for programs that have others answer. One that the
    /// machine does not know is refused.
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

/// A member of the roster. Stays valid until the member is forgotten; a key of a forgotten member names nobody, never
/// somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberKey {
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
}

/// A datagram that `poll_transmit` composed at the front of the caller's buffer.
#[must_use = "the datagram must be sent, or reported with handle_transmit_failed"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Names this datagram in `handle_transmit_failed` and `handle_transmit_delayed`.
    pub id: TransmitId,
    /// Where to send it.
    pub to: SocketAddr,
    /// The member it is meant for, if it is one: transports that address peers by identity need it.
    pub peer: Option<MemberKey>,
    /// What it is for: transports that cannot send all of what waits for a path give up the least of it first.
    pub kind: DatagramKind,
    /// Length in bytes.
    pub len: usize,
}

/// What a datagram is for, the most dispensable first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DatagramKind {
    /// Rumors, which other members pass on as well.
    Gossip,
    /// A message for that member alone: of the application, a query asked again, or the answer to one.
    Message,
    /// The answer to a ping.
    Answer,
    /// A ping, or a request to ping: whoever it does not reach is suspected.
    Ping,
}

/// Why a datagram could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitFailure {
    /// The network says the peer cannot be reached; a probe goes on by its indirect phase.
    Unreachable,
    /// The path carries at most this many bytes. That the next datagrams keep to it, `handle_path` must say as well.
    TooBig(usize),
    /// Our own side failed (no buffer, socket closed); says nothing about the peer.
    Local,
}

/// What the driver must do about a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAction {
    /// Connect, then report `handle_stream_opened` or `handle_stream_failed`.
    Open {
        /// Names the stream from now on.
        id: StreamId,
        /// Where to connect to.
        to: SocketAddr,
        /// The member behind the address, if known.
        peer: Option<MemberKey>,
        /// Give up then.
        deadline: Instant,
    },
    /// `poll_stream_data` has bytes.
    Writable {
        /// The stream.
        id: StreamId,
    },
    /// Close it now; its id is forgotten.
    Close {
        /// The stream.
        id: StreamId,
    },
}

/// What `poll_stream_data` wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes put at the front of the buffer; 0 means nothing to send now.
    pub len: usize,
    /// Nothing follows: a transport with half-close (QUIC) finishes its side; TCP never half-closes (spec 1.1).
    pub fin: bool,
}

/// Why a stream ended before its work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFailure {
    /// The connection could not be established.
    Unreachable,
    /// The peer reset or closed it.
    Reset,
    /// Its deadline passed.
    TimedOut,
    /// Our own side failed.
    Local,
}

/// What a node believes of a member, as applications see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// It answers, or nobody has said otherwise.
    Alive,
    /// A probe went unanswered; it still counts as a member while it may refute.
    Suspect,
    /// It has said that it will leave (Serf's leave intent) and still answers.
    Leaving,
    /// It left on its own account.
    Left,
    /// It was declared dead without having said good-bye.
    Failed,
}

impl Status {
    /// Serf's word for it (serf.md 4.1); a suspect counts as alive there.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Leaving => "leaving",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// First output: a member's state changed. Never lost; while nobody polls, changes of one member are folded together,
/// but the sequence of kinds seen for a member is always one that could have happened.
#[derive(Clone, Debug, PartialEq)]
pub struct MembershipChange {
    /// The member. [`crate::Machine::member`] gives its details until the change after [`ChangeKind::Reaped`].
    pub key: MemberKey,
    /// What happened.
    pub kind: ChangeKind,
    /// Why.
    pub cause: Cause,
}

/// What happened to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It is a member now (for the first time, or again).
    Joined,
    /// Its metadata or address changed.
    Updated,
    /// It is suspected of having failed.
    Suspected,
    /// A suspicion ended well.
    Refuted,
    /// It was declared dead.
    Failed,
    /// It left.
    Left,
    /// It was forgotten after having failed or left long enough ago.
    Reaped,
}

impl ChangeKind {
    /// Serf's name of the event, where it has one (serf.md 4.14).
    pub fn serf_name(self) -> Option<&'static str> {
        match self {
            Self::Joined => Some("member-join"),
            Self::Updated => Some("member-update"),
            Self::Failed => Some("member-failed"),
            Self::Left => Some("member-leave"),
            Self::Reaped => Some("member-reap"),
            Self::Suspected | Self::Refuted => None,
        }
    }
}

/// The lengths of the three broadcast queues (serf.md 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// Of join and leave intents.
    pub intents: usize,
    /// Of user events.
    pub events: usize,
    /// Of queries.
    pub queries: usize,
}

/// How long a queue or a table of a machine is, and how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Which one.
    pub what: &'static str,
    /// Entries now.
    pub len: usize,
    /// Most entries, from [`crate::Config`].
    pub cap: usize,
}

/// The three Lamport clocks (serf.md 2.1); each shows the next time to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Of intents.
    pub member: u64,
    /// Of user events.
    pub event: u64,
    /// Of queries.
    pub query: u64,
}

/// Why a member's state changed: what an operator asks at 3 a.m.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The local node started, left or changed itself.
    Local,
    /// An alive message said so.
    Alive {
        /// The incarnation it carried.
        incarnation: u32,
    },
    /// Learnt in a push/pull exchange.
    Exchange {
        /// With whom.
        with: SocketAddr,
    },
    /// Our own probe went unanswered.
    Probe {
        /// How long the node waited in all.
        waited: Duration,
        /// Helpers that were asked to probe as well.
        helpers: u8,
        /// Helpers that answered that they got no answer either.
        nacks: u8,
        /// Whether a stream ping was tried.
        stream: bool,
    },
    /// Another node suspects it.
    Accused {
        /// Who said so.
        by: Name,
        /// The incarnation that is suspected.
        incarnation: u32,
    },
    /// The suspicion ran out here without a refutation.
    Expired {
        /// Who suspected it; the first is the one that began.
        accusers: SmallVec<[Name; 4]>,
        /// How long it was suspected.
        after: Duration,
    },
    /// Another node declared it dead.
    Declared {
        /// Who said so.
        by: Name,
    },
    /// It said itself that it leaves.
    Farewell,
    /// An operator forced it out (Serf's force-leave).
    Forced,
    /// It had failed or left long enough ago.
    Aged,
}

/// Second output: what must not be missed. Never lost; bounded by the operations and questions that are open.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Completion {
    /// An operation ended.
    Ended {
        /// The operation, as the command returned it.
        operation: OperationId,
        /// How it ended.
        outcome: Outcome,
    },
    /// Another node has this node's name, and the majority knows the name as the other's (serf.md 5.8). Shut down, without
    /// a leave: that would make the other one leave.
    NameLost {
        /// The other node's address.
        other: SocketAddr,
        /// How many answered.
        responses: usize,
        /// How many of them know the name as ours.
        matching: usize,
    },
    /// The keyring changed, and [`crate::Machine::persist_keyring`] is on: write it to its file, safely, and answer with
    /// [`crate::Machine::keyring_stored`]. No further one comes before. Keys are secret.
    KeyringChanged {
        /// Names the change in the answer.
        id: RequestId,
        /// All keys, the primary first.
        keyring: Keyring,
    },
}

impl Completion {
    /// The operation that ended, and how; `None` for anything else.
    pub fn ended(self) -> Option<(OperationId, Outcome)> {
        match self {
            Self::Ended { operation, outcome } => Some((operation, outcome)),
            Self::NameLost { .. } | Self::KeyringChanged { .. } => None,
        }
    }

    /// How an operation ended; `None` for anything else.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Ended { outcome, .. } => Some(outcome),
            Self::NameLost { .. } | Self::KeyringChanged { .. } => None,
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// `join`: how many addresses were contacted, and why the others were not. `contacted == 0` is a failure.
    Joined {
        /// Addresses whose push/pull succeeded.
        contacted: usize,
        /// The others.
        failed: alloc::vec::Vec<(SocketAddr, JoinFailure)>,
    },
    /// `leave`: the node has left.
    Left {
        /// Whether the farewell was gossiped in full before the time ran out.
        announced: bool,
    },
    /// `set_tags`, `set_metadata`, `user_event`, `broadcast`, `force_leave`: the news was handed to enough peers
    /// (or nobody else is there), or the broadcast timeout passed.
    Announced {
        /// Whether it was gossiped in full before the time ran out.
        in_time: bool,
    },
    /// `ping`: the round trip time, or `None` without an answer in time.
    Ping {
        /// Time between hand-out of the ping and the acknowledgement.
        rtt: Option<Duration>,
    },
    /// `query`: the time for answers is over.
    Query {
        /// How many members acknowledged it, this node included.
        acks: usize,
        /// How many answered.
        responses: usize,
    },
    /// `keys`: all have answered, or the time is over.
    Keys(KeyReport),
    /// `send_reliable`: written, or why not.
    Sent(Result<(), StreamFailure>),
}

/// Why an address could not be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinFailure {
    /// The stream failed.
    Stream(StreamFailure),
    /// The peer answered with an error.
    Remote(alloc::string::String),
    /// The peer's answer made no sense.
    Protocol,
    /// Versions do not fit together, or the application or an admission rule refused the merge.
    Refused,
}

impl fmt::Display for JoinFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(StreamFailure::Unreachable) => f.write_str("connection refused or unreachable"),
            Self::Stream(StreamFailure::Reset) => {
                f.write_str("connection closed by the peer (wrong label, or not a gossip node)")
            }
            Self::Stream(StreamFailure::TimedOut) => f.write_str("timed out"),
            Self::Stream(StreamFailure::Local) => f.write_str("local failure"),
            Self::Remote(text) => write!(f, "remote error: {text}"),
            Self::Protocol => f.write_str("the answer is not a push/pull reply that this node can read"),
            Self::Refused => f.write_str("merge refused: versions or admission rules do not fit"),
        }
    }
}

/// Third output: news for the application, in the order of arrival. Kept in a bounded ring; a slow reader loses the
/// oldest and is told so by [`Event::Lagged`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A user event (Serf).
    UserEvent {
        /// Lamport time of the event clock.
        ltime: u64,
        /// Its name.
        name: &'a [u8],
        /// Its payload.
        payload: &'a [u8],
        /// Whether a receiver may fold it with later ones of the same name.
        coalesce: bool,
    },
    /// A query (Serf); answer it with [`crate::Node::respond`], if there is something to say.
    Query {
        /// Names it in the answer.
        id: RequestId,
        /// Lamport time of the query clock.
        ltime: u64,
        /// What is asked.
        name: &'a [u8],
        /// Its payload.
        payload: &'a [u8],
        /// The member that asks; empty if it runs an old version and is not known.
        from: &'a [u8],
        /// Until when an answer is heard.
        deadline: Instant,
    },
    /// A query of this node reached a member.
    QueryAck {
        /// The query.
        operation: OperationId,
        /// The member.
        from: &'a [u8],
    },
    /// A query of this node was answered.
    QueryResponse {
        /// The query.
        operation: OperationId,
        /// Who answers.
        from: &'a [u8],
        /// The answer.
        payload: &'a [u8],
    },
    /// A user message (memberlist), best-effort or reliable. On a [`crate::Node`] these carry Serf's own messages and
    /// are not seen.
    Message {
        /// Who sent it.
        from: Source,
        /// Whether it came by stream.
        reliable: bool,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// The user state of a push/pull (memberlist users only).
    UserState {
        /// With whom the exchange was.
        from: Source,
        /// Whether it was a join.
        join: bool,
        /// The remote's bytes.
        state: &'a [u8],
    },
    /// Another node wants to merge its cluster with ours; answer with `accept` or `refuse` before the deadline.
    MergeRequested {
        /// Names the question.
        id: RequestId,
        /// Who asks.
        from: Source,
        /// How many node states it brought; [`crate::Machine::merge_members`] shows them.
        members: usize,
        /// When the configured default answer is taken.
        deadline: Instant,
    },
    /// Two nodes use one name.
    Conflict {
        /// The name.
        name: &'a [u8],
        /// The address we know.
        known: SocketAddr,
        /// The other one.
        claimed: SocketAddr,
    },
    /// This process did not run for a while: running probes and suspicions were given that time back.
    Stalled {
        /// How late the timer call came.
        late: Duration,
    },
    /// A member could not be admitted because `max_members` is reached. Told once, and once more when there was room meanwhile.
    RosterFull,
    /// The recording ended because its buffer was full.
    RecordingStopped,
    /// This many events were lost before this one.
    Lagged {
        /// How many.
        lost: u64,
    },
}

/// Which timer fires next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wakeup {
    /// Work that was sliced goes on.
    Backlog,
    /// The next probe.
    Probe,
    /// A phase of the running probe ends.
    ProbePhase,
    /// A gossip tick.
    Gossip,
    /// The next push/pull.
    Exchange,
    /// A suspicion, relay, stream, operation or reaping deadline.
    Deadline,
    /// A service's own timer.
    Service,
}

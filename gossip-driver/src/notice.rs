//! What applications hear from a running node, as values that they own.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use gossip_proto::{Cause, ChangeKind, Event, Instant, Member, Name, RequestId, Source, Status};

/// A member as the node saw it when this was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberInfo {
    /// Its name.
    pub name: Name,
    /// Its address for datagrams and streams.
    pub addr: SocketAddr,
    /// Its metadata; on a [`gossip_proto::Node`] the encoded tags.
    pub metadata: Bytes,
    /// Its tags in the order they travel; empty at the membership level.
    pub tags: Vec<(Bytes, Bytes)>,
    /// What the node believes of it.
    pub status: Status,
    /// The highest incarnation accepted.
    pub incarnation: u32,
    /// Versions pmin, pmax, pcur, dmin, dmax, dcur (spec 3.1).
    pub versions: [u8; 6],
    /// Whether it is the node itself.
    pub local: bool,
}

impl MemberInfo {
    /// The value of a tag.
    pub fn tag(&self, name: impl AsRef<[u8]>) -> Option<&Bytes> {
        self.tags.iter().find(|(key, _)| key == name.as_ref()).map(|(_, value)| value)
    }
}

impl From<&Member<'_>> for MemberInfo {
    fn from(member: &Member<'_>) -> Self {
        // Most members have one or two, and there are many members: no room in reserve.
        let mut tags = Vec::with_capacity(member.tags().count());
        tags.extend(member.tags().map(|(key, value)| (owned(&key), owned(&value))));
        Self {
            name: member.name.clone(),
            addr: member.addr,
            metadata: owned(member.metadata),
            tags,
            status: member.status,
            incarnation: member.incarnation,
            versions: member.versions,
            local: member.local,
        }
    }
}

/// One piece of news for a subscriber.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// A member changed. Never lost: what a slow subscriber did not hear in time is folded together, per member.
    Change {
        /// The member, as it was after the change.
        member: MemberInfo,
        /// What happened.
        kind: ChangeKind,
        /// Why.
        cause: Cause,
    },
    /// A user event (Serf).
    UserEvent {
        /// Lamport time of the event clock.
        ltime: u64,
        /// Its name.
        name: Bytes,
        /// Its payload.
        payload: Bytes,
        /// Whether it may be folded with later ones of the same name.
        coalesce: bool,
    },
    /// A query (Serf): answer it with [`crate::Cluster::respond`], if there is something to say.
    Query {
        /// Names it in the answer.
        id: RequestId,
        /// Lamport time of the query clock.
        ltime: u64,
        /// What is asked.
        name: Bytes,
        /// Its payload.
        payload: Bytes,
        /// The member that asks; empty if it runs an old version and is not known.
        from: Name,
        /// Until when an answer is heard.
        deadline: Instant,
    },
    /// A user message (memberlist).
    Message {
        /// Who sent it.
        from: Source,
        /// Whether it came by stream.
        reliable: bool,
        /// Its bytes.
        payload: Bytes,
    },
    /// The user state of a push/pull (memberlist).
    UserState {
        /// With whom the exchange was.
        from: Source,
        /// Whether it was a join.
        join: bool,
        /// The remote's bytes.
        state: Bytes,
    },
    /// Another node wants to merge its cluster with ours: answer with [`crate::Cluster::accept`] or
    /// [`crate::Cluster::refuse`].
    MergeRequested {
        /// Names the question.
        id: RequestId,
        /// Who asks.
        from: Source,
        /// How many members it brings.
        members: usize,
        /// When the configured default answer is taken.
        deadline: Instant,
    },
    /// Two nodes use one name.
    Conflict {
        /// The name.
        name: Name,
        /// The address we know.
        known: SocketAddr,
        /// The other one.
        claimed: SocketAddr,
    },
    /// This process did not run for a while.
    Stalled {
        /// How long.
        late: Duration,
    },
    /// A member could not be admitted because the roster is full.
    RosterFull,
    /// The recording ended because it has reached its limit, or because its disk did not keep up; the file plays up to there.
    RecordingStopped,
    /// The snapshot file could not be written: a restart would go on from an older state. It is tried again every 30 seconds, and
    /// told each time.
    SnapshotFailed {
        /// What the operating system says.
        error: String,
    },
    /// This many events were lost here because they were not taken in time. Changes of members never are.
    Lagged {
        /// How many.
        lost: u64,
    },
}

impl Notice {
    /// The event as a value of its own; `None` for one this version of the driver does not know.
    pub(crate) fn from_event(event: &Event<'_>) -> Option<Self> {
        Some(match *event {
            Event::UserEvent { ltime, name, payload, coalesce } => {
                Self::UserEvent { ltime, name: owned(name), payload: owned(payload), coalesce }
            }
            Event::Query { id, ltime, name, payload, from, deadline } => Self::Query {
                id,
                ltime,
                name: owned(name),
                payload: owned(payload),
                from: Name::new(from),
                deadline,
            },
            Event::Message { from, reliable, payload } => {
                Self::Message { from, reliable, payload: owned(payload) }
            }
            Event::UserState { from, join, state } => Self::UserState { from, join, state: owned(state) },
            Event::MergeRequested { id, from, members, deadline } => {
                Self::MergeRequested { id, from, members, deadline }
            }
            Event::Conflict { name, known, claimed } => {
                Self::Conflict { name: Name::new(name), known, claimed }
            }
            Event::Stalled { late } => Self::Stalled { late },
            Event::RosterFull => Self::RosterFull,
            Event::RecordingStopped => Self::RecordingStopped,
            Event::Lagged { lost } => Self::Lagged { lost },
            _ => return None,
        })
    }

    /// Bytes it holds beside itself.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::UserEvent { name, payload, .. } | Self::Query { name, payload, .. } => {
                    name.len() + payload.len()
                }
                Self::Message { payload, .. } => payload.len(),
                Self::UserState { state, .. } => state.len(),
                Self::SnapshotFailed { error } => error.len(),
                _ => 0,
            }
    }
}

fn owned(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

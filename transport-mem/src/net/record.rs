//! What a node said, in owned forms, with the time it said it.

use core::net::SocketAddr;
use core::time::Duration;

use gossip_proto::{
    Cause, ChangeKind, Completion, Event, Instant, Machine, MemberKey, MembershipChange, Name, OperationId,
    RequestId, Status,
};

/// The three outputs of one node since it was added; a restart does not clear them.
#[derive(Debug, Default)]
pub struct Log {
    /// Membership changes.
    pub changes: Vec<Change>,
    /// Operations that ended, and when.
    pub completions: Vec<(Instant, Completion)>,
    /// Events and messages, and when they were handed out.
    pub events: Vec<(Instant, News)>,
}

/// A membership change, with the member as the node saw it then.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When it was handed out.
    pub at: Instant,
    /// The member.
    pub key: MemberKey,
    /// Its name; empty if the machine had forgotten the member already.
    pub name: Name,
    /// Its address then.
    pub addr: Option<SocketAddr>,
    /// What the node believed of it then.
    pub status: Option<Status>,
    /// Its incarnation then.
    pub incarnation: u32,
    /// What happened.
    pub kind: ChangeKind,
    /// Why.
    pub cause: Cause,
}

impl Change {
    pub(crate) fn new<M: Machine>(at: Instant, change: MembershipChange, machine: &M) -> Self {
        let member = machine.member(change.key);
        Self {
            at,
            key: change.key,
            name: member.map(|member| member.name.clone()).unwrap_or_default(),
            addr: member.map(|member| member.addr),
            status: member.map(|member| member.status),
            incarnation: member.map_or(0, |member| member.incarnation),
            kind: change.kind,
            cause: change.cause,
        }
    }
}

/// An [`Event`] with its bytes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // each says the same as its counterpart
pub enum News {
    UserEvent {
        ltime: u64,
        name: Vec<u8>,
        payload: Vec<u8>,
        coalesce: bool,
    },
    Query {
        id: RequestId,
        ltime: u64,
        name: Vec<u8>,
        payload: Vec<u8>,
        from: Name,
        deadline: Instant,
    },
    QueryAck {
        operation: OperationId,
        from: Name,
    },
    QueryResponse {
        operation: OperationId,
        from: Name,
        payload: Vec<u8>,
    },
    Message {
        from: SocketAddr,
        reliable: bool,
        payload: Vec<u8>,
    },
    UserState {
        from: SocketAddr,
        join: bool,
        state: Vec<u8>,
    },
    MergeRequested {
        id: RequestId,
        from: SocketAddr,
        members: usize,
        deadline: Instant,
    },
    Conflict {
        name: Name,
        known: SocketAddr,
        claimed: SocketAddr,
    },
    Stalled {
        late: Duration,
    },
    RosterFull,
    Lagged {
        lost: u64,
    },
    /// An event that this version does not know, as text.
    Other(String),
}

impl From<Event<'_>> for News {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::UserEvent { ltime, name, payload, coalesce } => {
                Self::UserEvent { ltime, name: name.to_vec(), payload: payload.to_vec(), coalesce }
            }
            Event::Query { id, ltime, name, payload, from, deadline } => Self::Query {
                id,
                ltime,
                name: name.to_vec(),
                payload: payload.to_vec(),
                from: from.into(),
                deadline,
            },
            Event::QueryAck { operation, from } => Self::QueryAck { operation, from: from.into() },
            Event::QueryResponse { operation, from, payload } => {
                Self::QueryResponse { operation, from: from.into(), payload: payload.to_vec() }
            }
            Event::Message { from, reliable, payload } => {
                Self::Message { from: from.addr, reliable, payload: payload.to_vec() }
            }
            Event::UserState { from, join, state } => {
                Self::UserState { from: from.addr, join, state: state.to_vec() }
            }
            Event::MergeRequested { id, from, members, deadline } => {
                Self::MergeRequested { id, from: from.addr, members, deadline }
            }
            Event::Conflict { name, known, claimed } => Self::Conflict { name: name.into(), known, claimed },
            Event::Stalled { late } => Self::Stalled { late },
            Event::RosterFull => Self::RosterFull,
            Event::Lagged { lost } => Self::Lagged { lost },
            other => Self::Other(format!("{other:?}")),
        }
    }
}

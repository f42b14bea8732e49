//! Errors of the handle.

use core::fmt;
use core::net::SocketAddr;

use gossip_proto::{CommandError, JoinFailure, Name, StreamFailure};

use crate::AddressError;

/// Why a request to a running node failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The node was shut down, or its transport failed; [`crate::Cluster::closed`] says which.
    Closed,
    /// The node refused the command; nothing was done.
    Command(CommandError),
    /// No member has that name.
    UnknownMember(Name),
    /// None of the addresses could be joined.
    Join(Vec<JoinError>),
    /// The message could not be written to the member.
    Send(StreamFailure),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the node is shut down"),
            Self::Command(error) => error.fmt(f),
            Self::UnknownMember(name) => write!(f, "no member is named {name:?}"),
            Self::Join(errors) if errors.is_empty() => f.write_str("no address to join was given"),
            Self::Join(errors) => {
                f.write_str("joined none of the addresses: ")?;
                for (index, error) in errors.iter().enumerate() {
                    if index > 0 {
                        f.write_str("; ")?;
                    }
                    error.fmt(f)?;
                }
                Ok(())
            }
            Self::Send(why) => f.write_str(match why {
                StreamFailure::Unreachable => "the member could not be connected",
                StreamFailure::Reset => "the member closed the connection",
                StreamFailure::TimedOut => "the member took too long to accept the message",
                StreamFailure::Local => "the message could not be sent from here",
            }),
        }
    }
}

impl core::error::Error for Error {}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

/// One address that could not be joined.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinError {
    /// What the user wrote.
    pub target: String,
    /// What went wrong.
    pub why: JoinErrorKind,
}

/// Why an address could not be joined.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum JoinErrorKind {
    /// It cannot be read.
    Address(AddressError),
    /// The host name could not be looked up.
    Resolve(String),
    /// The exchange with this address failed.
    Exchange {
        /// The address.
        addr: SocketAddr,
        /// Why.
        why: JoinFailure,
    },
    /// The transport did not get through to this address: the two nodes do not accept each other.
    Refused {
        /// The address.
        addr: SocketAddr,
        /// Why, from this node's point of view.
        why: String,
    },
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            JoinErrorKind::Address(error) => error.fmt(f),
            JoinErrorKind::Resolve(text) => {
                write!(f, "{}: {text}; check the name, or give an address", self.target)
            }
            JoinErrorKind::Exchange { addr, why } if self.target == addr.to_string() => {
                write!(f, "{addr}: {why}")
            }
            JoinErrorKind::Refused { addr, why } if self.target == addr.to_string() => {
                write!(f, "{addr}: {why}")
            }
            JoinErrorKind::Refused { addr, why } => write!(f, "{} ({addr}): {why}", self.target),
            JoinErrorKind::Exchange { addr, why } => write!(f, "{} ({addr}): {why}", self.target),
        }
    }
}

impl core::error::Error for JoinError {}

/// How joining went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinReport {
    /// Addresses that were joined; at least one.
    pub contacted: usize,
    /// The others, and why.
    pub failed: Vec<JoinError>,
}

/// Why the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// [`crate::Cluster::shutdown`] was called, or all handles were dropped.
    Shutdown,
    /// Another node has this node's name, by the word of the majority (Serf).
    NameLost {
        /// The other node's address.
        other: SocketAddr,
        /// How many nodes answered.
        responses: usize,
        /// How many of them know the name as this node's.
        matching: usize,
    },
    /// The transport is of no use any more.
    Transport(String),
    /// The loop's task was cancelled, with its runtime, or ended by a panic.
    Cancelled,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shut down"),
            Self::NameLost { other, responses, matching } => {
                write!(
                    f,
                    "minority in name conflict resolution [{matching} / {responses}]: the node at {other} has the name"
                )
            }
            Self::Transport(why) => write!(f, "the transport failed: {why}"),
            Self::Cancelled => f.write_str("the task was cancelled"),
        }
    }
}

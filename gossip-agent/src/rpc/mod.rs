//! Serf's RPC protocol (serf.md 9.4): objects in MessagePack over TCP, in plain text.

mod frame;
mod message;
mod value;

pub(crate) use frame::{Objects, ReadError};
pub(crate) use message::*;
pub(crate) use transport_tokio::gossip_proto::wire::msgpack::{DecodeError, Reader};
pub(crate) use value::{Blob, Map, Text, Value};

/// The one error after which no body comes, whatever was asked.
pub(crate) const AUTHENTICATION_REQUIRED: &str = "Authentication required";

#[cfg(test)]
#[path = "../../../gossip-proto/tests/support/tally.rs"]
pub(crate) mod tally;

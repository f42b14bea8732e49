//! Drives a [`gossip_proto`] machine over any [`Transport`] and any async [`Runtime`].
//!
//! Applications use an adapter, such as `transport-tokio`, that brings both and starts a node in one call; what they
//! hold then is a [`Cluster`]. Who writes an adapter implements the two traits and calls [`start`], or, for one that binds
//! sockets, has the feature `sockets` prepare the node: keys, snapshot and recording are dealt with there.
//!
//! One task owns the machine and the transport. Nothing that happens elsewhere can hold it up: commands come through a
//! bounded queue, subscribers have bounded mailboxes, streams take turns, names are looked up by the caller.
#![forbid(unsafe_code)]

mod address;
mod answers;
mod cluster;
mod coalesce;
#[cfg(feature = "conformance")]
pub mod conformance;
mod conn;
mod driver;
mod ending;
mod error;
mod file;
#[cfg(feature = "sockets")]
mod interfaces;
mod keyring;
mod lines;
mod log;
mod notice;
mod options;
#[cfg(feature = "sockets")]
mod prepared;
mod recording;
mod refusals;
mod resolve;
mod runtime;
mod seeds;
mod snapshot;
#[cfg(feature = "sockets")]
mod sockets;
mod state;
mod streams;
mod subscribe;
mod transport;
mod wake;

pub use address::{AddressError, DEFAULT_PORT, Host, Target};
pub use answers::{Answer, Answers};
pub use cluster::{Cluster, start, start_with_snapshot};
pub use coalesce::{Batch, Coalesced, Coalescer, Window};
pub use error::{EndReason, Error, JoinError, JoinErrorKind, JoinReport};
pub use file::replace_file;
pub use gossip_proto;
#[cfg(feature = "sockets")]
pub use interfaces::private_address;
pub use keyring::{KeyError, parse_key, parse_keyring, read_keyring};
pub use lines::SnapshotLines;
pub use notice::{MemberInfo, Notice};
pub use options::Options;
#[cfg(feature = "sockets")]
pub use prepared::{Prepared, StartError, entropy};
pub use recording::RecordingOptions;
pub use runtime::{Runtime, Sleep, Timer};
pub use snapshot::{SnapshotFile, SnapshotOptions};
#[cfg(feature = "sockets")]
pub use sockets::{AdvertiseError, BindError, advertised, halve_until_accepted};
pub use subscribe::Subscription;
pub use transport::{ReceiveBatch, SendBatch, Stream, Transport, TransportEvent};

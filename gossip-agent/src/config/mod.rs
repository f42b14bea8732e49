//! What an agent is told to do: defaults, then configuration files in their order, then the command line (serf.md 9.2).

mod address;
mod check;
mod file;
mod interface;
mod keyring;
mod merge;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;
mod tls;
mod unsupported;

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use transport_tokio::SnapshotOptions;
use transport_tokio::gossip_proto::Bytes;
use transport_tokio::gossip_proto::wire::keyring::Keyring;
use transport_tokio::gossip_proto::wire::layers::Compression;

pub(crate) use check::{RPC_PORT, check_tags};
pub(crate) use file::read as read_files;
pub(crate) use keyring::parse_key;
pub(crate) use merge::Layer;
pub(crate) use tls::TlsSettings;
pub(crate) use transport_tokio::gossip_proto::parse_duration;
pub(crate) use unsupported::refuse_flag;

use crate::handlers::Spec;
use crate::log::Level;
use crate::mdns::Discovery;
use crate::tags::TagMap;

/// A complete, checked configuration: what can be known to be wrong before a socket is opened has been refused.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) node_name: String,
    pub(crate) bind: SocketAddr,
    pub(crate) advertise: Option<SocketAddr>,
    /// What the node starts with: the configured tags, or those of the tags file.
    pub(crate) tags: TagMap,
    pub(crate) configured_tags: TagMap,
    pub(crate) tags_file: Option<PathBuf>,
    pub(crate) keyring: Option<Keyring>,
    /// Where it is kept, if it came from a file.
    pub(crate) keyring_file: Option<PathBuf>,
    pub(crate) transport: Transport,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) snapshot: Option<SnapshotOptions>,
    pub(crate) label: Bytes,
    pub(crate) profile: Profile,
    pub(crate) protocol: u8,
    pub(crate) compression: Compression,
    pub(crate) log_level: Level,
    /// Where RPC clients are served; `None` if they are not.
    pub(crate) rpc_addr: Option<SocketAddr>,
    /// What they must know.
    pub(crate) rpc_auth: Option<String>,
    pub(crate) metrics_addr: Option<SocketAddr>,
    pub(crate) discovery: Option<Discovery>,
    pub(crate) start_join: Vec<String>,
    pub(crate) retry_join: Vec<String>,
    pub(crate) retry_interval: Duration,
    /// Failed attempts after which the agent gives up; 0 is never.
    pub(crate) retry_max: u32,
    pub(crate) replay_on_join: bool,
    pub(crate) leave_on_terminate: bool,
    pub(crate) skip_leave_on_interrupt: bool,
    pub(crate) disable_coordinates: bool,
    pub(crate) disable_name_resolution: bool,
    pub(crate) validate_node_names: bool,
    pub(crate) user_event_size_limit: Option<usize>,
    pub(crate) query_size_limit: Option<usize>,
    pub(crate) query_response_size_limit: Option<usize>,
    pub(crate) broadcast_timeout: Option<Duration>,
    pub(crate) reconnect_interval: Option<Duration>,
    pub(crate) reconnect_timeout: Option<Duration>,
    pub(crate) tombstone_timeout: Option<Duration>,
    pub(crate) event_handlers: Vec<Spec>,
    /// How long a script of an event handler may run.
    pub(crate) event_handler_timeout: Duration,
    /// What the user should hear once logging works.
    pub(crate) warnings: Vec<String>,
}

/// What carries the gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    /// Everything in one encrypted and authenticated connection for each pair of nodes, on one UDP port.
    Quic,
}

/// Which preset of timers (serf.md 10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Lan,
    Wan,
    Local,
}

impl Profile {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::Local => "local",
        }
    }
}

/// A configuration that cannot be run. The text names the value and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(String);

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Says in which file or option it is.
    pub(crate) fn within(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

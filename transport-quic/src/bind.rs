//! Where a node listens, and where it says that it can be reached.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use std::io;
use std::net::UdpSocket;
use std::path::PathBuf;

use gossip_driver::gossip_proto::{ConfigError, Seed};
use gossip_driver::{AdvertiseError, BindError, DEFAULT_PORT, Options, halve_until_accepted};
use gossip_tls::Credentials;
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::Limits;

/// Where a node listens, who it is, and what else its start needs.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The address, for UDP. Port 0 takes a free one. `0.0.0.0` listens on all IPv4 addresses, `[::]` on all IPv6 and IPv4
    /// addresses. Default `0.0.0.0:7946`.
    pub addr: SocketAddr,
    /// The address that others are told to use; port 0 stands for the port that was bound. Without it, it is the bound
    /// address, and for a wildcard a private address of this machine (spec 4.2).
    pub advertise: Option<SocketAddr>,
    /// Makes the node's random choices repeatable. Without it they come from the operating system, as they should.
    pub seed: Option<Seed>,
    /// The size of the socket's buffers in bytes; half of it, and so on, where the system does not grant it.
    pub socket_buffer: usize,
    /// Limits of the driver.
    pub options: Options,
    /// Who this node is and whom it lets in. Keep a clone to have files read again: [`Credentials::reload`].
    pub credentials: Credentials,
    /// Limits of the transport.
    pub limits: Limits,
}

impl Bind {
    /// The default address and limits.
    pub fn new(credentials: Credentials) -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)), credentials)
    }

    /// That address, and the default limits.
    pub fn at(addr: SocketAddr, credentials: Credentials) -> Self {
        Self {
            addr,
            advertise: None,
            seed: None,
            socket_buffer: 2 << 20,
            options: Options::default(),
            credentials,
            limits: Limits::default(),
        }
    }

    pub(crate) fn socket(&self) -> Result<UdpSocket, StartError> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(self.addr), Type::DGRAM, Some(Protocol::UDP))?;
            if let SocketAddr::V6(addr) = self.addr {
                // The system's default differs from one to the next.
                socket.set_only_v6(!addr.ip().is_unspecified())?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&self.addr.into())?;
            halve_until_accepted(self.socket_buffer, |size| socket.set_recv_buffer_size(size));
            halve_until_accepted(self.socket_buffer, |size| socket.set_send_buffer_size(size));
            Ok(socket.into())
        };
        bind().map_err(|error| StartError::Bind(BindError { protocol: "UDP", addr: self.addr, error }))
    }
}

/// Why a node did not start. Nothing of it remains.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be bound.
    Bind(BindError),
    /// There is no address to tell others.
    Advertise(AdvertiseError),
    /// The endpoint could not be made.
    Endpoint(io::Error),
    /// A limit makes no sense; what would.
    Limits(&'static str),
    /// The configuration cannot be run.
    Config(ConfigError),
    /// The snapshot file cannot be opened.
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// [`Options::snapshot`] is set for a memberlist node, which has none: `start_node` starts one that has.
    SnapshotOfMembership,
    /// The keyring file cannot be read, or holds something else.
    Keyring {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file for the recording cannot be made.
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The operating system gave no random numbers.
    Entropy(getrandom::Error),
    /// It was called outside of a tokio runtime; with the feature `runtime-async-std` any place will do. A tokio runtime must
    /// have I/O and timers (`enable_all`), which cannot be asked of it: without them tokio panics.
    NoRuntime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Advertise(error) => error.fmt(f),
            Self::Endpoint(error) => write!(f, "cannot set up QUIC: {error}"),
            Self::Limits(wrong) => write!(f, "limits: {wrong}"),
            Self::Config(error) => error.fmt(f),
            Self::Snapshot { path, error } => {
                write!(f, "cannot open the snapshot file {}: {error}", path.display())
            }
            Self::SnapshotOfMembership => f.write_str(
                "only a Serf node keeps a snapshot; leave the option away, or start with start_node",
            ),
            Self::Keyring { path, error } => {
                write!(f, "cannot use the keyring file {}: {error}", path.display())
            }
            Self::Recording { path, error } => {
                write!(f, "cannot record to {}: {error}", path.display())
            }
            Self::Entropy(error) => write!(f, "the operating system gives no random numbers: {error}"),
            Self::NoRuntime => f.write_str("not called within a tokio runtime; call it from a task of one"),
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bind(error) => error.source(),
            Self::Advertise(error) => error.source(),
            Self::Endpoint(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::Entropy(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Random bytes from the operating system.
pub(crate) fn entropy() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(StartError::Entropy)?;
    Ok(bytes)
}

//! Where a node listens, and where it says that it can be reached.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::path::PathBuf;

use gossip_driver::gossip_proto::{ConfigError, Seed};
use gossip_driver::{DEFAULT_PORT, Options};
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
        bind().map_err(|error| StartError::Bind { addr: self.addr, error })
    }

    /// The address to advertise, given the one that was bound.
    pub(crate) fn advertised(&self, bound: SocketAddr) -> Result<SocketAddr, StartError> {
        match self.advertise {
            Some(addr) if addr.ip().is_unspecified() => Err(StartError::UnspecifiedAdvertise { addr }),
            Some(addr) if addr.port() == 0 => Ok(SocketAddr::new(addr.ip(), bound.port())),
            Some(addr) => Ok(addr),
            None if !bound.ip().is_unspecified() => Ok(bound),
            None => {
                let ip = gossip_driver::private_address(bound.is_ipv6()).map_err(StartError::Interfaces)?;
                let ip = ip.ok_or(StartError::NoPrivateAddress { bound })?;
                Ok(SocketAddr::new(ip, bound.port()))
            }
        }
    }
}

fn halve_until_accepted(size: usize, mut set: impl FnMut(usize) -> io::Result<()>) {
    let mut size = size;
    while size >= 4096 && set(size).is_err() {
        size /= 2;
    }
}

/// Why a node did not start. Nothing of it remains.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be bound.
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// All addresses of the machine are listened on, and none of them is private: which one to tell others?
    NoPrivateAddress {
        /// The address that was bound.
        bound: SocketAddr,
    },
    /// The address to advertise is a wildcard.
    UnspecifiedAdvertise {
        /// The address.
        addr: SocketAddr,
    },
    /// The machine's network interfaces could not be listed.
    Interfaces(io::Error),
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
    /// The file for the recording cannot be made.
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The operating system gave no random numbers.
    Entropy(getrandom::Error),
    /// It was called outside of a runtime: within tokio, or with the feature `runtime-async-std` anywhere.
    NoRuntime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { addr, error } => {
                write!(f, "cannot bind UDP {addr}: ")?;
                match error.kind() {
                    ErrorKind::AddrInUse => {
                        f.write_str("the address is in use; stop the other program or bind another port")
                    }
                    ErrorKind::AddrNotAvailable => f.write_str(
                        "this machine has no such address; bind one of its own, or 0.0.0.0 and advertise another",
                    ),
                    ErrorKind::PermissionDenied => {
                        f.write_str("permission denied; bind a port from 1024 up, or run with the right to bind it")
                    }
                    _ => error.fmt(f),
                }
            }
            Self::NoPrivateAddress { bound } => write!(
                f,
                "no private IP address found to advertise for the wildcard {bound}, and explicit IP not provided; \
                 give the address that other nodes reach this one at"
            ),
            Self::UnspecifiedAdvertise { addr } => {
                write!(
                    f,
                    "cannot advertise {addr}: nobody can reach a wildcard; give an address of this machine"
                )
            }
            Self::Interfaces(error) => {
                write!(f, "cannot list the network interfaces: {error}; give the address to advertise")
            }
            Self::Endpoint(error) => write!(f, "cannot set up QUIC: {error}"),
            Self::Limits(wrong) => write!(f, "limits: {wrong}"),
            Self::Config(error) => error.fmt(f),
            Self::Snapshot { path, error } => {
                write!(f, "cannot open the snapshot file {}: {error}", path.display())
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
            Self::Bind { error, .. } | Self::Interfaces(error) | Self::Endpoint(error) => Some(error),
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

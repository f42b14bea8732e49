//! Where a node listens, and where it says that it can be reached.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;

use gossip_driver::gossip_proto::{ConfigError, Seed};
use gossip_driver::{DEFAULT_PORT, Options};
use socket2::{Domain, Protocol, Socket, Type};

/// Where a node listens, and what else its start needs.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The address for datagrams and streams alike. Port 0 takes a free one. `0.0.0.0` listens on all IPv4 addresses,
    /// `[::]` on all IPv6 and IPv4 addresses. Default `0.0.0.0:7946`.
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
    /// TLS on TCP. Default none. With it no stream is opened or accepted without; all nodes of a cluster need it, or none.
    /// Datagrams stay as they are: give the cluster a keyring.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::Tls>,
}

impl Default for Bind {
    fn default() -> Self {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT)).into()
    }
}

impl From<SocketAddr> for Bind {
    fn from(addr: SocketAddr) -> Self {
        Self {
            addr,
            advertise: None,
            seed: None,
            socket_buffer: 2 << 20,
            options: Options::default(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Bind {
    /// Binds both sockets.
    pub(crate) fn sockets(&self) -> Result<(TcpListener, UdpSocket), StartError> {
        let automatic = self.addr.port() == 0;
        let mut tries = if automatic { TRIES } else { 1 };
        loop {
            tries -= 1;
            let listener = self.listen().map_err(|error| self.error("TCP", self.addr, error))?;
            let mut addr = self.addr;
            addr.set_port(listener.local_addr().map_err(|error| self.error("TCP", addr, error))?.port());
            match self.socket(addr) {
                Ok(socket) => return Ok((listener, socket)),
                // Free for TCP is not free for UDP; another port may be.
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                Err(error) => return Err(self.error("UDP", addr, error)),
            }
        }
    }

    /// The address to advertise, given the one that was bound.
    pub(crate) fn advertised(&self, bound: SocketAddr) -> Result<SocketAddr, StartError> {
        let with_port = |mut addr: SocketAddr| {
            if addr.port() == 0 {
                addr.set_port(bound.port());
            }
            addr
        };
        match self.advertise {
            Some(addr) if addr.ip().is_unspecified() => Err(StartError::UnspecifiedAdvertise { addr }),
            Some(addr) => Ok(with_port(addr)),
            None if !bound.ip().is_unspecified() => Ok(bound),
            None => {
                let ip = gossip_driver::private_address(bound.is_ipv6()).map_err(StartError::Interfaces)?;
                let ip = ip.ok_or(StartError::NoPrivateAddress { bound })?;
                Ok(SocketAddr::new(ip, bound.port()))
            }
        }
    }

    fn listen(&self) -> io::Result<TcpListener> {
        let socket = self.create(Type::STREAM, Protocol::TCP)?;
        // As Go does: a port whose old connections linger can be bound again at once. On Windows the option means
        // something else, and worse.
        #[cfg(not(windows))]
        socket.set_reuse_address(true)?;
        socket.bind(&self.addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }

    fn socket(&self, addr: SocketAddr) -> io::Result<UdpSocket> {
        let socket = self.create(Type::DGRAM, Protocol::UDP)?;
        socket.bind(&addr.into())?;
        halve_until_accepted(self.socket_buffer, |size| socket.set_recv_buffer_size(size));
        halve_until_accepted(self.socket_buffer, |size| socket.set_send_buffer_size(size));
        Ok(socket.into())
    }

    fn create(&self, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.addr), kind, Some(protocol))?;
        if let SocketAddr::V6(addr) = self.addr {
            // The system's default differs from one to the next.
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn error(&self, protocol: &'static str, addr: SocketAddr, error: io::Error) -> StartError {
        StartError::Bind { protocol, addr, error }
    }
}

fn halve_until_accepted(size: usize, mut set: impl FnMut(usize) -> io::Result<()>) {
    let mut size = size;
    while size >= 4096 && set(size).is_err() {
        size /= 2;
    }
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Ports tried when any will do (spec 4.2).
const TRIES: u32 = 10;

/// Why a node did not start. Nothing of it remains.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be bound.
    Bind {
        /// TCP or UDP.
        protocol: &'static str,
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
    /// The sockets could not be prepared.
    Socket(io::Error),
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
    /// It was called outside a tokio runtime with timers and I/O.
    NoRuntime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { protocol, addr, error } => {
                write!(f, "cannot bind {protocol} {addr}: ")?;
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
            Self::Socket(error) => write!(f, "cannot set up the sockets: {error}"),
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
            Self::Bind { error, .. } | Self::Interfaces(error) | Self::Socket(error) => Some(error),
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

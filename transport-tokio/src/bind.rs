//! Where a node listens, and where it says that it can be reached.

use core::net::{Ipv4Addr, SocketAddr};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};

use gossip_driver::gossip_proto::Seed;
use gossip_driver::{BindError, DEFAULT_PORT, Options, halve_until_accepted};
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
    pub(crate) fn sockets(&self) -> Result<(TcpListener, UdpSocket), BindError> {
        let automatic = self.addr.port() == 0;
        let mut tries = if automatic { TRIES } else { 1 };
        loop {
            tries -= 1;
            let listener = self.listen().map_err(failed("TCP", self.addr))?;
            let mut addr = self.addr;
            addr.set_port(listener.local_addr().map_err(failed("TCP", addr))?.port());
            match self.socket(addr) {
                Ok(socket) => return Ok((listener, socket)),
                // Free for TCP is not free for UDP; another port may be.
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                Err(error) => return Err(failed("UDP", addr)(error)),
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
}

fn failed(protocol: &'static str, addr: SocketAddr) -> impl FnOnce(io::Error) -> BindError {
    move |error| BindError { protocol, addr, error }
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Ports tried when any will do (spec 4.2).
const TRIES: u32 = 10;

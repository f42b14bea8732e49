//! Where a node listens, and where it says that it can be reached.

use core::net::{Ipv4Addr, SocketAddr};
use std::net::UdpSocket;

use gossip_driver::gossip_proto::Seed;
use gossip_driver::{BindError, DEFAULT_PORT, Options, halve_until_accepted};
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

    pub(crate) fn socket(&self) -> Result<UdpSocket, BindError> {
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
        bind().map_err(|error| BindError { protocol: "UDP", addr: self.addr, error })
    }
}

//! What adapters that bind sockets have in common.

use core::fmt;
use core::net::SocketAddr;
use std::io::{self, ErrorKind};

use crate::interfaces::private_address;

/// The address to tell others, given the one that was bound (spec 4.2): the one that is asked for, in which port 0 stands for
/// the bound port; otherwise the bound one, and for a wildcard a private address of this machine.
pub fn advertised(asked: Option<SocketAddr>, bound: SocketAddr) -> Result<SocketAddr, AdvertiseError> {
    match asked {
        Some(addr) if addr.ip().to_canonical().is_unspecified() => Err(AdvertiseError::Unspecified { addr }),
        Some(mut addr) => {
            if addr.port() == 0 {
                addr.set_port(bound.port());
            }
            Ok(addr)
        }
        None if !bound.ip().is_unspecified() => Ok(bound),
        None => {
            let ip = private_address(bound.is_ipv6()).map_err(AdvertiseError::Interfaces)?;
            let ip = ip.ok_or(AdvertiseError::NoPrivateAddress { bound })?;
            Ok(SocketAddr::new(ip, bound.port()))
        }
    }
}

/// Asks for buffers of that size, and for half of it as long as the system does not grant it.
pub fn halve_until_accepted(size: usize, mut set: impl FnMut(usize) -> io::Result<()>) {
    let mut size = size;
    while size >= 4096 && set(size).is_err() {
        size /= 2;
    }
}

/// Why there is no address to tell others. Nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdvertiseError {
    /// All addresses of the machine are listened on, and none of them is private: which one to tell others?
    NoPrivateAddress {
        /// The address that was bound.
        bound: SocketAddr,
    },
    /// The address to advertise is a wildcard.
    Unspecified {
        /// The address.
        addr: SocketAddr,
    },
    /// The machine's network interfaces could not be listed.
    Interfaces(io::Error),
}

impl fmt::Display for AdvertiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrivateAddress { bound } => write!(
                f,
                "no private IP address found to advertise for the wildcard {bound}, and explicit IP not provided; \
                 give the address that other nodes reach this one at"
            ),
            Self::Unspecified { addr } => {
                write!(
                    f,
                    "cannot advertise {addr}: nobody can reach a wildcard; give an address of this machine"
                )
            }
            Self::Interfaces(error) => {
                write!(f, "cannot list the network interfaces: {error}; give the address to advertise")
            }
        }
    }
}

impl core::error::Error for AdvertiseError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Interfaces(error) => Some(error),
            _ => None,
        }
    }
}

/// An address that cannot be bound.
#[derive(Debug)]
pub struct BindError {
    /// TCP or UDP.
    pub protocol: &'static str,
    /// The address.
    pub addr: SocketAddr,
    /// Why.
    pub error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind {} {}: ", self.protocol, self.addr)?;
        match self.error.kind() {
            ErrorKind::AddrInUse => {
                f.write_str("the address is in use; stop the other program or bind another port")
            }
            ErrorKind::AddrNotAvailable => f.write_str(
                "this machine has no such address; bind one of its own, or 0.0.0.0 and advertise another",
            ),
            ErrorKind::PermissionDenied => {
                f.write_str("permission denied; bind a port from 1024 up, or run with the right to bind it")
            }
            _ => self.error.fmt(f),
        }
    }
}

impl core::error::Error for BindError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.error)
    }
}

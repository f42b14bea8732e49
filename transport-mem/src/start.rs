//! Nodes on a bus, in one call.

use core::fmt;
use core::net::SocketAddr;
use std::io;

use gossip_driver::{Cluster, Options, Runtime, Transport};
use gossip_proto::{Config, ConfigError, Membership, Node, ServiceConfig};

use crate::Bus;

/// Starts a Serf node on a bus.
///
/// `configure` is told the address to advertise: the one given, with a real port if that was 0. A node started this way
/// is as secret as the bus's seed, see [`Bus::seeds`].
pub fn start_node<R: Runtime>(
    bus: &Bus,
    runtime: &R,
    addr: SocketAddr,
    configure: impl FnOnce(SocketAddr) -> (Config, ServiceConfig),
) -> Result<Cluster<Node>, StartError> {
    let transport = bus.bind(addr)?;
    let (config, services) = configure(transport.local_addr());
    let (seed, nonces) = bus.seeds();
    let node = Node::new(runtime.now(), config, services, seed, nonces)?;
    Ok(gossip_driver::start(node, transport, runtime.clone(), Options::default()))
}

/// Starts a memberlist node, without Serf's services, on a bus; see [`start_node`].
pub fn start_membership<R: Runtime>(
    bus: &Bus,
    runtime: &R,
    addr: SocketAddr,
    configure: impl FnOnce(SocketAddr) -> Config,
) -> Result<Cluster<Membership>, StartError> {
    let transport = bus.bind(addr)?;
    let config = configure(transport.local_addr());
    let (seed, nonces) = bus.seeds();
    let membership = Membership::new(runtime.now(), config, seed, nonces)?;
    Ok(gossip_driver::start(membership, transport, runtime.clone(), Options::default()))
}

/// Why a node could not be started. Nothing is left of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address could not be bound.
    Bind(io::Error),
    /// The configuration cannot be run.
    Config(ConfigError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bind(error) => Some(error),
            Self::Config(error) => Some(error),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Bind(error)
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

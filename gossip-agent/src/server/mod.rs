//! The agent's side of Serf's RPC (serf.md 9.3, 9.4). Who can connect to it controls the node; nobody who does can hold it
//! up: connections, requests and what waits for a client are bounded, and a client that stops reading or falls silent in
//! the middle of a request is dropped.

mod asked;
mod commands;
mod figures;
mod keys;
mod places;
mod records;
mod session;
mod streams;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::config::Problem;
use crate::handlers::Spec;
use crate::journal::Journal;
use crate::local::Local;
use places::{Place, Places};
use session::Session;

/// A socket that is ready to be served: whether it can be had is known before the node is started.
pub(crate) struct Door(std::net::TcpListener);

impl Door {
    pub(crate) fn open(addr: SocketAddr) -> Result<Self, Problem> {
        let open = || {
            let listener = std::net::TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            Ok(Self(listener))
        };
        open().map_err(|error: std::io::Error| {
            Problem::new(format!(
                "rpc_addr (--rpc-addr) {addr}: {error}; if another agent runs on this host give each an address of its \
                 own, or switch it off with --rpc-addr off"
            ))
        })
    }

    /// Where it is.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()
    }
}

/// What sessions share.
pub(crate) struct Shared {
    pub(crate) local: Local,
    pub(crate) journal: Journal,
    /// What a client must know first.
    pub(crate) secret: Option<String>,
    /// For the figures.
    pub(crate) handlers: watch::Receiver<Vec<Spec>>,
    pub(crate) encrypted: bool,
    /// Held by who lists members.
    pub(crate) listing: Mutex<()>,
    /// Has the agent leave and end.
    pub(crate) leaving: mpsc::Sender<Leave>,
}

/// A client wants the agent to leave the cluster and to end.
#[derive(Debug)]
pub(crate) struct Leave {
    /// Takes how it went.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
    /// Then tells when the client was told: the process must not end before.
    pub(crate) told: oneshot::Receiver<()>,
}

/// Serves clients until the runtime ends.
pub(crate) fn start(door: Door, shared: Shared) -> std::io::Result<()> {
    let listener = TcpListener::from_std(door.0)?;
    tokio::spawn(accept(listener, Arc::new(shared)));
    Ok(())
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match places.take() {
                Some(place) => {
                    tracing::info!("agent.ipc: Accepted client: {from}");
                    shared.local.tally.ipc_accepted();
                    tokio::spawn(serve(stream, from, place, shared.clone()));
                }
                None => tracing::warn!("agent.ipc: Refused client {from}: all connections are in use"),
            },
            // Out of descriptors, most likely: it gets better when somebody leaves.
            Err(error) => {
                tracing::error!("agent.ipc: Failed to accept client: {error}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, place: Place, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    // A client whose host has gone holds its place no longer than this takes, although nothing is sent to it.
    let _ = SockRef::from(&stream)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE));
    let session = Session::new(stream, place, shared);
    if let Err(why) = session.run().await {
        tracing::debug!("agent.ipc: Closed client {from}: {why}");
    }
}

const KEEPALIVE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;

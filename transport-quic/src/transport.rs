//! QUIC as the transport of the driver.

use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use gossip_driver::gossip_proto::{MemberKey, Source};
use gossip_driver::{ReceiveBatch, SendBatch, StartError, Transport, TransportEvent, entropy};
use gossip_tls::Credentials;

use crate::bind::Bind;
use crate::limits::Limits;
use crate::shared::{self, ROUNDS, Shared};
use crate::stream::QuicStream;
use crate::{accept, dial, endpoint};

/// QUIC on one UDP socket: unreliable datagrams for gossip and probes, bidirectional streams for exchanges.
pub struct QuicTransport {
    shared: Arc<Shared>,
    local: SocketAddr,
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl QuicTransport {
    /// Binds the socket, for who starts a machine by hand or tests a driver; nodes are started with [`crate::start_node`].
    /// The machine's configuration must have been [prepared](crate::prepare) for QUIC.
    /// Runs on tokio if it is called within tokio, otherwise on async-std, and so must the driver. `label` is the
    /// cluster's, empty if it has none; of `bind` only the address, the size of the buffers, the credentials and the limits
    /// count.
    pub fn bind(bind: &Bind, label: &[u8]) -> Result<Self, StartError> {
        bind.limits.check().map_err(StartError::Limits)?;
        #[cfg(feature = "runtime-tokio")]
        if tokio::runtime::Handle::try_current().is_ok() {
            return Self::bind_on(bind, Arc::new(quinn::TokioRuntime), label);
        }
        #[cfg(feature = "runtime-async-std")]
        return Self::bind_on(bind, Arc::new(crate::async_std_runtime::AsyncStdQuic), label);
        #[cfg(not(feature = "runtime-async-std"))]
        Err(StartError::NoRuntime)
    }

    fn bind_on(bind: &Bind, runtime: Arc<dyn quinn::Runtime>, label: &[u8]) -> Result<Self, StartError> {
        let socket = bind.socket()?;
        Self::new(socket, runtime, bind.credentials.clone(), label, bind.limits.clone(), &entropy()?)
            .map_err(StartError::Transport)
    }

    /// Moves to another bound socket, as after a change of network. Connections that this node has opened move along, and
    /// their streams with them; peers that have opened one to here find it silent and open another. The caller sees to it
    /// that the machine advertises an address that reaches here.
    pub fn rebind(&mut self, socket: UdpSocket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        self.shared.endpoint.rebind(socket)?;
        self.local = local;
        Ok(())
    }

    /// Takes over a bound socket. `label` is the cluster's; nodes with another one do not even shake hands. `secret` must
    /// be random.
    pub(crate) fn new(
        socket: UdpSocket,
        runtime: Arc<dyn quinn::Runtime>,
        credentials: Credentials,
        label: &[u8],
        limits: Limits,
        secret: &[u8; 32],
    ) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let endpoint = endpoint::new(socket, runtime.clone(), &credentials, label, &limits)?;
        let shared = Shared::new(endpoint, runtime.clone(), credentials, limits, secret);
        shared.spawn(accept::accept(shared.clone()));
        shared.spawn(shared::sweep(Arc::downgrade(&shared), runtime, ROUNDS));
        Ok(Self { shared, local, closing: None })
    }
}

impl Transport for QuicTransport {
    type Stream = QuicStream;

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()> {
        self.shared.with(|state| {
            let mut used = 0;
            while batch.len() < RECEIVE {
                let room = batch.memory().len() - used;
                let Some((source, bytes)) = state.take(room) else { break };
                let range = used..used + bytes.len();
                batch.memory()[range.clone()].copy_from_slice(&bytes);
                used = range.end;
                batch.push(source, range);
            }
            if batch.is_empty() {
                state.wait_receive(cx);
                return Poll::Pending;
            }
            Poll::Ready(())
        })
    }

    /// Always: each connection has a buffer of its own, and what would wait in it for long is dropped there.
    fn poll_send_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn poll_send(&mut self, _: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()> {
        let mut begun = Vec::new();
        self.shared.with(|state| {
            while let Some((transmit, bytes)) = batch.front() {
                if let Some(attempt) = state.send(transmit, bytes) {
                    begun.push((transmit.to, attempt));
                }
                batch.advance(1);
            }
        });
        for (to, attempt) in begun {
            dial::begin(&self.shared, to, attempt);
        }
        Poll::Ready(())
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(QuicStream, Source)> {
        self.shared.with(|state| state.poll_accepted(cx))
    }

    fn open(&mut self, to: SocketAddr, _: Option<MemberKey>) -> QuicStream {
        QuicStream::opening(self.shared.clone().open(to))
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        self.shared.with(|state| state.poll_event(cx))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.closing.get_or_insert_with(|| {
            self.shared.close();
            let endpoint = self.shared.endpoint.clone();
            Box::pin(async move { endpoint.wait_idle().await })
        });
        closing.as_mut().poll(cx)
    }
}

impl Drop for QuicTransport {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for QuicTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, opening, handshakes) = self.shared.with(|state| state.census());
        f.debug_struct("QuicTransport")
            .field("local", &self.local)
            .field("connections", &connections)
            .field("opening", &opening)
            .field("handshakes", &handshakes)
            .finish()
    }
}

/// Datagrams handed over at once.
const RECEIVE: usize = 64;

//! UDP and TCP on one port as the transport of the driver.

use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use std::io;
use std::net::{TcpListener as StdTcpListener, UdpSocket as StdUdpSocket};

use gossip_driver::gossip_proto::{MemberKey, Source};
use gossip_driver::{ReceiveBatch, SendBatch, StartError, Transport, TransportEvent};
use tokio::net::TcpListener;

use crate::backoff::Backoff;
use crate::bind::Bind;
use crate::tcp::{self, Socket, Tcp};
use crate::udp::Udp;

/// UDP for datagrams and TCP for streams, on one port (spec 1.1); with the feature `tls`, on request TLS on TCP.
#[derive(Debug)]
pub struct TokioTransport {
    udp: Udp,
    listener: TcpListener,
    accepting: Backoff,
    event_waker: Option<Waker>,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Handshakes>,
}

impl TokioTransport {
    /// Binds both sockets, for who starts a machine by hand or tests a driver; nodes are started with [`crate::start_node`].
    /// Must be called within a tokio runtime. Of `bind` only the address, the size of the buffers
    /// and, with that feature, `tls` count.
    pub fn bind(bind: &Bind) -> Result<Self, StartError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        let (listener, socket) = bind.sockets()?;
        let transport = Self::new(listener, socket).map_err(StartError::Transport)?;
        #[cfg(feature = "tls")]
        let transport = Self { tls: bind.tls.clone().map(crate::tls::Handshakes::new), ..transport };
        Ok(transport)
    }

    fn new(listener: StdTcpListener, socket: StdUdpSocket) -> io::Result<Self> {
        Ok(Self {
            udp: Udp::new(socket)?,
            listener: TcpListener::from_std(listener)?,
            accepting: Backoff::default(),
            event_waker: None,
            #[cfg(feature = "tls")]
            tls: None,
        })
    }
}

impl Transport for TokioTransport {
    type Stream = Tcp;

    fn local_addr(&self) -> SocketAddr {
        self.udp.local_addr()
    }

    fn receive_memory(&self) -> usize {
        self.udp.receive_memory()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()> {
        self.udp.poll_receive(cx, batch)
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.udp.poll_send_ready(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()> {
        let sent = self.udp.poll_send(cx, batch);
        if self.udp.has_event()
            && let Some(waker) = self.event_waker.take()
        {
            waker.wake();
        }
        sent
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(Tcp, Source)> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return tls
                .poll_accept(&self.listener, &mut self.accepting, cx)
                .map(|(stream, from)| (stream, Source::unauthenticated(from)));
        }
        tcp::poll_accept(&self.listener, &mut self.accepting, cx)
            .map(|(stream, from)| (Tcp::accepted(Socket::Plain(stream)), Source::unauthenticated(from)))
    }

    fn open(&mut self, to: SocketAddr, _: Option<MemberKey>) -> Tcp {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return tls.connect(to);
        }
        Tcp::connect(to)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        match self.udp.poll_event() {
            Some(event) => Poll::Ready(event),
            None => {
                self.event_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

//! Endpoints on the loopback interface, for the suite.

use core::any::Any;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use std::io;
use std::net::UdpSocket;

use gossip_driver::conformance::{Capabilities, Factory, Mischief, udp_stranger};
use transport_quic::{Authority, Bind, Credentials, QuicTransport};

/// What does not depend on the runtime.
struct Quic {
    ip: IpAddr,
    credentials: Credentials,
}

impl Quic {
    fn new(ip: impl Into<IpAddr>) -> Self {
        let authority = Authority::new("test").unwrap();
        Self { ip: ip.into(), credentials: authority.member("member").unwrap() }
    }

    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<QuicTransport> {
        let at = at.unwrap_or_else(|| SocketAddr::new(self.ip, 0));
        let bind = Bind::at(at, self.credentials.clone());
        QuicTransport::bind(&bind, b"").map_err(io::Error::other)
    }

    fn relocate(&self, endpoint: &mut QuicTransport) -> io::Result<()> {
        endpoint.rebind(UdpSocket::bind(SocketAddr::new(self.ip, 0))?)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(1162)
            .oversize(1500)
            .half_close(true)
            .authenticates(true, true)
            .stream_buffer(1 << 20)
            .datagram_buffer(256 << 10)
    }
}

#[cfg(feature = "runtime-tokio")]
pub(crate) struct Tokio {
    runtime: tokio::runtime::Runtime,
    quic: Quic,
}

#[cfg(feature = "runtime-tokio")]
impl Tokio {
    pub(crate) fn new(ip: impl Into<IpAddr>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, quic: Quic::new(ip) }
    }

    pub(crate) fn on_many_threads(self) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self { runtime: builder.worker_threads(2).enable_all().build().unwrap(), ..self }
    }
}

#[cfg(feature = "runtime-tokio")]
impl Factory for Tokio {
    type Transport = QuicTransport;
    type Runtime = transport_quic::TokioRuntime;

    fn block_on<A>(&self, future: impl Future<Output = A>) -> A {
        self.runtime.block_on(future)
    }

    fn runtime(&self) -> Self::Runtime {
        transport_quic::TokioRuntime::current().unwrap()
    }

    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<QuicTransport> {
        self.quic.endpoint(at)
    }

    fn capabilities(&self) -> Capabilities {
        self.quic.capabilities()
    }

    fn stranger(&self, to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
        udp_stranger(to, mischief)
    }

    fn relocate(&self, endpoint: &mut QuicTransport) -> Option<io::Result<()>> {
        Some(self.quic.relocate(endpoint))
    }

    fn tasks(&self) -> Option<usize> {
        Some(self.runtime.metrics().num_alive_tasks())
    }
}

#[cfg(feature = "runtime-async-std")]
pub(crate) struct AsyncStd {
    quic: Quic,
}

#[cfg(feature = "runtime-async-std")]
impl AsyncStd {
    pub(crate) fn new(ip: impl Into<IpAddr>) -> Self {
        Self { quic: Quic::new(ip) }
    }
}

#[cfg(feature = "runtime-async-std")]
impl Factory for AsyncStd {
    type Transport = QuicTransport;
    type Runtime = transport_quic::AsyncStdRuntime;

    fn block_on<A>(&self, future: impl Future<Output = A>) -> A {
        async_std::task::block_on(future)
    }

    fn runtime(&self) -> Self::Runtime {
        transport_quic::AsyncStdRuntime::new()
    }

    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<QuicTransport> {
        self.quic.endpoint(at)
    }

    fn capabilities(&self) -> Capabilities {
        self.quic.capabilities()
    }

    fn stranger(&self, to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
        udp_stranger(to, mischief)
    }

    fn relocate(&self, endpoint: &mut QuicTransport) -> Option<io::Result<()>> {
        Some(self.quic.relocate(endpoint))
    }
}

//! Endpoints on the loopback interface, for the suite.

use core::any::Any;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use std::io;

use gossip_driver::conformance::{Capabilities, Factory, Mischief, tcp_stranger, udp_stranger};
use tokio::runtime::{Builder, Runtime};
use transport_tokio::{Bind, TokioRuntime, TokioTransport};

pub(crate) struct Sockets {
    runtime: Runtime,
    ip: IpAddr,
    #[cfg(feature = "tls")]
    tls: Option<transport_tokio::Tls>,
}

impl Sockets {
    pub(crate) fn new(ip: impl Into<IpAddr>) -> Self {
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            ip: ip.into(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(self) -> Self {
        use transport_tokio::gossip_tls::Authority;

        let credentials = Authority::new("test").unwrap().member("member").unwrap();
        Self { tls: Some(transport_tokio::Tls::new(credentials, b"").unwrap()), ..self }
    }

    pub(crate) fn on_many_threads(self) -> Self {
        Self { runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), ..self }
    }
}

impl Factory for Sockets {
    type Transport = TokioTransport;
    type Runtime = TokioRuntime;

    fn block_on<A>(&self, future: impl Future<Output = A>) -> A {
        self.runtime.block_on(future)
    }

    fn runtime(&self) -> TokioRuntime {
        TokioRuntime::current().unwrap()
    }

    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<TokioTransport> {
        let at = at.unwrap_or_else(|| SocketAddr::new(self.ip, 0));
        #[cfg_attr(not(feature = "tls"), allow(unused_mut))]
        let mut bind = Bind::from(at);
        #[cfg(feature = "tls")]
        bind.tls.clone_from(&self.tls);
        TokioTransport::bind(&bind).map_err(io::Error::other)
    }

    fn capabilities(&self) -> Capabilities {
        let largest = if self.ip.is_ipv4() { 65_507 } else { 65_527 };
        #[cfg(feature = "tls")]
        let members_only = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let members_only = false;
        Capabilities::new(largest).oversize(largest + 1).authenticates(false, members_only)
    }

    fn stranger(&self, to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
        Ok(tcp_stranger(to, mischief)?.or(udp_stranger(to, mischief)?))
    }

    fn tasks(&self) -> Option<usize> {
        Some(self.runtime.metrics().num_alive_tasks())
    }
}

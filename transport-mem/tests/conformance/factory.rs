//! Endpoints on a bus, for the suite.

use core::any::Any;
use core::future::Future;
use core::net::SocketAddr;
use core::task::{Context, Waker};
use core::time::Duration;
use std::io;

use gossip_driver::conformance::{Capabilities, Factory, Mischief};
use gossip_driver::{SendBatch, Stream, Transport};
use gossip_proto::{DatagramKind, Seed, Transmit, TransmitId};
use transport_mem::{Bus, Conditions, MemTransport, VirtualRuntime};

pub(crate) struct InMemory {
    pub(crate) runtime: VirtualRuntime,
    pub(crate) bus: Bus,
}

impl InMemory {
    /// What is sent arrives at once.
    pub(crate) fn at_once() -> Self {
        Self { runtime: VirtualRuntime::new(), bus: Bus::new() }
    }

    /// What is sent takes its time, in pieces of any size, and some datagrams are lost.
    #[allow(dead_code)] // Not in every program that these tests are.
    pub(crate) fn with_latency() -> Self {
        let runtime = VirtualRuntime::new();
        let bus = Bus::with_runtime(&runtime, Seed::from_u64(7));
        let conditions =
            Conditions::PERFECT.delay(Duration::from_millis(3), Duration::from_millis(2)).loss(0.01);
        bus.set_conditions(conditions);
        Self { runtime, bus }
    }
}

impl Factory for InMemory {
    type Transport = MemTransport;
    type Runtime = VirtualRuntime;

    fn block_on<A>(&self, future: impl Future<Output = A>) -> A {
        self.runtime.block_on(future)
    }

    fn runtime(&self) -> VirtualRuntime {
        self.runtime.clone()
    }

    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<MemTransport> {
        self.bus.bind(at.unwrap_or_else(|| ([10, 0, 0, 1], 0).into()))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(65_507).oversize(65_508).stream_buffer(1 << 20).datagram_buffer(2 << 20)
    }

    fn stranger(&self, to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
        let mut endpoint = self.endpoint(None)?;
        if mischief == Mischief::Datagrams {
            let mut batch = SendBatch::new(1400, 5);
            for len in [1, 8, 100, 1200, 1400] {
                batch.compose(|buffer| {
                    buffer[..len].fill(0xee);
                    Some(Transmit {
                        id: TransmitId::from_u64(0),
                        to,
                        peer: None,
                        kind: DatagramKind::Gossip,
                        len,
                    })
                });
            }
            let _ = endpoint.poll_send(&mut Context::from_waker(Waker::noop()), &mut batch);
            return Ok(Some(Box::new(endpoint)));
        }
        let mut stream = endpoint.open(to, None);
        if mischief == Mischief::Nonsense {
            let _ = stream.poll_write(&mut Context::from_waker(Waker::noop()), &[0xee; 2000]);
        }
        Ok(Some(Box::new((endpoint, stream))))
    }

    fn relocate(&self, endpoint: &mut MemTransport) -> Option<io::Result<()>> {
        Some(self.bus.relocate(endpoint, ([10, 0, 0, 2], 0).into()))
    }

    fn tasks(&self) -> Option<usize> {
        Some(self.runtime.tasks())
    }

    /// Endpoints and connections are to the bus what sockets are to a system.
    fn files(&self) -> Option<usize> {
        let (endpoints, connections, _) = self.bus.census();
        Some(endpoints + connections)
    }
}

//! A bus in memory: a [`Transport`] whose endpoints are in one process.
//!
//! With [`Bus::new`] everything arrives at once, on any runtime. With [`Bus::with_runtime`] the bus has a clock, and its
//! links have latency; on a [`crate::VirtualRuntime`] such a cluster runs through hours in seconds, the same way every
//! time.

mod state;

use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gossip_driver::{ReceiveBatch, Runtime, SendBatch, Stream, Timer, Transport, TransportEvent};
use gossip_proto::{Instant, MemberKey, NonceSecret, Seed, Source, StreamFailure, TransmitFailure};

use crate::conditions::Conditions;
use crate::conn::{ConnKey, Side};
use crate::rng::{Purpose, Rng};
use state::State;

/// A network in memory. Cheap to clone; endpoints keep it alive.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    clock: Option<Box<dyn Fn() -> Instant + Send + Sync>>,
    seeds: Mutex<Rng>,
}

impl Bus {
    /// A bus without a clock: what is sent arrives at once.
    ///
    /// Its choices (there are none unless loss is set, but for the seeds that nodes are started with) are the same in
    /// every process.
    pub fn new() -> Self {
        Self::build(Seed::new([0; 32]), None, Conditions::PERFECT)
    }

    /// A bus whose links take the time that their conditions say, on the clock of a runtime. Its task in that runtime
    /// ends when the bus and its endpoints are dropped.
    pub fn with_runtime<R: Runtime>(runtime: &R, seed: Seed) -> Self {
        let clock = runtime.clone();
        let bus = Self::build(seed, Some(Box::new(move || clock.now())), Conditions::default());
        runtime.spawn(courier(Arc::downgrade(&bus.shared), runtime.timer()));
        bus
    }

    fn build(
        seed: Seed,
        clock: Option<Box<dyn Fn() -> Instant + Send + Sync>>,
        conditions: Conditions,
    ) -> Self {
        let mut state = State::new(&seed);
        state.links.set_everywhere(conditions);
        state.links.timeless = clock.is_none();
        let seeds = Mutex::new(Rng::new(&seed, Purpose::Node, 0));
        Self { shared: Arc::new(Shared { state: Mutex::new(state), clock, seeds }) }
    }

    /// An endpoint at that address; port 0 stands for any that is free.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<MemTransport> {
        let (number, addr) = self.shared.with(|state| state.bind(addr))?;
        Ok(MemTransport {
            shared: self.shared.clone(),
            number,
            addr,
            events: VecDeque::new(),
            event_waker: None,
        })
    }

    /// Moves an endpoint of this bus to another address while it is in use, as a change of network does; port 0 stands for any
    /// that is free. Its streams live on, and its links keep their conditions. The old address is nobody's then. Fails if the
    /// new one is somebody's; nothing has changed then.
    pub fn relocate(&self, endpoint: &mut MemTransport, to: SocketAddr) -> io::Result<()> {
        if !Arc::ptr_eq(&self.shared, &endpoint.shared) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the endpoint is on another bus"));
        }
        endpoint.addr = self.shared.with(|state| state.relocate(endpoint.number, to))?;
        Ok(())
    }

    /// Randomness for a node on this bus, different for each. It is only as secret as the bus's seed: enough where no
    /// packet leaves the process.
    pub fn seeds(&self) -> (Seed, NonceSecret) {
        let mut rng = self.shared.seeds.lock().unwrap_or_else(PoisonError::into_inner);
        (Seed::new(rng.bytes()), NonceSecret::new(rng.bytes()))
    }

    /// Sets how all links behave that have no conditions of their own. Without a clock, delays count as none.
    pub fn set_conditions(&self, conditions: Conditions) {
        let conditions = self.timeless(conditions);
        self.shared.with(|state| state.links.set_everywhere(conditions));
    }

    /// Gives one direction of a link conditions of its own, or takes them away.
    pub fn set_link(&self, from: SocketAddr, to: SocketAddr, conditions: Option<Conditions>) {
        let conditions = conditions.map(|conditions| self.timeless(conditions));
        self.link(from, to, |state, from, to| state.links.set_pair(from, to, conditions));
    }

    /// Splits the network: endpoints in different groups do not reach each other. Those in none are one more group.
    pub fn partition(&self, groups: &[&[SocketAddr]]) {
        self.shared.with(|state| {
            let groups: Vec<Vec<u32>> =
                groups.iter().map(|group| group.iter().map(|addr| state.number(*addr)).collect()).collect();
            state.links.partition(groups.iter().map(Vec::as_slice));
            state.retry_held();
        });
    }

    /// Lets nothing through from one address to another, or everything again. Streams wait meanwhile.
    pub fn cut(&self, from: SocketAddr, to: SocketAddr, on: bool) {
        self.link(from, to, |state, from, to| state.links.cut(from, to, on));
    }

    /// Lets no datagrams through from one address to another, while streams work.
    pub fn block_datagrams(&self, from: SocketAddr, to: SocketAddr, on: bool) {
        self.link(from, to, |state, from, to| state.links.block_datagrams(from, to, on));
    }

    /// Lets no bytes of streams through from one address to another, while connections are made and stay open.
    pub fn stall_streams(&self, from: SocketAddr, to: SocketAddr, on: bool) {
        self.link(from, to, |state, from, to| state.links.stall_streams(from, to, on));
    }

    /// Ends partitions, cuts, stalls and blocks of datagrams.
    pub fn heal(&self) {
        self.shared.with(|state| {
            state.links.heal();
            state.retry_held();
        });
    }

    /// The most bytes of a stream that arrive at a time. At least 1.
    pub fn set_max_segment(&self, bytes: usize) {
        self.shared.with(|state| state.max_segment = bytes.max(1));
    }

    /// The most bytes of datagrams that wait at an endpoint that does not receive. Default 2 MiB.
    pub fn set_socket_buffer(&self, bytes: usize) {
        self.shared.with(|state| state.socket_buffer = bytes);
    }

    /// What is on the bus: endpoints bound, connections not over, datagrams not yet received.
    pub fn census(&self) -> (usize, usize, usize) {
        self.shared.with(|state| state.census())
    }

    fn link(&self, from: SocketAddr, to: SocketAddr, change: impl FnOnce(&mut State, u32, u32)) {
        self.shared.with(|state| {
            let (from, to) = (state.number(from), state.number(to));
            change(state, from, to);
            state.retry_held();
        });
    }

    fn timeless(&self, conditions: Conditions) -> Conditions {
        if self.shared.clock.is_some() {
            return conditions;
        }
        Conditions { reorder: (0.0, core::time::Duration::ZERO), rate: None, ..conditions }
            .delay(core::time::Duration::ZERO, core::time::Duration::ZERO)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("census", &self.census()).finish()
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let now = self.clock.as_ref().map_or(Instant::ORIGIN, |clock| clock());
        let (result, wakes) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.now = state.now.max(now);
            let result = act(&mut state);
            (result, core::mem::take(&mut state.wakes))
        };
        for waker in wakes {
            waker.wake();
        }
        result
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The courier finds the bus gone, and ends.
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(courier) = state.courier.take() {
            courier.wake();
        }
    }
}

/// Delivers what takes time, for as long as there is a bus.
async fn courier(bus: Weak<Shared>, mut timer: impl Timer) {
    poll_fn(move |cx| {
        loop {
            let Some(shared) = bus.upgrade() else { return Poll::Ready(()) };
            let next = shared.with(|state| {
                let next = state.deliver();
                state.courier = Some(cx.waker().clone());
                next
            });
            timer.set(next.unwrap_or(Instant::MAX));
            if next.is_none() || timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// An endpoint on a [`Bus`].
pub struct MemTransport {
    shared: Arc<Shared>,
    number: u32,
    addr: SocketAddr,
    events: VecDeque<TransportEvent>,
    event_waker: Option<Waker>,
}

impl Transport for MemTransport {
    type Stream = MemStream;

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()> {
        let mut used = 0;
        self.shared.with(|state| {
            let mut take = |from: SocketAddr, bytes: &[u8]| {
                let range = used..used + bytes.len();
                let Some(memory) = batch.memory().get_mut(range.clone()) else { return false };
                memory.copy_from_slice(bytes);
                used = range.end;
                batch.push(Source::unauthenticated(from), range);
                true
            };
            while state.receive(self.number, &mut take) {}
            if batch.is_empty() {
                state.wait_receive(self.number, cx);
            }
        });
        if batch.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_send_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn poll_send(&mut self, _: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()> {
        self.shared.with(|state| {
            while let Some((transmit, bytes)) = batch.front() {
                if bytes.len() > MAX_DATAGRAM {
                    let why = TransmitFailure::TooBig(MAX_DATAGRAM);
                    self.events.push_back(TransportEvent::TransmitFailed { id: transmit.id, why });
                } else {
                    state.send(self.number, transmit.to, bytes);
                }
                batch.advance(1);
            }
        });
        if !self.events.is_empty()
            && let Some(waker) = self.event_waker.take()
        {
            waker.wake();
        }
        Poll::Ready(())
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(MemStream, Source)> {
        match self.shared.with(|state| state.accept(self.number, cx)) {
            Some((key, from)) => Poll::Ready((self.stream(key, 1), Source::unauthenticated(from))),
            None => Poll::Pending,
        }
    }

    fn open(&mut self, to: SocketAddr, _: Option<MemberKey>) -> MemStream {
        let key = self.shared.with(|state| state.connect(self.number, to));
        self.stream(key, 0)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        match self.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.event_waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl MemTransport {
    fn stream(&self, key: ConnKey, side: Side) -> MemStream {
        MemStream { shared: self.shared.clone(), key, side, closed: false }
    }
}

impl Drop for MemTransport {
    fn drop(&mut self) {
        self.shared.with(|state| state.unbind(self.number));
    }
}

impl fmt::Debug for MemTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemTransport({})", self.addr)
    }
}

/// A stream on a [`Bus`].
pub struct MemStream {
    shared: Arc<Shared>,
    key: ConnKey,
    side: Side,
    closed: bool,
}

impl Stream for MemStream {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        self.shared.with(|state| state.poll_open(self.key, self.side, cx))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, StreamFailure>> {
        self.shared.with(|state| state.read(self.key, self.side, buf, cx))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamFailure>> {
        self.shared.with(|state| state.write(self.key, self.side, bytes, cx))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if !core::mem::replace(&mut self.closed, true) {
            self.shared.with(|state| state.close(self.key, self.side, false));
        }
        Poll::Ready(())
    }
}

impl Drop for MemStream {
    fn drop(&mut self) {
        if !self.closed {
            self.shared.with(|state| state.close(self.key, self.side, true));
        }
    }
}

impl fmt::Debug for MemStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStream({:?}, {})", self.key, self.side)
    }
}

/// The largest datagram, as over UDP and IPv4. More would not fit into the memory that receivers lend.
const MAX_DATAGRAM: usize = 65_507;

#[cfg(test)]
mod tests;

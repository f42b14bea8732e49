//! A transport, its streams and a runtime that are sound but for one defect.

use core::any::Any;
use core::future::{Future, pending};
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use gossip_driver::conformance::{Capabilities, Factory, Mischief};
use gossip_driver::{ReceiveBatch, Runtime, SendBatch, Stream, Timer, Transport, TransportEvent};
use gossip_proto::{IdentityId, Instant, MemberKey, Source, StreamFailure, Transmit};
use transport_mem::{MemStream, MemTransport, VirtualRuntime};

use super::factory::InMemory;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// A datagram loses what goes beyond 1,000 bytes.
    TruncatesDatagrams,
    /// A datagram is received twice.
    DoublesDatagrams,
    /// What could not be sent is not reported, as if it had been.
    SaysNothingOfOversize,
    /// Datagrams that nobody takes pile up.
    QueuesWithoutEnd,
    /// An address where nobody is ends the transport.
    DiesOfNobody,
    /// Streams say who the peer is, without having asked it.
    InventsIdentities,
    /// Streams come from another address than their opener's.
    MistakesTheOpener,
    /// Small writes wait for more to come, and those that come last for ever.
    WaitsForMoreToWrite,
    /// A stream ends after 8 MiB.
    EndsHugeStreams,
    /// A stream takes whatever it is given.
    BuffersWithoutEnd,
    /// A stream that is dropped ends in good order.
    EndsInsteadOfReset,
    /// A reset is not told to the writer.
    IgnoresReset,
    /// A stream that is closed loses what is under way.
    CloseLosesBytes,
    /// `finish` is seen by the peer of a transport that says that it is not.
    HalfCloseIsSeen,
    /// `finish` does nothing on a transport that says that it does.
    HalfCloseIsDropped,
    /// Streams beyond 1,000 do not open.
    LimitsStreams,
    /// A stream is accepted only when the one before has ended.
    ServesOneStreamAtATime,
    /// While a stream is full no datagram leaves.
    StallsDatagramsWithStreams,
    /// A stream is said to be open before the peer has answered.
    OpensWithoutAsking,
    /// A stream that is dropped unused stays open for the peer.
    ForgetsUnusedStreams,
    /// Who does not belong to the cluster gets in, although it is said that nobody does.
    AdmitsStrangers,
    /// Whoever sends a datagram of nonsense ends the receiving of others.
    ChokesOnNonsense,
    /// Datagrams of others than the first peer are dropped.
    KnowsOnePeer,
    /// Streams to an address go to the process that was there first.
    KeepsDeadPeers,
    /// Where it is now is not said.
    SaysItsOldAddress,
    /// Who waits for a datagram is not woken.
    ForgetsTheWaker,
    /// Who reads is woken by the first waker, not the latest.
    KeepsTheFirstWaker,
    /// A task of each endpoint does not end with it.
    LeaksTasks,
    /// The socket stays open if the endpoint is just dropped.
    LeaksSockets,
    /// Timers go off too early.
    HasEarlyTimers,
    /// Some tasks are not run.
    LosesTasks,
}

pub(crate) struct FaultyFactory {
    defect: Defect,
    inner: InMemory,
    runtime: FaultyRuntime,
    /// How often an address was bound.
    lives: Lives,
}

type Lives = Arc<Mutex<BTreeMap<SocketAddr, u32>>>;

impl FaultyFactory {
    pub(crate) fn new(defect: Defect) -> Self {
        let inner = InMemory::at_once();
        if defect == Defect::QueuesWithoutEnd {
            inner.bus.set_socket_buffer(1 << 30);
        }
        let runtime = FaultyRuntime { inner: inner.runtime.clone(), defect, spawned: Arc::default() };
        Self { defect, inner, runtime, lives: Lives::default() }
    }
}

impl Factory for FaultyFactory {
    type Transport = FaultyTransport;
    type Runtime = FaultyRuntime;

    fn block_on<A>(&self, future: impl Future<Output = A>) -> A {
        self.inner.block_on(future)
    }

    fn runtime(&self) -> FaultyRuntime {
        self.runtime.clone()
    }

    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<FaultyTransport> {
        let inner = self.inner.endpoint(at)?;
        if self.defect == Defect::LeaksTasks {
            self.inner.runtime.spawn(pending());
        }
        let addr = inner.local_addr();
        *self.lives.lock().unwrap().entry(addr).or_default() += 1;
        Ok(FaultyTransport {
            inner: Some(inner),
            defect: self.defect,
            addr,
            lives: self.lives.clone(),
            met: BTreeMap::new(),
            received: ReceiveBatch::new(65_536),
            first: None,
            choked: false,
            failed: false,
            opened: 0,
            serving: Arc::default(),
            full: Arc::default(),
            closed: false,
        })
    }

    fn capabilities(&self) -> Capabilities {
        let sound = self.inner.capabilities();
        match self.defect {
            Defect::HalfCloseIsDropped => sound.half_close(true),
            Defect::AdmitsStrangers => sound.authenticates(false, true),
            _ => sound,
        }
    }

    fn stranger(&self, to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
        self.inner.stranger(to, mischief)
    }

    fn relocate(&self, endpoint: &mut FaultyTransport) -> Option<io::Result<()>> {
        let moved = self.inner.relocate(endpoint.inner.as_mut()?);
        if self.defect != Defect::SaysItsOldAddress {
            endpoint.addr = endpoint.inner.as_ref()?.local_addr();
            *self.lives.lock().unwrap().entry(endpoint.addr).or_default() += 1;
        }
        moved
    }

    fn tasks(&self) -> Option<usize> {
        self.inner.tasks()
    }

    fn files(&self) -> Option<usize> {
        self.inner.files()
    }
}

pub(crate) struct FaultyTransport {
    /// There until it is dropped.
    inner: Option<MemTransport>,
    defect: Defect,
    addr: SocketAddr,
    lives: Lives,
    /// Which life of a peer was met first.
    met: BTreeMap<SocketAddr, u32>,
    received: ReceiveBatch,
    first: Option<SocketAddr>,
    choked: bool,
    failed: bool,
    opened: usize,
    /// Streams that were accepted and have not ended.
    serving: Arc<AtomicUsize>,
    /// Streams that are full.
    full: Arc<AtomicUsize>,
    closed: bool,
}

impl FaultyTransport {
    fn inner(&mut self) -> &mut MemTransport {
        self.inner.as_mut().expect("it is dropped last")
    }

    fn stream(&self, inner: MemStream, serving: Option<Arc<AtomicUsize>>) -> FaultyStream {
        FaultyStream {
            inner: Some(inner),
            defect: self.defect,
            unopened: false,
            used: false,
            read: 0,
            unwritten: Vec::new(),
            waker: None,
            serving,
            full: self.full.clone(),
            is_full: false,
        }
    }
}

impl Transport for FaultyTransport {
    type Stream = FaultyStream;

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()> {
        let mut silent = Context::from_waker(Waker::noop());
        let cx = if self.defect == Defect::ForgetsTheWaker { &mut silent } else { cx };
        let mut used = 0;
        loop {
            if self.choked {
                return Poll::Pending;
            }
            while let Some((source, bytes)) = self.received.pop() {
                let mut len = bytes.len();
                let mut times = 1;
                match self.defect {
                    Defect::TruncatesDatagrams => len = len.min(1000),
                    // Only the small ones, so that they fit.
                    Defect::DoublesDatagrams if len <= 1000 => times = 2,
                    Defect::KnowsOnePeer if *self.first.get_or_insert(source.addr) != source.addr => continue,
                    Defect::ChokesOnNonsense if bytes.iter().all(|byte| *byte == 0xee) => self.choked = true,
                    _ => {}
                }
                for _ in 0..times {
                    // What does not fit is lost, as datagrams may be.
                    if let Some(memory) = batch.memory().get_mut(used..used + len) {
                        memory.copy_from_slice(&bytes[..len]);
                        batch.push(source, used..used + len);
                        used += len;
                    }
                }
            }
            if !batch.is_empty() {
                return Poll::Ready(());
            }
            let inner = self.inner.as_mut().expect("it is dropped last");
            if inner.poll_receive(cx, &mut self.received).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.defect == Defect::StallsDatagramsWithStreams && self.full.load(Ordering::Relaxed) > 0 {
            return Poll::Pending;
        }
        self.inner().poll_send_ready(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()> {
        if self.defect == Defect::DiesOfNobody {
            let census = self.lives.lock().unwrap();
            // Endpoints of the suite that were dropped are still counted here, and are not asked about by that check.
            self.failed |= batch.iter().any(|transmit: &Transmit| {
                transmit.to != self.addr && census.get(&transmit.to).is_none_or(|lives| *lives == 0)
            });
        }
        self.inner().poll_send(cx, batch)
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(FaultyStream, Source)> {
        let one_at_a_time = self.defect == Defect::ServesOneStreamAtATime;
        if one_at_a_time && self.serving.load(Ordering::Relaxed) > 0 {
            // Polled again before long, by whoever waits for it.
            return Poll::Pending;
        }
        let Poll::Ready((stream, mut source)) = self.inner().poll_accept(cx) else { return Poll::Pending };
        match self.defect {
            Defect::InventsIdentities => source.identity = Some(IdentityId(1)),
            Defect::MistakesTheOpener => source.addr = ([10, 9, 9, 9], 1).into(),
            _ => {}
        }
        let serving = one_at_a_time.then(|| {
            self.serving.fetch_add(1, Ordering::Relaxed);
            self.serving.clone()
        });
        Poll::Ready((self.stream(stream, serving), source))
    }

    fn open(&mut self, to: SocketAddr, peer: Option<MemberKey>) -> FaultyStream {
        self.opened += 1;
        let life = self.lives.lock().unwrap().get(&to).copied().unwrap_or_default();
        let met = *self.met.entry(to).or_insert(life);
        let astray = self.defect == Defect::KeepsDeadPeers && met != life
            || self.defect == Defect::LimitsStreams && self.opened > 1000;
        // Where nobody ever was.
        let to = if astray { ([10, 8, 8, 8], 1).into() } else { to };
        let inner = self.inner().open(to, peer);
        let mut stream = self.stream(inner, None);
        stream.unopened = true;
        stream
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        if core::mem::take(&mut self.failed) {
            return Poll::Ready(TransportEvent::Failed { error: io::ErrorKind::ConnectionRefused.into() });
        }
        loop {
            match self.inner().poll_event(cx) {
                Poll::Ready(TransportEvent::TransmitFailed { .. })
                    if self.defect == Defect::SaysNothingOfOversize => {}
                other => return other,
            }
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.closed = true;
        self.inner().poll_close(cx)
    }
}

impl Drop for FaultyTransport {
    fn drop(&mut self) {
        if self.defect == Defect::DiesOfNobody {
            self.lives.lock().unwrap().remove(&self.addr);
        }
        if self.defect == Defect::LeaksSockets && !self.closed {
            core::mem::forget(self.inner.take());
        }
    }
}

pub(crate) struct FaultyStream {
    inner: Option<MemStream>,
    defect: Defect,
    /// By us, and it has not been said yet that it is open.
    unopened: bool,
    used: bool,
    read: usize,
    /// Taken, but not passed on.
    unwritten: Vec<u8>,
    waker: Option<Waker>,
    serving: Option<Arc<AtomicUsize>>,
    full: Arc<AtomicUsize>,
    is_full: bool,
}

impl FaultyStream {
    fn inner(&mut self) -> &mut MemStream {
        self.inner.as_mut().expect("it is dropped last")
    }

    /// Passes on what it can.
    fn flush(&mut self, cx: &mut Context<'_>) {
        let Some(inner) = &mut self.inner else { return };
        while !self.unwritten.is_empty()
            && let Poll::Ready(Ok(len)) = inner.poll_write(cx, &self.unwritten)
        {
            self.unwritten.drain(..len);
        }
    }
}

impl Stream for FaultyStream {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        if self.defect == Defect::OpensWithoutAsking && self.unopened {
            return Poll::Ready(Ok(()));
        }
        self.inner().poll_open(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, StreamFailure>> {
        self.used = true;
        if self.defect == Defect::BuffersWithoutEnd {
            self.flush(cx);
        }
        if self.defect == Defect::EndsHugeStreams && self.read > 8 << 20 {
            return Poll::Ready(Ok(0));
        }
        let waker = self.waker.get_or_insert_with(|| cx.waker().clone()).clone();
        let mut first = Context::from_waker(&waker);
        let read = match self.defect {
            Defect::KeepsTheFirstWaker => self.inner().poll_read(&mut first, buf),
            _ => self.inner().poll_read(cx, buf),
        };
        if let Poll::Ready(Ok(len)) = read {
            self.read += len;
        }
        read
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamFailure>> {
        self.used = true;
        match self.defect {
            Defect::WaitsForMoreToWrite => {
                self.unwritten.extend_from_slice(bytes);
                if self.unwritten.len() >= 64 {
                    self.flush(cx);
                }
                Poll::Ready(Ok(bytes.len()))
            }
            Defect::BuffersWithoutEnd => {
                self.unwritten.extend_from_slice(bytes);
                self.flush(cx);
                Poll::Ready(Ok(bytes.len()))
            }
            Defect::IgnoresReset => match self.inner().poll_write(cx, bytes) {
                Poll::Ready(Err(_)) => Poll::Ready(Ok(bytes.len())),
                other => other,
            },
            _ => {
                let written = self.inner().poll_write(cx, bytes);
                if written.is_pending() != self.is_full {
                    self.is_full = written.is_pending();
                    if self.is_full {
                        self.full.fetch_add(1, Ordering::Relaxed);
                    } else {
                        self.full.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                written
            }
        }
    }

    fn finish(&mut self) {
        if self.defect == Defect::HalfCloseIsSeen {
            let _ = self.inner().poll_close(&mut Context::from_waker(Waker::noop()));
        }
        self.inner().finish();
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.defect {
            Defect::CloseLosesBytes => return Poll::Ready(()),
            Defect::BuffersWithoutEnd => self.flush(cx),
            _ => {}
        }
        self.inner().poll_close(cx)
    }
}

impl Drop for FaultyStream {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.fetch_sub(1, Ordering::Relaxed);
        }
        if self.is_full {
            self.full.fetch_sub(1, Ordering::Relaxed);
        }
        match self.defect {
            Defect::EndsInsteadOfReset => {
                let _ = self.inner().poll_close(&mut Context::from_waker(Waker::noop()));
            }
            Defect::ForgetsUnusedStreams if self.unopened && !self.used => {
                core::mem::forget(self.inner.take());
            }
            _ => {}
        }
    }
}

#[derive(Clone)]
pub(crate) struct FaultyRuntime {
    inner: VirtualRuntime,
    defect: Defect,
    spawned: Arc<AtomicUsize>,
}

impl Runtime for FaultyRuntime {
    type Timer = FaultyTimer;

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn timer(&self) -> FaultyTimer {
        FaultyTimer { inner: self.inner.timer(), early: self.defect == Defect::HasEarlyTimers }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let number = self.spawned.fetch_add(1, Ordering::Relaxed);
        if self.defect == Defect::LosesTasks && number == 100 {
            return;
        }
        self.inner.spawn(task);
    }

    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        self.inner.resolve(host)
    }

    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static {
        self.inner.blocking(work)
    }
}

pub(crate) struct FaultyTimer {
    inner: <VirtualRuntime as Runtime>::Timer,
    early: bool,
}

impl Timer for FaultyTimer {
    fn set(&mut self, deadline: Instant) {
        let early = if self.early { Duration::from_millis(5) } else { Duration::ZERO };
        let since = deadline.saturating_duration_since(Instant::ORIGIN).saturating_sub(early);
        self.inner.set(Instant::ORIGIN + since);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_expired(cx)
    }
}

//! Datagrams and streams in memory, with every obstacle that a test may want.

use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use gossip_driver::gossip_proto::{MemberKey, Source, StreamFailure, TransmitFailure};
use gossip_driver::{ReceiveBatch, SendBatch, Stream, Transport, TransportEvent};

#[derive(Clone, Default)]
pub(crate) struct Net(Arc<Mutex<BTreeMap<SocketAddr, Port>>>);

/// One node's end of the network.
#[derive(Default)]
pub(crate) struct Port {
    /// Datagrams that have arrived.
    pub(crate) inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Datagrams that wait until the test lets them arrive.
    pub(crate) held: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Hold what is sent here.
    pub(crate) hold: bool,
    /// How many datagrams the socket still takes; `None` is any number.
    pub(crate) room: Option<usize>,
    /// Runs to one destination that could have been sent at once from here: how many datagrams, how many bytes.
    pub(crate) runs: Vec<(usize, usize)>,
    /// Datagrams that were sent from here.
    pub(crate) sent: usize,
    /// Fail what is sent from here.
    pub(crate) fail: Option<TransmitFailure>,
    /// Streams to here are never connected.
    pub(crate) deaf: bool,
    /// Most bytes that one read or write moves; every other one has to wait.
    pub(crate) chunk: usize,
    /// Streams opened to here that were not accepted yet.
    pub(crate) backlog: VecDeque<(Pipe, SocketAddr)>,
    pub(crate) accepted: usize,
    pub(crate) closed: usize,
    pub(crate) aborted: usize,
    pub(crate) gone: bool,
    /// The transport does not come to its end by itself.
    pub(crate) lingers: bool,
    /// Streams take nothing from this node.
    pub(crate) stuck: bool,
    writers: Vec<Waker>,
    events: VecDeque<TransportEvent>,
    receive: Option<Waker>,
    send: Option<Waker>,
    accept: Option<Waker>,
    event: Option<Waker>,
}

impl Port {
    fn wake(waker: &mut Option<Waker>) {
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }

    /// Lets held datagrams arrive; without `announce`, as if the system had not told of them yet.
    pub(crate) fn release(&mut self, announce: bool) {
        self.inbox.extend(self.held.drain(..));
        if announce {
            Self::wake(&mut self.receive);
        }
    }

    pub(crate) fn make_room(&mut self, room: Option<usize>) {
        self.room = room;
        Self::wake(&mut self.send);
    }

    pub(crate) fn unstick(&mut self) {
        self.stuck = false;
        self.writers.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn emit(&mut self, event: TransportEvent) {
        self.events.push_back(event);
        Self::wake(&mut self.event);
    }

    pub(crate) fn fail_with(&mut self, error: io::Error) {
        self.emit(TransportEvent::Failed { error });
    }
}

impl Net {
    pub(crate) fn transport(&self, addr: SocketAddr) -> TestTransport {
        self.0.lock().unwrap().insert(addr, Port { chunk: usize::MAX, ..Port::default() });
        TestTransport { net: self.clone(), addr }
    }

    pub(crate) fn port<A>(&self, addr: SocketAddr, change: impl FnOnce(&mut Port) -> A) -> A {
        change(self.ports().get_mut(&addr).expect("a node has this address"))
    }

    pub(crate) fn inject(&self, to: SocketAddr, from: SocketAddr, datagram: &[u8]) {
        self.port(to, |port| {
            port.inbox.push_back((from, datagram.to_vec()));
            Port::wake(&mut port.receive);
        });
    }

    /// Opens a stream to a node without being one.
    pub(crate) fn dial(&self, to: SocketAddr, from: SocketAddr) -> TestStream {
        let (near, far) = pipe();
        self.port(to, |port| {
            port.backlog.push_back((far, from));
            Port::wake(&mut port.accept);
        });
        TestStream { net: self.clone(), owner: from, pipe: Some(near), closed: false, waited: false }
    }

    fn ports(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Port>> {
        self.0.lock().unwrap()
    }
}

pub(crate) struct TestTransport {
    net: Net,
    addr: SocketAddr,
}

impl Transport for TestTransport {
    type Stream = TestStream;

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()> {
        self.net.port(self.addr, |port| {
            let mut start = 0;
            while let Some((from, datagram)) = port.inbox.front() {
                let end = start + datagram.len();
                if end > batch.memory().len() {
                    break;
                }
                batch.memory()[start..end].copy_from_slice(datagram);
                batch.push(Source::unauthenticated(*from), start..end);
                port.inbox.pop_front();
                start = end;
            }
            if batch.is_empty() {
                port.receive = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.net.port(self.addr, |port| {
            if port.room == Some(0) {
                port.send = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()> {
        let mut ports = self.net.ports();
        let mut in_run = 0;
        while let Some((transmit, datagram)) = batch.front() {
            if in_run == 0 {
                let (first, count, bytes) = batch.run(16).unwrap();
                assert_eq!((first, &bytes[..first.len]), (transmit, datagram));
                ports.get_mut(&self.addr).unwrap().runs.push((count, bytes.len()));
                in_run = count;
            }
            in_run -= 1;
            let port = ports.get_mut(&self.addr).unwrap();
            if port.room == Some(0) {
                port.send = Some(cx.waker().clone());
                return Poll::Pending;
            }
            port.room = port.room.map(|room| room - 1);
            port.sent += 1;
            if let Some(why) = port.fail {
                port.emit(TransportEvent::TransmitFailed { id: transmit.id, why });
            } else if let Some(target) = ports.get_mut(&transmit.to).filter(|target| !target.gone) {
                if target.hold {
                    target.held.push_back((self.addr, datagram.to_vec()));
                } else {
                    target.inbox.push_back((self.addr, datagram.to_vec()));
                    Port::wake(&mut target.receive);
                }
            }
            batch.advance(1);
        }
        Poll::Ready(())
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(TestStream, Source)> {
        self.net.port(self.addr, |port| match port.backlog.pop_front() {
            Some((pipe, from)) => {
                port.accepted += 1;
                let stream = TestStream {
                    net: self.net.clone(),
                    owner: self.addr,
                    pipe: Some(pipe),
                    closed: false,
                    waited: false,
                };
                Poll::Ready((stream, Source::unauthenticated(from)))
            }
            None => {
                port.accept = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }

    fn open(&mut self, to: SocketAddr, _: Option<MemberKey>) -> TestStream {
        let mut ports = self.net.ports();
        let pipe = ports.get_mut(&to).filter(|port| !port.gone && !port.deaf).map(|port| {
            let (near, far) = pipe();
            port.backlog.push_back((far, self.addr));
            Port::wake(&mut port.accept);
            near
        });
        let deaf = ports.get(&to).is_some_and(|port| port.deaf);
        TestStream { net: self.net.clone(), owner: self.addr, pipe, closed: false, waited: deaf }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        self.net.port(self.addr, |port| match port.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                port.event = Some(cx.waker().clone());
                Poll::Pending
            }
        })
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if self.net.port(self.addr, |port| port.lingers) { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for TestTransport {
    fn drop(&mut self) {
        self.net.port(self.addr, |port| port.gone = true);
    }
}

/// One end of a stream.
pub(crate) struct Pipe {
    incoming: Arc<Mutex<Half>>,
    outgoing: Arc<Mutex<Half>>,
}

#[derive(Default)]
struct Half {
    bytes: VecDeque<u8>,
    ended: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What fits between the two ends, as in a socket buffer.
const CAPACITY: usize = 32 << 10;

fn pipe() -> (Pipe, Pipe) {
    let (a, b) = (Arc::<Mutex<Half>>::default(), Arc::<Mutex<Half>>::default());
    (Pipe { incoming: a.clone(), outgoing: b.clone() }, Pipe { incoming: b, outgoing: a })
}

pub(crate) struct TestStream {
    net: Net,
    owner: SocketAddr,
    pipe: Option<Pipe>,
    closed: bool,
    /// The last operation waited, so that the next one may go on. For a stream without a pipe: it is never connected.
    waited: bool,
}

impl TestStream {
    fn chunk(&self) -> usize {
        self.net.ports().get(&self.owner).map_or(usize::MAX, |port| port.chunk)
    }

    /// With small chunks every other operation waits, as on a slow link.
    fn must_wait(&mut self, cx: &Context<'_>) -> bool {
        if self.chunk() == usize::MAX {
            return false;
        }
        self.waited = !self.waited;
        if self.waited {
            cx.waker().wake_by_ref();
        }
        self.waited
    }
}

impl Stream for TestStream {
    fn poll_open(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        match &self.pipe {
            Some(_) => Poll::Ready(Ok(())),
            None if self.waited => Poll::Pending,
            None => Poll::Ready(Err(StreamFailure::Unreachable)),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, StreamFailure>> {
        let chunk = self.chunk();
        let Some(pipe) = &self.pipe else { return Poll::Ready(Err(StreamFailure::Local)) };
        let mut half = pipe.incoming.lock().unwrap();
        if half.reset {
            return Poll::Ready(Err(StreamFailure::Reset));
        }
        if half.bytes.is_empty() {
            if half.ended {
                return Poll::Ready(Ok(0));
            }
            half.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(half);
        if self.must_wait(cx) {
            return Poll::Pending;
        }
        let Some(pipe) = &self.pipe else { return Poll::Pending };
        let mut half = pipe.incoming.lock().unwrap();
        let len = half.bytes.len().min(buf.len()).min(chunk);
        for (to, from) in buf.iter_mut().zip(half.bytes.drain(..len)) {
            *to = from;
        }
        Port::wake(&mut half.writer);
        Poll::Ready(Ok(len))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamFailure>> {
        let chunk = self.chunk();
        if let Some(port) = self.net.ports().get_mut(&self.owner).filter(|port| port.stuck) {
            port.writers.push(cx.waker().clone());
            return Poll::Pending;
        }
        if self.must_wait(cx) {
            return Poll::Pending;
        }
        let Some(pipe) = &self.pipe else { return Poll::Ready(Err(StreamFailure::Local)) };
        if pipe.incoming.lock().unwrap().reset {
            return Poll::Ready(Err(StreamFailure::Reset));
        }
        let mut half = pipe.outgoing.lock().unwrap();
        let room = CAPACITY.saturating_sub(half.bytes.len());
        if room == 0 {
            half.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let len = bytes.len().min(room).min(chunk);
        half.bytes.extend(&bytes[..len]);
        Port::wake(&mut half.reader);
        Poll::Ready(Ok(len))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<()> {
        if let Some(pipe) = &self.pipe {
            let mut half = pipe.outgoing.lock().unwrap();
            half.ended = true;
            Port::wake(&mut half.reader);
        }
        self.closed = true;
        Poll::Ready(())
    }
}

impl Drop for TestStream {
    fn drop(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        if !self.closed {
            let mut half = pipe.outgoing.lock().unwrap();
            half.reset = true;
            Port::wake(&mut half.reader);
        }
        Port::wake(&mut pipe.incoming.lock().unwrap().writer);
        if let Some(port) = self.net.ports().get_mut(&self.owner) {
            if self.closed { port.closed += 1 } else { port.aborted += 1 }
        }
    }
}

//! async-std as the runtime of the driver, and of quinn.
//!
//! quinn has dropped async-std from its next version; this is all that is needed of it, over async-io's reactor.

use core::fmt;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io::{self, IoSliceMut};
use std::net::{ToSocketAddrs, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time;

use async_io::Async;
use gossip_driver::gossip_proto::Instant;
use gossip_driver::{Runtime, Timer};
use quinn::{AsyncTimer, AsyncUdpSocket, UdpPoller};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

/// async-std as the runtime of the driver. Its clock starts at zero when it is made.
#[derive(Clone, Debug)]
pub struct AsyncStdRuntime {
    origin: time::Instant,
}

impl AsyncStdRuntime {
    /// The runtime; there is one per process, and it starts by itself.
    pub fn new() -> Self {
        Self { origin: time::Instant::now() }
    }
}

impl Default for AsyncStdRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for AsyncStdRuntime {
    type Timer = AsyncStdTimer;

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    fn timer(&self) -> AsyncStdTimer {
        AsyncStdTimer { timer: async_io::Timer::never(), origin: self.origin, expired: false }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        async_std::task::spawn(task);
    }

    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        let host = host.to_owned();
        async_std::task::spawn_blocking(move || {
            let mut found: Vec<IpAddr> = Vec::new();
            for addr in (host, 0).to_socket_addrs()? {
                if !found.contains(&addr.ip()) {
                    found.push(addr.ip());
                }
            }
            Ok(found)
        })
    }

    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static {
        async_std::task::spawn_blocking(work)
    }
}

/// A timer of async-io.
#[derive(Debug)]
pub struct AsyncStdTimer {
    timer: async_io::Timer,
    origin: time::Instant,
    expired: bool,
}

impl Timer for AsyncStdTimer {
    fn set(&mut self, deadline: Instant) {
        let after = (deadline - Instant::ORIGIN).min(FAR);
        let deadline = self.origin.checked_add(after).unwrap_or(self.origin + FAR);
        self.timer.set_at(deadline);
        self.expired = false;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.expired {
            ready!(Pin::new(&mut self.timer).poll(cx));
            self.expired = true;
        }
        Poll::Ready(())
    }
}

/// async-std as the runtime of quinn.
#[derive(Debug)]
pub(crate) struct AsyncStdQuic;

impl quinn::Runtime for AsyncStdQuic {
    fn new_timer(&self, deadline: time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(QuicTimer(async_io::Timer::at(deadline)))
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        async_std::task::spawn(task);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Arc::new(QuicSocket { socket: Async::new(socket)?, state, pause: Mutex::default() }))
    }
}

#[derive(Debug)]
struct QuicTimer(async_io::Timer);

impl AsyncTimer for QuicTimer {
    fn reset(mut self: Pin<&mut Self>, deadline: time::Instant) {
        self.0.set_at(deadline);
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

#[derive(Debug)]
struct QuicSocket {
    socket: Async<UdpSocket>,
    state: UdpSocketState,
    pause: Mutex<Pause>,
}

/// Waits out failures to receive: each in a row twice as long.
#[derive(Debug, Default)]
struct Pause {
    last: Option<Duration>,
    timer: Option<async_io::Timer>,
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.state.send((&self.socket).into(), transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(timer) = &mut pause.timer {
                ready!(Pin::new(timer).poll(cx));
                pause.timer = None;
            }
            // Tried first: the reactor says once that there is something, and the socket for as long as there is.
            match self.state.recv((&self.socket).into(), buffers, meta) {
                Ok(count) => {
                    pause.last = None;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_readable(cx))?
                }
                // What a peer's host answers to an earlier datagram (Windows) is no failure of the socket.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
                    ) => {}
                // To quinn an error would be the end of the endpoint, and most of them pass.
                Err(_) => {
                    let next = pause.last.map_or(SHORTEST, |last| (last * 2).min(LONGEST));
                    (pause.last, pause.timer) = (Some(next), Some(async_io::Timer::after(next)));
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room in the socket, for one task; several may wait at once.
struct Writable {
    socket: Arc<QuicSocket>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket.clone();
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(async move { socket.socket.writable().await }));
        let writable = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(writable)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writable").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// As good as never, and still a time that every platform can express.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
/// How long the socket is left alone after a failure.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use quinn::Runtime as _;

    use super::*;

    #[test]
    fn a_failure_to_receive_is_not_the_end_of_the_socket() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (socket, peer) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        // One that is connected hears of it that nobody is there.
        socket.connect(nobody).unwrap();
        socket.send(b"anybody?").unwrap();
        let other = socket.try_clone().unwrap();
        let wrapped = AsyncStdQuic.wrap_udp_socket(socket).unwrap();
        let (mut buf, mut meta) = ([0; 100], [RecvMeta::default()]);
        let mut receive =
            |cx: &mut Context<'_>| wrapped.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut meta);
        let mut cx = Context::from_waker(core::task::Waker::noop());
        assert!(receive(&mut cx).is_pending());

        other.connect(peer.local_addr().unwrap()).unwrap();
        peer.send_to(b"hello", other.local_addr().unwrap()).unwrap();
        let count = async_std::task::block_on(core::future::poll_fn(|cx| receive(cx))).unwrap();
        assert_eq!((count, meta[0].len), (1, 5));
    }
}

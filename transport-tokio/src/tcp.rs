//! Streams over TCP.

use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io::{self, ErrorKind};

use gossip_driver::Stream;
use gossip_driver::gossip_proto::StreamFailure;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::backoff::Backoff;

/// A TCP connection.
pub struct Tcp {
    state: State,
    /// Our side is shut down; what still arrives is thrown away.
    shut: bool,
    drained: usize,
}

enum State {
    Connecting(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Connected(TcpStream),
    Failed,
}

impl Tcp {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self { state: State::Connecting(Box::pin(TcpStream::connect(to))), shut: false, drained: 0 }
    }

    fn accepted(stream: TcpStream) -> Self {
        // Exchanges are written in few large pieces; waiting for more would only delay the last one.
        let _ = stream.set_nodelay(true);
        Self { state: State::Connected(stream), shut: false, drained: 0 }
    }

    fn connected(&mut self) -> Result<Pin<&mut TcpStream>, StreamFailure> {
        match &mut self.state {
            State::Connected(stream) => Ok(Pin::new(stream)),
            _ => Err(StreamFailure::Local),
        }
    }
}

impl Stream for Tcp {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        if let State::Connecting(connecting) = &mut self.state {
            match ready!(connecting.as_mut().poll(cx)) {
                Ok(stream) => *self = Self::accepted(stream),
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(match error.kind() {
                        ErrorKind::TimedOut => StreamFailure::TimedOut,
                        _ if is_local(&error) => StreamFailure::Local,
                        _ => StreamFailure::Unreachable,
                    }));
                }
            }
        }
        Poll::Ready(self.connected().map(drop))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, StreamFailure>> {
        let mut buf = ReadBuf::new(buf);
        match ready!(self.connected()?.poll_read(cx, &mut buf)) {
            Ok(()) => Poll::Ready(Ok(buf.filled().len())),
            Err(error) => Poll::Ready(Err(broken(&error))),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamFailure>> {
        match ready!(self.connected()?.poll_write(cx, bytes)) {
            Ok(0) => Poll::Ready(Err(StreamFailure::Reset)),
            Ok(len) => Poll::Ready(Ok(len)),
            Err(error) => Poll::Ready(Err(broken(&error))),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Connected(stream) = &mut self.state else { return Poll::Ready(()) };
        let mut stream = Pin::new(stream);
        if !self.shut {
            if ready!(stream.as_mut().poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.shut = true;
        }
        // A socket that is closed over unread input sends a reset, which makes the peer's system throw away an answer
        // that it has not read yet. So the rest is read, up to a limit that stops whoever never ends.
        let mut scratch = [0; 4096];
        while self.drained < DRAIN {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(stream.as_mut().poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => self.drained += buf.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Tcp {
    /// A stream that was not closed is broken off: the peer must not take half a message for a whole one. After our side was
    /// shut down the system delivers the rest by itself, however long the peer takes to read it.
    fn drop(&mut self) {
        if let State::Connected(stream) = &self.state
            && !self.shut
        {
            // Fails when the connection is gone already.
            let _ = stream.set_zero_linger();
        }
    }
}

/// The next connection; failures are waited out.
pub(crate) fn poll_accept(
    listener: &TcpListener,
    backoff: &mut Backoff,
    cx: &mut Context<'_>,
) -> Poll<(Tcp, SocketAddr)> {
    loop {
        ready!(backoff.poll_ready(cx));
        match ready!(listener.poll_accept(cx)) {
            Ok((stream, from)) => {
                backoff.succeed();
                return Poll::Ready((Tcp::accepted(stream), from));
            }
            // The peer went away while it waited to be accepted.
            Err(error)
                if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(_) => backoff.fail(),
        }
    }
}

fn broken(error: &io::Error) -> StreamFailure {
    match error.kind() {
        ErrorKind::TimedOut => StreamFailure::TimedOut,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::UnexpectedEof => StreamFailure::Reset,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => StreamFailure::Unreachable,
        _ => StreamFailure::Local,
    }
}

/// No more files, memory or ports here: says nothing about the peer.
fn is_local(error: &io::Error) -> bool {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        return true;
    }
    matches!(error.kind(), ErrorKind::OutOfMemory | ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

/// Most bytes thrown away while closing.
const DRAIN: usize = 1 << 20;

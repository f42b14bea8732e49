//! Streams over TCP, with TLS if that is asked for.

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

/// A TCP connection, or a TLS session on one.
pub struct Tcp {
    state: State,
    /// Bytes that are encrypted and on their way to the socket, but that the caller was not yet told are taken.
    owed: usize,
    /// Our side is shut down; what still arrives is thrown away.
    shut: bool,
    drained: usize,
}

enum State {
    Connecting(Connecting),
    Connected(Socket),
    Failed,
}

/// A connection on its way.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;

/// What bytes go through.
pub(crate) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<crate::tls::Session>),
}

impl Tcp {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::connecting(Box::pin(async move { TcpStream::connect(to).await.map(Socket::Plain) }))
    }

    pub(crate) fn connecting(connecting: Connecting) -> Self {
        Self { state: State::Connecting(connecting), owed: 0, shut: false, drained: 0 }
    }

    pub(crate) fn accepted(socket: Socket) -> Self {
        // Exchanges are written in few large pieces; waiting for more would only delay the last one.
        let _ = socket.tcp().set_nodelay(true);
        Self { state: State::Connected(socket), owed: 0, shut: false, drained: 0 }
    }

    fn connected(&mut self) -> Result<Pin<&mut Socket>, StreamFailure> {
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
                Ok(socket) => *self = Self::accepted(socket),
                Err(error) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(match error.kind() {
                        ErrorKind::TimedOut => StreamFailure::TimedOut,
                        // Somebody is there, and it came to no session.
                        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                            StreamFailure::Reset
                        }
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
        if self.owed == 0 {
            match ready!(self.connected()?.poll_write(cx, bytes)) {
                Ok(0) => return Poll::Ready(Err(StreamFailure::Reset)),
                Ok(len) => self.owed = len,
                Err(error) => return Poll::Ready(Err(broken(&error))),
            }
        }
        // A TLS session takes bytes that the socket has no room for, and nobody would push them on after the last ones. So
        // they count as taken once they are in the socket.
        match ready!(self.connected()?.poll_flush(cx)) {
            Ok(()) => {
                let taken = self.owed.min(bytes.len());
                self.owed -= taken;
                Poll::Ready(Ok(taken))
            }
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
            let _ = stream.tcp().set_zero_linger();
        }
    }
}

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(session) => session.tcp(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(session) => session.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(session) => session.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(session) => session.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(session) => session.poll_shutdown(cx),
        }
    }
}

/// The next connection; failures are waited out.
pub(crate) fn poll_accept(
    listener: &TcpListener,
    backoff: &mut Backoff,
    cx: &mut Context<'_>,
) -> Poll<(TcpStream, SocketAddr)> {
    loop {
        ready!(backoff.poll_ready(cx));
        match ready!(listener.poll_accept(cx)) {
            Ok((stream, from)) => {
                backoff.succeed();
                return Poll::Ready((stream, SocketAddr::new(from.ip().to_canonical(), from.port())));
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
        | ErrorKind::UnexpectedEof
        | ErrorKind::InvalidData => StreamFailure::Reset,
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

//! TLS on TCP: who gets a stream is a member, and nobody else reads it.
//!
//! Datagrams are not touched by it; a keyring encrypts those. So nobody's identity is proven to the machine, and
//! `Config::identities` stays off. There is no way back to plaintext: a node with TLS neither accepts nor opens a stream
//! without it.

use core::fmt;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use gossip_tls::rustls::pki_types::ServerName;
use gossip_tls::rustls::{AlertDescription, ClientConfig, Error, ServerConfig};
use gossip_tls::{Credentials, TlsError, explain_alert, protocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::backoff::Backoff;
use crate::tcp::{self, Socket, Tcp};

/// TLS on the streams of a node. Clones share one state.
#[derive(Clone)]
pub struct Tls {
    credentials: Credentials,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    refusals: Arc<Mutex<VecDeque<TlsRefusal>>>,
    #[cfg(feature = "tracing")]
    warnings: Arc<Mutex<Throttle>>,
}

/// A stream that did not come about, or broke, because of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsRefusal {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// What was wrong, and on which side.
    pub why: String,
}

impl Tls {
    /// With these credentials. `label` is the cluster's label, or empty: clusters with different ones do not even shake
    /// hands, although they share an authority. Fails if the credentials are of no use.
    pub fn new(credentials: Credentials, label: &[u8]) -> Result<Self, TlsError> {
        let protocol = protocol("tcp", label);
        Ok(Self {
            client: Arc::new(credentials.client_config(protocol.clone())?),
            server: Arc::new(credentials.server_config(protocol)?),
            credentials,
            refusals: Arc::default(),
            #[cfg(feature = "tracing")]
            warnings: Arc::default(),
        })
    }

    /// The credentials, to reload them: that counts from the next connection on. A stream is one request and its reply, so
    /// those that are open do not matter for long.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The streams that TLS refused since this was last asked, the oldest first; of many, the last 64. With the feature
    /// `tracing` they are warnings as well: at most ten in ten seconds, and then how many more there were.
    pub fn take_refusals(&self) -> Vec<TlsRefusal> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Opens a stream. Away from the caller's task, which has better things to do than to verify signatures.
    pub(crate) fn connect(&self, to: SocketAddr, handle: &Handle) -> Tcp {
        let tls = self.clone();
        let task = handle.spawn(async move {
            let stream = TcpStream::connect(to).await?;
            let connector = TlsConnector::from(tls.client.clone());
            match connector.connect(ServerName::IpAddress(to.ip().into()), stream).await {
                Ok(stream) => Ok(Socket::Tls(Box::new(Session { stream: stream.into(), peer: to, tls }))),
                Err(error) => {
                    tls.note(to, &error, Phase::Dialling);
                    // That it came to no session is not that nobody is there.
                    Err(io::Error::new(ErrorKind::InvalidData, error))
                }
            }
        });
        let mut task = Aborted(task);
        Tcp::connecting(Box::pin(async move {
            match (&mut task.0).await {
                Ok(connected) => connected,
                Err(error) => Err(io::Error::other(error)),
            }
        }))
    }

    async fn accept(self, stream: TcpStream, from: SocketAddr) -> Option<(Tcp, SocketAddr)> {
        let acceptor = TlsAcceptor::from(self.server.clone());
        match timeout(LONGEST, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let session = Session { stream: stream.into(), peer: from, tls: self };
                Some((Tcp::accepted(Socket::Tls(Box::new(session))), from))
            }
            Ok(Err(error)) => {
                self.note(from, &error, Phase::Accepting);
                None
            }
            Err(_) => {
                let error = io::Error::new(ErrorKind::TimedOut, "the peer does not finish the handshake");
                self.note(from, &error, Phase::Accepting);
                None
            }
        }
    }

    /// Remembers, and says, why a stream was refused.
    fn note(&self, peer: SocketAddr, error: &io::Error, phase: Phase) {
        let why = explain(error, phase);
        #[cfg(feature = "tracing")]
        {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            match warnings.admit(Instant::now()) {
                Some(0) => tracing::warn!("memberlist: TLS refused with={peer}: {why}"),
                Some(silent) => {
                    tracing::warn!("memberlist: TLS refused with={peer}: {why} (and {silent} more before it)")
                }
                None => {}
            }
        }
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() == REFUSALS {
            refusals.pop_front();
        }
        refusals.push_back(TlsRefusal { peer, why });
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// Any stranger can cause a warning, and must not be able to fill a disk with them.
#[cfg(feature = "tracing")]
#[derive(Debug, Default)]
struct Throttle {
    since: Option<Instant>,
    said: u32,
    silent: u64,
}

#[cfg(feature = "tracing")]
impl Throttle {
    /// Whether to say something now; if so, how many were not said before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now - since >= WINDOW) {
            (self.since, self.said) = (Some(now), 0);
        }
        if self.said >= WARNINGS {
            self.silent += 1;
            return None;
        }
        self.said += 1;
        Some(core::mem::take(&mut self.silent))
    }
}

/// A task that ends when nobody waits for it any more.
struct Aborted<A>(JoinHandle<A>);

impl<A> Drop for Aborted<A> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Dialling,
    Accepting,
    Open,
}

/// What an error means to whoever runs this node.
fn explain(error: &io::Error, phase: Phase) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(alert)) => match explain_alert(u8::from(*alert)) {
            Some(meaning) => meaning.into(),
            None => format!("the peer ended it: {alert:?}"),
        },
        Some(Error::InvalidMessage(_)) if phase != Phase::Open => {
            "the peer does not speak TLS: plaintext gossip is refused, all nodes of a cluster need TLS or none".into()
        }
        Some(Error::NoCertificatesPresented) => "the peer presented no certificate".into(),
        Some(Error::NoApplicationProtocol) => "the peer belongs to another cluster: its label differs".into(),
        Some(error) => format!("this node does not let the peer in: {error}"),
        None if phase == Phase::Dialling && gone(error) => {
            format!("the peer ended the connection instead of shaking hands; perhaps it has no TLS ({error})")
        }
        None => format!("the handshake broke off: {error}"),
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// A session, of which the peer may still say that it is not wanted: a client learns that only after the handshake.
pub(crate) struct Session {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    tls: Tls,
}

impl Session {
    pub(crate) fn tcp(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        Poll::Ready(self.judged(read))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn judged<A>(&self, result: io::Result<A>) -> io::Result<A> {
        if let Err(error) = &result
            && error.get_ref().is_some_and(|inner| {
                // A peer that is merely closed says that with an alert of its own.
                inner.downcast_ref::<Error>().is_some_and(|error| {
                    !matches!(error, Error::AlertReceived(AlertDescription::CloseNotify))
                })
            })
        {
            self.tls.note(self.peer, error, Phase::Open);
        }
        result
    }
}

/// Handshakes of connections that others have opened. They go on side by side: who is slow, or silent, is in nobody's way.
pub(crate) struct Handshakes {
    tls: Tls,
    handle: Handle,
    running: JoinSet<Option<(Tcp, SocketAddr)>>,
    /// The same, the oldest first, and since when.
    order: VecDeque<(AbortHandle, Instant)>,
    crowded: Option<Pin<Box<Sleep>>>,
}

impl Handshakes {
    pub(crate) fn new(tls: Tls) -> Self {
        let handle = Handle::current();
        Self { tls, handle, running: JoinSet::new(), order: VecDeque::new(), crowded: None }
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> Tcp {
        self.tls.connect(to, &self.handle)
    }

    /// The next stream whose peer has proven that it belongs here.
    pub(crate) fn poll_accept(
        &mut self,
        listener: &TcpListener,
        backoff: &mut Backoff,
        cx: &mut Context<'_>,
    ) -> Poll<(Tcp, SocketAddr)> {
        loop {
            match self.running.poll_join_next(cx) {
                Poll::Ready(Some(Ok(Some(accepted)))) => return Poll::Ready(accepted),
                Poll::Ready(Some(_)) => continue,
                Poll::Ready(None) | Poll::Pending => {}
            }
            if self.running.len() >= MOST {
                ready!(self.poll_room(cx));
                continue;
            }
            let (stream, from) = ready!(tcp::poll_accept(listener, backoff, cx));
            let task = self.tls.clone().accept(stream, from);
            let abort = self.running.spawn_on(task, &self.handle);
            self.order.retain(|(task, _)| !task.is_finished());
            self.order.push_back((abort, Instant::now()));
        }
    }

    /// All places are taken. Whoever has had enough time gives up his, so that silence does not keep others out; until then
    /// the system keeps who has connected.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.order.retain(|(task, _)| !task.is_finished());
        let Some((task, since)) = self.order.front() else { return Poll::Pending };
        let until = *since + ENOUGH;
        if until <= Instant::now() {
            task.abort();
            self.order.pop_front();
            // Its end is reported where the others' are.
            return Poll::Pending;
        }
        let sleep = self.crowded.insert(Box::pin(sleep_until(until)));
        sleep.as_mut().poll(cx)
    }
}

impl fmt::Debug for Handshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshakes").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

/// Handshakes of inbound connections at once: twice as many as there can be inbound streams.
const MOST: usize = 256;
/// How long a handshake may take: as long as memberlist waits for a stream.
const LONGEST: Duration = Duration::from_secs(10);
/// How long it may take when others wait for its place. Those give up after their own stream timeout, so that this has to be
/// shorter; a machine too slow for a crowd of handshakes sends some of it away, to come again.
const ENOUGH: Duration = Duration::from_secs(1);
/// Refusals that are remembered until somebody asks.
const REFUSALS: usize = 64;
/// Warnings in a window.
#[cfg(feature = "tracing")]
const WARNINGS: u32 = 10;
#[cfg(feature = "tracing")]
const WINDOW: Duration = Duration::from_secs(10);

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_log() {
        let mut throttle = Throttle::default();
        let begun = Instant::now();
        let said: Vec<_> =
            (0..20_000).filter_map(|n| throttle.admit(begun + Duration::from_millis(n))).collect();
        let mut expected = vec![0; 20];
        expected[10] = 10_000 - 10;
        assert_eq!(said, expected);
    }
}

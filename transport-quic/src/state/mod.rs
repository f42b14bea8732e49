//! All connections: which one leads to an address, what waits for it, what came over it.

mod arrivals;
mod links;

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use gossip_driver::TransportEvent;
use gossip_driver::gossip_proto::{IdentityId, Source, Transmit, TransmitFailure, TransmitId};
use quinn::{Connection, SendDatagramError};

use self::arrivals::Handshake;
use crate::limits::Limits;
use crate::refusal::{DUPLICATE, SILENT};
use crate::shared::{Held, remember};
use crate::stream::QuicStream;
use crate::waiting::Waiting;

/// One connection.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// Where it led when it was opened: what the machine knows the peer by, wherever it moves.
    pub(crate) addr: SocketAddr,
    pub(crate) identity: IdentityId,
    /// Both sides have the same one for the same connection.
    tie: [u8; 32],
    dialled: bool,
    since: Instant,
    used: Instant,
    pub(crate) streams: Arc<AtomicUsize>,
    /// Received, not yet handed over.
    inbox: VecDeque<Bytes>,
    reader: Option<Waker>,
    /// Streams that the peer opened and that are not taken yet.
    untaken: usize,
    acceptor: Option<Waker>,
    /// What was said about the path last.
    mtu: usize,
    /// Sent before the peer has shown that it lets this node in.
    early: Vec<TransmitId>,
    heard: bool,
    /// Packets received at the last look, and since when there was something sent and none came.
    packets: u64,
    silent_since: Option<Instant>,
    /// Another one leads to the address; this one goes when its streams are over.
    retired: Option<Instant>,
    gone: bool,
}

enum Path {
    /// `attempt` says by which attempt of this node: an earlier one that ends late must not end this.
    Opening {
        attempt: u64,
        waiting: Waiting,
        waiters: Vec<Waker>,
    },
    Open(u64),
}

/// What leads to an address.
pub(crate) enum Found {
    Open((Connection, Held)),
    /// Somebody opens a connection; the waker will be called.
    Opening,
    /// The caller has to open one, and to say under this number what became of it.
    Begun(u64),
    /// It could not be opened.
    Failed,
    /// Too many are being opened.
    Full,
}

/// See the module.
pub(crate) struct State {
    limits: Limits,
    pub(crate) now: Instant,
    pub(crate) wakes: Vec<Waker>,
    paths: BTreeMap<SocketAddr, Path>,
    opening: usize,
    next_attempt: u64,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    /// Links with datagrams, each once, taken in turn.
    ready: VecDeque<u64>,
    inbox_bytes: usize,
    accepted: VecDeque<(u64, QuicStream, Source)>,
    events: VecDeque<TransportEvent>,
    refusals: usize,
    /// Of peers, the oldest first.
    handshakes: BTreeMap<u64, Handshake>,
    next_handshake: u64,
    handshakes_by_network: BTreeMap<IpAddr, usize>,
    receive_waker: Option<Waker>,
    accept_waker: Option<Waker>,
    event_waker: Option<Waker>,
    pub(crate) sweeper: Option<Waker>,
    /// When [`State::sweep`] was called last.
    swept: Instant,
}

impl State {
    pub(crate) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            now,
            wakes: Vec::new(),
            paths: BTreeMap::new(),
            opening: 0,
            next_attempt: 0,
            links: BTreeMap::new(),
            next_link: 0,
            ready: VecDeque::new(),
            inbox_bytes: 0,
            accepted: VecDeque::new(),
            events: VecDeque::new(),
            refusals: 0,
            handshakes: BTreeMap::new(),
            next_handshake: 0,
            handshakes_by_network: BTreeMap::new(),
            receive_waker: None,
            accept_waker: None,
            event_waker: None,
            sweeper: None,
            swept: now,
        }
    }

    // Paths.

    /// What leads to an address. `begin`: if there is nothing, it is noted that the caller opens a connection.
    pub(crate) fn find(&mut self, to: SocketAddr, begin: bool, waiter: Option<&Waker>) -> Found {
        match self.paths.get_mut(&to) {
            Some(Path::Open(id)) => {
                let Some(link) = self.links.get_mut(id) else { return Found::Failed };
                link.used = self.now;
                Found::Open((link.connection.clone(), Held::new(*id, &link.streams)))
            }
            Some(Path::Opening { waiters, .. }) => {
                if let Some(waiter) = waiter {
                    remember(waiters, waiter);
                }
                Found::Opening
            }
            None if !begin => Found::Failed,
            None if self.opening >= self.limits.opening => Found::Full,
            None => {
                self.opening += 1;
                let waiters = waiter.cloned().into_iter().collect();
                let attempt = self.next_attempt;
                self.next_attempt += 1;
                self.paths.insert(to, Path::Opening { attempt, waiting: Waiting::default(), waiters });
                Found::Begun(attempt)
            }
        }
    }

    /// Sends a datagram, or has it wait for its path. If the caller has to open a connection for it, the attempt's number.
    pub(crate) fn send(&mut self, transmit: &Transmit, bytes: &[u8]) -> Option<u64> {
        let (id, to) = (transmit.id, transmit.to);
        if let Some(&Path::Open(link)) = self.paths.get(&to) {
            match self.send_on(link, id, bytes, false) {
                Ok(()) => return None,
                // It has just broken; its task has yet to say so. A new one is opened.
                Err(()) => self.forget_path(to),
            }
        }
        let begun = match self.find(to, true, None) {
            Found::Begun(attempt) => Some(attempt),
            Found::Full => {
                self.failed(id, TransmitFailure::Local);
                return None;
            }
            _ => None,
        };
        if let Some(Path::Opening { waiting, .. }) = self.paths.get_mut(&to)
            && let Some(displaced) = waiting.push(id, transmit.kind, Bytes::copy_from_slice(bytes))
        {
            self.failed(displaced, TransmitFailure::Local);
        }
        begun
    }

    fn send_on(&mut self, link_id: u64, id: TransmitId, bytes: &[u8], waited: bool) -> Result<(), ()> {
        let Some(link) = self.links.get_mut(&link_id) else { return Err(()) };
        let limit = link.connection.max_datagram_size();
        self.measure(link_id);
        let Some(link) = self.links.get_mut(&link_id) else { return Err(()) };
        // What is in front of it waits for the congestion window.
        let queued =
            link.connection.datagram_send_buffer_space() + DATAGRAM_OVERHEAD < self.limits.datagram_buffer;
        match link.connection.send_datagram(Bytes::copy_from_slice(bytes)) {
            Ok(()) => {
                link.used = self.now;
                link.silent_since.get_or_insert(self.now);
                if !link.heard && link.early.len() < MOST_EARLY {
                    link.early.push(id);
                }
                if queued || waited {
                    self.events.push_back(TransportEvent::TransmitDelayed { id });
                    self.wake_event();
                }
                Ok(())
            }
            Err(SendDatagramError::ConnectionLost(_)) => Err(()),
            Err(SendDatagramError::TooLarge) => {
                self.failed(id, TransmitFailure::TooBig(limit.unwrap_or(0)));
                Ok(())
            }
            // The peer is none of us: all of us take datagrams.
            Err(SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled) => {
                self.failed(id, TransmitFailure::Unreachable);
                Ok(())
            }
        }
    }

    /// Says what the path carries, if that has changed.
    fn measure(&mut self, link: u64) {
        let Some(link) = self.links.get_mut(&link) else { return };
        if let Some(limit) = link.connection.max_datagram_size().filter(|&limit| limit != link.mtu) {
            link.mtu = limit;
            let event = TransportEvent::PathMtu { to: link.addr, max_datagram: limit };
            self.events.push_back(event);
            self.wake_event();
        }
    }

    /// A connection could not be opened.
    pub(crate) fn dial_failed(
        &mut self,
        to: SocketAddr,
        number: u64,
        why: TransmitFailure,
        refused: Option<String>,
    ) {
        self.opening -= 1;
        if let Some(why) = refused {
            self.refused(to, why);
        }
        // The peer may have opened one meanwhile; then nothing is lost. Or that one is gone already, and a later attempt runs.
        if matches!(self.paths.get(&to), Some(Path::Opening { attempt, .. }) if *attempt == number)
            && let Some(Path::Opening { mut waiting, waiters, .. }) = self.paths.remove(&to)
        {
            for (id, _) in waiting.drain() {
                self.failed(id, why);
            }
            self.wakes.extend(waiters);
        }
    }

    /// This node's own attempt has ended well.
    pub(crate) fn dial_ended(&mut self) {
        self.opening -= 1;
    }

    fn forget_path(&mut self, to: SocketAddr) {
        self.paths.remove(&to);
        self.events.push_back(TransportEvent::PathClosed { to });
        self.wake_event();
    }

    // News.

    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent> {
        let Some(event) = self.events.pop_front() else {
            self.event_waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if matches!(event, TransportEvent::PeerRefused { .. }) {
            self.refusals -= 1;
        }
        Poll::Ready(event)
    }

    pub(crate) fn failed(&mut self, id: TransmitId, why: TransmitFailure) {
        self.events.push_back(TransportEvent::TransmitFailed { id, why });
        self.wake_event();
    }

    /// Strangers can cause this: not more of it is kept than is of use.
    pub(crate) fn refused(&mut self, peer: SocketAddr, why: String) {
        if self.refusals < MOST_REFUSALS {
            self.refusals += 1;
            self.events.push_back(TransportEvent::PeerRefused { peer, why });
            self.wake_event();
        }
    }

    fn wake_event(&mut self) {
        self.wakes.extend(self.event_waker.take());
    }

    // Housekeeping.

    pub(crate) fn sweep(&mut self) {
        let mut over = Vec::new();
        // This process stood still: answers that came meanwhile may not have been read yet, and nobody is to blame for that.
        let since = core::mem::replace(&mut self.swept, self.now);
        let is_late = self.now.saturating_duration_since(since) > SWEEP + STALL;
        for (&id, link) in &mut self.links {
            if link.gone {
                continue;
            }
            let packets = link.connection.stats().udp_rx.datagrams;
            if core::mem::replace(&mut link.packets, packets) != packets {
                link.silent_since = None;
            }
            if is_late && let Some(silent_since) = &mut link.silent_since {
                *silent_since = self.now;
            }
            let aged = |since: Option<Instant>, limit| {
                since.is_some_and(|since| self.now.saturating_duration_since(since) >= limit)
            };
            let streams = link.streams.load(Ordering::Acquire);
            if aged(link.silent_since, self.limits.silence) {
                over.push((id, SILENT, "no answer"));
            } else if aged(link.retired, if streams == 0 { RETIRE } else { RETIRE_AT_LAST }) {
                over.push((id, DUPLICATE, "another connection is in use"));
            }
        }
        for (id, code, reason) in over {
            self.end(id, code, reason.as_bytes());
        }
    }

    /// All links, to look at them outside of the lock.
    pub(crate) fn links(&self) -> Vec<(u64, Connection, bool)> {
        let live = self.links.iter().filter(|(_, link)| !link.gone);
        live.map(|(&id, link)| (id, link.connection.clone(), link.dialled)).collect()
    }

    pub(crate) fn addr(&self, id: u64) -> Option<SocketAddr> {
        self.links.get(&id).map(|link| link.addr)
    }

    /// Connections, and those being opened or accepted.
    pub(crate) fn census(&self) -> (usize, usize, usize) {
        (self.links.len(), self.opening, self.handshakes.len())
    }

    pub(crate) fn close(&mut self) {
        self.accepted.clear();
        self.wakes.extend(self.sweeper.take());
        for path in self.paths.values_mut() {
            if let Path::Opening { waiters, .. } = path {
                self.wakes.append(waiters);
            }
        }
        for link in self.links.values_mut() {
            // Nobody takes what came over it any more, and its reader must not wait for that: it holds the socket.
            link.gone = true;
            self.wakes.extend(link.reader.take().into_iter().chain(link.acceptor.take()));
        }
    }
}

impl Link {
    fn source(&self) -> Source {
        Source { addr: self.addr, identity: Some(self.identity) }
    }

    fn heard(&mut self) {
        self.heard = true;
        self.early = Vec::new();
    }
}

/// How often links are looked at.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// A look that comes later than this after its time shows that the process did not run.
const STALL: Duration = Duration::from_secs(1);
/// Datagrams remembered until the peer shows that it lets this node in.
const MOST_EARLY: usize = 16;
/// Refusals that wait to be told.
const MOST_REFUSALS: usize = 64;
/// How long a connection that lost against another stays, for what the peer sends before it knows.
const RETIRE: Duration = Duration::from_secs(2);
/// And if it still carries streams.
const RETIRE_AT_LAST: Duration = Duration::from_secs(30);
/// What quinn counts for an empty datagram, with room to spare.
const DATAGRAM_OVERHEAD: usize = 128;

#[cfg(all(test, feature = "runtime-tokio"))]
pub(crate) mod tests;

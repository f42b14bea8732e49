//! All connections: which one leads to an address, what waits for it, what came over it.

use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip_driver::TransportEvent;
use gossip_driver::gossip_proto::{IdentityId, Source, Transmit, TransmitFailure, TransmitId};
use quinn::{Connection, ConnectionError, SendDatagramError, VarInt};

use crate::limits::Limits;
use crate::refusal::{CROWDED, DUPLICATE, SILENT, refusal};
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
    Opening { waiting: Waiting, waiters: Vec<Waker>, failed: bool },
    Open(u64),
}

/// What leads to an address.
pub(crate) enum Found {
    Open((Connection, Held)),
    /// Somebody opens a connection; the waker will be called.
    Opening,
    /// The caller has to open one.
    Begun,
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
    links: BTreeMap<u64, Link>,
    next_link: u64,
    /// Links with datagrams, each once, taken in turn.
    ready: VecDeque<u64>,
    inbox_bytes: usize,
    accepted: VecDeque<(u64, QuicStream, Source)>,
    events: VecDeque<TransportEvent>,
    refusals: usize,
    handshakes: usize,
    handshakes_by_ip: BTreeMap<IpAddr, usize>,
    receive_waker: Option<Waker>,
    accept_waker: Option<Waker>,
    event_waker: Option<Waker>,
    pub(crate) sweeper: Option<Waker>,
}

impl State {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: Instant::now(),
            wakes: Vec::new(),
            paths: BTreeMap::new(),
            opening: 0,
            links: BTreeMap::new(),
            next_link: 0,
            ready: VecDeque::new(),
            inbox_bytes: 0,
            accepted: VecDeque::new(),
            events: VecDeque::new(),
            refusals: 0,
            handshakes: 0,
            handshakes_by_ip: BTreeMap::new(),
            receive_waker: None,
            accept_waker: None,
            event_waker: None,
            sweeper: None,
        }
    }

    // Paths.

    /// What leads to an address. `begin`: if there is nothing, it is noted that the caller opens a connection.
    pub(crate) fn find(&mut self, to: SocketAddr, begin: bool, waiter: Option<&Waker>) -> Found {
        match self.paths.get_mut(&to) {
            Some(Path::Open(id)) => {
                let Some(link) = self.links.get_mut(id) else { return Found::Failed };
                link.used = self.now;
                Found::Open((link.connection.clone(), Held::new(&link.streams)))
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
                self.paths.insert(to, Path::Opening { waiting: Waiting::default(), waiters, failed: false });
                Found::Begun
            }
        }
    }

    /// Sends a datagram, or has it wait for its path; `true` if the caller has to open a connection for it.
    pub(crate) fn send(&mut self, transmit: &Transmit, bytes: &[u8]) -> bool {
        let (id, to) = (transmit.id, transmit.to);
        if let Some(&Path::Open(link)) = self.paths.get(&to) {
            match self.send_on(link, id, bytes, false) {
                Ok(()) => return false,
                // It has just broken; its task has yet to say so. A new one is opened.
                Err(()) => self.forget_path(to),
            }
        }
        let begun = match self.find(to, true, None) {
            Found::Begun => true,
            Found::Full => {
                self.failed(id, TransmitFailure::Local);
                return false;
            }
            _ => false,
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
        if let Some(limit) = limit.filter(|&limit| limit != link.mtu) {
            link.mtu = limit;
            let event = TransportEvent::PathMtu { to: link.addr, max_datagram: limit };
            self.events.push_back(event);
            self.wake_event();
        }
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

    /// A connection could not be opened.
    pub(crate) fn dial_failed(&mut self, to: SocketAddr, why: TransmitFailure, refused: Option<String>) {
        self.opening -= 1;
        if let Some(why) = refused {
            self.refused(to, why);
        }
        // The peer may have opened one meanwhile; then nothing is lost.
        if let Some(Path::Opening { .. }) = self.paths.get(&to)
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

    /// A connection is open, both certificates checked. `None` if there is no room; it is closed then.
    pub(crate) fn opened(
        &mut self,
        connection: Connection,
        addr: SocketAddr,
        identity: IdentityId,
        tie: [u8; 32],
        dialled: bool,
    ) -> Option<u64> {
        if self.links.len() >= self.limits.connections && !self.make_room() {
            connection.close(VarInt::from_u32(CROWDED), b"too many connections");
            return None;
        }
        let id = self.next_link;
        self.next_link += 1;
        let packets = connection.stats().udp_rx.datagrams;
        let link = Link {
            connection,
            addr,
            identity,
            tie,
            dialled,
            since: self.now,
            used: self.now,
            streams: Arc::default(),
            inbox: VecDeque::new(),
            reader: None,
            untaken: 0,
            acceptor: None,
            mtu: 0,
            early: Vec::new(),
            // Who accepts has verified the other's certificate; who dials does not know yet what the other thinks of it.
            heard: !dialled,
            packets,
            silent_since: None,
            retired: None,
            gone: false,
        };
        self.links.insert(id, link);
        match self.paths.get(&addr) {
            Some(&Path::Open(old)) => {
                let loser = if self.prefers(id, old) { old } else { id };
                if let Some(link) = self.links.get_mut(&loser) {
                    link.retired = Some(self.now);
                }
                self.paths.insert(addr, Path::Open(if loser == id { old } else { id }));
            }
            _ => {
                let before = self.paths.insert(addr, Path::Open(id));
                if let Some(Path::Opening { mut waiting, waiters, .. }) = before {
                    for (transmit, bytes) in waiting.drain() {
                        if self.send_on(id, transmit, &bytes, true).is_err() {
                            self.failed(transmit, TransmitFailure::Unreachable);
                        }
                    }
                    self.wakes.extend(waiters);
                }
            }
        }
        Some(id)
    }

    /// Which of two connections to one address stays. If both sides have opened one at the same moment, they must choose
    /// the same; both see the same two `tie`s. Otherwise the older one is no longer known to the peer, or it would not
    /// have opened another.
    fn prefers(&self, new: u64, old: u64) -> bool {
        let (Some(new), Some(old)) = (self.links.get(&new), self.links.get(&old)) else { return true };
        let crossed = new.dialled != old.dialled && new.identity == old.identity && !old.gone;
        let at_once = new.since.saturating_duration_since(old.since) < CROSSING;
        if crossed && at_once { new.tie < old.tie } else { true }
    }

    /// Closes the connection that was used least recently and has no streams; whether there was one.
    fn make_room(&mut self) -> bool {
        let idle = self.links.iter().filter(|(_, link)| link.streams.load(Ordering::Acquire) == 0);
        let Some((&id, _)) = idle.min_by_key(|(id, link)| (link.retired.is_none(), link.used, **id)) else {
            return false;
        };
        self.end(id, CROWDED, b"used least recently");
        true
    }

    /// Closes a connection from here.
    pub(crate) fn end(&mut self, id: u64, code: u32, reason: &[u8]) {
        if let Some(link) = self.links.get(&id) {
            link.connection.close(VarInt::from_u32(code), reason);
            self.lost(id, None);
        }
    }

    /// A connection is over.
    pub(crate) fn lost(&mut self, id: u64, error: Option<&ConnectionError>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if core::mem::replace(&mut link.gone, true) {
            return;
        }
        self.wakes.extend(link.reader.take().into_iter().chain(link.acceptor.take()));
        let (addr, early) = (link.addr, core::mem::take(&mut link.early));
        let refused = error.and_then(refusal);
        let drained = link.inbox.is_empty();
        for id in early {
            // It was never let in: what it sent was read by nobody.
            if refused.is_some() {
                self.failed(id, TransmitFailure::Unreachable);
            }
        }
        if let Some(why) = refused {
            self.refused(addr, why);
        }
        if matches!(self.paths.get(&addr), Some(&Path::Open(open)) if open == id) {
            let other =
                self.links.iter().rfind(|(_, link)| link.addr == addr && !link.gone).map(|(&id, _)| id);
            match other {
                Some(other) => {
                    if let Some(link) = self.links.get_mut(&other) {
                        link.retired = None;
                        link.mtu = 0;
                    }
                    self.paths.insert(addr, Path::Open(other));
                }
                None => self.forget_path(addr),
            }
        }
        // What came before the end is still heard.
        if drained {
            self.links.remove(&id);
        }
    }

    fn forget_path(&mut self, to: SocketAddr) {
        self.paths.remove(&to);
        self.events.push_back(TransportEvent::PathClosed { to });
        self.wake_event();
    }

    // Datagrams from peers.

    /// Whether a connection may read another datagram; if not, the waker is called when it may.
    pub(crate) fn poll_room(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<()> {
        let full = self.inbox_bytes >= self.limits.inbox;
        let Some(link) = self.links.get_mut(&id) else { return Poll::Ready(()) };
        if !link.gone && (link.inbox.len() >= MOST_INBOX || (full && !link.inbox.is_empty())) {
            link.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(crate) fn received(&mut self, id: u64, bytes: Bytes) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.used = self.now;
        link.heard();
        self.inbox_bytes += bytes.len();
        link.inbox.push_back(bytes);
        if link.inbox.len() == 1 {
            self.ready.push_back(id);
        }
        self.wakes.extend(self.receive_waker.take());
    }

    /// Takes one received datagram if it is not longer than `room`; connections take turns.
    pub(crate) fn take(&mut self, room: usize) -> Option<(Source, Bytes)> {
        loop {
            let id = *self.ready.front()?;
            let Some(link) = self.links.get_mut(&id) else {
                self.ready.pop_front();
                continue;
            };
            if link.inbox.front().is_some_and(|bytes| bytes.len() > room) {
                return None;
            }
            self.ready.pop_front();
            let Some(bytes) = link.inbox.pop_front() else { continue };
            let source = link.source();
            self.inbox_bytes -= bytes.len();
            self.wakes.extend(link.reader.take());
            if !link.inbox.is_empty() {
                self.ready.push_back(id);
            } else if link.gone {
                self.links.remove(&id);
            }
            return Some((source, bytes));
        }
    }

    pub(crate) fn wait_receive(&mut self, cx: &Context<'_>) {
        self.receive_waker = Some(cx.waker().clone());
    }

    // Streams from peers.

    /// Whether a connection may accept another stream.
    pub(crate) fn poll_accept_room(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some(link) = self.links.get_mut(&id) else { return Poll::Ready(()) };
        if !link.gone && link.untaken >= MOST_UNTAKEN {
            link.acceptor = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// A place in the count of a connection's streams.
    pub(crate) fn hold(&mut self, id: u64) -> Option<Held> {
        let link = self.links.get_mut(&id).filter(|link| !link.gone)?;
        Some(Held::new(&link.streams))
    }

    pub(crate) fn accept(&mut self, id: u64, stream: QuicStream) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.used = self.now;
        link.heard();
        link.untaken += 1;
        self.accepted.push_back((id, stream, link.source()));
        self.wakes.extend(self.accept_waker.take());
    }

    pub(crate) fn poll_accepted(&mut self, cx: &mut Context<'_>) -> Poll<(QuicStream, Source)> {
        let Some((id, stream, source)) = self.accepted.pop_front() else {
            self.accept_waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Some(link) = self.links.get_mut(&id) {
            link.untaken -= 1;
            self.wakes.extend(link.acceptor.take());
        }
        Poll::Ready((stream, source))
    }

    // Handshakes of peers.

    /// How many peers are shaking hands, and how many of them from there.
    pub(crate) fn handshakes(&self, ip: IpAddr) -> (usize, usize) {
        (self.handshakes, self.handshakes_by_ip.get(&ip).copied().unwrap_or(0))
    }

    pub(crate) fn handshake_begun(&mut self, ip: IpAddr) {
        self.handshakes += 1;
        *self.handshakes_by_ip.entry(ip).or_default() += 1;
    }

    pub(crate) fn handshake_ended(&mut self, ip: IpAddr) {
        self.handshakes -= 1;
        if let Some(count) = self.handshakes_by_ip.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.handshakes_by_ip.remove(&ip);
            }
        }
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
        for (&id, link) in &mut self.links {
            if link.gone {
                continue;
            }
            let packets = link.connection.stats().udp_rx.datagrams;
            if core::mem::replace(&mut link.packets, packets) != packets {
                link.silent_since = None;
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
        (self.links.len(), self.opening, self.handshakes)
    }

    pub(crate) fn close(&mut self) {
        self.accepted.clear();
        self.wakes.extend(self.sweeper.take());
        for path in self.paths.values_mut() {
            if let Path::Opening { waiters, failed, .. } = path {
                *failed = true;
                self.wakes.append(waiters);
            }
        }
        for link in self.links.values_mut() {
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

/// Datagrams of one connection that wait for the node; further ones wait with the connection, within its own buffer.
const MOST_INBOX: usize = 32;
/// Streams of one connection that wait to be taken.
const MOST_UNTAKEN: usize = 4;
/// Datagrams remembered until the peer shows that it lets this node in.
const MOST_EARLY: usize = 16;
/// Refusals that wait to be told.
const MOST_REFUSALS: usize = 64;
/// Two connections that were opened this soon after each other may have crossed.
const CROSSING: Duration = Duration::from_secs(5);
/// How long a connection that lost against another stays, for what the peer sends before it knows.
const RETIRE: Duration = Duration::from_secs(2);
/// And if it still carries streams.
const RETIRE_AT_LAST: Duration = Duration::from_secs(30);
/// What quinn counts for an empty datagram, with room to spare.
const DATAGRAM_OVERHEAD: usize = 128;

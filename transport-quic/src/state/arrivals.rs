//! What comes from peers: datagrams, streams, and handshakes that have not ended yet.

use core::net::{IpAddr, Ipv6Addr};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use gossip_driver::gossip_proto::Source;

use super::State;
use crate::shared::Held;
use crate::stream::QuicStream;

impl State {
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
        Some(Held::new(id, &link.streams))
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

    /// How many peers are shaking hands, and how many of them from that network.
    pub(crate) fn handshakes(&self, from: IpAddr) -> (usize, usize) {
        (self.handshakes.len(), self.handshakes_by_network.get(&network(from)).copied().unwrap_or(0))
    }

    pub(crate) fn handshake_begun(&mut self, from: IpAddr) -> u64 {
        let id = self.next_handshake;
        self.next_handshake += 1;
        let network = network(from);
        *self.handshakes_by_network.entry(network).or_default() += 1;
        self.handshakes.insert(id, Handshake { network, since: self.now, waker: None });
        id
    }

    pub(crate) fn handshake_ended(&mut self, id: u64) {
        let Some(handshake) = self.handshakes.remove(&id) else { return };
        self.wakes.extend(handshake.waker);
        if let Some(count) = self.handshakes_by_network.get_mut(&handshake.network) {
            *count -= 1;
            if *count == 0 {
                self.handshakes_by_network.remove(&handshake.network);
            }
        }
    }

    /// Ends a handshake that has had its time: the oldest of the network from which most come. Whether there was one.
    pub(crate) fn displace_handshake(&mut self) -> bool {
        let had_its_time =
            |handshake: &Handshake| self.now.saturating_duration_since(handshake.since) > PATIENCE;
        let stalled = self.handshakes.iter().rev().filter(|(_, handshake)| had_its_time(handshake));
        let displaced =
            stalled.max_by_key(|(_, handshake)| self.handshakes_by_network.get(&handshake.network));
        let Some((&id, _)) = displaced else { return false };
        self.handshake_ended(id);
        true
    }

    /// Ready when the handshake was displaced.
    pub(crate) fn poll_displaced(&mut self, id: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some(handshake) = self.handshakes.get_mut(&id) else { return Poll::Ready(()) };
        handshake.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A handshake that a peer has begun.
pub(super) struct Handshake {
    network: IpAddr,
    since: Instant,
    waker: Option<Waker>,
}

/// What one host can have all addresses of: of IPv6 that is a /64 at least.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

/// How long a handshake keeps its place in any case: several round trips of any path.
const PATIENCE: Duration = Duration::from_secs(1);
/// Datagrams of one connection that wait for the node; further ones wait with the connection, within its own buffer.
const MOST_INBOX: usize = 32;
/// Streams of one connection that wait to be taken.
const MOST_UNTAKEN: usize = 4;

//! What comes from peers: datagrams, streams, and handshakes that have not ended yet.

use core::net::IpAddr;
use core::task::{Context, Poll};

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
}

/// Datagrams of one connection that wait for the node; further ones wait with the connection, within its own buffer.
const MOST_INBOX: usize = 32;
/// Streams of one connection that wait to be taken.
const MOST_UNTAKEN: usize = 4;

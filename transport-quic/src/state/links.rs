//! Connections that open and end.

use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use gossip_driver::gossip_proto::{IdentityId, TransmitFailure};
use quinn::{Connection, ConnectionError, VarInt};

use super::{Link, Path, State};
use crate::refusal::{CROWDED, refusal};

impl State {
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
                self.measure(id);
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

    /// Takes away the connection that is missed least: one that is over, of which only what it still said is left, or one that
    /// another has replaced, or the one that was used least recently and has no streams. Whether there was one.
    fn make_room(&mut self) -> bool {
        if let Some(id) = self.links.iter().find(|(_, link)| link.gone).map(|(&id, _)| id) {
            self.discard(id);
            return true;
        }
        let idle = self.links.iter().filter(|(_, link)| link.streams.load(Ordering::Acquire) == 0);
        let Some((&id, _)) = idle.min_by_key(|(id, link)| (link.retired.is_none(), link.used, **id)) else {
            return false;
        };
        self.end(id, CROWDED, b"used least recently");
        self.discard(id);
        true
    }

    /// Drops a connection that is over, and what came over it.
    fn discard(&mut self, id: u64) {
        if let Some(link) = self.links.remove(&id) {
            self.inbox_bytes -= link.inbox.iter().map(Bytes::len).sum::<usize>();
        }
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
}

/// Two connections that were opened this soon after each other may have crossed.
const CROSSING: Duration = Duration::from_secs(5);

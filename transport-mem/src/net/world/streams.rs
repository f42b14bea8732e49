//! Streams between nodes: requests, bytes and ends on their way.

use core::net::SocketAddr;
use core::time::Duration;
use std::borrow::Cow;

use gossip_proto::{Instant, StreamId};

use crate::conn::{ConnKey, Side, State};
use crate::link::RETRANSMIT;
use crate::net::NodeId;
use crate::net::device::{Kind, Packet, Passed};
use crate::net::observe::StreamPath;
use crate::net::trace::{Entry, NOBODY};
use crate::net::world::{Event, Held, World};

impl World {
    /// Shows the devices something of a stream: how much later than the link would they let it go, and what bytes.
    pub(crate) fn pass_stream<'b>(
        &mut self,
        key: ConnKey,
        sender: Side,
        kind: Kind,
        bytes: &'b [u8],
    ) -> (Duration, Cow<'b, [u8]>) {
        let unchanged = (Duration::ZERO, Cow::Borrowed(bytes));
        if self.devices.is_empty() {
            return unchanged;
        }
        let Some((from, to)) = self.conns.ends(key, sender) else { return unchanged };
        let Some(serial) = self.conns.get(key).map(|conn| conn.serial) else { return unchanged };
        let mut ends = [self.addresses[from as usize], self.addresses[to as usize]];
        ends[sender].set_port(port_of(serial));
        self.pass_segment(serial, kind, (from, ends[0]), (Some(to), ends[1]), bytes)
    }

    fn pass_segment<'b>(
        &mut self,
        stream: u64,
        kind: Kind,
        (from, source): (u32, SocketAddr),
        (to, destination): (Option<u32>, SocketAddr),
        bytes: &'b [u8],
    ) -> (Duration, Cow<'b, [u8]>) {
        if self.devices.is_empty() {
            return (Duration::ZERO, Cow::Borrowed(bytes));
        }
        let (from, to) = (NodeId(from), to.map(NodeId));
        let packet = Packet { at: self.now, from, to, source, destination, kind, stream, bytes };
        let Passed { bytes, delay, .. } = self.devices.pass(&packet);
        (delay.unwrap_or(RETRANSMIT), bytes)
    }

    pub(crate) fn connect(&mut self, from: u32, id: StreamId, to: SocketAddr, deadline: Instant) -> ConnKey {
        self.traffic.streams += 1;
        let peer = self.nodes.get(&to).copied();
        self.trace.bytes(Entry::Connect, self.now, from, peer.unwrap_or(NOBODY), &[]);
        let conn = self.conns.open(from, Held { id: Some(id), ..Held::default() }, peer);
        let delay = peer.map_or(RETRANSMIT, |peer| self.links.segment(self.now, from, peer, 0));
        let serial = self.conns.get(conn).map_or(0, |conn| conn.serial);
        let mut source = self.addresses[from as usize];
        source.set_port(port_of(serial));
        let (held, _) = self.pass_segment(serial, Kind::Open, (from, source), (peer, to), &[]);
        self.queue.push(self.now + held + delay, Event::Request { conn });
        if deadline < Instant::MAX {
            self.queue.push(deadline.max(self.now), Event::GiveUp { conn });
        }
        conn
    }

    /// The answer to a request to connect sets out.
    pub(crate) fn reply(&mut self, key: ConnKey, accepted: bool) {
        let Some((other, opener)) = self.conns.ends(key, 1) else { return };
        let kind = if accepted { Kind::Accept } else { Kind::Refuse };
        let (held, _) = self.pass_stream(key, 1, kind, &[]);
        let at = self.now + held + self.links.segment(self.now, other, opener, 0);
        self.queue.push(at, Event::Answer { conn: key, accepted });
    }

    /// Puts bytes on a stream, cut into segments of any length, as a network may.
    pub(crate) fn write(&mut self, key: ConnKey, writer: Side, bytes: &[u8]) {
        let Some((from, to)) = self.conns.ends(key, writer) else { return };
        self.traffic.stream_bytes += bytes.len() as u64;
        self.trace.bytes(Entry::Written, self.now, from, to, bytes);
        if !bytes.is_empty() {
            let (now, path) = (self.now, StreamPath::new(key, writer, from, to));
            self.observers.tell(|observer| observer.wrote(now, path, bytes));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let Some(conn) = self.conns.get(key) else { return };
            let left = self.links.breaks_after(from, to).saturating_sub(conn.ends[writer].own.written);
            if left == 0 {
                return self.break_off(key);
            }
            let most = (self.settings.max_segment.min(rest.len()) as u64).min(left);
            let (segment, after) = rest.split_at(1 + self.segments.below(most) as usize);
            let (held, bytes) = self.pass_stream(key, writer, Kind::Data, segment);
            let at = self.now + held + self.links.segment(self.now, from, to, bytes.len());
            let Some(conn) = self.conns.get(key) else { return };
            conn.pipes[writer].write_all(&bytes, at);
            conn.ends[writer].own.written += segment.len() as u64;
            rest = after;
            if segment.len() as u64 == left {
                return self.break_off(key);
            }
        }
        self.arm(key, writer);
    }

    /// Breaks a stream off in both directions: neither end did it, and both are told.
    fn break_off(&mut self, key: ConnKey) {
        for writer in 0..2 {
            let Some((from, to)) = self.conns.ends(key, writer) else { return };
            let (held, _) = self.pass_stream(key, writer, Kind::Reset, &[]);
            let at = self.now + held + self.links.segment(self.now, from, to, 0);
            let Some(conn) = self.conns.get(key) else { return };
            conn.pipes[writer].break_off(at);
            self.arm(key, writer);
        }
    }

    /// Ends what one side writes: in order, or broken off.
    pub(crate) fn end_writing(&mut self, key: ConnKey, writer: Side, broken: bool) {
        let Some((from, to)) = self.conns.ends(key, writer) else { return };
        let kind = if broken { Kind::Reset } else { Kind::Finish };
        let Some(conn) = self.conns.get(key) else { return };
        if conn.pipes[writer].is_done() && !broken {
            return;
        }
        // Of a stream that never came about there is no end to be seen.
        let held = match conn.ends[1].state {
            State::Idle => Duration::ZERO,
            _ => self.pass_stream(key, writer, kind, &[]).0,
        };
        let at = self.now + held + self.links.segment(self.now, from, to, 0);
        let Some(conn) = self.conns.get(key) else { return };
        if broken {
            conn.pipes[writer].reset(at);
        } else {
            conn.pipes[writer].finish(at);
        }
        self.arm(key, writer);
    }

    /// Closes one end and forgets the connection if it was the last.
    pub(crate) fn close(&mut self, key: ConnKey, side: Side, broken: bool) {
        self.end_writing(key, side, broken);
        let Some(conn) = self.conns.get(key) else { return };
        let node = conn.ends[side].node;
        conn.ends[side].state = State::Closed;
        self.discard(key, side);
        self.conns.release(key);
        self.trace.bytes(Entry::Closed, self.now, node.unwrap_or(NOBODY), NOBODY, &[broken.into()]);
    }

    /// Throws away what arrived at an end that nobody reads.
    pub(crate) fn discard(&mut self, key: ConnKey, reader: Side) {
        if let Some(conn) = self.conns.get(key)
            && conn.pipes[1 - reader].discard()
        {
            self.make_room(key, 1 - reader);
        }
    }

    /// Tells the writer, one way later, that there is room again.
    pub(crate) fn make_room(&mut self, key: ConnKey, writer: Side) {
        let Some((from, to)) = self.conns.ends(key, 1 - writer) else { return };
        let at = self.now + self.links.segment(self.now, from, to, 0);
        self.queue.push(at, Event::Room { conn: key, writer });
    }

    /// Schedules the next arrival of a pipe.
    pub(crate) fn arm(&mut self, key: ConnKey, writer: Side) {
        let Some(conn) = self.conns.get(key) else { return };
        let Some(at) = conn.pipes[writer].next_at() else { return };
        if conn.scheduled[writer].is_none_or(|scheduled| at < scheduled) {
            conn.scheduled[writer] = Some(at);
            self.queue.push(at, Event::Segment { conn: key, writer });
        }
    }
}

/// The port that an opener sends from, for devices: one for each stream, until they come round.
fn port_of(stream: u64) -> u16 {
    EPHEMERAL + (stream % (1 << 14)) as u16
}

/// The first of the ports that are given out on demand (RFC 6335, section 6).
pub(crate) const EPHEMERAL: u16 = 49_152;

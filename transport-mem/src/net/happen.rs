//! What happens when its time has come, at the nodes it concerns.

use gossip_proto::{Machine, StreamFailure};

use crate::conn::{ConnKey, Side, State};
use crate::link::RETRANSMIT;
use crate::net::Network;
use crate::net::node::Power;
use crate::net::world::Event;

impl<M: Machine> Network<M> {
    pub(super) fn happen(&mut self, event: Event) {
        let world = &mut self.world;
        match event {
            Event::Arrival { to, from, buffer } => world.arrival(to, from, buffer),
            Event::Datagram { to, from, buffer } => self.nodes[to as usize].datagram(from, buffer, world),
            Event::Wake { node } => self.nodes[node as usize].wake(world),
            Event::Turn { node } => self.nodes[node as usize].turn(world),
            Event::Disk { node, life } => self.nodes[node as usize].write_disk(life, world),
            Event::Request { conn } => self.request(conn),
            Event::Answer { conn, accepted } => {
                let Some((opener, other)) = world.conns.ends(conn, 0) else { return };
                if !world.links.connected(other, opener) {
                    return world.queue.push(world.later(RETRANSMIT), event);
                }
                let result = if accepted { Ok(()) } else { Err(StreamFailure::Unreachable) };
                self.nodes[opener as usize].answer(conn, result, world);
            }
            Event::GiveUp { conn: key } => {
                let Some(conn) = world.conns.get(key) else { return };
                if let (State::Connecting, Some(node)) = (conn.ends[0].state, conn.ends[0].node) {
                    self.nodes[node as usize].answer(key, Err(StreamFailure::TimedOut), world);
                }
            }
            Event::Segment { conn, writer } => self.segment(conn, writer),
            Event::Read { conn: key, reader } => {
                let Some(conn) = world.conns.get(key) else { return };
                if let Some(node) =
                    conn.ends[reader].node.filter(|_| conn.ends[reader].own.told == Some(world.now))
                {
                    conn.ends[reader].own.told = None;
                    self.nodes[node as usize].readable(key, reader, world);
                }
            }
            Event::Room { conn: key, writer } => {
                let Some(conn) = world.conns.get(key) else { return };
                if let (State::Open, Some(node)) = (conn.ends[writer].state, conn.ends[writer].node) {
                    self.nodes[node as usize].writable(key, writer, world);
                }
            }
        }
    }

    /// A request to connect arrives, or is lost and repeated.
    fn request(&mut self, key: ConnKey) {
        let world = &mut self.world;
        let Some(conn) = world.conns.get(key) else { return };
        if conn.ends[0].state != State::Connecting {
            return;
        }
        let ends = world.conns.ends(key, 0);
        let reached = ends.filter(|&(opener, other)| {
            world.links.connects(opener, other) && self.nodes[other as usize].power != Power::Vanished
        });
        let Some((_, other)) = reached else {
            return world.queue.push(world.later(RETRANSMIT), Event::Request { conn: key });
        };
        let node = &mut self.nodes[other as usize];
        let accepted = node.is_reachable() && !node.refuses;
        if accepted {
            if !node.accept(key, world) {
                return world.queue.push(world.later(RETRANSMIT), Event::Request { conn: key });
            }
            if let Some(conn) = world.conns.get(key) {
                conn.ends[1].state = State::Backlog;
            }
        }
        world.reply(key, accepted);
    }

    /// Bytes of a stream arrive, or are held up.
    fn segment(&mut self, key: ConnKey, writer: Side) {
        let world = &mut self.world;
        let reader = 1 - writer;
        let Some((from, to)) = world.conns.ends(key, writer) else { return };
        let flows = world.links.streams_flow(from, to);
        let held = world.later(RETRANSMIT);
        let Some(conn) = world.conns.get(key) else { return };
        if conn.scheduled[writer] != Some(world.now) {
            return; // an earlier arrival was scheduled after this one
        }
        conn.scheduled[writer] = None;
        let power = self.nodes[to as usize].power;
        if !flows || (conn.ends[reader].state == State::Gone && power == Power::Vanished) {
            conn.pipes[writer].hold_until(held);
            return world.arm(key, writer);
        }
        if world.links.has_downlink(to) {
            let (now, links) = (world.now, &mut world.links);
            conn.pipes[writer].take_turns(now, |len| links.received(now, to, len, true).unwrap_or_default());
        }
        let arrived = conn.pipes[writer].arrive(world.now);
        let end = &mut conn.ends[reader];
        match end.state {
            State::Gone => {
                // The machine is back and knows nothing of this stream: its kernel resets it.
                end.state = State::Closed;
                return world.end_writing(key, reader, true);
            }
            State::Closed => world.discard(key, reader),
            _ if arrived && !end.own.notified => {
                end.own.notified = true;
                self.nodes[to as usize].readable(key, reader, world);
            }
            _ => {}
        }
        world.arm(key, writer);
    }
}

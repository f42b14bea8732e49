//! The node's ends of streams.

use core::time::Duration;

use gossip_proto::{Machine, Source, StreamAction, StreamFailure};

use crate::conn::{ConnKey, Side, State};
use crate::net::node::{Input, Node};
use crate::net::observe::StreamPath;
use crate::net::world::{EPHEMERAL, Event, Held, World};
use crate::pipe::End;

/// What one write to a stream takes at most.
const WRITE: usize = 16 << 10;
/// In how many pieces a slow reader reads what it reads in a second, if that is so many bytes.
const PIECES: u64 = 100;

/// How long so many bytes take at so many in a second.
fn nanos(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64)
}

impl<M: Machine> Node<M> {
    pub(super) fn may_accept(&self, machine: &M) -> bool {
        !self.backlog.is_empty() && machine.may_accept_stream()
    }

    /// Accepts what waits in the listen queue, as far as the machine takes it.
    /// Whether there were any.
    pub(super) fn accept_streams(&mut self, machine: &mut M, world: &mut World) -> bool {
        let mut any = false;
        while self.may_accept(machine)
            && let Some(key) = self.backlog.pop_front()
        {
            any = true;
            self.accept_stream(machine, key, world);
        }
        any
    }

    pub(super) fn accept_stream(&mut self, machine: &mut M, key: ConnKey, world: &mut World) {
        let Some(conn) = world.conns.get(key) else { return };
        let Some(opener) = conn.ends[0].node else { return };
        let mut addr = world.addresses[opener as usize];
        addr.set_port(EPHEMERAL); // streams come from a port of their own, and nothing may depend on it
        match machine.accept_stream(self.now(world), Source::unauthenticated(addr)) {
            Ok(id) => {
                if let Some(conn) = world.conns.get(key) {
                    conn.ends[1].own.id = Some(id);
                    conn.ends[1].state = State::Open;
                }
                self.streams.insert(id, (key, 1));
                self.read(machine, key, 1, world);
            }
            Err(_) => world.close(key, 1, false),
        }
    }

    /// Hands over what has arrived on a stream.
    pub(super) fn read(&mut self, machine: &mut M, key: ConnKey, side: Side, world: &mut World) {
        let now = self.now(world);
        loop {
            let Some(conn) = world.conns.get(key) else { return };
            let Held { id, deaf, .. } = conn.ends[side].own;
            let (State::Open, Some(id)) = (conn.ends[side].state, id) else { return };
            let pipe = &mut conn.pipes[1 - side];
            if pipe.end() == End::Reset {
                self.streams.remove(&id);
                world.close(key, side, true);
                machine.handle_stream_failed(now, id, StreamFailure::Reset);
                return;
            }
            if deaf {
                return world.discard(key, side);
            }
            let readable = pipe.readable();
            let mut most = world.settings.max_segment;
            if let Some(rate) = self.read_rate {
                most = most.min(usize::try_from(rate / PIECES).unwrap_or(usize::MAX).max(1));
                let own = &mut conn.ends[side].own;
                if own.busy > world.now {
                    if own.told.is_none() {
                        own.told = Some(own.busy);
                        world.queue.push(own.busy, Event::Read { conn: key, reader: side });
                    }
                    return;
                }
            }
            let piece = &readable[..readable.len().min(most)];
            let fin = pipe.end() == End::Finished && piece.len() == pipe.available();
            if piece.is_empty() && !fin {
                return;
            }
            let given = piece.len();
            match machine.handle_stream_data(now, id, piece, fin) {
                Ok(taken) => {
                    if let Some(from) = conn.ends[1 - side].node
                        && taken > 0
                    {
                        let (at, path) = (world.now, StreamPath::new(key, 1 - side, from, self.number));
                        world.observers.tell(|observer| observer.read(at, path, &piece[..taken]));
                    }
                    conn.ends[side].own.deaf = fin && taken == given;
                    if let Some(rate) = self.read_rate {
                        conn.ends[side].own.busy = world.now + nanos(taken as u64, rate);
                    }
                    if pipe.consume(taken) {
                        world.make_room(key, 1 - side);
                    }
                    if taken < given {
                        self.waiting.push((key, side));
                        return;
                    }
                }
                Err(_) => conn.ends[side].own.deaf = true,
            }
        }
    }

    /// Writes what the machine has for a stream, as far as there is room.
    pub(super) fn write(&mut self, machine: &mut M, key: ConnKey, side: Side, world: &mut World) {
        let mut buffer = core::mem::take(&mut world.buffer);
        buffer.resize(buffer.len().max(WRITE), 0);
        while let Some(conn) = world.conns.get(key) {
            let (State::Open, Some(id)) = (conn.ends[side].state, conn.ends[side].own.id) else { break };
            let room = conn.pipes[side].room().min(WRITE);
            if room == 0 {
                break;
            }
            let written = machine.poll_stream_data(self.now(world), id, &mut buffer[..room]);
            world.write(key, side, &buffer[..written.len]);
            if written.fin && world.settings.half_close {
                world.end_writing(key, side, false);
            }
            if written.len == 0 || written.fin {
                break;
            }
        }
        world.buffer = buffer;
    }

    pub(super) fn act(&mut self, machine: &mut M, action: StreamAction, world: &mut World) {
        match action {
            StreamAction::Open { id, to, deadline, .. } => {
                let key = world.connect(self.number, id, to, self.clock.when(deadline));
                self.streams.insert(id, (key, 0));
            }
            StreamAction::Writable { id } => {
                if let Some(&(key, side)) = self.streams.get(&id) {
                    self.write(machine, key, side, world);
                }
            }
            StreamAction::Close { id } => {
                if let Some((key, side)) = self.streams.remove(&id) {
                    world.close(key, side, false);
                    self.offer_again();
                }
            }
        }
    }

    /// Offers the bytes again that the machine had no memory for.
    pub(super) fn offer_again(&mut self) {
        self.inbox.extend(self.waiting.drain(..).map(|(key, side)| Input::Readable(key, side)));
    }
}

//! The loop of the driver: what arrived is handed over, what is due is done, what there is to say is taken.

use gossip_proto::{Completion, Instant, Machine, Source, TransmitFailure};

use crate::conn::State;
use crate::net::NodeId;
use crate::net::node::{Input, Node, Power};
use crate::net::record::{Change, News};
use crate::net::trace::Entry;
use crate::net::world::{Event, World};

/// Most inputs between two polls of transmits.
const BATCH: usize = 64;
/// Most inputs handed over before time is looked at (drain before judge).
pub(crate) const DRAIN: usize = 1024;
/// A machine that still wants to be called after this many calls at one instant will want it forever.
const MAX_TIMEOUTS: usize = 100_000;

impl<M: Machine> Node<M> {
    /// Does all that is to be done at this instant.
    pub(crate) fn drive(&mut self, world: &mut World) {
        if self.power != Power::Up || self.is_held(world) {
            return;
        }
        let Some(mut machine) = self.machine.take() else { return };
        self.offer_again();
        if self.pace.as_ref().is_some_and(|pace| !pace.per_call.is_zero())
            && self.call_once(&mut *machine, world)
        {
            self.keep_recorded(&mut *machine);
            self.machine = Some(machine);
            self.is_held(world);
            return;
        }
        let (now, mut timeouts) = (self.now(world), 0);
        // Whether nothing was asked of the machine since it was last polled dry.
        let mut dry = false;
        loop {
            if self.io {
                for _ in 0..DRAIN / BATCH {
                    if self.inbox.is_empty() {
                        break;
                    }
                    for _ in 0..BATCH {
                        let Some(input) = self.inbox.pop_front() else { break };
                        self.hand_over(&mut *machine, input, world);
                    }
                    self.flush(&mut *machine, world);
                    dry = true;
                }
                dry &= !self.accept_streams(&mut *machine, world);
            }
            if !dry {
                self.flush(&mut *machine, world);
            }
            if machine.poll_timeout().is_some_and(|at| at <= now) {
                timeouts += 1;
                assert!(
                    timeouts <= MAX_TIMEOUTS,
                    "{} wants to be called at {} again and again: {:?}",
                    self.name,
                    now,
                    machine.next_wakeup()
                );
                machine.handle_timeout(now);
                self.flush(&mut *machine, world);
                dry = true;
            } else if !self.io || (self.inbox.is_empty() && !self.may_accept(&*machine)) {
                break;
            }
        }
        if let Some(at) = machine.poll_timeout().map(|at| self.clock.when(at))
            && at < Instant::MAX
            && self.wake.is_none_or(|wake| at < wake)
        {
            self.wake = Some(at);
            world.queue.push(at, Event::Wake { node: self.number });
        }
        self.keep_recorded(&mut *machine);
        self.machine = Some(machine);
    }

    /// One call of a slow process, in the order that [`Node::drive`] keeps; `false` if there is nothing to do. A command
    /// of the user's has been given by then, and takes no time.
    fn call_once(&mut self, machine: &mut M, world: &mut World) -> bool {
        let now = self.now(world);
        let Some(pace) = &mut self.pace else { return false };
        let due = machine.poll_timeout().is_some_and(|at| at <= now);
        let accepts = !self.backlog.is_empty() && machine.may_accept_stream();
        let input = self.io && (accepts || !self.inbox.is_empty());
        if !due && !input {
            return false;
        }
        if input && !(due && pace.drained >= pace.drain) {
            pace.drained += 1;
            match self.inbox.pop_front() {
                Some(input) => self.hand_over(machine, input, world),
                None => {
                    if let Some(key) = self.backlog.pop_front() {
                        self.accept_stream(machine, key, world);
                    }
                }
            }
        } else {
            pace.drained = 0;
            machine.handle_timeout(now);
        }
        if let Some(pace) = &mut self.pace {
            pace.called(world.now);
        }
        self.flush(machine, world);
        true
    }

    fn hand_over(&mut self, machine: &mut M, input: Input, world: &mut World) {
        let now = self.now(world);
        match input {
            Input::Datagram { from, buffer, len } => {
                self.inbox_bytes -= len;
                let source = Source::unauthenticated(world.addresses[from as usize]);
                let mut bytes = world.pool.take(buffer);
                let at = world.now;
                world
                    .observers
                    .tell(|observer| observer.received(at, NodeId(from), NodeId(self.number), &bytes));
                // A datagram that is refused is counted by the machine, and nothing is to be done about it.
                let _ = machine.handle_datagram(now, source, &mut bytes);
                world.pool.give(buffer, bytes);
            }
            Input::Opened(key) => {
                let Some(conn) = world.conns.get(key) else { return };
                let end = &mut conn.ends[0];
                if let (State::Connecting, Some(id)) = (end.state, end.own.id) {
                    end.state = State::Open;
                    machine.handle_stream_opened(now, id);
                    self.read(machine, key, 0, world);
                }
            }
            Input::Failed(key, why) => {
                let Some(conn) = world.conns.get(key) else { return };
                let end = &conn.ends[0];
                if let (State::Connecting, Some(id)) = (end.state, end.own.id) {
                    self.streams.remove(&id);
                    world.close(key, 0, false);
                    machine.handle_stream_failed(now, id, why);
                }
            }
            Input::Readable(key, side) => {
                if let Some(conn) = world.conns.get(key) {
                    conn.ends[side].own.notified = false;
                    self.read(machine, key, side, world);
                }
            }
            Input::Writable(key, side) => self.write(machine, key, side, world),
        }
    }

    /// Transmits, streams and outputs, until there are none.
    fn flush(&mut self, machine: &mut M, world: &mut World) {
        loop {
            let mut again = false;
            if self.io {
                self.flush_transmits(machine, world);
                while let Some(action) = machine.poll_stream() {
                    again = true;
                    self.act(machine, action, world);
                }
            }
            again |= self.flush_outputs(machine, world);
            if !again {
                return;
            }
        }
    }

    fn flush_transmits(&mut self, machine: &mut M, world: &mut World) {
        let mut buffer = core::mem::take(&mut world.buffer);
        buffer.resize(buffer.len().max(machine.config().datagram_size()), 0);
        let now = self.now(world);
        while let Some(transmit) = machine.poll_transmit(now, &mut buffer) {
            if let Err(why) = world.send(self.number, transmit.to, &buffer[..transmit.len]) {
                machine.handle_transmit_failed(now, transmit.id, why);
                if let TransmitFailure::TooBig(limit) = why {
                    machine.handle_path(now, transmit.to, limit);
                }
            }
        }
        world.buffer = buffer;
    }

    fn flush_outputs(&mut self, machine: &mut M, world: &mut World) -> bool {
        let (now, number, keep) = (world.now, self.number, world.settings.keep_log);
        let mut any = false;
        self.note_leave(machine, now);
        while let Some(change) = machine.poll_membership() {
            any = true;
            let change = Change::new(now, change, machine);
            world.trace.value(Entry::Membership, now, number, &change);
            world.observers.tell(|observer| observer.changed(NodeId(number), &change));
            self.note(&change);
            if keep {
                self.log.changes.push(change);
            }
        }
        while let Some(completion) = machine.poll_completion() {
            any = true;
            world.trace.value(Entry::Completion, now, number, &completion);
            world.observers.tell(|observer| observer.completed(now, NodeId(number), &completion));
            if let Completion::KeyringChanged { id, keyring } = &completion {
                self.store_keyring(machine, *id, keyring, self.now(world));
            }
            if keep {
                self.log.completions.push((now, completion));
            }
        }
        while let Some(event) = machine.poll_event() {
            any = true;
            world.trace.value(Entry::Event, now, number, &event);
            if keep || world.observers.any() {
                let news = News::from(event);
                world.observers.tell(|observer| observer.heard(now, NodeId(number), &news));
                if keep {
                    self.log.events.push((now, news));
                }
            }
        }
        any
    }
}

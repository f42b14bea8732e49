//! One node: its machine, the process around it, and the sockets of that process. This is the reference driver: it
//! follows the rules of driving to the letter, and nothing else.

use core::fmt;
use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use gossip_proto::{
    Instant, Machine, Name, NonceSecret, Seed, Source, StreamAction, StreamFailure, StreamId, TransmitFailure,
};

use crate::conn::{ConnKey, Side, State};
use crate::net::NodeId;
use crate::net::device::Delivery;
use crate::net::observe::StreamPath;
use crate::net::pace::Pace;
use crate::net::record::{Change, Log, News};
use crate::net::trace::Entry;
use crate::net::world::{EPHEMERAL, Event, Held, World};
use crate::pipe::End;

/// What a factory gets to make a machine of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// The time.
    pub now: Instant,
    /// The address of the node, for `Config`.
    pub addr: SocketAddr,
    /// The node's number in its network, from 0.
    pub number: usize,
    /// How often it was started before.
    pub restarts: u32,
    /// Derived from the network's seed, the number and the restarts.
    pub seed: Seed,
    /// Derived as well, so that sealed traffic repeats too; nothing outside a simulation may do that.
    pub nonces: NonceSecret,
}

/// The state of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// It runs.
    Up,
    /// It stands still: the kernel still takes what arrives.
    Paused,
    /// The process is gone; its kernel resets and refuses.
    Crashed,
    /// The machine is gone; nothing answers.
    Vanished,
}

/// Something that arrived and waits for the process.
#[derive(Clone, Copy, Debug)]
enum Input {
    Datagram { from: u32, buffer: u32, len: usize },
    Opened(ConnKey),
    Failed(ConnKey, StreamFailure),
    Readable(ConnKey, Side),
    Writable(ConnKey, Side),
}

/// Most inputs between two polls of transmits.
const BATCH: usize = 64;
/// Most inputs handed over before time is looked at (drain before judge).
const DRAIN: usize = 1024;
/// A machine that still wants to be called after this many calls at one instant will want it forever.
const MAX_TIMEOUTS: usize = 100_000;
/// Connections that wait to be accepted; further ones are not answered, and try again. As the socket adapters ask for.
const BACKLOG: usize = 1024;
/// What one write to a stream takes at most.
const WRITE: usize = 16 << 10;

pub(crate) struct Node<M> {
    number: u32,
    pub(crate) factory: Box<dyn FnMut(Start) -> M>,
    pub(crate) machine: Option<Box<M>>,
    pub(crate) name: Name,
    pub(crate) power: Power,
    /// The sockets work; without, the process runs on but neither sends nor receives.
    pub(crate) io: bool,
    pub(crate) starts: u32,
    inbox: VecDeque<Input>,
    inbox_bytes: usize,
    streams: BTreeMap<StreamId, (ConnKey, Side)>,
    /// Streams whose bytes the machine has no memory for at present.
    waiting: Vec<(ConnKey, Side)>,
    /// Connections that wait to be accepted: the kernel's listen queue.
    backlog: VecDeque<ConnKey>,
    wake: Option<Instant>,
    /// What holds the process up; `None` if nothing ever did.
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) log: Log,
    pub(crate) records: bool,
    pub(crate) recording: Vec<u8>,
}

impl<M: Machine> Node<M> {
    pub(crate) fn new(number: u32, factory: Box<dyn FnMut(Start) -> M>) -> Self {
        Self {
            number,
            factory,
            machine: None,
            name: Name::default(),
            power: Power::Crashed,
            io: true,
            starts: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            streams: BTreeMap::new(),
            waiting: Vec::new(),
            backlog: VecDeque::new(),
            wake: None,
            pace: None,
            log: Log::default(),
            records: false,
            recording: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, start: Start, world: &mut World) {
        let now = start.now;
        let mut machine = (self.factory)(start);
        self.begin_recording(&mut machine, now, world.settings.record);
        self.name = machine.local().name.clone();
        self.machine = Some(Box::new(machine));
        self.power = Power::Up;
        self.io = true;
        self.starts += 1;
        if let Some(pace) = &mut self.pace {
            pace.restart();
        }
        world.alive[self.number as usize] = true;
        world.mark(self.number);
    }

    /// Ends the process. If the kernel survives it, it resets the streams.
    pub(crate) fn stop(&mut self, power: Power, world: &mut World) {
        self.machine = None;
        self.power = power;
        world.alive[self.number as usize] = false;
        self.wake = None;
        self.inbox_bytes = 0;
        self.waiting.clear();
        for input in self.inbox.drain(..) {
            if let Input::Datagram { buffer, .. } = input {
                world.pool.discard(buffer);
            }
        }
        let mut ends: Vec<_> = self.backlog.drain(..).map(|conn| (conn, 1)).collect();
        ends.extend(core::mem::take(&mut self.streams).into_values());
        for (key, side) in ends {
            if power == Power::Crashed {
                world.close(key, side, true);
            } else if let Some(conn) = world.conns.get(key) {
                conn.ends[side].state = State::Gone;
                world.conns.release(key);
            }
        }
    }

    // What arrives from the network.

    pub(crate) fn datagram(&mut self, from: u32, buffer: u32, world: &mut World) {
        if !self.is_reachable() {
            world.traffic.datagrams_lost += 1;
            world.ended_in_pool(from, self.number, buffer, Delivery::Nobody);
            return world.pool.discard(buffer);
        }
        let len = world.pool.len(buffer);
        if self.inbox_bytes + len > world.settings.socket_buffer {
            world.traffic.datagrams_overflowed += 1;
            world.ended_in_pool(from, self.number, buffer, Delivery::Overflow);
            return world.pool.discard(buffer);
        }
        self.inbox_bytes += len;
        world.ended_in_pool(from, self.number, buffer, Delivery::Arrived);
        self.deliver(Input::Datagram { from, buffer, len }, world);
    }

    /// Puts a connection into the listen queue; `false` if that is full.
    pub(crate) fn accept(&mut self, key: ConnKey, world: &mut World) -> bool {
        if self.backlog.len() >= BACKLOG {
            return false;
        }
        self.backlog.push_back(key);
        world.mark(self.number);
        true
    }

    pub(crate) fn answer(&mut self, key: ConnKey, result: Result<(), StreamFailure>, world: &mut World) {
        let input = match result {
            Ok(()) => Input::Opened(key),
            Err(why) => Input::Failed(key, why),
        };
        self.deliver(input, world);
    }

    pub(crate) fn readable(&mut self, key: ConnKey, side: Side, world: &mut World) {
        self.deliver(Input::Readable(key, side), world);
    }

    pub(crate) fn writable(&mut self, key: ConnKey, side: Side, world: &mut World) {
        self.deliver(Input::Writable(key, side), world);
    }

    pub(crate) fn wake(&mut self, world: &mut World) {
        if self.wake == Some(world.now) {
            self.wake = None;
            world.mark(self.number);
        }
    }

    pub(crate) fn turn(&mut self, world: &mut World) {
        if let Some(pace) = self.pace.as_mut().filter(|pace| pace.turn == Some(world.now)) {
            pace.turn = None;
            world.mark(self.number);
        }
    }

    /// Whether the process is held up, in which case it is looked at again when that ends.
    fn is_held(&mut self, world: &mut World) -> bool {
        let Some(pace) = &mut self.pace else { return false };
        let Some(until) = pace.held(world.now) else { return false };
        if pace.turn.is_none_or(|turn| until < turn) {
            pace.turn = Some(until);
            world.queue.push(until, Event::Turn { node: self.number });
        }
        true
    }

    /// Whether a process is there to receive, even if it does not do so now.
    pub(crate) fn is_reachable(&self) -> bool {
        matches!(self.power, Power::Up | Power::Paused)
    }

    fn deliver(&mut self, input: Input, world: &mut World) {
        self.inbox.push_back(input);
        world.mark(self.number);
    }

    // The driver.

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
        let mut timeouts = 0;
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
                }
                self.accept_streams(&mut *machine, world);
            }
            self.flush(&mut *machine, world);
            if machine.poll_timeout().is_some_and(|at| at <= world.now) {
                timeouts += 1;
                assert!(
                    timeouts <= MAX_TIMEOUTS,
                    "{} wants to be called at {} again and again: {:?}",
                    self.name,
                    world.now,
                    machine.next_wakeup()
                );
                machine.handle_timeout(world.now);
                self.flush(&mut *machine, world);
            } else if !self.io || (self.inbox.is_empty() && !self.may_accept(&*machine)) {
                break;
            }
        }
        if let Some(at) = machine.poll_timeout()
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
        let Some(pace) = &mut self.pace else { return false };
        let due = machine.poll_timeout().is_some_and(|at| at <= world.now);
        let accepts = !self.backlog.is_empty() && machine.may_accept_stream();
        let input = self.io && (accepts || !self.inbox.is_empty());
        if !due && !input {
            return false;
        }
        if input && !(due && pace.drained >= DRAIN) {
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
            machine.handle_timeout(world.now);
        }
        if let Some(pace) = &mut self.pace {
            pace.called(world.now);
        }
        self.flush(machine, world);
        true
    }

    fn hand_over(&mut self, machine: &mut M, input: Input, world: &mut World) {
        let now = world.now;
        match input {
            Input::Datagram { from, buffer, len } => {
                self.inbox_bytes -= len;
                let source = Source::unauthenticated(world.addresses[from as usize]);
                let mut bytes = world.pool.take(buffer);
                world
                    .observers
                    .tell(|observer| observer.received(now, NodeId(from), NodeId(self.number), &bytes));
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

    fn may_accept(&self, machine: &M) -> bool {
        !self.backlog.is_empty() && machine.may_accept_stream()
    }

    /// Accepts what waits in the listen queue, as far as the machine takes it.
    fn accept_streams(&mut self, machine: &mut M, world: &mut World) {
        while self.may_accept(machine)
            && let Some(key) = self.backlog.pop_front()
        {
            self.accept_stream(machine, key, world);
        }
    }

    fn accept_stream(&mut self, machine: &mut M, key: ConnKey, world: &mut World) {
        let Some(conn) = world.conns.get(key) else { return };
        let Some(opener) = conn.ends[0].node else { return };
        let mut addr = world.addresses[opener as usize];
        addr.set_port(EPHEMERAL); // streams come from a port of their own, and nothing may depend on it
        match machine.accept_stream(world.now, Source::unauthenticated(addr)) {
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
    fn read(&mut self, machine: &mut M, key: ConnKey, side: Side, world: &mut World) {
        loop {
            let Some(conn) = world.conns.get(key) else { return };
            let Held { id, deaf, .. } = conn.ends[side].own;
            let (State::Open, Some(id)) = (conn.ends[side].state, id) else { return };
            let pipe = &mut conn.pipes[1 - side];
            if pipe.end() == End::Reset {
                self.streams.remove(&id);
                world.close(key, side, true);
                machine.handle_stream_failed(world.now, id, StreamFailure::Reset);
                return;
            }
            if deaf {
                return world.discard(key, side);
            }
            let readable = pipe.readable();
            let piece = &readable[..readable.len().min(world.settings.max_segment)];
            let fin = pipe.end() == End::Finished && piece.len() == pipe.available();
            if piece.is_empty() && !fin {
                return;
            }
            let given = piece.len();
            match machine.handle_stream_data(world.now, id, piece, fin) {
                Ok(taken) => {
                    if let Some(from) = conn.ends[1 - side].node
                        && taken > 0
                    {
                        let (now, path) = (world.now, StreamPath::new(key, 1 - side, from, self.number));
                        world.observers.tell(|observer| observer.read(now, path, &piece[..taken]));
                    }
                    conn.ends[side].own.deaf = fin && taken == given;
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
    fn write(&mut self, machine: &mut M, key: ConnKey, side: Side, world: &mut World) {
        let mut buffer = core::mem::take(&mut world.buffer);
        buffer.resize(buffer.len().max(WRITE), 0);
        while let Some(conn) = world.conns.get(key) {
            let (State::Open, Some(id)) = (conn.ends[side].state, conn.ends[side].own.id) else { break };
            let room = conn.pipes[side].room().min(WRITE);
            if room == 0 {
                break;
            }
            let written = machine.poll_stream_data(world.now, id, &mut buffer[..room]);
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

    /// Transmits, streams and outputs, until there are none.
    fn flush(&mut self, machine: &mut M, world: &mut World) {
        loop {
            let mut idle = true;
            if self.io {
                idle &= !self.flush_transmits(machine, world);
                while let Some(action) = machine.poll_stream() {
                    idle = false;
                    self.act(machine, action, world);
                }
            }
            idle &= !self.flush_outputs(machine, world);
            if idle {
                return;
            }
        }
    }

    fn flush_transmits(&mut self, machine: &mut M, world: &mut World) -> bool {
        let mut buffer = core::mem::take(&mut world.buffer);
        buffer.resize(buffer.len().max(machine.config().datagram_size()), 0);
        let mut any = false;
        while let Some(transmit) = machine.poll_transmit(world.now, &mut buffer) {
            any = true;
            if let Err(why) = world.send(self.number, transmit.to, &buffer[..transmit.len]) {
                machine.handle_transmit_failed(world.now, transmit.id, why);
                if let TransmitFailure::TooBig(limit) = why {
                    machine.handle_path(world.now, transmit.to, limit);
                }
            }
        }
        world.buffer = buffer;
        any
    }

    fn act(&mut self, machine: &mut M, action: StreamAction, world: &mut World) {
        match action {
            StreamAction::Open { id, to, deadline, .. } => {
                let key = world.connect(self.number, id, to, deadline);
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
    fn offer_again(&mut self) {
        self.inbox.extend(self.waiting.drain(..).map(|(key, side)| Input::Readable(key, side)));
    }

    fn flush_outputs(&mut self, machine: &mut M, world: &mut World) -> bool {
        let (now, number, keep) = (world.now, self.number, world.settings.keep_log);
        let mut any = false;
        while let Some(change) = machine.poll_membership() {
            any = true;
            let change = Change::new(now, change, machine);
            world.trace.value(Entry::Membership, now, number, &change);
            world.observers.tell(|observer| observer.changed(NodeId(number), &change));
            if keep {
                self.log.changes.push(change);
            }
        }
        while let Some(completion) = machine.poll_completion() {
            any = true;
            world.trace.value(Entry::Completion, now, number, &completion);
            world.observers.tell(|observer| observer.completed(now, NodeId(number), &completion));
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

    /// Streams that the driver knows of.
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.len()
    }
}

impl<M> fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, name, power, .. } = self;
        write!(f, "Node({number}, {name}, {power:?})")
    }
}

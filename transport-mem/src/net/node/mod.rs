//! One node: its machine, the process around it, and the sockets of that process. This is the reference driver: it
//! follows the rules of driving to the letter, and nothing else. Here is what happens to the process; the loop is in
//! [`drive`], its streams are in [`streams`].

mod drive;
mod streams;

use core::fmt;
use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use gossip_proto::{Instant, Machine, Name, NonceSecret, Seed, StreamFailure, StreamId};

use crate::conn::{ConnKey, Side, State};
use crate::net::clock::Clock;
use crate::net::device::Delivery;
use crate::net::disk::{Disk, Saved};
use crate::net::pace::Pace;
use crate::net::record::Log;
use crate::net::world::{Event, World};

pub(crate) use drive::DRAIN;

/// What a factory gets to make a machine of.
#[derive(Debug)]
#[non_exhaustive]
pub struct Start {
    /// The time, as the node's clock shows it.
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
    /// What the node finds on its disk: nothing if it has none, see [`crate::net::Network::add_disk`].
    pub saved: Saved,
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

/// Connections that wait to be accepted; further ones are not answered, and try again. As the socket adapters ask for.
const BACKLOG: usize = 1024;

pub(crate) struct Node<M> {
    pub(crate) number: u32,
    pub(crate) factory: Box<dyn FnMut(Start) -> M>,
    pub(crate) machine: Option<Box<M>>,
    pub(crate) name: Name,
    pub(crate) power: Power,
    /// The sockets work; without, the process runs on but neither sends nor receives.
    pub(crate) io: bool,
    /// Nobody listens for streams.
    pub(crate) refuses: bool,
    /// Bytes that it reads of each stream in a second; `None` if as fast as they come.
    pub(crate) read_rate: Option<u64>,
    pub(crate) starts: u32,
    inbox: VecDeque<Input>,
    inbox_bytes: usize,
    streams: BTreeMap<StreamId, (ConnKey, Side)>,
    /// Streams whose bytes the machine has no memory for at present.
    waiting: Vec<(ConnKey, Side)>,
    /// Connections that wait to be accepted: the kernel's listen queue.
    backlog: VecDeque<ConnKey>,
    wake: Option<Instant>,
    /// Tells the machine the time.
    pub(crate) clock: Clock,
    /// What holds the process up; `None` if nothing ever did.
    pub(crate) pace: Option<Box<Pace>>,
    pub(crate) disk: Option<Box<Disk<M>>>,
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
            refuses: false,
            read_rate: None,
            starts: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            streams: BTreeMap::new(),
            waiting: Vec::new(),
            backlog: VecDeque::new(),
            wake: None,
            clock: Clock::default(),
            pace: None,
            disk: None,
            log: Log::default(),
            records: false,
            recording: Vec::new(),
        }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
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
        if let Some(mut machine) = self.machine.take() {
            self.open_disk(&mut machine, world);
            self.machine = Some(machine);
        }
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
        self.close_disk(power, world.now);
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

    /// The time, as the node's clock shows it.
    pub(crate) fn now(&self, world: &World) -> Instant {
        self.clock.reads(world.now)
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

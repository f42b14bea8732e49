//! A virtual network: many machines in one thread, on one virtual clock, from one seed.
//!
//! Nothing here reads a clock, draws from the operating system, or iterates over a hashed container: two runs with one
//! seed are equal byte for byte, see [`Trace`]. The network is also the reference for how to drive a machine.
//!
//! ```
//! use core::time::Duration;
//! use gossip_proto::{Config, Membership, Seed};
//! use transport_mem::net::Network;
//!
//! let mut net = Network::new(Seed::from_u64(1));
//! let nodes: Vec<_> = (0..20)
//!     .map(|number| {
//!         net.add_node(move |start| {
//!             let config = Config::lan(format!("node-{number}").as_str(), start.addr);
//!             Membership::new(start.now, config, start.seed, start.nonces).unwrap()
//!         })
//!     })
//!     .collect();
//! for &node in &nodes[1..] {
//!     net.join(node, &nodes[..1]);
//! }
//! assert!(net.run_until(Duration::from_secs(30), |net| net.agrees()).is_some());
//! ```

mod clock;
pub mod device;
mod disk;
mod faults;
mod happen;
mod node;
pub mod observe;
mod pace;
mod record;
mod recording;
mod replay;
mod trace;
mod view;
mod world;

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use gossip_proto::{Instant, JoinTarget, KnownMember, Machine, Name, NonceSecret, OperationId, Seed};

pub use clock::Clock;
pub use device::{
    Delivery, Device, DeviceId, FaultInjection, Injected, Kind, Packet, Pcap, TextTrace, Verdict,
};
pub use disk::{Persistent, Saved};
use node::Node;
pub use node::Start;
use observe::Looks;
pub use observe::{Observer, StreamPath, Watch};
pub use pace::Bursts;
pub use record::{Change, Log, News};
pub use replay::{Replay, seed_from_env, seeds};
pub use trace::Trace;
use trace::{Entry, NOBODY};
pub use view::Seen;
pub use world::Traffic;
use world::World;

use crate::rng::{Purpose, Rng};

/// A node of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// Its number: nodes are numbered from 0 in the order in which they were added.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// The port of nodes whose address the network chose.
pub const PORT: u16 = 7946;

/// The address that the network chooses for a node of that number.
pub fn default_addr(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32 + 1).to_be_bytes();
    (Ipv4Addr::new(10, a, b, c), PORT).into()
}

/// How often [`Network::run_until`] looks.
const LOOK: Duration = Duration::from_millis(10);

/// How many members a node is told of at a time by [`Network::form`], so that an entry of a recording stays small.
const INTRODUCED: usize = 256;

/// Nodes, and the network between them.
pub struct Network<M> {
    nodes: Vec<Node<M>>,
    world: World,
    seed: Seed,
    dirty: Vec<u32>,
    random: Rng,
    /// One for each place in [`World::observers`].
    looks: Vec<Looks<M>>,
}

impl<M: Machine> Network<M> {
    /// An empty network. The seed decides everything that is left to chance, in it and in its nodes.
    pub fn new(seed: Seed) -> Self {
        let random = Rng::new(&seed, Purpose::Scenario, 0);
        Self {
            nodes: Vec::new(),
            world: World::new(&seed),
            seed,
            dirty: Vec::new(),
            random,
            looks: Vec::new(),
        }
    }

    // Nodes.

    /// Adds a node at an address of the network's choice and starts it now.
    pub fn add_node(&mut self, factory: impl FnMut(Start) -> M + 'static) -> NodeId {
        self.add_node_at(default_addr(self.nodes.len()), factory)
    }

    /// Adds a node at that address and starts it now.
    ///
    /// # Panics
    /// If there is a node at that address already.
    pub fn add_node_at(&mut self, addr: SocketAddr, factory: impl FnMut(Start) -> M + 'static) -> NodeId {
        let number = self.nodes.len() as u32;
        self.world.bind(number, addr);
        self.nodes.push(Node::new(number, Box::new(factory)));
        self.boot(number);
        NodeId(number)
    }

    fn boot(&mut self, number: u32) {
        let node = &mut self.nodes[number as usize];
        let restarts = node.starts;
        let index = u64::from(number) << 32 | u64::from(restarts);
        let start = Start {
            now: node.now(&self.world),
            addr: self.world.addresses[number as usize],
            number: number as usize,
            restarts,
            seed: Seed::new(Rng::new(&self.seed, Purpose::Node, index).bytes()),
            nonces: NonceSecret::new(Rng::new(&self.seed, Purpose::Nonce, index).bytes()),
            saved: node.saved(self.world.now),
        };
        self.world.trace.bytes(Entry::Power, self.world.now, number, NOBODY, b"start");
        node.start(start, &mut self.world);
        self.tell_started(NodeId(number));
        self.world.fault(Some(NodeId(number)), "restart");
        self.settle();
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<M> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The nodes that have a process, paused ones included.
    pub fn running(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|node| self.node(*node).machine.is_some())
    }

    /// A node's machine; `None` while it is down.
    pub fn machine(&self, node: NodeId) -> Option<&M> {
        self.node(node).machine.as_deref()
    }

    /// A node's name, also while it is down.
    pub fn name(&self, node: NodeId) -> &Name {
        &self.node(node).name
    }

    /// A node's address.
    pub fn addr(&self, node: NodeId) -> SocketAddr {
        self.world.addresses[node.number()]
    }

    /// What a node has said so far.
    pub fn log(&self, node: NodeId) -> &Log {
        &self.node(node).log
    }

    /// Forgets what a node has said so far.
    pub fn clear_log(&mut self, node: NodeId) {
        self.nodes[node.number()].log = Log::default();
    }

    /// Whether outputs are kept in [`Network::log`]; they are unless this is turned off, as runs of many nodes want.
    pub fn keep_logs(&mut self, on: bool) {
        self.world.settings.keep_log = on;
    }

    // Commands.

    /// Gives a node a command, or several, and does what follows from it at this instant. The command is told the time
    /// that the node's clock shows.
    ///
    /// # Panics
    /// If the node is down.
    pub fn with<T>(&mut self, node: NodeId, command: impl FnOnce(&mut M, Instant) -> T) -> T {
        let now = self.node(node).now(&self.world);
        let Some(machine) = &mut self.nodes[node.number()].machine else {
            panic!("{} is down", self.name(node))
        };
        let result = command(machine, now);
        self.world.mark(node.0);
        self.settle();
        result
    }

    /// Has a node join through others.
    ///
    /// # Panics
    /// If the node is down, or its machine refuses the command.
    pub fn join(&mut self, node: NodeId, via: &[NodeId]) -> OperationId {
        let targets: Vec<JoinTarget> = via.iter().map(|via| self.addr(*via).into()).collect();
        self.with(node, |machine, now| machine.join(now, &targets)).expect("a join is possible")
    }

    /// Has all running nodes know each other, as if they had been one cluster for long: a large one need not be joined
    /// together first. No change is reported of it and nothing is gossiped about it; probes, gossip and exchanges go
    /// on as they would. For nodes that were just added; to others it brings whom they do not know.
    ///
    /// ```
    /// use core::time::Duration;
    /// use gossip_proto::{Config, Membership, Seed};
    /// use transport_mem::net::{Network, NodeId};
    ///
    /// let mut net = Network::new(Seed::from_u64(1));
    /// let nodes: Vec<NodeId> = (0..300)
    ///     .map(|number| {
    ///         net.add_node(move |start| {
    ///             let config = Config::lan(format!("node-{number}").as_str(), start.addr);
    ///             Membership::new(start.now, config, start.seed, start.nonces).unwrap()
    ///         })
    ///     })
    ///     .collect();
    /// net.form();
    /// assert!(net.agrees());
    /// ```
    pub fn form(&mut self) {
        let members: Vec<KnownMember> =
            self.nodes.iter().filter_map(|node| Some(node.machine.as_ref()?.local().into())).collect();
        for node in &mut self.nodes {
            let (now, number) = (node.now(&self.world), node.number());
            let Some(mut machine) = node.machine.take() else { continue };
            for some in members.chunks(INTRODUCED) {
                machine.know(now, some);
                node.keep_recorded(&mut *machine);
            }
            node.machine = Some(machine);
            self.world.trace.bytes(Entry::Power, self.world.now, number, NOBODY, b"form");
            self.world.mark(number);
        }
        self.settle();
    }

    // Time.

    /// The time.
    pub fn now(&self) -> Instant {
        self.world.now
    }

    /// A node's clock: it shows the network's time, unless it was skewed or set ([`Network::skew_clock`],
    /// [`Network::set_clock_forward`], [`Network::set_clock_back`]).
    pub fn clock(&self, node: NodeId) -> Clock {
        self.node(node).clock
    }

    /// Runs for that long.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        while let Some(at) = self.next_look().filter(|at| *at <= end) {
            while self.step(at) {}
            self.world.now = at;
            self.look_around();
        }
        while self.step(end) {}
        self.world.now = end;
    }

    /// Runs until the condition holds, and says when; `None` if it did not within that time. It is looked at every ten
    /// milliseconds.
    pub fn run_until(&mut self, within: Duration, mut holds: impl FnMut(&Self) -> bool) -> Option<Instant> {
        let end = self.world.now + within;
        loop {
            if holds(self) {
                return Some(self.world.now);
            }
            if self.world.now >= end {
                return None;
            }
            self.run_for(LOOK.min(end - self.world.now));
        }
    }

    /// A number below `n` from the network's seed, for scenarios that leave something to chance.
    pub fn random(&mut self, n: u64) -> u64 {
        self.random.below(n)
    }

    /// The record of this run.
    pub fn trace(&self) -> &Trace {
        &self.world.trace
    }

    /// Keeps the whole record of this run from now on, not only its hash.
    pub fn keep_trace(&mut self) {
        self.world.trace.keep();
    }

    /// Leaves the record away from now on, for measurements: its hash says nothing of what follows.
    pub fn stop_trace(&mut self) {
        self.world.trace.stop();
    }

    /// What the network has carried.
    pub fn traffic(&self) -> Traffic {
        self.world.traffic
    }

    /// Connections that are not over, and datagrams under way.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.world.conns.len(), self.world.pool.in_use())
    }

    /// Streams that a node's driver knows of.
    pub fn open_streams(&self, node: NodeId) -> usize {
        self.node(node).open_streams()
    }

    /// Does everything that happens at the next instant, if that is not after `end`.
    fn step(&mut self, end: Instant) -> bool {
        let Some(at) = self.world.queue.next_at().filter(|at| *at <= end) else { return false };
        self.world.now = at;
        while let Some((_, event)) = self.world.queue.pop_until(at) {
            self.happen(event);
        }
        self.settle();
        true
    }

    /// Drives the nodes for which something has happened. All that arrives at one instant has arrived by then, so that
    /// no timer of the same instant runs before it.
    fn settle(&mut self) {
        let mut dirty = core::mem::take(&mut self.dirty);
        self.world.take_dirty(&mut dirty);
        for &number in &dirty {
            self.nodes[number as usize].drive(&mut self.world);
        }
        self.dirty = dirty;
    }

    fn node(&self, node: NodeId) -> &Node<M> {
        &self.nodes[node.number()]
    }
}

impl<M> fmt::Debug for Network<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("now", &self.world.now)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

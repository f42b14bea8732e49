//! Watching a network from outside of it: what was sent, said and believed, without a part in it.
//!
//! An [`Observer`] is told of what happens and looks at the whole network as often as it wants.
//! [`Network::observe`] attaches one and gives a [`Watch`], by which the network shows it again:
//!
//! ```
//! use core::time::Duration;
//! use gossip_proto::{Config, Instant, Membership, Seed};
//! use transport_mem::net::{Change, Network, NodeId, Observer};
//!
//! #[derive(Default)]
//! struct Joins(usize);
//!
//! impl<M> Observer<M> for Joins {
//!     fn changed(&mut self, _: NodeId, change: &Change) {
//!         self.0 += usize::from(change.kind == gossip_proto::ChangeKind::Joined);
//!     }
//! }
//!
//! let mut net = Network::new(Seed::from_u64(1));
//! let joins = net.observe(Joins::default());
//! let [a, b] = ["a", "b"].map(|name| {
//!     net.add_node(move |start| {
//!         Membership::new(start.now, Config::lan(name, start.addr), start.seed, start.nonces).unwrap()
//!     })
//! });
//! net.join(b, &[a]);
//! net.run_for(Duration::from_secs(1));
//! assert_eq!(net[joins].0, 4, "each of the two saw itself and the other");
//! ```
//!
//! Observers change nothing: a run has the same trace with them and without. A run that has none pays nothing for them.

mod convergence;
mod detection;
mod invariants;
mod series;
mod summary;
mod traffic;

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};
use core::time::Duration;

use gossip_proto::{Completion, Instant, Machine};

pub use convergence::Convergence;
pub use detection::{Case, Detection, FalsePositive, FalsePositives};
pub use invariants::{Bound, Broken, Invariants, Rule};
pub use series::{Row, Series};
pub use summary::{Summary, student95};
pub use traffic::{Kind, Load, Spread, Tally};

use crate::conn::{ConnKey, Side};
use crate::net::record::{Change, News};
use crate::net::world::World;
use crate::net::{Clock, Network, NodeId};

/// Something that watches a network of machines `M`. All methods do nothing unless they are written.
///
/// Each is called at the instant at which it happened, in the order in which it happened. What a node does at one
/// instant may be told between two things that another does at the same instant.
#[allow(unused_variables)]
pub trait Observer<M> {
    /// How often [`Observer::look`] is called; `None`, the default, is never. Asked once, when it is attached. Zero is
    /// taken for a nanosecond.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// A look at the whole network, when everything of this instant has happened: first one interval after the observer
    /// was attached.
    fn look(&mut self, net: &Network<M>) {}

    /// A node has a new machine, which has not done anything yet. Nodes that run when the observer is attached are told
    /// then, in order.
    fn started(&mut self, net: &Network<M>, node: NodeId) {}

    /// A node lost its machine.
    fn stopped(&mut self, net: &Network<M>, node: NodeId) {}

    /// Something was broken or mended: a node, if it is about one, or links. `what` is the name of the method of
    /// [`Network`] that was called, and is told of starts and stops as well.
    fn faulted(&mut self, at: Instant, node: Option<NodeId>, what: &'static str) {}

    /// A node's clock was skewed or set, and runs like this from now on. What is told at a time `at` is told at the
    /// network's time, and spans within what a node says are on its own.
    fn clock_set(&mut self, at: Instant, node: NodeId, clock: Clock) {}

    /// A node said that a member changed.
    fn changed(&mut self, node: NodeId, change: &Change) {}

    /// A node said that an operation ended.
    fn completed(&mut self, at: Instant, node: NodeId, completion: &Completion) {}

    /// A node said something else.
    fn heard(&mut self, at: Instant, node: NodeId, news: &News) {}

    /// A node gave a datagram to its socket, for a node or for an address that nobody has. It may be lost later.
    fn sent(&mut self, at: Instant, from: NodeId, to: Option<NodeId>, datagram: &[u8]) {}

    /// A node was handed a datagram by its socket: now, perhaps long after it arrived.
    fn received(&mut self, at: Instant, from: NodeId, to: NodeId, datagram: &[u8]) {}

    /// A node wrote to a stream.
    fn wrote(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]) {}

    /// A node read from a stream: so much of what it was given it took.
    fn read(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]) {}
}

/// One direction of a stream between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct StreamPath {
    /// Names the stream, in both directions; never used again in this network.
    pub number: u64,
    /// Who writes.
    pub from: NodeId,
    /// Who reads.
    pub to: NodeId,
    /// Whether the writer is who opened it.
    pub by_opener: bool,
}

impl StreamPath {
    pub(crate) fn new(conn: ConnKey, writer: Side, from: u32, to: u32) -> Self {
        Self { number: conn.number(), from: NodeId(from), to: NodeId(to), by_opener: writer == 0 }
    }
}

/// Shows an attached observer: `net[watch]`.
pub struct Watch<O> {
    place: usize,
    observer: PhantomData<fn() -> O>,
}

impl<M: Machine> Network<M> {
    /// Attaches an observer: it is told of everything from now on. `net[watch]` shows it, and
    /// [`Network::unobserve`] gives it back.
    pub fn observe<O: Observer<M> + 'static>(&mut self, observer: O) -> Watch<O>
    where
        M: 'static,
    {
        let place = self.world.observers.0.len();
        let every = observer.interval().map(|every| every.max(Duration::from_nanos(1)));
        let mut told: Box<dyn Tell> = Box::new(Told::<O, M>(observer, PhantomData));
        self.world.observers.0.push(None);
        self.looks.push(Looks {
            every: every.unwrap_or_default(),
            next: every.map(|every| self.world.now + every),
            look: |told, net, _| reveal::<O, M>(told).look(net),
            started: |told, net, node| reveal::<O, M>(told).started(net, node),
            stopped: |told, net, node| reveal::<O, M>(told).stopped(net, node),
        });
        for node in self.running().collect::<Vec<_>>() {
            (self.looks[place].started)(&mut *told, self, node);
        }
        self.world.observers.0[place] = Some(told);
        Watch { place, observer: PhantomData }
    }

    /// Detaches an observer and gives it back: what it has seen until now is in it.
    ///
    /// # Panics
    /// If it is detached already, or belongs to another network.
    pub fn unobserve<O: Observer<M> + 'static>(&mut self, watch: Watch<O>) -> O
    where
        M: 'static,
    {
        let found = self.world.observers.0.get_mut(watch.place).and_then(Option::take);
        let told = found.and_then(|told| (told as Box<dyn Any>).downcast::<Told<O, M>>().ok());
        let Some(told) = told else { panic!("{NO_SUCH}") };
        self.looks[watch.place].next = None;
        told.0
    }

    /// When somebody wants to look next.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.looks.iter().filter_map(|looks| looks.next).min()
    }

    /// Calls those who want to look now.
    pub(crate) fn look_around(&mut self) {
        let now = self.world.now;
        let due: Vec<usize> =
            (0..self.looks.len()).filter(|&place| self.looks[place].next == Some(now)).collect();
        for place in due {
            self.looks[place].next = Some(now + self.looks[place].every);
            let look = self.looks[place].look;
            self.show(place, |observer, net| look(observer, net, NodeId(0)));
        }
    }

    pub(crate) fn tell_started(&mut self, node: NodeId) {
        for place in 0..self.looks.len() {
            let started = self.looks[place].started;
            self.show(place, |observer, net| started(observer, net, node));
        }
    }

    pub(crate) fn tell_stopped(&mut self, node: NodeId) {
        for place in 0..self.looks.len() {
            let stopped = self.looks[place].stopped;
            self.show(place, |observer, net| stopped(observer, net, node));
        }
    }

    /// Shows the network to one observer, which is not in it for so long.
    fn show(&mut self, place: usize, how: impl FnOnce(&mut dyn Tell, &Self)) {
        if let Some(mut observer) = self.world.observers.0[place].take() {
            how(&mut *observer, self);
            self.world.observers.0[place] = Some(observer);
        }
    }
}

impl<O: Observer<M> + 'static, M: Machine + 'static> Index<Watch<O>> for Network<M> {
    type Output = O;

    /// # Panics
    /// If the observer is detached or belongs to another network, or in one of its own methods.
    fn index(&self, watch: Watch<O>) -> &O {
        let told = self.world.observers.0.get(watch.place).and_then(Option::as_deref);
        match told.and_then(|told| (told as &dyn Any).downcast_ref::<Told<O, M>>()) {
            Some(told) => &told.0,
            None => panic!("{NO_SUCH}"),
        }
    }
}

impl<O: Observer<M> + 'static, M: Machine + 'static> IndexMut<Watch<O>> for Network<M> {
    fn index_mut(&mut self, watch: Watch<O>) -> &mut O {
        let told = self.world.observers.0.get_mut(watch.place).and_then(Option::as_deref_mut);
        match told.and_then(|told| (told as &mut dyn Any).downcast_mut::<Told<O, M>>()) {
            Some(told) => &mut told.0,
            None => panic!("{NO_SUCH}"),
        }
    }
}

/// All observers, each in its place; those that were detached leave theirs empty.
#[derive(Default)]
pub(crate) struct Observers(Vec<Option<Box<dyn Tell>>>);

impl Observers {
    /// Whether there may be somebody to tell.
    pub(crate) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    #[inline]
    pub(crate) fn tell(&mut self, what: impl Fn(&mut dyn Tell)) {
        for observer in self.0.iter_mut().flatten() {
            what(&mut **observer);
        }
    }
}

impl World {
    /// Tells all observers that something was broken or mended.
    pub(crate) fn fault(&mut self, node: Option<NodeId>, what: &'static str) {
        let now = self.now;
        self.observers.tell(|observer| observer.faulted(now, node, what));
    }
}

/// What the network behind the nodes can tell, whatever their machines are.
pub(crate) trait Tell: Any {
    fn faulted(&mut self, at: Instant, node: Option<NodeId>, what: &'static str);
    fn clock_set(&mut self, at: Instant, node: NodeId, clock: Clock);
    fn changed(&mut self, node: NodeId, change: &Change);
    fn completed(&mut self, at: Instant, node: NodeId, completion: &Completion);
    fn heard(&mut self, at: Instant, node: NodeId, news: &News);
    fn sent(&mut self, at: Instant, from: NodeId, to: Option<NodeId>, datagram: &[u8]);
    fn received(&mut self, at: Instant, from: NodeId, to: NodeId, datagram: &[u8]);
    fn wrote(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]);
    fn read(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]);
}

struct Told<O, M>(O, PhantomData<fn(M)>);

impl<O: Observer<M> + 'static, M: 'static> Tell for Told<O, M> {
    fn faulted(&mut self, at: Instant, node: Option<NodeId>, what: &'static str) {
        self.0.faulted(at, node, what);
    }

    fn clock_set(&mut self, at: Instant, node: NodeId, clock: Clock) {
        self.0.clock_set(at, node, clock);
    }

    fn changed(&mut self, node: NodeId, change: &Change) {
        self.0.changed(node, change);
    }

    fn completed(&mut self, at: Instant, node: NodeId, completion: &Completion) {
        self.0.completed(at, node, completion);
    }

    fn heard(&mut self, at: Instant, node: NodeId, news: &News) {
        self.0.heard(at, node, news);
    }

    fn sent(&mut self, at: Instant, from: NodeId, to: Option<NodeId>, datagram: &[u8]) {
        self.0.sent(at, from, to, datagram);
    }

    fn received(&mut self, at: Instant, from: NodeId, to: NodeId, datagram: &[u8]) {
        self.0.received(at, from, to, datagram);
    }

    fn wrote(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]) {
        self.0.wrote(at, stream, bytes);
    }

    fn read(&mut self, at: Instant, stream: StreamPath, bytes: &[u8]) {
        self.0.read(at, stream, bytes);
    }
}

/// The observer behind what is told; its place in the list says its type.
fn reveal<O: 'static, M: 'static>(told: &mut dyn Tell) -> &mut O {
    match (told as &mut dyn Any).downcast_mut::<Told<O, M>>() {
        Some(told) => &mut told.0,
        None => unreachable!("an observer changed its type"),
    }
}

type Shown<M> = fn(&mut dyn Tell, &Network<M>, NodeId);

/// What one observer is shown of the whole network, and when.
pub(crate) struct Looks<M> {
    every: Duration,
    next: Option<Instant>,
    look: Shown<M>,
    started: Shown<M>,
    stopped: Shown<M>,
}

impl<O> Clone for Watch<O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Watch<O> {}

impl<O> fmt::Debug for Watch<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watch({})", self.place)
    }
}

const NO_SUCH: &str = "this network has no such observer, or not any more";

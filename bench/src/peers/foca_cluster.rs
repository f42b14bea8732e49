//! A cluster of foca's, on a network of its own that does what `transport-mem`'s does for ours.

use core::cell::Cell;
use core::cmp::{Ordering, Reverse};
use core::convert::Infallible;
use core::net::SocketAddrV4;
use core::num::NonZeroU32;
use core::time::Duration;
use std::collections::BinaryHeap;
use std::rc::Rc;

use foca::{
    BroadcastHandler, Config, Foca, Invalidates, Member, Notification, PostcardCodec, Runtime, State, Timer,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::cluster::{Cluster, Joins, LATENCY, Tells, Told};
use super::work::{address, number};

type Machine = Foca<SocketAddrV4, PostcardCodec, StdRng, Handler>;

/// Nodes, and the network between them.
#[expect(missing_debug_implementations, reason = "foca's state machine has none")]
pub struct Theirs {
    machines: Vec<Machine>,
    network: Network,
    counts: Rc<Counts>,
}

/// What is under way, and what is due.
#[derive(Default)]
struct Network {
    now: Duration,
    entries: BinaryHeap<Reverse<Entry>>,
    numbered: u64,
}

/// Something that will happen to a node; what is due at the same time happens in the order in which it was caused.
struct Entry {
    due: (Duration, u64),
    node: usize,
    what: What,
}

enum What {
    Datagram(Vec<u8>),
    Timer(Timer<SocketAddrV4>),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

impl Network {
    fn put(&mut self, after: Duration, node: usize, what: What) {
        self.numbered += 1;
        self.entries.push(Reverse(Entry { due: (self.now + after, self.numbered), node, what }));
    }
}

/// Whom a machine talks to.
struct Driver<'a> {
    network: &'a mut Network,
    node: usize,
}

impl Runtime<SocketAddrV4> for Driver<'_> {
    fn notify(&mut self, _: Notification<'_, SocketAddrV4>) {}

    fn send_to(&mut self, to: SocketAddrV4, data: &[u8]) {
        self.network.put(LATENCY, number(to), What::Datagram(data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<SocketAddrV4>, after: Duration) {
        self.network.put(after, self.node, What::Timer(event));
    }
}

/// How the event spread so far.
#[derive(Default)]
struct Counts {
    now: Cell<Duration>,
    reached: Cell<usize>,
    copies: Cell<u64>,
    last: Cell<Duration>,
}

/// Passes an event on when it comes for the first time.
struct Handler {
    has_it: bool,
    counts: Rc<Counts>,
}

/// There is but one event.
struct Key;

impl Invalidates for Key {
    fn invalidates(&self, _: &Self) -> bool {
        true
    }
}

impl BroadcastHandler<SocketAddrV4> for Handler {
    type Key = Key;
    type Error = Infallible;

    fn receive_item(&mut self, _: &[u8], sender: Option<&SocketAddrV4>) -> Result<Option<Key>, Infallible> {
        let counts = &self.counts;
        counts.copies.set(counts.copies.get() + u64::from(sender.is_some()));
        if self.has_it {
            return Ok(None);
        }
        self.has_it = true;
        counts.reached.set(counts.reached.get() + 1);
        counts.last.set(counts.now.get());
        Ok(Some(Key))
    }
}

impl Cluster for Theirs {
    fn of(nodes: usize, formed: bool, seed: u64) -> Self {
        let counts = Rc::<Counts>::default();
        let size = NonZeroU32::new(nodes as u32).expect("at least two");
        let machine = |number: usize| {
            let random = StdRng::seed_from_u64(seed << 32 | number as u64);
            let handler = Handler { has_it: false, counts: counts.clone() };
            let config = Config::new_lan(size);
            Foca::with_custom_broadcast(address(number), config, random, PostcardCodec, handler)
        };
        let machines = (0..nodes).map(machine).collect();
        let mut theirs = Self { machines, network: Network::default(), counts: counts.clone() };
        if formed {
            for (node, machine) in theirs.machines.iter_mut().enumerate() {
                // Its timers begin when it has company. Over a second, or all would tick as one.
                theirs.network.now = Duration::from_secs(1) * node as u32 / nodes as u32;
                let others = (0..nodes).filter(|other| *other != node);
                let all = others.map(|other| Member::new(address(other), 0, State::Alive));
                let driver = Driver { network: &mut theirs.network, node };
                machine.apply_many(all, false, driver).expect("nothing is sent that could fail");
            }
            theirs.network.now = Duration::ZERO;
        }
        theirs
    }

    fn pass(&mut self, time: Duration) {
        let end = self.network.now + time;
        while let Some(Reverse(first)) = self.network.entries.peek()
            && first.due.0 <= end
        {
            let Some(Reverse(Entry { due, node, what })) = self.network.entries.pop() else { break };
            self.network.now = due.0;
            self.counts.now.set(due.0);
            let machine = &mut self.machines[node];
            let driver = Driver { network: &mut self.network, node };
            // It refuses what is of no use to it any more, such as an answer that comes late.
            let _ = match what {
                What::Datagram(bytes) => machine.handle_data(&bytes, driver),
                What::Timer(timer) => machine.handle_timer(timer, driver),
            };
        }
        self.network.now = end;
    }

    fn views_of(&self, members: usize) -> usize {
        self.machines.iter().filter(|machine| machine.num_members() + 1 == members).count()
    }
}

impl Joins for Theirs {
    fn join_all(&mut self) {
        for (node, machine) in self.machines.iter_mut().enumerate().skip(1) {
            let driver = Driver { network: &mut self.network, node };
            machine.announce(address(0), driver).expect("an announcement fits into a datagram");
        }
    }
}

impl Tells for Theirs {
    fn tell_all(&mut self, within: Duration) -> Told {
        let begun = self.network.now;
        self.counts.now.set(begun);
        self.machines[0].add_broadcast(&[7; 64]).expect("it fits into a datagram");
        self.pass(within);
        let Counts { reached, copies, last, .. } = &*self.counts;
        Told { reached: reached.get(), copies: copies.get(), last: last.get().saturating_sub(begun) }
    }
}

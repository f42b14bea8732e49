//! What al8n's memberlist from crates.io does for `gossip-bench peers`: one node and clusters, measured by the same code as the
//! others.
//!
//! It is async and has no machine beside its runtime. Here it has one thread of tokio and a clock that stands still
//! until nothing is left to do, so that its own intervals run in simulated time.

mod cluster;
mod stream;
mod transport;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use clap::Parser;
use gossip_bench::heap::Counting;
use gossip_bench::peers::cluster::measure as measure_clusters;
use gossip_bench::peers::measure::{self, Peer, Sent, Wanted};
use gossip_bench::peers::work::{Datagram, Update, address, name};
use memberlist_core::delegate::{CompositeDelegate, NodeDelegate, VoidDelegate};
use memberlist_core::proto::{Alive, Message, Node, Ping, PushPull};
use memberlist_core::transport::Connection as _;
use memberlist_core::{Memberlist, Options};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use transport::{Addr, Ends, Id, Memory, encoded, inspected};

#[global_allocator]
static HEAP: Counting = Counting;

/// Measures it and prints its report.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    wanted: Wanted,
}

fn main() {
    let wanted = Cli::parse().wanted;
    let mut report = measure::report("al8n memberlist", VERSION, &REMARKS);
    measure::node::<Theirs>(&wanted, &mut report);
    measure_clusters::<cluster::Theirs, cluster::Theirs>(&wanted, &mut report);
    print!("{}", report.to_json());
}

/// What Cargo.toml asks for; a test of gossip-bench compares it with Cargo.lock.
const VERSION: &str = "0.8.5";

const REMARKS: [&str; 6] = [
    "The release on crates.io, which is async: from a transport of its own, datagrams in and out, on one thread of tokio.",
    "Each datagram of alives ends with a user message of one byte, by which it is known that they were applied.",
    "It applies the last message of a datagram first, so that in a cluster of ten, where a datagram names some members twice, not all ten are news.",
    "By default it probes twice a second, and idle time is of that.",
    "Its wire format is of its own; members have names.",
    "Clusters are in simulated time, on one thread of tokio; its draws have no seed. Who was turned away by the first node tries again after a second.",
];

/// Is told of each user message.
struct Applied(Arc<Ends>);

impl NodeDelegate for Applied {
    async fn notify_message(&self, _: Cow<'_, [u8]>) {
        self.0.applied.fetch_add(1, Relaxed);
    }
}

type Void = VoidDelegate<Id, Addr>;
type Delegates = CompositeDelegate<Id, Addr, Void, Void, Void, Void, Applied>;

/// A node, and what it runs in.
struct Theirs {
    runtime: Runtime,
    list: Memberlist<Memory, Delegates>,
    ends: Arc<Ends>,
    /// What it said of everybody when it was last asked, if nothing came in since.
    told: RefCell<Option<HashMap<Id, u32>>>,
}

impl Peer for Theirs {
    fn grown(members: usize, quiet: bool) -> Self {
        let (runtime, ends) = (paused(), Ends::of(0));
        let mut options = Options::lan().with_push_pull_interval(Duration::ZERO);
        if quiet {
            options = options.with_probe_interval(Duration::ZERO);
        }
        let delegate = CompositeDelegate::new().with_node_delegate(Applied(ends.clone()));
        let list = runtime
            .block_on(Memberlist::with_delegate(delegate, ends.clone(), options))
            .expect("a valid configuration");
        let mut theirs = Self { runtime, list, ends, told: RefCell::default() };
        let all: Vec<usize> = (1..members).collect();
        for some in all.chunks(10) {
            let updates: Vec<_> = some.iter().map(|&member| Update { member, incarnation: 1 }).collect();
            let datagram = theirs.alives(1, &updates);
            theirs.deliver(&mut [datagram]);
        }
        assert_eq!(theirs.members(), members, "all are new");
        // Until all was said often enough.
        theirs.ends.answers.store(true, Relaxed);
        while theirs.pass(Duration::from_secs(10)).1 > 0 {}
        theirs
    }

    fn alives(&mut self, from: usize, updates: &[Update]) -> Datagram {
        let alive = |update: &Update| Message::Alive(Alive::new(update.incarnation, node(update.member)));
        let mut messages: Vec<_> = updates.iter().map(alive).collect();
        messages.push(Message::UserData(vec![1].into()));
        Datagram { from, bytes: encoded(messages) }
    }

    fn ping(&mut self, from: usize) -> Datagram {
        Datagram { from, bytes: encoded(vec![Message::Ping(Ping::new(7, node(from), node(0)))]) }
    }

    fn deliver(&mut self, datagrams: &mut [Datagram]) -> Sent {
        self.told.take();
        self.ends.answers.store(false, Relaxed);
        let before = self.ends.sent();
        self.runtime.block_on(async {
            for datagram in datagrams {
                let done = self.ends.done();
                self.ends.packet(address(datagram.from).into(), core::mem::take(&mut datagram.bytes));
                while self.ends.done() == done {
                    tokio::task::yield_now().await;
                }
            }
        });
        self.ends.since(before)
    }

    fn gossip(&mut self, rounds: usize) -> Sent {
        self.ends.answers.store(false, Relaxed);
        self.pass(Duration::from_millis(200) * rounds as u32).0
    }

    fn idle(&mut self, seconds: u64) -> u64 {
        self.ends.answers.store(true, Relaxed);
        let before = self.ends.answered.load(Relaxed);
        self.pass(Duration::from_secs(seconds));
        self.ends.answered.load(Relaxed) - before
    }

    fn members(&self) -> usize {
        self.runtime.block_on(self.list.num_online_members())
    }

    fn incarnation(&self, member: usize) -> u32 {
        let mut told = self.told.borrow_mut();
        told.get_or_insert_with(|| self.exchange())[&Id::from(name(member))]
    }

    fn queued(&self) -> Option<usize> {
        None
    }
}

impl Theirs {
    /// Lets that much time go by. Returns what it sent, and how many datagrams of it were no pings.
    fn pass(&mut self, time: Duration) -> (Sent, u64) {
        let before = (self.ends.sent(), self.ends.answered.load(Relaxed));
        self.runtime.block_on(async { sleep(time).await });
        let sent = self.ends.since(before.0);
        let pings = self.ends.answered.load(Relaxed) - before.1;
        (sent, sent.datagrams as u64 - pings)
    }

    /// What it says of everybody in an exchange of state.
    fn exchange(&self) -> HashMap<Id, u32> {
        let request = encoded(vec![Message::PushPull(PushPull::new(false, core::iter::empty()))]);
        let mut stream = self.ends.stream(address(1).into());
        let bytes = self.runtime.block_on(async {
            stream.write_all(&request).await.expect("it reads");
            timeout(Duration::from_secs(1), stream.read_to_end()).await.expect("it answers")
        });
        let mut known = HashMap::new();
        inspected(&bytes, |message| {
            if let Message::PushPull(states) = message {
                known.extend(states.states().iter().map(|state| (state.id().clone(), state.incarnation())));
            }
        });
        known
    }
}

/// A thread whose clock stands still until nothing is left to do.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

fn node(number: usize) -> Node<Id, Addr> {
    Node::new(name(number).into(), address(number).into())
}

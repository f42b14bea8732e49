//! A cluster of al8n's, all of it in one thread of tokio, whose clock stands still until nothing is left to do.

use std::borrow::Cow;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gossip_bench::peers::cluster::{Cluster, Joins, PATIENCE, Tells, Told};
use gossip_bench::peers::work::address;
use memberlist_core::delegate::{CompositeDelegate, EventDelegate, NodeDelegate};
use memberlist_core::proto::{Data, MaybeResolvedAddress, Message, NodeState};
use memberlist_core::queue::TransmitLimitedQueue;
use memberlist_core::{Broadcast, Memberlist, Options};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};

use crate::transport::{Addr, Ends, Id, Memory};
use crate::{Void, paused};

/// How long who was turned away waits, as agents do that are to join until they have.
const RETRY: Duration = Duration::from_secs(1);
/// After a join, until nothing is left to be passed on.
const CALM: Duration = Duration::from_secs(10);

type Delegates = CompositeDelegate<Id, Addr, Void, Void, Arc<View>, Void, Arc<Teller>>;

/// Nodes, and what they run in.
pub struct Theirs {
    runtime: Runtime,
    lists: Vec<Memberlist<Memory, Delegates>>,
    views: Vec<Arc<View>>,
    tellers: Vec<Arc<Teller>>,
    spread: Arc<Spread>,
}

/// How many members a node believes alive. Counted here, because to ask it is to walk through its table under its lock.
#[derive(Default)]
struct View(AtomicUsize);

impl EventDelegate for View {
    type Id = Id;
    type Address = Addr;

    async fn notify_join(&self, _: Arc<NodeState<Id, Addr>>) {
        self.0.fetch_add(1, Relaxed);
    }

    async fn notify_leave(&self, _: Arc<NodeState<Id, Addr>>) {
        self.0.fetch_sub(1, Relaxed);
    }

    async fn notify_update(&self, _: Arc<NodeState<Id, Addr>>) {}
}

/// How the event spread so far.
#[derive(Default)]
struct Spread {
    reached: AtomicUsize,
    copies: AtomicU64,
    last: Mutex<Option<Instant>>,
}

/// Passes an event on when it comes for the first time, as Serf does.
struct Teller {
    queue: TransmitLimitedQueue<Event, Arc<AtomicUsize>>,
    has_it: AtomicBool,
    spread: Arc<Spread>,
}

impl Teller {
    async fn tell(&self, message: &[u8]) {
        if !self.has_it.swap(true, Relaxed) {
            self.spread.reached.fetch_add(1, Relaxed);
            *self.spread.last.lock().expect("one thread") = Some(Instant::now());
            self.queue.queue_broadcast(Event(Bytes::copy_from_slice(message))).await;
        }
    }
}

impl NodeDelegate for Teller {
    async fn notify_message(&self, message: Cow<'_, [u8]>) {
        self.spread.copies.fetch_add(1, Relaxed);
        self.tell(&message).await;
    }

    async fn broadcast_messages<F>(&self, limit: usize, _: F) -> impl Iterator<Item = Bytes> + Send
    where
        F: Fn(Bytes) -> (usize, Bytes) + Send + Sync + 'static,
    {
        self.queue.get_broadcasts(limit).await.into_iter()
    }
}

#[derive(Debug)]
struct Event(Bytes);

impl Broadcast for Event {
    type Id = u8;
    type Message = Bytes;

    fn id(&self) -> Option<&u8> {
        None
    }

    fn invalidates(&self, _: &Self) -> bool {
        false
    }

    fn message(&self) -> &Bytes {
        &self.0
    }

    fn encoded_len(message: &Bytes) -> usize {
        Message::<Id, Addr>::UserData(message.clone()).encoded_len()
    }

    async fn finished(&self) {}

    fn is_unique(&self) -> bool {
        true
    }
}

impl Cluster for Theirs {
    // Its draws are of the operating system: a seed would do nothing.
    fn of(nodes: usize, formed: bool, _seed: u64) -> Self {
        let runtime = paused();
        let spread = Arc::<Spread>::default();
        let (mut lists, mut views, mut tellers) = (Vec::new(), Vec::new(), Vec::new());
        for ends in Ends::connected(nodes) {
            let options = Options::lan();
            let queue =
                TransmitLimitedQueue::new(options.retransmit_mult(), Arc::new(AtomicUsize::new(nodes)));
            let teller = Arc::new(Teller { queue, has_it: AtomicBool::new(false), spread: spread.clone() });
            let view = Arc::<View>::default();
            let delegate =
                CompositeDelegate::new().with_event_delegate(view.clone()).with_node_delegate(teller.clone());
            let list = runtime.block_on(Memberlist::with_delegate(delegate, ends, options));
            lists.push(list.expect("a valid configuration"));
            views.push(view);
            tellers.push(teller);
        }
        let mut theirs = Self { runtime, lists, views, tellers, spread };
        if formed {
            // There is no way to tell it who is there but to join.
            theirs.join_all();
            for _ in 0..PATIENCE.as_secs() {
                theirs.pass(Duration::from_secs(1));
                if theirs.views_of(nodes) == nodes {
                    break;
                }
            }
            theirs.pass(CALM);
        }
        theirs
    }

    fn pass(&mut self, time: Duration) {
        self.runtime.block_on(async { sleep(time).await });
    }

    fn views_of(&self, members: usize) -> usize {
        self.views.iter().filter(|view| view.0.load(Relaxed) == members).count()
    }
}

impl Joins for Theirs {
    fn join_all(&mut self) {
        for list in &self.lists[1..] {
            let list = list.clone();
            self.runtime.spawn(async move {
                while list.join(MaybeResolvedAddress::Resolved(address(0).into())).await.is_err() {
                    sleep(RETRY).await;
                }
            });
        }
    }
}

impl Tells for Theirs {
    fn tell_all(&mut self, within: Duration) -> Told {
        let begun = self.runtime.block_on(async {
            let begun = Instant::now();
            self.tellers[0].tell(&[7; 64]).await;
            begun
        });
        self.pass(within);
        let Spread { reached, copies, last } = &*self.spread;
        let last = last.lock().expect("one thread").expect("the first one has it");
        Told { reached: reached.load(Relaxed), copies: copies.load(Relaxed), last: last - begun }
    }
}

//! The hook itself.

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::{ChangeKind, Completion, Instant, Machine};
use transport_mem::net::{Change, Network, News, NodeId, Observer, Replay, StreamPath};

use crate::support::*;

/// Counts everything it is told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    every: Option<Duration>,
    looks: Vec<Instant>,
    agreed: usize,
    started: Vec<usize>,
    stopped: Vec<usize>,
    faults: Vec<&'static str>,
    changes: Vec<(NodeId, ChangeKind)>,
    completions: usize,
    news: Vec<News>,
    sent: (u64, u64),
    nowhere: u64,
    received: (u64, u64),
    wrote: u64,
    read: u64,
    first_bytes: usize,
}

impl<M: Machine> Observer<M> for Counts {
    fn interval(&self) -> Option<Duration> {
        self.every
    }

    fn look(&mut self, net: &Network<M>) {
        self.looks.push(net.now());
        self.agreed += usize::from(net.agrees());
    }

    fn started(&mut self, net: &Network<M>, node: NodeId) {
        assert!(net.machine(node).is_some());
        self.started.push(node.number());
    }

    fn stopped(&mut self, net: &Network<M>, node: NodeId) {
        assert!(net.machine(node).is_none());
        self.stopped.push(node.number());
    }

    fn faulted(&mut self, _: Instant, _: Option<NodeId>, what: &'static str) {
        self.faults.push(what);
    }

    fn changed(&mut self, node: NodeId, change: &Change) {
        self.changes.push((node, change.kind));
    }

    fn completed(&mut self, _: Instant, _: NodeId, _: &Completion) {
        self.completions += 1;
    }

    fn heard(&mut self, _: Instant, _: NodeId, news: &News) {
        self.news.push(news.clone());
    }

    fn sent(&mut self, _: Instant, _: NodeId, to: Option<NodeId>, datagram: &[u8]) {
        self.sent.0 += 1;
        self.sent.1 += datagram.len() as u64;
        self.nowhere += u64::from(to.is_none());
    }

    fn received(&mut self, _: Instant, _: NodeId, _: NodeId, datagram: &[u8]) {
        self.received.0 += 1;
        self.received.1 += datagram.len() as u64;
    }

    fn wrote(&mut self, _: Instant, stream: StreamPath, bytes: &[u8]) {
        assert_ne!(stream.from, stream.to);
        self.wrote += bytes.len() as u64;
        self.first_bytes += usize::from(stream.by_opener);
    }

    fn read(&mut self, _: Instant, _: StreamPath, bytes: &[u8]) {
        self.read += bytes.len() as u64;
    }
}

fn eventful(replay: &Replay, watched: bool) -> (Net, Option<Counts>) {
    let (mut net, nodes) = strangers(replay, |_| {});
    let watch = watched.then(|| net.observe(Counts { every: Some(SECOND), ..Counts::default() }));
    join_all(&mut net, &nodes);
    net.run_for(10 * SECOND);
    let to = net.machine(nodes[0]).unwrap().find(net.name(nodes[1]).as_bytes()).unwrap().key;
    net.with(nodes[0], |machine, now| machine.send(now, to, Bytes::from_static(b"hello")).unwrap());
    net.partition(&[&nodes[..2]]);
    net.pause(nodes[4]);
    net.run_for(2 * SECOND);
    net.resume(nodes[4]);
    net.heal();
    net.crash(nodes[3]);
    net.run_for(30 * SECOND);
    net.restart(nodes[3]);
    net.join(nodes[3], &nodes[..1]);
    net.run_for(Duration::from_millis(20_500));
    let counts = watch.map(|watch| net.unobserve(watch));
    (net, counts)
}

#[test]
fn an_observer_is_told_of_everything_and_changes_nothing() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "observe",
        "hook::an_observer_is_told_of_everything_and_changes_nothing",
        1,
        8,
    );
    let (unseen, _) = eventful(&replay, false);
    let (net, counts) = eventful(&replay, true);
    let counts = counts.unwrap();
    assert_eq!(net.trace().hash(), unseen.trace().hash());
    let whole: Vec<_> = (1..=62).map(|second| Instant::ORIGIN + second * SECOND).collect();
    assert_eq!(counts.looks, whole);
    assert!((10..62).contains(&counts.agreed), "{}", counts.agreed);
    assert_eq!(
        (counts.started.as_slice(), counts.stopped.as_slice()),
        (&[0, 1, 2, 3, 4, 5, 6, 7, 3][..], &[3][..])
    );
    assert_eq!(counts.faults, ["partition", "pause", "resume", "heal", "crash", "restart"]);
    let traffic = net.traffic();
    assert_eq!(counts.sent, (traffic.datagrams, traffic.datagram_bytes));
    let under_way = net.in_flight().1 as u64;
    let lost = traffic.datagrams_lost + traffic.datagrams_overflowed + under_way;
    assert!(lost > 0 && counts.nowhere == 0, "{traffic:?}");
    // A crashed process never saw what waited for it.
    assert!((0..=8).contains(&(traffic.datagrams - lost - counts.received.0)), "{counts:?} {traffic:?}");
    assert_eq!(counts.wrote, traffic.stream_bytes);
    assert!(counts.read > counts.wrote * 9 / 10 && counts.read <= counts.wrote, "{counts:?}");
    assert!(counts.first_bytes > 10 && counts.completions >= 8);
    assert!(
        counts.news.iter().any(|news| matches!(news, News::Message { payload, .. } if payload == b"hello"))
    );
    for kind in [ChangeKind::Joined, ChangeKind::Suspected, ChangeKind::Failed] {
        assert!(counts.changes.iter().any(|change| change.1 == kind), "{kind:?}");
    }
    assert_eq!(net.log(net.nodes().next().unwrap()).changes, [], "logs are off");
}

#[test]
fn several_watch_at_their_own_pace_and_can_be_detached() {
    let replay = Replay::new(
        env!("CARGO_PKG_NAME"),
        "observe",
        "hook::several_watch_at_their_own_pace_and_can_be_detached",
        1,
        3,
    );
    let (mut net, nodes) = strangers(&replay, |_| {});
    let slow = net.observe(Counts { every: Some(3 * SECOND), ..Counts::default() });
    net.run_for(SECOND);
    let fast = net.observe(Counts { every: Some(SECOND / 4), ..Counts::default() });
    let never = net.observe(Counts::default());
    join_all(&mut net, &nodes);
    net.run_for(5 * SECOND);
    assert_eq!((net[slow].looks.len(), net[fast].looks.len(), net[never].looks.len()), (2, 20, 0));
    assert_eq!(net[never].started, [0, 1, 2], "those that ran already");
    let changes = net[fast].changes.len();
    assert!(changes >= 6);
    net[fast].changes.clear();
    let fast = net.unobserve(fast);
    net.vanish(nodes[2]);
    net.run_for(20 * SECOND);
    assert_eq!((fast.changes.len(), fast.looks.len()), (0, 20));
    assert!(net[slow].changes.len() > changes && net[slow].stopped == [2]);
    assert_eq!(net[slow].looks.len(), 8);
}

#[test]
#[should_panic(expected = "no such observer")]
fn a_detached_observer_is_not_shown() {
    let replay =
        Replay::new(env!("CARGO_PKG_NAME"), "observe", "hook::a_detached_observer_is_not_shown", 1, 1);
    let (mut net, _) = strangers(&replay, |_| {});
    let watch = net.observe(Counts::default());
    net.unobserve(watch);
    let _ = &net[watch];
}

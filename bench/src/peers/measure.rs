//! Measures a contender that is written in Rust.
//!
//! All times are of the processor, for this thread. What is measured is checked: an acknowledgement must come out, a table must
//! have changed, a packet must be full; so nobody gets fast by doing nothing.

use core::time::Duration;

use cpu_time::ThreadTime;

use super::report::{Absent, Figure, Report, Row, SCHEMA};
use super::work::{Datagram, Rumours, Update};
use crate::heap::Heap;

/// One node, and what it is measured by.
pub trait Peer {
    /// A node that knows that many members, itself included, all alive with incarnation 1, and has nothing to say. Unless
    /// `quiet`, it will probe by its default intervals; scheduled exchanges of state are off.
    fn grown(members: usize, quiet: bool) -> Self;

    /// A datagram with these updates, as `from` would send it.
    fn alives(&mut self, from: usize, updates: &[Update]) -> Datagram;

    /// A ping, as `from` would send it.
    fn ping(&mut self, from: usize) -> Datagram;

    /// Hands these over, one after the other. All that follows from them is over on return.
    fn deliver(&mut self, datagrams: &mut [Datagram]) -> Sent;

    /// Sends gossip to as many members as it does by default, and this that many times.
    fn gossip(&mut self, rounds: usize) -> Sent;

    /// Lets time go on, and answers its probes. Returns how many it has sent.
    fn idle(&mut self, seconds: u64) -> u64;

    /// How many members it believes alive, itself included.
    fn members(&self) -> usize;

    /// The incarnation that it knows of a member.
    fn incarnation(&self, member: usize) -> u32;

    /// How many updates wait to be passed on, if that can be seen.
    fn queued(&self) -> Option<usize>;
}

/// What a node has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams.
    pub datagrams: usize,
    /// Bytes in them.
    pub bytes: usize,
}

/// What of it is wanted, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Numbers of members.
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_values_t = [10, 1_000, 10_000],
          value_parser = size)]
    pub members: Vec<usize>,
    /// Numbers of nodes of the clusters that are measured.
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_values_t = [100, 1_000], value_parser = size)]
    pub cluster: Vec<usize>,
    /// Repetitions of each measurement; clusters are run three times at most.
    #[arg(long, value_name = "TIMES", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    pub repetitions: u16,
    /// Only these rows.
    #[arg(long, value_delimiter = ',', value_name = "ROW,...")]
    pub rows: Vec<Row>,
}

fn size(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|error| format!("{error}"))?;
    let ok = (2..=60_000).contains(&number);
    ok.then_some(number).ok_or_else(|| "from 2 to 60000: their addresses are in one /16".to_owned())
}

impl Wanted {
    /// Whether a row is.
    pub fn has(&self, row: Row) -> bool {
        self.rows.is_empty() || self.rows.contains(&row)
    }

    /// These as arguments of a contender's program.
    pub fn arguments(&self) -> Vec<String> {
        let list = |texts: Vec<String>| texts.join(",");
        let mut arguments = vec![
            format!("--members={}", list(self.members.iter().map(usize::to_string).collect())),
            format!("--repetitions={}", self.repetitions),
        ];
        if !self.cluster.is_empty() {
            let sizes = self.cluster.iter().map(usize::to_string);
            arguments.push(format!("--cluster={}", list(sizes.collect())));
        }
        if !self.rows.is_empty() {
            let name = |row: &Row| serde_json::to_value(row).ok()?.as_str().map(str::to_owned);
            arguments.push(format!("--rows={}", list(self.rows.iter().filter_map(name).collect())));
        }
        arguments
    }
}

/// An empty report.
pub fn report(name: &str, version: &str, remarks: &[&str]) -> Report {
    Report {
        schema: SCHEMA,
        name: name.into(),
        version: version.into(),
        remarks: remarks.iter().map(|&remark| remark.into()).collect(),
        figures: Vec::new(),
        absent: Vec::new(),
    }
}

/// Datagrams that are handed over between two looks at the clock.
const BATCH: usize = 400;
/// Simulated seconds of an idle node between two looks at the clock.
const SECONDS: u64 = 1_000;
/// Rounds of gossip in a repetition; two at a time from a queue of few, which is empty soon.
const ROUNDS: usize = 200;

/// Measures one node, at every size.
pub fn node<P: Peer>(wanted: &Wanted, report: &mut Report) {
    let repetitions = usize::from(wanted.repetitions);
    for &members in &wanted.members {
        for row in Row::ALL.into_iter().filter(|row| wanted.has(*row)) {
            let figure = match row {
                row if row.is_of_cluster() => continue,
                Row::KnownAlives => known::<P>(members, repetitions),
                Row::News => news::<P>(members, repetitions),
                Row::PingAck => pings::<P>(members, repetitions),
                Row::GossipPacket => gossip::<P>(members, repetitions),
                Row::Idle => idle::<P>(members, repetitions),
                Row::HeapPerMember if members > BASE => heap::<P>(members),
                _ => {
                    let why = "The figure is how memory grows from 10 members to N.".into();
                    report.absent.push(Absent { row, members: Some(members), why });
                    continue;
                }
            };
            report.figures.push(figure);
        }
    }
}

/// Time and allocations of what `work` does, for each of the operations that it says it did.
fn timed(samples: &mut Samples, work: impl FnOnce() -> usize) {
    let (heap, clock) = (Heap::now(), ThreadTime::now());
    let operations = work();
    samples.time += clock.elapsed();
    samples.allocations += heap.allocations();
    samples.operations += operations;
}

/// What was measured in one repetition.
#[derive(Default)]
struct Samples {
    time: Duration,
    allocations: u64,
    operations: usize,
}

/// A figure in microseconds. The first repetition warms up and does not count.
fn figure(row: Row, members: usize, repetitions: usize, mut once: impl FnMut(&mut Samples)) -> Figure {
    once(&mut Samples::default());
    let mut times = Vec::new();
    let mut fewest = f64::INFINITY;
    for _ in 0..repetitions {
        let mut samples = Samples::default();
        once(&mut samples);
        let operations = samples.operations as f64;
        times.push(samples.time.as_secs_f64() * 1e6 / operations);
        fewest = fewest.min(samples.allocations as f64 / operations);
    }
    Figure::new(row, members, times, Some(fewest))
}

fn known<P: Peer>(members: usize, repetitions: usize) -> Figure {
    let (mut peer, mut rumours) = (P::grown(members, true), Rumours::new(members));
    assert_eq!(peer.members(), members, "the node knows all");
    let figure = figure(Row::KnownAlives, members, repetitions, |samples| {
        let mut batch: Vec<_> = (0..BATCH)
            .map(|_| {
                let from = rumours.sender();
                peer.alives(from, &rumours.known())
            })
            .collect();
        timed(samples, || {
            peer.deliver(&mut batch);
            BATCH
        });
    });
    // Where the queue cannot be seen, nothing comes out of it; foca, where it can, sends packets without updates.
    let waiting = peer.queued().unwrap_or_else(|| peer.gossip(1).datagrams);
    assert_eq!((peer.members(), waiting), (members, 0), "nothing was news");
    figure
}

fn news<P: Peer>(members: usize, repetitions: usize) -> Figure {
    let (mut peer, mut rumours) = (P::grown(members, true), Rumours::new(members));
    tell_of_all(&mut peer, &mut rumours);
    let figure = figure(Row::News, members, repetitions, |samples| {
        let mut told = Vec::new();
        let mut batch: Vec<_> = (0..BATCH)
            .map(|_| {
                let (from, updates) = (rumours.sender(), rumours.news());
                told.extend(updates);
                peer.alives(from, &updates)
            })
            .collect();
        timed(samples, || {
            peer.deliver(&mut batch);
            BATCH
        });
        for update in told {
            let expected = rumours.incarnation(update.member);
            assert_eq!(peer.incarnation(update.member), expected, "member {}", update.member);
        }
    });
    assert!(peer.queued() != Some(0) && peer.members() == members, "news is passed on");
    figure
}

fn pings<P: Peer>(members: usize, repetitions: usize) -> Figure {
    let (mut peer, mut rumours) = (P::grown(members, true), Rumours::new(members));
    figure(Row::PingAck, members, repetitions, |samples| {
        let mut batch: Vec<_> = (0..BATCH).map(|_| peer.ping(rumours.sender())).collect();
        timed(samples, || {
            let sent = peer.deliver(&mut batch);
            assert_eq!(sent.datagrams, BATCH, "a ping, an ack");
            BATCH
        });
    })
}

fn gossip<P: Peer>(members: usize, repetitions: usize) -> Figure {
    let (mut peer, mut rumours) = (P::grown(members, true), Rumours::new(members));
    let rounds = if members < 100 { 2 } else { 20 };
    figure(Row::GossipPacket, members, repetitions, |samples| {
        for _ in 0..ROUNDS / rounds {
            tell_of_all(&mut peer, &mut rumours);
            timed(samples, || {
                let sent = peer.gossip(rounds);
                assert!(sent.datagrams >= rounds, "{sent:?} in {rounds} rounds");
                // What of less than a hundred members there is to say may fill no datagram.
                let each = sent.bytes / sent.datagrams;
                assert!(each > 1_000 || members < 100, "{each} bytes in a datagram");
                sent.datagrams
            });
        }
    })
}

fn tell_of_all<P: Peer>(peer: &mut P, rumours: &mut Rumours) {
    let batches = rumours.news_of_all();
    let mut datagrams: Vec<_> = batches
        .into_iter()
        .map(|updates| {
            let from = rumours.sender();
            peer.alives(from, &updates)
        })
        .collect();
    peer.deliver(&mut datagrams);
    let queued = peer.queued();
    assert!(
        queued.is_none_or(|queued| queued + 1 >= peer.members()),
        "an update about each waits: {queued:?}"
    );
}

fn idle<P: Peer>(members: usize, repetitions: usize) -> Figure {
    let mut peer = P::grown(members, false);
    let figure = figure(Row::Idle, members, repetitions, |samples| {
        timed(samples, || {
            let probes = peer.idle(SECONDS);
            assert!(probes >= SECONDS * 9 / 10, "{probes} probes in {SECONDS} s");
            SECONDS as usize
        });
    });
    assert_eq!(peer.members(), members, "all were found alive");
    figure
}

/// How large a cluster is the base that the memory of a larger one is compared with.
const BASE: usize = 10;

fn heap<P: Peer>(members: usize) -> Figure {
    let held = |members| {
        let before = Heap::now();
        let _peer = P::grown(members, true);
        before.held() as f64
    };
    let each = (held(members) - held(BASE)) / (members - BASE) as f64;
    Figure::new(Row::HeapPerMember, members, vec![each.max(0.0)], None)
}

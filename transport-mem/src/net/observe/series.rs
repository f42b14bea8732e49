//! One value per node, again and again: sizes of views, lengths of queues, memory.

use core::time::Duration;
use std::collections::BTreeMap;

use gossip_proto::{Instant, Machine};

use crate::net::observe::Summary;
use crate::net::{Network, NodeId, Observer};

/// Samples a value of every node whose process runs: paused ones say nothing.
pub struct Series<M> {
    every: Duration,
    value: Box<dyn Fn(&M) -> u64>,
    rows: Vec<Row>,
    /// How often each value was seen.
    seen: BTreeMap<u64, u64>,
    last: BTreeMap<NodeId, u64>,
}

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// When.
    pub at: Instant,
    /// How many nodes ran.
    pub nodes: usize,
    /// The least of their values.
    pub min: u64,
    /// Their mean.
    pub mean: f64,
    /// The greatest.
    pub max: u64,
    /// How many different values there were.
    pub distinct: usize,
}

impl<M: Machine> Series<M> {
    /// Samples this value that often.
    pub fn new(every: Duration, value: impl Fn(&M) -> u64 + 'static) -> Self {
        Self { every, value: Box::new(value), rows: Vec::new(), seen: BTreeMap::new(), last: BTreeMap::new() }
    }

    /// How many members each node counts, itself included, once a second, as Rapid's evaluation logs it.
    pub fn view_sizes() -> Self {
        Self::new(Duration::from_secs(1), |machine: &M| machine.num_alive() as u64)
    }

    /// Bytes of memory that each machine says it holds ([`Machine::memory`]): its collections, not what the network
    /// around it or an allocator adds.
    pub fn memory(every: Duration) -> Self {
        Self::new(every, |machine: &M| machine.memory() as u64)
    }

    /// The length of one of the queues of [`Machine::depths`], by its name; `None` for all rumors together.
    ///
    /// # Panics
    /// At the first look, if there is no such queue.
    pub fn queue(every: Duration, name: Option<&'static str>) -> Self {
        Self::new(every, move |machine: &M| {
            let depths = machine.depths();
            match name {
                Some(name) => match depths.iter().find(|depth| depth.what == name) {
                    Some(depth) => depth.len as u64,
                    None => panic!("there is no queue {name:?} but {:?}", depths.map(|depth| depth.what)),
                },
                None => depths[..6].iter().map(|depth| depth.len as u64).sum(),
            }
        })
    }

    /// What each look found.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The different values that any node ever had, and how often each was seen; for view sizes, how many keys there are
    /// is Rapid's Table 1.
    pub fn distinct(&self) -> &BTreeMap<u64, u64> {
        &self.seen
    }

    /// Each node's value at the last look.
    pub fn last(&self) -> &BTreeMap<NodeId, u64> {
        &self.last
    }

    /// All values of all nodes at all looks. Its interval is no use: values of one node depend on each other.
    pub fn summary(&self) -> Summary {
        let times = |(value, count): (&u64, &u64)| core::iter::repeat_n(*value as f64, *count as usize);
        Summary::of(self.seen.iter().flat_map(times))
    }

    /// The values at the last look.
    pub fn last_summary(&self) -> Summary {
        Summary::of(self.last.values().map(|value| *value as f64))
    }
}

impl<M: Machine> Observer<M> for Series<M> {
    fn interval(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn look(&mut self, net: &Network<M>) {
        self.last = net.active().filter_map(|node| Some((node, (self.value)(net.machine(node)?)))).collect();
        let mut values: Vec<u64> = self.last.values().copied().collect();
        values.sort_unstable();
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return };
        for value in &values {
            *self.seen.entry(*value).or_default() += 1;
        }
        let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
        let nodes = values.len();
        values.dedup();
        self.rows.push(Row { at: net.now(), nodes, min, mean, max, distinct: values.len() });
    }
}

impl<M> core::fmt::Debug for Series<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Series")
            .field("every", &self.every)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

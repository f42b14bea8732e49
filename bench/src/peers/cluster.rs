//! Measures clusters: all join through one at once, and one event reaches all.
//!
//! All nodes run in one thread, on a simulated network that loses nothing and takes [`LATENCY`] for everything, each with the
//! intervals that it is shipped with. Computing takes no simulated time.

use core::time::Duration;

use cpu_time::ThreadTime;

use super::measure::Wanted;
use super::report::{Absent, Figure, Report, Row};

/// How long a datagram, or a segment of a stream, takes.
pub const LATENCY: Duration = Duration::from_millis(1);

/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(10);
/// How long is waited for views to be whole.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// How long an event has to reach all.
const SPREADING: Duration = Duration::from_secs(30);
/// How many runs there are at most, each by a seed of its own.
const RUNS: u16 = 3;

/// A cluster in simulated time.
pub trait Cluster {
    /// Nodes that know only themselves; or, if `formed`, all of each other, as if they had for long.
    fn of(nodes: usize, formed: bool, seed: u64) -> Self;

    /// Lets time go by.
    fn pass(&mut self, time: Duration);

    /// How many nodes believe exactly that many alive, themselves included.
    fn views_of(&self, members: usize) -> usize;
}

/// A cluster that forms.
pub trait Joins: Cluster {
    /// All but the first ask the first to let them in, now.
    fn join_all(&mut self);
}

/// A cluster that passes news on.
pub trait Tells: Cluster {
    /// The first node has news of 64 bytes for all. Lets that much time go by, and says what came of it.
    fn tell_all(&mut self, within: Duration) -> Told;
}

/// How an event spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// How many nodes have it, the first included.
    pub reached: usize,
    /// How often it came in, over all nodes.
    pub copies: u64,
    /// When the last of these got it, from when it was told.
    pub last: Duration,
}

/// Measures clusters of every size that is wanted.
pub fn measure<J: Joins, T: Tells>(wanted: &Wanted, report: &mut Report) {
    let runs = wanted.repetitions.min(RUNS);
    for &nodes in &wanted.cluster {
        if [Row::Join99, Row::JoinAll, Row::JoinCpu].into_iter().any(|row| wanted.has(row)) {
            let joins: Vec<Join> = (1..=runs).map(|seed| join::<J>(nodes, seed.into())).collect();
            let cpu = |join: &Join| Some(join.cpu? * 1e3 / nodes as f64);
            add(wanted, report, Row::Join99, nodes, joins.iter().map(|join| join.nearly).collect());
            add(wanted, report, Row::JoinAll, nodes, joins.iter().map(|join| join.all).collect());
            add(wanted, report, Row::JoinCpu, nodes, joins.iter().map(cpu).collect());
        }
        if [Row::EventAll, Row::EventCopies, Row::EventMissed].into_iter().any(|row| wanted.has(row)) {
            let told: Vec<Told> = (1..=runs).map(|seed| event::<T>(nodes, seed.into())).collect();
            let last = |told: &Told| (told.reached == nodes).then_some(told.last.as_secs_f64());
            let copies = |told: &Told| Some(told.copies as f64 / nodes as f64);
            let missed = |told: &Told| Some((nodes - told.reached) as f64);
            add(wanted, report, Row::EventAll, nodes, told.iter().map(last).collect());
            add(wanted, report, Row::EventCopies, nodes, told.iter().map(copies).collect());
            add(wanted, report, Row::EventMissed, nodes, told.iter().map(missed).collect());
        }
    }
}

/// A figure, if it came about in every run.
fn add(wanted: &Wanted, report: &mut Report, row: Row, nodes: usize, runs: Vec<Option<f64>>) {
    if !wanted.has(row) {
        return;
    }
    let came: Vec<f64> = runs.iter().flatten().copied().collect();
    if came.len() == runs.len() {
        report.figures.push(Figure::new(row, nodes, came, None));
        return;
    }
    let within = if row == Row::EventAll { SPREADING } else { PATIENCE }.as_secs();
    let why = format!("In {} of {} runs not within {within} s.", runs.len() - came.len(), runs.len());
    report.absent.push(Absent { row, members: Some(nodes), why });
}

/// Seconds from the joins on, and of the processor; nothing for what did not come about.
struct Join {
    nearly: Option<f64>,
    cpu: Option<f64>,
    all: Option<f64>,
}

fn join<C: Joins>(nodes: usize, seed: u64) -> Join {
    let mut cluster = C::of(nodes, false, seed);
    assert_eq!(cluster.views_of(1), nodes, "nobody knows anybody");
    let clock = ThreadTime::now();
    cluster.join_all();
    let mut join = Join { nearly: None, cpu: None, all: None };
    let mut time = Duration::ZERO;
    while time < PATIENCE && join.all.is_none() {
        cluster.pass(LOOK);
        time += LOOK;
        let whole = cluster.views_of(nodes);
        if join.nearly.is_none() && whole * 100 >= nodes * 99 {
            join.nearly = Some(time.as_secs_f64());
            join.cpu = Some(clock.elapsed().as_secs_f64());
        }
        if whole == nodes {
            join.all = Some(time.as_secs_f64());
        }
    }
    join
}

fn event<C: Tells>(nodes: usize, seed: u64) -> Told {
    let mut cluster = C::of(nodes, true, seed);
    assert_eq!(cluster.views_of(nodes), nodes, "all know all");
    // Until nobody's timers are as they were at the start.
    cluster.pass(Duration::from_secs(3));
    cluster.tell_all(SPREADING)
}

//! Watches one run, and keeps what the metrics are computed from.
//!
//! The observers of `transport-mem` measure some of the same for tests of users' own. Here they would not do:
//! [`transport_mem::net::observe::Detection`] knows no farewells, and ends a case when the node is back, where the papers go on
//! counting what is said against it; [`transport_mem::net::observe::FalsePositives`] knows neither suspicions nor the sides of a
//! partition; [`transport_mem::net::observe::Convergence`] goes through all views at each look, whether something changed or not.

mod finish;
mod look;

use std::collections::{BTreeMap, BTreeSet};

use gossip_proto::{ChangeKind, Instant, Name};
use transport_mem::net::{Change, Network};

pub(super) use self::finish::thin;
use crate::measure::kinds::Opened;
use crate::measure::series::{self, Mark, Series, Told};
use crate::measure::traffic::Measured;
use crate::run::kind::Kind;

/// Samples by metric.
pub(crate) type Samples = BTreeMap<&'static str, Vec<f64>>;

/// A fault of one node, or its farewell.
#[derive(Debug)]
struct Outage {
    what: &'static str,
    subject: usize,
    since: Instant,
    leaves: bool,
    first_suspicion: Option<Instant>,
    /// When each healthy node suspected it first.
    suspected: BTreeMap<usize, Instant>,
    first: Option<Instant>,
    full: Option<Instant>,
    /// When each healthy node knew; empty as long as nobody did.
    known: BTreeMap<usize, Instant>,
    /// Who declared failed one who left.
    as_failed: BTreeSet<usize>,
}

/// An event or query and who has it.
#[derive(Debug)]
struct Rumor {
    name: String,
    at: Instant,
    of: usize,
    heard: BTreeMap<usize, Instant>,
}

/// What one node is at present, to the meter.
#[derive(Clone, Copy, Debug, Default)]
struct Subject {
    running: bool,
    /// It has had a fault, or will have one.
    faulty: bool,
    side: u32,
    /// The latest outage.
    outage: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Meter {
    zero: Instant,
    subjects: Vec<Subject>,
    numbers: BTreeMap<Name, usize>,
    outages: Vec<Outage>,
    rumors: Vec<Rumor>,
    counts: BTreeMap<&'static str, u64>,
    samples: Samples,
    /// Members that a healthy node has declared failed, to notice when it takes them back.
    failed: BTreeSet<(usize, usize)>,
    sizes: BTreeSet<usize>,
    last_change: Instant,
    changed: bool,
    traffic: Measured,
    opened: Option<Opened>,
    /// Rumors that were seen to wait: the sum over nodes and looks, how many those were, and the most at one node.
    queued: (u64, u64, usize),
    series: Option<Series>,
    tellers: BTreeMap<(Instant, usize), usize>,
}

impl Meter {
    /// `opens`: whether datagrams are opened to see what they are for.
    pub(crate) fn new(keep_series: bool, opens: bool) -> Self {
        Self {
            zero: Instant::ORIGIN,
            subjects: Vec::new(),
            numbers: BTreeMap::new(),
            outages: Vec::new(),
            rumors: Vec::new(),
            counts: BTreeMap::new(),
            samples: Samples::new(),
            failed: BTreeSet::new(),
            sizes: BTreeSet::new(),
            last_change: Instant::ORIGIN,
            changed: true,
            traffic: Measured::default(),
            opened: opens.then(Opened::default),
            queued: (0, 0, 0),
            series: keep_series.then(Series::default),
            tellers: BTreeMap::new(),
        }
    }

    // What the run says.

    /// Who told whom in what is said next.
    pub(crate) fn told_by(&mut self, tellers: BTreeMap<(Instant, usize), usize>) {
        self.tellers = tellers;
    }

    /// Time 0 is now.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.zero = now;
        self.last_change = now;
    }

    pub(crate) fn added(&mut self, node: usize, name: Name) {
        self.numbers.insert(name, node);
        if self.subjects.len() <= node {
            self.subjects.resize(node + 1, Subject::default());
        }
        self.subjects[node].running = true;
        self.changed = true;
    }

    /// The node will have a fault: what is said against it from now on is not false.
    pub(crate) fn expect_fault(&mut self, node: usize) {
        if self.subjects.len() <= node {
            self.subjects.resize(node + 1, Subject::default());
        }
        self.subjects[node].faulty = true;
    }

    pub(crate) fn fault(&mut self, node: usize, now: Instant, what: &'static str, leaves: bool) {
        self.expect_fault(node);
        self.subjects[node].outage = Some(self.outages.len());
        self.outages.push(Outage {
            what,
            subject: node,
            since: now,
            leaves,
            first_suspicion: None,
            suspected: BTreeMap::new(),
            first: None,
            full: None,
            known: BTreeMap::new(),
            as_failed: BTreeSet::new(),
        });
    }

    pub(crate) fn stopped(&mut self, node: usize) {
        self.subjects[node].running = false;
        self.changed = true;
    }

    pub(crate) fn restarted(&mut self, node: usize) {
        self.subjects[node].running = true;
        self.changed = true;
    }

    /// The sides of a partition; none at all when it is healed.
    pub(crate) fn sides(&mut self, groups: &[Vec<usize>]) {
        for subject in &mut self.subjects {
            subject.side = 0;
        }
        for (side, group) in groups.iter().enumerate() {
            for node in group {
                self.subjects[*node].side = side as u32 + 1;
            }
        }
    }

    pub(crate) fn rumor(&mut self, name: String, origin: usize, now: Instant) {
        let of = self.subjects.iter().filter(|subject| subject.running).count();
        self.rumors.push(Rumor { name, at: now, of, heard: BTreeMap::from([(origin, now)]) });
    }

    pub(crate) fn mark(&mut self, now: Instant, what: String, nodes: &[usize]) {
        let at = self.seconds(now);
        let Some(series) = &mut self.series else { return };
        if series.timeline.len() < series::MARKS {
            let count = nodes.len();
            let nodes = if count > 64 { Vec::new() } else { nodes.to_vec() };
            series.timeline.push(Mark { at, what, nodes, count });
        }
    }

    pub(crate) fn sample(&mut self, metric: &'static str, value: f64) {
        self.samples.entry(metric).or_default().push(value);
    }

    fn count(&mut self, metric: &'static str, by: u64) {
        *self.counts.entry(metric).or_default() += by;
    }

    // What nodes say.

    pub(crate) fn changed(&mut self, viewer: usize, change: &Change) {
        let Some(&about) = self.numbers.get(&change.name) else { return };
        self.last_change = self.last_change.max(change.at);
        self.changed = true;
        if about == viewer || change.at < self.zero {
            return;
        }
        let healthy_viewer = self.is_healthy(viewer);
        match change.kind {
            ChangeKind::Suspected => {
                self.tell(change.at, viewer, "suspected", Some(about));
                if let Some(outage) = self.outage_of(about) {
                    outage.first_suspicion.get_or_insert(change.at);
                    if healthy_viewer {
                        outage.suspected.entry(viewer).or_insert(change.at);
                    }
                }
                if self.is_false(viewer, about) {
                    self.count("false_suspicions", 1);
                    self.count("false_suspicions_healthy", healthy_viewer.into());
                }
            }
            ChangeKind::Failed => {
                self.tell(change.at, viewer, "failed", Some(about));
                if healthy_viewer {
                    self.failed.insert((viewer, about));
                }
                if self.is_false(viewer, about) {
                    self.count("false_positives", 1);
                    self.count("false_positives_healthy", healthy_viewer.into());
                }
                self.learnt(viewer, about, change.at, true);
            }
            ChangeKind::Left => {
                self.tell(change.at, viewer, "left", Some(about));
                self.learnt(viewer, about, change.at, false);
            }
            ChangeKind::Joined => {
                self.tell(change.at, viewer, "joined", Some(about));
                if self.failed.remove(&(viewer, about)) {
                    self.count("flaps", 1);
                }
            }
            ChangeKind::Refuted => self.tell(change.at, viewer, "refuted", Some(about)),
            _ => {}
        }
    }

    /// An event or broadcast of that name reached a node; true if it is the first time.
    pub(crate) fn heard(&mut self, node: usize, name: &[u8], at: Instant) -> bool {
        let Some(rumor) = self.rumors.iter_mut().find(|rumor| rumor.name.as_bytes() == name) else {
            return false;
        };
        let first = !rumor.heard.contains_key(&node);
        if first {
            rumor.heard.insert(node, at);
            self.tell(at, node, "event", None);
        }
        first
    }

    fn learnt(&mut self, viewer: usize, about: usize, at: Instant, failed: bool) {
        let healthy = self.is_healthy(viewer);
        let required = self.required(about);
        let Some(outage) = self.outage_of(about) else { return };
        if failed {
            outage.first.get_or_insert(at);
        }
        if !healthy {
            return;
        }
        if failed && outage.leaves {
            outage.as_failed.insert(viewer);
        }
        outage.known.entry(viewer).or_insert(at);
        if outage.known.len() >= required {
            outage.full.get_or_insert(at);
        }
    }

    fn outage_of(&mut self, node: usize) -> Option<&mut Outage> {
        let outage = self.subjects[node].outage?;
        self.outages.get_mut(outage)
    }

    /// Nodes that ought to learn of what happened to that one.
    fn required(&self, about: usize) -> usize {
        let others = self.subjects.iter().enumerate().filter(|(node, _)| *node != about);
        others.filter(|(_, subject)| subject.running && !subject.faulty).count()
    }

    fn is_healthy(&self, node: usize) -> bool {
        self.subjects.get(node).is_some_and(|subject| subject.running && !subject.faulty)
    }

    /// Whether a declaration against a member is false: it had no fault, and was within reach.
    fn is_false(&self, viewer: usize, about: usize) -> bool {
        let (viewer, about) = (self.subjects[viewer], self.subjects[about]);
        about.running && !about.faulty && viewer.side == about.side
    }

    fn tell(&mut self, at: Instant, to: usize, what: &str, about: Option<usize>) {
        let from = self.tellers.get(&(at, to)).copied();
        let at = self.seconds(at);
        let Some(series) = &mut self.series else { return };
        if series.told.len() < series::TOLD {
            series.told.push(Told { at, from, to, what: what.to_owned(), about });
        }
    }

    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.zero).as_secs_f64()
    }

    // Looks at the whole network; what nodes hold is looked at in look.rs.

    /// Whether anything changed since this was asked last; agreement need not be looked for otherwise.
    pub(crate) fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// When a view changed last.
    pub(crate) fn last_change(&self) -> Instant {
        self.last_change
    }

    /// Whether all outages that last are known to all who should know.
    pub(crate) fn all_detected(&self) -> bool {
        self.subjects.iter().enumerate().filter(|(_, subject)| !subject.running).all(|(node, subject)| {
            subject.outage.is_none_or(|outage| self.outages[outage].known.len() >= self.required(node))
        })
    }

    /// Whether all events are known to all that run.
    pub(crate) fn all_informed(&self) -> bool {
        let running = || self.subjects.iter().enumerate().filter(|(_, subject)| subject.running);
        self.rumors.iter().all(|rumor| running().all(|(node, _)| rumor.heard.contains_key(&node)))
    }

    /// From now on traffic counts.
    pub(crate) fn measure<K: Kind>(&mut self, net: &mut Network<K>) {
        self.traffic.begin(net);
        if let Some(opened) = self.opened.as_mut().filter(|_| self.series.is_some()) {
            opened.begin(net);
        }
    }

    /// From now on traffic does not count any more.
    pub(crate) fn stop_measuring<K: Kind>(&mut self, net: &mut Network<K>) {
        self.traffic.end(net);
        if let Some(opened) = &mut self.opened {
            opened.end(net);
        }
    }

    /// An event is about to begin.
    pub(crate) fn follow<K: Kind>(&mut self, net: &mut Network<K>, name: &str, payload: &[u8]) {
        if let Some(opened) = &mut self.opened {
            opened.follow(net, name, payload);
        }
    }
}

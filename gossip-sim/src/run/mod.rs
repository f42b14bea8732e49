//! One run: a cluster, its timeline, and what came out.

mod act;
mod churn;
mod coordinates;
mod faults;
mod form;
pub(crate) mod kind;
pub(crate) mod links;
pub(crate) mod rules;
mod settled;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{Completion, Instant, Membership, Node, OperationId, Outcome, Seed};
use transport_mem::Conditions;
use transport_mem::net::observe::Invariants;
use transport_mem::net::{DeviceId, Network, News, NodeId, Watch, default_addr};

use crate::measure::series::Series;
use crate::measure::{Meter, Tellers, metrics};
use crate::run::kind::Kind;
use crate::run::settled::Settled;
use crate::scenario::{Action, Condition, Forming, MachineKind, Scenario, Step, Variant};
use crate::settings::NodeSettings;
use crate::value::{Parameters, Val};

/// What one run is of.
#[derive(Clone, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) variant: &'a Variant,
    pub(crate) cell: &'a Parameters,
    pub(crate) seed: u64,
    /// Whether the series are wanted.
    pub(crate) series: bool,
    /// The line that repeats the run, where it is not of a file or a built-in scenario.
    pub(crate) line: Option<String>,
}

impl Task<'_> {
    /// The line that repeats the run.
    pub(crate) fn line(&self) -> String {
        if let Some(line) = &self.line {
            return line.clone();
        }
        let mut filter: Vec<_> = self.cell.iter().map(|(name, value)| format!("{name}={value}")).collect();
        filter.push(format!("variant={}", self.variant.name));
        let (called, seed, filter) = (self.scenario.command(), self.seed, filter.join(","));
        format!("gossip-sim run {called} --seeds 1 --first-seed {seed} --filter {filter}")
    }
}

/// What came out of one run.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes {
    pub(crate) samples: BTreeMap<&'static str, Vec<f64>>,
    pub(crate) series: Option<Series>,
    /// The hash of the run's trace: equal runs have equal ones.
    pub(crate) trace: u64,
    /// How long it ran in virtual time, from time 0.
    pub(crate) ran: Duration,
    /// Virtual node-seconds in all, forming included.
    pub(crate) node_seconds: f64,
    /// What was done to nodes and links, each by itself, and how often.
    pub(crate) done: BTreeMap<&'static str, u64>,
    /// How many comparisons the invariants made.
    pub(crate) checked: u64,
}

/// Runs it.
///
/// # Errors
/// A value that the scenario's check did not see through, where the scenario is at fault; or an invariant that was broken,
/// which is a defect of the machine, or of the rule.
pub(crate) fn run(task: &Task<'_>) -> Result<Outcomes, String> {
    match task.scenario.cluster.machine {
        MachineKind::Node => Sim::<Node>::new(task)?.run(),
        MachineKind::Membership => Sim::<Membership>::new(task)?.run(),
    }
}

/// Something that is to be done at its time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    /// A step, for the so-manieth time.
    Do { step: usize, round: usize },
    /// Its end.
    Undo { step: usize, round: usize },
    /// A step for one node of those that it is spread over.
    Part { step: usize, node: usize, undo: bool },
    /// A join.
    Join { node: usize, via: Vec<usize> },
    /// The next node of a sequential start.
    Start { node: usize },
    /// One node is replaced.
    Replace { step: usize, until: Instant },
    /// A replaced node comes back.
    Return { step: usize, node: usize },
    /// Traffic counts from now on.
    Measure,
    /// Traffic counts until now.
    StopMeasuring,
    /// Views are looked at.
    Look,
}

impl Due {
    /// Whether steps are not over while it is due.
    fn is_step(&self) -> bool {
        !matches!(self, Self::Measure | Self::StopMeasuring | Self::Look)
    }
}

/// What steps hold: an action, and the two ends of a link, which are the same for a node.
type Target = (Action, usize, usize);

struct Sim<'a, K> {
    task: &'a Task<'a>,
    parameters: Parameters,
    net: Network<K>,
    settings: Rc<NodeSettings>,
    size: usize,
    nodes: Vec<NodeId>,
    /// Addresses that all are given, and their key.
    seeds: Vec<SocketAddr>,
    keyring: Option<Keyring>,
    /// Whether nodes have disks.
    disks: bool,
    groups: BTreeMap<String, Vec<usize>>,
    zero: Instant,
    agenda: BTreeMap<(Instant, u64), Due>,
    serial: u64,
    /// Entries of the agenda that are steps.
    steps_due: usize,
    last_step: Instant,
    joins: BTreeMap<(usize, OperationId), Vec<usize>>,
    leaving: BTreeSet<usize>,
    queries: BTreeMap<(usize, OperationId), usize>,
    /// Nodes that are away to be replaced.
    away: BTreeSet<usize>,
    /// Whom each step of churn is still going to replace.
    replaced: BTreeMap<usize, VecDeque<usize>>,
    /// Which steps do something to a node, or to a link, until they are undone; the latest one counts.
    held: BTreeMap<Target, Vec<usize>>,
    /// The step whose partition the network is in.
    split: Option<usize>,
    /// The numbers of zones.
    zones: BTreeMap<String, u32>,
    /// Conditions of links between zones, where steps set them.
    zone_links: BTreeMap<(u32, u32), Conditions>,
    /// Whether a step has set links of single pairs.
    pair_links: bool,
    /// What damages packets, by step, the latest last.
    damage: Vec<(usize, DeviceId)>,
    events: usize,
    tellers: Option<Watch<Tellers>>,
    rules: Watch<Invariants>,
    settled: Settled,
    done: BTreeMap<&'static str, u64>,
    retry: Duration,
    agreed_since: Option<Instant>,
    formed: bool,
    meter: Meter,
}

/// How often a run looks whether its condition holds, and whether nodes have said something to be acted on.
const LOOK: Duration = Duration::from_millis(100);
/// The same while an answer is waited for that something else depends on.
const WATCH: Duration = Duration::from_millis(10);

impl<'a, K: Kind> Sim<'a, K> {
    fn new(task: &'a Task<'a>) -> Result<Self, String> {
        let scenario = task.scenario;
        let parameters = scenario.parameters_of(task.cell, task.variant);
        let settings = Rc::new(NodeSettings::new(scenario, task.variant, &parameters)?);
        let size = scenario.cluster.nodes.get(&parameters)?;
        let steps = || scenario.steps.iter().map(toml::Spanned::get_ref);
        let mut net = Network::new(Seed::from_u64(task.seed));
        let sealed = get(&scenario.cluster.sealed, &parameters)?.unwrap_or(false);
        let keyring = if sealed { Some(keyring()?) } else { None };
        let seeds = get(&scenario.cluster.seeds, &parameters)?.unwrap_or(0);
        let rules = net.observe(rules::watch(&net, task, &settings, keyring.as_ref(), &parameters)?);
        let mut sim = Self {
            task,
            net,
            rules,
            settings,
            size,
            nodes: Vec::new(),
            seeds: (0..seeds).map(default_addr).collect(),
            keyring,
            disks: steps().any(|step| step.state.is_some() || step.action == Action::FailDisk),
            groups: BTreeMap::new(),
            zero: Instant::ORIGIN,
            agenda: BTreeMap::new(),
            serial: 0,
            steps_due: 0,
            last_step: Instant::ORIGIN,
            joins: BTreeMap::new(),
            leaving: BTreeSet::new(),
            queries: BTreeMap::new(),
            away: BTreeSet::new(),
            replaced: BTreeMap::new(),
            held: BTreeMap::new(),
            split: None,
            zones: BTreeMap::new(),
            zone_links: BTreeMap::new(),
            pair_links: false,
            damage: Vec::new(),
            events: 0,
            settled: Settled::default(),
            done: BTreeMap::new(),
            retry: get(&scenario.start.retry, &parameters)?.unwrap_or(Duration::from_secs(1)),
            agreed_since: None,
            formed: matches!(scenario.start.how, Forming::Formed | Forming::Known),
            meter: Meter::new(task.series, task.series || scenario.measure.shows(["last_hop", "redundancy"])),
            tellers: None,
            parameters,
        };
        sim.draw_groups()?;
        Ok(sim)
    }

    fn run(mut self) -> Result<Outcomes, String> {
        let scenario = self.task.scenario;
        self.form()?;
        self.rules_hold()?;
        // Who told whom is of interest from time 0 on.
        self.tellers = self.task.series.then(|| self.net.observe(Tellers::default()));
        let began = self.net.now();
        self.zero = began;
        self.last_step = began;
        self.meter.begin(began);
        self.net.set_conditions(links::conditions(&scenario.network, &self.parameters)?);
        for (number, step) in scenario.steps.iter().enumerate() {
            let step = step.get_ref();
            self.expect_faults(number)?;
            let at = get(&step.at, &self.parameters)?.unwrap_or_default();
            self.later(at, Due::Do { step: number, round: 0 });
        }
        self.later(get(&scenario.measure.from, &self.parameters)?.unwrap_or_default(), Due::Measure);
        if let Some(until) = get(&scenario.measure.until, &self.parameters)? {
            self.later(until, Due::StopMeasuring);
        }
        self.later(Duration::ZERO, Due::Look);

        let settles =
            scenario.check.settled.unwrap_or(false) || scenario.stop.when == Some(Condition::Settled);
        let after = began + scenario.stop.after.get(&self.parameters)?;
        let hold = get(&scenario.stop.hold, &self.parameters)?.unwrap_or_default();
        let mut held_since = None;
        loop {
            let now = self.net.now();
            self.do_what_is_due(now)?;
            self.collect();
            let steps_over = self.steps_due == 0;
            self.look_for_agreement(now, steps_over);
            if settles && steps_over {
                self.look_whether_settled(now);
            }
            let runs_on = scenario.stop.when == Some(Condition::StepsDone) && !steps_over;
            if now >= after && !runs_on {
                break;
            }
            if steps_over && scenario.stop.when.is_some_and(|condition| self.holds(condition)) {
                let since = *held_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= hold {
                    break;
                }
            } else {
                held_since = None;
            }
            let busy =
                !self.leaving.is_empty() || !self.queries.is_empty() || (K::PASSES_ON && self.events > 0);
            let mut next = now + if busy { WATCH } else { LOOK };
            if let Some(((at, _), _)) = self.agenda.first_key_value() {
                next = next.min(*at);
            }
            if !runs_on {
                next = next.min(after);
            }
            self.net.run_for(next.saturating_duration_since(now));
            self.rules_hold()?;
        }
        if scenario.check.settled == Some(true) && !self.is_settled() {
            return Err(self.not_settled());
        }
        self.sample_coordinates()?;
        Ok(self.finish())
    }

    fn finish(mut self) -> Outcomes {
        self.meter.look(&self.net);
        let agreed = self.agreed_since.is_some();
        self.meter.sample("agreed", f64::from(u8::from(agreed)));
        if agreed {
            let at = self.meter.last_change().max(self.last_step);
            self.meter.sample("convergence", at.saturating_duration_since(self.last_step).as_secs_f64());
        }
        let now = self.net.now();
        let probe_interval = self.probe_interval();
        let (mut samples, series) = self.meter.finish(&mut self.net, probe_interval);
        let without = &self.task.scenario.measure.without;
        samples.retain(|name, _| {
            let family = metrics::find(name).map(|metric| metric.family);
            !without.iter().any(|left_out| left_out == name || Some(left_out.as_str()) == family)
        });
        Outcomes {
            samples,
            series,
            trace: self.net.trace().hash(),
            ran: now.saturating_duration_since(self.zero),
            node_seconds: now.saturating_duration_since(Instant::ORIGIN).as_secs_f64()
                * self.nodes.len() as f64,
            done: self.done,
            checked: self.net[self.rules].checked() + self.settled.checked,
        }
    }

    /// Notes what is done to a node or a link.
    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn probe_interval(&self) -> Duration {
        self.settings.probe_interval()
    }

    // The agenda.

    /// Enters something at a time after time 0.
    fn later(&mut self, after: Duration, due: Due) {
        self.enter(self.zero + after, due);
    }

    fn enter(&mut self, at: Instant, due: Due) {
        self.steps_due += usize::from(due.is_step());
        self.agenda.insert((at, self.serial), due);
        self.serial += 1;
    }

    fn do_what_is_due(&mut self, now: Instant) -> Result<(), String> {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let due = entry.remove();
            if due.is_step() {
                self.steps_due -= 1;
                self.last_step = now;
                self.agreed_since = None;
            }
            match due {
                Due::Measure => self.meter.measure(&mut self.net),
                Due::StopMeasuring => self.meter.stop_measuring(&mut self.net),
                Due::Look => {
                    self.meter.look(&self.net);
                    let every = get(&self.task.scenario.measure.every, &self.parameters)?;
                    self.enter(now + every.unwrap_or(Duration::from_secs(1)), Due::Look);
                }
                due => self.act(due, now)?,
            }
        }
        Ok(())
    }

    fn step(&self, number: usize) -> &'a Step {
        self.task.scenario.steps[number].get_ref()
    }

    // What nodes say.

    /// Takes in what nodes have said, and does what is to be done about it.
    fn collect(&mut self) {
        let now = self.net.now();
        let mut answers = Vec::new();
        let mut spread = Vec::new();
        let mut gone = Vec::new();
        let mut again = Vec::new();
        if let Some(tellers) = self.tellers {
            self.meter.told_by(self.net[tellers].take());
        }
        for &id in &self.nodes {
            let node = id.number();
            let log = self.net.log(id);
            if log.changes.is_empty() && log.completions.is_empty() && log.events.is_empty() {
                continue;
            }
            for change in &log.changes {
                self.meter.changed(node, change);
            }
            for (at, news) in &log.events {
                match news {
                    News::UserEvent { name, .. } => {
                        self.meter.heard(node, name, *at);
                    }
                    News::Message { payload, .. } => {
                        let (name, _) = kind::named(payload);
                        if self.meter.heard(node, name, *at) && K::PASSES_ON {
                            spread.push((id, payload.clone()));
                        }
                    }
                    News::Query { id: question, .. } => answers.push((id, *question)),
                    _ => {}
                }
            }
            for (_, completion) in &log.completions {
                let Completion::Ended { operation, outcome } = completion else { continue };
                match outcome {
                    Outcome::Joined { contacted, .. } => {
                        if let Some(via) = self.joins.remove(&(node, *operation))
                            && *contacted == 0
                        {
                            again.push(Due::Join { node, via });
                        }
                    }
                    Outcome::Left { .. } if self.leaving.remove(&node) => gone.push(id),
                    Outcome::Query { acks, responses } => {
                        if let Some(of) = self.queries.remove(&(node, *operation)) {
                            self.meter.sample("query_acks", *acks as f64 / of.max(1) as f64);
                            self.meter.sample("query_answers", *responses as f64 / of.max(1) as f64);
                        }
                    }
                    _ => {}
                }
            }
            self.net.clear_log(id);
        }
        for (node, question) in answers {
            if self.net.machine(node).is_some() {
                self.net.with(node, |machine, now| machine.answer(now, question));
            }
        }
        for (node, payload) in spread {
            if self.net.machine(node).is_some() {
                let (name, rest) = kind::named(&payload);
                // A node that leaves passes nothing on.
                let _ = self.net.with(node, |machine, now| machine.spread(now, name, rest));
            }
        }
        for node in gone {
            self.net.crash(node);
            self.meter.stopped(node.number());
        }
        for due in again {
            self.enter(now + self.retry, due);
        }
    }

    // Conditions.

    fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::StepsDone => true,
            Condition::Settled => self.is_settled(),
            Condition::Agreed => self.agreed_since.is_some(),
            Condition::Detected => self.meter.all_detected(),
            Condition::Informed => self.meter.all_informed(),
        }
    }

    /// Notices when all agree. That is looked for only when a view has changed, and only where someone wants to know.
    fn look_for_agreement(&mut self, now: Instant, steps_over: bool) {
        if self.meter.take_changed() || self.agreed_since.is_none() {
            self.agreed_since = self.net.agrees().then(|| self.agreed_since.unwrap_or(now));
        }
        if self.agreed_since.is_some() && !self.formed && self.nodes.len() == self.size && steps_over {
            self.formed = true;
            let at = self.meter.last_change().saturating_duration_since(self.zero);
            self.meter.sample("formed", at.as_secs_f64());
        }
    }
}

/// The value of a field that may be left away.
fn get<T: crate::value::FromScalar + Clone>(
    value: &Option<Val<T>>,
    parameters: &Parameters,
) -> Result<Option<T>, String> {
    value.as_ref().map(|value| value.get(parameters)).transpose()
}

/// The key of a cluster that seals: any will do.
fn keyring() -> Result<Keyring, String> {
    let key = Key::new(&[7; 32]).map_err(|error| error.to_string())?;
    Keyring::new(key, []).map_err(|error| error.to_string())
}

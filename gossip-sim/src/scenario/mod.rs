//! Scenario files: what a cluster is, what happens to it, what is measured, and what was published about it.
//!
//! A scenario is one TOML file. Wherever a number, time, share or name stands, `"$name"` may stand instead: the value of
//! that parameter, from `[parameters]` or `[sweep]`. Unknown fields are errors. The files under `scenarios/` show every
//! part of it; the crate's documentation explains them.

mod check;
mod load;
mod shape;
mod step;

use core::time::Duration;
use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub use load::{Overrides, ScenarioError, builtin, builtins, find};
pub use shape::Shape;
pub use step::{Action, Step};

use crate::value::{Parameters, Scalar, Share, Val};

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called on the command line: lower case letters, digits and dashes.
    pub name: String,
    /// Further names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// One line.
    pub title: String,
    /// What it shows, and what was chosen where the source leaves something open.
    #[serde(default)]
    pub shows: String,
    /// The source of the recipe and of the published figures.
    #[serde(default)]
    pub paper: String,
    /// How many seeds it is run with unless told otherwise.
    #[serde(default = "one")]
    pub seeds: u64,
    /// Values with names.
    #[serde(default)]
    pub parameters: Parameters,
    /// Parameters that take several values: the scenario is run for every combination.
    #[serde(default)]
    pub sweep: BTreeMap<String, Vec<Scalar>>,
    /// The nodes.
    pub cluster: Cluster,
    /// What is between them.
    #[serde(default)]
    pub network: Network,
    /// How the cluster forms.
    #[serde(default)]
    pub start: Start,
    /// Named sets of nodes.
    #[serde(default, rename = "group")]
    pub groups: Vec<Spanned<Group>>,
    /// What happens, and when. Time 0 is when the cluster has formed.
    #[serde(default, rename = "step")]
    pub steps: Vec<Spanned<Step>>,
    /// When a run ends.
    pub stop: Stop,
    /// What is measured.
    #[serde(default)]
    pub measure: Measure,
    /// What must hold in every run, besides what always must.
    #[serde(default)]
    pub check: Check,
    /// Named differences of configuration; the scenario is run with each. Without any there is one, `ours`.
    #[serde(default, rename = "variant")]
    pub variants: Vec<Spanned<Variant>>,
    /// Published figures, to stand beside ours.
    #[serde(default, rename = "published")]
    pub published: Vec<Spanned<Published>>,
    /// What it was found by.
    #[serde(skip)]
    file: String,
    /// What options changed.
    #[serde(skip)]
    overrides: Overrides,
    /// Of what it was read from, before anything was set.
    #[serde(skip)]
    digest: u64,
}

/// The machine that runs on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineKind {
    /// Serf's: membership with tags, events, queries and coordinates.
    #[default]
    Node,
    /// memberlist's: membership alone.
    Membership,
}

/// memberlist's sets of parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// For a local network.
    #[default]
    Lan,
    /// For links between data centres.
    Wan,
    /// For one machine.
    Local,
}

/// The nodes and their configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// What runs on them.
    #[serde(default)]
    pub machine: MachineKind,
    /// How many there are; at least 1.
    pub nodes: Val<usize>,
    /// The parameters to start from.
    #[serde(default)]
    pub preset: Preset,
    /// Settings of `Config`, by its field names.
    #[serde(default)]
    pub config: Settings,
    /// Settings of `ServiceConfig`, by its field names.
    #[serde(default)]
    pub service: Settings,
    /// Switches of the core for experiments, by their field names.
    #[serde(default)]
    pub experiment: Settings,
    /// The first so many nodes are seeds of all: whoever does not see one of them alive joins it, now and again.
    pub seeds: Option<Val<usize>>,
    /// Whether all have a key, and everything is sealed. Default no.
    pub sealed: Option<Val<bool>>,
    /// How long each node's process takes for every message, piece of a stream and timer. Default: no time.
    pub per_call: Option<Val<Duration>>,
    /// With `per_call`: most messages that it takes before a timer that is due has its turn. Default 1,024, as the drivers
    /// that ship; with 1 they take turns, as the threads of a program do.
    pub drain: Option<Val<usize>>,
}

/// Settings by name.
pub type Settings = BTreeMap<String, Val<Scalar>>;

/// What is between the nodes, or between some of them in a step `link`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where the other values come from if they are not given.
    #[serde(default)]
    pub preset: Link,
    /// Where the nodes are, if their distances matter: then packets take half of what is said there, always, and neither
    /// `latency` nor `jitter`. For each pair of nodes, so not for thousands of them.
    pub shape: Option<Shape>,
    /// The unit of `shape`'s round trips. Default 10 ms.
    pub spacing: Option<Val<Duration>>,
    /// Time that every packet takes at least.
    pub latency: Option<Val<Duration>>,
    /// Up to this much more, uniformly.
    pub jitter: Option<Val<Duration>>,
    /// Share of packets lost.
    pub loss: Option<Val<Share>>,
    /// Losses come in bursts of that many packets on average (Gilbert and Elliott); 1 is each for itself. Default 1.
    pub burst: Option<Val<f64>>,
    /// Bytes per second that each direction of a link carries. Default without limit.
    pub rate: Option<Val<usize>>,
    /// Bytes that wait where the rate is limited; more is lost. Default 64 KiB.
    pub buffer: Option<Val<usize>>,
    /// Datagrams of more bytes are lost. Default without limit.
    pub mtu: Option<Val<usize>>,
    /// Share of datagrams that arrive twice.
    pub duplicate: Option<Val<Share>>,
    /// Share of datagrams that are held back, so that later ones overtake them.
    pub reorder: Option<Val<Share>>,
    /// How much longer those take. Default 10 ms.
    pub reorder_by: Option<Val<Duration>>,
    /// Bytes of datagrams that wait for a process that does not read. Default 2 MiB.
    pub socket_buffer: Option<Val<usize>>,
    /// The most bytes of a stream that arrive at a time. Default 16 KiB.
    pub segment: Option<Val<usize>>,
    /// Whether sockets report that nobody listens, as those of one machine do.
    pub report_unreachable: Option<Val<bool>>,
}

/// Kinds of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// Half a millisecond, give or take.
    #[default]
    Lan,
    /// 40 to 60 milliseconds.
    Wan,
    /// 0.1 milliseconds, always.
    Loopback,
    /// No time at all.
    Perfect,
}

/// How the cluster forms.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// In which way.
    #[serde(default)]
    pub how: Forming,
    /// `formed` and `known`: how long it then runs before time 0. `seed-then-all`: how long the seed runs alone.
    pub settle: Option<Val<Duration>>,
    /// `sequential`: from one join to the next.
    pub every: Option<Val<Duration>>,
    /// How soon a join that reached nobody is repeated. Default 1 s.
    pub retry: Option<Val<Duration>>,
}

/// Ways for a cluster to form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forming {
    /// Everybody knows everybody at time 0, on a perfect network until then.
    #[default]
    Formed,
    /// The same, without any join: all are told of all when they start, which takes a thousandth of the effort in large
    /// clusters. What differs: nobody has sent or received anything yet, so that there are no coordinates and no round trip
    /// times, the Lamport clocks stand at their beginning, and the intervals of all nodes began at the same instant,
    /// staggered by chance as far as the protocol does that; `settle` lets the differences wear off.
    Known,
    /// Node 0 runs alone for `settle`; at time 0 all others start and join it.
    SeedThenAll,
    /// Node 0 starts at time 0, and one more every `every`, each joining node 0.
    Sequential,
    /// All start at time 0, and nobody joins anybody.
    Strangers,
}

/// A named set of nodes, drawn anew for each seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// So many nodes by chance.
    pub random: Option<Val<usize>>,
    /// This share of the nodes by chance, rounded down, but not to none.
    pub share: Option<Val<Share>>,
    /// The first so many nodes.
    pub first: Option<Val<usize>>,
    /// The last so many nodes.
    pub last: Option<Val<usize>>,
    /// These nodes, by number.
    pub numbers: Option<Vec<usize>>,
    /// Only nodes that are not in any of these groups, which stand above this one in the file.
    #[serde(default)]
    pub except: Vec<String>,
    /// They are a zone, such as a data centre: `link` and `cut` between two zones are cheap in large clusters, and hold for
    /// nodes that start later as well. No node is in two.
    #[serde(default)]
    pub zone: bool,
}

/// When a run ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Then at the latest, unless `when` is `steps-done` and steps go on for longer.
    pub after: Val<Duration>,
    /// Or as soon as this holds, once all steps are over.
    pub when: Option<Condition>,
    /// The condition must hold for that long.
    pub hold: Option<Val<Duration>>,
}

/// What a run may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// All running nodes see all running nodes alive, and nobody else.
    Agreed,
    /// Every node that is down has been found failed or left by all that run and are healthy.
    Detected,
    /// Every user event is known to all nodes that run.
    Informed,
    /// What `check.settled` asks for, which is looked at once a second.
    Settled,
    /// Nothing but that the steps are over.
    StepsDone,
}

/// What is measured.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Families of metrics that are left out of the report and the table; see the crate's documentation.
    #[serde(default)]
    pub without: Vec<String>,
    /// The only metrics that the table for people shows; the report has all.
    #[serde(default)]
    pub show: Vec<String>,
    /// Traffic counts from then on. Default 0.
    pub from: Option<Val<Duration>>,
    /// Traffic does not count any more from then on, such as when something breaks. Default: it counts to the end.
    pub until: Option<Val<Duration>>,
    /// How often views are looked at. Default 1 s.
    pub every: Option<Val<Duration>>,
    /// Whether the report has the series that pictures are made of. Default yes.
    pub series: Option<bool>,
    /// For each list of parameters: rows that keep these apart and pool all others.
    #[serde(default)]
    pub pool: Vec<Vec<String>>,
}

impl Measure {
    /// Whether the table shows one of these metrics.
    pub(crate) fn shows<const N: usize>(&self, metrics: [&str; N]) -> bool {
        self.show.iter().any(|shown| metrics.contains(&shown.as_str()))
    }
}

/// What must hold in every run, besides what always must: [`transport_mem::net::observe::Rule`] lists it. A run that breaks it
/// ends, and the command with it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The most bytes of datagrams that a node may send in one second. Default without limit: what a node that stood still
    /// answers when it goes on, or what all answer a query, may be any number.
    pub budget: Option<Val<usize>>,
    /// Whether all nodes must agree with those they are connected to, and nobody connected be dead, once no fault happened
    /// for so long as the protocol's parameters say at worst ([`transport_mem::net::observe::Bound`], some minutes: runs that
    /// end sooner are not judged). Default: where the protocol promises it, which is not where losses or other obstacles
    /// last to the end, where `experiment` or intervals of zero take parts away, or where a `membership` is split, which
    /// does not look for members that it gave up.
    pub eventually: Option<bool>,
    /// Whether the cluster must be settled when the run ends: every node that runs sees all that run alive, at their
    /// addresses, with the incarnation and the tags that they have themselves; nobody who is down counts for anything but
    /// failed, left or unknown; the Lamport clocks agree; and since then every node was seen with nothing to tell, to answer
    /// or to exchange. For runs whose faults are over in time. Default no.
    pub settled: Option<bool>,
}

/// A named difference of configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// One line.
    #[serde(default)]
    pub title: String,
    /// On top of `cluster.config`.
    #[serde(default)]
    pub config: Settings,
    /// On top of `cluster.service`.
    #[serde(default)]
    pub service: Settings,
    /// On top of `cluster.experiment`.
    #[serde(default)]
    pub experiment: Settings,
    /// Values of parameters in this variant.
    #[serde(default)]
    pub parameters: Parameters,
}

/// A published figure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The metric it is about.
    pub metric: String,
    /// Which figure of it. Default `mean`.
    #[serde(default)]
    pub stat: Stat,
    /// The variant; all of them if none is named.
    pub variant: Option<String>,
    /// The values of the parameters; those that are not named are pooled.
    #[serde(default)]
    pub cell: BTreeMap<String, Scalar>,
    /// The figure.
    pub value: Option<f64>,
    /// A total instead of a mean: the sum over `runs` runs.
    pub total: Option<f64>,
    /// How many runs the total is of.
    pub runs: Option<f64>,
    /// The figure is not `value` itself but its share of this variant's.
    pub relative_to: Option<String>,
    /// Who published it, and where.
    pub source: String,
}

/// A figure of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stat {
    /// The mean.
    #[default]
    Mean,
    /// The least.
    Min,
    /// The median.
    P50,
    /// The 99th percentile.
    P99,
    /// The 99.9th percentile.
    #[serde(rename = "p99.9")]
    P999,
    /// The greatest.
    Max,
}

fn one() -> u64 {
    1
}

impl Scenario {
    /// Of all in its file that a run depends on, before anything was set, in hexadecimal: another scenario has another one.
    pub fn digest(&self) -> String {
        format!("{:016x}", self.digest)
    }

    /// The variants; one that changes nothing if the file has none.
    pub fn all_variants(&self) -> Vec<Variant> {
        if self.variants.is_empty() {
            return vec![Variant {
                name: "ours".into(),
                title: String::new(),
                config: Settings::new(),
                service: Settings::new(),
                experiment: Settings::new(),
                parameters: Parameters::new(),
            }];
        }
        self.variants.iter().map(|variant| variant.get_ref().clone()).collect()
    }

    /// All combinations of the swept parameters, the last name varying fastest; one empty one without a sweep.
    pub fn cells(&self) -> Vec<Parameters> {
        let mut cells = vec![Parameters::new()];
        for (name, values) in &self.sweep {
            let with = |cell: &Parameters, value: &Scalar| {
                let mut cell = cell.clone();
                cell.insert(name.clone(), value.clone());
                cell
            };
            cells = cells.iter().flat_map(|cell| values.iter().map(move |value| with(cell, value))).collect();
        }
        cells
    }
}

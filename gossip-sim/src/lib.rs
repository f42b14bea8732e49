//! Scenarios for simulated gossip clusters.
//!
//! A scenario is a TOML file that says what a cluster is, what happens to it, what is measured, and what was published
//! about it. This crate runs it on the machines that ship, over the virtual network of `transport-mem`, for every
//! combination of its parameters, its variants and some seeds, and reports figures with confidence intervals beside those
//! of the papers. The same scenario, options and seeds give the same report, byte for byte, for any number of threads.
//!
//! # Scenario files
//!
//! ```toml
//! name = "crash"                     # also `aliases`
//! title = "Some nodes crash"         # also `shows`, `paper`, and `seeds`: how many runs per cell and variant
//!
//! [parameters]                       # values with names; "$k" stands for one, wherever a value stands
//! k = 3
//!
//! [sweep]                            # the scenario is run for every combination of these
//! n = [16, 128]
//!
//! [cluster]
//! machine = "node"                   # or "membership"
//! nodes = "$n"
//! preset = "lan"                     # "wan", "local"
//! config = { suspicion_mult = 5 }    # fields of `Config`; `service` and `experiment` likewise
//!
//! [network]
//! preset = "lan"                     # "wan", "loopback", "perfect"; or latency, jitter, loss, duplicate
//!
//! [start]
//! how = "formed"                     # "known", "seed-then-all", "sequential", "strangers"
//! settle = "15s"
//!
//! [[group]]                          # nodes with a name: random, share, first, last or numbers; `except` other groups
//! name = "victims"
//! random = "$k"
//!
//! [[step]]                           # what happens; time 0 is when the cluster has formed
//! do = "crash"
//! nodes = "victims"                  # a group, "all", or "node-7"
//! at = "5s"
//!
//! [[step]]
//! do = "loss"
//! nodes = "node-0"
//! in = "80%"
//! at = "10s"
//! for = "20s"                        # undone after that
//! off = "20s"                        # and done again that much later ...
//! until = "5m"                       # ... until then
//!
//! [stop]
//! after = "60s"
//! when = "detected"                  # or sooner: "agreed", "informed", "steps-done"; never before the steps are over
//!
//! [measure]
//! until = "40s"                      # traffic counts until then; from `from` on, which is 0 unless it is given
//! pool = [["n"]]                     # rows that keep n apart and pool everything else
//! show = ["first_detection"]         # what the table shows; the report has everything
//!
//! [check]
//! budget = 40000                     # bytes of datagrams that a node may send in a second
//!
//! [[variant]]                        # run with each of these
//! name = "ours"
//! [[variant]]
//! name = "slow"
//! config = { suspicion_mult = 10 }
//!
//! [[published]]
//! metric = "first_detection"
//! stat = "p50"                       # "mean", "min", "p99", "p99.9", "max"
//! variant = "ours"
//! cell = { n = 128 }                 # parameters that are not named are pooled
//! value = 12.44                      # or `total` and `runs`; with `relative_to`, a share of another variant's
//! source = "who, where"
//! # This example is read by a test.
//! ```
//!
//! Times are texts like `"16384ms"`, `"20s"` or `"1h30m"`; shares are numbers from 0 to 1 or texts like `"10%"`. What can
//! happen, and with which fields, is [`scenario::Action`]; the fields of each part are those of [`scenario::Scenario`] and
//! the types in it. Errors name the line, what is wrong and what would be right, and come before anything is run: every
//! combination of parameters and variants is tried out first.
//!
//! # What counts
//!
//! A *fault* is something that a step does to a node: crash, pause, loss at it, a farewell. A node that any step is going
//! to do that to is faulty from the start; all others are healthy. A *false positive* is a declaration of failure of a
//! healthy member by a node on the same side of a partition, raised anywhere (`false_positives`) or at a healthy node
//! (`false_positives_healthy`): the sense of the Lifeguard paper. *Detection* is the first declaration at any node; *full*
//! detection is when every healthy node has declared it itself. All metrics with their units and meanings are in
//! [`metrics::METRICS`].
//!
//! # What must hold
//!
//! Every run is watched by the invariants of `transport-mem` ([`transport_mem::net::observe::Rule`]): the incarnation of a member
//! at one address never falls, a node probes once an interval, no queue and no datagram is longer than it may be; and, where
//! the protocol promises it and the run lasts long enough, all agree in the end. `[check]` adds a budget of bytes, says
//! whether the end is to be judged, and how strictly ([`scenario::Check`]). A run that breaks a rule ends the command with what was seen and the
//! line that repeats that run.
//!
//! # Storms
//!
//! [`storm`] draws scenarios from seeds, with all faults that steps can have, and runs them without end: `gossip-sim storm`. What
//! is drawn is a scenario file like any other, and can be printed, changed and run as one.
//!
//! # Reports
//!
//! [`Report`] is the JSON of `--json`, field by field. Means come with 95 % confidence intervals over runs, in which the
//! samples of one run do not count as independent ([`Summary`]). There are no times of day in it and nothing of the
//! machine it was made on.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod compare;
mod execute;
pub mod html;
mod measure;
pub mod replay;
mod report;
pub mod results;
mod run;
pub mod scenario;
mod settings;
mod statistics;
pub mod storm;
pub mod table;
pub mod value;

pub use execute::{Effort, Options, execute};
pub use measure::metrics;
pub use measure::series;
pub use report::{About, Comparison, Figures, Report, Row, RunRecord, VERSION, cell_text, write_file};
pub use statistics::Summary;

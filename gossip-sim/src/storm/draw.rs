//! From a seed to a scenario: what the cluster is, what happens to it, and how long it then has to settle.
//!
//! What is drawn is the text of a scenario file, so that it can be printed, changed by hand and run by `gossip-sim run`.
//! Everything in it is legal, and all faults end: what comes after is for the protocol to mend. That it can is a matter of who
//! remembers whom, so that some things are not drawn together:
//!
//! - Who starts without its disk knows nobody, and is told whom to join, as operators do. In some storms that is a harbour, one
//!   node that always runs: whoever reached it is part of the cluster. In others everybody may go down at once, in parts that
//!   have joined each other and nobody else, which no protocol can find together again: there an operator joins all to the first
//!   who runs, once the storm is over.
//! - In the rest of the storms nodes come back by their disks alone. Those are the mortals, and all others stay up and
//!   remember them, and try their addresses again (reconnecting). Two nodes that restart while each has the other for failed
//!   do not know of each other any more, here as in Serf: members that failed are not in its snapshot.
//! - Who left is not looked for by anybody, and comes back by joining.
//! - Without Serf nobody tries those that failed again: who was cut off finds back by the seeds. None of them is gone for good,
//!   or one is the harbour, or the operator joins all in the end.
//! - Bytes of streams are damaged only where they are sealed. TCP's checksum is part of what the protocol builds on: a tag with
//!   a turned bit and its right incarnation is a tag, and nobody would ever send another one.
//! - Lines have a rate that carries what the protocol sends at rest; where they carry less for long, nothing is promised
//!   while they do.

use core::fmt::Write;
use core::time::Duration;

use transport_mem::net::observe::Bound;

use crate::run::rules;
use crate::scenario::{Action, Overrides, Scenario};
use crate::settings::NodeSettings;
use crate::storm::random::{Random, time};
use crate::storm::steps::{self, Piece};
use crate::value::Parameters;

/// Fewest and most nodes.
pub(super) const NODES: (u64, u64) = (3, 50);

/// A scenario that was drawn, in parts, so that some can be left out.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// What it was drawn from.
    pub seed: u64,
    /// How many nodes it has.
    pub nodes: usize,
    head: String,
    groups: Vec<(String, Vec<usize>)>,
    steps: Vec<Piece>,
    /// When all steps are over.
    over: Duration,
}

/// What the drawing of steps depends on.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: usize,
    /// Serf's machine, not memberlist's alone.
    pub(super) serf: bool,
    pub(super) sealed: bool,
    pub(super) way: Way,
    pub(super) disks: bool,
    pub(super) over: Duration,
    /// Names that steps may use.
    pub(super) groups: Vec<String>,
}

/// How those who went down find back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Those called mortals by what is on their disks, or because others try them again.
    Disks,
    /// By joining this node, which stays up.
    Harbour(usize),
    /// By joining somebody, and everybody once more in the end.
    Rescue,
}

/// Draws one.
pub fn draw(seed: u64) -> Drawn {
    let random = &Random::new(seed);
    let (least, most) = NODES;
    // Small clusters have corners that large ones never see, and cost less.
    let nodes = match random.below(10) {
        0..4 => random.between(least..=8),
        4..8 => random.between(9..=25),
        _ => random.between(26..=most),
    } as usize;
    let serf = random.chance(80);
    let sealed = random.chance(25);
    let over = Duration::from_millis(random.spread(20_000..=400_000));
    let (start, way) = match random.below(10) {
        0..3 => (random.pick(&STARTS[..2]), Way::Disks),
        3..7 => {
            let start = random.pick(&STARTS);
            // Where nodes start one after the other, that is who they join; without Serf it is a seed.
            let first = !serf || STARTS[2..].contains(&start);
            (start, Way::Harbour(if first { 0 } else { random.below(nodes as u64) as usize }))
        }
        _ => (random.pick(&STARTS), Way::Rescue),
    };
    let disks = way == Way::Disks || random.chance(60);
    let groups = draw_groups(random, nodes, way);
    let named = groups.iter().map(|(name, _)| name.clone()).collect();
    let plan = Plan { nodes, serf, sealed, way, disks, over, groups: named };
    let mut head = head(seed, random, &plan, start);
    network(random, &mut head);
    let count = random.between(2..=12);
    let mut steps: Vec<Piece> = Vec::new();
    for _ in 0..count {
        let action = random.pick(&Action::ALL);
        steps.extend(steps::draw(random, &plan, action));
    }
    // Something to tell in every storm.
    for action in [Action::UserEvent, Action::SetTag] {
        steps.extend(steps::draw(random, &plan, action));
    }
    steps.extend(steps::rescue(&plan));
    Drawn { seed, nodes, head, groups, steps, over }
}

const STARTS: [&str; 4] = ["formed", "known", "seed-then-all", "sequential"];

/// Names for some sets of nodes; `mortals` are at most half of all.
fn draw_groups(random: &Random, nodes: usize, way: Way) -> Vec<(String, Vec<usize>)> {
    let all: Vec<usize> = (0..nodes).filter(|node| way != Way::Harbour(*node)).collect();
    let mut groups = Vec::new();
    for name in ["red", "green", "blue"] {
        let size = random.between(1..=(nodes as u64 - 1)) as usize;
        groups.push((name.to_owned(), random.some(size, &all)));
    }
    let size = random.between(1..=(nodes as u64 / 2)) as usize;
    groups.push(("mortals".into(), random.some(size, &all)));
    groups
}

fn head(seed: u64, random: &Random, plan: &Plan, start: &str) -> String {
    let Plan { nodes, serf, sealed, way, over, .. } = plan;
    let mut text = format!("name = \"storm\"\ntitle = \"The storm of seed {seed}\"\n\n[cluster]\n");
    let machine = if *serf { "node" } else { "membership" };
    let preset = random.pick(&["lan", "lan", "lan", "wan", "local"]);
    let _ = writeln!(text, "machine = \"{machine}\"\nnodes = {nodes}\npreset = \"{preset}\"");
    if *sealed {
        text.push_str("sealed = true\n");
    }
    if !serf {
        let _ = writeln!(text, "seeds = {}", random.between(1..=(*nodes as u64).min(3)));
    }
    let slowly = preset == "wan";
    let mut config = Vec::new();
    let mut service = Vec::new();
    let maybe = |random: &Random, of: &mut Vec<String>, percent, setting: &dyn Fn(&Random) -> String| {
        if random.chance(percent) {
            of.push(setting(random));
        }
    };
    let set = |name: &str, value: u64| format!("{name} = {value}");
    let last = |name: &str, millis: u64| format!("{name} = \"{millis}ms\"");
    maybe(random, &mut config, 30, &|random| {
        format!("compression = \"{}\"", random.pick(&["off", "streams", "all"]))
    });
    maybe(random, &mut config, 20, &|_| "label = \"blue\"".into());
    maybe(random, &mut config, 20, &|random| set("suspicion_mult", random.between(2..=8)));
    maybe(random, &mut config, 20, &|random| set("suspicion_max_mult", random.between(1..=8)));
    maybe(random, &mut config, 20, &|random| set("retransmit_mult", random.between(1..=6)));
    maybe(random, &mut config, 20, &|random| set("indirect_checks", random.between(0..=5)));
    maybe(random, &mut config, 20, &|random| set("gossip_nodes", random.between(1..=6)));
    maybe(random, &mut config, 20, &|random| set("awareness_max", random.between(1..=10)));
    maybe(random, &mut config, 20, &|random| format!("stream_pings = {}", random.chance(50)));
    maybe(random, &mut config, 20, &|random| last("gossip_interval", random.spread(100..=1000)));
    maybe(random, &mut config, 20, &|random| last("push_pull_interval", random.spread(5000..=60_000)));
    maybe(random, &mut config, 20, &|random| last("gossip_to_the_dead", random.spread(1000..=90_000)));
    maybe(random, &mut config, 20, &|random| last("dead_node_reclaim", random.spread(1000..=60_000)));
    maybe(random, &mut config, 20, &|random| last("stream_timeout", random.spread(2000..=30_000)));
    // A probe must have time for a round trip and one by others.
    maybe(random, &mut config, 20, &|random| {
        last("probe_interval", if slowly { random.spread(2000..=8000) } else { random.spread(500..=4000) })
    });
    maybe(random, &mut config, 20, &|random| set("max_datagram", random.spread(512..=8192)));
    maybe(random, &mut config, 20, &|random| set("work_per_call", random.spread(16..=1024)));
    maybe(random, &mut config, 10, &|random| set("max_streams", random.spread(16..=128)));
    if *serf {
        maybe(random, &mut service, 25, &|_| "coordinates = false".into());
        maybe(random, &mut service, 20, &|random| set("event_buffer", random.spread(8..=1024)));
        maybe(random, &mut service, 20, &|random| set("query_timeout_mult", random.between(1..=32)));
        maybe(random, &mut service, 40, &|random| last("reconnect_interval", random.spread(5000..=60_000)));
        maybe(random, &mut service, 20, &|random| last("leave_propagate_delay", random.spread(100..=5000)));
        maybe(random, &mut service, 20, &|random| {
            last("recent_intent_timeout", random.spread(10_000..=600_000))
        });
    } else {
        maybe(random, &mut config, 40, &|random| last("seed_interval", random.spread(5000..=60_000)));
    }
    let _ = writeln!(text, "config = {{ {} }}", config.join(", "));
    if !service.is_empty() {
        let _ = writeln!(text, "service = {{ {} }}", service.join(", "));
    }
    let _ = writeln!(text, "\n[start]\nhow = \"{start}\"");
    match start {
        // What was written half a minute ago is safe on any disk.
        "formed" | "known" if *way == Way::Disks => text.push_str("settle = \"35s\"\n"),
        "formed" | "known" => {
            let _ = writeln!(text, "settle = \"{}ms\"", random.below(20_000));
        }
        "sequential" => {
            let every = over.as_millis() as u64 / (2 * *nodes as u64);
            let _ = writeln!(text, "every = \"{}ms\"", random.between(1..=every.max(2)));
        }
        _ => {}
    }
    text
}

/// What is always between the nodes: nothing is lost for good by it.
fn network(random: &Random, text: &mut String) {
    let preset = random.pick(&["lan", "lan", "wan", "loopback", "perfect"]);
    let _ = writeln!(text, "\n[network]\npreset = \"{preset}\"");
    if random.chance(20) {
        let _ = writeln!(text, "duplicate = {}", random.pick(&[0.01, 0.1, 0.5]));
    }
    if random.chance(20) {
        let _ = writeln!(text, "reorder = {}", random.pick(&[0.01, 0.1, 0.5]));
        let _ = writeln!(text, "reorder_by = \"{}ms\"", random.spread(1..=200));
    }
    if random.chance(20) {
        let _ = writeln!(text, "segment = {}", random.pick(&[1, 7, 100, 1460]));
    }
    if random.chance(10) {
        text.push_str("report_unreachable = true\n");
    }
}

impl Drawn {
    /// The scenario as a file.
    ///
    /// # Errors
    /// What in it cannot be; a defect of what draws.
    pub fn text(&self) -> Result<String, String> {
        self.text_of(&self.steps)
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The same without some of its steps.
    pub(super) fn keeping(&self, keep: &[bool]) -> Self {
        let steps = self.steps.iter().zip(keep).filter(|(_, keep)| **keep).map(|(step, _)| step.clone());
        Self { steps: steps.collect(), ..self.clone() }
    }

    fn text_of(&self, pieces: &[Piece]) -> Result<String, String> {
        let mut text = self.head.clone();
        for (name, numbers) in &self.groups {
            if pieces.iter().any(|piece| piece.names(name)) {
                let _ = write!(text, "\n[[group]]\nname = \"{name}\"\nnumbers = {numbers:?}\n");
            }
        }
        for piece in pieces {
            text.push('\n');
            text.push_str(&piece.text());
        }
        // `settled` is judged later than `eventually` would be, with all in mind that these steps do.
        text.push_str("\n[measure]\nevery = \"10m\"\nseries = false\n\n[check]\neventually = false\nsettled = true\n\n[stop]\nwhen = \"settled\"\n");
        let (hold, after) = self.times(&format!("{text}after = \"1s\"\n"), pieces)?;
        let _ = write!(text, "hold = {}\nafter = {}\n", time(hold), time(after));
        Ok(text)
    }

    /// How long it must hold that all is well, and when it must at the latest.
    fn times(&self, text: &str, pieces: &[Piece]) -> Result<(Duration, Duration), String> {
        let scenario =
            Scenario::parse("storm", text, &Overrides::default()).map_err(|error| error.to_string())?;
        let variant = scenario.all_variants().remove(0);
        let parameters = Parameters::new();
        let settings = NodeSettings::new(&scenario, &variant, &parameters)?;
        let (config, service) = settings.configure("check", ([127, 0, 0, 1], 7946).into())?;
        let values = config.values();
        let n = self.nodes;

        // Everybody has been probed, as in `Bound`: who is not there would be missed.
        let hold = *values.probe_interval * (2 * n).min(20) as u32;

        // Faults, to agreement about who is there. It is long, since the parameters allow each part of it to take its
        // longest in turn; runs end as soon as all is well.
        let Bound(bound) = Bound::of(&config, n, rules::reconnects(&scenario, &settings));
        // A stream that was stalled hangs until its deadline; a node that says good-bye waits until that is out, once for
        // the intent and once for the farewell, and for the time that the intent has to spread.
        let leaves = *values.broadcast_timeout * 2 + *service.values().leave_propagate_delay;
        let hangs = *values.stream_timeout + leaves;
        // Clocks that gossip did not bring travel by exchanges with random members. The newest doubles its holders in each
        // interval, log2(n) times, and the last few wait for their own exchange, which finds a holder.
        let stretch = if n <= 32 { 1 } else { (n as f64).log2().ceil() as u32 - 4 };
        let clocks = *values.push_pull_interval * stretch * (2 * n.max(2).ilog2() + 4);
        // Where a clock was set back, nothing happens until it has made up for it.
        let back: Duration = pieces.iter().map(Piece::set_back).sum();
        // What waits in lines of a low rate still comes.
        let lines = pieces.iter().map(Piece::backlog).max().unwrap_or_default();
        Ok((hold, self.over + bound + hangs + clocks + back + lines + hold))
    }
}

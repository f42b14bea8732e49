//! What a scenario must be, beyond its form: names that exist, fields that fit, settings that can be run.

use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeSet;

use crate::measure::metrics;
use crate::run::links;
use crate::scenario::{Action, Condition, Forming, Group, Published, Scenario, Step};
use crate::settings;
use crate::value::{FromScalar, Parameters, Val};

/// Where something is wrong, and what.
type Wrong = (Option<Range<usize>>, String);

/// No run is longer: sums of times stay far from the end of the clock.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Who is replaced by churn is drawn ahead.
const REPLACED: f64 = 1e6;

pub(super) fn check(scenario: &Scenario) -> Result<(), Wrong> {
    let general = |message: String| (None, message);
    for name in core::iter::once(&scenario.name).chain(&scenario.aliases) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(general(format!(
                "the name {name:?} must be of lower case letters, digits and dashes"
            )));
        }
    }
    if scenario.seeds == 0 {
        return Err(general("seeds must be at least 1".into()));
    }
    if let Some((name, _)) = scenario.sweep.iter().find(|(_, values)| values.is_empty()) {
        return Err(general(format!("sweep.{name} has no values: give it one at least")));
    }
    if let Some(name) = scenario.parameters.keys().find(|name| scenario.sweep.contains_key(*name)) {
        return Err(general(format!("{name} is both a parameter and swept: leave one away")));
    }
    for parameter in scenario.measure.pool.iter().flatten() {
        if !scenario.sweep.contains_key(parameter) {
            return Err(general(format!("measure.pool names {parameter}, which is not swept")));
        }
    }
    for metric in scenario.measure.show.iter().chain(&scenario.measure.without) {
        if !metrics::is_known(metric) {
            return Err(general(format!("measure: {}", metrics::unknown(metric))));
        }
    }
    let mut groups = BTreeSet::new();
    for group in &scenario.groups {
        let at = |message| (Some(group.span()), message);
        check_group(group.get_ref(), &groups).map_err(at)?;
        if !groups.insert(group.get_ref().name.clone()) {
            return Err(at(format!("there is a group {:?} already", group.get_ref().name)));
        }
    }
    for (number, step) in scenario.steps.iter().enumerate() {
        let at = |message| {
            (Some(step.span()), format!("step {} ({}): {message}", number + 1, step.get_ref().action))
        };
        check_step(step.get_ref()).map_err(at)?;
    }
    let mut variants = BTreeSet::new();
    for variant in &scenario.variants {
        if !variants.insert(variant.get_ref().name.as_str()) {
            let message = format!("there is a variant {:?} already", variant.get_ref().name);
            return Err((Some(variant.span()), message));
        }
    }
    for published in &scenario.published {
        check_published(published.get_ref(), scenario)
            .map_err(|message| (Some(published.span()), message))?;
    }
    check_runs(scenario)
}

fn check_group(group: &Group, known: &BTreeSet<String>) -> Result<(), String> {
    let ways = [
        group.random.is_some(),
        group.share.is_some(),
        group.first.is_some(),
        group.last.is_some(),
        group.numbers.is_some(),
    ];
    if ways.into_iter().filter(|way| *way).count() != 1 {
        return Err(format!(
            "group {:?} needs exactly one of random, share, first, last and numbers",
            group.name
        ));
    }
    if group.name == "all" || group.name.starts_with("node-") {
        return Err(format!("{:?} means something already: call the group something else", group.name));
    }
    match group.except.iter().find(|name| !known.contains(*name)) {
        Some(name) => Err(format!("group {:?} excepts {name:?}, which is no group above it", group.name)),
        None => Ok(()),
    }
}

fn check_step(step: &Step) -> Result<(), String> {
    let action = step.action;
    let (needed, optional) = action.fields();
    let given = step.given();
    let list = |fields: &[&str]| if fields.is_empty() { "none".to_owned() } else { fields.join(", ") };
    if let Some(field) = needed.iter().find(|field| !given.contains(field)) {
        return Err(format!("`{field}` is missing"));
    }
    if let Some(field) = given.iter().find(|field| !needed.contains(field) && !optional.contains(field)) {
        let (needed, optional) = (list(needed), list(optional));
        return Err(format!("`{field}` says nothing here; needed are {needed}, allowed are {optional}"));
    }
    if !action.lasts() && (step.lasts.is_some() || step.off.is_some()) {
        return Err("it cannot be undone, so that `for` and `off` say nothing; repeat it with `every`".into());
    }
    if step.off.is_some() && step.lasts.is_none() {
        return Err("`off` needs `for`: how long it lasts before it is undone".into());
    }
    if step.off.is_some() && step.every.is_some() {
        return Err("either `every` (from begin to begin) or `off` (from end to begin), not both".into());
    }
    let repeats = step.off.is_some() || step.every.is_some();
    if repeats && step.until.is_none() && step.times.is_none() {
        return Err("it is repeated for ever: add `until` or `times`".into());
    }
    if !repeats && (step.until.is_some() || step.times.is_some()) {
        return Err("`until` and `times` are for what is repeated: add `every`, or `for` and `off`".into());
    }
    if action == Action::Churn && step.lasts.is_none() {
        return Err("`for` is missing: how long it goes on".into());
    }
    if action == Action::Loss && step.inbound.is_none() && step.out.is_none() {
        return Err("`in` or `out` is missing".into());
    }
    if action == Action::Corrupt && step.flip.is_none() && step.truncate.is_none() {
        return Err("`flip` or `truncate` is missing".into());
    }
    Ok(())
}

fn check_published(published: &Published, scenario: &Scenario) -> Result<(), String> {
    if !metrics::is_metric(&published.metric) {
        return Err(metrics::unknown(&published.metric));
    }
    match (published.value, published.total, published.runs) {
        (Some(_), None, None) | (None, Some(_), Some(_)) => {}
        _ => return Err("give either `value`, or `total` and `runs`".into()),
    }
    let variants = scenario.all_variants();
    for name in published.variant.iter().chain(&published.relative_to) {
        if !variants.iter().any(|variant| variant.name == *name) {
            let known: Vec<_> = variants.iter().map(|variant| variant.name.as_str()).collect();
            return Err(format!("there is no variant {name:?}: there are {}", known.join(", ")));
        }
    }
    match published.cell.keys().find(|name| !scenario.sweep.contains_key(*name)) {
        Some(name) => Err(format!("{name} is not swept")),
        None => Ok(()),
    }
}

/// Goes through every combination of parameters and variants, so that nothing is found out in the middle of a long run.
fn check_runs(scenario: &Scenario) -> Result<(), Wrong> {
    for variant in scenario.all_variants() {
        let span = |name: &str| {
            scenario
                .variants
                .iter()
                .find(|variant| variant.get_ref().name == name)
                .map(|variant| variant.span())
        };
        for cell in scenario.cells() {
            let parameters = scenario.parameters_of(&cell, &variant);
            check_run(scenario, &parameters)?;
            settings::probe(scenario, &variant, &parameters)
                .map_err(|message| (span(&variant.name), message))?;
        }
    }
    Ok(())
}

fn check_run(scenario: &Scenario, parameters: &Parameters) -> Result<(), Wrong> {
    let general = |field: &'static str| move |message: String| (None, format!("{field}: {message}"));
    let nodes = scenario.cluster.nodes.get(parameters).map_err(general("cluster.nodes"))?;
    if !(1..=1_000_000).contains(&nodes) {
        return Err((None, format!("cluster.nodes: 1 to 1000000 can be simulated, not {nodes}")));
    }
    let cluster = &scenario.cluster;
    if have_value(&cluster.seeds, parameters)
        .map_err(general("cluster.seeds"))?
        .is_some_and(|seeds| seeds > nodes)
    {
        return Err((None, format!("cluster.seeds: not more than the {nodes} nodes")));
    }
    have(&cluster.sealed, parameters).map_err(general("cluster.sealed"))?;
    let time = |field, value: &Option<Val<Duration>>| {
        let value = value.as_ref().map_or(Ok(Duration::ZERO), |value| value.get(parameters));
        check_time(value).map_err(general(field))
    };
    time("cluster.per_call", &scenario.cluster.per_call)?;
    if let Some(drain) = &scenario.cluster.drain
        && drain.get(parameters).map_err(general("cluster.drain"))? == 0
    {
        return Err((None, "cluster.drain: at least one message is taken at a time".into()));
    }
    time("stop.after", &Some(scenario.stop.after.clone()))?;
    time("stop.hold", &scenario.stop.hold)?;
    if scenario.stop.hold.is_some()
        && !matches!(scenario.stop.when, Some(when) if when != Condition::StepsDone)
    {
        return Err((None, "stop.hold needs a condition in stop.when that can hold".into()));
    }
    time("start.settle", &scenario.start.settle)?;
    time("start.retry", &scenario.start.retry)?;
    if time("start.every", &scenario.start.every)?.is_zero() && scenario.start.how == Forming::Sequential {
        return Err((
            None,
            "start.every: a sequential start needs the time from one join to the next".into(),
        ));
    }
    let from = time("measure.from", &scenario.measure.from)?;
    if scenario.measure.until.is_some() && time("measure.until", &scenario.measure.until)? <= from {
        return Err((None, "measure.until: later than measure.from, which is 0 unless it is given".into()));
    }
    let every = time("measure.every", &scenario.measure.every)?;
    if scenario.measure.every.is_some() && every < Duration::from_millis(1) {
        return Err((None, "measure.every: at least 1ms".into()));
    }
    if have_value(&scenario.check.budget, parameters).map_err(general("check.budget"))? == Some(0) {
        return Err((None, "check.budget: at least 1 byte per second".into()));
    }
    let network = &scenario.network;
    time("network.latency", &network.latency)?;
    time("network.jitter", &network.jitter)?;
    time("network.reorder_by", &network.reorder_by)?;
    time("network.spacing", &network.spacing)?;
    if network.shape.is_none() && network.spacing.is_some() {
        return Err(general("network")("spacing: it is the unit of a `shape`, which is missing".into()));
    }
    if network.shape.is_some() && (network.latency.is_some() || network.jitter.is_some()) {
        return Err(general("network")(
            "shape: it says what packets take; leave away `latency` and `jitter`".into(),
        ));
    }
    links::conditions(network, parameters).map_err(general("network"))?;
    if have_value(&network.segment, parameters).map_err(general("network.segment"))? == Some(0) {
        return Err((None, "network.segment: at least 1 byte".into()));
    }
    have(&network.socket_buffer, parameters).map_err(general("network.socket_buffer"))?;
    have(&network.report_unreachable, parameters).map_err(general("network.report_unreachable"))?;
    let mut left: Vec<(&str, usize)> = Vec::new();
    for group in &scenario.groups {
        let at =
            |message: String| (Some(group.span()), format!("group {:?}: {message}", group.get_ref().name));
        let group = group.get_ref();
        let taken: usize = left
            .iter()
            .filter(|(name, _)| group.except.iter().any(|except| except == name))
            .map(|(_, size)| size)
            .sum();
        let size = group.size(nodes, parameters).map_err(at)?;
        if size > nodes.saturating_sub(taken) {
            let rest = nodes.saturating_sub(taken);
            return Err(at(format!("{size} nodes are wanted of {rest}")));
        }
        left.push((&group.name, size));
    }
    for (number, step) in scenario.steps.iter().enumerate() {
        let at = |message: String| {
            (Some(step.span()), format!("step {} ({}): {message}", number + 1, step.get_ref().action))
        };
        check_step_values(step.get_ref(), scenario, nodes, parameters).map_err(at)?;
    }
    Ok(())
}

fn check_step_values(
    step: &Step,
    scenario: &Scenario,
    nodes: usize,
    parameters: &Parameters,
) -> Result<(), String> {
    let field = |name: &'static str| move |message: String| format!("{name}: {message}");
    let times = [
        ("at", &step.at),
        ("for", &step.lasts),
        ("off", &step.off),
        ("every", &step.every),
        ("until", &step.until),
        ("over", &step.over),
        ("away", &step.away),
        ("per_call", &step.per_call),
        ("awake", &step.awake),
        ("least", &step.least),
        ("most", &step.most),
        ("forward", &step.forward),
        ("back", &step.back),
    ];
    for (name, value) in times {
        let Some(value) = value else { continue };
        let value = check_time(value.get(parameters)).map_err(field(name))?;
        if value.is_zero() && matches!(name, "every") {
            return Err(format!("{name}: more than no time"));
        }
    }
    let cycle = |value: &Option<Val<Duration>>| {
        value.as_ref().map_or(Ok(Duration::ZERO), |value| value.get(parameters))
    };
    if step.off.is_some() && (cycle(&step.lasts)? + cycle(&step.off)?).is_zero() {
        return Err("`for` and `off` together take no time".into());
    }
    if let (Some(every), Some(lasts)) = (&step.every, &step.lasts)
        && lasts.get(parameters)? > every.get(parameters)?
    {
        return Err("it would begin again before it is undone: `every` must not be less than `for`".into());
    }
    for (name, value) in [("nodes", &step.nodes), ("from", &step.from), ("to", &step.to), ("via", &step.via)]
    {
        let Some(value) = value else { continue };
        let value = value.get(parameters).map_err(field(name))?;
        known_set(&value, scenario, nodes).map_err(field(name))?;
    }
    for group in step.groups.iter().flatten() {
        known_set(group, scenario, nodes).map_err(field("groups"))?;
    }
    have(&step.times, parameters).map_err(field("times"))?;
    have(&step.out, parameters).map_err(field("out"))?;
    have(&step.inbound, parameters).map_err(field("in"))?;
    have(&step.flip, parameters).map_err(field("flip"))?;
    have(&step.truncate, parameters).map_err(field("truncate"))?;
    have(&step.streams, parameters).map_err(field("streams"))?;
    have(&step.state, parameters).map_err(field("state"))?;
    have(&step.both_ways, parameters).map_err(field("both_ways"))?;
    have(&step.graceful, parameters).map_err(field("graceful"))?;
    have(&step.name, parameters).map_err(field("name"))?;
    have(&step.size, parameters).map_err(field("size"))?;
    have(&step.value, parameters).map_err(field("value"))?;
    if let Some(rate) = &step.rate {
        let rate = rate.get(parameters).map_err(field("rate"))?;
        if !(rate > 0.0 && rate <= 1e6) {
            return Err(format!("rate: more than 0 and at most a million nodes per second, not {rate}"));
        }
        let replaced = rate * cycle(&step.lasts)?.as_secs_f64();
        if replaced > REPLACED {
            return Err(format!("{replaced} nodes would be replaced; at most {REPLACED} can be"));
        }
    }
    check_fault_values(step, parameters)
}

/// What only faults have.
fn check_fault_values(step: &Step, parameters: &Parameters) -> Result<(), String> {
    let field = |name: &'static str| move |message: String| format!("{name}: {message}");
    let (least, most) = (have_value(&step.least, parameters)?, have_value(&step.most, parameters)?);
    if least.is_some_and(|least| least < Duration::from_millis(1)) || least > most {
        return Err("least: at least 1ms, and not more than `most`".into());
    }
    if have_value(&step.ppm, parameters).map_err(field("ppm"))?.is_some_and(|ppm| ppm <= -1_000_000) {
        return Err("ppm: more than -1000000, or the clock would not go forward".into());
    }
    if step.action == Action::SetClock && step.forward.is_some() == step.back.is_some() {
        return Err("give either `forward` or `back`".into());
    }
    if step.action == Action::Line && step.up.is_none() && step.down.is_none() {
        return Err("`up` or `down` is missing".into());
    }
    have(&step.buffer, parameters).map_err(field("buffer"))?;
    for (name, value) in [("up", &step.up), ("down", &step.down), ("bytes", &step.bytes)] {
        let value = have_value(value, parameters).map_err(field(name))?;
        if value == Some(0) && step.action != Action::BreakStreams {
            return Err(format!("{name}: at least 1"));
        }
    }
    if let Some(network) = &step.conditions {
        if network.socket_buffer.is_some()
            || network.report_unreachable.is_some()
            || network.segment.is_some()
        {
            return Err("conditions: sockets are not a matter of links; [network] says how they are".into());
        }
        if network.shape.is_some() || network.spacing.is_some() {
            return Err("conditions: the shape is of all nodes; it stands under [network]".into());
        }
        for value in [&network.latency, &network.jitter, &network.reorder_by].into_iter().flatten() {
            check_time(value.get(parameters)).map_err(field("conditions"))?;
        }
        links::conditions(network, parameters).map_err(field("conditions"))?;
    }
    Ok(())
}

fn have_value<T: FromScalar + Clone>(
    value: &Option<Val<T>>,
    parameters: &Parameters,
) -> Result<Option<T>, String> {
    value.as_ref().map(|value| value.get(parameters)).transpose()
}

fn have<T: FromScalar + Clone>(value: &Option<Val<T>>, parameters: &Parameters) -> Result<(), String> {
    value.as_ref().map_or(Ok(()), |value| value.get(parameters).map(drop))
}

fn check_time(value: Result<Duration, String>) -> Result<Duration, String> {
    match value {
        Ok(value) if value > LONGEST => Err("at most 366 days (8784h)".into()),
        other => other,
    }
}

/// Whether that names nodes: a group, `all`, or one node.
fn known_set(name: &str, scenario: &Scenario, nodes: usize) -> Result<(), String> {
    if name == "all" || scenario.groups.iter().any(|group| group.get_ref().name == name) {
        return Ok(());
    }
    match name.strip_prefix("node-").map(str::parse::<usize>) {
        Some(Ok(number)) if number < nodes => Ok(()),
        Some(Ok(_)) => Err(format!("{name}: there are node-0 to node-{}", nodes - 1)),
        _ => {
            let groups: Vec<_> = scenario.groups.iter().map(|group| group.get_ref().name.as_str()).collect();
            let groups =
                if groups.is_empty() { "no groups are defined".to_owned() } else { groups.join(", ") };
            Err(format!("{name:?} is no group ({groups}), nor `all`, nor `node-N`"))
        }
    }
}

impl Scenario {
    /// All parameters of a run: the file's, the cell's, and what the variant sets.
    pub(crate) fn parameters_of(&self, cell: &Parameters, variant: &crate::scenario::Variant) -> Parameters {
        let mut parameters = self.parameters.clone();
        parameters.extend(cell.clone());
        parameters.extend(variant.parameters.clone());
        parameters
    }
}

impl Group {
    /// How many nodes are in it, of so many.
    pub(crate) fn size(&self, nodes: usize, parameters: &Parameters) -> Result<usize, String> {
        if let Some(numbers) = &self.numbers {
            let distinct: BTreeSet<_> = numbers.iter().collect();
            if distinct.len() != numbers.len() || numbers.iter().any(|number| *number >= nodes) {
                return Err(format!("numbers: different ones below {nodes}"));
            }
            return Ok(numbers.len());
        }
        if let Some(share) = &self.share {
            let share = share.get(parameters)?.0;
            return Ok(if share == 0.0 { 0 } else { ((nodes as f64 * share) as usize).max(1) });
        }
        let count = self.random.as_ref().or(self.first.as_ref()).or(self.last.as_ref());
        count.map_or(Ok(0), |count| count.get(parameters))
    }
}

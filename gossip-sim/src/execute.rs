//! From a scenario to its report: all runs, in several threads, and the figures.

use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::thread;

use crate::measure::metrics::METRICS;
use crate::report::{About, Comparison, Figures, Report, Row, RunRecord, cell_text};
use crate::run::{self, Outcomes, Task};
use crate::scenario::{Published, Scenario, Stat, Variant};
use crate::statistics::{Summary, quantile};
use crate::value::{Parameters, Scalar};

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds; the scenario's own number if not given.
    pub seeds: Option<u64>,
    /// How many threads; at least 1.
    pub jobs: usize,
    /// Only cells and variants that match: `C=4,D=128ms,variant=swim`, any part of it.
    pub filter: Option<String>,
}

/// What became of the runs besides the report; nothing in it is the same twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effort {
    /// Runs.
    pub runs: usize,
    /// Virtual seconds that were run through, all runs together, from time 0.
    pub virtual_seconds: f64,
    /// Virtual seconds times nodes, forming included.
    pub node_seconds: f64,
}

/// Runs a scenario. `progress` is told how many of how many runs are over, from any thread.
///
/// # Errors
/// A filter that leaves nothing, or a run that went wrong, with the line that repeats it.
pub fn execute(
    scenario: &Scenario,
    options: &Options,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(Report, Effort), String> {
    let seeds = options.seeds.unwrap_or(scenario.seeds);
    if seeds == 0 {
        return Err("--seeds must be at least 1".into());
    }
    let filter = Filter::new(options.filter.as_deref(), scenario)?;
    let variants = scenario.all_variants();
    let cells = scenario.cells();
    let pairs = variants.iter().flat_map(|variant| cells.iter().map(move |cell| (variant, cell)));
    let pairs: Vec<_> = pairs.filter(|(variant, cell)| filter.matches(variant, cell)).collect();
    if pairs.is_empty() {
        return Err("--filter leaves no run: no cell and variant match it".into());
    }
    let keep_series = scenario.measure.series.unwrap_or(true);
    let tasks: Vec<Task<'_>> = pairs
        .iter()
        .flat_map(|(variant, cell)| {
            (0..seeds).map(|number| Task {
                scenario,
                variant,
                cell,
                seed: options.first_seed.wrapping_add(number),
                series: keep_series && number == 0,
                line: None,
            })
        })
        .collect();
    let results = run_all(&tasks, options.jobs.max(1), progress)?;
    let effort = Effort {
        runs: results.len(),
        virtual_seconds: results.iter().map(|result| result.ran.as_secs_f64()).sum(),
        node_seconds: results.iter().map(|result| result.node_seconds).sum(),
    };

    let mut report = Report::new(About {
        name: scenario.name.clone(),
        title: scenario.title.clone(),
        shows: scenario.shows.trim().to_owned(),
        paper: scenario.paper.clone(),
        parameters: scenario.parameters.clone(),
        sweep: scenario.sweep.clone(),
        variants: variants.iter().map(|variant| (variant.name.clone(), variant.title.clone())).collect(),
        show: scenario.measure.show.clone(),
        digest: scenario.digest(),
    });
    report.seeds = (options.first_seed, seeds);
    report.filter.clone_from(&options.filter);
    let all = All { tasks: &tasks, results: &results };
    for (variant, cell) in &pairs {
        report.rows.push(all.row(variant, cell, scenario));
    }
    for pool in &scenario.measure.pool {
        for variant in &variants {
            for cell in kept(&pairs, variant, pool) {
                report.rows.push(all.row(variant, &cell, scenario));
            }
        }
    }
    for published in &scenario.published {
        report.published.extend(all.compare(published.get_ref(), &variants));
    }
    report.runs = tasks.iter().zip(&results).map(|(task, result)| record(task, result)).collect();
    Ok((report, effort))
}

/// The distinct cells that are left of these when only some parameters are kept.
fn kept(pairs: &[(&Variant, &Parameters)], variant: &Variant, keep: &[String]) -> Vec<Parameters> {
    let mut cells: Vec<Parameters> = Vec::new();
    for (_, cell) in pairs.iter().filter(|(other, _)| other.name == variant.name) {
        let cell: Parameters = cell
            .iter()
            .filter(|(name, _)| keep.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells
}

fn record(task: &Task<'_>, result: &Outcomes) -> RunRecord {
    RunRecord {
        variant: task.variant.name.clone(),
        cell: task.cell.clone(),
        seed: task.seed,
        trace: format!("{:016x}", result.trace),
        seconds: result.ran.as_secs_f64(),
    }
}

/// Runs everything, and gives the results in the order of the tasks, whatever the order in which they came.
fn run_all(
    tasks: &[Task<'_>],
    jobs: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<Outcomes>, String> {
    let next = AtomicUsize::new(0);
    let over = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<Outcomes, String>>>> = Mutex::new(vec![None; tasks.len()]);
    progress(0, tasks.len());
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(number) else { return };
            let result = run_one(task);
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            if let Ok(mut results) = results.lock() {
                results[number] = Some(result);
            }
            progress(over.fetch_add(1, Ordering::Relaxed) + 1, tasks.len());
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.min(tasks.len()) {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().map_err(|_| "a thread failed")?;
    // The first error in the order of the tasks; what was not begun after it is missing.
    let mut done = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Some(Ok(result)) => done.push(result),
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(done)
}

/// Runs one, and makes an error of a panic.
pub(crate) fn run_one(task: &Task<'_>) -> Result<Outcomes, String> {
    let result = catch_unwind(AssertUnwindSafe(|| run::run(task))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        Err(format!("a defect of this program: {text}"))
    });
    let line = task.line();
    // Broken invariants say it themselves.
    result.map_err(|error| match error.ends_with(&line) {
        true => error,
        false => format!("{error}\nrepeat it with: {line}"),
    })
}

/// Which cells and variants are wanted.
struct Filter {
    parameters: BTreeMap<String, Vec<Scalar>>,
    variants: Vec<String>,
}

impl Filter {
    fn new(text: Option<&str>, scenario: &Scenario) -> Result<Self, String> {
        let mut filter = Self { parameters: BTreeMap::new(), variants: Vec::new() };
        for part in text.into_iter().flat_map(|text| text.split(',')).filter(|part| !part.trim().is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("--filter {part}: write NAME=VALUE, as in C=4,variant=swim"))?;
            let (name, value) = (name.trim(), value.trim());
            if name == "variant" {
                filter.variants.push(value.to_owned());
            } else if let Some(values) = scenario.sweep.get(name) {
                let value = Scalar::from_word(value);
                let same = |other: &&Scalar| **other == value || other.to_string() == value.to_string();
                let Some(value) = values.iter().find(same) else {
                    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                    return Err(format!("--filter {part}: {name} takes the values {}", values.join(", ")));
                };
                filter.parameters.entry(name.to_owned()).or_default().push(value.clone());
            } else {
                let names: Vec<_> = scenario.sweep.keys().map(String::as_str).chain(["variant"]).collect();
                return Err(format!("--filter {part}: nothing of that name; there are {}", names.join(", ")));
            }
        }
        Ok(filter)
    }

    fn matches(&self, variant: &Variant, cell: &Parameters) -> bool {
        (self.variants.is_empty() || self.variants.contains(&variant.name))
            && self
                .parameters
                .iter()
                .all(|(name, values)| cell.get(name).is_some_and(|value| values.contains(value)))
    }
}

/// All runs with their results.
struct All<'a> {
    tasks: &'a [Task<'a>],
    results: &'a [Outcomes],
}

impl All<'_> {
    /// The results of a variant in all cells that have these values.
    fn of(&self, variant: &str, cell: &Parameters) -> Vec<&Outcomes> {
        let matches = |task: &Task<'_>| {
            task.variant.name == variant
                && cell.iter().all(|(name, value)| task.cell.get(name).is_some_and(|other| other == value))
        };
        self.tasks
            .iter()
            .zip(self.results)
            .filter(|(task, _)| matches(task))
            .map(|(_, result)| result)
            .collect()
    }

    fn row(&self, variant: &Variant, cell: &Parameters, scenario: &Scenario) -> Row {
        let results = self.of(&variant.name, cell);
        let pooled: Vec<_> =
            scenario.sweep.keys().filter(|name| !cell.contains_key(*name)).cloned().collect();
        let figures = METRICS.iter().filter_map(|metric| {
            let figures = self.figures(&results, metric.name, metric.unit)?;
            Some((metric.name.to_owned(), figures))
        });
        let series =
            if pooled.is_empty() { results.iter().find_map(|result| result.series.clone()) } else { None };
        Row {
            variant: variant.name.clone(),
            cell: cell.clone(),
            pooled,
            runs: results.len(),
            metrics: figures.collect(),
            series,
        }
    }

    fn figures(&self, results: &[&Outcomes], metric: &str, unit: &str) -> Option<Figures> {
        let runs: Vec<&[f64]> =
            results.iter().map(|result| result.samples.get(metric).map_or(&[][..], Vec::as_slice)).collect();
        let summary = Summary::new(&runs)?;
        let mut samples = Vec::new();
        if summary.min < summary.max {
            samples = runs.concat();
            samples.sort_by(f64::total_cmp);
            if samples.len() > SAMPLES {
                samples = (0..SAMPLES).map(|i| quantile(&samples, i as f64 / (SAMPLES - 1) as f64)).collect();
            }
        }
        Some(Figures { unit: unit.to_owned(), summary, samples })
    }

    fn compare(&self, published: &Published, variants: &[Variant]) -> Vec<Comparison> {
        let ran = |variant: &&Variant| self.tasks.iter().any(|task| task.variant.name == variant.name);
        let named = |variant: &&Variant| published.variant.as_ref().is_none_or(|name| *name == variant.name);
        variants
            .iter()
            .filter(named)
            .filter(ran)
            .filter_map(|variant| self.compare_one(published, variant))
            .collect()
    }

    fn compare_one(&self, published: &Published, variant: &Variant) -> Option<Comparison> {
        let results = self.of(&variant.name, &published.cell);
        if results.is_empty() {
            return None; // the filter has left it out
        }
        let figures = self.figures(&results, &published.metric, "");
        let mut ours = figures.as_ref().map(|figures| figures.get(published.stat));
        let mut ci95 =
            figures.filter(|_| published.stat == Stat::Mean).and_then(|figures| figures.summary.ci95);
        if let Some(base) = &published.relative_to {
            let base = self.figures(&self.of(base, &published.cell), &published.metric, "");
            let base = base.map(|figures| figures.get(published.stat)).filter(|base| *base != 0.0);
            ours = ours.and_then(|ours| base.map(|base| ours / base));
            // The interval of a quotient is not that of its parts; none is better than a wrong one.
            ci95 = None;
        }
        let theirs = match (published.value, published.total, published.runs) {
            (Some(value), _, _) => value,
            (_, Some(total), Some(runs)) => total / runs,
            _ => return None,
        };
        Some(Comparison {
            metric: published.metric.clone(),
            stat: published.stat,
            variant: variant.name.clone(),
            cell: published.cell.clone(),
            relative_to: published.relative_to.clone(),
            published: theirs,
            ours,
            ci95,
            ratio: ours.filter(|_| theirs != 0.0).map(|ours| ours / theirs),
            source: published.source.clone(),
        })
    }
}

/// So many samples of a metric are kept: every half percent.
const SAMPLES: usize = 201;

/// A variant and cell as people read them.
pub(crate) fn title(variant: &str, cell: &Parameters) -> String {
    let cell = cell_text(cell);
    if cell.is_empty() { variant.to_owned() } else { format!("{variant} {cell}") }
}

//! Running storms, one after the other, in several threads.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::execute;
use crate::run::{Outcomes, Task};
use crate::scenario::{Overrides, Scenario};
use crate::storm::draw::{Drawn, draw};
use crate::storm::tally::{Broken, Tally};
use crate::value::Parameters;

/// One in so many is run twice.
const TWICE: u64 = 16;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Storms {
    /// The first seed; the others follow it.
    pub first_seed: u64,
    /// How many, at most.
    pub runs: Option<u64>,
    /// None is begun once they have taken so much time of processors.
    pub cpu: Option<Duration>,
    /// Threads; at least 1.
    pub threads: usize,
    /// Go on after one that breaks something.
    pub keep_going: bool,
}

/// Runs storms until there were enough, until `stop` is set, or until one breaks something; all that have begun end. `tell` is
/// told how it stands after each, from any thread.
pub fn storms(storms: &Storms, stop: &AtomicBool, tell: &(dyn Fn(&Tally) + Sync)) -> Tally {
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::new(storms.first_seed));
    let over = AtomicBool::new(false);
    let work = || {
        while !stop.load(Ordering::Relaxed) && !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if storms.runs.is_some_and(|runs| number >= runs) {
                return;
            }
            let ended = run_one(storms.first_seed.wrapping_add(number));
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let broke = ended.broken.is_some();
            tally.count(ended);
            let enough = storms.cpu.is_some_and(|cpu| tally.cpu_seconds >= cpu.as_secs_f64());
            if enough || (broke && !storms.keep_going) {
                over.store(true, Ordering::Relaxed);
            }
            tell(&tally);
        }
    };
    thread::scope(|scope| {
        for _ in 0..storms.threads.max(1) {
            scope.spawn(work);
        }
    });
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What came of one storm.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) nodes: usize,
    pub(super) cpu: Duration,
    pub(super) outcomes: Option<Outcomes>,
    /// It was run a second time, and was the same.
    pub(super) compared: bool,
    pub(super) broken: Option<Broken>,
}

/// Runs the storm of a seed; twice, if it is that one's turn.
pub(super) fn run_one(seed: u64) -> Ended {
    let began = cpu_time();
    let drawn = draw(seed);
    let mut ended =
        Ended { nodes: drawn.nodes, cpu: Duration::ZERO, outcomes: None, compared: false, broken: None };
    let broken = |what| Some(Broken { seed, line: line(seed), what });
    match run_drawn(&drawn) {
        Ok(outcomes) => {
            if seed.is_multiple_of(TWICE) {
                ended.compared = true;
                match run_drawn(&drawn) {
                    Ok(again) if again.trace == outcomes.trace => {}
                    Ok(again) => {
                        let traces = format!("{:016x} and {:016x}", outcomes.trace, again.trace);
                        ended.broken = broken(format!("two runs of one seed differ: {traces}"));
                    }
                    Err(error) => {
                        ended.broken = broken(format!("only the second of two runs failed: {error}"))
                    }
                }
            }
            ended.outcomes = Some(outcomes);
        }
        Err(error) => ended.broken = broken(error),
    }
    ended.cpu = cpu_time().saturating_sub(began);
    ended
}

/// The line that repeats a storm.
fn line(seed: u64) -> String {
    format!("gossip-sim storm --seed {seed} --runs 1")
}

fn run_drawn(drawn: &Drawn) -> Result<Outcomes, String> {
    let text = drawn.text()?;
    let scenario =
        Scenario::parse("storm", &text, &Overrides::default()).map_err(|error| error.to_string())?;
    let variant = scenario.all_variants().remove(0);
    let line = Some(line(drawn.seed));
    let cell = Parameters::new();
    let task =
        Task { scenario: &scenario, variant: &variant, cell: &cell, seed: drawn.seed, series: false, line };
    execute::run_one(&task)
}

/// The scenario of a seed without the steps that it breaks without as well, if it breaks: as a file.
///
/// # Errors
/// It does not break.
pub fn shrink(seed: u64, tell: &mut dyn FnMut(usize, usize)) -> Result<String, String> {
    let mut drawn = draw(seed);
    if run_drawn(&drawn).is_ok() {
        return Err(format!("the storm of seed {seed} breaks nothing"));
    }
    let all = drawn.len();
    // Halves, quarters and so on, then single steps until none can go.
    let mut size = drawn.len().div_ceil(2).max(1);
    loop {
        let (mut from, mut went) = (0, false);
        while from < drawn.len() {
            let keep: Vec<bool> =
                (0..drawn.len()).map(|place| !(from..from + size).contains(&place)).collect();
            let smaller = drawn.keeping(&keep);
            if run_drawn(&smaller).is_err() {
                (drawn, went) = (smaller, true);
            } else {
                from += size;
            }
            tell(drawn.len(), all);
        }
        if size == 1 && !went {
            return drawn.text();
        }
        size = (size / 2).max(1);
    }
}

/// Time of a processor that this thread has had. Where there is no such clock, time of day, which is more.
fn cpu_time() -> Duration {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    }
    #[cfg(not(unix))]
    {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
    }
}

//! `gossip-sim storm`.

use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs;
use std::hash::RandomState;
use std::io::{self, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use gossip_sim::storm::{self, Storms, Tally};
use gossip_sim::write_file;
use indicatif::ProgressBar;

use crate::{check_writable, print, time};

/// How often totals are written, and a line where no terminal shows them.
const EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Storm {
    /// The first seed; the others follow it. Drawn and printed if it is not given.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many storms, at most.
    #[arg(long, value_name = "N")]
    runs: Option<u64>,
    /// How long, in time of processors, as in 90s or 4h.
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    cpu: Option<Duration>,
    /// Threads.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Goes on after a storm that broke something, and lists all that did.
    #[arg(long)]
    keep_going: bool,
    /// Writes what it came to to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Adds what it came to to the totals in this file, every minute and at the end.
    #[arg(long, value_name = "FILE")]
    add: Option<PathBuf>,
    /// Prints the storm of the seed as a scenario's file, and runs nothing.
    #[arg(long, requires = "seed", conflicts_with_all = ["runs", "cpu", "json", "add", "keep_going", "shrink"])]
    print: bool,
    /// Prints the storm of the seed, which breaks something, without the steps that do not matter.
    #[arg(long, requires = "seed", conflicts_with_all = ["runs", "cpu", "json", "add", "keep_going"])]
    shrink: bool,
}

pub(crate) fn run(options: &Storm) -> Result<ExitCode, String> {
    if options.threads == 0 {
        return Err("--threads must be at least 1".into());
    }
    if options.runs == Some(0) || options.cpu == Some(Duration::ZERO) {
        return Err("--runs and --for must be more than none".into());
    }
    // Short enough to be typed.
    let seed = options.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 24);
    if options.print || options.shrink {
        let text = if options.print { storm::draw(seed).text()? } else { shrink(seed)? };
        let how = format!("# Run it with: gossip-sim run FILE --seeds 1 --first-seed {seed}\n");
        return print(&(how + &text)).map(|()| ExitCode::SUCCESS);
    }
    for path in [&options.json, &options.add].into_iter().flatten() {
        check_writable(path)?;
    }
    let before = options.add.as_deref().map(totals).transpose()?.flatten();
    eprintln!("gossip-sim: storms from seed {seed} on");

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        // The first one lets what runs end; the second one does not.
        if stopped.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| format!("no interrupts: {error}"))?;

    let how = Storms {
        first_seed: seed,
        runs: options.runs,
        cpu: options.cpu,
        threads: options.threads,
        keep_going: options.keep_going,
    };
    let bar = ProgressBar::new_spinner(); // hidden where standard error is no terminal
    let written = Mutex::new(Instant::now());
    let listed = Mutex::new(0);
    let tally = storm::storms(&how, &stop, &|tally| {
        bar.set_message(tally.line());
        bar.tick();
        let mut listed = listed.lock().unwrap_or_else(PoisonError::into_inner);
        for broken in &tally.broken[*listed..] {
            bar.suspend(|| eprintln!("\n{}", broken.text()));
        }
        *listed = tally.broken.len();
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.elapsed() >= EVERY {
            *written = Instant::now();
            if !io::stderr().is_terminal() {
                eprintln!("{}", tally.line());
            }
            // A disk that is full now may not be at the end, which says it.
            let _ = add(options.add.as_deref(), before.as_ref(), tally);
        }
    });
    bar.finish_and_clear();

    print(&tally.summary())?;
    if let Some(path) = &options.json {
        write_file(path, &tally.to_json()).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(total) = add(options.add.as_deref(), before.as_ref(), &tally)? {
        print(&format!("in all: {}\n", total.line()))?;
    }
    if tally.broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for broken in &tally.broken {
        eprintln!("broken: {}", broken.line);
    }
    Ok(ExitCode::from(1))
}

/// The totals that there are already.
fn totals(path: &Path) -> Result<Option<Tally>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Tally::from_json(&text).map(Some).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Writes the sum of what was there before and what there is now.
fn add(path: Option<&Path>, before: Option<&Tally>, now: &Tally) -> Result<Option<Tally>, String> {
    let Some(path) = path else { return Ok(None) };
    let total = before.map_or_else(|| now.clone(), |before| before.with(now));
    write_file(path, &total.to_json()).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(total))
}

fn shrink(seed: u64) -> Result<String, String> {
    let bar = ProgressBar::new_spinner();
    let text = storm::shrink(seed, &mut |left, of| {
        bar.set_message(format!("{left} of {of} steps left"));
        bar.tick();
    });
    bar.finish_and_clear();
    text
}

//! `gossip-sim`: runs scenarios, compares their reports, replays recordings.
#![forbid(unsafe_code)]

mod storming;

use core::time::Duration;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use gossip_proto::StepKind;
use gossip_sim::scenario::{Overrides, Scenario, builtins, find};
use gossip_sim::value::{FromScalar, Scalar};
use gossip_sim::{Options, Report, baseline, compare, execute, html, replay, results, table, write_file};
use indicatif::{ProgressBar, ProgressStyle};

/// Simulated gossip clusters: scenarios with faults, sweeps over parameters, and papers' figures beside ours.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says which scenarios there are.
    List,
    /// Runs a scenario.
    Run(Box<Run>),
    /// Compares two reports, metric by metric.
    Compare(Compare),
    /// Runs a recording through the machine again, shows what happened, and verifies that it happens again.
    ///
    /// Times are counted from the first call. Exit code 0 says that the replay was exact, 2 that it was not, or that there is
    /// nothing to replay.
    Replay(Replay),
    /// Makes the tables of docs/results.md: published figures and ours, with the commands that give them.
    Results(Results),
    /// Runs what is quick, and compares every figure exactly with those that are committed.
    ///
    /// Exit code 1 says that some are not the same.
    Baseline(Baseline),
    /// Runs random scenarios, with all faults there are, until it is interrupted.
    ///
    /// Each is drawn from a seed: 3 to 50 nodes, a random configuration, faults of all kinds at the same time, and then none,
    /// after which the cluster must settle in the time that its parameters promise. Exit code 1 says that one broke a rule; the
    /// line that repeats it is printed.
    Storm(storming::Storm),
    /// Prints a scenario's file, to start one's own from.
    Show {
        /// A built-in scenario or a file.
        scenario: String,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// A built-in scenario, by name or alias, or a file.
    scenario: String,
    /// How many nodes.
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How many seeds; each cell and variant is run with every one.
    #[arg(long, value_name = "K")]
    seeds: Option<u64>,
    /// The first seed; the others follow it.
    #[arg(long, value_name = "S", default_value_t = 1)]
    first_seed: u64,
    /// Sets a parameter (C=4, or C=1,4 for a sweep), a setting of the nodes (suspicion_mult=5), or a place in the file
    /// (stop.after=60s). May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Runs only cells and variants that match, as in C=4,variant=swim.
    #[arg(long, value_name = "CELL")]
    filter: Option<String>,
    /// Threads.
    #[arg(long, value_name = "J", default_value_t = cores())]
    jobs: usize,
    /// Writes the report to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with pictures to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Results {
    /// Only these tables.
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    only: Vec<String>,
    /// Leaves out the tables that take minutes.
    #[arg(long)]
    quick: bool,
    /// Keeps reports in this folder, and does not run again what it has of the same scenario, settings and seeds.
    #[arg(long, value_name = "DIR")]
    json_dir: Option<PathBuf>,
    /// Puts the tables between their marks in this document, instead of printing them.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Threads.
    #[arg(long, value_name = "J", default_value_t = cores())]
    jobs: usize,
}

#[derive(Debug, Args)]
struct Baseline {
    /// The figures that are committed.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Writes them anew instead, after a change that was meant.
    #[arg(long)]
    write: bool,
    /// Threads.
    #[arg(long, value_name = "J", default_value_t = cores())]
    jobs: usize,
}

#[derive(Debug, Args)]
struct Replay {
    /// The recording, as `gossip agent --record` writes it.
    trace: PathBuf,
    /// Shows calls from then on, as in 90s or 1h30m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<Duration>,
    /// Stops at that time and shows the members as they are then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Duration>,
    /// Shows calls of this kind alone: input, command, timer, output, member, event or check.
    #[arg(long, value_name = "KIND", value_parser = replay::kind)]
    only: Option<StepKind>,
}

#[derive(Debug, Args)]
struct Compare {
    /// The first report.
    a: PathBuf,
    /// The second.
    b: PathBuf,
    /// Fails with exit code 1 if a mean differs by more than this share of the first, beyond noise.
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<f64>,
    /// Shows equal figures as well.
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::List => print(&list()).map(|()| ExitCode::SUCCESS),
        Command::Run(options) => run(&options).map(|()| ExitCode::SUCCESS),
        Command::Compare(options) => run_compare(&options),
        Command::Replay(options) => run_replay(&options).map(|()| ExitCode::SUCCESS),
        Command::Results(options) => run_results(&options).map(|()| ExitCode::SUCCESS),
        Command::Baseline(options) => run_baseline(&options),
        Command::Storm(options) => storming::run(&options),
        Command::Show { scenario } => find(&scenario)
            .map_err(|error| error.to_string())
            .and_then(|(_, text)| print(&text))
            .map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("gossip-sim: {error}");
        ExitCode::from(2)
    })
}

fn list() -> String {
    let mut lines = String::new();
    for scenario in builtins() {
        let names = core::iter::once(&scenario.name).chain(&scenario.aliases);
        let names = names.map(String::as_str).collect::<Vec<_>>().join(", ");
        let runs = scenario.cells().len() as u64 * scenario.all_variants().len() as u64 * scenario.seeds;
        lines.push_str(&format!("{names:<28} {} ({runs} {})\n", scenario.title, plural(runs, "run")));
    }
    lines
}

fn run(options: &Run) -> Result<(), String> {
    if options.jobs == 0 {
        return Err("--jobs must be at least 1".into());
    }
    for path in [&options.json, &options.html].into_iter().flatten() {
        check_writable(path)?;
    }
    let (file, text) = find(&options.scenario).map_err(|error| error.to_string())?;
    let overrides = Overrides { nodes: options.nodes, set: options.set.clone() };
    let scenario = Scenario::parse(&file, &text, &overrides).map_err(|error| error.to_string())?;

    let bar = bar();
    bar.set_message(scenario.name.clone());
    let progress = |over: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(over as u64);
    };
    let begun = Instant::now();
    let how = Options {
        first_seed: options.first_seed,
        seeds: options.seeds,
        jobs: options.jobs,
        filter: options.filter.clone(),
    };
    let result = execute(&scenario, &how, &progress);
    bar.finish_and_clear();
    let (mut report, effort) = result?;
    report.set = overrides.set;
    if let Some(nodes) = overrides.nodes {
        report.set.insert(0, ("nodes".into(), nodes.to_string()));
    }
    let took = begun.elapsed().as_secs_f64();

    print(&table::report(&report))?;
    eprintln!(
        "{} {} in {took:.1} s: {:.0} virtual seconds, {:.0} node-seconds per second of {} {}",
        effort.runs,
        plural(effort.runs as u64, "run"),
        effort.virtual_seconds,
        effort.node_seconds / took.max(1e-9),
        options.jobs,
        plural(options.jobs as u64, "thread"),
    );
    for (path, text) in
        [(&options.json, Report::to_json as fn(&Report) -> String), (&options.html, html::page)]
    {
        if let Some(path) = path {
            write_file(path, &text(&report)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0); // hidden where standard error is no terminal
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} runs, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn run_results(options: &Results) -> Result<(), String> {
    if options.jobs == 0 {
        return Err("--jobs must be at least 1".into());
    }
    let bar = bar();
    let progress = |table: &str, over: usize, of: usize| {
        if over == 0 {
            bar.reset_eta();
            bar.set_message(table.to_owned());
        }
        bar.set_length(of as u64);
        bar.set_position(over as u64);
    };
    let wanted = results::Wanted {
        only: options.only.clone(),
        quick: options.quick,
        kept: options.json_dir.clone(),
        write: options.write.clone(),
        jobs: options.jobs,
    };
    let made = results::results(&results::Tables::builtin()?, &wanted, &progress);
    bar.finish_and_clear();
    print(&made?)
}

fn run_baseline(options: &Baseline) -> Result<ExitCode, String> {
    let file = options.file.display();
    if options.jobs == 0 {
        return Err("--jobs must be at least 1".into());
    }
    if options.write {
        check_writable(&options.file)?;
        let measured = baseline::to_json(&baseline::measure(options.jobs)?);
        write_file(&options.file, &measured).map_err(|error| format!("{file}: {error}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = fs::read_to_string(&options.file).map_err(|error| format!("{file}: {error}"))?;
    let before = baseline::from_json(&text).map_err(|error| format!("{file}: {error}"))?;
    let differences = baseline::compare(&before, &baseline::measure(options.jobs)?);
    if differences.is_empty() {
        print("All figures are the same.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!("{}\n", compare::table(&differences, true)))?;
    eprintln!(
        "gossip-sim: figures differ from {file}; if that is meant, write them anew: gossip-sim baseline {file} --write"
    );
    Ok(ExitCode::from(1))
}

fn run_replay(options: &Replay) -> Result<(), String> {
    let shown = replay::Shown { from: options.from, until: options.until, only: options.only };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let result = replay::replay(&options.trace, &shown, |line| {
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => result,
    }
}

fn time(text: &str) -> Result<Duration, String> {
    Duration::from_scalar(&Scalar::Text(text.to_owned()))
}

fn run_compare(options: &Compare) -> Result<ExitCode, String> {
    if options.tolerance.is_some_and(|tolerance| tolerance.is_nan() || tolerance < 0.0) {
        return Err("--tolerance is a share, 0 or more: 0.05 allows 5 %".into());
    }
    let read = |path: &Path| {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Report::from_json(&text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let differences = compare::compare(&read(&options.a)?, &read(&options.b)?)?;
    if !options.all && differences.iter().all(|difference| difference.means.0 == difference.means.1) {
        print("No mean differs.\n")?;
    } else {
        print(&format!("{}\n", compare::table(&differences, options.all)))?;
    }
    let Some(tolerance) = options.tolerance else { return Ok(ExitCode::SUCCESS) };
    let beyond = differences.iter().filter(|difference| difference.exceeds(tolerance)).count();
    if beyond > 0 {
        eprintln!(
            "gossip-sim: {beyond} {} by more than {}",
            plural(beyond as u64, "mean differs"),
            tolerance
        );
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// A long run shall not end with nowhere to put its report.
fn check_writable(path: &Path) -> Result<(), String> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if path.is_dir() || !folder.is_dir() {
        return Err(format!("{}: not a file in a folder that exists", path.display()));
    }
    Ok(())
}

/// Prints; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(()),
    }
}

fn plural(count: u64, what: &str) -> String {
    match (count, what) {
        (1, what) => what.to_owned(),
        (_, "mean differs") => "means differ".to_owned(),
        (_, what) => format!("{what}s"),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".into()),
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

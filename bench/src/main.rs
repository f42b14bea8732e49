//! The core beside its peers, on one machine in one run.
//!
//! ```text
//! cargo run --release -p gossip-bench -- peers --json figures.json
//! cargo run --release -p gossip-bench -- live
//! ```

use core::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gossip_bench::heap::Counting;
use gossip_bench::live;
use gossip_bench::peers::contender::Contender;
use gossip_bench::peers::measure::Wanted;
use gossip_bench::peers::{self, Options};

#[global_allocator]
static HEAP: Counting = Counting;

/// Benchmarks of the gossip state machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures ours and its peers beside each other.
    Peers(Options),
    /// Measures our agent and Serf's, end to end.
    Live(live::Options),
    /// Answers pings, for the floor of `live`.
    #[command(hide = true)]
    Answer { addr: SocketAddr },
    /// Measures one that is part of this program, and prints its report as JSON.
    #[command(hide = true)]
    Measure {
        contender: Contender,
        #[command(flatten)]
        wanted: Wanted,
    },
}

fn main() -> ExitCode {
    let printed = match Cli::parse().command {
        Command::Peers(options) => peers::run(&options),
        Command::Live(options) => live::run(&options),
        Command::Answer { addr } => live::answer(addr),
        Command::Measure { contender, wanted } => contender.measure(&wanted).map(|report| report.to_json()),
    };
    match printed {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Benchmarks of the gossip state machine, by itself and beside its peers.
//!
//! ```text
//! cargo run --release -p gossip-bench -- peers --json figures.json
//! ```
//!
//! Without a command it carries out one operation a fixed number of times, to be counted by an instrument such as callgrind:
//!
//! ```text
//! cargo build --profile bench -p gossip-bench
//! bench/callgrind ping-ack 1000
//! ```

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, error::ErrorKind};
use gossip_bench::heap::Counting;
use gossip_bench::peers::contender::Contender;
use gossip_bench::peers::measure::Wanted;
use gossip_bench::peers::{self, Options};
use gossip_bench::{Bed, Operation};

#[global_allocator]
static HEAP: Counting = Counting;

/// Benchmarks of the gossip state machine.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    count: Option<Count>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures ours and foca beside each other.
    Peers(Options),
    /// Measures one that is part of this program, and prints its report as JSON.
    #[command(hide = true)]
    Measure {
        contender: Contender,
        #[command(flatten)]
        wanted: Wanted,
    },
}

/// One operation, so many times, to be counted by an instrument.
#[derive(Debug, Args)]
struct Count {
    /// What is done.
    #[arg(value_parser = operation())]
    operation: Operation,
    /// How many members the node knows.
    #[arg(value_parser = clap::value_parser!(u16).range(2..))]
    members: u16,
    /// How often it is done.
    iterations: usize,
}

fn operation() -> impl TypedValueParser<Value = Operation> {
    let named = |name: String| Operation::ALL.into_iter().find(|operation| operation.name() == name);
    PossibleValuesParser::new(Operation::ALL.map(Operation::name))
        .map(move |name| named(name).expect("one of them"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match (cli.command, cli.count) {
        (Some(Command::Peers(options)), _) => match peers::run(&options) {
            Ok(tables) => print!("{tables}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        },
        (Some(Command::Measure { contender, wanted }), _) => {
            print!("{}", contender.measure(&wanted).to_json())
        }
        (None, Some(Count { operation, members, iterations })) => {
            let mut bed = Bed::new(operation, members.into());
            let sent: usize = (0..iterations).map(|_| bed.measured()).sum();
            println!("{} x {iterations} with {members} members: {sent} datagrams sent", operation.name());
        }
        (None, None) => {
            let error = clap::Error::raw(ErrorKind::MissingSubcommand, "what is to be done?\n");
            error.exit();
        }
    }
    ExitCode::SUCCESS
}

//! Agent and command line for Serf-compatible gossip clusters: all of the program `gossip`. It is a library so that its parsers
//! can be fuzzed from outside; there is nothing in it for other programs.

mod agent;
mod argv;
mod cause;
mod cli;
mod client;
mod commands;
mod config;
mod demo;
mod events;
mod feed;
mod filter;
mod handlers;
mod joining;
mod journal;
mod keygen;
mod local;
mod log;
mod mdns;
mod metrics;
mod output;
mod replaceable;
mod rpc;
#[cfg(test)]
mod samples;
mod server;
mod signals;
mod start;
mod stderr;
mod stdin;
mod tags;
mod tally;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::process::ExitCode;

/// Does what the arguments of the process say, and gives its exit code.
pub fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match cli::parse(&arguments) {
        Ok(cli::Command::Agent(arguments)) => agent::run(*arguments),
        Ok(cli::Command::Demo(arguments)) => demo::run(&arguments),
        Ok(cli::Command::Client(command)) => client::run(command),
        Ok(cli::Command::Keygen) => keygen::run(),
        Ok(cli::Command::Version) => cli::version(),
        Err(code) => code,
    }
}

//! Agent and command line for Serf-compatible gossip clusters.

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

use std::process::ExitCode;

fn main() -> ExitCode {
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

//! The commands that ask a running agent, this one's or Serf's, over its RPC (serf.md 9.1). Flags, output and exit codes
//! are Serf's; errors go to standard error.

mod columns;
pub(crate) mod connection;
mod event;
mod force_leave;
mod info;
mod join;
mod keys;
mod leave;
mod members;
mod monitor;
mod query;
mod reachability;
mod rtt;
mod tags;

use core::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a user event to all members.
    Event(event::EventArgs),
    /// Make a failed member leave, so that nobody tries to reach it any more.
    ForceLeave(force_leave::ForceLeaveArgs),
    /// Show the agent's figures, for operators.
    Info(info::InfoArgs),
    /// Have the agent join a cluster through at least one of its members.
    Join(join::JoinArgs),
    /// Change or list the keys of all members.
    Keys(keys::KeysArgs),
    /// Have the agent leave its cluster and end.
    Leave(leave::LeaveArgs),
    /// List the members of the cluster.
    Members(members::MembersArgs),
    /// Show the agent's log and events as they come.
    Monitor(monitor::MonitorArgs),
    /// Ask all members, or some, and print their answers.
    Query(query::QueryArgs),
    /// Test whether all live members can be reached.
    Reachability(reachability::ReachabilityArgs),
    /// Estimate the round trip time between two members by their coordinates.
    Rtt(rtt::RttArgs),
    /// Change the tags of the agent's node.
    Tags(tags::TagsArgs),
}

/// Where the agent is.
#[derive(Args, Clone, Debug)]
pub(crate) struct AgentAddress {
    /// Address of the agent's RPC
    #[arg(long, value_name = "HOST[:PORT]", env = set("SERF_RPC_ADDR"), default_value = "127.0.0.1:7373")]
    pub(crate) rpc_addr: String,
    /// Secret that the agent asks for (its rpc_auth)
    #[arg(long, value_name = "SECRET", env = set("SERF_RPC_AUTH"), hide_env_values = true, default_value = "")]
    pub(crate) rpc_auth: String,
}

/// The variable to read, or that could be; as in Serf one that is set to nothing is not set.
fn set(variable: &'static str) -> Option<&'static str> {
    std::env::var_os(variable).is_none_or(|value| !value.is_empty()).then_some(variable)
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Runs one command to its end.
pub(crate) fn run(command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&format!("cannot start the runtime: {error}")),
    };
    let result = runtime.block_on(async {
        match command {
            Command::Event(arguments) => event::run(arguments).await,
            Command::ForceLeave(arguments) => force_leave::run(arguments).await,
            Command::Info(arguments) => info::run(arguments).await,
            Command::Join(arguments) => join::run(arguments).await,
            Command::Keys(arguments) => keys::run(arguments).await,
            Command::Leave(arguments) => leave::run(arguments).await,
            Command::Members(arguments) => members::run(arguments).await,
            Command::Monitor(arguments) => monitor::run(arguments).await,
            Command::Query(arguments) => query::run(arguments).await,
            Command::Reachability(arguments) => reachability::run(arguments).await,
            Command::Rtt(arguments) => rtt::run(arguments).await,
            Command::Tags(arguments) => tags::run(arguments).await,
        }
    });
    // A name look-up that hangs must not hold the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(Failure::Because(why)) => cli::fail(&why),
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What is wrong stands in the output already, or nobody reads it.
    Told,
    Because(String),
}

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self::Because(why.into())
    }

    /// Says at what it failed.
    pub(crate) fn during(self, what: &str) -> Self {
        match self {
            Self::Told => Self::Told,
            Self::Because(why) => Self::Because(format!("{what}: {why}")),
        }
    }
}

/// Prints a line; a reader that has gone ends the command.
fn print(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Told,
        _ => Failure::new(format!("standard output cannot be written: {error}")),
    })
}

macro_rules! say {
    ($($arg:tt)*) => { $crate::client::print(format_args!($($arg)*)) };
}
use say;

/// As indented JSON.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    say!("{value:#}")
}

/// Reads `key=value` pairs, split at the first equals sign.
fn pairs(given: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    let pair = |text: &String| Failure::new(format!("Invalid tag: '{text}'; write key=value"));
    given
        .iter()
        .map(|text| text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| pair(text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        let given = ["a=b=c".into(), "k=".into()];
        assert_eq!(pairs(&given).unwrap(), [("a", "b=c"), ("k", "")]);
        for text in ["novalue", "=x", ""] {
            let Err(Failure::Because(why)) = pairs(&[text.into()]) else { panic!("{text}") };
            assert!(why.starts_with(&format!("Invalid tag: '{text}'")), "{why}");
        }
    }
}

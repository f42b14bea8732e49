//! Agents end to end: `gossip-bench live`. Ours and Serf's are started as a user would start them, on loopback, and get the same
//! datagrams from this program, which is a member of their cluster and their RPC client.

mod load;
mod program;
mod rpc;
mod table;

use core::net::SocketAddr;
use core::time::Duration;
use std::env::current_exe;
use std::path::PathBuf;
use std::process::Command;

use crate::document::Place;
use load::{Load, Rate};
use program::{Agent, Process, Program, free_ports};

/// What `gossip-bench live` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Our agent; what lies beside this program if it is not said.
    #[arg(long, value_name = "FILE")]
    pub gossip: Option<PathBuf>,
    /// Serf's agent.
    #[arg(long, value_name = "FILE", default_value = "serf")]
    pub serf: PathBuf,
    /// How long each load lasts.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// How often each agent is started.
    #[arg(long, value_name = "TIMES", default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub starts: u32,
    /// Replace the table in this document.
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
}

/// The marks around the table in a document.
const PLACE: Place = Place { begin: "<!-- live: written by gossip-bench -->", end: "<!-- end of live -->" };

/// Members that an agent knows when its memory is measured, itself included.
const MEMBERS: usize = 1000;

/// What is found out about one agent.
#[derive(Clone, Debug)]
struct Measured {
    name: String,
    /// From the call to the first answer by RPC: the best, and the one in the middle.
    start: (Duration, Duration),
    /// Size of the program file.
    file: u64,
    /// Resident memory in bytes: after the start, and with [`MEMBERS`].
    resident: (u64, u64),
    /// Pings, each answered before the next.
    one_ping: Rate,
    /// Pings, 32 at a time.
    pings: Rate,
    /// User events, handed over to an RPC client.
    events: Rate,
}

/// Measures both and writes what is wanted. Returns the table.
///
/// # Errors
/// An agent is missing, does not start, or does not do its work; a file cannot be read or written.
pub fn run(options: &Options) -> Result<String, String> {
    if let Some(path) = &options.write {
        PLACE.check(path)?;
    }
    let mut all = Vec::new();
    for program in Program::all(options)? {
        eprintln!("{}: measuring", program.name);
        all.push(measured(&program, options).map_err(|error| format!("{}: {error}", program.name))?);
    }
    eprintln!("the floor: measuring");
    let text = table::markdown(&all, &floor(options)?);
    if let Some(path) = &options.write {
        PLACE.write(path, &text)?;
    }
    Ok(text)
}

/// Answers pings at that address, for the measurement of the floor.
///
/// # Errors
/// The address cannot be had.
pub fn answer(addr: SocketAddr) -> Result<String, String> {
    load::answer(addr).map(|()| String::new())
}

/// What a program takes for pings that does nothing else: 32 at a time, and one.
fn floor(options: &Options) -> Result<[Rate; 2], String> {
    let program = current_exe().map_err(|error| error.to_string())?;
    let [addr, _] = free_ports().map_err(|error| error.to_string())?;
    let process = Process::start(Command::new(program).args(["answer", &addr.to_string()]))?;
    let mut load = Load::new(addr)?;
    load.wait()?;
    let time = Duration::from_secs(options.seconds);
    Ok([load.pings(&process, 32, time)?, load.pings(&process, 1, time)?])
}

fn measured(program: &Program, options: &Options) -> Result<Measured, String> {
    let mut starts = Vec::new();
    for _ in 0..options.starts {
        starts.push(Agent::start(program)?.started);
    }
    starts.sort();

    let mut agent = Agent::start(program)?;
    let empty = agent.process.resident()?;
    Load::new(agent.addr)?.tell_of(MEMBERS - 1, &mut agent)?;
    let full = agent.process.resident()?;
    drop(agent);

    let time = Duration::from_secs(options.seconds);
    let mut agent = Agent::start(program)?;
    let mut load = Load::new(agent.addr)?;
    load.join(&mut agent)?;
    Ok(Measured {
        name: program.name.clone(),
        start: (starts[0], starts[starts.len() / 2]),
        file: program.size,
        resident: (empty, full),
        one_ping: load.pings(&agent.process, 1, time)?,
        pings: load.pings(&agent.process, 32, time)?,
        events: load.events(&mut agent, time)?,
    })
}

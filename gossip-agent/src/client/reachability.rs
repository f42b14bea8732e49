//! `gossip reachability`

use std::collections::BTreeSet;
use std::time::Instant;

use clap::Args;

use super::connection::Connection;
use super::query::{Answer, Answers};
use super::{AgentAddress, Failure, say};
use crate::rpc::{Command, MembersResponse, QueryRequest, Text};

#[derive(Args, Clone, Debug)]
pub(crate) struct ReachabilityArgs {
    /// Show each acknowledgement and how long it all took
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: ReachabilityArgs) -> Result<(), Failure> {
    let ReachabilityArgs { verbose, agent } = arguments;
    let mut connection = Connection::open(&agent).await?;
    let MembersResponse { members } =
        connection.ask(Command::Members, &()).await.map_err(|failure| failure.during("getting members"))?;
    let members = members.unwrap_or_default();
    let live: BTreeSet<Text> = members
        .iter()
        .filter(|member| member.status.as_bytes() == b"alive")
        .map(|member| member.name.clone())
        .collect();
    say!("Total members: {}, live members: {}", members.len(), live.len())?;
    say!("Starting reachability test...")?;

    let begun = Instant::now();
    let mut last = begun;
    let ping = QueryRequest { name: "_serf_ping".into(), ack: true, ..QueryRequest::default() };
    let mut answers = Answers::ask(&mut connection, &ping).await?;
    let mut reached = BTreeSet::new();
    while let Some(answer) = answers.next().await? {
        let Answer::Ack(from) = answer else { continue };
        last = Instant::now();
        if verbose {
            say!("\tAck from '{from}'")?;
        }
        if !reached.insert(from.clone()) {
            say!("Duplicate response from '{from}'")?;
        }
    }
    if verbose {
        say!(
            "Query time: {:.2} sec, time to last response: {:.2} sec",
            begun.elapsed().as_secs_f64(),
            last.duration_since(begun).as_secs_f64()
        )?;
    }
    judge(&live, &reached)
}

fn judge(live: &BTreeSet<Text>, reached: &BTreeSet<Text>) -> Result<(), Failure> {
    if live == reached {
        return say!("Successfully contacted all live nodes");
    }
    let strangers: Vec<_> = reached.difference(live).map(Text::to_string).collect();
    if !strangers.is_empty() {
        say!("Answered although the agent does not list them as alive: {}", strangers.join(", "))?;
        say!(
            "They joined meanwhile, or failures are detected that are none: look for one-way network problems."
        )?;
    }
    let missing: Vec<_> = live.difference(reached).map(Text::to_string).collect();
    if !missing.is_empty() {
        say!("Alive and did not answer: {}", missing.join(", "))?;
        say!("They failed meanwhile, or UDP between some members is filtered or lossy.")?;
    }
    Err(Failure::Told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_and_too_many_fail() {
        let set = |names: &[&str]| names.iter().map(Text::from).collect::<BTreeSet<_>>();
        assert!(judge(&set(&["a", "b"]), &set(&["a", "b"])).is_ok());
        assert!(judge(&set(&["a", "b"]), &set(&["a"])).is_err());
        assert!(judge(&set(&["a"]), &set(&["a", "b"])).is_err());
    }
}

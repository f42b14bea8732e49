//! `gossip info`

use clap::Args;
use serde_json::Value as Json;

use super::connection::Connection;
use super::{AgentAddress, Failure, Format, print_json, say};
use crate::rpc::{Command, Stats};

#[derive(Args, Clone, Debug)]
pub(crate) struct InfoArgs {
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: InfoArgs) -> Result<(), Failure> {
    let mut connection = Connection::open(&arguments.agent).await?;
    let stats: Stats =
        connection.ask(Command::Stats, &()).await.map_err(|failure| failure.during("querying agent"))?;
    match arguments.format {
        Format::Text => text(&stats),
        Format::Json => print_json(&json(&stats)),
    }
}

fn text(stats: &Stats) -> Result<(), Failure> {
    for (section, values) in stats.sorted() {
        say!("{section}:")?;
        for (key, value) in values.sorted() {
            say!("\t{key} = {value}")?;
        }
    }
    Ok(())
}

fn json(stats: &Stats) -> Json {
    let sections = stats.sorted().into_iter().map(|(section, values)| {
        let values = values.sorted().into_iter();
        let values: Json =
            values.map(|(key, value)| (key.to_string_lossy(), value.to_string_lossy())).collect();
        (section.to_string_lossy(), values)
    });
    sections.collect()
}

//! `gossip event`

use std::ffi::OsString;

use clap::{ArgAction, Args};

use super::connection::Connection;
use super::{AgentAddress, Failure, say};
use crate::cli::go_bool;
use crate::rpc::{Blob, Command, EventRequest};

#[derive(Args, Clone, Debug)]
pub(crate) struct EventArgs {
    /// Whether receivers may fold it with later events of the same name
    #[arg(
        long,
        value_name = "BOOL",
        value_parser = go_bool,
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true"
    )]
    coalesce: bool,
    #[command(flatten)]
    agent: AgentAddress,
    /// Name of the event
    name: OsString,
    /// What members are given with it
    payload: Option<OsString>,
}

pub(super) async fn run(arguments: EventArgs) -> Result<(), Failure> {
    let EventArgs { coalesce, agent, name, payload } = arguments;
    let mut connection = Connection::open(&agent).await?;
    let event = EventRequest {
        coalesce,
        name: name.as_encoded_bytes().into(),
        payload: Blob(payload.map(|payload| payload.as_encoded_bytes().into())),
    };
    connection.tell(Command::Event, &event).await.map_err(|failure| failure.during("sending event"))?;
    say!("Event '{}' dispatched! Coalescing enabled: {coalesce}", event.name)
}

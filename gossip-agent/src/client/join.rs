//! `gossip join`

use clap::Args;

use super::connection::Connection;
use super::{AgentAddress, Failure, say};
use crate::rpc::{Command, JoinRequest, JoinResponse};

#[derive(Args, Clone, Debug)]
pub(crate) struct JoinArgs {
    /// Also deliver the user events that happened before the join
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    agent: AgentAddress,
    /// Members to join
    #[arg(required = true, value_name = "[NAME/]HOST[:PORT]")]
    addresses: Vec<String>,
}

pub(super) async fn run(arguments: JoinArgs) -> Result<(), Failure> {
    let JoinArgs { replay, agent, addresses } = arguments;
    let mut connection = Connection::open(&agent).await?;
    let request = JoinRequest { existing: Some(addresses.iter().map(Into::into).collect()), replay };
    let JoinResponse { num } = connection
        .ask(Command::Join, &request)
        .await
        .map_err(|failure| failure.during("joining the cluster"))?;
    say!("Successfully joined cluster by contacting {num} nodes.")
}

//! `gossip leave`

use clap::Args;

use super::connection::Connection;
use super::{AgentAddress, Failure, say};
use crate::rpc::Command;

#[derive(Args, Clone, Debug)]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: LeaveArgs) -> Result<(), Failure> {
    let mut connection = Connection::open(&arguments.agent).await?;
    connection.tell(Command::Leave, &()).await.map_err(|failure| failure.during("leaving"))?;
    say!("Graceful leave complete")
}

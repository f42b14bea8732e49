//! `gossip force-leave`

use clap::Args;

use super::connection::Connection;
use super::{AgentAddress, Failure};
use crate::rpc::{Command, ForceLeaveRequest};

#[derive(Args, Clone, Debug)]
pub(crate) struct ForceLeaveArgs {
    /// Also have it forgotten, so that it is listed no longer
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    agent: AgentAddress,
    /// Name of the member
    name: String,
}

pub(super) async fn run(arguments: ForceLeaveArgs) -> Result<(), Failure> {
    let ForceLeaveArgs { prune, agent, name } = arguments;
    let mut connection = Connection::open(&agent).await?;
    let request = ForceLeaveRequest { node: name.into(), prune };
    let told = connection.tell(Command::ForceLeave, &request).await;
    told.map_err(|failure| failure.during("force leaving"))
}

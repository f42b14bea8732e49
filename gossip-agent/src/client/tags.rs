//! `gossip tags`

use clap::Args;

use super::connection::Connection;
use super::{AgentAddress, Failure, pairs, say};
use crate::rpc::{Command, TagsRequest};

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct TagsArgs {
    /// Add a tag, or change its value (repeatable)
    #[arg(long, value_name = "KEY=VALUE", required_unless_present = "delete")]
    set: Vec<String>,
    /// Remove a tag (repeatable)
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: TagsArgs) -> Result<(), Failure> {
    let TagsArgs { set, delete, agent } = arguments;
    let set = pairs(&set)?;
    let request = TagsRequest {
        delete: Some(delete.iter().map(Into::into).collect()),
        set: set.into_iter().map(|(key, value)| (key, value.into())).collect(),
    };
    let mut connection = Connection::open(&agent).await?;
    connection.tell(Command::Tags, &request).await.map_err(|failure| failure.during("setting tags"))?;
    say!("Successfully updated agent tags")
}

//! `gossip keys`

use clap::Args;

use super::columns::columns;
use super::connection::{Connection, refused};
use super::{AgentAddress, Failure, say};
use crate::rpc::{Command, KeyRequest, KeyResponse};

#[derive(Args, Clone, Debug)]
#[group(id = "keys", required = true, multiple = false, args = ["install", "use", "remove", "list"])]
pub(crate) struct KeysArgs {
    /// Add a key on all members: what is encrypted with it can be read from then on
    #[arg(long, value_name = "KEY")]
    install: Option<String>,
    /// Have all members encrypt with this installed key
    #[arg(long, value_name = "KEY", id = "use")]
    use_: Option<String>,
    /// Remove a key from all members; it must not be the one they encrypt with
    #[arg(long, value_name = "KEY")]
    remove: Option<String>,
    /// Show all keys, and on how many members each is installed
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: KeysArgs) -> Result<(), Failure> {
    let KeysArgs { install, use_, remove, list: _, agent } = arguments;
    let (command, key, begin, end, what) = match (install, use_, remove) {
        (Some(key), ..) => (
            Command::InstallKey,
            key,
            "Installing key on all members...",
            "Successfully installed key!",
            "installing key",
        ),
        (_, Some(key), _) => (
            Command::UseKey,
            key,
            "Changing primary key on all members...",
            "Successfully changed primary key!",
            "changing primary key",
        ),
        (_, _, Some(key)) => (
            Command::RemoveKey,
            key,
            "Removing key on all members...",
            "Successfully removed key!",
            "removing key",
        ),
        (None, None, None) => (
            Command::ListKeys,
            String::new(),
            "Asking all members for installed keys...",
            "Keys gathered, listing cluster keys...",
            "gathering member keys",
        ),
    };
    let mut connection = Connection::open(&agent).await?;
    say!("==> {begin}")?;
    let request = KeyRequest { key: key.into() };
    let (error, answer) = connection.ask_despite(command, &request).await.map_err(|f| f.during(what))?;
    let answer: KeyResponse = answer.unwrap_or_default();
    if !error.is_empty() {
        let row = |(node, why): (&_, &_)| vec!["failed:".to_owned(), format!("{node}"), format!("{why}")];
        say!("{}", columns(&answer.messages.sorted().into_iter().map(row).collect::<Vec<_>>()))?;
        return Err(refused(&error).during(what));
    }
    say!("==> {end}")?;
    if command == Command::ListKeys {
        say!("\n{}", listing(&answer))?;
    }
    Ok(())
}

fn listing(answer: &KeyResponse) -> String {
    let row = |(key, count): (&_, &i64)| vec![format!("{key}"), format!("[{count}/{}]", answer.nodes)];
    columns(&answer.keys.sorted().into_iter().map(row).collect::<Vec<_>>())
}

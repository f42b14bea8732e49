//! The commands that change or list the keys of all nodes (serf.md 8.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use transport_tokio::gossip_proto::wire::keyring::Key;
use transport_tokio::gossip_proto::{KeyCommand, KeyReport};
use transport_tokio::{Cluster, Node};

use crate::rpc::{Command, KeyResponse, Text};

/// Asks all nodes. The error, empty if there is none, and what they said.
pub(super) async fn run(cluster: &Cluster<Node>, command: Command, key: &Text) -> (String, KeyResponse) {
    let (what, asked) = match command {
        Command::InstallKey => ("key installation", parse(key).map(KeyCommand::Install)),
        Command::UseKey => ("primary key change", parse(key).map(KeyCommand::Use)),
        Command::RemoveKey => ("key removal", parse(key).map(KeyCommand::Remove)),
        _ => ("key listing", Ok(KeyCommand::List)),
    };
    tracing::info!("agent: Initiating {what}");
    let report = match asked {
        Ok(asked) => cluster.keys(asked).await.map_err(|error| error.to_string()),
        Err(why) => Err(why),
    };
    match report {
        Ok(report) => {
            let error = report.failure().map(|failure| failure.to_string()).unwrap_or_default();
            (error, response(report, command == Command::ListKeys))
        }
        Err(error) => (error, response(KeyReport::default(), false)),
    }
}

fn response(report: KeyReport, listed: bool) -> KeyResponse {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let keys = report.keys.iter().map(|(key, count)| (STANDARD.encode(key.as_bytes()), number(*count)));
    KeyResponse {
        keys: if listed { keys.collect() } else { Default::default() },
        messages: report
            .messages
            .iter()
            .map(|(node, message)| (node.as_bytes(), message.as_str().into()))
            .collect(),
        errors: number(report.errors),
        nodes: number(report.nodes),
        responses: number(report.responses),
    }
}

/// With the errors in Go's words. They never show the key.
fn parse(text: &Text) -> Result<Key, String> {
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => format!("illegal base64 data at input byte {at}"),
        // The four characters that are not complete begin there.
        _ => format!("illegal base64 data at input byte {}", text.as_bytes().len() & !3),
    })?;
    Key::new(&bytes).map_err(|error| error.to_string())
}

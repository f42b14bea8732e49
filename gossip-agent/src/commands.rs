//! Carries out what standard input asks for, and answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use transport_tokio::gossip_proto::coordinate::{Coordinate, distance};
use transport_tokio::gossip_proto::wire::keyring::Key;
use transport_tokio::gossip_proto::{KeyReport, RequestId};
use transport_tokio::{Answer, Cluster, Error, Name, Node, QueryParams};

use crate::local::Local;
use crate::output::Output;
use crate::stdin::{Command, Request};
use crate::{events, joining};

/// Runs one request to its end and prints the answer.
pub(crate) async fn answer(request: Request, local: Local, output: Output) {
    let Request { id, command } = request;
    let command = match command {
        Ok(command) => command,
        Err(why) => return reply(&output, "", id, Err(why)).await,
    };
    let name = command.name();
    let result = match command {
        Command::Query { name, payload, params } => {
            query(&local, &output, id.as_ref(), name, payload, params).await
        }
        command => run(command, &local).await,
    };
    reply(&output, name, id, result).await;
}

/// Prints an answer: of the type of the command where it shows something, else `done` or `error`.
pub(crate) async fn reply(output: &Output, command: &str, id: Option<Value>, result: Result<Value, String>) {
    let mut object = match result {
        Ok(fields) => {
            let kind = match command {
                "members" | "stats" | "ping" | "coordinate" | "rtt" | "keys" => command,
                _ => "done",
            };
            head(kind, command, id, fields)
        }
        Err(why) => head("error", command, id, json!({ "error": why })),
    };
    if command.is_empty() {
        object.shift_remove("command");
    }
    output.send(object).await;
}

fn head(kind: &str, command: &str, id: Option<Value>, fields: Value) -> Map<String, Value> {
    let mut object = events::line(kind, json!({ "command": command }));
    if let Some(id) = id {
        object.insert("id".into(), id);
    }
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    object
}

/// Asks a query and prints what comes back, a line each; the answer of the command is how much it was.
async fn query(
    local: &Local,
    output: &Output,
    id: Option<&Value>,
    name: String,
    payload: Vec<u8>,
    params: QueryParams,
) -> Result<Value, String> {
    let mut answers = local.cluster.query(name, payload, params).await.map_err(|error| error.to_string())?;
    let (mut acks, mut responses) = (0, 0);
    while let Some(answer) = answers.recv().await {
        let mut object = Map::new();
        let kind = match &answer {
            Answer::Ack { from } => {
                acks += 1;
                events::bytes(&mut object, "from", from.as_bytes());
                "ack"
            }
            Answer::Response { from, payload } => {
                responses += 1;
                events::bytes(&mut object, "from", from.as_bytes());
                events::bytes(&mut object, "payload", payload);
                "response"
            }
            _ => continue,
        };
        output.send(head(kind, "query", id.cloned(), object.into())).await;
    }
    Ok(json!({ "acks": acks, "responses": responses, "lost": answers.lost() }))
}

async fn run(command: Command, local: &Local) -> Result<Value, String> {
    let cluster = &local.cluster;
    let text = |error: Error| error.to_string();
    Ok(match command {
        Command::Event { name, payload, coalesce } => {
            json!({ "in_time": cluster.user_event(name, payload, coalesce).await.map_err(text)? })
        }
        Command::Respond { request, payload } => {
            cluster.respond(RequestId::from_u64(request), payload).await.map_err(text)?;
            json!({})
        }
        Command::Tags(tags) => {
            json!({ "in_time": local.tags.replace(tags).await? })
        }
        Command::Join(targets) => {
            let report = joining::join(cluster, &targets, local.replay_on_join).await.map_err(text)?;
            let failed: Vec<_> = report.failed.iter().map(ToString::to_string).collect();
            json!({ "contacted": report.contacted, "failed": failed })
        }
        Command::ForceLeave { name, prune } => {
            json!({ "in_time": cluster.force_leave(name, prune).await.map_err(text)? })
        }
        Command::Ping(name) => {
            let rtt = cluster.ping(&Name::new(&name)).await.map_err(text)?;
            json!({ "name": name, "rtt_ms": rtt.map(|rtt| rtt.as_secs_f64() * 1000.0) })
        }
        Command::Coordinate(name) => {
            let Coordinate { vec, error, adjustment, height } = coordinate(cluster, &name).await?;
            let coordinate =
                json!({ "vec": *vec, "error": error, "adjustment": adjustment, "height": height });
            json!({ "name": name, "coordinate": coordinate })
        }
        Command::Rtt(mut names) => {
            if names.len() == 1 {
                names.push(cluster.local().await.name.to_string());
            }
            let (a, b) = (coordinate(cluster, &names[0]).await?, coordinate(cluster, &names[1]).await?);
            json!({ "names": names, "rtt_ms": distance(&a, &b).map(|rtt| rtt.as_secs_f64() * 1000.0) })
        }
        Command::Keys(command) => report(&cluster.keys(command).await.map_err(text)?),
        Command::Members => json!({ "members": events::members(&cluster.members().await) }),
        Command::Stats => {
            let stats = events::counters(&cluster.stats().await);
            let clocks = cluster.clocks().await.map_err(text)?;
            json!({
                "health": cluster.health().await.map_err(text)?,
                "member_time": clocks.member,
                "event_time": clocks.event,
                "query_time": clocks.query,
                "events_dropped": local.feed.dropped(),
                "counters": stats,
            })
        }
        // Ends the agent, which therefore does it itself.
        Command::Leave => json!({}),
        // Has more to print than an answer.
        Command::Query { .. } => json!({}),
    })
}

fn report(report: &KeyReport) -> Value {
    let counts = |counts: &[(Key, usize)]| -> Map<String, Value> {
        counts.iter().map(|(key, count)| (STANDARD.encode(key.as_bytes()), (*count).into())).collect()
    };
    let messages: Map<String, Value> =
        report.messages.iter().map(|(name, text)| (name.to_string(), text.clone().into())).collect();
    json!({
        "failure": report.failure().map(|failure| failure.to_string()),
        "nodes": report.nodes,
        "responses": report.responses,
        "errors": report.errors,
        "messages": messages,
        "keys": counts(&report.keys),
        "primary_keys": counts(&report.primary_keys),
    })
}

async fn coordinate(cluster: &Cluster<Node>, name: &str) -> Result<Coordinate, String> {
    let coordinate = cluster.coordinate(&Name::new(name)).await;
    coordinate.ok_or_else(|| format!("no coordinate of {name} is known"))
}

//! Commands on standard input, one JSON object per line.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{BufRead, Read as _, stdin};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use transport_tokio::gossip_proto::KeyCommand;
use transport_tokio::{Name, QueryParams};

use crate::config::parse_key;

/// One line, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    /// What the answer repeats.
    pub(crate) id: Option<Value>,
    /// The command, or what is wrong with the line.
    pub(crate) command: Result<Command, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Event {
        name: String,
        payload: Vec<u8>,
        coalesce: bool,
    },
    Query {
        name: String,
        payload: Vec<u8>,
        params: QueryParams,
    },
    Respond {
        request: u64,
        payload: Vec<u8>,
    },
    Tags(BTreeMap<String, String>),
    Join(Vec<String>),
    ForceLeave {
        name: String,
        prune: bool,
    },
    Ping(String),
    Coordinate(String),
    /// Of one to this node, or of two to each other.
    Rtt(Vec<String>),
    Keys(KeyCommand),
    Members,
    Stats,
    Leave,
}

impl Command {
    /// Its name, as the answer gives it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Event { .. } => "event",
            Self::Query { .. } => "query",
            Self::Respond { .. } => "respond",
            Self::Tags(_) => "tags",
            Self::Join(_) => "join",
            Self::ForceLeave { .. } => "force_leave",
            Self::Ping(_) => "ping",
            Self::Coordinate(_) => "coordinate",
            Self::Rtt(_) => "rtt",
            Self::Keys(_) => "keys",
            Self::Members => "members",
            Self::Stats => "stats",
            Self::Leave => "leave",
        }
    }
}

/// Starts reading. The thread ends with standard input or with the process: a blocked read cannot be cancelled.
pub(crate) fn start() -> Receiver<Request> {
    let (sender, requests) = channel(WAITING);
    thread::spawn(move || read(stdin().lock(), &sender));
    requests
}

fn read(mut input: impl BufRead, requests: &Sender<Request>) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let request = if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            if skip_line(&mut input).is_err() {
                return;
            }
            Request { id: None, command: Err(format!("the line is longer than {MAX_LINE} bytes")) }
        } else if line.trim_ascii().is_empty() {
            continue;
        } else {
            parse(&line)
        };
        if requests.blocking_send(request).is_err() {
            return;
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (skipped, found) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(skipped);
        if found {
            return Ok(());
        }
    }
}

fn parse(line: &[u8]) -> Request {
    let mut fields: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Request { id: None, command: Err("a line must be one JSON object".into()) },
        Err(error) => return Request { id: None, command: Err(format!("not valid JSON: {error}")) },
    };
    let id = fields.remove("id");
    Request { id, command: command(fields) }
}

fn command(fields: Map<String, Value>) -> Result<Command, String> {
    let name = fields.keys().find(|key| COMMANDS.contains(&key.as_str()));
    let Some(name) = name.cloned() else {
        return Err(format!("no command in it; give one of {}", COMMANDS.join(", ")));
    };
    let line = Value::Object(fields);
    let wrong = |error: serde_json::Error| format!("{name}: {error}");
    Ok(match name.as_str() {
        "event" => {
            let EventLine { event, payload, payload_base64, coalesce } =
                serde_json::from_value(line).map_err(wrong)?;
            Command::Event { name: event, payload: bytes(&name, payload, payload_base64)?, coalesce }
        }
        "query" => {
            let query: QueryLine = serde_json::from_value(line).map_err(wrong)?;
            let params = query.params();
            let payload = bytes(&name, query.payload, query.payload_base64)?;
            Command::Query { name: query.query, payload, params }
        }
        "respond" => {
            let RespondLine { respond, payload, payload_base64 } =
                serde_json::from_value(line).map_err(wrong)?;
            Command::Respond { request: respond, payload: bytes(&name, payload, payload_base64)? }
        }
        "keys" => {
            let KeysLine { keys, key } = serde_json::from_value(line).map_err(wrong)?;
            let key =
                key.map(|key| parse_key(&key).map_err(|problem| format!("keys: {problem}"))).transpose()?;
            Command::Keys(match (keys, key) {
                (KeysWord::Install, Some(key)) => KeyCommand::Install(key),
                (KeysWord::Use, Some(key)) => KeyCommand::Use(key),
                (KeysWord::Remove, Some(key)) => KeyCommand::Remove(key),
                (KeysWord::List, None) => KeyCommand::List,
                (KeysWord::List, Some(_)) => return Err("keys: a list needs no key".into()),
                (_, None) => return Err("keys: give the key, in base64, as `key`".into()),
            })
        }
        "force_leave" => {
            let ForceLeaveLine { force_leave, prune } = serde_json::from_value(line).map_err(wrong)?;
            Command::ForceLeave { name: force_leave, prune }
        }
        _ => match serde_json::from_value(line).map_err(wrong)? {
            OtherLine::Tags(tags) => Command::Tags(tags),
            OtherLine::Join(targets) => Command::Join(targets),
            OtherLine::Ping(name) => Command::Ping(name),
            OtherLine::Coordinate(name) => Command::Coordinate(name),
            OtherLine::Rtt(names) if (1..=2).contains(&names.len()) => Command::Rtt(names),
            OtherLine::Rtt(_) => return Err("rtt: name one member, or two".into()),
            OtherLine::Members(true) => Command::Members,
            OtherLine::Stats(true) => Command::Stats,
            OtherLine::Leave(true) => Command::Leave,
            OtherLine::Members(false) | OtherLine::Stats(false) | OtherLine::Leave(false) => {
                return Err(format!("{name}: the value must be true"));
            }
        },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    event: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default = "yes")]
    coalesce: bool,
}

/// A payload, in one of the two ways to give it.
fn bytes(command: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("{command}: give payload or payload_base64, not both")),
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(text)) => {
            STANDARD.decode(text).map_err(|error| format!("{command}: payload_base64: {error}"))
        }
        (None, None) => Ok(Vec::new()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryLine {
    query: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    ack: bool,
    #[serde(default)]
    everybody_answers: bool,
    #[serde(default)]
    relay_factor: u8,
    #[serde(default)]
    timeout_ms: u64,
}

impl QueryLine {
    fn params(&self) -> QueryParams {
        let tags = self.tags.iter().map(|(tag, expression)| (tag.clone().into(), expression.clone().into()));
        let mut params = QueryParams::default();
        params
            .nodes(self.nodes.iter().map(Name::new).collect())
            .tags(tags.collect())
            .ack(self.ack)
            .everybody_answers(self.everybody_answers)
            .relay_factor(self.relay_factor)
            .timeout(Some(Duration::from_millis(self.timeout_ms)));
        params
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RespondLine {
    respond: u64,
    payload: Option<String>,
    payload_base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForceLeaveLine {
    force_leave: String,
    #[serde(default)]
    prune: bool,
}

/// The key is not shown by errors of the parser, which tell its type only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysLine {
    keys: KeysWord,
    key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeysWord {
    Install,
    Use,
    Remove,
    List,
}

/// Commands of one field.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OtherLine {
    Tags(BTreeMap<String, String>),
    Join(Vec<String>),
    Ping(String),
    Coordinate(String),
    Rtt(Vec<String>),
    Members(bool),
    Stats(bool),
    Leave(bool),
}

fn yes() -> bool {
    true
}

const COMMANDS: [&str; 13] = [
    "event",
    "query",
    "respond",
    "tags",
    "join",
    "force_leave",
    "ping",
    "coordinate",
    "rtt",
    "keys",
    "members",
    "stats",
    "leave",
];
/// Longest line; what is longer is skipped and answered with an error.
const MAX_LINE: u64 = 64 * 1024;
/// Requests that may wait for the agent.
const WAITING: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use transport_tokio::gossip_proto::wire::keyring::Key;

    fn all(input: &[u8]) -> Vec<Request> {
        let (sender, mut requests) = channel(64);
        read(input, &sender);
        drop(sender);
        core::iter::from_fn(|| requests.blocking_recv()).collect()
    }

    fn one(line: &str) -> Result<Command, String> {
        parse(line.as_bytes()).command
    }

    #[test]
    fn reads_every_command() {
        let event = |payload: &[u8], coalesce| Command::Event {
            name: "deploy".into(),
            payload: payload.into(),
            coalesce,
        };
        let strings = |items: &[&str]| items.iter().map(|&item| item.into()).collect::<Vec<String>>();
        for (line, command) in [
            (r#"{"event": "deploy"}"#, event(b"", true)),
            (r#"{"event": "deploy", "payload": "v42", "coalesce": false}"#, event(b"v42", false)),
            (r#"{"event": "deploy", "payload_base64": "/wA="}"#, event(b"\xff\0", true)),
            (
                r#"{"query": "load", "payload": "p", "nodes": ["a"], "tags": {"role": "^w"}, "ack": true,
                    "relay_factor": 2, "timeout_ms": 1500, "everybody_answers": true}"#,
                Command::Query {
                    name: "load".into(),
                    payload: b"p".into(),
                    params: QueryParams::default()
                        .nodes(vec!["a".into()])
                        .tags(vec![("role".into(), "^w".into())])
                        .ack(true)
                        .everybody_answers(true)
                        .relay_factor(2)
                        .timeout(Some(Duration::from_millis(1500)))
                        .clone(),
                },
            ),
            (r#"{"respond": 7, "payload": "p"}"#, Command::Respond { request: 7, payload: b"p".into() }),
            (r#"{"tags": {"a": "b"}}"#, Command::Tags([("a".into(), "b".into())].into())),
            (r#"{"join": ["x:1", "y"]}"#, Command::Join(strings(&["x:1", "y"]))),
            (r#"{"force_leave": "n"}"#, Command::ForceLeave { name: "n".into(), prune: false }),
            (r#"{"force_leave": "n", "prune": true}"#, Command::ForceLeave { name: "n".into(), prune: true }),
            (r#"{"ping": "n"}"#, Command::Ping("n".into())),
            (r#"{"coordinate": "n"}"#, Command::Coordinate("n".into())),
            (r#"{"rtt": ["n", "m"]}"#, Command::Rtt(strings(&["n", "m"]))),
            (r#"{"keys": "list"}"#, Command::Keys(KeyCommand::List)),
            (
                r#"{"keys": "install", "key": "AQEBAQEBAQEBAQEBAQEBAQ=="}"#,
                Command::Keys(KeyCommand::Install(Key::new(&[1; 16]).unwrap())),
            ),
            (r#"{"members": true}"#, Command::Members),
            (r#"{"stats": true}"#, Command::Stats),
            (r#"{"leave": true}"#, Command::Leave),
        ] {
            assert_eq!(one(line), Ok(command), "{line}");
        }
        let request = parse(br#"{"id": [1, "a"], "members": true}"#);
        assert_eq!(request, Request { id: Some(serde_json::json!([1, "a"])), command: Ok(Command::Members) });
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, part) in [
            ("{", "not valid JSON"),
            ("[]", "one JSON object"),
            ("{}", "give one of event, query"),
            (r#"{"evnt": "x"}"#, "give one of event, query"),
            (r#"{"event": 5}"#, "event: invalid type"),
            (r#"{"event": "x", "colour": 1}"#, "event: unknown field `colour`"),
            (r#"{"event": "x", "payload": "a", "payload_base64": "YQ=="}"#, "not both"),
            (r#"{"event": "x", "payload_base64": "?"}"#, "payload_base64"),
            (r#"{"query": "x", "payload": "a", "payload_base64": "YQ=="}"#, "query: give payload or"),
            (r#"{"query": "x", "relay_factor": 256}"#, "query: invalid value"),
            (r#"{"respond": "x"}"#, "respond: invalid type"),
            (r#"{"leave": false}"#, "leave: the value must be true"),
            (r#"{"rtt": []}"#, "name one member, or two"),
            (r#"{"keys": "use"}"#, "keys: give the key"),
            (r#"{"keys": "list", "key": "AQEBAQEBAQEBAQEBAQEBAQ=="}"#, "needs no key"),
            (r#"{"keys": "remove", "key": "AQEB"}"#, "keys: the key has 3 bytes"),
            (r#"{"members": true, "stats": true}"#, "members: "),
        ] {
            let error = one(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let mut input = vec![b' '; MAX_LINE as usize + 5];
        input.extend(b"\n\n{\"leave\": true}");
        let requests = all(&input);
        assert_eq!(requests.len(), 2);
        assert!(requests[0].command.as_ref().is_err_and(|error| error.contains("longer than 65536")));
        assert_eq!(requests[1].command, Ok(Command::Leave));
    }
}

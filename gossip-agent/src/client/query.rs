//! `gossip query`, and the stream of answers for other commands.

use core::time::Duration;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::{Map as Object, Value as Json, json};

use super::connection::Connection;
use super::{AgentAddress, Failure, Format, pairs, print_json, say};
use crate::cli::duration;
use crate::rpc::{AnswerRecord, Blob, Command, QueryRequest, Text};

#[derive(Args, Clone, Debug)]
pub(crate) struct QueryArgs {
    /// How the answers are printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Ask only this member (repeatable)
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// Ask only members whose tag matches (repeatable)
    #[arg(long, value_name = "KEY=REGEX")]
    tag: Vec<String>,
    /// How long to wait for answers [default: the agent's, by the size of the cluster]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Do not have members say that they have got it
    #[arg(long)]
    no_ack: bool,
    /// Have answers also relayed by this many members
    #[arg(long, value_name = "0..255", default_value_t = 0)]
    relay_factor: u8,
    #[command(flatten)]
    agent: AgentAddress,
    /// Name of the query
    name: OsString,
    /// What members are given with it
    payload: Option<OsString>,
}

pub(super) async fn run(arguments: QueryArgs) -> Result<(), Failure> {
    let QueryArgs { format, node, tag, timeout, no_ack, relay_factor, agent, name, payload } = arguments;
    let tags = pairs(&tag)?;
    let request = QueryRequest {
        nodes: (!node.is_empty()).then(|| node.iter().map(Into::into).collect()),
        tags: tags.into_iter().map(|(key, expression)| (key, expression.into())).collect(),
        name: name.as_encoded_bytes().into(),
        payload: Blob(payload.map(|payload| payload.as_encoded_bytes().into())),
        relay_factor,
        ack: !no_ack,
        timeout: timeout.map_or(0, |timeout| i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX)),
    };
    let mut connection = Connection::open(&agent).await?;
    let mut answers = Answers::ask(&mut connection, &request).await?;
    match format {
        Format::Text => print_text(&mut answers, &request).await,
        Format::Json => print_json(&collect(&mut answers).await?),
    }
}

async fn print_text(answers: &mut Answers<'_>, request: &QueryRequest) -> Result<(), Failure> {
    say!("Query '{}' dispatched", request.name)?;
    let (mut acks, mut responses) = (0, 0);
    while let Some(answer) = answers.next().await? {
        match answer {
            Answer::Ack(from) => {
                acks += 1;
                say!("Ack from '{from}'")?;
            }
            Answer::Response(from, payload) => {
                responses += 1;
                let payload = payload.strip_suffix(b"\n").unwrap_or(&payload);
                print_response(&from, payload)?;
            }
        }
    }
    if request.ack {
        say!("Total Acks: {acks}")?;
    }
    say!("Total Responses: {responses}")
}

/// Bytes go out as they came, except to a terminal, where they must not be commands.
fn print_response(from: &Text, payload: &[u8]) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        let text = String::from_utf8_lossy(payload);
        let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        return say!("Response from '{from}': {text}");
    }
    let line = [format!("Response from '{from}': ").as_bytes(), payload, b"\n"].concat();
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(|_| Failure::Told)
}

async fn collect(answers: &mut Answers<'_>) -> Result<Json, Failure> {
    let (mut acks, mut responses) = (Vec::new(), Object::new());
    while let Some(answer) = answers.next().await? {
        match answer {
            Answer::Ack(from) => acks.push(Json::from(from.to_string_lossy())),
            Answer::Response(from, payload) => {
                let payload = String::from_utf8_lossy(&payload).into_owned();
                responses.insert(from.to_string_lossy(), payload.into());
            }
        }
    }
    // As Go prints an empty list.
    let acks = if acks.is_empty() { Json::Null } else { acks.into() };
    Ok(json!({ "Acks": acks, "Responses": responses }))
}

/// One answer to a query.
#[derive(Debug)]
pub(super) enum Answer {
    Ack(Text),
    Response(Text, Vec<u8>),
}

/// The answers to a query as they come.
pub(super) struct Answers<'a> {
    connection: &'a mut Connection,
}

impl<'a> Answers<'a> {
    pub(super) async fn ask(connection: &'a mut Connection, request: &QueryRequest) -> Result<Self, Failure> {
        connection.tell(Command::Query, request).await.map_err(|failure| failure.during("sending query"))?;
        Ok(Self { connection })
    }

    /// The next one; `None` when the time for answers is over.
    pub(super) async fn next(&mut self) -> Result<Option<Answer>, Failure> {
        loop {
            self.connection.header().await?;
            let record = self.connection.body().await?;
            let AnswerRecord { from, payload, kind } =
                record.ok_or_else(|| Failure::new("the agent ended before the query did"))?;
            match kind.as_bytes() {
                b"done" => return Ok(None),
                // An agent whose query ends at this moment may send records of nobody (serf.md 9.4).
                _ if from.is_empty() => {}
                b"ack" => return Ok(Some(Answer::Ack(from))),
                b"response" => return Ok(Some(Answer::Response(from, payload.0.unwrap_or_default()))),
                _ => {}
            }
        }
    }
}

//! `gossip monitor`

use clap::Args;

use super::connection::{Connection, refused};
use super::{AgentAddress, Failure, say};
use crate::rpc::{Command, LogRecord, Map, Member, MonitorRequest, StreamRequest, Text};
use crate::rpc::{DecodeError, Reader, Value};

#[derive(Args, Clone, Debug)]
pub(crate) struct MonitorArgs {
    /// Lines of this level and above: TRACE, DEBUG, INFO, WARN or ERR; the agent's own level does not matter
    #[arg(long, value_name = "LEVEL", default_value = "INFO")]
    log_level: String,
    #[command(flatten)]
    agent: AgentAddress,
}

pub(super) async fn run(arguments: MonitorArgs) -> Result<(), Failure> {
    tokio::select! {
        shown = show(&arguments) => shown,
        // How it is meant to end.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn show(arguments: &MonitorArgs) -> Result<(), Failure> {
    let mut connection = Connection::open(&arguments.agent).await?;
    let events = connection.send(Command::Stream, &StreamRequest { filter: "*".into() }).await?;
    let logs =
        connection.send(Command::Monitor, &MonitorRequest { level: (&arguments.log_level).into() }).await?;
    // Records of the one may come before the answer to the other.
    let (mut events_run, mut logs_run) = (false, false);
    loop {
        let Ok(header) = connection.header().await else { return Err(ended()) };
        if !header.error.is_empty() {
            return Err(refused(&header.error).during("starting to monitor"));
        }
        if header.seq == events && !core::mem::replace(&mut events_run, true)
            || header.seq == logs && !core::mem::replace(&mut logs_run, true)
        {
            continue;
        }
        if header.seq == logs {
            let Ok(Some(LogRecord { line })) = connection.body().await else { return Err(ended()) };
            say!("{line}")?;
        } else {
            let Ok(Some(EventRecord { event, fields })) = connection.body().await else {
                return Err(ended());
            };
            say!("Event Info:\n\tEvent: {event}")?;
            for (name, value) in fields {
                say!("\t{name}: {value}")?;
            }
        }
    }
}

fn ended() -> Failure {
    Failure::new("Remote side ended the monitor! This usually means that the agent has exited or crashed.")
}

/// A record of any of the three shapes, as it is shown.
#[derive(Debug, Default)]
struct EventRecord {
    event: Text,
    fields: Vec<(&'static str, String)>,
}

impl Value for EventRecord {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut record = Self::default();
        for _ in 0..reader.map()?.unwrap_or_default() {
            let key = reader.text()?;
            let mut show = |name, value| record.fields.push((name, value));
            match &*key {
                b"Event" => record.event = Text::read(reader)?,
                b"LTime" => show("LTime", u64::read(reader)?.to_string()),
                b"ID" => show("ID", u64::read(reader)?.to_string()),
                b"Name" => show("Name", Text::read(reader)?.to_string()),
                b"Coalesce" => show("Coalesce", bool::read(reader)?.to_string()),
                b"Payload" => show("Payload", Text::read(reader)?.to_string()),
                b"Members" => {
                    for member in Option::<Vec<Member>>::read(reader)?.unwrap_or_default() {
                        show("Member", format!("{} {} {}", member.name, member.status, tags(&member.tags)));
                    }
                }
                _ => reader.skip_value()?,
            }
        }
        Ok(record)
    }

    fn write(&self, _: &mut Vec<u8>) {
        unreachable!("only an agent sends records")
    }
}

fn tags(tags: &Map<Text>) -> String {
    let tags = tags.sorted().into_iter().map(|(key, value)| format!("{key}={value}"));
    tags.collect::<Vec<_>>().join(",")
}

//! As much of Serf's RPC as it takes to ask for figures and to be told of user events (serf.md 9).

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{BufReader, Write};
use std::net::TcpStream;

use rmpv::Value;

#[derive(Debug)]
pub(super) struct Client {
    reader: BufReader<TcpStream>,
    seq: u64,
}

impl Client {
    pub(super) fn connect(addr: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(|error| error.to_string())?;
        let mut client = Self { reader: BufReader::new(stream), seq: 0 };
        client.call("handshake", Some(vec![("Version", 1.into())]))?;
        Ok(client)
    }

    /// Where the agent's RPC is.
    pub(super) fn addr(&self) -> Result<SocketAddr, String> {
        self.reader.get_ref().peer_addr().map_err(|error| error.to_string())
    }

    /// How many members the agent knows.
    pub(super) fn members(&mut self) -> Result<usize, String> {
        self.call("stats", None)?;
        let stats = self.value()?;
        let number = field(&stats, "serf").and_then(|serf| field(serf, "members")).and_then(text);
        number.and_then(|text| text.parse().ok()).ok_or_else(|| format!("no number of members: {stats}"))
    }

    /// Asks for all user events from now on.
    pub(super) fn stream_events(&mut self) -> Result<(), String> {
        self.call("stream", Some(vec![("Type", "user".into())]))
    }

    /// The name of the next user event.
    pub(super) fn event(&mut self) -> Result<String, String> {
        self.value()?;
        let event = self.value()?;
        let name = field(&event, "Name").and_then(text);
        name.map(str::to_owned).ok_or_else(|| format!("no user event: {event}"))
    }

    fn call(&mut self, command: &str, body: Option<Vec<(&str, Value)>>) -> Result<(), String> {
        self.seq += 1;
        let mut bytes = Vec::new();
        let mut write = |fields: Vec<(&str, Value)>| {
            let fields = fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
            rmpv::encode::write_value(&mut bytes, &Value::Map(fields)).expect("a vector has room");
        };
        write(vec![("Command", command.into()), ("Seq", self.seq.into())]);
        if let Some(body) = body {
            write(body);
        }
        self.reader.get_mut().write_all(&bytes).map_err(|error| error.to_string())?;
        let head = self.value()?;
        match field(&head, "Error").and_then(text) {
            Some("") => Ok(()),
            _ => Err(format!("{command}: {head}")),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        rmpv::decode::read_value(&mut self.reader).map_err(|error| format!("RPC: {error}"))
    }
}

fn field<'v>(map: &'v Value, key: &str) -> Option<&'v Value> {
    map.as_map()?.iter().find(|(found, _)| text(found) == Some(key)).map(|(_, value)| value)
}

/// Serf's codec sends text and bytes alike.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Binary(bytes) => core::str::from_utf8(bytes).ok(),
        value => value.as_str(),
    }
}

//! A connection to an agent.

use core::net::IpAddr;
use core::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::{AgentAddress, Failure};
use crate::config::RPC_PORT;
use crate::rpc::{AUTHENTICATION_REQUIRED, Text, Value};
use crate::rpc::{AuthRequest, Command, HandshakeRequest, Objects, RequestHeader, ResponseHeader, VERSION};

/// Asks, one request after the other. Streams are requests whose records are then read one by one.
#[derive(Debug)]
pub(crate) struct Connection {
    objects: Objects<OwnedReadHalf>,
    output: OwnedWriteHalf,
    seq: u64,
}

impl Connection {
    /// Connects and presents itself.
    pub(crate) async fn open(address: &AgentAddress) -> Result<Self, Failure> {
        let AgentAddress { rpc_addr, rpc_auth } = address;
        let problem = |why: &dyn core::fmt::Display| {
            Failure::new(format!(
                "cannot connect to the agent at {rpc_addr}: {why}; check that it runs, and --rpc-addr"
            ))
        };
        let connecting = async {
            match rpc_addr.parse::<IpAddr>() {
                Ok(ip) => TcpStream::connect((ip, RPC_PORT)).await,
                Err(_) if !rpc_addr.contains(':') => TcpStream::connect((rpc_addr.as_str(), RPC_PORT)).await,
                Err(_) => TcpStream::connect(rpc_addr).await,
            }
        };
        let stream = match timeout(CONNECT, connecting).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(problem(&error)),
            Err(_) => return Err(problem(&format!("no answer within {} seconds", CONNECT.as_secs()))),
        };
        // Requests are small and wait for answers.
        let _ = stream.set_nodelay(true);
        let (input, output) = stream.into_split();
        let mut connection = Self { objects: Objects::new(input, MAX_ANSWER), output, seq: 0 };
        let greeting = async {
            connection.tell(Command::Handshake, &HandshakeRequest { version: VERSION }).await?;
            if !rpc_auth.is_empty() {
                let key = rpc_auth.into();
                connection.tell(Command::Auth, &AuthRequest { key }).await.map_err(
                    |failure| match failure {
                        Failure::Because(why) => Failure::new(format!("{why}; check --rpc-auth")),
                        told => told,
                    },
                )?;
            }
            Ok::<_, Failure>(())
        };
        match timeout(CONNECT, greeting).await {
            Ok(greeted) => greeted.map_err(|failure| failure.during("connecting to the agent"))?,
            Err(_) => return Err(problem(&"it does not answer as an agent does")),
        }
        Ok(connection)
    }

    /// A request that is answered without a body.
    pub(crate) async fn tell(&mut self, command: Command, body: &impl Value) -> Result<(), Failure> {
        self.ask(command, body).await
    }

    /// A request that is answered with a body.
    pub(crate) async fn ask<R: Value>(&mut self, command: Command, body: &impl Value) -> Result<R, Failure> {
        let (error, answer) = self.ask_despite(command, body).await?;
        if error.is_empty() {
            answer.ok_or_else(|| lost(&"it was closed by the agent"))
        } else {
            Err(refused(&error))
        }
    }

    /// The same, with the body that comes although the agent reports an error.
    pub(crate) async fn ask_despite<R: Value>(
        &mut self,
        command: Command,
        body: &impl Value,
    ) -> Result<(Text, Option<R>), Failure> {
        let seq = self.send(command, body).await?;
        let header = self.header().await?;
        if header.seq != seq {
            return Err(lost(&"it answers another request"));
        }
        // This one error ends the answer.
        if header.error.as_bytes() == AUTHENTICATION_REQUIRED.as_bytes() {
            let why = format!("{}; give the agent's rpc_auth with --rpc-auth or SERF_RPC_AUTH", header.error);
            return Err(Failure::new(why));
        }
        let answer = if command.has_response_body() { self.body().await? } else { R::decode(NIL).ok() };
        Ok((header.error, answer))
    }

    /// Sends a request and returns its number, without waiting for anything.
    pub(crate) async fn send(&mut self, command: Command, body: &impl Value) -> Result<u64, Failure> {
        self.seq += 1;
        let mut bytes = Vec::new();
        RequestHeader { command: command.name().into(), seq: self.seq }.write(&mut bytes);
        if command.has_request_body() {
            body.write(&mut bytes);
        }
        self.output.write_all(&bytes).await.map_err(|error| lost(&error))?;
        Ok(self.seq)
    }

    /// What comes before an answer or a record.
    pub(crate) async fn header(&mut self) -> Result<ResponseHeader, Failure> {
        self.body().await?.ok_or_else(|| lost(&"it was closed by the agent"))
    }

    /// The body of an answer, or a record; `None` if the agent has closed the connection.
    pub(crate) async fn body<R: Value>(&mut self) -> Result<Option<R>, Failure> {
        let Some(bytes) = self.objects.next().await.map_err(|error| lost(&error))? else { return Ok(None) };
        R::decode(&bytes).map(Some).map_err(|error| lost(&error))
    }
}

/// What the agent answered instead of doing it.
pub(crate) fn refused(error: &Text) -> Failure {
    // Some errors have several lines.
    let text = error.to_string_lossy();
    let text: String = text.trim().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    Failure::new(text)
}

fn lost(why: &dyn core::fmt::Display) -> Failure {
    Failure::new(format!("the connection to the agent is lost: {why}"))
}

const CONNECT: Duration = Duration::from_secs(10);
/// Longest answer: the members of a large cluster.
const MAX_ANSWER: usize = 64 << 20;
const NIL: &[u8] = &[0xc0];

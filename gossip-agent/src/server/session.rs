//! One client: its requests, one after the other, and the streams that it has asked for.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::asked::Asked;
use super::commands::Commands;
use super::places::Place;
use super::streams::{self, Task};
use super::{Leave, Shared};
use crate::filter::Filter;
use crate::log::Level;
use crate::rpc::{
    AUTHENTICATION_REQUIRED, AuthRequest, Command, DecodeError, HandshakeRequest, MonitorRequest, Objects,
    QueryRequest, ReadError, RequestHeader, ResponseHeader, StopRequest, StreamRequest, VERSION, Value,
};

pub(super) struct Session {
    shared: Arc<Shared>,
    place: Place,
    objects: Objects<OwnedReadHalf>,
    outbox: Outbox,
    writing: JoinHandle<()>,
    commands: Commands,
    greeted: bool,
    trusted: bool,
    streams: BTreeMap<u64, Task>,
    monitor: Option<(u64, Task)>,
    queries: JoinSet<()>,
    asked: Asked,
}

impl Session {
    pub(super) fn new(stream: TcpStream, place: Place, shared: Arc<Shared>) -> Self {
        let (input, output) = stream.into_split();
        let (outbox, writing) = Outbox::new(output);
        let trusted = shared.secret.is_none();
        Self {
            commands: Commands(shared.clone()),
            shared,
            place,
            objects: Objects::new(input, MAX_REQUEST),
            outbox,
            writing,
            greeted: false,
            trusted,
            streams: BTreeMap::new(),
            monitor: None,
            queries: JoinSet::new(),
            asked: Asked::default(),
        }
    }

    /// Serves until the client goes, or is sent away for the reason.
    pub(super) async fn run(mut self) -> Result<(), Farewell> {
        let patience = Instant::now() + GREETING;
        let end = loop {
            let served = match self.is_known() {
                true => self.serve().await,
                false => self.greet(patience).await,
            };
            if let Err(why) = served {
                break why;
            }
        };
        let known = self.is_known();
        // What is there to be sent is sent; streams are not there any more.
        let Self { place, streams, monitor, queries, outbox, mut writing, .. } = self;
        drop((streams, monitor, queries, outbox));
        if known {
            let _ = writing.await;
        } else {
            // Who does not read keeps its socket no longer than its place.
            tokio::select! {
                _ = timeout_at(patience, &mut writing) => {}
                () = place.lost() => {}
            }
            writing.abort();
        }
        match end {
            Farewell::Gone => Ok(()),
            Farewell::Left(told) => {
                // Fails only if the agent did not wait.
                let _ = told.send(());
                Ok(())
            }
            why => Err(why),
        }
    }

    /// Whether the client has presented itself.
    fn is_known(&self) -> bool {
        self.greeted && self.trusted
    }

    /// One request of a client that has not presented itself. Nothing of it counts as work, and all together have little
    /// time: who does not know the secret must not keep those out who do.
    async fn greet(&mut self, patience: Instant) -> Result<(), Farewell> {
        let lost = self.place.lost();
        tokio::select! {
            served = timeout_at(patience, self.request(patience)) => {
                served.unwrap_or(Err(Farewell::Because("it did not present itself in time")))
            }
            () = lost => Err(Farewell::Because(DISPLACED)),
        }
    }

    /// Waits for a request of a client that has presented itself, and serves it.
    async fn serve(&mut self) -> Result<(), Farewell> {
        tokio::select! {
            ready = self.objects.ready() => match ready {
                Ok(true) => {}
                Ok(false) | Err(_) => return Err(Farewell::Gone),
            },
            () = self.place.lost() => return Err(Farewell::Because(DISPLACED)),
            () = self.outbox.closed() => return Err(Farewell::Because("it does not read")),
        }
        let _busy = self.place.busy();
        self.request(Instant::now() + REQUEST).await
    }

    /// One request, from its header to its answer.
    async fn request(&mut self, deadline: Instant) -> Result<(), Farewell> {
        let RequestHeader { command, seq } = decode(&self.object(deadline).await?)?;
        let known = Command::parse(command.as_bytes());
        self.shared.local.tally.ipc_command();
        if !self.greeted && known != Some(Command::Handshake) {
            self.reply(seq, "Handshake required").await?;
            return Err(Farewell::Because("no handshake"));
        }
        let allowed = self.trusted || matches!(known, Some(Command::Handshake | Command::Auth));
        if !allowed {
            self.reply(seq, AUTHENTICATION_REQUIRED).await?;
        }
        let Some(command) = known else {
            if allowed {
                self.reply(seq, "Unsupported command").await?;
            }
            // Whether a body follows, nobody knows.
            return Err(Farewell::Because("unsupported command"));
        };
        let body = match command.has_request_body() {
            true => self.object(deadline).await?,
            false => Vec::new(),
        };
        // Upstream takes the body of a refused request for the next header (Q28).
        if allowed { self.dispatch(command, seq, &body).await } else { Ok(()) }
    }

    async fn dispatch(&mut self, command: Command, seq: u64, body: &[u8]) -> Result<(), Farewell> {
        match command {
            Command::Handshake => {
                let HandshakeRequest { version } = decode(body)?;
                let error = match version {
                    VERSION if !self.greeted => "",
                    VERSION => "Handshake already performed",
                    _ => "Unsupported IPC version",
                };
                self.greeted |= error.is_empty();
                self.place.set_known(self.is_known());
                self.reply(seq, error).await
            }
            Command::Auth => {
                let AuthRequest { key } = decode(body)?;
                let secret = self.shared.secret.as_deref().unwrap_or_default();
                let right = bool::from(key.as_bytes().ct_eq(secret.as_bytes()));
                self.trusted |= right;
                self.place.set_known(self.is_known());
                self.reply(seq, if right { "" } else { "Invalid authentication token" }).await
            }
            Command::Stream => self.stream(seq, decode(body)?).await,
            Command::Monitor => self.start_monitor(seq, decode(body)?).await,
            Command::Stop => {
                let StopRequest { seq: stopped } = decode(body)?;
                self.streams.remove(&stopped);
                self.monitor.take_if(|(seq, _)| *seq == stopped);
                self.reply(seq, "").await
            }
            Command::Leave => self.leave(seq).await,
            Command::Query => self.query(seq, decode(body)?).await,
            Command::Respond => {
                let answered = self.commands.respond(&self.asked, decode(body)?).await;
                self.reply(seq, answered.as_ref().map_or_else(String::as_str, |()| "")).await
            }
            other => {
                let (error, answer) = self.commands.run(other, body).await?;
                self.outbox.send(seq, &error, &answer).await
            }
        }
    }

    async fn stream(&mut self, seq: u64, request: StreamRequest) -> Result<(), Farewell> {
        if self.streams.contains_key(&seq) {
            return self.reply(seq, "Stream with given sequence exists").await;
        }
        let filter = core::str::from_utf8(request.filter.as_bytes()).ok().map(Filter::parse);
        let Some(Ok(filter)) = filter else { return self.reply(seq, "Invalid event filter").await };
        if self.streams.len() >= MAX_STREAMS {
            return self.reply(seq, "Too many streams").await;
        }
        let listener = self.shared.local.feed.listen("an RPC client", filter);
        self.reply(seq, "").await?;
        let task = Task::spawn(streams::events(
            listener,
            self.asked.clone(),
            seq,
            self.outbox.clone(),
            self.place.busy(),
        ));
        self.streams.insert(seq, task);
        Ok(())
    }

    async fn query(&mut self, seq: u64, request: QueryRequest) -> Result<(), Farewell> {
        while self.queries.try_join_next().is_some() {}
        if self.queries.len() >= MAX_QUERIES {
            return self.reply(seq, "Too many queries").await;
        }
        match self.commands.query(request).await {
            Ok(answers) => {
                self.reply(seq, "").await?;
                self.queries.spawn(streams::answers(answers, seq, self.outbox.clone(), self.place.busy()));
                Ok(())
            }
            Err(error) => self.reply(seq, &error).await,
        }
    }

    async fn start_monitor(&mut self, seq: u64, request: MonitorRequest) -> Result<(), Farewell> {
        // As upstream: the level is looked at first, and named in capitals.
        let name = request.level.to_string_lossy();
        let Some(level) = Level::parse(&name) else {
            let name: String = name.chars().take(32).collect();
            return self.reply(seq, &format!("Unknown log level: {}", name.to_uppercase())).await;
        };
        if self.monitor.is_some() {
            return self.reply(seq, "Monitor already exists").await;
        }
        self.reply(seq, "").await?;
        let lines = self.shared.journal.read();
        let task = Task::spawn(streams::log(lines, level, seq, self.outbox.clone(), self.place.busy()));
        self.monitor = Some((seq, task));
        Ok(())
    }

    async fn leave(&mut self, seq: u64) -> Result<(), Farewell> {
        let (done, how) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let asked = self.shared.leaving.send(Leave { done, told }).await;
        let left = match asked {
            Ok(()) => how.await.unwrap_or_else(|_| Err("the agent is ending".into())),
            Err(_) => Err("the agent is ending".into()),
        };
        self.reply(seq, left.as_ref().map_or_else(String::as_str, |()| "")).await?;
        Err(Farewell::Left(tell))
    }

    /// Answers without a body; an empty error says that all is well.
    async fn reply(&self, seq: u64, error: &str) -> Result<(), Farewell> {
        self.outbox.send(seq, error, &[]).await
    }

    async fn object(&mut self, deadline: Instant) -> Result<Vec<u8>, Farewell> {
        match timeout_at(deadline, self.objects.next()).await {
            Ok(Ok(Some(object))) => Ok(object),
            Ok(Ok(None)) => Err(Farewell::Gone),
            Ok(Err(error)) => Err(Farewell::Unreadable(error)),
            Err(_) => Err(Farewell::Because("it did not finish a request in time")),
        }
    }
}

/// Reads a body; one that cannot be read ends the session, as upstream does.
pub(super) fn decode<T: Value>(body: &[u8]) -> Result<T, Farewell> {
    T::decode(body).map_err(|error: DecodeError| Farewell::Unreadable(ReadError::Malformed(error)))
}

/// Why a session ends.
#[derive(Debug)]
pub(super) enum Farewell {
    /// The client closed the connection.
    Gone,
    /// The agent has left, on the client's word.
    Left(oneshot::Sender<()>),
    Unreadable(ReadError),
    Because(&'static str),
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone | Self::Left(_) => f.write_str("it has gone"),
            Self::Unreadable(error) => error.fmt(f),
            Self::Because(why) => f.write_str(why),
        }
    }
}

/// What is to be sent to the client. One message at a time waits for its turn: whoever has another one waits with it.
#[derive(Clone, Debug)]
pub(super) struct Outbox(mpsc::Sender<Vec<u8>>);

impl Outbox {
    fn new(mut output: OwnedWriteHalf) -> (Self, JoinHandle<()>) {
        let (sender, mut messages) = mpsc::channel::<Vec<u8>>(1);
        let writing = tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                // In pieces, each with a time of its own: a slow client may take long for a long answer.
                for piece in message.chunks(PIECE) {
                    if !matches!(timeout(WRITE, output.write_all(piece)).await, Ok(Ok(()))) {
                        return;
                    }
                }
            }
            let _ = timeout(WRITE, output.shutdown()).await;
        });
        (Self(sender), writing)
    }

    /// An answer; `body` is encoded.
    async fn send(&self, seq: u64, error: &str, body: &[u8]) -> Result<(), Farewell> {
        let mut message = Vec::with_capacity(body.len() + 64);
        Self::frame(&mut message, seq, error, body);
        let reads = self.framed(message).await;
        reads.then_some(()).ok_or(Farewell::Because("it does not read"))
    }

    /// A record of a stream; says whether somebody still reads.
    pub(super) async fn record(&self, seq: u64, record: &[u8]) -> bool {
        self.send(seq, "", record).await.is_ok()
    }

    /// Appends header and body to a message, so that nothing of another stream comes between them.
    pub(super) fn frame(message: &mut Vec<u8>, seq: u64, error: &str, body: &[u8]) {
        ResponseHeader { error: error.into(), seq }.write(message);
        message.extend(body);
    }

    /// Sends what [`Outbox::frame`] made; says whether somebody still reads.
    pub(super) async fn framed(&self, message: Vec<u8>) -> bool {
        self.0.send(message).await.is_ok()
    }

    /// Ends when nothing can be written any more.
    async fn closed(&self) {
        self.0.closed().await;
    }
}

const DISPLACED: &str = "it was idle for the longest when another one came";
/// Longest object of a client: the addresses of thousands of members.
const MAX_REQUEST: usize = 128 << 10;
/// Event streams of one client.
pub(super) const MAX_STREAMS: usize = 16;
/// Queries of one client that run at once.
const MAX_QUERIES: usize = 64;
/// Within this time a client must have presented itself.
pub(super) const GREETING: Duration = Duration::from_secs(10);
/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(30);
/// How long a piece may take to go out.
pub(super) const WRITE: Duration = Duration::from_secs(60);
const PIECE: usize = 64 << 10;

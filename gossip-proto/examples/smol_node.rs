//! A `Node` driven by hand inside of smol: another async runtime, and no driver crate in between.
//!
//! Two nodes meet on loopback, one fires an event, one dies and is missed. Ends with `smol ok`.
//!
//! ```text
//! cargo run -p gossip-proto --example smol_node
//! ```
use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Instant as Clock;

use gossip_proto::{
    ChangeKind, Completion, Config, Event, Instant, Machine, Node, NonceSecret, Seed, ServiceConfig, Source,
    StreamAction, StreamFailure, StreamId, TransmitFailure,
};
use smol::channel::{Receiver, Sender, bounded, unbounded};
use smol::future::{or, pending, race};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Task, Timer};

/// Inputs between two looks at what is to be sent, and how many such turns may come before a timer is served.
const BATCH: usize = 64;
const BATCHES: usize = 16;
/// A peer that does not read what it asked for is waited for no longer than this.
const LINGER: Duration = Duration::from_secs(5);

/// What the application wants of its node.
enum Command {
    Join(SocketAddr),
    Event(&'static [u8], &'static [u8]),
}

/// What the application hears of it.
#[derive(Debug, PartialEq)]
enum News {
    Member(String, ChangeKind),
    Event(Vec<u8>, Vec<u8>),
}

/// What the tasks of the streams tell the driver.
enum Input {
    Opened(StreamId),
    /// Bytes, and whether they are the last. The task reads on when the driver says so.
    Read(StreamId, Vec<u8>, bool),
    Failed(StreamId, StreamFailure),
}

/// A stream as the driver sees it. Its task ends when the driver drops this, unless it was let go.
struct Stream {
    task: Task<()>,
    write: Sender<Vec<u8>>,
    read_on: Sender<()>,
    /// Read, but not taken by the machine yet.
    unread: Option<(Vec<u8>, bool)>,
}

struct Driver {
    node: Node,
    udp: Async<UdpSocket>,
    tcp: Async<TcpListener>,
    commands: Receiver<Command>,
    news: Sender<News>,
    streams: BTreeMap<StreamId, Stream>,
    inputs: Receiver<Input>,
    tasks: Sender<Input>,
    origin: Clock,
    datagram: Vec<u8>,
    /// The socket takes no datagram now.
    full: bool,
    batches: usize,
}

/// What the driver woke up for.
enum Woken {
    Datagrams,
    Room,
    Accepted(std::io::Result<(Async<TcpStream>, SocketAddr)>),
    Input(Input),
    Command(Command),
    Due,
}

impl Driver {
    fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    async fn run(mut self) -> std::io::Result<()> {
        loop {
            let woken = self.wait().await?;
            let now = self.now();
            match woken {
                Woken::Accepted(Ok((socket, from))) => {
                    // A refused stream is closed by being dropped.
                    if let Ok(id) = self.node.accept_stream(now, Source::unauthenticated(from)) {
                        self.carry(id, async move { Ok(socket) });
                    }
                }
                // Too many open files, most likely: that passes, and must not be asked for without end meanwhile.
                Woken::Accepted(Err(_)) => {
                    Timer::after(Duration::from_millis(10)).await;
                }
                Woken::Input(input) => self.hear(input),
                Woken::Command(Command::Join(addr)) => {
                    self.node.join(now, &[addr.into()]).map_err(std::io::Error::other)?;
                }
                Woken::Command(Command::Event(name, payload)) => {
                    self.node.user_event(now, name, payload, false).map_err(std::io::Error::other)?;
                }
                Woken::Room => self.full = false,
                Woken::Datagrams | Woken::Due => {}
            }
            // Drain before judge: what has arrived is handed over before a timer may say that it has not.
            let more = self.receive_datagrams()?;
            while let Ok(input) = self.inputs.try_recv() {
                self.hear(input);
            }
            let now = self.now();
            if self.node.poll_timeout().is_some_and(|due| due <= now) {
                self.batches += 1;
                if !more || self.batches >= BATCHES {
                    self.node.handle_timeout(now);
                    self.batches = 0;
                }
            }
            self.send_datagrams();
            self.serve_streams();
            self.offer_unread();
            self.tell()?;
        }
    }

    /// Sleeps until something happens. All of these can be dropped while they wait, and lose nothing.
    async fn wait(&mut self) -> std::io::Result<Woken> {
        let full = self.full;
        let may_accept = self.node.may_accept_stream();
        let now = self.now();
        let sleep = self.node.poll_timeout().map(|due| due.saturating_duration_since(now));
        // The node itself must stay out of what waits: it can go from thread to thread, but not be shared among them.
        let Self { udp, tcp, inputs, commands, .. } = self;
        let datagrams = async { udp.readable().await.map(|()| Woken::Datagrams) };
        let room = async { if full { udp.writable().await.map(|()| Woken::Room) } else { pending().await } };
        let accepted =
            async { if may_accept { Ok(Woken::Accepted(tcp.accept().await)) } else { pending().await } };
        let input = async {
            match inputs.recv().await {
                Ok(input) => Ok(Woken::Input(input)),
                Err(_) => pending().await,
            }
        };
        let command = async {
            match commands.recv().await {
                Ok(command) => Ok(Woken::Command(command)),
                Err(_) => pending().await,
            }
        };
        let due = async {
            match sleep {
                Some(sleep) => Timer::after(sleep).await,
                None => pending().await,
            };
            Ok(Woken::Due)
        };
        // A race, because an order would let a flood of datagrams keep out all others.
        race(datagrams, race(room, race(accepted, race(input, race(command, due))))).await
    }

    /// Takes what is there, at most a batch; says whether there may be more.
    fn receive_datagrams(&mut self) -> std::io::Result<bool> {
        for _ in 0..BATCH {
            let now = self.now();
            match self.udp.get_ref().recv_from(&mut self.datagram) {
                Ok((len, from)) => {
                    let source = Source::unauthenticated(from);
                    // An error means that the datagram was dropped and counted.
                    let _ = self.node.handle_datagram(now, source, &mut self.datagram[..len]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                // Neither a signal nor an ICMP message about a peer that is gone is a reason to stop.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn send_datagrams(&mut self) {
        let now = self.now();
        let mut buffer = vec![0; self.node.config().datagram_size()];
        while !self.full {
            let Some(transmit) = self.node.poll_transmit(now, &mut buffer) else { return };
            match self.udp.get_ref().send_to(&buffer[..transmit.len], transmit.to) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.node.handle_transmit_failed(now, transmit.id, TransmitFailure::Local);
                    self.full = true;
                }
                Err(_) => self.node.handle_transmit_failed(now, transmit.id, TransmitFailure::Unreachable),
            }
        }
    }

    fn serve_streams(&mut self) {
        let now = self.now();
        while let Some(action) = self.node.poll_stream() {
            match action {
                StreamAction::Open { id, to, deadline, .. } => {
                    let patience = deadline.saturating_duration_since(now);
                    let connect = Async::<TcpStream>::connect(to);
                    let late = async move {
                        Timer::after(patience).await;
                        Err(ErrorKind::TimedOut.into())
                    };
                    self.carry(id, or(connect, late));
                }
                StreamAction::Writable { id } => {
                    let mut buffer = [0; 16 * 1024];
                    loop {
                        let written = self.node.poll_stream_data(now, id, &mut buffer);
                        let Some(stream) = self.streams.get(&id).filter(|_| written.len > 0) else { break };
                        // If its task has ended, that it failed is among the inputs.
                        let _ = stream.write.try_send(buffer[..written.len].to_vec());
                    }
                }
                StreamAction::Close { id } => {
                    // Without its sender the task writes what it still has, and ends.
                    if let Some(stream) = self.streams.remove(&id) {
                        stream.task.detach();
                    }
                }
            }
        }
    }

    /// A task for a stream: connects, then moves bytes both ways.
    fn carry(
        &mut self,
        id: StreamId,
        connect: impl Future<Output = std::io::Result<Async<TcpStream>>> + Send + 'static,
    ) {
        let (write, to_write) = unbounded::<Vec<u8>>();
        let (read_on, may_read) = bounded(1);
        let tell = self.tasks.clone();
        let task = smol::spawn(async move {
            // The driver is gone only if the program ends.
            let failed = async |why| {
                let _ = tell.send(Input::Failed(id, why)).await;
            };
            let Ok(socket) = connect.await else { return failed(StreamFailure::Unreachable).await };
            let _ = tell.send(Input::Opened(id)).await;
            let (mut reader, mut writer) = (&socket, &socket);
            let read = async {
                let mut buffer = vec![0; 16 * 1024];
                loop {
                    let len = reader.read(&mut buffer).await?;
                    let _ = tell.send(Input::Read(id, buffer[..len].to_vec(), len == 0)).await;
                    if len == 0 || may_read.recv().await.is_err() {
                        // The other direction goes on until the driver closes the stream.
                        return pending::<std::io::Result<()>>().await;
                    }
                }
            };
            let write = async {
                while let Ok(bytes) = to_write.recv().await {
                    writer.write_all(&bytes).await?;
                }
                Ok(())
            };
            if or(write, read).await.is_err() {
                return failed(StreamFailure::Reset).await;
            }
            // Closed. What the peer still sends is read, since unread bytes would turn the end into a reset, and that would
            // take with it what was written.
            let _ = socket.get_ref().shutdown(Shutdown::Write);
            let rest = async {
                let mut buffer = [0; 4096];
                while (&socket).read(&mut buffer).await.is_ok_and(|len| len > 0) {}
            };
            let late = async {
                Timer::after(LINGER).await;
            };
            or(rest, late).await;
        });
        self.streams.insert(id, Stream { task, write, read_on, unread: None });
    }

    fn hear(&mut self, input: Input) {
        let now = self.now();
        match input {
            // The machine may have given a stream up meanwhile; then it is not there any more.
            Input::Opened(id) if self.streams.contains_key(&id) => self.node.handle_stream_opened(now, id),
            Input::Failed(id, why) if self.streams.contains_key(&id) => {
                self.node.handle_stream_failed(now, id, why);
            }
            Input::Read(id, bytes, fin) => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.unread = Some((bytes, fin));
                }
            }
            Input::Opened(_) | Input::Failed(..) => {}
        }
    }

    /// Hands over what was read. What the machine has no memory for stays, and its task reads no more.
    fn offer_unread(&mut self) {
        let now = self.now();
        for (id, stream) in &mut self.streams {
            let Some((bytes, fin)) = &mut stream.unread else { continue };
            // After an error the machine wants to answer, then close.
            let taken = self.node.handle_stream_data(now, *id, bytes, *fin).unwrap_or(bytes.len());
            bytes.drain(..taken);
            if bytes.is_empty() {
                stream.unread = None;
                let _ = stream.read_on.try_send(());
            }
        }
    }

    fn tell(&mut self) -> std::io::Result<()> {
        while let Some(change) = self.node.poll_membership() {
            if let Some(member) = self.node.member(change.key) {
                let _ = self.news.try_send(News::Member(member.name.to_string(), change.kind));
            }
        }
        while let Some(completion) = self.node.poll_completion() {
            if let Completion::NameLost { .. } = completion {
                return Err(std::io::Error::other("the name is another node's"));
            }
        }
        while let Some(event) = self.node.poll_event() {
            if let Event::UserEvent { name, payload, .. } = event {
                let _ = self.news.try_send(News::Event(name.to_vec(), payload.to_vec()));
            }
        }
        Ok(())
    }
}

/// A node that runs, for as long as this is held.
struct Handle {
    addr: SocketAddr,
    commands: Sender<Command>,
    news: Receiver<News>,
    _task: Task<std::io::Result<()>>,
}

impl Handle {
    fn start(name: &str) -> Result<Self, Box<dyn Error>> {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let addr = udp.local_addr()?;
        let tcp = TcpListener::bind(addr)?;
        let node = Node::new(
            Instant::ORIGIN,
            Config::local(name, addr),
            ServiceConfig::default(),
            Seed::new(entropy()?),
            NonceSecret::new(entropy()?),
        )?;
        let ((orders, commands), (tell, news)) = (unbounded(), unbounded());
        let (tasks, inputs) = bounded(BATCH);
        let driver = Driver {
            node,
            udp: Async::new(udp)?,
            tcp: Async::new(tcp)?,
            commands,
            news: tell,
            streams: BTreeMap::new(),
            inputs,
            tasks,
            origin: Clock::now(),
            datagram: vec![0; 65_536],
            full: false,
            batches: 0,
        };
        Ok(Self { addr, commands: orders, news, _task: smol::spawn(driver.run()) })
    }

    /// Waits until the node says that.
    async fn hears(&self, wanted: News) -> Result<(), Box<dyn Error>> {
        let heard = async {
            loop {
                let news = self.news.recv().await?;
                println!("{news:?}");
                if news == wanted {
                    return Ok(());
                }
            }
        };
        let late = async {
            Timer::after(Duration::from_secs(60)).await;
            Err("nothing of that kind was heard for a minute".into())
        };
        or(heard, late).await
    }
}

fn entropy() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    smol::block_on(async {
        let (alder, birch) = (Handle::start("alder")?, Handle::start("birch")?);
        birch.commands.send(Command::Join(alder.addr)).await?;
        alder.hears(News::Member("birch".into(), ChangeKind::Joined)).await?;
        birch.commands.send(Command::Event(b"deploy", b"42")).await?;
        alder.hears(News::Event(b"deploy".into(), b"42".into())).await?;
        // No good-bye: its sockets are closed, and nobody answers there any more.
        drop(birch);
        alder.hears(News::Member("birch".into(), ChangeKind::Failed)).await?;
        println!("smol ok");
        Ok(())
    })
}

//! A node on nothing but the standard library: the shortest driver that keeps all the rules.
//!
//! ```text
//! cargo run -p gossip-proto --example minimal_driver -- one 127.0.0.1:7951
//! cargo run -p gossip-proto --example minimal_driver -- two 127.0.0.1:7952 127.0.0.1:7951
//! ```
use core::error::Error;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant as Clock;

use gossip_proto::{
    Completion, Config, Instant, Machine, Node, NonceSecret, Seed, ServiceConfig, Source, StreamAction,
    StreamFailure, StreamId, TransmitFailure,
};

/// Streams are looked at this often; a driver with an event loop of its own waits for all sockets at once instead.
const TICK: Duration = Duration::from_millis(5);
/// A peer that does not read what it asked for is waited for no longer than this.
const LINGER: Duration = Duration::from_secs(5);
/// Datagrams between two looks at what is to be sent, and how many such batches may come before a timer is served.
const BATCH: usize = 64;
const BATCHES: usize = 16;

/// A TCP connection and what it could not get rid of yet, in either direction.
struct Connection {
    socket: TcpStream,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    peer_done: bool,
    /// When the machine wanted it closed; what is unsent has a while left to go.
    closing: Option<Clock>,
}

struct Driver {
    machine: Node,
    udp: UdpSocket,
    tcp: TcpListener,
    connections: BTreeMap<StreamId, Connection>,
    /// Streams on the way, unless the machine has given them up meanwhile.
    opening: BTreeSet<StreamId>,
    opened: Receiver<(StreamId, Option<TcpStream>)>,
    opener: Sender<(StreamId, Option<TcpStream>)>,
    origin: Clock,
    datagram: Vec<u8>,
    batches: usize,
}

impl Driver {
    fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    fn run(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            let more = self.receive_datagrams()?;
            self.receive_streams();
            let now = self.now();
            if self.machine.poll_timeout().is_some_and(|due| due <= now) {
                // Drain before judge: what has arrived is handed over before a timer may say that it has not; but a
                // flood does not stop the clock.
                self.batches += 1;
                if !more || self.batches >= BATCHES {
                    self.machine.handle_timeout(now);
                    self.batches = 0;
                }
            }
            self.send_datagrams();
            self.serve_streams();
            while let Some(change) = self.machine.poll_membership() {
                if let Some(member) = self.machine.member(change.key) {
                    println!("{} {:?}: {:?}", member.name, change.kind, change.cause);
                }
            }
            while let Some(completion) = self.machine.poll_completion() {
                println!("{completion:?}");
                if let Completion::NameLost { .. } = completion {
                    return Err("the name is another node's".into());
                }
            }
            while let Some(event) = self.machine.poll_event() {
                println!("{event:?}");
            }
        }
    }

    /// Sleeps until a datagram comes or something is due, then takes what is there: a batch, so that answers are not
    /// held up by a flood. Whether there may be more.
    fn receive_datagrams(&mut self) -> Result<bool, Box<dyn Error>> {
        let now = self.now();
        let due = self.machine.poll_timeout().unwrap_or(Instant::MAX).saturating_duration_since(now);
        self.udp.set_nonblocking(due.is_zero())?;
        self.udp.set_read_timeout(Some(due.clamp(Duration::from_millis(1), TICK)))?;
        for _ in 0..BATCH {
            match self.udp.recv_from(&mut self.datagram) {
                Ok((len, from)) => {
                    let now = self.now();
                    // An error means that the datagram was dropped and counted.
                    let _ = self.machine.handle_datagram(
                        now,
                        Source::unauthenticated(from),
                        &mut self.datagram[..len],
                    );
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(false);
                }
                // Neither a signal nor an ICMP message about a peer that is gone is a reason to stop.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error.into()),
            }
            self.udp.set_nonblocking(true)?;
        }
        Ok(true)
    }

    fn receive_streams(&mut self) {
        let now = self.now();
        // While there is no room for more they wait in the listen queue.
        while self.machine.may_accept_stream()
            && let Ok((socket, from)) = self.tcp.accept()
        {
            // Refused streams are closed by being dropped.
            if let Ok(id) = self.machine.accept_stream(now, Source::unauthenticated(from)) {
                self.connections.insert(id, Connection::new(socket));
            }
        }
        while let Ok((id, socket)) = self.opened.try_recv() {
            if !self.opening.remove(&id) {
                continue;
            }
            match socket {
                Some(socket) => {
                    self.connections.insert(id, Connection::new(socket));
                    self.machine.handle_stream_opened(now, id);
                }
                None => self.machine.handle_stream_failed(now, id, StreamFailure::Unreachable),
            }
        }
        let mut buffer = [0; 16 * 1024];
        for (id, connection) in &mut self.connections {
            // What the machine had no memory for is offered again before more is read.
            if connection.unread.is_empty() && !connection.peer_done {
                match connection.socket.read(&mut buffer) {
                    Ok(0) => connection.peer_done = true,
                    Ok(len) => connection.unread.extend_from_slice(&buffer[..len]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(_) => {
                        self.machine.handle_stream_failed(now, *id, StreamFailure::Reset);
                        continue;
                    }
                }
            } else if connection.unread.is_empty() {
                continue;
            }
            // After an error the machine wants to answer, then close.
            let taken = self.machine.handle_stream_data(now, *id, &connection.unread, connection.peer_done);
            connection.unread.drain(..taken.unwrap_or(connection.unread.len()));
        }
    }

    fn send_datagrams(&mut self) {
        let now = self.now();
        let mut buffer = vec![0; self.machine.config().datagram_size()];
        while let Some(transmit) = self.machine.poll_transmit(now, &mut buffer) {
            match self.udp.send_to(&buffer[..transmit.len], transmit.to) {
                Ok(_) => {}
                // The socket is full: what is still to be sent is composed when there is room, and newer then.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.machine.handle_transmit_failed(now, transmit.id, TransmitFailure::Local);
                    break;
                }
                Err(_) => self.machine.handle_transmit_failed(now, transmit.id, TransmitFailure::Unreachable),
            }
        }
    }

    fn serve_streams(&mut self) {
        let now = self.now();
        while let Some(action) = self.machine.poll_stream() {
            match action {
                StreamAction::Open { id, to, deadline, .. } => {
                    self.opening.insert(id);
                    let (opener, patience) = (self.opener.clone(), deadline.saturating_duration_since(now));
                    // Connecting blocks, and nothing may hold up the node.
                    thread::spawn(move || opener.send((id, TcpStream::connect_timeout(&to, patience).ok())));
                }
                StreamAction::Writable { id } => {
                    let mut buffer = [0; 16 * 1024];
                    loop {
                        let written = self.machine.poll_stream_data(now, id, &mut buffer);
                        let Some(connection) = self.connections.get_mut(&id).filter(|_| written.len > 0)
                        else {
                            break;
                        };
                        connection.unsent.extend_from_slice(&buffer[..written.len]);
                    }
                }
                StreamAction::Close { id } => {
                    self.opening.remove(&id);
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.closing = Some(Clock::now());
                    }
                }
            }
        }
        self.connections.retain(|id, connection| {
            let sent = match connection.socket.write(&connection.unsent) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) if connection.closing.is_some() => return false,
                Err(_) => {
                    self.machine.handle_stream_failed(now, *id, StreamFailure::Reset);
                    return false;
                }
            };
            connection.unsent.drain(..sent);
            connection.closing.is_none_or(|since| !connection.unsent.is_empty() && since.elapsed() < LINGER)
        });
    }
}

impl Connection {
    fn new(socket: TcpStream) -> Self {
        // A socket that can block would stop the node; if this fails, so will the first read.
        let _ = socket.set_nonblocking(true);
        Self { socket, unsent: Vec::new(), unread: Vec::new(), peer_done: false, closing: None }
    }
}

fn entropy() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, bind, join @ ..] = arguments.as_slice() else {
        return Err("usage: minimal_driver NAME ADDRESS [ADDRESS OF A MEMBER]...".into());
    };
    let bind: SocketAddr = bind.parse()?;
    let mut machine = Node::new(
        Instant::ORIGIN,
        Config::lan(name.as_str(), bind),
        ServiceConfig::default(),
        Seed::new(entropy()?),
        NonceSecret::new(entropy()?),
    )?;
    let (tcp, udp) = (TcpListener::bind(bind)?, UdpSocket::bind(bind)?);
    tcp.set_nonblocking(true)?;
    if !join.is_empty() {
        let targets: Result<Vec<_>, _> =
            join.iter().map(|target| target.parse::<SocketAddr>().map(Into::into)).collect();
        machine.join(Instant::ORIGIN, &targets?)?;
    }
    let (opener, opened) = channel();
    let (connections, opening) = (BTreeMap::new(), BTreeSet::new());
    let (origin, datagram) = (Clock::now(), vec![0; 65_536]);
    Driver { machine, udp, tcp, connections, opening, opened, opener, origin, datagram, batches: 0 }.run()
}

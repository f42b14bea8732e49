//! A transport without a network. Of a single node, datagrams go in where the harness hands them over, and are counted where they
//! come out; nodes that are connected hand them to each other.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock, Weak};

use agnostic_lite::tokio::TokioRuntime;
use gossip_bench::peers::cluster::LATENCY;
use gossip_bench::peers::measure::Sent;
use gossip_bench::peers::work::{address, name, number};
use memberlist_core::proto::{Ack, Data, Message, MessagesDecoder, Payload, ProtoEncoder};
use memberlist_core::transport::resolver::socket_addr::SocketAddrResolver;
use memberlist_core::transport::{
    Packet, PacketProducer, PacketSubscriber, StreamProducer, StreamSubscriber, Transport, TransportError,
    packet_stream, promised_stream,
};
use tokio::time::{Instant, sleep, timeout_at};

use crate::stream::{self, Stream};

pub type Id = smol_str::SmolStr;
pub type Addr = SocketAddr;

/// Datagrams that wait for their node; more are lost, as in a socket's buffer.
const BUFFERED: usize = 256;

/// A datagram of these messages.
pub fn encoded(messages: Vec<Message<Id, Addr>>) -> Vec<u8> {
    let encoder = ProtoEncoder::<Id, Addr, _>::new(1400).with_messages(messages);
    let mut payloads = encoder.encode();
    let payload = payloads.next().expect("one at least").expect("it can be encoded");
    assert!(payloads.next().is_none(), "all fit into one datagram");
    payload.as_slice().to_vec()
}

/// Shows each message of a datagram.
pub fn inspected(bytes: &[u8], mut look: impl FnMut(Message<Id, Addr>)) {
    let decoder = MessagesDecoder::<Id, Addr, _>::new(bytes).expect("what it sent");
    for message in decoder.iter() {
        look(Message::from_ref(message.expect("a message")).expect("a message"));
    }
}

/// Both ends of the transport, and what was seen there.
pub struct Ends {
    packets: (PacketProducer<Addr, Instant>, PacketSubscriber<Addr, Instant>),
    streams: (StreamProducer<Addr, Stream>, StreamSubscriber<Addr, Stream>),
    id: Id,
    address: Addr,
    /// By their numbers, those it is connected with, itself included.
    all: OnceLock<Arc<[Weak<Self>]>>,
    datagrams: AtomicU64,
    bytes: AtomicU64,
    /// How many user messages were delivered.
    pub applied: AtomicU64,
    /// Whether its pings are answered.
    pub answers: AtomicBool,
    /// How many were.
    pub answered: AtomicU64,
}

impl Ends {
    /// Of the node of that number, alone with the harness.
    pub fn of(number: usize) -> Arc<Self> {
        Arc::new(Self {
            packets: packet_stream::<Memory>(BUFFERED),
            streams: promised_stream::<Memory>(),
            id: name(number).into(),
            address: address(number).into(),
            all: OnceLock::new(),
            datagrams: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            answers: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        })
    }

    /// Of so many nodes that can reach each other.
    pub fn connected(nodes: usize) -> Vec<Arc<Self>> {
        let ends: Vec<_> = (0..nodes).map(Self::of).collect();
        let all: Arc<[_]> = ends.iter().map(Arc::downgrade).collect();
        for one in &ends {
            one.all.set(all.clone()).expect("once");
        }
        ends
    }

    /// Whoever is at that address, if it is connected.
    fn other(&self, at: &Addr) -> Option<Arc<Self>> {
        let SocketAddr::V4(at) = at else { return None };
        self.all.get()?.get(number(*at))?.upgrade()
    }

    /// Hands a datagram over.
    pub fn packet(&self, from: Addr, bytes: Vec<u8>) {
        let packet = Packet::new(from, Instant::now(), bytes.into());
        self.packets.0.try_send(packet).expect("it is read");
    }

    /// Opens a stream to it; the other end is the harness's.
    pub fn stream(&self, from: Addr) -> Stream {
        let (ours, theirs) = stream::ends();
        self.streams.0.try_send(from, theirs).expect("it is read");
        ours
    }

    /// Counts what was worked off: user messages, and datagrams sent.
    pub fn done(&self) -> u64 {
        self.applied.load(Relaxed) + self.datagrams.load(Relaxed)
    }

    /// All that was sent up to now.
    pub fn sent(&self) -> Sent {
        let load = |counter: &AtomicU64| counter.load(Relaxed) as usize;
        Sent { datagrams: load(&self.datagrams), bytes: load(&self.bytes) }
    }

    /// What was sent since.
    pub fn since(&self, before: Sent) -> Sent {
        let now = self.sent();
        Sent { datagrams: now.datagrams - before.datagrams, bytes: now.bytes - before.bytes }
    }
}

/// The node's side of it.
pub struct Memory(Arc<Ends>);

impl Transport for Memory {
    type Error = Broken;
    type Id = Id;
    type Address = Addr;
    type ResolvedAddress = Addr;
    type Resolver = SocketAddrResolver<TokioRuntime>;
    type Connection = Stream;
    type Runtime = TokioRuntime;
    type Options = Arc<Ends>;

    async fn new(ends: Arc<Ends>) -> Result<Self, Broken> {
        Ok(Self(ends))
    }

    async fn resolve(&self, address: &Addr) -> Result<Addr, Broken> {
        Ok(*address)
    }

    fn local_id(&self) -> &Id {
        &self.0.id
    }

    fn local_address(&self) -> &Addr {
        &self.0.address
    }

    fn advertise_address(&self) -> &Addr {
        &self.0.address
    }

    fn max_packet_size(&self) -> usize {
        1400
    }

    fn header_overhead(&self) -> usize {
        0
    }

    fn blocked_address(&self, _: &Addr) -> Result<(), Broken> {
        Ok(())
    }

    async fn send_to(&self, to: &Addr, packet: Payload) -> Result<(usize, Instant), Broken> {
        let bytes = packet.as_slice();
        self.0.datagrams.fetch_add(1, Relaxed);
        self.0.bytes.fetch_add(bytes.len() as u64, Relaxed);
        if let Some(other) = self.0.other(to) {
            let (from, bytes) = (self.0.address, bytes.to_vec());
            tokio::spawn(async move {
                sleep(LATENCY).await;
                let _ = other.packets.0.try_send(Packet::new(from, Instant::now(), bytes.into()));
            });
        }
        if self.0.answers.load(Relaxed) {
            inspected(bytes, |message| {
                if let Message::Ping(ping) = message {
                    self.0.answered.fetch_add(1, Relaxed);
                    let ack = Message::Ack(Ack::new(ping.sequence_number()));
                    self.0.packet(*to, encoded(vec![ack]));
                }
            });
        }
        Ok((bytes.len(), Instant::now()))
    }

    async fn open(&self, to: &Addr, deadline: Instant) -> Result<Stream, Broken> {
        let Some(other) = self.0.other(to) else {
            return Err(TransportError::custom(format!("nobody is at {to}").into()));
        };
        sleep(LATENCY).await;
        let (ours, theirs) = stream::ends();
        match timeout_at(deadline, other.streams.0.send(self.0.address, theirs)).await {
            Ok(Ok(())) => Ok(ours),
            _ => Err(TransportError::custom(format!("{to} does not accept").into())),
        }
    }

    fn packet(&self) -> PacketSubscriber<Addr, Instant> {
        self.0.packets.1.clone()
    }

    fn stream(&self) -> StreamSubscriber<Addr, Stream> {
        self.0.streams.1.clone()
    }

    fn packet_reliable(&self) -> bool {
        false
    }

    fn packet_secure(&self) -> bool {
        false
    }

    fn stream_secure(&self) -> bool {
        false
    }

    async fn shutdown(&self) -> Result<(), Broken> {
        Ok(())
    }
}

/// What does not work here.
#[derive(Debug)]
pub struct Broken(Cow<'static, str>);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string().into())
    }
}

impl From<Infallible> for Broken {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl TransportError for Broken {
    fn is_remote_failure(&self) -> bool {
        true
    }

    fn custom(error: Cow<'static, str>) -> Self {
        Self(error)
    }
}

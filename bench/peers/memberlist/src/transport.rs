//! A transport without a network: datagrams go in where the harness hands them over, and are counted where they come out.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use agnostic_lite::tokio::TokioRuntime;
use gossip_bench::peers::measure::Sent;
use gossip_bench::peers::work::{address, name};
use memberlist_core::proto::{
    Ack, Data, Message, MessagesDecoder, Payload, ProtoEncoder, ProtoReader, ProtoWriter,
};
use memberlist_core::transport::resolver::socket_addr::SocketAddrResolver;
use memberlist_core::transport::{
    Connection, Packet, PacketProducer, PacketSubscriber, StreamProducer, StreamSubscriber, Transport,
    TransportError, packet_stream, promised_stream,
};
use tokio::time::Instant;

pub type Id = smol_str::SmolStr;
pub type Addr = SocketAddr;

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
    datagrams: AtomicU64,
    bytes: AtomicU64,
    /// How many user messages were delivered.
    pub applied: AtomicU64,
    /// Whether its pings are answered.
    pub answers: AtomicBool,
    /// How many were.
    pub answered: AtomicU64,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            packets: packet_stream::<Memory>(64),
            streams: promised_stream::<Memory>(),
            id: name(0).into(),
            address: address(0).into(),
            datagrams: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            answers: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        }
    }
}

impl Ends {
    /// Hands a datagram over.
    pub fn packet(&self, from: Addr, bytes: Vec<u8>) {
        let packet = Packet::new(from, Instant::now(), bytes.into());
        self.packets.0.try_send(packet).expect("it is read");
    }

    /// Hands over a stream on which this was sent. What it replies will be there.
    pub fn stream(&self, from: Addr, bytes: Vec<u8>) -> Arc<Mutex<Vec<u8>>> {
        let reply = Arc::<Mutex<Vec<u8>>>::default();
        let stream = Stream(Request { bytes, read: 0 }, Reply(reply.clone()));
        self.streams.0.try_send(from, stream).expect("it is read");
        reply
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

    async fn open(&self, to: &Addr, _: Instant) -> Result<Stream, Broken> {
        Err(TransportError::custom(format!("no streams to {to}").into()))
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

/// A stream on which all has been sent already.
pub struct Stream(Request, Reply);

/// What was sent.
pub struct Request {
    bytes: Vec<u8>,
    read: usize,
}

/// What is replied.
pub struct Reply(Arc<Mutex<Vec<u8>>>);

impl ProtoReader for Request {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.peek(buf).await?;
        self.read += read;
        Ok(read)
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.peek_exact(buf).await?;
        self.read += buf.len();
        Ok(())
    }

    async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.read..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    async fn peek_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let whole = self.peek(buf).await? == buf.len();
        if whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl ProtoWriter for Reply {
    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn write_all(&mut self, payload: &[u8]) -> io::Result<()> {
        self.0.lock().expect("one thread").extend_from_slice(payload);
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection for Stream {
    type Reader = Request;
    type Writer = Reply;

    fn split(self) -> (Request, Reply) {
        (self.0, self.1)
    }

    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(buf).await
    }

    async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buf).await
    }

    async fn peek_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.0.peek_exact(buf).await
    }

    async fn write_all(&mut self, payload: &[u8]) -> io::Result<()> {
        self.1.write_all(payload).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.1.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.1.close().await
    }
}

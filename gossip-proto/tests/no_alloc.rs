//! The packet path allocates nothing once warm, however many members there are.
//!
//! A node is fed a mix of everything that arrives in datagrams, its own timers run, its probes are answered, and all its
//! outputs are polled; allocations are counted by the allocator itself.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use core::time::Duration;
use std::alloc::System;

use gossip_proto::coordinate::{Coordinate, Vivaldi};
use gossip_proto::wire::compound::Packer;
use gossip_proto::wire::field::{List, Raw};
use gossip_proto::wire::keyring::{Key, Keyring, Nonces};
use gossip_proto::wire::layers::Layers;
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::{Accusation, Ack, Alive, IndirectPing, MessageType, Ping};
use gossip_proto::wire::msgpack::{Full, Sink, SliceSink};
use gossip_proto::wire::packet::{self, Envelope, Scratch, UnpackLimits};
use gossip_proto::wire::serf::{
    Filter, JoinIntent, PingPayload, Query, QueryResponse, SerfType, TagFilter, UserEvent,
};
use gossip_proto::{Config, Instant, Machine, Node, NonceSecret, Seed, ServiceConfig, Source};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VERSIONS: &[u8] = &[1, 5, 2, 2, 5, 5];

/// Everybody else in the cluster.
struct Peers {
    names: Vec<String>,
    incarnations: Vec<u32>,
    layers: Layers,
    nonces: Nonces,
    deflater: Deflater,
    scratch: Option<Scratch>,
    ltime: u64,
    turn: usize,
    coordinate: Coordinate,
}

fn ip(i: usize) -> [u8; 4] {
    (0x0a00_0000 + i as u32 + 1).to_be_bytes()
}

fn addr(i: usize) -> SocketAddr {
    (ip(i), 7946).into()
}

impl Peers {
    fn new(n: usize, keyring: Option<Keyring>) -> Self {
        Self {
            names: (0..n).map(|i| format!("member-{i:05}")).collect(),
            incarnations: vec![1; n],
            layers: Layers { keyring, ..Layers::default() },
            nonces: Nonces::new([7; 32]),
            deflater: Deflater::new(),
            scratch: Some(Scratch::new()),
            ltime: 1,
            turn: 0,
            coordinate: Vivaldi::default().coordinate().clone(),
        }
    }

    /// Another member each time, spread over all of them.
    fn next(&mut self) -> usize {
        self.turn = (self.turn + 7919) % self.names.len();
        self.turn
    }

    fn alive(&self, i: usize) -> Alive<'_> {
        Alive {
            incarnation: self.incarnations[i],
            node: self.names[i].as_bytes().into(),
            addr: (&IPS.with(|ips| ips.borrow()[i])[..]).into(),
            port: 7946,
            meta: (&[0xff, 0x80][..]).into(),
            vsn: VERSIONS.into(),
        }
    }

    /// A packet, in the layers of the cluster.
    fn packet(&mut self, buf: &mut [u8], fill: impl FnOnce(&Self, &mut Packer<'_>)) -> usize {
        let layers = core::mem::take(&mut self.layers);
        let mut envelope = Envelope::new(&layers, buf, 1400, false).unwrap();
        let mut packer = Packer::new(envelope.body());
        fill(self, &mut packer);
        let len = packer.finish();
        let len = envelope.finish(len, &mut self.nonces, &mut self.deflater).unwrap();
        self.layers = layers;
        len
    }
}

thread_local! {
    static IPS: RefCell<Vec<&'static [u8; 4]>> = const { RefCell::new(Vec::new()) };
}

fn put(packer: &mut Packer<'_>, kind: u8, encode: impl FnOnce(&mut SliceSink<'_>) -> Result<(), Full>) {
    let mut sink = SliceSink::new(packer.spare());
    sink.put(&[kind]).unwrap();
    encode(&mut sink).unwrap();
    let len = sink.len();
    packer.commit(len).unwrap();
}

fn deliver(node: &mut Node, now: Instant, from: usize, datagram: &mut [u8]) {
    node.handle_datagram(now, Source::unauthenticated(addr(from)), datagram).unwrap();
}

/// One of everything.
fn round(node: &mut Node, peers: &mut Peers, now: Instant) {
    let mut buf = [0; 1400];
    let name = *b"self";
    let from = peers.next();

    let len = peers.packet(&mut buf, |peers, packer| {
        let own = ip(from);
        let ping = Ping {
            seq: 77,
            node: (&name[..]).into(),
            source_addr: (&own[..]).into(),
            source_port: 7946,
            source_node: peers.names[from].as_bytes().into(),
        };
        put(packer, MessageType::Ping.byte(), |sink| ping.encode(sink));
        put(packer, MessageType::Ack.byte(), |sink| Ack { seq: 1, payload: (&[][..]).into() }.encode(sink));
        // Known: nothing new in any of them.
        for i in 0..8 {
            let i = (from + i) % peers.names.len();
            put(packer, MessageType::Alive.byte(), |sink| peers.alive(i).encode(sink));
        }
    });
    deliver(node, now, from, &mut buf[..len]);

    // News of one, an accusation against another that refutes, and a user event.
    let (news, accused) = (peers.next(), peers.next());
    peers.incarnations[news] += 1;
    peers.ltime += 1;
    let len = peers.packet(&mut buf, |peers, packer| {
        put(packer, MessageType::Alive.byte(), |sink| peers.alive(news).encode(sink));
        let accusation = Accusation {
            incarnation: peers.incarnations[accused],
            node: peers.names[accused].as_bytes().into(),
            from: peers.names[from].as_bytes().into(),
        };
        put(packer, MessageType::Suspect.byte(), |sink| accusation.encode(sink));
        let payload = peers.ltime.to_be_bytes();
        let event = UserEvent {
            ltime: peers.ltime,
            name: (&b"deploy"[..]).into(),
            payload: (&payload[..]).into(),
            coalesce: false,
        };
        put(packer, MessageType::User.byte(), |sink| {
            sink.put(&[SerfType::UserEvent.byte()])?;
            event.encode(sink)
        });
        let intent = JoinIntent { ltime: peers.ltime, node: peers.names[news].as_bytes().into() };
        put(packer, MessageType::User.byte(), |sink| {
            sink.put(&[SerfType::Join.byte()])?;
            intent.encode(sink)
        });
    });
    deliver(node, now, from, &mut buf[..len]);
    peers.incarnations[accused] += 1;
    let len = peers.packet(&mut buf, |peers, packer| {
        put(packer, MessageType::Alive.byte(), |sink| peers.alive(accused).encode(sink));
    });
    deliver(node, now, accused, &mut buf[..len]);

    // Queries for others, passed on: by name, and by a tag that this node has another value of. And what comes back of none.
    let mut filters = [[0; 64]; 2];
    let names: [std::borrow::Cow<'_, [u8]>; 2] = [b"somebody"[..].into(), b"else"[..].into()];
    let tag = TagFilter { tag: b"role"[..].into(), expr: b"^web"[..].into() };
    let of = [Filter::Nodes(List::Lent(&names)), Filter::Tag(tag)];
    let mut lens = [0; 2];
    for ((buf, len), filter) in filters.iter_mut().zip(&mut lens).zip(&of) {
        let mut sink = SliceSink::new(buf);
        filter.encode(&mut sink).unwrap();
        *len = sink.len();
    }
    let len = peers.packet(&mut buf, |peers, packer| {
        let own = ip(from);
        for (i, (filter, len)) in filters.iter().zip(lens).enumerate() {
            let filters = [Raw::from(&filter[..len])];
            let query = Query {
                ltime: peers.ltime,
                id: i as u32,
                addr: own[..].into(),
                port: 7946,
                source_node: peers.names[from].as_bytes().into(),
                filters: List::Lent(&filters),
                flags: Query::ACK,
                timeout: 1_000_000_000,
                name: b"load"[..].into(),
                ..Query::default()
            };
            put(packer, MessageType::User.byte(), |sink| {
                sink.put(&[SerfType::Query.byte()])?;
                query.encode(sink)
            });
        }
        let answer = QueryResponse { from: peers.names[from].as_bytes().into(), ..Default::default() };
        put(packer, MessageType::User.byte(), |sink| {
            sink.put(&[SerfType::QueryResponse.byte()])?;
            answer.encode(sink)
        });
    });
    deliver(node, now, from, &mut buf[..len]);

    // A probe on behalf of another.
    let target = peers.next();
    let len = peers.packet(&mut buf, |peers, packer| {
        let (own, addr) = (ip(from), ip(target));
        let request = IndirectPing {
            seq: 99,
            target: (&addr[..]).into(),
            port: 7946,
            node: peers.names[target].as_bytes().into(),
            nack: true,
            source_addr: (&own[..]).into(),
            source_port: 7946,
            source_node: peers.names[from].as_bytes().into(),
        };
        put(packer, MessageType::IndirectPing.byte(), |sink| request.encode(sink));
    });
    deliver(node, now, from, &mut buf[..len]);

    drain(node, peers, now);
    while node.poll_timeout().is_some_and(|at| at <= now) {
        node.handle_timeout(now);
        drain(node, peers, now);
    }
}

/// Polls everything; pings of the node are answered.
fn drain(node: &mut Node, peers: &mut Peers, now: Instant) {
    let mut buf = [0; 1400];
    let mut payload = [0; 130];
    let mut sink = SliceSink::new(&mut payload);
    PingPayload { coordinate: peers.coordinate.clone() }.encode(&mut sink).unwrap();
    while let Some(transmit) = node.poll_transmit(now, &mut buf) {
        let body = packet::open(&peers.layers, &mut buf[..transmit.len]).unwrap();
        let mut pinged = None;
        let mut scratch = peers.scratch.take().unwrap();
        packet::unpack(body, &mut scratch, &UnpackLimits::default(), &mut |message| {
            if message[0] == MessageType::Ping.byte() {
                pinged = Some(Ping::decode(&message[1..]).unwrap().0.seq);
            }
        });
        peers.scratch = Some(scratch);
        if let Some(seq) = pinged {
            let mut reply = [0; 1400];
            let len = peers.packet(&mut reply, |_, packer| {
                put(packer, MessageType::Ack.byte(), |sink| {
                    Ack { seq, payload: payload[..].into() }.encode(sink)
                });
            });
            node.handle_datagram(now, Source::unauthenticated(transmit.to), &mut reply[..len]).unwrap();
        }
    }
    while node.poll_stream().is_some() {}
    while node.poll_membership().is_some() {}
    while node.poll_completion().is_some() {}
    while node.poll_event().is_some() {}
}

fn run(members: usize, keyring: Option<Keyring>) -> u64 {
    IPS.with(|ips| {
        *ips.borrow_mut() = (0..members).map(|i| &*Box::leak(Box::new(ip(i)))).collect();
    });
    let mut config = Config::lan("self", "10.255.0.1:7946".parse().unwrap());
    // Exchanges are not packets; what they allocate is theirs.
    config.push_pull_interval(Duration::ZERO).keyring(keyring.clone());
    // More is queued here than goes out, so that a queue is warm once it is full.
    config.max_rumors(512);
    let mut now = Instant::ORIGIN;
    let nonces = NonceSecret::new([1; 32]);
    let mut services = ServiceConfig::default();
    services.tags(vec![("role".into(), "database".into())]);
    let mut node = Node::new(now, config, services, Seed::from_u64(1), nonces).unwrap();
    let mut peers = Peers::new(members, keyring);
    let mut buf = [0; 1400];
    for i in 0..members {
        let len = peers.packet(&mut buf, |peers, packer| {
            put(packer, MessageType::Alive.byte(), |sink| peers.alive(i).encode(sink));
        });
        deliver(&mut node, now, i, &mut buf[..len]);
        drain(&mut node, &mut peers, now);
    }
    assert_eq!(node.num_alive(), members + 1);

    let mut rounds = |n: u32| {
        let before = ALLOCATIONS.get();
        for _ in 0..n {
            now += Duration::from_millis(20);
            round(&mut node, &mut peers, now);
        }
        ALLOCATIONS.get() - before
    };
    rounds(20_000);
    let allocations = rounds(10_000);
    let stats = node.stats();
    assert!(stats.probes_succeeded > 100 && stats.coordinates_updated > 100, "{stats:?}");
    assert!(
        stats.user_events > 25_000 && stats.relays > 25_000 && stats.suspect_accepted > 25_000,
        "{stats:?}"
    );
    assert!(stats.queries > 50_000 && stats.query_answers_late > 25_000, "{stats:?}");
    assert_eq!((stats.query_filters_refused, stats.queries_refused), (0, 0));
    assert_eq!(
        (stats.dropped_decode, stats.dropped_malformed, stats.relay_refused, stats.relay_full),
        (0, 0, 0, 0)
    );
    println!("{members} members: {allocations} allocations, {} bytes per member", node.memory() / members);
    allocations
}

fn ring() -> Option<Keyring> {
    Some(Keyring::new(Key::new(&[9; 16]).unwrap(), []).unwrap())
}

#[test]
fn plain() {
    assert_eq!([10, 1_000, 10_000].map(|members| run(members, None)), [0; 3]);
}

#[test]
fn sealed() {
    assert_eq!([10, 1_000, 10_000].map(|members| run(members, ring())), [0; 3]);
}

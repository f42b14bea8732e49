//! Whole machines under arbitrary sequences of calls: whatever a network, a peer and an application can do to them.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

use super::arguments::Arguments;
use crate::output::*;
use crate::wire::field::List;
use crate::wire::keyring::Key;
use crate::wire::message::*;
use crate::wire::msgpack::Sink;
use crate::wire::packet::{Scratch, UnpackLimits, unpack};
use crate::wire::serf::{JoinIntent, LeaveIntent, Query, QueryResponse, UserEvent};
use crate::{
    Config, Instant, JoinTarget, KeyCommand, Machine, Membership, Node, NonceSecret, QueryParams, Seed,
    ServiceConfig,
};

/// Calls after which a machine that says it has something to do or to say must have come to an end.
const PATIENCE: usize = 20_000;

/// Names of queries: those that mean something to a node, and one that does not.
const QUERIES: [&[u8]; 4] = [b"_serf_ping", b"_serf_conflict", b"_serf_use-key", b"load"];

/// Members that a machine under test may know.
const MAX_MEMBERS: usize = 12;

/// What such a machine may hold at most, by its own account.
const MAX_MEMORY: usize = 4 << 20;

/// Takes the input as a program: each byte is a call, followed by its arguments. It is run twice on fresh machines, which
/// must do exactly the same.
pub fn fuzz_machine(input: &[u8]) {
    let Some((kind, program)) = input.split_first() else { return };
    let (first, second) = if kind & 1 == 0 {
        (run(membership(), program), run(membership(), program))
    } else {
        (run(node(), program), run(node(), program))
    };
    assert_eq!(first, second, "the same calls do not give the same result");
}

fn config() -> Config {
    let mut config = Config::lan("self", address(0));
    config
        .max_members(MAX_MEMBERS)
        .max_rumors(16)
        .max_streams(4)
        .max_operations(8)
        .max_outgoing(16)
        .max_relays(2)
        .max_exchange_bytes(128 * 1024)
        .max_event_bytes(2048)
        .work_per_call(16);
    config
}

fn membership() -> Membership {
    Membership::new(Instant::ORIGIN, config(), Seed::from_u64(1), NonceSecret::new([1; 32]))
        .expect("the configuration is valid")
}

fn node() -> Node {
    let services = ServiceConfig::default();
    Node::new(Instant::ORIGIN, config(), services, Seed::from_u64(1), NonceSecret::new([1; 32]))
        .expect("the configuration is valid")
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, number % 16), 7946))
}

/// The commands that only one kind of machine has.
trait Subject: Machine {
    /// Whether its user messages are Serf's; else they are whatever the application makes of them.
    const SERF: bool;

    fn own_command(&mut self, now: Instant, which: u8, bytes: &[u8]);
}

impl Subject for Membership {
    const SERF: bool = false;

    fn own_command(&mut self, now: Instant, which: u8, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        match which % 4 {
            0 => drop(self.set_metadata(now, bytes)),
            1 => drop(self.broadcast(now, bytes)),
            2 => drop(self.broadcast_about(now, &[which & 16], bytes)),
            _ => drop(self.set_user_state(bytes)),
        }
    }
}

impl Subject for Node {
    const SERF: bool = true;

    fn own_command(&mut self, now: Instant, which: u8, bytes: &[u8]) {
        // Refusals are part of the game.
        match which % 6 {
            0 => drop(self.set_tags(now, vec![(Bytes::from_static(b"role"), Bytes::copy_from_slice(bytes))])),
            1 => drop(self.user_event(now, b"event", bytes, which & 4 != 0)),
            2 => {
                drop(self.force_leave(now, &name(bytes.first().copied().unwrap_or_default()), which & 4 != 0))
            }
            3 => {
                let mut params = QueryParams::default();
                params.ack(which & 8 != 0).relay_factor(which >> 4).timeout(Some(Duration::from_secs(1)));
                let names = bytes.iter().take(4).map(|&number| name(number)[..].into()).collect();
                let tags = vec![(Bytes::from_static(b"role"), Bytes::copy_from_slice(bytes))];
                params.nodes(if which & 16 != 0 { names } else { Vec::new() });
                params.tags(if which & 32 != 0 { tags } else { Vec::new() });
                drop(self.query(now, if which & 64 != 0 { b"_serf_ping" } else { b"query" }, b"", &params));
            }
            4 if which & 64 != 0 => {
                let key = Key::new(bytes.get(..16).unwrap_or(&[1; 16]));
                let command = match (which & 24, key) {
                    (0, Ok(key)) => KeyCommand::Install(key),
                    (8, Ok(key)) => KeyCommand::Use(key),
                    (16, Ok(key)) => KeyCommand::Remove(key),
                    _ => KeyCommand::List,
                };
                self.persist_keyring(which & 32 != 0);
                drop(self.keys(now, &command, which >> 7));
                let number = bytes.first().copied().unwrap_or_default();
                let stored = if number & 1 == 0 { Ok(()) } else { Err("full".into()) };
                drop(self.keyring_stored(now, RequestId((1 << 62) + u64::from(number / 2)), stored));
            }
            4 => {
                let number = bytes.first().copied().unwrap_or_default();
                drop(self.respond(now, RequestId((1 << 52) + u64::from(number)), bytes));
            }
            _ => drop(self.join_ignoring_old(now, &[JoinTarget::from(address(which))])),
        }
    }
}

/// One of a few names: few, so that messages hit each other.
fn name(number: u8) -> [u8; 4] {
    match number % 8 {
        0 => *b"self",
        number => [b'n', b'o', b'd', b'0' + number],
    }
}

fn run<M: Subject>(machine: M, program: &[u8]) -> u64 {
    let mut bench = Bench {
        machine,
        now: Instant::ORIGIN,
        arguments: Arguments::new(program),
        buffer: vec![0; 2048],
        streams: Vec::new(),
        transmits: Vec::new(),
        pings: Vec::new(),
        queries: Vec::new(),
        trace: Trace(0xcbf2_9ce4_8422_2325),
    };
    while let Some(call) = bench.arguments.next() {
        bench.call(call);
        bench.check();
    }
    bench.drain();
    bench.advance(Duration::from_secs(20), true);
    bench.drain();
    bench.check();
    let hash = bench.machine.state_hash();
    let _ = write!(bench.trace, "{hash}");
    bench.trace.0
}

struct Bench<'p, M> {
    machine: M,
    now: Instant,
    arguments: Arguments<'p>,
    buffer: Vec<u8>,
    streams: Vec<StreamId>,
    transmits: Vec<TransmitId>,
    /// Sequence numbers of the pings it sent last, so that acks can be for them.
    pings: Vec<u32>,
    /// Numbers of queries that it sent, so that responses can be to them.
    queries: Vec<u32>,
    trace: Trace,
}

impl<M: Subject> Bench<'_, M> {
    fn call(&mut self, call: u8) {
        let now = self.now;
        match call % 16 {
            0 => self.drain(),
            1 => {
                let millis = u64::from(self.arguments.byte());
                self.advance(Duration::from_millis(millis), false);
            }
            2 => {
                let steps = u64::from(self.arguments.byte());
                self.advance(Duration::from_millis(steps * 20), true);
            }
            3 => {
                let datagram = self.arguments.bytes().to_vec();
                self.datagram(datagram);
            }
            4 | 5 => {
                let message = self.claim();
                self.datagram(message);
            }
            6 => {
                let message = self.probe_traffic();
                self.datagram(message);
            }
            7 => {
                let message = self.serf_message();
                self.datagram(message);
            }
            8 => {
                let source = Source::unauthenticated(address(self.arguments.byte()));
                if let Ok(id) = self.machine.accept_stream(now, source) {
                    self.streams.push(id);
                }
            }
            9 => {
                let data = self.arguments.bytes().to_vec();
                self.stream_data(&data, call & 16 != 0);
            }
            10 => {
                let data = self.push_pull();
                self.stream_data(&data, true);
            }
            11 => {
                if let Some(id) = self.stream() {
                    match self.arguments.byte() % 3 {
                        0 => self.machine.handle_stream_opened(now, id),
                        1 => self.machine.handle_stream_failed(now, id, StreamFailure::Unreachable),
                        _ => self.machine.handle_stream_failed(now, id, StreamFailure::Reset),
                    }
                }
            }
            12 => self.transmit_report(),
            13 | 14 => self.command(call),
            _ => {
                let which = self.arguments.byte();
                let bytes = self.arguments.bytes();
                self.machine.own_command(now, which, bytes);
            }
        }
    }

    fn command(&mut self, call: u8) {
        let now = self.now;
        let which = self.arguments.byte();
        let member = self.machine.find(&name(self.arguments.byte())).map(|member| member.key);
        let payload = Bytes::copy_from_slice(self.arguments.bytes());
        match (which % 8, member) {
            (0, _) => {
                let _ =
                    self.machine.join(now, &[JoinTarget::from(address(which)), address(which / 8).into()]);
            }
            (1, _) if call & 0xf0 == 0xf0 => drop(self.machine.leave(now)),
            (2, Some(key)) => drop(self.machine.send(now, key, payload)),
            (3, Some(key)) => drop(self.machine.send_reliable(now, key, payload)),
            (4, Some(key)) => drop(self.machine.ping(now, key)),
            (5, _) => drop(self.machine.install_key(now, &payload)),
            _ => {}
        }
    }

    fn transmit_report(&mut self) {
        let now = self.now;
        let which = self.arguments.byte();
        if let Some(&id) = self.transmits.get(usize::from(which / 4)) {
            match which % 4 {
                0 => self.machine.handle_transmit_failed(now, id, TransmitFailure::Unreachable),
                1 => self.machine.handle_transmit_failed(now, id, TransmitFailure::TooBig(600)),
                2 => self.machine.handle_transmit_failed(now, id, TransmitFailure::Local),
                _ => self.machine.handle_transmit_delayed(now, id),
            }
        }
    }

    fn datagram(&mut self, mut datagram: Vec<u8>) {
        let source = Source::unauthenticated(address(self.arguments.byte()));
        let result = self.machine.handle_datagram(self.now, source, &mut datagram);
        let _ = write!(self.trace, "{result:?}");
    }

    fn stream(&mut self) -> Option<StreamId> {
        let which = usize::from(self.arguments.byte());
        let len = self.streams.len().max(1);
        self.streams.get(which % len).copied()
    }

    fn stream_data(&mut self, data: &[u8], fin: bool) {
        let Some(id) = self.stream() else { return };
        let result = self.machine.handle_stream_data(self.now, id, data, fin);
        if let Ok(consumed) = result {
            assert!(consumed <= data.len(), "consumed more than there is");
        }
        let _ = write!(self.trace, "{result:?}");
    }

    /// An alive, a suspicion or a death that is well-formed and about somebody the machine may know.
    fn claim(&mut self) -> Vec<u8> {
        let [kind, about, by, incarnation] = self.arguments.array();
        let (about_name, by_name) = (name(about), name(by));
        let incarnation = match incarnation {
            0xf0.. => u32::MAX - u32::from(incarnation - 0xf0),
            _ => u32::from(incarnation),
        };
        let addr = [10, 0, 0, if kind & 0x80 == 0 { about % 16 } else { by % 16 }];
        let accusation = Accusation { incarnation, node: about_name[..].into(), from: by_name[..].into() };
        let mut message = Vec::new();
        let _ = match kind % 4 {
            0 | 1 => {
                let alive = Alive {
                    incarnation,
                    node: about_name[..].into(),
                    addr: addr[..].into(),
                    port: 7946,
                    meta: self.arguments.bytes().into(),
                    vsn: [1, 5, 2, 2, 5, 4][..].into(),
                };
                message.put(&[MessageType::Alive.byte()]).and_then(|()| alive.encode(&mut message))
            }
            2 => message.put(&[MessageType::Suspect.byte()]).and_then(|()| accusation.encode(&mut message)),
            _ => message.put(&[MessageType::Dead.byte()]).and_then(|()| accusation.encode(&mut message)),
        };
        message
    }

    fn probe_traffic(&mut self) -> Vec<u8> {
        let [kind, which, about, addr] = self.arguments.array();
        let seq = self.pings.get(usize::from(which)).copied().unwrap_or_else(|| which.into());
        let (node, addr) = (name(about), [10, 0, 0, addr % 16]);
        let mut message = Vec::new();
        let _ = match kind % 4 {
            0 => {
                let ping = Ping {
                    seq,
                    node: node[..].into(),
                    source_addr: addr[..].into(),
                    source_port: 7946,
                    ..Ping::default()
                };
                message.put(&[MessageType::Ping.byte()]).and_then(|()| ping.encode(&mut message))
            }
            1 => {
                let ping = IndirectPing {
                    seq,
                    target: addr[..].into(),
                    port: 7946,
                    node: node[..].into(),
                    nack: kind & 4 != 0,
                    ..IndirectPing::default()
                };
                message.put(&[MessageType::IndirectPing.byte()]).and_then(|()| ping.encode(&mut message))
            }
            2 => {
                let ack = Ack { seq, payload: self.arguments.bytes().into() };
                message.put(&[MessageType::Ack.byte()]).and_then(|()| ack.encode(&mut message))
            }
            _ => message.put(&[MessageType::Nack.byte()]).and_then(|()| Nack { seq }.encode(&mut message)),
        };
        message
    }

    fn serf_message(&mut self) -> Vec<u8> {
        let [kind, about, ltime] = self.arguments.array();
        let node = name(about);
        let ltime = if ltime >= 0xf0 { u64::MAX - u64::from(ltime - 0xf0) } else { ltime.into() };
        let mut message = vec![MessageType::User.byte()];
        let _ = match kind % 4 {
            0 => {
                let intent = JoinIntent { ltime, node: node[..].into() };
                message.put(&[1]).and_then(|()| intent.encode(&mut message))
            }
            1 => {
                let intent = LeaveIntent { ltime, node: node[..].into(), prune: kind & 4 != 0 };
                message.put(&[0]).and_then(|()| intent.encode(&mut message))
            }
            2 => {
                let payload = self.arguments.bytes();
                let event = UserEvent {
                    ltime,
                    name: node[..].into(),
                    payload: payload.into(),
                    coalesce: kind & 4 != 0,
                };
                message.put(&[3]).and_then(|()| event.encode(&mut message))
            }
            _ if kind & 12 == 12 => {
                let payload = self.arguments.bytes();
                let response = QueryResponse {
                    ltime,
                    // Of a query that the machine asked, as often as not.
                    id: self.queries.get(usize::from(kind >> 4)).copied().unwrap_or_else(|| kind.into()),
                    from: node[..].into(),
                    flags: u32::from(kind & 16 != 0),
                    payload: payload.into(),
                };
                message.put(&[5]).and_then(|()| response.encode(&mut message))
            }
            _ if kind & 4 != 0 => {
                let [id, flags] = self.arguments.array();
                let filter = self.arguments.bytes();
                let (filters, addr) = ([filter.into()], [10, 0, 0, about % 16]);
                let query = Query {
                    ltime,
                    id: id.into(),
                    addr: addr[..].into(),
                    port: 7946,
                    source_node: node[..].into(),
                    filters: if flags & 8 == 0 { List::Nil } else { List::Lent(&filters) },
                    flags: (flags & 3).into(),
                    relay_factor: flags >> 4,
                    timeout: i64::from(flags) << 24,
                    name: QUERIES[usize::from(id) % QUERIES.len()].into(),
                    payload: node[..].into(),
                };
                message.put(&[4]).and_then(|()| query.encode(&mut message))
            }
            _ => message.put(self.arguments.bytes()),
        };
        message
    }

    fn push_pull(&mut self) -> Vec<u8> {
        let [flags, count] = self.arguments.array();
        let count = count % 16;
        let mut states = Vec::new();
        for _ in 0..count {
            let [about, incarnation, state] = self.arguments.array();
            let (name, addr) = (name(about), [10, 0, 0, about % 16]);
            let state = NodeState {
                name: name[..].into(),
                addr: addr[..].into(),
                port: 7946,
                incarnation: incarnation.into(),
                state: (state % 5).into(),
                vsn: [1, 5, 2, 2, 5, 4][..].into(),
                ..NodeState::default()
            };
            let _ = state.encode(&mut states);
        }
        let user_state = self.arguments.bytes();
        let header = PushPullHeader {
            nodes: count.into(),
            user_state_len: i64::try_from(user_state.len()).unwrap_or_default(),
            join: flags & 1 != 0,
        };
        let mut message = vec![MessageType::PushPull.byte()];
        let _ = header.encode(&mut message);
        message.extend_from_slice(&states);
        message.extend_from_slice(user_state);
        message
    }

    /// Lets time pass, with every timer called when it is due; the socket takes what there is, or is full all the time.
    fn advance(&mut self, by: Duration, sending: bool) {
        let end = self.now + by;
        for _ in 0..PATIENCE {
            let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
            if sending {
                self.send();
            }
        }
        panic!("timers never come to an end");
    }

    fn send(&mut self) {
        for _ in 0..PATIENCE {
            let Some(transmit) = self.machine.poll_transmit(self.now, &mut self.buffer) else { return };
            assert!(transmit.len <= self.machine.config().datagram_size(), "a datagram over its limit");
            let datagram = &self.buffer[..transmit.len];
            self.trace.feed(datagram);
            if self.transmits.len() == 64 {
                self.transmits.remove(0);
            }
            self.transmits.push(transmit.id);
            let (pings, queries) = (&mut self.pings, &mut self.queries);
            // What it sends is plain: it must be readable, and its pings are remembered.
            let found =
                unpack(plain(datagram), &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
                    if let Some((0, body)) = message.split_first() {
                        let (ping, _) = Ping::decode(body).expect("its own ping");
                        if pings.len() == 8 {
                            pings.remove(0);
                        }
                        pings.push(ping.seq);
                    }
                    if let Some((8, [4, body @ ..])) = message.split_first().filter(|_| M::SERF) {
                        let (query, _) = Query::decode(body).expect("its own query, or one that it read");
                        if queries.len() < 16 && !queries.contains(&query.id) {
                            queries.push(query.id);
                        }
                    }
                });
            assert!(
                found.messages > 0 && found.misplaced == 0 && found.truncated == 0,
                "it sends what nobody can read"
            );
        }
        panic!("datagrams never come to an end");
    }

    fn drain(&mut self) {
        self.send();
        let mut left = PATIENCE;
        let mut once_more = || {
            left -= 1;
            assert!(left > 0, "outputs never come to an end");
        };
        while let Some(action) = self.machine.poll_stream() {
            once_more();
            let _ = write!(self.trace, "{action:?}");
            match action {
                StreamAction::Open { id, .. } => self.streams.push(id),
                StreamAction::Writable { id } => loop {
                    once_more();
                    let written = self.machine.poll_stream_data(self.now, id, &mut self.buffer);
                    self.trace.feed(&self.buffer[..written.len]);
                    if written.len == 0 {
                        break;
                    }
                },
                StreamAction::Close { id } => self.streams.retain(|stream| *stream != id),
            }
        }
        while let Some(change) = self.machine.poll_membership() {
            once_more();
            let _ = write!(self.trace, "{change:?}");
        }
        while let Some(completion) = self.machine.poll_completion() {
            once_more();
            let _ = write!(self.trace, "{completion:?}");
        }
        while let Some(event) = self.machine.poll_event() {
            once_more();
            let _ = write!(self.trace, "{event:?}");
        }
    }

    fn check(&self) {
        let machine = &self.machine;
        let members = machine.members().count();
        assert!(members <= MAX_MEMBERS, "{members} members");
        assert!(machine.num_alive() <= members, "{} of {members} members are alive", machine.num_alive());
        assert!(machine.memory() <= MAX_MEMORY, "{} bytes held", machine.memory());
        assert!(machine.local().local, "the local member is somebody else");
        for member in machine.members() {
            let found = machine.find(member.name.as_bytes()).map(|found| found.key);
            assert_eq!(found, Some(member.key), "a member is not found by its name");
            assert!(machine.member(member.key).is_some(), "a member is not found by its key");
        }
    }
}

/// A plain datagram without its checksum.
fn plain(datagram: &[u8]) -> &[u8] {
    match datagram {
        [kind, _, _, _, _, body @ ..] if *kind == MessageType::Checksum.byte() => body,
        body => body,
    }
}

/// A hash over everything that a machine put out (FNV-1a).
struct Trace(u64);

impl Trace {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.feed(text.as_bytes());
        Ok(())
    }
}

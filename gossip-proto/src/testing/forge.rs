//! Messages that are well-formed, about members that there may be, and otherwise whatever the input says.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::arguments::Arguments;
use crate::wire::field::List;
use crate::wire::message::*;
use crate::wire::msgpack::Sink;
use crate::wire::serf::{
    Filter, JoinIntent, KeyRequest, KeyResponse, LeaveIntent, PushPullParts, Query, QueryResponse,
    RecentEvent, SerfType, TagFilter, UserEvent,
};

/// Names of queries: those that mean something to a node, and one that does not.
const QUERIES: [&[u8]; 7] = [
    b"_serf_ping",
    b"_serf_conflict",
    b"_serf_use-key",
    b"load",
    b"_serf_install-key",
    b"_serf_remove-key",
    b"_serf_list-keys",
];

/// A key as it is told in answers.
const KEY: &[u8] = b"AAECAwQFBgcICQoLDA0ODw==";

/// One of a few names: few, so that messages hit each other.
pub(super) fn name(number: u8) -> [u8; 4] {
    match number % 8 {
        0 => *b"self",
        number => [b'n', b'o', b'd', b'0' + number],
    }
}

/// One of the many in a crowd.
fn stranger(number: u8) -> [u8; 4] {
    [b'c', b'0', b'0', number]
}

/// One of a few addresses; from 128 on of the later protocol.
pub(super) fn address(number: u8) -> SocketAddr {
    let host = number % 16;
    let ip: IpAddr = match number {
        ..0x80 => Ipv4Addr::new(10, 0, 0, host).into(),
        0xf0.. => Ipv4Addr::new(10, 0, 0, host).to_ipv6_mapped().into(),
        _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into(),
    };
    SocketAddr::from((ip, 7946))
}

/// The same as it is told.
fn octets(number: u8) -> Vec<u8> {
    match address(number).ip() {
        IpAddr::V4(ip) => ip.octets().into(),
        IpAddr::V6(ip) => ip.octets().into(),
    }
}

/// As a release of today.
const VERSIONS: [u8; 6] = [1, 5, 2, 2, 5, 4];

/// Forges messages out of a program.
#[derive(Debug, Default)]
pub(super) struct Forge {
    /// Sequence numbers of pings that the victim sent, so that acks can be for them.
    pub(super) pings: Vec<u32>,
    /// Numbers of queries that it sent, so that responses can be to them.
    pub(super) queries: Vec<u32>,
}

impl Forge {
    /// An alive, a suspicion or a death that is well-formed and about somebody the machine may know.
    pub(super) fn claim(&mut self, arguments: &mut Arguments<'_>) -> Vec<u8> {
        let [kind, about, by, incarnation] = arguments.array();
        let (about_name, by_name) = (name(about), name(by));
        let incarnation = match incarnation {
            0xf0.. => u32::MAX - u32::from(incarnation - 0xf0),
            _ => u32::from(incarnation),
        };
        let addr = octets(if kind & 0x80 == 0 { about } else { by });
        let accusation = Accusation { incarnation, node: about_name[..].into(), from: by_name[..].into() };
        let mut message = Vec::new();
        let _ = match kind % 4 {
            0 | 1 => {
                let alive = Alive {
                    incarnation,
                    node: about_name[..].into(),
                    // Now and then one that makes no sense.
                    addr: addr[usize::from(kind >> 4 == 15)..].into(),
                    port: 7946,
                    meta: arguments.bytes().into(),
                    vsn: if kind >> 4 == 14 { [5, 1, 2, 2, 5, 4][..].into() } else { VERSIONS[..].into() },
                };
                message.put(&[MessageType::Alive.byte()]).and_then(|()| alive.encode(&mut message))
            }
            2 => message.put(&[MessageType::Suspect.byte()]).and_then(|()| accusation.encode(&mut message)),
            _ => message.put(&[MessageType::Dead.byte()]).and_then(|()| accusation.encode(&mut message)),
        };
        message
    }

    /// A ping, a request to ping, an ack or a nack.
    pub(super) fn probe_traffic(&mut self, arguments: &mut Arguments<'_>) -> Vec<u8> {
        let [kind, which, about, addr] = arguments.array();
        let seq = self.pings.get(usize::from(which)).copied().unwrap_or_else(|| which.into());
        let (node, addr) = (name(about), octets(addr));
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
                let ack = Ack { seq, payload: arguments.bytes().into() };
                message.put(&[MessageType::Ack.byte()]).and_then(|()| ack.encode(&mut message))
            }
            _ => message.put(&[MessageType::Nack.byte()]).and_then(|()| Nack { seq }.encode(&mut message)),
        };
        message
    }

    /// An intent, event, query or answer, or anything else in their place.
    pub(super) fn serf_message(&mut self, arguments: &mut Arguments<'_>) -> Vec<u8> {
        let [kind, about, ltime] = arguments.array();
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
                let payload = arguments.bytes();
                let event = UserEvent {
                    ltime,
                    name: node[..].into(),
                    payload: payload.into(),
                    coalesce: kind & 4 != 0,
                };
                message.put(&[3]).and_then(|()| event.encode(&mut message))
            }
            _ if kind & 12 == 12 => {
                let said = arguments.bytes();
                let mut answer = vec![SerfType::KeyResponse.byte()];
                let keys = [KEY.into()];
                let key = KeyResponse {
                    ok: about & 0x80 == 0,
                    message: said.into(),
                    keys: if about & 0x20 == 0 { List::Nil } else { List::Lent(&keys) },
                    primary_key: KEY.into(),
                };
                let _ = key.encode(&mut answer);
                let payload = if about & 0x40 == 0 { said } else { &answer };
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
                let [id, flags] = arguments.array();
                let said = arguments.bytes();
                let mut tag = Vec::new();
                let _ =
                    Filter::Tag(TagFilter { tag: b"role"[..].into(), expr: said.into() }).encode(&mut tag);
                let mut request = vec![SerfType::KeyRequest.byte()];
                let _ = KeyRequest { key: said.into() }.encode(&mut request);
                let filter = if flags & 4 == 0 { &tag } else { said };
                let (filters, addr) = ([filter.into()], octets(about));
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
                    payload: if about & 0x40 == 0 { node[..].into() } else { request[..].into() },
                };
                message.put(&[4]).and_then(|()| query.encode(&mut message))
            }
            _ => message.put(arguments.bytes()),
        };
        message
    }

    /// Alive messages of many whom nobody knows, as when a whole cluster starts.
    pub(super) fn crowd(arguments: &mut Arguments<'_>) -> Vec<Vec<u8>> {
        let [count, first] = arguments.array();
        (0..count % 64)
            .map(|number| {
                let number = first.wrapping_add(number);
                let (name, addr) = (stranger(number), [10, 0, 1, number]);
                let alive = Alive {
                    incarnation: 1,
                    node: name[..].into(),
                    addr: addr[..].into(),
                    port: 7946,
                    vsn: VERSIONS[..].into(),
                    ..Alive::default()
                };
                let mut message = vec![MessageType::Alive.byte()];
                let _ = alive.encode(&mut message);
                message
            })
            .collect()
    }

    /// What may come by a stream instead of a side of an exchange, or one whose user state is long.
    pub(super) fn stream_message(arguments: &mut Arguments<'_>) -> Vec<u8> {
        let kind = arguments.byte();
        let mut message = Vec::new();
        let join = kind & 1 != 0;
        let _ = match kind % 8 {
            0 => {
                let payload = arguments.bytes();
                let header = UserHeader { len: i64::try_from(payload.len()).unwrap_or_default() };
                let begun =
                    message.put(&[MessageType::User.byte()]).and_then(|()| header.encode(&mut message));
                begun.and_then(|()| message.put(payload))
            }
            1 => {
                let error = ErrorReply { text: arguments.bytes().into() };
                message.put(&[MessageType::Error.byte()]).and_then(|()| error.encode(&mut message))
            }
            // Of up to 16 KB, so that it is worked off in more than one call.
            2 | 3 => {
                let state = arguments.bytes().repeat(2 * usize::from(kind / 8));
                return exchange(join, arguments, &state);
            }
            _ => {
                let state = service_state(arguments);
                return exchange(join, arguments, &state);
            }
        };
        message
    }

    /// One side of an exchange.
    pub(super) fn push_pull(&mut self, arguments: &mut Arguments<'_>) -> Vec<u8> {
        let flags = arguments.byte();
        exchange(flags & 1 != 0, arguments, &[])
    }

    /// Remembers what is in a message that the victim sent.
    pub(super) fn heard(&mut self, message: &[u8], serf: bool) {
        if let Some((0, body)) = message.split_first() {
            let (ping, _) = Ping::decode(body).expect("its own ping");
            if self.pings.len() == 8 {
                self.pings.remove(0);
            }
            self.pings.push(ping.seq);
        }
        // Or a message of the application that begins like one.
        if let Some((8, [4, body @ ..])) = message.split_first().filter(|_| serf)
            && let Ok((query, _)) = Query::decode(body)
            && self.queries.len() < 16
            && !self.queries.contains(&query.id)
        {
            self.queries.push(query.id);
        }
    }
}

/// A side of an exchange, of up to fifteen members, with this user state or else one that the program says.
fn exchange(join: bool, arguments: &mut Arguments<'_>, user_state: &[u8]) -> Vec<u8> {
    let count = arguments.byte() % 16;
    let mut states = Vec::new();
    for _ in 0..count {
        let [about, incarnation, state] = arguments.array();
        let (name, addr) = (name(about), octets(about));
        let state = NodeState {
            name: name[..].into(),
            addr: addr[..].into(),
            port: 7946,
            incarnation: incarnation.into(),
            state: (state % 5).into(),
            vsn: VERSIONS[..].into(),
            ..NodeState::default()
        };
        let _ = state.encode(&mut states);
    }
    let user_state = if user_state.is_empty() { arguments.bytes() } else { user_state };
    let header = PushPullHeader {
        nodes: count.into(),
        user_state_len: i64::try_from(user_state.len()).unwrap_or_default(),
        join,
    };
    let mut message = vec![MessageType::PushPull.byte()];
    let _ = header.encode(&mut message);
    message.extend_from_slice(&states);
    message.extend_from_slice(user_state);
    message
}

/// What Serf says in an exchange: of members and of a crowd, of those who left, and of events.
fn service_state(arguments: &mut Arguments<'_>) -> Vec<u8> {
    let [ltime, members, left, events] = arguments.array();
    let ltime = if ltime >= 0xf0 { u64::MAX - u64::from(ltime - 0xf0) } else { ltime.into() };
    let later = |by: u8| ltime.saturating_add(by.into());
    let said = arguments.bytes();
    let called = |number: u8| if number < 8 { name(number) } else { stranger(number) };
    let parts = PushPullParts {
        ltime,
        event_ltime: later(events),
        query_ltime: later(left),
        status_ltimes: (0..members % 64).map(|number| (called(number), later(number))),
        left_members: (0..left % 64).map(called),
        events: (0..events % 16).map(|number| {
            let event = RecentEvent { name: name(number)[..].to_vec().into(), payload: said.into() };
            (number % 4 != 3).then(|| (later(number), core::iter::once(event)))
        }),
    };
    let mut state = vec![SerfType::PushPull.byte()];
    let _ = parts.encode(&mut state);
    state
}

//! Messages that are well-formed, about members that there may be, and otherwise whatever the input says.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

use super::arguments::Arguments;
use crate::wire::field::List;
use crate::wire::message::*;
use crate::wire::msgpack::Sink;
use crate::wire::serf::{Filter, JoinIntent, LeaveIntent, Query, QueryResponse, TagFilter, UserEvent};

/// Names of queries: those that mean something to a node, and one that does not.
const QUERIES: [&[u8]; 4] = [b"_serf_ping", b"_serf_conflict", b"_serf_use-key", b"load"];

/// One of a few names: few, so that messages hit each other.
pub(super) fn name(number: u8) -> [u8; 4] {
    match number % 8 {
        0 => *b"self",
        number => [b'n', b'o', b'd', b'0' + number],
    }
}

pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, number % 16), 7946))
}

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
                    meta: arguments.bytes().into(),
                    vsn: [1, 5, 2, 2, 5, 4][..].into(),
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
                let payload = arguments.bytes();
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
                let filter = if flags & 4 == 0 { &tag } else { said };
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
            _ => message.put(arguments.bytes()),
        };
        message
    }

    /// One side of an exchange.
    pub(super) fn push_pull(&mut self, arguments: &mut Arguments<'_>) -> Vec<u8> {
        let [flags, count] = arguments.array();
        let count = count % 16;
        let mut states = Vec::new();
        for _ in 0..count {
            let [about, incarnation, state] = arguments.array();
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
        let user_state = arguments.bytes();
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

//! Messages of memberlist, as members send them.

use core::net::SocketAddrV4;

use gossip_proto::wire::field::Raw;
use gossip_proto::wire::message::{Ack, Alive, MessageType, Ping};

/// A member lives at that address. `versions` is what it speaks.
pub(crate) fn alive(
    name: &str,
    addr: SocketAddrV4,
    incarnation: u32,
    metadata: Raw<'_>,
    versions: [u8; 6],
) -> Vec<u8> {
    let octets = addr.ip().octets();
    let alive = Alive {
        incarnation,
        node: name.as_bytes().into(),
        addr: Raw::from(&octets[..]),
        port: addr.port(),
        meta: metadata,
        vsn: Raw::from(&versions[..]),
    };
    let mut message = vec![MessageType::Alive.byte()];
    alive.encode(&mut message).expect("a vector has room");
    message
}

/// A member of that name and address asks another whether it lives.
pub(crate) fn ping(seq: u32, target: &str, source: &str, addr: SocketAddrV4) -> Vec<u8> {
    let octets = addr.ip().octets();
    let ping = Ping {
        seq,
        node: target.as_bytes().into(),
        source_addr: Raw::from(&octets[..]),
        source_port: addr.port(),
        source_node: source.as_bytes().into(),
    };
    let mut message = vec![MessageType::Ping.byte()];
    ping.encode(&mut message).expect("a vector has room");
    message
}

/// The answer to the ping of that number.
pub(crate) fn ack(seq: u32) -> Vec<u8> {
    let mut message = vec![MessageType::Ack.byte()];
    Ack { seq, payload: Raw::NIL }.encode(&mut message).expect("a vector has room");
    message
}

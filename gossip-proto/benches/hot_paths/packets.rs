//! The packets that arrive: of members whose names and addresses are equally long in a cluster of any size, so that a larger
//! one does not have larger packets.

use core::net::{Ipv4Addr, SocketAddr};

use gossip_proto::wire::compound::Packer;
use gossip_proto::wire::field::Raw;
use gossip_proto::wire::keyring::{Key, Keyring, Nonces};
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::{Ack, Alive, MessageType, Ping};
use gossip_proto::wire::msgpack::{Full, Sink, SliceSink};
use gossip_proto::wire::packet::Envelope;

pub(crate) const KEY: [u8; 16] = [0x5a; 16];
pub(crate) const ANOTHER_KEY: [u8; 16] = [0xa5; 16];
pub(crate) const VERSIONS: [u8; 6] = [1, 5, 2, 0, 0, 0];
const DATAGRAM: usize = 1400;

/// Makes packets in the layers of a cluster.
#[derive(Debug)]
pub(crate) struct Forge {
    pub(crate) layers: Layers,
    nonces: Nonces,
    deflater: Deflater,
}

impl Forge {
    pub(crate) fn new(key: Option<&[u8]>, compression: Compression) -> Self {
        let layers = Layers { keyring: key.map(ring), compression, ..Layers::default() };
        Self { layers, nonces: Nonces::new([3; 32]), deflater: Deflater::new() }
    }

    /// A packet of what `fill` adds.
    pub(crate) fn packet(&mut self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Packer<'_>)) {
        out.resize(DATAGRAM, 0);
        let mut envelope = Envelope::new(&self.layers, out, DATAGRAM, false).expect("there is room");
        let mut packer = Packer::new(envelope.body());
        fill(&mut packer);
        let len = packer.finish();
        let len = envelope.finish(len, &mut self.nonces, &mut self.deflater).expect("it fits");
        out.truncate(len);
    }

    /// A ping from one member to another.
    pub(crate) fn ping(&mut self, out: &mut Vec<u8>, from: usize, to: usize) {
        let (addr, from, to) = (octets(from), name(from), name(to));
        let ping = Ping {
            seq: 70_000,
            node: to.as_bytes().into(),
            source_addr: Raw::from(&addr[..]),
            source_port: 7946,
            source_node: from.as_bytes().into(),
        };
        self.packet(out, |packer| put(packer, MessageType::Ping, |sink| ping.encode(sink)));
    }

    /// The answer to one.
    pub(crate) fn ack(&mut self, out: &mut Vec<u8>, seq: u32, payload: &[u8]) {
        self.packet(out, |packer| {
            put(packer, MessageType::Ack, |sink| Ack { seq, payload: payload.into() }.encode(sink));
        });
    }

    /// As many bytes as fit, which mean nothing.
    pub(crate) fn noise(&mut self, out: &mut Vec<u8>) {
        self.packet(out, |packer| {
            let room = packer.room();
            packer.spare().fill(0);
            packer.commit(room).expect("it fits");
        });
    }
}

/// Adds what a member says of itself.
pub(crate) fn alive(packer: &mut Packer<'_>, number: usize, incarnation: u32, metadata: &[u8]) {
    let (addr, name) = (octets(number), name(number));
    let alive = Alive {
        incarnation,
        node: name.as_bytes().into(),
        addr: Raw::from(&addr[..]),
        port: 7946,
        meta: metadata.into(),
        vsn: Raw::from(&VERSIONS[..]),
    };
    put(packer, MessageType::Alive, |sink| alive.encode(sink));
}

pub(crate) fn put(
    packer: &mut Packer<'_>,
    kind: MessageType,
    encode: impl FnOnce(&mut SliceSink<'_>) -> Result<(), Full>,
) {
    let mut sink = SliceSink::new(packer.spare());
    sink.put(&[kind.byte()]).and_then(|()| encode(&mut sink)).expect("it fits");
    let len = sink.len();
    packer.commit(len).expect("it fits");
}

pub(crate) fn ring(key: &[u8]) -> Keyring {
    Keyring::new(Key::new(key).expect("16 bytes"), []).expect("one key")
}

pub(crate) fn name(number: usize) -> String {
    format!("node-{number:05}")
}

fn octets(number: usize) -> [u8; 4] {
    let [.., a, b] = u32::try_from(number).expect("few members").to_be_bytes();
    [10, 0, a, b]
}

pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(octets(number)), 7946))
}

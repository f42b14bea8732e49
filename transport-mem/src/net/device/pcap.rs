//! A device that writes what is sent as a capture file, for Wireshark and its kin.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::collections::BTreeMap;
use std::io::Write;

use crate::net::device::bounded::Bounded;
use crate::net::device::{Device, Kind, Packet, Verdict};

/// Writes a capture file: datagrams as UDP, streams as TCP, with the headers that real ones would have, as seen by the
/// senders. `wireshark FILE` opens it; time zero of the run is the beginning of 1970.
///
/// What a link loses later is in the file, what a device before this one dropped is too, what a socket refused is not.
/// Acknowledgements of TCP without data are left out; sequence numbers and checksums are right. Nothing is written beyond
/// `most` bytes, and the file ends with a whole packet. A writer that fails is not asked again.
#[derive(Debug)]
pub struct Pcap<W> {
    out: Bounded<W>,
    frame: Vec<u8>,
    /// By the number of the stream.
    flows: BTreeMap<u64, Flow>,
}

/// One TCP connection.
#[derive(Clone, Copy, Debug)]
struct Flow {
    opener: SocketAddr,
    /// The next sequence number of each side; the opener is 0.
    next: [u32; 2],
    /// Which sides have ended.
    ended: [bool; 2],
}

impl<W: Write> Pcap<W> {
    /// Begins a file of at most that many bytes; give it a `BufWriter` if it is one.
    pub fn new(writer: W, most: u64) -> Self {
        let mut out = Bounded::new(writer, most);
        let mut head = Vec::with_capacity(24);
        head.extend(MAGIC.to_le_bytes());
        head.extend(2_u16.to_le_bytes()); // version 2.4
        head.extend(4_u16.to_le_bytes());
        head.extend([0; 8]); // time zone, accuracy
        head.extend((MAX_FRAME as u32).to_le_bytes());
        head.extend(LINK_RAW.to_le_bytes());
        out.put(&head, &[]);
        Self { out, frame: Vec::new(), flows: BTreeMap::new() }
    }

    /// What went wrong with the writer, if anything did.
    pub fn error(&self) -> Option<&std::io::Error> {
        self.out.error.as_ref()
    }

    /// Whether packets were left out because there would have been too many bytes.
    pub fn is_full(&self) -> bool {
        self.out.full
    }

    /// What it writes into.
    pub fn writer(&self) -> &W {
        &self.out.writer
    }

    /// Gives the writer back, after flushing it.
    ///
    /// # Errors
    /// What went wrong with the writer, now or before.
    pub fn into_inner(self) -> std::io::Result<W> {
        self.out.into_inner()
    }

    fn udp(&mut self, packet: &Packet<'_>) {
        // A datagram that no IP packet can carry is cut, and the record says how long it was.
        let bytes = &packet.bytes[..packet.bytes.len().min(MAX_PAYLOAD)];
        let cut = packet.bytes.len() - bytes.len();
        let mut header = [0; 8];
        header[..2].copy_from_slice(&packet.source.port().to_be_bytes());
        header[2..4].copy_from_slice(&packet.destination.port().to_be_bytes());
        header[4..6].copy_from_slice(&((8 + bytes.len()) as u16).to_be_bytes());
        self.ip(packet, UDP, &mut header, 6, bytes, cut);
    }

    fn tcp(&mut self, packet: &Packet<'_>) {
        let flow = self.flow(packet);
        let side = usize::from(packet.source != flow.opener);
        let acknowledged = flow.next[1 - side];
        match packet.kind {
            Kind::Open => self.segment(packet, flow.next[side], 0, SYN, &[]),
            Kind::Accept => self.segment(packet, flow.next[side], acknowledged, SYN | ACK, &[]),
            Kind::Refuse => self.segment(packet, 0, acknowledged, RST | ACK, &[]),
            Kind::Finish => self.segment(packet, flow.next[side], acknowledged, FIN | ACK, &[]),
            Kind::Reset => self.segment(packet, flow.next[side], acknowledged, RST | ACK, &[]),
            Kind::Data | Kind::Datagram => {
                let mut sequence = flow.next[side];
                for piece in packet.bytes.chunks(MAX_SEGMENT) {
                    self.segment(packet, sequence, acknowledged, PSH | ACK, piece);
                    sequence = sequence.wrapping_add(piece.len() as u32);
                }
            }
        }
        let Some(flow) = self.flows.get_mut(&packet.stream) else { return };
        let counted = match packet.kind {
            Kind::Open | Kind::Accept | Kind::Finish => 1,
            _ => packet.bytes.len() as u32,
        };
        flow.next[side] = flow.next[side].wrapping_add(counted);
        flow.ended[side] |= packet.kind == Kind::Finish;
        if matches!(packet.kind, Kind::Refuse | Kind::Reset) || flow.ended == [true; 2] {
            self.flows.remove(&packet.stream);
        }
    }

    /// The connection, which is new if this device was attached in the middle of it.
    fn flow(&mut self, packet: &Packet<'_>) -> Flow {
        if self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&packet.stream) {
            self.flows.pop_first();
        }
        let opener = if matches!(packet.kind, Kind::Accept | Kind::Refuse) {
            packet.destination
        } else {
            packet.source
        };
        // Any numbers would do; these tell the streams apart at a glance.
        let first = (packet.stream as u32).wrapping_mul(1_000_000);
        let new = Flow { opener, next: [first, first.wrapping_add(500_000)], ended: [false; 2] };
        *self.flows.entry(packet.stream).or_insert(new)
    }

    fn segment(&mut self, packet: &Packet<'_>, sequence: u32, acknowledged: u32, flags: u8, bytes: &[u8]) {
        let mut header = [0; 24];
        let len = if flags & SYN != 0 { 24 } else { 20 };
        header[..2].copy_from_slice(&packet.source.port().to_be_bytes());
        header[2..4].copy_from_slice(&packet.destination.port().to_be_bytes());
        header[4..8].copy_from_slice(&sequence.to_be_bytes());
        header[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        header[12] = (len as u8 / 4) << 4;
        header[13] = flags;
        header[14..16].copy_from_slice(&[0xff; 2]); // the window, times 128 by the option below
        header[20..].copy_from_slice(&[3, 3, 7, 0]);
        self.ip(packet, TCP, &mut header[..len], 16, bytes, 0);
    }

    /// One packet with the header of the layer above, whose checksum belongs at `check`.
    fn ip(
        &mut self,
        packet: &Packet<'_>,
        protocol: u8,
        header: &mut [u8],
        check: usize,
        bytes: &[u8],
        cut: usize,
    ) {
        let len = header.len() + bytes.len();
        let mut frame = core::mem::take(&mut self.frame);
        frame.clear();
        frame.extend([0; 16]);
        let mut sum = Sum::default();
        match (packet.source.ip(), packet.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = [0; 20];
                ip[0] = 0x45;
                ip[2..4].copy_from_slice(&((20 + len) as u16).to_be_bytes());
                ip[6] = 0x40; // not to be fragmented
                ip[8] = 64;
                ip[9] = protocol;
                ip[12..16].copy_from_slice(&source.octets());
                ip[16..].copy_from_slice(&destination.octets());
                let own = Sum::default().add(&ip).finish();
                ip[10..12].copy_from_slice(&own.to_be_bytes());
                sum = sum.add(&ip[12..]);
                frame.extend(ip);
            }
            (source, destination) => {
                let mut ip = [0; 40];
                ip[0] = 0x60;
                ip[4..6].copy_from_slice(&(len as u16).to_be_bytes());
                ip[6] = protocol;
                ip[7] = 64;
                ip[8..24].copy_from_slice(&six(source).octets());
                ip[24..].copy_from_slice(&six(destination).octets());
                sum = sum.add(&ip[8..]);
                frame.extend(ip);
            }
        }
        sum = sum.add(&[0, protocol]).add(&(len as u16).to_be_bytes()).add(header).add(bytes);
        // In UDP zero says that there is none.
        let sum = if protocol == UDP && sum.finish() == 0 { u16::MAX } else { sum.finish() };
        header[check..check + 2].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(header);
        frame.extend_from_slice(bytes);
        let captured = frame.len() - 16;
        let nanos = packet.at.as_nanos();
        let fields = [nanos / SECOND, nanos % SECOND, captured as u64, (captured + cut) as u64];
        for (place, field) in frame.chunks_exact_mut(4).zip(fields) {
            place.copy_from_slice(&(field as u32).to_le_bytes());
        }
        self.out.put(&frame, &[]);
        self.frame = frame;
    }
}

impl<W: Write> Device for Pcap<W> {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        match packet.kind {
            Kind::Datagram => self.udp(packet),
            _ => self.tcp(packet),
        }
        Verdict::Pass
    }
}

/// The checksum of IP, UDP and TCP.
#[derive(Clone, Copy, Debug, Default)]
struct Sum(u64);

impl Sum {
    /// Adds bytes; only the last may be odd in number.
    fn add(self, bytes: &[u8]) -> Self {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let sum = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>();
        Self(self.0 + sum + rest.first().map_or(0, |last| u64::from(*last) << 8))
    }

    fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}

fn six(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}

/// A capture with times in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// The packets begin with the header of IP, of either version.
const LINK_RAW: u32 = 101;
const MAX_FRAME: usize = 65_535 + 40;
/// What fits an IP packet after its header and UDP's.
const MAX_PAYLOAD: usize = 65_507;
/// Longer pieces of a stream are several segments.
const MAX_SEGMENT: usize = 32 << 10;
/// Connections remembered at a time; the oldest is forgotten, and would begin anew.
const MAX_FLOWS: usize = 65_536;
const SECOND: u64 = 1_000_000_000;
const UDP: u8 = 17;
const TCP: u8 = 6;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::device::tests::packet;

    fn file(packets: &[Packet<'_>]) -> Vec<u8> {
        let mut pcap = Pcap::new(Vec::new(), 10_000);
        for packet in packets {
            pcap.pass(packet);
        }
        pcap.into_inner().unwrap()
    }

    #[test]
    fn the_header_and_a_datagram_byte_for_byte() {
        let at = gossip_proto::Instant::from_nanos(3_000_000_004);
        let file = file(&[Packet { at, ..packet(b"hey") }]);
        let expected: &[&[u8]] = &[
            b"\x4d\x3c\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\x27\0\x01\0\x65\0\0\0",
            b"\x03\0\0\0\x04\0\0\0\x1f\0\0\0\x1f\0\0\0",
            // Checksums worked out by hand: 1403 (addresses) + 0011 + 000b + 3e1f (ports, length) + e165 = 33a4, inverted.
            b"\x45\0\0\x1f\0\0\x40\0\x40\x11\x26\xcc\x0a\0\0\x01\x0a\0\0\x02",
            b"\x1f\x0a\x1f\x0a\0\x0b\xcc\x5b",
            b"hey",
        ];
        assert_eq!(file, expected.concat());
    }

    #[test]
    fn sequence_numbers_count_bytes_and_ends() {
        let there = packet(b"");
        let back = Packet { source: there.destination, destination: there.source, ..there };
        let on = |base: Packet<'static>, kind, bytes| Packet { kind, stream: 2, bytes, ..base };
        let file = file(&[
            on(there, Kind::Open, b""),
            on(back, Kind::Accept, b""),
            on(there, Kind::Data, b"hello"),
            on(there, Kind::Finish, b""),
            on(back, Kind::Data, b"hi"),
            on(back, Kind::Finish, b""),
        ]);
        let mut rest = &file[24..];
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
            let tcp = &rest[16 + 20..16 + len];
            let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
            let acknowledged = word(8);
            seen.push((word(4), acknowledged, tcp[13], tcp.len() - usize::from(tcp[12] >> 4) * 4));
            rest = &rest[16 + len..];
        }
        assert_eq!(
            seen,
            [
                (2_000_000, 0, SYN, 0),
                (2_500_000, 2_000_001, SYN | ACK, 0),
                (2_000_001, 2_500_001, PSH | ACK, 5),
                (2_000_006, 2_500_001, FIN | ACK, 0),
                (2_500_001, 2_000_007, PSH | ACK, 2),
                (2_500_003, 2_000_007, FIN | ACK, 0),
            ]
        );
    }

    #[test]
    fn it_is_bounded_and_ends_with_a_whole_packet() {
        let mut pcap = Pcap::new(Vec::new(), 24 + 2 * 47 + 46);
        for _ in 0..5 {
            pcap.pass(&packet(b"abc"));
        }
        assert!(pcap.is_full());
        assert_eq!(pcap.into_inner().unwrap().len(), 24 + 2 * 47);
    }
}

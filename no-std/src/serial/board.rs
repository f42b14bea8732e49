//! A board with one node and one serial port: the driver, written by hand.

use alloc::vec::Vec;
use core::net::SocketAddr;

use gossip_proto::{Instant, Machine, Node, Source, StreamAction, StreamFailure, StreamId, TransmitFailure};

use crate::channel::{ACKNOWLEDGEMENT, Channel, MAX_RECORD, RECORD};
use crate::line::{BODY, Line};

/// The kind of frame that is a datagram of gossip.
const DATAGRAM: u8 = 0;

/// What a record says of a stream.
const OPEN: u8 = 0;
const ACCEPTED: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;
const BROKEN: u8 = 4;
/// Whose stream it is (1: the sender's), its number there, and one of the above.
const HEAD: usize = 4;

/// A stream: what the machine calls it, and what the line does.
struct Stream {
    id: StreamId,
    ours: bool,
    number: u16,
    /// The machine has something to write.
    writable: bool,
}

pub(crate) struct Board {
    pub(crate) node: Node,
    /// Who is at the other end of the line. There is nobody else.
    peer: SocketAddr,
    channel: Channel,
    streams: Vec<Stream>,
    numbers: u16,
    /// Bytes of a stream that the machine had no memory for, and whether they are its last. Until it has taken them, the record
    /// they came in is not acknowledged, so no other comes.
    unread: Option<(StreamId, Vec<u8>, bool)>,
    /// Datagrams and the channel take turns on the line.
    channel_first: bool,
}

impl Board {
    pub(crate) fn new(node: Node, peer: SocketAddr) -> Self {
        let (channel, streams) = (Channel::new(), Vec::new());
        Self { node, peer, channel, streams, numbers: 0, unread: None, channel_first: false }
    }

    /// One turn of the loop; says when the next one is due, unless something arrives before.
    pub(crate) fn turn(&mut self, now: Instant, input: &mut Line, output: &mut Line) -> Option<Instant> {
        while let Some((kind, mut body)) = input.receive(now) {
            match (kind, body.as_mut_slice()) {
                (DATAGRAM, datagram) => {
                    // An error means that the datagram was dropped and counted.
                    let _ = self.node.handle_datagram(now, Source::unauthenticated(self.peer), datagram);
                }
                (RECORD, [number, record @ ..]) => {
                    if self.channel.handle_record(*number) {
                        self.handle_record(now, record);
                    }
                    if self.unread.is_none() {
                        self.channel.acknowledge();
                    }
                }
                (ACKNOWLEDGEMENT, [number]) => self.channel.handle_acknowledgement(*number),
                // Noise that the checksum did not find.
                _ => {}
            }
        }
        if self.unread.is_some() {
            self.offer(now);
            if self.unread.is_none() {
                self.channel.acknowledge();
            }
        }
        // All that has arrived was handed over; work may be sliced, so as long as the node stays due it is called again.
        while self.node.poll_timeout().is_some_and(|due| due <= now) {
            self.node.handle_timeout(now);
        }
        if self.channel.poll_gone() {
            for stream in &self.streams {
                self.node.handle_stream_failed(now, stream.id, StreamFailure::TimedOut);
            }
        }
        self.serve_streams(now);
        self.send(now, output);
        // What is due while the line is busy is sent when it is free.
        let resend = self.channel.poll_timeout().filter(|_| output.has_room(now));
        self.node.poll_timeout().into_iter().chain(resend).min()
    }

    /// As long as the line has room. What is to be sent is asked for only then, so that it is composed from what is known then.
    fn send(&mut self, now: Instant, output: &mut Line) {
        let mut idle = 0;
        while output.has_room(now) && idle < 2 {
            let sent = if self.channel_first {
                let frame = self.channel.poll_frame(now);
                frame.inspect(|(kind, body)| output.send(now, *kind, body)).is_some()
            } else {
                self.send_datagram(now, output)
            };
            self.channel_first = !self.channel_first;
            idle = if sent { 0 } else { idle + 1 };
        }
    }

    fn send_datagram(&mut self, now: Instant, output: &mut Line) -> bool {
        let mut buffer = [0; BODY];
        while let Some(transmit) = self.node.poll_transmit(now, &mut buffer) {
            if transmit.to == self.peer {
                output.send(now, DATAGRAM, &buffer[..transmit.len]);
                return true;
            }
            self.node.handle_transmit_failed(now, transmit.id, TransmitFailure::Unreachable);
        }
        false
    }

    fn serve_streams(&mut self, now: Instant) {
        while let Some(action) = self.node.poll_stream() {
            match action {
                StreamAction::Open { id, to, .. } if to == self.peer => {
                    self.numbers = self.numbers.wrapping_add(1);
                    let stream = Stream { id, ours: true, number: self.numbers, writable: false };
                    self.channel.push(record(&stream, OPEN, &[]));
                    self.streams.push(stream);
                }
                StreamAction::Open { id, .. } => {
                    self.node.handle_stream_failed(now, id, StreamFailure::Unreachable);
                }
                StreamAction::Writable { id } => {
                    if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
                        stream.writable = true;
                    }
                }
                StreamAction::Close { id } => {
                    // All that it wrote is in the channel, in order.
                    self.write(now);
                    if let Some(place) = self.streams.iter().position(|stream| stream.id == id) {
                        let stream = self.streams.remove(place);
                        self.channel.push(record(&stream, END, &[]));
                    }
                    if self.unread.as_ref().is_some_and(|(of, ..)| *of == id) {
                        self.unread = None;
                        self.channel.acknowledge();
                    }
                }
            }
        }
        self.write(now);
    }

    /// Takes what streams have to write, while the channel can send it soon.
    fn write(&mut self, now: Instant) {
        let mut buffer = [0; MAX_RECORD - HEAD];
        for stream in &mut self.streams {
            while stream.writable && self.channel.has_room() {
                let written = self.node.poll_stream_data(now, stream.id, &mut buffer);
                stream.writable = written.len > 0;
                if written.len > 0 {
                    self.channel.push(record(stream, DATA, &buffer[..written.len]));
                }
            }
        }
    }

    fn handle_record(&mut self, now: Instant, record: &[u8]) {
        let [theirs, high, low, what, bytes @ ..] = record else { return };
        let (ours, number) = (*theirs == 0, u16::from_be_bytes([*high, *low]));
        let known = self.streams.iter().find(|stream| stream.ours == ours && stream.number == number);
        match (*what, known.map(|stream| stream.id)) {
            (OPEN, None) => match self.node.accept_stream(now, Source::unauthenticated(self.peer)) {
                Ok(id) => {
                    let stream = Stream { id, ours, number, writable: false };
                    self.channel.push(self::record(&stream, ACCEPTED, &[]));
                    self.streams.push(stream);
                }
                Err(_) => self.channel.push([&[0, *high, *low, BROKEN], &[][..]].concat()),
            },
            (ACCEPTED, Some(id)) => self.node.handle_stream_opened(now, id),
            (BROKEN, Some(id)) => self.node.handle_stream_failed(now, id, StreamFailure::Reset),
            (DATA | END, Some(id)) => {
                self.unread = Some((id, bytes.to_vec(), *what == END));
                self.offer(now);
            }
            // Of a stream that was closed here meanwhile.
            _ => {}
        }
    }

    fn offer(&mut self, now: Instant) {
        let Some((id, bytes, fin)) = &mut self.unread else { return };
        // After an error the machine wants to answer, then close.
        let taken = self.node.handle_stream_data(now, *id, bytes, *fin).unwrap_or(bytes.len());
        bytes.drain(..taken);
        if bytes.is_empty() {
            self.unread = None;
        }
    }
}

fn record(stream: &Stream, what: u8, bytes: &[u8]) -> Vec<u8> {
    let [high, low] = stream.number.to_be_bytes();
    [&[u8::from(stream.ours), high, low, what], bytes].concat()
}

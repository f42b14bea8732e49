//! A device that writes a line for everything.

use core::fmt::Write as _;
use std::io::Write;

use crate::net::device::bounded::Bounded;
use crate::net::device::{Delivery, Device, Kind, Packet, Verdict};

/// Writes a line for every packet into a file, a pipe or a vector, for reading and for `grep`.
///
/// ```text
/// 1.000312500 n0 10.0.0.1:7946 > n3 10.0.0.4:7946 datagram 37 bytes
/// 1.000744125 n0 10.0.0.1:7946 > n3 10.0.0.4:7946 datagram 37 bytes arrived
/// ```
///
/// The time is in seconds. What carries no bytes has no length, what belongs to a stream its number. Nothing is written
/// beyond `most` bytes; the last line then says so. A writer that fails is not asked again.
#[derive(Debug)]
pub struct TextTrace<W> {
    out: Bounded<W>,
    line: String,
    dump: usize,
}

impl<W: Write> TextTrace<W> {
    /// Writes at most that many bytes of lines into that; give it a `BufWriter` if it is a file.
    pub fn new(writer: W, most: u64) -> Self {
        Self { out: Bounded::new(writer, most), line: String::new(), dump: 0 }
    }

    /// The first so many bytes of each packet, in hexadecimal at the end of its line. Default none.
    #[must_use]
    pub fn dump(self, bytes: usize) -> Self {
        Self { dump: bytes, ..self }
    }

    /// Whether all lines were written: what went wrong with the writer, if anything did.
    pub fn error(&self) -> Option<&std::io::Error> {
        self.out.error.as_ref()
    }

    /// Whether lines were left out because there would have been too many bytes.
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

    fn write(&mut self, packet: &Packet<'_>, how: &str) {
        if self.out.is_over() {
            return;
        }
        self.line.clear();
        let Packet { at, from, to, source, destination, kind, stream, bytes } = packet;
        let (seconds, nanos) = (at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000);
        let line = &mut self.line;
        let _ = write!(line, "{seconds}.{nanos:09} n{} {source} > ", from.number());
        let _ = match to {
            Some(to) => write!(line, "n{} {destination} {}", to.number(), word(*kind)),
            None => write!(line, "nobody {destination} {}", word(*kind)),
        };
        if *stream > 0 {
            let _ = write!(line, " on {stream}");
        }
        if !bytes.is_empty() {
            let _ = write!(line, " {} bytes", bytes.len());
        }
        line.push_str(how);
        for (at, byte) in bytes.iter().take(self.dump).enumerate() {
            let _ = write!(line, "{}{byte:02x}", if at == 0 { " " } else { "" });
        }
        line.push('\n');
        self.out.put(self.line.as_bytes(), b"the trace is full\n");
    }
}

impl<W: Write> Device for TextTrace<W> {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        self.write(packet, "");
        Verdict::Pass
    }

    fn ended(&mut self, packet: &Packet<'_>, how: Delivery) {
        let how = match how {
            Delivery::Arrived => " arrived",
            Delivery::Lost => " lost",
            Delivery::Dropped => " dropped",
            Delivery::Nobody => " reached nobody",
            Delivery::Overflow => " found the socket full",
        };
        self.write(packet, how);
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Datagram => "datagram",
        Kind::Open => "open",
        Kind::Accept => "accept",
        Kind::Refuse => "refuse",
        Kind::Data => "data",
        Kind::Finish => "finish",
        Kind::Reset => "reset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::device::tests::packet;

    fn text(trace: TextTrace<Vec<u8>>) -> String {
        String::from_utf8(trace.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn lines_say_when_who_whom_and_what() {
        let mut trace = TextTrace::new(Vec::new(), 1000).dump(2);
        trace.pass(&Packet { at: gossip_proto::Instant::from_nanos(1_000_312_000), ..packet(b"\x01\xffz") });
        trace.ended(&packet(b"abc"), Delivery::Overflow);
        trace.pass(&Packet { kind: Kind::Open, stream: 7, to: None, ..packet(b"") });
        let expected = "1.000312000 n0 10.0.0.1:7946 > n1 10.0.0.2:7946 datagram 3 bytes 01ff\n\
            0.000000000 n0 10.0.0.1:7946 > n1 10.0.0.2:7946 datagram 3 bytes found the socket full 6162\n\
            0.000000000 n0 10.0.0.1:7946 > nobody 10.0.0.2:7946 open on 7\n";
        assert_eq!(text(trace), expected);
    }

    #[test]
    fn it_stops_where_it_was_told_to_and_says_so() {
        let mut trace = TextTrace::new(Vec::new(), 130);
        for _ in 0..5 {
            trace.pass(&packet(b"abc"));
        }
        assert!(trace.is_full());
        let text = text(trace);
        assert_eq!((text.lines().count(), text.lines().last()), (3, Some("the trace is full")), "{text}");
    }

    #[test]
    fn a_writer_that_fails_is_not_asked_again() {
        let mut small = [0_u8; 10];
        let mut trace = TextTrace::new(small.as_mut_slice(), 1000);
        trace.pass(&packet(b"abc"));
        trace.pass(&packet(b"abc"));
        assert!(trace.error().is_some() && trace.into_inner().is_err());
    }
}

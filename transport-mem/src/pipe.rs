//! One direction of a stream: bytes in order, some of them still under way.

use core::time::Duration;
use std::collections::VecDeque;

use gossip_proto::Instant;

/// Most bytes that a writer may be ahead of the reader.
pub(crate) const WINDOW: usize = 256 << 10;

/// One direction of a stream. Pure: it knows when things arrive, and somebody else has the clock.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Arrived and not yet read, then those under way.
    bytes: VecDeque<u8>,
    arrived: usize,
    flight: VecDeque<Segment>,
    end: End,
    writer_done: bool,
    writer_waits: bool,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    at: Instant,
    /// It has had its turn on the reader's line.
    turned: bool,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Bytes(usize),
    Finish,
    Reset,
}

/// How far the reader's side has come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// More may come.
    #[default]
    Open,
    /// Nothing comes after what has arrived.
    Finished,
    /// Broken off.
    Reset,
}

impl Pipe {
    /// Bytes that may be written now; `0` promises that [`Pipe::consume`] will ask for the writer to be woken.
    pub(crate) fn room(&mut self) -> usize {
        let room = if self.writer_done { 0 } else { WINDOW.saturating_sub(self.bytes.len()) };
        self.writer_waits = room == 0;
        room
    }

    /// Writes one segment that arrives then, or right after the segments before it. What does not fit is the caller's
    /// mistake and is cut off.
    pub(crate) fn write(&mut self, bytes: &[u8], at: Instant) -> usize {
        let taken = bytes.len().min(self.room());
        if taken > 0 {
            self.bytes.extend(&bytes[..taken]);
            self.send(at, What::Bytes(taken));
        }
        taken
    }

    /// As [`Pipe::write`], whether there is room or not: for bytes that took the place of others.
    pub(crate) fn write_all(&mut self, bytes: &[u8], at: Instant) {
        if !bytes.is_empty() && !self.writer_done {
            self.bytes.extend(bytes);
            self.send(at, What::Bytes(bytes.len()));
        }
    }

    /// Nothing follows.
    pub(crate) fn finish(&mut self, at: Instant) {
        if !core::mem::replace(&mut self.writer_done, true) {
            self.send(at, What::Finish);
        }
    }

    /// Breaks it off: what the reader has not read by the time this arrives is lost.
    pub(crate) fn reset(&mut self, at: Instant) {
        self.writer_done = true;
        self.send(at, What::Reset);
    }

    /// Breaks it off behind what was written, so that a reader who is there can read all of it.
    pub(crate) fn break_off(&mut self, at: Instant) {
        let last = self.flight.back().map_or(at, |last| last.at + Duration::from_nanos(1));
        self.reset(at.max(last));
    }

    /// Whether the writer has ended it, one way or the other.
    pub(crate) fn is_done(&self) -> bool {
        self.writer_done
    }

    fn send(&mut self, at: Instant, what: What) {
        let at = self.flight.back().map_or(at, |last| last.at.max(at));
        self.flight.push_back(Segment { at, turned: false, what });
    }

    /// When the next segment arrives.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.flight.front().map(|segment| segment.at)
    }

    /// Nothing arrives before then.
    pub(crate) fn hold_until(&mut self, at: Instant) {
        for segment in &mut self.flight {
            segment.at = segment.at.max(at);
        }
    }

    /// Gives what is due its turn on the reader's line, which says how much later so many bytes arrive.
    pub(crate) fn take_turns(&mut self, now: Instant, mut turn: impl FnMut(usize) -> Duration) {
        let mut last = now;
        for segment in self.flight.iter_mut().take_while(|segment| segment.at <= now) {
            if !core::mem::replace(&mut segment.turned, true) {
                let bytes = if let What::Bytes(count) = segment.what { count } else { 0 };
                segment.at = last.max(now + turn(bytes));
                last = segment.at;
            }
        }
    }

    /// Lets arrive what is due. Says whether that was anything.
    pub(crate) fn arrive(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(segment) = self.flight.front() {
            if segment.at > now {
                break;
            }
            match segment.what {
                What::Bytes(count) => self.arrived += count,
                What::Finish => self.end = End::Finished,
                What::Reset => {
                    self.end = End::Reset;
                    self.bytes.clear();
                    self.arrived = 0;
                    self.flight.clear();
                    return true;
                }
            }
            self.flight.pop_front();
            any = true;
        }
        any
    }

    /// What can be read now, in one piece; call again after consuming all of it, since there may be a second piece.
    pub(crate) fn readable(&self) -> &[u8] {
        let (front, _) = self.bytes.as_slices();
        &front[..front.len().min(self.arrived)]
    }

    /// How many bytes have arrived that were not read.
    pub(crate) fn available(&self) -> usize {
        self.arrived
    }

    /// How the reader's side stands, once everything that arrived has been read.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    /// The reader has used that many bytes. Says whether the writer waits for the room.
    pub(crate) fn consume(&mut self, count: usize) -> bool {
        let count = count.min(self.arrived);
        self.bytes.drain(..count);
        self.arrived -= count;
        count > 0 && core::mem::take(&mut self.writer_waits)
    }

    /// Throws away what has arrived; the reader has gone. Says whether the writer waits for the room.
    pub(crate) fn discard(&mut self) -> bool {
        self.consume(self.arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn read(pipe: &mut Pipe) -> Vec<u8> {
        let mut all = Vec::new();
        while pipe.available() > 0 {
            let piece = pipe.readable().to_vec();
            pipe.consume(piece.len());
            all.extend(piece);
        }
        all
    }

    #[test]
    fn bytes_arrive_in_order_even_if_a_later_segment_is_faster() {
        let mut pipe = Pipe::default();
        pipe.write(b"abc", at(10));
        pipe.write(b"def", at(5));
        pipe.finish(at(1));
        assert!(!pipe.arrive(at(9)));
        assert_eq!(pipe.readable(), b"");
        assert!(pipe.arrive(at(10)));
        assert_eq!(read(&mut pipe), b"abcdef");
        assert_eq!((pipe.end(), pipe.next_at()), (End::Finished, None));
    }

    #[test]
    fn partly_read_bytes_stay() {
        let mut pipe = Pipe::default();
        pipe.write(b"hello", at(0));
        pipe.arrive(at(0));
        pipe.consume(2);
        pipe.write(b" world", at(3));
        assert_eq!(pipe.readable(), b"llo");
        pipe.arrive(at(3));
        assert_eq!(read(&mut pipe), b"llo world");
        assert_eq!(pipe.end(), End::Open);
    }

    #[test]
    fn a_reset_destroys_what_was_not_read() {
        let mut pipe = Pipe::default();
        pipe.write(b"lost", at(1));
        pipe.arrive(at(1));
        pipe.write(b"too", at(4));
        pipe.reset(at(2));
        assert!(!pipe.arrive(at(3)), "a reset does not overtake");
        pipe.arrive(at(4));
        assert_eq!((pipe.available(), pipe.end(), pipe.room()), (0, End::Reset, 0));
    }

    #[test]
    fn the_window_stops_the_writer_and_reading_asks_for_it_again() {
        let mut pipe = Pipe::default();
        assert_eq!(pipe.write(&vec![7; WINDOW + 5], at(0)), WINDOW);
        assert_eq!(pipe.room(), 0);
        pipe.arrive(at(0));
        assert!(pipe.consume(1), "the writer waits");
        assert!(!pipe.consume(1), "it was told already");
        assert_eq!(pipe.room(), 2);
        assert!(!pipe.discard(), "with room left nobody waits");
        assert_eq!(pipe.room(), WINDOW);
    }

    #[test]
    fn holding_delays_everything_under_way() {
        let mut pipe = Pipe::default();
        pipe.write(b"a", at(1));
        pipe.write(b"b", at(20));
        pipe.hold_until(at(10));
        assert!(!pipe.arrive(at(9)));
        pipe.arrive(at(10));
        assert_eq!(read(&mut pipe), b"a");
        pipe.arrive(at(20));
        assert_eq!(read(&mut pipe), b"b");
    }
}

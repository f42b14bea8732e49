//! One stream: connecting, moving its bytes, closing it in good order.

use core::net::SocketAddr;
use core::task::{Context, Poll};
use core::time::Duration;

use gossip_proto::{Instant, Machine, StreamError, StreamFailure, StreamId};

use crate::transport::Stream;

/// A stream, and what is between it and the machine.
pub(crate) struct Conn<S> {
    pub(crate) id: StreamId,
    stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) phase: Phase,
    pub(crate) inbound: bool,
    /// It has its place in the queue of those worth polling.
    pub(crate) queued: bool,
    /// The peer sends nothing more, or what it sends is of no interest.
    read_ended: bool,
    /// Read, but not yet taken by the machine.
    pub(crate) unread: Vec<u8>,
    /// The machine has bytes to write.
    pub(crate) writable: bool,
    /// Taken from the machine, but not yet by the stream.
    pub(crate) unwritten: Vec<u8>,
    /// After that nothing follows.
    finish: bool,
    write_failed: Option<StreamFailure>,
    /// How long the protocol gives it.
    pub(crate) until: Instant,
}

/// How far it has come.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    Opening {
        deadline: Instant,
    },
    Open,
    /// The machine has said its last word and is done with it, but not all of that is out. `yields`: from when on it gives up
    /// its place if there is no other.
    Flushing {
        deadline: Instant,
        yields: Instant,
    },
    Closing {
        deadline: Instant,
    },
}

/// What becomes of a stream after its turn.
pub(crate) enum Drive {
    /// Its waker will say.
    Wait,
    /// There is more to do.
    Again,
    /// The machine has no memory for its bytes now.
    Pause,
    /// What the peer sent makes no sense.
    Refused,
    /// Closed.
    Done,
    /// Broken.
    Failed(StreamFailure),
}

impl<S: Stream> Conn<S> {
    pub(crate) fn new(
        id: StreamId,
        stream: S,
        peer: SocketAddr,
        phase: Phase,
        inbound: bool,
        until: Instant,
    ) -> Self {
        Self {
            id,
            stream,
            peer,
            phase,
            inbound,
            queued: false,
            read_ended: false,
            unread: Vec::new(),
            writable: false,
            unwritten: Vec::new(),
            finish: false,
            write_failed: None,
            until,
        }
    }

    /// `crowded`: others need its place.
    pub(crate) fn deadline(&self, crowded: bool) -> Option<Instant> {
        match self.phase {
            Phase::Flushing { yields, .. } if crowded => Some(yields),
            Phase::Opening { deadline } | Phase::Flushing { deadline, .. } | Phase::Closing { deadline } => {
                Some(deadline)
            }
            Phase::Open => None,
        }
    }

    /// The machine is done with it. What was said last has the rest of the stream's own time to get out, since a peer that
    /// takes it slowly breaks no rule; half a message is worth no waiting.
    pub(crate) fn close(&mut self, now: Instant, close_timeout: Duration) {
        self.writable = false;
        self.unread = Vec::new();
        let deadline = now + close_timeout;
        self.phase = if self.finish && !self.unwritten.is_empty() {
            Phase::Flushing { deadline: self.until.max(deadline), yields: deadline }
        } else {
            Phase::Closing { deadline }
        };
    }

    /// The machine is done with it, and it has yet to end.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Flushing { .. } | Phase::Closing { .. })
    }

    pub(crate) fn drive<M: Machine>(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        machine: &mut M,
        scratch: &mut [u8],
        close_timeout: Duration,
    ) -> Drive {
        match self.phase {
            Phase::Opening { deadline } => match self.stream.poll_open(cx) {
                Poll::Ready(Ok(())) => {
                    self.phase = Phase::Open;
                    machine.handle_stream_opened(now, self.id);
                    Drive::Again
                }
                Poll::Ready(Err(why)) => Drive::Failed(why),
                Poll::Pending if deadline <= now => Drive::Failed(StreamFailure::TimedOut),
                Poll::Pending => Drive::Wait,
            },
            Phase::Open => {
                let more = self.write(now, cx, machine, scratch);
                match (self.read(now, cx, machine, scratch), self.write_failed) {
                    // A peer that has closed may have sent its answer before: a failure to write counts only when
                    // nothing is left to read.
                    (Drive::Wait | Drive::Pause | Drive::Refused, Some(why)) => Drive::Failed(why),
                    (Drive::Wait | Drive::Pause, None) if more => Drive::Again,
                    (drive, _) => drive,
                }
            }
            Phase::Flushing { .. } => {
                let more = self.write(now, cx, machine, scratch);
                if self.unwritten.is_empty() {
                    self.phase = Phase::Closing { deadline: now + close_timeout };
                    return Drive::Again;
                }
                if more { Drive::Again } else { Drive::Wait }
            }
            Phase::Closing { deadline } => {
                let more = self.write(now, cx, machine, scratch);
                let flushed = self.unwritten.is_empty();
                if deadline <= now || (flushed && self.stream.poll_close(cx).is_ready()) {
                    return Drive::Done;
                }
                if more { Drive::Again } else { Drive::Wait }
            }
        }
    }

    /// Writes what the machine has to say; `true` if there is more to write at once.
    fn write<M: Machine>(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        machine: &mut M,
        scratch: &mut [u8],
    ) -> bool {
        for _ in 0..WRITES {
            if !self.unwritten.is_empty() {
                match self.stream.poll_write(cx, &self.unwritten) {
                    Poll::Ready(Ok(len)) if len < self.unwritten.len() => drop(self.unwritten.drain(..len)),
                    Poll::Ready(Ok(_)) => self.unwritten = Vec::new(),
                    Poll::Ready(Err(why)) => return self.give_up_writing(why),
                    Poll::Pending => return false,
                }
                continue;
            }
            if core::mem::take(&mut self.finish) {
                self.stream.finish();
            }
            let len = if self.writable { self.pull(now, machine, scratch) } else { 0 };
            if len == 0 {
                return false;
            }
            // Straight from the machine to the stream; only what does not fit is kept.
            match self.stream.poll_write(cx, &scratch[..len]) {
                Poll::Ready(Ok(taken)) => self.unwritten.extend_from_slice(&scratch[taken.min(len)..len]),
                Poll::Ready(Err(why)) => return self.give_up_writing(why),
                Poll::Pending => {
                    self.unwritten.extend_from_slice(&scratch[..len]);
                    return false;
                }
            }
        }
        true
    }

    pub(crate) fn pull<M: Machine>(&mut self, now: Instant, machine: &mut M, scratch: &mut [u8]) -> usize {
        let written = machine.poll_stream_data(now, self.id, scratch);
        self.writable = written.len > 0 && !written.fin;
        self.finish |= written.fin;
        written.len
    }

    fn give_up_writing(&mut self, why: StreamFailure) -> bool {
        self.write_failed = Some(why);
        self.writable = false;
        self.unwritten = Vec::new();
        false
    }

    /// Moves one piece from the peer to the machine.
    fn read<M: Machine>(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        machine: &mut M,
        scratch: &mut [u8],
    ) -> Drive {
        if !self.unread.is_empty() {
            return match machine.handle_stream_data(now, self.id, &self.unread, false) {
                Ok(taken) => {
                    self.unread.drain(..taken.min(self.unread.len()));
                    if self.unread.is_empty() { Drive::Again } else { Drive::Pause }
                }
                Err(error) => self.stop_reading(error),
            };
        }
        if self.read_ended {
            return Drive::Wait;
        }
        let len = match self.stream.poll_read(cx, scratch) {
            Poll::Ready(Ok(len)) => len.min(scratch.len()),
            Poll::Ready(Err(why)) => return Drive::Failed(why),
            Poll::Pending => return Drive::Wait,
        };
        self.read_ended = len == 0;
        match machine.handle_stream_data(now, self.id, &scratch[..len], len == 0) {
            Ok(taken) if taken < len => {
                self.unread.extend_from_slice(&scratch[taken..len]);
                Drive::Pause
            }
            Ok(_) if self.read_ended => Drive::Wait,
            Ok(_) => Drive::Again,
            Err(error) => self.stop_reading(error),
        }
    }

    /// Only what is written still counts: perhaps the machine tells the peer what was wrong, then it closes. A stream that it
    /// does not know any more it has said its last word on, and closes as well: that is yet to be polled, and what it said
    /// to be written.
    fn stop_reading(&mut self, error: StreamError) -> Drive {
        self.read_ended = true;
        self.unread = Vec::new();
        if error == StreamError::Unknown { Drive::Wait } else { Drive::Refused }
    }
}

/// Pieces written in one turn.
const WRITES: usize = 4;

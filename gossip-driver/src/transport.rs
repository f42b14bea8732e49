//! What a network must offer to carry gossip: datagrams in batches, and streams.
//!
//! Everything is polled by one task. A `poll_*` method that returns [`Poll::Pending`] has registered the waker of its
//! context and wakes it when polling again is worthwhile; it does so without help from anyone else's polling. Each
//! method (and each stream) may be polled with a waker of its own: keep one waker per method, the latest.
//!
//! Dropping a transport closes it: sockets, tasks and memory are gone when `drop` returns, or soon after without
//! anybody's help.

use core::net::SocketAddr;
use core::ops::Range;
use core::task::{Context, Poll};
use std::collections::VecDeque;
use std::io;

use gossip_proto::{MemberKey, Source, StreamFailure, Transmit, TransmitFailure, TransmitId};

/// A network to gossip over: datagrams for gossip and probes, streams for exchanges.
///
/// No method may block, and none may wait for a peer other than by returning [`Poll::Pending`].
pub trait Transport: Send + 'static {
    /// A stream of this transport, inbound or outbound.
    type Stream: Stream;

    /// The address it is bound to, with the port that was really chosen.
    fn local_addr(&self) -> SocketAddr;

    /// How many bytes of memory a [`ReceiveBatch`] should have. At least one whole datagram, 65,536 bytes over UDP;
    /// memory that no datagram touches costs address space only.
    fn receive_memory(&self) -> usize {
        65_536
    }

    /// Receives at least one datagram into an empty batch, and as many more as are there and fit.
    fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()>;

    /// Says whether a datagram could be sent now. The driver asks before it has the machine compose one, so that what
    /// is sent is composed from the newest state.
    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Sends datagrams from the front of the batch. `Ready` means that all were taken; `Pending` that the rest stays
    /// in the batch, to be offered again. Failures are reported by [`Transport::poll_event`]: a datagram that cannot
    /// be sent is taken from the batch all the same.
    fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()>;

    /// The next stream that a peer has opened, and who opened it. Transient failures (too many open files) are the
    /// transport's to wait out.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(Self::Stream, Source)>;

    /// Begins to open a stream. Never fails here: [`Stream::poll_open`] tells. `peer` is the member behind the
    /// address, if it is known, for transports that check whom they reach.
    fn open(&mut self, to: SocketAddr, peer: Option<MemberKey>) -> Self::Stream;

    /// News that belongs to no call: what became of datagrams, and what paths carry.
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<TransportEvent>;

    /// Ends in good order, for transports that say good-bye to their peers. The driver polls it for a bounded time and
    /// then drops the transport.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }
}

/// A stream: one request, and at most one reply. Dropping it without [`Stream::poll_close`] aborts it.
pub trait Stream: Send + Unpin + 'static {
    /// Ready when the stream is connected; at once for accepted streams. Not polled again after it was ready.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>>;

    /// Reads into `buf`, which is not empty. `Ok(0)` means that the peer sends nothing more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, StreamFailure>>;

    /// Writes from the front of `bytes`, which is not empty; says how many bytes were taken, at least one. After
    /// [`Poll::Pending`] the same bytes are offered again, possibly with others behind them, or the stream is given up: they
    /// may be on their way already.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamFailure>>;

    /// Nothing more will be written, the peer's side stays open. Only a transport that frames its streams (QUIC) tells
    /// the peer; TCP does nothing, since peers of memberlist take a half-close for a broken connection (spec 1.1).
    fn finish(&mut self) {}

    /// Closes in good order: what was written reaches the peer, and unread input does not turn into a reset that
    /// would destroy an answer under way. Polled for a bounded time, then the stream is dropped. Errors are of
    /// no interest any more.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// What a transport reports on its own account.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransportEvent {
    /// The path to an address carries datagrams of at most this size.
    PathMtu {
        /// The destination.
        to: SocketAddr,
        /// The largest datagram in bytes.
        max_datagram: usize,
    },
    /// The path to an address is closed; what the next one will carry is not known.
    PathClosed {
        /// The destination.
        to: SocketAddr,
    },
    /// A peer and this node do not accept each other: their certificates, or their clusters, do not fit together. Told to
    /// the application's log, and to whoever joins that address.
    PeerRefused {
        /// The peer.
        peer: SocketAddr,
        /// What is wrong, from this side's point of view.
        why: String,
    },
    /// A datagram was not sent.
    TransmitFailed {
        /// Which.
        id: TransmitId,
        /// Why.
        why: TransmitFailure,
    },
    /// A datagram left later than it was handed over; its round trip time means nothing.
    TransmitDelayed {
        /// Which.
        id: TransmitId,
    },
    /// The transport is of no use any more; the driver ends.
    Failed {
        /// Why.
        error: io::Error,
    },
}

/// Datagrams that were received, in memory that the driver lends, so that they can be opened in place.
#[derive(Debug)]
pub struct ReceiveBatch {
    memory: Box<[u8]>,
    entries: VecDeque<(Source, Range<usize>)>,
}

impl ReceiveBatch {
    /// An empty batch with that many bytes of memory.
    pub fn new(memory: usize) -> Self {
        Self { memory: vec![0; memory].into_boxed_slice(), entries: VecDeque::new() }
    }

    /// The memory to receive into. Overwrites what is still in the batch, so fill it only when it is empty.
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Adds the datagram that was written to that range of the memory. One that does not lie in it is left out.
    pub fn push(&mut self, source: Source, range: Range<usize>) {
        if range.start <= range.end && range.end <= self.memory.len() {
            self.entries.push_back((source, range));
        }
    }

    /// Takes the oldest datagram.
    pub fn pop(&mut self) -> Option<(Source, &mut [u8])> {
        let (source, range) = self.entries.pop_front()?;
        Some((source, &mut self.memory[range]))
    }

    /// Datagrams in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Datagrams to send, composed back to back in one piece of memory, so that runs to one destination can be handed to
/// the kernel in one call (GSO).
#[derive(Debug)]
pub struct SendBatch {
    memory: Box<[u8]>,
    used: usize,
    entries: VecDeque<(Transmit, usize)>,
    largest: usize,
    limit: usize,
}

impl SendBatch {
    /// An empty batch for up to `limit` datagrams of up to `datagram_size` bytes each.
    pub fn new(datagram_size: usize, limit: usize) -> Self {
        let memory = (datagram_size.saturating_mul(limit)).min(65_536).max(datagram_size);
        let memory = vec![0; memory].into_boxed_slice();
        Self { memory, used: 0, entries: VecDeque::with_capacity(limit), largest: datagram_size, limit }
    }

    /// Adds the datagram that `compose` writes to the buffer it is given. Returns whether there was one; `false` also
    /// when the batch has no room left.
    pub fn compose(&mut self, compose: impl FnOnce(&mut [u8]) -> Option<Transmit>) -> bool {
        if self.is_full() {
            return false;
        }
        if self.entries.is_empty() {
            self.used = 0;
        }
        let Some(transmit) = compose(&mut self.memory[self.used..]) else { return false };
        self.entries.push_back((transmit, self.used));
        self.used += transmit.len;
        true
    }

    /// Whether no further datagram is sure to fit.
    pub fn is_full(&self) -> bool {
        // The memory of what was sent is free again once nothing is left in the batch.
        let used = if self.entries.is_empty() { 0 } else { self.used };
        self.entries.len() >= self.limit || self.memory.len() - used < self.largest
    }

    /// The first datagram: its destination and its bytes.
    pub fn front(&self) -> Option<(&Transmit, &[u8])> {
        let (transmit, start) = self.entries.front()?;
        Some((transmit, &self.memory[*start..*start + transmit.len]))
    }

    /// How many datagrams at the front, at most `limit`, one call with segmentation can send: one destination, all of
    /// one length, except that the last may be shorter; and their bytes, back to back.
    pub fn run(&self, limit: usize) -> Option<(&Transmit, usize, &[u8])> {
        let (first, start) = self.entries.front()?;
        let mut end = start + first.len;
        let mut count = 1;
        for (next, offset) in self.entries.iter().skip(1).take(limit.saturating_sub(1)) {
            if next.to != first.to || next.peer != first.peer || next.len > first.len || *offset != end {
                break;
            }
            end += next.len;
            count += 1;
            if next.len < first.len {
                break;
            }
        }
        Some((first, count, &self.memory[*start..end]))
    }

    /// Takes that many datagrams from the front.
    pub fn advance(&mut self, count: usize) {
        self.entries.drain(..count.min(self.entries.len()));
    }

    /// The datagrams in it, the first one to send first.
    pub fn iter(&self) -> impl Iterator<Item = &Transmit> {
        self.entries.iter().map(|(transmit, _)| transmit)
    }

    /// Datagrams in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

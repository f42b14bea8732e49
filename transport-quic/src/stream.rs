//! Exchanges and reliable messages: bidirectional streams.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Weak;

use gossip_driver::Stream;
use gossip_driver::gossip_proto::StreamFailure;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};

use crate::shared::{Held, Shared};

/// One stream of a connection.
pub struct QuicStream {
    state: State,
}

type Opening = Pin<Box<dyn Future<Output = Result<Open, StreamFailure>> + Send>>;
type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>> + Send>>;

enum State {
    Opening(Opening),
    Open(Box<Open>),
    Closed,
}

/// Both halves of a stream, and its place in the connection's count.
pub(crate) struct Open {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
    held: Held,
    shared: Weak<Shared>,
    pub(crate) read_ended: bool,
    pub(crate) finished: bool,
    pub(crate) closing: Option<Stopped>,
}

impl Open {
    pub(crate) fn new((send, recv): (SendStream, RecvStream), held: Held, shared: Weak<Shared>) -> Self {
        Self { send, recv, held, shared, read_ended: false, finished: false, closing: None }
    }

    fn lost(&self, error: &ConnectionError) -> StreamFailure {
        match self.shared.upgrade() {
            Some(shared) => shared.stream_lost(self.held.link, error),
            None => StreamFailure::Local,
        }
    }
}

impl QuicStream {
    pub(crate) fn opening(
        opening: impl Future<Output = Result<Open, StreamFailure>> + Send + 'static,
    ) -> Self {
        Self { state: State::Opening(Box::pin(opening)) }
    }

    pub(crate) fn accepted(open: Open) -> Self {
        Self { state: State::Open(Box::new(open)) }
    }
}

impl Stream for QuicStream {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        match &mut self.state {
            State::Opening(opening) => {
                let opened = ready!(opening.as_mut().poll(cx));
                let (state, result) = match opened {
                    Ok(open) => (State::Open(Box::new(open)), Ok(())),
                    Err(why) => (State::Closed, Err(why)),
                };
                self.state = state;
                Poll::Ready(result)
            }
            State::Open(_) => Poll::Ready(Ok(())),
            State::Closed => Poll::Ready(Err(StreamFailure::Local)),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, StreamFailure>> {
        let State::Open(open) = &mut self.state else { return Poll::Ready(Err(StreamFailure::Local)) };
        if open.read_ended {
            return Poll::Ready(Ok(0));
        }
        let read = ready!(open.recv.poll_read(cx, buf));
        open.read_ended = !matches!(read, Ok(len) if len > 0);
        Poll::Ready(read.map_err(|error| match error {
            ReadError::ConnectionLost(error) => open.lost(&error),
            ReadError::Reset(_) => StreamFailure::Reset,
            _ => StreamFailure::Local,
        }))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, StreamFailure>> {
        let State::Open(open) = &mut self.state else { return Poll::Ready(Err(StreamFailure::Local)) };
        Pin::new(&mut open.send).poll_write(cx, bytes).map_err(|error| match error {
            WriteError::ConnectionLost(error) => open.lost(&error),
            WriteError::Stopped(_) => StreamFailure::Reset,
            _ => StreamFailure::Local,
        })
    }

    fn finish(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.finish();
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Open(open) = &mut self.state {
            open.finish();
            let closing = open.closing.get_or_insert_with(|| {
                // Nobody reads on; the peer need not send more.
                let _ = open.recv.stop(VarInt::from_u32(0));
                open.read_ended = true;
                Box::pin(open.send.stopped())
            });
            // Until the peer has all of it, or wants no more.
            let _ = ready!(closing.as_mut().poll(cx));
        }
        self.state = State::Closed;
        Poll::Ready(())
    }
}

impl Open {
    fn finish(&mut self) {
        if !core::mem::replace(&mut self.finished, true) {
            // Fails only for a stream that is over.
            let _ = self.send.finish();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // A stream that was not finished is torn; what is dropped without a word would look complete to the peer.
        if !self.finished {
            let _ = self.send.reset(VarInt::from_u32(0));
        }
        if !self.read_ended {
            let _ = self.recv.stop(VarInt::from_u32(0));
        }
    }
}

impl fmt::Debug for QuicStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Opening(_) => "QuicStream(opening)",
            State::Open(_) => "QuicStream(open)",
            State::Closed => "QuicStream(closed)",
        })
    }
}

//! What comes back of a query, for the task that asked it; bounded without ever holding up the loop.

use core::pin::Pin;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::task::{Context, Poll};
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures_core::Stream;
use gossip_proto::Name;

use crate::options::Options;

/// One thing that came back of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The query reached a member. Only if acknowledgements were asked for.
    Ack {
        /// The member.
        from: Name,
    },
    /// A member answered.
    Response {
        /// The member.
        from: Name,
        /// What it says.
        payload: Bytes,
    },
}

impl Answer {
    fn weight(&self) -> usize {
        match self {
            Self::Ack { from } => size_of::<Self>() + from.as_bytes().len(),
            Self::Response { from, payload } => size_of::<Self>() + from.as_bytes().len() + payload.len(),
        }
    }
}

/// The answers to a query as they come, each member's at most once. Dropping it loses them; the query itself cannot be
/// taken back.
#[derive(Debug)]
pub struct Answers {
    receiver: Pin<Box<Receiver<Answer>>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Answers {
    /// Room for one answer of each kind from `members`, and for more that may come to the cluster meanwhile.
    pub(crate) fn new(options: &Options, members: usize) -> (Self, Collector) {
        let (sender, receiver) = async_channel::unbounded();
        let shared = Arc::new(Shared::default());
        let limit = options.event_buffer.max(2 * members).max(1);
        let collector = Collector { sender, shared: shared.clone(), limit, bytes: options.event_bytes };
        (Self { receiver: Box::pin(receiver), shared }, collector)
    }

    /// The next answer; `None` once the query's time is over, or the node is shut down. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Answer> {
        core::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Like [`Answers::recv`], for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let answer = self.receiver.as_mut().poll_next(cx);
        if let Poll::Ready(Some(answer)) = &answer {
            self.shared.bytes.fetch_sub(answer.weight(), Ordering::Relaxed);
        }
        answer
    }

    /// How many answers were lost here because they were not taken in time.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Stream for Answers {
    type Item = Answer;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.get_mut().poll_recv(cx)
    }
}

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Collector {
    sender: Sender<Answer>,
    shared: Arc<Shared>,
    limit: usize,
    bytes: usize,
}

impl Collector {
    pub(crate) fn answer(&self, answer: Answer) {
        let (weight, waiting) = (answer.weight(), self.sender.len());
        let full = waiting >= self.limit
            || (waiting > 0 && self.shared.bytes.load(Ordering::Relaxed) + weight > self.bytes);
        if full {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.shared.bytes.fetch_add(weight, Ordering::Relaxed);
        // Fails only when nobody waits any more.
        let _ = self.sender.try_send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_bounded_and_counted() {
        let options = Options { event_buffer: 3, event_bytes: 10_000, ..Options::default() };
        let (mut answers, collector) = Answers::new(&options, 1);
        let mut cx = Context::from_waker(core::task::Waker::noop());
        for _ in 0..5 {
            collector.answer(Answer::Ack { from: "a".into() });
        }
        assert_eq!(answers.lost(), 2);
        for _ in 0..3 {
            assert_eq!(answers.poll_recv(&mut cx), Poll::Ready(Some(Answer::Ack { from: "a".into() })));
        }
        assert_eq!(answers.poll_recv(&mut cx), Poll::Pending);
        let large = Answer::Response { from: "a".into(), payload: vec![0; 9000].into() };
        collector.answer(large.clone());
        collector.answer(large.clone());
        assert_eq!(answers.lost(), 3);
        assert_eq!(answers.poll_recv(&mut cx), Poll::Ready(Some(large.clone())));
        collector.answer(large.clone());
        drop(collector);
        assert_eq!(answers.poll_recv(&mut cx), Poll::Ready(Some(large)));
        assert_eq!((answers.poll_recv(&mut cx), answers.lost()), (Poll::Ready(None), 3));
    }
}

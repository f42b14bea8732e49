//! Many futures at once; only those are polled that were woken.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::Outcome;
use crate::wake::WakeSet;

/// Futures that run side by side.
pub(super) struct Crowd<'a> {
    wakes: WakeSet,
    members: Vec<Option<Pin<Box<dyn Future<Output = Outcome> + 'a>>>>,
    left: usize,
}

impl<'a> Crowd<'a> {
    pub(super) fn new() -> Self {
        Self { wakes: WakeSet::default(), members: Vec::new(), left: 0 }
    }

    pub(super) fn push(&mut self, member: impl Future<Output = Outcome> + 'a) {
        self.members.push(Some(Box::pin(member)));
        self.left += 1;
        self.wakes.waker(self.members.len() - 1).wake_by_ref();
    }

    /// Ready when all have ended, or one has failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.wakes.register(cx.waker());
        let mut woken = Vec::new();
        self.wakes.take(|index| woken.push(index));
        for index in woken {
            let waker = self.wakes.waker(index).clone();
            let Some(member) = &mut self.members[index] else { continue };
            if let Poll::Ready(outcome) = member.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.members[index] = None;
                self.left -= 1;
                if outcome.is_err() {
                    return Poll::Ready(outcome);
                }
            }
        }
        if self.left == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

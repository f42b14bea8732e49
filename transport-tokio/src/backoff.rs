//! Waiting out failures that may pass, such as too many open files.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Pauses that double with each failure in a row, from 5 ms to a second.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pause: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Backoff {
    /// One more failure: the next try has to wait.
    pub(crate) fn fail(&mut self) {
        let pause = self.pause.map_or(SHORTEST, |pause| (pause * 2).min(LONGEST));
        self.pause = Some(pause);
        self.sleep = Some(Box::pin(sleep_until(Instant::now() + pause)));
    }

    /// It works again.
    pub(crate) fn succeed(&mut self) {
        self.pause = None;
    }

    /// Ready when it may be tried.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        Poll::Ready(())
    }
}

const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestTransport_TcpListenBackoff
    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_are_ever_further_apart() {
        let mut backoff = Backoff::default();
        let begun = Instant::now();
        let mut failures = 0;
        while begun.elapsed() < Duration::from_secs(4) {
            backoff.fail();
            failures += 1;
            core::future::poll_fn(|cx| backoff.poll_ready(cx)).await;
        }
        assert!((9..=13).contains(&failures), "{failures} in four seconds");
        backoff.succeed();
        let begun = Instant::now();
        backoff.fail();
        core::future::poll_fn(|cx| backoff.poll_ready(cx)).await;
        assert!(begun.elapsed() < Duration::from_millis(10), "it starts over");
    }
}

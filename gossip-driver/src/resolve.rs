//! Looking up host names, in the task of whoever asks.

use core::future::Future;
use core::net::IpAddr;
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;
use std::io;

use crate::runtime::{Runtime, Timer};

/// Name resolution of a runtime whose type the handle does not show.
pub(crate) trait Resolve: Send + Sync {
    /// Runs a task in the background.
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// Waits that long.
    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;
}

/// Waits for all of them, which run at the same time; what they gave, in their order.
pub(crate) async fn all<F: Future>(work: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut work: Vec<Result<F::Output, Pin<Box<F>>>> = work.map(|future| Err(Box::pin(future))).collect();
    core::future::poll_fn(|cx| {
        let mut is_over = true;
        for slot in &mut work {
            let Err(future) = slot else { continue };
            match future.as_mut().poll(cx) {
                Poll::Ready(output) => *slot = Ok(output),
                Poll::Pending => is_over = false,
            }
        }
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    work.into_iter().filter_map(Result::ok).collect()
}

/// The resolver of a runtime, bounded in time.
pub(crate) struct RuntimeResolver<R> {
    runtime: R,
    timeout: Duration,
}

impl<R> RuntimeResolver<R> {
    pub(crate) fn new(runtime: R, timeout: Duration) -> Self {
        Self { runtime, timeout }
    }
}

impl<R: Runtime> Resolve for RuntimeResolver<R> {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.runtime.spawn(task);
    }

    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.runtime.sleep_until(self.runtime.now() + span))
    }

    fn resolve(&self, host: &str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let found = self.runtime.resolve(host);
        let mut timer = self.runtime.timer();
        timer.set(self.runtime.now() + self.timeout);
        Box::pin(async move {
            let mut found = pin!(found);
            core::future::poll_fn(|cx| {
                if let Poll::Ready(found) = found.as_mut().poll(cx) {
                    return Poll::Ready(found);
                }
                timer.poll_expired(cx).map(|()| {
                    Err(io::Error::new(io::ErrorKind::TimedOut, "the name server did not answer in time"))
                })
            })
            .await
        })
    }
}

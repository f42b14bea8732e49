//! What an async runtime must offer.

use core::future::Future;
use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use gossip_proto::Instant;

/// An async runtime: a clock with timers, tasks, name resolution and a place for work that blocks.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// A timer of this runtime.
    type Timer: Timer;

    /// The time now, on the clock that the timers follow. Never goes back.
    fn now(&self) -> Instant;

    /// A timer that is not set.
    fn timer(&self) -> Self::Timer;

    /// Runs a task to its end in the background.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Looks up the addresses of a host name.
    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static;

    /// Does work that may block, such as writing a file, away from the tasks.
    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static;

    /// Waits until then.
    fn sleep_until(&self, deadline: Instant) -> Sleep<Self::Timer> {
        let mut timer = self.timer();
        timer.set(deadline);
        Sleep { timer }
    }
}

/// One timer that can be set again and again without allocating.
pub trait Timer: Send + Unpin + 'static {
    /// Sets it to go off then, instead of whenever it was set to before.
    fn set(&mut self, deadline: Instant);

    /// Ready once the time it was set to has come, and from then on until it is set again; pending while not set.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Waits until a point in time; see [`Runtime::sleep_until`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep<T> {
    timer: T,
}

impl<T: Timer> Future for Sleep<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll_expired(cx)
    }
}

//! tokio as the runtime of the driver.

use core::future::Future;
use core::net::IpAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::io;
use std::net::ToSocketAddrs;

use gossip_driver::gossip_proto::Instant;
use gossip_driver::{Runtime, Timer};
use tokio::runtime::{Handle, TryCurrentError};
use tokio::time;

/// tokio as the runtime of the driver. Its clock starts at zero when it is made.
#[derive(Clone, Debug)]
pub struct TokioRuntime {
    handle: Handle,
    origin: time::Instant,
}

impl TokioRuntime {
    /// The runtime that the caller runs in.
    pub fn current() -> Result<Self, TryCurrentError> {
        Ok(Self { handle: Handle::try_current()?, origin: time::Instant::now() })
    }
}

impl Runtime for TokioRuntime {
    type Timer = TokioTimer;

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    fn timer(&self) -> TokioTimer {
        let _context = self.handle.enter();
        let sleep = Box::pin(time::sleep_until(self.origin));
        TokioTimer { sleep, origin: self.origin, set: false }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(task);
    }

    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        let host = host.to_owned();
        let found = self.handle.spawn_blocking(move || {
            let mut found: Vec<IpAddr> = Vec::new();
            for addr in (host, 0).to_socket_addrs()? {
                if !found.contains(&addr.ip()) {
                    found.push(addr.ip());
                }
            }
            Ok(found)
        });
        async move { found.await.map_err(io::Error::other)? }
    }

    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static {
        let work = self.handle.spawn_blocking(work);
        async move {
            match work.await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is going away, and whoever waits here with it.
                    Err(_) => core::future::pending().await,
                },
            }
        }
    }
}

/// A timer of tokio, precise to a millisecond.
#[derive(Debug)]
pub struct TokioTimer {
    sleep: Pin<Box<time::Sleep>>,
    origin: time::Instant,
    set: bool,
}

impl Timer for TokioTimer {
    fn set(&mut self, deadline: Instant) {
        let after = (deadline - Instant::ORIGIN).min(FAR);
        let deadline = self.origin.checked_add(after).unwrap_or(self.origin + FAR);
        self.sleep.as_mut().reset(deadline);
        self.set = true;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.set {
            return Poll::Pending;
        }
        ready!(self.sleep.as_mut().poll(cx));
        Poll::Ready(())
    }
}

/// As good as never, and still a time that every platform can express.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

//! Waiting for what other processes do.

use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Calls `attempt` until it succeeds, and says how long that took. After `within` it panics with the last reason.
pub(crate) fn wait_until<T>(
    what: &str,
    within: Duration,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> (T, Duration) {
    let begun = Instant::now();
    loop {
        // The time is taken before the look, so that a slow look still counts as one that was in time.
        let elapsed = begun.elapsed();
        match attempt() {
            Ok(value) => return (value, begun.elapsed()),
            Err(reason) if elapsed >= within => {
                panic!("waited {elapsed:.1?} for {what}; last seen: {reason}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Calls `check` for the whole of `period`; the first error panics.
pub(crate) fn holds_for(what: &str, period: Duration, mut check: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while begun.elapsed() < period {
        if let Err(reason) = check() {
            panic!("{what} held for {:.1?} only: {reason}", begun.elapsed());
        }
        thread::sleep(PAUSE);
    }
}

/// Gossip reaches everybody at once nearly always: each node passes news on four times only, and in a cluster of six
/// real Serf agents one in ten joins of two halves misses somebody. Then an exchange tells, and a node begins its first
/// 30 to 60 s after its start.
pub(crate) const HEARSAY: Duration = Duration::from_secs(75);

const PAUSE: Duration = Duration::from_millis(100);

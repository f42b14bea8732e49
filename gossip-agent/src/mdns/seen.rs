//! Which addresses were tried. Upstream tries each once, and marks it for ever even if that failed; here what fails is
//! tried again, less and less often, for as long as it answers.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Seen {
    tried: BTreeMap<SocketAddr, Tried>,
}

#[derive(Debug)]
struct Tried {
    /// Not before.
    next: Instant,
    failures: u32,
}

impl Seen {
    /// Whether it may be tried now.
    pub(super) fn is_due(&self, now: Instant, addr: &SocketAddr) -> bool {
        self.tried.get(addr).is_none_or(|tried| tried.next <= now)
    }

    /// It was.
    pub(super) fn tried(&mut self, now: Instant, addr: SocketAddr, joined: bool) {
        if !self.tried.contains_key(&addr) && self.tried.len() >= MAX_SEEN {
            // Whoever answers under many addresses displaces those that are due first, which costs an attempt at most.
            let first = self.tried.iter().min_by_key(|(_, tried)| tried.next).map(|(addr, _)| *addr);
            first.and_then(|addr| self.tried.remove(&addr));
        }
        let tried = self.tried.entry(addr).or_insert(Tried { next: now, failures: 0 });
        tried.failures = if joined { 0 } else { tried.failures + 1 };
        // Joined and yet no member: it goes by another address, or has left since.
        let doublings = if joined { MAX_DOUBLINGS } else { (tried.failures - 1).min(MAX_DOUBLINGS) };
        tried.next = now + FIRST_PAUSE * 2u32.pow(doublings);
    }
}

const MAX_SEEN: usize = 1024;
/// Shorter than the time between two questions, so that the next answer counts.
const FIRST_PAUSE: Duration = Duration::from_secs(50);
/// Up to 27 minutes.
const MAX_DOUBLINGS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u16) -> SocketAddr {
        ([10, 0, 0, 1], number).into()
    }

    #[test]
    fn what_failed_is_tried_again_less_and_less_often() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(seen.is_due(at(0), &addr(1)));
        seen.tried(at(0), addr(1), false);
        assert!(!seen.is_due(at(49), &addr(1)) && seen.is_due(at(60), &addr(1)));
        seen.tried(at(60), addr(1), false);
        assert!(!seen.is_due(at(120), &addr(1)) && seen.is_due(at(180), &addr(1)));
        for _ in 0..40 {
            seen.tried(at(180), addr(1), false);
        }
        assert!(!seen.is_due(at(180 + 1599), &addr(1)) && seen.is_due(at(180 + 1600), &addr(1)));
        seen.tried(at(2000), addr(1), true);
        assert!(!seen.is_due(at(2060), &addr(1)) && seen.is_due(at(2000 + 1600), &addr(1)));
        seen.tried(at(4000), addr(1), false);
        assert!(seen.is_due(at(4060), &addr(1)), "what once worked starts anew");
    }

    #[test]
    fn it_remembers_a_bounded_number() {
        let (mut seen, now) = (Seen::default(), Instant::now());
        for number in 0..4 * MAX_SEEN as u16 {
            seen.tried(now + Duration::from_millis(number.into()), addr(number), false);
            assert!(seen.tried.len() <= MAX_SEEN);
        }
        assert!(seen.is_due(now, &addr(0)) && !seen.is_due(now, &addr(4 * MAX_SEEN as u16 - 1)));
    }
}

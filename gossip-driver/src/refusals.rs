//! Why peers could not be talked to, for whoever asks for one of them soon after.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use gossip_proto::Instant;

/// The last refusal of each peer; a few, and not for long.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    last: VecDeque<(SocketAddr, Instant, String)>,
}

impl Refusals {
    pub(crate) fn note(&mut self, now: Instant, peer: SocketAddr, why: String) {
        self.forget(peer);
        if self.last.len() >= MOST {
            self.last.pop_front();
        }
        self.last.push_back((peer, now, why));
    }

    /// The peer can be talked to after all.
    pub(crate) fn forget(&mut self, peer: SocketAddr) {
        self.last.retain(|(known, ..)| *known != peer);
    }

    /// Why it could not be talked to a moment ago.
    pub(crate) fn recent(&self, now: Instant, peer: SocketAddr) -> Option<&str> {
        let (_, at, why) = self.last.iter().find(|(known, ..)| *known == peer)?;
        (now.saturating_duration_since(*at) <= RECENT).then_some(why.as_str())
    }
}

const MOST: usize = 64;
/// Longer than a stream may take to fail.
const RECENT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_kept_for_a_while() {
        let mut refusals = Refusals::default();
        let peer = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let now = Instant::ORIGIN + RECENT;
        for port in 0..2 * MOST as u16 {
            refusals.note(now, peer(port), format!("why {port}"));
        }
        assert_eq!(refusals.last.len(), MOST);
        assert_eq!(refusals.recent(now, peer(127)), Some("why 127"));
        assert_eq!(refusals.recent(now, peer(0)), None);
        assert_eq!(refusals.recent(now + RECENT + Duration::from_nanos(1), peer(127)), None);
        refusals.note(now + RECENT, peer(127), "anew".into());
        assert_eq!(refusals.recent(now + RECENT * 2, peer(127)), Some("anew"));
        refusals.forget(peer(127));
        assert_eq!(refusals.recent(now, peer(127)), None);
    }
}

//! Whom to try to join, of those whom neighbours name: anybody on the link can name any address, of third parties too, as
//! often as it likes.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use super::seen::Seen;

#[derive(Debug)]
pub(super) struct Found {
    /// This node's own address.
    own: SocketAddr,
    seen: Seen,
    /// Heard of, and not tried yet.
    waiting: BTreeSet<SocketAddr>,
    ration: Ration,
}

impl Found {
    pub(super) fn new(own: SocketAddr) -> Self {
        Self { own, seen: Seen::default(), waiting: BTreeSet::new(), ration: Ration::default() }
    }

    /// A neighbour named these; whether somebody new is among them.
    pub(super) fn heard(&mut self, now: Instant, named: Vec<SocketAddr>) -> bool {
        let before = self.waiting.len();
        for addr in named {
            if addr != self.own && self.waiting.len() < MAX_WAITING && self.seen.is_due(now, &addr) {
                self.waiting.insert(addr);
            }
        }
        self.waiting.len() > before
    }

    /// Whom to try now. Who is left out is tried when it is named again.
    pub(super) fn take(&mut self, now: Instant, members: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
        let waiting = core::mem::take(&mut self.waiting);
        let strangers = waiting.into_iter().filter(|addr| !members.contains(addr));
        strangers.filter(|addr| self.ration.take(now, addr.ip())).collect()
    }

    /// What came of it.
    pub(super) fn tried(&mut self, now: Instant, addr: SocketAddr, joined: bool) {
        self.seen.tried(now, addr, joined);
    }
}

/// Bounds the attempts of any minute, in all and at one host.
#[derive(Debug, Default)]
struct Ration {
    /// Those of the last minute, the oldest first.
    last: VecDeque<(Instant, IpAddr)>,
}

impl Ration {
    fn take(&mut self, now: Instant, host: IpAddr) -> bool {
        while self.last.front().is_some_and(|(at, _)| *at + MINUTE <= now) {
            self.last.pop_front();
        }
        let at_host = self.last.iter().filter(|(_, other)| *other == host).count();
        let some = self.last.len() < PER_MINUTE && at_host < PER_HOST;
        if some {
            self.last.push_back((now, host));
        }
        some
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Nodes heard of and not tried yet; further ones count when they are named again.
const MAX_WAITING: usize = 64;
/// Attempts within a minute. A cluster that comes up at once is joined by fewer: who was joined tells of the others.
const PER_MINUTE: usize = 100;
/// Of those at one IP address, whatever the port.
const PER_HOST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(core::net::Ipv4Addr::LOCALHOST), 7946);

    fn addr(host: u32, port: u16) -> SocketAddr {
        (core::net::Ipv4Addr::from_bits(0x0a00_0000 + host), port).into()
    }

    /// The most attempts within a minute, when every tenth of a second ever new addresses are named.
    fn most_in_a_minute(named: impl Fn(u32) -> SocketAddr) -> usize {
        let (mut found, start) = (Found::new(OWN), Instant::now());
        let mut tried = Vec::new();
        for turn in 0..2000u32 {
            let now = start + Duration::from_millis(100) * turn;
            found.heard(now, (0..64).map(|number| named(turn * 64 + number)).collect());
            for addr in found.take(now, &BTreeSet::new()) {
                found.tried(now, addr, false);
                tried.push(now);
            }
        }
        assert!(tried.len() > 3 * PER_HOST, "it goes on: {}", tried.len());
        let end = |from: usize| tried.partition_point(|at| *at < tried[from] + MINUTE);
        (0..tried.len()).map(|from| end(from) - from).max().unwrap()
    }

    #[test]
    fn who_names_ever_new_ports_of_a_host_has_a_few_tried() {
        assert_eq!(most_in_a_minute(|number| addr(1, 1 + (number % 65_535) as u16)), PER_HOST);
    }

    #[test]
    fn who_names_ever_new_hosts_has_a_bounded_number_tried() {
        assert_eq!(most_in_a_minute(|number| addr(number, 7946)), PER_MINUTE);
    }

    #[test]
    fn a_cluster_that_comes_up_is_tried_at_once() {
        let (mut found, now) = (Found::new(OWN), Instant::now());
        let named: Vec<_> = (1..=50).map(|host| addr(host, 7946)).collect();
        for one in &named {
            assert!(found.heard(now, vec![OWN, *one]));
        }
        assert!(!found.heard(now, named.clone()));
        assert_eq!(found.take(now, &BTreeSet::new()), named);
    }

    #[test]
    fn members_are_not_tried_and_cost_no_attempt() {
        let (mut found, now) = (Found::new(OWN), Instant::now());
        let members: BTreeSet<_> = (1..=40).map(|port| addr(1, port)).collect();
        for _ in 0..2 * PER_MINUTE {
            found.heard(now, members.iter().copied().collect());
            assert!(found.take(now, &members).is_empty());
        }
        found.heard(now, vec![addr(1, 7946)]);
        assert_eq!(found.take(now, &members), [addr(1, 7946)]);
    }
}

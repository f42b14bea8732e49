//! What the network between the nodes does: latency, loss, duplication, partitions.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_proto::Seed;

use crate::rng::{Purpose, Rng};

/// How a link behaves, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Time every packet takes at least.
    pub latency: Duration,
    /// Up to this much more, uniformly. Jitter reorders datagrams; streams stay in order.
    pub jitter: Duration,
    /// Probability that a packet is lost. A stream sends a lost segment again after 200 milliseconds.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
}

impl Conditions {
    /// Nothing is lost, and packets arrive at the very instant they are sent.
    pub const PERFECT: Self =
        Self { latency: Duration::ZERO, jitter: Duration::ZERO, loss: 0.0, duplicate: 0.0 };

    /// A quiet local network: half a millisecond, give or take, and no loss.
    pub const LAN: Self =
        Self { latency: Duration::from_micros(300), jitter: Duration::from_micros(400), ..Self::PERFECT };

    /// A link between data centres: 40 to 60 milliseconds, no loss.
    pub const WAN: Self =
        Self { latency: Duration::from_millis(40), jitter: Duration::from_millis(20), ..Self::PERFECT };

    /// The same with another probability of loss.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with another probability of duplication.
    #[must_use]
    pub const fn duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// The same with other delays.
    #[must_use]
    pub const fn delay(self, latency: Duration, jitter: Duration) -> Self {
        Self { latency, jitter, ..self }
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::LAN
    }
}

/// How long a stream waits before it sends a lost segment again, or asks a silent peer again to connect.
pub(crate) const RETRANSMIT: Duration = Duration::from_millis(200);

/// A lossy link is not a cut: after this many losses of one segment in a row it gets through.
const MAX_RETRANSMITS: u32 = 12;

/// The links between all endpoints, which are numbered by their owner.
#[derive(Debug)]
pub(crate) struct Links {
    everywhere: Conditions,
    pairs: BTreeMap<(u32, u32), Conditions>,
    loss_at: BTreeMap<u32, (f64, f64)>,
    groups: Vec<u32>,
    cuts: BTreeSet<(u32, u32)>,
    no_datagrams: BTreeSet<(u32, u32)>,
    stalled: BTreeSet<(u32, u32)>,
    /// The largest datagram that a path carries, where it is limited.
    limits: BTreeMap<(u32, u32), usize>,
    latency: Rng,
    loss: Rng,
    duplicate: Rng,
}

impl Links {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            everywhere: Conditions::default(),
            pairs: BTreeMap::new(),
            loss_at: BTreeMap::new(),
            groups: Vec::new(),
            cuts: BTreeSet::new(),
            no_datagrams: BTreeSet::new(),
            stalled: BTreeSet::new(),
            limits: BTreeMap::new(),
            latency: Rng::new(seed, Purpose::Latency, 0),
            loss: Rng::new(seed, Purpose::Loss, 0),
            duplicate: Rng::new(seed, Purpose::Duplicate, 0),
        }
    }

    pub(crate) fn set_everywhere(&mut self, conditions: Conditions) {
        self.everywhere = conditions;
    }

    pub(crate) fn set_pair(&mut self, from: u32, to: u32, conditions: Option<Conditions>) {
        match conditions {
            Some(conditions) => self.pairs.insert((from, to), conditions),
            None => self.pairs.remove(&(from, to)),
        };
    }

    /// Loss at an endpoint's own port, on top of the links': what it sends, and what it receives.
    pub(crate) fn set_loss_at(&mut self, at: u32, outbound: f64, inbound: f64) {
        self.loss_at.insert(at, (outbound, inbound));
    }

    /// Splits the network: endpoints of different groups do not reach each other. Those in no list are one group.
    pub(crate) fn partition<'a>(&mut self, groups: impl Iterator<Item = &'a [u32]>) {
        self.groups.clear();
        for (group, members) in groups.enumerate() {
            for &member in members {
                let index = member as usize;
                if self.groups.len() <= index {
                    self.groups.resize(index + 1, 0);
                }
                self.groups[index] = group as u32 + 1;
            }
        }
    }

    /// Ends partitions, cuts, stalls and blocks of datagrams. Conditions stay.
    pub(crate) fn heal(&mut self) {
        self.groups.clear();
        self.cuts.clear();
        self.no_datagrams.clear();
        self.stalled.clear();
    }

    pub(crate) fn cut(&mut self, from: u32, to: u32, on: bool) {
        set(&mut self.cuts, (from, to), on);
    }

    pub(crate) fn block_datagrams(&mut self, from: u32, to: u32, on: bool) {
        set(&mut self.no_datagrams, (from, to), on);
    }

    pub(crate) fn stall_streams(&mut self, from: u32, to: u32, on: bool) {
        set(&mut self.stalled, (from, to), on);
    }

    pub(crate) fn set_limit(&mut self, from: u32, to: u32, limit: Option<usize>) {
        match limit {
            Some(limit) => self.limits.insert((from, to), limit),
            None => self.limits.remove(&(from, to)),
        };
    }

    /// The most bytes of one datagram on that path.
    pub(crate) fn limit(&self, from: u32, to: u32) -> usize {
        self.limits.get(&(from, to)).copied().unwrap_or(usize::MAX)
    }

    /// Whether anything gets from one to the other.
    pub(crate) fn connected(&self, from: u32, to: u32) -> bool {
        let group = |of: u32| self.groups.get(of as usize).copied().unwrap_or(0);
        group(from) == group(to) && !self.cuts.contains(&(from, to))
    }

    /// Whether the bytes of established streams move from one to the other.
    pub(crate) fn streams_flow(&self, from: u32, to: u32) -> bool {
        self.connected(from, to) && !self.stalled.contains(&(from, to))
    }

    /// What becomes of a datagram: the delay of each copy that arrives.
    pub(crate) fn datagram(&mut self, from: u32, to: u32) -> Fate {
        if !self.connected(from, to) || self.no_datagrams.contains(&(from, to)) {
            return Fate::default();
        }
        let conditions = self.conditions(from, to);
        let loss = self.loss_of(from, to, conditions.loss);
        if self.loss.chance(loss) {
            return Fate::default();
        }
        let first = Some(self.delay(conditions));
        let second = self.duplicate.chance(conditions.duplicate).then(|| self.delay(conditions));
        Fate { copies: [first, second] }
    }

    /// The delay of a segment of a stream, with the time that repeating lost ones takes.
    pub(crate) fn segment(&mut self, from: u32, to: u32) -> Duration {
        let conditions = self.conditions(from, to);
        let loss = self.loss_of(from, to, conditions.loss);
        let mut delay = self.delay(conditions);
        for _ in 0..MAX_RETRANSMITS {
            if !self.loss.chance(loss) {
                break;
            }
            delay += RETRANSMIT;
        }
        delay
    }

    fn conditions(&self, from: u32, to: u32) -> Conditions {
        self.pairs.get(&(from, to)).copied().unwrap_or(self.everywhere)
    }

    fn loss_of(&self, from: u32, to: u32, link: f64) -> f64 {
        if self.loss_at.is_empty() {
            return link;
        }
        let outbound = self.loss_at.get(&from).map_or(0.0, |loss| loss.0);
        let inbound = self.loss_at.get(&to).map_or(0.0, |loss| loss.1);
        1.0 - (1.0 - link) * (1.0 - outbound) * (1.0 - inbound)
    }

    fn delay(&mut self, conditions: Conditions) -> Duration {
        conditions.latency + self.latency.duration_below(conditions.jitter)
    }
}

/// When the copies of a datagram arrive; none if it was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) copies: [Option<Duration>; 2],
}

fn set(pairs: &mut BTreeSet<(u32, u32)>, pair: (u32, u32), on: bool) {
    if on {
        pairs.insert(pair);
    } else {
        pairs.remove(&pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(conditions: Conditions) -> Links {
        let mut links = Links::new(&Seed::from_u64(11));
        links.set_everywhere(conditions);
        links
    }

    fn lost(links: &mut Links, from: u32, to: u32, of: usize) -> usize {
        (0..of).filter(|_| links.datagram(from, to).copies[0].is_none()).count()
    }

    #[test]
    fn latency_lies_between_base_and_base_plus_jitter_and_uses_the_whole_range() {
        let (base, jitter) = (Duration::from_millis(10), Duration::from_millis(4));
        let mut links = links(Conditions::PERFECT.delay(base, jitter));
        let delays: Vec<_> = (0..4000).map(|_| links.datagram(0, 1).copies[0].unwrap()).collect();
        assert!(delays.iter().all(|d| (base..base + jitter).contains(d)));
        let mean = delays.iter().sum::<Duration>() / 4000;
        assert!((Duration::from_micros(11_900)..Duration::from_micros(12_100)).contains(&mean), "{mean:?}");
        assert!(delays.iter().min().unwrap() < &Duration::from_micros(10_020));
        assert!(delays.iter().max().unwrap() > &Duration::from_micros(13_980));
    }

    #[test]
    fn loss_is_as_frequent_as_asked_for() {
        let mut links = links(Conditions::PERFECT.loss(0.25));
        let lost = lost(&mut links, 0, 1, 10_000);
        assert!((2370..2630).contains(&lost), "{lost}"); // three standard deviations are 130
    }

    #[test]
    fn losses_of_link_and_ports_combine() {
        let mut links = links(Conditions::PERFECT);
        links.set_pair(0, 1, Some(Conditions::PERFECT.loss(0.5)));
        links.set_loss_at(0, 0.5, 0.0);
        links.set_loss_at(1, 0.0, 0.5);
        let both = lost(&mut links, 0, 1, 10_000);
        assert!((8650..8850).contains(&both), "{both}"); // 1 - 0.5^3
        let back = lost(&mut links, 1, 0, 10_000);
        assert_eq!(back, 0);
        let other = lost(&mut links, 0, 2, 10_000);
        assert!((4850..5150).contains(&other), "{other}");
    }

    #[test]
    fn duplicates_have_delays_of_their_own() {
        let mut links = links(Conditions::LAN.duplicate(0.1));
        let fates: Vec<_> = (0..10_000).map(|_| links.datagram(0, 1)).collect();
        let twice = fates.iter().filter(|fate| fate.copies[1].is_some()).count();
        assert!((900..1100).contains(&twice), "{twice}");
        assert!(fates.iter().any(|fate| matches!(fate.copies, [Some(a), Some(b)] if b < a)));
    }

    #[test]
    fn a_lost_segment_comes_later_instead_of_never() {
        let mut links = links(Conditions::PERFECT.loss(0.5));
        let delays: Vec<_> = (0..1000).map(|_| links.segment(0, 1)).collect();
        let at_once = delays.iter().filter(|d| d.is_zero()).count();
        assert!((440..560).contains(&at_once), "{at_once}");
        assert!(delays.contains(&RETRANSMIT) && delays.contains(&(RETRANSMIT * 2)));
        links.set_everywhere(Conditions::PERFECT.loss(1.0));
        assert_eq!(links.segment(0, 1), RETRANSMIT * MAX_RETRANSMITS);
    }

    #[test]
    fn partitions_split_into_groups_and_the_unnamed_are_one() {
        let mut links = links(Conditions::PERFECT);
        links.partition([[1, 2].as_slice(), &[3]].into_iter());
        assert!(links.connected(1, 2) && links.connected(0, 4) && links.connected(0, 100));
        assert!(!links.connected(1, 3) && !links.connected(0, 1) && !links.connected(3, 4));
        assert_eq!(lost(&mut links, 1, 3, 10), 10);
        links.heal();
        assert!(links.connected(1, 3));
        assert_eq!(lost(&mut links, 1, 3, 10), 0);
    }

    #[test]
    fn cuts_are_one_way_and_blocks_concern_one_channel() {
        let mut links = links(Conditions::PERFECT);
        links.cut(0, 1, true);
        assert!(!links.connected(0, 1) && links.connected(1, 0));
        links.cut(0, 1, false);
        assert!(links.connected(0, 1));
        links.block_datagrams(0, 1, true);
        assert_eq!((lost(&mut links, 0, 1, 5), lost(&mut links, 1, 0, 5)), (5, 0));
        assert!(links.streams_flow(0, 1));
        links.stall_streams(2, 3, true);
        assert!(!links.streams_flow(2, 3) && links.streams_flow(3, 2) && links.connected(2, 3));
    }

    #[test]
    fn loss_does_not_move_the_latencies() {
        let jitter = Conditions::PERFECT.delay(Duration::ZERO, Duration::from_millis(1));
        let mut without = links(jitter);
        let mut with = links(jitter.loss(0.3));
        let delays: Vec<_> = (0..100).filter_map(|_| without.datagram(0, 1).copies[0]).collect();
        let survivors: Vec<_> = (0..100).filter_map(|_| with.datagram(0, 1).copies[0]).collect();
        assert_eq!(survivors, delays[..survivors.len()]);
    }
}

//! What the network between the nodes does: latency, loss, duplication, partitions.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_proto::{Instant, Seed};

use crate::conditions::{Conditions, Loss};
use crate::rng::{Purpose, Rng};

/// How long a stream waits before it sends a lost segment again, or asks a silent peer again to connect.
pub(crate) const RETRANSMIT: Duration = Duration::from_millis(200);

/// A lossy link is not a cut: after this many losses of one segment in a row it gets through.
const MAX_RETRANSMITS: u32 = 12;

const NANOS: u128 = 1_000_000_000;

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
    /// The zone of each endpoint; those not here are in zone 0.
    zones: Vec<u32>,
    zone_pairs: BTreeMap<(u32, u32), Conditions>,
    zone_cuts: BTreeSet<(u32, u32)>,
    /// The links that are in a bad state.
    bad: BTreeSet<(u32, u32)>,
    /// Until when a link of limited rate is busy with what it was given.
    busy: BTreeMap<(u32, u32), Instant>,
    latency: Rng,
    loss: Rng,
    duplicate: Rng,
    bursts: Rng,
    reorder: Rng,
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
            zones: Vec::new(),
            zone_pairs: BTreeMap::new(),
            zone_cuts: BTreeSet::new(),
            bad: BTreeSet::new(),
            busy: BTreeMap::new(),
            bursts: Rng::new(seed, Purpose::Burst, 0),
            reorder: Rng::new(seed, Purpose::Reorder, 0),
            latency: Rng::new(seed, Purpose::Latency, 0),
            loss: Rng::new(seed, Purpose::Loss, 0),
            duplicate: Rng::new(seed, Purpose::Duplicate, 0),
        }
    }

    pub(crate) fn set_everywhere(&mut self, conditions: Conditions) {
        conditions.check();
        self.everywhere = conditions;
    }

    pub(crate) fn set_pair(&mut self, from: u32, to: u32, conditions: Option<Conditions>) {
        conditions.iter().for_each(Conditions::check);
        match conditions {
            Some(conditions) => self.pairs.insert((from, to), conditions),
            None => self.pairs.remove(&(from, to)),
        };
    }

    pub(crate) fn set_zone(&mut self, of: u32, zone: u32) {
        let index = of as usize;
        if self.zones.len() <= index {
            self.zones.resize(index + 1, 0);
        }
        self.zones[index] = zone;
    }

    pub(crate) fn zone(&self, of: u32) -> u32 {
        self.zones.get(of as usize).copied().unwrap_or(0)
    }

    pub(crate) fn set_zones(&mut self, from: u32, to: u32, conditions: Option<Conditions>) {
        conditions.iter().for_each(Conditions::check);
        match conditions {
            Some(conditions) => self.zone_pairs.insert((from, to), conditions),
            None => self.zone_pairs.remove(&(from, to)),
        };
    }

    pub(crate) fn cut_zones(&mut self, from: u32, to: u32, on: bool) {
        set(&mut self.zone_cuts, (from, to), on);
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
        self.zone_cuts.clear();
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
        group(from) == group(to)
            && !self.cuts.contains(&(from, to))
            && (self.zone_cuts.is_empty() || !self.zone_cuts.contains(&(self.zone(from), self.zone(to))))
    }

    /// Whether the bytes of established streams move from one to the other.
    pub(crate) fn streams_flow(&self, from: u32, to: u32) -> bool {
        self.connected(from, to) && !self.stalled.contains(&(from, to))
    }

    /// What becomes of a datagram of that many bytes: the delay of each copy that arrives. Latency is drawn for those too
    /// that are lost, so that loss does not move it.
    pub(crate) fn datagram(&mut self, now: Instant, from: u32, to: u32, len: usize) -> Fate {
        if !self.connected(from, to) || self.no_datagrams.contains(&(from, to)) {
            return Fate::default();
        }
        let conditions = self.conditions(from, to);
        let mut first = conditions.latency.draw(&mut self.latency);
        if self.is_lost(from, to, conditions.loss) || conditions.mtu.is_some_and(|mtu| len > mtu) {
            return Fate::default();
        }
        if self.reorder.chance(conditions.reorder.0) {
            first += conditions.reorder.1;
        }
        let Some(turn) = self.turn(now, (from, to), conditions, len, false) else { return Fate::default() };
        let second = self.duplicate.chance(conditions.duplicate);
        let second = second.then(|| turn + conditions.latency.draw(&mut self.latency));
        Fate { copies: [Some(turn + first), second] }
    }

    /// The delay of a segment of a stream of that many bytes, with the time that repeating lost ones takes.
    pub(crate) fn segment(&mut self, now: Instant, from: u32, to: u32, len: usize) -> Duration {
        let conditions = self.conditions(from, to);
        let mut delay = conditions.latency.draw(&mut self.latency);
        for _ in 0..MAX_RETRANSMITS {
            if !self.is_lost(from, to, conditions.loss) {
                break;
            }
            delay += RETRANSMIT;
        }
        delay + self.turn(now, (from, to), conditions, len, true).unwrap_or_default()
    }

    /// When a link of limited rate is done with so many bytes more, from now; `None` if there is no room for them.
    fn turn(
        &mut self,
        now: Instant,
        link: (u32, u32),
        conditions: Conditions,
        len: usize,
        patient: bool,
    ) -> Option<Duration> {
        let Some(rate) = conditions.rate else { return Some(Duration::ZERO) };
        let busy = self.busy.entry(link).or_insert(now);
        let waits = busy.saturating_duration_since(now);
        let waiting = waits.as_nanos() * u128::from(rate.bytes_per_second) / NANOS;
        if !patient && waiting > 0 && waiting + len as u128 > rate.buffer as u128 {
            return None;
        }
        let takes = len as u128 * NANOS / u128::from(rate.bytes_per_second);
        let done = waits + Duration::from_nanos(u64::try_from(takes).unwrap_or(u64::MAX));
        *busy = now + done;
        Some(done)
    }

    /// Of the link itself, or that of the two zones, or that of all.
    fn conditions(&self, from: u32, to: u32) -> Conditions {
        if let Some(conditions) = self.pairs.get(&(from, to)) {
            return *conditions;
        }
        if self.zone_pairs.is_empty() {
            return self.everywhere;
        }
        self.zone_pairs.get(&(self.zone(from), self.zone(to))).copied().unwrap_or(self.everywhere)
    }

    fn is_lost(&mut self, from: u32, to: u32, loss: Loss) -> bool {
        let link = match loss {
            Loss::Bernoulli(loss) => loss,
            Loss::GilbertElliott { to_bad, to_good, good, bad } => {
                let was_bad = self.bad.contains(&(from, to));
                let changes = self.bursts.chance(if was_bad { to_good } else { to_bad });
                if changes {
                    set(&mut self.bad, (from, to), !was_bad);
                }
                if was_bad != changes { bad } else { good }
            }
        };
        let loss = self.loss_of(from, to, link);
        self.loss.chance(loss)
    }

    fn loss_of(&self, from: u32, to: u32, link: f64) -> f64 {
        if self.loss_at.is_empty() {
            return link;
        }
        let outbound = self.loss_at.get(&from).map_or(0.0, |loss| loss.0);
        let inbound = self.loss_at.get(&to).map_or(0.0, |loss| loss.1);
        1.0 - (1.0 - link) * (1.0 - outbound) * (1.0 - inbound)
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
        (0..of).filter(|_| links.datagram(Instant::ORIGIN, from, to, 100).copies[0].is_none()).count()
    }

    #[test]
    fn latency_lies_between_base_and_base_plus_jitter_and_uses_the_whole_range() {
        let (base, jitter) = (Duration::from_millis(10), Duration::from_millis(4));
        let mut links = links(Conditions::PERFECT.delay(base, jitter));
        let delays: Vec<_> =
            (0..4000).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 100).copies[0].unwrap()).collect();
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
        let fates: Vec<_> = (0..10_000).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 100)).collect();
        let twice = fates.iter().filter(|fate| fate.copies[1].is_some()).count();
        assert!((900..1100).contains(&twice), "{twice}");
        assert!(fates.iter().any(|fate| matches!(fate.copies, [Some(a), Some(b)] if b < a)));
    }

    #[test]
    fn a_lost_segment_comes_later_instead_of_never() {
        let mut links = links(Conditions::PERFECT.loss(0.5));
        let delays: Vec<_> = (0..1000).map(|_| links.segment(Instant::ORIGIN, 0, 1, 100)).collect();
        let at_once = delays.iter().filter(|d| d.is_zero()).count();
        assert!((440..560).contains(&at_once), "{at_once}");
        assert!(delays.contains(&RETRANSMIT) && delays.contains(&(RETRANSMIT * 2)));
        links.set_everywhere(Conditions::PERFECT.loss(1.0));
        assert_eq!(links.segment(Instant::ORIGIN, 0, 1, 100), RETRANSMIT * MAX_RETRANSMITS);
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
        let mut with = links(jitter.losing(Loss::bursts(0.3, 4.0)));
        let fates = |links: &mut Links| {
            let fates = (0..200).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 100).copies[0]);
            fates.collect::<Vec<_>>()
        };
        let (all, some) = (fates(&mut without), fates(&mut with));
        assert!(some.contains(&None));
        assert!(all.iter().zip(&some).all(|(one, other)| other.is_none() || one == other));
    }

    #[test]
    fn bursts_lose_their_share_and_are_as_long_as_asked_for_on_each_link_for_itself() {
        let mut links = links(Conditions::PERFECT.losing(Loss::bursts(0.2, 5.0)));
        let mut runs = [(0, 0, false); 2];
        for _ in 0..100_000 {
            for (to, (lost, bursts, before)) in runs.iter_mut().enumerate() {
                let gone = links.datagram(Instant::ORIGIN, 5, to as u32, 100).copies[0].is_none();
                *lost += u32::from(gone);
                *bursts += u32::from(gone && !*before);
                *before = gone;
            }
        }
        for (lost, bursts, _) in runs {
            assert!((19_000..21_000).contains(&lost), "{lost}");
            let mean = f64::from(lost) / f64::from(bursts);
            assert!((4.8..5.2).contains(&mean), "{mean}");
        }
    }

    #[test]
    fn a_rate_spaces_packets_out_and_a_full_buffer_drops() {
        let mut links = links(Conditions::PERFECT.rate(1_000_000, 3_000));
        let mut sent = || links.datagram(Instant::ORIGIN, 0, 1, 1_000).copies[0];
        let ms = Duration::from_millis;
        // The first is on its way at once, and what has not left counts as waiting.
        assert_eq!([sent(), sent(), sent(), sent()], [Some(ms(1)), Some(ms(2)), Some(ms(3)), None]);
        let later = Instant::from_millis(2);
        assert_eq!(links.datagram(later, 0, 1, 1_000).copies[0], Some(ms(2)));
        assert_eq!(links.datagram(later, 1, 0, 1_000).copies[0], Some(ms(1)), "the other direction is idle");
        assert_eq!(links.segment(later, 0, 1, 9_000), ms(11), "a stream waits");
        let mut carried = 0;
        for tick in 0..10_000 {
            let fate = links.datagram(Instant::from_millis(100 + tick / 10), 0, 1, 500);
            carried += 500 * u64::from(fate.copies[0].is_some());
        }
        assert!((995_000..1_005_000).contains(&carried), "{carried} bytes in a second");
    }

    #[test]
    fn what_is_held_back_is_overtaken_and_what_is_too_large_lost() {
        let mut links = links(Conditions::PERFECT.reorder(0.25, Duration::from_millis(7)).mtu(1_000));
        let fates: Vec<_> = (0..10_000).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 1_000)).collect();
        let late = fates.iter().filter(|fate| fate.copies[0] == Some(Duration::from_millis(7))).count();
        assert!((2370..2630).contains(&late), "{late}");
        assert_eq!(links.datagram(Instant::ORIGIN, 0, 1, 1_001), Fate::default());
    }

    #[test]
    fn a_link_goes_before_its_zones_and_these_before_all() {
        let mut links = links(Conditions::PERFECT);
        let fixed = |millis| Conditions::PERFECT.delay(Duration::from_millis(millis), Duration::ZERO);
        for node in 2..4 {
            links.set_zone(node, 1);
        }
        links.set_zones(0, 1, Some(fixed(40)));
        links.set_pair(1, 2, Some(fixed(3)));
        let mut took =
            |from, to| links.datagram(Instant::ORIGIN, from, to, 1).copies[0].map(|took| took.as_millis());
        assert_eq!([took(0, 2), took(1, 2), took(1, 3)], [Some(40), Some(3), Some(40)]);
        assert_eq!([took(2, 0), took(0, 1), took(2, 3)], [Some(0); 3], "one direction, one pair of zones");
        links.cut_zones(1, 0, true);
        assert!(links.connected(0, 2) && !links.connected(3, 1) && links.connected(2, 3));
        links.heal();
        assert!(links.connected(3, 1));
    }

    #[test]
    #[should_panic(expected = "loss must be a probability, from 0 to 1, not -0.1")]
    fn conditions_that_make_no_sense_are_refused() {
        links(Conditions::LAN.loss(-0.1));
    }
}

//! What the network between the nodes does: latency, loss, duplication, partitions.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_proto::{Instant, Seed};

use crate::conditions::{Conditions, Loss, Rate};
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
    /// Requests to connect get lost.
    no_connects: BTreeSet<(u32, u32)>,
    /// After how many bytes from the one to the other their streams break.
    breaks: BTreeMap<(u32, u32), u64>,
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
    /// What endpoints of limited rate send, and receive; and until when they are busy with it.
    uplinks: BTreeMap<u32, (Rate, Instant)>,
    downlinks: BTreeMap<u32, (Rate, Instant)>,
    /// There is no clock by which anything could be late.
    pub(crate) timeless: bool,
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
            no_connects: BTreeSet::new(),
            breaks: BTreeMap::new(),
            limits: BTreeMap::new(),
            zones: Vec::new(),
            zone_pairs: BTreeMap::new(),
            zone_cuts: BTreeSet::new(),
            bad: BTreeSet::new(),
            busy: BTreeMap::new(),
            uplinks: BTreeMap::new(),
            downlinks: BTreeMap::new(),
            timeless: false,
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

    /// Ends partitions, cuts, stalls, breaks and blocks. Conditions and rates stay.
    pub(crate) fn heal(&mut self) {
        self.groups.clear();
        self.cuts.clear();
        self.zone_cuts.clear();
        self.no_datagrams.clear();
        self.stalled.clear();
        self.no_connects.clear();
        self.breaks.clear();
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

    pub(crate) fn block_connects(&mut self, from: u32, to: u32, on: bool) {
        set(&mut self.no_connects, (from, to), on);
    }

    pub(crate) fn break_streams(&mut self, from: u32, to: u32, after: Option<u64>) {
        match after {
            Some(after) => self.breaks.insert((from, to), after),
            None => self.breaks.remove(&(from, to)),
        };
    }

    pub(crate) fn set_uplink(&mut self, of: u32, rate: Option<Rate>) {
        set_rate(&mut self.uplinks, of, rate);
    }

    pub(crate) fn set_downlink(&mut self, of: u32, rate: Option<Rate>) {
        set_rate(&mut self.downlinks, of, rate);
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

    /// Whether a request to connect gets from one to the other.
    pub(crate) fn connects(&self, from: u32, to: u32) -> bool {
        self.connected(from, to) && !self.no_connects.contains(&(from, to))
    }

    /// How many bytes from one to the other a stream carries before it breaks.
    pub(crate) fn breaks_after(&self, from: u32, to: u32) -> u64 {
        if self.breaks.is_empty() {
            return u64::MAX;
        }
        self.breaks.get(&(from, to)).copied().unwrap_or(u64::MAX)
    }

    /// What becomes of a datagram of that many bytes: the delay of each copy that arrives. Latency is drawn for those too
    /// that are lost, so that loss does not move it.
    pub(crate) fn datagram(&mut self, now: Instant, from: u32, to: u32, len: usize) -> Fate {
        if !self.connected(from, to) || self.no_datagrams.contains(&(from, to)) {
            return Fate::default();
        }
        let conditions = self.conditions(from, to);
        let mut first = conditions.latency.draw(&mut self.latency);
        let Some(up) = rated(&mut self.uplinks, from, now, len, false) else { return Fate::default() };
        first += up;
        if self.is_lost(from, to, conditions.loss) || conditions.mtu.is_some_and(|mtu| len > mtu) {
            return Fate::default();
        }
        if self.reorder.chance(conditions.reorder.0) {
            first += conditions.reorder.1;
        }
        let turn = self.turn(now + up, (from, to), conditions, len, false);
        let Some(turn) = turn else { return Fate::default() };
        let second = self.duplicate.chance(conditions.duplicate);
        let second = second.then(|| up + turn + conditions.latency.draw(&mut self.latency));
        Fate { copies: [Some(turn + first), second] }
    }

    /// The delay of a segment of a stream of that many bytes, with the time that repeating lost ones takes.
    pub(crate) fn segment(&mut self, now: Instant, from: u32, to: u32, len: usize) -> Duration {
        let conditions = self.conditions(from, to);
        let mut delay = conditions.latency.draw(&mut self.latency);
        let up = rated(&mut self.uplinks, from, now, len, true).unwrap_or_default();
        for _ in 0..MAX_RETRANSMITS {
            if !self.is_lost(from, to, conditions.loss) {
                break;
            }
            delay += RETRANSMIT;
        }
        if self.timeless {
            return Duration::ZERO;
        }
        delay + up + self.turn(now + up, (from, to), conditions, len, true).unwrap_or_default()
    }

    /// Whether what an endpoint receives goes by [`Links::received`].
    pub(crate) fn has_downlink(&self, to: u32) -> bool {
        self.downlinks.contains_key(&to)
    }

    /// How long so many bytes that have come to an endpoint's own line take on it; `None` if there is no room for them.
    pub(crate) fn received(&mut self, now: Instant, to: u32, len: usize, patient: bool) -> Option<Duration> {
        rated(&mut self.downlinks, to, now, len, patient)
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
        match conditions.rate {
            Some(rate) => turn(rate, self.busy.entry(link).or_insert(now), now, len, patient),
            None => Some(Duration::ZERO),
        }
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

/// When something of limited rate is done with so many bytes more, from now; `None` if there is no room for them.
fn turn(rate: Rate, busy: &mut Instant, now: Instant, len: usize, patient: bool) -> Option<Duration> {
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

/// As [`turn`], at an endpoint's own line.
fn rated(
    lines: &mut BTreeMap<u32, (Rate, Instant)>,
    of: u32,
    now: Instant,
    len: usize,
    patient: bool,
) -> Option<Duration> {
    match lines.get_mut(&of) {
        Some((rate, busy)) => turn(*rate, busy, now, len, patient),
        None => Some(Duration::ZERO),
    }
}

fn set_rate(lines: &mut BTreeMap<u32, (Rate, Instant)>, of: u32, rate: Option<Rate>) {
    rate.iter().for_each(Rate::check);
    let busy = lines.get(&of).map_or(Instant::ORIGIN, |line| line.1);
    match rate {
        Some(rate) => lines.insert(of, (rate, busy)),
        None => lines.remove(&of),
    };
}

fn set(pairs: &mut BTreeSet<(u32, u32)>, pair: (u32, u32), on: bool) {
    if on {
        pairs.insert(pair);
    } else {
        pairs.remove(&pair);
    }
}

#[cfg(test)]
mod tests;

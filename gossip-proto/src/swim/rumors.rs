//! The dissemination queue: which rumors travel in the next packet (spec 4.11).
//!
//! Each lane keeps the order of the reference: fewer transmissions first, then the longer rumor, then the newer.
//! Where it has one queue for membership and leaves user broadcasts what remains, all kinds of rumor share a packet
//! here by deficit round robin: a lane with something to send earns its weight of every packet and saves up for a
//! rumor larger than that, and who could pay but found no room goes ahead next time. So no flood of one kind, and no
//! rumor too large for its share, keeps another waiting for ever; what nobody has earned goes by priority.
//!
//! With a single lane in use, a packet holds exactly what the reference would put into it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::skips::{List, Skips};
use crate::slab::reach;

/// A kind of rumor; the first are served first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// This node's own answer to an accusation: while it waits, a suspicion of us runs.
    Refutation,
    /// Suspect and dead.
    Accusation,
    /// Joins and updates.
    Alive,
    /// Serf's join and leave intents.
    Intent,
    /// User events.
    Event,
    /// Queries.
    Query,
}

/// How many lanes there are.
pub(crate) const LANES: usize = 6;

/// What became of a rumor that is no longer queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// A newer rumor about the same subject took its place, or it was removed.
    Displaced,
    /// It was sent as often as the cluster's size asks for.
    Exhausted,
    /// Its lane was full, and it was last.
    Pruned,
}

/// A rumor that left the queue, to be released by whoever inserted it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Retired<T> {
    pub(crate) value: T,
    pub(crate) notify: Option<u64>,
    pub(crate) transmits: u32,
    pub(crate) why: Why,
}

/// A rumor in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RumorId(u32);

/// The queue. Work per rumor is O(log n) at worst and mostly none that grows with n, and nothing is allocated once it has seen its largest size.
///
/// A packet is made in three steps: [`draw`](Self::draw), encode what [`drawn`](Self::drawn) names, and
/// [`commit`](Self::commit), or [`abort`](Self::abort) if it was not sent after all. Any other change aborts a draw.
#[derive(Clone, Debug)]
pub(crate) struct Rumors<T> {
    entries: Vec<Option<Entry<T>>>,
    free: Vec<u32>,
    /// Slot of the subject → entry.
    by_subject: Vec<u32>,
    skips: Skips,
    lanes: [List; LANES],
    /// No rumor of the lane is shorter: what has less room than that need not be looked through.
    shortest: [u32; LANES],
    max_per_lane: usize,
    /// Never goes back, so that an order key is never reused (W-2).
    next_serial: u64,
    accounts: [Account; LANES],
    drawn: Vec<u32>,
    drawn_limits: [u32; LANES],
    accounts_before_draw: [Account; LANES],
    retired: VecDeque<Retired<T>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    lane: Lane,
    subject: Option<u32>,
    len: u32,
    transmits: u32,
    serial: u64,
    notify: Option<u64>,
    value: T,
}

/// What a lane has earned of the packets that others filled.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// In bytes.
    credit: usize,
    /// In how many packets it could pay for its first rumor, but found no room left.
    passed_over: u32,
}

impl Account {
    const NEW: Self = Self { credit: 0, passed_over: 0 };
}

impl<T> Entry<T> {
    fn key(&self) -> u128 {
        order_key(self.transmits, self.len, self.serial)
    }
}

impl<T> Rumors<T> {
    /// The secret is this process's own; nothing that others see depends on it.
    pub(crate) fn new(max_per_lane: usize, secret: u64) -> Self {
        let (skips, lanes) = Skips::new(secret);
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            by_subject: Vec::new(),
            skips,
            lanes,
            shortest: [0; LANES],
            max_per_lane,
            next_serial: 0,
            accounts: [Account::NEW; LANES],
            drawn: Vec::new(),
            drawn_limits: [0; LANES],
            accounts_before_draw: [Account::NEW; LANES],
            retired: VecDeque::new(),
        }
    }

    /// Queues a rumor of `len` encoded bytes, in line as if it had been sent `sent` times.
    ///
    /// With a subject it displaces what is queued about the same one, in whatever lane: the newest news is the only
    /// news. When the lane is over its cap, the last in order is retired, which may be the new one. The id names it until
    /// it is handed over as retired.
    pub(crate) fn insert(
        &mut self,
        lane: Lane,
        subject: Option<u32>,
        len: usize,
        value: T,
        notify: Option<u64>,
        sent: u32,
    ) -> RumorId {
        self.abort();
        if let Some(slot) = subject {
            self.remove_subject(slot);
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let entry = Entry { lane, subject, len, transmits: sent, serial, notify, value };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = Some(entry);
                id
            }
            None => {
                self.entries.push(Some(entry));
                (self.entries.len() - 1) as u32
            }
        };
        if let Some(slot) = subject {
            reach(&mut self.by_subject, slot, NONE);
            self.by_subject[slot as usize] = id;
        }
        self.link(id);
        let list = &mut self.lanes[lane as usize];
        if list.len() > self.max_per_lane
            && let Some(last) = self.skips.last(list)
        {
            self.skips.remove(list, last);
            self.retire(last, Why::Pruned);
        }
        RumorId(id)
    }

    /// Retires a rumor for one that takes its place. The id must be of one that was not handed over as retired yet.
    pub(crate) fn displace(&mut self, RumorId(id): RumorId) {
        self.abort();
        self.unlink(id);
        self.retire(id, Why::Displaced);
    }

    /// Retires what is queued about a subject; false if nothing is.
    pub(crate) fn remove_subject(&mut self, slot: u32) -> bool {
        self.abort();
        let Some(id) = self.find(slot) else { return false };
        self.unlink(id);
        self.retire(id, Why::Displaced);
        true
    }

    /// Chooses rumors for a packet with `room` bytes, each of which costs its length and `overhead`; returns how many.
    ///
    /// `limits` says for each lane how often a rumor is sent; 0 counts as once. A rumor is drawn at most once per
    /// packet.
    pub(crate) fn draw(
        &mut self,
        room: usize,
        overhead: usize,
        max_items: usize,
        limits: &[u32; LANES],
    ) -> usize {
        self.abort();
        self.drawn_limits = *limits;
        self.accounts_before_draw = self.accounts;
        let whole = Packet { room: room.min(LARGEST_PACKET), overhead, items: max_items };
        let mut packet = whole;
        self.share_out(&whole, &mut packet);
        for lane in 0..LANES {
            while let Some((id, cost)) = self.first_fit(lane, &packet) {
                self.take(lane, id, cost, &mut packet);
            }
        }
        self.drawn.len()
    }

    /// The rumors of the packet, in the order in which they were drawn, each with its length.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = (RumorId, &T, usize)> {
        self.drawn.iter().filter_map(|&id| {
            let entry = self.entries[id as usize].as_ref()?;
            Some((RumorId(id), &entry.value, entry.len as usize))
        })
    }

    /// The packet is on its way: counts one transmission of each of its rumors, and retires those that have reached
    /// their limit.
    pub(crate) fn commit(&mut self) {
        for index in 0..self.drawn.len() {
            let id = self.drawn[index];
            let Some(entry) = &mut self.entries[id as usize] else { continue };
            entry.transmits = entry.transmits.saturating_add(1);
            if entry.transmits >= self.drawn_limits[entry.lane as usize] {
                self.retire(id, Why::Exhausted);
            } else {
                self.link(id);
            }
        }
        self.drawn.clear();
    }

    /// The packet was not sent: everything is as before the draw.
    pub(crate) fn abort(&mut self) {
        if self.drawn.is_empty() {
            return;
        }
        for index in 0..self.drawn.len() {
            self.link(self.drawn[index]);
        }
        self.drawn.clear();
        self.accounts = self.accounts_before_draw;
    }

    /// Hands over one rumor that left the queue. They pile up until they are taken.
    pub(crate) fn pop_retired(&mut self) -> Option<Retired<T>> {
        self.retired.pop_front()
    }

    /// Whether something is queued about a subject.
    pub(crate) fn contains_subject(&self, slot: u32) -> bool {
        self.find(slot).is_some()
    }

    /// What is queued about a subject.
    #[cfg(test)]
    pub(crate) fn get_subject(&self, slot: u32) -> Option<&T> {
        Some(&self.entries[self.find(slot)? as usize].as_ref()?.value)
    }

    /// How many rumors are queued, those of an unfinished draw included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// How many rumors wait in one lane, without those of an unfinished draw.
    pub(crate) fn lane_len(&self, lane: Lane) -> usize {
        self.lanes[lane as usize].len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Credits the lanes that compete for this packet, and lets each take what it has earned.
    fn share_out(&mut self, whole: &Packet, packet: &mut Packet) {
        let mut first_costs = [None; LANES];
        let mut competitors = 0;
        let mut weights = 0;
        for (lane, cost) in first_costs.iter_mut().enumerate() {
            if self.lanes[lane].len() == 0 {
                self.accounts[lane] = Account::NEW; // who wants nothing saves nothing
            }
            *cost = self.first_fit(lane, whole).map(|(_, cost)| cost);
            if cost.is_some() {
                competitors += 1;
                weights += WEIGHTS[lane];
            }
        }
        if competitors < 2 {
            return;
        }
        for (lane, cost) in first_costs.into_iter().enumerate() {
            let Some(cost) = cost else { continue };
            let share = whole.room * WEIGHTS[lane] / weights;
            // Saving more than the first rumor and a share would only be paid back as a burst.
            let credit = &mut self.accounts[lane].credit;
            *credit = (*credit + share).min(share + cost);
        }
        // In the order of priority alone, a large rumor of a late lane would never find the room it has saved for.
        let mut turns: [usize; LANES] = core::array::from_fn(|lane| lane);
        turns.sort_unstable_by_key(|&lane| (Reverse(self.accounts[lane].passed_over), lane));
        for lane in turns {
            self.spend(lane, whole, packet);
        }
    }

    /// Takes the first rumors of a lane, as they would be in an empty packet, while it can pay. It does not make do
    /// with shorter ones: then the lane would never save enough for its first.
    fn spend(&mut self, lane: usize, whole: &Packet, packet: &mut Packet) {
        let mut served = false;
        while let Some((id, cost)) = self.first_fit(lane, whole) {
            if cost > self.accounts[lane].credit {
                return;
            }
            if cost > packet.room || packet.items == 0 {
                if !served {
                    self.accounts[lane].passed_over = self.accounts[lane].passed_over.saturating_add(1);
                }
                return;
            }
            self.accounts[lane].credit -= cost;
            self.accounts[lane].passed_over = 0;
            served = true;
            self.take(lane, id, cost, packet);
        }
    }

    fn take(&mut self, lane: usize, id: u32, cost: usize, packet: &mut Packet) {
        packet.room -= cost;
        packet.items -= 1;
        self.skips.remove(&mut self.lanes[lane], id);
        self.drawn.push(id);
    }

    /// The rumor that the reference would take next: of those sent least that fit, the longest, and of these the
    /// newest. Skips from one tier of transmissions to the next that exists.
    fn first_fit(&self, lane: usize, packet: &Packet) -> Option<(u32, usize)> {
        let free = packet.free().filter(|&free| free >= self.shortest[lane])?;
        let mut tier = 0;
        loop {
            let (id, key) = self.skips.at_or_after(&self.lanes[lane], order_key(tier, free, u64::MAX))?;
            let (transmits, len) = order_parts(key);
            if transmits == tier {
                return Some((id, len as usize + packet.overhead));
            }
            tier = transmits;
        }
    }

    fn find(&self, slot: u32) -> Option<u32> {
        self.by_subject.get(slot as usize).copied().filter(|&id| id != NONE)
    }

    fn link(&mut self, id: u32) {
        if let Some(entry) = &self.entries[id as usize] {
            let lane = entry.lane as usize;
            let (list, shortest) = (&mut self.lanes[lane], &mut self.shortest[lane]);
            *shortest = if list.len() == 0 { entry.len } else { entry.len.min(*shortest) };
            self.skips.insert(list, id, entry.key());
        }
    }

    fn unlink(&mut self, id: u32) {
        if let Some(entry) = &self.entries[id as usize] {
            self.skips.remove(&mut self.lanes[entry.lane as usize], id);
        }
    }

    /// Releases an entry that is in no lane.
    fn retire(&mut self, id: u32, why: Why) {
        let Some(entry) = self.entries[id as usize].take() else { return };
        if let Some(slot) = entry.subject {
            self.by_subject[slot as usize] = NONE;
        }
        self.free.push(id);
        let Entry { value, notify, transmits, .. } = entry;
        self.retired.push_back(Retired { value, notify, transmits, why });
    }
}

/// What is left of the packet being drawn.
#[derive(Clone, Copy)]
struct Packet {
    room: usize,
    overhead: usize,
    items: usize,
}

impl Packet {
    /// The longest rumor that fits; `None` when the packet is full.
    fn free(&self) -> Option<u32> {
        let free = self.room.checked_sub(self.overhead).filter(|&free| free > 0 && self.items > 0)?;
        Some(u32::try_from(free).unwrap_or(u32::MAX))
    }
}

/// Fewer transmissions, then longer, then newer: as one number that ascends.
fn order_key(transmits: u32, len: u32, serial: u64) -> u128 {
    u128::from(transmits) << 96 | u128::from(!len) << 64 | u128::from(!serial)
}

fn order_parts(key: u128) -> (u32, u32) {
    ((key >> 96) as u32, !((key >> 64) as u32))
}

/// Shares of a packet that all lanes want, in the order of [`Lane`]. Detection and its refutation come first, because
/// every gossip round that they wait is a round in which members are wrong about each other.
const WEIGHTS: [usize; LANES] = [4, 4, 3, 2, 2, 1];

/// Beyond any datagram; keeps the arithmetic of shares far from overflow.
const LARGEST_PACKET: usize = 1 << 24;

const NONE: u32 = u32::MAX;

#[cfg(test)]
#[path = "rumors_tests.rs"]
mod tests;

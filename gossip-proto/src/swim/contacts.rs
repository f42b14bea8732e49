//! Contacts that nobody asks for: seeds, addresses a service has learnt, and a second exchange where the first one showed
//! that the two sides had given each other up. Who was cut off finds back by itself.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hash;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::influx::Influx;
use super::outgoing::Outgoing;
use super::streams::{Contact, Purpose};
use super::{Deadline, Notice, Swim, scale};
use crate::ration::Ration;
use crate::roster::{LOCAL, Standing, canonical};
use crate::timer::TimerId;
use crate::wire::message::{Alive, MessageType, NodeState};
use crate::{Instant, MemberKey, Name, Status};

/// Addresses that are joined again whenever no alive member has them.
#[derive(Debug)]
pub(crate) struct Contacts {
    seeds: Vec<Seed>,
    /// Numbers seeds, so that an attempt never counts for one of a later list.
    serial: u64,
    timer: Option<TimerId>,
    follow_up: Option<FollowUp>,
    /// Members that came back since a second look was set; 0 if none is.
    returned: u32,
    pub(super) influx: Influx,
    /// Of exchanges beside the schedule that what happens to others sets going.
    extra: Ration,
    /// Of packets that tell members what is said of them.
    hearsay: Ration,
}

#[derive(Debug)]
struct Seed {
    id: u64,
    addr: SocketAddr,
    due: Instant,
    /// Attempts since it was last reached.
    attempts: u32,
    /// One is under way.
    busy: bool,
}

/// An exchange that is to be repeated.
#[derive(Clone, Copy, Debug)]
struct FollowUp {
    to: SocketAddr,
    peer: Option<MemberKey>,
    round: u8,
}

impl Contacts {
    pub(crate) fn new() -> Self {
        Self {
            seeds: Vec::new(),
            serial: 0,
            timer: None,
            follow_up: None,
            returned: 0,
            influx: Influx::default(),
            extra: Ration::default(),
            hearsay: Ration::default(),
        }
    }

    pub(crate) fn hash(&self, hasher: &mut SipHasher13) {
        for seed in &self.seeds {
            (seed.id, seed.addr, seed.due, seed.attempts, seed.busy).hash(hasher);
        }
        (self.follow_up.map(|next| (next.to, next.round)), self.returned, self.influx).hash(hasher);
        (self.extra, self.hearsay).hash(hasher);
    }
}

impl Contact {
    /// An exchange that is not repeated, whatever it shows.
    pub(super) const LAST_FOLLOW_UP: Self = Self::FollowUp { round: FOLLOW_UPS };
}

impl Swim {
    /// Replaces the seeds. What is known of those that stay is kept; new ones are tried at once.
    pub(crate) fn set_seeds(&mut self, seeds: &[SocketAddr]) {
        let mut before = core::mem::take(&mut self.contacts.seeds);
        for &addr in seeds {
            let addr = canonical(addr);
            if self.contacts.seeds.iter().any(|seed| seed.addr == addr) {
                continue;
            }
            let known = before.iter().position(|seed| seed.addr == addr);
            let seed = known.map(|index| before.swap_remove(index)).unwrap_or_else(|| {
                self.contacts.serial += 1;
                Seed { id: self.contacts.serial, addr, due: self.now, attempts: 0, busy: false }
            });
            self.contacts.seeds.push(seed);
        }
        self.arm_seeds();
    }

    fn arm_seeds(&mut self) {
        if let Some(timer) = self.contacts.timer.take() {
            self.timers.cancel(timer);
        }
        let next = self.contacts.seeds.iter().map(|seed| seed.due).min();
        if let Some(at) = next.filter(|_| !self.config.seed_interval.is_zero()) {
            self.contacts.timer = Some(self.timers.arm(at, Deadline::Seeds));
        }
    }

    /// Turns to every seed that is due and that no alive member has the address of. Attempts come at least once in each
    /// interval, counted from their beginning: how long one hangs on a dead link must not put off the next.
    pub(crate) fn seeds_due(&mut self) {
        self.contacts.timer = None;
        if self.leaving || self.departing {
            return;
        }
        let (interval, own) = (self.config.seed_interval, self.roster.get(LOCAL).socket());
        let alone = !self.has_company();
        for index in 0..self.contacts.seeds.len() {
            let Seed { id, addr, due, attempts, busy } = self.contacts.seeds[index];
            if due > self.now {
                continue;
            }
            let reached = addr == own
                || self.roster.any_at(addr, |record| record.tracked() && record.standing == Standing::Alive);
            let begun = !reached && !busy && {
                let contact = Contact::Seed { id, alone };
                self.begin_contact(addr, self.roster.at(addr).map(|slot| self.roster.key(slot)), contact)
            };
            let attempts = if reached { 0 } else { attempts.saturating_add(1) };
            let wait = match attempts {
                0 => interval,
                more => interval.min(FIRST_PAUSE.saturating_mul(1 << (more - 1).min(20))),
            };
            let due = self.now + wait / 2 + self.rng.duration_below(wait / 2);
            let seed = &mut self.contacts.seeds[index];
            (seed.due, seed.attempts, seed.busy) = (due, attempts, busy || begun);
            self.stats.seeds_tried += u64::from(begun);
        }
        self.arm_seeds();
    }

    /// Begins an exchange of that kind; false if too many streams are open.
    pub(crate) fn begin_contact(
        &mut self,
        to: SocketAddr,
        peer: Option<MemberKey>,
        contact: Contact,
    ) -> bool {
        let begun = self.open_stream(to, peer, Purpose::Contact(contact)).is_some();
        self.stats.exchanges_begun += u64::from(begun);
        begun
    }

    /// One of them is over.
    pub(crate) fn contact_ended(&mut self, contact: Contact, well: bool) {
        self.stats.exchanges_failed += u64::from(!well);
        match contact {
            Contact::Seed { id, alone } => {
                // As exchanges in general: each carries the whole table.
                let interval =
                    scale::push_pull_interval(self.config.seed_interval, self.roster.num_members());
                let Some(seed) = self.contacts.seeds.iter_mut().find(|seed| seed.id == id) else { return };
                seed.busy = false;
                if well {
                    // Somebody is there, be it under another address, as behind a balancer: no need to hurry.
                    (seed.attempts, seed.due) = (0, self.now + interval / 2);
                    seed.due += self.rng.duration_below(interval / 2);
                    self.arm_seeds();
                    // The first contact is what a join is: an intent makes up for what is remembered of an earlier life.
                    if alone {
                        self.notices.push_back(Notice::Joined { operation: NO_OPERATION, contacted: 1 });
                    }
                }
            }
            Contact::Learnt { token } => self.notices.push_back(Notice::Sought { token, found: well }),
            Contact::Failed | Contact::FollowUp { .. } => {}
        }
    }

    /// Asks an address by stream whether the member of that name is there, and only then exchanges states with it: an
    /// address that now belongs to somebody else must not merge two clusters.
    pub(crate) fn seek(&mut self, addr: SocketAddr, name: &Name, then: Contact) -> bool {
        let (seq, name) = (self.next_seq(), name.clone());
        self.open_stream(addr, None, Purpose::Seek { seq, name, then }).is_some()
    }

    /// The connection for that stands.
    pub(crate) fn seek_opened(&mut self, key: u64, seq: u32, name: &Name) {
        let mut message = vec![MessageType::Ping.byte()];
        let encoded = self.own_ping(seq, name.as_bytes()).encode(&mut message);
        self.write_message(key, encoded, &[&message], false);
    }

    /// The member is there.
    pub(crate) fn seek_answered(&mut self, key: u64, then: Contact) {
        let Some(to) = self.streams.get(key).map(|stream| stream.source.addr) else { return };
        let peer = self.roster.at(to).map(|slot| self.roster.key(slot));
        if self.leaving || self.departing || !self.begin_contact(to, peer, then) {
            self.seek_failed(then);
        }
    }

    /// It is not, or nothing is.
    pub(crate) fn seek_failed(&mut self, then: Contact) {
        if let Contact::Learnt { token } = then {
            self.notices.push_back(Notice::Sought { token, found: false });
        }
    }

    /// Looks whether a member that failed is back (serf.md 4.12). Upstream exchanges states with whoever has its address
    /// by now.
    pub(crate) fn reconnect(&mut self, slot: u32) {
        let record = self.roster.get(slot);
        let (to, name) = (record.socket(), record.name.clone());
        self.seek(to, &name, Contact::Failed);
    }

    /// A member that was given up is back. When several come back at once a partition has healed, and gossip about so many
    /// misses somebody somewhere by chance: who still misses one a little later looks once more.
    pub(crate) fn note_return(&mut self) {
        if !self.config.experiment.healing {
            return;
        }
        if self.contacts.returned == 0 {
            let at = self.now + SECOND_LOOK + self.rng.duration_below(SECOND_LOOK / 2);
            self.timers.arm(at, Deadline::SecondLook);
        }
        self.contacts.returned += 1;
    }

    pub(crate) fn second_look(&mut self) {
        let returned = core::mem::take(&mut self.contacts.returned);
        if returned < 2 || self.absent() == 0 || self.leaving {
            return;
        }
        if let Some(slot) = self.random_alive()
            && self.take_extra()
        {
            let (to, key) = (self.roster.get(slot).socket(), self.roster.key(slot));
            let begun = self.begin_contact(to, Some(key), Contact::LAST_FOLLOW_UP);
            self.stats.follow_ups += u64::from(begun);
        }
    }

    pub(super) fn random_alive(&mut self) -> Option<u32> {
        let mut chosen: SmallVec<[u32; 8]> = SmallVec::new();
        let roster = &self.roster;
        let alive = |slot| slot != LOCAL && roster.get(slot).standing == Standing::Alive;
        roster.order().sample(&mut self.rng, 1, alive, &mut chosen);
        chosen.first().copied()
    }

    /// An exchange of ours showed that one side held members for dead that the other knows to be alive. Who was accused
    /// refutes towards those it still knows, on its own side; with a second exchange, and a third, the refutations come
    /// over at once instead of with the next exchange that happens to cross.
    pub(crate) fn follow_up(&mut self, to: SocketAddr, peer: Option<MemberKey>, rounds: u8) {
        if !self.config.experiment.healing || rounds >= FOLLOW_UPS || self.contacts.follow_up.is_some() {
            return;
        }
        if self.leaving || !self.take_extra() {
            return;
        }
        let wait = self.config.gossip_interval.saturating_mul(FOLLOW_UP_TICKS << rounds);
        self.contacts.follow_up = Some(FollowUp { to, peer, round: rounds + 1 });
        let at = self.now + wait + self.rng.duration_below(wait / 2);
        self.timers.arm(at, Deadline::FollowUp);
    }

    /// Whether one more exchange beside the schedule may be begun. Each carries the whole table, both ways: where packets get
    /// lost all the time there is always somebody missing and somebody who refutes, and without a limit every node of a
    /// large cluster would exchange states once a second. So they are a few at once, and otherwise as many as the
    /// schedule's own.
    pub(super) fn take_extra(&mut self) -> bool {
        let base = self.config.push_pull_interval;
        let base = if base.is_zero() { UNSCHEDULED } else { base };
        let pause = scale::push_pull_interval(base, self.roster.len());
        let free = self.contacts.extra.take(self.now, EXTRA, pause);
        self.stats.follow_ups_withheld += u64::from(!free);
        free
    }

    /// Two nodes know a member under one incarnation, but not with the same content. So it has restarted and come to the
    /// incarnation of its earlier life before all had heard of it, and nobody would ever know better but by an exchange with
    /// that very member: one that hears of the other life refutes it (spec 4.3 step 8). It is told what either side knows.
    pub(super) fn tell_hearsay(&mut self, slot: u32, state: &NodeState<'_>) {
        if !self.take_hearsay() {
            return;
        }
        let NodeState { name, addr, port, meta, incarnation, vsn, .. } = state.clone();
        let alive = Alive { incarnation, node: name, addr, port, meta, vsn };
        let mut said = Vec::with_capacity(alive.encoded_len());
        if alive.encode(&mut said).is_ok() {
            let told = self.push_outgoing(Outgoing::Hearsay { of: self.roster.key(slot), said });
            self.stats.hearsay_told += u64::from(told);
        }
    }

    /// Whether a packet that tells a member what is said of it may be sent. Rationed, because whoever holds the key can say
    /// anything of all members.
    pub(crate) fn take_hearsay(&mut self) -> bool {
        if !self.config.experiment.healing {
            return false;
        }
        let pace = match self.config.probe_interval {
            Duration::ZERO => UNSCHEDULED,
            interval => interval,
        };
        let free = self.contacts.hearsay.take(self.now, EXTRA, pace);
        self.stats.hearsay_withheld += u64::from(!free);
        free
    }

    /// This node was accused, so it may have been the one that was cut off, and what it suspects of others was said to
    /// nobody. An exchange tells them, so that they can refute it before it runs out here.
    pub(crate) fn retell(&mut self) {
        if self.suspicions.len() == 0 && self.absent() == 0 {
            return;
        }
        if let Some(slot) = self.random_alive() {
            let (to, key) = (self.roster.get(slot).socket(), self.roster.key(slot));
            self.follow_up(to, Some(key), 0);
        }
    }

    /// Members that are not there, or not any more, and still remembered.
    pub(crate) fn absent(&self) -> usize {
        // A service knows who left from who failed, and for longer.
        if self.roster.serviced { self.service_failed } else { self.roster.len() - self.roster.num_members() }
    }

    /// A packet came from somewhere. If it is the address of a member that was given up, then that lives, and does not know
    /// that it would have to refute its death: who spread that has forgotten it already.
    pub(crate) fn sign_of_life(&mut self, from: SocketAddr) {
        let dead = self.roster.at(from).filter(|&slot| {
            let record = self.roster.get(slot);
            match record.says {
                Some(Status::Left) => false,
                Some(Status::Failed) => true,
                _ => record.tracked() && record.standing == Standing::Dead,
            }
        });
        if let Some(slot) = dead {
            self.reunite(slot);
        }
    }

    /// A member that was suspected or given up lives. If that was a partition, an exchange with it brings back the others as
    /// well: the more are missing the more of the cluster do that; if it is the only one, a few.
    pub(crate) fn reunite(&mut self, slot: u32) {
        let chance = self.absent().saturating_mul(REUNIONS) as u64;
        if self.rng.below64(self.roster.num_members() as u64) < chance {
            let (to, key) = (self.roster.get(slot).socket(), self.roster.key(slot));
            self.follow_up(to, Some(key), 0);
        }
    }

    pub(crate) fn follow_up_due(&mut self) {
        let Some(FollowUp { to, peer, round }) = self.contacts.follow_up.take() else { return };
        if !self.leaving && self.begin_contact(to, peer, Contact::FollowUp { round }) {
            self.stats.follow_ups += 1;
        }
    }
}

/// Names no operation.
pub(crate) const NO_OPERATION: u64 = u64::MAX;

/// The pause after the first attempt at a seed; it doubles from there to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// When who still misses somebody looks once more.
const SECOND_LOOK: Duration = Duration::from_secs(5);
/// Exchanges that follow one, at most.
const FOLLOW_UPS: u8 = 2;
/// Exchanges beside the schedule, or packets of hearsay, at once; and the interval that counts for more where the schedule has
/// none.
const EXTRA: u32 = 8;
const UNSCHEDULED: Duration = Duration::from_secs(30);
/// How many nodes turn to the one member that was missing and is back, on average.
const REUNIONS: usize = 3;
/// After how many gossip ticks the first of them comes: an accusation is out and answered by then.
const FOLLOW_UP_TICKS: u32 = 5;

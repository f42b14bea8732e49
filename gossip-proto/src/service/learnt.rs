//! Addresses worth a try although no member has them: of members that failed and were forgotten, and of those an earlier
//! life of this node knew.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::Hash;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use super::{Life, Services};
use crate::config::Restore;
use crate::roster::canonical;
use crate::swim::{Contact, Swim};
use crate::wire::serf::Tags;
use crate::{Instant, Name};

/// The addresses, by the names that must answer there.
#[derive(Debug)]
pub(crate) struct Learnt {
    entries: BTreeMap<Name, Entry>,
    /// The same by when they end: when it is full, who ends first is not searched for.
    ends: BTreeSet<(Instant, Name)>,
    /// Grows with each change.
    version: u64,
    /// What a restart has still to try; it takes from the end.
    rejoin: Vec<Name>,
    /// Attempts under way, and whether they are a restart's.
    attempts: Vec<(u64, bool)>,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    addr: SocketAddr,
    until: Instant,
}

impl Learnt {
    pub(crate) const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            ends: BTreeSet::new(),
            version: 0,
            rejoin: Vec::new(),
            attempts: Vec::new(),
            serial: 0,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, SocketAddr, Instant)> {
        self.entries.iter().map(|(name, entry)| (name, entry.addr, entry.until))
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        !self.entries.is_empty() && self.entries.contains_key(&Name::new(name))
    }

    fn insert(&mut self, name: Name, entry: Entry) {
        self.remove(&name);
        self.ends.insert((entry.until, name.clone()));
        self.entries.insert(name, entry);
    }

    /// Whether it was there.
    fn remove(&mut self, name: &Name) -> bool {
        match self.entries.remove(name) {
            Some(entry) => self.ends.remove(&(entry.until, name.clone())),
            None => false,
        }
    }

    pub(crate) fn hash(&self, hasher: &mut SipHasher13) {
        for (name, entry) in &self.entries {
            (name.as_bytes(), entry.addr, entry.until).hash(hasher);
        }
        (self.rejoin.len(), &self.attempts, self.serial, self.version).hash(hasher);
    }
}

impl Services {
    /// Takes over what an earlier life knew, and looks for those who were alive then, in random order, until one is found
    /// (serf.md 7.4). Unlike upstream it does not end there: the others stay learnt, so that a node that wakes up alone
    /// finds the cluster when it comes back.
    pub(super) fn restore_learnt(&mut self, swim: &mut Swim, restore: Restore) {
        let Restore { alive, learnt, .. } = restore;
        let now = swim.now;
        for (name, addr, left) in learnt {
            self.learn(swim, name, addr, now + left.min(self.config.learnt_timeout));
        }
        let mut names: Vec<Name> = alive.iter().map(|(name, _)| name.clone()).collect();
        let mut order = alive;
        for last in (1..order.len()).rev() {
            let other = swim.rng.below(last as u32 + 1) as usize;
            order.swap(last, other);
            names.swap(last, other);
        }
        names.truncate(self.config.max_learnt);
        for (name, addr) in order.into_iter().take(self.config.max_learnt) {
            self.learn(swim, name, addr, now + self.config.learnt_timeout);
        }
        self.learnt.rejoin = names;
        for _ in 0..PARALLEL {
            self.rejoin_next(swim);
        }
    }

    fn rejoin_next(&mut self, swim: &mut Swim) {
        while let Some(name) = self.learnt.rejoin.pop() {
            let Some(&Entry { addr, .. }) = self.learnt.entries.get(&name) else { continue };
            if self.seek(swim, addr, &name, true) {
                return;
            }
        }
    }

    fn seek(&mut self, swim: &mut Swim, addr: SocketAddr, name: &Name, rejoin: bool) -> bool {
        self.learnt.serial += 1;
        let token = self.learnt.serial;
        let begun = swim.seek(addr, name, Contact::Learnt { token });
        if begun {
            swim.stats.learnt_tried += 1;
            self.learnt.attempts.push((token, rejoin));
        }
        begun
    }

    /// How an attempt ended.
    pub(super) fn sought_out(&mut self, swim: &mut Swim, token: u64, found: bool) {
        let Some(index) = self.learnt.attempts.iter().position(|(attempt, _)| *attempt == token) else {
            return;
        };
        let (_, rejoin) = self.learnt.attempts.swap_remove(index);
        if found {
            swim.stats.learnt_found += 1;
            self.learnt.rejoin.clear();
        } else if rejoin && self.life == Life::Alive {
            self.rejoin_next(swim);
        }
    }

    /// Remembers where a member was, as long as there is room; who ends first gives way.
    fn learn(&mut self, swim: &mut Swim, name: Name, addr: SocketAddr, until: Instant) {
        if until <= swim.now || name == swim.config.name {
            return;
        }
        let learnt = &mut self.learnt;
        if learnt.entries.len() >= self.config.max_learnt && !learnt.entries.contains_key(&name) {
            swim.stats.learnt_full += 1;
            let Some((_, first)) = learnt.ends.first().filter(|(end, _)| *end < until) else { return };
            let first = first.clone();
            learnt.remove(&first);
        }
        learnt.insert(name, Entry { addr: canonical(addr), until });
        self.learnt.version += 1;
    }

    /// A member has failed. Its address is remembered for longer than itself, unless the member asked for an early end.
    pub(super) fn learn_member(&mut self, swim: &mut Swim, slot: u32, gone: Instant) {
        if self.own_timeout(swim, slot).is_none() {
            let record = swim.roster.get(slot);
            let (name, addr) = (record.name.clone(), record.socket());
            self.learn(swim, name, addr, gone + self.config.learnt_timeout);
        }
    }

    /// It is a member again, or left, or an operator has given it up.
    pub(super) fn unlearn(&mut self, name: &[u8]) {
        if self.learnt.contains(name) && self.learnt.remove(&Name::new(name)) {
            self.learnt.version += 1;
        }
    }

    /// Tries one of them, the more likely the more there are beside those alive, as with failed members.
    pub(super) fn retry_learnt(&mut self, swim: &mut Swim, alive: usize) {
        let before = self.learnt.entries.len();
        while let Some((_, name)) = self.learnt.ends.first().filter(|(end, _)| *end <= swim.now) {
            let name = name.clone();
            self.learnt.remove(&name);
        }
        let left = self.learnt.entries.len();
        self.learnt.version += u64::from(left < before);
        if left == 0 || swim.rng.below64(alive as u64) >= left as u64 {
            return;
        }
        let index = swim.rng.below(left as u32) as usize;
        if let Some((name, entry)) = self.learnt.entries.iter().nth(index) {
            let (name, addr) = (name.clone(), entry.addr);
            // Who is still listed as failed is tried as such.
            if self.listed_slot(swim, name.as_bytes()).is_none() {
                self.seek(swim, addr, &name, false);
            }
        }
    }

    /// How long the member itself wants to be remembered, by its tag; 0 and what is no duration leave it to us
    /// (serf.md 13.5).
    pub(super) fn own_timeout(&self, swim: &Swim, slot: u32) -> Option<Duration> {
        let wanted = self.config.reconnect_tag.as_ref()?;
        let tags = Tags::of(&swim.roster.get(slot).metadata).map_while(Result::ok);
        let (_, value) = tags.filter(|(name, _)| **name == **wanted).last()?;
        let timeout = crate::duration::parse(core::str::from_utf8(&value).ok()?).ok()?;
        (!timeout.is_zero()).then(|| timeout.min(crate::config::LONGEST))
    }
}

/// Addresses that a restart tries at once.
const PARALLEL: usize = 3;

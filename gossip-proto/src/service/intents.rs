//! Join and leave intents (serf.md 4.2, 4.4–4.6).

use alloc::vec::Vec;

use hashbrown::HashMap;

use super::{Life, Services, Task};
use crate::config::MAX_NAME;
use crate::hash::Keyed;
use crate::output::Cause;
use crate::roster::LOCAL;
use crate::swim::{Lane, Swim, Waiter};
use crate::wire::field::Field;
use crate::wire::serf::{JoinIntent, LeaveIntent, SerfType};
use crate::{Instant, Name, Status};

/// What an intent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Join,
    Leave,
}

/// Intents about members not known yet, which may arrive before them.
#[derive(Debug)]
pub(crate) struct RecentIntents {
    map: HashMap<Name, (Intent, u64, Instant), Keyed>,
    max: usize,
}

impl RecentIntents {
    pub(crate) fn new(map: HashMap<Name, (Intent, u64, Instant), Keyed>, max: usize) -> Self {
        Self { map, max }
    }

    /// Remembers an intent if it is newer than what is known of the name; `None` if there is no room.
    pub(crate) fn upsert(&mut self, now: Instant, name: &[u8], intent: Intent, ltime: u64) -> Option<bool> {
        let name = Name::new(name);
        if let Some(entry) = self.map.get_mut(&name) {
            let newer = ltime > entry.1;
            if newer {
                *entry = (intent, ltime, now);
            }
            return Some(newer);
        }
        if self.map.len() >= self.max {
            return None;
        }
        self.map.insert(name, (intent, ltime, now));
        Some(true)
    }

    pub(crate) fn get(&self, name: &Name) -> Option<(Intent, u64)> {
        self.map.get(name).map(|&(intent, ltime, _)| (intent, ltime))
    }

    /// Forgets those from before `oldest`.
    pub(crate) fn purge(&mut self, oldest: Instant) {
        self.map.retain(|_, &mut (_, _, since)| since >= oldest);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

/// Queues an intent for gossip.
fn gossip_intent<'a>(swim: &mut Swim, kind: SerfType, intent: &impl Field<'a>, waiter: Option<Waiter>) {
    let mut message = swim.buffers.take();
    if append(kind, intent, &mut message) {
        swim.broadcast(Lane::Intent, &[&message], waiter);
    }
    swim.buffers.give(message);
}

/// Whether it could be written.
fn append<'a>(kind: SerfType, intent: &impl Field<'a>, message: &mut Vec<u8>) -> bool {
    message.push(kind.byte());
    intent.write(message).is_ok()
}

impl Services {
    fn remember(&mut self, swim: &mut Swim, name: &[u8], intent: Intent, ltime: u64) -> bool {
        if name.len() > MAX_NAME {
            swim.stats.claim_malformed += 1;
            return false;
        }
        if intent == Intent::Leave {
            self.unlearn(name);
        }
        match self.recent.upsert(swim.now, name, intent, ltime) {
            Some(newer) => newer,
            None => {
                swim.stats.intents_full += 1;
                false
            }
        }
    }

    /// A leave intent (serf.md 4.4); whether to pass it on. `replayed`: it stands for a tombstone of a push/pull, which
    /// must not make its time grow with every exchange (Q11).
    pub(crate) fn leave_intent(&mut self, swim: &mut Swim, intent: &LeaveIntent<'_>, replayed: bool) -> bool {
        self.clock.witness(if replayed { intent.ltime.saturating_sub(1) } else { intent.ltime });
        let Some(slot) = self.listed_slot(swim, &intent.node) else {
            return self.remember(swim, &intent.node, Intent::Leave, intent.ltime);
        };
        let known = self.member(slot).ltime;
        if slot == LOCAL && self.life == Life::Alive && intent.ltime >= known {
            // Somebody wants us out, and we are not leaving: say so with a newer time. Also where a join of ours has the very
            // time of the intent: who heard the intent first has ignored the join.
            self.broadcast_join(swim, self.clock.time());
            return false;
        }
        if intent.ltime <= known {
            return false;
        }
        let status = swim.roster.get(slot).says;
        let settled = matches!(status, Some(Status::Left | Status::Leaving));
        self.member_mut(slot).ltime = if replayed && settled { intent.ltime - 1 } else { intent.ltime };
        match status {
            Some(Status::Alive) => {
                swim.roster.get_mut(slot).says = Some(Status::Leaving);
                if slot == LOCAL {
                    swim.mark(slot, Cause::Local);
                }
            }
            Some(Status::Failed) => {
                self.set_gone(swim, slot, Status::Left);
                swim.mark(slot, Cause::Forced);
            }
            Some(Status::Leaving | Status::Left) => {}
            _ => return false,
        }
        if intent.prune {
            self.prune(swim, slot);
        }
        true
    }

    /// A join intent (serf.md 4.6); whether to pass it on. `replayed`: it stands for a time in a push/pull, which may as well be
    /// that of a leave.
    pub(crate) fn join_intent(&mut self, swim: &mut Swim, intent: &JoinIntent<'_>, replayed: bool) -> bool {
        self.clock.witness(intent.ltime);
        let Some(slot) = self.listed_slot(swim, &intent.node) else {
            return self.remember(swim, &intent.node, Intent::Join, intent.ltime);
        };
        // Of a leave and a join at one time the join counts, whichever came first: a member that leaves does so at a time of its
        // own, so the leave is somebody else's, and the join says that it is wrong.
        let objects = !replayed && swim.roster.get(slot).says == Some(Status::Leaving);
        if intent.ltime < self.member(slot).ltime || (intent.ltime == self.member(slot).ltime && !objects) {
            let leaves = swim.roster.get(slot).says == Some(Status::Leaving) && slot != LOCAL;
            if replayed && leaves && intent.ltime == self.member(slot).ltime {
                Self::tell_leave(swim, slot, intent);
            }
            return false;
        }
        let member = self.member_mut(slot);
        (member.ltime, member.pruned) = (intent.ltime, false);
        let record = swim.roster.get_mut(slot);
        if record.says == Some(Status::Leaving) {
            record.says = Some(Status::Alive);
        }
        true
    }

    /// Tells a member that it is taken for one that leaves. In exchanges a join that has the very time of a leave cannot be told
    /// from it, and if it never came by gossip, a member that lives would be taken for one that leaves for good. One that lives
    /// objects, by a newer time. Nobody else is told: to them it is old, and they would not pass it on.
    fn tell_leave(swim: &mut Swim, slot: u32, of: &JoinIntent<'_>) {
        let intent = LeaveIntent { ltime: of.ltime, node: of.node.clone(), prune: false };
        let mut message = Vec::new();
        if swim.take_hearsay() && append(SerfType::Leave, &intent, &mut message) {
            let told = swim.send_direct(swim.roster.get(slot).socket(), message.into());
            swim.stats.hearsay_told += u64::from(told);
        }
    }

    /// Says that this node is there, at a time of the member clock (serf.md 4.6).
    pub(crate) fn broadcast_join(&mut self, swim: &mut Swim, ltime: u64) {
        let name = swim.config.name.clone();
        let intent = JoinIntent { ltime, node: name.as_bytes().into() };
        self.join_intent(swim, &intent, false);
        gossip_intent(swim, SerfType::Join, &intent, None);
    }

    /// Says that a node leaves, or shall be taken for one that left, and waits until that is out.
    pub(crate) fn broadcast_leave(&mut self, swim: &mut Swim, name: &[u8], prune: bool, waiter: Waiter) {
        let intent = LeaveIntent { ltime: self.clock.take(), node: name.into(), prune };
        self.leave_intent(swim, &intent, false);
        gossip_intent(swim, SerfType::Leave, &intent, Some(waiter));
    }

    /// Forgets a member on an operator's word (serf.md 4.5). One that is still leaving gets the time it would need to
    /// object (Q15); upstream holds its lock for as long.
    fn prune(&mut self, swim: &mut Swim, slot: u32) {
        let turn = self.member(slot).turn;
        if swim.roster.get(slot).says == Some(Status::Leaving) {
            self.member_mut(slot).pruned = true;
            let wait = swim.config.broadcast_timeout.saturating_add(self.config.leave_propagate_delay);
            self.arm_member(swim, slot, wait, Task::Prune { slot, turn });
        } else {
            self.forget(swim, slot);
        }
    }
}

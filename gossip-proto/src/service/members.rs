//! Members as Serf sees them: kept for hours after they failed or left (serf.md 4.1, 4.3, 4.11, 4.13).

use core::time::Duration;

use super::intents::Intent;
use super::{Services, Task};
use crate::roster::LOCAL;
use crate::slab::reach;
use crate::swim::{News, Swim};
use crate::timer::TimerId;
use crate::{Instant, Status};

/// What Serf remembers of a member besides its status. There may be tens of thousands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServiceMember {
    /// Time of the newest intent about it.
    pub(crate) ltime: u64,
    /// When it failed or left; the end of time if it did not.
    gone: Instant,
    /// When it is forgotten, if it is to be.
    timer: u64,
    /// Counts what the member went through, so that a timer of an earlier turn does nothing.
    pub(crate) turn: u32,
    /// An operator wants it forgotten, unless it objects (Q15).
    pub(crate) pruned: bool,
}

/// No timer is armed; none looks like that, because the lower half is an index into memory.
const NO_TIMER: u64 = u64::MAX;

impl Default for ServiceMember {
    fn default() -> Self {
        Self { ltime: 0, gone: Instant::MAX, timer: NO_TIMER, turn: 0, pruned: false }
    }
}

impl ServiceMember {
    fn gone(&self) -> Option<Instant> {
        (self.gone < Instant::MAX).then_some(self.gone)
    }

    /// Sets its one timer; the one before is to be taken back.
    fn replace_timer(&mut self, timer: Option<TimerId>) -> Option<TimerId> {
        let before = core::mem::replace(&mut self.timer, timer.map_or(NO_TIMER, TimerId::pack));
        (before != NO_TIMER).then(|| TimerId::unpack(before))
    }
}

impl Services {
    pub(crate) fn member(&self, slot: u32) -> &ServiceMember {
        &self.members[slot as usize]
    }

    pub(crate) fn member_mut(&mut self, slot: u32) -> &mut ServiceMember {
        &mut self.members[slot as usize]
    }

    /// The slot of a member in Serf's table.
    pub(crate) fn listed_slot(&self, swim: &Swim, name: &[u8]) -> Option<u32> {
        swim.roster.find(name).filter(|&slot| swim.roster.get(slot).says.is_some())
    }

    /// The member enters another turn of its life; a timer of the last one is taken back, or a flapping member would
    /// pile them up.
    fn turned(&mut self, swim: &mut Swim, slot: u32) -> u32 {
        let member = self.member_mut(slot);
        member.turn = (member.turn + 1) & 0x0fff_ffff;
        let (turn, timer) = (member.turn, member.replace_timer(None));
        if let Some(timer) = timer {
            swim.cancel_service(timer);
        }
        turn
    }

    /// Sets the one timer a member has.
    pub(super) fn arm_member(&mut self, swim: &mut Swim, slot: u32, wait: Duration, task: Task) {
        let timer = swim.arm_service(swim.now + wait, task.pack());
        if let Some(old) = self.member_mut(slot).replace_timer(Some(timer)) {
            swim.cancel_service(old);
        }
    }

    /// membership told of a change (serf.md 4.3).
    pub(crate) fn member_changed(&mut self, swim: &mut Swim, slot: u32, news: News) {
        match news {
            News::Joined => self.member_joined(swim, slot),
            News::Gone => self.member_gone(swim, slot),
            // Tags and address are read from the roster; Serf holds on to what SWIM forgets.
            News::Updated | News::Reaped => {}
        }
    }

    fn member_joined(&mut self, swim: &mut Swim, slot: u32) {
        reach(&mut self.members, slot, ServiceMember::default());
        if let Some(coordinates) = self.coordinates.as_mut().filter(|_| swim.roster.get(slot).says.is_none())
        {
            coordinates.add(slot);
        }
        let name = swim.roster.get(slot).name.clone();
        self.unlearn(name.as_bytes());
        match swim.roster.get(slot).says {
            None => {
                let turn = self.turned(swim, slot);
                let intent = self.recent.get(&swim.roster.get(slot).name);
                let ltime = intent.map_or(0, |(_, ltime)| ltime);
                *self.member_mut(slot) = ServiceMember { ltime, turn, ..ServiceMember::default() };
                let leaving = intent.is_some_and(|(intent, _)| intent == Intent::Leave);
                swim.roster.get_mut(slot).says = Some(if leaving { Status::Leaving } else { Status::Alive });
                swim.roster.pin(slot);
                self.listed += 1;
                swim.service_members = self.listed;
            }
            Some(was) => {
                self.uncount(was);
                swim.service_failed = self.failed;
                self.turned(swim, slot);
                let flap = self.config.flap_timeout;
                let member = self.member_mut(slot);
                let gone = member.gone().filter(|_| was == Status::Failed);
                let flapped = gone.is_some_and(|gone| swim.now.saturating_duration_since(gone) < flap);
                swim.stats.member_flaps += u64::from(flapped);
                (member.gone, member.pruned) = (Instant::MAX, false);
                swim.roster.get_mut(slot).says = Some(Status::Alive);
            }
        }
    }

    fn member_gone(&mut self, swim: &mut Swim, slot: u32) {
        // Serf goes by the intent alone: a node that leaves membership without one has failed (serf.md 4.3).
        match swim.roster.get(slot).says {
            Some(Status::Leaving) => {
                self.set_gone(swim, slot, Status::Left);
                if self.member(slot).pruned {
                    self.forget(swim, slot);
                }
            }
            Some(Status::Alive) => self.set_gone(swim, slot, Status::Failed),
            _ => {}
        }
    }

    /// It failed or left; it is forgotten when its time is up. One that is forced from failed to left keeps the time of
    /// its failure (serf.md 4.11).
    pub(crate) fn set_gone(&mut self, swim: &mut Swim, slot: u32, status: Status) {
        if let Some(was) = swim.roster.get(slot).says {
            self.uncount(was);
        }
        let keep = match status {
            Status::Left => {
                self.left += 1;
                self.config.tombstone_timeout
            }
            _ => {
                self.failed += 1;
                self.config.reconnect_timeout
            }
        };
        let keep = self.own_timeout(swim, slot).unwrap_or(keep);
        swim.roster.get_mut(slot).says = Some(status);
        swim.service_failed = self.failed;
        let turn = self.turned(swim, slot);
        let now = swim.now;
        let gone = self.member(slot).gone().unwrap_or(now);
        self.member_mut(slot).gone = gone;
        if status == Status::Failed {
            // At once: a node that is restarted meanwhile would know nobody beyond a link that is down for both sides.
            self.learn_member(swim, slot, gone);
        } else {
            let name = swim.roster.get(slot).name.clone();
            self.unlearn(name.as_bytes());
        }
        if slot != LOCAL {
            let timer = swim.arm_service(gone + keep, Task::Forget { slot, turn }.pack());
            self.member_mut(slot).replace_timer(Some(timer));
        }
    }

    fn uncount(&mut self, was: Status) {
        match was {
            Status::Failed => self.failed -= 1,
            Status::Left => self.left -= 1,
            _ => {}
        }
    }

    /// Takes a member off Serf's table (serf.md 4.5).
    pub(crate) fn forget(&mut self, swim: &mut Swim, slot: u32) {
        let Some(was) = swim.roster.get(slot).says.filter(|_| slot != LOCAL) else { return };
        self.uncount(was);
        swim.service_failed = self.failed;
        self.turned(swim, slot);
        self.listed -= 1;
        if let Some(coordinates) = &mut self.coordinates {
            coordinates.forget(slot);
        }
        swim.service_members = self.listed;
        swim.mark_reaped(slot);
        swim.roster.get_mut(slot).says = None;
        swim.roster.unpin(slot);
    }

    /// A failed or left member's time is up; only the turn the timer was set in counts.
    pub(crate) fn member_due(&mut self, swim: &mut Swim, slot: u32, turn: u32) {
        if self.members.get(slot as usize).is_some_and(|member| member.turn == turn) {
            self.forget(swim, slot);
        }
    }

    /// A pruned member had the time to object. One that answers probes all the same has not heard of it, or its objection got
    /// lost: it stays until it is gone, since Serf would not learn of it again.
    pub(crate) fn prune_due(&mut self, swim: &mut Swim, slot: u32, turn: u32) {
        let due = self.members.get(slot as usize).is_some_and(|member| member.turn == turn && member.pruned);
        if due && !swim.roster.get(slot).standing.is_live() {
            self.forget(swim, slot);
        }
    }
}

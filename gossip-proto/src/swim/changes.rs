//! The first output: a dirty list with at most one pending entry per member.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Swim;
use crate::Status;
use crate::output::{Cause, ChangeKind, MembershipChange};
use crate::roster::{NONE, Reported};

/// Members whose change has not been polled.
#[derive(Debug)]
pub(crate) struct Changes {
    queue: VecDeque<u32>,
    pending: Vec<Pending>,
    free: Vec<u32>,
    /// The member shown last stays pinned until the next poll, so that its details can be read.
    shown: Option<u32>,
}

#[derive(Debug)]
struct Pending {
    cause: Cause,
    /// It went down and came back before anybody looked: how it went.
    bounced: Option<ChangeKind>,
    updated: bool,
    reaped: bool,
}

impl Changes {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new(), pending: Vec::new(), free: Vec::new(), shown: None }
    }

    /// Whether the next poll will do anything, if only let go of what was shown.
    pub(crate) fn is_stirred(&self) -> bool {
        self.shown.is_some() || !self.queue.is_empty()
    }
}

impl Swim {
    /// Something about the member changed, and why.
    pub(crate) fn mark(&mut self, slot: u32, cause: Cause) {
        self.pending(slot, cause);
    }

    /// Its metadata or address changed.
    pub(crate) fn mark_updated(&mut self, slot: u32, cause: Cause) {
        self.pending(slot, cause).updated = true;
    }

    /// It is down; remembered in case it comes back before the application polls.
    pub(crate) fn mark_down(&mut self, slot: u32, kind: ChangeKind, cause: Cause) {
        self.pending(slot, cause).bounced = Some(kind);
    }

    /// It is forgotten.
    pub(crate) fn mark_reaped(&mut self, slot: u32) {
        // What brought it down stays the cause of that, if it was not polled before.
        let cause = match self.roster.get(slot).pending {
            NONE => Cause::Aged,
            index => self.changes.pending[index as usize].cause.clone(),
        };
        self.pending(slot, cause).reaped = true;
    }

    fn pending(&mut self, slot: u32, cause: Cause) -> &mut Pending {
        let index = self.roster.get(slot).pending;
        if index != NONE {
            let pending = &mut self.changes.pending[index as usize];
            pending.cause = cause;
            return pending;
        }
        let fresh = Pending { cause, bounced: None, updated: false, reaped: false };
        let index = match self.changes.free.pop() {
            Some(index) => {
                self.changes.pending[index as usize] = fresh;
                index
            }
            None => {
                self.changes.pending.push(fresh);
                self.changes.pending.len() as u32 - 1
            }
        };
        self.roster.get_mut(slot).pending = index;
        self.roster.pin(slot);
        self.changes.queue.push_back(slot);
        &mut self.changes.pending[index as usize]
    }

    pub(crate) fn poll_membership(&mut self) -> Option<MembershipChange> {
        if let Some(slot) = self.changes.shown.take() {
            self.roster.unpin(slot);
        }
        loop {
            let slot = *self.changes.queue.front()?;
            let index = self.roster.get(slot).pending as usize;
            let record = self.roster.get(slot);
            let (status, listed) = (record.status(), self.roster.lists(record));
            let reported = self.roster.get(slot).reported;
            let pending = &mut self.changes.pending[index];
            // One that a service no longer lists is gone for the application, whatever SWIM says of it.
            let next = if listed || pending.reaped { next_kind(reported, status, pending) } else { None };
            match next {
                Some((kind, now_reported)) => {
                    let cause = if kind == ChangeKind::Reaped { Cause::Aged } else { pending.cause.clone() };
                    self.roster.get_mut(slot).reported = now_reported;
                    let key = self.roster.key(slot);
                    self.roster.pin(slot);
                    self.changes.shown = Some(slot);
                    return Some(MembershipChange { key, kind, cause });
                }
                None => {
                    self.changes.queue.pop_front();
                    self.changes.free.push(index as u32);
                    self.roster.get_mut(slot).pending = NONE;
                    self.roster.unpin(slot);
                }
            }
        }
    }
}

/// The next step from what was told to what is; a legal sequence whatever was folded in between.
fn next_kind(reported: Reported, status: Status, pending: &mut Pending) -> Option<(ChangeKind, Reported)> {
    let is_up = matches!(status, Status::Alive | Status::Suspect | Status::Leaving);
    let told_up = matches!(reported, Reported::Alive | Reported::Suspect);
    let down = |kind| (kind, if kind == ChangeKind::Left { Reported::Left } else { Reported::Failed });
    if let Some(kind) = pending.bounced.take() {
        if told_up {
            return Some(down(kind));
        }
        if reported == Reported::Nothing && (pending.reaped || !is_up) {
            // Came and went unseen: show both.
            pending.bounced = Some(kind);
            return Some((ChangeKind::Joined, Reported::Alive));
        }
    }
    if pending.reaped {
        if matches!(reported, Reported::Alive | Reported::Suspect) {
            return Some(down(if status == Status::Left { ChangeKind::Left } else { ChangeKind::Failed }));
        }
        // What comes after is another life of the same name.
        (pending.reaped, pending.updated) = (false, false);
        if reported != Reported::Nothing {
            return Some((ChangeKind::Reaped, Reported::Nothing));
        }
    }
    match (reported, status) {
        (Reported::Nothing | Reported::Failed | Reported::Left, _) if is_up => {
            pending.updated = false;
            Some((ChangeKind::Joined, Reported::Alive))
        }
        (Reported::Alive, Status::Suspect) => Some((ChangeKind::Suspected, Reported::Suspect)),
        (Reported::Suspect, Status::Alive | Status::Leaving) => Some((ChangeKind::Refuted, Reported::Alive)),
        (Reported::Alive | Reported::Suspect, Status::Failed) => Some((ChangeKind::Failed, Reported::Failed)),
        (Reported::Alive | Reported::Suspect | Reported::Failed, Status::Left) => {
            Some((ChangeKind::Left, Reported::Left))
        }
        _ => core::mem::take(&mut pending.updated).then_some((ChangeKind::Updated, reported)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(mut reported: Reported, status: Status, mut pending: Pending) -> Vec<ChangeKind> {
        let mut kinds = Vec::new();
        while let Some((kind, next)) = next_kind(reported, status, &mut pending) {
            kinds.push(kind);
            reported = next;
            assert!(kinds.len() < 5, "{kinds:?}");
        }
        kinds
    }

    fn pending() -> Pending {
        Pending { cause: Cause::Local, bounced: None, updated: false, reaped: false }
    }

    #[test]
    fn what_was_folded_still_reads_as_a_legal_sequence() {
        use ChangeKind::*;
        assert_eq!(sequence(Reported::Nothing, Status::Alive, pending()), [Joined]);
        assert_eq!(sequence(Reported::Nothing, Status::Suspect, pending()), [Joined, Suspected]);
        assert_eq!(sequence(Reported::Suspect, Status::Alive, pending()), [Refuted]);
        assert_eq!(sequence(Reported::Alive, Status::Leaving, pending()), []);
        let bounced = |kind| Pending { bounced: Some(kind), ..pending() };
        assert_eq!(sequence(Reported::Alive, Status::Alive, bounced(Failed)), [Failed, Joined]);
        assert_eq!(sequence(Reported::Suspect, Status::Failed, bounced(Failed)), [Failed]);
        assert_eq!(sequence(Reported::Nothing, Status::Left, bounced(Left)), [Joined, Left]);
        let reaped = Pending { reaped: true, ..pending() };
        assert_eq!(sequence(Reported::Alive, Status::Left, reaped), [Left, Reaped]);
        let updated = Pending { updated: true, ..pending() };
        assert_eq!(sequence(Reported::Alive, Status::Alive, updated), [Updated]);
        assert_eq!(sequence(Reported::Failed, Status::Left, pending()), [Left]);
        let reaped = Pending { reaped: true, bounced: Some(Failed), ..pending() };
        assert_eq!(sequence(Reported::Nothing, Status::Failed, reaped), [Joined, Failed, Reaped]);
        // Forgotten and back before anybody looked.
        let reaped = Pending { reaped: true, ..pending() };
        assert_eq!(sequence(Reported::Failed, Status::Alive, reaped), [Reaped, Joined]);
        let reaped = Pending { reaped: true, bounced: Some(Left), ..pending() };
        assert_eq!(sequence(Reported::Suspect, Status::Alive, reaped), [Left, Reaped, Joined]);
        let reaped = Pending { reaped: true, updated: true, ..pending() };
        assert_eq!(sequence(Reported::Nothing, Status::Failed, reaped), []);
    }
}

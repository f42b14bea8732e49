//! Subscriptions: news for one application task, bounded without ever holding up the loop.
//!
//! Two kinds of news share one order of arrival. Changes of members are folded per member while nobody takes them, so
//! that their number is bounded by the members and none is lost; events sit in a ring that drops the oldest.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomic_waker::AtomicWaker;
use futures_core::Stream;
use gossip_proto::{Cause, ChangeKind, MemberKey};

use crate::notice::{MemberInfo, Notice};
use crate::options::Options;

/// The members at one moment, and everything that happens from then on.
#[derive(Debug)]
pub struct Subscription {
    /// The members when the subscription began; what [`Subscription::recv`] tells comes after that, with no gap.
    pub members: Vec<MemberInfo>,
    shared: Arc<Shared>,
}

impl Subscription {
    pub(crate) fn new(members: Vec<MemberInfo>, options: &Options) -> (Self, Publisher) {
        let inbox = Inbox::new(options.event_buffer.max(1), options.event_bytes);
        let shared = Arc::new(Shared { inbox: Mutex::new(inbox), reader: AtomicWaker::new() });
        (Self { members, shared: shared.clone() }, Publisher { shared })
    }

    /// One that only has a snapshot: the node has ended.
    pub(crate) fn ended(members: Vec<MemberInfo>) -> Self {
        Self::new(members, &Options::default()).0
    }

    /// The next piece of news; `None` once the node is shut down and all was taken. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Notice> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// What is there now, without waiting.
    pub fn try_recv(&mut self) -> Option<Notice> {
        self.shared.inbox().pop()
    }

    /// Like [`Subscription::recv`], for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.shared.reader.register(cx.waker());
        let mut inbox = self.shared.inbox();
        match inbox.pop() {
            Some(notice) => Poll::Ready(Some(notice)),
            None if inbox.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Stream for Subscription {
    type Item = Notice;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.get_mut().poll_recv(cx)
    }
}

/// The loop's end of a subscription.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    /// Whether somebody still listens.
    pub(crate) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// `fresh`: nobody heard of this member before.
    pub(crate) fn change(&self, key: MemberKey, change: Change, fresh: bool) {
        self.shared.inbox().change(key, change, fresh);
        self.shared.reader.wake();
    }

    pub(crate) fn event(&self, notice: Notice) {
        self.shared.inbox().event(notice);
        self.shared.reader.wake();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.inbox().ended = true;
        self.shared.reader.wake();
    }
}

/// A change of a member, shared by all subscribers.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) member: Arc<MemberInfo>,
    pub(crate) kind: ChangeKind,
    pub(crate) cause: Cause,
}

#[derive(Debug)]
struct Shared {
    inbox: Mutex<Inbox>,
    reader: AtomicWaker,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Inbox<K = MemberKey> {
    changes: BTreeMap<K, Pending>,
    /// Pending members by the serial of their first untaken change.
    order: BTreeMap<u64, K>,
    events: VecDeque<(u64, Notice)>,
    event_limit: usize,
    event_bytes: usize,
    bytes: usize,
    lost: u64,
    serial: u64,
    ended: bool,
}

#[derive(Debug)]
struct Pending {
    serial: u64,
    /// The subscriber has not heard of this member yet.
    fresh: bool,
    stages: [Option<Box<Change>>; 6],
}

impl<K: Copy + Ord> Inbox<K> {
    fn new(event_limit: usize, event_bytes: usize) -> Self {
        Self {
            changes: BTreeMap::new(),
            order: BTreeMap::new(),
            events: VecDeque::new(),
            event_limit,
            event_bytes,
            bytes: 0,
            lost: 0,
            serial: 0,
            ended: false,
        }
    }

    fn change(&mut self, key: K, change: Change, fresh: bool) {
        self.serial += 1;
        let serial = self.serial;
        let pending = self.changes.entry(key).or_insert_with(|| {
            self.order.insert(serial, key);
            Pending::new(serial, fresh)
        });
        pending.fold(change);
        if pending.is_empty() {
            self.order.remove(&pending.serial);
            self.changes.remove(&key);
        }
    }

    fn event(&mut self, notice: Notice) {
        self.serial += 1;
        self.bytes += notice.weight();
        self.events.push_back((self.serial, notice));
        while self.events.len() > self.event_limit || (self.bytes > self.event_bytes && self.events.len() > 1)
        {
            let Some((_, dropped)) = self.events.pop_front() else { break };
            self.bytes -= dropped.weight();
            self.lost += 1;
        }
    }

    fn pop(&mut self) -> Option<Notice> {
        let change = self.order.first_key_value().map(|(&serial, &key)| (serial, key));
        let event = self.events.front().map(|(serial, _)| *serial);
        match (change, event) {
            (Some((serial, key)), event) if event.is_none_or(|event| serial < event) => {
                self.pop_change(serial, key)
            }
            (_, Some(_)) if self.lost > 0 => Some(Notice::Lagged { lost: core::mem::take(&mut self.lost) }),
            _ => {
                let (_, notice) = self.events.pop_front()?;
                self.bytes -= notice.weight();
                Some(notice)
            }
        }
    }

    fn pop_change(&mut self, serial: u64, key: K) -> Option<Notice> {
        let pending = self.changes.get_mut(&key)?;
        let Change { member, kind, cause } = pending.pop()?;
        pending.fresh = false;
        if pending.is_empty() {
            self.changes.remove(&key);
            self.order.remove(&serial);
        }
        Some(Notice::Change { member: Arc::unwrap_or_clone(member), kind, cause })
    }
}

impl Pending {
    fn new(serial: u64, fresh: bool) -> Self {
        Self { serial, fresh, stages: Default::default() }
    }

    /// Adds a change and drops what it makes redundant, such that the kinds left are a sequence that could have
    /// happened and ends in the same state: at most one change for each stage.
    fn fold(&mut self, change: Change) {
        let kind = change.kind;
        let change = Box::new(change);
        match kind {
            ChangeKind::Joined => {
                // Down and up again is told; more often than once is not.
                if let Some(down) = self.stages[DOWN].take()
                    && self.stages[JOINED].is_none()
                {
                    self.stages[DOWN_BEFORE] = Some(down);
                }
                self.stages[UPDATED] = None;
                self.stages[SUSPICION] = None;
                self.stages[JOINED] = Some(change);
            }
            ChangeKind::Suspected | ChangeKind::Refuted => match &self.stages[SUSPICION] {
                Some(pending) if pending.kind != kind => self.stages[SUSPICION] = None,
                _ => self.stages[SUSPICION] = Some(change),
            },
            ChangeKind::Failed | ChangeKind::Left => {
                self.stages[UPDATED] = None;
                self.stages[SUSPICION] = None;
                self.stages[DOWN] = Some(change);
            }
            ChangeKind::Reaped => {
                let before = self.stages[DOWN_BEFORE].take();
                let back = self.stages[JOINED].take().is_some();
                let down = self.stages[DOWN].take();
                self.stages = Default::default();
                if !self.fresh {
                    // Had it come back, the subscriber still has it as down from before.
                    self.stages[DOWN] = if back { before } else { down };
                    self.stages[REAPED] = Some(change);
                }
            }
            // Updated, and kinds of a later version of the machine.
            _ => {
                if let Some(suspicion) = &mut self.stages[SUSPICION] {
                    suspicion.member = change.member.clone();
                }
                match &mut self.stages[JOINED] {
                    Some(joined) if kind == ChangeKind::Updated => joined.member = change.member,
                    _ => self.stages[UPDATED] = Some(change),
                }
            }
        }
    }

    fn pop(&mut self) -> Option<Change> {
        self.stages.iter_mut().find_map(Option::take).map(|change| *change)
    }

    fn is_empty(&self) -> bool {
        self.stages.iter().all(Option::is_none)
    }
}

// The order in which folded changes of one member are told.
const DOWN_BEFORE: usize = 0;
const JOINED: usize = 1;
const UPDATED: usize = 2;
const SUSPICION: usize = 3;
const DOWN: usize = 4;
const REAPED: usize = 5;

#[cfg(test)]
#[path = "subscribe_tests.rs"]
mod tests;

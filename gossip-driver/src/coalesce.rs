//! Folds bursts of news into few pieces (serf.md 4.15): a hundred members that fail at once are one piece with a hundred
//! members, and of ten deployments in a second the last one counts.

use core::future::poll_fn;
use core::mem;
use core::task::{Context, Poll};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gossip_proto::{ChangeKind, Instant, Name};

use crate::notice::{MemberInfo, Notice};
use crate::runtime::{Runtime, Timer};
use crate::subscribe::Subscription;

/// How long news is held back to be folded: it goes out `period` after the first, or `quiet` after the last of a burst,
/// whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The longest that anything is held.
    pub period: Duration,
    /// A burst is over when nothing came for this long.
    pub quiet: Duration,
}

impl Window {
    /// What Serf's agent uses for members and for user events.
    pub const SERF_AGENT: Self = Self { period: Duration::from_secs(3), quiet: Duration::from_secs(1) };
}

/// News after folding.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "they pass through one at a time")]
pub enum Batch {
    /// Members to whom the same happened: one of the kinds that Serf has a name for.
    Members {
        /// What happened.
        kind: ChangeKind,
        /// To whom, in the order in which it was heard.
        members: Vec<MemberInfo>,
    },
    /// Anything else, one by one.
    Single(Notice),
}

/// Folds news, as a function of what it is given and when.
///
/// Of a member what counts is the last that happened within the window, and it is told unless it is what was told of the
/// member before; an update is always told. Of user events that may be folded those with the highest Lamport time of
/// each name count. Everything else passes at once, and so may overtake what is held.
///
/// What is held is bounded: at the bound it goes out early.
#[derive(Debug)]
pub struct Coalescer {
    members: Option<Stage<Members>>,
    user_events: Option<Stage<UserEvents>>,
    ready: VecDeque<Batch>,
}

impl Coalescer {
    /// `None` switches the folding of that kind off: each is then told by itself, at once.
    pub fn new(members: Option<Window>, user_events: Option<Window>) -> Self {
        Self {
            members: members.map(Stage::new),
            user_events: user_events.map(Stage::new),
            ready: VecDeque::new(),
        }
    }

    /// Takes a piece of news. Poll afterwards.
    pub fn handle(&mut self, now: Instant, notice: Notice) {
        self.handle_timeout(now);
        match notice {
            Notice::Change { member, kind, .. } if kind.serf_name().is_some() => match &mut self.members {
                Some(stage) => {
                    stage.held.add(kind, member);
                    stage.touch(now, &mut self.ready);
                }
                None => self.ready.push_back(Batch::Members { kind, members: vec![member] }),
            },
            Notice::UserEvent { ltime, ref name, coalesce: true, .. } if self.user_events.is_some() => {
                if let Some(stage) = &mut self.user_events {
                    stage.held.add(ltime, name.clone(), notice);
                    stage.touch(now, &mut self.ready);
                }
            }
            other => self.ready.push_back(Batch::Single(other)),
        }
    }

    /// Lets go of what was held long enough. Poll afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(stage) = &mut self.members {
            stage.expire(now, &mut self.ready);
        }
        if let Some(stage) = &mut self.user_events {
            stage.expire(now, &mut self.ready);
        }
    }

    /// Lets go of everything: there is no more to come.
    pub fn finish(&mut self) {
        self.handle_timeout(Instant::MAX);
    }

    /// What goes out now; poll until `None`.
    pub fn poll(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }

    /// When [`Coalescer::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let members = self.members.as_ref().and_then(Stage::deadline);
        let user_events = self.user_events.as_ref().and_then(Stage::deadline);
        match (members, user_events) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// A subscription whose news is folded.
pub struct Coalesced<R: Runtime> {
    news: Subscription,
    coalescer: Coalescer,
    runtime: R,
    timer: R::Timer,
    ended: bool,
}

impl<R: Runtime> Coalesced<R> {
    /// Folds what the subscription brings, by the clock of the runtime.
    pub fn new(news: Subscription, coalescer: Coalescer, runtime: R) -> Self {
        Self { news, coalescer, timer: runtime.timer(), runtime, ended: false }
    }

    /// The next piece; `None` once the node is shut down and all was taken. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Batch> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        loop {
            if let Some(batch) = self.coalescer.poll() {
                return Poll::Ready(Some(batch));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.news.poll_recv(cx) {
                Poll::Ready(Some(notice)) => {
                    self.coalescer.handle(self.runtime.now(), notice);
                    continue;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    self.coalescer.finish();
                    continue;
                }
                Poll::Pending => {}
            }
            let Some(deadline) = self.coalescer.poll_timeout() else { return Poll::Pending };
            self.timer.set(deadline);
            if self.timer.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
            self.coalescer.handle_timeout(self.runtime.now());
        }
    }
}

/// What is held of one kind, and until when.
#[derive(Debug)]
struct Stage<H> {
    window: Window,
    /// End of the window, and of the quiet time in it; set while something is held.
    deadlines: Option<(Instant, Instant)>,
    held: H,
}

impl<H: Held> Stage<H> {
    fn new(window: Window) -> Self {
        Self { window, deadlines: None, held: H::default() }
    }

    /// Something was added.
    fn touch(&mut self, now: Instant, ready: &mut VecDeque<Batch>) {
        let end = self.deadlines.map_or(now + self.window.period, |(end, _)| end);
        self.deadlines = Some((end, now + self.window.quiet));
        if self.held.is_full() {
            self.deadlines = None;
            self.held.flush(ready);
        }
    }

    fn expire(&mut self, now: Instant, ready: &mut VecDeque<Batch>) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.deadlines = None;
            self.held.flush(ready);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadlines.map(|(end, quiet)| end.min(quiet))
    }
}

trait Held: Default {
    /// Whether no more may be held.
    fn is_full(&self) -> bool;
    fn flush(&mut self, ready: &mut VecDeque<Batch>);
}

#[derive(Debug, Default)]
struct Members {
    latest: BTreeMap<Name, Latest>,
    /// What was last told of each member that was not reaped since: as many as there are members.
    told: BTreeMap<Name, ChangeKind>,
    serial: u64,
}

/// The last that happened to a member within the window.
#[derive(Debug)]
struct Latest {
    serial: u64,
    kind: ChangeKind,
    member: MemberInfo,
    /// It came within the window: if it is gone by its end there is nothing to tell.
    fresh: bool,
}

impl Members {
    fn add(&mut self, kind: ChangeKind, member: MemberInfo) {
        self.serial += 1;
        let fresh = match self.latest.get(&member.name) {
            Some(latest) => latest.fresh,
            None => kind == ChangeKind::Joined && !self.told.contains_key(&member.name),
        };
        let latest = Latest { serial: self.serial, kind, fresh, member };
        self.latest.insert(latest.member.name.clone(), latest);
    }
}

impl Held for Members {
    fn is_full(&self) -> bool {
        self.latest.len() >= MAX_MEMBERS
    }

    // Upstream never clears `latest`, and so repeats old updates with every later flush (Q23).
    fn flush(&mut self, ready: &mut VecDeque<Batch>) {
        let mut latest: Vec<Latest> = mem::take(&mut self.latest).into_values().collect();
        latest.sort_unstable_by_key(|latest| latest.serial);
        let mut batches: Vec<(ChangeKind, Vec<MemberInfo>)> = Vec::new();
        for Latest { kind, member, fresh, .. } in latest {
            let told = match kind {
                ChangeKind::Reaped => self.told.remove(&member.name),
                _ => self.told.insert(member.name.clone(), kind),
            };
            if (told == Some(kind) && kind != ChangeKind::Updated) || (fresh && kind == ChangeKind::Reaped) {
                continue;
            }
            match batches.iter_mut().find(|(of, _)| *of == kind) {
                Some((_, members)) => members.push(member),
                None => batches.push((kind, vec![member])),
            }
        }
        ready.extend(batches.into_iter().map(|(kind, members)| Batch::Members { kind, members }));
    }
}

#[derive(Debug, Default)]
struct UserEvents {
    /// By name: the highest Lamport time, and the events of it in the order in which they came.
    latest: BTreeMap<Bytes, (u64, Vec<Notice>)>,
    held: usize,
    bytes: usize,
}

impl UserEvents {
    fn add(&mut self, ltime: u64, name: Bytes, event: Notice) {
        let (highest, events) = self.latest.entry(name).or_insert_with(|| (ltime, Vec::new()));
        if ltime < *highest {
            return;
        }
        if ltime > *highest {
            *highest = ltime;
            self.held -= events.len();
            self.bytes -= events.drain(..).map(|event| event.weight()).sum::<usize>();
        }
        self.held += 1;
        self.bytes += event.weight();
        events.push(event);
    }
}

impl Held for UserEvents {
    fn is_full(&self) -> bool {
        self.held >= MAX_EVENTS || self.bytes >= MAX_EVENT_BYTES
    }

    fn flush(&mut self, ready: &mut VecDeque<Batch>) {
        let Self { latest, .. } = mem::take(self);
        let mut events: Vec<(u64, Vec<Notice>)> = latest.into_values().collect();
        events.sort_by_key(|(ltime, _)| *ltime);
        ready.extend(events.into_iter().flat_map(|(_, events)| events).map(Batch::Single));
    }
}

/// Members whose news is held at once.
const MAX_MEMBERS: usize = 16_384;
/// User events held at once, and the bytes they may take.
const MAX_EVENTS: usize = 1024;
const MAX_EVENT_BYTES: usize = 1 << 20;

#[cfg(test)]
#[path = "coalesce_tests.rs"]
mod tests;

//! Push/pull state: clocks, status times, tombstones and recent events (serf.md 1.6).

use alloc::vec::Vec;

use hashbrown::HashSet;

use super::{Life, Services};
use crate::config::MAX_NAME;
use crate::hash::Keyed;
use crate::roster::{LOCAL, Record};
use crate::swim::Swim;
use crate::wire::field::{BYTES_OF_WORK, Span};
use crate::wire::serf::{
    Check, JoinIntent, LeaveIntent, PushPull, PushPullParts, RecentEvent, SerfType, UserEvent,
};
use crate::{Name, Status};

/// A received state on its way in, taken up again where it was left.
#[derive(Debug)]
pub(crate) struct StateMerge {
    body: Vec<u8>,
    /// As long as it is being decoded.
    check: Option<Check>,
    /// The join that it came with does not want old events.
    ignores_old: bool,
    state: PushPull,
    left: Span,
    statuses: Span,
    events: Span,
    /// Names that left there; their status times stand for leave intents.
    gone: HashSet<Name, Keyed>,
}

/// Bytes of names that a state may hold. Peers refuse what is over 20 MiB, in a sealed stream together with what SWIM says of the
/// same members, and with it every exchange (spec 1.6, 1.11).
const NAMES: usize = 8 << 20;

/// Work that is done when a state arrives: enough for tens of thousands of members, whose clocks are known then before the node says
/// anything of its own.
const CHECKED_AT_ONCE: usize = 1 << 16;

/// The most that a member takes in a state.
const LONGEST: usize = 2 * (MAX_NAME + 5) + 9;

/// What a member takes in a state: name and length, twice if it left, and a time.
fn weight(record: &Record) -> usize {
    let name = record.name.as_bytes().len() + 5;
    if record.says == Some(Status::Left) { 2 * name + 9 } else { name + 9 }
}

fn is_gone(record: &Record) -> bool {
    matches!(record.says, Some(Status::Failed | Status::Left))
}

/// Bytes by which names are too long for a state: of members that are there, and of those that are gone, which are left out
/// first. It takes tens of thousands of long names, which somebody has to invent.
fn excess(swim: &Swim) -> [usize; 2] {
    if swim.roster.slots() as usize <= NAMES / LONGEST {
        return [0; 2];
    }
    let mut weights = [0; 2];
    for record in (0..swim.roster.slots()).filter_map(|slot| swim.roster.used(slot)) {
        if record.says.is_some() {
            weights[usize::from(is_gone(record))] += weight(record);
        }
    }
    let excess = (weights[0] + weights[1]).saturating_sub(NAMES);
    [excess.saturating_sub(weights[1]), excess]
}

impl Services {
    /// Appends what this node tells in a push/pull. Only events that exist: receivers need no empty slots (Q12).
    pub(crate) fn encode_state(&self, swim: &mut Swim, out: &mut Vec<u8>) {
        let (mut statuses, mut left) = (Vec::new(), Vec::new());
        let mut excess = excess(swim);
        for slot in 0..swim.roster.slots() {
            let Some(record) = swim.roster.used(slot).filter(|record| record.says.is_some()) else {
                continue;
            };
            let excess = &mut excess[usize::from(is_gone(record))];
            if *excess > 0 && slot != LOCAL {
                *excess = excess.saturating_sub(weight(record));
                swim.stats.statuses_untold += 1;
                continue;
            }
            statuses.push((record.name.as_bytes(), self.member(slot).ltime));
            if record.says == Some(Status::Left) {
                left.push(record.name.as_bytes());
            }
        }
        let events: Vec<_> = self
            .events
            .iter()
            .map(|(ltime, events)| {
                Some((
                    ltime,
                    events.map(|(name, payload)| RecentEvent { name: name.into(), payload: payload.into() }),
                ))
            })
            .collect();
        out.push(SerfType::PushPull.byte());
        let before = out.len();
        let parts = PushPullParts {
            ltime: self.clock.time(),
            event_ltime: self.event_clock.time(),
            query_ltime: self.query_clock.time(),
            status_ltimes: statuses.into_iter(),
            left_members: left.into_iter(),
            events: events.into_iter(),
        };
        if parts.encode(out).is_err() {
            out.truncate(before - 1);
        }
    }

    /// Takes a remote's state in: the clocks at once unless it is very long, the lists in slices.
    pub(crate) fn begin_state(&mut self, swim: &mut Swim, join: bool, state: &[u8]) {
        let Some(body) = state.strip_prefix(&[SerfType::PushPull.byte()]) else {
            swim.stats.serf_unknown_type += 1;
            return;
        };
        let mut merge = StateMerge {
            body: Vec::new(),
            check: Some(Check::default()),
            ignores_old: join && !self.ignoring_old.is_empty(),
            left: Span::default(),
            statuses: Span::default(),
            events: Span::default(),
            gone: HashSet::with_hasher(Keyed::new(&mut swim.rng)),
            state: PushPull::default(),
        };
        if !self.check(swim, &mut merge, body, &mut { CHECKED_AT_ONCE }) {
            return;
        }
        let waiting: usize = self.merges.iter().map(|merge| merge.body.len()).sum();
        if waiting + body.len() > swim.config.max_exchange_bytes {
            swim.stats.exchange_memory_full += 1;
            return;
        }
        merge.body = body.to_vec();
        self.merges.push_back(merge);
    }

    /// Goes on decoding a state; once all of it has been, takes over its clocks. False if it is none.
    fn check(&mut self, swim: &mut Swim, merge: &mut StateMerge, body: &[u8], work: &mut usize) -> bool {
        let Some(check) = &mut merge.check else { return true };
        let state = match check.go_on(body, work) {
            Ok(Some((state, _))) => state,
            Ok(None) => return true,
            Err(_) => {
                swim.stats.dropped_decode += 1;
                return false;
            }
        };
        merge.check = None;
        (merge.left, merge.statuses, merge.events) = (state.left_span, state.status_span, state.event_span);
        merge.state = state;
        let clocks = [
            (&mut self.clock, state.ltime),
            (&mut self.event_clock, state.event_ltime),
            (&mut self.query_clock, state.query_ltime),
        ];
        for (clock, time) in clocks {
            // The time advertised is the next one, nothing has been sent with it.
            if let Some(time) = time.checked_sub(1) {
                swim.stats.ltime_refused += u64::from(!clock.follow(time));
            }
        }
        if merge.ignores_old {
            self.event_min = self.event_min.max(state.event_ltime.min(self.event_clock.time()));
        }
        true
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn states_held(&self, swim: &Swim) -> [crate::output::Depth; 2] {
        let of = |what, len, cap| crate::output::Depth { what, len, cap };
        let bytes = self.merges.iter().map(|merge| merge.body.len()).sum();
        let gone = self.merges.iter().map(|merge| merge.gone.len()).max().unwrap_or_default();
        [
            of("bytes of states to merge", bytes, swim.config.max_exchange_bytes),
            of("names that left in a state", gone, swim.config.max_members),
        ]
    }

    /// Goes on merging, as far as `work` goes.
    pub(crate) fn merge_states(&mut self, swim: &mut Swim, work: &mut usize) {
        while *work > 0 {
            let Some(mut merge) = self.merges.pop_front() else { return };
            if self.step(swim, &mut merge, work) {
                continue;
            }
            self.merges.push_front(merge);
        }
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.merges.is_empty()
    }

    /// Whether the state is merged.
    fn step(&mut self, swim: &mut Swim, merge: &mut StateMerge, work: &mut usize) -> bool {
        if merge.check.is_some() {
            let body = core::mem::take(&mut merge.body);
            let is_one = self.check(swim, merge, &body, work);
            merge.body = body;
            if !is_one {
                return true;
            }
        }
        let StateMerge { body, state, left, statuses, events, gone, .. } = merge;
        while *work > 0 {
            *work -= 1;
            let mut names = PushPull { left_span: *left, ..*state }.left_members(body);
            if let Some(name) = names.next() {
                *left = names.span();
                // In bytes a name is short, kept it is not: more than a table has members are not.
                if gone.len() < swim.config.max_members && name.len() <= MAX_NAME {
                    gone.insert(Name::new(&*name));
                } else {
                    swim.stats.intents_full += 1;
                }
                continue;
            }
            let mut times = PushPull { status_span: *statuses, ..*state }.status_ltimes(body);
            if let Some((name, ltime)) = times.next() {
                *statuses = times.span();
                self.merge_status(swim, &name, ltime, gone.remove(&Name::new(&*name)));
                continue;
            }
            let mut entries = PushPull { event_span: *events, ..*state }.events(body);
            let Some(entry) = entries.next() else { break };
            let used = entries.span().start() - events.start();
            *events = entries.span();
            *work = work.saturating_sub(used / BYTES_OF_WORK);
            let Some(entry) = entry else { continue };
            if !self.event_clock.follows(entry.ltime) {
                swim.stats.ltime_refused += 1;
                continue;
            }
            // More than a slot holds would be refused one by one.
            for event in entry.events.iter().take(self.config.max_events_per_ltime) {
                *work = work.saturating_sub(1);
                // Whether it may be coalesced is not remembered (Q13). What comes this way is not gossiped again.
                let event = UserEvent {
                    ltime: entry.ltime,
                    name: event.name,
                    payload: event.payload,
                    coalesce: false,
                };
                self.user_event(swim, &event);
            }
        }
        if *work == 0 {
            return false;
        }
        true
    }

    fn merge_status(&mut self, swim: &mut Swim, name: &[u8], ltime: u64, left: bool) {
        if !self.clock.follows(ltime) {
            swim.stats.ltime_refused += 1;
            return;
        }
        // Others know of an intent about this node that never came here: a leave, as joins are its own. Without an answer they
        // would take a member that lives for one that leaves, for good.
        if self.listed_slot(swim, name) == Some(LOCAL)
            && self.life == Life::Alive
            && ltime > self.member(LOCAL).ltime
        {
            self.clock.witness(ltime);
            self.broadcast_join(swim, self.clock.time());
            return;
        }
        if left {
            let intent = LeaveIntent { ltime: ltime.saturating_add(1), node: name.into(), prune: false };
            self.leave_intent(swim, &intent, true);
        } else {
            self.join_intent(swim, &JoinIntent { ltime, node: name.into() }, true);
        }
    }
}

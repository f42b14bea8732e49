//! Push/pull state: clocks, status times, tombstones and recent events (serf.md 1.6).

use alloc::vec::Vec;

use hashbrown::HashSet;

use super::{Life, Services};
use crate::config::MAX_NAME;
use crate::hash::Keyed;
use crate::roster::{LOCAL, Record};
use crate::swim::Swim;
use crate::wire::field::Span;
use crate::wire::serf::{JoinIntent, LeaveIntent, PushPull, PushPullParts, RecentEvent, SerfType, UserEvent};
use crate::{Name, Status};

/// A received state on its way in, taken up again where it was left.
#[derive(Debug)]
pub(crate) struct StateMerge {
    body: Vec<u8>,
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

    /// Takes a remote's state in: the clocks at once, the lists in slices.
    pub(crate) fn begin_state(&mut self, swim: &mut Swim, join: bool, state: &[u8]) {
        let decoded = match state.split_first() {
            Some((&kind, body)) if kind == SerfType::PushPull.byte() => {
                PushPull::decode(body).map(|(s, _)| (s, body))
            }
            _ => {
                swim.stats.serf_unknown_type += 1;
                return;
            }
        };
        let Ok((state, body)) = decoded else {
            swim.stats.dropped_decode += 1;
            return;
        };
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
        if join && !self.ignoring_old.is_empty() {
            self.event_min = self.event_min.max(state.event_ltime.min(self.event_clock.time()));
        }
        let waiting: usize = self.merges.iter().map(|merge| merge.body.len()).sum();
        if waiting + body.len() > swim.config.max_exchange_bytes {
            swim.stats.exchange_memory_full += 1;
            return;
        }
        self.merges.push_back(StateMerge {
            body: body.to_vec(),
            left: state.left_span,
            statuses: state.status_span,
            events: state.event_span,
            gone: HashSet::with_hasher(Keyed::new(&mut swim.rng)),
            state,
        });
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
        let StateMerge { body, state, left, statuses, events, gone } = merge;
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
            *events = entries.span();
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

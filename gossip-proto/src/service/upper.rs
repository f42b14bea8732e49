//! The services as the layer above membership.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::Hash;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use super::{Farewell, Life, Services, Task};
use crate::Instant;
use crate::error::CommandError;
use crate::output::{OperationId, Outcome, Source};
use crate::roster::LOCAL;
use crate::swim::{Lane, News, Swim, Upper, Waiter};
use crate::wire::msgpack::DecodeError;
use crate::wire::serf::{JoinIntent, LeaveIntent, Query, Relay, SerfType, UserEvent};

impl Upper for Services {
    /// One that an operator pruned while it lived is a member for SWIM alone.
    fn num_alive(&self, _swim: &Swim) -> usize {
        self.listed.saturating_sub(self.failed + self.left)
    }

    fn changed(&mut self, swim: &mut Swim, slot: u32, news: News) {
        self.member_changed(swim, slot, news);
    }

    fn message(&mut self, swim: &mut Swim, from: Source, _reliable: bool, payload: &[u8]) {
        match self.dispatch(swim, from, payload) {
            Ok(None) => {}
            // The bytes go on as they came, so that fields we do not know survive (serf.md 1.3).
            Ok(Some(lane)) if payload.len() <= swim.max_broadcast() => swim.broadcast(lane, &[payload], None),
            Ok(Some(_)) => {}
            Err(_) => swim.stats.dropped_decode += 1,
        }
    }

    fn conflicted(&mut self, swim: &mut Swim, slot: u32, claimed: SocketAddr) {
        if slot == LOCAL {
            self.name_conflict(swim, claimed);
        }
    }

    fn local_state(&mut self, swim: &mut Swim, _join: bool, out: &mut Vec<u8>) {
        self.encode_state(swim, out);
    }

    fn merge_state(&mut self, swim: &mut Swim, _from: Source, join: bool, state: &[u8]) {
        self.begin_state(swim, join, state);
    }

    fn joined(&mut self, swim: &mut Swim, operation: u64, contacted: usize) {
        self.ignoring_old.retain(|&ignoring| ignoring != operation);
        // Later than all that the exchange taught us, so that it overrides what is remembered of an earlier life
        // (serf.md 4.7).
        if contacted > 0 && self.life == Life::Alive {
            self.broadcast_join(swim, self.clock.time());
        }
    }

    fn sought(&mut self, swim: &mut Swim, token: u64, found: bool) {
        self.sought_out(swim, token, found);
    }

    fn announced(&mut self, swim: &mut Swim, step: u64, out: bool) {
        if let Task::Farewell(step) = Task::unpack(step) {
            self.farewell_out(swim, step, out);
        }
    }

    fn timeout(&mut self, swim: &mut Swim, timer: u64) {
        match Task::unpack(timer) {
            Task::Forget { slot, turn } => self.member_due(swim, slot, turn),
            Task::Prune { slot, turn } => self.prune_due(swim, slot, turn),
            Task::Farewell(step) => self.farewell_out(swim, step, false),
            Task::Intents => self.purge_intents(swim),
            Task::Reconnect => self.reconnect(swim),
            Task::Asked(serial) => self.asked_due(swim, serial),
        }
    }

    fn keyring_stored(&mut self, swim: &mut Swim, change: u64, result: Result<(), String>) {
        self.key_stored(swim, change, result);
    }

    fn ping_completed(&mut self, swim: &mut Swim, slot: u32, rtt: Duration, payload: &[u8], _at: Instant) {
        if let Some(coordinates) = &mut self.coordinates {
            coordinates.measured(&mut swim.stats, slot, rtt, payload);
        }
    }

    fn ack_payload(&self, out: &mut Vec<u8>) {
        if let Some(coordinates) = &self.coordinates {
            coordinates.encode(out);
        }
    }

    fn has_backlog(&self) -> bool {
        Self::has_backlog(self)
    }

    fn work_off(&mut self, swim: &mut Swim, work: &mut usize) {
        self.merge_states(swim, work);
    }

    fn hash(&self, hasher: &mut SipHasher13) {
        (self.clock.time(), self.event_clock.time(), self.query_clock.time(), self.event_min).hash(hasher);
        (self.listed, self.failed, self.left, self.merges.len(), self.announced).hash(hasher);
        (self.query_min, self.leave_operation, &self.ignoring_old).hash(hasher);
        self.queries.hash(hasher);
        self.learnt.hash(hasher);
        match self.life {
            Life::Alive => 0,
            Life::Leaving(step) => 1 + step as u32,
            Life::Left => u32::MAX,
        }
        .hash(hasher);
        self.coordinates.hash(hasher);
        self.keys.hash(hasher);
        for (ltime, events) in self.events.iter() {
            ltime.hash(hasher);
            events.for_each(|event| event.hash(hasher));
        }
    }

    fn config(&self) -> &dyn fmt::Debug {
        &self.config
    }

    fn services(&self) -> Option<&crate::config::ServiceConfig> {
        Some(&self.config)
    }
}

impl Services {
    /// Serf's timers that run from the start.
    pub(crate) fn start(&mut self, swim: &mut Swim) {
        swim.arm_service(swim.now + PURGE_INTERVAL, Task::Intents.pack());
        // From a random moment on: those started together must not all turn to the failed at once.
        let interval = self.config.reconnect_interval;
        if !interval.is_zero() {
            let first = interval / 2 + swim.rng.duration_below(interval / 2);
            swim.arm_service(swim.now + first, Task::Reconnect.pack());
        }
        if let Some(restore) = self.config.restore.clone() {
            self.restore_learnt(swim, restore);
        }
    }

    fn purge_intents(&mut self, swim: &mut Swim) {
        self.purge_queries(swim.now);
        self.recent.purge(swim.now.saturating_sub(self.config.recent_intent_timeout));
        swim.arm_service(swim.now + PURGE_INTERVAL, Task::Intents.pack());
    }

    /// A message of Serf's (serf.md 1.3); in which lane to pass it on.
    fn dispatch(
        &mut self,
        swim: &mut Swim,
        from: Source,
        payload: &[u8],
    ) -> Result<Option<Lane>, DecodeError> {
        let Some((&kind, body)) = payload.split_first() else { return Ok(None) };
        let (go_on, lane) = match SerfType::from_byte(kind) {
            Some(SerfType::Leave) => {
                let intent = LeaveIntent::decode(body)?.0;
                (self.timely(swim, intent.ltime) && self.leave_intent(swim, &intent, false), Lane::Intent)
            }
            Some(SerfType::Join) => {
                let intent = JoinIntent::decode(body)?.0;
                (self.timely(swim, intent.ltime) && self.join_intent(swim, &intent, false), Lane::Intent)
            }
            Some(SerfType::UserEvent) => {
                let event = UserEvent::decode(body)?.0;
                let timely = self.event_clock.reaches(event.ltime);
                swim.stats.ltime_refused += u64::from(!timely);
                (timely && self.user_event(swim, &event), Lane::Event)
            }
            Some(SerfType::Query) => {
                let query = Query::decode(body)?.0;
                let timely = self.query_clock.reaches(query.ltime);
                swim.stats.ltime_refused += u64::from(!timely);
                swim.weigh_strangers_message(from.addr, payload);
                (timely && self.query(swim, Some(from), &query), Lane::Query)
            }
            Some(SerfType::QueryResponse) => {
                self.response_came(swim, body);
                return Ok(None);
            }
            Some(SerfType::Relay) => {
                self.relay(swim, &Relay::decode(body)?);
                return Ok(None);
            }
            _ => {
                swim.stats.serf_unknown_type += 1;
                return Ok(None);
            }
        };
        Ok(go_on.then_some(lane))
    }

    fn timely(&self, swim: &mut Swim, ltime: u64) -> bool {
        let timely = self.clock.reaches(ltime);
        swim.stats.ltime_refused += u64::from(!timely);
        timely
    }

    /// Begins a graceful leave (serf.md 4.8).
    pub(crate) fn leave(&mut self, swim: &mut Swim) -> Result<OperationId, CommandError> {
        match self.life {
            Life::Alive => {}
            Life::Leaving(_) => return Err(CommandError::LeaveInProgress),
            Life::Left => return Err(CommandError::Left),
        }
        let key = swim.begin_leave()?;
        // Before the intent is handled here, or the node would refute its own leave.
        self.life = Life::Leaving(Farewell::Intent);
        swim.departing = true;
        self.leave_operation = Some(key);
        let name = swim.config.name.clone();
        let step = Task::Farewell(Farewell::Intent as u32).pack();
        self.broadcast_leave(swim, name.as_bytes(), false, Waiter::Service(step));
        if swim.has_company() {
            swim.arm_service(swim.now + swim.config.broadcast_timeout, step);
        } else {
            self.farewell_out(swim, Farewell::Intent as u32, true);
        }
        Ok(OperationId(key))
    }

    /// A step of the leave is done, in full or because its time is up.
    fn farewell_out(&mut self, swim: &mut Swim, step: u32, in_full: bool) {
        let Life::Leaving(current) = self.life else { return };
        if current as u32 != step {
            return;
        }
        match current {
            Farewell::Intent => {
                self.announced &= in_full;
                self.life = Life::Leaving(Farewell::Membership);
                let next = Task::Farewell(Farewell::Membership as u32).pack();
                swim.say_farewell(self, Waiter::Service(next));
                if swim.has_company() {
                    swim.arm_service(swim.now + swim.config.broadcast_timeout, next);
                } else {
                    self.farewell_out(swim, Farewell::Membership as u32, true);
                }
            }
            Farewell::Membership => {
                self.announced &= in_full;
                self.life = Life::Leaving(Farewell::Propagating);
                let next = Task::Farewell(Farewell::Propagating as u32).pack();
                let wait =
                    if swim.has_company() { self.config.leave_propagate_delay } else { Duration::ZERO };
                swim.arm_service(swim.now + wait, next);
            }
            Farewell::Propagating => {
                self.life = Life::Left;
                if let Some(key) = self.leave_operation.take() {
                    swim.complete(key, Outcome::Left { announced: self.announced });
                }
            }
        }
    }

    /// Takes another node for left, on an operator's word (serf.md 4.9).
    pub(crate) fn force_leave(
        &mut self,
        swim: &mut Swim,
        name: &[u8],
        prune: bool,
    ) -> Result<OperationId, CommandError> {
        if self.life != Life::Alive {
            return Err(CommandError::Left);
        }
        // Succeeding silently for a name that nobody has would plant an intent everywhere (Q16).
        if self.listed_slot(swim, name).is_none() && !self.learnt.contains(name) {
            return Err(CommandError::UnknownMember);
        }
        let key = swim.begin_announcement()?;
        self.broadcast_leave(swim, name, prune, Waiter::Operation(key));
        swim.end_lonely_announcement(key);
        Ok(OperationId(key))
    }

    pub(crate) fn schedule_reconnect(&mut self, swim: &mut Swim) {
        if !self.config.reconnect_interval.is_zero() {
            swim.arm_service(swim.now + self.config.reconnect_interval, Task::Reconnect.pack());
        }
    }

    /// Tries one failed member again, the more likely the more have failed (serf.md 4.12): who was cut off finds back
    /// without anybody's help.
    fn reconnect(&mut self, swim: &mut Swim) {
        self.schedule_reconnect(swim);
        if self.life != Life::Alive {
            return;
        }
        let alive = self.listed.saturating_sub(self.failed + self.left).max(1);
        self.retry_learnt(swim, alive);
        if self.failed == 0 || swim.rng.below64(alive as u64) >= self.failed as u64 {
            return;
        }
        // A random place to start, then the next failed one: looking through the table once each interval.
        let slots = swim.roster.slots();
        let start = swim.rng.below(slots);
        let failed = (0..slots).map(|i| (start + i) % slots).find(|&slot| {
            swim.roster.used(slot).is_some_and(|record| record.says == Some(crate::Status::Failed))
        });
        if let Some(slot) = failed {
            swim.reconnect(slot);
        }
    }
}

/// How often remembered intents are looked through (serf.md 4.11).
const PURGE_INTERVAL: Duration = Duration::from_secs(15);

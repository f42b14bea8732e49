//! What the application wants, and operations that end later.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::outgoing::Outgoing;
use super::streams::Purpose;
use super::{Awaited, Deadline, News, Notice, Swim, Upper, Waiter};
use crate::error::{CommandError, ConfigError, ONE_DATAGRAM};
use crate::machine::JoinTarget;
use crate::output::{Cause, Completion, JoinFailure, OperationId, Outcome, StreamFailure};
use crate::roster::{LOCAL, canonical};
use crate::timer::TimerId;
use crate::{Instant, MemberKey};

/// A command under way.
#[derive(Debug)]
pub(crate) struct Operation {
    kind: Kind,
    timer: Option<TimerId>,
}

#[derive(Debug)]
enum Kind {
    Join(Join),
    Announce,
    Leave,
    Ping { target: MemberKey, seq: u32, sent: Option<Instant> },
    Send,
    Query,
}

/// A join through many addresses has only so many streams at once, or it would leave none to probes and to other exchanges.
#[derive(Debug)]
struct Join {
    /// The addresses to come, the next one last.
    waiting: Vec<SocketAddr>,
    under_way: usize,
    contacted: usize,
    failed: Vec<(SocketAddr, JoinFailure)>,
}

impl Swim {
    fn begin(&mut self, kind: Kind, timeout: Option<Duration>) -> Result<u64, CommandError> {
        if self.operations.len() + self.completions.len() >= self.config.max_operations {
            return Err(CommandError::TooManyOperations);
        }
        let key = self.operations.insert(Operation { kind, timer: None });
        if let Some(timeout) = timeout {
            let timer = self.timers.arm(self.now + timeout, Deadline::Operation(key));
            if let Some(operation) = self.operations.get_mut(key) {
                operation.timer = Some(timer);
            }
        }
        Ok(key)
    }

    /// Ends an operation.
    pub(crate) fn complete(&mut self, key: u64, outcome: Outcome) {
        let Some(operation) = self.operations.remove(key) else { return };
        if let Some(timer) = operation.timer {
            self.timers.cancel(timer);
        }
        self.completions.push_back(Completion::Ended { operation: OperationId(key), outcome });
    }

    pub(crate) fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// The operation's time is up.
    pub(crate) fn operation_expired(&mut self, key: u64) {
        let Some(operation) = self.operations.get_mut(key) else { return };
        operation.timer = None;
        match operation.kind {
            Kind::Announce => self.complete(key, Outcome::Announced { in_time: false }),
            Kind::Leave => self.complete(key, Outcome::Left { announced: false }),
            Kind::Ping { seq, .. } => {
                self.awaited.remove(&seq);
                self.complete(key, Outcome::Ping { rtt: None });
            }
            Kind::Join(_) | Kind::Send | Kind::Query => {}
        }
    }

    /// Its broadcast is out.
    pub(crate) fn operation_announced(&mut self, key: u64, in_time: bool) {
        match self.operations.get(key).map(|operation| &operation.kind) {
            Some(Kind::Announce) => self.complete(key, Outcome::Announced { in_time }),
            Some(Kind::Leave) => self.complete(key, Outcome::Left { announced: in_time }),
            _ => {}
        }
    }

    /// Whether anybody else is there to hear a broadcast (spec 4.22, 4.23).
    pub(crate) fn has_company(&self) -> bool {
        self.roster.num_members() > usize::from(self.roster.get(LOCAL).is_member())
    }

    /// An operation that waits for a broadcast; with nobody to hear it, it is over at once.
    pub(crate) fn begin_announcement(&mut self) -> Result<u64, CommandError> {
        self.begin(Kind::Announce, Some(self.config.broadcast_timeout))
    }

    /// Ends an announcement that nobody is there to hear.
    pub(crate) fn end_lonely_announcement(&mut self, key: u64) {
        if !self.has_company() {
            self.operation_announced(key, true);
        }
    }

    pub(crate) fn join(&mut self, targets: &[JoinTarget]) -> Result<OperationId, CommandError> {
        if self.leaving || self.departing {
            return Err(CommandError::Left);
        }
        if targets.is_empty() {
            return Err(CommandError::NoTargets);
        }
        if self.config.require_node_names && targets.iter().any(|target| target.name.is_none()) {
            return Err(CommandError::NameRequired);
        }
        let waiting = targets.iter().rev().map(|target| canonical(target.addr)).collect();
        let join = Join { waiting, under_way: 0, contacted: 0, failed: Vec::new() };
        let key = self.begin(Kind::Join(join), None)?;
        self.advance_join(key);
        Ok(OperationId(key))
    }

    fn joining(&mut self, key: u64) -> Option<&mut Join> {
        match &mut self.operations.get_mut(key)?.kind {
            Kind::Join(join) => Some(join),
            _ => None,
        }
    }

    /// One address of a join is done.
    pub(crate) fn join_progress(&mut self, key: u64, with: SocketAddr, result: Result<(), JoinFailure>) {
        let Some(join) = self.joining(key) else { return };
        join.under_way -= 1;
        match result {
            Ok(()) => join.contacted += 1,
            Err(why) => join.failed.push((with, why)),
        }
        self.advance_join(key);
    }

    /// Goes on with the addresses that wait, as far as there is room for streams; ends the join after the last.
    fn advance_join(&mut self, key: u64) {
        let at_once = self.config.max_streams / 2;
        let leaves = self.leaving || self.departing;
        loop {
            let room = self.may_open_stream();
            let Some(join) = self.joining(key) else { return };
            let Some(&to) = join.waiting.last() else { break };
            if !leaves && join.under_way > 0 && (join.under_way >= at_once || !room) {
                return; // The end of one that is under way is when to look again.
            }
            join.waiting.pop();
            let opened = !leaves && self.open_join(key, to);
            let Some(join) = self.joining(key) else { return };
            match opened {
                true => join.under_way += 1,
                false => join.failed.push((to, JoinFailure::Stream(StreamFailure::Local))),
            }
        }
        let Some(join) = self.joining(key) else { return };
        if join.under_way == 0 {
            let (contacted, failed) = (join.contacted, core::mem::take(&mut join.failed));
            self.notices.push_back(Notice::Joined { operation: key, contacted });
            self.complete(key, Outcome::Joined { contacted, failed });
        }
    }

    fn open_join(&mut self, key: u64, to: SocketAddr) -> bool {
        let peer = self.roster.at(to).map(|slot| self.roster.key(slot));
        let begun = self.open_stream(to, peer, Purpose::Exchange { operation: Some(key) }).is_some();
        self.stats.exchanges_begun += u64::from(begun);
        begun
    }

    /// Says good-bye at the membership level and waits until that is out (spec 4.23).
    pub(crate) fn leave<U: Upper>(&mut self, upper: &mut U) -> Result<OperationId, CommandError> {
        if self.leaving {
            return Err(CommandError::LeaveInProgress);
        }
        let key = self.begin(Kind::Leave, Some(self.config.broadcast_timeout))?;
        self.say_farewell(upper, Waiter::Operation(key));
        if !self.has_company() {
            self.operation_announced(key, true);
        }
        Ok(OperationId(key))
    }

    /// An operation of the layer above that ends when it says so.
    pub(crate) fn begin_leave(&mut self) -> Result<u64, CommandError> {
        self.begin(Kind::Leave, None)
    }

    /// A query of the layer above, which says when it is over.
    pub(crate) fn begin_query(&mut self) -> Result<u64, CommandError> {
        self.begin(Kind::Query, None)
    }

    /// Says something that must not be missed and that nobody asked for. The layer above bounds how often.
    pub(crate) fn tell(&mut self, completion: Completion) {
        self.completions.push_back(completion);
    }

    /// Declares this node dead by its own word (spec 4.23); from here on it no longer refutes.
    pub(crate) fn say_farewell<U: Upper>(&mut self, upper: &mut U, waiter: Waiter) {
        self.leaving = true;
        self.farewell = Some(waiter);
        let incarnation = self.roster.get(LOCAL).incarnation;
        let own = self.config.name.clone();
        self.dead(upper, LOCAL, incarnation, own.as_bytes(), Cause::Local);
    }

    pub(crate) fn leave_waiter(&mut self) -> Option<Waiter> {
        self.farewell.take()
    }

    /// New metadata for this node (spec 4.22).
    pub(crate) fn set_metadata<U: Upper>(
        &mut self,
        upper: &mut U,
        metadata: Bytes,
    ) -> Result<OperationId, CommandError> {
        if self.leaving || self.departing {
            return Err(CommandError::Left);
        }
        if metadata.len() > crate::config::MAX_METADATA {
            return Err(ConfigError::MetadataTooLong { len: metadata.len() }.into());
        }
        let room = self.layers.max_packet_body(self.config.surest_datagram(), true);
        let max = room.saturating_sub(super::OWN_ALIVE + self.config.name.as_bytes().len());
        if metadata.len() > max {
            return Err(CommandError::TooBig { len: metadata.len(), max, limit: ONE_DATAGRAM });
        }
        // Nobody else would believe it.
        if !self.admits(self.config.name.as_bytes(), &metadata, false) {
            return Err(ConfigError::ExcludedByAdmission.into());
        }
        let key = self.begin_announcement()?;
        let record = self.roster.get(LOCAL);
        let (addr, port, versions) = (record.addr, record.port, record.versions);
        let incarnation = crate::roster::precedence::refutation(record.incarnation, record.incarnation);
        let changed = *record.metadata != *metadata;
        self.roster.set_content(LOCAL, addr, port, &metadata, versions);
        self.roster.set_incarnation(LOCAL, incarnation);
        self.config.metadata = metadata;
        self.announce_alive(LOCAL, Some(Waiter::Operation(key)));
        if changed {
            self.mark_updated(LOCAL, Cause::Local);
            self.stats.members_updated += 1;
            upper.changed(self, LOCAL, News::Updated);
        }
        self.end_lonely_announcement(key);
        Ok(OperationId(key))
    }

    pub(crate) fn send(&mut self, to: MemberKey, payload: Bytes) -> Result<(), CommandError> {
        let slot = self.roster.resolve(to).ok_or(CommandError::UnknownMember)?;
        let max = self.max_message(self.roster.get(slot).socket());
        if payload.len() > max {
            return Err(CommandError::TooBig { len: payload.len(), max, limit: ONE_DATAGRAM });
        }
        if self.push_outgoing(Outgoing::User { to, payload }) { Ok(()) } else { Err(CommandError::Congested) }
    }

    pub(crate) fn send_reliable(
        &mut self,
        to: MemberKey,
        payload: Bytes,
    ) -> Result<OperationId, CommandError> {
        let slot = self.roster.resolve(to).ok_or(CommandError::UnknownMember)?;
        let max = crate::wire::stream::MAX_FRAME as usize - 1024;
        if payload.len() > max {
            return Err(CommandError::TooBig { len: payload.len(), max, limit: "a message by stream" });
        }
        let key = self.begin(Kind::Send, None)?;
        let addr = self.roster.get(slot).socket();
        if self.open_stream(addr, Some(to), Purpose::Message { operation: key, payload }).is_none() {
            self.complete(key, Outcome::Sent(Err(StreamFailure::Local)));
        }
        Ok(OperationId(key))
    }

    pub(crate) fn ping(&mut self, to: MemberKey) -> Result<OperationId, CommandError> {
        self.roster.resolve(to).ok_or(CommandError::UnknownMember)?;
        let seq = self.next_seq();
        let key = self.begin(Kind::Ping { target: to, seq, sent: None }, Some(self.config.probe_timeout))?;
        self.awaited.insert(seq, Awaited::Ping(key));
        self.push_outgoing(Outgoing::Ping { operation: key });
        Ok(OperationId(key))
    }

    pub(crate) fn ping_operation(&self, key: u64) -> Option<(u32, MemberKey)> {
        match self.operations.get(key)?.kind {
            Kind::Ping { target, seq, .. } => Some((seq, target)),
            _ => None,
        }
    }

    pub(crate) fn ping_target(&self, key: u64) -> Option<MemberKey> {
        self.ping_operation(key).map(|(_, target)| target)
    }

    /// The clock of a ping starts when it is handed out: the time it waited here is not the network's, and a clock
    /// started after the send could even run backwards.
    pub(crate) fn ping_sent(&mut self, key: u64) {
        let now = self.now;
        let Some(Operation { kind: Kind::Ping { sent, .. }, timer }) = self.operations.get_mut(key) else {
            return;
        };
        *sent = Some(now);
        if let Some(timer) = *timer {
            self.timers.rearm(timer, now + self.config.probe_timeout);
        }
    }

    pub(crate) fn ping_answered(&mut self, key: u64) {
        let Some(Operation { kind: Kind::Ping { seq, sent, .. }, .. }) = self.operations.get(key) else {
            return;
        };
        let rtt = sent.map(|sent| self.now.saturating_duration_since(sent));
        self.awaited.remove(seq);
        self.complete(key, Outcome::Ping { rtt });
    }
}

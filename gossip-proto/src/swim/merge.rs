//! Merging a push/pull: judged as a whole first, then merged in slices (spec 4.10, 3.1).

use alloc::format;

use bytes::Bytes;

use super::claims::Via;
use super::streams::{Contact, Purpose};
use super::{Deadline, Swim, Upper};
use crate::config::{Answer, MAX_METADATA};
use crate::error::CommandError;
use crate::output::{Cause, JoinFailure, RequestId, Source};
use crate::roster::{Common, LOCAL, Standing, WireAddr};
use crate::timer::TimerId;
use crate::wire::message::NodeState;
use crate::wire::same;
use crate::wire::stream::PushPull;
use crate::{MergeMember, Name, Status};

/// A received state on its way into the roster.
#[derive(Debug)]
pub(crate) struct Merge {
    state: PushPull,
    from: Source,
    stream: u64,
    inbound: bool,
    held: usize,
    /// The two sides disagree about who is dead, or the other one is ahead of what this node could answer.
    contradicted: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Versions are looked at, entry by entry.
    Verify(Verify),
    /// The application was asked; the timer takes the default answer.
    Asked(Option<TimerId>),
    /// Entries are merged, one by one.
    Apply,
}

/// What the entries seen so far have in common.
#[derive(Debug)]
struct Verify {
    common: Common,
    /// Lowest and highest current versions.
    protocol: (u8, u8),
    delegate: (u8, u8),
    /// An entry that lives but shows no versions.
    bad: bool,
    /// An entry that breaks an admission rule.
    inadmissible: bool,
}

/// Units of work that a stream which was put off may do in one go, and costs even if it needs fewer: a replay does not read
/// again, and has to have as much left for the rest.
const RESUME_COST: usize = 64;

/// The states on the wire (spec 3).
const ALIVE: i64 = 0;
const SUSPECT: i64 = 1;
const DEAD: i64 = 2;
const LEFT: i64 = 3;

impl Standing {
    /// The number that stands for it in a push/pull.
    pub(crate) fn wire(self) -> i64 {
        match self {
            Self::Alive => ALIVE,
            Self::Suspect => SUSPECT,
            Self::Dead => DEAD,
            Self::Left => LEFT,
        }
    }
}

impl Verify {
    /// Only what lives is judged: one dead entry with odd versions must not block every exchange until it is reaped
    /// (Q-23, W-18).
    fn entry(&mut self, state: &NodeState<'_>) {
        if state.state != ALIVE && state.state != SUSPECT {
            return;
        }
        let Some(versions) = state.vsn.get(..6).and_then(|v| <[u8; 6]>::try_from(v).ok()) else {
            self.bad = true;
            return;
        };
        if state.state == ALIVE {
            self.common.fold(versions);
        }
        let [_, _, pcur, _, _, dcur] = versions;
        self.protocol = (self.protocol.0.min(pcur), self.protocol.1.max(pcur));
        self.delegate = (self.delegate.0.min(dcur), self.delegate.1.max(dcur));
    }

    fn fits(&self) -> bool {
        let within = |(low, high): (u8, u8), (min, max)| low > high || (low >= min && high <= max);
        !self.bad
            && within(self.protocol, self.common.protocol)
            && within(self.delegate, self.common.delegate)
    }
}

impl Swim {
    pub(crate) fn begin_merge(
        &mut self,
        stream: u64,
        from: Source,
        inbound: bool,
        state: PushPull,
        held: usize,
    ) {
        let common = self.roster.ranges().common();
        let verify = Verify {
            common,
            protocol: (u8::MAX, 0),
            delegate: (u8::MAX, 0),
            bad: false,
            inadmissible: false,
        };
        let stage = Stage::Verify(verify);
        self.merges.push_back(Merge { state, from, stream, inbound, held, contradicted: false, stage });
    }

    /// Whether work was put off.
    pub(crate) fn has_backlog(&self) -> bool {
        self.upper_backlog || self.has_own_backlog()
    }

    fn has_own_backlog(&self) -> bool {
        self.state_is_wanted() || !self.packing.is_empty() || !self.busy.is_empty() || !self.merges.is_empty()
    }

    /// Does what was put off, as far as `work` goes: states to send, streams to read, states to merge.
    pub(crate) fn work_off<U: Upper>(&mut self, upper: &mut U, work: &mut usize) {
        if upper.has_backlog() {
            // First and with half of it, so that a stream of exchanges cannot starve the services.
            let mut half = work.div_ceil(2);
            *work -= half;
            upper.work_off(self, &mut half);
            *work += half;
        }
        if !self.packing.is_empty() {
            // So with what is compressed: who waits for it has asked before.
            let mut half = work.div_ceil(2);
            *work -= half;
            self.work_off_packing(&mut half);
            *work += half;
        }
        if !self.merges.is_empty() && !self.busy.is_empty() {
            // And with what is merged: streams that are long to read and keep coming would have it wait for good.
            let mut half = work.div_ceil(2);
            *work -= half;
            // A state to be sent is encoded before the one that was received with it changes the table.
            while half > 0
                && !self.state_is_wanted()
                && let Some(merge) = self.merges.pop_front()
            {
                self.step(upper, merge, &mut half);
                self.settle(upper);
            }
            *work += half;
        }
        while *work > 0 && self.has_own_backlog() {
            if self.state_is_wanted() {
                self.build_state(upper, work);
            } else if let Some(key) = self.busy.pop_front() {
                let given = RESUME_COST.min(*work);
                *work -= given;
                self.resume_stream(upper, key, given);
            } else if let Some(merge) = self.merges.pop_front() {
                self.step(upper, merge, work);
            } else {
                self.work_off_packing(work);
            }
            self.settle(upper);
        }
        if *work > 0 && upper.has_backlog() {
            upper.work_off(self, work);
        }
        self.upper_backlog = upper.has_backlog();
    }

    /// Does at once what one call may do; small states never wait for a timer.
    pub(crate) fn work_now<U: Upper>(&mut self, upper: &mut U) {
        let mut work = self.config.work_per_call;
        self.work_off(upper, &mut work);
        self.settle(upper);
    }

    fn step<U: Upper>(&mut self, upper: &mut U, mut merge: Merge, work: &mut usize) {
        let refuses = self.config.admission_refuses_merges && merge.state.join();
        while *work > 0 {
            *work -= 1;
            match (&mut merge.stage, merge.state.next_node()) {
                (Stage::Verify(verify), Some(Ok(state))) => {
                    verify.entry(&state);
                    verify.inadmissible |=
                        refuses && !self.admits(&state.name, &state.meta, state.state == LEFT);
                }
                (Stage::Verify(verify), None) => {
                    let fits = verify.fits()
                        && !verify.inadmissible
                        && self.roster.ranges().all_speak(&verify.common);
                    merge.state.rewind();
                    if !fits {
                        return self.refuse_merge(merge);
                    }
                    if merge.state.join() && self.config.ask_before_merge {
                        return self.ask(merge);
                    }
                    self.accept_merge(&mut merge);
                    // The state that it set going is encoded before this one changes it.
                    break;
                }
                (Stage::Apply, Some(Ok(state))) => {
                    merge.contradicted |= self.merge_entry(upper, &state, merge.from);
                }
                (Stage::Apply, None) => return self.merged(upper, &merge),
                // Entries were checked when they arrived.
                (_, Some(Err(_))) => {}
                (Stage::Asked(_), _) => return,
            }
        }
        self.merges.push_front(merge);
    }

    fn ask(&mut self, mut merge: Merge) {
        // A peer may close its stream and ask again: what bounds the streams does not bound the questions.
        if self.asked.len() >= self.config.max_streams {
            self.stats.merges_unasked += 1;
            return self.refuse_merge(merge);
        }
        let deadline = self.now + self.config.stream_timeout / 2;
        let (from, members) = (merge.from, merge.state.nodes());
        merge.stage = Stage::Asked(None);
        let key = self.asked.insert(merge);
        let timer = self.timers.arm(deadline, Deadline::Merge(key));
        if let Some(Merge { stage: Stage::Asked(slot), .. }) = self.asked.get_mut(key) {
            *slot = Some(timer);
        }
        self.emit_merge_requested(RequestId(key), from, members, deadline);
    }

    /// The application's answer.
    pub(crate) fn answer_merge(&mut self, id: RequestId, answer: Answer) -> Result<(), CommandError> {
        let mut merge = self.asked.remove(id.0).ok_or(CommandError::UnknownRequest)?;
        if let Stage::Asked(Some(timer)) = merge.stage {
            self.timers.cancel(timer);
        }
        match answer {
            Answer::Accept => {
                self.accept_merge(&mut merge);
                self.merges.push_back(merge);
            }
            Answer::Refuse => self.refuse_merge(merge),
        }
        Ok(())
    }

    /// Whom the merge in question would bring, in the order of the peer's table.
    pub(crate) fn merge_members(&self, id: RequestId) -> impl Iterator<Item = MergeMember> {
        let member = |state: NodeState<'_>| {
            let status = match state.state {
                ALIVE => Status::Alive,
                SUSPECT => Status::Suspect,
                DEAD => Status::Failed,
                LEFT => Status::Left,
                _ => return None,
            };
            let addr = WireAddr::new(&state.addr)?.socket(self.port_or_own(state.port));
            Some(MergeMember {
                name: Name::new(&state.name),
                addr,
                metadata: Bytes::copy_from_slice(&state.meta),
                status,
            })
        };
        self.asked.get(id.0).into_iter().flat_map(|merge| merge.state.iter()).filter_map(member)
    }

    pub(crate) fn merge_unanswered(&mut self, key: u64) {
        let answer = self.config.merge_default;
        let _ = self.answer_merge(RequestId(key), answer);
    }

    /// Who brings a state gets ours before it is merged, as upstream has it (spec 4.10).
    fn accept_merge(&mut self, merge: &mut Merge) {
        if merge.inbound {
            self.send_state(merge.stream, merge.state.join());
        }
        merge.stage = Stage::Apply;
    }

    /// The peer is told, so that its join does not succeed on one side only (W-19).
    fn refuse_merge(&mut self, merge: Merge) {
        self.stats.merges_refused += 1;
        if merge.inbound {
            let text =
                format!("merge refused by {}: versions or admission rules do not fit", self.config.name);
            self.answer_error(merge.stream, &text);
        } else {
            self.give_up(merge.stream, JoinFailure::Refused);
        }
        self.release_stream_bytes(merge.held);
    }

    /// Whether the other side holds somebody for dead who is not, or the other way round, or knows this node under a later
    /// incarnation than its own, and the merge did not settle it.
    fn merge_entry<U: Upper>(&mut self, upper: &mut U, state: &NodeState<'_>, from: Source) -> bool {
        let cause = Cause::Exchange { with: from.addr };
        let known = self.known(&state.name);
        match state.state {
            ALIVE => {
                let NodeState { name, addr, port, meta, incarnation, vsn, .. } = state;
                if let Some(slot) = known.filter(|&slot| self.is_known_otherwise(slot, state)) {
                    self.tell_hearsay(slot, state);
                }
                let old = known.is_some_and(|slot| self.is_old(slot, *incarnation, addr, *port, meta, vsn));
                if !old && let Some(claim) = self.alive_claim(name, *incarnation, addr, *port, meta, vsn) {
                    self.alive(upper, known, &claim, Via::Exchange(from.addr));
                }
                known.is_some_and(|slot| {
                    let record = self.roster.get(slot);
                    // What it believes of this node is still farther than this could answer.
                    let ahead =
                        slot == LOCAL && state.incarnation > record.incarnation && self.is_there(slot, state);
                    ahead || record.standing == Standing::Dead && state.incarnation <= record.incarnation
                })
            }
            LEFT => {
                if let Some(slot) = known {
                    self.dead(upper, slot, state.incarnation, &state.name, cause);
                }
                false
            }
            // A death that is only reported makes us suspect, so that the member can still refute.
            SUSPECT | DEAD => {
                let Some(slot) = known else { return false };
                let lives = self.roster.get(slot).standing == Standing::Alive
                    && state.incarnation >= self.roster.get(slot).incarnation;
                let own = self.config.name.clone();
                self.suspect(slot, state.incarnation, own.as_bytes(), cause);
                // A suspicion of somebody else is everyday business, and gossip settles it.
                lives && (slot == LOCAL || state.state == DEAD)
            }
            _ => false,
        }
    }

    /// Whether the two sides know a member under the same incarnation, but not with the same content.
    fn is_known_otherwise(&self, slot: u32, state: &NodeState<'_>) -> bool {
        let record = self.roster.get(slot);
        // In this order, because nearly all have the same content.
        (!same(&record.metadata, &state.meta) || state.vsn.first_chunk() != Some(&record.versions))
            && record.incarnation == state.incarnation
            && record.standing == Standing::Alive
            && self.is_there(slot, state)
            && state.meta.len() <= MAX_METADATA
            && slot != LOCAL
    }

    /// Whether a member is listed at the address that it has here, in the same form.
    fn is_there(&self, slot: u32, state: &NodeState<'_>) -> bool {
        let record = self.roster.get(slot);
        record.addr.as_bytes() == &*state.addr && record.port == self.port_or_own(state.port)
    }

    fn merged<U: Upper>(&mut self, upper: &mut U, merge: &Merge) {
        let (join, user_state) = (merge.state.join(), merge.state.user_state());
        if !user_state.is_empty() {
            upper.merge_state(self, merge.from, join, user_state);
        }
        let mut rounds = 0;
        match self.streams.get(merge.stream).map(|stream| &stream.purpose) {
            Some(&Purpose::Exchange { operation }) => {
                if operation.is_some() {
                    self.forget_newcomers();
                }
                self.exchange_ended(operation, merge.from.addr, Ok(()));
                self.close_stream(merge.stream);
            }
            Some(&Purpose::Contact(contact)) => {
                if let Contact::FollowUp { round } = contact {
                    rounds = round;
                }
                self.contact_ended(contact, true);
                self.close_stream(merge.stream);
            }
            _ => {}
        }
        if merge.contradicted && !merge.inbound {
            let peer = self.roster.at(merge.from.addr).map(|slot| self.roster.key(slot));
            self.follow_up(merge.from.addr, peer, rounds);
        }
        self.release_stream_bytes(merge.held);
    }
}

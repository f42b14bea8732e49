//! What is believed: alive, suspect and dead messages against the roster (spec 4.3–4.7).

use alloc::borrow::Cow;
use core::net::SocketAddr;
use core::time::Duration;

use super::{Deadline, Lane, News, Rumor, Suspicion, Swim, Upper, Waiter, scale};
use crate::Name;
use crate::config::{Candidate, MAX_METADATA, MAX_NAME};
use crate::output::{Cause, ChangeKind, Source};
use crate::roster::precedence::{Belief, Claim, Verdict, decide, followed, refutation};
use crate::roster::{LOCAL, Standing, WireAddr, canonical};
use crate::wire::message::{Accusation, Alive};
use crate::wire::same;

/// An alive claim whose parts were checked for form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AliveClaim<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) incarnation: u32,
    pub(crate) addr: WireAddr,
    pub(crate) port: u16,
    pub(crate) metadata: &'a [u8],
    pub(crate) versions: [u8; 6],
}

/// Where a claim came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Via {
    /// A datagram.
    Datagram(Source),
    /// A push/pull.
    Exchange(SocketAddr),
}

impl Via {
    fn cause(self, said: impl FnOnce() -> Cause) -> Cause {
        match self {
            Self::Exchange(with) => Cause::Exchange { with },
            Self::Datagram(_) => said(),
        }
    }
}

impl Swim {
    /// Checks the form of an alive claim (spec 4.3 steps 1–3, W-18): the address has 4 or 16 bytes, there is a name, the
    /// six versions are in order. Counts what is refused.
    pub(crate) fn alive_claim<'a>(
        &mut self,
        name: &'a [u8],
        incarnation: u32,
        addr: &[u8],
        port: u16,
        metadata: &'a [u8],
        versions: &[u8],
    ) -> Option<AliveClaim<'a>> {
        // What is false about this node must be answered in whatever form it comes: others may have taken it.
        let own = *name == *self.config.name.as_bytes();
        // A longer name would fit no ping: such a member could never be suspected.
        let fits = (1..=MAX_NAME).contains(&name.len()) && (own || metadata.len() <= MAX_METADATA);
        let Some(addr) = WireAddr::new(addr).filter(|_| fits) else {
            self.stats.claim_malformed += 1;
            return None;
        };
        // One bad entry admitted here would block every push/pull of the cluster until it is reaped.
        let in_order = |&[pmin, pmax, pcur, dmin, dmax, dcur]: &[u8; 6]| {
            pmin > 0 && (pmin..=pmax).contains(&pcur) && (dmin..=dmax).contains(&dcur)
        };
        let six = versions.get(..6).and_then(|v| <[u8; 6]>::try_from(v).ok());
        let Some(versions) =
            six.filter(|versions| own || in_order(versions)).or_else(|| own.then_some([0; 6]))
        else {
            self.stats.alive_bad_versions += 1;
            return None;
        };
        Some(AliveClaim { name, incarnation, addr, port: self.port_or_own(port), metadata, versions })
    }

    /// Protocol version 1 knows no ports but its own (spec 3.1, Q-20).
    pub(crate) fn port_or_own(&self, port: u16) -> u16 {
        if port == 0 || self.config.protocol_version < 2 { self.config.advertise.port() } else { port }
    }

    /// The slot SWIM knows the name under.
    pub(crate) fn known(&self, name: &[u8]) -> Option<u32> {
        self.roster.find(name).filter(|&slot| self.roster.get(slot).tracked())
    }

    /// Whether an alive message says nothing about another member that is not known already, and would be neither refused nor
    /// counted: nearly all do that arrive. So these are told from news before anything else is done about them.
    pub(crate) fn is_old(
        &self,
        slot: u32,
        incarnation: u32,
        addr: &[u8],
        port: u16,
        metadata: &[u8],
        versions: &[u8],
    ) -> bool {
        let (config, record) = (&self.config, self.roster.get(slot));
        let unconditional =
            config.cidrs_allowed.is_empty() && config.admission.is_empty() && !config.identities;
        unconditional
            && slot != LOCAL
            && incarnation <= record.incarnation
            && record.addr.as_bytes() == addr
            && record.port == self.port_or_own(port)
            && versions.first_chunk() == Some(&record.versions)
            && metadata.len() <= MAX_METADATA
    }

    fn belief(&self, slot: u32) -> Belief {
        let record = self.roster.get(slot);
        let reclaim = self.config.dead_node_reclaim;
        Belief {
            standing: record.standing,
            incarnation: record.incarnation,
            is_self: slot == LOCAL,
            leaving: self.leaving && slot == LOCAL,
            reclaimable: !reclaim.is_zero() && self.now.saturating_duration_since(record.changed) > reclaim,
            suspected: record.suspicion().is_some(),
            same_address: true,
            same_content: true,
        }
    }

    /// Whether somebody keeps the admission rules.
    pub(crate) fn admits(&self, name: &[u8], metadata: &[u8], left: bool) -> bool {
        let config = &self.config;
        let own = Candidate { name: config.name.as_bytes(), metadata: &config.metadata, left: false };
        config.admission.iter().all(|rule| rule.admits(own, Candidate { name, metadata, left }))
    }

    /// The alive handler (spec 4.3); `known` is the slot SWIM [knows](Self::known) the name under.
    pub(crate) fn alive<U: Upper>(
        &mut self,
        upper: &mut U,
        known: Option<u32>,
        claim: &AliveClaim<'_>,
        via: Via,
    ) {
        if known == Some(LOCAL) && self.leaving {
            return;
        }
        let socket = claim.addr.socket(claim.port);
        if !self.identity_fits(known, socket, via) {
            return;
        }
        if known != Some(LOCAL) && !self.admits(claim.name, claim.metadata, false) {
            self.stats.admission_refused += 1;
            return;
        }
        let belief = known.map(|slot| {
            let record = self.roster.get(slot);
            Belief {
                // In whatever form: who held a member at one form of its address while it speaks in another would hear none
                // of its words, for as long as it answers.
                same_address: record.is_at(socket),
                // It only matters for our own words.
                same_content: slot != LOCAL
                    || same(&record.metadata, claim.metadata) && record.versions == claim.versions,
                ..self.belief(slot)
            }
        });
        if self.config.experiment.final_deaths
            && belief.is_some_and(|belief| belief.standing == Standing::Dead)
        {
            return;
        }
        let new_address = belief.is_none_or(|belief| !belief.same_address);
        if new_address && !self.config.admits_address(socket.ip()) {
            self.stats.cidr_refused += 1;
            return;
        }
        // From here on, also in what is passed on: were it passed on as it came, it would go further with each node.
        let said = Claim::Alive { incarnation: claim.incarnation, bootstrap: false };
        let claim = &AliveClaim { incarnation: followed(belief.as_ref(), said), ..*claim };
        match decide(belief.as_ref(), Claim::Alive { incarnation: claim.incarnation, bootstrap: false }) {
            Verdict::Ignore | Verdict::Confirm => {}
            Verdict::Refuse => self.stats.claim_refused += 1,
            Verdict::Conflict => {
                self.stats.conflicts += 1;
                let address = known.map_or(socket, |slot| self.roster.get(slot).socket());
                self.emit_conflict(claim.name, address, socket);
                if let Some(slot) = known {
                    upper.conflicted(self, slot, socket);
                }
            }
            Verdict::Refute => self.refute(claim.incarnation),
            Verdict::Insert | Verdict::Accept => {
                if known != Some(LOCAL) && !self.versions_fit(known, claim.versions) {
                    self.stats.alive_bad_versions += 1;
                    return;
                }
                if let Some(slot) = known.or_else(|| self.admit(claim)) {
                    self.bind_identity(slot, socket, via);
                    self.accept_alive(upper, slot, claim, known.is_none(), via);
                }
            }
        }
    }

    /// Whether the members could all still speak with each other if one had these versions. Otherwise no exchange between any two
    /// of them would be accepted, for as long as it answers probes (spec 3.1, Q-23).
    fn versions_fit(&mut self, known: Option<u32>, versions: [u8; 6]) -> bool {
        let ours = self.roster.get(LOCAL).versions;
        versions == ours
            || known.is_some_and(|slot| self.roster.get(slot).versions == versions)
            || self.roster.speaks_with_all(known, versions)
    }

    /// Takes a new name into the table; `None` if it is full.
    pub(super) fn admit(&mut self, claim: &AliveClaim<'_>) -> Option<u32> {
        let slot =
            self.roster.find(claim.name).or_else(|| self.roster.insert(claim.name, claim.addr, claim.port));
        match slot {
            Some(slot) => {
                self.roster.track(slot, &mut self.rng);
                self.found_full &= self.roster.is_full();
            }
            None => {
                if !core::mem::replace(&mut self.found_full, true) {
                    self.emit_roster_full();
                }
                self.stats.roster_full += 1;
            }
        }
        slot
    }

    fn accept_alive<U: Upper>(
        &mut self,
        upper: &mut U,
        slot: u32,
        claim: &AliveClaim<'_>,
        new: bool,
        via: Via,
    ) {
        self.stats.alive_accepted += 1;
        self.end_suspicion(slot);
        let record = self.roster.get(slot);
        let was = record.standing;
        let socket = claim.addr.socket(claim.port);
        let changed = !same(&record.metadata, claim.metadata) || !record.is_at(socket);
        if (was == Standing::Dead && !new) || record.says == Some(crate::Status::Failed) {
            self.note_return();
        }
        if new {
            self.note_newcomer(slot);
        }
        if matches!(was, Standing::Suspect | Standing::Dead) && !new && matches!(via, Via::Datagram(_)) {
            self.reunite(slot);
        }
        self.roster.set_content(slot, claim.addr, claim.port, claim.metadata, claim.versions);
        self.roster.set_incarnation(slot, claim.incarnation);
        if let Some(timer) = self.roster.get_mut(slot).take_reap() {
            self.timers.cancel(timer);
        }
        if was != Standing::Alive || new {
            self.roster.set_standing(slot, Standing::Alive, self.now);
        }
        match via {
            Via::Exchange(_) if new => self.pass_on_alive(slot),
            _ => self.announce_alive(slot, None),
        }
        let cause = via.cause(|| Cause::Alive { incarnation: claim.incarnation });
        if new || matches!(was, Standing::Dead | Standing::Left) {
            self.mark(slot, cause);
            self.stats.members_joined += 1;
            upper.changed(self, slot, News::Joined);
        } else if changed {
            self.stats.members_updated += 1;
            self.mark_updated(slot, cause);
            upper.changed(self, slot, News::Updated);
        } else if was == Standing::Suspect {
            self.mark(slot, cause);
        }
    }

    /// The suspect handler (spec 4.4).
    pub(crate) fn suspect(&mut self, slot: u32, incarnation: u32, by: &[u8], cause: Cause) {
        let belief = self.belief(slot);
        let incarnation = followed(Some(&belief), Claim::Suspect { incarnation });
        match decide(Some(&belief), Claim::Suspect { incarnation }) {
            Verdict::Refuse => self.stats.claim_refused += 1,
            Verdict::Confirm => self.confirm(slot, incarnation, by),
            Verdict::Refute => self.refute(incarnation),
            Verdict::Accept => {
                self.stats.suspect_accepted += 1;
                self.announce_accusation(slot, false, incarnation, by, None);
                self.roster.set_incarnation(slot, incarnation);
                self.roster.set_standing(slot, Standing::Suspect, self.now);
                self.begin_suspicion(slot, by);
                self.mark(slot, cause);
            }
            Verdict::Ignore if slot == LOCAL => self.remind(by),
            Verdict::Ignore | Verdict::Insert | Verdict::Conflict => {}
        }
    }

    /// A member still accuses this node although it has refuted: the refutation has missed that member, and nothing else
    /// that it hears would change its mind, not even our acknowledgement (spec 4.8). Saying it once more costs one
    /// rumor; upstream lets the suspicion run out. Strangers cannot make us repeat ourselves (W-17).
    fn remind(&mut self, by: &[u8]) {
        let member = self.known(by).is_some_and(|slot| slot != LOCAL && self.roster.get(slot).is_member());
        if member && self.config.experiment.healing && !self.leaving && !self.rumors.contains_subject(LOCAL) {
            self.announce_alive(LOCAL, None);
        }
    }

    fn begin_suspicion(&mut self, slot: u32, by: &[u8]) {
        let n = self.roster.len();
        let mult = self.config.suspicion_mult;
        let experiment = &self.config.experiment;
        let wanted = match experiment.suspicion_k {
            _ if !experiment.lha_suspicion => 0,
            None => mult.saturating_sub(2),
            Some(k) => k,
        };
        // With fewer than k + 2 nodes k independent accusers cannot exist (spec 4.4 step 7).
        let k = if n.saturating_sub(2) < wanted as usize { 0 } else { wanted };
        let min = match experiment.suspicion {
            true => scale::suspicion_timeout(experiment.logarithm, mult, n, self.config.probe_interval),
            false => Duration::ZERO,
        };
        let max = min.saturating_mul(self.config.suspicion_max_mult);
        let mut suspicion = Suspicion::new(self.now, k, min, max, by);
        suspicion.stall_base = self.stalled;
        let deadline = suspicion.deadline();
        let key = self.suspicions.insert(super::Running { suspicion, slot, timer: None });
        let timer = self.timers.arm(deadline, Deadline::Suspicion(key));
        if let Some(running) = self.suspicions.get_mut(key) {
            running.timer = Some(timer);
        }
        self.roster.get_mut(slot).set_suspicion(key);
    }

    fn confirm(&mut self, slot: u32, incarnation: u32, by: &[u8]) {
        let Some(running) = self.roster.get(slot).suspicion().and_then(|key| self.suspicions.get_mut(key))
        else {
            return;
        };
        if !running.suspicion.confirm(self.now, by) {
            return;
        }
        let (deadline, timer) = (running.suspicion.deadline(), running.timer);
        if let Some(timer) = timer {
            self.timers.rearm(timer, deadline);
        }
        self.stats.suspicions_confirmed += 1;
        self.announce_accusation(slot, false, incarnation, by, None);
    }

    fn end_suspicion(&mut self, slot: u32) {
        let Some(key) = self.roster.get_mut(slot).take_suspicion() else { return };
        if let Some(timer) = self.suspicions.remove(key).and_then(|running| running.timer) {
            self.timers.cancel(timer);
        }
    }

    /// A suspicion's deadline passed: dead, unless this node was stalled meanwhile and could not hear the refutation.
    pub(crate) fn suspicion_expired<U: Upper>(&mut self, upper: &mut U, key: u64) {
        let Some(running) = self.suspicions.get_mut(key) else { return };
        if let Some(later) = running.suspicion.extend_for_stall(self.now, self.stalled) {
            running.timer = Some(self.timers.arm(later, Deadline::Suspicion(key)));
            return;
        }
        running.timer = None;
        let slot = running.slot;
        let cause = Cause::Expired {
            accusers: running.suspicion.accusers().into(),
            after: self.now.saturating_duration_since(running.suspicion.started()),
        };
        let incarnation = self.roster.get(slot).incarnation;
        let own = self.config.name.clone();
        self.dead(upper, slot, incarnation, own.as_bytes(), cause);
    }

    /// The dead handler (spec 4.5); a node that declares itself leaves.
    pub(crate) fn dead<U: Upper>(
        &mut self,
        upper: &mut U,
        slot: u32,
        incarnation: u32,
        by: &[u8],
        cause: Cause,
    ) {
        let leave = self.roster.get(slot).name.as_bytes() == by;
        let belief = self.belief(slot);
        let incarnation = followed(Some(&belief), Claim::Dead { incarnation, leave });
        match decide(Some(&belief), Claim::Dead { incarnation, leave }) {
            Verdict::Refuse => self.stats.claim_refused += 1,
            Verdict::Refute if self.config.experiment.final_deaths => {}
            Verdict::Refute => self.refute(incarnation),
            Verdict::Accept => {
                self.stats.dead_accepted += 1;
                self.end_suspicion(slot);
                let waiter = if slot == LOCAL { self.leave_waiter() } else { None };
                self.announce_accusation(slot, true, incarnation, by, waiter);
                self.roster.set_incarnation(slot, incarnation);
                let standing = if leave { Standing::Left } else { Standing::Dead };
                self.roster.set_standing(slot, standing, self.now);
                let at = self.now + self.config.gossip_to_the_dead;
                let timer = self.timers.arm(at, Deadline::Reap(slot));
                self.roster.get_mut(slot).set_reap(timer);
                upper.changed(self, slot, News::Gone);
                let kind = match self.roster.get(slot).status() {
                    crate::Status::Left => ChangeKind::Left,
                    _ => ChangeKind::Failed,
                };
                match kind {
                    ChangeKind::Left => self.stats.members_left += 1,
                    _ => self.stats.members_failed += 1,
                }
                self.mark_down(slot, kind, cause);
            }
            Verdict::Ignore if slot == LOCAL => self.remind(by),
            Verdict::Ignore | Verdict::Confirm | Verdict::Insert | Verdict::Conflict => {}
        }
    }

    /// SWIM forgets a member that is dead or left for long enough (spec 4.13, W-24). The own record stays.
    pub(crate) fn reap<U: Upper>(&mut self, upper: &mut U, slot: u32) {
        self.roster.get_mut(slot).take_reap();
        if slot == LOCAL || self.roster.get(slot).is_member() {
            return;
        }
        self.retire_subject(slot);
        // Pinned across the call, because the layer above may hold the slot on or let it go.
        self.roster.pin(slot);
        upper.changed(self, slot, News::Reaped);
        self.roster.untrack(slot);
        self.roster.unpin(slot);
    }

    /// Says that this node lives, above whatever was claimed (spec 4.6).
    pub(crate) fn refute(&mut self, accused: u32) {
        let incarnation = refutation(self.roster.get(LOCAL).incarnation, accused);
        self.roster.set_incarnation(LOCAL, incarnation);
        self.health.apply(1);
        self.stats.refutations += 1;
        self.announce_alive(LOCAL, None);
        self.retell();
    }

    /// Queues what is known of a member as alive. One rumor per name (spec 4.11).
    pub(crate) fn announce_alive(&mut self, slot: u32, waiter: Option<Waiter>) {
        self.announce_alive_as_sent(slot, waiter, 0);
    }

    /// The same, in line as if it had been sent so often.
    pub(super) fn announce_alive_as_sent(&mut self, slot: u32, waiter: Option<Waiter>, sent: u32) {
        let record = self.roster.get(slot);
        let len = 1 + record.alive().encoded_len();
        let lane = if slot == LOCAL { Lane::Refutation } else { Lane::Alive };
        self.announce(lane, Some(slot), len, Rumor::Alive(slot), waiter, sent);
    }

    fn announce_accusation(
        &mut self,
        slot: u32,
        dead: bool,
        incarnation: u32,
        by: &[u8],
        waiter: Option<Waiter>,
    ) {
        let node = Cow::Borrowed(self.roster.get(slot).name.as_bytes());
        let len = 1 + Accusation { incarnation, node, from: Cow::Borrowed(by) }.encoded_len();
        let rumor = Rumor::Accusation { slot, dead, incarnation, by: Name::new(by) };
        let lane = if slot == LOCAL { Lane::Refutation } else { Lane::Accusation };
        self.announce(lane, Some(slot), len, rumor, waiter, 0);
    }

    /// With identities on, what a member says of itself directly needs the identity it first came under.
    pub(crate) fn identity_fits(&mut self, known: Option<u32>, claimed: SocketAddr, via: Via) -> bool {
        let Via::Datagram(source) = via else { return true };
        if !self.config.identities || canonical(source.addr) != claimed {
            return true;
        }
        let bound = known.and_then(|slot| self.roster.identity(slot));
        let fits = source.identity.is_some() && bound.is_none_or(|bound| Some(bound) == source.identity);
        if !fits {
            self.stats.identity_refused += 1;
        }
        fits
    }

    /// The identity a member's own word first came under is its identity from then on; at another address it is another
    /// member's word.
    fn bind_identity(&mut self, slot: u32, claimed: SocketAddr, via: Via) {
        if !self.config.identities {
            return;
        }
        let direct = match via {
            Via::Datagram(source) if canonical(source.addr) == claimed => source.identity,
            _ => None,
        };
        if direct.is_some() || !self.roster.get(slot).is_at(claimed) {
            self.roster.set_identity(slot, direct);
        }
    }
}

impl crate::roster::Record {
    /// The alive message that says what is known of this member.
    pub(crate) fn alive(&self) -> Alive<'_> {
        Alive {
            incarnation: self.incarnation,
            node: Cow::Borrowed(self.name.as_bytes()),
            addr: self.addr.as_bytes().into(),
            port: self.port,
            meta: (&*self.metadata).into(),
            vsn: self.versions.as_slice().into(),
        }
    }
}

//! The failure detector: one probe at a time, direct, then through helpers and by stream (spec 4.8, Lifeguard).

use alloc::borrow::Cow;
use core::net::SocketAddr;
use core::time::Duration;

use super::outgoing::Outgoing;
use super::streams::Purpose;
use super::{Awaited, Swim, Upper, schedule::Tick};
use crate::output::{Cause, TransmitFailure, TransmitId};
use crate::roster::{LOCAL, Standing};
use crate::wire::field::Raw;
use crate::wire::message::Ping;
use crate::{Instant, MemberKey};

/// The probe in flight.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) target: MemberKey,
    /// What is accused if it fails: the incarnation the probe began with.
    incarnation: u32,
    pub(crate) seq: u32,
    phase: Phase,
    /// When it began, or when its ping was handed out.
    sent: Instant,
    transmit: Option<TransmitId>,
    /// The ping left late: no round trip time, and no hurry to judge.
    delayed: bool,
    /// The network refused the ping: should an answer come all the same, health stays as it is (spec 4.8).
    send_failed: bool,
    helpers: u8,
    nacks_expected: u8,
    nacks: u8,
    stream: bool,
    stream_answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The ping waits to be handed out.
    Unsent,
    Direct,
    Indirect,
}

/// Members looked at in one tick; with most of a table dead the search goes on in the next.
const TRIES: usize = 64;

impl Swim {
    /// The probe interval is up. Probing is serial; of the ticks that pass meanwhile one is kept.
    pub(crate) fn probe_tick(&mut self) {
        if self.probe.is_some() {
            self.probe_due = true;
        } else {
            self.begin_probe();
        }
    }

    fn begin_probe(&mut self) {
        self.probe_due = false;
        for _ in 0..TRIES.min(self.roster.len()) {
            let Some(slot) = self.roster.next_to_probe(&mut self.rng) else { return };
            if slot == LOCAL || !self.roster.get(slot).is_member() {
                continue;
            }
            self.stats.probes += 1;
            let seq = self.next_seq();
            self.probe = Some(Probe {
                target: self.roster.key(slot),
                incarnation: self.roster.get(slot).incarnation,
                seq,
                phase: Phase::Unsent,
                sent: self.now,
                transmit: None,
                delayed: false,
                send_failed: false,
                helpers: 0,
                nacks_expected: 0,
                nacks: 0,
                stream: false,
                stream_answered: false,
            });
            // On a socket that stays full the last one's still waits, and will be this one's.
            if !self.outgoing.iter().any(|outgoing| matches!(outgoing, Outgoing::Probe)) {
                self.push_outgoing(Outgoing::Probe);
            }
            self.ticks.set(Tick::Phase, self.now + self.probe_span());
            self.wake_gossip();
            return;
        }
    }

    /// How long a probe may take: the interval, longer while this node doubts its own health (Lifeguard).
    fn probe_span(&self) -> Duration {
        self.health.scale(self.config.probe_interval)
    }

    /// The ping that names this node as where the answer goes.
    pub(crate) fn own_ping<'a>(&'a self, seq: u32, node: &'a [u8]) -> Ping<'a> {
        let own = self.roster.get(LOCAL);
        Ping {
            seq,
            node: Cow::Borrowed(node),
            source_addr: own.addr.as_bytes().into(),
            source_port: own.port,
            source_node: Cow::Borrowed(own.name.as_bytes()),
        }
    }

    /// What the probe's ping needs when it is composed: target and sequence number, and whether the target is suspected,
    /// so that the ping tells it (Lifeguard's buddy system). `None` if there is nothing to send any more.
    pub(crate) fn probe_ping(&self) -> Option<(u32, u32, bool)> {
        let probe = self.probe.as_ref().filter(|probe| probe.phase == Phase::Unsent)?;
        let slot = self.roster.resolve(probe.target).filter(|&slot| self.roster.get(slot).is_member())?;
        Some((slot, probe.seq, self.roster.get(slot).standing == Standing::Suspect))
    }

    /// The ping was handed out: only now do its clocks start (contract rule 4).
    pub(crate) fn probe_sent(&mut self, transmit: TransmitId) {
        let Some(probe) = self.probe.as_mut() else { return };
        probe.phase = Phase::Direct;
        if !self.config.experiment.probe_from_tick {
            probe.sent = self.now;
        }
        let sent = probe.sent;
        probe.transmit = Some(transmit);
        let seq = probe.seq;
        self.awaited.insert(seq, Awaited::Probe);
        // If the whole span is shorter than the timeout, the span wins (spec 4.8).
        // As spec 4.8 has it the timeout is never scaled; Lifeguard's paper does.
        let timeout = self.config.probe_timeout;
        let scaled = self.config.experiment.scaled_probe_timeout;
        let timeout = if scaled { self.health.scale(timeout) } else { timeout };
        let wait = timeout.min(self.probe_span());
        self.ticks.set(Tick::Phase, sent + wait);
    }

    pub(crate) fn probe_transmit_failed(&mut self, id: TransmitId, why: TransmitFailure) {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.transmit == Some(id)) else { return };
        match why {
            TransmitFailure::Unreachable if probe.phase == Phase::Direct => {
                probe.send_failed = true;
                self.probe_indirectly();
            }
            TransmitFailure::Unreachable => {}
            // Our own failure says nothing about the member.
            TransmitFailure::TooBig(_) | TransmitFailure::Local => self.end_probe(),
        }
    }

    pub(crate) fn probe_transmit_delayed(&mut self, id: TransmitId) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.transmit == Some(id)) {
            probe.delayed = true;
        }
    }

    /// A phase of the probe is over.
    pub(crate) fn probe_phase_ended(&mut self) {
        let Some(probe) = &self.probe else { return };
        match probe.phase {
            Phase::Unsent if self.config.experiment.probe_from_tick && self.probe_ping().is_some() => {
                self.ticks.set(Tick::Phase, self.now + self.probe_span());
            }
            Phase::Unsent => {
                self.stats.probes_unsent += 1;
                self.end_probe();
            }
            Phase::Direct => self.probe_indirectly(),
            Phase::Indirect if self.config.experiment.probe_from_tick && self.is_asking() => {}
            Phase::Indirect => self.judge_probe(),
        }
    }

    /// Whether requests to helpers still wait to be handed out.
    fn is_asking(&self) -> bool {
        self.outgoing.iter().any(|outgoing| matches!(outgoing, Outgoing::IndirectPing { .. }))
    }

    /// A request to a helper was handed out. A prober that sits in its sends (`probe_from_tick`) judges after the last one.
    pub(crate) fn helper_asked(&mut self) {
        let Some(probe) = self.probe.as_ref().filter(|probe| probe.phase == Phase::Indirect) else { return };
        if self.config.experiment.probe_from_tick && !self.is_asking() {
            let end = probe.sent + self.probe_span();
            self.ticks.set(Tick::Phase, end.max(self.now));
        }
    }

    fn probe_indirectly(&mut self) {
        let Some(probe) = self.probe.as_mut() else { return };
        probe.phase = Phase::Indirect;
        let (target, seq, sent) = (probe.target, probe.seq, probe.sent);
        self.ticks.set(Tick::Phase, (sent + self.probe_span()).max(self.now));
        let Some(slot) = self.roster.resolve(target) else { return self.end_probe() };
        let mut chosen = core::mem::take(&mut self.chosen);
        let roster = &self.roster;
        let helper = |s: u32| {
            s != LOCAL && s != slot && roster.get(s).tracked() && roster.get(s).standing == Standing::Alive
        };
        roster.order().sample(&mut self.rng, self.config.indirect_checks, helper, &mut chosen);
        let (mut helpers, mut nacks_expected) = (0, 0);
        for &helper in &chosen {
            let key = self.roster.key(helper);
            // Who was not asked owes no answer.
            if self.push_outgoing(Outgoing::IndirectPing { helper: key, seq }) {
                helpers += 1;
                nacks_expected += u8::from(self.asks_for_nack(helper));
            }
        }
        self.chosen = chosen;
        let stream = self.config.stream_pings && self.roster.get(slot).versions[1] >= 3;
        let stream = stream
            && self
                .open_stream(self.roster.get(slot).socket(), Some(target), Purpose::Ping { seq })
                .is_some();
        if let Some(probe) = self.probe.as_mut() {
            (probe.helpers, probe.nacks_expected, probe.stream) = (helpers, nacks_expected, stream);
        }
    }

    /// Whether that helper is to say that it got no answer either (spec 4.8; part of Lifeguard's LHA-Probe).
    pub(crate) fn asks_for_nack(&self, helper: u32) -> bool {
        self.config.experiment.lha_probe && self.roster.get(helper).versions[1] >= 4
    }

    /// Nobody answered in time, unless the stream did.
    fn judge_probe(&mut self) {
        let Some(probe) = &self.probe else { return };
        let (target, incarnation) = (probe.target, probe.incarnation);
        if probe.stream_answered {
            self.stats.probes_saved_by_stream += 1;
            return self.probe_succeeded();
        }
        let delta = match probe.nacks_expected {
            0 => 1,
            expected => i32::from(expected.saturating_sub(probe.nacks)),
        };
        let cause = Cause::Probe {
            waited: self.now.saturating_duration_since(probe.sent),
            helpers: probe.helpers,
            nacks: probe.nacks,
            stream: probe.stream,
        };
        self.health.apply(delta);
        self.stats.probes_failed += 1;
        self.end_probe();
        if let Some(slot) = self.roster.resolve(target).filter(|&slot| self.roster.get(slot).tracked()) {
            let own = self.config.name.clone();
            self.suspect(slot, incarnation, own.as_bytes(), cause);
        }
    }

    fn probe_succeeded(&mut self) {
        self.stats.probes_succeeded += 1;
        if self.probe.as_ref().is_some_and(|probe| !probe.send_failed) {
            self.health.apply(-1);
        }
        self.end_probe();
    }

    fn end_probe(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.awaited.remove(&probe.seq);
        }
        self.ticks.clear(Tick::Phase);
        if self.probe_due {
            self.begin_probe();
        }
        self.rest_gossip();
    }

    /// An acknowledgement with the probe's number came, directly or forwarded.
    pub(crate) fn probe_answered<U: Upper>(&mut self, upper: &mut U, payload: &[u8]) {
        let Some(probe) = &self.probe else { return };
        let rtt = (probe.phase == Phase::Direct && !probe.delayed)
            .then(|| self.now.saturating_duration_since(probe.sent));
        let target = probe.target;
        self.probe_succeeded();
        if let (Some(rtt), Some(slot)) = (rtt, self.roster.resolve(target)) {
            upper.ping_completed(self, slot, rtt, payload, self.now);
        }
    }

    pub(crate) fn probe_nacked(&mut self) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.nacks < probe.nacks_expected) {
            probe.nacks += 1;
            self.stats.nacks += 1;
        }
    }

    /// The stream ping was answered; it counts when the time is up, if nothing else did (spec 4.8).
    pub(crate) fn probe_answered_by_stream(&mut self, seq: u32) {
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.seq == seq) {
            probe.stream_answered = true;
        }
    }

    /// Gives a running probe back the time in which this node was stalled, its later phases included.
    pub(crate) fn extend_probe(&mut self, late: Duration) {
        if let Some(probe) = &mut self.probe {
            probe.sent += late;
            probe.delayed = true;
            self.ticks.delay(Tick::Phase, late);
        }
    }

    /// When the probe's stream must be done.
    pub(crate) fn probe_deadline(&self) -> Instant {
        self.probe.as_ref().map_or(self.now, |probe| probe.sent + self.probe_span())
    }

    /// Where an answer to a ping goes (spec 3, W-8): where it says, if that is where it came from or the address of the
    /// member that it says it is; else where it came from. A stranger cannot point us at a third party.
    pub(crate) fn reply_to(
        &mut self,
        source: SocketAddr,
        addr: &Raw<'_>,
        port: u16,
        name: &[u8],
    ) -> SocketAddr {
        let Some(claimed) = crate::roster::WireAddr::new(addr).filter(|_| port > 0) else { return source };
        if claimed.is(port, source) {
            return source;
        }
        let claimed = claimed.socket(port);
        let named = || self.roster.find(name).is_some_and(|slot| self.roster.get(slot).is_at(claimed));
        if named() {
            return claimed;
        }
        self.stats.ping_source_ignored += 1;
        source
    }
}

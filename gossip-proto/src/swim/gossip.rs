//! Dissemination: which rumors go into a packet, and to whom (spec 4.9, 4.11, 4.12).

use alloc::borrow::Cow;

use bytes::Bytes;

use super::outgoing::{Outgoing, put};
use super::rumors::{LANES, RumorId, Why};
use super::{Lane, Notice, Rumor, Swim, Upper, Waiter, scale};
use crate::Depth;
use crate::error::ONE_DATAGRAM;
use crate::roster::LOCAL;
use crate::wire::compound::{MAX_PARTS, Packer};
use crate::wire::message::{Accusation, MessageType};
use crate::wire::msgpack::Sink;

impl Waiter {
    fn pack(self) -> u64 {
        match self {
            Self::Operation(key) => key << 1,
            Self::Service(step) => step << 1 | 1,
        }
    }

    fn unpack(packed: u64) -> Self {
        if packed & 1 == 0 { Self::Operation(packed >> 1) } else { Self::Service(packed >> 1) }
    }
}

impl Swim {
    /// Queues a rumor, in line as if it had been sent `sent` times; about the same member it displaces what was queued (spec
    /// 4.11).
    pub(crate) fn announce(
        &mut self,
        lane: Lane,
        subject: Option<u32>,
        len: usize,
        rumor: Rumor,
        waiter: Option<Waiter>,
        sent: u32,
    ) {
        if let Some(slot) = subject {
            self.roster.pin(slot);
        }
        let lane = if subject.is_some() && self.config.experiment.one_lane { Lane::Alive } else { lane };
        self.enqueue(lane, subject, len, rumor, waiter, sent);
        self.retire();
    }

    fn enqueue(
        &mut self,
        lane: Lane,
        subject: Option<u32>,
        len: usize,
        rumor: Rumor,
        waiter: Option<Waiter>,
        sent: u32,
    ) -> RumorId {
        self.wake_gossip();
        self.rumors.insert(lane, subject, len, rumor, waiter.map(Waiter::pack), sent)
    }

    /// Queues a service's message for gossip, type byte `08` in front (serf.md 1.3).
    pub(crate) fn broadcast(&mut self, lane: Lane, message: &[&[u8]], waiter: Option<Waiter>) {
        let mut bytes = self.buffers.take();
        bytes.push(MessageType::User.byte());
        for part in message {
            bytes.extend_from_slice(part);
        }
        let len = bytes.len();
        self.announce(lane, None, len, Rumor::Payload(bytes), waiter, 0);
    }

    /// Queues a user message that displaces the one about the same subject, if that is still queued: two nodes that
    /// announce one thing at the same time both gossip, but each only its last word.
    pub(crate) fn broadcast_about(&mut self, subject: Bytes, payload: &[u8], waiter: Option<Waiter>) {
        if let Some(&queued) = self.subjects.get(&subject) {
            self.rumors.displace(queued);
            self.retire();
        }
        let mut message = self.buffers.take();
        message.push(MessageType::User.byte());
        message.extend_from_slice(payload);
        let len = message.len();
        let rumor = Rumor::About { subject: subject.clone(), message };
        let id = self.enqueue(Lane::Event, None, len, rumor, waiter, 0);
        // Before anything is retired: the lane may be full of what was sent less often, and this one the last in order.
        self.subjects.insert(subject, id);
        self.retire();
    }

    /// Longest service message that gossip can carry; anything longer would sit in the queue for ever (serf.md Q19).
    pub(crate) fn max_broadcast(&self) -> usize {
        self.layers.max_packet_body(self.config.surest_datagram(), true).saturating_sub(1 + COMPOUND)
    }

    /// The lower one of a parameter and what gossip can carry, and what that is called.
    pub(crate) fn broadcast_limit(&self, most: usize, parameter: &'static str) -> (usize, &'static str) {
        let carried = self.max_broadcast();
        if most <= carried { (most, parameter) } else { (carried, ONE_DATAGRAM) }
    }

    /// How many rumors of a kind wait.
    pub(crate) fn queued(&self, lane: Lane) -> usize {
        self.rumors.lane_len(lane)
    }

    /// What others can make grow, against its cap.
    pub(crate) fn depths(&self) -> [Depth; 12] {
        let lane = |what, lane| Depth { what, len: self.queued(lane), cap: self.config.max_rumors };
        let of = |what, len, cap| Depth { what, len, cap };
        [
            lane("refutations", Lane::Refutation),
            lane("accusations", Lane::Accusation),
            lane("alive rumors", Lane::Alive),
            lane("intents", Lane::Intent),
            lane("events", Lane::Event),
            lane("queries", Lane::Query),
            // A probe's ping always has room.
            of("outgoing packets", self.outgoing.len(), self.config.max_outgoing + 1),
            of("operations", self.operations.len(), self.config.max_operations),
            of("relays", self.relays.len(), self.config.max_relays),
            of("inbound streams", self.inbound, self.config.max_streams),
            of("own streams", self.streams.len() - self.inbound, self.config.max_streams),
            of("members", self.roster.names(), self.config.max_members),
        ]
    }

    pub(crate) fn retire_subject(&mut self, slot: u32) {
        self.rumors.remove_subject(slot);
        self.retire();
    }

    /// Releases what rumors that left the queue held, and tells who waited for them.
    fn retire(&mut self) {
        while let Some(retired) = self.rumors.pop_retired() {
            match retired.why {
                Why::Displaced => self.stats.rumors_displaced += 1,
                Why::Pruned => self.stats.rumors_pruned += 1,
                Why::Exhausted => {}
            }
            match retired.value {
                Rumor::Alive(slot) | Rumor::Accusation { slot, .. } => self.roster.unpin(slot),
                Rumor::Payload(bytes) => self.buffers.give(bytes),
                Rumor::About { subject, message } => {
                    self.subjects.remove(&subject);
                    self.buffers.give(message);
                }
            }
            // Displaced counts as out, as upstream has it: newer news about the same is on its way. Pruned is not: it may
            // never have been sent.
            let out = !matches!(retired.why, Why::Pruned);
            match retired.notify.map(Waiter::unpack) {
                Some(Waiter::Operation(key)) => self.operation_announced(key, out),
                Some(Waiter::Service(step)) => self.notices.push_back(Notice::Announced { step, out }),
                None => {}
            }
        }
    }

    /// Tells the layer above what came to an end meanwhile.
    pub(crate) fn settle<U: Upper>(&mut self, upper: &mut U) {
        while let Some(notice) = self.notices.pop_front() {
            match notice {
                Notice::Announced { step, out } => upper.announced(self, step, out),
                Notice::Joined { operation, contacted } => upper.joined(self, operation, contacted),
                Notice::Sought { token, found } => upper.sought(self, token, found),
            }
        }
    }

    pub(super) fn transmit_limits(&self) -> [u32; LANES] {
        let (mult, experiment) = (self.config.retransmit_mult, &self.config.experiment);
        let limit = |n| match experiment.transmit_limit {
            None => scale::transmit_limit(experiment.logarithm, mult, n),
            Some(limit) => limit,
        };
        let (own, service) = (limit(self.roster.len()), limit(self.service_members));
        let mut limits = [own; LANES];
        for lane in [Lane::Intent, Lane::Event, Lane::Query] {
            limits[lane as usize] = service;
        }
        limits
    }

    /// Fills a packet with rumors.
    pub(crate) fn fill(&mut self, packer: &mut Packer<'_>) {
        if self.rumors.is_empty() {
            return;
        }
        // The compound header and one length per message; the first one's is known to be needed only with a second.
        let head = if packer.count() == 0 { COMPOUND } else { 0 };
        let room = (packer.room() + PART).saturating_sub(head);
        let items = (MAX_PARTS - packer.count()).min(self.config.experiment.max_updates);
        let drawn = self.rumors.draw(room, PART, items, &self.transmit_limits());
        if drawn == 0 {
            return;
        }
        for (_, rumor, len) in self.rumors.drawn() {
            let before = packer.room();
            let written = match rumor {
                &Rumor::Alive(slot) => {
                    put(packer, MessageType::Alive, |sink| self.roster.get(slot).alive().encode(sink))
                }
                Rumor::Accusation { slot, dead, incarnation, by } => {
                    let kind = if *dead { MessageType::Dead } else { MessageType::Suspect };
                    let node = Cow::Borrowed(self.roster.get(*slot).name.as_bytes());
                    let from = Cow::Borrowed(by.as_bytes());
                    let accusation = Accusation { incarnation: *incarnation, node, from };
                    put(packer, kind, |sink| accusation.encode(sink))
                }
                Rumor::Payload(bytes) | Rumor::About { message: bytes, .. } => {
                    self.stats.user_messages_sent += 1;
                    self.stats.user_bytes_sent += bytes.len() as u64 - 1;
                    put_raw(packer, bytes)
                }
            };
            debug_assert!(written.is_ok(), "a rumor of {len} bytes did not fit into {before}");
        }
        // One that did not fit after all must not be drawn for ever: it counts as sent.
        self.rumors.commit();
        self.retire();
    }

    /// A gossip tick: queues a packet for some members, if there is anything to tell. What each gets is drawn when it is
    /// polled, so that every target gets a choice of its own.
    pub(crate) fn gossip_tick(&mut self) {
        // The last tick's packets still wait: the socket is slower than the tick.
        if self.gossip_waiting > 0 {
            self.gossip_due = self.config.experiment.gossip_keeps_tick;
            return;
        }
        if self.rumors.is_empty() {
            return;
        }
        let mut chosen = core::mem::take(&mut self.chosen);
        let (roster, now, dead) = (&self.roster, self.now, self.config.gossip_to_the_dead);
        let wanted = |slot| slot != LOCAL && roster.get(slot).takes_gossip(now, dead);
        let count = self.config.gossip_nodes;
        chosen.clear();
        if (1..roster.len()).contains(&self.config.max_paths) {
            // Not all paths can be open: a new one for each packet would cost more than the packet. Probes, which take
            // everybody in turn, keep exchanging which ones are.
            let open = |slot| wanted(slot) && self.paths.contains_key(&roster.get(slot).socket());
            roster.order().sample(&mut self.rng, count, open, &mut chosen);
        }
        if chosen.len() < count {
            let open = core::mem::take(&mut chosen);
            let others = |slot| wanted(slot) && !open.contains(&slot);
            roster.order().sample(&mut self.rng, count - open.len(), others, &mut chosen);
            chosen.extend(open);
        }
        for &slot in &chosen {
            let to = self.roster.key(slot);
            if self.push_outgoing(Outgoing::Gossip { to }) {
                self.gossip_waiting += 1;
            }
        }
        self.chosen = chosen;
    }
}

/// A compound's type and count, and the length of one part (spec 1.9).
const COMPOUND: usize = 4;
const PART: usize = 2;

fn put_raw(packer: &mut Packer<'_>, bytes: &[u8]) -> Result<(), crate::wire::msgpack::Full> {
    let mut sink = crate::wire::msgpack::SliceSink::new(packer.spare());
    sink.put(bytes)?;
    packer.commit(bytes.len())
}

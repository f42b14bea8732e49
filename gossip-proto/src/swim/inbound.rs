//! Datagrams: opened, unpacked, and each message to its rule.

use super::claims::Via;
use super::outgoing::{Outgoing, STRANGER_FACTOR};
use super::{Swim, Upper};
use crate::Name;
use crate::config::MAX_NAME;
use crate::error::PacketError;
use crate::output::{Cause, Source};
use crate::roster::{NONE, canonical};
use crate::wire::field::Raw;
use crate::wire::message::{Accusation, Ack, Alive, IndirectPing, MessageType, Nack, Ping};
use crate::wire::msgpack::DecodeError;
use crate::wire::packet::{self, UnpackLimits, Unpacked};

impl Swim {
    /// Strips the layers, in place. What is wrong is counted.
    pub(crate) fn open<'d>(&mut self, datagram: &'d mut [u8]) -> Result<&'d mut [u8], PacketError> {
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        packet::open(&self.layers, datagram).inspect_err(|error| {
            let counter = match error {
                PacketError::LabelTruncated
                | PacketError::LabelEmpty
                | PacketError::LabelMismatch
                | PacketError::LabelUnexpected => &mut self.stats.dropped_label,
                PacketError::Seal(_) => &mut self.stats.dropped_seal,
                PacketError::Checksum => &mut self.stats.dropped_crc,
                _ => &mut self.stats.dropped_malformed,
            };
            *counter += 1;
        })
    }

    /// Acts on the messages of an opened packet. Complete parts take effect, bad ones are counted (spec 1.9).
    pub(crate) fn opened<U: Upper>(&mut self, upper: &mut U, source: Source, body: &[u8]) {
        let source = self.heard_from(source);
        let limits = UnpackLimits { inflated: self.config.max_inflated, ..UnpackLimits::default() };
        // The scratch space is lent out, because messages lie in it while they are acted on.
        let Some(mut scratch) = self.scratch.take() else { return };
        let found = packet::unpack(body, &mut scratch, &limits, &mut |message| {
            self.record_message(message);
            if self.message(upper, source, message).is_err() {
                self.stats.dropped_decode += 1;
            }
        });
        self.scratch = Some(scratch);
        self.count(&found);
    }

    /// What the mere arrival of a packet says, before its content; the source as it is compared.
    pub(crate) fn heard_from(&mut self, source: Source) -> Source {
        (self.stranger_acked, self.stranger_room, self.queries_heard) = (false, 0, 0);
        let source = Source { addr: canonical(source.addr), ..source };
        if self.absent() > 0 {
            self.sign_of_life(source.addr);
        }
        source
    }

    fn count(&mut self, found: &Unpacked) {
        self.stats.messages_received += found.messages as u64;
        self.stats.compound_truncated += found.truncated as u64;
        self.stats.dropped_malformed += (found.empty + found.bad_compound + found.bad_compressed) as u64;
        self.stats.dropped_limits += (found.too_deep + found.over_limit) as u64;
        self.stats.dropped_type += found.misplaced as u64;
    }

    pub(crate) fn message<U: Upper>(
        &mut self,
        upper: &mut U,
        source: Source,
        message: &[u8],
    ) -> Result<(), DecodeError> {
        let Some((&kind, body)) = message.split_first() else { return Ok(()) };
        self.stranger_room += STRANGER_FACTOR * message.len();
        match MessageType::from_byte(kind) {
            Some(MessageType::Ping) => self.ping_received(source, &Ping::decode(body)?.0),
            Some(MessageType::IndirectPing) => self.indirect_ping(source, &IndirectPing::decode(body)?.0),
            Some(MessageType::Ack) => {
                let ack = Ack::decode(body)?.0;
                self.answered(upper, ack.seq, Some(&ack.payload));
            }
            Some(MessageType::Nack) => self.answered(upper, Nack::decode(body)?.0.seq, None),
            Some(MessageType::Suspect) => {
                let claim = Accusation::decode(body)?.0;
                if claim.from.len() > MAX_NAME {
                    self.stats.claim_malformed += 1;
                } else if let Some(slot) = self.known(&claim.node) {
                    let cause = Cause::Accused { by: Name::new(&claim.from), incarnation: claim.incarnation };
                    self.suspect(slot, claim.incarnation, &claim.from, cause);
                }
            }
            Some(MessageType::Dead) => self.dead_received(upper, source, &Accusation::decode(body)?.0),
            Some(MessageType::Alive) => self.alive_received(upper, source, &Alive::decode(body)?.0),
            Some(MessageType::User) => {
                self.stats.user_messages += 1;
                self.stats.user_bytes += body.len() as u64;
                upper.message(self, source, false, body);
            }
            _ => self.stats.dropped_type += 1,
        }
        Ok(())
    }

    fn alive_received<U: Upper>(&mut self, upper: &mut U, source: Source, claim: &Alive<'_>) {
        let Alive { incarnation, node, addr, port, meta, vsn } = claim;
        let known = self.known(node);
        if known.is_some_and(|slot| self.is_old(slot, *incarnation, addr, *port, meta, vsn)) {
            return;
        }
        if !self.config.admits_address(source.addr.ip()) {
            self.stats.cidr_refused += 1;
        } else if let Some(claim) = self.alive_claim(node, *incarnation, addr, *port, meta, vsn) {
            self.alive(upper, known, &claim, Via::Datagram(source));
        }
    }

    fn dead_received<U: Upper>(&mut self, upper: &mut U, source: Source, claim: &Accusation<'_>) {
        if claim.from.len() > MAX_NAME {
            self.stats.claim_malformed += 1;
            return;
        }
        let Some(slot) = self.known(&claim.node) else { return };
        let cause = if claim.from == claim.node {
            let socket = self.roster.get(slot).socket();
            if !self.identity_fits(Some(slot), socket, Via::Datagram(source)) {
                return;
            }
            Cause::Farewell
        } else {
            Cause::Declared { by: Name::new(&claim.from) }
        };
        self.dead(upper, slot, claim.incarnation, &claim.from, cause);
    }

    fn ping_received(&mut self, source: Source, ping: &Ping<'_>) {
        if !ping.node.is_empty() && *ping.node != *self.config.name.as_bytes() {
            self.stats.ping_wrong_name += 1;
            return;
        }
        if self.config.require_node_names && ping.source_node.is_empty() {
            self.stats.ping_source_ignored += 1;
            return;
        }
        let to = self.reply_to(source.addr, &ping.source_addr, ping.source_port, &ping.source_node);
        // A stranger's datagram of many pings must not come back multiplied, nor go to a member for each (W-8).
        let asker = if to == source.addr { self.roster.at(to) } else { None };
        let strange = asker.is_none();
        if strange && !self.take_stranger_turn(1 + Ack { seq: ping.seq, payload: Raw::NIL }.encoded_len()) {
            self.stats.ack_suppressed += 1;
            return;
        }
        let asker = asker.unwrap_or(NONE);
        self.push_outgoing(Outgoing::Ack { to, asker, seq: ping.seq, payload: true });
    }
}

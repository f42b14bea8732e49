//! What waits to be sent, not yet encoded: composed when it is polled, from the state of that moment.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::{Awaited, Swim, Upper, schedule::Tick};
use crate::MemberKey;
use crate::output::{DatagramKind, Transmit, TransmitFailure, TransmitId};
use crate::roster::{NONE, Standing, canonical};
use crate::wire::compound::Packer;
use crate::wire::message::{Accusation, Ack, IndirectPing, MessageType, Nack};
use crate::wire::msgpack::{Full, Sink, SliceSink};
use crate::wire::packet::Frame;

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// The running probe's ping.
    Probe,
    IndirectPing {
        helper: MemberKey,
        seq: u32,
    },
    /// An answer to a ping; with the payload of the layer above when it answers for this node.
    Ack {
        to: SocketAddr,
        /// The member that asked, from there; [`NONE`] if somebody else may have, in its name.
        asker: u32,
        seq: u32,
        payload: bool,
    },
    Nack {
        to: SocketAddr,
        /// As of an acknowledgement.
        asker: u32,
        seq: u32,
    },
    RelayPing {
        relay: u64,
    },
    /// The application's own ping.
    Ping {
        operation: u64,
    },
    Gossip {
        to: MemberKey,
    },
    /// What another member knows of this one, an alive message's body, and what is known here.
    Hearsay {
        of: MemberKey,
        said: Vec<u8>,
    },
    User {
        to: MemberKey,
        payload: Bytes,
    },
    /// A message of the layer above, which answers for the address.
    Direct {
        to: SocketAddr,
        payload: Bytes,
    },
}

impl Outgoing {
    fn kind(&self) -> DatagramKind {
        match self {
            Self::Probe | Self::IndirectPing { .. } | Self::RelayPing { .. } | Self::Ping { .. } => {
                DatagramKind::Ping
            }
            Self::Ack { .. } | Self::Nack { .. } => DatagramKind::Answer,
            Self::Gossip { .. } | Self::Hearsay { .. } => DatagramKind::Gossip,
            Self::User { .. } | Self::Direct { .. } => DatagramKind::Message,
        }
    }
}

impl Swim {
    /// Queues something to send. Bounded: what a remote can ask for is dropped when the socket does not keep up.
    pub(crate) fn push_outgoing(&mut self, outgoing: Outgoing) -> bool {
        if self.outgoing.len() >= self.config.max_outgoing && !matches!(outgoing, Outgoing::Probe) {
            self.stats.outgoing_full += 1;
            return false;
        }
        self.outgoing.push_back(outgoing);
        true
    }

    /// Sends a user message in one datagram, best effort; whether it is on its way.
    pub(crate) fn send_direct(&mut self, to: SocketAddr, payload: Bytes) -> bool {
        self.push_outgoing(Outgoing::Direct { to, payload })
    }

    /// Whether the datagram at hand may still be answered, in so many bytes, to somebody who is no member, or is elsewhere:
    /// once, or one of many parts would come back multiplied; and with at most three times what came, as in QUIC before an
    /// address is known to be its owner's (W-8).
    pub(crate) fn take_stranger_turn(&mut self, len: usize) -> bool {
        let free = !self.stranger_acked && len <= self.stranger_room;
        if free {
            self.stranger_acked = true;
            self.stranger_room -= len;
        }
        free
    }

    /// Whether the datagram at hand may bring one more query. Answers go to the member that a query names, by other members too,
    /// wherever the query came from, so that a datagram of hundreds would have somebody flooded.
    pub(crate) fn take_query_turn(&mut self) -> bool {
        self.queries_heard += 1;
        self.queries_heard <= MOST_QUERIES
    }

    /// Bytes that a stranger may be told for what it has said in the datagram at hand.
    pub(crate) fn stranger_room(&self) -> usize {
        self.stranger_room
    }

    /// What a stranger is told for a user message counts by the shortest form in which that can have travelled: padding that
    /// compresses to nothing, in it or beside it, must not buy a long answer.
    pub(crate) fn weigh_strangers_message(&mut self, from: SocketAddr, payload: &[u8]) {
        if self.roster.at(from).is_some() {
            return;
        }
        let mut packed = self.buffers.take();
        self.deflater.append_message(&[&[MessageType::User.byte()], payload], &mut packed);
        self.stranger_room = STRANGER_FACTOR * packed.len().min(1 + payload.len());
        self.buffers.give(packed);
    }

    /// By how much a query of this node waits longer than in a small cluster (serf.md 5.1).
    pub(crate) fn query_scale(&self) -> u32 {
        super::scale::query_timeout(self.roster.num_members())
    }

    /// Room that a rumor or message may take in a datagram to `to`.
    pub(crate) fn datagram_limit(&self, to: SocketAddr) -> usize {
        self.paths.get(&to).map_or_else(|| self.config.surest_datagram(), |&limit| usize::from(limit))
    }

    /// Longest user message that one datagram to `to` carries.
    pub(crate) fn max_message(&self, to: SocketAddr) -> usize {
        self.layers.max_packet_body(self.datagram_limit(to), true).saturating_sub(1)
    }

    pub(crate) fn path(&mut self, to: SocketAddr, max_datagram: usize) {
        let to = canonical(to);
        if max_datagram == 0 {
            self.paths.remove(&to);
            return;
        }
        // Neither more than the driver lends room for, nor so little that nothing could be sent at all.
        let max_datagram = max_datagram.min(self.config.max_datagram).max(MIN_PATH);
        if max_datagram == self.config.surest_datagram() && self.config.max_paths == 0 {
            self.paths.remove(&to);
        } else if self.paths.len() < self.config.max_members || self.paths.contains_key(&to) {
            self.paths.insert(to, max_datagram as u16);
        } else {
            self.stats.paths_full += 1;
        }
    }

    pub(crate) fn transmit_failed(&mut self, id: TransmitId, why: TransmitFailure) {
        self.stats.transmit_failed += 1;
        self.probe_transmit_failed(id, why);
    }

    pub(crate) fn poll_transmit<U: Upper>(&mut self, upper: &U, buf: &mut [u8]) -> Option<Transmit> {
        if buf.len() < self.config.max_datagram {
            self.stats.buffer_too_small += 1;
        }
        while let Some(outgoing) = self.outgoing.pop_front() {
            let asks = matches!(outgoing, Outgoing::IndirectPing { .. });
            let composed = self.compose(upper, outgoing, buf);
            if asks {
                self.helper_asked();
            }
            if let Some(transmit) = composed {
                self.stats.datagrams_sent += 1;
                self.stats.bytes_sent += transmit.len as u64;
                return Some(transmit);
            }
        }
        None
    }

    /// Composes one packet, or nothing if there is no need for it any more.
    fn compose<U: Upper>(&mut self, upper: &U, outgoing: Outgoing, buf: &mut [u8]) -> Option<Transmit> {
        let is_probe = matches!(outgoing, Outgoing::Probe);
        let is_gossip = matches!(outgoing, Outgoing::Gossip { .. });
        if is_gossip {
            self.gossip_waiting -= 1;
            if self.gossip_waiting == 0 && core::mem::take(&mut self.gossip_due) {
                self.ticks.set(Tick::Gossip, self.now);
            }
        }
        let (to, peer) = self.destination(&outgoing)?;
        // Every receiver checks a checksum; those with pmax >= 5 send it as well (spec 1.3, Q-3).
        let crc = peer.is_some_and(|slot| self.roster.get(slot).versions[1] >= 5) && !self.is_sealing();
        let limit = self.datagram_limit(to).min(buf.len());
        let frame = Frame::new(&self.layers, limit, crc)?;
        let mut packer = Packer::new(frame.body(buf));
        let takes_rumors = self.head(upper, &outgoing, peer, &mut packer).ok()?;
        if takes_rumors && (is_gossip || self.config.experiment.piggyback) {
            self.fill(&mut packer);
        }
        let len = packer.finish();
        if self.is_watched() {
            self.composed = super::outline::messages(&frame.body(buf)[..len]);
        }
        let len = frame.finish(&self.layers, buf, len, &mut self.nonces, &mut self.deflater).ok()?;
        self.transmits += 1;
        let id = TransmitId(self.transmits);
        if is_probe {
            self.probe_sent(id);
        }
        if let Outgoing::Ping { operation } = outgoing {
            self.ping_sent(operation);
        }
        let peer = peer.map(|slot| self.roster.key(slot));
        Some(Transmit { id, to, peer, kind: outgoing.kind(), len })
    }

    /// Whether what this node sends is sealed.
    pub(crate) fn is_sealing(&self) -> bool {
        self.layers.sealing_key().is_some()
    }

    /// Where it goes, and which member that is.
    fn destination(&self, outgoing: &Outgoing) -> Option<(SocketAddr, Option<u32>)> {
        let member = |key| self.roster.resolve(key);
        let slot = match *outgoing {
            Outgoing::Ack { to, asker, .. } | Outgoing::Nack { to, asker, .. } => {
                let still = self.roster.used(asker).is_some_and(|record| record.is_at(to));
                return Some((to, if still { Some(asker) } else { self.roster.at(to) }));
            }
            Outgoing::Direct { to, .. } => return Some((to, self.roster.at(to))),
            Outgoing::Probe => self.probe_ping().map(|(slot, ..)| slot),
            Outgoing::RelayPing { relay } => self.relay(relay).and_then(|relay| member(relay.target)),
            Outgoing::Ping { operation } => self.ping_target(operation).and_then(member),
            Outgoing::Gossip { .. } if self.rumors.is_empty() => None,
            Outgoing::IndirectPing { helper: to, .. }
            | Outgoing::Gossip { to }
            | Outgoing::Hearsay { of: to, .. }
            | Outgoing::User { to, .. } => member(to),
        }?;
        Some((self.roster.get(slot).socket(), Some(slot)))
    }

    /// Whether rumors go along with an answer: only if a member asked itself, and takes gossip. Each rumor is sent a few times, and
    /// whoever plays a recorded ping again says how often, and by the address in it to whom (W-9).
    fn hears(&self, asker: u32, peer: Option<u32>) -> bool {
        let takes = |slot| self.roster.get(slot).takes_gossip(self.now, self.config.gossip_to_the_dead);
        peer.is_some_and(|slot| slot == asker && takes(slot))
    }

    /// Encodes what the packet is for; whether rumors may follow.
    fn head<U: Upper>(
        &mut self,
        upper: &U,
        outgoing: &Outgoing,
        peer: Option<u32>,
        packer: &mut Packer<'_>,
    ) -> Result<bool, Full> {
        match outgoing {
            Outgoing::Probe => {
                let (slot, seq, suspected) = self.probe_ping().ok_or(Full)?;
                let name = self.roster.get(slot).name.as_bytes();
                put(packer, MessageType::Ping, |sink| self.own_ping(seq, name).encode(sink))?;
                if !suspected || !self.config.experiment.buddy_system {
                    return Ok(true);
                }
                // Tells the suspect, so that it can refute at once (Lifeguard §IV-C; spec 4.8). Beside long names there may be no
                // room; that it is probed matters more.
                Ok(self.put_suspicion(packer, slot).is_err())
            }
            &Outgoing::IndirectPing { helper, seq } => {
                let helper = self.roster.resolve(helper).ok_or(Full)?;
                let target = self.probe.as_ref().filter(|probe| probe.seq == seq).ok_or(Full)?.target;
                let target = self.roster.get(self.roster.resolve(target).ok_or(Full)?);
                let own = self.own_ping(seq, &[]);
                let request = IndirectPing {
                    seq,
                    target: target.addr.as_bytes().into(),
                    port: target.port,
                    node: Cow::Borrowed(target.name.as_bytes()),
                    nack: self.asks_for_nack(helper),
                    source_addr: own.source_addr,
                    source_port: own.source_port,
                    source_node: own.source_node,
                };
                put(packer, MessageType::IndirectPing, |sink| request.encode(sink))?;
                self.stats.indirect_pings += 1;
                Ok(true)
            }
            &Outgoing::Ack { asker, seq, payload, .. } => {
                let mut bytes = self.buffers.take();
                if payload && peer.is_some() {
                    upper.ack_payload(&mut bytes);
                }
                let ack = Ack { seq, payload: bytes.as_slice().into() };
                let result = put(packer, MessageType::Ack, |sink| ack.encode(sink));
                self.buffers.give(bytes);
                result?;
                // Whoever asks lives. That it is held for dead here, or for left because somebody said so in its name, is
                // news to it, and nobody probes those.
                let accused = peer.filter(|&slot| {
                    let record = self.roster.get(slot);
                    self.config.experiment.healing && record.tracked() && record.standing != Standing::Alive
                });
                if let Some(slot) = accused {
                    let _ = self.put_suspicion(packer, slot);
                }
                Ok(self.hears(asker, peer))
            }
            &Outgoing::Nack { asker, seq, .. } => {
                put(packer, MessageType::Nack, |sink| Nack { seq }.encode(sink))?;
                Ok(self.hears(asker, peer))
            }
            &Outgoing::RelayPing { relay } => {
                let relay = self.relay(relay).ok_or(Full)?;
                let name = self.roster.get(self.roster.resolve(relay.target).ok_or(Full)?).name.as_bytes();
                put(packer, MessageType::Ping, |sink| self.own_ping(relay.seq, name).encode(sink))?;
                Ok(relay.asker != NONE)
            }
            &Outgoing::Ping { operation } => {
                let (seq, target) = self.ping_operation(operation).ok_or(Full)?;
                let name = self.roster.get(self.roster.resolve(target).ok_or(Full)?).name.as_bytes();
                put(packer, MessageType::Ping, |sink| self.own_ping(seq, name).encode(sink))?;
                Ok(true)
            }
            Outgoing::Gossip { .. } => Ok(true),
            Outgoing::Hearsay { said, .. } => {
                put(packer, MessageType::Alive, |sink| sink.put(said))?;
                let record = self.roster.get(peer.ok_or(Full)?);
                // Where there is no room for both: one of the nodes that see this holds what is wrong.
                let _ = put(packer, MessageType::Alive, |sink| record.alive().encode(sink));
                Ok(true)
            }
            // Without rumors: these are for members, and a stranger may have asked.
            Outgoing::User { payload, .. } | Outgoing::Direct { payload, .. } => {
                put(packer, MessageType::User, |sink| sink.put(payload))?;
                Ok(false)
            }
        }
    }

    fn put_suspicion(&self, packer: &mut Packer<'_>, slot: u32) -> Result<(), Full> {
        let record = self.roster.get(slot);
        let accusation = Accusation {
            incarnation: record.incarnation,
            node: Cow::Borrowed(record.name.as_bytes()),
            from: Cow::Borrowed(self.config.name.as_bytes()),
        };
        put(packer, MessageType::Suspect, |sink| accusation.encode(sink))
    }

    /// An acknowledgement or nack with one of our numbers.
    pub(crate) fn answered<U: Upper>(&mut self, upper: &mut U, seq: u32, payload: Option<&[u8]>) {
        match (self.awaited.get(&seq).copied(), payload) {
            (Some(Awaited::Probe), Some(payload)) => self.probe_answered(upper, payload),
            (Some(Awaited::Probe), None) => self.probe_nacked(),
            (Some(Awaited::Relay(key)), Some(_)) => self.relay_answered(key),
            (Some(Awaited::Ping(key)), Some(_)) => self.ping_answered(key),
            (Some(Awaited::Relay(_) | Awaited::Ping(_)) | None, _) => self.stats.ack_unknown += 1,
        }
    }
}

/// Adds one message to a packet.
pub(crate) fn put(
    packer: &mut Packer<'_>,
    kind: MessageType,
    encode: impl FnOnce(&mut SliceSink<'_>) -> Result<(), Full>,
) -> Result<(), Full> {
    let mut sink = SliceSink::new(packer.spare());
    sink.put(&[kind.byte()])?;
    encode(&mut sink)?;
    let len = sink.len();
    packer.commit(len)
}

/// How many bytes a stranger is told for each of its own, at most (RFC 9000 8.1).
pub(crate) const STRANGER_FACTOR: usize = 3;

/// Queries that a datagram may bring: several times what an ordinary one has room for.
const MOST_QUERIES: u32 = 32;
/// The smallest path that is believed in; it carries a ping.
const MIN_PATH: usize = 256;

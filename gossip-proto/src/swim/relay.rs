//! Probing on behalf of others (spec 4.8 "Receiving an indirect ping").

use core::net::SocketAddr;
use core::time::Duration;

use super::outgoing::Outgoing;
use super::{Awaited, Deadline, Swim};
use crate::MemberKey;
use crate::output::Source;
use crate::roster::{NONE, WireAddr, canonical};
use crate::timer::TimerId;
use crate::wire::message::IndirectPing;

/// A probe carried out for another node.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) target: MemberKey,
    pub(crate) seq: u32,
    requester: SocketAddr,
    /// The member that asked, from there; [`NONE`] if somebody else may have, in its name.
    pub(crate) asker: u32,
    their_seq: u32,
    nack: bool,
    timer: Option<TimerId>,
}

impl Swim {
    pub(crate) fn indirect_ping(&mut self, source: Source, ping: &IndirectPing<'_>) {
        let port = self.port_or_own(ping.port);
        let target = WireAddr::new(&ping.target).and_then(|addr| {
            let socket = addr.socket(port);
            let named = self.known(&ping.node).filter(|&slot| self.roster.get(slot).is_at(socket));
            named.or_else(|| self.roster.at(socket).filter(|_| ping.node.is_empty()))
        });
        // Anything but a member's address would make us send to whom the sender chooses (W-8).
        let Some(target) = target.filter(|&slot| self.roster.get(slot).tracked()) else {
            self.stats.relay_refused += 1;
            return;
        };
        if self.config.require_node_names && ping.source_node.is_empty() {
            self.stats.relay_refused += 1;
            return;
        }
        if self.relays.len() >= self.config.max_relays {
            self.stats.relay_full += 1;
            return;
        }
        let source = canonical(source.addr);
        let requester = self.reply_to(source, &ping.source_addr, ping.source_port, &ping.source_node);
        let asker = if requester == source { self.roster.at(source) } else { None };
        if asker.is_none() && !self.take_stranger_turn(MOST_TOLD) {
            self.stats.ack_suppressed += 1;
            return;
        }
        let seq = self.next_seq();
        let target = self.roster.key(target);
        let asker = asker.unwrap_or(NONE);
        let relay =
            Relay { target, seq, requester, asker, their_seq: ping.seq, nack: ping.nack, timer: None };
        let key = self.relays.insert(relay);
        let wait = if ping.nack { self.nack_after() } else { self.config.probe_timeout };
        let timer = self.timers.arm(self.now + wait, Deadline::Relay(key));
        if let Some(relay) = self.relays.get_mut(key) {
            relay.timer = Some(timer);
        }
        self.awaited.insert(seq, Awaited::Relay(key));
        self.stats.relays += 1;
        self.push_outgoing(Outgoing::RelayPing { relay: key });
    }

    pub(crate) fn relay_answered(&mut self, key: u64) {
        let Some(relay) = self.end_relay(key) else { return };
        let (to, asker, seq) = (relay.requester, relay.asker, relay.their_seq);
        self.push_outgoing(Outgoing::Ack { to, asker, seq, payload: false });
    }

    /// When a nack is due. The requester judges at the end of its interval, and waits as long as we do if it has the time: sent at
    /// the end, the nack would come too late to be counted (W-13).
    fn nack_after(&self) -> Duration {
        let timeout = self.config.probe_timeout;
        let left = self.config.probe_interval.saturating_sub(timeout);
        let waits = if left.is_zero() { timeout } else { timeout.min(left) };
        waits / 5 * 4
    }

    pub(crate) fn relay_expired(&mut self, key: u64) {
        let Some(relay) = self.relays.get_mut(key) else { return };
        if relay.nack {
            relay.nack = false;
            let (to, asker, seq) = (relay.requester, relay.asker, relay.their_seq);
            // A late answer is still forwarded until the timeout is over.
            let rest = self.config.probe_timeout - self.nack_after();
            let timer = self.timers.arm(self.now + rest, Deadline::Relay(key));
            if let Some(relay) = self.relays.get_mut(key) {
                relay.timer = Some(timer);
            }
            self.push_outgoing(Outgoing::Nack { to, asker, seq });
        } else {
            self.end_relay(key);
        }
    }

    fn end_relay(&mut self, key: u64) -> Option<Relay> {
        let relay = self.relays.remove(key)?;
        self.awaited.remove(&relay.seq);
        if let Some(timer) = relay.timer {
            self.timers.cancel(timer);
        }
        Some(relay)
    }

    pub(crate) fn relay(&self, key: u64) -> Option<&Relay> {
        self.relays.get(key)
    }
}

/// Bytes of an acknowledgement and a nack, which is all that comes of an indirect ping.
const MOST_TOLD: usize = 40;

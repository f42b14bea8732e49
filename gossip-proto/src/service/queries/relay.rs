//! Relays: an answer that also travels by other members, in case it gets lost on the straight way (serf.md 5.5).

use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::roster::{LOCAL, WireAddr};
use crate::service::Services;
use crate::swim::Swim;
use crate::wire::serf::{Relay, RelayHeader, SerfType, UdpAddr};
use crate::{Name, Status};

impl Services {
    /// The wrapper of a response; `None` if it is not relayed. Upstream sends one that has no room for a wrapper straight,
    /// and then says that it failed.
    pub(super) fn relay_of(
        &self,
        swim: &mut Swim,
        factor: u8,
        to: SocketAddr,
        name: &Name,
        message: &[u8],
    ) -> Option<Bytes> {
        if factor == 0 || self.listed < usize::from(factor) + 1 {
            return None;
        }
        let ip = WireAddr::from_ip(to.ip());
        let addr = UdpAddr { ip: ip.as_bytes().into(), port: to.port().into(), ..UdpAddr::default() };
        let relay = Relay { header: RelayHeader { addr, name: name.as_bytes().into() }, inner: message };
        let mut wrapped = Vec::with_capacity(message.len() + 64);
        wrapped.push(SerfType::Relay.byte());
        // Writing to a vector cannot run out of room.
        let _ = relay.encode(&mut wrapped);
        if wrapped.len() > self.config.query_response_size_limit {
            swim.stats.query_answers_unrelayed += 1;
            return None;
        }
        Some(wrapped.into())
    }

    /// Hands it to members that can relay, at random. The asker is none of them: it would relay to itself. However many are
    /// wanted they are a few, or one datagram would have every node send 255 (Q4).
    pub(super) fn relay_by(&self, swim: &mut Swim, factor: u8, to: SocketAddr, wrapped: &Bytes) {
        let mut chosen: SmallVec<[u32; 8]> = SmallVec::new();
        let roster = &swim.roster;
        let wanted = |slot: u32| {
            let record = roster.get(slot);
            // memberlist's version, not Serf's, tells who can (serf.md 1.4).
            slot != LOCAL
                && record.says == Some(Status::Alive)
                && record.versions[1] >= 5
                && !record.is_at(to)
        };
        roster.order().sample(&mut swim.rng, usize::from(factor.min(MAX_RELAYS)), wanted, &mut chosen);
        for slot in chosen {
            let by = swim.roster.get(slot).socket();
            if wrapped.len() <= swim.max_message(by) {
                swim.send_direct(by, wrapped.clone());
            }
        }
    }

    /// Passes a relayed message on. Upstream sends whatever is in it wherever it says, which makes any node a forwarder
    /// of anything to anybody; here it is a response, and goes to a member (Q4).
    pub(in crate::service) fn relay(&mut self, swim: &mut Swim, relay: &Relay<'_>) {
        let addr = &relay.header.addr;
        let to = WireAddr::new(&addr.ip).zip(u16::try_from(addr.port).ok()).map(|(ip, port)| ip.socket(port));
        let member = to.and_then(|to| swim.roster.at(to));
        let (Some(slot), Some((&kind, body))) = (member, relay.inner.split_first()) else {
            swim.stats.serf_relay_refused += 1;
            return;
        };
        let to = swim.roster.get(slot).socket();
        if kind != SerfType::QueryResponse.byte() || relay.inner.len() > swim.max_message(to) {
            swim.stats.serf_relay_refused += 1;
            return;
        }
        swim.stats.serf_relayed += 1;
        if slot == LOCAL {
            self.response_came(swim, body);
        } else {
            swim.send_direct(to, Bytes::copy_from_slice(relay.inner));
        }
    }
}

/// Members that one answer also travels by, at most.
const MAX_RELAYS: u8 = 8;

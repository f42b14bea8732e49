//! Places for the streams of others: all may be taken, and whoever holds several for long has to give one up to somebody who
//! holds fewer. So a few hostile members cannot keep the others from exchanging states.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::Swim;
use super::streams::Purpose;
use crate::output::{IdentityId, Source};

/// Whose a place is: what the transport has proven, or else the host. Nodes of one host are one holder; the own host's are
/// nobody's, or a cluster of many local nodes would be in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Identity(IdentityId),
    Host(IpAddr),
}

impl Holder {
    fn of(source: &Source) -> Option<Self> {
        match source.identity {
            Some(identity) => Some(Self::Identity(identity)),
            None => Some(source.addr.ip().to_canonical()).filter(|ip| !ip.is_loopback()).map(Self::Host),
        }
    }
}

impl Swim {
    /// The stream that somebody new may displace when all places are taken: of those open for longer than an honest
    /// exchange takes, the oldest of whoever holds most, if that are at least two more than the newcomer holds; of a
    /// newcomer not known yet, at least two. A crowd that joins at once displaces nobody and is served in turn.
    pub(super) fn displaceable(&self, newcomer: Option<&Source>) -> Option<u64> {
        let newcomer = newcomer.map(Holder::of);
        // Nobody in particular has to make room for nobody in particular.
        if newcomer == Some(None) {
            return None;
        }
        let mut held: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| matches!(stream.purpose, Purpose::Inbound))
            .filter_map(|(key, stream)| Some((Holder::of(&stream.source)?, stream.since, key)))
            .collect();
        held.sort_unstable();
        let own =
            newcomer.flatten().map_or(0, |own| held.iter().filter(|(holder, ..)| *holder == own).count());
        let patience = self.config.stream_timeout / PATIENCE;
        let mut best: Option<(usize, u64)> = None;
        for of_one in held.chunk_by(|(a, ..), (b, ..)| a == b) {
            let (_, since, key) = of_one[0];
            let is_old = self.now.saturating_duration_since(since) >= patience;
            if is_old && of_one.len() >= own + 2 && best.is_none_or(|(most, _)| of_one.len() > most) {
                best = Some((of_one.len(), key));
            }
        }
        best.map(|(_, key)| key)
    }
}

/// The part of its time for which a stream cannot be displaced.
const PATIENCE: u32 = 10;

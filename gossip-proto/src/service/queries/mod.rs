//! Queries (serf.md 5): asked by this node and by others, answered, relayed.
//!
//! A query travels like a user event; what comes back are single datagrams, best effort: an acknowledgement that it
//! arrived, and an answer. Both are counted only from names in the member table, once each (Q5).

mod answering;
mod asking;
mod conflict;
mod filter;
mod internal;
mod pattern;
mod relay;

#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hash;
use core::net::SocketAddr;

use siphasher::sip::SipHasher13;

use self::answering::Open;
use self::asking::Asked;
pub(super) use self::asking::{Insist, Purpose};
use self::conflict::Resolution;
pub use self::pattern::Expression;
use self::pattern::Patterns;
use super::Services;
use super::ring::{QueryHistory, Seen};
use crate::config::MAX_NAME;
use crate::hash::Keyed;
use crate::output::Source;
use crate::roster::{LOCAL, WireAddr};
use crate::swim::Swim;
use crate::wire::serf::Query;
use crate::{Instant, Name, ServiceConfig};

/// What this node remembers of queries.
#[derive(Debug)]
pub(crate) struct Queries {
    seen: QueryHistory,
    /// Queries that were asked here and still collect.
    asked: BTreeMap<u32, Asked>,
    /// Numbers them.
    serial: u32,
    /// Queries that may still be answered here, by their number.
    open: VecDeque<Open>,
    requests: u64,
    patterns: Patterns,
    resolution: Resolution,
    keyed: Keyed,
}

impl Queries {
    pub(crate) fn new(config: &ServiceConfig, keyed: Keyed) -> Self {
        Self {
            seen: QueryHistory::new(config.event_buffer, config.max_events_per_ltime),
            asked: BTreeMap::new(),
            serial: 0,
            open: VecDeque::new(),
            requests: FIRST_REQUEST,
            patterns: Patterns::default(),
            resolution: Resolution::default(),
            keyed,
        }
    }

    /// Whether that query still collects.
    pub(super) fn is_asking(&self, serial: u32) -> bool {
        self.asked.contains_key(&serial)
    }

    #[cfg(test)]
    pub(super) fn last_asked(&self) -> Option<(u64, u32)> {
        self.asked.values().last().map(Asked::number)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn held(&self, config: &ServiceConfig) -> [crate::output::Depth; 2] {
        let of = |what, len, cap| crate::output::Depth { what, len, cap };
        [
            of("open queries", self.open.len(), config.max_open_queries),
            of("expressions", self.patterns.len(), pattern::KEPT),
        ]
    }

    pub(super) fn hash(&self, hasher: &mut SipHasher13) {
        (self.serial, self.requests, self.open.len(), &self.resolution).hash(hasher);
        for (serial, asked) in &self.asked {
            serial.hash(hasher);
            asked.hash(hasher);
        }
    }
}

/// Numbers of questions of membership's own begin at 0. These too can be told in JSON, which loses digits beyond 2^53.
const FIRST_REQUEST: u64 = 1 << 52;

impl Services {
    /// Handles a query (serf.md 2.4, 5.2), of another node or our own; whether to pass it on.
    pub(crate) fn query(&mut self, swim: &mut Swim, source: Option<Source>, query: &Query<'_>) -> bool {
        // An empty filter crashes upstream nodes; passing it on would do the attacker's work (Q1).
        if query.filters.iter().any(|filter| filter.is_empty()) || query.source_node.len() > MAX_NAME {
            swim.stats.queries_malformed += 1;
            return false;
        }
        if source.is_some() && !swim.take_query_turn() {
            swim.stats.queries_refused += 1;
            return false;
        }
        self.query_clock.witness(query.ltime);
        let (now, ring) = (self.query_clock.time(), self.queries.seen.len());
        if query.ltime < self.query_min || (now > ring && query.ltime < now - ring) {
            swim.stats.queries_old += 1;
            return false;
        }
        match self.queries.seen.insert(query.ltime, query.id) {
            Seen::New => {}
            Seen::Duplicate => {
                swim.stats.queries_duplicate += 1;
                self.repeat_answer(swim, source, query);
                return false;
            }
            Seen::Full => {
                swim.stats.queries_refused += 1;
                return false;
            }
        }
        swim.stats.queries += 1;
        let pass_on = query.flags & Query::NO_BROADCAST == 0 && !crashes(query);
        if !self.passes_filters(swim, LOCAL, &query.filters, source.is_some()) {
            return pass_on;
        }
        let request = self.open(swim, source, query);
        if query.flags & Query::ACK != 0 {
            self.acknowledge(swim, request);
        }
        match query.name.strip_prefix(INTERNAL) {
            Some(kind) => self.internal_query(swim, request, kind, query),
            None => {
                let deadline = self.deadline_of(request);
                let asker = asker(swim, query);
                swim.emit_query(
                    request,
                    query.ltime,
                    &query.name,
                    &query.payload,
                    asker.as_bytes(),
                    deadline,
                );
            }
        }
        pass_on
    }

    /// Where answers to a query may go: to a member, or back to where the query itself came from. Anything else would
    /// aim our datagrams at whom the sender chooses.
    fn return_address(swim: &mut Swim, source: Option<Source>, query: &Query<'_>) -> Option<SocketAddr> {
        let claimed = WireAddr::new(&query.addr)?.socket(query.port);
        if swim.roster.at(claimed).is_some() {
            return Some(claimed);
        }
        // Who shares a member's name is no member to others, but must hear their votes (serf.md 5.8).
        (source.is_some_and(|source| source.addr == claimed) && swim.take_stranger_turn(0)).then_some(claimed)
    }
}

/// Who asks. Old nodes do not say; then it is who is at their address.
fn asker(swim: &Swim, query: &Query<'_>) -> Name {
    let at = || WireAddr::new(&query.addr).and_then(|addr| swim.roster.at(addr.socket(query.port)));
    match at().filter(|_| query.source_node.is_empty()) {
        Some(slot) => swim.roster.get(slot).name.clone(),
        None => Name::new(&*query.source_node),
    }
}

/// Whether it crashes upstream nodes that it is meant for, so that passing it on would do the attacker's work (Q2): it asks for
/// something with keys, and has no payload.
fn crashes(query: &Query<'_>) -> bool {
    query.payload.is_empty() && query.name.strip_prefix(INTERNAL).is_some_and(internal::is_about_keys)
}

/// Names that Serf keeps for itself (serf.md 5.7).
pub(super) const INTERNAL: &[u8] = b"_serf_";

/// When a query that may run `nanos` from now on is over: in Go that number is signed.
fn deadline(now: Instant, nanos: i64) -> Instant {
    now + core::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

//! Queries on their way through this node (serf.md 2.4, 5.2): passed on, not yet answered.

use super::Services;
use super::ring::Seen;
use crate::swim::Swim;
use crate::wire::serf::Query;

/// The sender asks that the query is not passed on (serf.md 3.5).
const NO_BROADCAST: u32 = 2;

impl Services {
    /// Handles a query; whether to pass it on.
    pub(crate) fn query(&mut self, swim: &mut Swim, query: &Query<'_>) -> bool {
        // An empty filter crashes upstream nodes; passing it on would do the attacker's work (serf.md Q1).
        if query.filters.iter().any(|filter| filter.is_empty()) {
            swim.stats.queries_malformed += 1;
            return false;
        }
        self.query_clock.witness(query.ltime);
        let (now, ring) = (self.query_clock.time(), self.queries.len());
        if query.ltime < self.query_min || (now > ring && query.ltime < now - ring) {
            return false;
        }
        let new = self.queries.insert(query.ltime, query.id) == Seen::New;
        swim.stats.queries += u64::from(new);
        new && query.flags & NO_BROADCAST == 0
    }
}

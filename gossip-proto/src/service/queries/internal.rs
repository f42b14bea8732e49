//! Queries that nodes ask each other, which no application sees (serf.md 5.7).
//!
//! They arrive like any other: filtered, acknowledged, and open until their deadline. Whoever carries one out answers by
//! [`Services::respond`], now or later. Asking one is [`Services::issue`] with a purpose of its own, which
//! `answer_came` and `asked_due` look at.

use super::INTERNAL;
use crate::output::RequestId;
use crate::service::Services;
use crate::swim::Swim;
use crate::wire::serf::Query;

impl Services {
    /// Carries out an internal query; whether it may be passed on. `kind` is its name without the prefix.
    pub(super) fn internal_query(
        &mut self,
        swim: &mut Swim,
        id: RequestId,
        kind: &[u8],
        query: &Query<'_>,
    ) -> bool {
        debug_assert!(query.name.starts_with(INTERNAL));
        match kind {
            // That it was acknowledged is all there is to it.
            b"ping" => true,
            b"conflict" => {
                self.conflict_query(swim, id, &query.payload);
                true
            }
            b"install-key" | b"use-key" | b"remove-key" | b"list-keys" => {
                self.key_query(swim, id, kind, &query.payload);
                // An empty payload crashes upstream nodes; passing it on would do the attacker's work (Q2).
                !query.payload.is_empty()
            }
            _ => {
                swim.stats.queries_internal_unknown += 1;
                true
            }
        }
    }
}

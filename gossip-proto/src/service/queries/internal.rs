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
    /// Carries out an internal query. `kind` is its name without the prefix.
    pub(super) fn internal_query(&mut self, swim: &mut Swim, id: RequestId, kind: &[u8], query: &Query<'_>) {
        debug_assert!(query.name.starts_with(INTERNAL));
        match kind {
            // That it was acknowledged is all there is to it.
            b"ping" => {}
            b"conflict" => self.conflict_query(swim, id, &query.payload),
            _ if is_about_keys(kind) => self.key_query(swim, id, kind, &query.payload),
            _ => swim.stats.queries_internal_unknown += 1,
        }
    }
}

pub(super) fn is_about_keys(kind: &[u8]) -> bool {
    matches!(kind, b"install-key" | b"use-key" | b"remove-key" | b"list-keys")
}

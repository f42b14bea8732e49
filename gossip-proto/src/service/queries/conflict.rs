//! Whose a name is: two nodes that have the same one ask the others (serf.md 5.8).

use core::net::SocketAddr;
use core::time::Duration;

use super::asking::{Insist, Purpose};
use crate::machine::QueryParams;
use crate::output::{Completion, RequestId};
use crate::roster::{LOCAL, WireAddr, canonical};
use crate::service::Services;
use crate::swim::Swim;
use crate::wire::field::{List, Text};
use crate::wire::serf::{ConflictResponse, Member, SerfType, Tags};
use crate::{Instant, Status};
use alloc::vec::Vec;

/// The vote on this node's name.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Resolution {
    /// The node that also has the name, while the others are asked.
    other: Option<SocketAddr>,
    responses: usize,
    matching: usize,
    /// Not to ask again before.
    not_before: Instant,
}

/// Between two votes: the other node says who it is several times a second.
const PAUSE: Duration = Duration::from_secs(30);

impl Services {
    /// Another node has a name of ours.
    pub(in crate::service) fn name_conflict(&mut self, swim: &mut Swim, other: SocketAddr) {
        let resolution = &self.queries.resolution;
        let busy = resolution.other.is_some() || swim.now < resolution.not_before;
        if !self.config.name_conflict_resolution || busy {
            return;
        }
        let name = swim.config.name.clone();
        let params = QueryParams::default();
        let begin = |_: &mut Swim| Ok(Purpose::Conflict);
        // It is set up in any case: one that cannot be asked now cannot be asked a moment later either.
        let asked =
            self.issue(swim, b"_serf_conflict", name.as_bytes(), &params, Insist::Answered, begin).is_ok();
        let other = asked.then_some(canonical(other));
        self.queries.resolution = Resolution { other, not_before: swim.now + PAUSE, ..Resolution::default() };
        swim.stats.name_conflicts += u64::from(asked);
    }

    /// Another node's answer. Only a member that lives and is not ourselves has a vote (Q5).
    pub(super) fn vote(&mut self, swim: &mut Swim, from: u32, payload: &[u8]) {
        let local = swim.roster.get(LOCAL);
        let valid = from != LOCAL && swim.roster.get(from).says == Some(Status::Alive);
        let answer = match payload.split_first() {
            Some((&kind, body)) if valid && kind == SerfType::ConflictResponse.byte() => {
                ConflictResponse::decode(body).ok()
            }
            _ => None,
        };
        let Some((ConflictResponse(member), _)) = answer else {
            swim.stats.query_answers_refused += 1;
            return;
        };
        let matches = member.is_some_and(|member| {
            WireAddr::new(&member.addr).is_some_and(|addr| addr.socket(member.port) == local.socket())
        });
        self.queries.resolution.responses += 1;
        self.queries.resolution.matching += usize::from(matches);
    }

    /// The vote is over. Without any vote there is no majority, and nobody goes (Q17).
    pub(super) fn conflict_resolved(&mut self, swim: &mut Swim) {
        let Resolution { other, responses, matching, .. } = self.queries.resolution;
        self.queries.resolution = Resolution { not_before: swim.now + PAUSE, ..Resolution::default() };
        if let Some(other) = other
            && responses > 0
            && matching < responses / 2 + 1
        {
            swim.tell(Completion::NameLost { other, responses, matching });
        }
    }

    /// Says what is known of a name; nothing if it is this node's, which has no say in it.
    pub(super) fn conflict_query(&mut self, swim: &mut Swim, id: RequestId, name: &[u8]) {
        if *name == *swim.config.name.as_bytes() {
            return;
        }
        let mut payload = swim.buffers.take();
        payload.push(SerfType::ConflictResponse.byte());
        let tags: Vec<(Text<'_>, Text<'_>)>;
        let slot = self.listed_slot(swim, name);
        // What counts is the address. A stranger, as who shares a member's name is, gets no more than that.
        let bare = self.is_asked_by_stranger(swim, id);
        let member = match slot {
            Some(slot) => {
                let record = swim.roster.get(slot);
                tags = Tags::of(&record.metadata).map_while(Result::ok).take_while(|_| !bare).collect();
                let [pmin, pmax, pcur, dmin, dmax, dcur] = record.versions;
                Some(Member {
                    name: record.name.as_bytes().into(),
                    addr: record.addr.as_bytes().into(),
                    port: record.port,
                    tags: List::Lent(&tags),
                    status: serf_status(record.says),
                    protocol_min: pmin,
                    protocol_max: pmax,
                    protocol_cur: pcur,
                    delegate_min: dmin,
                    delegate_max: dmax,
                    delegate_cur: dcur,
                })
            }
            None => None,
        };
        // Writing to a vector cannot run out of room.
        let _ = ConflictResponse(member).encode(&mut payload);
        if self.respond(swim, id, &payload).is_err() {
            swim.stats.query_answers_unsent += 1;
        }
        swim.buffers.give(payload);
    }
}

/// Serf's number of a status (serf.md 3.7).
pub(super) fn serf_status(says: Option<Status>) -> i64 {
    match says {
        None => 0,
        Some(Status::Alive | Status::Suspect) => 1,
        Some(Status::Leaving) => 2,
        Some(Status::Left) => 3,
        Some(Status::Failed) => 4,
    }
}

//! Asking: a query of this node's, and what comes back (serf.md 5.1, 5.6).

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

use super::INTERNAL;
use crate::error::CommandError;
use crate::hash::Keyed;
use crate::machine::QueryParams;
use crate::output::{OperationId, Outcome};
use crate::roster::{LOCAL, Record};
use crate::service::{Life, Services, Task};
use crate::swim::{Lane, Swim};
use crate::wire::field::{List, Raw, Text};
use crate::wire::serf::{Filter, Query, QueryResponse, SerfType, TagFilter};
use crate::{Instant, Name, Status};

/// What a query is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// An operation of the application's.
    Application(u64),
    /// Whose this node's name is.
    Conflict,
    /// Something with keys, for an operation of the application's (serf.md 8.2).
    Keys(u64),
}

/// What a member must do to be asked no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Insist {
    /// Nothing: it is unknown who has something to say.
    No,
    /// Acknowledge.
    Heard,
    /// Answer, and acknowledge if that was asked for.
    Answered,
}

/// A query that collects.
#[derive(Debug)]
pub(crate) struct Asked {
    ltime: u64,
    id: u32,
    purpose: Purpose,
    began: Instant,
    ends: Instant,
    acks_wanted: bool,
    insist: Insist,
    heard: HashMap<Name, Heard, Keyed>,
    acks: usize,
    responses: usize,
    /// The message as it is sent directly, not to be passed on.
    direct: Bytes,
    /// Between two rounds of asking again.
    pace: Duration,
    rounds: u8,
    /// Where the round at hand has got to.
    cursor: u32,
}

/// What came from a member.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    ack: bool,
    response: bool,
}

impl Asked {
    pub(super) fn hash(&self, hasher: &mut impl Hasher) {
        (self.ltime, self.id, self.purpose, self.ends, self.acks, self.responses).hash(hasher);
        (self.heard.len(), self.rounds, self.cursor).hash(hasher);
    }

    #[cfg(test)]
    pub(super) fn number(&self) -> (u64, u32) {
        (self.ltime, self.id)
    }

    /// How many members have not answered that are there now, also those who came later, or failed meanwhile.
    fn missing(&self, swim: &Swim) -> usize {
        let owes = |record: &Record| match record.says {
            Some(Status::Alive) => record.is_member(),
            Some(Status::Failed) => record.changed >= self.began,
            _ => false,
        };
        let records = (0..swim.roster.slots()).filter_map(|slot| swim.roster.used(slot));
        records.filter(|record| owes(record) && !self.satisfied(&record.name)).count()
    }

    fn satisfied(&self, name: &Name) -> bool {
        let heard = self.heard.get(name).copied().unwrap_or_default();
        match self.insist {
            Insist::No => true,
            Insist::Heard => heard.ack,
            Insist::Answered => heard.response && (heard.ack || !self.acks_wanted),
        }
    }
}

impl Services {
    /// Asks a query of the application's.
    pub(crate) fn ask(
        &mut self,
        swim: &mut Swim,
        name: &[u8],
        payload: &[u8],
        params: &QueryParams,
    ) -> Result<OperationId, CommandError> {
        if self.config.serf_protocol < 4 {
            return Err(CommandError::Unsupported);
        }
        // The ping alone means nothing to the nodes that get it.
        if name.starts_with(INTERNAL) && !(name == b"_serf_ping" && payload.is_empty()) {
            return Err(CommandError::ReservedName);
        }
        // Nobody would tell why nobody answers.
        let patterns = &mut self.queries.patterns;
        if params.tags.iter().any(|(_, expression)| patterns.is_match(expression, &[]).is_none()) {
            return Err(CommandError::Expression);
        }
        let insist = match (params.everybody_answers, params.ack) {
            (true, _) => Insist::Answered,
            (false, true) => Insist::Heard,
            (false, false) => Insist::No,
        };
        let mut key = None;
        self.issue(swim, name, payload, params, insist, |swim| {
            let operation = swim.begin_query()?;
            key = Some(operation);
            Ok(Purpose::Application(operation))
        })?;
        key.map(OperationId).ok_or(CommandError::TooManyOperations)
    }

    /// Asks a query: everything is checked before `begin` is called, and nothing fails after it.
    pub(in crate::service) fn issue(
        &mut self,
        swim: &mut Swim,
        name: &[u8],
        payload: &[u8],
        params: &QueryParams,
        insist: Insist,
        begin: impl FnOnce(&mut Swim) -> Result<Purpose, CommandError>,
    ) -> Result<u32, CommandError> {
        if self.life != Life::Alive {
            return Err(CommandError::Left);
        }
        let usual = self.default_timeout(swim);
        let timeout = params.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(usual);
        let blobs = filters(params);
        let raw: Vec<Raw<'_>> = blobs.iter().map(|blob| Raw::from(blob.as_slice())).collect();
        let record = swim.roster.get(LOCAL);
        let (own, addr, port) = (record.name.clone(), record.addr, record.port);
        let mut query = Query {
            ltime: self.query_clock.time(),
            id: swim.rng.next_u32() >> 1,
            addr: addr.as_bytes().into(),
            port,
            source_node: own.as_bytes().into(),
            filters: if raw.is_empty() { List::Nil } else { List::Lent(&raw) },
            flags: if params.ack { Query::ACK } else { 0 },
            relay_factor: params.relay_factor,
            timeout: i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX),
            name: name.into(),
            payload: payload.into(),
        };
        let len = 1 + query.encoded_len();
        // Beyond a datagram gossip would carry it nowhere, whatever the limit says (serf.md 3.11).
        let (max, limit) = swim.broadcast_limit(self.config.query_size_limit, "query_size_limit");
        if len > max {
            return Err(CommandError::TooBig { len, max, limit });
        }
        let purpose = begin(swim)?;
        // Taken, not only read: two queries asked at once must not share a time (Q20).
        query.ltime = self.query_clock.take();
        let message = encode(&query);
        query.flags |= Query::NO_BROADCAST;
        let direct = encode(&query);
        query.flags &= !Query::NO_BROADCAST;
        let serial = self.queries.serial;
        self.queries.serial = serial.wrapping_add(1);
        // Who has not answered when gossip had time to get everywhere is asked again.
        let pace = timeout.min(usual) / PACES;
        let asked = Asked {
            ltime: query.ltime,
            id: query.id,
            purpose,
            began: swim.now,
            ends: swim.now + timeout,
            acks_wanted: params.ack,
            insist,
            heard: HashMap::with_hasher(self.queries.keyed),
            acks: 0,
            responses: 0,
            direct: direct.into(),
            pace,
            rounds: 0,
            cursor: 0,
        };
        self.queries.asked.insert(serial, asked);
        let first = if insist == Insist::No { timeout } else { pace * FIRST_PACES };
        swim.arm_service(swim.now + first, Task::Asked(serial).pack());
        self.query(swim, None, &query);
        swim.broadcast(Lane::Query, &[&message], None);
        Ok(serial)
    }

    /// How long it takes gossip to get round, and answers to come back (serf.md 5.1).
    pub(crate) fn default_timeout(&self, swim: &Swim) -> Duration {
        let interval = swim.config.gossip_interval;
        let interval = if interval.is_zero() { Duration::from_millis(200) } else { interval };
        interval * self.config.query_timeout_mult.saturating_mul(swim.query_scale())
    }

    /// Takes an acknowledgement or an answer (serf.md 5.6).
    pub(super) fn collect(&mut self, swim: &mut Swim, response: &QueryResponse<'_>) {
        let running = self.queries.asked.iter_mut();
        let Some((&serial, asked)) = running.into_iter().find(|(_, asked)| {
            (asked.ltime, asked.id) == (response.ltime, response.id) && swim.now <= asked.ends
        }) else {
            swim.stats.query_answers_late += 1;
            return;
        };
        // Nobody vouches for the name: one that no member has would count at will (Q5).
        let member = swim.roster.find(&response.from).filter(|&slot| swim.roster.get(slot).says.is_some());
        let ack = response.flags & QueryResponse::ACK != 0;
        let (Some(slot), false) = (member, ack && !asked.acks_wanted) else {
            swim.stats.query_answers_refused += 1;
            return;
        };
        if asked.heard.len() >= swim.config.max_members
            && !asked.heard.contains_key(&swim.roster.get(slot).name)
        {
            swim.stats.query_answers_refused += 1;
            return;
        }
        let heard = asked.heard.entry(swim.roster.get(slot).name.clone()).or_default();
        if ack {
            if core::mem::replace(&mut heard.ack, true) {
                swim.stats.query_duplicate_acks += 1;
                return;
            }
            swim.stats.query_acks += 1;
            asked.acks += 1;
            if let Purpose::Application(key) = asked.purpose {
                swim.emit_query_ack(OperationId(key), &response.from);
            }
            return;
        }
        if core::mem::replace(&mut heard.response, true) {
            swim.stats.query_duplicate_responses += 1;
            return;
        }
        swim.stats.query_responses += 1;
        asked.responses += 1;
        self.answer_came(swim, serial, slot, &response.payload);
    }

    fn answer_came(&mut self, swim: &mut Swim, serial: u32, from: u32, payload: &[u8]) {
        let Some(asked) = self.queries.asked.get(&serial) else { return };
        match asked.purpose {
            Purpose::Application(key) => {
                let name = swim.roster.get(from).name.clone();
                swim.emit_query_response(OperationId(key), name.as_bytes(), payload);
            }
            Purpose::Conflict => self.vote(swim, from, payload),
            Purpose::Keys(key) => {
                let enough = self.key_answer(swim, key, from, payload);
                let all = |asked: &Asked| asked.missing(swim) == 0;
                if enough && self.queries.asked.get(&serial).is_some_and(all) {
                    self.queries.asked.remove(&serial);
                    self.keys_answered(swim, key, 0);
                }
            }
        }
    }

    /// A query's time: for its end, or for another round.
    pub(in crate::service) fn asked_due(&mut self, swim: &mut Swim, serial: u32) {
        let Some(asked) = self.queries.asked.get(&serial) else { return };
        if swim.now < asked.ends {
            return self.ask_again(swim, serial);
        }
        let Some(asked) = self.queries.asked.remove(&serial) else { return };
        match asked.purpose {
            Purpose::Application(key) => {
                swim.complete(key, Outcome::Query { acks: asked.acks, responses: asked.responses });
            }
            Purpose::Conflict => self.conflict_resolved(swim),
            Purpose::Keys(key) => {
                let missing = asked.missing(swim);
                self.keys_answered(swim, key, missing);
            }
        }
    }

    /// Sends the query itself to members it seems to have missed (Q6), some at a time. Upstream takes one that it has
    /// seen for a duplicate; our own nodes then repeat their answer.
    fn ask_again(&mut self, swim: &mut Swim, serial: u32) {
        let Some(mut asked) = self.queries.asked.remove(&serial) else { return };
        let direct = asked.direct.clone();
        let query = Query::decode(&direct[1..]).map(|(query, _)| query).unwrap_or_default();
        let mut sends = SENDS_AT_ONCE;
        let end = asked.cursor.saturating_add(SLOTS_AT_ONCE).min(swim.roster.slots());
        while asked.cursor < end && sends > 0 {
            let slot = asked.cursor;
            asked.cursor += 1;
            let missed = swim.roster.used(slot).is_some_and(|record| {
                record.says == Some(Status::Alive) && record.is_member() && !asked.satisfied(&record.name)
            });
            if slot != LOCAL && missed && self.passes_filters(swim, slot, &query.filters, false) {
                sends -= 1;
                let sent = swim.send_direct(swim.roster.get(slot).socket(), asked.direct.clone());
                swim.stats.queries_resent += u64::from(sent);
            }
        }
        let next = if asked.cursor < swim.roster.slots() {
            SLICE
        } else {
            asked.cursor = 0;
            asked.rounds = asked.rounds.saturating_add(1);
            // Who comes late, or back, hears of it as well, at a pace that costs little.
            if asked.rounds < ROUNDS { asked.pace } else { asked.pace * PACES }
        };
        let at = (swim.now + next).min(asked.ends);
        swim.arm_service(at, Task::Asked(serial).pack());
        self.queries.asked.insert(serial, asked);
    }
}

fn encode(query: &Query<'_>) -> Vec<u8> {
    let mut message = Vec::with_capacity(1 + query.encoded_len());
    message.push(SerfType::Query.byte());
    // Writing to a vector cannot run out of room.
    let _ = query.encode(&mut message);
    message
}

/// The filters as they travel: names first, then a filter for each tag.
pub(super) fn filters(params: &QueryParams) -> Vec<Vec<u8>> {
    let names: Vec<Text<'_>> = params.nodes.iter().map(|name| Cow::Borrowed(name.as_bytes())).collect();
    let nodes = (!names.is_empty()).then(|| Filter::Nodes(List::Lent(&names)));
    let tags = params
        .tags
        .iter()
        .map(|(tag, expr)| Filter::Tag(TagFilter { tag: Cow::Borrowed(tag), expr: Cow::Borrowed(expr) }));
    nodes
        .into_iter()
        .chain(tags)
        .map(|filter| {
            let mut blob = Vec::new();
            let _ = filter.encode(&mut blob);
            blob
        })
        .collect()
}

/// A query's time, at most what is usual, has so many paces; asking again begins after a third and goes on at each. With
/// every fifth datagram lost, one member in ten thousand is missed.
const PACES: u32 = 12;
const FIRST_PACES: u32 = 4;
const ROUNDS: u8 = 8;
/// Of one query, at once: members looked at, and members asked again; then others have their turn.
const SLOTS_AT_ONCE: u32 = 256;
const SENDS_AT_ONCE: usize = 32;
const SLICE: Duration = Duration::from_millis(10);

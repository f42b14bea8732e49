//! Answering: the acknowledgement, and one answer before the deadline (serf.md 5.2, 5.4).

use core::net::SocketAddr;

use bytes::Bytes;

use super::deadline;
use crate::error::{CommandError, ONE_DATAGRAM};
use crate::output::{RequestId, Source};
use crate::roster::{LOCAL, WireAddr};
use crate::service::Services;
use crate::swim::Swim;
use crate::wire::field::Raw;
use crate::wire::serf::{Query, QueryResponse, SerfType};
use crate::{Instant, Name};
use alloc::vec::Vec;

/// A query that may be answered.
#[derive(Debug)]
pub(crate) struct Open {
    request: u64,
    ltime: u64,
    id: u32,
    /// Where the asker is; `None` while nobody known is there.
    to: Option<SocketAddr>,
    claimed: Option<SocketAddr>,
    /// Bytes that it may be told while it is no member.
    room: usize,
    asker: Name,
    relay_factor: u8,
    ack: bool,
    deadline: Instant,
    /// Kept until the deadline, in case it gets lost.
    answer: Option<Bytes>,
    /// How often it was repeated.
    repeats: u8,
}

impl Services {
    /// Remembers a query that came through, so that it can be answered. The oldest gives way: it had the most time.
    pub(super) fn open(&mut self, swim: &mut Swim, source: Option<Source>, query: &Query<'_>) -> RequestId {
        if self.queries.open.len() >= self.config.max_open_queries {
            let now = swim.now;
            self.queries.open.retain(|open| now <= open.deadline);
        }
        if self.queries.open.len() >= self.config.max_open_queries {
            self.queries.open.pop_front();
            swim.stats.queries_evicted += 1;
        }
        let to = Self::return_address(swim, source, query);
        let request = self.queries.requests;
        self.queries.requests += 1;
        self.queries.open.push_back(Open {
            request,
            ltime: query.ltime,
            id: query.id,
            to,
            claimed: WireAddr::new(&query.addr).map(|addr| addr.socket(query.port)),
            room: swim.stranger_room(),
            asker: Name::new(&*query.source_node),
            relay_factor: query.relay_factor,
            ack: query.flags & Query::ACK != 0,
            deadline: deadline(swim.now, query.timeout),
            answer: None,
            repeats: 0,
        });
        RequestId(request)
    }

    /// Forgets queries whose time is up.
    pub(in crate::service) fn purge_queries(&mut self, now: Instant) {
        self.queries.open.retain(|open| now <= open.deadline);
    }

    pub(super) fn deadline_of(&self, id: RequestId) -> Instant {
        self.find_open(id).map_or(Instant::ORIGIN, |index| self.queries.open[index].deadline)
    }

    /// Whether answers go to somebody who is no member.
    pub(super) fn is_asked_by_stranger(&self, swim: &Swim, id: RequestId) -> bool {
        let to = self.find_open(id).and_then(|index| self.queries.open[index].to);
        to.is_some_and(|to| swim.roster.at(to).is_none())
    }

    fn find_open(&self, id: RequestId) -> Option<usize> {
        self.queries.open.binary_search_by_key(&id.0, |open| open.request).ok()
    }

    /// Says that a query arrived.
    pub(super) fn acknowledge(&mut self, swim: &mut Swim, id: RequestId) {
        let Some(index) = self.find_open(id) else { return };
        let message = self.response(swim, index, QueryResponse::ACK, Raw::NIL);
        if message.len() > self.config.query_response_size_limit
            || self.deliver(swim, index, &message).is_err()
        {
            swim.stats.query_answers_unsent += 1;
        }
    }

    /// Answers a query, once (serf.md 5.4).
    pub(crate) fn respond(
        &mut self,
        swim: &mut Swim,
        id: RequestId,
        payload: &[u8],
    ) -> Result<(), CommandError> {
        let index = self.find_open(id).ok_or(CommandError::UnknownRequest)?;
        let message = self.response(swim, index, 0, payload.into());
        let max = self.config.query_response_size_limit;
        if message.len() > max {
            return Err(CommandError::TooBig { len: message.len(), max, limit: "query_response_size_limit" });
        }
        let open = &self.queries.open[index];
        if open.answer.is_some() {
            return Err(CommandError::AlreadyAnswered);
        }
        if swim.now > open.deadline {
            return Err(CommandError::PastDeadline);
        }
        match self.deliver(swim, index, &message) {
            Ok(()) => {}
            // Whoever asked may ask again, and be there then.
            Err(CommandError::UnknownMember) => swim.stats.query_answers_unsent += 1,
            Err(error) => return Err(error),
        }
        // An answer to this node may end an operation and have the next one asked, which moves the queries.
        if let Some(index) = self.find_open(id) {
            self.queries.open[index].answer = Some(message);
        }
        Ok(())
    }

    /// Says again what was said of a query that its asker sends once more, directly (Q6): it may have missed it.
    pub(super) fn repeat_answer(&mut self, swim: &mut Swim, source: Option<Source>, query: &Query<'_>) {
        if query.flags & Query::NO_BROADCAST == 0 {
            return;
        }
        let mut open = self.queries.open.iter();
        let Some(index) = open.position(|open| (open.ltime, open.id) == (query.ltime, query.id)) else {
            return;
        };
        let to = Self::return_address(swim, source, query);
        let open = &mut self.queries.open[index];
        if open.repeats >= MAX_REPEATS || swim.now > open.deadline {
            return;
        }
        open.repeats += 1;
        open.room = swim.stranger_room();
        open.to = open.to.or(to);
        let (id, answer) = (RequestId(open.request), open.answer.clone());
        if open.ack {
            self.acknowledge(swim, id);
        }
        if let Some((answer, index)) = answer.zip(self.find_open(id))
            && self.deliver(swim, index, &answer).is_err()
        {
            swim.stats.query_answers_unsent += 1;
        }
    }

    fn response(&self, swim: &Swim, index: usize, flags: u32, payload: Raw<'_>) -> Bytes {
        let open = &self.queries.open[index];
        let from = swim.config.name.as_bytes().into();
        let response = QueryResponse { ltime: open.ltime, id: open.id, from, flags, payload };
        let mut message = Vec::with_capacity(1 + response.encoded_len());
        message.push(SerfType::QueryResponse.byte());
        // Writing to a vector cannot run out of room.
        let _ = response.encode(&mut message);
        message.into()
    }

    /// Brings a response to who asked, straight and by relays.
    fn deliver(&mut self, swim: &mut Swim, index: usize, message: &Bytes) -> Result<(), CommandError> {
        let open = &mut self.queries.open[index];
        // Who asked may have become known meanwhile.
        open.to = open.to.or_else(|| open.claimed.filter(|&addr| swim.roster.at(addr).is_some()));
        let to = open.to.ok_or(CommandError::UnknownMember)?;
        if to == swim.roster.get(LOCAL).socket() {
            self.response_came(swim, &message[1..]);
            return Ok(());
        }
        let max = swim.max_message(to);
        if message.len() > max {
            return Err(CommandError::TooBig { len: message.len(), max, limit: ONE_DATAGRAM });
        }
        if swim.roster.at(to).is_none() {
            open.room = open.room.checked_sub(1 + message.len()).ok_or(CommandError::UnknownMember)?;
        }
        // Serf's nodes would bring it to anybody.
        let factor = if swim.roster.at(to).is_some() { open.relay_factor } else { 0 };
        let asker = open.asker.clone();
        let relayed = self.relay_of(swim, factor, to, &asker, message);
        if !swim.send_direct(to, message.clone()) {
            return Err(CommandError::Congested);
        }
        if let Some(relayed) = relayed {
            self.relay_by(swim, factor, to, &relayed);
        }
        Ok(())
    }

    /// A response that came in, or that this node gives itself.
    pub(in crate::service) fn response_came(&mut self, swim: &mut Swim, body: &[u8]) {
        match QueryResponse::decode(body) {
            Ok((response, _)) => self.collect(swim, &response),
            Err(_) => swim.stats.dropped_decode += 1,
        }
    }
}

/// How often one asker is told the same again: each time costs more than asking.
const MAX_REPEATS: u8 = 8;

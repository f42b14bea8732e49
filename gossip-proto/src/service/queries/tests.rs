use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::conflict::serf_status;
use super::*;
use crate::Status;
use crate::error::CommandError;
use crate::machine::QueryParams;
use crate::output::{Completion, Event, Outcome, RequestId};
use crate::roster::WireAddr;
use crate::service::tests::Bed;
use crate::swim::Upper;
use crate::wire::field::List;
use crate::wire::message::MessageType;
use crate::wire::packet::{Scratch, UnpackLimits, unpack};
use crate::wire::serf::{
    ConflictResponse, Filter, Member, QueryResponse, Relay, RelayHeader, SerfType, UdpAddr,
};

const OWN: &str = "10.0.0.1:7946";

/// Where [`Bed::alive`] puts a member of that name.
fn addr(name: &str) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, name.len() as u8 + 10], 7946))
}

fn params() -> QueryParams {
    QueryParams::default()
}

impl Bed {
    /// What the node wants to say now that Serf nodes would look at: to whom, and the message.
    pub(in crate::service) fn sent(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let (mut sent, mut buf) = (Vec::new(), [0; 1400]);
        while let Some(transmit) = self.swim.poll_transmit(&self.services, &mut buf) {
            let body = self.swim.open(&mut buf[..transmit.len]).unwrap();
            unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
                if message.first() == Some(&MessageType::User.byte()) {
                    sent.push((transmit.to, message[1..].to_vec()));
                }
            });
        }
        sent
    }

    /// The responses among them.
    fn responses(&mut self) -> Vec<(SocketAddr, u32, String)> {
        let mut responses = Vec::new();
        for (to, message) in self.sent() {
            if message.first() == Some(&SerfType::QueryResponse.byte()) {
                let response = QueryResponse::decode(&message[1..]).unwrap().0;
                assert_eq!(*response.from, *b"self");
                responses.push((to, response.flags, String::from_utf8_lossy(&response.payload).into_owned()));
            }
        }
        responses
    }

    fn hear(&mut self, from: SocketAddr, message: &[u8]) {
        let datagram = [&[MessageType::User.byte()], message].concat();
        self.swim.opened(&mut self.services, Source::unauthenticated(from), &datagram);
    }

    fn answer(&mut self, query: &Query<'_>, from: &str, ack: bool, payload: &str) {
        let response = QueryResponse {
            ltime: query.ltime,
            id: query.id,
            from: from.as_bytes().into(),
            flags: u32::from(ack),
            payload: payload.as_bytes().into(),
        };
        let mut message = Vec::from([SerfType::QueryResponse.byte()]);
        response.encode(&mut message).unwrap();
        self.hear(addr(from), &message);
    }

    fn news(&mut self) -> Vec<String> {
        let mut news = Vec::new();
        while let Some(event) = self.swim.events.poll(&mut self.swim.buffers) {
            let text = String::from_utf8_lossy;
            match event {
                Event::Query { name, payload, from, .. } => {
                    news.push(alloc::format!("query {} {} from {}", text(name), text(payload), text(from)));
                }
                Event::QueryAck { from, .. } => news.push(alloc::format!("ack {}", text(from))),
                Event::QueryResponse { from, payload, .. } => {
                    news.push(alloc::format!("answer {} {}", text(from), text(payload)));
                }
                _ => {}
            }
        }
        news
    }

    fn respond(&mut self, id: RequestId, payload: &[u8]) -> Result<(), CommandError> {
        self.services.respond(&mut self.swim, id, payload)
    }

    fn request(&self) -> RequestId {
        RequestId(self.services.queries.requests - 1)
    }

    /// The last query that this node asked, as it asked it.
    fn asked(&self) -> Query<'static> {
        let (ltime, id) = self.services.queries.asked.values().last().unwrap().number();
        Query { ltime, id, ..Query::default() }
    }

    fn outcome(&mut self) -> Option<Outcome> {
        self.swim.poll_completion().and_then(Completion::ended).map(|(_, outcome)| outcome)
    }
}

fn query(asker: &str, ltime: u64, id: u32) -> Query<'static> {
    let SocketAddr::V4(from) = addr(asker) else { unreachable!() };
    let ip: &'static [u8] = Vec::leak(from.ip().octets().to_vec());
    Query {
        ltime,
        id,
        addr: ip.into(),
        port: from.port(),
        source_node: asker.as_bytes().to_vec().into(),
        timeout: 5_000_000_000,
        name: (&b"load"[..]).into(),
        payload: (&b"now"[..]).into(),
        ..Query::default()
    }
}

fn message(query: &Query<'_>) -> Vec<u8> {
    let mut message = Vec::from([SerfType::Query.byte()]);
    query.encode(&mut message).unwrap();
    message
}

#[test]
fn queries_are_passed_on_once_and_only_if_harmless() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let asked = query("a", 1, 7);
    assert!(bed.services.query(&mut bed.swim, None, &asked));
    assert!(!bed.services.query(&mut bed.swim, None, &asked));
    let silent = Query { id: 8, flags: Query::NO_BROADCAST, ..asked.clone() };
    assert!(!bed.services.query(&mut bed.swim, None, &silent));
    // Each of these has effects on upstream nodes that a message should not have (Q1, Q2).
    let filters = [Default::default()];
    let crash = Query { id: 9, filters: List::Lent(&filters), ..asked.clone() };
    assert!(!bed.services.query(&mut bed.swim, None, &crash));
    assert_eq!((bed.swim.stats.queries_malformed, bed.swim.stats.queries), (1, 2));
    let empty =
        Query { id: 10, name: (&b"_serf_use-key"[..]).into(), payload: Default::default(), ..asked.clone() };
    assert!(!bed.services.query(&mut bed.swim, None, &empty));
    assert_eq!(bed.responses().len(), 1, "it is answered all the same");
    // Who is not meant passes it on all the same.
    let names = [(&b"a"[..]).into()];
    let mut blob = Vec::new();
    Filter::Nodes(List::Lent(&names)).encode(&mut blob).unwrap();
    let filters = [blob.as_slice().into()];
    bed.news();
    let other = Query { id: 11, flags: Query::ACK, filters: List::Lent(&filters), ..asked };
    assert!(bed.services.query(&mut bed.swim, None, &other));
    assert_eq!((bed.news().len(), bed.responses().len()), (0, 0));
    // Not what would crash those who are meant.
    let aimed = Query { id: 12, filters: List::Lent(&filters), ..empty };
    assert!(!bed.services.query(&mut bed.swim, None, &aimed));
}

// upstream: TestSerf_query_oldMessage
// upstream: TestSerf_query_sameClock
#[test]
fn old_queries_are_dropped_and_numbers_tell_those_of_a_time_apart() {
    let mut bed = Bed::new();
    bed.services.query_clock.witness(1024);
    assert!(!bed.services.query(&mut bed.swim, None, &query("a", 1, 1)));
    assert_eq!(bed.swim.stats.queries_old, 1);
    // 512 slots: with the clock at 1025, 513 is the oldest that counts.
    assert!(!bed.services.query(&mut bed.swim, None, &query("a", 512, 1)));
    assert!(bed.services.query(&mut bed.swim, None, &query("a", 513, 1)));
    for id in 1..4 {
        assert!(bed.services.query(&mut bed.swim, None, &query("a", 1024, id)));
        assert!(!bed.services.query(&mut bed.swim, None, &query("a", 1024, id)));
    }
    assert_eq!(bed.swim.stats.queries_duplicate, 3);
    // A slot does not grow without end (Q7).
    for id in 4..100 {
        bed.services.query(&mut bed.swim, None, &query("a", 1024, id));
    }
    assert_eq!(bed.swim.stats.queries_refused, 99 - 64);
}

// upstream: TestDefaultQuery
#[test]
fn the_default_timeout_grows_with_the_cluster() {
    let mut bed = Bed::new();
    assert_eq!(bed.services.default_timeout(&bed.swim), Duration::from_millis(200 * 16));
    for i in 0..9 {
        bed.alive(&"x".repeat(i + 1), 1);
    }
    assert_eq!(bed.swim.roster.num_members(), 10);
    assert_eq!(bed.services.default_timeout(&bed.swim), Duration::from_millis(2 * 200 * 16));
    assert_eq!(
        (params().nodes.len(), params().tags.len(), params().ack, params().timeout),
        (0, 0, false, None)
    );
}

// upstream: TestQueryParams_EncodeFilters
#[test]
fn filters_travel_names_first() {
    let mut params = params();
    params.nodes(Vec::from(["foo".into(), "bar".into()]));
    params.tags(Vec::from([("role".into(), "^web".into()), ("datacenter".into(), "aws$".into())]));
    let filters = asking::filters(&params);
    let kinds: Vec<u8> = filters.iter().map(|filter| filter[0]).collect();
    assert_eq!(kinds, [0, 1, 1]);
    assert_eq!(filters[0], b"\x00\x92\xa3foo\xa3bar");
    assert_eq!(filters[1], b"\x01\x82\xa4Expr\xa4^web\xa3Tag\xa4role");
}

// upstream: TestSerf_Query
#[test]
fn a_query_collects_acknowledgements_and_answers() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.alive("bb", 1);
    let operation = bed.services.ask(&mut bed.swim, b"load", b"now", params().ack(true)).unwrap();
    // The asker is asked as well.
    assert_eq!(bed.news(), ["ack self", "query load now from self"]);
    bed.respond(bed.request(), b"low").unwrap();
    let asked = bed.asked();
    bed.answer(&asked, "a", true, "");
    bed.answer(&asked, "a", false, "high");
    bed.answer(&asked, "bb", true, "");
    assert_eq!(bed.news(), ["answer self low", "ack a", "answer a high", "ack bb"]);
    bed.run(Duration::from_millis(3199));
    assert_eq!(bed.outcome(), None);
    bed.run(Duration::from_millis(1));
    let ended = bed.swim.poll_completion().and_then(Completion::ended);
    assert_eq!(ended, Some((operation, Outcome::Query { acks: 3, responses: 2 })));
    bed.answer(&asked, "bb", false, "late");
    assert_eq!((bed.news().len(), bed.swim.stats.query_answers_late), (0, 1));
}

// upstream: TestSerf_Query_Deduplicate
#[test]
fn each_member_counts_once_and_nobody_else() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.services.ask(&mut bed.swim, b"load", b"", params().ack(true)).unwrap();
    let asked = bed.asked();
    bed.news();
    for _ in 0..2 {
        bed.answer(&asked, "a", false, "1");
        bed.answer(&asked, "a", true, "");
    }
    assert_eq!(bed.news(), ["answer a 1", "ack a"]);
    assert_eq!((bed.swim.stats.query_duplicate_acks, bed.swim.stats.query_duplicate_responses), (1, 1));
    bed.answer(&asked, "nobody", false, "1");
    bed.answer(&Query { id: asked.id ^ 1, ..asked.clone() }, "a", false, "1");
    bed.answer(&Query { ltime: asked.ltime + 1, ..asked }, "a", false, "1");
    assert_eq!(bed.news().len(), 0);
    assert_eq!((bed.swim.stats.query_answers_refused, bed.swim.stats.query_answers_late), (1, 2));
    // Acknowledgements that nobody asked for do not count either.
    bed.services.ask(&mut bed.swim, b"load", b"", &params()).unwrap();
    let asked = bed.asked();
    bed.answer(&asked, "a", true, "");
    assert_eq!(bed.swim.stats.query_answers_refused, 2);
}

// upstream: TestSerf_Query_sizeLimit
// upstream: TestSerf_Query_sizeLimitIncreased
#[test]
fn a_query_that_is_too_large_is_refused() {
    let params = params().timeout(Some(Duration::from_millis(80))).clone();
    let ask = |bed: &mut Bed, len| bed.services.ask(&mut bed.swim, b"q", &alloc::vec![0; len], &params);
    let mut bed = Bed::new();
    assert!(matches!(
        ask(&mut bed, 1025),
        Err(CommandError::TooBig { max: 1024, limit: "query_size_limit", .. })
    ));
    assert_eq!((bed.services.query_clock.time(), bed.services.queries.asked.len()), (1, 0));
    // serf.md 3.11: 912 with a node name of five bytes, and a timeout that takes five; our name has four.
    assert!(matches!(ask(&mut bed, 914), Err(CommandError::TooBig { len: 1025, .. })));
    assert!(ask(&mut bed, 913).is_ok());
    let mut config = ServiceConfig::default();
    config.query_size_limit(9000);
    let mut bed = Bed::with(config);
    assert!(ask(&mut bed, 1100).is_ok());
    // No limit makes a datagram larger.
    assert!(
        matches!(ask(&mut bed, 1390), Err(CommandError::TooBig { max, limit: "one datagram", .. }) if max < 1400)
    );
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let mut bed = Bed::new();
    let ask = |bed: &mut Bed, name: &str, payload: &str, params: &QueryParams| {
        bed.services.ask(&mut bed.swim, name.as_bytes(), payload.as_bytes(), params).map(drop)
    };
    assert_eq!(ask(&mut bed, "_serf_conflict", "self", &params()), Err(CommandError::ReservedName));
    assert_eq!(ask(&mut bed, "_serf_ping", "x", &params()), Err(CommandError::ReservedName));
    assert_eq!(ask(&mut bed, "_serf_ping", "", &params()), Ok(()));
    let tags = params().tags(Vec::from([("role".into(), "(".into())])).clone();
    assert_eq!(ask(&mut bed, "load", "", &tags), Err(CommandError::Expression));
    let mut config = ServiceConfig::default();
    config.serf_protocol(3);
    assert_eq!(ask(&mut Bed::with(config), "load", "", &params()), Err(CommandError::Unsupported));
    bed.services.leave(&mut bed.swim).unwrap();
    assert_eq!(ask(&mut bed, "load", "", &params()), Err(CommandError::Left));
}

#[test]
fn queries_asked_at_once_have_times_of_their_own() {
    let mut bed = Bed::new();
    bed.services.ask(&mut bed.swim, b"one", b"", &params()).unwrap();
    let one = bed.asked();
    bed.services.ask(&mut bed.swim, b"two", b"", &params()).unwrap();
    assert_eq!((one.ltime, bed.asked().ltime, bed.services.query_clock.time()), (1, 2, 3));
}

#[test]
fn a_query_is_acknowledged_at_once_and_answered_once() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let asked = Query { flags: Query::ACK, ..query("a", 5, 7) };
    bed.hear(addr("bb"), &message(&asked));
    assert_eq!(bed.responses(), [(addr("a"), 1, String::new())]);
    let id = bed.request();
    bed.hear(addr("a"), &message(&Query { id: 8, source_node: Default::default(), ..asked }));
    assert_eq!(bed.news(), ["query load now from a"; 2], "old nodes do not say who they are");
    bed.responses();
    let respond = |bed: &mut Bed, payload: &[u8]| bed.respond(id, payload);
    assert!(matches!(respond(&mut bed, &[0; 1024]), Err(CommandError::TooBig { max: 1024, .. })));
    assert_eq!(respond(&mut bed, b"low"), Ok(()));
    assert_eq!(respond(&mut bed, b"high"), Err(CommandError::AlreadyAnswered));
    assert_eq!(bed.responses(), [(addr("a"), 0, "low".into())]);
    assert_eq!(bed.respond(RequestId(id.0 + 2), b""), Err(CommandError::UnknownRequest));
    bed.hear(addr("a"), &message(&query("a", 6, 7)));
    let id = bed.request();
    bed.swim.advance(bed.swim.now + Duration::from_nanos(5_000_000_001));
    assert_eq!(bed.respond(id, b"late"), Err(CommandError::PastDeadline));
    bed.run(Duration::from_secs(20));
    assert_eq!(bed.respond(id, b"late"), Err(CommandError::UnknownRequest));
    assert_eq!(bed.services.queries.open.len(), 0);
}

#[test]
fn answers_go_to_members_or_to_where_the_query_came_from() {
    let mut bed = Bed::new();
    let asked = |id| message(&Query { flags: Query::ACK, ..query("a", 5, id) });
    // Through somebody else, of somebody unknown: it would be aimed at whom the sender chooses.
    bed.hear(addr("bb"), &asked(1));
    assert_eq!((bed.responses().len(), bed.swim.stats.query_answers_unsent), (0, 1));
    assert_eq!(bed.respond(bed.request(), b"x"), Ok(()));
    assert_eq!((bed.responses().len(), bed.swim.stats.query_answers_unsent), (0, 2));
    // But it is kept: the asker may send the query itself.
    bed.hear(addr("a"), &message(&Query { flags: Query::ACK | Query::NO_BROADCAST, ..query("a", 5, 1) }));
    assert_eq!(bed.responses(), [(addr("a"), 1, String::new()), (addr("a"), 0, "x".into())]);
    bed.hear(addr("a"), &asked(2));
    assert_eq!(bed.responses(), [(addr("a"), 1, String::new())]);
    bed.alive("bb", 1);
    bed.hear(addr("a"), &message(&Query { flags: Query::ACK, relay_factor: 1, ..query("a", 5, 4) }));
    assert_eq!(bed.sent().len(), 1, "no relays, which Serf's nodes would bring to anybody");
    // Once a datagram, however many queries are in it.
    bed.services.message(&mut bed.swim, Source::unauthenticated(addr("a")), false, &asked(3));
    assert_eq!((bed.responses().len(), bed.swim.stats.query_answers_unsent), (0, 3));
    // It may become known before the application has made up its mind.
    bed.alive("a", 1);
    bed.respond(bed.request(), b"x").unwrap();
    assert_eq!(bed.responses(), [(addr("a"), 0, "x".into())]);
}

#[test]
fn whoever_missed_a_query_is_asked_again_directly() {
    let mut bed = Bed::new();
    for name in ["a", "bb", "ccc", "dddd"] {
        bed.alive(name, 1);
    }
    bed.dead("dddd", 1, "x");
    let params = params().ack(true).nodes(["a", "bb", "dddd", "self"].map(Name::from).into()).clone();
    bed.services.ask(&mut bed.swim, b"load", b"", &params).unwrap();
    let asked = bed.asked();
    bed.answer(&asked, "bb", true, "");
    bed.sent();
    // Gossip comes first; after a third of the time the rest are asked, and not to pass it on.
    let mut rounds = 0;
    for _ in 0..32 {
        let next = bed.swim.now + Duration::from_millis(100);
        while bed.swim.poll_timeout().is_some_and(|at| at <= next) {
            let at = bed.swim.poll_timeout().unwrap();
            bed.swim.timeout(&mut bed.services, at);
            for (to, message) in bed.sent() {
                let Some((4, body)) = message.split_first() else { continue };
                let query = Query::decode(body).unwrap().0;
                if query.flags & Query::NO_BROADCAST != 0 {
                    assert_eq!((to, query.id, query.flags), (addr("a"), asked.id, 3));
                    assert!(bed.swim.now.as_nanos() >= 1_066_666_664);
                    rounds += 1;
                }
            }
        }
        bed.swim.advance(next);
        if rounds == 3 {
            bed.answer(&asked, "a", false, "I am here");
            bed.answer(&asked, "a", true, "");
        }
    }
    assert_eq!((rounds, bed.swim.stats.queries_resent), (3, 3));
    assert_eq!(bed.outcome(), Some(Outcome::Query { acks: 3, responses: 1 }));
}

/// So that a large cluster that has missed a query does not get it in one burst.
#[test]
fn many_who_missed_a_query_are_asked_again_in_turns() {
    let mut bed = Bed::new();
    let names: Vec<String> = (1..=80).map(|len| "n".repeat(len)).collect();
    names.iter().for_each(|name| bed.alive(name, 1));
    bed.services.ask(&mut bed.swim, b"load", b"", params().ack(true)).unwrap();
    let mut bursts = Vec::new();
    while bursts.iter().sum::<u64>() < 80 {
        let at = bed.swim.poll_timeout().expect("it goes on until all are asked");
        let before = bed.swim.stats.queries_resent;
        bed.swim.timeout(&mut bed.services, at);
        bed.sent();
        bursts.extend(Some(bed.swim.stats.queries_resent - before).filter(|&sent| sent > 0));
    }
    assert_eq!(bursts, [32, 32, 16]);
}

/// The limit is part of what fits.
#[test]
fn an_acknowledgement_of_the_largest_size_is_sent() {
    let acknowledged = |limit| {
        let mut bed = Bed::new();
        bed.services.config.query_response_size_limit = limit;
        bed.alive("a", 1);
        bed.hear(addr("a"), &message(&Query { flags: Query::ACK, ..query("a", 5, 7) }));
        let sent = bed.sent().into_iter().find(|(_, message)| message[0] == SerfType::QueryResponse.byte());
        (sent.map(|(_, message)| message.len()), bed.swim.stats.query_answers_unsent)
    };
    let size = acknowledged(1024).0.expect("it fits");
    assert_eq!(acknowledged(size), (Some(size), 0));
    assert_eq!(acknowledged(size - 1), (None, 1));
}

#[test]
fn without_acknowledgements_nobody_is_asked_again() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.services.ask(&mut bed.swim, b"load", b"", &params()).unwrap();
    bed.run(Duration::from_secs(4));
    assert_eq!(bed.swim.stats.queries_resent, 0);
    assert_eq!(bed.outcome(), Some(Outcome::Query { acks: 0, responses: 0 }));
}

#[test]
fn who_asks_again_is_told_again_some_times() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let asked = Query { flags: Query::ACK, ..query("a", 5, 7) };
    bed.hear(addr("a"), &message(&asked));
    bed.respond(bed.request(), b"low").unwrap();
    bed.responses();
    // Gossip brings it several times; that is no question.
    bed.hear(addr("bb"), &message(&asked));
    assert_eq!(bed.responses().len(), 0);
    let again = message(&Query { flags: Query::ACK | Query::NO_BROADCAST, ..asked });
    for _ in 0..20 {
        bed.hear(addr("a"), &again);
    }
    let told = bed.responses();
    assert_eq!(told[..2], [(addr("a"), 1, String::new()), (addr("a"), 0, "low".into())]);
    assert_eq!((told.len(), bed.news().len()), (16, 1));
}

// upstream: TestSerf_Query_Filter
#[test]
fn answers_also_travel_by_relays() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.alive("bb", 1);
    let asked = Query { flags: Query::ACK, relay_factor: 1, ..query("a", 5, 7) };
    bed.hear(addr("a"), &message(&asked));
    let sent = bed.sent();
    assert_eq!((sent[0].0, sent[0].1[0], sent[1].0, sent[1].1[0]), (addr("a"), 5, addr("bb"), 9));
    let relay = Relay::decode(&sent[1].1[1..]).unwrap();
    assert_eq!((&*relay.header.addr.ip, relay.header.addr.port), (&[10, 0, 0, 11][..], 7946));
    assert_eq!((&*relay.header.name, relay.inner), (&b"a"[..], &*sent[0].1));
    // With fewer than factor + 1 members, or a wrapper that is too large, it goes straight only.
    bed.hear(addr("a"), &message(&Query { relay_factor: 3, ..query("a", 6, 7) }));
    bed.respond(bed.request(), b"x").unwrap();
    assert_eq!(bed.sent().len(), 1);
    bed.hear(addr("a"), &message(&Query { relay_factor: 1, ..query("a", 7, 7) }));
    let id = bed.request();
    bed.respond(id, &[0; 970]).unwrap();
    assert_eq!((bed.sent().len(), bed.swim.stats.query_answers_unrelayed), (1, 1));
    bed.hear(addr("a"), &message(&Query { relay_factor: 1, ..query("a", 8, 7) }));
    bed.respond(bed.request(), &[0; 900]).unwrap();
    assert_eq!(bed.sent().len(), 2);
}

#[test]
fn an_asker_gets_a_few_relays_however_many_it_wants() {
    let mut bed = Bed::new();
    (1..=200).for_each(|n| bed.alive(&"x".repeat(n), 1));
    let asked = Query { flags: Query::ACK, relay_factor: 200, ..query("x", 5, 7) };
    bed.hear(addr("x"), &message(&asked));
    assert_eq!(bed.sent().len(), 1 + 8);
    bed.hear(addr("x"), &message(&Query { relay_factor: 201, ltime: 6, ..asked }));
    assert_eq!(bed.sent().len(), 1, "fewer members than that and one");
}

// upstream: Test_kRandomMembers
#[test]
fn relays_are_drawn_from_the_members_that_can() {
    let mut bed = Bed::new();
    let names: Vec<String> = (1..=30).map(|n| "x".repeat(n)).collect();
    for (i, name) in names.iter().enumerate() {
        bed.alive(name, 1);
        match i % 3 {
            1 => bed.dead(name, 1, "somebody"),
            2 => bed.swim.roster.get_mut(bed.swim.roster.find(name.as_bytes()).unwrap()).versions[1] = 4,
            _ => {}
        }
    }
    let mut drawn = Vec::new();
    for _ in 0..3 {
        bed.services.relay_by(&mut bed.swim, 3, addr("x"), &b"\x09relayed"[..].into());
        let to: Vec<SocketAddr> =
            bed.sent().into_iter().filter(|(_, message)| message[0] == 9).map(|(to, _)| to).collect();
        let able: Vec<SocketAddr> = names.iter().step_by(3).skip(1).map(|name| addr(name)).collect();
        assert!(to.len() == 3 && to.iter().all(|to| able.contains(to)), "{to:?}");
        drawn.push(to);
    }
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[0] != drawn[2]);
}

#[test]
fn only_answers_are_relayed_and_only_to_members() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let relay = |bed: &mut Bed, ip: &[u8], port: i64, inner: &[u8]| {
        let header = RelayHeader {
            addr: UdpAddr { ip: ip.into(), port, ..Default::default() },
            name: (&b"a"[..]).into(),
        };
        let mut message = Vec::from([SerfType::Relay.byte()]);
        Relay { header, inner }.encode(&mut message).unwrap();
        bed.hear(addr("bb"), &message);
        bed.sent()
    };
    let answer = [5, 0x80];
    assert_eq!(relay(&mut bed, &[10, 0, 0, 11], 7946, &answer), [(addr("a"), answer.to_vec())]);
    assert_eq!(bed.swim.stats.serf_relayed, 1);
    let mut nested = Vec::from([9]);
    nested.extend_from_slice(&answer);
    let refused: [(&[u8], i64, &[u8]); 8] = [
        (&[10, 0, 0, 99], 7946, &answer),
        (&[10, 0, 0, 11], 7947, &answer),
        (&[10, 0, 0, 11], -1, &answer),
        (&[10, 0, 0, 11], 1 << 40, &answer),
        (&[10, 0, 0], 7946, &answer),
        (&[10, 0, 0, 11], 7946, &[]),
        (&[10, 0, 0, 11], 7946, &nested),
        (&[10, 0, 0, 11], 7946, &[5; 1400]),
    ];
    for (i, (ip, port, inner)) in refused.into_iter().enumerate() {
        assert_eq!(relay(&mut bed, ip, port, inner), [], "{i}");
        assert_eq!(bed.swim.stats.serf_relay_refused, i as u64 + 1);
    }
    // To ourselves: an answer to a query of ours that came by a relay.
    bed.services.ask(&mut bed.swim, b"load", b"", &params()).unwrap();
    let asked = bed.asked();
    bed.news();
    let response =
        QueryResponse { ltime: asked.ltime, id: asked.id, from: (&b"a"[..]).into(), ..Default::default() };
    let mut inner = Vec::from([5]);
    response.encode(&mut inner).unwrap();
    relay(&mut bed, &[10, 0, 0, 1], 7946, &inner);
    assert_eq!(bed.news(), ["answer a "]);
}

#[test]
fn open_queries_are_bounded() {
    let mut config = ServiceConfig::default();
    config.max_open_queries(3);
    let mut bed = Bed::with(config);
    bed.alive("a", 1);
    for id in 0..5 {
        bed.hear(addr("a"), &message(&query("a", 5, id)));
    }
    assert_eq!((bed.services.queries.open.len(), bed.swim.stats.queries_evicted), (3, 2));
    let last = bed.request();
    let respond = |bed: &mut Bed, back| bed.respond(RequestId(last.0 - back), b"");
    assert_eq!(respond(&mut bed, 3), Err(CommandError::UnknownRequest));
    assert_eq!((respond(&mut bed, 2), respond(&mut bed, 0)), (Ok(()), Ok(())));
    // Those whose time is up go first.
    bed.swim.advance(bed.swim.now + Duration::from_secs(6));
    bed.hear(addr("a"), &message(&query("a", 6, 9)));
    assert_eq!((bed.services.queries.open.len(), bed.swim.stats.queries_evicted), (1, 2));
}

// upstream: TestInternalQueryName
// upstream: TestSerfQueries_Passthrough
// upstream: TestSerfQueries_Ping
#[test]
fn internal_queries_are_seen_by_no_application() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let named = |name: &'static [u8], id| {
        message(&Query { name: name.into(), flags: Query::ACK, ..query("a", 5, id) })
    };
    for (id, name) in [&b"_serf_ping"[..], b"_serf_nonsense", b"_serf_"].into_iter().enumerate() {
        bed.hear(addr("a"), &named(name, id as u32));
        assert_eq!(bed.responses(), [(addr("a"), 1, String::new())]);
    }
    assert_eq!((bed.news().len(), bed.swim.stats.queries_internal_unknown), (0, 2));
    bed.hear(addr("a"), &named(b"serf_ping", 9));
    assert_eq!(bed.news(), ["query serf_ping now from a"]);
}

// upstream: TestSerfQueries_Conflict_SameName
#[test]
fn names_are_known_by_address_and_the_own_one_not_at_all() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.alive("bb", 1);
    bed.dead("bb", 1, "x");
    let about = |bed: &mut Bed, name: &'static [u8], id| {
        let asked =
            Query { name: (&b"_serf_conflict"[..]).into(), payload: name.into(), ..query("a", 5, id) };
        bed.hear(addr("a"), &message(&asked));
        bed.sent().into_iter().find(|(_, message)| message[0] == 5).map(|(_, message)| {
            let payload = QueryResponse::decode(&message[1..]).unwrap().0.payload.to_vec();
            assert_eq!(payload[0], 6);
            ConflictResponse::decode(&payload[1..]).unwrap().0.0.map(|member| {
                (String::from_utf8_lossy(&member.name).into_owned(), member.addr.to_vec(), member.status)
            })
        })
    };
    assert_eq!(about(&mut bed, b"self", 1), None);
    assert_eq!(about(&mut bed, b"nobody", 2), Some(None));
    assert_eq!(about(&mut bed, b"a", 3), Some(Some(("a".into(), Vec::from([10, 0, 0, 11]), 1))));
    assert_eq!(about(&mut bed, b"bb", 4), Some(Some(("bb".into(), Vec::from([10, 0, 0, 12]), 4))));
    assert_eq!(bed.news().len(), 0);
    let numbers = [Status::Leaving, Status::Left].map(|status| serf_status(Some(status)));
    assert_eq!((numbers, serf_status(None)), ([2, 3], 0));
}

/// A conflict on our name: who answers what, and what comes of it.
fn vote(votes: &[(&str, Option<&str>)]) -> (Bed, Option<Completion>) {
    let mut bed = Bed::new();
    for name in ["a", "bb", "ccc", "dddd"] {
        bed.alive(name, 1);
    }
    bed.dead("dddd", 1, "x");
    let other: SocketAddr = "10.0.0.99:7946".parse().unwrap();
    bed.services.conflicted(&mut bed.swim, LOCAL, other);
    bed.services.conflicted(&mut bed.swim, LOCAL, other);
    let asked = bed.asked();
    for (from, owner) in votes {
        let member = owner.map(|owner| {
            let owner: SocketAddr = owner.parse().unwrap();
            let addr = WireAddr::from_ip(owner.ip());
            let bytes: &'static [u8] = Vec::leak(addr.as_bytes().to_vec());
            Member { addr: bytes.into(), port: owner.port(), ..Member::default() }
        });
        let mut payload = Vec::from([6]);
        ConflictResponse(member).encode(&mut payload).unwrap();
        let response = QueryResponse {
            ltime: asked.ltime,
            id: asked.id,
            from: from.as_bytes().into(),
            payload: payload.as_slice().into(),
            ..Default::default()
        };
        let mut message = Vec::from([5]);
        response.encode(&mut message).unwrap();
        bed.hear(addr(from), &message);
    }
    bed.run(Duration::from_secs(5));
    let completion = bed.swim.poll_completion();
    (bed, completion)
}

// upstream: TestSerf_NameResolution
#[test]
fn the_majority_decides_whose_a_name_is() {
    const OTHER: &str = "10.0.0.99:7946";
    let lost = |responses, matching| {
        Some(Completion::NameLost { other: OTHER.parse().unwrap(), responses, matching })
    };
    assert_eq!(vote(&[("a", Some(OTHER)), ("bb", Some(OTHER)), ("ccc", Some(OWN))]).1, lost(3, 1));
    assert_eq!(vote(&[("a", Some(OTHER)), ("bb", Some(OWN))]).1, lost(2, 1));
    assert_eq!(vote(&[("a", None)]).1, lost(1, 0));
    assert_eq!(vote(&[("a", Some(OWN)), ("bb", Some(OTHER)), ("ccc", Some(OWN))]).1, None);
    // Nobody goes without a vote (Q17), and the dead, strangers and those who voted before have none (Q5).
    assert_eq!(vote(&[]).1, None);
    let (mut bed, completion) = vote(&[
        ("dddd", Some(OTHER)),
        ("nobody", Some(OTHER)),
        ("self", Some(OTHER)),
        ("a", Some(OWN)),
        ("a", Some(OTHER)),
    ]);
    assert_eq!(completion, None);
    assert_eq!(bed.swim.stats.name_conflicts, 1);
    // Not asked again at once, however often the other shows up.
    let other = OTHER.parse().unwrap();
    bed.services.conflicted(&mut bed.swim, LOCAL, other);
    assert_eq!(bed.services.queries.asked.len(), 0);
    bed.run(Duration::from_secs(30));
    bed.services.conflicted(&mut bed.swim, LOCAL, other);
    assert_eq!((bed.services.queries.asked.len(), bed.swim.stats.name_conflicts), (1, 2));
}

#[test]
fn a_vote_can_be_forgone_and_others_names_are_their_business() {
    let mut config = ServiceConfig::default();
    config.name_conflict_resolution(false);
    let mut bed = Bed::with(config);
    bed.services.conflicted(&mut bed.swim, LOCAL, addr("a"));
    assert_eq!(bed.services.queries.asked.len(), 0);
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let slot = bed.swim.roster.find(b"a").unwrap();
    bed.services.conflicted(&mut bed.swim, slot, addr("bb"));
    assert_eq!(bed.services.queries.asked.len(), 0);
}

#[test]
fn hostile_queries_leave_nothing_but_a_count() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let before = (bed.services.query_clock.time(), bed.services.clock.time());
    // A time at the end of the clock, and one that is merely far ahead (Q3).
    for ltime in [u64::MAX, u64::MAX - 1, 1 << 40] {
        bed.hear(addr("a"), &message(&query("a", ltime, 1)));
    }
    assert_eq!(bed.swim.stats.ltime_refused, 3);
    // Lengths that nothing follows: of the map, a string, the list of filters, one filter.
    let mut cut = message(&query("a", 1, 1));
    cut.truncate(40);
    let lengths: [&[u8]; 5] = [
        &[4, 0xdf, 0xff, 0xff, 0xff, 0xff],
        &[4, 0x81, 0xa4, b'N', b'a', b'm', b'e', 0xdb, 0xff, 0xff, 0xff, 0xff],
        &[4, 0x81, 0xa7, b'F', b'i', b'l', b't', b'e', b'r', b's', 0xdd, 0xff, 0xff, 0xff, 0xff],
        &[4, 0x81, 0xa7, b'F', b'i', b'l', b't', b'e', b'r', b's', 0x91, 0xc6, 0xff, 0xff, 0xff, 0xff],
        &cut,
    ];
    for message in lengths {
        bed.hear(addr("a"), message);
    }
    assert_eq!(bed.swim.stats.dropped_decode, 5);
    // An empty filter, also behind one that does not match.
    for filters in [&[&b""[..]][..], &[b"\x00\x90", b""]] {
        let filters: Vec<_> = filters.iter().map(|blob| crate::wire::field::Raw::from(*blob)).collect();
        bed.hear(addr("a"), &message(&Query { filters: List::Lent(&filters), ..query("a", 1, 1) }));
    }
    assert_eq!(bed.swim.stats.queries_malformed, 2);
    assert_eq!((bed.services.query_clock.time(), bed.services.clock.time()), before);
    assert_eq!((bed.news().len(), bed.responses().len(), bed.services.queries.open.len()), (0, 0, 0));
    // An expression that explodes: counted, for nobody, and cheap.
    let mut blob = Vec::new();
    let expr = b"((a{1,100}){1,100}){1,100}$";
    let filter = crate::wire::serf::TagFilter { tag: (&b"role"[..]).into(), expr: expr[..].into() };
    Filter::Tag(filter).encode(&mut blob).unwrap();
    let filters = [blob.as_slice().into()];
    bed.hear(addr("a"), &message(&Query { filters: List::Lent(&filters), ..query("a", 1, 1) }));
    assert_eq!((bed.swim.stats.query_filters_refused, bed.news().len()), (1, 0));
    // Times that Go would take for negative, or for centuries.
    for (id, timeout) in [(2, -1), (3, i64::MIN), (4, i64::MAX)] {
        bed.hear(addr("a"), &message(&Query { timeout, ..query("a", 1, id) }));
    }
    assert_eq!(bed.news().len(), 3);
    bed.run(Duration::from_secs(60));
    assert_eq!(bed.services.queries.open.len(), 1);
}

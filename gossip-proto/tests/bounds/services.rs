//! What the services remember.

use super::*;
use gossip_proto::wire::field::{List, Raw};
use gossip_proto::wire::message::MessageType;
use gossip_proto::wire::serf::*;
use std::borrow::Cow;

/// A message of Serf's.
fn serf<E: core::fmt::Debug>(kind: SerfType, encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    message(MessageType::User, |bytes| {
        bytes.push(kind.byte());
        encode(bytes)
    })
}

fn event(ltime: u64, name: &[u8], payload: &[u8]) -> Vec<u8> {
    serf(SerfType::UserEvent, |bytes| {
        UserEvent { ltime, name: name.into(), payload: payload.into(), coalesce: false }.encode(bytes)
    })
}

fn query<'a>(ltime: u64, id: u32) -> Query<'a> {
    Query {
        ltime,
        id,
        addr: Raw::from(&[10, 0, 0, 2][..]),
        port: 7946,
        source_node: Cow::Borrowed(b"b"),
        filters: List::Nil,
        flags: Query::ACK,
        relay_factor: 255,
        timeout: 3_600_000_000_000,
        name: Cow::Borrowed(b"what"),
        payload: Raw::NIL,
    }
}

fn asks(query: &Query<'_>) -> Vec<u8> {
    serf(SerfType::Query, |bytes| query.encode(bytes))
}

/// Of one Lamport time so many events are remembered; what comes beyond is dropped, and not passed on either.
#[test]
fn events_of_one_time_stop_at_the_cap() {
    let mut victim = Victim::new(|_, services| {
        services.max_events_per_ltime(64);
    });
    victim.flood(MANY, |n| event(7, format!("event{n}").as_bytes(), b""));
    assert_eq!((victim.stats().user_events, victim.stats().user_events_refused), (64, MANY as u64 - 64));
    assert_eq!(victim.events().len(), 64);
    victim.holds_at_most(256 * KIB);
}

/// Times: the ring has so many places. The application that does not read loses the oldest events, and is told.
#[test]
fn events_of_all_times_have_the_rings_places() {
    let mut victim = Victim::new(|config, _| {
        config.max_event_bytes(64 << 10);
    });
    victim.flood(MANY, |n| event(n as u64 + 1, b"event", &[b'p'; 100]));
    assert_eq!(victim.stats().user_events, MANY as u64);
    assert!(victim.stats().events_lost > MANY as u64 - 1000 && victim.events()[0].starts_with("Lagged"));
    // What is older than the ring is not taken up again.
    victim.flood(MANY / 10, |n| event(n as u64 + 1, b"event", &[b'p'; 100]));
    assert_eq!(victim.stats().user_events_old, MANY as u64 / 10);
    // Most of it are the 4,096 events that wait to be passed on.
    victim.holds_at_most(4 * MIB);
}

/// Large events fill the ring's bytes before its places. Neither does a place keep the room that a large one once took,
/// or the places together would, one after the other.
#[test]
fn large_events_stop_at_a_mebibyte() {
    let mut victim = Victim::new(|config, services| {
        config.max_datagram(65_507).max_event_bytes(64 << 10).max_rumors(64);
        services.event_buffer(128);
    });
    let large = |ltime: u64, n: usize| event(ltime, &n.to_be_bytes(), &[b'p'; 9000]);
    // All at one time.
    victim.flood(200, |n| large(1, n));
    assert_eq!((victim.stats().user_events, victim.stats().user_events_refused), (64, 136));
    // Of all times that the ring has a place for.
    victim.flood(128, |n| large(n as u64 + 2, n));
    let kept = victim.stats().user_events;
    assert_eq!((kept, victim.stats().user_events_refused), (64 + 128, 136), "the oldest gave way");
    victim.holds_at_most(4 * MIB);
    // A place is filled, then cleared by a small one whose time has come round, then the next one.
    victim.flood(128 * 65, |n| {
        let (place, turn) = (n as u64 / 65, n % 65);
        let first = 10_000 + place;
        if turn < 64 { large(first, turn) } else { event(first + 128, b"small", b"") }
    });
    assert!(victim.stats().user_events - kept > 128 * 20, "{:?}", victim.stats());
    victim.holds_at_most(4 * MIB);
}

/// Queries: of one time so many are remembered, and so many wait for their answer; the oldest gives way.
#[test]
fn open_queries_stop_at_the_cap() {
    let mut victim = Victim::new(|config, services| {
        services.max_open_queries(100);
        config.max_event_bytes(64 << 10);
    });
    // More to a datagram are not heard.
    victim.flood(255, |n| asks(&query(7, n as u32)));
    assert_eq!((victim.stats().queries, victim.stats().queries_refused), (32, 255 - 32));
    let mut victim = Victim::new(|config, services| {
        services.max_open_queries(100);
        config.max_event_bytes(64 << 10);
    });
    victim.flood_by(32, MANY, |n| asks(&query(7, n as u32)));
    assert_eq!((victim.stats().queries, victim.stats().queries_refused), (64, MANY as u64 - 64));
    victim.flood_by(32, MANY, |n| asks(&query(n as u64 / 50 + 8, n as u32)));
    assert_eq!(victim.stats().queries_evicted, MANY as u64 + 64 - 100);
    victim.holds_at_most(4 * MIB);
    // The last one can still be answered, the first no more.
    let ids: Vec<_> = core::iter::from_fn(|| {
        victim
            .node
            .poll_event()
            .map(|event| if let Event::Query { id, .. } = event { Some(id) } else { None })
    })
    .flatten()
    .collect();
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    assert_eq!(victim.node.respond(victim.now, first, b"late"), Err(CommandError::UnknownRequest));
    assert_eq!(victim.node.respond(victim.now, last, b"in time"), Ok(()));
}

/// Expressions: a few are kept, so many new ones are looked at, and the rest match nobody.
#[test]
fn expressions_are_kept_and_evaluated_up_to_a_bound() {
    let mut victim = Victim::new(|config, _| {
        config.max_event_bytes(64 << 10);
    });
    let tag = |n: usize| {
        let expr = format!("a{n}|[b-y]{{1,30}}");
        let mut filter = vec![1];
        TagFilter { tag: Cow::Borrowed(b"role"), expr: Cow::Owned(expr.into_bytes()) }
            .encode(&mut filter)
            .unwrap();
        filter
    };
    victim.flood_by(32, 10_000, |n| {
        let filter = tag(n);
        let raw = [Raw::from(filter.as_slice())];
        asks(&Query { filters: List::Lent(&raw), ..query(n as u64 / 50 + 1, n as u32) })
    });
    // 32 at once, ten a second: no time passed.
    assert_eq!(victim.stats().query_filters_refused, 10_000 - 32, "{:?}", victim.stats());
    victim.holds_at_most(4 * MIB);
}

/// Intents about names that nobody has: so many are remembered, for a while.
#[test]
fn intents_about_nobody_stop_at_the_cap() {
    let mut victim = Victim::new(|_, services| {
        services.max_recent_intents(1000);
    });
    victim.flood(MANY, |n| {
        let name = format!("nobody{n}");
        let node = Cow::Borrowed(name.as_bytes());
        if n % 2 == 0 {
            serf(SerfType::Join, |bytes| JoinIntent { ltime: 5, node }.encode(bytes))
        } else {
            serf(SerfType::Leave, |bytes| LeaveIntent { ltime: 5, node, prune: false }.encode(bytes))
        }
    });
    assert_eq!(victim.stats().intents_full, MANY as u64 - 1000);
    victim.holds_at_most(MIB);
    victim.run(Duration::from_secs(320));
    victim.flood(1000, |n| {
        let name = format!("later{n}");
        serf(SerfType::Join, |bytes| {
            JoinIntent { ltime: 9, node: Cow::Borrowed(name.as_bytes()) }.encode(bytes)
        })
    });
    assert_eq!(victim.stats().intents_full, MANY as u64 - 1000, "there is room again");
}

/// Answers to a query of this node: members have one each, inventions none.
#[test]
fn answers_under_invented_names_do_not_count() {
    let mut victim = Victim::new(|_, _| {});
    victim.node.query(victim.now, b"what", b"", QueryParams::default().ack(true)).expect("a query");
    let mut asked = None;
    while let Some(event) = victim.node.poll_event() {
        if let Event::Query { ltime, .. } = event {
            asked = Some(ltime);
        }
    }
    let ltime = asked.expect("the node hears its own query");
    let id = sent_query(&mut victim);
    victim.flood(MANY, |n| {
        let from = if n < 10 { "b".into() } else { format!("x{n}") };
        let response = QueryResponse {
            ltime,
            id,
            from: Cow::Owned(from.into_bytes()),
            flags: 0,
            payload: b"yes".as_slice().into(),
        };
        serf(SerfType::QueryResponse, |bytes| response.encode(bytes))
    });
    let stats = victim.stats();
    assert_eq!((stats.query_responses, stats.query_duplicate_responses), (1, 9));
    assert_eq!(stats.query_answers_refused, MANY as u64 - 10);
    victim.holds_at_most(256 * KIB);
}

/// The number of the query that the node gossips.
fn sent_query(victim: &mut Victim) -> u32 {
    victim.hear(&ping(1, "self", "b", addr(2)));
    let mut buf = [0; 1400];
    let transmit = victim.node.poll_transmit(victim.now, &mut buf).expect("an ack");
    messages(&buf[..transmit.len])
        .iter()
        .find_map(|message| match message.as_slice() {
            [8, kind, body @ ..] if *kind == SerfType::Query.byte() => {
                Some(Query::decode(body).unwrap().0.id)
            }
            _ => None,
        })
        .expect("the query rides on it")
}

/// What has no meaning at its place leaves a count.
#[test]
fn messages_of_no_known_kind_leave_a_count() {
    let mut victim = Victim::new(|_, _| {});
    victim.flood(MANY, |n| vec![MessageType::User.byte(), 200, n as u8]);
    assert_eq!(victim.stats().serf_unknown_type, MANY as u64);
    victim.holds_at_most(256 * KIB);
}

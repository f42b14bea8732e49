use super::*;
use crate::wire::field::Items;
use crate::wire::msgpack::{Count, SliceSink};
use alloc::borrow::Cow;
use alloc::vec::Vec;

fn state() -> Vec<u8> {
    let happened = |name: &'static [u8]| RecentEvent { name: name.into(), payload: Raw::NIL };
    let slots = [None, Some((5, [happened(b"a"), happened(b"b")])), None];
    let mut body = Vec::new();
    PushPullParts {
        ltime: 7,
        event_ltime: 6,
        query_ltime: 1,
        status_ltimes: [("x", 300u64), ("y", 2), ("z", 3)].into_iter(),
        left_members: ["y"].into_iter(),
        events: slots.into_iter().map(|slot| slot.map(|(ltime, events)| (ltime, events.into_iter()))),
    }
    .encode(&mut body)
    .expect("a vector has room");
    body
}

#[test]
fn a_merge_can_stop_and_go_on() {
    let body = state();
    let (state, consumed) = PushPull::decode(&body).expect("a state");
    assert_eq!((consumed, state.ltime, state.event_ltime, state.query_ltime), (body.len(), 7, 6, 1));
    let mut names = Vec::new();
    let mut span = state.status_span;
    while !span.is_empty() {
        let mut items: Items<'_, (Text<'_>, u64)> = Items::resume(&body, span);
        names.extend(items.next());
        span = items.span();
    }
    let pair = |name: &'static str, ltime: u64| (Cow::Borrowed(name.as_bytes()), ltime);
    assert_eq!(names, [pair("x", 300), pair("y", 2), pair("z", 3)]);
    let events: Vec<_> = state.events(&body).collect();
    assert!(events[0].is_none() && events[2].is_none());
    let entry = events[1].as_ref().expect("a slot in use");
    assert_eq!((entry.ltime, entry.events.len()), (5, 2));
}

/// A state is kept as offsets, so the caller can pass other bytes by mistake: nonsense, but no panic.
#[test]
fn a_span_of_another_message_ends_early() {
    let body = state();
    let (state, _) = PushPull::decode(&body).expect("a state");
    for len in 0..body.len() {
        assert!(state.status_ltimes(&body[..len]).count() <= 3);
        assert!(state.events(&body[len..]).count() <= 3);
    }
}

/// The attack: 25 bytes that made a node reserve 512 MiB for the events they announced (serf 0.3).
#[test]
fn announced_events_cost_nothing() {
    let body = b"\x81\xa6Events\xdd\x02\x00\x00\x00\xc0\xc0\xc0";
    assert!(matches!(PushPull::decode(body), Err(DecodeError::Truncated { .. })));
}

#[test]
fn tags_before_an_error_hold() {
    let tags = |meta: &'static [u8]| Tags::of(meta).collect::<Vec<_>>();
    let tag = |name: &'static [u8], value: &'static [u8]| Ok((Cow::Borrowed(name), Cow::Borrowed(value)));
    assert_eq!(tags(b""), [tag(b"role", b"")]);
    assert_eq!(tags(b"web"), [tag(b"role", b"web")]);
    assert_eq!(tags(b"\xff\x80"), []);
    assert_eq!(tags(b"\xff\xc0"), []);
    for meta in [&b"\xff\xdf\x7f\xff\xff\xff\xa1k\xa1v"[..], b"\xff\x82\xa1k\xa1v\xa1l"] {
        let tags = tags(meta);
        assert_eq!(tags[0], tag(b"k", b"v"));
        assert!(matches!(tags[1..], [Err(DecodeError::Truncated { .. })]), "{tags:?}");
    }
    assert!(matches!(tags(b"\xff\x05")[..], [Err(DecodeError::Type { at: 1, found: 5 })]));
}

#[test]
fn a_filter_that_crashes_upstream_is_an_error() {
    assert_eq!(Filter::decode(b""), Err(DecodeError::Truncated { need: 1 }));
    assert_eq!(Filter::decode(b"\x02\x90"), Err(DecodeError::Type { at: 0, found: 2 }));
}

#[test]
fn coordinates_are_bounded_and_versioned() {
    let mut payload = Vec::new();
    let coordinate =
        Coordinate { vec: Vector([0.5; MAX_DIMENSIONS].into_iter().collect()), ..Coordinate::default() };
    PingPayload { coordinate: coordinate.clone() }.encode(&mut payload).expect("a vector has room");
    assert_eq!(PingPayload::decode(&payload).map(|payload| payload.coordinate), Ok(coordinate.clone()));
    payload[0] = 2;
    assert_eq!(PingPayload::decode(&payload), Err(DecodeError::Type { at: 0, found: 2 }));
    let mut long = coordinate;
    long.vec.0.push(0.5);
    let mut body = Vec::new();
    long.encode(&mut body).expect("a vector has room");
    assert!(matches!(Coordinate::decode(&body), Err(DecodeError::Range { .. })));
}

#[test]
fn a_composed_query_decodes_to_itself() {
    let filters = [Raw::from(&b"\x00\x91\xa1a"[..])];
    let query = Query {
        id: 9,
        filters: List::Lent(&filters),
        timeout: 15_000_000_000,
        payload: Raw::EMPTY,
        ..Query::default()
    };
    let mut buf = [0; 256];
    let mut sink = SliceSink::new(&mut buf);
    query.encode(&mut sink).expect("room");
    let len = sink.len();
    let mut count = Count::default();
    query.encode(&mut count).expect("a count has room");
    assert_eq!((count.0, query.encoded_len()), (len, len));
    let (decoded, consumed) = Query::decode(&buf).expect("own encoding");
    assert_eq!((consumed, &decoded), (len, &query));
    assert!(!decoded.payload.is_nil() && decoded.addr.is_nil());
    let filter = decoded.filters.iter().next().expect("a filter");
    let Ok(Filter::Nodes(names)) = Filter::decode(&filter) else { panic!("not a node filter") };
    assert_eq!(names.len(), 1);
}

// upstream: TestQueryFlags
#[test]
fn the_flags_of_a_query_are_the_bits_that_go_over_the_wire() {
    assert_eq!((Query::ACK, Query::NO_BROADCAST), (1, 2));
}

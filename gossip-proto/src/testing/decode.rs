//! Single messages: what decodes can be encoded, and from then on stays the same; and the short way to decode agrees with
//! the general one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::field::Record;
use crate::wire::message::*;
use crate::wire::msgpack::Reader;
use crate::wire::serf::*;
use crate::{Expression, duration};

/// Decodes a body, encodes the value, and checks that this encoding decodes whole, as the same, and is encoded as itself.
/// Values are compared by how they are shown, since a coordinate may hold a NaN, which differs from itself; and by their
/// encodings, which alone would not tell that a field is left out each time.
macro_rules! settles {
    ($kind:expr, $body:expr, |$bytes:ident| $decode:expr) => {{
        let $bytes: &[u8] = $body;
        let Some((message, consumed)) = $decode else { return };
        assert!(consumed <= $bytes.len(), "{}: consumed more than there is", $kind);
        let mut first = Vec::new();
        assert!(message.encode(&mut first).is_ok(), "{}: cannot be encoded", $kind);
        let $bytes: &[u8] = &first;
        let Some((again, consumed)) = $decode else { panic!("{}: cannot be decoded again", $kind) };
        assert_eq!(format!("{again:?}"), format!("{message:?}"), "{}: changes when it is encoded", $kind);
        assert_eq!(consumed, first.len(), "{}: its own encoding is not taken whole", $kind);
        let mut second = Vec::new();
        assert!(again.encode(&mut second).is_ok(), "{}: cannot be encoded again", $kind);
        assert_eq!(first, second, "{}: changes with each encoding", $kind);
    }};
}

/// What the short way takes is taken by the general one, as the same and from the same bytes. A message that is no record
/// itself names the one that it has inside.
macro_rules! agrees {
    ($kind:expr, $body:expr, $message:ident, $record:ident) => {
        agrees!($kind, $body, $record)
    };
    ($kind:expr, $body:expr, $record:ident) => {{
        let (mut short, mut general) = (Reader::new($body), Reader::new($body));
        let mut ahead = short.ahead();
        if let Some(sent) = $record::read_as_sent(&mut ahead) {
            short.catch_up(&ahead);
            let Ok(any) = $record::read_any(&mut general) else {
                panic!("{}: only the short way takes it", $kind)
            };
            assert_eq!(
                short.position(),
                general.position(),
                "{}: the two ways end at different places",
                $kind
            );
            assert_eq!(format!("{sent:?}"), format!("{any:?}"), "{}: the two ways differ", $kind);
            let [mut one, mut other] = [Vec::new(), Vec::new()];
            assert!(
                sent.encode(&mut one).is_ok() && any.encode(&mut other).is_ok(),
                "{}: cannot be encoded",
                $kind
            );
            assert_eq!(one, other, "{}: the two ways are encoded differently", $kind);
        }
    }};
}

macro_rules! kinds {
    (records { $($record:ident $(= $inside:ident)?,)* } others { $($name:ident => $check:expr,)* }) => {
        /// What [`fuzz_decode`] knows; the first byte of its input is the place in this list.
        pub const KINDS: &[&str] = &[$(stringify!($record),)* $(stringify!($name),)*];

        fn check(kind: &str, body: &[u8]) {
            match kind {
                $(stringify!($record) => {
                    agrees!(kind, body, $record $(, $inside)?);
                    settles!(kind, body, |bytes| $record::decode(bytes).ok());
                })*
                $(stringify!($name) => $check(body),)*
                _ => unreachable!("the kind comes from the list"),
            }
        }
    };
}

kinds! {
    records {
        Ping, IndirectPing, Ack, Nack, ErrorReply, Accusation, Alive, PushPullHeader, NodeState, UserHeader, Compressed,
        JoinIntent, LeaveIntent, UserEvent, Query, QueryResponse, Member, ConflictResponse = Member, KeyRequest, KeyResponse,
        RelayHeader, EventEntry, Coordinate,
    }
    others {
        Relay => relay,
        Filter => filter,
        PingPayload => ping_payload,
        PushPull => push_pull,
        Tags => tags,
        Unknown => unknown,
        Expression => expression,
        Duration => duration,
    }
}

/// A message of the kind that the first byte selects, without its type byte.
pub fn fuzz_decode(input: &[u8]) {
    if let Some((selector, body)) = input.split_first() {
        check(KINDS[usize::from(*selector) % KINDS.len()], body);
    }
}

fn whole<T, E>(result: Result<T, E>, bytes: &[u8]) -> Option<(T, usize)> {
    result.ok().map(|message| (message, bytes.len()))
}

fn relay(body: &[u8]) {
    settles!("Relay", body, |bytes| whole(Relay::decode(bytes), bytes));
}

fn filter(body: &[u8]) {
    settles!("Filter", body, |bytes| whole(Filter::decode(bytes), bytes));
}

fn ping_payload(body: &[u8]) {
    settles!("PingPayload", body, |bytes| whole(PingPayload::decode(bytes), bytes));
}

/// The lists of a Serf state are checked when it is decoded, so walking through them later cannot fail.
fn push_pull(body: &[u8]) {
    let Some((shown, first)) = encoded_again(body) else { return };
    let (shown_again, second) = encoded_again(&first).expect("PushPull: cannot be decoded again");
    assert_eq!(shown_again, shown, "PushPull: changes when it is encoded");
    assert_eq!(first, second, "PushPull: changes with each encoding");
}

/// A state as it is shown, and encoded.
fn encoded_again(body: &[u8]) -> Option<(String, Vec<u8>)> {
    let (state, consumed) = PushPull::decode(body).ok()?;
    assert!(consumed <= body.len(), "PushPull: consumed more than there is");
    let status_ltimes: Vec<_> = state.status_ltimes(body).collect();
    let left_members: Vec<_> = state.left_members(body).collect();
    let events: Vec<_> = state.events(body).collect();
    assert_eq!(status_ltimes.len(), state.status_span.len(), "PushPull: names went missing");
    assert_eq!(left_members.len(), state.left_span.len(), "PushPull: names went missing");
    assert_eq!(events.len(), state.event_span.len(), "PushPull: events went missing");
    let clocks = (state.ltime, state.event_ltime, state.query_ltime);
    let shown = format!("{clocks:?} {status_ltimes:?} {left_members:?} {events:?}");
    let parts = PushPullParts {
        ltime: state.ltime,
        event_ltime: state.event_ltime,
        query_ltime: state.query_ltime,
        status_ltimes: status_ltimes.into_iter(),
        left_members: left_members.into_iter(),
        events: events.into_iter().map(|slot| slot.map(|entry| (entry.ltime, entry_events(&entry)))),
    };
    let mut out = Vec::new();
    assert!(parts.encode(&mut out).is_ok(), "PushPull: cannot be encoded");
    Some((shown, out))
}

fn entry_events<'a>(entry: &EventEntry<'a>) -> alloc::vec::IntoIter<RecentEvent<'a>> {
    entry.events.iter().collect::<Vec<_>>().into_iter()
}

/// Tags are read as far as they go; those read can be written, and read again without an error.
fn tags(meta: &[u8]) {
    let read: Vec<_> = Tags::of(meta).map_while(Result::ok).collect();
    let mut out = Vec::new();
    assert!(encode_tags(&mut out, read.iter().cloned()).is_ok(), "Tags: cannot be encoded");
    let again: Vec<_> = Tags::of(&out).map(|tag| tag.expect("Tags: its own encoding is an error")).collect();
    assert_eq!(read, again, "Tags: change with each encoding");
}

/// A value under a key that this implementation does not know is passed over: exactly one value, of any kind.
fn unknown(body: &[u8]) {
    let mut reader = Reader::new(body);
    let skipped = reader.skip_value();
    let value = if skipped.is_ok() { &body[..reader.position()] } else { body };
    // Of two entries it is the first; the number comes behind it.
    let message = [b"\x82\xa3New", value, b"\xa5SeqNo\x07"].concat();
    match Nack::decode(&message) {
        Ok((Nack { seq }, consumed)) if skipped.is_ok() => {
            assert_eq!((seq, consumed), (7, message.len()), "Unknown: lost its place");
        }
        // What is cut short goes on with what is behind it.
        decoded => assert!(skipped.is_err(), "Unknown: {decoded:?} with a value that is passed over"),
    }
}

/// An expression of a query's filter, by its length, and a value: what matches the whole value is found in it.
fn expression(body: &[u8]) {
    let Some((&len, rest)) = body.split_first() else { return };
    let (text, value) = rest.split_at(rest.len().min(len.into()));
    let Some(expression) = Expression::new(text) else { return };
    let matches = expression.is_match(value);
    assert_eq!(expression.is_match(value), matches, "Expression: another answer the second time");
    // With anything on both sides of it, unless that makes it too long or too large.
    if matches && let Some(found) = Expression::new(&[b"(?s:.*)(?:", text, b")(?s:.*)"].concat()) {
        assert!(found.is_match(value), "Expression: what matches is not found");
    }
}

/// How long a member of Consul wants to be remembered, which its tags say (serf.md 13.5).
fn duration(body: &[u8]) {
    let Some(read) = str::from_utf8(body).ok().and_then(|text| duration::parse(text).ok()) else { return };
    assert_eq!(
        duration::parse(&format!("{}ns", read.as_nanos())),
        Ok(read),
        "Duration: changes when it is read again"
    );
}

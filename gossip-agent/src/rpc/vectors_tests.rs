//! The recorded sessions of two generations of Serf: every object to its value and back.

use serde_json::{Value as Json, json};
use transport_tokio::gossip_proto::wire::msgpack::{put_int, put_uint};

use super::*;
use crate::rpc::tally::{Case, Tally, hex, serf_cases, unhex};

/// A value as the vector file shows it.
pub(crate) trait Show {
    fn show(&self) -> Json;
}

macro_rules! show_number {
    ($($ty:ty)*) => {$(
        impl Show for $ty {
            fn show(&self) -> Json {
                json!(self)
            }
        }
    )*};
}

show_number!(bool u8 u16 u64 i32 i64 f64);

impl Show for Text {
    fn show(&self) -> Json {
        core::str::from_utf8(self.as_bytes()).expect("the recorded strings are UTF-8").into()
    }
}

impl Show for Blob {
    fn show(&self) -> Json {
        self.0.as_ref().map_or(Json::Null, |bytes| json!({ "bin": hex(bytes) }))
    }
}

impl<T: Show> Show for Option<Vec<T>> {
    fn show(&self) -> Json {
        self.as_ref().map_or(Json::Null, |items| items.iter().map(Show::show).collect())
    }
}

impl<T: Show> Show for Map<T> {
    fn show(&self) -> Json {
        let pairs = |pairs: &Vec<(Text, T)>| {
            pairs.iter().map(|(key, value)| (key.to_string_lossy(), value.show())).collect()
        };
        self.0.as_ref().map_or(Json::Null, pairs)
    }
}

#[test]
fn sessions() {
    let mut tally = Tally::new("serf.ipc");
    for case in serf_cases("ipc").iter().filter(|case| !case.name.starts_with("ipc.errors.")) {
        let bytes = case.bytes("hex");
        let session = Session::parse(&case.name);
        let (matches, older) = session.judge(case, &bytes);
        let facts = [("timeout", if older { "in unsigned form" } else { "" })];
        tally.judge(case, &facts, if older { "in signed form" } else { "" }, matches);
    }
    tally.finish();
}

#[test]
fn error_transcripts_are_read() {
    let mut cases = 0;
    for case in serf_cases("ipc").iter().filter(|case| case.name.starts_with("ipc.errors.")) {
        let mut requests = Vec::new();
        let mut reader = &case.bytes("hex")[..];
        while !reader.is_empty() {
            let (header, rest) = split::<RequestHeader>(reader);
            requests.push(header.seq);
            // What follows a header without a command depends on the one before it, which is upstream's mistake.
            let Some(command) = Command::parse(header.command.as_bytes()) else { break };
            reader = if command.has_request_body() { judge_request(command, rest).1 } else { rest };
        }
        assert!(!requests.is_empty() && requests.is_sorted(), "{}: {requests:?}", case.name);

        let fields = &case.value["fields"];
        let mut answers = &unhex(fields["rx"].as_str().expect("hex"))[..];
        for wanted in fields["rx_decoded"].as_array().expect("objects") {
            let (shown, encoded, rest) = match wanted {
                wanted if wanted.get("Error").is_some() => again::<ResponseHeader>(answers),
                wanted if wanted.get("Members").is_some() => again::<MembersResponse>(answers),
                _ => again::<KeyResponse>(answers),
            };
            assert_eq!(&shown, wanted, "{}", case.name);
            assert_eq!(encoded, answers[..answers.len() - rest.len()], "{}", case.name);
            answers = rest;
        }
        assert!(answers.is_empty(), "{}", case.name);
        cases += 1;
    }
    assert_eq!(cases, 14);
}

/// What the name of a case says.
struct Session<'a> {
    command: Command,
    side: &'a str,
    record: bool,
}

impl<'a> Session<'a> {
    fn parse(name: &'a str) -> Self {
        let parts: Vec<&str> = name.split('.').collect();
        let command = Command::parse(parts[2].as_bytes()).unwrap_or_else(|| panic!("{name}: a command"));
        Self { command, side: parts[4], record: parts.len() > 5 }
    }

    /// Whether the case is as recorded; and whether all that differs is the form in which the older codec writes a
    /// positive signed integer.
    fn judge(&self, case: &Case, bytes: &[u8]) -> (Result<(), String>, bool) {
        let fields = &case.value["fields"];
        let (header, header_bytes, body) = match self.side {
            "request" => again::<RequestHeader>(bytes),
            _ => again::<ResponseHeader>(bytes),
        };
        let mut shown = json!({ "header": header, "body": null });
        let mut encoded = header_bytes;
        let mut older = false;
        if !body.is_empty() {
            let (value, body_bytes, rest) = match self.side {
                "request" => {
                    let ((value, body_bytes), rest) = judge_request(self.command, body);
                    (value, body_bytes, rest)
                }
                _ if self.record => record(fields, body),
                _ => response(self.command, body),
            };
            if !rest.is_empty() {
                return (Err(format!("{} bytes are left", rest.len())), false);
            }
            if let Some(timeout) = value["Timeout"].as_i64().filter(|&timeout| timeout >= 0x80) {
                older = with_unsigned(&body_bytes, timeout) == body;
            }
            shown["body"] = value;
            encoded.extend(body_bytes);
        }
        if !same(fields, &shown) {
            return (Err(format!("decoded as {shown}, not {fields}")), false);
        }
        if encoded != bytes {
            return (Err(format!("encoded as {}, not {}", hex(&encoded), hex(bytes))), older);
        }
        (Ok(()), false)
    }
}

fn judge_request(command: Command, body: &[u8]) -> ((Json, Vec<u8>), &[u8]) {
    let (shown, encoded, rest) = match command {
        Command::Handshake => again::<HandshakeRequest>(body),
        Command::Auth => again::<AuthRequest>(body),
        Command::Event => again::<EventRequest>(body),
        Command::ForceLeave => again::<ForceLeaveRequest>(body),
        Command::Join => again::<JoinRequest>(body),
        Command::MembersFiltered => again::<MembersFilteredRequest>(body),
        Command::Tags => again::<TagsRequest>(body),
        Command::Stream => again::<StreamRequest>(body),
        Command::Monitor => again::<MonitorRequest>(body),
        Command::Stop => again::<StopRequest>(body),
        Command::Query => again::<QueryRequest>(body),
        Command::Respond => again::<RespondRequest>(body),
        Command::InstallKey | Command::UseKey | Command::RemoveKey => again::<KeyRequest>(body),
        Command::GetCoordinate => again::<CoordinateRequest>(body),
        Command::Members | Command::Leave | Command::ListKeys | Command::Stats => {
            panic!("{command:?} has no body")
        }
    };
    ((shown, encoded), rest)
}

fn response(command: Command, body: &[u8]) -> (Json, Vec<u8>, &[u8]) {
    assert!(command.has_response_body(), "{command:?} is answered with a body");
    match command {
        Command::Join => again::<JoinResponse>(body),
        Command::Members | Command::MembersFiltered => again::<MembersResponse>(body),
        Command::Stats => again::<Stats>(body),
        Command::GetCoordinate => again::<CoordinateResponse>(body),
        _ => again::<KeyResponse>(body),
    }
}

fn record<'a>(fields: &Json, body: &'a [u8]) -> (Json, Vec<u8>, &'a [u8]) {
    let has = |key: &str| fields["body"].get(key).is_some();
    match fields["body"]["Event"].as_str() {
        Some("user") => again::<UserRecord>(body),
        Some("query") => again::<QueryRecord>(body),
        Some(_) => again::<MemberRecord>(body),
        None if has("Log") => again::<LogRecord>(body),
        None => again::<AnswerRecord>(body),
    }
}

/// The value at the front, as shown and as encoded again, and what follows it.
fn again<T: Value + Show + PartialEq + core::fmt::Debug>(bytes: &[u8]) -> (Json, Vec<u8>, &[u8]) {
    let (value, rest) = split::<T>(bytes);
    let mut encoded = Vec::new();
    value.write(&mut encoded);
    assert_eq!(T::decode(&encoded).as_ref(), Ok(&value), "what is sent can be read");
    (value.show(), encoded, rest)
}

fn split<T: Value>(bytes: &[u8]) -> (T, &[u8]) {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader).unwrap_or_else(|error| panic!("{error}: {}", hex(bytes)));
    (value, reader.rest())
}

/// `body` with the form of this number that the older codec uses.
fn with_unsigned(body: &[u8], number: i64) -> Vec<u8> {
    let (mut signed, mut unsigned) = (Vec::new(), Vec::new());
    put_int(&mut signed, number).expect("a vector has room");
    put_uint(&mut unsigned, number.cast_unsigned()).expect("a vector has room");
    let at = body.windows(signed.len()).position(|window| window == signed).expect("the number is in it");
    [&body[..at], &unsigned, &body[at + signed.len()..]].concat()
}

/// Equal, floats as far as the text of the file goes.
fn same(wanted: &Json, ours: &Json) -> bool {
    match (wanted, ours) {
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|b| same(value, b)))
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Number(a), Json::Number(b)) => {
            let close = |a: f64, b: f64| (a - b).abs() <= a.abs() * 1e-15;
            a == b || a.is_f64() && close(a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN))
        }
        _ => wanted == ours,
    }
}

#[test]
fn whatever_bytes_come_are_read_or_refused() {
    let seeds: Vec<Vec<u8>> = serf_cases("ipc").iter().map(|case| case.bytes("hex")).collect();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..20_000 {
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        let mut reader = Reader::new(&bytes);
        let _ = RequestHeader::read(&mut reader);
        let _ = QueryRequest::read(&mut reader.clone());
        let _ = TagsRequest::read(&mut reader.clone());
        let _ = MembersResponse::read(&mut reader.clone());
        let _ = CoordinateResponse::read(&mut reader.clone());
        let _ = KeyResponse::read(&mut reader.clone());
        let _ = Stats::read(&mut reader);
    }
}

#[test]
fn unknown_keys_nil_and_missing_keys_do_no_harm() {
    let event = EventRequest::decode(b"\x83\xa4Name\xc4\x01x\xa5Other\x92\xc0\x81\x01\x02\xa7Payload\xa2hi");
    assert_eq!(
        event,
        Ok(EventRequest { coalesce: false, name: "x".into(), payload: Blob(Some(b"hi".into())) })
    );
    assert_eq!(EventRequest::decode(b"\xc0"), Ok(EventRequest::default()));
    assert_eq!(RespondRequest::decode(b"\x82\xa2ID\xd1\x00\x80\xa7Payload\xc0").map(|r| r.id), Ok(128));
    assert!(StopRequest::decode(b"\x81\xa4Stop\xff").is_err(), "a negative number is none of these");
}

#[test]
fn structs_as_arrays_are_read_where_their_order_is_known() {
    let header = RequestHeader::decode(b"\x92\xa5event\x07");
    assert_eq!(header, Ok(RequestHeader { command: "event".into(), seq: 7 }));
    assert_eq!(StopRequest::decode(b"\x91\x05"), Ok(StopRequest { seq: 5 }));
    assert!(EventRequest::decode(b"\x93\xc3\xa1x\xa1y").is_err());
}

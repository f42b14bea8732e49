//! Single messages against the recorded behaviour of memberlist and Serf: bytes to values and back.
use crate::support;

use gossip_proto::wire::msgpack::DecodeError;
use serde_json::Value;
use support::codec::{self, Codec, Kind, codec};
use support::show::{Style, same};
use support::{Case, Tally, hex, is_frame, memberlist_cases, serf_cases};

// upstream: TestEncodeDecode
#[test]
fn memberlist_vectors() {
    let mut tally = Tally::new("vectors");
    for case in memberlist_cases("vectors").iter().filter(|case| !is_frame(&case.name)) {
        let bytes = case.bytes("hex");
        let outcome = match codec::memberlist_kind(case, &bytes) {
            Some((kind, start)) => {
                let by_head = case.text("emitted_by").contains("HEAD");
                round_trip(kind, &bytes[start..], &fields_of(case), Style::Hex, by_head)
            }
            None => match case.value["fields"].get("payload") {
                Some(payload) if *payload != hex(&bytes[1..]) => Err("the payload differs".into()),
                _ => Ok(()),
            },
        };
        tally.judge(case, &[], "", outcome);
    }
    tally.finish();
}

#[test]
fn memberlist_decode_cases() {
    let mut tally = Tally::new("decode_cases");
    for case in memberlist_cases("decode_cases") {
        let accepts = |key: &str| case.value[key].as_bool().expect("a verdict");
        let fields = |key: &str| case.value.get(key).or_else(|| case.value.get("fields")).cloned();
        let head = accepts("accept_head").then(|| fields("fields").expect("fields"));
        let old = accepts("accept_0_2_2").then(|| fields("fields_0_2_2").expect("fields"));
        let kind = codec::go_kind(case.text("target"));
        judge_decoding(&mut tally, &case, kind, Style::Hex, head.as_ref(), old.as_ref());
    }
    tally.finish();
}

// upstream: TestEncodeMessage, TestEncodeRelayMessage, TestEncodeFilter
#[test]
fn serf_gossip() {
    let mut tally = Tally::new("serf.gossip");
    for case in serf_cases("gossip") {
        let bytes = case.bytes("hex");
        let (kind, start) = codec::serf_kind(&case, &bytes);
        let body = &bytes[start..];
        let by_head = !case.name.ends_with("@msgpack0.5.5");
        let input = if by_head { nil_input(kind, body) } else { "" };
        let outcome = round_trip(kind, body, &fields_of(&case), Style::Hex, by_head);
        let ours = match (input, round_trip(kind, body, &fields_of(&case), Style::Hex, false)) {
            ("nil tag map", Ok(())) => "empty map",
            ("nil list in push/pull", Ok(())) => "empty list",
            _ => "",
        };
        tally.judge(&case, &[("input", input)], ours, outcome);
    }
    tally.finish();
}

#[test]
fn serf_decode_cases() {
    let mut tally = Tally::new("serf.decode");
    for case in serf_cases("decode") {
        let fields = &case.value["fields"];
        let accepted = |error: &str, result: &str| (fields[error] == "").then(|| &fields[result]);
        let head = accepted("err_msgpack_2_1_5", "result_2_1_5");
        let old = accepted("err_msgpack_0_5_5", "result_0_5_5");
        let kind = codec::go_kind(fields["go_type"].as_str().expect("a type"));
        if kind == Kind::TagMap && head.is_none() && old.is_none() {
            // The one place where upstream keeps what was decoded before an error (serf 1.2).
            let body = case.bytes("hex");
            let refused = codec(kind, &body).is_err();
            let partial = codec::partial_tags(&[&[0xff], &body[..]].concat());
            let wanted = fields["result_2_1_5"].as_object().map_or(0, serde_json::Map::len);
            let kept = partial.as_object().map_or(0, serde_json::Map::len);
            let outcome = match same(&fields["result_2_1_5"], &partial, Style::Go) {
                _ if !refused => Err("accepted".into()),
                Ok(()) if wanted != kept => Err(format!("{kept} tags are kept")),
                outcome => outcome,
            };
            tally.judge(&case, &[("head", "rejects"), ("old", "rejects")], "", outcome);
        } else {
            judge_decoding(&mut tally, &case, kind, Style::Go, head, old);
        }
    }
    tally.finish();
}

/// All were captured from agents with the 0.5 codec, whose positive signed integers differ from ours.
#[test]
fn serf_captured() {
    let mut tally = Tally::new("serf.captured");
    for case in serf_cases("captured") {
        let bytes = case.bytes("hex");
        let (kind, start) = codec::serf_kind(&case, &bytes);
        let fields = fields_of(&case);
        let fields = fields.get("body").unwrap_or(&fields);
        let identical = !matches!(kind, Kind::Query | Kind::Relay);
        tally.judge(&case, &[], "", round_trip(kind, &bytes[start..], fields, Style::Captured, identical));
    }
    tally.finish();
}

#[test]
fn a_message_cut_anywhere_is_refused() {
    for (name, kind, body) in messages() {
        let kind = if kind == Kind::Relay { Kind::RelayHeader } else { kind };
        let Ok(whole) = codec(kind, &body) else { continue };
        for len in 0..whole.consumed {
            match codec(kind, &body[..len]) {
                Err(DecodeError::Truncated { need }) => {
                    assert!(need > len && need <= whole.consumed, "{name} cut to {len}: needs {need}");
                }
                Ok(_) if kind == Kind::Meta && body[0] != 0xff => {}
                Ok(cut) if kind == Kind::Meta && len == 0 => assert_eq!(cut.shown["role"]["text"], ""),
                other => panic!("{name} cut to {len}: {other:?}"),
            }
        }
    }
}

/// Whatever a changed byte makes of a message, it is a value that survives its own encoding, or an error.
#[test]
fn a_message_changed_anywhere_decodes_or_is_refused() {
    for (name, kind, body) in messages().into_iter().filter(|(_, _, body)| body.len() < 1024) {
        let mut changed = body.clone();
        for at in 0..body.len() {
            for value in [0x00, 0x7f, 0x81, 0x91, 0xa1, 0xc0, 0xc1, 0xc4, 0xc9, 0xdb, 0xdd, 0xdf, 0xff] {
                changed[at] = value;
                let Ok(Codec { shown, encoded, .. }) = codec(kind, &changed) else { continue };
                let again = codec(kind, &encoded).unwrap_or_else(|error| panic!("{name}, {at}: {error}"));
                assert_eq!(without_nil(&again.shown), without_nil(&shown), "{name}, {at}: {value:02x}");
            }
            changed[at] = body[at];
        }
    }
}

/// Decodes `body`, compares it with the fields of the file, and encodes it again: to the same bytes if `identical`, in
/// any case to the same value.
fn round_trip(kind: Kind, body: &[u8], fields: &Value, style: Style, identical: bool) -> Result<(), String> {
    let decoded = codec(kind, body).map_err(|error| error.to_string())?;
    if decoded.consumed != body.len() {
        return Err(format!("{} bytes of {} taken", decoded.consumed, body.len()));
    }
    same(fields, &decoded.shown, style)?;
    if identical && decoded.encoded != body {
        return Err(format!("encoded as {}, not {}", hex(&decoded.encoded), hex(body)));
    }
    survives(kind, &decoded)
}

fn survives(kind: Kind, decoded: &Codec) -> Result<(), String> {
    let again = codec(kind, &decoded.encoded).map_err(|error| format!("own encoding refused: {error}"))?;
    if without_nil(&again.shown) == without_nil(&decoded.shown) {
        return Ok(());
    }
    Err(format!("own encoding is {}, not {}", again.shown, decoded.shown))
}

/// One case of a decoder that two codecs have judged: the fields as each of them decoded it, if it did.
fn judge_decoding(
    tally: &mut Tally,
    case: &Case,
    kind: Kind,
    style: Style,
    head: Option<&Value>,
    old: Option<&Value>,
) {
    let verdict = |fields: Option<&Value>| if fields.is_some() { "accepts" } else { "rejects" };
    let facts = [("head", verdict(head)), ("old", verdict(old))];
    let decoded = codec(kind, &case.bytes("hex"));
    let ours = match &decoded {
        Err(_) => "rejects",
        Ok(decoded) if old.is_some_and(|old| same(old, &decoded.shown, style).is_ok()) => "as old",
        Ok(_) => "accepts",
    };
    let outcome = match (&decoded, head) {
        (Err(_), None) => Ok(()),
        (Err(error), Some(_)) => Err(format!("rejected: {error}")),
        (Ok(decoded), None) => Err(format!("accepted as {}", decoded.shown)),
        (Ok(decoded), Some(fields)) => same(fields, &decoded.shown, style).and_then(|()| match kind {
            Kind::NodeFilter | Kind::TagMap => Ok(()),
            _ => survives(kind, decoded),
        }),
    };
    tally.judge(case, &facts, ours, outcome);
}

/// What the file says about the message; nothing if it has no fields. Serf's file names another vector instead of the
/// message inside a relay.
fn fields_of(case: &Case) -> Value {
    let Some(fields) = case.value.get("fields") else { return Value::Object(serde_json::Map::new()) };
    let mut fields = fields.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|key, value| key != "inner" || !value.is_string());
    }
    fields
}

/// Which nil form, that is read but never written, the input has.
fn nil_input(kind: Kind, body: &[u8]) -> &'static str {
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    match kind {
        Kind::Meta if body == [0xff, 0xc0] => "nil tag map",
        Kind::SerfPushPull
            if holds(b"\xa6Events\xc0") || holds(b"LeftMembers\xc0") || holds(b"StatusLTimes\xc0") =>
        {
            "nil list in push/pull"
        }
        _ => "",
    }
}

/// Every message in the files.
fn messages() -> Vec<(String, Kind, Vec<u8>)> {
    let mut messages = Vec::new();
    for case in memberlist_cases("vectors").iter().filter(|case| !is_frame(&case.name)) {
        let bytes = case.bytes("hex");
        if let Some((kind, start)) = codec::memberlist_kind(case, &bytes) {
            messages.push((case.name.clone(), kind, bytes[start..].to_vec()));
        }
    }
    for case in memberlist_cases("decode_cases") {
        messages.push((case.name.clone(), codec::go_kind(case.text("target")), case.bytes("hex")));
    }
    for case in serf_cases("gossip").into_iter().chain(serf_cases("captured")) {
        let bytes = case.bytes("hex");
        let (kind, start) = codec::serf_kind(&case, &bytes);
        messages.push((case.name.clone(), kind, bytes[start..].to_vec()));
    }
    for case in serf_cases("decode") {
        let body = case.bytes("hex");
        messages.push(match codec::go_kind(case.value["fields"]["go_type"].as_str().expect("a type")) {
            Kind::TagMap => (case.name.clone(), Kind::Meta, [&[0xff], &body[..]].concat()),
            Kind::NodeFilter => (case.name.clone(), Kind::Filter, [&[0x00], &body[..]].concat()),
            kind => (case.name.clone(), kind, body),
        });
    }
    assert!(messages.len() > 100);
    messages
}

/// Empty and nil are one and the same to a receiver.
fn without_nil(shown: &Value) -> Value {
    match shown {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(fields) if fields.get("bytes").is_some_and(|bytes| bytes == "") => Value::Null,
        Value::Array(items) => items.iter().map(without_nil).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), without_nil(value))).collect()
        }
        _ => shown.clone(),
    }
}

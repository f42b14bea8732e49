//! What `--events json` prints. The shape is a promise: fields are added, never renamed or removed; the help of
//! `gossip agent` describes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use transport_tokio::{ChangeKind, MemberInfo, Notice, Stats};

use crate::cause::{self, millis};

/// One line: its type, the time, and what belongs to the type.
pub(crate) fn line(kind: &str, fields: Value) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("type".into(), kind.into());
    object.insert("time".into(), now().into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    object
}

/// A piece of news; `None` for what only memberlist-level applications see.
pub(crate) fn notice(notice: &Notice) -> Option<Map<String, Value>> {
    Some(match notice {
        Notice::Change { member, kind, cause } => {
            let mut object = line("member", json!({ "change": change(*kind) }));
            if let Some(name) = kind.serf_name() {
                object.insert("event".into(), name.into());
            }
            object.extend(member_fields(member));
            object.insert("cause".into(), cause::json(cause));
            object
        }
        Notice::UserEvent { ltime, name, payload, coalesce } => {
            let mut object = line("user", json!({ "ltime": ltime }));
            bytes(&mut object, "name", name);
            bytes(&mut object, "payload", payload);
            object.insert("coalesce".into(), (*coalesce).into());
            object
        }
        Notice::Query { id, ltime, name, payload, from, .. } => {
            let mut object = line("query", json!({ "request": id.as_u64(), "ltime": ltime }));
            bytes(&mut object, "name", name);
            bytes(&mut object, "payload", payload);
            bytes(&mut object, "from", from.as_bytes());
            object
        }
        Notice::Conflict { name, known, claimed } => {
            let mut object = line("conflict", json!({}));
            bytes(&mut object, "name", name.as_bytes());
            object.insert("known".into(), known.to_string().into());
            object.insert("claimed".into(), claimed.to_string().into());
            object
        }
        Notice::Stalled { late } => line("stalled", json!({ "late_ms": millis(*late) })),
        Notice::RosterFull => line("roster-full", json!({})),
        Notice::Lagged { lost } => line("lagged", json!({ "lost": lost })),
        _ => return None,
    })
}

/// A list of members, sorted by name.
pub(crate) fn members(members: &[MemberInfo]) -> Value {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members.into_iter().map(|member| Value::Object(member_fields(member))).collect()
}

/// All counters by name.
pub(crate) fn counters(stats: &Stats) -> Value {
    stats.iter().map(|(name, count)| (name.into(), count.into())).collect::<Map<_, _>>().into()
}

/// Puts bytes under `field` as text, or as base64 under `field_base64` if they are not UTF-8.
pub(crate) fn bytes(object: &mut Map<String, Value>, field: &str, bytes: &[u8]) {
    match core::str::from_utf8(bytes) {
        Ok(text) => object.insert(field.into(), text.into()),
        Err(_) => object.insert(format!("{field}_base64"), STANDARD.encode(bytes).into()),
    };
}

fn member_fields(member: &MemberInfo) -> Map<String, Value> {
    let mut object = Map::new();
    bytes(&mut object, "name", member.name.as_bytes());
    object.insert("addr".into(), member.addr.to_string().into());
    let (mut tags, mut raw) = (Map::new(), Vec::new());
    for (key, value) in &member.tags {
        match (core::str::from_utf8(key), core::str::from_utf8(value)) {
            (Ok(key), Ok(value)) => {
                tags.insert(key.into(), value.into());
            }
            _ => raw.push(json!([STANDARD.encode(key), STANDARD.encode(value)])),
        }
    }
    object.insert("tags".into(), tags.into());
    if !raw.is_empty() {
        object.insert("tags_base64".into(), raw.into());
    }
    object.insert("status".into(), member.status.as_str().into());
    object.insert("incarnation".into(), member.incarnation.into());
    object.insert("local".into(), member.local.into());
    object
}

fn change(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Joined => "joined",
        ChangeKind::Updated => "updated",
        ChangeKind::Suspected => "suspected",
        ChangeKind::Refuted => "refuted",
        ChangeKind::Failed => "failed",
        ChangeKind::Left => "left",
        ChangeKind::Reaped => "reaped",
        _ => "other",
    }
}

/// UTC to the millisecond, `2026-01-31T12:00:00.123Z`.
fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use transport_tokio::gossip_proto::{Bytes, Instant, RequestId};

    fn keys(object: &Map<String, Value>) -> Vec<&str> {
        object.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_user_event_is_text_where_it_can_be() {
        let event = |payload: &'static [u8]| {
            notice(&Notice::UserEvent {
                ltime: 7,
                name: Bytes::from_static(b"deploy"),
                payload: Bytes::from_static(payload),
                coalesce: true,
            })
            .unwrap()
        };
        let text = event(b"v42");
        assert_eq!(keys(&text), ["type", "time", "ltime", "name", "payload", "coalesce"]);
        assert_eq!(
            (&text["type"], &text["ltime"], &text["payload"]),
            (&json!("user"), &json!(7), &json!("v42"))
        );
        let raw = event(b"\xff\x00");
        assert_eq!(raw["payload_base64"], "/wA=");
        assert!(!raw.contains_key("payload"));
    }

    #[test]
    fn a_query_says_what_to_answer_to() {
        let query = notice(&Notice::Query {
            id: RequestId::from_u64(1 << 52 | 3),
            ltime: 7,
            name: Bytes::from_static(b"load"),
            payload: Bytes::from_static(b"\xff"),
            from: "a".into(),
            deadline: Instant::ORIGIN,
        })
        .unwrap();
        assert_eq!(keys(&query), ["type", "time", "request", "ltime", "name", "payload_base64", "from"]);
        // As any reader of JSON has it, also one whose numbers are floating point.
        assert_eq!(query["request"].as_f64().map(|number| number as u64), Some(4_503_599_627_370_499));
    }

    #[test]
    fn time_is_utc_to_the_millisecond() {
        let text = now();
        assert_eq!((text.len(), text.as_bytes()[19], text.as_bytes()[23]), (24, b'.', b'Z'), "{text}");
    }

    #[test]
    fn short_lines_have_their_numbers() {
        let object = notice(&Notice::Lagged { lost: 3 }).unwrap();
        assert_eq!((&object["type"], &object["lost"]), (&json!("lagged"), &json!(3)));
        let object = notice(&Notice::Stalled { late: core::time::Duration::from_millis(1500) }).unwrap();
        assert_eq!((&object["type"], &object["late_ms"]), (&json!("stalled"), &json!(1500)));
    }
}

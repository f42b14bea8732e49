//! Finds out which message a case is about, from its content, and takes it through decoder and encoder.
use super::Case;
use super::show::{Show, map, object};
use gossip_proto::wire::message::*;
use gossip_proto::wire::msgpack::DecodeError;
use gossip_proto::wire::serf::*;
use serde_json::{Value, json};

/// What a case can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ping,
    IndirectPing,
    Ack,
    Nack,
    Error,
    Accusation,
    Alive,
    PushPullHeader,
    NodeState,
    UserHeader,
    Compressed,
    Leave,
    Join,
    SerfPushPull,
    UserEvent,
    Query,
    QueryResponse,
    Conflict,
    Member,
    KeyRequest,
    KeyResponse,
    Relay,
    RelayHeader,
    Filter,
    NodeFilter,
    TagFilter,
    PingPayload,
    Coordinate,
    Meta,
    TagMap,
}

/// A case taken apart and put together again.
#[derive(Debug)]
pub(crate) struct Codec {
    /// The value, in the form of [`Show`].
    pub(crate) shown: Value,
    /// How many bytes the decoder took.
    pub(crate) consumed: usize,
    /// What the encoder makes of the value.
    pub(crate) encoded: Vec<u8>,
}

/// Which message an entry of the memberlist section `vectors` holds, and at which offset its body starts: by the name
/// first, else by the names of its fields and the type byte. `None`: the bytes are the user's.
pub(crate) fn memberlist_kind(case: &Case, bytes: &[u8]) -> Option<(Kind, usize)> {
    const NAMES: [(&str, Kind); 13] = [
        ("ping", Kind::Ping),
        ("indirect_ping", Kind::IndirectPing),
        ("ack", Kind::Ack),
        ("nack", Kind::Nack),
        ("err", Kind::Error),
        ("suspect", Kind::Accusation),
        ("dead", Kind::Accusation),
        ("alive", Kind::Alive),
        ("pushpull_header", Kind::PushPullHeader),
        ("pushnodestate", Kind::NodeState),
        ("usermsg_header", Kind::UserHeader),
        ("compress_struct", Kind::Compressed),
        ("leave", Kind::Accusation),
    ];
    let has = |key: &str| case.value["fields"].get(key).is_some();
    let named = NAMES.iter().find(|(prefix, _)| case.name.starts_with(prefix)).map(|(_, kind)| *kind);
    let kind = match named {
        Some(kind) => kind,
        None if has("State") && has("Name") => Kind::NodeState,
        None => match bytes.first().copied().and_then(MessageType::from_byte).expect("a type byte") {
            MessageType::Ping => Kind::Ping,
            MessageType::IndirectPing => Kind::IndirectPing,
            MessageType::Ack => Kind::Ack,
            MessageType::Suspect | MessageType::Dead => Kind::Accusation,
            MessageType::Alive => Kind::Alive,
            MessageType::PushPull => Kind::PushPullHeader,
            MessageType::User if has("UserMsgLen") => Kind::UserHeader,
            MessageType::User => return None,
            MessageType::Compressed => Kind::Compressed,
            MessageType::Nack => Kind::Nack,
            MessageType::Error => Kind::Error,
            other => panic!("{}: {other:?} is not one message", case.name),
        },
    };
    Some((kind, usize::from(kind != Kind::NodeState)))
}

/// Which message a Serf entry holds, and at which offset its body starts: by the names of its fields where the blob has
/// no type byte, else by that. Filters and ack payloads start with bytes that are types elsewhere.
pub(crate) fn serf_kind(case: &Case, bytes: &[u8]) -> (Kind, usize) {
    let has = |key: &str| case.value["fields"].get(key).is_some();
    if has("tags") || has("protocol") || has("role") || case.name.contains(".meta") {
        return (Kind::Meta, 0);
    }
    if has("nodes") || has("Expr") || case.name.contains(".filter") {
        return (Kind::Filter, 0);
    }
    if has("Vec") || has("coordinate") || case.name.contains(".ping") {
        return (Kind::PingPayload, 0);
    }
    let kind = match bytes.first().copied().and_then(SerfType::from_byte).expect("a type byte") {
        SerfType::Leave => Kind::Leave,
        SerfType::Join => Kind::Join,
        SerfType::PushPull => Kind::SerfPushPull,
        SerfType::UserEvent => Kind::UserEvent,
        SerfType::Query => Kind::Query,
        SerfType::QueryResponse => Kind::QueryResponse,
        SerfType::ConflictResponse => Kind::Conflict,
        SerfType::KeyRequest => Kind::KeyRequest,
        SerfType::KeyResponse => Kind::KeyResponse,
        SerfType::Relay => Kind::Relay,
    };
    (kind, 1)
}

/// The kind that a name of a Go type stands for.
pub(crate) fn go_kind(name: &str) -> Kind {
    match name.trim_start_matches('*').rsplit('.').next().unwrap_or_default() {
        "ping" => Kind::Ping,
        "indirectPingReq" => Kind::IndirectPing,
        "ackResp" => Kind::Ack,
        "nackResp" => Kind::Nack,
        "errResp" => Kind::Error,
        "suspect" | "dead" => Kind::Accusation,
        "alive" => Kind::Alive,
        "pushPullHeader" => Kind::PushPullHeader,
        "pushNodeState" => Kind::NodeState,
        "userMsgHeader" => Kind::UserHeader,
        "compress" => Kind::Compressed,
        "messageLeave" => Kind::Leave,
        "messageJoin" => Kind::Join,
        "messagePushPull" => Kind::SerfPushPull,
        "messageUserEvent" => Kind::UserEvent,
        "messageQuery" => Kind::Query,
        "messageQueryResponse" => Kind::QueryResponse,
        "Member" => Kind::Member,
        "messageKeyRequest" | "keyRequest" => Kind::KeyRequest,
        "messageKeyResponse" | "nodeKeyResponse" | "keyResponse" => Kind::KeyResponse,
        "relayHeader" => Kind::RelayHeader,
        "filterNode" | "[]string" => Kind::NodeFilter,
        "filterTag" => Kind::TagFilter,
        "Coordinate" => Kind::Coordinate,
        "map[string]string" => Kind::TagMap,
        other => panic!("no type for {other}"),
    }
}

macro_rules! through {
    ($body:expr, $ty:ident, $show:expr) => {{
        let (message, consumed) = $ty::decode($body)?;
        let mut encoded = Vec::new();
        message.encode(&mut encoded).expect("a vector has room");
        assert_eq!(message.encoded_len(), encoded.len(), "measured");
        Ok(Codec { shown: shown(&message, $show), consumed, encoded })
    }};
}

fn shown<M>(message: &M, show: impl FnOnce(&M) -> Value) -> Value {
    show(message)
}

/// Decodes `body` and encodes the value again.
pub(crate) fn codec(kind: Kind, body: &[u8]) -> Result<Codec, DecodeError> {
    match kind {
        Kind::Ping => {
            through!(body, Ping, |m| object!(m, "SeqNo": seq, "Node": node, "SourceAddr": source_addr,
            "SourcePort": source_port, "SourceNode": source_node))
        }
        Kind::IndirectPing => {
            through!(body, IndirectPing, |m| object!(m, "SeqNo": seq, "Target": target, "Port": port,
            "Node": node, "Nack": nack, "SourceAddr": source_addr, "SourcePort": source_port,
            "SourceNode": source_node))
        }
        Kind::Ack => through!(body, Ack, |m| object!(m, "SeqNo": seq, "Payload": payload)),
        Kind::Nack => through!(body, Nack, |m| object!(m, "SeqNo": seq)),
        Kind::Error => through!(body, ErrorReply, |m| object!(m, "Error": text)),
        Kind::Accusation => {
            through!(body, Accusation, |m| object!(m, "Incarnation": incarnation, "Node": node, "From": from))
        }
        Kind::Alive => {
            through!(body, Alive, |m| object!(m, "Incarnation": incarnation, "Node": node, "Addr": addr,
            "Port": port, "Meta": meta, "Vsn": vsn))
        }
        Kind::PushPullHeader => through!(body, PushPullHeader, |m| object!(m, "Nodes": nodes,
            "UserStateLen": user_state_len, "Join": join)),
        Kind::NodeState => {
            through!(body, NodeState, |m| object!(m, "Name": name, "Addr": addr, "Port": port,
            "Meta": meta, "Incarnation": incarnation, "State": state, "Vsn": vsn))
        }
        Kind::UserHeader => through!(body, UserHeader, |m| object!(m, "UserMsgLen": len)),
        Kind::Compressed => through!(body, Compressed, |m| object!(m, "Algo": algo, "Buf": buf)),
        Kind::Leave => {
            through!(body, LeaveIntent, |m| object!(m, "LTime": ltime, "Node": node, "Prune": prune))
        }
        Kind::Join => through!(body, JoinIntent, |m| object!(m, "LTime": ltime, "Node": node)),
        Kind::SerfPushPull => push_pull(body),
        Kind::UserEvent => {
            through!(body, UserEvent, |m| object!(m, "LTime": ltime, "Name": name, "Payload": payload,
            "CC": coalesce))
        }
        Kind::Query => {
            through!(body, Query, |m| object!(m, "LTime": ltime, "ID": id, "Addr": addr, "Port": port,
            "SourceNode": source_node, "Filters": filters, "Flags": flags, "RelayFactor": relay_factor,
            "Timeout": timeout, "Name": name, "Payload": payload))
        }
        Kind::QueryResponse => through!(body, QueryResponse, show_response),
        Kind::Conflict => {
            let (message, consumed) = ConflictResponse::decode(body)?;
            let shown = message.0.as_ref().map_or(Value::Null, show_member);
            Ok(Codec { shown, consumed, encoded: written(|sink| message.encode(sink)) })
        }
        Kind::Member => through!(body, Member, show_member),
        Kind::KeyRequest => through!(body, KeyRequest, |m| object!(m, "Key": key)),
        Kind::KeyResponse => {
            through!(body, KeyResponse, |m| object!(m, "Result": ok, "Message": message, "Keys": keys,
            "PrimaryKey": primary_key))
        }
        Kind::Relay => {
            let relay = Relay::decode(body)?;
            let mut shown = show_header(&relay.header);
            shown["header"] = shown.clone();
            shown["inner_type"] = json!(relay.inner.first());
            shown["inner"] = codec(Kind::QueryResponse, relay.inner.get(1..).unwrap_or_default())?.shown;
            Ok(Codec { shown, consumed: body.len(), encoded: written(|sink| relay.encode(sink)) })
        }
        Kind::RelayHeader => through!(body, RelayHeader, show_header),
        Kind::Filter => {
            let filter = Filter::decode(body)?;
            let shown = match &filter {
                Filter::Nodes(names) => json!({ "nodes": names.show() }),
                Filter::Tag(tag) => object!(tag, "Expr": expr, "Tag": tag),
            };
            Ok(Codec { shown, consumed: body.len(), encoded: written(|sink| filter.encode(sink)) })
        }
        Kind::NodeFilter => {
            let blob = [&[0], body].concat();
            let Filter::Nodes(names) = Filter::decode(&blob)? else { panic!("not a node filter") };
            Ok(Codec { shown: names.show(), consumed: body.len(), encoded: Vec::new() })
        }
        Kind::TagFilter => through!(body, TagFilter, |m| object!(m, "Expr": expr, "Tag": tag)),
        Kind::PingPayload => {
            let payload = PingPayload::decode(body)?;
            let mut shown = show_coordinate(&payload.coordinate);
            shown["coordinate"] = shown.clone();
            shown["version"] = json!(PING_VERSION);
            Ok(Codec { shown, consumed: body.len(), encoded: written(|sink| payload.encode(sink)) })
        }
        Kind::Coordinate => through!(body, Coordinate, show_coordinate),
        Kind::Meta => meta(body),
        Kind::TagMap => Ok(meta(&[&[TAGS_PREFIX], body].concat())?.without_role()),
    }
}

/// The tags up to the first error, as upstream keeps them.
pub(crate) fn partial_tags(meta: &[u8]) -> Value {
    map(Tags::of(meta).map_while(Result::ok).map(|tag| tag.show()))
}

impl Codec {
    fn without_role(mut self) -> Self {
        self.shown = self.shown["tags"].take();
        self
    }
}

fn meta(meta: &[u8]) -> Result<Codec, DecodeError> {
    let tags = Tags::of(meta).collect::<Result<Vec<_>, _>>()?;
    let shown = map(tags.iter().map(Show::show));
    let role = tags.iter().find(|(name, _)| **name == *b"role").map_or(Value::Null, |(_, role)| role.show());
    let encoded = if meta.first() == Some(&TAGS_PREFIX) {
        written(|sink| encode_tags(sink, tags.iter().map(|(name, value)| (name, value))))
    } else {
        tags[0].1.to_vec()
    };
    let protocol = if meta.first() == Some(&TAGS_PREFIX) { 3 } else { 2 };
    Ok(Codec {
        shown: json!({ "tags": shown, "role": role, "protocol": protocol }),
        consumed: meta.len(),
        encoded,
    })
}

fn push_pull(body: &[u8]) -> Result<Codec, DecodeError> {
    let (state, consumed) = PushPull::decode(body)?;
    let events = state.events(body).map(|entry| match entry {
        None => Value::Null,
        Some(entry) => json!({ "LTime": entry.ltime, "Events": if entry.events.is_empty() {
            Value::Null
        } else {
            entry.events.iter().map(|event| object!(event, "Name": name, "Payload": payload)).collect()
        } }),
    });
    let shown = json!({
        "LTime": state.ltime,
        "EventLTime": state.event_ltime,
        "QueryLTime": state.query_ltime,
        "StatusLTimes": map(state.status_ltimes(body).map(|pair| pair.show())),
        "LeftMembers": state.left_members(body).map(|name| name.show()).collect::<Value>(),
        "Events": events.collect::<Value>(),
    });
    let parts = PushPullParts {
        ltime: state.ltime,
        event_ltime: state.event_ltime,
        query_ltime: state.query_ltime,
        status_ltimes: state.status_ltimes(body),
        left_members: state.left_members(body),
        events: state.events(body).map(|entry| entry.map(|entry| (entry.ltime, entry.events.iter()))),
    };
    Ok(Codec { shown, consumed, encoded: written(|sink| parts.encode(sink)) })
}

fn show_response(m: &QueryResponse<'_>) -> Value {
    object!(m, "LTime": ltime, "ID": id, "From": from, "Flags": flags, "Payload": payload)
}

fn show_member(m: &Member<'_>) -> Value {
    let mut shown = object!(m, "Name": name, "Addr": addr, "Port": port, "Status": status, "ProtocolMin": protocol_min,
        "ProtocolMax": protocol_max, "ProtocolCur": protocol_cur, "DelegateMin": delegate_min,
        "DelegateMax": delegate_max, "DelegateCur": delegate_cur);
    shown["Tags"] = map(m.tags.iter().map(|tag| tag.show()));
    shown
}

fn show_header(m: &RelayHeader<'_>) -> Value {
    json!({
        "DestAddr": object!(m.addr, "IP": ip, "Port": port, "Zone": zone),
        "DestName": m.name.show(),
    })
}

fn show_coordinate(m: &Coordinate) -> Value {
    let mut shown = object!(m, "Error": error, "Adjustment": adjustment, "Height": height);
    shown["Vec"] = m.vec.iter().copied().collect();
    shown
}

fn written<E: core::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("a vector has room");
    bytes
}

//! The objects of Serf's RPC (serf.md 9.4): a header, and what follows it.

use transport_tokio::gossip_proto::wire::msgpack::{DecodeError, Reader, put_map_header};

use super::value::{Blob, Map, Text, Value};

/// The only version of the protocol.
pub(crate) const VERSION: i32 = 1;

/// Defines commands with their names, and whether a body follows the request and the response.
macro_rules! commands {
    ($($variant:ident $name:literal $request:ident $response:ident),* $(,)?) => {
        /// What an agent can be asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Command { $($variant),* }

        impl Command {
            pub(crate) fn parse(name: &[u8]) -> Option<Self> {
                [$(($name, Self::$variant)),*]
                    .into_iter()
                    .find_map(|(known, command)| (known.as_bytes() == name).then_some(command))
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Whether a body follows the header of the request.
            pub(crate) fn has_request_body(self) -> bool {
                match self { $(Self::$variant => commands!(@ $request)),* }
            }

            /// Whether a body follows the header of the response; then it does on errors too, except on the lack of
            /// authentication.
            pub(crate) fn has_response_body(self) -> bool {
                match self { $(Self::$variant => commands!(@ $response)),* }
            }
        }
    };
    (@ body) => { true };
    (@ bare) => { false };
}

commands! {
    Handshake "handshake" body bare,
    Auth "auth" body bare,
    Event "event" body bare,
    ForceLeave "force-leave" body bare,
    Join "join" body body,
    Members "members" bare body,
    MembersFiltered "members-filtered" body body,
    Tags "tags" body bare,
    Stream "stream" body bare,
    Monitor "monitor" body bare,
    Stop "stop" body bare,
    Leave "leave" bare bare,
    Query "query" body bare,
    Respond "respond" body bare,
    InstallKey "install-key" body body,
    UseKey "use-key" body body,
    RemoveKey "remove-key" body body,
    ListKeys "list-keys" bare body,
    Stats "stats" bare body,
    GetCoordinate "get-coordinate" body body,
}

/// Defines structs that travel as maps by field name. The fields are in the order in which they are sent: by name.
macro_rules! records {
    ($($(#[$doc:meta])* $record:ident { $($name:literal $field:ident: $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(crate) struct $record { $(pub(crate) $field: $ty),* }

        impl $record {
            const NAMES: &[&str] = &[$($name),*];
        }

        impl Value for $record {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                refuse_unknown_order(reader, Self::NAMES)?;
                let mut record = Self::default();
                let mut fields = reader.fields()?;
                while let Some(key) = fields.next(reader, &[$($name.as_bytes()),*])? {
                    $(if key == $name.as_bytes() {
                        record.$field = Value::read(reader)?;
                        continue;
                    })*
                    reader.skip_value()?;
                }
                Ok(record)
            }

            fn write(&self, out: &mut Vec<u8>) {
                let _ = put_map_header(out, Self::NAMES.len());
                $(
                    Text::from($name).write(out);
                    self.$field.write(out);
                )*
            }
        }

        #[cfg(test)]
        impl vectors::Show for $record {
            fn show(&self) -> serde_json::Value {
                serde_json::json!({ $($name: vectors::Show::show(&self.$field)),* })
            }
        }
    )*};
}

/// A struct may come as an array in the order in which Go declares it. That order is known for the request header, and
/// no question where there is one field; a guess would put values into wrong fields.
fn refuse_unknown_order(reader: &Reader<'_>, names: &[&str]) -> Result<(), DecodeError> {
    let known = names.len() == 1 || names == RequestHeader::NAMES;
    match reader.rest().first() {
        Some(&found @ (0x91..=0x9f | 0xdc | 0xdd)) if !known => {
            Err(DecodeError::Type { at: reader.position(), found })
        }
        _ => Ok(()),
    }
}

records! {
    RequestHeader { "Command" command: Text, "Seq" seq: u64 }
    /// Comes before every response and every record; `error` is empty if all is well.
    ResponseHeader { "Error" error: Text, "Seq" seq: u64 }

    HandshakeRequest { "Version" version: i32 }
    AuthRequest { "AuthKey" key: Text }
    EventRequest { "Coalesce" coalesce: bool, "Name" name: Text, "Payload" payload: Blob }
    ForceLeaveRequest { "Node" node: Text, "Prune" prune: bool }
    JoinRequest { "Existing" existing: Option<Vec<Text>>, "Replay" replay: bool }
    JoinResponse { "Num" num: i32 }
    MembersFilteredRequest { "Name" name: Text, "Status" status: Text, "Tags" tags: Map<Text> }
    MembersResponse { "Members" members: Option<Vec<Member>> }
    TagsRequest { "DeleteTags" delete: Option<Vec<Text>>, "Tags" set: Map<Text> }
    StreamRequest { "Type" filter: Text }
    MonitorRequest { "LogLevel" level: Text }
    StopRequest { "Stop" seq: u64 }
    QueryRequest {
        "FilterNodes" nodes: Option<Vec<Text>>,
        "FilterTags" tags: Map<Text>,
        "Name" name: Text,
        "Payload" payload: Blob,
        "RelayFactor" relay_factor: u8,
        "RequestAck" ack: bool,
        "Timeout" timeout: i64,
    }
    RespondRequest { "ID" id: u64, "Payload" payload: Blob }
    KeyRequest { "Key" key: Text }
    KeyResponse {
        "Keys" keys: Map<i64>,
        "Messages" messages: Map<Text>,
        "NumErr" errors: i64,
        "NumNodes" nodes: i64,
        "NumResp" responses: i64,
    }
    CoordinateRequest { "Node" node: Text }
    CoordinateResponse { "Coord" coordinate: Coordinate, "Ok" ok: bool }
    Coordinate {
        "Adjustment" adjustment: f64,
        "Error" error: f64,
        "Height" height: f64,
        "Vec" vec: Option<Vec<f64>>,
    }

    Member {
        "Addr" addr: Blob,
        "DelegateCur" delegate_cur: u8,
        "DelegateMax" delegate_max: u8,
        "DelegateMin" delegate_min: u8,
        "Name" name: Text,
        "Port" port: u16,
        "ProtocolCur" protocol_cur: u8,
        "ProtocolMax" protocol_max: u8,
        "ProtocolMin" protocol_min: u8,
        "Status" status: Text,
        "Tags" tags: Map<Text>,
    }

    /// What a stream tells of members.
    MemberRecord { "Event" event: Text, "Members" members: Option<Vec<Member>> }
    /// What a stream tells of a user event; `event` is `user`.
    UserRecord {
        "Coalesce" coalesce: bool,
        "Event" event: Text,
        "LTime" ltime: u64,
        "Name" name: Text,
        "Payload" payload: Blob,
    }
    /// What a stream tells of a query; `event` is `query`.
    QueryRecord {
        "Event" event: Text,
        "ID" id: u64,
        "LTime" ltime: u64,
        "Name" name: Text,
        "Payload" payload: Blob,
    }
    /// What a query's own stream tells: `ack`, `response`, and `done` at the end.
    AnswerRecord { "From" from: Text, "Payload" payload: Blob, "Type" kind: Text }
    LogRecord { "Log" line: Text }
}

/// Sections of figures.
pub(crate) type Stats = Map<Map<Text>>;

#[cfg(test)]
#[path = "vectors_tests.rs"]
mod vectors;

//! The messages of Serf (serf 3), which travel as memberlist's user messages, inside one another, or as user state.
use super::field::{Field, List, Raw, Text, record};
use super::msgpack::{DecodeError, Full, Reader, Sink};

mod coordinate;
mod push_pull;
mod tags;

pub use coordinate::{Coordinate, MAX_DIMENSIONS, PING_VERSION, PingPayload, Vector};
pub use push_pull::{Check, EventEntry, PushPull, PushPullParts, RecentEvent};
pub use tags::{TAGS_PREFIX, Tags, encode_tags};

/// The first byte of every Serf message (serf 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SerfType {
    /// [`LeaveIntent`]
    Leave = 0,
    /// [`JoinIntent`]
    Join = 1,
    /// [`PushPull`]; only as the user state of an exchange
    PushPull = 2,
    /// [`UserEvent`]
    UserEvent = 3,
    /// [`Query`]
    Query = 4,
    /// [`QueryResponse`]
    QueryResponse = 5,
    /// [`ConflictResponse`]; only in the payload of a response
    ConflictResponse = 6,
    /// [`KeyRequest`]; only in the payload of a query
    KeyRequest = 7,
    /// [`KeyResponse`]; only in the payload of a response
    KeyResponse = 8,
    /// [`Relay`]
    Relay = 9,
}

impl SerfType {
    /// The type that `byte` stands for; `None` for the unassigned ones.
    #[inline]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Leave,
            1 => Self::Join,
            2 => Self::PushPull,
            3 => Self::UserEvent,
            4 => Self::Query,
            5 => Self::QueryResponse,
            6 => Self::ConflictResponse,
            7 => Self::KeyRequest,
            8 => Self::KeyResponse,
            9 => Self::Relay,
            _ => return None,
        })
    }

    /// The byte on the wire.
    #[inline]
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }
}

record! {
    /// A node has come, or has come back.
    pub struct JoinIntent<'a> {
        /// When, on the member clock.
        b"LTime" => ltime: u64,
        /// Its name.
        b"Node" => node: Text<'a>,
    }
    emits { b"LTime" => ltime, b"Node" => node, }
}

record! {
    /// A node is leaving, or is made to leave.
    pub struct LeaveIntent<'a> {
        /// When, on the member clock.
        b"LTime" => ltime: u64,
        /// Its name.
        b"Node" => node: Text<'a>,
        /// Whether it is to be forgotten at once.
        b"Prune" => prune: bool,
    }
    emits { b"LTime" => ltime, b"Node" => node, b"Prune" => prune, }
}

record! {
    /// Something that happened, for all members to know.
    pub struct UserEvent<'a> {
        /// When, on the event clock.
        b"LTime" => ltime: u64,
        /// What kind of event.
        b"Name" => name: Text<'a>,
        /// What the application says about it.
        b"Payload" => payload: Raw<'a>,
        /// Whether of several events of the name the receiver may deliver only the latest.
        b"CC" => coalesce: bool,
    }
    emits { b"CC" => coalesce, b"LTime" => ltime, b"Name" => name, b"Payload" => payload, }
}

record! {
    /// A question to all members that pass the filters.
    pub struct Query<'a> {
        /// When, on the query clock.
        b"LTime" => ltime: u64,
        /// Tells queries of one time apart.
        b"ID" => id: u32,
        /// Address of the originator, 4 or 16 bytes.
        b"Addr" => addr: Raw<'a>,
        /// Port of the originator.
        b"Port" => port: u16,
        /// Name of the originator; empty from old nodes.
        b"SourceNode" => source_node: Text<'a>,
        /// Each a [`Filter`]; all must match.
        b"Filters" => filters: List<'a, Raw<'a>>,
        /// [`ACK`](Self::ACK) and [`NO_BROADCAST`](Self::NO_BROADCAST).
        b"Flags" => flags: u32,
        /// Through how many others an answer shall also travel.
        b"RelayFactor" => relay_factor: u8,
        /// How long the originator listens, in nanoseconds.
        b"Timeout" => timeout: i64,
        /// What is asked.
        b"Name" => name: Text<'a>,
        /// What the application says about it.
        b"Payload" => payload: Raw<'a>,
    }
    emits {
        b"Addr" => addr,
        b"Filters" => filters,
        b"Flags" => flags,
        b"ID" => id,
        b"LTime" => ltime,
        b"Name" => name,
        b"Payload" => payload,
        b"Port" => port,
        b"RelayFactor" => relay_factor,
        b"SourceNode" => source_node,
        b"Timeout" => timeout,
    }
}

impl Query<'_> {
    /// Flag: whoever receives the query shall say so.
    pub const ACK: u32 = 1;
    /// Flag: the query shall not be passed on.
    pub const NO_BROADCAST: u32 = 2;
}

record! {
    /// An answer to a query, or the confirmation that it was received.
    pub struct QueryResponse<'a> {
        /// Of the query.
        b"LTime" => ltime: u64,
        /// Of the query.
        b"ID" => id: u32,
        /// Who answers. Nobody vouches for it.
        b"From" => from: Text<'a>,
        /// [`ACK`](Self::ACK).
        b"Flags" => flags: u32,
        /// The answer.
        b"Payload" => payload: Raw<'a>,
    }
    emits { b"Flags" => flags, b"From" => from, b"ID" => id, b"LTime" => ltime, b"Payload" => payload, }
}

impl QueryResponse<'_> {
    /// Flag: this is a confirmation, not an answer.
    pub const ACK: u32 = 1;
}

record! {
    /// A row of the responder's member table.
    pub struct Member<'a> {
        /// Its name.
        b"Name" => name: Text<'a>,
        /// Its address, 4 or 16 bytes.
        b"Addr" => addr: Raw<'a>,
        /// Its port.
        b"Port" => port: u16,
        /// Its tags; the last of a name counts.
        b"Tags" => tags: List<'a, (Text<'a>, Text<'a>)>,
        /// 0 none, 1 alive, 2 leaving, 3 left, 4 failed.
        b"Status" => status: i64,
        /// Least memberlist version it understands.
        b"ProtocolMin" => protocol_min: u8,
        /// Greatest memberlist version it understands.
        b"ProtocolMax" => protocol_max: u8,
        /// Memberlist version it speaks.
        b"ProtocolCur" => protocol_cur: u8,
        /// Least Serf version it understands.
        b"DelegateMin" => delegate_min: u8,
        /// Greatest Serf version it understands.
        b"DelegateMax" => delegate_max: u8,
        /// Serf version it speaks.
        b"DelegateCur" => delegate_cur: u8,
    }
    emits {
        b"Addr" => addr,
        b"DelegateCur" => delegate_cur,
        b"DelegateMax" => delegate_max,
        b"DelegateMin" => delegate_min,
        b"Name" => name,
        b"Port" => port,
        b"ProtocolCur" => protocol_cur,
        b"ProtocolMax" => protocol_max,
        b"ProtocolMin" => protocol_min,
        b"Status" => status,
        b"Tags" => tags,
    }
}

/// Who, in the responder's view, has a name that two nodes claim; nobody if it does not know the name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConflictResponse<'a>(pub Option<Member<'a>>);

impl<'a> ConflictResponse<'a> {
    /// Decodes the body, which starts after the type byte, and says how many bytes it took.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(body: &'a [u8]) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader::new(body);
        let member = Field::read(&mut reader)?;
        Ok((Self(member), reader.position()))
    }

    /// Encodes the body, without the type byte.
    ///
    /// # Errors
    /// No room in `sink`.
    pub fn encode<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        self.0.write(sink)
    }
}

record! {
    /// Asks for something to be done with a key.
    pub struct KeyRequest<'a> {
        /// The key itself; empty when keys are to be listed.
        b"Key" => key: Raw<'a>,
    }
    emits { b"Key" => key, }
}

record! {
    /// What came of a [`KeyRequest`].
    pub struct KeyResponse<'a> {
        /// Whether it was done.
        b"Result" => ok: bool,
        /// Why not, for people.
        b"Message" => message: Text<'a>,
        /// All keys in base64; nil unless keys were to be listed.
        b"Keys" => keys: List<'a, Text<'a>>,
        /// The primary key in base64; empty unless keys were to be listed, and from old nodes.
        b"PrimaryKey" => primary_key: Text<'a>,
    }
    emits { b"Keys" => keys, b"Message" => message, b"PrimaryKey" => primary_key, b"Result" => ok, }
}

record! {
    /// An address in the shape of Go's `net.UDPAddr`.
    pub struct UdpAddr<'a> {
        /// 4 or 16 bytes.
        b"IP" => ip: Raw<'a>,
        /// Signed, as upstream's is; outside 1..=65535 it is no port.
        b"Port" => port: i64,
        /// Scope of a link-local address.
        b"Zone" => zone: Text<'a>,
    }
    emits { b"IP" => ip, b"Port" => port, b"Zone" => zone, }
}

record! {
    /// Where a relayed message is to go.
    pub struct RelayHeader<'a> {
        /// Its address.
        b"DestAddr" => addr: UdpAddr<'a>,
        /// Its name; empty from old nodes.
        b"DestName" => name: Text<'a>,
    }
    emits { b"DestAddr" => addr, b"DestName" => name, }
}

/// A message to be passed on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relay<'a> {
    /// Where to.
    pub header: RelayHeader<'a>,
    /// The message, type byte included: all that follows the header.
    pub inner: &'a [u8],
}

impl<'a> Relay<'a> {
    /// Decodes the body, which starts after the type byte and takes all that is given.
    ///
    /// # Errors
    /// Bytes that do not start with a header.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, len) = RelayHeader::decode(body)?;
        Ok(Self { header, inner: body.get(len..).unwrap_or_default() })
    }

    /// Encodes the body, without the type byte.
    ///
    /// # Errors
    /// No room in `sink`.
    pub fn encode<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        self.header.encode(sink)?;
        sink.put(self.inner)
    }
}

record! {
    /// Matches members by the value of one tag; a missing tag has the empty value.
    pub struct TagFilter<'a> {
        /// Name of the tag.
        b"Tag" => tag: Text<'a>,
        /// Regular expression to be found in its value.
        b"Expr" => expr: Text<'a>,
    }
    emits { b"Expr" => expr, b"Tag" => tag, }
}

/// Which members a query is for: one element of [`Query::filters`].
#[derive(Clone, Debug, PartialEq)]
pub enum Filter<'a> {
    /// Those named.
    Nodes(List<'a, Text<'a>>),
    /// Those with a tag that matches.
    Tag(TagFilter<'a>),
}

impl<'a> Filter<'a> {
    /// Decodes a whole filter.
    ///
    /// # Errors
    /// An empty blob, which crashes upstream; a filter of an unknown kind; bytes that are no filter. Any of them matches
    /// no member (serf 5.3).
    pub fn decode(blob: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(blob);
        match reader.byte()? {
            NODE_FILTER => Field::read(&mut reader).map(Self::Nodes),
            TAG_FILTER => Field::read(&mut reader).map(Self::Tag),
            found => Err(DecodeError::Type { at: 0, found }),
        }
    }

    /// Encodes the whole filter.
    ///
    /// # Errors
    /// No room in `sink`.
    pub fn encode<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        match self {
            Self::Nodes(names) => {
                sink.put(&[NODE_FILTER])?;
                names.write(sink)
            }
            Self::Tag(filter) => {
                sink.put(&[TAG_FILTER])?;
                filter.write(sink)
            }
        }
    }
}

const NODE_FILTER: u8 = 0;
const TAG_FILTER: u8 = 1;

#[cfg(test)]
#[path = "serf_tests.rs"]
mod tests;

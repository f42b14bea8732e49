//! The messages of memberlist (memberlist 3), as borrowed values.
use super::field::{Raw, Text, record};

/// The first byte of every message, on packets and on streams (memberlist 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// [`Ping`]
    Ping = 0,
    /// [`IndirectPing`]
    IndirectPing = 1,
    /// [`Ack`]
    Ack = 2,
    /// [`Accusation`]
    Suspect = 3,
    /// [`Alive`]
    Alive = 4,
    /// [`Accusation`]; one in which a node names itself is its leave
    Dead = 5,
    /// [`PushPullHeader`], then that many [`NodeState`], then the user state; streams only
    PushPull = 6,
    /// Several messages in one packet; packets only
    Compound = 7,
    /// Bytes of the layer above: on packets all that follows, on streams after a [`UserHeader`]
    User = 8,
    /// [`Compressed`]
    Compressed = 9,
    /// A sealed frame; streams only
    Encrypted = 10,
    /// [`Nack`]; packets only
    Nack = 11,
    /// A checksum in front of the rest; packets only, and outermost
    Checksum = 12,
    /// [`ErrorReply`]; streams only, and only as a reply
    Error = 13,
    /// A label in front of the rest; outermost, and on streams only in the initiator's direction
    Label = 244,
}

impl MessageType {
    /// The type that `byte` stands for; `None` for the unassigned ones.
    #[inline]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Ping,
            1 => Self::IndirectPing,
            2 => Self::Ack,
            3 => Self::Suspect,
            4 => Self::Alive,
            5 => Self::Dead,
            6 => Self::PushPull,
            7 => Self::Compound,
            8 => Self::User,
            9 => Self::Compressed,
            10 => Self::Encrypted,
            11 => Self::Nack,
            12 => Self::Checksum,
            13 => Self::Error,
            244 => Self::Label,
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
    /// Asks a node whether it is there.
    pub struct Ping<'a> {
        /// Comes back in the [`Ack`].
        b"SeqNo" => seq: u32,
        /// Whom it is meant for. Another node does not answer; empty means whoever is at the address.
        b"Node" => node: Text<'a>,
        /// Where the ack shall go, if this and the port are given; else where the packet came from.
        b"SourceAddr" => source_addr: Raw<'a>,
        /// Port that belongs to `source_addr`.
        b"SourcePort" => source_port: u16,
        /// Name of the sender.
        b"SourceNode" => source_node: Text<'a>,
    }
    emits {
        b"Node" => node,
        b"SeqNo" => seq,
        b"SourceAddr" => source_addr(optional),
        b"SourceNode" => source_node(optional),
        b"SourcePort" => source_port(optional),
    }
}

record! {
    /// Asks a helper to probe a node on the sender's behalf.
    pub struct IndirectPing<'a> {
        /// The requester's number; comes back in the forwarded [`Ack`] or in the [`Nack`].
        b"SeqNo" => seq: u32,
        /// Address of the node to probe.
        b"Target" => target: Raw<'a>,
        /// Port of the node to probe; 0 stands for the helper's own.
        b"Port" => port: u16,
        /// Name of the node to probe.
        b"Node" => node: Text<'a>,
        /// Whether the requester understands a [`Nack`].
        b"Nack" => nack: bool,
        /// As in [`Ping`].
        b"SourceAddr" => source_addr: Raw<'a>,
        /// As in [`Ping`].
        b"SourcePort" => source_port: u16,
        /// As in [`Ping`].
        b"SourceNode" => source_node: Text<'a>,
    }
    emits {
        b"Nack" => nack,
        b"Node" => node,
        b"Port" => port,
        b"SeqNo" => seq,
        b"SourceAddr" => source_addr(optional),
        b"SourceNode" => source_node(optional),
        b"SourcePort" => source_port(optional),
        b"Target" => target,
    }
}

record! {
    /// Answers a [`Ping`].
    pub struct Ack<'a> {
        /// Copied from the ping.
        b"SeqNo" => seq: u32,
        /// What the layer above wants the prober to know; nil in stream acks and forwarded ones.
        b"Payload" => payload: Raw<'a>,
    }
    emits { b"Payload" => payload, b"SeqNo" => seq, }
}

record! {
    /// Tells the requester that the helper is there but the node it probed did not answer in time.
    pub struct Nack {
        /// Copied from the [`IndirectPing`].
        b"SeqNo" => seq: u32,
    }
    emits { b"SeqNo" => seq, }
}

record! {
    /// Why a stream was refused.
    pub struct ErrorReply<'a> {
        /// For people.
        b"Error" => text: Text<'a>,
    }
    emits { b"Error" => text, }
}

record! {
    /// The body of both suspect and dead: that a node did not answer, or is gone.
    pub struct Accusation<'a> {
        /// Up to which incarnation of the accused this holds.
        b"Incarnation" => incarnation: u32,
        /// The accused.
        b"Node" => node: Text<'a>,
        /// The accuser.
        b"From" => from: Text<'a>,
    }
    emits { b"From" => from, b"Incarnation" => incarnation, b"Node" => node, }
}

record! {
    /// What a node says about itself.
    pub struct Alive<'a> {
        /// Orders what is said about the node.
        b"Incarnation" => incarnation: u32,
        /// Its name.
        b"Node" => node: Text<'a>,
        /// Its address, 4 or 16 bytes; the form is part of its identity.
        b"Addr" => addr: Raw<'a>,
        /// Its port; 0 stands for the receiver's own.
        b"Port" => port: u16,
        /// What the layer above wants all members to know.
        b"Meta" => meta: Raw<'a>,
        /// Protocol and delegate versions: least, greatest and current of each.
        b"Vsn" => vsn: Raw<'a>,
    }
    emits {
        b"Addr" => addr,
        b"Incarnation" => incarnation,
        b"Meta" => meta,
        b"Node" => node,
        b"Port" => port,
        b"Vsn" => vsn,
    }
}

record! {
    /// Announces what follows in one direction of an exchange. The counts are signed, as upstream's are: whoever uses
    /// them checks both ends of the range (memberlist 1.11).
    pub struct PushPullHeader {
        /// How many [`NodeState`] follow.
        b"Nodes" => nodes: i64,
        /// How many bytes of user state follow these.
        b"UserStateLen" => user_state_len: i64,
        /// Whether the sender is joining, rather than comparing notes.
        b"Join" => join: bool,
    }
    emits { b"Join" => join, b"Nodes" => nodes, b"UserStateLen" => user_state_len, }
}

record! {
    /// One row of the sender's member table.
    pub struct NodeState<'a> {
        /// As in [`Alive`].
        b"Name" => name: Text<'a>,
        /// As in [`Alive`].
        b"Addr" => addr: Raw<'a>,
        /// As in [`Alive`].
        b"Port" => port: u16,
        /// As in [`Alive`].
        b"Meta" => meta: Raw<'a>,
        /// As in [`Alive`].
        b"Incarnation" => incarnation: u32,
        /// 0 alive, 1 suspect, 2 dead, 3 left; anything else is to be ignored.
        b"State" => state: i64,
        /// As in [`Alive`].
        b"Vsn" => vsn: Raw<'a>,
    }
    emits {
        b"Addr" => addr,
        b"Incarnation" => incarnation,
        b"Meta" => meta,
        b"Name" => name,
        b"Port" => port,
        b"State" => state,
        b"Vsn" => vsn,
    }
}

record! {
    /// Announces a user message on a stream.
    pub struct UserHeader {
        /// How many bytes follow. Signed as in [`PushPullHeader`].
        b"UserMsgLen" => len: i64,
    }
    emits { b"UserMsgLen" => len, }
}

record! {
    /// A compressed message, type byte included.
    pub struct Compressed<'a> {
        /// 0 is LZW; there is no other.
        b"Algo" => algo: u8,
        /// The compressed bytes.
        b"Buf" => buf: Raw<'a>,
    }
    emits { b"Algo" => algo, b"Buf" => buf, }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::Cow;
    use alloc::vec::Vec;

    #[test]
    fn what_upstream_sends_is_borrowed_whole() {
        let addr = [10, 0, 0, 1];
        let sent = Alive {
            incarnation: 70_000,
            node: b"node-a".as_slice().into(),
            addr: addr.as_slice().into(),
            port: 7946,
            meta: [7; 300].as_slice().into(),
            vsn: [1, 5, 2, 0, 0, 0].as_slice().into(),
        };
        let mut body = Vec::new();
        sent.encode(&mut body).expect("a vector has room");
        assert_eq!(sent.encoded_len(), body.len());
        body.extend_from_slice(b"more");
        let (alive, consumed) = Alive::decode(&body).expect("own encoding");
        assert_eq!((consumed + 4, &alive), (body.len(), &sent));
        for field in [alive.node, alive.addr.into_text(), alive.meta.into_text(), alive.vsn.into_text()] {
            assert!(matches!(field, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn type_bytes_and_types_are_one_to_one() {
        let known: Vec<u8> = (0..=255).filter(|byte| MessageType::from_byte(*byte).is_some()).collect();
        assert_eq!(known, (0..=13).chain([244]).collect::<Vec<u8>>());
        assert!(known.iter().all(|byte| MessageType::from_byte(*byte).map(MessageType::byte) == Some(*byte)));
    }
}

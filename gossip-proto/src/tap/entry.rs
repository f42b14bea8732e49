//! What an entry of a recording says, and how it is written: a kind, fixed fields, and what turned up during the call.

use alloc::borrow::{Cow, ToOwned};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;

use bytes::Bytes;

use super::scrub::Scrub;
use crate::machine::{JoinTarget, QueryParams};
use crate::output::*;
use crate::wire::stream::Pending;
use crate::{Instant, KnownMember, Name};

/// The format written here; a reader refuses any other.
pub(crate) const FORMAT: u8 = 3;

/// A value in an entry.
pub(crate) trait Item<'a>: Sized {
    fn put(&self, out: &mut Writer<'_>);
    /// `None` if the bytes are no such value.
    fn take(input: &mut Parser<'a>) -> Option<Self>;
}

macro_rules! inputs {
    ($($(#[$doc:meta])* $code:literal $name:ident { $($field:ident: $type:ty),* })*) => {
        /// One call of the contract. Codes are never used again for something else.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Input<'a> {
            $($(#[$doc])* $name { $($field: $type),* },)*
        }

        impl<'a> Item<'a> for Input<'a> {
            fn put(&self, out: &mut Writer<'_>) {
                match self {
                    $(Self::$name { $($field),* } => {
                        out.bytes(&[$code]);
                        $($field.put(out);)*
                    })*
                }
            }

            fn take(input: &mut Parser<'a>) -> Option<Self> {
                Some(match input.byte()? {
                    $($code => Self::$name { $($field: Item::take(input)?),* },)*
                    _ => return None,
                })
            }
        }
    };
}

inputs! {
    /// The first entry: what a machine must be made of to go the same way.
    1 Start {
        format: u8, version: &'a [u8], created: Instant, now: Instant, seed: [u8; 32], settings: &'a [u8],
        config: u64, state: u64, keys: Cow<'a, [Key<'a>]>
    }
    /// The last entry of a recording that was stopped on request; what a replay must have reached.
    2 Stop { now: Instant, state: u64, outputs: u64 }
    /// The last entry of a recording that ran out of room.
    3 Full {}
    /// What a replay must have reached here.
    4 Check { now: Instant, state: u64, outputs: u64 }
    10 Datagram { now: Instant, source: Source }
    11 Timeout { now: Instant }
    12 TransmitFailed { now: Instant, id: u64, why: TransmitFailure }
    13 TransmitDelayed { now: Instant, id: u64 }
    14 Path { now: Instant, to: SocketAddr, max_datagram: usize }
    15 AcceptStream { now: Instant, source: Source }
    16 StreamOpened { now: Instant, id: u64 }
    17 StreamFailed { now: Instant, id: u64, why: StreamFailure }
    18 StreamData { now: Instant, id: u64, len: usize, fin: bool }
    30 Join { now: Instant, targets: Cow<'a, [JoinTarget]> }
    31 Leave { now: Instant }
    32 Send { now: Instant, to: MemberKey, payload: Payload<'a> }
    33 SendReliable { now: Instant, to: MemberKey, payload: Payload<'a> }
    34 Ping { now: Instant, to: MemberKey }
    35 Accept { now: Instant, id: u64 }
    36 Refuse { now: Instant, id: u64 }
    37 InstallKey { now: Instant, key: Key<'a> }
    38 UseKey { now: Instant, key: Key<'a> }
    39 RemoveKey { now: Instant, key: Key<'a> }
    40 PersistKeyring { on: bool }
    41 KeyringStored { now: Instant, id: u64, failed: Option<&'a [u8]> }
    42 SetSeeds { now: Instant, seeds: Cow<'a, [SocketAddr]> }
    43 Know { now: Instant, members: Cow<'a, [KnownMember]> }
    50 SetMetadata { now: Instant, metadata: &'a [u8] }
    51 Broadcast { now: Instant, payload: Payload<'a> }
    52 SetUserState { state: &'a [u8] }
    53 BroadcastAbout { now: Instant, subject: &'a [u8], payload: Payload<'a> }
    60 SetTags { now: Instant, tags: Cow<'a, [(Bytes, Bytes)]> }
    61 UserEvent { now: Instant, name: &'a [u8], payload: &'a [u8], coalesce: bool }
    62 ForceLeave { now: Instant, name: &'a [u8], prune: bool }
    63 JoinIgnoringOld { now: Instant, targets: Cow<'a, [JoinTarget]> }
    64 Query { now: Instant, name: &'a [u8], payload: &'a [u8], params: Cow<'a, QueryParams> }
    65 Respond { now: Instant, id: u64, payload: &'a [u8] }
    66 Keys { now: Instant, what: u8, key: Key<'a>, relay_factor: u8 }
    80 PollTransmit { now: Instant, len: usize }
    81 PollStream {}
    82 PollStreamData { now: Instant, id: u64, len: usize }
    83 PollMembership {}
    84 PollCompletion {}
    85 PollEvent {}
}

/// The code of [`Input::Start`].
pub(crate) const START: u8 = 1;

impl Input<'_> {
    /// When the call was made, if it says so.
    pub(crate) fn at(&self) -> Option<Instant> {
        match *self {
            Self::Start { now, .. }
            | Self::Stop { now, .. }
            | Self::Check { now, .. }
            | Self::Datagram { now, .. }
            | Self::Timeout { now }
            | Self::TransmitFailed { now, .. }
            | Self::TransmitDelayed { now, .. }
            | Self::Path { now, .. }
            | Self::AcceptStream { now, .. }
            | Self::StreamOpened { now, .. }
            | Self::StreamFailed { now, .. }
            | Self::StreamData { now, .. }
            | Self::Join { now, .. }
            | Self::Leave { now }
            | Self::Send { now, .. }
            | Self::SendReliable { now, .. }
            | Self::Ping { now, .. }
            | Self::Accept { now, .. }
            | Self::Refuse { now, .. }
            | Self::InstallKey { now, .. }
            | Self::UseKey { now, .. }
            | Self::RemoveKey { now, .. }
            | Self::KeyringStored { now, .. }
            | Self::SetSeeds { now, .. }
            | Self::Know { now, .. }
            | Self::SetMetadata { now, .. }
            | Self::Broadcast { now, .. }
            | Self::BroadcastAbout { now, .. }
            | Self::SetTags { now, .. }
            | Self::UserEvent { now, .. }
            | Self::ForceLeave { now, .. }
            | Self::JoinIgnoringOld { now, .. }
            | Self::Query { now, .. }
            | Self::Respond { now, .. }
            | Self::Keys { now, .. }
            | Self::PollTransmit { now, .. }
            | Self::PollStreamData { now, .. } => Some(now),
            _ => None,
        }
    }
}

/// Something that turned up during the call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trail<'a> {
    /// A message of the datagram, out of all its layers.
    Message(&'a [u8]),
    /// A stream's bytes were read; the message if that completed it.
    Fed(Fed, Option<&'a [u8]>),
    /// A hash of what the call handed out.
    Output(u32),
}

/// What reading a stream came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fed {
    /// Bytes consumed.
    pub(crate) taken: Result<usize, Fault>,
    pub(crate) pending: Pending,
    /// Memory held afterwards.
    pub(crate) held: usize,
}

/// Why a stream cannot be read on, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// It ended before any byte.
    Closed,
    /// It ended within its message.
    Cut,
    /// Its bytes make no sense.
    Odd,
    /// As `Odd`, and an accepting side answers with this text.
    Answered(String),
}

/// A whole entry.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) input: Input<'a>,
    pub(crate) trail: Vec<Trail<'a>>,
}

impl<'a> Entry<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Option<Self> {
        let mut parser = Parser(body);
        let input = Item::take(&mut parser)?;
        let mut trail = Vec::new();
        while !parser.0.is_empty() {
            trail.push(Item::take(&mut parser)?);
        }
        Some(Self { input, trail })
    }
}

/// A key, or what stands for it: written as its pseudonym.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Key<'a>(pub(crate) &'a [u8]);

/// A user message, in which key material may lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Payload<'a>(pub(crate) &'a [u8]);

/// Writes an entry's body, as far as there is room.
#[derive(Debug)]
pub(crate) struct Writer<'w> {
    body: &'w mut Vec<u8>,
    max: usize,
    scrub: &'w Scrub,
}

impl<'w> Writer<'w> {
    /// A body of more than `max` bytes comes out empty.
    pub(crate) fn new(body: &'w mut Vec<u8>, max: usize, scrub: &'w Scrub) -> Self {
        Self { body, max, scrub }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // One beyond the limit means that something did not fit, whatever follows.
        if self.body.len() + bytes.len() > self.max {
            self.body.clear();
            self.max = 0;
        } else {
            self.body.extend_from_slice(bytes);
        }
    }

    /// Writes bytes with their length, and has what was written changed by `scrub`.
    fn scrubbed(&mut self, bytes: &[u8], scrub: impl FnOnce(&Scrub, &mut [u8])) {
        bytes.len().put(self);
        self.bytes(bytes);
        let from = self.body.len().saturating_sub(bytes.len());
        if self.max > 0 {
            scrub(self.scrub, &mut self.body[from..]);
        }
    }

    /// Whether all that was written is there.
    pub(crate) fn fits(&self) -> bool {
        self.max > 0
    }
}

/// Takes an entry's body apart. Nothing is allocated by a length that was not compared with what is there.
#[derive(Debug)]
pub(crate) struct Parser<'a>(&'a [u8]);

impl<'a> Parser<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Item<'a> for u64 {
    /// Seven bits to a byte, the low ones first.
    fn put(&self, out: &mut Writer<'_>) {
        let (mut rest, mut bytes, mut len) = (*self, [0; 10], 0);
        loop {
            bytes[len] = rest as u8 & 0x7f;
            rest >>= 7;
            len += 1;
            if rest == 0 {
                return out.bytes(&bytes[..len]);
            }
            bytes[len - 1] |= 0x80;
        }
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = input.byte()?;
            let bits = Self::from(byte & 0x7f);
            if bits > Self::MAX >> shift.min(63) {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl<'a> Item<'a> for $type {
            fn put(&self, out: &mut Writer<'_>) {
                (*self as u64).put(out);
            }

            fn take(input: &mut Parser<'a>) -> Option<Self> {
                u64::take(input)?.try_into().ok()
            }
        }
    )*};
}

numbers! { u16 u32 usize }

impl<'a> Item<'a> for u8 {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(&[*self]);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        input.byte()
    }
}

impl<'a> Item<'a> for bool {
    fn put(&self, out: &mut Writer<'_>) {
        u8::from(*self).put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        match input.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<'a, const N: usize> Item<'a> for [u8; N] {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(self);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        input.bytes(N)?.try_into().ok()
    }
}

impl<'a> Item<'a> for &'a [u8] {
    fn put(&self, out: &mut Writer<'_>) {
        self.len().put(out);
        out.bytes(self);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let len = Item::take(input)?;
        input.bytes(len)
    }
}

impl<'a> Item<'a> for Key<'a> {
    fn put(&self, out: &mut Writer<'_>) {
        out.scrubbed(self.0, Scrub::key);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Item::take(input).map(Self)
    }
}

impl<'a> Item<'a> for Payload<'a> {
    fn put(&self, out: &mut Writer<'_>) {
        out.scrubbed(self.0, Scrub::user_message);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Item::take(input).map(Self)
    }
}

impl<'a> Item<'a> for Bytes {
    fn put(&self, out: &mut Writer<'_>) {
        self.len().put(out);
        out.bytes(self);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        <&[u8]>::take(input).map(Self::copy_from_slice)
    }
}

impl<'a, A: Item<'a>, B: Item<'a>> Item<'a> for (A, B) {
    fn put(&self, out: &mut Writer<'_>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some((A::take(input)?, B::take(input)?))
    }
}

impl<'a, T: Item<'a>> Item<'a> for Option<T> {
    fn put(&self, out: &mut Writer<'_>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(if bool::take(input)? { Some(T::take(input)?) } else { None })
    }
}

impl<'a, T: Item<'a> + Clone> Item<'a> for Cow<'a, [T]>
where
    [T]: ToOwned<Owned = Vec<T>>,
{
    fn put(&self, out: &mut Writer<'_>) {
        self.len().put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let mut items = Vec::new();
        for _ in 0..usize::take(input)? {
            // Ends with the input: every item takes a byte at the least.
            items.push(T::take(input)?);
        }
        Some(Cow::Owned(items))
    }
}

impl<'a> Item<'a> for Instant {
    fn put(&self, out: &mut Writer<'_>) {
        self.as_nanos().put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        u64::take(input).map(Self::from_nanos)
    }
}

impl<'a> Item<'a> for SocketAddr {
    fn put(&self, out: &mut Writer<'_>) {
        match self {
            Self::V4(v4) => {
                out.bytes(&[4]);
                v4.ip().octets().put(out);
            }
            Self::V6(v6) => {
                out.bytes(&[6]);
                v6.ip().octets().put(out);
                v6.scope_id().put(out);
            }
        }
        self.port().put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        match input.byte()? {
            4 => {
                let ip = Ipv4Addr::from(<[u8; 4]>::take(input)?);
                Some(Self::new(IpAddr::V4(ip), u16::take(input)?))
            }
            6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::take(input)?);
                let scope = u32::take(input)?;
                Some(Self::V6(SocketAddrV6::new(ip, u16::take(input)?, 0, scope)))
            }
            _ => None,
        }
    }
}

impl<'a> Item<'a> for Source {
    fn put(&self, out: &mut Writer<'_>) {
        self.addr.put(out);
        self.identity.map(|identity| identity.0).put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(Self {
            addr: Item::take(input)?,
            identity: <Option<u64> as Item<'_>>::take(input)?.map(IdentityId),
        })
    }
}

impl<'a> Item<'a> for MemberKey {
    fn put(&self, out: &mut Writer<'_>) {
        self.slot.put(out);
        self.epoch.put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(Self { slot: Item::take(input)?, epoch: Item::take(input)? })
    }
}

impl<'a> Item<'a> for JoinTarget {
    fn put(&self, out: &mut Writer<'_>) {
        self.addr.put(out);
        self.name.as_ref().map(Name::as_bytes).put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(Self {
            addr: Item::take(input)?,
            name: <Option<&[u8]> as Item<'_>>::take(input)?.map(Name::new),
        })
    }
}

impl<'a> Item<'a> for Name {
    fn put(&self, out: &mut Writer<'_>) {
        self.as_bytes().put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        <&[u8]>::take(input).map(Self::new)
    }
}

impl<'a> Item<'a> for KnownMember {
    fn put(&self, out: &mut Writer<'_>) {
        self.name.put(out);
        self.addr.put(out);
        self.metadata.put(out);
        self.incarnation.put(out);
        self.versions.put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(Self {
            name: Item::take(input)?,
            addr: Item::take(input)?,
            metadata: Item::take(input)?,
            incarnation: Item::take(input)?,
            versions: Item::take(input)?,
        })
    }
}

impl<'a> Item<'a> for Cow<'a, QueryParams> {
    fn put(&self, out: &mut Writer<'_>) {
        Cow::Borrowed(self.nodes.as_slice()).put(out);
        Cow::Borrowed(self.tags.as_slice()).put(out);
        self.ack.put(out);
        self.everybody_answers.put(out);
        self.relay_factor.put(out);
        self.timeout.map(|timeout| (timeout.as_secs(), timeout.subsec_nanos())).put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(Cow::Owned(QueryParams {
            nodes: Cow::<[Name]>::take(input)?.into_owned(),
            tags: Cow::<[(Bytes, Bytes)]>::take(input)?.into_owned(),
            ack: Item::take(input)?,
            everybody_answers: Item::take(input)?,
            relay_factor: Item::take(input)?,
            timeout: <Option<(u64, u32)> as Item<'_>>::take(input)?.map(|(secs, nanos)| {
                Duration::from_secs(secs).saturating_add(Duration::from_nanos(nanos.into()))
            }),
        }))
    }
}

impl<'a> Item<'a> for TransmitFailure {
    fn put(&self, out: &mut Writer<'_>) {
        match *self {
            Self::Unreachable => out.bytes(&[0]),
            Self::TooBig(limit) => {
                out.bytes(&[1]);
                limit.put(out);
            }
            Self::Local => out.bytes(&[2]),
        }
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        match input.byte()? {
            0 => Some(Self::Unreachable),
            1 => usize::take(input).map(Self::TooBig),
            2 => Some(Self::Local),
            _ => None,
        }
    }
}

impl<'a> Item<'a> for StreamFailure {
    fn put(&self, out: &mut Writer<'_>) {
        out.bytes(&[match self {
            Self::Unreachable => 0,
            Self::Reset => 1,
            Self::TimedOut => 2,
            Self::Local => 3,
        }]);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        match input.byte()? {
            0 => Some(Self::Unreachable),
            1 => Some(Self::Reset),
            2 => Some(Self::TimedOut),
            3 => Some(Self::Local),
            _ => None,
        }
    }
}

impl<'a> Item<'a> for Trail<'a> {
    fn put(&self, out: &mut Writer<'_>) {
        match self {
            Self::Message(message) => {
                out.bytes(&[0]);
                out.scrubbed(message, Scrub::packet_message);
            }
            Self::Fed(fed, message) => {
                out.bytes(&[1]);
                fed.put(out);
                message.is_some().put(out);
                if let Some(message) = message {
                    out.scrubbed(message, Scrub::stream_message);
                }
            }
            Self::Output(hash) => {
                out.bytes(&[2]);
                hash.to_le_bytes().put(out);
            }
        }
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        match input.byte()? {
            0 => Item::take(input).map(Self::Message),
            1 => Some(Self::Fed(Item::take(input)?, Item::take(input)?)),
            2 => <[u8; 4]>::take(input).map(|hash| Self::Output(u32::from_le_bytes(hash))),
            _ => None,
        }
    }
}

impl<'a> Item<'a> for Fed {
    fn put(&self, out: &mut Writer<'_>) {
        match &self.taken {
            Ok(taken) => {
                out.bytes(&[0]);
                taken.put(out);
            }
            Err(Fault::Closed) => out.bytes(&[1]),
            Err(Fault::Cut) => out.bytes(&[2]),
            Err(Fault::Odd) => out.bytes(&[3]),
            Err(Fault::Answered(text)) => {
                out.bytes(&[4]);
                text.as_bytes().put(out);
            }
        }
        out.bytes(&[match self.pending {
            Pending::Nothing => 0,
            Pending::Work => 1,
            Pending::Budget => 2,
        }]);
        self.held.put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let taken = match input.byte()? {
            0 => Ok(Item::take(input)?),
            1 => Err(Fault::Closed),
            2 => Err(Fault::Cut),
            3 => Err(Fault::Odd),
            4 => Err(Fault::Answered(core::str::from_utf8(Item::take(input)?).ok()?.into())),
            _ => return None,
        };
        let pending = match input.byte()? {
            0 => Pending::Nothing,
            1 => Pending::Work,
            2 => Pending::Budget,
            _ => return None,
        };
        Some(Self { taken, pending, held: Item::take(input)? })
    }
}

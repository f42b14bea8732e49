//! The user state of an exchange: clocks, who has which status time, who left, and recent events (serf 1.6).
use crate::wire::field::{BYTES_OF_WORK, Element, Items, List, Raw, Span, Text, put_all, record};
use crate::wire::msgpack::{
    DecodeError, Fields, Full, Reader, Sink, put_array_header, put_map_header, put_nil, put_raw, put_uint,
};

/// Where everything lies in a received state. It borrows nothing, so that a merge can keep it beside the bytes and go
/// through the lists in slices; the lists were checked as a whole when it was decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushPull {
    /// The sender's member clock.
    pub ltime: u64,
    /// The sender's event clock.
    pub event_ltime: u64,
    /// The sender's query clock.
    pub query_ltime: u64,
    /// Of [`status_ltimes`](Self::status_ltimes).
    pub status_span: Span,
    /// Of [`left_members`](Self::left_members).
    pub left_span: Span,
    /// Of [`events`](Self::events).
    pub event_span: Span,
}

impl PushPull {
    /// Decodes the body, which starts after the type byte, and says how many bytes it took.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(body: &[u8]) -> Result<(Self, usize), DecodeError> {
        let mut check = Check::default();
        loop {
            if let Some(decoded) = check.go_on(body, &mut { usize::MAX })? {
                return Ok(decoded);
            }
        }
    }

    /// Each member the sender knows, with the time of its status; of a name given twice, the last counts.
    #[must_use]
    pub fn status_ltimes<'a>(&self, body: &'a [u8]) -> Items<'a, (Text<'a>, u64)> {
        Items::resume(body, self.status_span)
    }

    /// The members that have left.
    #[must_use]
    pub fn left_members<'a>(&self, body: &'a [u8]) -> Items<'a, Text<'a>> {
        Items::resume(body, self.left_span)
    }

    /// The sender's ring of events, empty slots included.
    #[must_use]
    pub fn events<'a>(&self, body: &'a [u8]) -> Items<'a, Option<EventEntry<'a>>> {
        Items::resume(body, self.event_span)
    }
}

record! {
    /// The events of one time.
    pub struct EventEntry<'a> {
        /// On the event clock.
        b"LTime" => ltime: u64,
        /// What happened then.
        b"Events" => events: List<'a, RecentEvent<'a>>,
    }
    emits { b"Events" => events, b"LTime" => ltime, }
}

record! {
    /// An event that the sender still remembers. Whether it may be coalesced it does not.
    pub struct RecentEvent<'a> {
        /// As in [`UserEvent`](super::UserEvent).
        b"Name" => name: Text<'a>,
        /// As in [`UserEvent`](super::UserEvent).
        b"Payload" => payload: Raw<'a>,
    }
    emits { b"Name" => name, b"Payload" => payload, }
}

impl<'a> Element<'a> for RecentEvent<'a> {}

/// The parts of a state to be sent. The tables are not copied: each is an iterator that knows its length.
#[derive(Clone, Debug)]
pub struct PushPullParts<Status, Left, Events> {
    /// Own member clock.
    pub ltime: u64,
    /// Own event clock.
    pub event_ltime: u64,
    /// Own query clock.
    pub query_ltime: u64,
    /// Every member, itself included, with the time of its status.
    pub status_ltimes: Status,
    /// The members that have left.
    pub left_members: Left,
    /// The slots of the event ring in order: nothing, or a time and its events.
    pub events: Events,
}

impl<Status, Left, Events> PushPullParts<Status, Left, Events> {
    /// Encodes the body, without the type byte.
    ///
    /// # Errors
    /// No room in `sink`.
    pub fn encode<'a, S, Slot, Name>(self, sink: &mut S) -> Result<(), Full>
    where
        S: Sink,
        Status: ExactSizeIterator<Item = (Name, u64)>,
        Left: ExactSizeIterator<Item = Name>,
        Events: ExactSizeIterator<Item = Option<(u64, Slot)>>,
        Slot: ExactSizeIterator<Item = RecentEvent<'a>>,
        Name: AsRef<[u8]>,
    {
        put_map_header(sink, 6)?;
        put_raw(sink, b"EventLTime")?;
        put_uint(sink, self.event_ltime)?;
        put_raw(sink, b"Events")?;
        put_array_header(sink, self.events.len())?;
        for slot in self.events {
            match slot {
                None => put_nil(sink)?,
                Some((ltime, events)) => {
                    put_map_header(sink, 2)?;
                    put_raw(sink, b"Events")?;
                    put_all(sink, events)?;
                    put_raw(sink, b"LTime")?;
                    put_uint(sink, ltime)?;
                }
            }
        }
        put_raw(sink, b"LTime")?;
        put_uint(sink, self.ltime)?;
        put_raw(sink, b"LeftMembers")?;
        put_array_header(sink, self.left_members.len())?;
        for name in self.left_members {
            put_raw(sink, name.as_ref())?;
        }
        put_raw(sink, b"QueryLTime")?;
        put_uint(sink, self.query_ltime)?;
        put_raw(sink, b"StatusLTimes")?;
        put_map_header(sink, self.status_ltimes.len())?;
        for (name, ltime) in self.status_ltimes {
            put_raw(sink, name.as_ref())?;
            put_uint(sink, ltime)?;
        }
        Ok(())
    }
}

/// Decodes a state in slices: it may be as long as a stream, and nothing of it counts before all of it has been read.
#[derive(Clone, Debug, Default)]
pub struct Check {
    at: usize,
    fields: Option<Fields>,
    /// The list that is gone through.
    list: Option<(Kind, Span)>,
    state: PushPull,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Statuses,
    Left,
    Events,
}

impl Check {
    /// Goes on with the same `body`, as far as `work` goes: a unit for each element and for each 64 bytes. `None` if that was
    /// not to the end; otherwise the state and how many bytes it took.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn go_on(&mut self, body: &[u8], work: &mut usize) -> Result<Option<(PushPull, usize)>, DecodeError> {
        const DECLARED: &[&[u8]] =
            &[b"LTime", b"StatusLTimes", b"LeftMembers", b"EventLTime", b"Events", b"QueryLTime"];
        let mut reader = Reader::new_at(body, self.at);
        let mut fields = match self.fields {
            Some(fields) => fields,
            None => reader.fields()?,
        };
        let mut done = None;
        while *work > 0 {
            if let Some((kind, list)) = &mut self.list {
                match kind {
                    Kind::Statuses => list.check::<(Text<'_>, u64)>(&mut reader, work)?,
                    Kind::Left => list.check::<Text<'_>>(&mut reader, work)?,
                    Kind::Events => list.check::<Option<EventEntry<'_>>>(&mut reader, work)?,
                }
                if list.is_empty() {
                    self.list = None;
                }
                continue;
            }
            let before = reader.position();
            reader.renew();
            let Some(key) = fields.next(&mut reader, DECLARED)? else {
                done = Some((self.state, reader.position()));
                break;
            };
            let state = &mut self.state;
            match key {
                b"LTime" => state.ltime = reader.u64()?,
                b"StatusLTimes" => {
                    state.status_span = Span::begin::<(Text<'_>, u64)>(&mut reader)?;
                    self.list = Some((Kind::Statuses, state.status_span));
                }
                b"LeftMembers" => {
                    state.left_span = Span::begin::<Text<'_>>(&mut reader)?;
                    self.list = Some((Kind::Left, state.left_span));
                }
                b"EventLTime" => state.event_ltime = reader.u64()?,
                b"Events" => {
                    state.event_span = Span::begin::<Option<EventEntry<'_>>>(&mut reader)?;
                    self.list = Some((Kind::Events, state.event_span));
                }
                b"QueryLTime" => state.query_ltime = reader.u64()?,
                _ => reader.skip_value()?,
            }
            *work = work.saturating_sub(1 + (reader.position() - before) / BYTES_OF_WORK);
        }
        (self.at, self.fields) = (reader.position(), Some(fields));
        Ok(done)
    }
}

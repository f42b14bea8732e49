//! Streams: one request and at most one reply per connection (spec 1.4).

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::{BYTES_PER_UNIT, Deadline, Swim, Upper};
use crate::error::{Refused, StreamError};
use crate::output::{JoinFailure, Outcome, Source, StreamAction, StreamFailure, StreamId, Written};
use crate::roster::canonical;
use crate::tap::{Fault, Fed};
use crate::timer::TimerId;
use crate::wire::field::Raw;
use crate::wire::layers::Compression;
use crate::wire::message::{Ack, ErrorReply, MessageType, UserHeader};
use crate::wire::msgpack::Full;
use crate::wire::stream::{
    Pending, Side, StreamLimits, StreamMessage, StreamReader, needs_compression, needs_sealing, seal_stream,
    write_stream,
};
use crate::{MemberKey, Name};

/// What a stream is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A push/pull of ours; part of a join if there is an operation.
    Exchange { operation: Option<u64> },
    /// A push/pull apart from any schedule.
    Contact(Contact),
    /// Whether a member of that name is there, and then the exchange with it.
    Seek { seq: u32, name: Name, then: Contact },
    /// The running probe's stream ping.
    Ping { seq: u32 },
    /// A reliable user message.
    Message { operation: u64, payload: Bytes },
    /// Opened by the peer; what it wants will show.
    Inbound,
}

/// Why an exchange takes place that is neither the schedule's nor part of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contact {
    /// A member that failed may be back (serf.md 4.12).
    Failed,
    /// A seed; whether this node knew nobody when it turned to it.
    Seed { id: u64, alone: bool },
    /// An address of the service's, whose name has answered.
    Learnt { token: u64 },
    /// The one before showed that each side held the other for dead; how many came before.
    FollowUp { round: u8 },
}

impl Contact {
    /// Whether the exchange counts as a join to the peer.
    pub(crate) fn is_join(self) -> bool {
        !matches!(self, Self::FollowUp { .. })
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) purpose: Purpose,
    pub(crate) source: Source,
    /// When it was opened.
    pub(crate) since: crate::Instant,
    pub(crate) reader: StreamReader,
    /// Bytes to write: what lies in front was not yet polled.
    out: VecDeque<Bytes>,
    /// Nothing more will be added to `out`.
    complete: bool,
    /// Our side is done once `out` is empty.
    close_when_written: bool,
    timer: Option<TimerId>,
    /// Bytes of memory that are accounted for.
    held: usize,
    /// Of what waits to be written, a state that no other stream shares.
    pub(crate) copied: usize,
    /// The peer is waited for no longer: its request or reply is here.
    pub(crate) received: bool,
}

impl Stream {
    /// Bytes that wait to be written.
    pub(crate) fn unwritten(&self) -> usize {
        self.out.iter().map(Bytes::len).sum()
    }
}

impl Swim {
    /// Asks for a connection; `None` if too many streams are open.
    pub(crate) fn open_stream(
        &mut self,
        to: SocketAddr,
        peer: Option<MemberKey>,
        purpose: Purpose,
    ) -> Option<u64> {
        if !self.may_open_stream() {
            self.stats.streams_refused += 1;
            return None;
        }
        let deadline = match purpose {
            Purpose::Ping { .. } => self.probe_deadline(),
            _ => self.now + self.config.stream_timeout,
        };
        let key = self.add_stream(purpose, Source::unauthenticated(to), Side::Opening, deadline);
        self.actions.push_back(StreamAction::Open { id: StreamId(key), to, peer, deadline });
        Some(key)
    }

    fn add_stream(&mut self, purpose: Purpose, source: Source, side: Side, deadline: crate::Instant) -> u64 {
        let limits = StreamLimits { nodes: self.config.max_members.max(1 << 20), ..StreamLimits::default() };
        self.inbound += usize::from(matches!(purpose, Purpose::Inbound));
        let key = self.streams.insert(Stream {
            purpose,
            source,
            since: self.now,
            reader: StreamReader::new(side, limits),
            out: VecDeque::new(),
            complete: false,
            close_when_written: false,
            timer: None,
            held: 0,
            copied: 0,
            received: false,
        });
        let timer = self.timers.arm(deadline, Deadline::Stream(key));
        if let Some(stream) = self.streams.get_mut(key) {
            stream.timer = Some(timer);
        }
        key
    }

    pub(crate) fn poll_stream(&mut self) -> Option<StreamAction> {
        self.actions.pop_front()
    }

    pub(crate) fn may_open_stream(&self) -> bool {
        self.streams.len() - self.inbound < self.config.max_streams
    }

    /// Inbound streams are counted apart from our own, or who holds streams open could keep us from probing and merging.
    pub(crate) fn may_accept_stream(&self) -> bool {
        self.has_place() || self.displaceable(None).is_some()
    }

    fn has_place(&self) -> bool {
        self.inbound + 1 < self.config.max_streams
    }

    pub(crate) fn accept_stream(&mut self, source: Source) -> Result<StreamId, Refused> {
        if !self.has_place() {
            let Some(key) = self.displaceable(Some(&source)) else {
                self.stats.streams_refused += 1;
                return Err(Refused::TooMany);
            };
            self.stats.streams_displaced += 1;
            self.close_stream(key);
        }
        let source = Source { addr: canonical(source.addr), ..source };
        let deadline = self.now + self.config.stream_timeout;
        Ok(StreamId(self.add_stream(Purpose::Inbound, source, Side::Accepting, deadline)))
    }

    /// The connection stands: what is to be said on it is prepared.
    pub(crate) fn stream_opened(&mut self, key: u64) {
        let Some(stream) = self.streams.get(key) else { return };
        match &stream.purpose {
            Purpose::Exchange { .. } | Purpose::Contact(_) => {
                let join = match stream.purpose {
                    Purpose::Contact(contact) => contact.is_join(),
                    _ => !matches!(stream.purpose, Purpose::Exchange { operation: None }),
                };
                self.renew_deadline(key);
                self.send_state(key, join);
            }
            Purpose::Ping { seq } => {
                let seq = *seq;
                let target = self.probe.as_ref().filter(|probe| probe.seq == seq).map(|probe| probe.target);
                let Some(slot) = target.and_then(|target| self.roster.resolve(target)) else {
                    return self.close_stream(key);
                };
                let mut message = vec![MessageType::Ping.byte()];
                let encoded = self.own_ping(seq, self.roster.get(slot).name.as_bytes()).encode(&mut message);
                self.write_message(key, encoded, &[&message], false);
            }
            Purpose::Message { payload, .. } => {
                let payload = payload.clone();
                let mut header = vec![MessageType::User.byte()];
                if (UserHeader { len: payload.len() as i64 }).encode(&mut header).is_err() {
                    return self.stream_failed(key, StreamFailure::Local);
                }
                self.write_long(key, [header.into(), payload, Bytes::new()], true);
            }
            Purpose::Seek { seq, name, .. } => {
                let (seq, name) = (*seq, name.clone());
                self.seek_opened(key, seq, &name);
            }
            Purpose::Inbound => {}
        }
    }

    /// The deadline counts anew from here (spec 1.4).
    pub(crate) fn renew_deadline(&mut self, key: u64) {
        let at = self.now + self.config.stream_timeout;
        if let Some(timer) = self.streams.get(key).and_then(|stream| stream.timer) {
            self.timers.rearm(timer, at);
        }
    }

    /// Puts a message on a stream, in its layers.
    pub(crate) fn write_message(
        &mut self,
        key: u64,
        encoded: Result<(), Full>,
        parts: &[&[u8]],
        close: bool,
    ) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let opener = !matches!(stream.purpose, Purpose::Inbound);
        let mut bytes = Vec::new();
        let written =
            write_stream(&self.layers, opener, parts, &mut self.nonces, &mut self.deflater, &mut bytes);
        // Minutes pass until the next stream; packets are another matter.
        if self.layers.compression != Compression::All {
            self.deflater.rest();
        }
        if encoded.is_err() || written.is_err() {
            return self.stream_failed(key, StreamFailure::Local);
        }
        // It may wait for a peer that reads slowly: without the room in which it grew.
        bytes.shrink_to_fit();
        self.write(key, [bytes.into()], close);
    }

    /// Puts bytes on a stream as they are.
    pub(crate) fn write(&mut self, key: u64, parts: impl IntoIterator<Item = Bytes>, close: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.out.extend(parts.into_iter().filter(|part| !part.is_empty()));
        stream.complete = true;
        stream.close_when_written |= close;
        self.actions.push_back(StreamAction::Writable { id: StreamId(key) });
    }

    /// Puts a message on a stream that may be long: it is compressed in slices.
    pub(crate) fn write_long(&mut self, key: u64, parts: [Bytes; 3], close: bool) {
        if needs_compression(&self.layers) {
            self.pack(key, parts, close);
        } else {
            self.write_packed(key, parts, close);
        }
    }

    /// Puts a message on a stream that is compressed if it has to be. Shared bytes are written as they are where they need not
    /// be sealed, which takes them in one piece.
    pub(crate) fn write_packed(&mut self, key: u64, parts: [Bytes; 3], close: bool) {
        let Some(stream) = self.streams.get(key) else { return };
        let opener = !matches!(stream.purpose, Purpose::Inbound);
        let [a, b, c] = &parts;
        if needs_sealing(&self.layers) {
            let mut bytes = Vec::new();
            let sealed = seal_stream(&self.layers, opener, &[a, b, c], &mut self.nonces, &mut bytes);
            if sealed.is_err() {
                return self.stream_failed(key, StreamFailure::Local);
            }
            bytes.shrink_to_fit();
            self.write(key, [bytes.into()], close);
        } else {
            let mut label = vec![0; if opener { self.layers.label.header_len() } else { 0 }];
            if opener && self.layers.label.write_header(&mut label).is_none() {
                return;
            }
            let [a, b, c] = parts;
            self.write(key, [label.into(), a, b, c], close);
        }
        if needs_compression(&self.layers) || needs_sealing(&self.layers) {
            self.state_copied(key);
        }
    }

    pub(crate) fn poll_stream_data(&mut self, key: u64, buf: &mut [u8]) -> Written {
        let Some(stream) = self.streams.get_mut(key) else { return Written { len: 0, fin: false } };
        let mut len = 0;
        while let Some(front) = stream.out.front_mut() {
            let n = front.len().min(buf.len() - len);
            buf[len..len + n].copy_from_slice(&front[..n]);
            len += n;
            let _ = front.split_to(n);
            if !front.is_empty() {
                break;
            }
            stream.out.pop_front();
        }
        let fin = stream.complete && stream.out.is_empty();
        if stream.out.is_empty() {
            self.snapshot.release(core::mem::take(&mut stream.copied));
        }
        if fin && stream.close_when_written {
            if let Purpose::Message { operation, .. } = stream.purpose {
                self.complete(operation, Outcome::Sent(Ok(())));
            }
            self.close_stream(key);
        }
        Written { len, fin }
    }

    /// Bytes came in.
    pub(crate) fn stream_data<U: Upper>(
        &mut self,
        upper: &mut U,
        key: u64,
        data: &[u8],
        fin: bool,
    ) -> Result<usize, StreamError> {
        self.stream_bytes_came(upper, key, data.len(), data, fin)
    }

    /// As `stream_data`; of `len` bytes the content may be missing in a replay.
    pub(crate) fn stream_bytes_came<U: Upper>(
        &mut self,
        upper: &mut U,
        key: u64,
        len: usize,
        data: &[u8],
        fin: bool,
    ) -> Result<usize, StreamError> {
        let stream = self.streams.get(key).ok_or(StreamError::Unknown)?;
        // The message is here; what follows it, and that the peer finished its side, changes nothing any more.
        if stream.received {
            return Ok(len);
        }
        // Streams whose reading was put off are read one after the other: each that is half decompressed holds memory, and
        // several could hold all there is for good.
        let has_turn = self.busy.front().is_none_or(|&first| first == key);
        let slice = self.config.work_per_call.saturating_mul(BYTES_PER_UNIT);
        let mut work = if has_turn { slice.saturating_add(len) } else { 0 };
        let fed = self.feed(key, data, fin, &mut work).ok_or(StreamError::Unknown)?;
        let taken = self.progress(upper, key, fed)?;
        if taken < len {
            self.stats.exchange_memory_full += 1;
        }
        Ok(taken)
    }

    /// Looks what the reader made of its bytes.
    fn progress<U: Upper>(&mut self, upper: &mut U, key: u64, fed: Fed) -> Result<usize, StreamError> {
        let Some(stream) = self.streams.get_mut(key) else { return Err(StreamError::Unknown) };
        match fed.taken {
            Ok(taken) => {
                match fed.pending {
                    // Once is enough, however many pieces arrive meanwhile.
                    Pending::Work if self.busy.contains(&key) => {}
                    Pending::Budget if self.starving.contains(&key) => {}
                    Pending::Work => self.busy.push_back(key),
                    Pending::Budget => self.starving.push(key),
                    Pending::Nothing => self.received(upper, key),
                }
                Ok(taken)
            }
            Err(fault) => {
                let inbound = matches!(stream.purpose, Purpose::Inbound);
                // A clean end before any byte is how probes of the port look; nothing is wrong with it.
                if fault == Fault::Closed && inbound {
                    self.close_stream(key);
                    return Ok(0);
                }
                self.stats.streams_malformed += 1;
                match fault {
                    Fault::Answered(text) if inbound => self.answer_error(key, &text),
                    Fault::Closed | Fault::Cut => {
                        self.give_up(key, JoinFailure::Stream(StreamFailure::Reset))
                    }
                    Fault::Odd | Fault::Answered(_) => self.give_up(key, JoinFailure::Protocol),
                }
                Err(StreamError::Refused)
            }
        }
    }

    /// Goes on with a stream whose work was put off, for so many units of it.
    pub(crate) fn resume_stream<U: Upper>(&mut self, upper: &mut U, key: u64, work: usize) {
        if let Some(fed) = self.feed(key, &[], false, &mut (work * BYTES_PER_UNIT)) {
            if fed.taken.is_ok() && fed.pending == Pending::Work {
                return self.busy.push_front(key);
            }
            let _ = self.progress(upper, key, fed);
        }
    }

    /// Keeps count of what streams hold.
    pub(crate) fn account(&mut self, key: u64, held: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let freed = stream.held.saturating_sub(held);
        self.stream_bytes += held.saturating_sub(stream.held);
        stream.held = held;
        self.release_stream_bytes(freed);
    }

    /// A whole message is here, or not yet.
    fn received<U: Upper>(&mut self, upper: &mut U, key: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.received || stream.reader.message().is_none() {
            return;
        }
        stream.received = true;
        // The reader is lent out, because the message lies in it while it is acted on.
        let spent = StreamReader::new(Side::Opening, StreamLimits::default());
        let mut reader = core::mem::replace(&mut stream.reader, spent);
        let (source, held) = (stream.source, stream.held);
        let (inbound, own_ping, sought) = match stream.purpose {
            Purpose::Inbound => (true, None, None),
            Purpose::Ping { seq } => (false, Some(seq), None),
            Purpose::Seek { seq, then, .. } => (false, Some(seq), Some(then)),
            _ => (false, None, None),
        };
        match reader.message() {
            Some(StreamMessage::Ping(ping)) if inbound => {
                if !ping.node.is_empty() && *ping.node != *self.config.name.as_bytes() {
                    self.stats.ping_wrong_name += 1;
                    self.close_stream(key);
                } else {
                    let mut message = vec![MessageType::Ack.byte()];
                    let encoded = Ack { seq: ping.seq, payload: Raw::NIL }.encode(&mut message);
                    self.write_message(key, encoded, &[&message], true);
                }
            }
            Some(StreamMessage::User(payload)) if inbound => {
                self.stats.user_messages += 1;
                self.stats.user_bytes += payload.len() as u64;
                // An empty one is not delivered (spec 4.20).
                if !payload.is_empty() {
                    upper.message(self, source, true, payload);
                }
                self.close_stream(key);
            }
            Some(StreamMessage::PushPull { .. }) if own_ping.is_none() => {
                if let Some(state) = reader.take_push_pull() {
                    self.stream_bytes += held;
                    self.begin_merge(key, source, inbound, state, held);
                }
            }
            Some(StreamMessage::Ack(ack)) if own_ping == Some(ack.seq) => {
                match sought {
                    Some(then) => self.seek_answered(key, then),
                    None => self.probe_answered_by_stream(ack.seq),
                }
                self.close_stream(key);
            }
            Some(StreamMessage::Error(text)) if !inbound => {
                let text = alloc::string::String::from_utf8_lossy(&text).chars().take(256).collect();
                self.give_up(key, JoinFailure::Remote(text));
            }
            _ => self.give_up(key, JoinFailure::Protocol),
        }
        self.account(key, 0);
    }

    /// Tells the peer why its request is refused, then closes (spec 1.4).
    pub(crate) fn answer_error(&mut self, key: u64, text: &str) {
        let mut message = vec![MessageType::Error.byte()];
        let encoded = ErrorReply { text: text.as_bytes().into() }.encode(&mut message);
        if let Some(stream) = self.streams.get_mut(key) {
            stream.received = true;
        }
        self.write_message(key, encoded, &[&message], true);
    }

    pub(crate) fn stream_failed(&mut self, key: u64, why: StreamFailure) {
        if !self.is_merging(key) {
            self.give_up(key, JoinFailure::Stream(why));
        }
    }

    /// Whether an exchange of ours has got its answer: what becomes of the connection no longer matters then.
    fn is_merging(&self, key: u64) -> bool {
        self.streams.get(key).is_some_and(|stream| {
            stream.received && matches!(stream.purpose, Purpose::Exchange { .. } | Purpose::Contact(_))
        })
    }

    pub(crate) fn stream_expired(&mut self, key: u64) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.timer = None;
            if self.is_merging(key) {
                return;
            }
            self.stats.streams_timed_out += 1;
            self.give_up(key, JoinFailure::Stream(StreamFailure::TimedOut));
        }
    }

    /// Ends a stream whose work is not done.
    pub(crate) fn give_up(&mut self, key: u64, why: JoinFailure) {
        let Some(stream) = self.streams.get(key) else { return };
        match stream.purpose {
            Purpose::Exchange { operation } => {
                self.stats.exchanges_failed += 1;
                self.exchange_ended(operation, stream.source.addr, Err(why));
            }
            Purpose::Message { operation, .. } => {
                let why = match why {
                    JoinFailure::Stream(why) => why,
                    _ => StreamFailure::Reset,
                };
                self.complete(operation, Outcome::Sent(Err(why)));
            }
            Purpose::Contact(contact) => self.contact_ended(contact, false),
            Purpose::Seek { then, .. } => self.seek_failed(then),
            Purpose::Ping { .. } | Purpose::Inbound => {}
        }
        self.close_stream(key);
    }

    /// Forgets a stream and has the driver close it.
    pub(crate) fn close_stream(&mut self, key: u64) {
        let Some(stream) = self.streams.remove(key) else { return };
        self.inbound -= usize::from(matches!(stream.purpose, Purpose::Inbound));
        if let Some(timer) = stream.timer {
            self.timers.cancel(timer);
        }
        self.release_stream_bytes(stream.held);
        self.snapshot.release(stream.copied);
        self.snapshot.leave_out(key);
        self.packing.retain(|packing| packing.key() != key);
        if self.streams.len() == 0 {
            self.snapshot.forget();
        }
        self.actions.push_back(StreamAction::Close { id: StreamId(key) });
    }

    /// Memory became free: those that waited for it go on.
    pub(crate) fn release_stream_bytes(&mut self, bytes: usize) {
        self.stream_bytes -= bytes;
        if bytes > 0 {
            self.busy.extend(self.starving.drain(..));
        }
    }
}

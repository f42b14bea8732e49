//! The calls.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::time::Duration;

use bytes::Bytes;

use super::super::arguments::Arguments;
use super::super::forge::{Forge, address, name};
use super::super::layers::nonces;
use super::watch::Watch;
use super::{Subject, WORK};
use crate::output::*;
use crate::wire::lzw::Deflater;
use crate::wire::packet::{Envelope, Scratch, UnpackLimits, open, unpack};
use crate::wire::stream::{Side, StreamLimits, StreamReader, seal_stream};
use crate::{Instant, JoinTarget, KnownMember, MAX_TAP_FRAME, Name, StreamError};

/// Calls after which a machine that says it has something to do or to say must have come to an end.
const PATIENCE: usize = 20_000;

/// Calls at one instant after which a timer must lie in the future: members / work, what is due at once besides, and what is
/// compressed and decompressed for the streams there may be. What was put off gets half of the work.
const SETTLES: usize =
    super::MANY_MEMBERS / WORK + 80 + 2 * super::MAX_STREAMS * STATE / (BYTES_PER_UNIT * WORK / 2);

/// More than a state takes: the longest metadata of each member, and what else is said of it. A message that comes by a stream and
/// the state that answers it are no more together.
const STATE: usize = super::MANY_MEMBERS << 10;

/// What is compressed or decompressed for a unit of work.
const BYTES_PER_UNIT: usize = 64;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// A hash over everything that was put out.
    outputs: u64,
    pub(super) state: u64,
}

pub(super) struct Bench<'p, M> {
    machine: M,
    now: Instant,
    arguments: Arguments<'p>,
    /// Whether the program may start and stop recordings of its own.
    taps: bool,
    buffer: Vec<u8>,
    streams: Vec<Stream>,
    transmits: Vec<TransmitId>,
    /// Questions that it asked the application.
    questions: Vec<RequestId>,
    forgotten: Vec<MemberKey>,
    forge: Forge,
    watch: Watch,
    trace: Trace,
}

struct Stream {
    id: StreamId,
    /// Whether the peer has opened it.
    theirs: bool,
    /// The peer's side; `None` where it cannot be told what the peer would read.
    reader: Option<StreamReader>,
}

impl<'p, M: Subject> Bench<'p, M> {
    pub(super) fn new(machine: M, kind: u8, program: &'p [u8]) -> Self {
        Self {
            watch: Watch::new(&machine),
            machine,
            now: Instant::ORIGIN,
            arguments: Arguments::new(program),
            taps: kind & 32 == 0,
            buffer: vec![0; 2048],
            streams: Vec::new(),
            transmits: Vec::new(),
            questions: Vec::new(),
            forgotten: Vec::new(),
            forge: Forge::default(),
            trace: Trace(0xcbf2_9ce4_8422_2325),
        }
    }

    pub(super) fn run(mut self) -> Run {
        self.play(&mut |_| {});
        self.end()
    }

    /// As [`Self::run`], and gives the recording.
    pub(super) fn run_recorded(mut self) -> (Run, Vec<u8>) {
        let mut recording = Vec::new();
        let mut poll = |bench: &mut Self| {
            let mut piece = [0; MAX_TAP_FRAME];
            loop {
                let len = bench.machine.poll_tap(&mut piece);
                if len == 0 {
                    return;
                }
                recording.extend_from_slice(&piece[..len]);
            }
        };
        self.machine.start_recording(self.now, 1 << 22, [5; 16]);
        self.play(&mut poll);
        self.machine.stop_recording(self.now);
        poll(&mut self);
        (self.end(), recording)
    }

    fn play(&mut self, after: &mut dyn FnMut(&mut Self)) {
        while let Some(call) = self.arguments.next() {
            self.call(call);
            self.watch.check(&self.machine);
            after(self);
        }
        self.drain();
        after(self);
        self.advance(Duration::from_secs(20), true);
        self.drain();
        self.watch.check(&self.machine);
        after(self);
    }

    fn end(self) -> Run {
        Run { outputs: self.trace.0, state: self.machine.state_hash() }
    }

    fn call(&mut self, call: u8) {
        let now = self.now;
        match call % 16 {
            0 => self.drain(),
            1 => {
                let millis = u64::from(self.arguments.byte());
                self.advance(Duration::from_millis(millis), false);
            }
            2 => {
                let steps = u64::from(self.arguments.byte());
                self.advance(Duration::from_millis(steps * 20), true);
            }
            3 if call & 16 == 0 => {
                let datagram = self.arguments.bytes().to_vec();
                self.datagram(&datagram);
            }
            3 => {
                for message in Forge::crowd(&mut self.arguments) {
                    self.datagram_from(Source::unauthenticated(address(1)), &message);
                }
            }
            4 | 5 => {
                let message = self.forge.claim(&mut self.arguments);
                self.datagram(&message);
            }
            6 => {
                let message = self.forge.probe_traffic(&mut self.arguments);
                self.datagram(&message);
            }
            7 => {
                let message = self.forge.serf_message(&mut self.arguments);
                self.datagram(&message);
            }
            8 => {
                let source = self.source();
                // With time a stream grows old enough to make room for another.
                let may = self.machine.may_accept_stream() || self.machine.told() < now;
                let accepted = self.machine.accept_stream(now, source);
                assert!(may || accepted.is_err(), "it takes a stream that it would not take");
                if let Ok(id) = accepted {
                    self.streams.push(Stream { id, theirs: true, reader: self.reader(Side::Opening) });
                }
            }
            9 => {
                let data = self.arguments.bytes().to_vec();
                self.stream_data(&data, call & 16 != 0);
            }
            10 => {
                let message = match call & 16 {
                    0 => self.forge.push_pull(&mut self.arguments),
                    _ => Forge::stream_message(&mut self.arguments),
                };
                match call & 32 {
                    0 => self.stream_data(&message, true),
                    _ => self.stream_message(&message, call & 64 != 0),
                }
            }
            11 if call & 16 != 0 => {
                let which = self.arguments.byte();
                self.question(8, &[which / 2]);
                self.question(which & 1, &[which / 2]);
            }
            11 => {
                if let Some(&Stream { id, .. }) = self.stream() {
                    match self.arguments.byte() % 3 {
                        0 => self.machine.handle_stream_opened(now, id),
                        1 => self.machine.handle_stream_failed(now, id, StreamFailure::Unreachable),
                        _ => self.machine.handle_stream_failed(now, id, StreamFailure::Reset),
                    }
                }
            }
            12 => self.transmit_report(),
            13 | 14 => self.command(call),
            _ => {
                let which = self.arguments.byte();
                let bytes = self.arguments.bytes();
                self.machine.own_command(now, which, bytes);
            }
        }
    }

    fn command(&mut self, call: u8) {
        let now = self.now;
        let which = self.arguments.byte();
        let member = self.machine.find(&name(self.arguments.byte())).map(|member| member.key);
        let payload = Bytes::copy_from_slice(self.arguments.bytes());
        match (which % 8, member) {
            (0, _) => {
                let _ =
                    self.machine.join(now, &[JoinTarget::from(address(which)), address(which / 8).into()]);
            }
            (1, _) if call & 0xf0 == 0xf0 => drop(self.machine.leave(now)),
            (2, Some(key)) => drop(self.machine.send(now, key, payload)),
            (3, Some(key)) => drop(self.machine.send_reliable(now, key, payload)),
            (4, Some(key)) => drop(self.machine.ping(now, key)),
            (5, _) => drop(self.machine.install_key(now, &payload)),
            (6, _) => self.question(which / 8, &payload),
            (7, _) => self.unusual(which / 8, &payload),
            _ => {}
        }
    }

    /// Answers, keys, and what it is told before or beside the cluster.
    fn question(&mut self, which: u8, payload: &[u8]) {
        let now = self.now;
        let first = payload.first().copied().unwrap_or_default();
        let asked = usize::from(first) % self.questions.len().max(1);
        let id = self.questions.get(asked).copied().unwrap_or_else(|| RequestId(first.into()));
        match which % 12 {
            answer @ (0 | 1) => {
                let answered = match answer {
                    0 => self.machine.accept(now, id),
                    _ => self.machine.refuse(now, id),
                };
                let _ = write!(self.trace, "{answered:?}");
            }
            2 => {
                let stored = if first & 1 == 0 { Ok(()) } else { Err("full".into()) };
                drop(self.machine.keyring_stored(now, id, stored));
            }
            3 => drop(self.machine.use_key(now, payload)),
            4 => drop(self.machine.remove_key(now, payload)),
            5 => self.machine.persist_keyring(first & 1 == 1),
            6 => {
                let seeds: Vec<_> = payload.iter().take(8).map(|&host| address(host)).collect();
                self.machine.set_seeds(now, &seeds);
            }
            7 => {
                let known: Vec<_> = payload.iter().map(|&number| known(number)).collect();
                let before: Vec<_> = self.machine.members().map(|member| member.key).collect();
                let new = self.machine.know(now, &known);
                let known =
                    self.machine.members().map(|member| member.key).filter(|key| !before.contains(key));
                // Of these nothing was told, and they are up.
                assert_eq!(
                    new,
                    known.inspect(|&key| self.watch.knows(key)).count(),
                    "it knows others than it was told"
                );
            }
            8 => {
                for member in self.machine.merge_members(id) {
                    let _ = member.tags().count();
                    let _ = write!(self.trace, "{member:?}");
                }
            }
            9 => self.machine.own_command(now, 4, &[first]),
            10 => {
                if let Some(&key) = self.forgotten.get(usize::from(first)) {
                    let gone = self.machine.member(key).is_none();
                    let sent = self.machine.send_reliable(now, key, Bytes::new());
                    assert!(!gone || sent.is_err(), "the key of a forgotten member names somebody");
                    drop(self.machine.ping(now, key));
                }
            }
            _ => drop(self.machine.send(now, MemberKey { slot: first.into(), epoch: 0 }, Bytes::new())),
        }
    }

    /// What drivers do wrong, clocks, paths and recordings.
    fn unusual(&mut self, which: u8, payload: &[u8]) {
        let now = self.now;
        let [first, second] = core::array::from_fn(|at| payload.get(at).copied().unwrap_or_default());
        match which % 12 {
            0 => {
                let past = now.saturating_sub(Duration::from_millis(u64::from(first) * 50));
                self.machine.handle_timeout(past);
                let source = self.source();
                let _ = self.machine.handle_datagram(past, source, &mut payload.to_vec());
                let _ = self
                    .machine
                    .poll_transmit(past, &mut self.buffer)
                    .map(|transmit| self.trace.number(transmit.len));
            }
            // Asleep, or set forward: no timer was called in between.
            1 => self.now += Duration::from_secs(u64::from(first) * u64::from(second)),
            2 => self.settle(),
            3 => {
                let len = usize::from(first);
                if let Some(transmit) = self.machine.poll_transmit(now, &mut self.buffer[..len]) {
                    assert!(transmit.len <= len, "more than there is room for");
                }
            }
            4 => self.machine.handle_path(now, address(first), usize::from(second) * 8),
            5 => {
                let (stream, transmit) = (StreamId(first.into()), TransmitId(second.into()));
                self.machine.handle_stream_opened(now, stream);
                self.machine.handle_stream_failed(now, stream, StreamFailure::TimedOut);
                let _ = self.machine.handle_stream_data(now, stream, payload, true);
                self.machine.handle_transmit_delayed(now, transmit);
                self.machine.handle_transmit_failed(now, transmit, TransmitFailure::Local);
                let written = self.machine.poll_stream_data(now, stream, &mut self.buffer);
                self.trace.number(written.len);
            }
            6 if self.taps => self.machine.start_recording(now, usize::from(first) * 64, [second; 16]),
            7 if self.taps => self.machine.limit_recording(u64::from(first) * 64),
            8 if self.taps => self.machine.stop_recording(now),
            9 if self.taps => {
                let len = self.machine.poll_tap(&mut self.buffer);
                self.trace.number(len);
            }
            10 => {
                let _ = self.machine.replay(payload);
            }
            _ => {
                let _ = write!(self.trace, "{:?}{:?}", self.machine.next_wakeup(), self.machine.health());
            }
        }
    }

    fn transmit_report(&mut self) {
        let now = self.now;
        let which = self.arguments.byte();
        if let Some(&id) = self.transmits.get(usize::from(which / 4)) {
            match which % 4 {
                0 => self.machine.handle_transmit_failed(now, id, TransmitFailure::Unreachable),
                1 => self.machine.handle_transmit_failed(now, id, TransmitFailure::TooBig(600)),
                2 => self.machine.handle_transmit_failed(now, id, TransmitFailure::Local),
                _ => self.machine.handle_transmit_delayed(now, id),
            }
        }
    }

    /// One of a few peers; the same peer has the same identity most of the time.
    fn source(&mut self) -> Source {
        let from = self.arguments.byte();
        let identity = self.machine.config().values().identities.then(|| IdentityId(from.into()));
        Source { addr: address(from), identity }
    }

    /// Hands over a datagram with this body, in the layers that the machine expects: whoever sends it has the key.
    fn datagram(&mut self, body: &[u8]) {
        let source = self.source();
        self.datagram_from(source, body);
    }

    fn datagram_from(&mut self, source: Source, body: &[u8]) {
        let layers = self.machine.layers();
        let mut datagram = body.to_vec();
        if layers.sealing_key().is_some() || !layers.label.as_bytes().is_empty() {
            let mut buf = vec![0; body.len() + 600];
            let room = buf.len();
            let mut envelope = Envelope::new(layers, &mut buf, room, false).expect("there is room");
            envelope.body()[..body.len()].copy_from_slice(body);
            let Ok(len) = envelope.finish(body.len(), &mut nonces(), &mut Deflater::new()) else { return };
            datagram = buf[..len].to_vec();
        }
        let result = self.machine.handle_datagram(self.now, source, &mut datagram);
        let _ = write!(self.trace, "{result:?}");
    }

    fn stream(&mut self) -> Option<&Stream> {
        let which = usize::from(self.arguments.byte());
        let len = self.streams.len().max(1);
        self.streams.get(which % len)
    }

    fn stream_data(&mut self, data: &[u8], fin: bool) {
        let Some(&Stream { id, .. }) = self.stream() else { return };
        let _ = self.feed(id, data, fin);
    }

    /// How much of it was taken.
    fn feed(&mut self, id: StreamId, data: &[u8], fin: bool) -> Result<usize, StreamError> {
        let result = self.machine.handle_stream_data(self.now, id, data, fin);
        if let Ok(consumed) = result {
            assert!(consumed <= data.len(), "consumed more than there is");
        }
        let _ = write!(self.trace, "{result:?}");
        result
    }

    /// Sends a message by a stream as a peer does that has the key, compressed or not, whatever is configured.
    fn stream_message(&mut self, message: &[u8], compressed: bool) {
        let Some(&Stream { id, theirs, .. }) = self.stream() else { return };
        let (mut packed, mut data) = (Vec::new(), Vec::new());
        match compressed {
            true => Deflater::new().append_message(&[message], &mut packed),
            false => packed.extend_from_slice(message),
        }
        let sealed = seal_stream(self.machine.layers(), theirs, &[&packed], &mut nonces(), &mut data);
        sealed.expect("it is short");
        let mut rest = &data[..];
        // As a driver does, who keeps what was not taken until there is room.
        for _ in 0..4 {
            let Ok(taken) = self.feed(id, rest, true) else { return };
            rest = &rest[taken..];
            if rest.is_empty() {
                return;
            }
            self.settle();
        }
    }

    /// What reads the other end of a stream. With keys that come and go it would need those of the moment of sealing.
    fn reader(&self, side: Side) -> Option<StreamReader> {
        self.machine.layers().keyring.is_none().then(|| StreamReader::new(side, StreamLimits::default()))
    }

    /// Lets time pass, with every timer called when it is due; the socket takes what there is, or is full all the time.
    fn advance(&mut self, by: Duration, sending: bool) {
        let end = self.now + by;
        let mut at_once = 0;
        for _ in 0..PATIENCE {
            let Some(due) = self.machine.poll_timeout().filter(|due| *due <= end) else {
                self.now = end;
                return;
            };
            at_once = if due <= self.now { at_once + 1 } else { 0 };
            assert!(
                at_once <= SETTLES,
                "timers at one instant never come to an end: {:?}",
                self.machine.next_wakeup()
            );
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
            if sending {
                self.send();
            }
        }
        panic!("timers never come to an end");
    }

    /// Calls timers while time stands still.
    fn settle(&mut self) {
        self.advance(Duration::ZERO, false);
    }

    fn send(&mut self) {
        for _ in 0..PATIENCE {
            let Some(transmit) = self.machine.poll_transmit(self.now, &mut self.buffer) else { return };
            assert!(transmit.len <= self.machine.config().datagram_size(), "a datagram over its limit");
            let datagram = &mut self.buffer[..transmit.len];
            self.trace.feed(datagram);
            if self.transmits.len() == 64 {
                self.transmits.remove(0);
            }
            self.transmits.push(transmit.id);
            let forge = &mut self.forge;
            let body = open(self.machine.layers(), datagram).expect("a datagram that peers can open");
            let found = unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
                forge.heard(message, M::SERF);
            });
            assert!(
                found.messages > 0 && found.misplaced == 0 && found.truncated == 0,
                "it sends what nobody can read"
            );
        }
        panic!("datagrams never come to an end");
    }

    fn drain(&mut self) {
        self.send();
        let mut left = PATIENCE;
        let mut once_more = || {
            left -= 1;
            assert!(left > 0, "outputs never come to an end");
        };
        while let Some(action) = self.machine.poll_stream() {
            once_more();
            let _ = write!(self.trace, "{action:?}");
            match action {
                StreamAction::Open { id, .. } => {
                    self.streams.push(Stream { id, theirs: false, reader: self.reader(Side::Accepting) });
                }
                StreamAction::Writable { id } => loop {
                    once_more();
                    let written = self.machine.poll_stream_data(self.now, id, &mut self.buffer);
                    self.trace.feed(&self.buffer[..written.len]);
                    if written.len == 0 {
                        break;
                    }
                    let stream = self.streams.iter_mut().find(|stream| stream.id == id);
                    let layers = self.machine.layers();
                    if let Some(reader) = stream.and_then(|stream| stream.reader.as_mut()) {
                        let mut data = &self.buffer[..written.len];
                        while !data.is_empty() {
                            once_more();
                            let taken = reader.feed(layers, data, usize::MAX);
                            data = &data[taken.expect("it writes what nobody can read")..];
                        }
                    }
                },
                StreamAction::Close { id } => self.streams.retain(|stream| stream.id != id),
            }
        }
        while let Some(change) = self.machine.poll_membership() {
            once_more();
            self.watch.changed(&self.machine, &change);
            if change.kind == ChangeKind::Reaped && self.forgotten.len() < 256 {
                self.forgotten.push(change.key);
            }
            let _ = write!(self.trace, "{change:?}");
        }
        while let Some(completion) = self.machine.poll_completion() {
            once_more();
            match &completion {
                Completion::KeyringChanged { id, .. } => self.questions.push(*id),
                Completion::Ended { outcome: Outcome::Keys(report), .. } => {
                    assert!(report.errors <= report.responses, "{report:?}");
                    assert_eq!(
                        report.failure().is_none(),
                        report.errors == 0 && report.responses == report.nodes
                    );
                }
                _ => {}
            }
            let _ = write!(self.trace, "{completion:?}");
        }
        while let Some(event) = self.machine.poll_event() {
            once_more();
            if let Event::MergeRequested { id, .. } | Event::Query { id, .. } = event {
                self.questions.push(id);
            }
            let _ = write!(self.trace, "{event:?}");
        }
    }
}

/// A member that has been there for long.
fn known(number: u8) -> KnownMember {
    KnownMember {
        name: Name::new(name(number)),
        addr: address(number),
        metadata: Bytes::new(),
        incarnation: u32::from(number >> 4),
        versions: [1, 5, 2, 2, 5, 4],
    }
}

/// A hash over everything that a machine put out (FNV-1a).
struct Trace(u64);

impl Trace {
    fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: usize) {
        self.feed(&number.to_le_bytes());
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.feed(text.as_bytes());
        Ok(())
    }
}

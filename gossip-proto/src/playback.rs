//! A whole recording, from its bytes to the machine that it leads to.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::machine::{Machine, ReplayError, Replayed};
use crate::tap::{Entry, Input, Recording, Replay, Trail};
use crate::wire::message::MessageType;
use crate::{Event, Instant, Membership, Node, NonceSecret};

/// The machine of a recording.
#[derive(Debug)]
#[allow(missing_docs)] // each is what it is called
pub enum Recorded {
    Node(Box<Node>),
    Membership(Box<Membership>),
}

/// Calls a method that both kinds have.
macro_rules! either {
    ($recorded:expr, $machine:ident => $call:expr) => {
        match $recorded {
            Recorded::Node($machine) => $call,
            Recorded::Membership($machine) => $call,
        }
    };
}

impl Recorded {
    /// The members it knows, in slot order.
    pub fn members(&self) -> crate::Members<'_> {
        either!(self, machine => machine.members())
    }

    /// A member it knows.
    pub fn member(&self, key: crate::MemberKey) -> Option<crate::Member<'_>> {
        either!(self, machine => machine.member(key))
    }

    /// Its counters. Datagrams are recorded without their layers, so that those about them differ from the original's.
    pub fn stats(&self) -> &crate::Stats {
        either!(self, machine => machine.stats())
    }

    /// The hash of its state, see [`Machine::state_hash`].
    pub fn state_hash(&self) -> u64 {
        either!(self, machine => machine.state_hash())
    }

    fn replay(&mut self, frame: &[u8]) -> Result<Replayed<'_>, ReplayError> {
        either!(self, machine => machine.replay(frame))
    }

    fn has_diverged(&self) -> bool {
        either!(self, machine => machine.swim.has_diverged())
    }

    fn outputs(&self) -> u64 {
        either!(self, machine => machine.swim.replayed_outputs())
    }
}

/// Plays a recording on a fresh machine, call by call. Every output is compared with the original's by its hash, and every
/// ten seconds the state.
///
/// ```
/// use gossip_proto::{Config, Ending, Instant, Machine, Membership, NonceSecret, Playback, Seed};
///
/// let now = Instant::ORIGIN;
/// let config = Config::lan("node-a", "10.0.0.1:7946".parse().unwrap());
/// let mut node = Membership::new(now, config, Seed::from_u64(1), NonceSecret::new([0; 32])).unwrap();
/// node.start_recording(now, 1 << 20, [7; 16]);
/// node.handle_timeout(Instant::from_millis(1000));
/// node.stop_recording(Instant::from_millis(1000));
///
/// let mut recording = vec![0; 1 << 20];
/// let len = node.poll_tap(&mut recording);
/// let mut playback = Playback::open(&recording[..len]).unwrap();
/// while let Some(step) = playback.step() {
///     println!("{}", step.unwrap().text);
/// }
/// assert_eq!(playback.ending(), Some(Ending::Stopped));
/// assert_eq!(playback.machine().state_hash(), node.state_hash());
/// ```
#[derive(Debug)]
pub struct Playback<'a> {
    recording: Recording,
    machine: Recorded,
    /// What has not been played yet.
    rest: &'a [u8],
    reader: Replay,
    entries: u64,
    at: Instant,
    ending: Option<Ending>,
    failed: bool,
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was stopped.
    Stopped,
    /// It ran out of room.
    Full,
    /// In the middle: whoever wrote it crashed, or still writes. What is there was played.
    CutOff,
}

/// What kind of call an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StepKind {
    /// Something came from outside.
    Input,
    /// The application wanted something.
    Command,
    /// A timer.
    Timer,
    /// The machine was asked what is to be done; a datagram, a stream, or nothing.
    Output,
    /// A member changed.
    Member,
    /// An event, or the end of an operation.
    Event,
    /// The state was compared, or the recording ended.
    Check,
}

/// One call, made again.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// Its number; the first call is 1.
    pub entry: u64,
    /// When it was made, by the clock of the driver that recorded it.
    pub at: Instant,
    /// What it was.
    pub kind: StepKind,
    /// In words; without line breaks. [`Step::NOTHING`] where the machine was asked what is to be done, and there was
    /// nothing.
    pub text: String,
}

impl Step {
    /// The text of an output that there was none of.
    pub const NOTHING: &'static str = "nothing";
}

/// Why a recording cannot be played, or not any further.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlaybackError {
    /// It does not begin as a recording does.
    NoRecording,
    /// Another version wrote it, which need not behave as this one does.
    Version {
        /// The version that wrote it.
        recorded: String,
        /// This one.
        ours: String,
    },
    /// What it says of the machine cannot be: it was begun after the machine had been used, or was tampered with.
    Mismatch,
    /// An entry is damaged, or one is missing before it. All before it was played and was exact.
    Damaged {
        /// Its number.
        entry: u64,
    },
    /// The machine went another way than the recorded one.
    Diverged {
        /// The first entry at which that showed.
        entry: u64,
        /// When that was.
        at: Instant,
    },
}

impl fmt::Display for PlaybackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecording => f.write_str("this is no recording, or its beginning is damaged"),
            Self::Version { recorded, ours } => write!(
                f,
                "version {recorded} wrote this recording and this is version {ours}: only the version that wrote one \
                 is certain to behave the same; play it with version {recorded}"
            ),
            Self::Mismatch => f.write_str(
                "the recording was not begun when its machine was made, or it was changed: it cannot be played",
            ),
            Self::Damaged { entry } => {
                write!(f, "entry {entry} is damaged, or one before it is missing; all before it was exact")
            }
            Self::Diverged { entry, at } => write!(
                f,
                "at entry {entry}, {at:?}, the machine did something else than when it was recorded: another build \
                 wrote the recording, or this is a defect of ours"
            ),
        }
    }
}

impl core::error::Error for PlaybackError {}

impl<'a> Playback<'a> {
    /// Makes the machine of a recording, as it was when the recording began.
    ///
    /// # Errors
    /// What is wrong with the recording.
    pub fn open(bytes: &'a [u8]) -> Result<Self, PlaybackError> {
        let ours = env!("CARGO_PKG_VERSION");
        let version = |error| match Recording::version_of(bytes) {
            Some(recorded) if recorded != ours => PlaybackError::Version { recorded, ours: ours.into() },
            _ => match error {
                ReplayError::Format(format) => {
                    PlaybackError::Version { recorded: format!("of format {format}"), ours: ours.into() }
                }
                ReplayError::Damaged | ReplayError::NotStarted => PlaybackError::NoRecording,
                _ => PlaybackError::Mismatch,
            },
        };
        let recording = Recording::read(bytes).map_err(version)?;
        if recording.version != ours {
            return Err(version(ReplayError::Mismatch));
        }
        // Nothing that is sealed here goes anywhere.
        let (config, nonces) = (recording.config.clone(), NonceSecret::new([0; 32]));
        let (seed, now) = (recording.seed, recording.created);
        let machine = match recording.services.clone() {
            Some(services) => {
                Node::new(now, config, services, seed, nonces).map(|node| Recorded::Node(Box::new(node)))
            }
            None => {
                Membership::new(now, config, seed, nonces).map(|node| Recorded::Membership(Box::new(node)))
            }
        };
        let mut playback = Self {
            machine: machine.map_err(|_| PlaybackError::Mismatch)?,
            at: recording.started,
            recording,
            rest: bytes,
            reader: Replay::default(),
            entries: 0,
            ending: None,
            failed: false,
        };
        while let Some(frame) = playback.next_frame() {
            let first = playback.reader.take(frame).map_err(|_| PlaybackError::NoRecording)?;
            playback.machine.replay(frame).map_err(version)?;
            if first.is_some() {
                return Ok(playback);
            }
        }
        Err(PlaybackError::NoRecording)
    }

    fn next_frame(&mut self) -> Option<&'a [u8]> {
        let frame = Recording::entries(self.rest).next()?;
        self.rest = &self.rest[frame.len()..];
        Some(frame)
    }

    /// Makes the next call; `None` at the end, which [`Playback::ending`] tells more of, and after an error.
    pub fn step(&mut self) -> Option<Result<Step, PlaybackError>> {
        if self.failed || matches!(self.ending, Some(Ending::Stopped | Ending::Full)) {
            return None;
        }
        let (mut body, mut frames) = (None, Vec::new());
        let entry = self.entries + 1;
        while body.is_none() {
            let Some(frame) = self.next_frame() else {
                self.ending = Some(Ending::CutOff);
                return None;
            };
            match self.reader.take(frame) {
                Ok(taken) => body = taken,
                Err(_) => return Some(Err(self.fail(PlaybackError::Damaged { entry }))),
            }
            frames.push(frame);
        }
        let read = body.as_deref().and_then(Entry::read);
        let Some(read) = read else { return Some(Err(self.fail(PlaybackError::Damaged { entry }))) };
        if let Some(at) = read.input.at() {
            self.at = at;
        }
        let (mut kind, mut text, at) = (read.input.kind(), read.input.text(), self.at);
        if let Input::Datagram { source, .. } = &read.input {
            text = format!("datagram from {}:", source.addr);
            let messages = read.trail.iter().filter_map(|item| match item {
                Trail::Message(message) => Some(*message),
                _ => None,
            });
            for message in messages {
                let known = message.first().and_then(|kind| MessageType::from_byte(*kind));
                let _ = match known {
                    Some(known) => write!(text, " {known:?}"),
                    None => write!(text, " unknown"),
                };
            }
        }
        let mut change = None;
        for frame in frames {
            match self.machine.replay(frame) {
                Ok(Replayed::Nothing) => {}
                Ok(Replayed::Transmit { transmit, datagram }) => {
                    text = format!("datagram to {} of {} bytes", transmit.to, datagram.len());
                }
                Ok(Replayed::Stream(action)) => text = format!("{action:?}"),
                Ok(Replayed::StreamData { id, bytes, fin }) => {
                    let end = if fin { ", the last" } else { "" };
                    text = format!("stream {id:?}: {} bytes{end}", bytes.len());
                }
                Ok(Replayed::Membership(found)) => change = Some(found),
                Ok(Replayed::Completion(completion)) => {
                    (kind, text) = (StepKind::Event, format!("{completion:?}"));
                }
                Ok(Replayed::Event(found)) => (kind, text) = (StepKind::Event, event(&found)),
                Ok(Replayed::Stopped { full }) => {
                    self.ending = Some(if full { Ending::Full } else { Ending::Stopped });
                }
                Err(ReplayError::Diverged) => {
                    return Some(Err(self.fail(PlaybackError::Diverged { entry, at })));
                }
                Err(_) => return Some(Err(self.fail(PlaybackError::Damaged { entry }))),
            }
            // An event is on loan when its call ends, and is compared here.
            if self.machine.has_diverged() {
                return Some(Err(self.fail(PlaybackError::Diverged { entry, at })));
            }
        }
        if let Some(change) = change {
            let name =
                self.machine.member(change.key).map_or_else(|| "?".into(), |member| member.name.to_string());
            (kind, text) = (StepKind::Member, format!("{name}: {:?}, {:?}", change.kind, change.cause));
        }
        self.entries = entry;
        Some(Ok(Step { entry, at, kind, text: text.replace(['\n', '\r'], " ") }))
    }

    fn fail(&mut self, error: PlaybackError) -> PlaybackError {
        self.failed = true;
        error
    }

    /// What the recording began with.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The machine as it is now.
    pub fn machine(&self) -> &Recorded {
        &self.machine
    }

    /// Calls played so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The time of the last of them.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// How the recording ends, once [`Playback::step`] has come there.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// A hash over all outputs so far and the state: equal for two runs that were equal.
    pub fn hash(&self) -> u64 {
        self.machine.outputs() ^ self.machine.state_hash().rotate_left(32)
    }
}

impl Input<'_> {
    fn kind(&self) -> StepKind {
        match self {
            Self::Start { .. } | Self::Stop { .. } | Self::Full {} | Self::Check { .. } => StepKind::Check,
            Self::Timeout { .. } => StepKind::Timer,
            Self::Datagram { .. }
            | Self::TransmitFailed { .. }
            | Self::TransmitDelayed { .. }
            | Self::Path { .. }
            | Self::AcceptStream { .. }
            | Self::StreamOpened { .. }
            | Self::StreamFailed { .. }
            | Self::StreamData { .. } => StepKind::Input,
            Self::PollTransmit { .. }
            | Self::PollStream {}
            | Self::PollStreamData { .. }
            | Self::PollMembership {}
            | Self::PollCompletion {}
            | Self::PollEvent {} => StepKind::Output,
            _ => StepKind::Command,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Timeout { .. } => "timers that are due".into(),
            Self::Check { state, .. } => format!("state {state:016x}, as recorded"),
            Self::Stop { state, .. } => format!("the recording was stopped; state {state:016x}, as recorded"),
            Self::Full {} => "the recording ran out of room".into(),
            Self::PollTransmit { .. }
            | Self::PollStream {}
            | Self::PollStreamData { .. }
            | Self::PollMembership {}
            | Self::PollCompletion {}
            | Self::PollEvent {} => Step::NOTHING.into(),
            Self::UserEvent { name, payload, .. } => named("user event", name, payload),
            Self::Query { name, payload, .. } => named("query", name, payload),
            other => format!("{other:?}"),
        }
    }
}

fn event(event: &Event<'_>) -> String {
    match event {
        Event::UserEvent { name, payload, ltime, .. } => {
            format!("{}, Lamport time {}", named("user event", name, payload), ltime)
        }
        Event::Query { name, payload, from, ltime, .. } => {
            let from = String::from_utf8_lossy(from);
            format!("{} from {from}, Lamport time {}", named("query", name, payload), ltime)
        }
        other => format!("{other:?}"),
    }
}

fn named(what: &str, name: &[u8], payload: &[u8]) -> String {
    format!("{what} {:?}, {} bytes", String::from_utf8_lossy(name), payload.len())
}

//! SWIM with Lifeguard, as memberlist speaks it (spec 4): the engine under both machines.
//!
//! One struct, its rules spread over files by meaning: [`claims`] (what is believed), [`probe`] and [`relay`] (who
//! answers), [`gossip`] (what is sent), [`exchange`] and [`merge`] (push/pull), [`streams`], [`commands`], [`schedule`]
//! (timers). The layer above takes part through [`Upper`], which is how services ride on membership without it knowing
//! them.

mod changes;
mod claims;
mod commands;
mod contacts;
mod events;
mod exchange;
mod gossip;
mod hashing;
mod health;
mod inbound;
mod influx;
mod keyring;
mod known;
mod merge;
mod outgoing;
pub(crate) mod outline;
mod packing;
mod places;
mod probe;
mod recording;
mod relay;
pub(crate) mod rumors;
mod scale;
mod schedule;
mod skips;
mod streams;
mod suspicion;
mod upper;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use smallvec::SmallVec;

#[cfg(test)]
pub(crate) use self::claims::{AliveClaim, Via};
pub(crate) use self::keyring::KeyChange;
pub(crate) use self::rumors::Lane;
pub(crate) use self::schedule::Deadline;
pub(crate) use self::streams::Contact;
pub(crate) use self::upper::{News, Upper, Waiter};

use self::changes::Changes;
use self::commands::Operation;
use self::contacts::Contacts;
use self::events::{Buffers, EventRing};
use self::exchange::Snapshot;
use self::health::Health;
use self::keyring::{FIRST_STORED, Storing};
use self::merge::Merge;
use self::outgoing::Outgoing;
use self::packing::Packing;
use self::probe::Probe;
use self::relay::Relay;
use self::rumors::{RumorId, Rumors};
use self::schedule::Ticks;
use self::streams::Stream;
use self::suspicion::Suspicion;
use crate::config::Config;
use crate::error::ConfigError;
use crate::hash::Keyed;
use crate::output::{Cause, Completion, StreamAction};
use crate::rng::Rng;
use crate::roster::{LOCAL, Roster, Standing, WireAddr};
use crate::slab::Slab;
use crate::tap::{Replay, Tap};
use crate::timer::Timers;
use crate::wire::keyring::Nonces;
use crate::wire::label::Label;
use crate::wire::layers::Layers;
use crate::wire::lzw::Deflater;
use crate::wire::packet::Scratch;
use crate::wire::seal::SealVersion;
use crate::{Instant, NonceSecret, Seed, Stats};

/// A piece of news in the dissemination queue. What an alive says is read from the roster when it is sent; suspect and
/// dead keep what was received, because the accuser and the incarnation are theirs (spec 4.4).
#[derive(Debug)]
pub(crate) enum Rumor {
    Alive(u32),
    Accusation {
        slot: u32,
        dead: bool,
        incarnation: u32,
        by: crate::Name,
    },
    /// A service's broadcast: a user message, byte for byte as it was received or made, type byte included.
    Payload(Vec<u8>),
    /// The application's broadcast about something that only it knows; see [`Swim::broadcast_about`].
    About {
        subject: Bytes,
        message: Vec<u8>,
    },
}

/// A suspicion that runs.
#[derive(Debug)]
struct Running {
    suspicion: Suspicion,
    slot: u32,
    timer: Option<crate::timer::TimerId>,
}

/// What an acknowledgement with a sequence number is for.
#[derive(Clone, Copy, Debug)]
enum Awaited {
    Probe,
    Relay(u64),
    Ping(u64),
}

/// Something the layer above is told once the call at hand is through.
#[derive(Clone, Copy, Debug)]
enum Notice {
    Announced { step: u64, out: bool },
    Joined { operation: u64, contacted: usize },
    Sought { token: u64, found: bool },
}

/// Bytes of a stream that are compressed, decompressed or decoded for a unit of work: about what a member without metadata takes
/// in a state, so that a unit is one member here as well.
const BYTES_PER_UNIT: usize = 64;

/// What an alive message takes besides name and metadata, and its place in a compound.
const OWN_ALIVE: usize = 96;

/// The engine.
#[derive(Debug)]
pub(crate) struct Swim {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) stats: Stats,
    pub(crate) roster: Roster,
    pub(crate) rng: Rng,
    pub(crate) layers: Layers,
    nonces: Nonces,
    scratch: Option<Box<Scratch>>,
    deflater: Deflater,
    rumors: Rumors<Rumor>,
    /// What the application's queued broadcasts are about. As many as there are such rumors at most.
    subjects: HashMap<Bytes, RumorId, Keyed>,
    /// What the service lanes scale by; Serf's table keeps failed and left members longer than ours (serf.md 1.5).
    pub(crate) service_members: usize,
    /// Members that a service lists as failed.
    pub(crate) service_failed: usize,
    pub(crate) buffers: Buffers,
    suspicions: Slab<Running>,
    health: Health,
    timers: Timers<Deadline>,
    ticks: Ticks,
    probe: Option<Probe>,
    probe_due: bool,
    relays: Slab<Relay>,
    seq: u32,
    awaited: HashMap<u32, Awaited, Keyed>,
    outgoing: VecDeque<Outgoing>,
    gossip_waiting: usize,
    /// A tick was kept until those packets have left.
    gossip_due: bool,
    transmits: u64,
    paths: HashMap<SocketAddr, u16, Keyed>,
    streams: Slab<Stream>,
    /// How many of them peers opened.
    inbound: usize,
    actions: VecDeque<StreamAction>,
    stream_bytes: usize,
    /// Streams whose reading was put off for work or for memory.
    busy: VecDeque<u64>,
    starving: Vec<u64>,
    merges: VecDeque<Merge>,
    asked: Slab<Merge>,
    snapshot: Snapshot,
    packing: VecDeque<Packing>,
    operations: Slab<Operation>,
    completions: VecDeque<Completion>,
    /// Whether changes of the keyring wait for its file; the one that does, and how many did.
    persists_keyring: bool,
    storing: Option<Storing>,
    stored: u64,
    /// The layer above has put work off.
    upper_backlog: bool,
    contacts: Contacts,
    /// What the layer above has yet to be told.
    notices: VecDeque<Notice>,
    /// Who waits for the farewell that is about to be queued.
    farewell: Option<Waiter>,
    changes: Changes,
    pub(crate) events: EventRing,
    /// How long this process has been stalled in all.
    stalled: Duration,
    /// The last `handle_timeout`: what was due then is late only since then.
    settled: Instant,
    pub(crate) leaving: bool,
    /// The layer above has begun to leave, which ends in `leaving`.
    pub(crate) departing: bool,
    /// The table is full, and that was told.
    found_full: bool,
    /// A stranger got its acknowledgement for the datagram at hand (W-8).
    stranger_acked: bool,
    /// Queries in the datagram at hand.
    queries_heard: u32,
    /// Bytes that a stranger may be told for what came of the datagram at hand so far.
    stranger_room: usize,
    chosen: SmallVec<[u32; 8]>,
    /// A hash of the last packet's messages, where outputs are hashed.
    composed: u32,
    seed: Seed,
    /// When it was made.
    created: Instant,
    tap: Option<Box<Tap>>,
    replay: Option<Box<Replay>>,
}

impl Swim {
    pub(crate) fn new(
        now: Instant,
        mut config: Config,
        seed: &Seed,
        nonces: NonceSecret,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut private = Rng::from_seed(seed, 1);
        let keyed = Keyed::new(&mut private);
        let mut rng = Rng::from_seed(seed, 0);
        let label =
            Label::new(&config.label).map_err(|_| ConfigError::LabelTooLong { len: config.label.len() })?;
        let layers = Layers {
            label,
            skip_inbound_label_check: config.skip_inbound_label_check,
            keyring: config.keyring.take(),
            verify_incoming: config.verify_incoming,
            verify_outgoing: config.verify_outgoing,
            accept_padded: true,
            seal_version: SealVersion::for_protocol(config.protocol_version),
            compression: config.compression,
        };
        // The largest packet every node needs is a probe for another, which names both ends.
        let (body, name) =
            (layers.max_packet_body(config.surest_datagram(), true), config.name.as_bytes().len());
        if body < 192 + name {
            return Err(ConfigError::NameTooLong { len: name, max: body.saturating_sub(192) });
        }
        // What the node says of itself must fit one as well, or it could never refute.
        if body < OWN_ALIVE + name + config.metadata.len() {
            return Err(ConfigError::OutOfRange {
                parameter: "max_datagram",
                allowed: "room for the name and the metadata, and 96 bytes more",
            });
        }
        let mut roster = Roster::new(Keyed::new(&mut private), config.max_members);
        let addr = WireAddr::from_ip(config.advertise.ip());
        let local = roster.insert(config.name.as_bytes(), addr, config.advertise.port());
        debug_assert_eq!(local, Some(LOCAL));
        // Acks are matched by this number alone, so that a guessable one would let strangers fake them (W-7).
        let seq = rng.next_u32();
        let mut swim = Self {
            now,
            stats: Stats::default(),
            layers,
            nonces: nonces.into_nonces(),
            scratch: Some(Box::default()),
            deflater: Deflater::new(),
            rumors: Rumors::new(config.max_rumors, private.next_u64()),
            subjects: HashMap::with_hasher(keyed),
            service_members: 1,
            service_failed: 0,
            buffers: Buffers::new(),
            suspicions: Slab::new(),
            health: Health::new(if config.experiment.lha_probe { config.awareness_max } else { 1 }),
            timers: Timers::new(),
            ticks: Ticks::new(now, &config, &mut rng),
            probe: None,
            probe_due: false,
            relays: Slab::new(),
            seq,
            awaited: HashMap::with_hasher(keyed),
            outgoing: VecDeque::new(),
            gossip_waiting: 0,
            gossip_due: false,
            transmits: 0,
            paths: HashMap::with_hasher(keyed),
            streams: Slab::new(),
            inbound: 0,
            actions: VecDeque::new(),
            stream_bytes: 0,
            busy: VecDeque::new(),
            starving: Vec::new(),
            merges: VecDeque::new(),
            asked: Slab::new(),
            snapshot: Snapshot::new(),
            packing: VecDeque::new(),
            operations: Slab::new(),
            completions: VecDeque::new(),
            persists_keyring: false,
            storing: None,
            stored: FIRST_STORED,
            upper_backlog: false,
            contacts: Contacts::new(),
            notices: VecDeque::new(),
            farewell: None,
            changes: Changes::new(),
            events: EventRing::new(config.max_event_bytes),
            stalled: Duration::ZERO,
            settled: now,
            leaving: false,
            departing: false,
            found_full: false,
            stranger_acked: false,
            queries_heard: 0,
            stranger_room: 0,
            chosen: SmallVec::new(),
            composed: 0,
            seed: *seed,
            created: now,
            tap: None,
            replay: None,
            rng,
            roster,
            config,
        };
        swim.roster.track(LOCAL, &mut swim.rng);
        if !swim.admits(swim.config.name.as_bytes(), &swim.config.metadata, false) {
            return Err(ConfigError::ExcludedByAdmission);
        }
        Ok(swim)
    }

    /// Makes the node a member of its own cluster (spec 4.2 step 5). Apart from `new`, because the layer above is told.
    pub(crate) fn start<U: Upper>(&mut self, upper: &mut U) {
        let record = self.roster.get(LOCAL);
        let (addr, port) = (record.addr, record.port);
        let metadata = self.config.metadata.clone();
        let versions = self.config.versions();
        self.roster.set_content(LOCAL, addr, port, &metadata, versions);
        self.roster.set_incarnation(LOCAL, 1);
        self.roster.set_standing(LOCAL, Standing::Alive, self.now);
        self.announce_alive(LOCAL, None);
        self.mark(LOCAL, Cause::Local);
        self.stats.members_joined += 1;
        upper.changed(self, LOCAL, News::Joined);
        let seeds = core::mem::take(&mut self.config.seeds);
        self.set_seeds(&seeds);
        self.config.seeds = seeds;
    }

    /// Time never goes back here: a caller's mistake must not make a deadline fire twice.
    pub(crate) fn advance(&mut self, now: Instant) {
        if now < self.now {
            self.stats.time_went_back += 1;
        } else {
            self.now = now;
        }
    }

    pub(crate) fn health(&self) -> u32 {
        self.health.score()
    }

    pub(crate) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    pub(crate) fn memory(&self) -> usize {
        let tap = self.tap.as_ref().map_or(0, |tap| tap.memory());
        self.roster.memory()
            + self.stream_bytes
            + self.events.memory()
            + self.buffers.memory()
            + self.snapshot.memory()
            + self.packing.iter().map(Packing::memory).sum::<usize>()
            + tap
    }
}

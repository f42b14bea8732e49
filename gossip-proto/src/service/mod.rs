//! Serf's services on top of membership: intents, tags, user events, queries, coordinates (serf.md).

mod coordinate;
#[cfg(any(test, feature = "testing"))]
mod held;
mod intents;
mod keys;
mod lamport;
mod learnt;
mod members;
mod queries;
mod ring;
mod snapshot;
mod state;
mod upper;
mod user_event;

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;

use hashbrown::HashMap;

pub(crate) use self::lamport::Clock;
pub use self::queries::Expression;
pub use self::snapshot::Snapshot;

use self::coordinate::Coordinates;
use self::intents::RecentIntents;
use self::keys::Keys;
use self::learnt::Learnt;
use self::members::ServiceMember;
use self::queries::Queries;
use self::ring::EventHistory;
use self::state::StateMerge;
use crate::hash::Keyed;
use crate::{Seed, ServiceConfig};

/// Where the node itself is in its life (serf.md 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    /// Leaving, and how far it got.
    Leaving(Farewell),
    Left,
}

/// The steps of a graceful leave (serf.md 4.8): first the intent, because a node that leaves membership without it counts
/// as failed; then memberlist's own farewell; then a while in which probes are still answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    Intent,
    Membership,
    Propagating,
}

/// The services' state.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) config: ServiceConfig,
    pub(crate) clock: Clock,
    pub(crate) event_clock: Clock,
    pub(crate) query_clock: Clock,
    /// Events before this are not wanted: they were seen before, or are older than a join that asked for new ones only.
    event_min: u64,
    /// Queries before this were seen before.
    query_min: u64,
    events: EventHistory,
    queries: Queries,
    members: alloc::vec::Vec<ServiceMember>,
    recent: RecentIntents,
    pub(crate) learnt: Learnt,
    listed: usize,
    failed: usize,
    left: usize,
    pub(crate) life: Life,
    leave_operation: Option<u64>,
    /// Whether the farewells went out in full.
    announced: bool,
    /// Joins that do not want old events.
    pub(crate) ignoring_old: alloc::vec::Vec<u64>,
    merges: VecDeque<StateMerge>,
    /// `None` if they are switched off.
    coordinates: Option<Coordinates>,
    keys: Keys,
}

impl Services {
    pub(crate) fn new(config: ServiceConfig, keyed: Keyed, seed: &Seed) -> Self {
        let (mut clock, mut event_clock, mut query_clock) = (Clock::new(), Clock::new(), Clock::new());
        let (mut event_min, mut query_min) = (0, 0);
        if let Some(restore) = &config.restore {
            // Serf takes over whatever its file says; a time that leaves no room to go on is none (Q3).
            let resume = |clock: &mut Clock, last| {
                let last = if Clock::can_resume(last) { last } else { 0 };
                clock.witness(last);
                last + 1
            };
            resume(&mut clock, restore.last.member);
            event_min = resume(&mut event_clock, restore.last.event);
            query_min = resume(&mut query_clock, restore.last.query);
        }
        Self {
            clock,
            event_clock,
            query_clock,
            event_min,
            query_min,
            events: EventHistory::new(config.event_buffer, config.max_events_per_ltime),
            queries: Queries::new(&config, keyed),
            members: alloc::vec::Vec::new(),
            recent: RecentIntents::new(HashMap::with_hasher(keyed), config.max_recent_intents),
            learnt: Learnt::new(),
            listed: 0,
            failed: 0,
            left: 0,
            life: Life::Alive,
            leave_operation: None,
            announced: true,
            ignoring_old: alloc::vec::Vec::new(),
            merges: VecDeque::new(),
            keys: Keys::default(),
            coordinates: config.coordinates.then(|| Coordinates::new(seed)),
            config,
        }
    }

    pub(crate) fn num_failed(&self) -> usize {
        self.failed
    }

    pub(crate) fn num_left(&self) -> usize {
        self.left
    }
}

/// Kinds of timers and broadcast steps of the services, packed with what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A failed or left member has been remembered long enough.
    Forget { slot: u32, turn: u32 },
    /// A member that an operator pruned while it was leaving.
    Prune { slot: u32, turn: u32 },
    /// A step of the own leave is out, or its time is up.
    Farewell(u32),
    /// Recent intents are looked through.
    Intents,
    /// A failed member is tried again.
    Reconnect,
    /// A query of ours: its missing answers, or its end.
    Asked(u32),
}

impl Task {
    fn pack(self) -> u64 {
        let (kind, high, low) = match self {
            Self::Forget { slot, turn } => (0, turn, slot),
            Self::Prune { slot, turn } => (1, turn, slot),
            Self::Farewell(step) => (2, 0, step),
            Self::Intents => (3, 0, 0),
            Self::Reconnect => (4, 0, 0),
            Self::Asked(serial) => (5, 0, serial),
        };
        // The top bit stays free for the queue's own use.
        kind << 60 | u64::from(high & 0x0fff_ffff) << 32 | u64::from(low)
    }

    fn unpack(packed: u64) -> Self {
        let (high, low) = ((packed >> 32) as u32 & 0x0fff_ffff, packed as u32);
        match packed >> 60 {
            0 => Self::Forget { slot: low, turn: high },
            1 => Self::Prune { slot: low, turn: high },
            2 => Self::Farewell(low),
            3 => Self::Intents,
            4 => Self::Reconnect,
            _ => Self::Asked(low),
        }
    }
}

//! The Serf-level machine: membership and the services on it. The only place that sees both.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use crate::contract::machine;
use crate::coordinate::Coordinate;
use crate::error::{CommandError, ConfigError};
use crate::hash::Keyed;
use crate::keys::KeyCommand;
use crate::machine::{JoinTarget, QueryParams, ReplayError};
use crate::output::{Clocks, OperationId, Queues, RequestId};
use crate::rng::Rng;
use crate::service::{Life, Services};
use crate::swim::{Lane, Swim};
use crate::tap::{self, Input};
use crate::wire::keyring::Key;
use crate::wire::serf::encode_tags;
use crate::{Config, Instant, Name, NonceSecret, Seed, ServiceConfig};

/// A node of a Serf cluster: a member with tags that joins, leaves, and exchanges user events and
/// queries.
pub struct Node {
    pub(crate) swim: Swim,
    pub(crate) upper: Services,
}

impl Node {
    /// A node that knows only itself. `config.metadata` and `config.delegate_versions` are set from the services'
    /// configuration. The seed decides all protocol choices; the nonce secret must be fresh from the operating system
    /// for every process.
    ///
    /// # Errors
    /// What in the configuration cannot be run; the user's fault.
    pub fn new(
        now: Instant,
        mut config: Config,
        mut services: ServiceConfig,
        seed: Seed,
        nonces: NonceSecret,
    ) -> Result<Self, ConfigError> {
        services.check()?;
        let (min, max) = crate::config::SERF_PROTOCOLS;
        services.fix_tags();
        config.metadata(encode(&services)?).delegate_versions([min, max, services.serf_protocol]);
        if !services.reconnect_interval.is_zero() {
            config.seed_interval(services.reconnect_interval);
        }
        let mut swim = Swim::new(now, config, &seed, nonces)?;
        swim.roster.serviced = true;
        let mut upper = Services::new(services, Keyed::new(&mut Rng::from_seed(&seed, 2)), &seed);
        swim.start(&mut upper);
        upper.start(&mut swim);
        Ok(Self { swim, upper })
    }

    /// Replaces this node's tags. Ends with [`crate::Outcome::Announced`].
    ///
    /// # Errors
    /// Tags over 512 bytes encoded, or the node has left; the old tags stay.
    pub fn set_tags(&mut self, now: Instant, tags: Vec<(Bytes, Bytes)>) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::SetTags { now, tags: tags.as_slice().into() });
        let mut services = self.upper.config.clone();
        services.tags(tags).fix_tags();
        let metadata = encode(&services)?;
        let operation = self.swim.set_metadata(&mut self.upper, metadata)?;
        self.upper.config = services;
        Ok(operation)
    }

    /// Fires a user event: every node of the cluster sees it once, this one included. Ends with
    /// [`crate::Outcome::Announced`].
    ///
    /// # Errors
    /// Name and payload exceed the size limit or what a datagram carries, or the node has left.
    pub fn user_event(
        &mut self,
        now: Instant,
        name: &[u8],
        payload: &[u8],
        coalesce: bool,
    ) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::UserEvent { now, name, payload, coalesce });
        self.upper.fire(&mut self.swim, name, payload, coalesce)
    }

    /// Has a failed member taken for one that left; with `prune` it is forgotten at once. A member that is in fact alive
    /// objects and stays. Ends with [`crate::Outcome::Announced`].
    ///
    /// # Errors
    /// No member has that name, or the node has left.
    pub fn force_leave(
        &mut self,
        now: Instant,
        name: &[u8],
        prune: bool,
    ) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::ForceLeave { now, name, prune });
        self.upper.force_leave(&mut self.swim, name, prune)
    }

    /// Asks a query of all members that it is for, this node included. Acknowledgements and answers come as
    /// [`crate::Event::QueryAck`] and [`crate::Event::QueryResponse`], each at most once from a member. Ends with
    /// [`crate::Outcome::Query`] when its time is over.
    ///
    /// # Errors
    /// The query exceeds the size limit or what a datagram carries, its name is one of Serf's own (`_serf_ping` without
    /// a payload may be asked), a tag expression is invalid, the protocol version is below 4, or the node has left.
    pub fn query(
        &mut self,
        now: Instant,
        name: &[u8],
        payload: &[u8],
        params: &QueryParams,
    ) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::Query { now, name, payload, params: Cow::Borrowed(params) });
        self.upper.ask(&mut self.swim, name, payload, params)
    }

    /// Answers a query, once, until its deadline. Best effort: it is one datagram, and one more for each relay.
    ///
    /// # Errors
    /// The query is not known any more, was answered, or its time is over; the answer is too large, or there is no room
    /// for it. Unless it was answered it still can be.
    pub fn respond(&mut self, now: Instant, id: RequestId, payload: &[u8]) -> Result<(), CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::Respond { now, id: id.0, payload });
        self.upper.respond(&mut self.swim, id, payload)
    }

    /// Has all nodes change or tell their keyrings. Ends with [`crate::Outcome::Keys`] when all have answered or the time
    /// for answers is over; a node with a keyring file answers when its file has the change. Changes by one node follow each
    /// other in the order in which they were asked for. Each answer also travels by `relay_factor` other members; see
    /// [`QueryParams::relay_factor`].
    ///
    /// # Errors
    /// The protocol version is below 4, or the node has left.
    pub fn keys(
        &mut self,
        now: Instant,
        command: &KeyCommand,
        relay_factor: u8,
    ) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        let (what, key) = match command {
            KeyCommand::Install(key) => (0, key.as_bytes()),
            KeyCommand::Use(key) => (1, key.as_bytes()),
            KeyCommand::Remove(key) => (2, key.as_bytes()),
            KeyCommand::List => (3, &[][..]),
        };
        self.swim.record(|now| Input::Keys { now, what, key: tap::Key(key), relay_factor });
        self.upper.ask_keys(&mut self.swim, command, relay_factor)
    }

    /// Joins like [`join`](crate::Machine::join), but user events from before are not delivered.
    ///
    /// # Errors
    /// As [`join`](crate::Machine::join).
    pub fn join_ignoring_old(
        &mut self,
        now: Instant,
        targets: &[JoinTarget],
    ) -> Result<OperationId, CommandError> {
        self.swim.advance(now);
        self.swim.record(|now| Input::JoinIgnoringOld { now, targets: targets.into() });
        let operation = self.swim.join(targets)?;
        // Before it may end: one for which there are no streams does so at once.
        self.upper.ignoring_old.push(operation.0);
        self.swim.settle(&mut self.upper);
        Ok(operation)
    }

    fn leave_cluster(&mut self) -> Result<OperationId, CommandError> {
        self.upper.leave(&mut self.swim)
    }

    fn replay_own(&mut self, input: Input<'_>) -> Result<(), ReplayError> {
        match input {
            Input::SetTags { now, tags } => drop(self.set_tags(now, tags.into_owned())),
            Input::UserEvent { now, name, payload, coalesce } => {
                drop(self.user_event(now, name, payload, coalesce))
            }
            Input::ForceLeave { now, name, prune } => drop(self.force_leave(now, name, prune)),
            Input::Query { now, name, payload, params } => drop(self.query(now, name, payload, &params)),
            Input::Keys { now, what, key, relay_factor } => {
                let key = || Key::new(key.0).map_err(|_| ReplayError::Damaged);
                let command = match what {
                    0 => KeyCommand::Install(key()?),
                    1 => KeyCommand::Use(key()?),
                    2 => KeyCommand::Remove(key()?),
                    _ => KeyCommand::List,
                };
                drop(self.keys(now, &command, relay_factor));
            }
            Input::Respond { now, id, payload } => drop(self.respond(now, RequestId(id), payload)),
            Input::JoinIgnoringOld { now, targets } => drop(self.join_ignoring_old(now, &targets)),
            _ => return Err(ReplayError::Mismatch),
        }
        Ok(())
    }

    /// Members that failed and are still remembered.
    pub fn num_failed(&self) -> usize {
        self.upper.num_failed()
    }

    /// Members that left and are still remembered.
    pub fn num_left(&self) -> usize {
        self.upper.num_left()
    }

    /// How many messages wait to be gossiped on.
    pub fn queues(&self) -> Queues {
        let waiting = |lane| self.swim.queued(lane);
        Queues { intents: waiting(Lane::Intent), events: waiting(Lane::Event), queries: waiting(Lane::Query) }
    }

    /// Where this node is in the cluster's latency space (serf.md 6); `None` if coordinates are switched off.
    pub fn coordinate(&self) -> Option<Coordinate> {
        self.upper.coordinate_of(&self.swim, self.swim.config.name.as_bytes())
    }

    /// Where a member last said to be, or this node is; `None` if it is not known, said nothing, or coordinates are
    /// switched off. With two of them, [`crate::coordinate::distance`] estimates a round trip time.
    pub fn coordinate_of(&self, name: &[u8]) -> Option<Coordinate> {
        self.upper.coordinate_of(&self.swim, name)
    }

    /// Members that failed and were forgotten, whose addresses are still tried, and for how long.
    pub fn learnt(&self) -> impl ExactSizeIterator<Item = (&Name, SocketAddr, Duration)> {
        let now = self.swim.now;
        self.upper
            .learnt
            .iter()
            .map(move |(name, addr, until)| (name, addr, until.saturating_duration_since(now)))
    }

    /// Whether it leaves or has left.
    pub fn is_leaving(&self) -> bool {
        self.upper.life != Life::Alive
    }

    /// Another number whenever [`Node::learnt`] would say something else, time aside.
    pub fn learnt_version(&self) -> u64 {
        self.upper.learnt.version()
    }

    /// The clocks.
    pub fn clocks(&self) -> Clocks {
        let services = &self.upper;
        Clocks {
            member: services.clock.time(),
            event: services.event_clock.time(),
            query: services.query_clock.time(),
        }
    }
}

/// Without what it holds: queries about keys, waiting to be passed on, have keys in them.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.swim.config.name)
            .field("now", &self.swim.now)
            .field("members", &self.swim.roster.num_members())
            .field("life", &self.upper.life)
            .finish_non_exhaustive()
    }
}

/// The metadata that carries the tags; protocol 2 knows only the role (serf.md 1.2).
fn encode(services: &ServiceConfig) -> Result<Bytes, ConfigError> {
    let tags = &services.tags;
    if services.serf_protocol < 3 {
        let role = tags.iter().rfind(|(name, _)| **name == *b"role").map(|(_, value)| value.clone());
        return Ok(role.unwrap_or_default());
    }
    let mut metadata = Vec::new();
    // Writing to a vector cannot run out of room.
    let _ = encode_tags(&mut metadata, tags.iter().map(|(name, value)| (name, value)));
    if metadata.len() > crate::config::MAX_METADATA {
        return Err(ConfigError::MetadataTooLong { len: metadata.len() });
    }
    Ok(metadata.into())
}

machine!(Node, Services);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;

    #[test]
    fn a_join_that_ends_at_once_has_nothing_ignored() {
        let mut config = Config::lan("a", SocketAddr::from(([10, 0, 0, 1], 7946)));
        config.max_streams(2);
        let (now, nonces) = (Instant::ORIGIN, NonceSecret::new([1; 32]));
        let mut node = Node::new(now, config, ServiceConfig::default(), Seed::from_u64(1), nonces).unwrap();
        let targets = [2, 3].map(|host| JoinTarget::from(SocketAddr::from(([10, 0, 0, host], 7946))));
        // Each join opens one stream at a time; then there is none left.
        for under_way in 1..=2 {
            node.join_ignoring_old(now, &targets).unwrap();
            assert_eq!(node.upper.ignoring_old.len(), under_way);
            assert!(node.poll_completion().is_none());
        }
        node.join_ignoring_old(now, &targets).unwrap();
        assert!(node.poll_completion().is_some());
        assert_eq!(node.upper.ignoring_old.len(), 2);
    }
}

//! What scenarios ask of a machine beyond the contract: the two kinds have different words for it.

use core::net::SocketAddr;

use gossip_proto::coordinate::Coordinate;
use gossip_proto::{
    Bytes, CommandError, Config, ConfigError, Instant, Machine, Membership, Name, Node, NonceSecret,
    OperationId, QueryParams, RequestId, Restore, Seed, ServiceConfig, Status,
};

/// What a node takes along when it is restarted with its state: what a snapshot file would have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Saved {
    restore: Restore,
}

impl Saved {
    /// The addresses it remembers.
    fn addresses(&self) -> Vec<SocketAddr> {
        self.restore.alive.iter().map(|(_, addr)| *addr).collect()
    }
}

/// The name and the payload in a message by which [`Membership`]s spread something.
pub(crate) fn named(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    (&message[..end], message.get(end + 1..).unwrap_or_default())
}

/// A machine that scenarios can be run on.
pub(crate) trait Kind: Machine + Sized + 'static {
    /// A new one.
    fn make(
        now: Instant,
        config: Config,
        service: ServiceConfig,
        seed: Seed,
        nonces: NonceSecret,
    ) -> Result<Self, ConfigError>;

    /// Puts what an earlier life knew into the configuration of the next.
    fn restore(saved: &Saved, config: &mut Config, service: &mut ServiceConfig);

    /// Spreads a payload over the cluster.
    fn spread(&mut self, now: Instant, name: &[u8], payload: &[u8]) -> Result<OperationId, CommandError>;

    /// Whether what is spread has to be passed on by those who hear it.
    const PASSES_ON: bool;

    /// Asks everybody; `None` if this kind has no queries.
    fn ask(&mut self, now: Instant, name: &[u8], payload: &[u8])
    -> Option<Result<OperationId, CommandError>>;

    /// Answers.
    fn answer(&mut self, now: Instant, id: RequestId);

    /// Changes what members see of the node.
    fn set_tag(&mut self, now: Instant, name: String, value: String) -> Result<OperationId, CommandError>;

    /// Where it is in the cluster's latency space, if it says so.
    fn coordinates(&self) -> Option<&Coordinate>;

    /// What a snapshot would keep of it.
    fn save(&self) -> Saved {
        Saved { restore: Restore { alive: self.alive(), ..Restore::default() } }
    }

    /// The others that it counts among those alive.
    fn alive(&self) -> Vec<(Name, SocketAddr)> {
        let others = self.members().filter(|member| !member.local);
        let counted = others.filter(|member| matches!(member.status, Status::Alive | Status::Suspect));
        counted.map(|member| (member.name.clone(), member.addr)).collect()
    }
}

impl Kind for Node {
    fn make(
        now: Instant,
        config: Config,
        service: ServiceConfig,
        seed: Seed,
        nonces: NonceSecret,
    ) -> Result<Self, ConfigError> {
        Self::new(now, config, service, seed, nonces)
    }

    fn restore(saved: &Saved, _: &mut Config, service: &mut ServiceConfig) {
        service.restore(Some(saved.restore.clone()));
    }

    fn spread(&mut self, now: Instant, name: &[u8], payload: &[u8]) -> Result<OperationId, CommandError> {
        self.user_event(now, name, payload, false)
    }

    const PASSES_ON: bool = false;

    fn ask(
        &mut self,
        now: Instant,
        name: &[u8],
        payload: &[u8],
    ) -> Option<Result<OperationId, CommandError>> {
        let mut params = QueryParams::default();
        params.ack(true);
        Some(self.query(now, name, payload, &params))
    }

    fn answer(&mut self, now: Instant, id: RequestId) {
        // A question whose time is over needs no answer.
        let _ = self.respond(now, id, b"yes");
    }

    fn set_tag(&mut self, now: Instant, name: String, value: String) -> Result<OperationId, CommandError> {
        let tags = self.local().tags().filter(|(known, _)| **known != *name.as_bytes());
        let mut tags: Vec<(Bytes, Bytes)> =
            tags.map(|(name, value)| (name.into_owned().into(), value.into_owned().into())).collect();
        tags.push((name.into(), value.into()));
        self.set_tags(now, tags)
    }

    fn coordinates(&self) -> Option<&Coordinate> {
        self.coordinate()
    }

    fn save(&self) -> Saved {
        let next = self.clocks();
        let last = gossip_proto::Clocks {
            member: next.member.saturating_sub(1),
            event: next.event.saturating_sub(1),
            query: next.query.saturating_sub(1),
        };
        let learnt = self.learnt().map(|(name, addr, left)| (name.clone(), addr, left)).collect();
        Saved { restore: Restore { last, alive: self.alive(), learnt } }
    }
}

impl Kind for Membership {
    fn make(
        now: Instant,
        config: Config,
        _: ServiceConfig,
        seed: Seed,
        nonces: NonceSecret,
    ) -> Result<Self, ConfigError> {
        Self::new(now, config, seed, nonces)
    }

    fn restore(saved: &Saved, config: &mut Config, _: &mut ServiceConfig) {
        config.seeds(saved.addresses());
    }

    fn spread(&mut self, now: Instant, name: &[u8], payload: &[u8]) -> Result<OperationId, CommandError> {
        let mut message = name.to_vec();
        message.push(b'\n');
        message.extend_from_slice(payload);
        self.broadcast_about(now, name, message.into())
    }

    const PASSES_ON: bool = true;

    fn ask(&mut self, _: Instant, _: &[u8], _: &[u8]) -> Option<Result<OperationId, CommandError>> {
        None
    }

    fn answer(&mut self, _: Instant, _: RequestId) {}

    fn set_tag(&mut self, now: Instant, name: String, value: String) -> Result<OperationId, CommandError> {
        self.set_metadata(now, format!("{name}={value}").into())
    }

    fn coordinates(&self) -> Option<&Coordinate> {
        None
    }
}

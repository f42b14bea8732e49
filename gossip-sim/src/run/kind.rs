//! What scenarios ask of a machine beyond the contract: the two kinds have different words for it.

use core::net::SocketAddr;

use gossip_proto::coordinate::Coordinate;
use gossip_proto::{
    Bytes, CommandError, Config, ConfigError, Instant, Machine, Membership, Node, NonceSecret, OperationId,
    QueryParams, RequestId, Seed, ServiceConfig,
};
use transport_mem::net::{Persistent, Saved};

/// The name and the payload in a message by which [`Membership`]s spread something.
pub(crate) fn named(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.iter().position(|byte| *byte == b'\n').unwrap_or(message.len());
    (&message[..end], message.get(end + 1..).unwrap_or_default())
}

/// A machine that scenarios can be run on.
pub(crate) trait Kind: Persistent + Sized + 'static {
    /// A new one.
    fn make(
        now: Instant,
        config: Config,
        service: ServiceConfig,
        seed: Seed,
        nonces: NonceSecret,
    ) -> Result<Self, ConfigError>;

    /// Puts what the disk has of an earlier life into the configuration of the next, beside the seeds of all.
    fn restore(saved: &Saved, seeds: &[SocketAddr], config: &mut Config, service: &mut ServiceConfig);

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
    fn coordinates(&self) -> Option<Coordinate>;
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

    fn restore(saved: &Saved, _: &[SocketAddr], _: &mut Config, service: &mut ServiceConfig) {
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

    fn coordinates(&self) -> Option<Coordinate> {
        self.coordinate()
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

    fn restore(saved: &Saved, seeds: &[SocketAddr], config: &mut Config, _: &mut ServiceConfig) {
        let known = saved.restore.alive.iter().map(|(_, addr)| *addr);
        config.seeds(seeds.iter().copied().chain(known.filter(|addr| !seeds.contains(addr))).collect());
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

    fn coordinates(&self) -> Option<Coordinate> {
        None
    }
}

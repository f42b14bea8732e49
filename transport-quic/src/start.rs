//! Starting a node: socket, machine, transport, on the runtime that is there.

use core::net::SocketAddr;
use std::sync::Arc;

use gossip_driver::gossip_proto::{Config, Instant, Machine, Membership, Node, Seed, ServiceConfig};
use gossip_driver::{Cluster, Options, Prepared, Runtime, StartError, entropy};

use crate::bind::Bind;
use crate::endpoint::FIRST_DATAGRAM;
use crate::limits::Limits;
use crate::transport::QuicTransport;

/// The tag that shows a node's fingerprint.
pub const FINGERPRINT_TAG: &str = "fingerprint";

/// Starts a Serf node. `configure` is told the address that others will be told to use, which the configuration must
/// carry on; then [`prepare`] makes it fit for QUIC, and the tag [`FINGERPRINT_TAG`] (80 bytes of the 512 that tags may
/// take) joins its `fixed_tags`. If there is a file at [`Options::keyring_file`], its keys stand for those of the
/// configuration.
pub async fn start_node(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> (Config, ServiceConfig),
) -> Result<Cluster<Node>, StartError> {
    let fingerprint = bind.credentials.fingerprint().to_string();
    let limits = bind.limits.clone();
    let configure = move |advertise| {
        let (mut config, mut services) = configure(advertise);
        prepare(&mut config, &limits);
        let mut tags = services.values().fixed_tags.clone();
        tags.retain(|(name, _)| name != FINGERPRINT_TAG);
        tags.push((FINGERPRINT_TAG.into(), fingerprint.into()));
        services.fixed_tags(tags);
        (config, services)
    };
    start(bind, |now, addr, seed, options| Prepared::node(now, addr, seed, options, configure))
}

/// Starts a memberlist node. `configure` is told the address that others will be told to use, which the configuration
/// must carry on; then [`prepare`] makes it fit for QUIC. If there is a file at [`Options::keyring_file`], its keys stand for
/// those of the configuration. Snapshots are Serf's: [`Options::snapshot`] is refused.
pub async fn start_membership(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> Config,
) -> Result<Cluster<Membership>, StartError> {
    let limits = bind.limits.clone();
    let configure = move |advertise| {
        let mut config = configure(advertise);
        prepare(&mut config, &limits);
        config
    };
    start(bind, |now, addr, seed, options| Prepared::membership(now, addr, seed, options, configure))
}

/// Makes a configuration fit for QUIC, as this crate's `start_node` does it; for who starts a machine by hand. Who a peer is has
/// been proven, so identities are on; on a path that is not known yet datagrams are no longer than QUIC carries on any; and a
/// cluster of more members than [`Limits::connections`] gossips rather over connections that are open.
pub fn prepare(config: &mut Config, limits: &Limits) {
    config.identities(true).unknown_path(FIRST_DATAGRAM).max_paths(limits.connections);
}

/// On tokio if this is called within tokio, otherwise on async-std.
fn start<M: Machine + Send + 'static>(
    bind: Bind,
    make: impl FnOnce(Instant, SocketAddr, Option<Seed>, Options) -> Result<Prepared<M>, StartError>,
) -> Result<Cluster<M>, StartError> {
    #[cfg(feature = "runtime-tokio")]
    if let Ok(runtime) = transport_tokio::TokioRuntime::current() {
        return start_on(bind, runtime, Arc::new(quinn::TokioRuntime), make);
    }
    #[cfg(feature = "runtime-async-std")]
    return start_on(
        bind,
        crate::async_std_runtime::AsyncStdRuntime::new(),
        Arc::new(crate::async_std_runtime::AsyncStdQuic),
        make,
    );
    #[cfg(not(feature = "runtime-async-std"))]
    Err(StartError::NoRuntime)
}

fn start_on<M: Machine + Send + 'static, R: Runtime>(
    bind: Bind,
    runtime: R,
    carrier: Arc<dyn quinn::Runtime>,
    make: impl FnOnce(Instant, SocketAddr, Option<Seed>, Options) -> Result<Prepared<M>, StartError>,
) -> Result<Cluster<M>, StartError> {
    bind.limits.check().map_err(StartError::Limits)?;
    let socket = bind.socket()?;
    let bound = socket.local_addr().map_err(StartError::Transport)?;
    let advertise = gossip_driver::advertised(bind.advertise, bound)?;
    let prepared = make(runtime.now(), advertise, bind.seed, bind.options)?;
    let label = prepared.config().label_bytes().to_vec();
    let transport = QuicTransport::new(socket, carrier, bind.credentials, &label, bind.limits, &entropy()?)
        .map_err(StartError::Transport)?;
    prepared.start(transport, runtime)
}

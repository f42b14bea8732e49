//! Starting a node: socket, machine, transport, on the runtime that is there.

use core::net::SocketAddr;
use std::sync::Arc;

use gossip_driver::gossip_proto::{
    Config, Instant, Machine, Membership, Node, NonceSecret, Seed, ServiceConfig,
};
use gossip_driver::{Cluster, Options, Runtime, SnapshotFile};

use crate::bind::{Bind, StartError, entropy};
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
    let mut bind = bind;
    let snapshot = bind.options.snapshot.take();
    let fingerprint = bind.credentials.fingerprint().to_string();
    let (options, limits) = (bind.options.clone(), bind.limits.clone());
    let configure = move |advertise| {
        let (mut config, mut services) = configure(advertise);
        finish(&mut config, &limits, &options)?;
        let mut tags = services.values().fixed_tags.clone();
        tags.retain(|(name, _)| name != FINGERPRINT_TAG);
        tags.push((FINGERPRINT_TAG.into(), fingerprint.into()));
        services.fixed_tags(tags);
        Ok::<_, StartError>((config, services))
    };
    let Some(snapshot) = snapshot else {
        return launch(bind, |now, advertise, seed, nonces| {
            let (config, services) = configure(advertise)?;
            Ok(Plain(Node::new(now, config, services, seed, nonces)?))
        });
    };
    launch(bind, |now, advertise, seed, nonces| {
        // Once the socket is bound: the file of a node that already runs here is not touched.
        let file = SnapshotFile::open(&snapshot)
            .map_err(|error| StartError::Snapshot { path: snapshot.path, error })?;
        let (config, mut services) = configure(advertise)?;
        services.restore(Some(file.restore(config.name())));
        Ok(Kept { node: Node::new(now, config, services, seed, nonces)?, file })
    })
}

/// Starts a memberlist node. `configure` is told the address that others will be told to use, which the configuration
/// must carry on; then [`prepare`] makes it fit for QUIC. If there is a file at [`Options::keyring_file`], its keys stand for
/// those of the configuration. Snapshots are Serf's: [`Options::snapshot`] is refused.
pub async fn start_membership(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> Config,
) -> Result<Cluster<Membership>, StartError> {
    if bind.options.snapshot.is_some() {
        return Err(StartError::SnapshotOfMembership);
    }
    let (options, limits) = (bind.options.clone(), bind.limits.clone());
    launch(bind, |now, advertise, seed, nonces| {
        let mut config = configure(advertise);
        finish(&mut config, &limits, &options)?;
        Ok(Plain(Membership::new(now, config, seed, nonces)?))
    })
}

/// Makes a configuration fit for QUIC, as this crate's `start_node` does it; for who starts a machine by hand. Who a peer is has
/// been proven, so identities are on; on a path that is not known yet datagrams are no longer than QUIC carries on any; and a
/// cluster of more members than [`Limits::connections`] gossips rather over connections that are open.
pub fn prepare(config: &mut Config, limits: &Limits) {
    config.identities(true).unknown_path(FIRST_DATAGRAM).max_paths(limits.connections);
}

fn finish(config: &mut Config, limits: &Limits, options: &Options) -> Result<(), StartError> {
    prepare(config, limits);
    options.restore_keyring(config).map_err(|error| StartError::Keyring {
        path: options.keyring_file.clone().unwrap_or_default(),
        error,
    })
}

/// What is driven, and how.
trait Launch {
    type Machine: Machine;

    fn machine(&self) -> &Self::Machine;

    fn run<R: Runtime>(
        self,
        transport: QuicTransport,
        runtime: R,
        options: Options,
    ) -> Cluster<Self::Machine>;
}

struct Plain<M>(M);

impl<M: Machine + Send + 'static> Launch for Plain<M> {
    type Machine = M;

    fn machine(&self) -> &M {
        &self.0
    }

    fn run<R: Runtime>(self, transport: QuicTransport, runtime: R, options: Options) -> Cluster<M> {
        gossip_driver::start(self.0, transport, runtime, options)
    }
}

struct Kept {
    node: Node,
    file: SnapshotFile,
}

impl Launch for Kept {
    type Machine = Node;

    fn machine(&self) -> &Node {
        &self.node
    }

    fn run<R: Runtime>(self, transport: QuicTransport, runtime: R, options: Options) -> Cluster<Node> {
        gossip_driver::start_with_snapshot(self.node, transport, runtime, options, self.file)
    }
}

/// On tokio if this is called within tokio, otherwise on async-std.
fn launch<L: Launch>(
    bind: Bind,
    make: impl FnOnce(Instant, SocketAddr, Seed, NonceSecret) -> Result<L, StartError>,
) -> Result<Cluster<L::Machine>, StartError> {
    #[cfg(feature = "runtime-tokio")]
    if let Ok(runtime) = transport_tokio::TokioRuntime::current() {
        return launch_on(bind, runtime, Arc::new(quinn::TokioRuntime), make);
    }
    #[cfg(feature = "runtime-async-std")]
    return launch_on(
        bind,
        crate::async_std_runtime::AsyncStdRuntime::new(),
        Arc::new(crate::async_std_runtime::AsyncStdQuic),
        make,
    );
    #[cfg(not(feature = "runtime-async-std"))]
    Err(StartError::NoRuntime)
}

fn launch_on<L: Launch, R: Runtime>(
    bind: Bind,
    runtime: R,
    carrier: Arc<dyn quinn::Runtime>,
    make: impl FnOnce(Instant, SocketAddr, Seed, NonceSecret) -> Result<L, StartError>,
) -> Result<Cluster<L::Machine>, StartError> {
    bind.limits.check().map_err(StartError::Limits)?;
    let socket = bind.socket()?;
    let bound = socket.local_addr().map_err(StartError::Endpoint)?;
    let advertise = gossip_driver::advertised(bind.advertise, bound).map_err(StartError::Advertise)?;
    let seed = match bind.seed {
        Some(seed) => seed,
        None => Seed::new(entropy()?),
    };
    let launch = make(runtime.now(), advertise, seed, NonceSecret::new(entropy()?))?;
    let label = launch.machine().config().label_bytes().to_vec();
    let transport = QuicTransport::new(socket, carrier, bind.credentials, &label, bind.limits, &entropy()?)
        .map_err(StartError::Endpoint)?;
    // Once the socket is bound: the file of a node that already runs here is not touched.
    if let Some(recording) = &bind.options.recording {
        let path = recording.path().to_owned();
        recording.open().map_err(|error| StartError::Recording { path, error })?;
    }
    Ok(launch.run(transport, runtime, bind.options))
}

//! Gossip over UDP and TCP on tokio: a node of a memberlist or Serf cluster in one call.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn core::error::Error>> {
//! use transport_tokio::{Bind, Config, Notice, ServiceConfig, start_node};
//!
//! let configure = |advertise| (Config::lan("web-1", advertise), ServiceConfig::default());
//! let node = start_node(Bind::default(), configure).await?;
//! let mut news = node.subscribe().await;
//! node.join(&["10.0.0.7", "seed.example.org:7946"]).await?;
//! node.user_event("deploy", "v42", true).await?;
//! while let Some(notice) = news.recv().await {
//!     if let Notice::Change { member, kind, .. } = notice {
//!         println!("{} {:?}", member.name, kind);
//!     }
//! }
//! println!("ended: {}", node.closed().await);
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! None is on by default. `tracing` has nodes log, in the words that operators of Serf know, within the span in which a node was
//! started: give it one with the node's name where a process runs several. `tls` is for streams, see below.
//!
//! # TLS
//!
//! With the feature `tls`, [`Bind::tls`](Bind) puts the streams into TLS: push/pull exchanges, which carry the whole state, and
//! reliable messages. It authenticates and hides streams only. Whoever can send datagrams to a node can still gossip to it, and
//! read what is gossiped: `Config::keyring` is what protects those, and `Config::identities` stays off.

mod backoff;
mod bind;
mod runtime;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod udp;

use core::net::SocketAddr;

pub use bind::{Bind, StartError};
pub use gossip_driver;
pub use gossip_driver::gossip_proto;
pub use gossip_driver::{
    AdvertiseError, Answer, Answers, Batch, BindError, Cluster, Coalesced, Coalescer, EndReason, Error,
    JoinError, JoinErrorKind, JoinReport, MemberInfo, Notice, Options, RecordingOptions, SnapshotFile,
    SnapshotOptions, Subscription, Window,
};
pub use gossip_proto::{
    Cause, ChangeKind, Clocks, Config, ConfigError, Membership, Name, Node, QueryParams, Queues, Seed,
    ServiceConfig, Stats, Status,
};
#[cfg(feature = "tls")]
pub use gossip_tls;
pub use runtime::{TokioRuntime, TokioTimer};
pub use tcp::Tcp;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsRefusal};
pub use transport::TokioTransport;

use gossip_proto::{Instant, NonceSecret};

/// Starts a Serf node. `configure` is told the address that others will be told to use, which the configuration must
/// carry on. If there is a file at [`Options::keyring_file`], its keys stand for those of the configuration.
pub async fn start_node(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> (Config, ServiceConfig),
) -> Result<Cluster<Node>, StartError> {
    let mut bind = bind;
    let snapshot = bind.options.snapshot.take();
    let options = bind.options.clone();
    let configure = |advertise| {
        let (mut config, services) = configure(advertise);
        restore_keyring(&options, &mut config)?;
        Ok::<_, StartError>((config, services))
    };
    let Some(snapshot) = snapshot else {
        let make = |now, advertise, seed, nonces| {
            let (config, services) = configure(advertise)?;
            Ok(Node::new(now, config, services, seed, nonces)?)
        };
        return start(bind, make, gossip_driver::start);
    };
    start(
        bind,
        |now, advertise, seed, nonces| {
            // Once the sockets are bound: the file of a node that already runs here is not touched.
            let file = SnapshotFile::open(&snapshot)
                .map_err(|error| StartError::Snapshot { path: snapshot.path, error })?;
            let (config, mut services) = configure(advertise)?;
            services.restore(Some(file.restore(config.name())));
            Ok((Node::new(now, config, services, seed, nonces)?, file))
        },
        |(node, file), transport, runtime, options| {
            gossip_driver::start_with_snapshot(node, transport, runtime, options, file)
        },
    )
}

/// Starts a memberlist node. `configure` is told the address that others will be told to use, which the configuration
/// must carry on. If there is a file at [`Options::keyring_file`], its keys stand for those of the configuration. Snapshots
/// are Serf's: [`Options::snapshot`] is refused.
pub async fn start_membership(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> Config,
) -> Result<Cluster<Membership>, StartError> {
    if bind.options.snapshot.is_some() {
        return Err(StartError::SnapshotOfMembership);
    }
    let options = bind.options.clone();
    let make = |now, advertise, seed, nonces| {
        let mut config = configure(advertise);
        restore_keyring(&options, &mut config)?;
        Ok(Membership::new(now, config, seed, nonces)?)
    };
    start(bind, make, gossip_driver::start)
}

fn restore_keyring(options: &Options, config: &mut Config) -> Result<(), StartError> {
    options.restore_keyring(config).map_err(|error| StartError::Keyring {
        path: options.keyring_file.clone().unwrap_or_default(),
        error,
    })
}

fn start<A, M>(
    bind: Bind,
    make: impl FnOnce(Instant, SocketAddr, Seed, NonceSecret) -> Result<A, StartError>,
    run: impl FnOnce(A, TokioTransport, TokioRuntime, Options) -> Cluster<M>,
) -> Result<Cluster<M>, StartError> {
    let runtime = TokioRuntime::current().map_err(|_| StartError::NoRuntime)?;
    let transport = TokioTransport::bind(&bind)?;
    let bound = gossip_driver::Transport::local_addr(&transport);
    let advertise = gossip_driver::advertised(bind.advertise, bound).map_err(StartError::Advertise)?;
    let seed = match bind.seed {
        Some(seed) => seed,
        None => Seed::new(entropy()?),
    };
    let machine = make(gossip_driver::Runtime::now(&runtime), advertise, seed, NonceSecret::new(entropy()?))?;
    // Once the sockets are bound: the file of a node that already runs here is not touched.
    if let Some(recording) = &bind.options.recording {
        let path = recording.path().to_owned();
        recording.open().map_err(|error| StartError::Recording { path, error })?;
    }
    Ok(run(machine, transport, runtime, bind.options))
}

fn entropy() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(StartError::Entropy)?;
    Ok(bytes)
}

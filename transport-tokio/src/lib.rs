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

pub use bind::Bind;
pub use gossip_driver;
pub use gossip_driver::gossip_proto;
pub use gossip_driver::{
    AdvertiseError, Answer, Answers, Batch, BindError, Cluster, Coalesced, Coalescer, EndReason, Error,
    JoinError, JoinErrorKind, JoinReport, MemberInfo, Notice, Options, RecordingOptions, SnapshotFile,
    SnapshotOptions, StartError, Subscription, Window,
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

use gossip_driver::{Prepared, Runtime as _, Transport as _};
use gossip_proto::{Instant, Machine};

/// Starts a Serf node. `configure` is told the address that others will be told to use, which the configuration must
/// carry on. If there is a file at [`Options::keyring_file`], its keys stand for those of the configuration.
pub async fn start_node(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> (Config, ServiceConfig),
) -> Result<Cluster<Node>, StartError> {
    start(bind, |now, addr, seed, options| Prepared::node(now, addr, seed, options, configure))
}

/// Starts a memberlist node. `configure` is told the address that others will be told to use, which the configuration
/// must carry on. If there is a file at [`Options::keyring_file`], its keys stand for those of the configuration. Snapshots
/// are Serf's: [`Options::snapshot`] is refused.
pub async fn start_membership(
    bind: Bind,
    configure: impl FnOnce(SocketAddr) -> Config,
) -> Result<Cluster<Membership>, StartError> {
    start(bind, |now, addr, seed, options| Prepared::membership(now, addr, seed, options, configure))
}

fn start<M: Machine + Send + 'static>(
    bind: Bind,
    make: impl FnOnce(Instant, SocketAddr, Option<Seed>, Options) -> Result<Prepared<M>, StartError>,
) -> Result<Cluster<M>, StartError> {
    let runtime = TokioRuntime::current().map_err(|_| StartError::NoRuntime)?;
    let transport = TokioTransport::bind(&bind)?;
    let advertise = gossip_driver::advertised(bind.advertise, transport.local_addr())?;
    make(runtime.now(), advertise, bind.seed, bind.options)?.start(transport, runtime)
}

//! Gossip over QUIC: a node of a cluster in one call, encrypted and authenticated, on one UDP port.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn core::error::Error>> {
//! use transport_quic::{Authorities, Bind, Config, Credentials, Notice, ServiceConfig, start_node};
//!
//! let credentials = Credentials::from_files("web-1.pem", "web-1.pem", Authorities::file("authority.pem")?)?;
//! let configure = |advertise| (Config::lan("web-1", advertise), ServiceConfig::default());
//! let node = start_node(Bind::new(credentials), configure).await?;
//! let mut news = node.subscribe().await;
//! node.join(&["10.0.0.7", "seed.example.org:7946"]).await?;
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
//! Coming from `transport-tokio`, the line that changes is the one with the crate's name, and `Bind` wants [`Credentials`].
//! QUIC and UDP/TCP nodes do not understand each other: there is no plaintext here, in either direction.
//!
//! # Certificates
//!
//! See [`gossip_tls`]: an authority of one's own and PEM files, or self-made certificates and a list of fingerprints.
//! `cargo run -p gossip-tls --example certificates -- pki web-1 web-2` makes an authority and two members. Whoever presents
//! nothing that is accepted gets nothing, not even the answer to a ping, and is told why: in the error of its `join`, and
//! in its log. Certificates, authorities and lists can be read again while a node runs ([`Credentials::reload`]); then
//! connections of those who are not accepted any more are closed within a second. A connection whose certificate runs out is
//! closed within a minute, and whoever has another one by then connects again with that.
//!
//! A node's fingerprint is also a tag, `fingerprint`, so that members see when it changes. The tag lets nobody in.
//!
//! Nodes know each other's keys ([`gossip_proto::Config::identities`]): what a member says of itself must come from the
//! key that it first spoke with.
//!
//! # How it works
//!
//! Gossip and probes are unreliable datagrams, composed to what the path really carries; exchanges and reliable messages are
//! streams of the same connections. Connections are opened when they are needed, used by both sides, kept up to
//! [`Limits::connections`], and closed when they are idle. At most four datagrams wait for a connection that is being
//! opened; gossip gives way first. Nothing is sent before both sides have proven their key (no 0-RTT), and nothing is resumed.
//! [`Limits`] bounds what peers and strangers can make a node remember.
//!
//! # Features
//!
//! `tracing` has nodes log, in the words that operators of Serf know, within the span in which a node was started: give it one with
//! the node's name where a process runs several. The others choose runtimes:
//!
//! # Runtimes
//!
//! With the feature `runtime-tokio`, the default, a node that is started within tokio runs on it. With `runtime-async-std` a
//! node can be started anywhere else, and runs on async-std.
#![forbid(unsafe_code)]

#[cfg(not(any(feature = "runtime-tokio", feature = "runtime-async-std")))]
compile_error!("transport-quic needs a runtime: enable the feature runtime-tokio or runtime-async-std");

mod accept;
#[cfg(feature = "runtime-async-std")]
mod async_std_runtime;
mod bind;
mod dial;
mod endpoint;
mod limits;
mod link;
mod refusal;
mod shared;
mod start;
mod state;
mod stream;
mod timer;
mod transport;
mod waiting;

#[cfg(feature = "runtime-async-std")]
pub use async_std_runtime::{AsyncStdRuntime, AsyncStdTimer};
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
pub use gossip_tls;
pub use gossip_tls::{Allowed, Authorities, Authority, Credentials, Fingerprint, Identity, TlsError, Trust};
pub use limits::Limits;
pub use start::{FINGERPRINT_TAG, prepare, start_membership, start_node};
pub use stream::QuicStream;
pub use transport::QuicTransport;
#[cfg(feature = "runtime-tokio")]
pub use transport_tokio::{TokioRuntime, TokioTimer};

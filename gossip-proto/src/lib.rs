//! A gossip node as a pure state machine: timestamped inputs in, packets and events out.
//!
//! [`Node`] speaks the wire protocol of HashiCorp's Serf, [`Membership`] that of memberlist below it, so that either is a
//! member of clusters that run today. There is no clock, no randomness of its own, no I/O and no callback in here:
//! a run is a function of the configuration, the [`Seed`] and the timestamped inputs, and can be replayed bit for bit.
//! Adapter crates bind the machine to sockets; a simulator and a fuzzer drive the very same code.
//!
//! # Driving a machine
//!
//! [`Machine`] is the whole contract. Its methods come in four kinds: `handle_*` (what happened outside), commands (what
//! the application wants), `poll_*` (what the driver must do now) and getters.
//!
//! 1. `now` never goes back; if it does, the machine keeps its old time and counts it.
//! 2. After inputs or commands: `poll_transmit`, then `poll_stream`, then the three outputs, each until `None`; then
//!    `poll_timeout`. Inputs may be batched, at most 64 before transmits are polled.
//! 3. `None` means drained, never "this one was stale".
//! 4. A full socket just stops polling transmits: packets are composed when they are polled, so that what waits is never
//!    stale. A probe's clock starts when its ping is handed out; a ping that never is ends silently.
//! 5. A call does work bounded by the bytes given and by `work_per_call`. What is more stays due: while `poll_timeout` is
//!    not after `now`, call `handle_timeout(now)` again.
//! 6. Drain before judge: hand over what has arrived (at most 1,024 datagrams or 5 ms of them) before `handle_timeout`.
//!    A timer call that comes late by more than half a probe timeout is taken for this process's own stall: running
//!    probes and suspicions get that time back.
//!
//! Two nodes that meet, with the network played by hand:
//!
//! ```
//! use gossip_proto::{Config, Instant, Machine, Membership, NonceSecret, Seed, Source, StreamAction, StreamId};
//!
//! let now = Instant::ORIGIN;
//! let make = |n: u8| {
//!     let config = Config::lan(&*format!("node-{n}"), format!("10.0.0.{n}:7946").parse().unwrap());
//!     Membership::new(now, config, Seed::from_u64(n.into()), NonceSecret::new([n; 32])).unwrap()
//! };
//! let (mut a, mut b) = (make(1), make(2));
//!
//! a.join(now, &[b.local().addr.into()]).unwrap();
//! let Some(StreamAction::Open { id, .. }) = a.poll_stream() else { panic!("a join opens a stream") };
//! let accepted = b.accept_stream(now, Source::unauthenticated(a.local().addr)).unwrap();
//! a.handle_stream_opened(now, id);
//!
//! // Carries what one side has to say to the other.
//! fn carry(now: Instant, from: &mut Membership, id: StreamId, to: &mut Membership, into: StreamId) {
//!     let mut buf = [0; 4096];
//!     loop {
//!         let written = from.poll_stream_data(now, id, &mut buf);
//!         if written.len == 0 {
//!             break;
//!         }
//!         to.handle_stream_data(now, into, &buf[..written.len], false).unwrap();
//!     }
//! }
//! carry(now, &mut a, id, &mut b, accepted);
//! carry(now, &mut b, accepted, &mut a, id);
//! assert_eq!((a.num_alive(), b.num_alive()), (2, 2));
//! ```
//!
//! # What is bounded
//!
//! Every collection that a remote can grow has a cap in [`Config`] or [`ServiceConfig`] and a counter in [`Stats`].
//! Nothing a peer sends makes this crate panic: that would be a defect here, never the peer's fault.
//!
//! # Features
//!
//! None is on by default. `std` lets checksums use the processor's own instructions; drivers turn it on. `testing` adds the bodies of the fuzz
//! targets, for a fuzzer of your own. To test what you build on a machine take `transport_mem::net`, a whole network in virtual time, and its
//! `observe`, which checks what must always hold.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
mod contract;
pub mod coordinate;
mod duration;
pub mod error;
mod hash;
mod keys;
mod machine;
mod membership;
mod name;
mod node;
mod nonce;
mod output;
mod playback;
mod ration;
mod replay;
mod rng;
mod roster;
mod service;
mod slab;
mod stats;
mod swim;
mod tap;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod timer;
mod view;
pub mod wire;

pub use bytes::Bytes;
pub use duration::parse as parse_duration;

pub use config::{
    Admission, Answer, Cidr, Config, ConfigValues, ConsulClient, Experiment, ExperimentValues, Logarithm,
    Restore, ServiceConfig, ServiceConfigValues,
};
pub use error::{CommandError, ConfigError, PacketError, Refused, StreamError};
pub use keys::{KeyCommand, KeyFailure, KeyReport};
pub use machine::{JoinTarget, Machine, QueryParams, ReplayError, Replayed};
pub use membership::Membership;
pub use name::Name;
pub use node::Node;
pub use nonce::NonceSecret;
pub use output::*;
pub use playback::{Ending, Playback, PlaybackError, Recorded, Step, StepKind};
pub use rng::Seed;
pub use roster::Standing;
pub use service::{Expression, Snapshot};
pub use stats::Stats;
pub use tap::{MAX_TAP_FRAME, Recording};
pub use time::Instant;
pub use view::{KnownMember, Member, Members, MergeMember};

//! A gossip node as a pure state machine: timestamped inputs in, packets and events out.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod config;
mod contract;
pub mod error;
mod hash;
mod machine;
mod membership;
mod name;
mod node;
mod nonce;
mod output;
mod rng;
mod roster;
mod service;
mod slab;
mod stats;
mod swim;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod timer;
mod view;
pub mod wire;

pub use bytes::Bytes;

pub use config::{Admission, Answer, Cidr, Config, ServiceConfig};
pub use error::{CommandError, ConfigError, PacketError, Refused, StreamError};
pub use machine::{JoinTarget, Machine, ReplayError};
pub use membership::Membership;
pub use name::Name;
pub use node::{Clocks, Node};
pub use output::*;
pub use rng::Seed;
pub use roster::Standing;
pub use stats::Stats;
pub use time::Instant;
pub use view::{Member, Members};
pub use nonce::NonceSecret;

//! Gossip in memory, without sockets and without waiting.
//!
//! - [`net`]: a deterministic virtual network of state machines, for simulations: latency, loss, partitions, pauses,
//!   crashes, and a trace by which two runs from one seed are compared byte for byte.
//! - [`Bus`]: a [`gossip_driver::Transport`] between endpoints of one process, for any runtime.
//! - [`VirtualRuntime`]: a [`gossip_driver::Runtime`] whose clock moves only when every task waits.
//!
//! The first is for machines without a driver, the other two for what applications hold, a [`Cluster`]:
//!
//! ```
//! use gossip_proto::{Config, Seed, ServiceConfig};
//! use transport_mem::{Bus, VirtualRuntime, start_node};
//!
//! let runtime = VirtualRuntime::new();
//! let bus = Bus::with_runtime(&runtime, Seed::from_u64(1));
//! let node = |name: &str, addr: &str| {
//!     start_node(&bus, &runtime, addr.parse().unwrap(), |addr| (Config::lan(name, addr), ServiceConfig::default()))
//! };
//! let a = node("a", "10.0.0.1:7946").unwrap();
//! let b = node("b", "10.0.0.2:7946").unwrap();
//! runtime.block_on(async {
//!     b.join(&["10.0.0.1"]).await.unwrap();
//!     assert_eq!(a.members().await.len(), 2);
//! });
//! ```
#![forbid(unsafe_code)]

mod bus;
mod conditions;
mod conn;
mod link;
pub mod net;
mod pipe;
mod pool;
mod queue;
mod rng;
mod runtime;
mod start;

pub use bus::{Bus, MemStream, MemTransport};
pub use conditions::{Conditions, Latency, Loss, Rate};
pub use gossip_driver::{self, Cluster};
pub use gossip_proto;

pub use runtime::{VirtualRuntime, VirtualTimer};
pub use start::{StartError, start_membership, start_node};

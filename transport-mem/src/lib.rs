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
//!
//! # What can go wrong
//!
//! In a [`net::Network`] everything, at any time, each fault by one method. Whatever is left to chance comes from the
//! network's seed, and each fault has a stream of random numbers of its own, so that it moves nothing else.
//!
//! | what | how | ends |
//! |---|---|---|
//! | **Processes** | | |
//! | it stands still, its kernel does not | [`pause`](net::Network::pause) | [`resume`](net::Network::resume) |
//! | it ends, and its kernel resets and refuses | [`crash`](net::Network::crash) | [`restart`](net::Network::restart), [`restart_at`](net::Network::restart_at) another address |
//! | its machine loses power, and nothing answers | [`vanish`](net::Network::vanish) | the same |
//! | its sockets stop, its timers go on | [`stop_io`](net::Network::stop_io) | [`start_io`](net::Network::start_io) |
//! | each call takes so long | [`set_slow`](net::Network::set_slow) | zero |
//! | ... and takes that many inputs before a timer gets its turn | [`set_drain`](net::Network::set_drain) | 1,024 |
//! | it runs in bursts | [`set_bursts`](net::Network::set_bursts) | `None` |
//! | it reads so many bytes of a stream in a second | [`set_read_rate`](net::Network::set_read_rate) | `None` |
//! | nobody listens for streams | [`refuse_streams`](net::Network::refuse_streams) | `false` |
//! | **Clocks** | | |
//! | too fast, too slow | [`skew_clock`](net::Network::skew_clock) | 0 |
//! | set forward, set back | [`set_clock_forward`](net::Network::set_clock_forward), [`set_clock_back`](net::Network::set_clock_back) | the other |
//! | **Disks** ([`add_disk`](net::Network::add_disk)) | | |
//! | all is lost: a restart without state | [`wipe_disk`](net::Network::wipe_disk) | |
//! | nothing can be written | [`fail_disk`](net::Network::fail_disk) | `false` |
//! | what was written last is lost, perhaps half a line | [`vanish`](net::Network::vanish) | |
//! | **Links**: all, one direction of one, or between zones | | |
//! | latency, loss, duplication, reordering, rate and buffer, MTU: [`Conditions`] | [`set_conditions`](net::Network::set_conditions), [`set_link`](net::Network::set_link), [`set_zone_link`](net::Network::set_zone_link) with [`set_zone`](net::Network::set_zone) | others |
//! | loss at one node, per direction | [`set_loss`](net::Network::set_loss) | 0 |
//! | a rate and a buffer for all that a node sends, or receives | [`set_uplink`](net::Network::set_uplink), [`set_downlink`](net::Network::set_downlink) | `None` |
//! | nothing gets through | [`cut`](net::Network::cut), [`cut_zones`](net::Network::cut_zones), [`partition`](net::Network::partition) | [`heal`](net::Network::heal) |
//! | large datagrams are refused at the socket | [`set_path`](net::Network::set_path) | `None` |
//! | **Datagrams** | | |
//! | they do not get through, streams do | [`block_datagrams`](net::Network::block_datagrams) | [`heal`](net::Network::heal) |
//! | a socket's buffer is small | [`set_socket_buffer`](net::Network::set_socket_buffer) | more |
//! | senders are told that nobody listens | [`report_unreachable`](net::Network::report_unreachable) | `false` |
//! | changed, dropped, delayed or copied by their bytes | a [device](net::device), such as [`net::FaultInjection`] | [`detach`](net::Network::detach) |
//! | **Streams** | | |
//! | requests for them get lost | [`block_connects`](net::Network::block_connects) | [`heal`](net::Network::heal) |
//! | their bytes do not move | [`stall_streams`](net::Network::stall_streams) | [`heal`](net::Network::heal) |
//! | they break after so many bytes | [`break_streams`](net::Network::break_streams) | [`heal`](net::Network::heal) |
//! | they arrive in small pieces, or byte by byte | [`set_max_segment`](net::Network::set_max_segment) | more |
//! | readers are told when a writer is done | [`set_half_close`](net::Network::set_half_close) | `false` |
//!
//! Observers are told of each ([`net::Observer::faulted`]), but not of the four settings that all sockets have (small buffers,
//! small pieces, ends of streams, unreachable destinations), nor of what devices do.
//!
//! A node with a clock that is too fast and a disk, which loses its power, comes back, and finds the others by itself:
//!
//! ```
//! use core::time::Duration;
//! use gossip_proto::{Config, Node, Seed, ServiceConfig};
//! use transport_mem::net::Network;
//!
//! let mut net = Network::new(Seed::from_u64(1));
//! let nodes = [0, 1, 2].map(|_| {
//!     net.add_node(|start| {
//!         let config = Config::lan(format!("node-{}", start.number).as_str(), start.addr);
//!         let mut services = ServiceConfig::default();
//!         services.restore(Some(start.saved.restore));
//!         Node::new(start.now, config, services, start.seed, start.nonces).unwrap()
//!     })
//! });
//! net.add_disk(nodes[2], false);
//! net.skew_clock(nodes[2], 300); // 26 seconds a day
//! for &node in &nodes[1..] {
//!     net.join(node, &nodes[..1]);
//! }
//! net.run_for(Duration::from_secs(60));
//!
//! net.vanish(nodes[2]);
//! assert!(net.run_until(Duration::from_secs(30), |net| net.none_counts(nodes[2])).is_some());
//! net.restart(nodes[2]);
//! assert!(net.run_until(Duration::from_secs(60), |net| net.agrees()).is_some());
//! assert!(net.clock(nodes[2]).reads(net.now()) > net.now());
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

//! The bodies of the fuzz targets for what an agent reads: RPC, configuration, DNS messages. As in `gossip_proto::testing`,
//! each takes arbitrary bytes, panics when a property does not hold, and otherwise returns nothing.

mod config;
mod mdns;
mod rpc;

pub use config::{TEXTS, fuzz_config};
pub use mdns::fuzz_mdns;
pub use rpc::{OBJECTS, fuzz_rpc};

#[cfg(test)]
mod tests;

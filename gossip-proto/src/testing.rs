//! Helpers to test with: the bodies of the fuzz targets. The targets themselves are a line each; the same bodies run over
//! the stored corpus and over random inputs in the ordinary tests.
//!
//! Each body takes arbitrary bytes, panics when a property does not hold, and otherwise returns nothing.

mod arguments;
mod claims;
mod cluster;
mod decode;
#[cfg(any(test, feature = "differential"))]
mod differential;
mod forge;
mod layers;
mod lzw;
mod net;
mod node_ops;
mod packet;
mod pair;
mod seal;
mod snapshot;
mod stream;

pub use claims::fuzz_claims;
pub use cluster::fuzz_cluster;
pub use decode::{KINDS, fuzz_decode};
#[cfg(any(test, feature = "differential"))]
pub use differential::fuzz_differential;
pub use lzw::fuzz_lzw;
pub use node_ops::fuzz_node_ops;
pub use packet::fuzz_packet;
pub use pair::fuzz_pair;
pub use seal::fuzz_seal;
pub use snapshot::fuzz_snapshot;
pub use stream::fuzz_stream;

/// The body of a target.
pub type Body = fn(&[u8]);

/// All targets, by the names of their directories of inputs.
#[cfg(any(test, feature = "differential"))]
pub const TARGETS: [(&str, Body); 11] = [
    ("claims", fuzz_claims),
    ("cluster", fuzz_cluster),
    ("decode", fuzz_decode),
    ("differential", fuzz_differential),
    ("lzw", fuzz_lzw),
    ("node_ops", fuzz_node_ops),
    ("packet", fuzz_packet),
    ("pair", fuzz_pair),
    ("seal", fuzz_seal),
    ("snapshot", fuzz_snapshot),
    ("stream", fuzz_stream),
];

#[cfg(test)]
pub(crate) use lzw::plain_lzw;

#[cfg(test)]
mod tests;

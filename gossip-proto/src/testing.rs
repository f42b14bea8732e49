//! Helpers to test with: the bodies of the fuzz targets. The targets themselves are a line each; the same bodies run over
//! the stored corpus and over random inputs in the ordinary tests.
//!
//! Each body takes arbitrary bytes, panics when a property does not hold, and otherwise returns nothing.

mod decode;
mod layers;
mod machine;
mod packet;
mod stream;

pub use decode::{KINDS, fuzz_decode};
pub use machine::fuzz_machine;
pub use packet::fuzz_packet;
pub use stream::fuzz_stream;

#[cfg(test)]
mod tests;

//! The core beside the programs that one would pick instead of it.

pub mod heap;
pub mod peers;

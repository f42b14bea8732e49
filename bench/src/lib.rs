//! The core beside the programs that one would pick instead of it.

pub mod document;
pub mod heap;
pub mod live;
mod messages;
pub mod peers;

//! Loads the vectors and the rules by which ours differ, and keeps count. Shared by all tests that run vectors.

pub(crate) mod codec;
pub(crate) mod heap;
pub(crate) mod node;
pub(crate) mod pair;
pub(crate) mod show;
pub(crate) mod tally;

pub(crate) use tally::*;

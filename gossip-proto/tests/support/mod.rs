//! Loads the vectors and the rules by which ours differ, and keeps count. Shared by all tests that run vectors.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod codec;
pub(crate) mod node;
pub(crate) mod pair;
pub(crate) mod show;
pub(crate) mod tally;

#[allow(unused_imports, reason = "each test uses a part of it")]
pub(crate) use tally::*;

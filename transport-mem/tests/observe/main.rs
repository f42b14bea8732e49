//! What watches a network: that it is told of everything, changes nothing, and measures what it says.

mod hook;
mod invariants;
mod measures;
mod support;

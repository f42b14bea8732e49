//! Faults, each measured against what was asked for.

mod clocks;
mod pace;

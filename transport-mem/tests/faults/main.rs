//! The virtual network itself, and each of its faults, measured against what was asked for.

mod clocks;
mod disk;
mod harness;
mod pace;
mod rates;
mod streams;
mod support;

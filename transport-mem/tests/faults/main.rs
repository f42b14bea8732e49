//! The virtual network itself, and each of its faults, measured against what was asked for.

mod clocks;
mod disk;
mod harness;
mod pace;
mod rates;
mod streams;
mod support;

/// The crate's documentation has a table of all that can go wrong; here is what it must name.
#[test]
fn every_fault_is_in_the_table() {
    let faults = [
        include_str!("../../src/net/faults/links.rs"),
        include_str!("../../src/net/faults/nodes.rs"),
        include_str!("../../src/net/disk.rs"),
    ];
    let table = include_str!("../../src/lib.rs");
    let methods: Vec<&str> = faults
        .iter()
        .flat_map(|file| file.split("    pub fn ").skip(1))
        .filter_map(|method| method.split_once("(&mut self").map(|(name, _)| name))
        .filter(|name| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'))
        .collect();
    assert!(methods.len() > 35, "{methods:?}");
    let missing: Vec<_> =
        methods.iter().filter(|name| !table.contains(&format!("(net::Network::{name})"))).collect();
    assert!(missing.is_empty(), "not in the table of transport-mem/src/lib.rs: {missing:?}");
}

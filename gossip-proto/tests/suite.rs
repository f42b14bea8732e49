//! All tests that use the core from outside, as one program: linking is what a build of many small ones spends its time on.
//! Only `no_alloc` is a program of its own, because it counts the allocations of the whole process.

mod attacks;
mod bounds;
mod conformance;
mod consul;
mod coordinate_performance;
mod deviations;
mod import_order;
mod keyring_file;
mod membership_claims;
mod membership_contract;
mod membership_counters;
mod membership_experiment;
mod membership_gossip;
mod membership_pair;
mod membership_paths;
mod membership_probe;
mod membership_properties;
mod membership_relay;
mod membership_state;
mod membership_streams;
mod node_healing;
mod node_pair;
mod quotes;
mod security;
mod support;
mod tap;
mod vectors_coordinate;
mod vectors_files;
mod vectors_frames;
mod vectors_machine;
mod vectors_wire;

/// With `autotests = false` a file that nobody names here would never run.
#[test]
fn every_file_of_tests_is_in_the_suite() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let suite = include_str!("suite.rs");
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = name.trim_end_matches(".rs");
        if ["suite", "no_alloc"].contains(&module) {
            continue;
        }
        assert!(
            suite.lines().any(|line| line == format!("mod {module};")),
            "tests/{name} is not in tests/suite.rs"
        );
    }
}

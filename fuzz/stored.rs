//! The inputs that lie in this directory, for the ordinary tests of the crates whose bodies they are for: both include this file.

use std::path::{Path, PathBuf};
use std::prelude::rust_2024::*;
use std::{env, fs, println};

pub(crate) type Body = fn(&[u8]);

/// This directory.
pub(crate) fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn seeds_dir(target: &str) -> PathBuf {
    fuzz_dir().join("corpus-seeds").join(target)
}

/// Everything that lies in a directory of inputs, in a fixed order; nothing if there is no such directory.
fn inputs(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable input")))
        .collect();
    found.sort();
    found
}

/// Runs the bodies over their seeds and over what was found.
pub(crate) fn pass_as_stored(targets: &[(&str, Body)]) {
    for (target, body) in targets {
        let seeds = inputs(&seeds_dir(target));
        assert!(!seeds.is_empty(), "{target}: no seeds");
        let regressions = inputs(&fuzz_dir().join("regressions").join(target));
        for (name, input) in seeds.iter().chain(&regressions) {
            println!("{name}");
            body(input);
        }
    }
}

/// Runs the bodies over their seeds, cut at every length and with every byte changed. Of each seed only the first bytes are
/// looked at: long ones are long because of what they carry, not because of their structure.
pub(crate) fn pass_damaged<'a>(targets: impl IntoIterator<Item = (&'a str, Body)>, first: usize) {
    for (target, body) in targets {
        for (name, input) in inputs(&seeds_dir(target)) {
            let structure = input.len().min(first);
            println!("{name}");
            for len in 0..structure {
                body(&input[..len]);
            }
            let mut changed = input.clone();
            for at in 0..structure {
                for mask in [0x01, 0x80, 0xff] {
                    changed[at] ^= mask;
                    body(&changed);
                    changed[at] ^= mask;
                }
            }
        }
    }
}

/// Checks that the stored seeds of a target are these; `WRITE_SEEDS=1` writes them anew.
pub(crate) fn seeds_are(target: &str, seeds: Vec<(String, Vec<u8>)>) {
    let dir = seeds_dir(target);
    if env::var_os("WRITE_SEEDS").is_some() {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("the directory of seeds");
        for (name, bytes) in &seeds {
            fs::write(dir.join(name), bytes).expect("a seed");
        }
    }
    let mut expected: Vec<_> =
        seeds.into_iter().map(|(name, bytes)| (dir.join(name).display().to_string(), bytes)).collect();
    expected.sort();
    assert!(expected == inputs(&dir), "{target}: the seeds are stale; write them with WRITE_SEEDS=1");
}

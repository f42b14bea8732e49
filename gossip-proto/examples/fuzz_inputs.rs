//! Runs the fuzz bodies over inputs, without a fuzzer: to reproduce a crash, and to measure what a corpus covers.
//!
//! ```text
//! cargo run -p gossip-proto --features differential --example fuzz_inputs -- fuzz/artifacts/pair/crash-...
//! ```
//!
//! Each argument is an input, or a directory of inputs. The directory that an input lies in says what target it is for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use gossip_proto::testing::TARGETS;

fn main() -> ExitCode {
    match env::args_os().skip(1).try_for_each(|path| run(Path::new(&path))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path) -> Result<(), String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    // Names may be given from within the directory.
    let path = path.canonicalize().map_err(said)?;
    let directory = if path.is_dir() { Some(&*path) } else { path.parent() };
    let named = directory.and_then(Path::file_name);
    let Some((_, body)) = TARGETS.iter().find(|(target, _)| named.is_some_and(|name| name == *target)) else {
        let targets = TARGETS.map(|(target, _)| target).join(", ");
        return Err(format!("{}: not in a directory called as a target: {targets}", path.display()));
    };
    let inputs = if path.is_dir() { inputs(&path).map_err(said)? } else { vec![path.clone()] };
    for input in &inputs {
        let bytes = fs::read(input).map_err(|error| format!("{}: {error}", input.display()))?;
        body(&bytes);
    }
    println!("{}: {} passed", path.display(), inputs.len());
    Ok(())
}

/// The files of a directory, in a fixed order.
fn inputs(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() {
            inputs.push(path);
        }
    }
    inputs.sort();
    Ok(inputs)
}

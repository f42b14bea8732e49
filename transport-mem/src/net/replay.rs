//! One line that repeats a failed run.

use core::ops::Range;
use std::env;
use std::thread;

/// What a scenario was run with. When the test panics while this lives, it prints the line that repeats the run.
///
/// ```
/// # use transport_mem::net::Replay;
/// // In the file `tests/cluster.rs` of a package.
/// let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", "join_converges", 7, 50);
/// let (seed, nodes) = (replay.seed(), replay.nodes()); // 7 and 50, or what the environment says
/// ```
#[derive(Debug)]
pub struct Replay {
    package: &'static str,
    suite: &'static str,
    test: &'static str,
    seed: u64,
    nodes: usize,
}

impl Replay {
    /// The parameters of a run: `SEED` and `NODES` of the environment, or these. The rest says which test of which package
    /// runs it.
    pub fn new(
        package: &'static str,
        suite: &'static str,
        test: &'static str,
        seed: u64,
        nodes: usize,
    ) -> Self {
        let nodes = from_env("NODES").map_or(nodes, |nodes| nodes as usize);
        Self { package, suite, test, seed: seed_from_env(seed), nodes }
    }

    /// The seed to run with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many nodes to run with.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The line that repeats the run.
    pub fn line(&self) -> String {
        let Self { package, suite, test, seed, nodes } = self;
        format!("SEED={seed} NODES={nodes} cargo test -p {package} --test {suite} {test} -- --exact")
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("repeat it with: {}", self.line());
        }
    }
}

/// The seed in the environment variable `SEED`, decimal or `0x` hexadecimal, or this one.
pub fn seed_from_env(default: u64) -> u64 {
    from_env("SEED").unwrap_or(default)
}

/// The seeds a sweep runs: those given; as many as the environment variable `SEEDS` says, for long runs; or only `SEED`,
/// so that the replay line repeats one run.
pub fn seeds(sweep: Range<u64>) -> Range<u64> {
    let first = sweep.start;
    match (from_env("SEED"), from_env("SEEDS")) {
        (Some(seed), _) => seed..seed.saturating_add(1),
        (None, Some(count)) => first..first.saturating_add(count),
        (None, None) => sweep,
    }
}

fn from_env(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let text = text.trim();
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_everything_that_decides_the_run() {
        let replay = Replay { package: "mine", suite: "cluster", test: "some_test", seed: 5, nodes: 9 };
        assert_eq!(replay.line(), "SEED=5 NODES=9 cargo test -p mine --test cluster some_test -- --exact");
    }
}

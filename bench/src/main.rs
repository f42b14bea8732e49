//! Carries out one operation a fixed number of times, to be counted by an instrument such as callgrind:
//!
//! ```text
//! cargo build --profile bench -p gossip-bench
//! bench/callgrind ping-ack 1000
//! ```

use std::process::ExitCode;

use gossip_bench::{Bed, Operation};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let parsed = match arguments.as_slice() {
        [operation, members, iterations] => Operation::ALL
            .into_iter()
            .find(|known| known.name() == operation)
            .zip(members.parse().ok().filter(|members| *members >= 2))
            .zip(iterations.parse::<usize>().ok()),
        _ => None,
    };
    let Some(((operation, members), iterations)) = parsed else {
        let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        eprintln!("usage: gossip-bench {} MEMBERS ITERATIONS", names.join("|"));
        return ExitCode::from(2);
    };
    let mut bed = Bed::new(operation, members);
    let sent: usize = (0..iterations).map(|_| bed.measured()).sum();
    println!("{} x {iterations} with {members} members: {sent} datagrams sent", operation.name());
    ExitCode::SUCCESS
}

//! The hot paths of the core by themselves: what each costs in processor time, allocations and, under callgrind,
//! instructions.
//!
//! ```text
//! cargo bench -p gossip-proto --features std                  a table of all, at 10, 1,000 and 10,000 members
//! cargo bench -p gossip-proto --features std -- known 1000    one of them
//! cargo bench -p gossip-proto --features std -- memory        bytes per member
//! cargo bench -p gossip-proto --features std -- calls 10000   the longest single calls
//! bench/callgrind                     instructions, which unlike time come out the same on every run
//! ```
//!
//! `std` is what a node over real sockets has: checksums by the processor's own instructions.
//!
//! Time is processor time of this thread, the best of several rounds, because others may use the machine.

mod bed;
mod calls;
mod exchange;
mod heap;
mod memory;
mod packets;

use std::process::ExitCode;

use cpu_time::ThreadTime;

use bed::{Bed, Operation, SIZES};
use heap::Heap;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let parse = |operation: &str, members: &str| {
        let operation = Operation::ALL.into_iter().find(|known| known.name() == operation)?;
        Some((operation, members.parse().ok().filter(|members| *members >= 2)?))
    };
    match *arguments.as_slice() {
        [] => {
            for operation in Operation::ALL {
                for &members in operation.sizes() {
                    measure(operation, members);
                }
            }
            memory::report(&SIZES);
            return ExitCode::SUCCESS;
        }
        ["memory"] => {
            memory::report(&SIZES);
            return ExitCode::SUCCESS;
        }
        ["calls", members] => {
            if let Some(members) = members.parse().ok().filter(|members| *members >= 10) {
                calls::report(members);
                return ExitCode::SUCCESS;
            }
        }
        // What `bench/callgrind` runs: each of them by its name, number of members and rounds.
        ["list"] => {
            for operation in Operation::ALL {
                for &members in operation.sizes() {
                    println!("{} {members} {}", operation.name(), rounds(operation, members));
                }
            }
            return ExitCode::SUCCESS;
        }
        [operation, members] => {
            if let Some((operation, members)) = parse(operation, members) {
                measure(operation, members);
                return ExitCode::SUCCESS;
            }
        }
        ["count", operation, members] => {
            if let Some((operation, members)) = parse(operation, members) {
                let mut bed = Bed::new(operation, members);
                for _ in 0..rounds(operation, members) {
                    bed.prepare();
                    bed.turn();
                }
                return ExitCode::SUCCESS;
            }
        }
        _ => {}
    }
    let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    eprintln!(
        "usage: hot_paths [[count] OPERATION MEMBERS | list | memory | calls MEMBERS]\noperations: {}",
        names.join(" ")
    );
    ExitCode::from(2)
}

/// Turns that are counted: instructions differ little from one to the next, and the slowest take long in an emulator.
fn rounds(operation: Operation, members: usize) -> usize {
    if operation.is_exchange() { (2_000 / members).clamp(1, 20) } else { 300 }
}

/// Prints time and allocations of one turn.
fn measure(operation: Operation, members: usize) {
    let mut bed = Bed::new(operation, members);
    let batch = if operation.is_exchange() { 1 } else { 1_000 };
    let mut best = f64::INFINITY;
    let mut allocations = usize::MAX;
    for _ in 0..if operation.is_exchange() { 20 } else { 60 } {
        for _ in 0..batch {
            bed.prepare();
        }
        let (heap, began) = (Heap::now(), ThreadTime::now());
        for _ in 0..batch {
            bed.turn();
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e6 / f64::from(batch));
        allocations = allocations.min(heap.allocations());
    }
    let name = operation.name();
    let allocations = allocations as f64 / f64::from(batch);
    print!("{name:20} {members:6} members  {best:10.3} µs  {allocations:6.2} allocations");
    match bed.longest_call() {
        Some(longest) => println!(
            "  {:.3} µs per member, longest call {:.0} µs",
            best / members as f64,
            longest.as_secs_f64() * 1e6
        ),
        None => println!(),
    }
}

//! Time per operation of the packet path: `cargo bench -p gossip-bench`.

use divan::Bencher;
use gossip_bench::{Bed, Operation, SIZES};

fn main() {
    divan::main();
}

fn run(bencher: Bencher<'_, '_>, operation: Operation, members: usize) {
    let mut bed = Bed::new(operation, members);
    bencher.bench_local(|| bed.measured());
}

#[divan::bench(args = SIZES)]
fn ping_ack(bencher: Bencher<'_, '_>, members: usize) {
    run(bencher, Operation::PingAck, members);
}

#[divan::bench(args = SIZES)]
fn ping_ack_sealed(bencher: Bencher<'_, '_>, members: usize) {
    run(bencher, Operation::PingAckSealed, members);
}

#[divan::bench(args = SIZES)]
fn known_alives(bencher: Bencher<'_, '_>, members: usize) {
    run(bencher, Operation::KnownAlives, members);
}

#[divan::bench]
fn wrong_key(bencher: Bencher<'_, '_>) {
    run(bencher, Operation::WrongKey, 10);
}

#[divan::bench]
fn wrong_key_full(bencher: Bencher<'_, '_>) {
    run(bencher, Operation::WrongKeyFull, 10);
}

#[divan::bench(args = SIZES)]
fn news(bencher: Bencher<'_, '_>, members: usize) {
    run(bencher, Operation::News, members);
}

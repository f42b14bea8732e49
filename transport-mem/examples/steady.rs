//! How fast the virtual network is, and how much memory it takes: a cluster forms through one node, runs quietly, and
//! loses a node.
//!
//! ```text
//! cargo run --release -p transport-mem --example steady -- 1000 60 node
//! cargo run --release -p transport-mem --example steady -- 10000 10 membership
//! ```

use core::time::Duration;
use std::process::ExitCode;

use gossip_proto::{Config, Machine, Membership, Node, Seed, ServiceConfig, Status};
use transport_mem::net::{Network, NodeId, Start};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (nodes, seconds) = match arguments.as_slice() {
        [nodes, seconds, ..] => (nodes.parse(), seconds.parse()),
        _ => (Ok(1000), Ok(60)),
    };
    let (Ok(nodes), Ok(seconds)) = (nodes, seconds) else {
        eprintln!("usage: steady NODES SECONDS node|membership");
        return ExitCode::from(2);
    };
    match arguments.get(2).map_or("membership", String::as_str) {
        "node" => run(nodes, seconds, |start| {
            let config = Config::lan(format!("node-{}", start.number).as_str(), start.addr);
            Node::new(start.now, config, ServiceConfig::default(), start.seed, start.nonces).unwrap()
        }),
        _ => run(nodes, seconds, |start| {
            let config = Config::lan(format!("node-{}", start.number).as_str(), start.addr);
            Membership::new(start.now, config, start.seed, start.nonces).unwrap()
        }),
    }
    ExitCode::SUCCESS
}

fn run<M: Machine + 'static>(nodes: usize, seconds: u64, factory: fn(Start) -> M) {
    let mut net = Network::new(Seed::from_u64(1));
    net.keep_logs(false);
    let all: Vec<NodeId> = (0..nodes).map(|_| net.add_node(factory)).collect();
    let began = cpu();
    for &node in &all[1..] {
        net.join(node, &all[..1]);
    }
    let full = |net: &Network<M>| {
        net.nodes().all(|node| net.machine(node).is_none_or(|machine| machine.num_alive() >= nodes))
    };
    let joined = net.run_until(Duration::from_secs(600), full);
    report("join of all", &net, began, joined.map(|at| at.as_nanos() as f64 / 1e9));

    // What the joins set off is gossiped for a while yet.
    let began = cpu();
    let settling = Duration::from_secs(60);
    net.run_for(settling);
    report("settling", &net, began, Some(settling.as_secs_f64()));

    let began = cpu();
    let quiet = Duration::from_secs(seconds);
    net.run_for(quiet);
    report("quiet", &net, began, Some(quiet.as_secs_f64()));

    let began = cpu();
    let (victim, from) = (all[nodes / 2], net.now());
    net.vanish(victim);
    let gone = |net: &Network<M>| {
        net.running().all(|node| net.machine(node).is_some_and(|machine| machine.num_alive() == nodes - 1))
    };
    let told = net.run_until(Duration::from_secs(600), gone);
    assert!(net.all_see(victim, Status::Failed) || told.is_none());
    report("crash, known to all", &net, began, told.map(|at| (at - from).as_secs_f64()));
}

fn report<M: Machine>(phase: &str, net: &Network<M>, began: f64, simulated: Option<f64>) {
    let took = cpu() - began;
    let views: Vec<usize> = net.running().filter_map(|node| Some(net.machine(node)?.num_alive())).collect();
    println!("views: {:?} to {:?}", views.iter().min(), views.iter().max());
    let Some(simulated) = simulated else { return println!("{phase}: not within 600 s; took {took:.2} s") };
    let traffic = net.traffic();
    println!(
        "{phase}: {simulated:.2} s simulated in {took:.2} s, {:.1} times real time; {} datagrams, {} streams so far; {} MiB resident",
        simulated / took,
        traffic.datagrams,
        traffic.streams,
        resident() >> 20,
    );
}

/// Seconds of processor time of this process, in hundredths: what else the machine does is not this program's matter.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// What the kernel says of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

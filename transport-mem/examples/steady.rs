//! How fast the virtual network is, and how much memory it takes: a cluster forms through one node, or stands from the
//! start (`formed`), runs quietly, and loses a node. `uncompressed` turns the compression of exchanges off, which is most of
//! what large clusters cost. `rumors=N` bounds the queues of rumors, which are most of the memory while thousands join, and
//! `exchanges=N` begins exchanges every N seconds, scaled by the cluster's size, which then have to bring what was cut off.
//!
//! ```text
//! cargo run --release -p transport-mem --example steady -- 1000 60 node
//! cargo run --release -p transport-mem --example steady -- 10000 10 membership formed
//! cargo run --release -p transport-mem --example steady -- 10000 10 membership uncompressed rumors=512 exchanges=5
//! ```
//!
//! Bound the memory when you try such a size (`ulimit -v`).

use core::time::Duration;
use std::process::ExitCode;

use gossip_proto::wire::layers::Compression;
use gossip_proto::{Config, Machine, Membership, Node, Seed, ServiceConfig, Status};
use transport_mem::net::{Network, NodeId, Start};

/// What to run.
struct Plan {
    nodes: usize,
    quiet: Duration,
    formed: bool,
}

/// What differs from memberlist's parameters.
#[derive(Clone, Copy)]
struct Options {
    compression: Compression,
    rumors: Option<u64>,
    exchanges: Option<u64>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |text| text.parse::<u64>());
    let words = arguments.get(2..).unwrap_or_default();
    let known = ["node", "membership", "formed", "uncompressed"];
    let given = |name: &str| {
        words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::parse).transpose()
    };
    let (rumors, exchanges) = (given("rumors"), given("exchanges"));
    let words: Vec<&String> = words.iter().filter(|word| !word.contains('=')).collect();
    let (Ok(nodes @ 2..), Ok(seconds), Ok(rumors), Ok(exchanges), true) = (
        number(0, 1000),
        number(1, 60),
        rumors,
        exchanges,
        words.iter().all(|word| known.contains(&word.as_str())),
    ) else {
        eprintln!(
            "usage: steady [NODES [SECONDS [node|membership] [formed] [uncompressed] [rumors=N] [exchanges=N]]]"
        );
        return ExitCode::from(2);
    };
    let has = |word: &str| words.iter().any(|given| *given == word);
    let plan = Plan { nodes: nodes as usize, quiet: Duration::from_secs(seconds), formed: has("formed") };
    let compression = if has("uncompressed") { Compression::Off } else { Compression::Streams };
    let options = Options { compression, rumors, exchanges };
    if has("node") {
        run(&plan, move |start| {
            let config = config(&start, options);
            Node::new(start.now, config, ServiceConfig::default(), start.seed, start.nonces).unwrap()
        });
    } else {
        run(&plan, move |start| {
            let config = config(&start, options);
            Membership::new(start.now, config, start.seed, start.nonces).unwrap()
        });
    }
    ExitCode::SUCCESS
}

fn config(start: &Start, options: Options) -> Config {
    let mut config = Config::lan(format!("node-{}", start.number).as_str(), start.addr);
    config.compression(options.compression);
    if let Some(rumors) = options.rumors {
        config.max_rumors(rumors as usize);
    }
    if let Some(seconds) = options.exchanges {
        config.push_pull_interval(Duration::from_secs(seconds));
    }
    config
}

fn run<M: Machine + 'static>(plan: &Plan, factory: impl FnMut(Start) -> M + Clone + 'static) {
    let nodes = plan.nodes;
    let mut net = Network::new(Seed::from_u64(1));
    net.keep_logs(false);
    net.stop_trace();
    let all: Vec<NodeId> = (0..nodes).map(|_| net.add_node(factory.clone())).collect();
    let began = cpu();
    if plan.formed {
        net.form();
        report("formed", &net, began, Some(0.0));
    } else {
        for &node in &all[1..] {
            net.join(node, &all[..1]);
        }
        // Nobody is lost again while all join: who knows all is not looked at any more.
        let mut missing = all.clone();
        let mut nearly = None;
        let full = |net: &Network<M>| {
            let knows_all = |node| net.machine(node).is_none_or(|machine| machine.num_alive() >= nodes);
            missing.retain(|node| !knows_all(*node));
            if missing.len() <= nodes / 100 {
                nearly.get_or_insert_with(|| (net.now().as_nanos() as f64 / 1e9, cpu() - began));
            }
            missing.is_empty()
        };
        let joined = net.run_until(Duration::from_secs(600), full);
        if let Some((at, took)) = nearly {
            println!("99 % of the views whole: {at:.2} s simulated in {took:.2} s");
        }
        report("join of all", &net, began, joined.map(|at| at.as_nanos() as f64 / 1e9));

        // What the joins set off is gossiped for a while yet.
        let began = cpu();
        let settling = Duration::from_secs(60);
        net.run_for(settling);
        report("settling", &net, began, Some(settling.as_secs_f64()));
    }

    let began = cpu();
    net.run_for(plan.quiet);
    report("quiet", &net, began, Some(plan.quiet.as_secs_f64()));

    let began = cpu();
    let (victim, from) = (all[nodes / 2], net.now());
    net.vanish(victim);
    let has_failed = |net: &Network<M>, node| {
        // Looking it up is left for when somebody is missing, or it would be most of the work.
        let Some(machine) = net.machine(node).filter(|machine| machine.num_alive() < nodes) else {
            return false;
        };
        machine.find(net.name(victim).as_bytes()).is_some_and(|member| member.status == Status::Failed)
    };
    let first =
        net.run_until(Duration::from_secs(600), |net| net.running().any(|node| has_failed(net, node)));
    report("crash, noticed by one", &net, began, first.map(|at| (at - from).as_secs_f64()));
    let told = net.run_until(Duration::from_secs(600), |net| net.running().all(|node| has_failed(net, node)));
    report("crash, known to all", &net, began, told.map(|at| (at - from).as_secs_f64()));
    let right = |node: &NodeId| net.machine(*node).is_some_and(|machine| machine.num_alive() == nodes - 1);
    println!("{} of {} views have nothing else wrong", net.running().filter(right).count(), nodes - 1);
}

fn report<M: Machine>(phase: &str, net: &Network<M>, began: f64, simulated: Option<f64>) {
    let took = cpu() - began;
    let views: Vec<usize> = net.running().filter_map(|node| Some(net.machine(node)?.num_alive())).collect();
    println!("views: {:?} to {:?}", views.iter().min(), views.iter().max());
    let Some(simulated) = simulated else { return println!("{phase}: not within 600 s; took {took:.2} s") };
    let traffic = net.traffic();
    let nodes = views.len() as u64;
    let accounted: u64 = net.running().filter_map(|node| Some(net.machine(node)?.memory() as u64)).sum();
    println!(
        "{phase}: {simulated:.2} s simulated in {took:.2} s, {:.1} times real time; {} datagrams, {} streams so far; {} MiB \
         resident, {} at most: {} bytes for each member of each view, {} of them the tables of members",
        simulated / took,
        traffic.datagrams,
        traffic.streams,
        resident("VmRSS:") >> 20,
        resident("VmHWM:") >> 20,
        resident("VmRSS:") / (nodes * nodes),
        accounted / (nodes * nodes),
    );
}

/// Seconds of processor time of this process, in hundredths: what else the machine does is not this program's matter.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// What the kernel says of this process's memory: in bytes, now or at most.
fn resident(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}

//! Ten nodes on UDP and TCP, and ten on QUIC, on a bad network: a fifth of all packets is lost and the rest takes 30 to 70
//! ms, for five minutes. Nobody fails, so every failure that is told is a false one; there may be no more of them than in
//! 99 of 100 simulated runs of the same. Real sockets in a network namespace of its own; `.ci/soak lossy` runs it.
#![cfg(feature = "runtime-tokio")]

mod common;
#[path = "lossy/relay.rs"]
mod relay;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::env;
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{alive, member, until};
use relay::Port;
use transport_mem::net::{Network, NodeId};
use transport_mem::{Conditions, Latency, Loss};
use transport_quic::{Authority, ChangeKind, Cluster, Config, Node, Notice, Seed, ServiceConfig};

const NODES: usize = 10;
const LOSS: f64 = 0.2;
/// Set for the program that runs inside of the namespace: which transport.
const INSIDE: &str = "GOSSIP_LOSSY";

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn period() -> Duration {
    Duration::from_secs(number("LOSSY_SECONDS", 300))
}

#[test]
#[ignore = "takes eleven minutes and needs root: .ci/soak lossy"]
fn no_more_fail_than_in_simulated_runs() {
    if let Ok(transport) = env::var(INSIDE) {
        return inside(&transport);
    }
    let runs = number("LOSSY_RUNS", 1000);
    let mut simulated: Vec<usize> = (1..=runs).map(simulate).collect();
    simulated.sort_unstable();
    let bound = simulated[simulated.len() * 99 / 100];
    println!(
        "{runs} simulated runs: {} false failures in the median, {bound} in the 99th percentile, at most {}",
        simulated[simulated.len() / 2],
        simulated[simulated.len() - 1]
    );
    for transport in ["udp", "quic"] {
        let failures = in_namespace(transport);
        println!("{transport}: {failures} false failures");
        assert!(
            failures <= bound,
            "{failures} false failures on {transport}; simulated runs have at most {bound}"
        );
    }
}

fn config(name: &str, advertise: SocketAddr) -> (Config, ServiceConfig) {
    (Config::lan(name, advertise), ServiceConfig::default())
}

/// How many failures the nodes tell of in a simulated run.
fn simulate(seed: u64) -> usize {
    let mut net = Network::new(Seed::from_u64(seed));
    let nodes: Vec<NodeId> = (0..NODES)
        .map(|number| {
            net.add_node(move |start| {
                let (config, services) = config(&format!("node-{number}"), start.addr);
                Node::new(start.now, config, services, start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    net.form();
    let latency = Latency::Uniform { least: relay::LEAST, spread: relay::SPREAD };
    let mut conditions = Conditions::default().latency(latency);
    conditions.loss = Loss::Bernoulli(LOSS);
    net.set_conditions(conditions);
    net.run_for(period());
    let failed = |node: &NodeId| {
        net.log(*node).changes.iter().filter(|change| change.kind == ChangeKind::Failed).count()
    };
    nodes.iter().map(failed).sum()
}

/// Runs this test again in a namespace that has nothing but its own loopback.
fn in_namespace(transport: &str) -> usize {
    let namespace = Namespace::new(transport);
    let program = env::current_exe().unwrap();
    let output = Command::new("ip")
        .args(["netns", "exec", &namespace.0])
        .arg(program)
        .args(["--exact", "no_more_fail_than_in_simulated_runs", "--ignored", "--nocapture"])
        .env(INSIDE, transport)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let told = said.lines().find_map(|line| line.strip_prefix(TOLD)).unwrap_or_else(|| panic!("{said}"));
    told.parse().unwrap()
}

const TOLD: &str = "failures told: ";

struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let namespace = Self(format!("gossip-lossy-{name}-{}", std::process::id()));
        run("ip", &["netns", "add", &namespace.0]);
        run("ip", &["-n", &namespace.0, "link", "set", "lo", "up"]);
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run("ip", &["netns", "delete", &self.0]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Drops a fifth of what goes to and comes from the ports; what nodes and relay say to each other behind them passes.
fn begin_loss(ports: &[SocketAddr]) {
    let ports: Vec<String> = ports.iter().map(|port| port.port().to_string()).collect();
    let percent = (LOSS * 100.0) as u32;
    let ports = ports.join(", ");
    let drop = format!("numgen random mod 100 < {percent} counter drop");
    run(
        "nft",
        &[&format!(
            "add table inet lossy
             add chain inet lossy input {{ type filter hook input priority 0; policy accept; }}
             add rule inet lossy input udp dport {{ {ports} }} {drop}
             add rule inet lossy input tcp dport {{ {ports} }} {drop}
             add rule inet lossy input tcp sport {{ {ports} }} {drop}"
        )],
    );
}

fn inside(transport: &str) {
    common::on_tokio(async {
        let mut ports = Vec::new();
        for _ in 0..NODES {
            ports.push(Port::new().await);
        }
        let public: Vec<SocketAddr> = ports.iter().map(|port| port.public).collect();
        let authority = Authority::new("test").unwrap();
        let mut nodes = Vec::new();
        for (number, &public) in public.iter().enumerate() {
            nodes.push(start(transport, &authority, &format!("node-{number}"), public).await);
        }
        relay::run(ports, nodes.iter().map(|(_, bound)| *bound).collect());
        let nodes: Vec<Cluster<Node>> = nodes.into_iter().map(|(node, _)| node).collect();
        for node in &nodes[1..] {
            node.join(&[public[0].to_string()]).await.unwrap();
        }
        for node in &nodes {
            until("ten members", async || alive(node).await == NODES).await;
        }

        let begun = std::time::Instant::now();
        let failures = Arc::new(AtomicUsize::new(0));
        for (number, node) in nodes.iter().enumerate() {
            let (mut news, failures) = (node.subscribe().await, failures.clone());
            tokio::spawn(async move {
                while let Some(notice) = news.recv().await {
                    if let Notice::Change { member, kind: ChangeKind::Failed, cause } = notice {
                        failures.fetch_add(1, Ordering::Relaxed);
                        let at = begun.elapsed();
                        eprintln!("{at:?}: {} has failed for node-{number}: {cause:?}", member.name);
                    }
                }
            });
        }
        begin_loss(&public);
        tokio::time::sleep(period()).await;
        run("nft", &["delete table inet lossy"]);
        for node in &nodes {
            until("ten members again", async || alive(node).await == NODES).await;
        }
        // Before they end: whoever is shut down without a farewell does fail for those that still run.
        let failures = failures.load(Ordering::Relaxed);
        for node in nodes {
            node.shutdown().await;
        }
        println!("\n{TOLD}{failures}");
    });
}

/// A node on a port of its own that says it can be reached at its public one, and the address it is bound to.
async fn start(
    transport: &str,
    authority: &Authority,
    name: &str,
    public: SocketAddr,
) -> (Cluster<Node>, SocketAddr) {
    // A port that was free a moment ago: in the namespace nobody else takes ports.
    let bound = std::net::UdpSocket::bind(common::loopback()).unwrap().local_addr().unwrap();
    let configure = |advertise| config(name, advertise);
    let node = if transport == "quic" {
        let mut bind = transport_quic::Bind::at(bound, member(authority, name));
        bind.advertise = Some(public);
        transport_quic::start_node(bind, configure).await.unwrap()
    } else {
        let mut bind = transport_tokio::Bind::from(bound);
        bind.advertise = Some(public);
        transport_tokio::start_node(bind, configure).await.unwrap()
    };
    (node, bound)
}

//! Attacks that users of other implementations have reported, and what becomes of them here. What each test shows is what
//! `SECURITY.md` promises, with the test's name; `security.rs` holds the two together.

mod bombs;
mod incarnations;
mod names;
mod reflection;
mod replays;
mod strangers;
mod streams;

use crate::support::node::*;
use crate::support::pair::*;
use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::compound::Packer;
use gossip_proto::*;

const SECOND: Duration = Duration::from_secs(1);

/// One datagram of these messages.
fn compound(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0; 65_507];
    let mut packer = Packer::new(&mut body);
    messages.iter().for_each(|message| packer.push(message).expect("it fits"));
    let len = packer.finish();
    body.truncate(len);
    body
}

/// A node that speaks Serf.
fn node(name: &str, host: u8, configure: impl FnOnce(&mut Config, &mut ServiceConfig)) -> Node {
    let (mut config, mut services) = (config(name, host), ServiceConfig::default());
    configure(&mut config, &mut services);
    let seed = (Seed::from_u64(u64::from(host)), NonceSecret::new([host; 32]));
    Node::new(Instant::ORIGIN, config, services, seed.0, seed.1).expect("a config")
}

/// Nodes a, b and so on at hosts 1, 2 and so on, that know each other and have nothing more to say.
fn cluster(names: &[&str], configure: impl Fn(&mut Config, &mut ServiceConfig)) -> Net<Node> {
    let hosts = (1..).zip(names);
    let mut net = Net::new(hosts.map(|(host, name)| node(name, host, &configure)));
    for host in 1..names.len() {
        net.join(host, 0);
    }
    net.run_for(5 * SECOND);
    for host in 0..names.len() {
        for name in names {
            assert_eq!(net.status(host, name), Some(Status::Alive), "{name} as host {host} sees it");
        }
        net.notes(host);
    }
    net
}

/// Whether every host that is up sees that member so.
fn all_see(net: &Net<Node>, name: &str, status: Status) -> bool {
    let mut up = (0..net.hosts.len()).filter(|&host| !net.hosts[host].down);
    up.all(|host| net.status(host, name) == Some(status))
}

fn incarnation(net: &Net<Node>, host: usize, name: &str) -> u32 {
    net.hosts[host].machine.find(name.as_bytes()).expect("a member").incarnation
}

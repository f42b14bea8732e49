//! A cluster of ours, on the virtual network of `transport-mem`: as shipped, exchanges compressed.

use core::time::Duration;

use gossip_proto::{Config, Machine, Membership, Node, Seed, ServiceConfig};
use transport_mem::net::observe::Spread;
use transport_mem::net::{Network, NodeId, Start};
use transport_mem::{Conditions, Latency};

use super::cluster::{Cluster, Joins, LATENCY, Tells, Told};
use super::work::name;

const EVENT: &[u8] = b"news";
const PAYLOAD: [u8; 64] = [7; 64];

/// Nodes, and the network between them. The membership machine joins, as that is what the peers are; user events are Serf's, so
/// it is [`Node`] that spreads one.
#[expect(missing_debug_implementations, reason = "a network has none")]
pub struct Ours<M> {
    net: Network<M>,
    nodes: Vec<NodeId>,
}

impl<M: Machine + 'static> Ours<M> {
    fn made(nodes: usize, formed: bool, seed: u64, start: fn(Start, Config) -> M) -> Self {
        let mut net = Network::new(Seed::from_u64(seed));
        net.keep_logs(false);
        net.stop_trace();
        net.set_conditions(Conditions::PERFECT.latency(Latency::Constant(LATENCY)));
        let node = |number: usize| {
            net.add_node(move |given| {
                let config = Config::lan(name(number).as_str(), given.addr);
                start(given, config)
            })
        };
        let nodes = (0..nodes).map(node).collect();
        if formed {
            net.form();
        }
        Self { net, nodes }
    }

    fn views(&self, members: usize) -> usize {
        let machines = self.nodes.iter().filter_map(|node| self.net.machine(*node));
        machines.filter(|machine| machine.num_alive() == members).count()
    }
}

impl Cluster for Ours<Membership> {
    fn of(nodes: usize, formed: bool, seed: u64) -> Self {
        Self::made(nodes, formed, seed, |start, config| {
            Membership::new(start.now, config, start.seed, start.nonces).expect("a valid configuration")
        })
    }

    fn pass(&mut self, time: Duration) {
        self.net.run_for(time);
    }

    fn views_of(&self, members: usize) -> usize {
        self.views(members)
    }
}

impl Joins for Ours<Membership> {
    fn join_all(&mut self) {
        for &node in &self.nodes[1..] {
            self.net.join(node, &self.nodes[..1]);
        }
    }
}

impl Cluster for Ours<Node> {
    fn of(nodes: usize, formed: bool, seed: u64) -> Self {
        Self::made(nodes, formed, seed, |start, config| {
            Node::new(start.now, config, ServiceConfig::default(), start.seed, start.nonces)
                .expect("a valid configuration")
        })
    }

    fn pass(&mut self, time: Duration) {
        self.net.run_for(time);
    }

    fn views_of(&self, members: usize) -> usize {
        self.views(members)
    }
}

impl Tells for Ours<Node> {
    fn tell_all(&mut self, within: Duration) -> Told {
        let watch = self.net.observe(Spread::of_event(EVENT, PAYLOAD.to_vec()));
        let begun = self.net.now();
        self.net
            .with(self.nodes[0], |machine, now| machine.user_event(now, EVENT, &PAYLOAD, false))
            .expect("it fits into a datagram");
        self.net.run_for(within);
        let spread = self.net.unobserve(watch);
        let by_datagram = spread.first().values().map(|(at, ..)| *at);
        let last = by_datagram.chain(spread.by_exchange().values().copied()).max();
        Told {
            reached: spread.reached(),
            copies: spread.copies(),
            last: last.map_or(Duration::ZERO, |last| last - begun),
        }
    }
}

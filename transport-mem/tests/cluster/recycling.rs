//! An address that was a member's and is now another cluster's: nothing that is tried there merges the two.

use core::time::Duration;

use gossip_proto::{Config, Machine, Node, Seed, ServiceConfig};
use transport_mem::net::{Network, NodeId, Replay, seeds};

const MINUTE: Duration = Duration::from_secs(60);

fn add(
    net: &mut Network<Node>,
    name: &'static str,
    next_life: &'static str,
    reconnect_timeout: Duration,
) -> NodeId {
    net.add_node(move |start| {
        let name = if start.restarts == 0 { name } else { next_life };
        let mut services = ServiceConfig::default();
        services.reconnect_timeout(reconnect_timeout);
        let config = Config::lan(name, start.addr);
        Node::new(start.now, config, services, start.seed, start.nonces).expect("the configuration is sound")
    })
}

/// Looks for a failed member while it is remembered, and for a learnt address after that, long enough for many attempts.
fn stays_apart(test: &'static str, reconnect_timeout: Duration) {
    for seed in seeds(0..3) {
        let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", test, seed, 6);
        let mut net = Network::new(Seed::from_u64(replay.seed()));
        net.keep_logs(false);
        let names = [("a-0", "a-0"), ("a-1", "a-1"), ("a-2", "b-2"), ("b-0", "b-0"), ("b-1", "b-1")];
        let nodes = names.map(|(name, next)| add(&mut net, name, next, reconnect_timeout));
        let [a0, a1, moved, b0, b1] = nodes;
        net.join(a1, &[a0]);
        net.join(moved, &[a0]);
        net.join(b1, &[b0]);
        net.run_for(MINUTE);

        net.vanish(moved);
        // Beyond the time in which the dead are still gossiped to.
        net.run_for(2 * MINUTE);
        net.restart(moved);
        net.join(moved, &[b0]);
        net.run_for(20 * MINUTE);
        let sees = |net: &Network<Node>, node: NodeId| {
            let machine = net.machine(node).expect("it runs");
            let mut names: Vec<String> = machine.members().map(|member| member.name.to_string()).collect();
            names.sort();
            names
        };
        for node in [a0, a1] {
            assert!(sees(&net, node).iter().all(|name| name.starts_with("a-")), "{}", net.table());
        }
        for node in [moved, b0, b1] {
            assert_eq!(sees(&net, node), ["b-0", "b-1", "b-2"], "{}", net.table());
        }
        let tried = |node| net.machine(node).map_or(0, |machine| machine.stats().ping_wrong_name);
        assert!(tried(moved) > 5, "the address was tried {} times", tried(moved));
    }
}

#[test]
fn a_failed_members_address() {
    stays_apart("recycling::a_failed_members_address", Duration::from_secs(24 * 3600));
}

#[test]
fn a_learnt_address() {
    stays_apart("recycling::a_learnt_address", MINUTE);
}

//! Clusters that stand from the start.

use gossip_proto::{Config, Ending, KnownMember, Machine, Node, Playback, Seed, ServiceConfig, Status};
use transport_mem::net::{Network, NodeId, Replay};

use crate::support::{Net, SECOND, add, strangers};

fn formed(replay: &Replay) -> (Net, Vec<NodeId>) {
    let (mut net, nodes) = strangers(replay, |_| {});
    net.form();
    (net, nodes)
}

/// What joins bring about, without their noise: nothing is said of it, and later things go as they do anywhere.
#[test]
fn all_know_all_and_a_crash_is_noticed() {
    let (mut net, nodes) = formed(&Replay::new(env!("CARGO_PKG_NAME"), "cluster", "all_know_all", 1, 64));
    assert!(net.agrees());
    let told = |net: &Net| nodes.iter().map(|&node| net.log(node).changes.len()).sum::<usize>();
    // Each has told of itself, as a node does that starts.
    assert_eq!(told(&net), nodes.len());
    let traffic = net.traffic();
    net.run_for(10 * SECOND);
    // Ten probes with their acks each, at most, and no gossip.
    assert!(net.traffic().datagrams - traffic.datagrams <= 2 * 11 * 64, "{:?}", net.traffic());
    assert_eq!(told(&net), nodes.len());

    net.vanish(nodes[7]);
    assert!(net.run_until(60 * SECOND, |net| net.all_see(nodes[7], Status::Failed)).is_some());
    let late = add(&mut net, |_| {});
    net.join(late, &nodes[..1]);
    assert!(net.run_until(60 * SECOND, |net| net.agrees()).is_some(), "{}", net.table());
    let machine = net.machine(nodes[3]).unwrap();
    assert_eq!((machine.num_alive(), machine.members().count()), (64, 65));
}

/// Who would be refused from a peer is refused here, and who is known stays as it is.
#[test]
fn what_cannot_be_known_is_left_out() {
    let mut net: Net = Network::new(Seed::from_u64(2));
    let node = add(&mut net, |config| {
        config.max_members(3);
    });
    let known: KnownMember = net.machine(node).unwrap().local().into();
    let member = |number: u8| {
        let mut member = known.clone();
        member.name = format!("other-{number}").as_str().into();
        member.addr = ([10, 9, 9, number], 7946).into();
        member
    };
    let mut odd = member(4);
    odd.versions = [0; 6];
    let given = [known.clone(), member(1), member(1), odd, member(2), member(3)];
    assert_eq!(net.with(node, |machine, now| machine.know(now, &given)), 2);
    let machine = net.machine(node).unwrap();
    assert_eq!(
        (machine.num_alive(), machine.stats().alive_bad_versions, machine.stats().roster_full),
        (3, 1, 1)
    );
    assert_eq!(net.with(node, |machine, now| machine.know(now, &given)), 0);
}

/// Nodes with services list the members, and a recording of such a node plays.
#[test]
fn services_know_them_and_recordings_play() {
    let mut net = Network::new(Seed::from_u64(3));
    net.record_starts(Some(16 << 20));
    let nodes: Vec<NodeId> = (0..300)
        .map(|number| {
            net.add_node(move |start| {
                let config = Config::lan(format!("node-{number}").as_str(), start.addr);
                let mut services = ServiceConfig::default();
                services.tags(vec![("role".into(), format!("r{}", number % 3).into())]);
                Node::new(start.now, config, services, start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    net.form();
    assert!(net.agrees());
    let machine = net.machine(nodes[5]).unwrap();
    assert_eq!(machine.num_alive(), 300);
    let tags: Vec<_> = machine.find(b"node-8").unwrap().tags().collect();
    assert_eq!(&*tags[0].1, b"r2");
    net.run_for(15 * SECOND);
    net.vanish(nodes[9]);
    net.run_for(15 * SECOND);
    net.stop_recording(nodes[5]);
    let mut playback = Playback::open(net.recording(nodes[5])).expect("a recording");
    while let Some(step) = playback.step() {
        step.expect("an exact replay");
    }
    assert_eq!(playback.ending(), Some(Ending::Stopped));
    let state = net.machine(nodes[5]).unwrap().state_hash();
    assert_eq!(playback.machine().state_hash(), state);
}

/// One seed, one run.
#[test]
fn forming_is_repeatable() {
    let run = |seed| {
        let (mut net, nodes) =
            formed(&Replay::new(env!("CARGO_PKG_NAME"), "cluster", "forming_is_repeatable", seed, 40));
        net.run_for(5 * SECOND);
        net.vanish(nodes[1]);
        net.run_for(10 * SECOND);
        net.trace().hash()
    };
    assert_eq!(run(4), run(4));
    assert_ne!(run(4), run(5));
}

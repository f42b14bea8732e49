//! Clusters that find together again by themselves: after partitions of any length, and after everybody was restarted.

use core::time::Duration;

use gossip_proto::{Config, Machine, Node, Seed, ServiceConfig, Status};
use transport_mem::net::{Network, NodeId, Replay, seeds};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How often views are compared.
const LOOK: Duration = Duration::from_millis(50);

type Net = Network<Node>;

fn add(net: &mut Net, configure: impl Fn(&mut Config, &mut ServiceConfig) + 'static) -> NodeId {
    net.add_node(move |start| {
        let mut config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
        let mut services = ServiceConfig::default();
        configure(&mut config, &mut services);
        Node::new(start.now, config, services, start.seed, start.nonces).expect("the configuration is sound")
    })
}

fn cluster(
    replay: &Replay,
    configure: impl Fn(&mut Config, &mut ServiceConfig) + Clone + 'static,
) -> (Net, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(replay.seed()));
    net.keep_logs(false);
    let nodes: Vec<_> = (0..replay.nodes()).map(|_| add(&mut net, configure.clone())).collect();
    // Not all through one, which serves only so many streams at once.
    for (number, &node) in nodes.iter().enumerate().skip(1) {
        net.join(node, &[nodes[(number - 1) / 8]]);
    }
    until(&mut net, 100 * SECOND, "agreement", Network::agrees);
    (net, nodes)
}

fn until(net: &mut Net, within: Duration, what: &str, mut holds: impl FnMut(&Net) -> bool) -> Duration {
    let begun = net.now();
    while !holds(net) {
        assert!(net.now() - begun < within, "not within {within:?}: {what}\n{}", net.table());
        net.run_for(LOOK);
    }
    net.now() - begun
}

/// How often a node of one side does not see one of the other as alive.
fn missed(net: &Net, left: &[NodeId], right: &[NodeId]) -> usize {
    let pairs = left.iter().flat_map(|&a| right.iter().flat_map(move |&b| [(a, b), (b, a)]));
    pairs.filter(|&(viewer, subject)| net.status(viewer, subject) != Some(Status::Alive)).count()
}

/// Cuts a cluster in two for that long, and says after healing how long it took until the sides met, and from then until
/// all views were equal.
fn cut(net: &mut Net, left: &[NodeId], right: &[NodeId], span: Duration) -> (Duration, Duration) {
    net.partition(&[left, right]);
    net.run_for(span);
    let before = missed(net, left, right);
    net.heal();
    let met = match before {
        0 => Duration::ZERO,
        _ => until(net, 40 * SECOND, "contact", |net| missed(net, left, right) < before),
    };
    let agreed = until(net, 120 * SECOND, "agreement", Network::agrees);
    (met, agreed)
}

/// First contact comes within one reconnect interval, and agreement within so long of that.
fn heals(
    test: &'static str,
    nodes: usize,
    sides: &[usize],
    spans: &[Duration],
    sweep: core::ops::Range<u64>,
) {
    let limit = if nodes <= 20 { 5 * SECOND } else { 20 * SECOND };
    for seed in seeds(sweep) {
        for &side in sides {
            for &span in spans {
                let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", test, seed, nodes);
                let (mut net, nodes) = cluster(&replay, |_, _| {});
                let (left, right) = nodes.split_at(side);
                let (met, agreed) = cut(&mut net, left, right, span);
                println!(
                    "n = {} cut {side} to {} for {span:?}, seed {seed}: met after {met:?}, agreed {agreed:?} later",
                    nodes.len(),
                    nodes.len() - side
                );
                let follow_ups: u64 =
                    nodes.iter().map(|&node| net.machine(node).unwrap().stats().follow_ups).sum();
                assert!(follow_ups <= 4 * nodes.len() as u64, "{follow_ups} exchanges more than needed");
                assert!(met <= 31 * SECOND, "met after {met:?}");
                assert!(agreed <= limit, "agreed {agreed:?} after they met\n{}", net.table());
                net.run_for(30 * SECOND);
                assert!(net.agrees(), "{}", net.table());
            }
        }
    }
}

#[test]
fn two_and_three_find_together() {
    let spans = [15 * SECOND, MINUTE, 10 * MINUTE];
    heals("healing::two_and_three_find_together", 2, &[1], &spans, 0..3);
    heals("healing::two_and_three_find_together", 3, &[1], &spans, 0..3);
}

#[test]
fn twenty_find_together() {
    let spans = [15 * SECOND, MINUTE, 10 * MINUTE];
    heals("healing::twenty_find_together", 20, &[1, 10], &spans, 0..1);
}

/// Longer than failed members are listed: what is left are the addresses that were learnt.
#[test]
fn a_day_apart_is_no_end() {
    for nodes in [2, 3] {
        heals("healing::a_day_apart_is_no_end", nodes, &[1], &[25 * 60 * MINUTE], 0..1);
    }
}

#[test]
#[ignore = "long: .ci/soak runs it"]
fn two_hundred_find_together() {
    let spans = [15 * SECOND, MINUTE, 10 * MINUTE];
    heals("healing::two_hundred_find_together", 200, &[1, 100], &spans, 0..2);
}

#[test]
#[ignore = "long: .ci/soak runs it"]
fn a_day_apart_is_no_end_for_many() {
    heals("healing::a_day_apart_is_no_end_for_many", 20, &[1, 10], &[24 * 60 * MINUTE], 0..1);
    heals("healing::a_day_apart_is_no_end_for_many", 200, &[100], &[24 * 60 * MINUTE], 0..1);
}

/// All nodes restart in random order within a minute, each from incarnation 1, while the deaths that were declared of their
/// earlier lives are still about.
fn restarts(test: &'static str, nodes: usize, sweep: core::ops::Range<u64>) {
    for seed in seeds(sweep) {
        let replay = Replay::new(env!("CARGO_PKG_NAME"), "cluster", test, seed, nodes);
        let mut net = Network::new(Seed::from_u64(replay.seed()));
        net.keep_logs(false);
        let contacts: Vec<_> =
            (1..=3u8).map(|last| core::net::SocketAddr::from(([10, 0, 0, last], 7946))).collect();
        let nodes: Vec<_> = (0..replay.nodes())
            .map(|_| {
                let contacts = contacts.clone();
                add(&mut net, move |config, _| {
                    config.seeds(contacts.clone());
                })
            })
            .collect();
        until(&mut net, 100 * SECOND, "agreement", Network::agrees);
        // Each gets a past: it is accused, and has refuted.
        let mut order = nodes.clone();
        for last in (1..order.len()).rev() {
            let other = net.random(last as u64 + 1) as usize;
            order.swap(last, other);
        }
        let pause = MINUTE / order.len() as u32;
        for (number, &node) in order.iter().enumerate() {
            // Some are down for so long that they are suspected or declared dead, the others come back at once.
            net.vanish(node);
            net.run_for(pause);
            if number >= DOWN {
                net.restart(order[number - DOWN]);
            }
        }
        for &node in &order[order.len().saturating_sub(DOWN)..] {
            net.restart(node);
        }
        let right = until(&mut net, MINUTE, "agreement", Network::agrees);
        println!("n = {} restarted, seed {seed}: all views right {right:?} after the last", nodes.len());
        assert!(right <= 30 * SECOND, "{right:?}");
        net.run_for(MINUTE);
        assert!(net.agrees(), "{}", net.table());
    }
}

/// How many are down at once.
const DOWN: usize = 10;

#[test]
fn everybody_restarts_and_all_is_well() {
    restarts("healing::everybody_restarts_and_all_is_well", 30, 0..2);
}

#[test]
#[ignore = "long: .ci/soak runs it"]
fn two_hundred_restart_and_all_is_well() {
    restarts("healing::two_hundred_restart_and_all_is_well", 200, 0..3);
}

/// A Serf cluster that took a huge time has moved there for good: so do nodes that hear of it in a push/pull, while what comes
/// by gossip is refused (serf.md Q3).
#[test]
fn a_cluster_follows_through_a_time_far_ahead() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "healing::a_cluster_follows_through_a_time_far_ahead",
            seed,
            8,
        );
        let (mut net, nodes) = cluster(&replay, |_, _| {});
        // A node that has been there, as one of upstream's would after such an event.
        let last = gossip_proto::Clocks { member: 3, event: 1 << 40, query: 2 };
        let moved = add(&mut net, move |_, services| {
            services.restore(Some(gossip_proto::Restore { last, ..gossip_proto::Restore::default() }));
        });
        net.join(moved, &nodes[..1]);
        until(&mut net, 10 * SECOND, "agreement", Network::agrees);
        net.with(moved, |node, now| node.user_event(now, b"far", b"", false)).unwrap();
        // Who refuses the event as gossip gets the clock, and with it the event, by the next exchanges.
        until(&mut net, 10 * MINUTE, "all clocks far ahead", |net| {
            net.nodes().all(|node| net.machine(node).unwrap().clocks().event > 1 << 40)
        });
        let refused: u64 = net.nodes().map(|node| net.machine(node).unwrap().stats().ltime_refused).sum();
        assert!(refused > 0, "the event itself came by gossip too");
        until(&mut net, 10 * MINUTE, "the event everywhere", |net| {
            net.nodes().all(|node| net.machine(node).unwrap().stats().user_events == 1)
        });
        // Life goes on from there.
        net.with(nodes[3], |node, now| node.user_event(now, b"after", b"", false)).unwrap();
        until(&mut net, 30 * SECOND, "the next event", |net| {
            net.nodes().all(|node| net.machine(node).unwrap().stats().user_events == 2)
        });
    }
}

/// The intent and memberlist's farewell travel through many; losing packets does not make a failure of a farewell.
#[test]
fn a_farewell_is_understood_although_packets_are_lost() {
    for seed in seeds(0..10) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "healing::a_farewell_is_understood_although_packets_are_lost",
            seed,
            12,
        );
        let (mut net, nodes) = cluster(&replay, |_, _| {});
        net.set_conditions(transport_mem::Conditions::LAN.loss(0.3));
        let leaver = nodes[5];
        net.with(leaver, |node, now| node.leave(now)).unwrap();
        net.run_for(15 * SECOND);
        net.vanish(leaver);
        until(&mut net, 2 * MINUTE, "it left", |net| net.all_see(leaver, Status::Left));
    }
}

/// The address of a member that was forgotten now belongs to somebody else: the two clusters stay two. When the member is
/// back there, they find together.
#[test]
fn a_recycled_address_merges_nothing() {
    for seed in seeds(0..3) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "healing::a_recycled_address_merges_nothing",
            seed,
            2,
        );
        let mut net = Network::new(Seed::from_u64(replay.seed()));
        let mut services = ServiceConfig::default();
        services.reconnect_timeout(MINUTE);
        let stays = services.clone();
        let keeper = net.add_node(move |start| {
            let config = Config::lan("keeper", start.addr);
            Node::new(start.now, config, stays.clone(), start.seed, start.nonces).unwrap()
        });
        let guest = net.add_node(move |start| {
            let config = Config::lan(if start.restarts == 1 { "stranger" } else { "guest" }, start.addr);
            Node::new(start.now, config, services.clone(), start.seed, start.nonces).unwrap()
        });
        net.join(guest, &[keeper]);
        until(&mut net, 10 * SECOND, "agreement", Network::agrees);
        net.vanish(guest);
        net.run_for(3 * MINUTE);
        assert_eq!(net.machine(keeper).unwrap().members().count(), 1, "it is forgotten");
        net.restart(guest);
        net.run_for(20 * MINUTE);
        let stats = net.machine(keeper).unwrap().stats();
        assert!(stats.learnt_tried > 20 && stats.learnt_found == 0, "{stats:?}");
        assert_eq!([keeper, guest].map(|node| net.machine(node).unwrap().num_alive()), [1, 1]);
        net.vanish(guest);
        net.run_for(SECOND);
        net.restart(guest);
        until(&mut net, 31 * SECOND, "they found together", Network::agrees);
        assert_eq!(net.machine(keeper).unwrap().stats().learnt_found, 1);
    }
}

/// A seed is tried for ever, first soon and then once in each interval, and again as soon as nobody has its address any more.
#[test]
fn a_seed_is_never_given_up() {
    for seed in seeds(0..3) {
        let replay =
            Replay::new(env!("CARGO_PKG_NAME"), "cluster", "healing::a_seed_is_never_given_up", seed, 2);
        let mut net = Network::new(Seed::from_u64(replay.seed()));
        let first = add(&mut net, |_, _| {});
        net.vanish(first);
        let addr = net.addr(first);
        let second = add(&mut net, move |config, services| {
            config.seeds(vec![addr]);
            services.reconnect_timeout(MINUTE).learnt_timeout(MINUTE);
        });
        net.run_for(HOUR);
        let tried = net.machine(second).unwrap().stats().seeds_tried;
        assert!((120..260).contains(&tried), "{tried}");
        for _ in 0..2 {
            net.restart(first);
            until(&mut net, 45 * SECOND, "the seed is found", Network::agrees);
            let before = net.machine(second).unwrap().stats().seeds_tried;
            net.run_for(10 * MINUTE);
            assert_eq!(net.machine(second).unwrap().stats().seeds_tried, before, "it is a member");
            net.vanish(first);
            net.run_for(10 * MINUTE);
        }
        assert_eq!(net.machine(second).unwrap().num_failed(), 0, "even its failure is forgotten");
    }
}

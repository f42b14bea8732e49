//! Nodes that find each other again without anybody's help, seen by what they count.
use crate::support;

use core::time::Duration;

use bytes::Bytes;
use gossip_proto::*;
use support::node::{VSN, addr, dead, ping, serf_alive};
use support::pair::*;

const SECOND: Duration = Duration::from_secs(1);

fn node(name: &str, host: u8, configure: impl FnOnce(&mut ServiceConfig)) -> Node {
    let mut services = ServiceConfig::default();
    configure(&mut services);
    let seed = Seed::from_u64(u64::from(host));
    Node::new(Instant::ORIGIN, Config::lan(name, addr(host)), services, seed, NonceSecret::new([host; 32]))
        .expect("a node")
}

fn plain(name: &str, host: u8) -> Node {
    node(name, host, |_| {})
}

fn stats(net: &Net<Node>, host: usize) -> Stats {
    net.hosts[host].machine.stats().clone()
}

fn hear(net: &mut Net<Node>, host: usize, bytes: &[u8]) {
    let now = net.now;
    let source = Source::unauthenticated(addr(9));
    net.host(host).machine.handle_datagram(now, source, &mut bytes.to_vec()).expect("a packet");
}

/// A host that has crashed: what is sent there is lost, connections are refused.
fn crash(net: &mut Net<Node>, host: usize) {
    net.host(host).down = true;
    let addr = net.hosts[host].addr;
    net.no_streams.push(addr);
}

/// Somebody else is there now.
fn revive(net: &mut Net<Node>, host: usize, mut machine: Node) {
    machine.handle_timeout(net.now);
    net.hosts[host].machine = machine;
    net.host(host).down = false;
    net.no_streams.clear();
}

#[test]
fn a_seed_is_tried_until_it_is_there_and_not_after() {
    let mut net = Net::new([plain("a", 1), plain("b", 2)]);
    crash(&mut net, 1);
    net.host(0).machine.set_seeds(Instant::ORIGIN, &[addr(1), addr(2)]);
    net.run_for(300 * SECOND);
    // Soon at first, then about once in every 30 s; its own address is nobody to join.
    let tried = stats(&net, 0).seeds_tried;
    assert!((12..30).contains(&tried), "{tried} in five minutes");
    revive(&mut net, 1, plain("b", 2));
    net.run_for(31 * SECOND);
    assert_eq!((net.status(0, "b"), net.status(1, "a")), (Some(Status::Alive), Some(Status::Alive)));
    let tried = stats(&net, 0).seeds_tried;
    net.run_for(300 * SECOND);
    assert_eq!(stats(&net, 0).seeds_tried, tried, "whom it knows to be alive it does not try");
}

/// Whose place in the table has run out is still looked for where it was; whoever else is there now is left alone.
#[test]
fn a_forgotten_member_is_found_by_its_name_only() {
    for (returns, joins) in [("b", true), ("stranger", false)] {
        let forgetful = node("a", 1, |services| drop_ref(services.reconnect_timeout(20 * SECOND)));
        let mut net = Net::new([forgetful, plain("b", 2)]);
        net.join(1, 0);
        net.run_for(2 * SECOND);
        crash(&mut net, 1);
        net.run_for(120 * SECOND);
        assert_eq!((net.status(0, "b"), net.hosts[0].machine.learnt().len()), (None, 1));
        revive(&mut net, 1, plain(returns, 2));
        net.run_for(300 * SECOND);
        let counts = stats(&net, 0);
        assert!(counts.learnt_tried > 0, "{returns}");
        assert_eq!((counts.learnt_found, net.status(0, returns).is_some()), (u64::from(joins), joins));
        assert_eq!(net.hosts[0].machine.learnt().len(), usize::from(!joins), "{returns}");
    }
}

fn drop_ref<T>(_: &mut T) {}

#[test]
fn what_is_learnt_is_bounded() {
    let forgetful = node("a", 1, |services| drop_ref(services.reconnect_timeout(20 * SECOND).max_learnt(2)));
    let mut net = Net::new([forgetful]);
    for (host, name) in (2..).zip(["b", "c", "d", "e", "f"]) {
        net.no_streams.push(addr(host));
        hear(&mut net, 0, &serf_alive(name, host, 1));
        hear(&mut net, 0, &dead(name, 1, "x"));
        net.run_for(SECOND);
    }
    net.run_for(60 * SECOND);
    let names: Vec<_> = net.hosts[0].machine.learnt().map(|(name, ..)| name.to_string()).collect();
    assert_eq!(
        (names, stats(&net, 0).learnt_full),
        (["e", "f"].map(String::from).into(), 3),
        "the latest stay"
    );
}

#[test]
fn who_is_back_soon_after_it_failed_flaps() {
    let mut net = Net::new([plain("a", 1)]);
    net.no_streams.push(addr(2));
    for (incarnation, gone, flaps) in [(1, 10, 1), (3, 59, 2), (5, 61, 2)] {
        hear(&mut net, 0, &serf_alive("b", 2, incarnation));
        hear(&mut net, 0, &dead("b", incarnation, "x"));
        net.run_for(gone * SECOND);
        hear(&mut net, 0, &serf_alive("b", 2, incarnation + 1));
        assert_eq!(stats(&net, 0).member_flaps, flaps, "back after {gone} s");
        // Left and back is a visit.
        hear(&mut net, 0, &dead("b", incarnation + 1, "x"));
        net.run_for(200 * SECOND);
    }
}

/// A host that crashed comes back under another name, as where names are drawn at random: its packets are no sign that the old
/// name lives, which is listed for a day.
#[test]
fn a_name_that_is_gone_lends_nothing_to_who_is_at_its_address_now() {
    let mut net = Net::new([plain("a", 1)]);
    net.no_streams.push(addr(2));
    hear(&mut net, 0, &serf_alive("b", 2, 1));
    hear(&mut net, 0, &dead("b", 1, "x"));
    net.run_for(SECOND);
    hear(&mut net, 0, &serf_alive("c", 2, 1));
    for seq in 0..20 {
        let now = net.now;
        let source = Source::unauthenticated(addr(2));
        let ping = ping(seq, "a", "c", addr(2));
        net.host(0).machine.handle_datagram(now, source, &mut ping.clone()).expect("a packet");
        net.run_ms(50);
    }
    let stats = stats(&net, 0);
    assert_eq!((stats.follow_ups, stats.follow_ups_withheld), (0, 0));
}

/// Each side has given up the other. The first contact alone would leave many of them dead until other exchanges cross.
#[test]
fn where_a_partition_heals_one_exchange_follows_another() {
    let mut net = Net::new((1..=6u8).map(|host| plain(&format!("n{host}"), host)));
    for host in 1..6 {
        net.join(host, 0);
    }
    net.run_for(5 * SECOND);
    let side = |at: core::net::SocketAddr| at.ip() > addr(3).ip();
    net.fate(move |from, to, _| if side(from) == side(to) { Fate::Deliver } else { Fate::Lose });
    net.black_holes = (1..=6).map(addr).collect();
    net.run_for(60 * SECOND);
    assert!((0..6).all(|host| net.hosts[host].machine.num_alive() == 3));
    let before: u64 = (0..6).map(|host| stats(&net, host).follow_ups).sum();
    net.fate(|_, _, _| Fate::Deliver);
    net.black_holes.clear();
    net.run_while(90 * SECOND, |net| net.hosts.iter().any(|host| host.machine.num_alive() < 6));
    net.run_for(5 * SECOND);
    let after: u64 = (0..6).map(|host| stats(&net, host).follow_ups).sum();
    assert!(after > before, "{before} before, {after} after");
}

/// As where packets get lost all the time: somebody is always missing, and somebody else always accused and back. Each
/// exchange would carry the whole table.
#[test]
fn members_that_come_and_go_set_few_exchanges_going() {
    let mut net = Net::new([plain("a", 1)]);
    net.no_streams = [2, 3].map(addr).into();
    hear(&mut net, 0, &serf_alive("c", 3, 1));
    hear(&mut net, 0, &dead("c", 1, "x"));
    for incarnation in 1..200 {
        hear(&mut net, 0, &serf_alive("b", 2, incarnation));
        net.run_for(SECOND);
        hear(&mut net, 0, &dead("b", incarnation, "x"));
        net.run_for(SECOND);
    }
    let stats = stats(&net, 0);
    // Eight at once, and then one in each interval of the schedule.
    assert!((8..=8 + 400 / 30 + 1).contains(&stats.follow_ups), "{} follow-ups", stats.follow_ups);
    assert!(stats.follow_ups_withheld > 50, "{} withheld", stats.follow_ups_withheld);
}

/// "x" has restarted, and come to the incarnation of its earlier life before "a" had heard of it. No exchange with "x" is
/// possible, which is all that would settle it upstream.
#[test]
fn who_is_known_with_two_contents_under_one_incarnation_is_told() {
    for healing in [true, false] {
        let mut net = Net::new([("a", 1), ("b", 2), ("x", 3)].map(|(name, host)| {
            let mut config = Config::lan(name, addr(host));
            config.metadata(if name == "x" { "new".into() } else { Bytes::new() });
            if name == "x" {
                config.push_pull_interval(Duration::ZERO);
            }
            let mut experiment = Experiment::default();
            experiment.healing(healing);
            config.experiment(experiment);
            Membership::new(
                Instant::ORIGIN,
                config,
                Seed::from_u64(u64::from(host)),
                NonceSecret::new([host; 32]),
            )
            .expect("a node")
        }));
        net.join(1, 2);
        net.run_for(30 * SECOND);
        net.no_streams.push(addr(3));
        let now = net.now;
        let old = KnownMember {
            name: Name::new(b"x"),
            addr: addr(3),
            metadata: "old".into(),
            incarnation: 1,
            versions: VSN,
        };
        net.host(0).machine.know(now, &[old]);
        net.join(0, 1);
        net.run_for(if healing { SECOND } else { 300 * SECOND });
        let known = |host: usize| {
            let member = net.hosts[host].machine.find(b"x").expect("known");
            (member.incarnation, member.metadata.to_vec())
        };
        let stats = net.hosts[0].machine.stats();
        if healing {
            assert_eq!((known(0), known(1)), ((2, b"new".to_vec()), (2, b"new".to_vec())));
            assert_eq!((stats.hearsay_told, stats.hearsay_withheld), (1, 0));
        } else {
            assert_eq!((known(0), known(1)), ((1, b"old".to_vec()), (1, b"new".to_vec())));
            assert_eq!(stats.hearsay_told, 0);
        }
    }
}

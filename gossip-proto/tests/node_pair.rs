//! Serf nodes over an in-memory network: what they are made with, and how one life of a node follows another.
use crate::support;

use bytes::Bytes;
use core::time::Duration;
use gossip_proto::*;
use support::node::{AliveOf, SERF_VSN, addr};
use support::pair::*;

fn tags(tags: &[(&'static str, &'static str)]) -> Vec<(Bytes, Bytes)> {
    tags.iter().map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect()
}

fn try_node(name: &str, host: u8, configure: impl FnOnce(&mut ServiceConfig)) -> Result<Node, ConfigError> {
    let mut services = ServiceConfig::default();
    configure(&mut services);
    let seed = Seed::from_u64(u64::from(host));
    Node::new(Instant::ORIGIN, Config::lan(name, addr(host)), services, seed, NonceSecret::new([host; 32]))
}

fn node(name: &str, host: u8, role: &'static str) -> Node {
    try_node(name, host, |services| drop_ref(services.tags(tags(&[("role", role)])))).expect("a node")
}

fn drop_ref<T>(_: &mut T) {}

fn role(net: &Net<Node>, host: usize, of: &str) -> Option<String> {
    let member = net.hosts[host].machine.find(of.as_bytes())?;
    member
        .tags()
        .find(|(tag, _)| **tag == *b"role")
        .map(|(_, role)| String::from_utf8_lossy(&role).into_owned())
}

/// Takes the machine of a host away and puts a fresh one in its place, as when a process is started again.
fn restart(net: &mut Net<Node>, host: usize, mut machine: Node) {
    machine.handle_timeout(net.now);
    net.hosts[host].machine = machine;
    net.hosts[host].notes.clear();
}

// upstream: TestSerf_LocalMember, TestSerf_NumNodes, TestSerf_Stats, TestSerf_ProtocolVersion, TestDefaultConfig
#[test]
fn a_fresh_node_knows_itself_and_nothing_else() {
    let mut fresh = node("a", 1, "web");
    let local = fresh.local();
    assert_eq!((local.name, local.addr, local.status), (&Name::from("a"), addr(1), Status::Alive));
    assert_eq!((local.incarnation, local.versions), (1, [1, 5, 2, 2, 5, 5]));
    assert_eq!(local.tags().count(), 1);
    assert_eq!(
        (fresh.members().count(), fresh.num_alive(), fresh.num_failed(), fresh.num_left()),
        (1, 1, 0, 0)
    );
    assert_eq!((fresh.health(), fresh.queues()), (0, Queues { intents: 0, events: 0, queries: 0 }));
    assert_eq!(fresh.clocks(), Clocks { member: 1, event: 1, query: 1 });
    let counted: u64 = fresh.stats().iter().map(|(_, count)| count).sum();
    assert_eq!(counted, fresh.stats().members_joined, "nothing has happened yet but that");
    fresh.set_tags(Instant::ORIGIN, tags(&[("role", "db")])).expect("tags");
    assert_eq!(fresh.local().tags().next().expect("a tag").1, &b"db"[..]);
    assert!(!fresh.is_leaving());
    fresh.leave(Instant::ORIGIN).expect("nothing is in its way");
    assert!(fresh.is_leaving());
}

#[test]
fn fixed_tags_stay_whatever_is_set() {
    let shown = |node: &Node| -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        node.local().tags().map(|(name, value)| (text(&name), text(&value))).collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let mut node = try_node("a", 1, |services| {
        services.tags(tags(&[("role", "web"), ("key", "mine")])).fixed_tags(tags(&[("key", "7f")]));
    })
    .expect("a node");
    assert_eq!(shown(&node), pairs(&[("role", "web"), ("key", "7f")]));
    node.set_tags(Instant::ORIGIN, tags(&[("key", "other"), ("role", "db")])).expect("tags");
    assert_eq!(shown(&node), pairs(&[("role", "db"), ("key", "7f")]));
    node.set_tags(Instant::ORIGIN, Vec::new()).expect("tags");
    assert_eq!(shown(&node), pairs(&[("key", "7f")]));
}

// upstream: TestSerf_Create_badProtocolVersion
#[test]
fn protocol_versions_outside_the_range_are_refused() {
    for version in 0..=255 {
        let made = try_node("a", 1, |services| drop_ref(services.serf_protocol(version)));
        match version {
            2..=5 => assert_eq!(made.expect("a node").local().versions[5], version),
            _ => assert_eq!(made.err(), Some(ConfigError::ProtocolVersion { version, min: 2, max: 5 })),
        }
    }
}

// upstream: TestDelegate_NodeMeta_Old, TestDelegate_NodeMeta_New, TestSerf_role
#[test]
fn tags_are_a_map_and_before_version_3_the_role_alone() {
    let made = |version: u8, role: &'static str| {
        try_node("a", 1, |services| {
            services.serf_protocol(version).tags(tags(&[("role", role), ("rack", "7")]));
        })
    };
    assert_eq!(made(2, "web").expect("a node").local().metadata, b"web");
    let new = made(3, "web").expect("a node");
    assert_eq!(new.local().metadata[0], 0xff);
    assert_eq!(new.local().tags().count(), 2);
    let old = made(2, "web").expect("a node");
    let shown: Vec<_> =
        old.local().tags().map(|(tag, value)| (tag.into_owned(), value.into_owned())).collect();
    assert_eq!(shown, [(b"role".to_vec(), b"web".to_vec())]);
    // Where upstream panics, an error says by how much.
    let long: &'static str = Box::leak("x".repeat(600).into_boxed_str());
    for version in [2, 5] {
        assert!(matches!(made(version, long), Err(ConfigError::MetadataTooLong { len: 600.. })), "{version}");
    }
    let mut net = Net::new([node("a", 1, "web"), node("b", 2, "lb")]);
    net.join(1, 0);
    assert_eq!((role(&net, 0, "b"), role(&net, 1, "a")), (Some("lb".into()), Some("web".into())));
}

/// It is back before anybody has missed it, with other tags and an older protocol: what the others remember of it is
/// false, at the same incarnation.
// upstream: TestSerf_update
#[test]
fn a_quick_restart_with_other_tags_is_an_update() {
    let mut net = Net::new([node("a", 1, "web"), node("b", 2, "web")]);
    net.join(1, 0);
    net.run_ms(2000);
    net.notes(0);
    let again = try_node("b", 2, |services| {
        services.serf_protocol(4).tags(tags(&[("role", "db")]));
    });
    restart(&mut net, 1, again.expect("a node"));
    net.join(1, 0);
    net.run_ms(2000);
    assert_eq!(net.changes(0, "b"), [ChangeKind::Updated]);
    let b = net.hosts[0].machine.find(b"b").expect("a member");
    assert_eq!((b.versions, b.incarnation), ([1, 5, 2, 2, 5, 4], 2));
    assert_eq!(role(&net, 0, "b"), Some("db".into()));
}

// upstream: TestSerf_leaveRejoinDifferentRole
#[test]
fn who_left_comes_back_as_it_is_then() {
    let mut net = Net::new([node("a", 1, "web"), node("b", 2, "foo")]);
    net.join(1, 0);
    net.run_ms(2000);
    let now = net.now;
    net.host(1).machine.leave(now).expect("a leave");
    net.run_ms(10_000);
    assert_eq!(net.status(0, "b"), Some(Status::Left));
    net.notes(0);
    restart(&mut net, 1, node("b", 2, "bar"));
    net.join(1, 0);
    net.run_ms(2000);
    assert_eq!((net.status(0, "b"), role(&net, 0, "b")), (Some(Status::Alive), Some("bar".into())));
    assert!(net.changes(0, "b").contains(&ChangeKind::Joined));
}

// upstream: TestSerf_joinLeave_ltime
#[test]
fn joining_and_leaving_move_the_clock() {
    let mut net = Net::new([node("a", 1, "web"), node("b", 2, "web")]);
    net.join(1, 0);
    net.run_ms(2000);
    let joined = net.hosts.iter().map(|host| host.machine.clocks().member).collect::<Vec<_>>();
    assert!(joined.iter().all(|time| *time > 1), "{joined:?}: beyond the join's own time");
    let now = net.now;
    net.host(1).machine.leave(now).expect("a leave");
    net.run_ms(10_000);
    assert!(net.hosts[0].machine.clocks().member > joined[0]);
}

/// On one machine the port alone tells nodes apart. Nobody tells the one that is back whom to join.
// upstream: TestSerf_reconnect_sameIP
#[test]
fn a_node_on_another_port_of_one_address_is_found_again() {
    let on = |name: &str, port: u16| {
        let config = Config::lan(name, (core::net::Ipv4Addr::new(10, 0, 0, 1), port).into());
        let seed = Seed::from_u64(u64::from(port));
        Node::new(Instant::ORIGIN, config, ServiceConfig::default(), seed, NonceSecret::new([1; 32]))
            .expect("a node")
    };
    let mut net = Net::new([on("a", 7946), on("b", 7947)]);
    net.join(1, 0);
    net.run_ms(2000);
    net.host(1).down = true;
    let (b, at) = (net.hosts[1].addr, |net: &Net<Node>| net.status(0, "b"));
    net.no_streams.push(b);
    net.run_while(Duration::from_secs(60), |net| at(net) != Some(Status::Failed));
    net.no_streams.clear();
    restart(&mut net, 1, on("b", 7947));
    net.host(1).down = false;
    net.run_while(Duration::from_secs(600), |net| at(net) != Some(Status::Alive));
    net.run_ms(2000);
    assert_eq!((net.status(1, "a"), net.hosts[1].machine.num_alive()), (Some(Status::Alive), 2));
}

/// A leave and the intents around it come to all in another order each: what is old is not passed on again, or it would
/// go round for ever.
// upstream: TestSerf_eventsLeave_avoidInfiniteLeaveRebroadcast
#[test]
fn a_leave_heard_out_of_order_does_not_go_round() {
    let mut net = Net::new([node("a", 1, "x"), node("b", 2, "x"), node("c", 3, "x"), node("d", 4, "x")]);
    for host in 1..4 {
        net.join(host, 0);
    }
    net.run_ms(5000);
    let leave = |ltime: u8, name: &str| {
        let mut message = vec![8, 0, 0x83, 0xa5];
        message.extend(b"LTime");
        message.push(ltime);
        message.extend([0xa4]);
        message.extend(b"Node");
        message.push(0xa0 | name.len() as u8);
        message.extend(name.as_bytes());
        message.push(0xa5);
        message.extend(b"Prune");
        message.push(0xc2);
        message
    };
    let now = net.now;
    net.host(3).machine.leave(now).expect("a leave");
    // Two leaves of one node, the later one first; and each node hears them in another order.
    for (host, times) in [(1u8, [90, 70]), (2, [70, 90]), (3, [90, 80])] {
        for ltime in times {
            net.inject(addr(9), addr(host), leave(ltime, "d"));
        }
    }
    net.run_ms(15_000);
    for host in &net.hosts[..3] {
        assert_eq!(host.machine.find(b"d").expect("a member").status, Status::Left);
        assert_eq!(host.machine.queues(), Queues { intents: 0, events: 0, queries: 0 });
    }
    let before = net.log.len();
    net.run_ms(10_000);
    let intents =
        net.log[before..].iter().filter(|(.., bytes)| bytes.windows(5).any(|part| part == b"Prune"));
    assert_eq!(intents.count(), 0);
}

/// The payload of an acknowledgement comes with the round trip time and the member that it belongs to.
// upstream: TestMemberlist_PingDelegate
#[test]
fn an_ack_tells_its_round_trip_and_brings_its_payload() {
    let mut net = Net::new([node("a", 1, "x"), node("b", 2, "x")]);
    net.latency = Duration::from_millis(20);
    net.join(1, 0);
    assert_eq!(net.hosts[0].machine.coordinate_of(b"b"), None);
    net.run_ms(60_000);
    let [a, b] = [0, 1].map(|host| &net.hosts[host].machine);
    let seen = a.coordinate_of(b"b").expect("it came with an ack");
    let away = coordinate::distance(&a.coordinate().expect("own"), &seen).expect("comparable");
    assert!((0.02..0.06).contains(&away.as_secs_f64()), "{away:?} for a round trip of 40 ms");
    assert!(b.coordinate_of(b"a").is_some() && a.coordinate_of(b"nobody").is_none());
}

// upstream: TestDelegate_BadData
#[test]
fn what_is_not_serfs_does_nothing() {
    let mut net = Net::new([node("a", 1, "x"), node("b", 2, "x")]);
    net.join(1, 0);
    net.run_ms(2000);
    let before = net.hosts[0].machine.stats().clone();
    for payload in [&[8][..], &[8, 0], &[8, 3, 0xc1], &[8, 4, 0x81], &[8, 99, 1, 2], &[8, 255]] {
        net.inject(addr(2), addr(1), payload.to_vec());
    }
    net.run_ms(1000);
    let stats = net.hosts[0].machine.stats();
    assert_eq!(stats.user_messages - before.user_messages, 6);
    assert_eq!(stats.dropped_decode - before.dropped_decode, 3);
    assert_eq!(stats.serf_unknown_type - before.serf_unknown_type, 2);
    assert_eq!((net.status(0, "b"), net.status(1, "a")), (Some(Status::Alive), Some(Status::Alive)));
}

// upstream: TestSerf_MemberStatus_String
#[test]
fn each_status_has_serfs_word() {
    let words = [Status::Alive, Status::Leaving, Status::Left, Status::Failed].map(Status::as_str);
    assert_eq!(words, ["alive", "leaving", "left", "failed"]);
}

/// Rule 4 of the contract: the answer to a ping that left late says that the member lives, and not how far away it is.
#[test]
fn a_probe_that_left_late_moves_no_coordinate() {
    for late in [false, true] {
        let (mut prober, mut target) = (node("a", 1, "web"), node("b", 2, "web"));
        let mut now = Instant::ORIGIN;
        for (machine, name, host) in [(&mut prober, "b", 2), (&mut target, "a", 1)] {
            let heard = AliveOf {
                name,
                incarnation: 1,
                addr: &[10, 0, 0, host],
                port: 7946,
                meta: b"",
                vsn: &SERF_VSN,
            };
            let source = Source::unauthenticated(addr(host));
            machine.handle_datagram(now, source, &mut heard.encode()).expect("an alive message");
        }
        let mut buf = [0; 2000];
        while prober.stats().probes_succeeded == 0 {
            now = now.max(prober.poll_timeout().expect("a probe"));
            assert!(now < Instant::from_millis(10_000));
            prober.handle_timeout(now);
            while let Some(sent) = prober.poll_transmit(now, &mut buf) {
                if late {
                    prober.handle_transmit_delayed(now, sent.id);
                }
                let source = Source::unauthenticated(addr(1));
                target.handle_datagram(now, source, &mut buf[..sent.len]).expect("a packet");
            }
            now += Duration::from_millis(5);
            while let Some(sent) = target.poll_transmit(now, &mut buf) {
                let source = Source::unauthenticated(addr(2));
                prober.handle_datagram(now, source, &mut buf[..sent.len]).expect("a packet");
            }
        }
        assert_eq!(prober.stats().coordinates_updated, u64::from(!late));
    }
}

//! The rules of Consul's LAN pool (serf.md 13), as they are written down. No Consul runs here: what its agents accept is
//! played by nodes of ours under the same rules, and by messages made by hand.
use crate::support;

use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::wire::message::{Alive, MessageType};
use gossip_proto::wire::serf::encode_tags;
use gossip_proto::*;
use support::node::{AliveOf, addr, dead, message};
use support::pair::*;

const ID: &str = "40e4a748-2192-161a-0510-9bf59fe950b5";
const OTHER_ID: &str = "5f9a2d1c-7b1e-4f0a-9c57-0b8f0e6a1d22";
/// Versions of Consul's agents (serf.md 13.1).
const VERSIONS: [u8; 6] = [1, 5, 2, 2, 5, 4];

fn client_with(name: &str, host: u8, consul: &ConsulClient) -> Node {
    let (config, services) = Config::consul_client(name, addr(host), consul).expect("a configuration");
    let seed = Seed::from_u64(u64::from(host));
    Node::new(Instant::ORIGIN, config, services, seed, NonceSecret::new([host; 32])).expect("a node")
}

fn client(name: &str, host: u8, datacenter: &'static str, id: &'static str) -> Node {
    client_with(name, host, &ConsulClient::new(datacenter, id))
}

fn alive(name: &str, host: u8, incarnation: u32, tags: &[(&str, &str)]) -> Vec<u8> {
    let mut meta = Vec::new();
    encode_tags(&mut meta, tags.iter().copied()).expect("a vector has room");
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta: &meta, vsn: &VERSIONS }.encode()
}

fn hear(node: &mut Node, now: Instant, from: SocketAddr, bytes: &[u8]) {
    node.handle_datagram(now, Source::unauthenticated(from), &mut bytes.to_vec()).expect("a packet");
}

fn names(node: &Node) -> Vec<String> {
    let listed = node.members().filter(|member| member.status == Status::Alive);
    let mut names: Vec<_> = listed.map(|member| member.name.to_string()).collect();
    names.sort();
    names
}

/// serf.md 13.9, points 1 and 2.
#[test]
fn it_shows_what_agents_look_for() {
    let mut consul = ConsulClient::new("dc1", ID);
    consul.build("1.19.2:048f1936").reconnect_timeout(Duration::from_secs(600));
    let mut node = client_with("edge", 1, &consul);
    // As it stands on the wire: in the state that a join pushes.
    let own = node.local();
    assert_eq!((own.versions, own.metadata[0]), (VERSIONS, 0xff));
    let tags: Vec<(String, String)> = own
        .tags()
        .map(|(tag, value)| {
            (String::from_utf8_lossy(&tag).into_owned(), String::from_utf8_lossy(&value).into_owned())
        })
        .collect();
    let expected = [
        ("build", "1.19.2:048f1936"),
        ("dc", "dc1"),
        ("id", ID),
        ("rc_tm", "600s"),
        ("role", "node"),
        ("segment", ""),
        ("vsn", "2"),
        ("vsn_max", "3"),
        ("vsn_min", "2"),
    ];
    for (tag, value) in expected {
        assert!(tags.iter().any(|(name, found)| (name.as_str(), found.as_str()) == (tag, value)), "{tag}");
    }
    assert_eq!(tags.len(), expected.len());
    let metadata = own.metadata.to_vec();
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("b", 2, 1, &[("role", "node"), ("dc", "dc1")]));
    let mut buf = [0; 1400];
    let gossip = core::iter::from_fn(|| {
        let due = node.poll_timeout()?;
        node.handle_timeout(due);
        Some(node.poll_transmit(due, &mut buf).map(|transmit| buf[..transmit.len].to_vec()))
    });
    let packet =
        gossip.flatten().find(|packet| packet.windows(4).any(|part| part == b"edge")).expect("gossip");
    let body = &support::node::messages(&packet);
    let own = body
        .iter()
        .find(|part| part[0] == MessageType::Alive.byte() && part.windows(4).any(|p| p == b"edge"));
    let own = Alive::decode(&own.expect("its own alive")[1..]).expect("an alive").0;
    assert_eq!((&*own.vsn, &*own.meta), (&VERSIONS[..], &metadata[..]));
}

#[test]
fn what_agents_would_not_understand_is_refused() {
    let make = |consul: &ConsulClient| Config::consul_client("edge", addr(1), consul).map(drop);
    let parameter = |consul: &ConsulClient| match make(consul) {
        Err(ConfigError::OutOfRange { parameter, .. }) => parameter,
        other => panic!("{other:?}"),
    };
    for datacenter in ["", "DC1", "dc 1", "dc.1"] {
        assert_eq!(parameter(&ConsulClient::new(datacenter, ID)), "datacenter");
    }
    for id in ["", "node-1", &ID[1..], "40e4a748-2192-161a-0510-9bf59fe950bx"] {
        assert_eq!(parameter(&ConsulClient::new("dc1", id.to_owned())), "id");
    }
    let mut consul = ConsulClient::new("dc1", ID);
    assert_eq!(parameter(consul.clone().role("consul")), "role");
    assert_eq!(parameter(consul.clone().reconnect_timeout(Duration::from_millis(1))), "reconnect_timeout");
    for build in ["", "1.17", "1.17.", "v1.17.0", "1..0"] {
        assert_eq!(parameter(consul.clone().build(build)), "build");
    }
    for build in ["1.17.0", "1.17.0:abcdef12", "1.20.0-dev"] {
        assert_eq!(make(consul.build(build).role("router").segment("alpha")), Ok(()));
    }
}

/// serf.md 13.4 and 13.9, point 10: two data centres do not become one through this node.
// upstream: TestSerf_Join_Cancel
#[test]
fn clients_of_one_datacenter_join_and_those_of_two_do_not() {
    let mut net = Net::new([
        client("a", 1, "dc1", ID),
        client("b", 2, "dc1", OTHER_ID),
        client("foreign", 3, "dc2", "00000000-0000-0000-0000-000000000003"),
    ]);
    assert_eq!(net.join(1, 0), Outcome::Joined { contacted: 1, failed: vec![] });
    net.run_ms(2000);
    // Both sides see it: who asks is told, and takes nobody in either.
    for (host, through) in [(2, 0), (0, 2)] {
        let Outcome::Joined { contacted: 0, failed } = net.join(host, through) else { panic!("joined") };
        assert!(matches!(&failed[0].1, JoinFailure::Remote(text) if text.contains("refused")), "{failed:?}");
        net.run_ms(2000);
    }
    assert_eq!(names(&net.hosts[0].machine), ["a", "b"]);
    assert_eq!(names(&net.hosts[2].machine), ["foreign"]);
    // Nor does hearsay bring them in, as after a join through somebody without such rules.
    let now = net.now;
    let west = alive("west", 9, 1, &[("role", "consul"), ("dc", "dc2"), ("id", OTHER_ID)]);
    hear(&mut net.host(0).machine, now, addr(2), &west);
    assert_eq!((names(&net.hosts[0].machine).len(), net.hosts[0].machine.stats().admission_refused), (2, 1));
}

/// A state in which one member is of another data centre is refused as a whole, though who brings it is not.
#[test]
fn a_cluster_with_a_foreigner_in_it_is_not_joined() {
    let plain = |name: &str, host: u8, dc: &'static str| {
        let mut services = ServiceConfig::default();
        services
            .serf_protocol(4)
            .tags(vec![(Bytes::from("role"), Bytes::from("node")), (Bytes::from("dc"), Bytes::from(dc))]);
        let seed = Seed::from_u64(u64::from(host));
        Node::new(
            Instant::ORIGIN,
            Config::lan(name, addr(host)),
            services,
            seed,
            NonceSecret::new([host; 32]),
        )
        .expect("a node")
    };
    let mut net = Net::new([client("a", 1, "dc1", ID), plain("b", 2, "dc1"), plain("c", 3, "dc2")]);
    net.join(2, 1);
    net.run_ms(2000);
    let Outcome::Joined { contacted: 0, failed } = net.join(0, 1) else { panic!("joined") };
    assert_eq!(failed[0].1, JoinFailure::Refused, "our own verdict: the peer has answered");
    let Outcome::Joined { contacted: 0, failed } = net.join(1, 0) else { panic!("joined") };
    assert!(matches!(&failed[0].1, JoinFailure::Remote(_)), "{failed:?}");
    assert_eq!(names(&net.hosts[0].machine), ["a"]);
    assert_eq!(net.hosts[0].machine.stats().merges_refused, 2);
}

/// serf.md 13.4: members of other roles pass, from wherever they are.
#[test]
fn what_is_neither_node_nor_server_may_be_anywhere() {
    let mut node = client("a", 1, "dc1", ID);
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("b", 2, 1, &[("role", "router"), ("dc", "dc2")]));
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("c", 3, 1, &[]));
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("d", 4, 1, &[("role", "node")]));
    assert_eq!(names(&node), ["a", "b", "c"]);
}

/// serf.md 13.4: our id under another name is refused, in capitals too; a member may keep its id and come back.
#[test]
fn an_id_is_not_shared() {
    let mut node = client("a", 1, "dc1", ID);
    let tags = |id: &'static str| [("role", "node"), ("dc", "dc1"), ("id", id)];
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("twin", 2, 1, &tags(ID)));
    hear(
        &mut node,
        Instant::ORIGIN,
        addr(2),
        &alive("TWIN", 3, 1, &tags("40E4A748-2192-161A-0510-9BF59FE950B5")),
    );
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("b", 4, 1, &tags(OTHER_ID)));
    assert_eq!((names(&node), node.stats().admission_refused), (vec!["a".into(), "b".into()], 2));
    // Somebody who is in has its id checked with each word.
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("b", 4, 2, &tags(ID)));
    assert_eq!(node.find(b"b").expect("a member").incarnation, 1);
    // And one that has left is none of our concern: renamed, this node would else never join again.
    let mut net = Net::new([client("renamed", 1, "dc1", ID), client("b", 2, "dc1", OTHER_ID)]);
    let now = net.now;
    let former = alive("former", 7, 1, &tags(ID));
    hear(&mut net.host(1).machine, now, addr(7), &former);
    hear(&mut net.host(1).machine, now, addr(7), &dead("former", 1, "former"));
    net.run_ms(100);
    assert_eq!(net.join(0, 1), Outcome::Joined { contacted: 1, failed: vec![] });
}

/// serf.md 13.9, point 8: a dead node's name may be taken by another address after 30 s.
#[test]
fn a_name_is_free_thirty_seconds_after_its_death() {
    let mut node = client("a", 1, "dc1", ID);
    let tags = [("role", "node"), ("dc", "dc1"), ("id", OTHER_ID)];
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("b", 2, 1, &tags));
    hear(&mut node, Instant::ORIGIN, addr(2), &dead("b", 1, "a"));
    let back = alive("b", 9, 2, &tags);
    hear(&mut node, Instant::from_millis(29_900), addr(9), &back);
    assert_eq!(node.find(b"b").expect("a member").addr, addr(2));
    hear(&mut node, Instant::from_millis(30_100), addr(9), &back);
    assert_eq!(node.find(b"b").expect("a member").addr, addr(9));
}

/// serf.md 13.9, point 7: another node with our name is told, and does not end this one.
#[test]
fn a_name_in_dispute_does_not_end_the_node() {
    for resolution in [false, true] {
        let consul = ConsulClient::new("dc1", ID);
        let (config, mut services) = Config::consul_client("a", addr(1), &consul).expect("a configuration");
        if resolution {
            services.name_conflict_resolution(true);
        }
        let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
        let a = Node::new(Instant::ORIGIN, config, services, seed, nonces).expect("a node");
        let mut net = Net::new([a, client("b", 2, "dc1", OTHER_ID)]);
        net.join(1, 0);
        net.run_ms(5000);
        let now = net.now;
        hear(&mut net.host(0).machine, now, addr(9), &alive("a", 9, 1, &[("role", "node"), ("dc", "dc1")]));
        net.run_ms(60_000);
        assert!(net.notes(0).iter().any(|note| matches!(note, Note::Conflict { .. })));
        let asks = net.log.iter().any(|(_, from, _, bytes)| {
            *from == addr(1) && bytes.windows(14).any(|part| part == b"_serf_conflict")
        });
        assert_eq!(asks, resolution, "whether it asks the cluster whose name it is");
        assert_eq!(names(&net.hosts[1].machine), ["a", "b"]);
    }
}

/// serf.md 13.9, point 6: `consul keyring` reaches this node as well, or it would report it missing and rotation would cut
/// it off.
#[test]
fn its_keys_are_rotated_with_the_pools() {
    let key = |byte: u8| Key::new(&[byte; 16]).expect("a key");
    let sealed = |mut config: Config, services: ServiceConfig, host: u8| {
        config.keyring(Some(Keyring::new(key(1), []).expect("a ring")));
        let seed = Seed::from_u64(u64::from(host));
        Node::new(Instant::ORIGIN, config, services, seed, NonceSecret::new([host; 32])).expect("a node")
    };
    let (config, services) =
        Config::consul_client("a", addr(1), &ConsulClient::new("dc1", ID)).expect("a configuration");
    let client = sealed(config, services, 1);
    let mut services = ServiceConfig::default();
    let server = [("role", "consul"), ("dc", "dc1"), ("id", OTHER_ID), ("vsn", "2"), ("port", "8300")];
    services.serf_protocol(4).tags(server.map(|(tag, value)| (Bytes::from(tag), Bytes::from(value))).into());
    let server = sealed(Config::lan("server", addr(2)), services, 2);
    let mut net = Net::new([client, server]);
    net.join(0, 1);
    net.run_ms(3000);
    let commands =
        [KeyCommand::Install(key(2)), KeyCommand::Use(key(2)), KeyCommand::Remove(key(1)), KeyCommand::List];
    for command in commands {
        let now = net.now;
        let operation = net.host(1).machine.keys(now, &command, 0).expect("a question");
        net.run_while(Duration::from_secs(20), |net| net.outcome(1, operation).is_none());
        let Some(Outcome::Keys(report)) = net.outcome(1, operation) else { panic!("{command:?}") };
        assert_eq!((report.nodes, report.responses, report.errors), (2, 2, 0), "{command:?}: {report:?}");
        if command == KeyCommand::List {
            assert_eq!(report.keys, [(key(2), 2)]);
        }
    }
    net.run_ms(5000);
    assert_eq!((net.status(0, "server"), net.status(1, "a")), (Some(Status::Alive), Some(Status::Alive)));
    assert!(net.hosts.iter().all(|host| host.machine.stats().dropped_seal == 0));
}

/// serf.md 13.9, point 5: the intent first, then at least 3 s in which probes are answered.
#[test]
fn a_leave_takes_its_time_and_is_seen_as_one() {
    let mut net = Net::new([client("a", 1, "dc1", ID), client("b", 2, "dc1", OTHER_ID)]);
    net.join(1, 0);
    net.run_ms(5000);
    let begun = net.now;
    let operation = net.host(1).machine.leave(begun).expect("a leave");
    net.run_while(Duration::from_secs(20), |net| net.outcome(1, operation).is_none());
    assert!(net.now.saturating_duration_since(begun) >= Duration::from_secs(3));
    assert_eq!(net.status(0, "b"), Some(Status::Left));
    let ping = message(MessageType::Ping, |bytes| {
        wire::message::Ping { seq: 1, ..Default::default() }.encode(bytes)
    });
    let now = net.now;
    hear(&mut net.host(1).machine, now, addr(1), &ping);
    assert!(net.host(1).machine.poll_transmit(now, &mut [0; 1400]).is_some(), "still answers");
}

/// serf.md 13.9, point 8, and 13.1: a failed node is kept for 72 hours, unless its tag says otherwise (13.5).
// upstream: TestSerf_perNodeReconnectTimeout
#[test]
fn the_failed_are_kept_for_three_days_or_as_they_ask() {
    let mut node = client("a", 1, "dc1", ID);
    let tags = [("role", "node"), ("dc", "dc1"), ("id", OTHER_ID)];
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("b", 2, 1, &tags));
    let minutes =
        [&tags[..2], &[("id", "5f9a2d1c-7b1e-4f0a-9c57-000000000000"), ("rc_tm", "10m0s")]].concat();
    hear(&mut node, Instant::ORIGIN, addr(2), &alive("passing", 3, 1, &minutes));
    for name in ["b", "passing"] {
        hear(&mut node, Instant::ORIGIN, addr(2), &dead(name, 1, "a"));
    }
    let listed_at = |node: &mut Node, at: Duration, name: &str| {
        let at = Instant::ORIGIN + at;
        while let Some(due) = node.poll_timeout().filter(|due| *due <= at) {
            node.handle_timeout(due);
            while node.poll_transmit(due, &mut [0; 1400]).is_some() {}
            while let Some(action) = node.poll_stream() {
                if let StreamAction::Open { id, .. } = action {
                    node.handle_stream_failed(due, id, StreamFailure::Unreachable);
                }
            }
        }
        node.find(name.as_bytes()).map(|member| member.status)
    };
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let minute = Duration::from_secs(60);
    assert_eq!(listed_at(&mut node, 9 * minute, "passing"), Some(Status::Failed));
    assert_eq!(listed_at(&mut node, 11 * minute, "passing"), None);
    assert_eq!(listed_at(&mut node, hours(72) - minute, "b"), Some(Status::Failed));
    assert_eq!(listed_at(&mut node, hours(72) + minute, "b"), None);
}

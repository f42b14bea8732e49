//! What transports tell a machine beside bytes: identities, paths, packets that left late; and who is admitted.
use crate::support;

use bytes::Bytes;
use core::time::Duration;
use gossip_proto::wire::message::MessageType;
use gossip_proto::wire::serf::encode_tags;
use gossip_proto::*;
use support::node::*;

fn under(script: &mut Script, host: u8, identity: Option<u64>, bytes: &[u8]) {
    let source = Source { addr: addr(host), identity: identity.map(IdentityId) };
    script.machine.handle_datagram(script.now, source, &mut bytes.to_vec()).unwrap();
}

fn status(script: &Script, name: &str) -> Option<Status> {
    script.machine.find(name.as_bytes()).map(|member| member.status)
}

#[test]
fn what_a_member_says_of_itself_needs_its_identity() {
    let mut script = Script::new(|config| {
        config.identities(true);
    });
    under(&mut script, 2, None, &plain_alive("b", 2, 1));
    assert_eq!((status(&script, "b"), script.machine.stats().identity_refused), (None, 1));
    under(&mut script, 2, Some(7), &plain_alive("b", 2, 1));
    assert_eq!(status(&script, "b"), Some(Status::Alive));
    // Another one at the same address, with another key.
    under(&mut script, 2, Some(8), &dead("b", 1, "b"));
    under(&mut script, 2, Some(8), &plain_alive("b", 2, 5));
    assert_eq!((status(&script, "b"), script.machine.stats().identity_refused), (Some(Status::Alive), 3));
    assert_eq!(script.machine.find(b"b").unwrap().incarnation, 1);
    under(&mut script, 2, Some(7), &dead("b", 1, "b"));
    assert_eq!(status(&script, "b"), Some(Status::Left));
}

#[test]
fn hearsay_needs_no_identity_of_the_member() {
    let mut script = Script::new(|config| {
        config.identities(true);
    });
    under(&mut script, 3, Some(3), &plain_alive("b", 2, 1));
    assert_eq!((status(&script, "b"), script.machine.stats().identity_refused), (Some(Status::Alive), 0));
}

#[test]
fn packets_keep_to_the_path() {
    let mut script = Script::new(|config| {
        config.gossip_interval(Duration::from_millis(200)).probe_interval(Duration::ZERO);
    });
    script.hear(&plain_alive("b", 2, 1));
    script.machine.handle_path(script.now, addr(2), 600);
    for host in 10..60 {
        script.hear(&plain_alive(&format!("member-{host}"), host, 1));
    }
    let b = script.machine.find(b"b").unwrap().key;
    let refused = script.machine.send(script.now, b, vec![0; 600].into()).unwrap_err();
    let CommandError::TooBig { len: 600, max, limit: "one datagram" } = refused else {
        panic!("{refused:?}")
    };
    assert!((590..600).contains(&max), "{max}");
    script.machine.send(script.now, b, vec![0; max].into()).unwrap();
    let (mut to_b, mut longest) = (0, 0);
    let mut buf = [0; 1400];
    while let Some(at) = script.machine.poll_timeout() {
        script.now = at;
        script.machine.handle_timeout(script.now);
        while let Some(transmit) = script.machine.poll_transmit(script.now, &mut buf) {
            if transmit.to == addr(2) {
                assert!(transmit.len <= 600, "{} bytes", transmit.len);
                to_b = to_b.max(transmit.len);
            } else {
                longest = longest.max(transmit.len);
            }
        }
    }
    assert!(to_b > 500 && longest > 1200, "packets are filled: {to_b} and {longest}");
}

#[test]
fn a_ping_that_left_late_is_still_answered() {
    let mut script = Script::new(|_| {});
    script.hear(&plain_alive("b", 2, 1));
    script.drain(addr(2));
    let sent = loop {
        script.next();
        if let Some(sent) = script.one() {
            break sent;
        }
    };
    assert_eq!(sent.kinds()[0], MessageType::Ping);
    script.machine.handle_transmit_delayed(script.now, sent.id);
    let seq = sent.ping().seq;
    script.datagram(addr(2), &ack(seq)).unwrap();
    assert_eq!((script.machine.stats().probes_succeeded, status(&script, "b")), (1, Some(Status::Alive)));
}

/// the clock of a ping starts when it is handed out, not when the application asks and not after it was sent; so
/// neither the wait for the socket nor a slow send shows, and the time is never negative.
#[test]
fn a_ping_that_left_late_has_a_round_trip_of_its_own() {
    let mut script = Script::new(|config| {
        config.probe_interval(Duration::ZERO);
    });
    script.hear(&plain_alive("b", 2, 1));
    script.drain(addr(2));
    let key = script.key("b");
    for (waits, takes) in [(0, 7), (400, 7), (400, 0)] {
        let operation = script.machine.ping(script.now, key).unwrap();
        script.now += Duration::from_millis(waits);
        let seq = script.one().unwrap().ping().seq;
        script.now += Duration::from_millis(takes);
        script.datagram(addr(2), &ack(seq)).unwrap();
        let outcome = Outcome::Ping { rtt: Some(Duration::from_millis(takes)) };
        assert_eq!(script.machine.poll_completion(), Some(Completion::Ended { operation, outcome }));
    }
}

// upstream: TestCreate, TestDefaultLANConfig_protocolVersion, TestMemberlistProtocolVersion
#[test]
fn a_fresh_node_lists_itself_with_its_versions() {
    for preset in [Config::lan, Config::wan, Config::local] {
        let made = |version: Option<u8>| {
            let mut config = preset(Name::from("self"), addr(1));
            version.map(|version| config.protocol_version(version));
            machine(config, 1)
        };
        let fresh = made(None);
        let members: Vec<_> = fresh.members().collect();
        assert_eq!((members.len(), members[0].name, members[0].addr), (1, &Name::from("self"), addr(1)));
        assert_eq!((members[0].versions, members[0].status), ([1, 5, 2, 0, 0, 0], Status::Alive));
        assert_eq!(made(Some(4)).local().versions, [1, 5, 4, 0, 0, 0]);
    }
}

// upstream: TestCreate_secretKeyEmpty, TestCreate_keyringOnly
#[test]
fn a_ring_seals_once_it_has_a_key() {
    let key = wire::keyring::Key::new(&[7; 16]).expect("a key");
    let ring = wire::keyring::Keyring::new(key, []).expect("a ring");
    for (ring, sealed) in [(wire::keyring::Keyring::empty(), false), (ring, true)] {
        let mut script = Script::new(|config| {
            config.keyring(Some(ring)).verify_incoming(false);
        });
        script.datagram(addr(2), &ping(1, "self", "b", addr(2))).unwrap();
        let mut buf = [0; 1400];
        let transmit = script.machine.poll_transmit(script.now, &mut buf).expect("an ack");
        // Sealed, it begins with the version of the seal.
        assert_eq!(buf[0] == 1 && transmit.len > 40, sealed);
        let installed = script.machine.install_key(script.now, &[8; 16]);
        assert_eq!(installed.is_ok(), sealed, "{installed:?}");
    }
}

fn tags(tags: &[(&str, &str)]) -> Vec<u8> {
    let mut metadata = Vec::new();
    encode_tags(&mut metadata, tags.iter().copied()).unwrap();
    metadata
}

fn tagged(name: &str, host: u8, incarnation: u32, with: &[(&str, &str)]) -> Vec<u8> {
    let meta = tags(with);
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta: &meta, vsn: &PLAIN }.encode()
}

#[test]
fn members_must_keep_the_admission_rules() {
    let dc = |value: &'static str| Admission::TagEquals(Bytes::from("dc"), Bytes::from(value));
    let mut script = Script::new(|config| {
        config.metadata(tags(&[("dc", "east"), ("id", "1")]).into());
        config.admission(vec![dc("east"), Admission::TagRequired(Bytes::from("id"))]);
    });
    script.hear(&tagged("west", 2, 1, &[("dc", "west"), ("id", "2")]));
    script.hear(&tagged("nobody", 3, 1, &[("dc", "east")]));
    script.hear(&tagged("east", 4, 1, &[("dc", "east"), ("id", "4")]));
    script.hear(&tagged("anywhere", 5, 1, &[("id", "5")]));
    let names: Vec<_> = script.machine.members().map(|member| member.name.to_string()).collect();
    assert_eq!(names, ["self", "east", "anywhere"]);
    assert_eq!(script.machine.stats().admission_refused, 2);
    // A member that would stop keeping them is not believed.
    script.hear(&tagged("east", 4, 2, &[("dc", "west"), ("id", "4")]));
    assert_eq!(script.machine.find(b"east").unwrap().incarnation, 1);
}

#[test]
fn a_node_that_breaks_its_own_rules_does_not_start() {
    let mut config = Config::lan("self", addr(1));
    config.admission(vec![Admission::TagRequired(Bytes::from("id"))]);
    let made = Membership::new(Instant::ORIGIN, config, Seed::from_u64(1), NonceSecret::new([0; 32]));
    assert_eq!(made.err(), Some(ConfigError::ExcludedByAdmission));
    // Nor does it come to break them.
    let mut script = Script::new(|config| {
        config.metadata(tags(&[("id", "1")]).into());
        config.admission(vec![Admission::TagRequired(Bytes::from("id"))]);
    });
    let refused = script.machine.set_metadata(script.now, tags(&[]).into());
    assert_eq!(refused, Err(ConfigError::ExcludedByAdmission.into()));
    assert!(script.machine.set_metadata(script.now, tags(&[("id", "2")]).into()).is_ok());
}

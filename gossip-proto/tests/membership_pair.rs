//! Two and three nodes over a virtual network: joining, leaving, dying, coming back.
use crate::support;

use core::time::Duration;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::wire::layers::Compression;
use gossip_proto::*;
use support::node::{addr, membership, membership_with};
use support::pair::{Fate, Net, Note};

const JOINED: Outcome = Outcome::Joined { contacted: 1, failed: vec![] };

fn ring(keys: &[u8]) -> Option<Keyring> {
    let key = |byte: u8| Key::new(&[byte; 16]).unwrap();
    Some(Keyring::new(key(keys[0]), keys[1..].iter().map(|&byte| key(byte))).unwrap())
}

fn pair() -> Net<Membership> {
    Net::new([membership("a", 1), membership("b", 2)])
}

/// Two members that know each other and have told each other all news.
fn joined_with(configure: impl Fn(&mut Config)) -> Net<Membership> {
    let mut net = Net::new([membership_with("a", 1, &configure), membership_with("b", 2, &configure)]);
    assert_eq!(net.join(1, 0), JOINED);
    net.run_ms(5000);
    net.notes(0);
    net.notes(1);
    net
}

fn joined() -> Net<Membership> {
    joined_with(|_| {})
}

fn sizes(net: &Net<Membership>) -> Vec<usize> {
    net.hosts.iter().map(|host| host.machine.num_alive()).collect()
}

// upstream: TestMemberlist_Join, TestTransport_Join, TestMemberList_CreateShutdown, TestTCPPushPull
#[test]
fn a_join_makes_two_members_on_both_sides() {
    let mut net = pair();
    assert_eq!(net.join(1, 0), JOINED);
    assert_eq!(sizes(&net), [2, 2]);
    for host in 0..2 {
        assert_eq!(
            (net.status(host, "a"), net.status(host, "b")),
            (Some(Status::Alive), Some(Status::Alive))
        );
    }
    assert_eq!(net.changes(0, "b"), [ChangeKind::Joined]);
    assert_eq!(net.changes(1, "a"), [ChangeKind::Joined]);
    assert_eq!(net.hosts[0].machine.stats().exchanges_answered, 1);
}

// upstream: TestMemberlist_Join_with_Labels, TestMemberlist_Join_with_Labels_and_Encryption, TestTransport_Send
#[test]
fn every_combination_of_layers_joins_probes_and_gossips() {
    for (label, keys, compression) in combinations(
        &["", "blue"],
        &[&[][..], &[1]],
        &[Compression::Off, Compression::Streams, Compression::All],
    ) {
        let mut net = joined_with(|config| {
            config.label(label.as_bytes().into()).compression(compression);
            if !keys.is_empty() {
                config.keyring(ring(keys));
            }
        });
        assert_eq!(sizes(&net), [2, 2]);
        let now = net.now;
        let to = net.hosts[0].machine.find(b"b").unwrap().key;
        net.host(0).machine.send(now, to, "datagram".into()).unwrap();
        let reliable = net.host(0).machine.send_reliable(now, to, "stream".into()).unwrap();
        let ping = net.host(0).machine.ping(now, to).unwrap();
        let update = net.host(1).machine.set_metadata(now, "new".into()).unwrap();
        net.run_ms(4000);
        assert_eq!(net.outcome(0, reliable), Some(&Outcome::Sent(Ok(()))));
        assert_eq!(net.outcome(0, ping), Some(&Outcome::Ping { rtt: Some(Duration::from_millis(2)) }));
        assert_eq!(net.outcome(1, update), Some(&Outcome::Announced { in_time: true }));
        assert_eq!(net.hosts[0].machine.find(b"b").unwrap().metadata, b"new");
        let messages: Vec<_> =
            net.notes(1).into_iter().filter(|note| matches!(note, Note::Message { .. })).collect();
        let message = |reliable, payload: &str| Note::Message {
            from: addr(1),
            reliable,
            payload: payload.as_bytes().to_vec(),
        };
        assert_eq!(messages.len(), 2);
        assert!(
            messages.contains(&message(false, "datagram")) && messages.contains(&message(true, "stream"))
        );
        for host in &net.hosts {
            let stats = host.machine.stats();
            assert!(stats.probes_succeeded > 3 && stats.probes_failed == 0, "{label} {keys:?} {stats:?}");
            assert_eq!(
                stats.dropped_decode + stats.dropped_malformed + stats.dropped_seal + stats.dropped_label,
                0
            );
        }
    }
}

fn combinations<A: Copy, B: Copy, C: Copy>(a: &[A], b: &[B], c: &[C]) -> Vec<(A, B, C)> {
    a.iter().flat_map(|&a| b.iter().flat_map(move |&b| c.iter().map(move |&c| (a, b, c)))).collect()
}

#[test]
fn nodes_of_other_clusters_do_not_join() {
    let cases: [(&str, Option<Keyring>, &str, Option<Keyring>); 4] = [
        ("blue", None, "", None),
        ("blue", None, "red", None),
        ("", ring(&[1]), "", None),
        ("", ring(&[1]), "", ring(&[2])),
    ];
    for (label_a, ring_a, label_b, ring_b) in cases {
        let a = membership_with("a", 1, |config| {
            config.label(label_a.as_bytes().into()).keyring(ring_a.clone());
        });
        let b = membership_with("b", 2, |config| {
            config.label(label_b.as_bytes().into()).keyring(ring_b.clone());
        });
        let mut net = Net::new([a, b]);
        for (host, through) in [(1, 0), (0, 1)] {
            let Outcome::Joined { contacted: 0, failed } = net.join(host, through) else { panic!("joined") };
            assert_eq!(failed.len(), 1);
            assert_eq!(failed[0].0, addr(1 + through as u8));
        }
        assert_eq!(sizes(&net), [1, 1]);
    }
}

// upstream: TestMemberlist_EncryptedGossipTransition
#[test]
fn encryption_is_rolled_out_in_three_steps() {
    // Who has keys but does not insist reads plain nodes and is read by those that know the key.
    let step = |verify_incoming, verify_outgoing| {
        move |config: &mut Config| {
            config.keyring(ring(&[1])).verify_incoming(verify_incoming).verify_outgoing(verify_outgoing);
        }
    };
    let plain = |_: &mut Config| {};
    let joins = |a: Membership, b: Membership| {
        let mut net = Net::new([a, b]);
        net.join(1, 0) == JOINED && {
            net.run_ms(3000);
            sizes(&net) == [2, 2]
        }
    };
    assert!(joins(membership_with("a", 1, plain), membership_with("b", 2, step(false, false))));
    assert!(joins(membership_with("a", 1, step(false, false)), membership_with("b", 2, step(false, true))));
    assert!(joins(membership_with("a", 1, step(false, true)), membership_with("b", 2, step(true, true))));
    assert!(!joins(membership_with("a", 1, step(true, true)), membership_with("b", 2, plain)));
}

// upstream: TestMemberlist_Leave
#[test]
fn who_leaves_is_told_apart_from_who_fails() {
    let mut net = joined();
    let now = net.now;
    let leave = net.host(0).machine.leave(now).unwrap();
    net.run_ms(3000);
    assert_eq!(net.outcome(0, leave), Some(&Outcome::Left { announced: true }));
    assert_eq!(sizes(&net), [1, 1]);
    assert_eq!((net.status(1, "a"), net.status(0, "a")), (Some(Status::Left), Some(Status::Left)));
    let left = net.notes(1).into_iter().find(|note| matches!(note, Note::Change { .. }));
    assert_eq!(left, Some(Note::Change { name: "a".into(), kind: ChangeKind::Left, cause: Cause::Farewell }));
    let now = net.now;
    assert_eq!(net.host(0).machine.leave(now), Err(CommandError::LeaveInProgress));
    assert_eq!(net.host(0).machine.join(now, &[addr(2).into()]), Err(CommandError::Left));
    net.run_ms(60_000);
    assert_eq!(net.status(1, "a"), None, "forgotten");
    assert_eq!(net.status(0, "a"), Some(Status::Left), "but it remembers itself (Q-27)");
}

#[test]
fn alone_a_leave_is_over_at_once() {
    let mut net = Net::new([membership("a", 1)]);
    let leave = net.host(0).machine.leave(Instant::ORIGIN).unwrap();
    net.settle();
    assert_eq!(net.outcome(0, leave), Some(&Outcome::Left { announced: true }));
}

#[test]
fn a_leave_that_nobody_hears_ends_in_time() {
    let mut net = joined();
    let now = net.now;
    // No packet leaves either, as on a socket that stays full.
    let leave = net.host(0).machine.leave(now).unwrap();
    let mut machine = net.hosts.remove(0).machine;
    machine.handle_timeout(now + Duration::from_secs(5));
    let completion = machine.poll_completion().unwrap();
    assert_eq!(completion.ended(), Some((leave, Outcome::Left { announced: false })));
}

// upstream: TestMemberlist_JoinShutdown
#[test]
fn a_crash_is_found_out_by_probing() {
    let mut net = joined();
    net.host(0).down = true;
    net.run_ms(10_000);
    assert_eq!(net.changes(1, "a"), [ChangeKind::Suspected, ChangeKind::Failed]);
    assert_eq!(net.status(1, "a"), Some(Status::Failed));
}

///
#[test]
fn a_restart_under_the_same_name_outbids_what_was_known() {
    for leaves in [false, true] {
        let mut net = joined();
        for _ in 0..5 {
            let now = net.now;
            net.host(0).machine.set_metadata(now, format!("{now}").into()).unwrap();
            net.run_ms(1000);
        }
        if leaves {
            let now = net.now;
            net.host(0).machine.leave(now).unwrap();
        }
        net.run_ms(1000);
        let known = net.hosts[1].machine.find(b"a").unwrap().incarnation;
        assert_eq!(known, 6);
        net.host(0).machine = membership("a", 1);
        net.notes(0);
        assert_eq!(net.join(0, 1), JOINED);
        net.run_ms(3000);
        assert_eq!(sizes(&net), [2, 2]);
        let a = net.hosts[1].machine.find(b"a").unwrap();
        assert!(a.incarnation > known && a.metadata.is_empty() && a.status == Status::Alive, "{a:?}");
    }
}

// upstream: TestMemberlist_delegateMeta, TestMemberlist_delegateMeta_Update
#[test]
fn metadata_is_seen_and_changed_everywhere() {
    let mut net = joined_with(|config| {
        config.metadata("first".into());
    });
    assert_eq!(net.hosts[1].machine.find(b"a").unwrap().metadata, b"first");
    let now = net.now;
    let update = net.host(0).machine.set_metadata(now, "second".into()).unwrap();
    let too_long = net.host(0).machine.set_metadata(now, vec![0; 513].into());
    assert_eq!(too_long, Err(CommandError::Config(ConfigError::MetadataTooLong { len: 513 })));
    net.run_ms(3000);
    assert_eq!(net.outcome(0, update), Some(&Outcome::Announced { in_time: true }));
    assert_eq!(net.hosts[1].machine.find(b"a").unwrap().metadata, b"second");
    assert_eq!(net.changes(1, "a"), [ChangeKind::Updated]);
}

// upstream: TestMemberlist_UserData
#[test]
fn user_messages_and_state_arrive() {
    let mut net = pair();
    net.host(0).machine.set_user_state("state of a".into()).unwrap();
    net.host(1).machine.set_user_state("state of b".into()).unwrap();
    assert_eq!(net.join(1, 0), JOINED);
    assert!(net.notes(0).contains(&Note::UserState { join: true, state: b"state of b".to_vec() }));
    assert!(net.notes(1).contains(&Note::UserState { join: true, state: b"state of a".to_vec() }));
    let now = net.now;
    for byte in 0..=255 {
        net.host(0).machine.broadcast(now, vec![byte].into()).unwrap();
    }
    net.run_ms(5000);
    let mut seen = [false; 256];
    for note in net.notes(1) {
        if let Note::Message { payload, reliable: false, .. } = note {
            seen[usize::from(payload[0])] = true;
        }
    }
    assert!(seen.iter().all(|&seen| seen));
    let done = net
        .notes(0)
        .iter()
        .filter(|note| matches!(note, Note::Done { outcome: Outcome::Announced { in_time: true }, .. }))
        .count();
    assert_eq!(done, 256);
    net.run_ms(60_000);
    assert!(net.notes(1).contains(&Note::UserState { join: false, state: b"state of a".to_vec() }));
}

#[test]
fn a_user_state_that_no_peer_would_take_is_refused() {
    let mut machine = membership("a", 1);
    let refused = machine.set_user_state(vec![0; 21 << 20].into());
    let Err(CommandError::TooBig { max, limit: "a user state", .. }) = refused else { panic!("taken") };
    assert!(machine.set_user_state(vec![0; max + 1].into()).is_err());
    assert_eq!(machine.set_user_state(vec![0; max].into()), Ok(()), "the longest one");
}

// upstream: TestMemberlist_SendTo
#[test]
fn messages_too_long_for_their_path_are_refused_at_once() {
    let mut net = joined();
    let now = net.now;
    let to = net.hosts[0].machine.find(b"b").unwrap().key;
    let machine = &mut net.host(0).machine;
    let Err(CommandError::TooBig { max, .. }) = machine.send(now, to, vec![0; 3000].into()) else {
        panic!("taken")
    };
    assert!((1380..1400).contains(&max));
    machine.send(now, to, vec![7; max].into()).unwrap();
    net.settle();
    let machine = &mut net.host(0).machine;
    assert!(matches!(machine.broadcast(now, vec![0; 1400].into()), Err(CommandError::TooBig { .. })));
    machine.handle_path(now, addr(2), 600);
    assert_eq!(
        machine.send(now, to, vec![0; max].into()),
        Err(CommandError::TooBig { len: max, max: max - 800, limit: "one datagram" })
    );
    net.run_ms(100);
    assert!(
        net.notes(1).iter().any(|note| matches!(note, Note::Message { payload, .. } if payload.len() == max))
    );
}

// upstream: TestMemberlist_Join_DeadNode
#[test]
fn a_join_to_nobody_fails_in_time() {
    let mut net = pair();
    net.black_holes.push(addr(1));
    let failed = |why| Outcome::Joined { contacted: 0, failed: vec![(addr(1), JoinFailure::Stream(why))] };
    assert_eq!(net.join(1, 0), failed(StreamFailure::TimedOut));
    assert_eq!(net.now, Instant::from_millis(10_000));
    net.black_holes.clear();
    net.no_streams.push(addr(1));
    assert_eq!(net.join(1, 0), failed(StreamFailure::Unreachable));
    let now = net.now;
    assert_eq!(net.host(1).machine.join(now, &[]), Err(CommandError::NoTargets));
}

///
#[test]
fn all_targets_of_a_join_are_tried() {
    let mut net = Net::new([membership("a", 1), membership("b", 2), membership("c", 3)]);
    let operation = net
        .host(2)
        .machine
        .join(Instant::ORIGIN, &[addr(1).into(), addr(99).into(), addr(2).into()])
        .unwrap();
    net.run_ms(100);
    let unreachable = JoinFailure::Stream(StreamFailure::Unreachable);
    assert_eq!(
        net.outcome(2, operation),
        Some(&Outcome::Joined { contacted: 2, failed: vec![(addr(99), unreachable)] })
    );
    net.run_ms(3000);
    assert_eq!(sizes(&net), [3, 3, 3]);
}

// upstream: TestMemberlist_Join_Cancel
#[test]
fn a_merge_is_asked_for_answered_or_decided_in_time() {
    for (answer, default, joins) in [
        (Some(true), Answer::Refuse, true),
        (Some(false), Answer::Accept, false),
        (None, Answer::Accept, true),
        (None, Answer::Refuse, false),
    ] {
        let asks = membership_with("a", 1, |config| {
            config.ask_before_merge(true).merge_default(default);
        });
        let brings = membership_with("b", 2, |config| {
            config.metadata(b"meta of b".as_slice().into());
        });
        let mut net = Net::new([asks, brings]);
        let operation = net.host(1).machine.join(Instant::ORIGIN, &[addr(1).into()]).unwrap();
        net.run_ms(100);
        let notes = net.notes(0);
        let asked = notes.iter().find_map(|note| match note {
            Note::MergeRequested { id, members, deadline } => Some((*id, *members, *deadline)),
            _ => None,
        });
        let (id, members, deadline) = asked.expect("a question");
        assert_eq!((members, deadline), (1, Instant::from_millis(5000)));
        let brought = net.host(0).machine.merge_members(id).collect::<Vec<_>>();
        assert_eq!(brought.len(), 1);
        assert_eq!((&brought[0].name, brought[0].addr), (&Name::from("b"), addr(2)));
        assert_eq!((brought[0].status, &*brought[0].metadata), (Status::Alive, &b"meta of b"[..]));
        assert!(net.outcome(1, operation).is_none());
        let now = net.now;
        match answer {
            Some(true) => net.host(0).machine.accept(now, id).unwrap(),
            Some(false) => net.host(0).machine.refuse(now, id).unwrap(),
            None => net.run_ms(4900),
        }
        net.run_ms(1000);
        let outcome = net.outcome(1, operation).expect("an outcome").clone();
        if joins {
            assert_eq!(outcome, JOINED, "{answer:?} {default:?}");
            assert_eq!(sizes(&net), [2, 2]);
        } else {
            let Outcome::Joined { contacted: 0, failed } = outcome else { panic!("{outcome:?}") };
            assert!(
                matches!(&failed[0].1, JoinFailure::Remote(text) if text.contains("refused")),
                "{failed:?}"
            );
            assert_eq!(sizes(&net), [1, 1]);
        }
        let now = net.now;
        assert_eq!(net.host(0).machine.merge_members(id).collect::<Vec<_>>(), []);
        assert_eq!(net.host(0).machine.accept(now, id), Err(CommandError::UnknownRequest));
    }
}

// upstream: TestMemberlist_Join_protocolVersions, TestMemberlist_Join_Protocol_Compatibility, TestCreate_protocolVersion
#[test]
fn protocol_versions_that_overlap_join() {
    for (a, b) in [(2, 1), (2, 3), (3, 2), (3, 1), (2, 5), (5, 5)] {
        let version = |version| move |config: &mut Config| drop_ref(config.protocol_version(version));
        let mut net = Net::new([membership_with("a", 1, version(a)), membership_with("b", 2, version(b))]);
        assert_eq!(net.join(1, 0), JOINED, "{a} {b}");
        net.run_ms(5000);
        assert_eq!(sizes(&net), [2, 2], "{a} {b}");
    }
}

fn drop_ref(_: &mut Config) {}

#[test]
fn versions_that_do_not_overlap_are_refused_with_a_reason() {
    let delegate = |versions| move |config: &mut Config| drop_ref(config.delegate_versions(versions));
    let mut net = Net::new([
        membership_with("a", 1, delegate([2, 5, 4])),
        membership_with("b", 2, delegate([0, 1, 1])),
    ]);
    let Outcome::Joined { contacted: 0, failed } = net.join(1, 0) else { panic!("joined") };
    assert!(matches!(&failed[0].1, JoinFailure::Remote(text) if text.contains("versions")), "{failed:?}");
    assert_eq!(sizes(&net), [1, 1]);
}

// upstream: TestMemberlist_Join_IPv6, TestAdvertiseAddr
#[test]
fn nodes_may_live_at_ipv6() {
    let node = |name: &str, host: u16| {
        let at =
            core::net::SocketAddr::new(core::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into(), 7946);
        support::node::machine(Config::lan(name, at), u64::from(host))
    };
    let mut net = Net::new([node("a", 1), node("b", 2)]);
    assert_eq!(net.join(1, 0), JOINED);
    net.run_ms(10_000);
    assert_eq!(sizes(&net), [2, 2]);
    assert!(net.hosts.iter().all(|host| host.machine.stats().probes_failed == 0));
}

// upstream: TestMemberlist_PushPull, TestMemberList_MergeState
#[test]
fn an_exchange_mends_what_gossip_lost() {
    let mut net = joined();
    let third = membership("c", 3);
    net.hosts.push(support::pair::Host { addr: addr(3), machine: third, notes: vec![], down: false });
    // c joins through a; what is said about it to b gets lost, as does what it says itself.
    net.fate(|from, to, bytes| {
        let is_rumor = bytes.windows(2).any(|pair| pair == b"\xa1c");
        if is_rumor && (from, to) == (addr(1), addr(2)) { Fate::Lose } else { Fate::Deliver }
    });
    assert_eq!(net.join(2, 0), JOINED);
    net.run_ms(100);
    net.run_ms(70_000);
    assert_eq!(net.status(1, "c"), Some(Status::Alive));
}

#[test]
fn a_one_way_loss_does_not_kill() {
    // a does not hear b directly; c relays.
    let mut net = Net::new([membership("a", 1), membership("b", 2), membership("c", 3)]);
    assert_eq!(net.join(1, 0), JOINED);
    assert_eq!(net.join(2, 0), JOINED);
    net.run_ms(5000);
    net.no_streams.push(addr(2));
    net.fate(|from, to, _| if (from, to) == (addr(2), addr(1)) { Fate::Lose } else { Fate::Deliver });
    net.run_ms(120_000);
    assert_eq!(sizes(&net), [3, 3, 3]);
    assert!(net.hosts[2].machine.stats().relays > 10);
    assert_eq!(net.hosts[0].machine.stats().probes_failed, 0);
}

#[test]
fn no_datagrams_at_all_are_bridged_by_streams() {
    let mut net = joined();
    net.fate(|_, _, _| Fate::Lose);
    net.run_ms(60_000);
    assert_eq!(sizes(&net), [2, 2]);
    assert!(net.hosts[0].machine.stats().probes_saved_by_stream > 10);
}

#[test]
fn stream_bytes_may_come_in_any_pieces() {
    for chunk in [1, 2, 7, 100] {
        let mut net = Net::new([
            membership_with("a", 1, |config| drop_ref(config.keyring(ring(&[1])))),
            membership_with("b", 2, |config| drop_ref(config.keyring(ring(&[1])))),
        ]);
        net.chunk = chunk;
        assert_eq!(net.join(1, 0), JOINED);
        assert_eq!(sizes(&net), [2, 2]);
    }
}

/// W-14: with every layer on, no datagram is longer than configured; the network checks each.
#[test]
fn the_datagram_bound_is_true() {
    for size in [400, 1400, 9000] {
        let mut net = joined_with(|config| {
            config.max_datagram(size).label(b"blue".as_slice().into()).keyring(ring(&[1]));
        });
        let now = net.now;
        for n in 0..200u8 {
            net.host(0).machine.broadcast(now, vec![n; 1 + usize::from(n)].into()).unwrap();
        }
        net.run_ms(20_000);
        let got = net.notes(1).iter().filter(|note| matches!(note, Note::Message { .. })).count();
        assert!(got >= 200, "{size}: {got}");
        assert!(net.log.iter().any(|(.., bytes)| bytes.len() > size - 200));
    }
}

#[test]
fn keys_rotate_while_the_cluster_runs() {
    let mut net = joined_with(|config| drop_ref(config.keyring(ring(&[1]))));
    let now = net.now;
    for host in 0..2 {
        net.host(host).machine.install_key(now, &[2; 16]).unwrap();
    }
    for host in 0..2 {
        let now = net.now;
        net.host(host).machine.use_key(now, &[2; 16]).unwrap();
        net.run_ms(3000);
    }
    for host in 0..2 {
        let now = net.now;
        assert!(matches!(net.host(host).machine.remove_key(now, &[2; 16]), Err(CommandError::Keyring(_))));
        net.host(host).machine.remove_key(now, &[1; 16]).unwrap();
        net.run_ms(3000);
    }
    assert_eq!(sizes(&net), [2, 2]);
    assert!(net.hosts.iter().all(|host| host.machine.stats().dropped_seal == 0));
    let mut plain = membership("p", 9);
    assert_eq!(plain.install_key(Instant::ORIGIN, &[1; 16]), Err(CommandError::NotSealed));
}

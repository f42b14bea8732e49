//! What one node believes, told by hearsay (spec 4.3 to 4.7).
use crate::support;

use core::time::Duration;
use gossip_proto::*;
use support::node::*;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn quiet() -> Script {
    quiet_with(|_| {})
}

/// A node without periodic timers that knows b at host 2.
fn quiet_with(configure: impl FnOnce(&mut Config)) -> Script {
    let mut script = Script::new(|config| {
        config.probe_interval(Duration::ZERO);
        configure(config);
    });
    script.hear(&plain_alive("b", 2, 5));
    script.drain(addr(2));
    script.changes();
    script
}

fn told(name: &str, kind: ChangeKind) -> Vec<(String, ChangeKind)> {
    vec![(name.into(), kind)]
}

fn with_meta(name: &str, host: u8, incarnation: u32, meta: &[u8]) -> Vec<u8> {
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta, vsn: &PLAIN }.encode()
}

// upstream: TestMemberList_AliveNode_NewNode
#[test]
fn a_new_member_joins_and_is_passed_on() {
    let mut script = quiet();
    script.hear(&plain_alive("c", 3, 1));
    assert_eq!(script.changes(), told("c", ChangeKind::Joined));
    assert_eq!(script.drain(addr(2)), [plain_alive("c", 3, 1)]);
}

// upstream: TestMemberList_AliveNode_SuspectNode
#[test]
fn a_suspect_is_revived_by_a_higher_incarnation_only() {
    let mut script = quiet();
    script.hear(&suspect("b", 5, "x"));
    assert_eq!(script.changes(), told("b", ChangeKind::Suspected));
    script.hear(&plain_alive("b", 2, 5));
    assert_eq!(script.status("b"), Some(Status::Suspect));
    script.hear(&plain_alive("b", 2, 6));
    assert_eq!(script.changes(), told("b", ChangeKind::Refuted));
    assert_eq!(script.drain(addr(2)), [plain_alive("b", 2, 6)]);
    assert_eq!(script.machine.poll_timeout(), None, "the suspicion is over");
}

// upstream: TestMemberList_AliveNode_Idempotent
#[test]
fn the_same_at_a_higher_incarnation_is_passed_on_but_no_news() {
    let mut script = quiet();
    let since = script.machine.find(b"b").unwrap().since;
    script.now += ms(10);
    script.hear(&plain_alive("b", 2, 6));
    assert!(script.changes().is_empty());
    assert_eq!(script.machine.find(b"b").unwrap().since, since);
    assert_eq!(script.drain(addr(2)).len(), 1);
    script.hear(&plain_alive("b", 2, 6));
    assert!(script.drain(addr(2)).is_empty());
}

// upstream: TestMemberList_AliveNode_ChangeMeta
#[test]
fn changed_metadata_is_an_update() {
    let mut script = quiet();
    script.hear(&with_meta("b", 2, 6, b"new"));
    assert_eq!(script.changes(), told("b", ChangeKind::Updated));
    assert_eq!(script.machine.find(b"b").unwrap().metadata, b"new");
}

// upstream: TestMemberList_AliveNode_Refute
#[test]
fn anothers_words_about_this_node_are_refuted() {
    let mut script = quiet();
    script.hear(&with_meta("self", 1, 1, b"not mine"));
    assert_eq!((script.incarnation("self"), script.machine.health()), (2, 1));
    assert_eq!(script.machine.local().metadata, b"");
    assert_eq!(script.drain(addr(2)), [alive("self", 1, 2)]);
    // Also when versions are missing or out of order: others may have taken it.
    for (incarnation, vsn) in [(2, &b""[..]), (3, &[1, 5, 9, 0, 0, 0]), (40, &[0; 3])] {
        script.hear(
            &AliveOf { name: "self", incarnation, addr: &[10, 0, 0, 1], port: 7946, meta: b"", vsn }.encode(),
        );
        assert_eq!(script.incarnation("self"), incarnation + 1);
    }
    assert_eq!(script.machine.local().versions, VSN);
    // And with more metadata than a node may have.
    script.hear(&with_meta("self", 1, 50, &[b'x'; 600]));
    assert_eq!((script.incarnation("self"), script.machine.local().metadata), (51, &b""[..]));
}

#[test]
fn own_words_coming_back_are_no_news() {
    let mut script = quiet();
    script.hear(&alive("self", 1, 1));
    assert_eq!((script.incarnation("self"), script.machine.health()), (1, 0));
    assert!(script.drain(addr(2)).is_empty());
}

// upstream: TestMemberList_AliveNode_Conflict, TestMemberlist_conflictDelegate
#[test]
fn a_name_at_two_addresses_is_a_conflict_until_it_may_be_reclaimed() {
    let mut script = quiet_with(|config| {
        config.dead_node_reclaim(ms(100));
    });
    script.hear(&plain_alive("b", 3, 9));
    assert!(script.changes().is_empty() && script.drain(addr(2)).is_empty());
    let events = script.events();
    assert!(events[0].contains("Conflict") && events[0].contains("10.0.0.3:7946"), "{events:?}");
    assert_eq!(script.machine.stats().conflicts, 1);
    script.hear(&dead("b", 5, "x"));
    script.now += ms(100);
    script.hear(&plain_alive("b", 3, 9));
    assert_eq!(script.status("b"), Some(Status::Failed), "not longer than the reclaim time");
    script.now += ms(1);
    script.hear(&plain_alive("b", 3, 2));
    assert_eq!(script.status("b"), Some(Status::Alive));
    assert_eq!(script.machine.find(b"b").unwrap().addr, addr(3));
}

// upstream: TestMemberList_DeadNodeLeft
#[test]
fn who_left_may_come_back_from_elsewhere_at_once() {
    let mut script = quiet();
    script.hear(&dead("b", 5, "b"));
    assert_eq!(script.changes(), told("b", ChangeKind::Left));
    assert_eq!(script.status("b"), Some(Status::Left));
    script.hear(&plain_alive("b", 2, 5));
    assert_eq!(script.status("b"), Some(Status::Left), "a replay at the old address");
    script.hear(&plain_alive("b", 3, 1));
    assert_eq!(script.changes(), told("b", ChangeKind::Joined));
    assert_eq!((script.incarnation("b"), script.machine.find(b"b").unwrap().addr), (1, addr(3)));
}

// upstream: TestMemberList_Members
#[test]
fn suspects_count_as_members_and_the_dead_do_not() {
    let mut script = quiet();
    script.hear(&plain_alive("c", 3, 1));
    script.hear(&plain_alive("d", 4, 1));
    script.hear(&suspect("b", 5, "x"));
    script.hear(&dead("c", 1, "x"));
    let mut counted: Vec<_> = script
        .machine
        .members()
        .filter(|member| matches!(member.status, Status::Alive | Status::Suspect))
        .map(|member| member.name.to_string())
        .collect();
    counted.sort();
    assert_eq!((counted, script.machine.num_alive()), (["b", "d", "self"].map(String::from).into(), 3));
    assert_eq!(script.status("c"), Some(Status::Failed), "still listed, as what it is");
}

// upstream: TestMemberList_SuspectNode_NoNode, TestMemberList_DeadNode_NoNode
#[test]
fn accusations_of_nobody_are_ignored() {
    let mut script = quiet();
    let before = script.machine.state_hash();
    script.hear(&suspect("x", 1, "y"));
    script.hear(&dead("x", 1, "y"));
    assert_eq!(script.machine.state_hash(), before);
}

// upstream: TestMemberList_SuspectNode, TestMemberList_SuspectNode_DoubleSuspect
#[test]
fn a_suspicion_ends_in_death() {
    let mut script = quiet_with(|config| {
        config.probe_interval(ms(1000));
    });
    // Probing is on, because the length of a suspicion is counted in its interval; nothing is probed for lack of polls.
    script.hear(&suspect("b", 5, "x"));
    assert_eq!(script.drain(addr(2)), [suspect("b", 5, "x")]);
    script.hear(&suspect("b", 5, "x"));
    assert!(script.drain(addr(2)).is_empty(), "nothing new");
    assert_eq!(script.changes(), told("b", ChangeKind::Suspected));
    while script.now < Instant::from_millis(3999) {
        let at = script.machine.poll_timeout().unwrap().min(Instant::from_millis(3999));
        script.at(at);
    }
    assert_eq!(script.status("b"), Some(Status::Suspect));
    script.at_ms(4000);
    assert_eq!(script.status("b"), Some(Status::Failed));
    let change = script.machine.poll_membership().unwrap();
    assert_eq!(change.kind, ChangeKind::Failed);
    assert_eq!(change.cause, Cause::Expired { accusers: vec![Name::from("x")].into(), after: ms(4000) });
}

// upstream: TestMemberList_ProbeNode_Suspect_Dogpile
#[test]
fn confirmations_shorten_a_suspicion() {
    for (nodes, confirmations, expected) in [
        (2, 0, 500),
        (3, 0, 500),
        (4, 0, 500),
        (5, 0, 1000),
        (6, 0, 1000),
        (6, 1, 750),
        (6, 2, 603),
        (6, 3, 500),
        (6, 4, 500),
    ] {
        let mut script = Script::new(|config| {
            config.probe_interval(ms(100)).suspicion_mult(5).suspicion_max_mult(2);
        });
        for host in 2..=nodes {
            script.hear(&plain_alive(&format!("n{host}"), host, 1));
        }
        script.hear(&suspect("n2", 1, "first"));
        for accuser in 0..confirmations {
            script.hear(&suspect("n2", 1, &format!("accuser{accuser}")));
            script.hear(&suspect("n2", 1, &format!("accuser{accuser}")));
        }
        let deadline = Instant::from_millis(expected);
        while script.now < deadline {
            assert_eq!(
                script.status("n2"),
                Some(Status::Suspect),
                "{nodes} {confirmations} at {}",
                script.now
            );
            let at = script.machine.poll_timeout().unwrap().min(deadline);
            script.at(at);
        }
        assert_eq!(script.status("n2"), Some(Status::Failed), "{nodes} {confirmations}");
    }
}

#[test]
fn a_confirmation_is_passed_on_once_and_raises_nothing() {
    let mut script = quiet_with(|config| {
        config.probe_interval(ms(1000));
    });
    for host in 3..8 {
        script.hear(&plain_alive(&format!("n{host}"), host, 1));
    }
    script.hear(&suspect("b", 5, "x"));
    script.drain(addr(2));
    script.hear(&suspect("b", 7, "y"));
    assert_eq!(script.drain(addr(2)), [suspect("b", 7, "y")]);
    assert_eq!((script.incarnation("b"), script.machine.stats().suspicions_confirmed), (5, 1));
}

// upstream: TestMemberList_SuspectNode_OldSuspect, TestMemberList_DeadNode_OldDead
#[test]
fn old_accusations_are_ignored() {
    let mut script = quiet();
    script.hear(&suspect("b", 4, "x"));
    script.hear(&dead("b", 4, "x"));
    assert_eq!(script.status("b"), Some(Status::Alive));
    assert!(script.drain(addr(2)).is_empty());
}

// upstream: TestMemberList_SuspectNode_Refute, TestMemberList_DeadNode_Refute
#[test]
fn accusations_of_this_node_are_refuted() {
    for accusation in [suspect("self", 1, "b"), dead("self", 1, "b")] {
        let mut script = quiet();
        script.hear(&accusation);
        assert_eq!((script.status("self"), script.machine.health()), (Some(Status::Alive), 1));
        assert_eq!(script.drain(addr(2)), [alive("self", 1, 2)]);
        assert!(script.changes().is_empty());
    }
}

// upstream: TestMemberList_DeadNode, TestMemberList_DeadNode_Double, TestMemberList_DeadNode_AliveReplay
// upstream: TestMemberlistBroadcast_Message
#[test]
fn a_death_is_told_once_and_not_undone_by_a_replay() {
    let mut script = quiet();
    script.hear(&dead("b", 5, "x"));
    assert_eq!(script.changes(), told("b", ChangeKind::Failed));
    script.hear(&plain_alive("c", 3, 1));
    assert!(script.drain(addr(3)).contains(&dead("b", 5, "x")));
    script.hear(&dead("b", 6, "x"));
    script.hear(&plain_alive("b", 2, 5));
    assert_eq!(script.changes(), told("c", ChangeKind::Joined));
    assert!(script.drain(addr(3)).is_empty());
    assert_eq!(script.status("b"), Some(Status::Failed));
}

/// W-3: one message cannot take a member's range of incarnations away.
#[test]
fn no_single_claim_ends_the_range_of_incarnations() {
    for top in [u32::MAX, u32::MAX - 1, (1 << 31) + 1] {
        // It is answered as far as one claim goes, since whoever says so may believe it.
        let answers = [
            (suspect("self", top, "x"), 1 << 31),
            (dead("self", top, "x"), 1 << 31),
            (with_meta("self", 1, top, b"x"), (1 << 31) + 1),
        ];
        for (claim, answer) in answers {
            let mut script = quiet();
            script.hear(&claim);
            assert_eq!(script.incarnation("self"), answer);
        }
        let mut script = quiet();
        for claim in [
            suspect("b", top, "x"),
            dead("b", top, "x"),
            plain_alive("b", 2, top),
            plain_alive("new", 3, top),
        ] {
            script.hear(&claim);
        }
        // What is said of others is followed, as far as one claim goes: they may have been brought there.
        assert_eq!((script.status("b"), script.incarnation("b")), (Some(Status::Alive), 1 << 31));
        assert_eq!((script.status("new"), script.incarnation("new")), (Some(Status::Alive), (1 << 31) - 1));
        assert_eq!(script.machine.stats().claim_refused, 2);
        let sent = script.drain(addr(2));
        assert!(sent.contains(&plain_alive("b", 2, 1 << 31)), "and told as far, not further with each node");
        script.hear(&suspect("b", 1 << 31, "x"));
        script.hear(&plain_alive("b", 2, (1 << 31) + 1));
        assert_eq!(script.status("b"), Some(Status::Alive));
        // It can still be accused, and answer.
        script.hear(&suspect("self", 100, "x"));
        assert_eq!(script.incarnation("self"), 101);
    }
}

// upstream: TestMemberList_ProbeNode_Wrong_VSN
// upstream: TestValidateMemberInfo
#[test]
fn an_alive_without_proper_versions_admits_nobody() {
    let mut script = quiet();
    for vsn in [&b""[..], &[0; 6], &[1, 5, 2], &[5, 1, 2, 0, 0, 0], &[1, 5, 6, 0, 0, 0], &[1, 5, 2, 1, 2, 0]]
    {
        script.hear(
            &AliveOf { name: "c", incarnation: 1, addr: &[10, 0, 0, 3], port: 7946, meta: b"", vsn }.encode(),
        );
    }
    for addr in [&b""[..], &[1, 2, 3], &[0; 15], &[0; 17]] {
        script.hear(&AliveOf { name: "c", incarnation: 1, addr, port: 7946, meta: b"", vsn: &VSN }.encode());
    }
    script.hear(
        &AliveOf { name: "", incarnation: 1, addr: &[10, 0, 0, 3], port: 7946, meta: b"", vsn: &VSN }
            .encode(),
    );
    assert_eq!(script.status("c"), None);
    assert_eq!(script.machine.members().count(), 2);
    assert_eq!((script.machine.stats().alive_bad_versions, script.machine.stats().claim_malformed), (6, 5));
}

/// versions that are in order among themselves, and leave members nothing that all of them speak, would end all exchanges.
#[test]
fn who_could_not_speak_with_all_is_not_admitted() {
    let mut script = quiet();
    let c = |incarnation, vsn: [u8; 6]| {
        AliveOf { name: "c", incarnation, addr: &[10, 0, 0, 3], port: 7946, meta: b"", vsn: &vsn }.encode()
    };
    for vsn in [[6, 9, 6, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 5, 2, 200, 200, 200]] {
        script.hear(&c(1, vsn));
    }
    assert_eq!((script.status("c"), script.machine.stats().alive_bad_versions), (None, 3));
    script.hear(&c(1, [1, 7, 3, 0, 4, 0]));
    assert_eq!(script.status("c"), Some(Status::Alive));
    // Neither may one that is there change to such.
    script.hear(&c(2, [6, 9, 6, 0, 0, 0]));
    script.hear(&c(3, [2, 5, 2, 0, 0, 0]));
    assert_eq!((script.incarnation("c"), script.machine.stats().alive_bad_versions), (3, 4));
}

// upstream: TestMemberList_ResetNodes, TestMoveDeadNodes
#[test]
fn the_dead_and_the_left_are_forgotten_in_time() {
    let mut script = quiet();
    script.hear(&plain_alive("c", 3, 1));
    script.hear(&dead("b", 5, "x"));
    script.hear(&dead("c", 1, "c"));
    script.changes();
    let key = script.key("b");
    assert_eq!(script.machine.members().count(), 3);
    script.fires_at_ms(30_000);
    assert_eq!(script.changes(), [("b".into(), ChangeKind::Reaped), ("c".into(), ChangeKind::Reaped)]);
    assert_eq!(script.machine.members().count(), 1);
    assert!(script.machine.member(key).is_none() && script.status("b").is_none());
    assert_eq!(script.machine.send(script.now, key, "x".into()), Err(CommandError::UnknownMember));
    // The name starts over, as another member.
    script.hear(&plain_alive("b", 2, 1));
    assert_eq!(script.changes(), told("b", ChangeKind::Joined));
    assert_ne!(script.key("b"), key);
}

#[test]
fn who_comes_back_before_it_is_forgotten_stays() {
    let mut script = quiet();
    script.hear(&dead("b", 5, "x"));
    script.at_ms(20_000);
    script.hear(&plain_alive("b", 2, 6));
    script.at_ms(40_000);
    assert_eq!(script.status("b"), Some(Status::Alive));
    assert_eq!(script.changes(), [("b".into(), ChangeKind::Failed), ("b".into(), ChangeKind::Joined)]);
}

#[test]
fn forgotten_and_back_before_anybody_looked_reads_in_order() {
    let mut script = quiet();
    script.hear(&dead("b", 5, "x"));
    script.at_ms(30_000);
    script.hear(&plain_alive("b", 2, 1));
    let kinds: Vec<_> = script.changes().into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [ChangeKind::Failed, ChangeKind::Reaped, ChangeKind::Joined]);
    assert_eq!(script.status("b"), Some(Status::Alive));
}

/// 10.0.0.3 in 16 bytes.
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 3];

///
#[test]
fn an_address_is_told_as_it_was_heard() {
    let mut script = quiet();
    let heard =
        AliveOf { name: "c", incarnation: 1, addr: &MAPPED, port: 7946, meta: b"", vsn: &PLAIN }.encode();
    script.hear(&heard);
    assert_eq!(script.machine.find(b"c").unwrap().addr, addr(3), "for sending it is unmapped");
    assert_eq!(script.drain(addr(3)), [heard]);
}

/// Upstream takes them for two addresses, so that who was once announced in one form and speaks in the other is not heard for as
/// long as it answers.
#[test]
fn another_form_of_a_members_address_is_no_other_address() {
    let mut script = quiet();
    let alive = |name, incarnation, addr: &[u8]| {
        AliveOf { name, incarnation, addr, port: 7946, meta: b"", vsn: &PLAIN }.encode()
    };
    script.hear(&alive("c", 1, &[10, 0, 0, 3]));
    for (incarnation, form) in [(2, &MAPPED[..]), (3, &[10, 0, 0, 3])] {
        script.drain(addr(3));
        let heard = alive("c", incarnation, form);
        script.hear(&heard);
        assert_eq!(script.machine.find(b"c").unwrap().incarnation, incarnation);
        assert_eq!(script.drain(addr(3)), [heard], "passed on in the form it came in");
    }
    // Nor is it this node's own name elsewhere: it is a claim about this node, and answered.
    script.hear(&alive("self", 7, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]));
    assert_eq!((script.machine.local().incarnation, script.machine.stats().conflicts), (8, 0));
}

// upstream: Test_IsValidAddressDefaults, Test_IsValidAddressOverride, TestMemberlist_JoinDifferentNetworksUniqueMask,
// upstream: TestMemberlist_JoinDifferentNetworksMultiMasks
#[test]
fn only_allowed_networks_are_admitted() {
    let network = |text: &str, prefix| Cidr::new(text.parse().unwrap(), prefix).unwrap();
    let mut script = Script::new(|config| {
        config.cidrs_allowed(vec![network("10.0.0.0", 30), network("fd00::", 8)]);
    });
    script.datagram(addr(2), &plain_alive("in", 3, 1)).unwrap();
    script.datagram(addr(2), &plain_alive("claims to be out", 4, 1)).unwrap();
    script.datagram(addr(9), &plain_alive("sent from out", 2, 1)).unwrap();
    assert_eq!(script.machine.members().count(), 2);
    assert_eq!(script.machine.stats().cidr_refused, 2);
    // A member does not move out either.
    script.datagram(addr(2), &dead("in", 1, "in")).unwrap();
    script.datagram(addr(2), &plain_alive("in", 8, 2)).unwrap();
    assert_eq!(script.status("in"), Some(Status::Left));
    let mut outside = config("self", 9);
    outside.cidrs_allowed(vec![network("10.0.0.0", 30)]);
    let made = Membership::new(Instant::ORIGIN, outside, Seed::from_u64(1), NonceSecret::new([0; 32]));
    assert_eq!(made.err(), Some(ConfigError::ExcludedByCidrs));
}

#[test]
fn an_address_that_nobody_can_reach_is_not_advertised() {
    for wildcard in ["0.0.0.0:7946", "[::]:7946", "[::ffff:0.0.0.0]:7946", "10.0.0.1:0"] {
        let config = Config::lan("self", wildcard.parse().unwrap());
        let made = Membership::new(Instant::ORIGIN, config, Seed::from_u64(1), NonceSecret::new([0; 32]));
        assert_eq!(made.err(), Some(ConfigError::AdvertiseAddress), "{wildcard}");
    }
}

// upstream: TestMemberlist_Join_Cancel_Passive
#[test]
fn admission_rules_keep_members_out() {
    let mut script = Script::new(|config| {
        config.metadata("blue1".into()).admission(vec![Admission::MetadataPrefix("blue".into())]);
    });
    script.hear(&with_meta("b", 2, 1, b"blue2"));
    script.hear(&with_meta("c", 3, 1, b"red"));
    assert_eq!((script.status("b"), script.status("c")), (Some(Status::Alive), None));
    // A member that changes to what the rule forbids keeps what was admitted.
    script.hear(&with_meta("b", 2, 2, b"red"));
    assert_eq!(script.machine.find(b"b").unwrap().metadata, b"blue2");
    assert_eq!(script.machine.stats().admission_refused, 2);
    let mut red = config("self", 1);
    red.admission(vec![Admission::MetadataPrefix("blue".into())]);
    let made = Membership::new(Instant::ORIGIN, red, Seed::from_u64(1), NonceSecret::new([0; 32]));
    assert_eq!(made.err(), Some(ConfigError::ExcludedByAdmission));
}

#[test]
fn the_roster_is_bounded() {
    let mut script = Script::new(|config| {
        config.max_members(10);
    });
    for host in 2..30 {
        script.hear(&plain_alive(&format!("n{host}"), host, 1));
    }
    assert_eq!((script.machine.members().count(), script.machine.stats().roster_full), (10, 19));
    assert!(script.events().iter().any(|event| event.contains("RosterFull")));
    // Whoever goes makes room.
    script.hear(&dead("n2", 1, "n2"));
    script.at_ms(30_000);
    script.changes();
    for _ in 0..20 {
        script.drain(addr(3));
    }
    script.hear(&plain_alive("late", 99, 1));
    assert_eq!(script.status("late"), Some(Status::Alive));
}

///
#[test]
fn protocol_version_one_knows_no_ports_but_its_own() {
    let mut script = Script::new(|config| {
        config.protocol_version(1);
    });
    let vsn = [1, 5, 2, 0, 0, 0];
    script.hear(
        &AliveOf { name: "b", incarnation: 1, addr: &[10, 0, 0, 2], port: 7000, meta: b"", vsn: &vsn }
            .encode(),
    );
    assert_eq!(script.machine.find(b"b").unwrap().addr, addr(2));
}

#[test]
fn time_that_goes_back_changes_nothing() {
    let mut script = quiet();
    script.hear(&dead("b", 5, "x"));
    script.machine.handle_timeout(Instant::from_millis(10_000));
    script.machine.handle_timeout(Instant::ORIGIN);
    assert_eq!(script.machine.poll_timeout(), Some(Instant::from_millis(30_000)));
    assert_eq!(script.machine.stats().time_went_back, 1);
}

#[test]
fn a_stalled_node_gives_suspects_the_time_it_could_not_listen() {
    let mut script = quiet_with(|config| {
        config.probe_interval(ms(1000));
    });
    script.hear(&suspect("b", 5, "x"));
    script.at_ms(3000);
    script.late(Instant::from_millis(23_000));
    assert_eq!(script.machine.stats().stalls, 1);
    assert_eq!(script.status("b"), Some(Status::Suspect), "the refutation may lie in the socket");
    script.hear(&plain_alive("b", 2, 6));
    assert_eq!(script.status("b"), Some(Status::Alive));
    // One stall does not keep a dead member for ever.
    script.hear(&suspect("b", 6, "x"));
    script.late(Instant::from_millis(60_000));
    assert_eq!(script.status("b"), Some(Status::Suspect), "however long the stall was");
    script.at_ms(65_000);
    assert_eq!(script.status("b"), Some(Status::Failed));
}

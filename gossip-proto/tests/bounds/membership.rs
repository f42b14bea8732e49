//! The member table and what hangs on it.

use super::*;
use gossip_proto::wire::message::*;
use std::borrow::Cow;

/// Names: the table takes what it has room for and keeps whom it has; the news about the rest is not passed on either.
#[test]
fn invented_members_stop_at_the_cap() {
    let mut victim = Victim::new(|config, _| {
        config.max_members(1000).max_rumors(500);
    });
    victim.flood(MANY, |n| invented(n, 1, b""));
    assert_eq!(victim.node.num_alive(), 1000);
    assert_eq!(victim.stats().roster_full, MANY as u64 - 998);
    assert_eq!(victim.stats().alive_accepted, 998 + 1);
    assert_eq!((victim.status("b"), victim.status("x997")), (Some(Status::Alive), Some(Status::Alive)));
    // One lane of news holds half of those that are not the node itself.
    assert_eq!(victim.stats().rumors_pruned, 999 - 500);
    // Told once, not for each.
    let events = victim.events();
    assert_eq!(events.iter().filter(|event| event.contains("RosterFull")).count(), 1, "{events:?}");
    victim.holds_at_most(2 * MIB);
}

/// When the inventions have failed and been forgotten there is room again, and no memory is left behind.
#[test]
fn a_table_that_was_full_takes_members_again() {
    let mut victim = Victim::new(|config, services| {
        config.max_members(1000);
        services.reconnect_timeout(Duration::from_secs(60)).max_learnt(10);
    });
    for turn in 1..=20 {
        let first = turn * 2000;
        victim.flood(2000, |n| invented(first + n, 1, b""));
        victim.flood(2000, |n| dead(&format!("x{}", first + n), 1, "b"));
        assert_eq!(victim.stats().members_failed, 998 * turn as u64, "{:?}", victim.stats());
        let full = victim.events().iter().filter(|event| event.contains("RosterFull")).count();
        assert_eq!(full, 1, "told each time, in turn {turn}");
        while victim.node.poll_membership().is_some() {}
        victim.run(Duration::from_secs(61));
        while victim.node.poll_membership().is_some() {}
        assert_eq!((victim.node.members().count(), victim.node.learnt().len()), (2, 10));
    }
    victim.holds_at_most(2 * MIB);
}

/// Tags: a member that changes them all the time has one set, one piece of news in the queue, one for the application.
#[test]
fn changing_tags_cost_what_one_set_costs() {
    let mut victim = Victim::new(|_, _| {});
    victim.flood(MANY, |n| {
        let meta = [n.to_be_bytes().as_slice(), &[b'm'; 400]].concat();
        AliveOf {
            name: "b",
            incarnation: 2 + n as u32,
            addr: &[10, 0, 0, 2],
            port: 7946,
            meta: &meta,
            vsn: &SERF_VSN,
        }
        .encode()
    });
    assert_eq!(victim.stats().members_updated, MANY as u64);
    assert_eq!(victim.stats().rumors_displaced, MANY as u64);
    let changes: Vec<_> =
        core::iter::from_fn(|| victim.node.poll_membership().map(|change| change.kind)).collect();
    assert_eq!(changes, [ChangeKind::Joined, ChangeKind::Joined], "the node itself, and b as it is now");
    victim.holds_at_most(256 * KIB);
}

/// Suspicions: one per member however many accuse, and a few accusers each.
#[test]
fn accusers_without_end_are_a_few_to_a_suspicion() {
    let mut victim = Victim::new(|config, _| {
        config.max_members(1000);
    });
    victim.flood(998, |n| invented(n, 1, b""));
    let before = victim.stats().suspicions_confirmed;
    victim.flood(MANY, |n| suspect(&format!("x{}", n % 998), 1, &format!("accuser{n}")));
    assert_eq!(victim.stats().suspect_accepted, 998);
    // k is 2: suspicion_mult 4 less 2.
    assert_eq!(victim.stats().suspicions_confirmed - before, 2 * 998);
    victim.holds_at_most(3 * MIB);
    victim.run(Duration::from_secs(120));
    assert_eq!(victim.stats().members_failed, 998);
    victim.holds_at_most(3 * MIB);
}

/// A member that comes and goes leaves one timer, one reason and one piece of news, not one for each turn.
#[test]
fn coming_and_going_piles_nothing_up() {
    let mut victim = Victim::new(|_, _| {});
    victim.flood(MANY, |n| {
        let incarnation = 2 + n as u32 / 4;
        match n % 4 {
            0 => b(2, incarnation),
            1 => suspect("b", incarnation, "x"),
            2 => dead("b", incarnation, "x"),
            _ => b(2, incarnation),
        }
    });
    let (stats, turns) = (victim.stats(), MANY as u64 / 4);
    assert_eq!((stats.members_failed, stats.suspect_accepted), (turns, turns));
    victim.holds_at_most(256 * KIB);
}

/// Conflicts are events, and those are bounded in bytes: the oldest go, and the application is told how many.
#[test]
fn conflicts_are_as_many_events_as_there_is_room_for() {
    let mut victim = Victim::new(|config, _| {
        config.max_event_bytes(64 << 10);
    });
    victim.flood(MANY, |n| {
        AliveOf { name: "b", incarnation: 1, addr: &octets(n), port: 7946, meta: b"", vsn: &SERF_VSN }
            .encode()
    });
    assert_eq!(victim.stats().conflicts, MANY as u64);
    let (events, lost) = (victim.events(), victim.stats().events_lost);
    assert_eq!(events[0], format!("Lagged {{ lost: {lost} }}"));
    assert_eq!(events.len() as u64 - 1 + lost, MANY as u64);
    victim.holds_at_most(512 * KIB);
}

/// Whoever claims the node's own name, as often as it likes, has it ask the others once in half a minute.
#[test]
fn disputes_about_the_own_name_ask_the_cluster_seldom() {
    let mut victim = Victim::new(|_, _| {});
    for _ in 0..60 {
        victim.flood(1000, |n| {
            AliveOf { name: "self", incarnation: 9, addr: &octets(n), port: 7946, meta: b"", vsn: &SERF_VSN }
                .encode()
        });
        victim.run(Duration::from_secs(1));
    }
    assert_eq!((victim.stats().conflicts, victim.stats().name_conflicts), (60_000, 2));
}

fn indirect(seq: u32, target: &[u8], node: &str) -> Vec<u8> {
    message(MessageType::IndirectPing, |bytes| {
        IndirectPing {
            seq,
            target: target.into(),
            port: 7946,
            node: Cow::Borrowed(node.as_bytes()),
            nack: true,
            ..IndirectPing::default()
        }
        .encode(bytes)
    })
}

/// Relays: so many probes for others at once, each over in its time.
#[test]
fn relays_stop_at_the_cap_and_end_in_time() {
    let mut victim = Victim::new(|config, _| {
        config.max_relays(100);
    });
    victim.flood(MANY, |n| indirect(n as u32, &[10, 0, 0, 2], "b"));
    assert_eq!((victim.stats().relays, victim.stats().relay_full), (100, MANY as u64 - 100));
    victim.holds_at_most(256 * KIB);
    victim.run(Duration::from_secs(1));
    victim.flood(200, |n| indirect(n as u32, &[10, 0, 0, 2], "b"));
    assert_eq!(victim.stats().relays, 200, "there is room again");
}

/// Answers that no socket takes: so many wait, the rest is dropped.
#[test]
fn answers_stop_at_the_cap() {
    let mut victim = Victim::new(|config, _| {
        config.max_outgoing(100);
    });
    // Without polling between: as if the socket were full.
    for n in 0..MANY / 100 {
        let body = ping(n as u32, "self", "b", addr(2));
        let packet: Vec<u8> =
            [vec![7, 100], [(body.len() as u16).to_be_bytes(); 100].concat(), body.repeat(100)].concat();
        victim.datagram(addr(2), &mut packet.clone());
    }
    assert_eq!(victim.stats().outgoing_full, MANY as u64 / 100 * 100 - 100);
    victim.holds_at_most(128 * KIB);
}

/// Sequence numbers: acks and nacks of any number leave nothing but a count.
#[test]
fn numbers_that_nothing_waits_for_leave_a_count() {
    let mut victim = Victim::new(|_, _| {});
    victim.flood(MANY, |n| if n % 2 == 0 { ack(n as u32) } else { nack(n as u32) });
    assert_eq!(victim.stats().ack_unknown, MANY as u64);
    victim.holds_at_most(128 * KIB);
}

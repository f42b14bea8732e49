use super::*;
use gossip_proto::{Cause, Status};

const WINDOW: Window = Window { period: Duration::from_millis(100), quiet: Duration::from_millis(30) };

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn member(name: &str, tag: &str) -> MemberInfo {
    MemberInfo {
        name: Name::from(name),
        addr: ([10, 0, 0, 1], 7946).into(),
        metadata: Bytes::new(),
        tags: vec![(Bytes::from_static(b"v"), Bytes::copy_from_slice(tag.as_bytes()))],
        status: Status::Alive,
        incarnation: 1,
        versions: [1, 5, 2, 2, 5, 5],
        local: false,
    }
}

fn change(kind: ChangeKind, name: &str, tag: &str) -> Notice {
    Notice::Change { member: member(name, tag), kind, cause: Cause::Local }
}

fn event(ltime: u64, name: &str, payload: &str, coalesce: bool) -> Notice {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Notice::UserEvent { ltime, name: bytes(name), payload: bytes(payload), coalesce }
}

fn both() -> Coalescer {
    Coalescer::new(Some(WINDOW), Some(WINDOW))
}

/// All that goes out, in words.
fn drain(coalescer: &mut Coalescer) -> Vec<String> {
    core::iter::from_fn(|| coalescer.poll())
        .map(|batch| match batch {
            Batch::Members { kind, members } => {
                let members: Vec<_> = members
                    .iter()
                    .map(|member| {
                        let tag =
                            member.tag("v").map_or(String::new(), |tag| String::from_utf8_lossy(tag).into());
                        format!("{}{tag}", member.name)
                    })
                    .collect();
                format!("{} {}", kind.serf_name().unwrap_or("other"), members.join(" "))
            }
            Batch::Single(Notice::UserEvent { ltime, name, payload, .. }) => {
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                format!("{} {ltime} {}", text(&name), text(&payload))
            }
            Batch::Single(other) => format!("{other:?}"),
        })
        .collect()
}

// upstream: TestCoalescer_basic
#[test]
fn a_burst_without_end_goes_out_when_the_period_is_over() {
    let mut coalescer = both();
    for (time, name) in [(0, "a"), (25, "b"), (50, "c"), (75, "d")] {
        coalescer.handle(at(time), change(ChangeKind::Joined, name, ""));
        assert_eq!(drain(&mut coalescer), [""; 0]);
    }
    assert_eq!(coalescer.poll_timeout(), Some(at(100)));
    coalescer.handle_timeout(at(99));
    assert_eq!(drain(&mut coalescer), [""; 0]);
    coalescer.handle_timeout(at(100));
    assert_eq!(drain(&mut coalescer), ["member-join a b c d"]);
    assert_eq!(coalescer.poll_timeout(), None);
}

// upstream: TestCoalescer_quiescent
#[test]
fn a_burst_goes_out_when_it_is_over() {
    let mut coalescer = both();
    coalescer.handle(at(0), change(ChangeKind::Joined, "a", ""));
    coalescer.handle(at(20), change(ChangeKind::Joined, "b", ""));
    assert_eq!(coalescer.poll_timeout(), Some(at(50)));
    coalescer.handle_timeout(at(50));
    assert_eq!(drain(&mut coalescer), ["member-join a b"]);
}

// upstream: TestCoalescer_passThrough, TestMemberEventCoalesce_passThrough, TestUserEventCoalesce_passThrough
#[test]
fn what_is_not_folded_passes_at_once() {
    let mut coalescer = both();
    coalescer.handle(at(0), change(ChangeKind::Joined, "a", ""));
    coalescer.handle(at(1), event(7, "deploy", "now", false));
    assert_eq!(drain(&mut coalescer), ["deploy 7 now"]);
    coalescer.handle(at(2), change(ChangeKind::Suspected, "a", ""));
    assert!(drain(&mut coalescer)[0].contains("Suspected"));
    coalescer.handle(at(3), Notice::Lagged { lost: 3 });
    assert_eq!(drain(&mut coalescer), ["Lagged { lost: 3 }"]);
    for kind in [ChangeKind::Left, ChangeKind::Failed, ChangeKind::Updated, ChangeKind::Reaped] {
        coalescer.handle(at(4), change(kind, "b", ""));
    }
    coalescer.handle(at(5), event(8, "deploy", "later", true));
    assert_eq!(drain(&mut coalescer), [""; 0]);

    let mut off = Coalescer::new(None, None);
    off.handle(at(0), change(ChangeKind::Failed, "a", ""));
    off.handle(at(0), event(8, "deploy", "later", true));
    assert_eq!(drain(&mut off), ["member-failed a", "deploy 8 later"]);
    assert_eq!(off.poll_timeout(), None);
}

// upstream: TestMemberEventCoalesce_Basic
#[test]
fn the_last_that_happened_to_a_member_counts() {
    let mut coalescer = both();
    for (kind, name, tag) in [
        (ChangeKind::Joined, "foo", ""),
        (ChangeKind::Left, "foo", ""),
        (ChangeKind::Left, "bar", ""),
        (ChangeKind::Updated, "zip", "1"),
        (ChangeKind::Updated, "zip", "2"),
        (ChangeKind::Reaped, "dead", ""),
    ] {
        coalescer.handle(at(0), change(kind, name, tag));
    }
    coalescer.handle_timeout(at(30));
    assert_eq!(drain(&mut coalescer), ["member-leave foo bar", "member-update zip2", "member-reap dead"]);
}

// upstream: TestMemberEventCoalesce_TagUpdate
#[test]
fn an_update_is_told_once_and_the_next_one_again() {
    let mut coalescer = both();
    coalescer.handle(at(0), change(ChangeKind::Updated, "foo", "1"));
    coalescer.handle_timeout(at(30));
    assert_eq!(drain(&mut coalescer), ["member-update foo1"]);
    coalescer.handle(at(100), change(ChangeKind::Updated, "foo", "2"));
    coalescer.handle_timeout(at(130));
    assert_eq!(drain(&mut coalescer), ["member-update foo2"]);
    // Upstream tells it again with every later flush (Q23).
    coalescer.handle(at(200), change(ChangeKind::Joined, "bar", ""));
    coalescer.handle_timeout(at(230));
    assert_eq!(drain(&mut coalescer), ["member-join bar"]);
}

#[test]
fn what_was_told_last_is_not_told_again() {
    let mut coalescer = both();
    coalescer.handle(at(0), change(ChangeKind::Joined, "foo", ""));
    coalescer.handle_timeout(at(30));
    assert_eq!(drain(&mut coalescer), ["member-join foo"]);
    coalescer.handle(at(40), change(ChangeKind::Failed, "foo", ""));
    coalescer.handle(at(41), change(ChangeKind::Joined, "foo", ""));
    coalescer.handle_timeout(at(80));
    assert_eq!(drain(&mut coalescer), [""; 0]);
    coalescer.handle(at(100), change(ChangeKind::Failed, "foo", ""));
    // Overdue news goes out before what comes after it.
    coalescer.handle(at(1000), change(ChangeKind::Reaped, "foo", ""));
    assert_eq!(drain(&mut coalescer), ["member-failed foo"]);
    coalescer.finish();
    assert_eq!(drain(&mut coalescer), ["member-reap foo"]);
}

#[test]
fn nothing_stays_of_members_that_came_and_went() {
    let mut coalescer = both();
    for index in 0..3 * MAX_MEMBERS {
        let name = format!("m{index}");
        coalescer.handle(at(0), change(ChangeKind::Joined, &name, ""));
        coalescer.handle(at(0), change(ChangeKind::Reaped, &name, ""));
    }
    coalescer.finish();
    let stage = coalescer.members.as_ref().unwrap();
    assert!(stage.held.latest.is_empty() && stage.held.told.len() <= 3, "{}", stage.held.told.len());
}

#[test]
fn what_is_held_is_bounded() {
    let mut coalescer = both();
    for index in 0..MAX_MEMBERS {
        assert!(coalescer.ready.is_empty());
        coalescer.handle(at(0), change(ChangeKind::Joined, &format!("m{index}"), ""));
    }
    assert_eq!(coalescer.ready.len(), 1);
    assert_eq!(coalescer.poll_timeout(), None);
    let mut coalescer = both();
    for index in 0..MAX_EVENTS {
        assert!(coalescer.ready.is_empty());
        coalescer.handle(at(0), event(1, &format!("e{index}"), "", true));
    }
    assert_eq!(coalescer.ready.len(), MAX_EVENTS);
    let payload = "x".repeat(MAX_EVENT_BYTES / 4);
    let mut coalescer = both();
    // Newer ones take the place of older ones, in bytes as well.
    for ltime in 0..100 {
        coalescer.handle(at(0), event(ltime, "same", &payload, true));
        assert!(coalescer.ready.is_empty());
    }
    for index in 0..3 {
        coalescer.handle(at(0), event(1, &format!("e{index}"), &payload, true));
    }
    assert_eq!(coalescer.ready.len(), 4);
}

// upstream: TestUserEventCoalesce_Basic
#[test]
fn of_user_events_the_newest_of_each_name_count() {
    let mut coalescer = both();
    for (ltime, name, payload) in [
        (1, "foo", ""),
        (2, "foo", "a"),
        (2, "foo", "b"),
        (1, "foo", "late"),
        (2, "bar", "c"),
        (5, "zip", "d"),
    ] {
        coalescer.handle(at(0), event(ltime, name, payload, true));
    }
    coalescer.handle_timeout(at(30));
    assert_eq!(drain(&mut coalescer), ["bar 2 c", "foo 2 a", "foo 2 b", "zip 5 d"]);
}

/// Whatever comes when: what was told last of a member is what happened to it last.
#[test]
fn folding_loses_no_ends() {
    const KINDS: [ChangeKind; 5] =
        [ChangeKind::Joined, ChangeKind::Left, ChangeKind::Failed, ChangeKind::Updated, ChangeKind::Reaped];
    for seed in 1..200u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut coalescer, mut now) = (both(), 0);
        let (mut truth, mut told) = (BTreeMap::new(), BTreeMap::new());
        let hear = |coalescer: &mut Coalescer, told: &mut BTreeMap<Name, ChangeKind>| {
            while let Some(Batch::Members { kind, members }) = coalescer.poll() {
                for member in members {
                    let before = told.insert(member.name.clone(), kind);
                    let again =
                        before == Some(kind) && !matches!(kind, ChangeKind::Updated | ChangeKind::Reaped);
                    assert!(!again, "seed {seed}: {} {kind:?} twice", member.name);
                }
            }
        };
        for _ in 0..300 {
            now += random(50);
            let name = format!("m{}", random(4));
            let before = truth.get(&name).copied();
            // Only what can happen: who is unknown or was forgotten must join, and nobody joins twice.
            let kind = match before {
                None | Some(ChangeKind::Reaped) => ChangeKind::Joined,
                Some(ChangeKind::Joined | ChangeKind::Updated) => KINDS[1 + random(3) as usize],
                _ => [ChangeKind::Joined, ChangeKind::Reaped][random(2) as usize],
            };
            truth.insert(name.clone(), kind);
            coalescer.handle(at(now), change(kind, &name, ""));
            hear(&mut coalescer, &mut told);
        }
        coalescer.finish();
        hear(&mut coalescer, &mut told);
        for (name, kind) in truth {
            let unseen = kind == ChangeKind::Reaped && !told.contains_key(&Name::from(name.as_str()));
            assert!(unseen || told[&Name::from(name.as_str())] == kind, "seed {seed}: {name}");
        }
    }
}

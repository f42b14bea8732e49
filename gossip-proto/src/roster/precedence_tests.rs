//! The exhaustive comparison with the text, and the properties that the documentation promises.

use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

use super::*;

const STANDINGS: [Standing; 4] = [Standing::Alive, Standing::Suspect, Standing::Dead, Standing::Left];

const INCARNATIONS: [u32; 22] = [
    0,
    1,
    2,
    3,
    32_768,
    32_769,
    32_770,
    32_771,
    65_535,
    65_536,
    65_537,
    65_538,
    65_539,
    65_540,
    (1 << 31) - 2,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 65_540,
    u32::MAX - 3,
    u32::MAX - 2,
    u32::MAX - 1,
    u32::MAX,
];

/// The text of spec 4.3–4.5 step by step, in its order and with its early returns, without any of our limits.
mod text {
    use super::super::{Belief, Claim, Standing, Verdict};

    pub(super) fn handle(belief: Option<&Belief>, claim: Claim) -> Verdict {
        match claim {
            Claim::Alive { incarnation, bootstrap } => alive(belief, incarnation, bootstrap),
            Claim::Suspect { incarnation } => suspect(belief, incarnation),
            Claim::Dead { incarnation, .. } => dead(belief, incarnation),
        }
    }

    fn alive(belief: Option<&Belief>, inc: u32, bootstrap: bool) -> Verdict {
        // 4. Unknown name: create a record with incarnation 0 and state dead, and continue. With incarnation 0 that
        //    stops at step 6 (a ghost), otherwise it goes through step 10.
        let Some(record) = belief else { return Verdict::Insert };
        // 1. If leaving flag set and a.Node is self: return.
        if record.leaving && record.is_self {
            return Verdict::Ignore;
        }
        // 5. Known name and (addr bytes differ or port differs).
        let mut updates = false;
        if !record.same_address {
            // c. If state is left, or (state is dead and reclaim).
            if record.standing == Standing::Left || (record.standing == Standing::Dead && record.reclaimable)
            {
                updates = true;
            } else {
                // d. Else: call Conflict delegate, return.
                return Verdict::Conflict;
            }
        }
        // 6. If a.Incarnation <= record.Incarnation and not self and not updates: return.
        if inc <= record.incarnation && !record.is_self && !updates {
            return Verdict::Ignore;
        }
        // 7. If a.Incarnation < record.Incarnation and self: return.
        if inc < record.incarnation && record.is_self {
            return Verdict::Ignore;
        }
        // 10. If self and not bootstrap.
        if record.is_self && !bootstrap {
            if inc == record.incarnation && record.same_content {
                return Verdict::Ignore;
            }
            return Verdict::Refute;
        }
        Verdict::Accept
    }

    fn suspect(belief: Option<&Belief>, inc: u32) -> Verdict {
        // 1. Unknown name: return.
        let Some(record) = belief else { return Verdict::Ignore };
        // 2. s.Incarnation < record.Incarnation: return.
        if inc < record.incarnation {
            return Verdict::Ignore;
        }
        // 3. If a suspicion timer exists: confirm, return in any case.
        if record.suspected {
            return Verdict::Confirm;
        }
        // 4. If state != alive: return.
        if record.standing != Standing::Alive {
            return Verdict::Ignore;
        }
        // 5. If self: refute, return.
        if record.is_self {
            return Verdict::Refute;
        }
        Verdict::Accept
    }

    fn dead(belief: Option<&Belief>, inc: u32) -> Verdict {
        // 1. Unknown: return.
        let Some(record) = belief else { return Verdict::Ignore };
        // 2. d.Incarnation < record.Incarnation: return.
        if inc < record.incarnation {
            return Verdict::Ignore;
        }
        // 4. State already dead or left: return.
        if record.standing == Standing::Dead || record.standing == Standing::Left {
            return Verdict::Ignore;
        }
        // 5. If self: if not leaving: refute, return.
        if record.is_self && !record.leaving {
            return Verdict::Refute;
        }
        Verdict::Accept
    }
}

/// Our limits, written down a second time and as a list of what is out of range.
fn out_of_range(belief: Option<&Belief>, claim: Claim) -> bool {
    let (inc, top, command) = match claim {
        Claim::Alive { incarnation, bootstrap } => (incarnation, 0xffff_fffe_u64, bootstrap),
        Claim::Suspect { incarnation } | Claim::Dead { incarnation, .. } => (incarnation, 0xffff_fffd, false),
    };
    let alive = matches!(claim, Claim::Alive { .. });
    if alive && inc == 0 {
        return true;
    }
    if !alive && belief.is_some_and(|b| b.is_self && b.leaving) {
        return false;
    }
    let inc = u64::from(inc);
    if inc > top {
        return true;
    }
    match belief {
        _ if command => false,
        None => inc >= 1 << 31,
        Some(b) => {
            let by = if alive { 65_536 } else { 32_768 };
            let free = match (alive, b.is_self) {
                (true, _) => 1 << 31,
                (false, true) => (1 << 31) - 1,
                (false, false) => 0,
            };
            inc > u64::from(b.incarnation) + by && inc > free
        }
    }
}

fn claims(incarnation: u32) -> [Claim; 5] {
    [
        Claim::Alive { incarnation, bootstrap: false },
        Claim::Alive { incarnation, bootstrap: true },
        Claim::Suspect { incarnation },
        Claim::Dead { incarnation, leave: false },
        Claim::Dead { incarnation, leave: true },
    ]
}

fn beliefs(incarnation: u32) -> impl Iterator<Item = Belief> {
    STANDINGS.into_iter().flat_map(move |standing| {
        (0..64u8).map(move |bits| Belief {
            standing,
            incarnation,
            is_self: bits & 1 != 0,
            leaving: bits & 2 != 0,
            reclaimable: bits & 4 != 0,
            suspected: bits & 8 != 0,
            same_address: bits & 16 != 0,
            same_content: bits & 32 != 0,
        })
    })
}

#[test]
fn equals_the_text_except_out_of_range() {
    let mut cases = 0;
    let mut check = |belief: Option<&Belief>, claim: Claim| {
        let by_text = text::handle(belief, claim);
        let takes_effect = !matches!(by_text, Verdict::Ignore | Verdict::Conflict);
        let expected = if takes_effect && out_of_range(belief, claim) { Verdict::Refuse } else { by_text };
        assert_eq!(decide(belief, claim), expected, "{belief:?} {claim:?}");
        cases += 1;
    };
    for claimed in INCARNATIONS {
        for claim in claims(claimed) {
            check(None, claim);
            for believed in INCARNATIONS {
                beliefs(believed).for_each(|belief| check(Some(&belief), claim));
            }
        }
    }
    assert_eq!(cases, 22 * 5 * (1 + 22 * 256));
}

/// W-3: whatever accusation is accepted about a member, an alive claim that is itself accepted can answer it, both
/// where the accusation arrived first and at the accused.
#[test]
fn every_accepted_accusation_can_be_answered() {
    for claimed in INCARNATIONS {
        for claim in
            [Claim::Suspect { incarnation: claimed }, Claim::Dead { incarnation: claimed, leave: false }]
        {
            for believed in INCARNATIONS {
                for belief in beliefs(believed).filter(|belief| belief.same_address && !belief.leaving) {
                    let answer =
                        |own| Claim::Alive { incarnation: refutation(own, claimed), bootstrap: false };
                    match decide(Some(&belief), claim) {
                        Verdict::Accept if !belief.is_self => {
                            let accused = Belief {
                                standing: Standing::Suspect,
                                incarnation: claimed,
                                suspected: true,
                                ..belief
                            };
                            assert_eq!(
                                decide(Some(&accused), answer(claimed)),
                                Verdict::Accept,
                                "{belief:?} {claim:?}"
                            );
                        }
                        Verdict::Refute => {
                            let Claim::Alive { incarnation, .. } = answer(believed) else { unreachable!() };
                            assert!(incarnation > claimed && incarnation > believed);
                            let announced = Claim::Alive { incarnation, bootstrap: true };
                            assert_eq!(
                                decide(Some(&belief), announced),
                                Verdict::Accept,
                                "{belief:?} {claim:?}"
                            );
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Whoever is accused, with whatever incarnation, is believed again by those who have not heard the accusation.
#[test]
fn an_answer_is_believed_by_who_missed_what_it_answers() {
    for known in INCARNATIONS.into_iter().filter(|known| (1..HIGHEST_ALIVE - 1).contains(known)) {
        for incarnation in INCARNATIONS {
            for claim in [Claim::Suspect { incarnation }, Claim::Alive { incarnation, bootstrap: false }] {
                let Some(answer) = answered(known, claim) else { continue };
                for standing in STANDINGS {
                    let peer = member(standing, known);
                    assert_eq!(
                        hear(Some(&peer), answer),
                        Verdict::Accept,
                        "{known} accused at {incarnation}"
                    );
                }
                assert_eq!(hear(None, answer), Verdict::Insert, "by who has not met it, either");
            }
        }
    }
}

/// The incarnation with which a node answers hearsay about itself, if it does.
fn answered(own: u32, claim: Claim) -> Option<u32> {
    let own = Belief { is_self: true, same_content: false, ..member(Standing::Alive, own) };
    let said = followed(Some(&own), claim);
    let claim = match claim {
        Claim::Alive { bootstrap, .. } => Claim::Alive { incarnation: said, bootstrap },
        Claim::Suspect { .. } => Claim::Suspect { incarnation: said },
        Claim::Dead { leave, .. } => Claim::Dead { incarnation: said, leave },
    };
    let verdict = decide(Some(&own), claim);
    assert_ne!(verdict, Verdict::Refuse, "{claim:?}");
    (verdict == Verdict::Refute).then(|| refutation(own.incarnation, said))
}

fn hear(belief: Option<&Belief>, incarnation: u32) -> Verdict {
    let claim = |incarnation| Claim::Alive { incarnation, bootstrap: false };
    decide(belief, claim(followed(belief, claim(incarnation))))
}

/// Wherever somebody was brought who had not heard of a node for a while: the node, which knows of nothing, answers further each
/// time that it is told, until it is believed. One claim takes it no further than one step.
#[test]
fn a_node_that_others_are_ahead_of_catches_up() {
    for believed in INCARNATIONS.into_iter().filter(|believed| (1..HIGHEST_ALIVE - 1).contains(believed)) {
        let claims = [
            Claim::Suspect { incarnation: believed },
            Claim::Dead { incarnation: believed, leave: true },
            Claim::Alive { incarnation: believed, bootstrap: false },
        ];
        for claim in claims {
            let (mut own, mut told) = (1, 0);
            while own <= believed {
                let answer = answered(own, claim).expect("what is ahead of it is false");
                let farthest = own.saturating_add(LARGEST_RAISE + 1).max(HIGHEST_UNKNOWN + 2);
                assert!((own + 1..=farthest).contains(&answer), "{answer}");
                (own, told) = (answer, told + 1);
            }
            assert!(told <= 2 + believed.saturating_sub(HIGHEST_UNKNOWN) / (LARGEST_RAISE / 2), "{told}");
            assert_eq!(hear(Some(&member(Standing::Alive, believed)), own), Verdict::Accept, "{claim:?}");
        }
    }
}

/// There is nothing to answer when it leaves, at whatever incarnation it is.
#[test]
fn a_farewell_is_followed_at_any_incarnation() {
    for incarnation in INCARNATIONS {
        let own = Belief { is_self: true, leaving: true, ..member(Standing::Alive, incarnation) };
        let farewell = Claim::Dead { incarnation, leave: true };
        assert_eq!(
            (followed(Some(&own), farewell), decide(Some(&own), farewell)),
            (incarnation, Verdict::Accept)
        );
    }
}

#[test]
fn refutation_rises_above_both_and_never_wraps() {
    assert_eq!(refutation(1, 1), 2);
    assert_eq!(refutation(2, 50), 51);
    assert_eq!(refutation(60, 7), 61);
    assert_eq!(refutation(1, u32::MAX - 3), u32::MAX - 2);
    for own in [1, u32::MAX - 2, u32::MAX - 1, u32::MAX] {
        assert_eq!(refutation(own, u32::MAX), u32::MAX - 1);
    }
}

#[test]
fn a_restarted_node_answers_what_its_peers_remember() {
    let own = Belief { is_self: true, ..member(Standing::Alive, 1) };
    for remembered in [2, 100_000, u32::MAX / 2] {
        assert_eq!(decide(Some(&own), Claim::Suspect { incarnation: remembered }), Verdict::Refute);
        assert_eq!(answered(1, Claim::Suspect { incarnation: remembered }), Some(remembered + 1));
    }
}

#[test]
fn a_planted_member_can_be_accused() {
    for incarnation in INCARNATIONS {
        let alive = Claim::Alive { incarnation, bootstrap: false };
        if decide(None, alive) == Verdict::Insert {
            let planted = member(Standing::Alive, incarnation);
            assert_eq!(decide(Some(&planted), Claim::Suspect { incarnation }), Verdict::Accept);
        }
    }
}

#[test]
fn standings_read_as_operators_know_them() {
    assert_eq!(STANDINGS.map(|s| s.to_string()), ["alive", "suspect", "dead", "left"]);
    assert_eq!(STANDINGS.map(Standing::is_live), [true, true, false, false]);
}

fn member(standing: Standing, incarnation: u32) -> Belief {
    Belief {
        standing,
        incarnation,
        is_self: false,
        leaving: false,
        reclaimable: false,
        suspected: standing == Standing::Suspect,
        same_address: true,
        same_content: true,
    }
}

/// A record as a node keeps it: what a verdict does to it, at one address.
fn apply(record: Option<Belief>, claim: Claim) -> Option<Belief> {
    match (decide(record.as_ref(), claim), claim) {
        (Verdict::Accept | Verdict::Insert, Claim::Alive { incarnation, .. }) => {
            Some(member(Standing::Alive, incarnation))
        }
        (Verdict::Accept, Claim::Suspect { incarnation }) => Some(member(Standing::Suspect, incarnation)),
        (Verdict::Accept, Claim::Dead { incarnation, leave }) => {
            Some(member(if leave { Standing::Left } else { Standing::Dead }, incarnation))
        }
        _ => record,
    }
}

fn claim() -> impl Strategy<Value = Claim> {
    let incarnation = prop_oneof![4 => 1u32..6, 1 => 65_530u32..65_545, 1 => u32::MAX - 5..=u32::MAX];
    (incarnation, 0usize..5)
        .prop_map(|(incarnation, which)| claims(incarnation)[which])
        .prop_filter("hearsay only", |claim| !matches!(claim, Claim::Alive { bootstrap: true, .. }))
}

proptest! {
    #[test]
    fn a_claim_heard_again_does_nothing(history in proptest::collection::vec(claim(), 0..8), again in claim()) {
        let once = history.into_iter().chain([again]).fold(None, apply);
        prop_assert_eq!(apply(once, again), once);
    }

    #[test]
    fn at_one_address_the_incarnation_never_falls(history in proptest::collection::vec(claim(), 0..20)) {
        let mut record: Option<Belief> = None;
        for claim in history {
            let next = apply(record, claim);
            prop_assert!(next.map_or(0, |b| b.incarnation) >= record.map_or(0, |b| b.incarnation));
            record = next;
        }
    }

    #[test]
    fn alive_claims_with_distinct_incarnations_commute(
        history in proptest::collection::vec(claim(), 1..8),
        mut alive in proptest::collection::btree_set(1u32..40, 1..6).prop_map(|set| set.into_iter().collect::<Vec<_>>()),
        seed in any::<u64>(),
    ) {
        let start = history.into_iter().fold(None, apply);
        let run = |order: &[u32]| {
            order.iter().fold(start, |r, &incarnation| apply(r, Claim::Alive { incarnation, bootstrap: false }))
        };
        let ascending = run(&alive);
        let mut rng = crate::rng::Rng::from_seed(&crate::rng::Seed::from_u64(seed), 0);
        for end in (1..alive.len()).rev() {
            alive.swap(end, rng.below(end as u32 + 1) as usize);
        }
        prop_assert_eq!(run(&alive), ascending);
    }

    #[test]
    fn alive_above_the_highest_accepted_wins(history in proptest::collection::vec(claim(), 1..20)) {
        if let Some(record) = history.into_iter().fold(None, apply) {
            let incarnation = record.incarnation + 1;
            if incarnation <= HIGHEST_ALIVE {
                let after = apply(Some(record), Claim::Alive { incarnation, bootstrap: false });
                prop_assert_eq!(after, Some(member(Standing::Alive, incarnation)));
            }
        }
    }

    #[test]
    fn who_left_stays_so_for_its_incarnation(
        left in 1u32..10,
        history in proptest::collection::vec(claim(), 0..20),
    ) {
        let record = Some(member(Standing::Left, left));
        let below = |claim: &Claim| !matches!(claim, Claim::Alive { incarnation, .. } if *incarnation > left);
        prop_assert_eq!(history.into_iter().filter(below).fold(record, apply), record);
    }
}

/// The counterexamples of the module's documentation: whoever makes one of them commute changes the protocol.
#[test]
fn death_is_first_come() {
    let dead = |incarnation, leave| Claim::Dead { incarnation, leave };
    let alive = |incarnation| Claim::Alive { incarnation, bootstrap: false };
    let run = |order: &[Claim]| {
        let alive = member(Standing::Alive, 1);
        let record = order.iter().fold(alive, |record, &claim| apply(Some(record), claim).unwrap_or(record));
        (record.standing, record.incarnation)
    };
    assert_eq!(run(&[dead(3, false), dead(3, true)]), (Standing::Dead, 3));
    assert_eq!(run(&[dead(3, true), dead(3, false)]), (Standing::Left, 3));
    assert_eq!(run(&[dead(3, false), dead(5, false), alive(4)]), (Standing::Alive, 4));
    assert_eq!(run(&[dead(5, false), dead(3, false), alive(4)]), (Standing::Dead, 5));
}

//! The reference's traces against one lane, a naive model, and what lanes promise each other.

use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const ALL: [Lane; LANES] =
    [Lane::Refutation, Lane::Accusation, Lane::Alive, Lane::Intent, Lane::Event, Lane::Query];

fn send<T: Clone>(rumors: &mut Rumors<T>, room: usize, limit: u32) -> Vec<T> {
    let count = rumors.draw(room, 2, usize::MAX, &[limit; LANES]);
    let values: Vec<T> = rumors.drawn().map(|(_, value, _)| value.clone()).collect();
    assert_eq!(count, values.len());
    rumors.commit();
    values
}

fn retired<T>(rumors: &mut Rumors<T>) -> Vec<(T, u32, Why)> {
    core::iter::from_fn(|| rumors.pop_retired()).map(|r| (r.value, r.transmits, r.why)).collect()
}

// upstream: TestLimitedBroadcastLess, TestTransmitLimited_ordering
#[test]
fn any_single_lane_follows_the_queue_traces() {
    let vectors: Value =
        serde_json::from_str(include_str!("../../../vectors/memberlist-vectors.json")).unwrap();
    let traces = vectors["queue_traces"].as_array().unwrap();
    assert_eq!(traces.len(), 3);
    for (trace, lane) in traces.iter().flat_map(|trace| ALL.map(|lane| (trace, lane))) {
        let number = |value: &Value| value.as_u64().unwrap() as usize;
        let limit = number(&trace["config"]["limit"]) as u32;
        let mut names: Vec<&str> = Vec::new();
        let mut rumors: Rumors<&str> = Rumors::new(100, 1);
        for step in trace["steps"].as_array().unwrap() {
            if let Some(name) = step["queue"].as_str() {
                let slot = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                rumors.insert(lane, Some(slot as u32), number(&step["len"]), name, None, 0);
            } else {
                let get = &step["get"];
                assert_eq!(number(&get["overhead"]), 2);
                let returned = send(&mut rumors, number(&get["limit"]), limit);
                let expected: Vec<&str> =
                    step["returned"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
                assert_eq!(returned, expected, "{} in {lane:?}: {step}", trace["name"]);
            }
            assert_eq!(rumors.len(), number(&step["num_queued"]), "{step}");
        }
    }
}

/// W-2: A drawn while nothing else is queued, then B of the same length, once lost A.
#[test]
fn an_empty_moment_does_not_lose_a_rumor() {
    let mut rumors = Rumors::new(100, 1);
    rumors.insert(Lane::Alive, Some(0), 50, "A", None, 0);
    assert_eq!(send(&mut rumors, 1000, 4), ["A"]);
    rumors.insert(Lane::Alive, Some(1), 50, "B", None, 0);
    assert_eq!(send(&mut rumors, 52, 4), ["B"]);
    assert_eq!(rumors.len(), 2);
    rumors.insert(Lane::Alive, Some(0), 50, "A2", None, 0);
    assert!(rumors.contains_subject(1), "displacing A leaves B alone");
    assert_eq!(send(&mut rumors, 1000, 4), ["A2", "B"]);
}

// upstream: TestTransmitLimited_Queue, TestMemberlistBroadcast_Invalidates
#[test]
fn a_subject_has_one_rumor_in_all_lanes() {
    let mut rumors = Rumors::new(100, 1);
    rumors.insert(Lane::Alive, Some(7), 30, "alive", Some(1), 0);
    rumors.insert(Lane::Event, None, 30, "event", Some(2), 0);
    rumors.insert(Lane::Accusation, Some(7), 10, "suspect", Some(3), 0);
    assert_eq!((rumors.len(), rumors.lane_len(Lane::Alive), rumors.lane_len(Lane::Accusation)), (2, 0, 1));
    assert_eq!(rumors.get_subject(7), Some(&"suspect"));
    let displaced = rumors.pop_retired().unwrap();
    assert_eq!(displaced, Retired { value: "alive", notify: Some(1), transmits: 0, why: Why::Displaced });
    assert!(rumors.remove_subject(7));
    assert!(!rumors.remove_subject(7) && !rumors.contains_subject(7) && !rumors.contains_subject(99));
    assert_eq!(retired(&mut rumors), [("suspect", 0, Why::Displaced)]);
    assert_eq!(rumors.len(), 1);
}

// upstream: TestTransmitLimited_Prune
#[test]
fn a_full_lane_loses_its_last() {
    let mut rumors = Rumors::new(3, 1);
    for (value, len) in [("sent", 90), ("old", 20), ("new", 20)] {
        rumors.insert(Lane::Event, None, len, value, None, 0);
    }
    assert_eq!(send(&mut rumors, 92, 9), ["sent"]);
    rumors.insert(Lane::Event, None, 50, "long", None, 0);
    assert_eq!(retired(&mut rumors), [("sent", 1, Why::Pruned)], "most transmitted first, however long");
    rumors.insert(Lane::Event, None, 40, "longish", None, 0);
    assert_eq!(retired(&mut rumors), [("old", 0, Why::Pruned)], "then the shortest, of these the oldest");
    rumors.insert(Lane::Event, None, 1, "tiny", None, 0);
    assert_eq!(retired(&mut rumors), [("tiny", 0, Why::Pruned)], "also the new one itself");
    rumors.insert(Lane::Query, None, 1, "query", None, 0);
    assert_eq!(rumors.len(), 4, "the cap is per lane");
}

// upstream: TestTransmitLimited_GetBroadcasts
#[test]
fn what_a_rumor_costs_beside_its_bytes_is_counted() {
    for (overhead, expected) in [(2, 4), (3, 3)] {
        let mut rumors = Rumors::new(100, 1);
        for n in 0..4u32 {
            rumors.insert(Lane::Alive, Some(n), 18, n, None, 0);
        }
        assert_eq!(rumors.draw(80, overhead, usize::MAX, &[9; LANES]), expected);
    }
}

/// As upstream draws; but the numbers go on when the queue is empty (W-2).
// upstream: TestTransmitLimited_GetBroadcasts_Limit
#[test]
fn each_rumor_is_sent_as_often_as_its_limit_says() {
    let mut rumors = Rumors::new(100, 1);
    for n in 0..4u32 {
        rumors.insert(Lane::Alive, Some(n), 18, n, None, 0);
    }
    let draws: Vec<usize> = (0..4).map(|_| send(&mut rumors, 79, 2).len()).collect();
    assert_eq!((draws, rumors.len()), (vec![3, 3, 2, 0], 0));
    assert_eq!(rumors.next_serial, 4);
}

#[test]
fn an_aborted_draw_leaves_no_trace() {
    let fill = || {
        let mut rumors = Rumors::new(100, 1);
        for n in 0..40u32 {
            rumors.insert(ALL[n as usize % LANES], Some(n), 20 + n as usize * 7 % 200, n, None, 0);
        }
        rumors
    };
    let (mut plain, mut aborting) = (fill(), fill());
    for _ in 0..60 {
        aborting.draw(300, 2, 5, &[3; LANES]);
        aborting.abort();
        aborting.draw(700, 2, 254, &[3; LANES]);
        assert_eq!(send(&mut aborting, 500, 3), send(&mut plain, 500, 3));
        assert_eq!(retired(&mut aborting), retired(&mut plain));
    }
    assert!(plain.is_empty() && aborting.is_empty());
}

#[test]
fn a_change_between_draw_and_commit_aborts_the_draw() {
    let mut rumors = Rumors::new(100, 1);
    rumors.insert(Lane::Alive, Some(0), 10, "a", None, 0);
    rumors.insert(Lane::Alive, Some(1), 10, "b", None, 0);
    assert_eq!(rumors.draw(100, 2, 254, &[1; LANES]), 2);
    rumors.remove_subject(0);
    rumors.commit();
    assert_eq!(retired(&mut rumors), [("a", 0, Why::Displaced)]);
    assert_eq!(send(&mut rumors, 100, 1), ["b"]);
}

#[test]
fn room_and_items_bound_a_packet() {
    let mut rumors = Rumors::new(1000, 1);
    for n in 0..300 {
        rumors.insert(ALL[n % LANES], None, 1, n, None, 0);
    }
    assert_eq!(rumors.draw(10_000, 2, 254, &[4; LANES]), 254, "W-4");
    rumors.commit();
    for (room, expected) in [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2)] {
        assert_eq!(rumors.draw(room, 2, 254, &[4; LANES]), expected, "room {room}");
    }
    assert_eq!(rumors.draw(100, 2, 0, &[4; LANES]), 0);
    assert_eq!(rumors.draw(usize::MAX, 2, 1, &[4; LANES]), 1);
}

/// All lanes are flooded with rumors of every size: each gets at least most of its weight, and the first the rest.
#[test]
fn flooded_lanes_share_by_weight() {
    for sizes in [[30; LANES], [30, 60, 90, 200, 400, 900], [900, 400, 200, 90, 60, 30], [700; LANES]] {
        let mut rumors = Rumors::new(10_000, 1);
        let (mut bytes, packets) = ([0usize; LANES], 1000);
        for _ in 0..packets {
            for (lane, len) in ALL.into_iter().zip(sizes) {
                while rumors.lane_len(lane) < 60 {
                    rumors.insert(lane, None, len, lane, None, 0);
                }
            }
            rumors.draw(1400, 2, 254, &[1; LANES]);
            rumors.drawn().for_each(|(_, &lane, len)| bytes[lane as usize] += len + 2);
            rumors.commit();
            retired(&mut rumors);
        }
        let total: usize = bytes.iter().sum();
        for (lane, used) in bytes.into_iter().enumerate() {
            let owed = total * WEIGHTS[lane] / WEIGHTS.iter().sum::<usize>();
            assert!(used * 10 >= owed * 6, "{sizes:?}: lane {lane} got {used} of {owed}, {bytes:?}");
        }
    }
}

/// Two kinds alone share as all of them do, and a lane may spend its share to the last byte.
#[test]
fn two_flooded_lanes_share_every_packet() {
    let mut rumors = Rumors::new(100, 1);
    for _ in 0..40 {
        rumors.insert(Lane::Refutation, None, 698, Lane::Refutation, None, 0);
        rumors.insert(Lane::Accusation, None, 698, Lane::Accusation, None, 0);
    }
    for packet in 0..20 {
        assert_eq!(send(&mut rumors, 1400, 9), [Lane::Refutation, Lane::Accusation], "packet {packet}");
    }
}

/// What a lane has saved for a large rumor that is displaced meanwhile would crowd out others if it were spent at once.
#[test]
fn savings_for_a_rumor_that_is_gone_are_not_paid_back_as_a_burst() {
    let mut rumors = Rumors::new(100, 1);
    rumors.insert(Lane::Accusation, Some(1), 1300, Lane::Accusation, None, 0);
    for _ in 0..100 {
        rumors.insert(Lane::Query, None, 30, Lane::Query, None, 0);
    }
    // Four fifths of a packet do not pay for it.
    assert!(!send(&mut rumors, 1400, 9).contains(&Lane::Accusation));
    rumors.insert(Lane::Accusation, Some(1), 30, Lane::Accusation, None, 0);
    for _ in 0..60 {
        rumors.insert(Lane::Accusation, None, 30, Lane::Accusation, None, 0);
    }
    let sent = send(&mut rumors, 1400, 9);
    // A share, and one rumor more: 36 of 32 bytes each.
    assert_eq!(sent.iter().filter(|lane| **lane == Lane::Accusation).count(), 36);
    assert_eq!(sent.len(), 43);
}

#[test]
fn a_rumor_without_a_subject_is_displaced_by_its_name() {
    let mut rumors = Rumors::new(100, 1);
    let older = rumors.insert(Lane::Event, None, 10, "older", Some(1), 0);
    rumors.insert(Lane::Event, None, 10, "newer", Some(2), 0);
    rumors.displace(older);
    assert_eq!(retired(&mut rumors), [("older", 0, Why::Displaced)]);
    assert_eq!(send(&mut rumors, 100, 9), ["newer"]);
}

/// A rumor larger than its lane's share, behind floods of everything else, also of its own lane.
#[test]
fn a_large_rumor_is_not_starved() {
    for (large, others) in [(1300, 30), (1398, 30), (1000, 680), (720, 700), (1398, 1398)] {
        let mut rumors = Rumors::new(10_000, 1);
        rumors.insert(Lane::Query, None, large, "large", None, 0);
        let arrived = (1..200).find(|_| {
            for lane in ALL {
                while rumors.lane_len(lane) < 60 {
                    rumors.insert(lane, None, others.min(large - 1), "small", None, 0);
                }
            }
            let sent = send(&mut rumors, 1400, 1);
            retired(&mut rumors);
            sent.contains(&"large")
        });
        // Its weight is 1 of 16, so that it saves for sixteen packets at most, and then waits for five others.
        assert!(arrived.is_some_and(|packet| packet <= 22), "{large} among {others}: {arrived:?}");
    }
}

/// A short rumor of the last lane, where large ones of other lanes leave little room in every packet.
#[test]
fn a_short_rumor_is_not_starved_by_large_ones() {
    let mut rumors = Rumors::new(10_000, 1);
    rumors.insert(Lane::Query, None, 100, "query", None, 0);
    let arrived = (1..200).find(|_| {
        for (lane, len) in ALL.into_iter().zip([100, 100, 718, 718, 718]) {
            while rumors.lane_len(lane) < 20 {
                rumors.insert(lane, None, len, "other", None, 0);
            }
        }
        let sent = send(&mut rumors, 1400, 1);
        retired(&mut rumors);
        sent.contains(&"query")
    });
    assert!(arrived.is_some_and(|packet| packet <= 8), "{arrived:?}");
}

#[test]
fn churn_allocates_nothing_once_warm() {
    let mut rumors = Rumors::new(32, 1);
    let mut capacities = Vec::new();
    for round in 0..2000u32 {
        for n in 0..50 {
            let lane = ALL[(round + n) as usize % LANES];
            rumors.insert(lane, (n % 3 != 0).then_some(n), (n * 31 % 400) as usize, n, None, 0);
        }
        send(&mut rumors, 1400, 3);
        while rumors.pop_retired().is_some() {}
        let now = (
            rumors.entries.capacity(),
            rumors.free.capacity(),
            rumors.by_subject.capacity(),
            rumors.drawn.capacity(),
            rumors.retired.capacity(),
            rumors.skips.capacity(),
        );
        capacities.push(now);
    }
    assert_eq!(capacities[200], *capacities.last().unwrap());
    assert!(rumors.entries.len() <= 32 * LANES + 1);
}

/// The queue of spec 4.11 as a list, without a thought for cost.
#[derive(Default)]
struct Model {
    /// (transmits, len, serial, subject); the serial is the rumor's value.
    items: Vec<(u32, usize, u64, Option<u32>)>,
}

impl Model {
    fn in_order(&mut self) -> &mut Vec<(u32, usize, u64, Option<u32>)> {
        self.items.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
        &mut self.items
    }

    fn draw(&mut self, overhead: usize, limit: usize, repetitions: u32) -> Vec<u64> {
        let (mut used, mut aside, mut drawn) = (0, vec![], vec![]);
        let tiers = self.items.iter().map(|item| item.0);
        let (Some(first), Some(last)) = (tiers.clone().min(), tiers.max()) else { return drawn };
        'packet: for tier in first..=last {
            loop {
                let Some(free) = limit.checked_sub(used + overhead).filter(|&free| free > 0) else {
                    break 'packet;
                };
                let items = self.in_order();
                let Some(index) = items.iter().position(|item| item.0 == tier && item.1 <= free) else {
                    break;
                };
                let mut item = items.remove(index);
                used += overhead + item.1;
                drawn.push(item.2);
                item.0 += 1;
                if item.0 < repetitions {
                    aside.push(item);
                }
            }
        }
        self.items.append(&mut aside);
        drawn
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert { subject: Option<u32>, len: usize },
    Remove(u32),
    Send { room: usize, limit: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (proptest::option::of(0u32..12), 1usize..60).prop_map(|(subject, len)| Op::Insert { subject, len }),
        1 => (0u32..12).prop_map(Op::Remove),
        3 => (0usize..200, 0u32..6).prop_map(|(room, limit)| Op::Send { room, limit }),
    ]
}

proptest! {
    #[test]
    fn one_lane_is_the_naive_queue(ops in proptest::collection::vec(op(), 1..150), lane in 0..LANES) {
        const CAP: usize = 10;
        let mut rumors = Rumors::new(CAP, 1);
        let mut model = Model::default();
        for (serial, op) in (0u64..).zip(ops) {
            match op {
                Op::Insert { subject, len } => {
                    model.items.retain(|item| subject.is_none() || item.3 != subject);
                    model.items.push((0, len, serial, subject));
                    model.in_order().truncate(CAP);
                    rumors.insert(ALL[lane], subject, len, serial, None, 0);
                }
                Op::Remove(slot) => {
                    let known = model.items.iter().any(|item| item.3 == Some(slot));
                    model.items.retain(|item| item.3 != Some(slot));
                    prop_assert_eq!(rumors.remove_subject(slot), known);
                }
                Op::Send { room, limit } => {
                    prop_assert_eq!(send(&mut rumors, room, limit), model.draw(2, room, limit));
                }
            }
            prop_assert_eq!(rumors.len(), model.items.len());
            for slot in 0..12 {
                let queued = model.items.iter().find(|item| item.3 == Some(slot)).map(|item| item.2);
                prop_assert_eq!(rumors.get_subject(slot).copied(), queued);
            }
        }
    }

    /// With several lanes: each packet keeps its bounds and wastes nothing, each lane sends in its own tiers, and
    /// every rumor leaves exactly once.
    #[test]
    fn lanes_waste_nothing_and_lose_nothing(ops in proptest::collection::vec((op(), 0..LANES), 1..150)) {
        let mut rumors = Rumors::new(10, 1);
        let mut queued: Vec<(u64, usize, usize)> = Vec::new(); // value, lane, len
        let mut gone: Vec<u64> = Vec::new();
        let mut inserted = 0;
        for (serial, (op, lane)) in (0u64..).zip(ops) {
            match op {
                Op::Insert { subject, len } => {
                    inserted += 1;
                    queued.push((serial, lane, len));
                    rumors.insert(ALL[lane], subject, len, serial, None, 0);
                }
                Op::Remove(slot) => {
                    rumors.remove_subject(slot);
                }
                Op::Send { room, limit } => {
                    let count = rumors.draw(room, 2, 6, &[limit; LANES]);
                    let drawn: Vec<(u64, usize)> = rumors.drawn().map(|(_, value, len)| (*value, len)).collect();
                    let used: usize = drawn.iter().map(|(_, len)| len + 2).sum();
                    prop_assert!(used <= room && count <= 6 && count == drawn.len());
                    let mut distinct: Vec<u64> = drawn.iter().map(|(value, _)| *value).collect();
                    distinct.sort_unstable();
                    distinct.dedup();
                    prop_assert_eq!(distinct.len(), count);
                    let left_out = queued.iter().filter(|(value, ..)| !distinct.contains(value));
                    let shortest = left_out.map(|(_, _, len)| len + 2).min().unwrap_or(room + 1);
                    prop_assert!(count == 6 || used + shortest > room, "{} fits", shortest);
                    rumors.commit();
                }
            }
            for (value, ..) in retired(&mut rumors) {
                prop_assert!(!gone.contains(&value));
                gone.push(value);
                queued.retain(|(other, ..)| *other != value);
            }
            for (lane, kind) in ALL.into_iter().enumerate() {
                prop_assert_eq!(rumors.lane_len(kind), queued.iter().filter(|item| item.1 == lane).count());
            }
            prop_assert_eq!(rumors.len() + gone.len(), inserted);
        }
    }
}

use alloc::vec::Vec;
use std::collections::BTreeSet;
use std::format;

use smallvec::SmallVec;

use super::*;
use crate::Seed;
use crate::rng::Rng;

fn roster(n: u32) -> Roster {
    let mut rng = Rng::from_seed(&Seed::from_u64(1), 0);
    let mut roster = Roster::new(Keyed::new(&mut rng), 1 << 16);
    for i in 0..n {
        let slot = add(&mut roster, i);
        assert_eq!(slot, i);
    }
    roster
}

fn add(roster: &mut Roster, i: u32) -> u32 {
    let addr = WireAddr::new(&(0x0a00_0000 + i).to_be_bytes()).unwrap();
    let slot = roster.insert(format!("node-{i}").as_bytes(), addr, 7946).unwrap();
    // Where it takes its turn is drawn, here always alike.
    roster.track(slot, &mut Rng::from_seed(&Seed::from_u64(u64::from(i)), 0));
    roster.set_content(slot, addr, 7946, b"meta", [1, 5, 2, 0, 0, 0]);
    roster.set_standing(slot, Standing::Alive, Instant::ORIGIN);
    slot
}

#[test]
fn found_by_name_and_address_until_forgotten() {
    let mut roster = roster(50);
    assert_eq!(roster.find(b"node-7"), Some(7));
    assert_eq!(roster.at("10.0.0.7:7946".parse().unwrap()), Some(7));
    assert_eq!(roster.at("[::ffff:10.0.0.7]:7946".parse().unwrap()), Some(7));
    let key = roster.key(7);
    roster.pin(7);
    roster.set_standing(7, Standing::Dead, Instant::ORIGIN);
    roster.untrack(7);
    assert_eq!((roster.resolve(key), roster.len(), roster.num_members()), (Some(7), 49, 49));
    roster.unpin(7);
    assert_eq!(
        (roster.resolve(key), roster.find(b"node-7"), roster.at("10.0.0.7:7946".parse().unwrap())),
        (None, None, None)
    );
    let slot = add(&mut roster, 99);
    assert_eq!(slot, 7, "slots are used again");
    assert_eq!(roster.resolve(key), None, "but an old key names nobody");
}

#[test]
fn an_address_follows_its_member() {
    let mut roster = roster(3);
    let addr = WireAddr::new(&[10, 9, 9, 9]).unwrap();
    roster.set_content(1, addr, 1, b"", [1, 5, 2, 0, 0, 0]);
    assert_eq!(
        (roster.at("10.9.9.9:1".parse().unwrap()), roster.at("10.0.0.1:7946".parse().unwrap())),
        (Some(1), None)
    );
}

#[test]
fn of_many_names_at_one_address_one_that_lives_is_found() {
    let mut rng = Rng::from_seed(&Seed::from_u64(2), 0);
    let mut roster = roster(12);
    let addresses = [1u8, 2, 3].map(|last| WireAddr::new(&[10, 9, 9, last]).unwrap());
    let versions = [1, 5, 2, 0, 0, 0];
    for _ in 0..3_000 {
        let slot = rng.below(12);
        match rng.below(4) {
            0 => {
                let addr = addresses[rng.below(3) as usize];
                roster.set_content(slot, addr, 1, b"", versions);
            }
            1 => roster.set_standing(slot, Standing::Alive, Instant::ORIGIN),
            2 => roster.set_standing(slot, Standing::Dead, Instant::ORIGIN),
            _ if slot == LOCAL => {}
            _ => {
                let number = (0..12).find(|i| roster.get(slot).name == *format!("node-{i}")).unwrap();
                roster.set_standing(slot, Standing::Left, Instant::ORIGIN);
                roster.untrack(slot);
                assert_eq!(add(&mut roster, number), slot);
            }
        }
        for addr in addresses {
            let addr = addr.socket(1);
            let here = || (0..12).map(|slot| roster.get(slot)).filter(|record| record.is_at(addr));
            let found = roster.at(addr).map(|slot| roster.get(slot));
            assert_eq!(found.is_some(), here().next().is_some());
            assert!(found.is_none_or(|record| record.is_at(addr)));
            let lives = here().any(Record::is_member);
            assert_eq!(found.is_some_and(Record::is_member), lives);
            assert_eq!(roster.any_at(addr, Record::is_member), lives);
            // Of eight each is asked, of more only so many.
            if here().count() <= 8 {
                assert!(here().all(|record| roster.any_at(addr, |other| other.name == record.name)));
            }
        }
    }
}

// upstream: TestShuffleNodes
#[test]
fn each_round_probes_everybody_once() {
    let mut roster = roster(40);
    let mut rng = Rng::from_seed(&Seed::from_u64(2), 0);
    let round = |roster: &mut Roster, rng: &mut Rng| {
        let probed: Vec<_> = (0..40).map(|_| roster.next_to_probe(rng).unwrap()).collect();
        for (position, &slot) in roster.order.as_slice().iter().enumerate() {
            assert_eq!(roster.get(slot).position as usize, position);
        }
        assert_eq!(probed.iter().collect::<BTreeSet<_>>().len(), 40);
        probed
    };
    let first = round(&mut roster, &mut rng);
    assert_ne!(round(&mut roster, &mut rng), first, "in another order each time");
    // One comes for one that goes, in its slot.
    roster.untrack(first[3]);
    add(&mut roster, 40);
    // It has its turn in what is left of the round, or who gave it its place has another one.
    roster.next_to_probe(&mut rng).unwrap();
    round(&mut roster, &mut rng);
}

#[test]
fn newcomers_do_not_take_the_turns_of_those_who_are_there() {
    let mut roster = roster(40);
    let mut rng = Rng::from_seed(&Seed::from_u64(2), 0);
    let mut turns = [0; 40];
    for step in 0..1_000 {
        for newcomer in 0..2 {
            add(&mut roster, 40 + 2 * step + newcomer);
        }
        let slot = roster.next_to_probe(&mut rng).unwrap();
        if let Some(turns) = turns.get_mut(slot as usize) {
            *turns += 1;
        }
    }
    let again = turns.iter().filter(|&&turns| turns > 1).count();
    assert!(again > 20, "only {again} had another turn");
}

// upstream: TestKRandomNodes
#[test]
fn samples_are_distinct_wanted_and_spread() {
    let roster = roster(100);
    let mut rng = Rng::from_seed(&Seed::from_u64(3), 0);
    let mut chosen = SmallVec::new();
    let mut counts = [0; 100];
    for _ in 0..10_000 {
        roster.order().sample(&mut rng, 3, |slot| slot != 5, &mut chosen);
        assert_eq!(chosen.len(), 3);
        for &slot in &chosen {
            counts[slot as usize] += 1;
        }
    }
    assert_eq!(counts[5], 0);
    assert!(counts.iter().enumerate().all(|(slot, &n)| slot == 5 || (200..400).contains(&n)), "{counts:?}");
}

#[test]
fn a_small_table_is_searched_to_its_end() {
    // upstream: TestKRandomNodes
    let roster = roster(8);
    let mut rng = Rng::from_seed(&Seed::from_u64(4), 0);
    let mut chosen = SmallVec::new();
    for _ in 0..100 {
        roster.order().sample(&mut rng, 3, |slot| slot == 6, &mut chosen);
        assert_eq!(chosen.as_slice(), [6]);
    }
}

#[test]
fn full_means_full() {
    let mut rng = Rng::from_seed(&Seed::from_u64(1), 0);
    let mut roster = Roster::new(Keyed::new(&mut rng), 2);
    add(&mut roster, 0);
    add(&mut roster, 1);
    assert_eq!(roster.insert(b"c", WireAddr::new(&[1, 2, 3, 4]).unwrap(), 1), None);
}

/// Every node has one of these for each member of its cluster.
#[test]
fn a_record_stays_small() {
    assert!(size_of::<Record>() <= 104, "{} bytes", size_of::<Record>());
}

#[test]
fn the_memory_it_says_it_holds_grows_with_the_members() {
    let (few, many) = (roster(100).memory(), roster(1100).memory());
    let each = size_of::<Record>();
    // Slots are made by sixteenths, hash tables by doubling.
    assert!((1000 * each..1000 * (each + 64)).contains(&(many - few)), "{few} and {many}");
}

//! Each property of a link, measured.

use super::*;

fn links(conditions: Conditions) -> Links {
    let mut links = Links::new(&Seed::from_u64(11));
    links.set_everywhere(conditions);
    links
}

fn lost(links: &mut Links, from: u32, to: u32, of: usize) -> usize {
    (0..of).filter(|_| links.datagram(Instant::ORIGIN, from, to, 100).copies[0].is_none()).count()
}

#[test]
fn latency_lies_between_base_and_base_plus_jitter_and_uses_the_whole_range() {
    let (base, jitter) = (Duration::from_millis(10), Duration::from_millis(4));
    let mut links = links(Conditions::PERFECT.delay(base, jitter));
    let delays: Vec<_> =
        (0..4000).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 100).copies[0].unwrap()).collect();
    assert!(delays.iter().all(|d| (base..base + jitter).contains(d)));
    let mean = delays.iter().sum::<Duration>() / 4000;
    assert!((Duration::from_micros(11_900)..Duration::from_micros(12_100)).contains(&mean), "{mean:?}");
    assert!(delays.iter().min().unwrap() < &Duration::from_micros(10_020));
    assert!(delays.iter().max().unwrap() > &Duration::from_micros(13_980));
}

#[test]
fn loss_is_as_frequent_as_asked_for() {
    let mut links = links(Conditions::PERFECT.loss(0.25));
    let lost = lost(&mut links, 0, 1, 10_000);
    assert!((2370..2630).contains(&lost), "{lost}"); // three standard deviations are 130
}

#[test]
fn losses_of_link_and_ports_combine() {
    let mut links = links(Conditions::PERFECT);
    links.set_pair(0, 1, Some(Conditions::PERFECT.loss(0.5)));
    links.set_loss_at(0, 0.5, 0.0);
    links.set_loss_at(1, 0.0, 0.5);
    let both = lost(&mut links, 0, 1, 10_000);
    assert!((8650..8850).contains(&both), "{both}"); // 1 - 0.5^3
    let back = lost(&mut links, 1, 0, 10_000);
    assert_eq!(back, 0);
    let other = lost(&mut links, 0, 2, 10_000);
    assert!((4850..5150).contains(&other), "{other}");
}

#[test]
fn duplicates_have_delays_of_their_own() {
    let mut links = links(Conditions::LAN.duplicate(0.1));
    let fates: Vec<_> = (0..10_000).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 100)).collect();
    let twice = fates.iter().filter(|fate| fate.copies[1].is_some()).count();
    assert!((900..1100).contains(&twice), "{twice}");
    assert!(fates.iter().any(|fate| matches!(fate.copies, [Some(a), Some(b)] if b < a)));
}

#[test]
fn a_lost_segment_comes_later_instead_of_never() {
    let mut links = links(Conditions::PERFECT.loss(0.5));
    let delays: Vec<_> = (0..1000).map(|_| links.segment(Instant::ORIGIN, 0, 1, 100)).collect();
    let at_once = delays.iter().filter(|d| d.is_zero()).count();
    assert!((440..560).contains(&at_once), "{at_once}");
    assert!(delays.contains(&RETRANSMIT) && delays.contains(&(RETRANSMIT * 2)));
    links.set_everywhere(Conditions::PERFECT.loss(1.0));
    assert_eq!(links.segment(Instant::ORIGIN, 0, 1, 100), RETRANSMIT * MAX_RETRANSMITS);
}

#[test]
fn partitions_split_into_groups_and_the_unnamed_are_one() {
    let mut links = links(Conditions::PERFECT);
    links.partition([[1, 2].as_slice(), &[3]].into_iter());
    assert!(links.connected(1, 2) && links.connected(0, 4) && links.connected(0, 100));
    assert!(!links.connected(1, 3) && !links.connected(0, 1) && !links.connected(3, 4));
    assert_eq!(lost(&mut links, 1, 3, 10), 10);
    links.heal();
    assert!(links.connected(1, 3));
    assert_eq!(lost(&mut links, 1, 3, 10), 0);
}

#[test]
fn cuts_are_one_way_and_blocks_concern_one_channel() {
    let mut links = links(Conditions::PERFECT);
    links.cut(0, 1, true);
    assert!(!links.connected(0, 1) && links.connected(1, 0));
    links.cut(0, 1, false);
    assert!(links.connected(0, 1));
    links.block_datagrams(0, 1, true);
    assert_eq!((lost(&mut links, 0, 1, 5), lost(&mut links, 1, 0, 5)), (5, 0));
    assert!(links.streams_flow(0, 1));
    links.stall_streams(2, 3, true);
    assert!(!links.streams_flow(2, 3) && links.streams_flow(3, 2) && links.connected(2, 3));
}

#[test]
fn loss_does_not_move_the_latencies() {
    let jitter = Conditions::PERFECT.delay(Duration::ZERO, Duration::from_millis(1));
    let mut without = links(jitter);
    let mut with = links(jitter.losing(Loss::bursts(0.3, 4.0)));
    let fates = |links: &mut Links| {
        let fates = (0..200).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 100).copies[0]);
        fates.collect::<Vec<_>>()
    };
    let (all, some) = (fates(&mut without), fates(&mut with));
    assert!(some.contains(&None));
    assert!(all.iter().zip(&some).all(|(one, other)| other.is_none() || one == other));
}

#[test]
fn bursts_lose_their_share_and_are_as_long_as_asked_for_on_each_link_for_itself() {
    let mut links = links(Conditions::PERFECT.losing(Loss::bursts(0.2, 5.0)));
    let mut runs = [(0, 0, false); 2];
    for _ in 0..100_000 {
        for (to, (lost, bursts, before)) in runs.iter_mut().enumerate() {
            let gone = links.datagram(Instant::ORIGIN, 5, to as u32, 100).copies[0].is_none();
            *lost += u32::from(gone);
            *bursts += u32::from(gone && !*before);
            *before = gone;
        }
    }
    for (lost, bursts, _) in runs {
        assert!((19_000..21_000).contains(&lost), "{lost}");
        let mean = f64::from(lost) / f64::from(bursts);
        assert!((4.8..5.2).contains(&mean), "{mean}");
    }
}

#[test]
fn a_rate_spaces_packets_out_and_a_full_buffer_drops() {
    let mut links = links(Conditions::PERFECT.rate(1_000_000, 3_000));
    let mut sent = || links.datagram(Instant::ORIGIN, 0, 1, 1_000).copies[0];
    let ms = Duration::from_millis;
    // The first is on its way at once, and what has not left counts as waiting.
    assert_eq!([sent(), sent(), sent(), sent()], [Some(ms(1)), Some(ms(2)), Some(ms(3)), None]);
    let later = Instant::from_millis(2);
    assert_eq!(links.datagram(later, 0, 1, 1_000).copies[0], Some(ms(2)));
    assert_eq!(links.datagram(later, 1, 0, 1_000).copies[0], Some(ms(1)), "the other direction is idle");
    assert_eq!(links.segment(later, 0, 1, 9_000), ms(11), "a stream waits");
    let mut carried = 0;
    for tick in 0..10_000 {
        let fate = links.datagram(Instant::from_millis(100 + tick / 10), 0, 1, 500);
        carried += 500 * u64::from(fate.copies[0].is_some());
    }
    assert!((995_000..1_005_000).contains(&carried), "{carried} bytes in a second");
}

#[test]
fn what_is_held_back_is_overtaken_and_what_is_too_large_lost() {
    let mut links = links(Conditions::PERFECT.reorder(0.25, Duration::from_millis(7)).mtu(1_000));
    let fates: Vec<_> = (0..10_000).map(|_| links.datagram(Instant::ORIGIN, 0, 1, 1_000)).collect();
    let late = fates.iter().filter(|fate| fate.copies[0] == Some(Duration::from_millis(7))).count();
    assert!((2370..2630).contains(&late), "{late}");
    assert_eq!(links.datagram(Instant::ORIGIN, 0, 1, 1_001), Fate::default());
}

#[test]
fn a_link_goes_before_its_zones_and_these_before_all() {
    let mut links = links(Conditions::PERFECT);
    let fixed = |millis| Conditions::PERFECT.delay(Duration::from_millis(millis), Duration::ZERO);
    for node in 2..4 {
        links.set_zone(node, 1);
    }
    links.set_zones(0, 1, Some(fixed(40)));
    links.set_pair(1, 2, Some(fixed(3)));
    let mut took =
        |from, to| links.datagram(Instant::ORIGIN, from, to, 1).copies[0].map(|took| took.as_millis());
    assert_eq!([took(0, 2), took(1, 2), took(1, 3)], [Some(40), Some(3), Some(40)]);
    assert_eq!([took(2, 0), took(0, 1), took(2, 3)], [Some(0); 3], "one direction, one pair of zones");
    links.cut_zones(1, 0, true);
    assert!(links.connected(0, 2) && !links.connected(3, 1) && links.connected(2, 3));
    links.heal();
    assert!(links.connected(3, 1));
}

#[test]
#[should_panic(expected = "loss must be a probability, from 0 to 1, not -0.1")]
fn conditions_that_make_no_sense_are_refused() {
    links(Conditions::LAN.loss(-0.1));
}

//! Coordinates on acks: what is told, what is believed, what is forgotten.

use alloc::vec::Vec;

use super::*;
use crate::service::tests::Bed;
use crate::swim::Upper;
use crate::wire::serf::{MAX_DIMENSIONS, Vector};
use crate::{ServiceConfig, Status};

const RTT: Duration = Duration::from_millis(20);

fn bed(configure: impl FnOnce(&mut ServiceConfig)) -> Bed {
    let mut config = ServiceConfig::default();
    configure(&mut config);
    let mut bed = Bed::with(config);
    bed.alive("a", 1);
    bed
}

fn ack(bed: &mut Bed, name: &str, payload: &[u8]) {
    let slot = bed.swim.roster.find(name.as_bytes()).unwrap();
    let now = bed.swim.now;
    bed.services.ping_completed(&mut bed.swim, slot, RTT, payload, now);
}

fn known(bed: &Bed, name: &str) -> Option<Coordinate> {
    bed.services.coordinate_of(&bed.swim, name.as_bytes())
}

fn payload(coordinate: &Coordinate) -> Vec<u8> {
    let mut payload = Vec::new();
    PingPayload { coordinate: coordinate.clone() }.encode(&mut payload).unwrap();
    payload
}

fn counts(bed: &Bed) -> [u64; 3] {
    let stats = &bed.swim.stats;
    [stats.coordinates_updated, stats.coordinates_rejected, stats.coordinate_resets]
}

fn somewhere() -> Coordinate {
    Coordinate { vec: Vector([0.01; DIMENSIONS].into()), error: 0.5, adjustment: 0.0, height: 1e-4 }
}

// upstream: TestSerf_Coordinates
#[test]
fn an_ack_moves_the_node_and_is_remembered_until_the_member_is_forgotten() {
    let mut bed = bed(|config| {
        config.reconnect_timeout(Duration::from_secs(60));
    });
    let start = known(&bed, "self").unwrap();
    assert_eq!(known(&bed, "a"), None);
    ack(&mut bed, "a", &payload(&somewhere()));
    let own = known(&bed, "self").unwrap();
    assert!(own != start && known(&bed, "a") == Some(somewhere()) && counts(&bed) == [1, 0, 0]);
    assert!(distance(&own, &somewhere()).is_some());

    let moved = bed.swim.stats.coordinate_moved_nanos;
    assert_eq!(Some(Duration::from_nanos(moved)), distance(&start, &own));
    let (slot, now) = (bed.swim.roster.find(b"a").unwrap(), bed.swim.now);
    bed.services.ping_completed(&mut bed.swim, slot, Duration::ZERO, &payload(&somewhere()), now);
    assert_eq!((bed.swim.stats.coordinate_zero_rtts, counts(&bed)), (1, [2, 0, 0]));
    assert!(bed.swim.stats.coordinate_moved_nanos > moved);
    let own = known(&bed, "self").unwrap();

    // What an ack of this node says is where it is, in Serf's 130 bytes.
    let mut told = Vec::new();
    bed.services.ack_payload(&mut told);
    assert_eq!((told.len(), PingPayload::decode(&told).unwrap().coordinate), (130, own));

    bed.dead("a", 1, "other");
    assert_eq!((bed.says("a"), known(&bed, "a")), (Some(Status::Failed), Some(somewhere())));
    bed.run(Duration::from_secs(61));
    assert_eq!((bed.says("a"), known(&bed, "a")), (None, None));
    // Who takes the place in the table does not inherit.
    for peer in &bed.services.coordinates.as_ref().unwrap().peers {
        assert!(peer.coordinate().is_none() && peer.filter.is_empty());
    }
    bed.alive("bb", 1);
    assert_eq!(known(&bed, "bb"), None);
}

// upstream: TestSerf_PingDelegateVersioning, TestSerf_PingDelegateRogueCoordinate
#[test]
fn what_is_no_coordinate_of_this_space_changes_nothing() {
    let mut bed = bed(|_| {});
    let start = known(&bed, "self");
    let mut version_2 = payload(&somewhere());
    version_2[0] = 2;
    let sixteen = Coordinate { vec: Vector(smallvec::smallvec![0.01; MAX_DIMENSIONS]), ..somewhere() };
    let huge = Coordinate { vec: Vector([1e200; DIMENSIONS].into()), ..somewhere() };
    let below = Coordinate { height: -1.0, ..somewhere() };
    let whole = payload(&somewhere());
    let refused: [&[u8]; 6] =
        [&version_2, &payload(&sixteen), &payload(&huge), &payload(&below), &whole[..100], &[1]];
    for (n, payload) in refused.into_iter().enumerate() {
        ack(&mut bed, "a", payload);
        assert_eq!((known(&bed, "self"), known(&bed, "a")), (start.clone(), None));
        assert_eq!(counts(&bed), [0, n as u64 + 1, 0]);
    }
    // A member whose coordinates are off is no offender.
    ack(&mut bed, "a", &[]);
    assert_eq!(counts(&bed), [0, 6, 0]);
    ack(&mut bed, "a", &whole);
    assert_eq!(counts(&bed), [1, 6, 0]);
}

// upstream: TestSerf_Coordinates
#[test]
fn switched_off_nothing_is_told_and_nothing_believed() {
    let mut bed = bed(|config| {
        config.coordinates(false);
    });
    ack(&mut bed, "a", &payload(&somewhere()));
    let mut told = Vec::new();
    bed.services.ack_payload(&mut told);
    assert!(told.is_empty() && known(&bed, "self").is_none() && known(&bed, "a").is_none());
    assert_eq!(counts(&bed), [0; 3]);
}

/// The only collection that grows with what others send grows with the table.
#[test]
fn there_are_no_more_places_than_members() {
    let mut bed = bed(|config| {
        config.reconnect_timeout(Duration::from_secs(1));
    });
    for round in 0..50 {
        let name = alloc::format!("n{round}");
        bed.alive(&name, 1);
        ack(&mut bed, &name, &payload(&somewhere()));
        bed.dead(&name, 1, "other");
        bed.run(Duration::from_secs(120));
        assert!(known(&bed, &name).is_none() && !bed.changes().is_empty());
    }
    let places = bed.services.coordinates.as_ref().unwrap().peers.len();
    assert!(places <= bed.swim.roster.slots() as usize && places < 10, "{places}");
    assert_eq!(counts(&bed)[0], 50);
}

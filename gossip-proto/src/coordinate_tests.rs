//! The algorithm piece by piece, and against those who lie to it.
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn at(vec: &[f64]) -> Coordinate {
    Coordinate { vec: Vector(vec.into()), ..origin(vec.len()) }
}

fn client(dimensions: usize) -> Vivaldi {
    Vivaldi::new(dimensions, &Seed::from_u64(1)).unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

// upstream: TestClient_NewClient, TestCoordinate_NewCoordinate
#[test]
fn a_node_starts_at_the_origin() {
    assert!([0, MAX_DIMENSIONS + 1].map(|n| Vivaldi::new(n, &Seed::from_u64(1)).is_none()) == [true; 2]);
    let client = client(DIMENSIONS);
    let expected =
        Coordinate { vec: Vector(SmallVec::from_elem(0.0, 8)), error: 1.5, adjustment: 0.0, height: 1e-5 };
    assert_eq!((client.coordinate(), client.resets()), (&expected, 0));
}

// upstream: TestClient_Update
#[test]
fn a_node_moves_away_from_one_that_is_further_than_it_seems() {
    let mut client = client(3);
    client.update(&mut LatencyFilter::default(), &at(&[0.0, 0.0, 0.001]), millis(1012)).unwrap();
    // Straight below the other one.
    let moved = client.coordinate().clone();
    assert!(moved.vec[0] == 0.0 && moved.vec[1] == 0.0 && moved.vec[2] < 0.0, "{moved:?}");

    client.set(at(&[99.0, 0.0, 0.0])).unwrap();
    assert!(close(client.coordinate().vec[0], 99.0));
    assert_eq!(client.set(at(&[0.0; 2])), Err(Rejected::Dimensions));
    assert!(close(client.coordinate().vec[0], 99.0));
}

// upstream: TestClient_InvalidInPingValues
#[test]
fn a_round_trip_out_of_range_is_refused() {
    let mut client = client(8);
    let before = client.coordinate().clone();
    let mut filter = LatencyFilter::default();
    for rtt in [MAX_ROUND_TRIP + Duration::from_nanos(1), Duration::from_secs(3600), Duration::MAX] {
        assert_eq!(client.update(&mut filter, &origin(8), rtt), Err(Rejected::RoundTrip(rtt)));
    }
    assert_eq!((client.coordinate(), filter.is_empty()), (&before, true));
    for rtt in [MAX_ROUND_TRIP, Duration::ZERO] {
        assert_eq!(client.update(&mut filter, &origin(8), rtt), Ok(()));
    }
}

// upstream: TestClient_DistanceTo, TestCoordinate_DistanceTo, TestCoordinate_rawDistanceTo, TestCoordinate_dist_Example
#[test]
fn a_distance_has_heights_and_adjustments_in_it() {
    let mut client = client(3);
    client.set(Coordinate { height: 0.0, ..at(&[0.0; 3]) }).unwrap();
    let other = Coordinate { height: 0.0, ..at(&[0.0, 0.0, 12.345]) };
    assert_eq!(distance(client.coordinate(), &other), Some(millis(12_345)));

    let (mut a, mut b) = (at(&[-0.5, 1.3, 2.4]), at(&[1.2, -2.3, 3.4]));
    (a.height, b.height) = (0.0, 0.0);
    assert_eq!(distance_nanos(&a, &a), 0);
    assert_eq!(distance_nanos(&a, &b), distance_nanos(&b, &a));
    assert_eq!(raw_distance(&a, &b), 4.104875150354758);
    assert_eq!(distance_nanos(&a, &b), 4_104_875_150);
    // One that would make a distance negative is left out.
    a.adjustment = -50.0;
    assert_eq!(distance_nanos(&a, &b), 4_104_875_150);
    (a.adjustment, b.adjustment) = (0.1, 0.2);
    assert_eq!(distance_nanos(&a, &b), 4_404_875_150);
    (a.height, b.height) = (0.7, 0.1);
    assert_eq!(raw_distance(&a, &b), 4.904875150354758);
    assert_eq!(distance_nanos(&a, &b), 5_204_875_150);
    assert_eq!(distance(&a, &at(&[0.0; 2])), None);
    assert_eq!(distance(&a, &at(&[0.0, f64::NAN, 0.0])), None);
    assert_eq!(distance(&at(&[]), &at(&[])), None);
}

// upstream: TestClient_latencyFilter
#[test]
fn a_filter_gives_the_median_of_the_last_three() {
    let mut filter = LatencyFilter::default();
    let medians: Vec<_> = [0.201, 0.2, 0.207, 1.9, 0.203, 0.199, 0.211].map(|rtt| filter.push(rtt)).into();
    assert_eq!(medians, [0.201, 0.201, 0.201, 0.207, 0.207, 0.203, 0.203]);
    // Of long ones eight nanoseconds are lost at most, and what is impossible does not count as none.
    let mut filter = LatencyFilter::default();
    let long = [2.147483647, 2.147483648, 9.999999999, 1e30, 3.000000007].map(|rtt| filter.push(rtt));
    assert_eq!(long, [2.147483647, 2.147483648, 2.147483648, 9.999999992, 9.999999992]);
    // Another node's, and this one's after it was forgotten, starts over.
    assert_eq!(LatencyFilter::default().push(1.9), 1.9);
}

// upstream: TestCoordinate_IsValid, TestCoordinate_IsCompatibleWith
#[test]
fn what_is_no_place_is_refused() {
    let changes: [fn(&mut Coordinate, f64); 4] =
        [|c, x| c.vec[3] = x, |c, x| c.adjustment = x, |c, x| c.height = x, |c, x| c.error = x];
    let mut client = client(8);
    let before = client.coordinate().clone();
    for (which, change) in changes.into_iter().enumerate() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e200, -1e200, 100.1] {
            let mut other = origin(8);
            change(&mut other, value);
            let mut filter = LatencyFilter::default();
            assert_eq!(client.update(&mut filter, &other, millis(5)), Err(Rejected::Invalid), "{value}");
            assert_eq!(client.set(other), Err(Rejected::Invalid));
            assert!(filter.is_empty());
        }
        let mut other = origin(8);
        change(&mut other, -0.001);
        // A negative height or error is as impossible as an infinite one.
        assert_eq!(check(&other, 8).is_err(), which >= 2);
    }
    for dimensions in [0, 7, 9, 16] {
        let mut filter = LatencyFilter::default();
        assert_eq!(
            client.update(&mut filter, &at(&vec![0.0; dimensions]), millis(5)),
            Err(Rejected::Dimensions)
        );
    }
    assert_eq!(client.coordinate(), &before);
}

// upstream: TestCoordinate_ApplyForce
#[test]
fn a_force_pushes_along_the_line_between_the_two() {
    let mut client = client(3);
    client.apply(2.0, &[1.0, 0.0, 0.0], 0.0);
    assert_eq!(*client.coordinate.vec, [-2.0, 0.0, 0.0]);
    client.set(at(&[0.0; 3])).unwrap();
    client.apply(0.1, &[0.0, 1e-7, 0.0], 0.0);
    // At one place: somewhere, by as much as the force says, and the height stays.
    assert!(close(magnitude(&client.coordinate.vec), 0.1) && client.coordinate.height == HEIGHT_MIN);

    client.set(Coordinate { height: 0.5, ..at(&[0.0; 3]) }).unwrap();
    client.apply(0.2, &[1.0, 0.0, 0.0], 0.3);
    assert!(close(client.coordinate.height, 0.5 + 0.8 * 0.2));
    client.set(at(&[0.0; 3])).unwrap();
    client.apply(-1.0, &[1.0, 0.0, 0.0], 0.3);
    assert_eq!(client.coordinate.height, HEIGHT_MIN);
}

// upstream: TestCoordinate_unitVectorAt, TestCoordinate_add, TestCoordinate_diff, TestCoordinate_magnitude
#[test]
fn a_direction_is_random_only_where_there_is_none() {
    let mut client = client(3);
    client.set(at(&[1.0, 2.0, 3.0])).unwrap();
    assert_eq!(client.unit_from(&[0.0, 2.0, 3.0]), (SmallVec::from_slice(&[1.0, 0.0, 0.0]), 1.0));
    let (unit, distance) = client.unit_from(&[0.5, 0.6, 1.5]);
    assert!(close(magnitude(&unit), 1.0) && close(distance, 2.111_871_208_194_287_4), "{distance}");
    assert_eq!(magnitude(&[1.0, -2.0, 3.0]), 3.7416573867739413);
    let directions = [(); 3].map(|()| {
        let (unit, distance) = client.unit_from(&[1.0, 2.0, 3.0]);
        assert!(distance == 0.0 && close(magnitude(&unit), 1.0));
        unit
    });
    assert!(directions[0] != directions[1] && directions[1] != directions[2]);
}

#[test]
fn a_maximum_does_not_hide_what_is_not_a_number() {
    assert!(at_least(f64::NAN, 1.0).is_nan());
    assert_eq!([at_least(0.5, 1.0), at_least(2.0, 1.0)], [1.0, 2.0]);
}

// upstream: TestClient_NaN_Defense
#[test]
fn a_node_that_lost_its_place_starts_over_with_all_forgotten() {
    let mut client = client(8);
    for _ in 0..30 {
        client.update(&mut LatencyFilter::default(), &at(&[0.0; 8]), millis(100)).unwrap();
    }
    client.coordinate.vec[0] = f64::NAN;
    client.update(&mut LatencyFilter::default(), &at(&[0.05; 8]), millis(10)).unwrap();
    assert_eq!((client.coordinate(), client.resets()), (&origin(8), 1));
    // Nothing of before comes back, as it does upstream (Q9).
    client.update(&mut LatencyFilter::default(), &at(&[0.05; 8]), millis(10)).unwrap();
    let mut fresh = Vivaldi::new(8, &Seed::from_u64(1)).unwrap();
    fresh.update(&mut LatencyFilter::default(), &at(&[0.05; 8]), millis(10)).unwrap();
    assert_eq!((client.coordinate(), client.resets()), (fresh.coordinate(), 1));
}

/// A liar can drive a node on only by many samples, and beyond the limit it goes back to the origin.
#[test]
fn a_node_that_is_led_astray_comes_back() {
    let mut client = client(8);
    let lie = |client: &mut Vivaldi, at: f64, rtt: Duration| {
        let mut lure = Coordinate { error: 0.0, ..origin(8) };
        lure.vec[0] = at;
        client.update(&mut LatencyFilter::default(), &lure, rtt).unwrap();
        client.coordinate().vec[0]
    };
    let pulls = (0..200).position(|_| lie(&mut client, 100.0, Duration::ZERO) > 90.0).unwrap();
    assert!(pulls as f64 > 90.0 / MAX_STEP, "{pulls}");
    for _ in 0..200 {
        let behind = client.coordinate().vec[0] - 1.0;
        lie(&mut client, behind, MAX_ROUND_TRIP);
        if client.resets() > 0 {
            break;
        }
    }
    assert_eq!((client.coordinate(), client.resets()), (&origin(8), 1));
}

fn anything() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        any::<f64>(),
        -LIMIT..LIMIT,
        -1.0..1.0,
        Just(0.0),
        Just(1e200),
        Just(f64::NAN),
        Just(LIMIT),
        -1e-6..1e-6
    ]
    .boxed()
}

fn place(part: impl Strategy<Value = f64> + Clone) -> impl Strategy<Value = Coordinate> {
    let vec = proptest::collection::vec(part.clone(), 8);
    (vec, part.clone(), part.clone(), part).prop_map(|(vec, error, adjustment, height)| Coordinate {
        vec: Vector(vec.into()),
        error,
        adjustment,
        height,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Two forces of at most `MAX_STEP` each are all that one sample can exert, whatever it says.
    #[test]
    fn no_sample_moves_a_node_further_than_the_bound(
        own in place(prop_oneof![-LIMIT..LIMIT, -1.0..1.0, -1e-6..1e-6].boxed()),
        others in proptest::collection::vec((place(anything()), 0_u64..20_000_000_000), 1..40),
    ) {
        let mut client = client(8);
        let own = Coordinate { error: own.error.abs().min(ERROR_MAX), height: own.height.abs(), ..own };
        prop_assume!(client.set(own).is_ok());
        for (other, rtt) in others {
            let (before, resets) = (client.coordinate().clone(), client.resets());
            let refused = client.update(&mut LatencyFilter::default(), &other, Duration::from_nanos(rtt)).is_err();
            let after = client.coordinate();
            prop_assert!(check(after, 8).is_ok(), "{after:?}");
            if refused || client.resets() != resets {
                prop_assert_eq!(after, &if refused { before } else { origin(8) });
                continue;
            }
            let moved: Vec<_> = after.vec.iter().zip(before.vec.iter()).map(|(a, b)| a - b).collect();
            prop_assert!(magnitude(&moved) <= 2.0 * MAX_STEP + 1e-9, "{moved:?}");
            prop_assert!((after.height - before.height).abs() <= 2.0 * MAX_STEP + 1e-9);
            prop_assert!(after.adjustment.abs() <= MAX_SAMPLE / 2.0 && after.error <= ERROR_MAX);
        }
    }
}

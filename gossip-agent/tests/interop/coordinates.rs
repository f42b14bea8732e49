//! Network coordinates: real agents and our nodes place each other in one space.

use core::time::Duration;

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent as _, assert_no_complaints, wait_for_agreement};
use crate::wait::{HEARSAY, wait_until};

#[test]
fn serf_and_we_estimate_round_trips_to_each_other() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr();
    let mut serf_2 = Serf::start("serf-2", &Place::loopback(), &[]);
    serf_2.join(seed);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--join", &seed.to_string()]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--join", &seed.to_string()]);
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);

    // Between itself and one of ours, and between two of ours that it is neither of.
    for pair in [["serf-1", "ours-1"], ["ours-1", "ours-2"]] {
        let (rtt, took) = wait_until(&format!("serf to estimate {pair:?}"), PROBED, || serf_1.rtt(&pair));
        println!("serf rtt {pair:?}: {rtt} after {took:.2?}");
        assert!(milliseconds(&rtt) < LOOPBACK, "{rtt}");
    }
    for names in [&["serf-1"][..], &["serf-1", "serf-2"], &["serf-2", "ours-2"]] {
        let what = format!("ours to estimate {names:?}");
        let (rtt, took) = wait_until(&what, PROBED, || ours_1.rtt(names));
        println!("ours rtt {names:?}: {rtt} ms after {took:.2?}");
        assert!(rtt < LOOPBACK, "{rtt}");
    }
    for ours in [&mut ours_1, &mut ours_2] {
        assert!(ours.stat("coordinates_updated") > 0);
        assert_eq!(ours.stat("coordinates_rejected"), 0);
    }
    assert!(serf_1.log_lines("Rejected coordinate").is_empty());
    assert_no_complaints(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2]);
}

/// From `Estimated a <-> b rtt: 0.611 ms (using LAN coordinates)` or the like.
fn milliseconds(text: &str) -> f64 {
    let (_, rest) = text.split_once("rtt: ").unwrap_or_else(|| panic!("no figure: {text}"));
    rest.split(' ')
        .next()
        .and_then(|figure| figure.parse().ok())
        .unwrap_or_else(|| panic!("no figure: {text}"))
}

/// By then everybody has probed everybody else: one each second, in random order.
const PROBED: Duration = Duration::from_secs(30);
/// A round trip on one machine takes no longer, in milliseconds.
const LOOPBACK: f64 = 50.0;

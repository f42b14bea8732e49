//! User events reach everybody exactly once, from either kind of agent.

use core::time::Duration;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::agreement::key;
use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent as _, assert_no_complaints, wait_for_agreement};
use crate::wait::{HEARSAY, holds_for, wait_until};

#[test]
fn user_events_cross() {
    if needs::available(&["serf", "setpriv"]) {
        exactly_once("plain", &[], &[]);
    }
}

#[test]
fn user_events_cross_sealed_and_compressed() {
    if needs::available(&["serf", "setpriv"]) {
        let key = key(32);
        exactly_once(
            "sealed and compressed",
            &["-encrypt", &key],
            &["--encrypt", &key, "--compression", "all"],
        );
    }
}

fn exactly_once(variant: &str, for_serf: &[&str], for_ours: &[&str]) {
    let start_serf =
        |name: &str, more: &[&str]| Serf::start(name, &Place::loopback(), &[for_serf, more].concat());
    let start_ours =
        |name: &str, more: &[&str]| Ours::start(name, &Place::loopback(), &[for_ours, more].concat());
    let mut serf_1 = start_serf("serf-1", &[]);
    let seed = serf_1.addr().to_string();
    let mut serf_2 = start_serf("serf-2", &["-join", &seed]);
    let mut ours_1 = start_ours("ours-1", &["--join", &seed]);
    let mut ours_2 = start_ours("ours-2", &["--join", &ours_1.addr().to_string()]);
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);

    let begun = Instant::now();
    let mut fired = Vec::new();
    for round in 0..4 {
        // From a few bytes to nearly what the limit of 512 for an event leaves.
        let payload = format!("payload-{round}{}", ".".repeat(round * 130));
        serf_1.user_event("from-serf", &payload);
        ours_1.user_event("from-ours", &payload);
        fired.extend(["from-serf", "from-ours"].map(|name| format!("{name} {payload}")));
    }
    fired.sort();
    wait_until("all user events to reach all four agents", HEARSAY, || {
        all_have(
            &fired,
            &[serf_1.user_events(), serf_2.user_events(), ours_1.user_events(), ours_2.user_events()],
        )
    });
    println!(
        "user events, {variant}: {} fired, delivered by four agents within {:.2?}",
        fired.len(),
        begun.elapsed()
    );
    // Retransmissions and push/pulls go on; none of them may deliver an event again.
    holds_for("each event delivered exactly once", Duration::from_secs(4), || {
        all_have(
            &fired,
            &[serf_1.user_events(), serf_2.user_events(), ours_1.user_events(), ours_2.user_events()],
        )
    });
    agree_on_order(&[serf_1.user_events(), serf_2.user_events(), ours_1.user_events(), ours_2.user_events()]);

    // What went before a join stays unheard, unless the newcomer asks for it.
    let begun = Instant::now();
    let mut silent = start_ours("ours-3", &["--join", &seed]);
    let mut replaying = start_ours("ours-4", &["--replay", "--join", &seed]);
    let mut serf_replaying = start_serf("serf-3", &["-replay", "-join", &ours_1.addr().to_string()]);
    wait_until("the newcomers that replay to have all events", HEARSAY, || {
        all_have(&fired, &[replaying.user_events(), serf_replaying.user_events()])
    });
    println!(
        "user events, {variant}: replayed to newcomers of both kinds within {:.2?} of their start",
        begun.elapsed()
    );
    holds_for(
        "replayed events delivered exactly once, and only where wanted",
        Duration::from_secs(2),
        || {
            all_have(&fired, &[replaying.user_events(), serf_replaying.user_events()])?;
            match silent.user_events() {
                events if events.is_empty() => Ok(()),
                events => Err(format!("a newcomer that does not replay delivered {events:?}")),
            }
        },
    );
    ours_1.user_event("last", "to everybody");
    wait_until("the newcomer that does not replay to hear what comes after", HEARSAY, || {
        all_have(&["last to everybody".to_owned()], &[silent.user_events()])
    });
    assert_no_complaints(&mut [
        &mut serf_1,
        &mut serf_2,
        &mut serf_replaying,
        &mut ours_1,
        &mut ours_2,
        &mut silent,
        &mut replaying,
    ]);
}

/// Whether each list of `ltime name payload` holds exactly the events in `fired`, each once.
fn all_have(fired: &[String], delivered: &[Vec<String>]) -> Result<(), String> {
    delivered.iter().try_for_each(|events| {
        let mut names: Vec<&str> = events.iter().filter_map(|event| Some(event.split_once(' ')?.1)).collect();
        names.sort_unstable();
        if names == fired { Ok(()) } else { Err(format!("delivered {names:?}, fired {fired:?}")) }
    })
}

/// Every agent must give an event the same Lamport time.
fn agree_on_order(delivered: &[Vec<String>]) {
    let mut times = BTreeMap::new();
    for (ltime, event) in delivered.iter().flatten().filter_map(|event| event.split_once(' ')) {
        let known = *times.entry(event).or_insert(ltime);
        assert_eq!(known, ltime, "two Lamport times for {event}");
    }
}

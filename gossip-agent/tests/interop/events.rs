//! User events reach everybody exactly once, from either kind of agent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent as _, wait_for_agreement};
use crate::wait::{holds_for, wait_until};

#[test]
fn user_events_cross() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr().to_string();
    let mut serf_2 = Serf::start("serf-2", &Place::loopback(), &["-join", &seed]);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--join", &seed]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--join", &ours_1.addr().to_string()]);
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], Duration::from_secs(40));

    let begun = Instant::now();
    let mut fired = Vec::new();
    for round in 0..4 {
        let event = format!("from-serf payload-{round}");
        serf_1.user_event("from-serf", &format!("payload-{round}"));
        fired.push(event);
        let event = format!("from-ours payload-{round}");
        ours_1.user_event("from-ours", &format!("payload-{round}"));
        fired.push(event);
    }
    fired.sort();
    wait_until("all user events to reach all four agents", Duration::from_secs(20), || {
        all_have(
            &fired,
            &[serf_1.user_events(), serf_2.user_events(), ours_1.user_events(), ours_2.user_events()],
        )
    });
    println!("user events: {} fired, delivered by four agents within {:.2?}", fired.len(), begun.elapsed());
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
    let silent = Ours::start("ours-3", &Place::loopback(), &["--join", &seed]);
    let replaying = Ours::start("ours-4", &Place::loopback(), &["--replay", "--join", &seed]);
    let serf_replaying =
        Serf::start("serf-3", &Place::loopback(), &["-replay", "-join", &ours_1.addr().to_string()]);
    let (_, took) =
        wait_until("the newcomers that replay to have all events", Duration::from_secs(20), || {
            all_have(&fired, &[replaying.user_events(), serf_replaying.user_events()])
        });
    println!("user events: replayed to newcomers of both kinds within {:.2?} of their start", begun.elapsed());
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
    wait_until("the newcomer that does not replay to hear what comes after", Duration::from_secs(20), || {
        all_have(&["last to everybody".to_owned()], &[silent.user_events()])
    });
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

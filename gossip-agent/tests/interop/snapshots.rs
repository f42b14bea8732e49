//! Snapshot files handed from a serf agent to a node of ours, and back.

use std::fs;

use tempfile::TempDir;

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent as _, wait_for_agreement};
use crate::wait::{HEARSAY, wait_until};

/// A clock's time in the last line about it.
fn last(file: &str, clock: &str) -> u64 {
    let last = file.lines().rev().find_map(|line| line.strip_prefix(clock));
    last.and_then(|time| time.parse().ok()).unwrap_or(0)
}

#[test]
fn a_snapshot_changes_hands_and_back() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let directory = TempDir::new().expect("a directory for the snapshot");
    let path = directory.path().join("snapshot");
    let file = path.to_str().expect("a plain path").to_owned();
    let read = || fs::read_to_string(&path).unwrap_or_default();
    let place = Place::loopback();
    let mut rest = Serf::start("rest", &Place::loopback(), &[]);
    let mut other = Ours::start("other", &Place::loopback(), &["--join", &rest.addr().to_string()]);

    let mut first = Serf::start("moves", &place, &["-snapshot", &file, "-rejoin"]);
    first.join(rest.addr());
    wait_for_agreement(&mut [&mut rest, &mut other, &mut first], HEARSAY);
    rest.user_event("deploy", "one");
    wait_until("the event in serf's snapshot", HEARSAY, || {
        // An idle buffer is not flushed; another event does it.
        rest.user_event("tick", "");
        if read().contains("event-clock: ") { Ok(()) } else { Err(read()) }
    });
    first.process.kill();
    let before = read();

    // Ours goes on from serf's file, without being told whom to join.
    let mut second = Ours::start("moves", &place, &["--snapshot", &file]);
    let took = wait_for_agreement(&mut [&mut rest, &mut other, &mut second], HEARSAY);
    println!("snapshot: our node was back from serf's file after {took:.2?}");
    assert!(second.user_events().iter().all(|event| !event.contains("one")), "{:?}", second.user_events());
    rest.user_event("deploy", "two");
    let (heard_at, _) = wait_until("the next event", HEARSAY, || {
        let heard = second.user_events();
        let at = heard.iter().find_map(|event| event.strip_suffix(" deploy two")?.parse::<u64>().ok());
        at.ok_or_else(|| format!("{heard:?}"))
    });
    // Until the event is in the file, who takes it over may hear of it again.
    wait_until("our lines in the file", HEARSAY, || {
        let now = read();
        let goes_on = now.starts_with(&before[..before.rfind('\n').unwrap_or(0)]);
        if goes_on && last(&now, "event-clock: ") >= heard_at { Ok(()) } else { Err(now) }
    });
    second.process.kill();
    let ours = read();
    assert!(last(&ours, "clock: ") >= last(&before, "clock: "), "{ours}");

    // And serf from ours.
    let mut third = Serf::start("moves", &place, &["-snapshot", &file, "-rejoin"]);
    let took = wait_for_agreement(&mut [&mut rest, &mut other, &mut third], HEARSAY);
    println!("snapshot: serf was back from our file after {took:.2?}");
    assert!(third.user_events().is_empty(), "{:?}", third.user_events());
    assert!(third.log_lines("Unrecognized snapshot line").is_empty());
    rest.user_event("deploy", "three");
    wait_until("an event at the last", HEARSAY, || {
        let heard = third.user_events();
        if heard.iter().any(|event| event.ends_with("deploy three")) {
            Ok(())
        } else {
            Err(format!("{heard:?}"))
        }
    });
}

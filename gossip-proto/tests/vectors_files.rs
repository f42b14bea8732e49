//! Snapshot files that real agents wrote: read as they are, and written again with the same lines.
use crate::support;

use gossip_proto::{Clocks, Name, Restore, Snapshot};
use serde_json::Value;
use support::{Case, Tally, serf_cases};

#[test]
fn snapshots() {
    let mut tally = Tally::new("serf.file.snapshot");
    for case in serf_cases("file").iter().filter(|case| case.name.starts_with("file.snapshot.")) {
        tally.judge(case, &[], "", snapshot(case));
    }
    tally.finish();
}

fn snapshot(case: &Case) -> Result<(), String> {
    let file = case.bytes("hex");
    let Value::String(text) = &case.value["fields"]["text"] else { return Err("no text".into()) };
    let (members, last): (&[(&str, u16)], _) = match case.name.as_str() {
        "file.snapshot.running" => (
            &[("old-b", 21002), ("old-c", 21003), ("new-a", 22001), ("new-b", 22002), ("new-c", 22003)],
            Clocks { member: 11, event: 2, query: 11 },
        ),
        // The clock line behind the farewell counts, what stands before it does not (Q33).
        "file.snapshot.left" => (&[], Clocks { member: 4, event: 0, query: 0 }),
        other => return Err(format!("what does {other} say?")),
    };
    let mut alive: Vec<_> =
        members.iter().map(|(name, port)| (Name::from(*name), ([127, 0, 0, 1], *port).into())).collect();
    alive.sort();
    let own = Name::from(if case.name.ends_with("running") { "old-a" } else { "g-a" });
    let (mut read, whole) = Snapshot::replay(&file, false);
    same("bytes read", &whole, &text.len())?;
    same("lines not understood", &read.oddities(), &(0, 0))?;
    same("restored", &read.restore(&own, 0), &Restore { last, alive, learnt: Vec::new() })?;
    // With the other setting the farewell changes nothing, and what was crossed out stays crossed out.
    let rejoin = Snapshot::replay(&file, true).0.restore(&own, 0);
    if case.name.ends_with("left") {
        same("restored to rejoin", &rejoin.last, &Clocks { member: 4, event: 1, query: 1 })?;
        same(
            "members to rejoin",
            &rejoin.alive,
            &[(Name::from("g-b"), ([127, 0, 0, 1], 23002).into())].into(),
        )?;
    } else {
        same("restored to rejoin", &rejoin, &read.restore(&own, 0))?;
    }
    // What it comes to is written with lines of the agent's own.
    let mut ours = Vec::new();
    read.rewrite(&mut ours);
    let ours = String::from_utf8(ours).map_err(|error| error.to_string())?;
    match ours.lines().find(|line| !line.ends_with(": 0") && !text.lines().any(|theirs| theirs == *line)) {
        Some(line) => Err(format!("it has no line '{line}'")),
        None => Ok(()),
    }
}

fn same<T: PartialEq + core::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what}: {ours:?} for {theirs:?}")) }
}

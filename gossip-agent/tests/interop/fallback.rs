//! Where datagrams are lost and streams are not, members stay, and the node says what is wrong.

use core::time::Duration;
use std::fs;
use std::time::Instant;

use tempfile::NamedTempFile;

use crate::needs;
use crate::ours::Ours;
use crate::place::Cable;
use crate::serf::Serf;
use crate::view::{Agent as _, has_status, wait_for_agreement, wait_for_status};
use crate::wait::holds_for;

#[test]
fn stream_fallback() {
    if !needs::available(&["serf", "setpriv", "ip", "nft"]) || !needs::may_make_namespaces() {
        return;
    }
    let cable = Cable::new();
    // Two clusters of two over one cable: in a cluster of more a helper could hide what is lost.
    let seeking = NamedTempFile::with_suffix(".json").expect("a file for the configuration");
    fs::write(&seeking, r#"{ "reconnect_interval": "2s" }"#).expect("a file can be written");
    let seeking = ["--config-file", &seeking.path().display().to_string()];
    let mut near = Ours::start("near", &cable.left(), &seeking);
    let mut far = Ours::start("far", &cable.right(), &["--join", &near.addr().to_string()]);
    let mut ours = Ours::start("ours", &cable.left(), &seeking);
    let mut serf = Serf::start("serf", &cable.right(), &["-join", &ours.addr().to_string()]);
    wait_for_agreement(&mut [&mut near, &mut far], AGREEMENT);
    wait_for_agreement(&mut [&mut ours, &mut serf], AGREEMENT);

    let saved_before = [near.stat(SAVED), far.stat(SAVED), ours.stat(SAVED)];
    cable.cut("udp");
    let cut = Instant::now();
    holds_for("everybody alive without datagrams", Duration::from_secs(21), || {
        has_status(&mut [&mut near], "far", "alive")?;
        has_status(&mut [&mut far], "near", "alive")?;
        has_status(&mut [&mut ours], "serf", "alive")?;
        has_status(&mut [&mut serf], "ours", "alive")
    });
    let dropped = cable.dropped("udp");
    assert!(dropped > 0, "no datagram was lost: the cut does not cut");
    let saved = [near.stat(SAVED), far.stat(SAVED), ours.stat(SAVED)];
    for (agent, (before, after)) in ["near", "far", "ours"].iter().zip(saved_before.iter().zip(saved)) {
        assert!(after > before + 5, "{agent}: only {} probes were saved by the stream", after - before);
    }
    for (agent, other) in [(&near, "far"), (&far, "near"), (&ours, "serf")] {
        assert_eq!(agent.changes(other, "suspected").len(), 0, "{other} was suspected");
    }
    println!(
        "stream fallback: alive for {:.1?} without UDP; {dropped} datagrams dropped; probes saved by the stream: {saved:?}",
        cut.elapsed()
    );
    for process in [&near.process, &far.process, &ours.process, &serf.process] {
        assert!(
            process.count("network may be misconfigured") > 0,
            "an agent does not tell that only streams answer"
        );
    }

    // The control: it was the streams that kept them alive.
    cable.cut("tcp");
    let cut = Instant::now();
    wait_for_status(&mut [&mut near], "far", "failed", FAILURE);
    wait_for_status(&mut [&mut far], "near", "failed", FAILURE);
    wait_for_status(&mut [&mut ours], "serf", "failed", FAILURE);
    wait_for_status(&mut [&mut serf], "ours", "failed", FAILURE);
    println!("stream fallback: without TCP too, everybody failed after {:.1?}", cut.elapsed());

    // When the cable is whole again, a node seeks those it has lost.
    cable.mend("tcp");
    cable.mend("udp");
    let took = wait_for_agreement(&mut [&mut near, &mut far], RECONNECT);
    println!("reconnect: our nodes found each other again after {took:.1?}");
    let took = wait_for_agreement(&mut [&mut ours, &mut serf], RECONNECT);
    println!("reconnect: our node and serf's agent found each other again {took:.1?} later");
}

/// The counter of probes that only the stream answered.
const SAVED: &str = "probes_saved_by_stream";
const AGREEMENT: Duration = Duration::from_secs(20);
const RECONNECT: Duration = Duration::from_secs(25);
const FAILURE: Duration = Duration::from_secs(45);

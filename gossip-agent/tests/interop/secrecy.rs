//! What an eavesdropper sees.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::agreement::key;
use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::process::{Process, Signal};
use crate::serf::Serf;
use crate::view::{Agent as _, wait_for_agreement};
use crate::wait::wait_until;

/// A sealed cluster shows neither names nor tags nor payloads, by datagram or by stream; a plain one shows them all,
/// which proves that the capture would have seen them.
#[test]
fn nothing_in_the_clear() {
    if !needs::available(&["serf", "setpriv", "tshark"]) || !needs::may_make_namespaces() {
        return;
    }
    let plain = capture(None);
    for word in WORDS {
        assert!(contains(&plain, word), "a plain cluster does not show {word:?}: the capture proves nothing");
    }
    let sealed = capture(Some(&key(32)));
    assert!(sealed.len() > 2000, "only {} bytes captured", sealed.len());
    for word in WORDS {
        assert!(!contains(&sealed, word), "a sealed cluster shows {word:?}");
    }
    println!("secrecy: {} bytes of a plain and {} of a sealed cluster searched", plain.len(), sealed.len());
}

/// All packets of a cluster of one serf agent and two nodes of ours while it forms and carries an event.
fn capture(key: Option<&str>) -> Vec<u8> {
    let directory = TempDir::new().expect("a directory for the capture");
    let file = directory.path().join("capture");
    let places = [Place::loopback(), Place::loopback(), Place::loopback()];
    let filter =
        places.each_ref().map(|place| format!("host {} and port 7946", place.addr.ip())).join(" or ");
    let arguments = ["-q", "-i", "lo", "-F", "pcap", "-f", &filter, "-w"].map(str::to_owned);
    let arguments = [&arguments[..], &[file.display().to_string()]].concat();
    let mut tshark = Process::start("tshark", &["tshark"], &arguments);
    wait_until("the capture to begin", Duration::from_secs(15), || match tshark.count("Capture started") {
        0 if !tshark.is_running() => Err("tshark has ended".to_owned()),
        0 => Err("not begun".to_owned()),
        _ => Ok(()),
    });
    {
        let mut for_serf = vec!["-disable-compression"];
        let mut for_ours = vec!["--compression", "off"];
        for_serf.extend(key.iter().flat_map(|key| ["-encrypt", key]));
        for_ours.extend(key.iter().flat_map(|key| ["--encrypt", key]));
        let mut serf = Serf::start("needle-serf", &places[0], &for_serf);
        let seed = serf.addr().to_string();
        for_ours.extend(["--join", &seed]);
        let mut ours_1 = Ours::start("needle-ours", &places[1], &for_ours);
        let mut ours_2 = Ours::start("needle-third", &places[2], &for_ours);
        wait_for_agreement(&mut [&mut serf, &mut ours_1, &mut ours_2], Duration::from_secs(20));
        ours_1.user_event("needle-event", "needle-payload");
        wait_until("the event to arrive", Duration::from_secs(20), || {
            match serf.user_events().len() {
                0 => Err("not yet"),
                _ => Ok(()),
            }
            .map_err(str::to_owned)
        });
        thread::sleep(Duration::from_secs(1));
    }
    tshark.signal(Signal::Interrupt);
    tshark.wait_for_exit(Duration::from_secs(10));
    read(&file)
}

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

const WORDS: [&str; 5] = ["needle-serf", "needle-ours", "needle-third", "needle-event", "needle-payload"];

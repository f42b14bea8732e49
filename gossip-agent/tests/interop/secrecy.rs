//! What an eavesdropper sees.

use core::net::IpAddr;
use core::time::Duration;
use std::fs;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use crate::agreement::key;
use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::process::{Process, Signal};
use crate::serf::Serf;
use crate::view::{Agent as _, assert_no_complaints, wait_for_agreement};
use crate::wait::wait_until;

/// A sealed cluster shows neither names nor tags nor payloads, by datagram or by stream; a plain one shows them all,
/// which proves that the capture would have seen them.
#[test]
fn nothing_in_the_clear() {
    if !needs::available(&["serf", "setpriv", "tshark"]) || !needs::may_make_namespaces() {
        return;
    }
    let plain = capture(&["-disable-compression"], &["--compression", "off"]).bytes;
    for word in WORDS {
        assert!(contains(&plain, word), "a plain cluster does not show {word:?}: the capture proves nothing");
    }
    let key = key(32);
    let sealed =
        capture(&["-encrypt", &key, "-disable-compression"], &["--encrypt", &key, "--compression", "off"])
            .bytes;
    assert!(sealed.len() > 2000, "only {} bytes captured", sealed.len());
    for word in WORDS {
        assert!(!contains(&sealed, word), "a sealed cluster shows {word:?}");
    }
    println!("secrecy: {} bytes of a plain and {} of a sealed cluster searched", plain.len(), sealed.len());
}

/// Where both kinds compress, the packets are compressed, and yet understood.
#[test]
fn compressed_packets_are_sent_and_read() {
    if !needs::available(&["serf", "setpriv", "tshark"]) || !needs::may_make_namespaces() {
        return;
    }
    let off = capture(&["-disable-compression"], &["--compression", "off"]);
    assert_eq!(off.compressed(), [0; 3], "compressed packets where nobody compresses");
    let on = capture(&[], &["--compression", "all"]);
    let compressed = on.compressed();
    assert!(
        compressed.iter().all(|&count| count > 0),
        "no compressed packet from one of {:?}: {compressed:?}",
        on.senders
    );
    println!("compression: compressed datagrams of serf's agent and of our two nodes: {compressed:?}");
}

/// What went over the wire, as a capture file.
struct Capture {
    bytes: Vec<u8>,
    senders: [IpAddr; 3],
}

impl Capture {
    /// How many datagrams of each sender are of memberlist's type `compress`, under a checksum or not.
    fn compressed(&self) -> [usize; 3] {
        let is_compressed = |payload: &[u8]| match payload {
            [HAS_CRC, _, _, _, _, kind, ..] | [kind, ..] => *kind == COMPRESS,
            [] => false,
        };
        let datagrams = self.datagrams();
        assert!(!datagrams.is_empty(), "no datagrams in the capture");
        self.senders.map(|sender| {
            datagrams.iter().filter(|(from, payload)| *from == sender && is_compressed(payload)).count()
        })
    }

    /// Sender and payload of each UDP datagram. A record is a header of 16 bytes (length at 8), an Ethernet header of 14,
    /// an IPv4 header of 20 and a UDP header of 8.
    fn datagrams(&self) -> Vec<(IpAddr, &[u8])> {
        let mut datagrams = Vec::new();
        let mut rest = self.bytes.get(24..).unwrap_or_default();
        while let Some((header, after)) = rest.split_at_checked(16) {
            let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
            let Some((frame, after)) = after.split_at_checked(length) else { break };
            rest = after;
            if frame.len() >= 42 && frame[14] == 0x45 && frame[23] == UDP {
                datagrams.push((IpAddr::from([frame[26], frame[27], frame[28], frame[29]]), &frame[42..]));
            }
        }
        datagrams
    }
}

/// Runs a cluster of one serf agent and two nodes of ours, with these options, until it has formed and carried an event.
fn capture(for_serf: &[&str], for_ours: &[&str]) -> Capture {
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
        let mut serf = Serf::start("needle-serf", &places[0], for_serf);
        let seed = serf.addr().to_string();
        let for_ours = [for_ours, &["--join", &seed]].concat();
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
        assert_no_complaints(&mut [&mut serf, &mut ours_1, &mut ours_2]);
    }
    tshark.signal(Signal::Interrupt);
    tshark.wait_for_exit(Duration::from_secs(10));
    let senders = places.map(|place| place.addr.ip());
    Capture { bytes: read(&file), senders }
}

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

const WORDS: [&str; 5] = ["needle-serf", "needle-ours", "needle-third", "needle-event", "needle-payload"];
/// memberlist's message types and the protocol number.
const COMPRESS: u8 = 9;
const HAS_CRC: u8 = 12;
const UDP: u8 = 17;

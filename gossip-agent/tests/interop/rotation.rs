//! A cluster of both kinds changes its key while user events fly, told by either kind, and loses none of them.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tempfile::TempDir;

use crate::agreement::key;
use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent, assert_no_complaints, wait_for_agreement};
use crate::wait::{HEARSAY, wait_until};

#[test]
fn keys_are_rotated_from_either_side_under_a_stream_of_events() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let [first, second, third] = [32, 16, 24].map(key);
    let files = Files::new(&first);
    let places: [Place; 6] = core::array::from_fn(|_| Place::loopback());
    let seed = places[0].addr.to_string();
    let start_serf = |number: usize| {
        let file = files.path(number).display().to_string();
        let mut options = vec!["-keyring-file", &file];
        options.extend((number > 0).then_some(["-join", &seed]).into_iter().flatten());
        Serf::start(&format!("serf-{}", number + 1), &places[number], &options)
    };
    let start_ours = |number: usize| {
        let file = files.path(number).display().to_string();
        let name = format!("ours-{}", number - 2);
        Ours::start(&name, &places[number], &["--keyring-file", &file, "--join", &seed])
    };
    let (mut serf_1, mut serf_2, mut serf_3) = (start_serf(0), start_serf(1), start_serf(2));
    let (mut ours_1, mut ours_2, mut ours_3) = (start_ours(3), start_ours(4), start_ours(5));
    {
        let mut all: [&mut dyn Agent; 6] =
            [&mut serf_1, &mut serf_2, &mut serf_3, &mut ours_1, &mut ours_2, &mut ours_3];
        wait_for_agreement(&mut all, HEARSAY);
    }

    let stream = Stream::start([places[1].rpc, places[4].rpc]);
    // By a serf agent; in between the other kind lists what there is.
    let step = |action: &str, key: &str| {
        done(&format!("serf keys -{action}"), || serf_1.keys(&[&format!("-{action}={key}")]));
    };
    step("install", &second);
    let answer = ours_1.keys("list", None).expect("a list");
    for key in [&first, &second] {
        assert_eq!(answer["keys"][key], 6, "{answer}");
    }
    step("use", &second);
    step("remove", &first);
    files.hold(&[&second]);

    // And by one of ours.
    for (action, key) in [("install", &third), ("use", &third), ("remove", &second)] {
        done(action, || ours_2.keys(action, Some(key)).map(drop));
    }
    files.hold(&[&third]);
    wait_until("serf to list the key of all six", LONG, || {
        let listed = serf_2.run(&["keys", "-list"], &[])?;
        let counted = listed.lines().filter(|line| line.contains('['));
        let counted: Vec<Vec<_>> = counted.map(|line| line.split_whitespace().collect()).collect();
        if counted == [[third.as_str(), "[6/6]"]] { Ok(()) } else { Err(listed) }
    });
    // Errors are told as Serf tells them.
    wait_until("all six to refuse", LONG, || {
        let refused = serf_3.keys(&[&format!("-remove={third}")]).expect_err("it is the primary key");
        let all = ["serf-1", "serf-2", "serf-3", "ours-1", "ours-2", "ours-3"];
        if all.iter().all(|name| refused.contains(name)) { Ok(()) } else { Err(refused) }
    });
    let answer = ours_3.keys("use", Some(&first)).expect_err("nobody has it any more");
    assert!(answer.contains("6/6 nodes reported failure"), "{answer}");

    let fired = stream.stop();
    assert!(fired.len() > 20, "{} events", fired.len());
    wait_until("all events to reach all six", HEARSAY, || {
        let heard = [&serf_1, &serf_2, &serf_3]
            .map(Serf::user_events)
            .into_iter()
            .chain([&ours_1, &ours_2, &ours_3].map(Ours::user_events));
        for (who, events) in heard.enumerate() {
            let payloads: BTreeSet<_> =
                events.iter().filter_map(|event| event.rsplit(' ').next()).map(str::to_owned).collect();
            let missing: Vec<_> = fired.difference(&payloads).collect();
            if !missing.is_empty() {
                return Err(format!("{who} misses {missing:?} of {}", fired.len()));
            }
            if events.len() != fired.len() {
                return Err(format!("{who} heard {} events, not {}", events.len(), fired.len()));
            }
        }
        Ok(())
    });
    println!("keys rotated twice under {} events, none lost", fired.len());
    // Nobody ever sent what another one could not open.
    for serf in [&mut serf_1, &mut serf_2, &mut serf_3] {
        assert_eq!(serf.log_lines("decrypt"), [""; 0]);
    }
    for ours in [&mut ours_1, &mut ours_2, &mut ours_3] {
        assert_eq!((ours.stat("dropped_seal"), ours.stat("keyring_unstored")), (0, 0));
    }
    assert_no_complaints(&mut [&mut ours_1, &mut ours_2, &mut ours_3]);

    // With the keys of its file a node comes back.
    ours_3.leave();
    let mut again = start_ours(5);
    let mut all: [&mut dyn Agent; 6] =
        [&mut serf_1, &mut serf_2, &mut serf_3, &mut ours_1, &mut ours_2, &mut again];
    wait_for_agreement(&mut all, HEARSAY);
}

/// Does a step again until all six report success, as [`LONG`] says why.
fn done(what: &str, mut step: impl FnMut() -> Result<(), String>) {
    // For events under the keys as they are.
    thread::sleep(Duration::from_millis(500));
    let (_, took) = wait_until(what, LONG, &mut step);
    println!("{what}: done by all after {took:.2?}");
}

/// Upstream's queries are best effort: each node that hears one passes it on in four datagrams, to whom chance names.
/// Now and then one misses somebody, and takes its whole timeout of three seconds to say so.
const LONG: Duration = Duration::from_secs(40);

impl Serf {
    fn keys(&self, words: &[&str]) -> Result<(), String> {
        self.run(&[&["keys"], words].concat(), &[]).map(drop)
    }
}

impl Ours {
    fn keys(&mut self, action: &str, key: Option<&str>) -> Result<Value, String> {
        let mut command = serde_json::json!({ "keys": action });
        if let Some(key) = key {
            command["key"] = key.into();
        }
        let answer = self.try_ask(&command)?;
        if answer["failure"].is_null() { Ok(answer) } else { Err(answer.to_string()) }
    }
}

/// A keyring file for each agent.
struct Files(TempDir);

impl Files {
    fn new(key: &str) -> Self {
        let files = Self(TempDir::new().expect("a directory"));
        for number in 0..6 {
            fs::write(files.path(number), format!("[\"{key}\"]")).expect("a file");
        }
        files
    }

    fn path(&self, number: usize) -> PathBuf {
        self.0.path().join(format!("ring-{number}"))
    }

    /// All have these keys and no others.
    fn hold(&self, keys: &[&str]) {
        for number in 0..6 {
            let text = fs::read_to_string(self.path(number)).expect("a file");
            let held: Vec<String> = serde_json::from_str(&text).expect("a JSON array of strings");
            assert_eq!(held, keys, "file {number}");
        }
    }
}

/// Fires user events by turns at two agents, several a second.
struct Stream {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Stream {
    fn start(at: [SocketAddr; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut fired = BTreeSet::new();
            while !stopped.load(Ordering::Relaxed) {
                let payload = format!("n{}", fired.len());
                let rpc = format!("-rpc-addr={}", at[fired.len() % 2]);
                let words = ["10", "serf", "event", &rpc, "-coalesce=false", "tick", &payload];
                let output = Command::new("timeout").args(words).output().expect("serf event");
                assert!(output.status.success(), "{output:?}");
                fired.insert(payload);
                thread::sleep(Duration::from_millis(100));
            }
            fired
        });
        Self { stop, thread }
    }

    fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("all events were taken")
    }
}

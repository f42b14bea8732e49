//! The same event handler script, run by both agents: it must not be able to tell which of them runs it.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::Agent as _;
use crate::wait::wait_until;

#[test]
fn a_script_is_told_the_same_by_both_agents() {
    if !needs::available(&["serf", "setpriv", "timeout"]) {
        return;
    }
    let directory = TempDir::new().expect("a directory for what the scripts write");
    let script = directory.path().join("handler.sh");
    let text = "{ env | grep '^SERF_' | LC_ALL=C sort; echo ---; cat; echo ===; } >> \"$1\"; echo \"heard $SERF_EVENT\"\n";
    fs::write(&script, text).expect("a file can be written");
    let out = |name: &str| directory.path().join(name);
    let handler = |name: &str| {
        format!(
            "member-join,member-leave,user:compare,query:compare=sh {} {}",
            script.display(),
            out(name).display()
        )
    };
    let (at_serf, at_ours) = (handler("serf"), handler("ours"));
    let mut serf = Serf::start("serf", &Place::loopback(), &["-event-handler", &at_serf]);
    let joined_itself = |name: &str| {
        let has_own = |record: &Record| record.input.contains(&format!("{name}\t"));
        records(&out(name)).iter().any(|record| record.event == "SERF_EVENT=member-join" && has_own(record))
    };
    let join = serf.addr().to_string();
    let mut ours = Ours::start("ours", &Place::loopback(), &["--join", &join, "--event-handler", &at_ours]);
    // What comes later must not be folded with this.
    wait_for(&out("serf"), "ours\t");
    wait_for(&out("ours"), "serf\t");
    assert!(joined_itself("serf") && joined_itself("ours"), "each is told that it joined itself");

    let options = ["--join", &join, "--tag", "odd\tkey=a\nb", "--tag", "empty="];
    let mut third = Ours::start("third", &Place::loopback(), &options);
    same(&out("serf"), &out("ours"), "SERF_EVENT=member-join", "third\t");
    for payload in ["", "no newline", "one newline\n", "\ttwo\n\n"] {
        ours.user_event("compare", payload);
    }
    same(&out("serf"), &out("ours"), "SERF_EVENT=user", "\ttwo\n\n");
    let answers = serf.query("compare", "load", 3).expect("an answer");
    for name in ["serf", "ours"] {
        assert_eq!(answers["Responses"][name], "heard query\n", "{answers}");
    }
    same(&out("serf"), &out("ours"), "SERF_EVENT=query", "load\n");
    third.leave();
    same(&out("serf"), &out("ours"), "SERF_EVENT=member-leave", "third\t");
    assert!(serf.process.is_running() && ours.process.is_running());
}

/// Both scripts must have been told of the event, and the same of it.
fn same(one: &Path, other: &Path, event: &str, input: &str) {
    let [one, other] = [one, other].map(|path| {
        let what = format!("{event} with {input:?} in {}", path.display());
        let (records, _) = wait_until(&what, PATIENCE, || {
            let records = records(path);
            let last = records.iter().any(|record| record.event == event && record.input.contains(input));
            if last { Ok(records) } else { Err(format!("{records:#?}")) }
        });
        // Bursts may be folded differently; members are told one by one here.
        let mut all: BTreeSet<Record> = BTreeSet::new();
        for record in records.into_iter().filter(|record| record.event == event) {
            let about = |line: &&str| !line.starts_with("serf\t") && !line.starts_with("ours\t");
            match event.contains("member") {
                true => all.extend(record.input.lines().filter(about).map(|line| record.with(line))),
                false => drop(all.insert(record.clone())),
            }
        }
        all
    });
    assert!(!one.is_empty());
    assert_eq!(one, other);
}

/// One run of the script. Of what differs from node to node only the names count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    event: String,
    environment: Vec<String>,
    input: String,
}

impl Record {
    /// About one member, its tags in order: Go tells them in any.
    fn with(&self, line: &str) -> Self {
        let (head, tags) = line.rsplit_once('\t').expect("four fields");
        let mut tags: Vec<&str> = tags.split(',').collect();
        tags.sort_unstable();
        Self { input: format!("{head}\t{}", tags.join(",")), ..self.clone() }
    }
}

fn records(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut records = Vec::new();
    // What comes after the last mark is being written.
    let mut parts: Vec<&str> = text.split("===\n").collect();
    parts.pop();
    for part in parts {
        let (environment, input) = part.split_once("---\n").expect("a mark after the environment");
        let own = ["SERF_SELF_", "SERF_TAG_", "SERF_RPC_"];
        let environment: Vec<String> = environment
            .lines()
            .map(|line| match own.iter().any(|prefix| line.starts_with(prefix)) {
                true => line.split('=').next().unwrap_or_default().to_owned(),
                false => line.to_owned(),
            })
            .collect();
        let event = environment.iter().find(|line| line.starts_with("SERF_EVENT=")).cloned();
        let event = event.expect("every run has an event");
        records.push(Record { event, environment, input: input.to_owned() });
    }
    records
}

fn wait_for(path: &PathBuf, text: &str) {
    wait_until(&format!("{text:?} in {}", path.display()), PATIENCE, || {
        let have = fs::read_to_string(path).unwrap_or_default();
        if have.contains(text) { Ok(()) } else { Err(have) }
    });
}

/// Serf folds for up to 3 seconds.
const PATIENCE: Duration = Duration::from_secs(15);

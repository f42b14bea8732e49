//! The RPC protocol: each command of either program against either agent.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::process::Process;
use crate::serf::Serf;
use crate::wait::wait_until;

/// A program that talks to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Serf,
    Ours,
}

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
struct Ran {
    ok: bool,
    out: String,
    err: String,
}

impl Program {
    fn path(self) -> &'static str {
        match self {
            Self::Serf => "serf",
            Self::Ours => env!("CARGO_BIN_EXE_gossip"),
        }
    }

    /// Runs a command with Go's flags, against the agent whose RPC is at `rpc`.
    fn run(self, rpc: SocketAddr, words: &[&str]) -> Ran {
        let rpc = format!("-rpc-addr={rpc}");
        let mut command = Command::new("timeout");
        command.args(["20", self.path()]).args(&words[..1]).arg(&rpc).args(&words[1..]);
        let output = command.output().unwrap_or_else(|error| panic!("{self:?} {words:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// As `run`; the command must succeed. Returns what it printed.
    #[track_caller]
    fn expect(self, rpc: SocketAddr, words: &[&str]) -> String {
        let ran = self.run(rpc, words);
        assert!(ran.ok, "{self:?} {words:?}: {ran:?}");
        ran.out
    }

    /// As `run`; the command must fail with this text.
    #[track_caller]
    fn refused(self, rpc: SocketAddr, words: &[&str], text: &str) {
        let ran = self.run(rpc, words);
        assert!(!ran.ok, "{self:?} {words:?}: {ran:?}");
        assert!(ran.out.contains(text) || ran.err.contains(text), "{self:?} {words:?}: {text:?} in {ran:?}");
    }
}

/// Agents `one` and `other` are joined; `program` does all that does not need an answer of other members.
#[track_caller]
fn basics(program: Program, one: &Place, other: &Place) {
    let rpc = one.rpc;
    let joined = program.expect(rpc, &["join", "-replay=false", &other.addr.to_string()]);
    assert_eq!(joined, "Successfully joined cluster by contacting 1 nodes.\n");
    program.refused(rpc, &["join", "127.0.0.1:1"], "refused");
    wait_until("both to be listed", SOON, || {
        let text = program.expect(rpc, &["members"]);
        if text.lines().count() == 2 { Ok(()) } else { Err(text) }
    });

    program.expect(rpc, &["tags", "-set", "dc=east", "-set", "x=a=b", "-delete", "of"]);
    let text = program.expect(rpc, &["members", "-name", "one"]);
    let mut cells: Vec<&str> = text.split_whitespace().collect();
    let mut tags: Vec<&str> = cells.pop().unwrap_or_default().split(',').collect();
    tags.sort_unstable();
    assert_eq!(cells, ["one", &one.addr.to_string(), "alive"]);
    assert_eq!(tags[..1], ["dc=east"]);
    assert_eq!(tags.last(), Some(&"x=a=b"));
    assert!(!text.contains("of="), "{text}");

    let names = |words: &[&str]| {
        let text = program.expect(rpc, &[&["members", "-format=json"][..], words].concat());
        let listing: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let members = listing["members"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            members.iter().map(|member| member["name"].as_str().unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&[]), ["one", "other"]);
    assert_eq!(names(&["-status", "alive", "-tag", "dc=ea.*"]), ["one"]);
    assert_eq!(names(&["-name", "o.*", "-tag", "dc="]), ["other"], "a tag that is missing is empty");
    assert!(names(&["-name", "on"]).is_empty(), "the whole name must match");
    let detailed = program.expect(rpc, &["members", "-detailed"]);
    assert!(detailed.contains("Protocol Version: 5  Available Protocol Range: [2, 5]"), "{detailed}");

    let sent = program.expect(rpc, &["event", "-coalesce=false", "deploy", "v1"]);
    assert_eq!(sent, "Event 'deploy' dispatched! Coalescing enabled: false\n");
    let long = "x".repeat(600);
    program.refused(rpc, &["event", "deploy", &long], "exceeds");

    let text = program.expect(rpc, &["info"]);
    for line in ["agent:\n\tname = one\n", "\tmembers = 2\n", "\tdc = east\n", "\tencrypted = false\n"] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    let info: Value = serde_json::from_str(&program.expect(rpc, &["info", "-format", "json"])).expect("JSON");
    assert_eq!(info["serf"]["members"], "2", "{info}");
    assert!(info["serf"]["event_time"].as_str().is_some_and(|time| time != "0"), "{info}");

    program.expect(rpc, &["force-leave", "nobody"]);
    program.expect(rpc, &["force-leave", "-prune", "nobody"]);
}

/// The log comes, those lines of before and those that follow, and so do events.
#[track_caller]
fn monitor(program: Program, one: &Place) {
    let arguments = ["monitor".to_owned(), format!("-rpc-addr={}", one.rpc), "-log-level=DEBUG".to_owned()];
    let mut monitor = Process::start("monitor", &[program.path()], &arguments);
    wait_until("the lines of before", SOON, || match monitor.count("EventMemberJoin: one") {
        0 => Err("not there".to_owned()),
        _ => Ok(()),
    });
    program.expect(one.rpc, &["event", "seen-live", "payload-of-it"]);
    wait_until("an event", SOON, || match monitor.count("seen-live") {
        0 => Err("not there".to_owned()),
        _ => Ok(()),
    });
    program.expect(one.rpc, &["tags", "-set", "seen=live"]);
    wait_until("a change of a member", SOON, || match monitor.count("member-update") {
        0 => Err("not there".to_owned()),
        _ => Ok(()),
    });
    assert!(monitor.is_running());
}

/// Asks both members, and some.
#[track_caller]
fn queries(program: Program, one: &Place) {
    let rpc = one.rpc;
    wait_until("a query that both acknowledge", SOON, || {
        let text = program.expect(rpc, &["query", "-timeout", "1s", "ask", "pay"]);
        if text.contains("Total Acks: 2") { Ok(()) } else { Err(text) }
    });
    let text = program.expect(rpc, &["query", "-timeout=1s", "-node", "other", "-format", "json", "ask"]);
    let answers: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(answers["Acks"], serde_json::json!(["other"]), "{text}");
    let text = program.expect(rpc, &["query", "-timeout=1s", "-no-ack", "-tag", "of=nobody", "ask"]);
    assert!(text.contains("Total Responses: 0") && !text.contains("Ack"), "{text}");
    program.refused(rpc, &["query", "_serf_x"], "Queries cannot contain the '_serf_' prefix");
    let text = program.expect(rpc, &["reachability", "-verbose"]);
    assert!(
        text.contains("Ack from 'other'") && text.contains("Successfully contacted all live nodes"),
        "{text}"
    );
}

/// Coordinates are there once the two have probed each other.
#[track_caller]
fn rtt(program: Program, one: &Place) {
    let (text, _) = wait_until("both coordinates", SOON, || {
        let ran = program.run(one.rpc, &["rtt", "other"]);
        if ran.ok { Ok(ran.out) } else { Err(format!("{ran:?}")) }
    });
    assert!(text.starts_with("Estimated other <-> one rtt: ") && text.ends_with(" ms\n"), "{text}");
    program.refused(one.rpc, &["rtt", "nobody"], "Could not find a coordinate for node \"nobody\"");
}

/// From the second key back to one: both agents have begun with `KEY`.
#[track_caller]
fn keys(program: Program, rpc: SocketAddr) {
    let listed = |keys: &[&str]| {
        let text = program.expect(rpc, &["keys", "-list"]);
        // Serf's program lists them in the order of a Go map.
        let mut lines: Vec<&str> = text.lines().filter(|line| line.contains('/')).collect();
        lines.sort_unstable();
        let mut wanted: Vec<String> = keys.iter().map(|key| format!("{key}  [2/2]")).collect();
        wanted.sort();
        assert_eq!(lines, wanted, "{text}");
    };
    listed(&[KEY]);
    program.expect(rpc, &["keys", "-install", SECOND_KEY]);
    listed(&[KEY, SECOND_KEY]);
    program.refused(rpc, &["keys", "-remove", KEY], "2/2 nodes reported failure");
    program.expect(rpc, &["keys", "-use", SECOND_KEY]);
    program.expect(rpc, &["keys", "-remove", KEY]);
    listed(&[SECOND_KEY]);
    program.refused(rpc, &["keys", "-install", "not base64!"], "base64");
}

/// All of it, against a `serf agent`, which is gone in the end.
#[track_caller]
fn drive_serf(program: Program) {
    let (one, other) = (Place::loopback(), Place::loopback());
    let mut agent = Serf::start("one", &one, &[]);
    let _other = Serf::start("other", &other, &[]);
    basics(program, &one, &other);
    queries(program, &one);
    rtt(program, &one);
    monitor(program, &one);
    let left = program.expect(one.rpc, &["leave"]);
    assert_eq!(left, "Graceful leave complete\n");
    assert!(agent.process.wait_for_exit(SOON).success());
    program.refused(one.rpc, &["members"], "refused");
}

#[test]
fn our_commands_drive_a_serf_agent() {
    if needs::available(&["serf", "setpriv", "timeout"]) {
        drive_serf(Program::Ours);
    }
}

/// What these tests expect is what Serf's own program shows.
#[test]
fn serf_commands_drive_a_serf_agent() {
    if needs::available(&["serf", "setpriv", "timeout"]) {
        drive_serf(Program::Serf);
    }
}

#[test]
fn our_commands_change_the_keys_of_serf_agents() {
    if !needs::available(&["serf", "setpriv", "timeout"]) {
        return;
    }
    let (one, other) = (Place::loopback(), Place::loopback());
    let _one = Serf::start("one", &one, &["-encrypt", KEY]);
    let other_agent = Serf::start("other", &other, &["-encrypt", KEY]);
    other_agent.join(one.addr);
    keys(Program::Ours, one.rpc);
}

/// All of it, against two agents of ours.
#[track_caller]
fn drive_ours(program: Program) {
    let (one, other) = (Place::loopback(), Place::loopback());
    let mut agent = Ours::start("one", &one, &[]);
    let _other = Ours::start("other", &other, &[]);
    basics(program, &one, &other);
    queries(program, &one);
    rtt(program, &one);
    monitor(program, &one);
    let left = program.expect(one.rpc, &["leave"]);
    assert_eq!(left, "Graceful leave complete\n");
    assert!(agent.process.wait_for_exit(SOON).success());
    program.refused(one.rpc, &["members"], "refused");
}

#[test]
fn serf_commands_drive_our_agent() {
    if needs::available(&["serf", "setpriv", "timeout"]) {
        drive_ours(Program::Serf);
    }
}

#[test]
fn our_commands_drive_our_agent() {
    if needs::available(&["setpriv", "timeout"]) {
        drive_ours(Program::Ours);
    }
}

/// Two agents of ours, and one of each.
#[track_caller]
fn change_keys(program: Program) {
    for mixed in [false, true] {
        let (one, other) = (Place::loopback(), Place::loopback());
        let _one = Ours::start("one", &one, &["-encrypt", KEY]);
        let _others: (Option<Ours>, Option<Serf>) = if mixed {
            let serf = Serf::start("other", &other, &["-encrypt", KEY]);
            serf.join(one.addr);
            (None, Some(serf))
        } else {
            (Some(Ours::start("other", &other, &["-encrypt", KEY, "-join", &one.addr.to_string()])), None)
        };
        keys(program, one.rpc);
    }
}

#[test]
fn serf_commands_change_the_keys_of_our_agents() {
    if needs::available(&["serf", "setpriv", "timeout"]) {
        change_keys(Program::Serf);
    }
}

#[test]
fn our_commands_change_the_keys_of_our_agents() {
    if needs::available(&["serf", "setpriv", "timeout"]) {
        change_keys(Program::Ours);
    }
}

#[test]
fn our_agent_asks_for_the_secret() {
    if !needs::available(&["serf", "setpriv", "timeout"]) {
        return;
    }
    let directory = TempDir::new().expect("a directory for the configuration");
    let file = directory.path().join("rpc.json");
    fs::write(&file, r#"{"rpc_auth": "s3cret"}"#).expect("the configuration can be written");
    let place = Place::loopback();
    let _agent = Ours::start("one", &place, &["--config-file", &file.display().to_string()]);
    for program in [Program::Serf, Program::Ours] {
        let listed = program.expect(place.rpc, &["members", "-rpc-auth=s3cret"]);
        assert!(listed.starts_with("one "), "{listed}");
        program.refused(place.rpc, &["members"], "Authentication required");
        program.refused(place.rpc, &["event", "deploy"], "Authentication required");
        program.refused(place.rpc, &["leave", "-rpc-auth=wrong"], "Invalid authentication token");
        let events = program.expect(place.rpc, &["info", "-rpc-auth=s3cret"]);
        assert!(events.contains("event_time = 1\n"), "no event was sent: {events}");
    }
}

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECOND_KEY: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";
const SOON: Duration = Duration::from_secs(20);

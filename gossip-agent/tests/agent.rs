//! What the agent does beside gossiping: event handlers, the tags file, reloading.
#![cfg(unix)]

mod support;

use core::time::Duration;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use support::{Agent, Killed, file, refused};
use transport_tokio::gossip_proto::{Ending, Playback, StepKind};

/// Waits until a script has written a line that fits, and returns all lines.
#[track_caller]
fn wait_for_line(path: &Path, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(Into::into).collect();
        if lines.iter().any(|line| fits(line)) {
            return lines;
        }
        assert!(Instant::now() < deadline, "no such line in {lines:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let mut agent = Agent::start_with("a", &["-log-level", "trace"], Stdio::piped());
    // Nobody reads the log. It is the whole of a pipe and more before the last of them is answered.
    let name = "x".repeat(200);
    for _ in 0..1000 {
        agent.say(&json!({ "event": name, "coalesce": false }).to_string());
        agent.wait("the answer", |line| line["type"] == "done");
    }
    agent.signal("INT");
    assert_eq!(agent.exit_code(), Some(0));
    let mut log = String::new();
    agent.child.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    // The pipe has 64 KiB in 16 pages, and a line that does not fit into what is left of one begins the next.
    let lost = 16 * log.lines().map(|line| line.len() + 1).max().unwrap_or(0);
    assert!(log.len() + lost > 65_536 && log.lines().count() < 1000, "it was not full: {} bytes", log.len());
}

#[test]
fn who_has_it_leave_need_not_read_to_the_end() {
    let arguments =
        ["agent", "-node", "a", "-bind", "127.0.0.1:0", "-rpc-addr", "off", "-events", "json", "-stdin"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_gossip"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let mut input = child.0.stdin.take().unwrap();
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let ask = "{\"stats\": true}\n";
    input.write_all(ask.as_bytes()).unwrap();
    let answer = lines.find(|line| line.contains("counters")).unwrap();
    // More than a pipe and what waits for it take, and fewer than would keep the agent from reading on.
    let asked = 65_536 / answer.len() + 256 + 20;
    input.write_all(ask.repeat(asked).as_bytes()).unwrap();
    input.write_all(b"{\"leave\": true, \"id\": \"leave\"}\n").unwrap();
    let mut code = None;
    wait_until(|| {
        code = child.0.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
    let read: Vec<_> = lines.collect();
    assert!(
        read.len() < asked && read.iter().all(|line| !line.contains("leave")),
        "it was not full: {}",
        read.len()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_start_that_cannot_be_told_is_a_start() {
    let arguments = ["agent", "-node", "a", "-bind", "127.0.0.1:0", "-rpc-addr", "off"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_gossip"))
        .args(arguments)
        .stdout(fs::File::options().write(true).open("/dev/full").unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .map(Killed)
        .unwrap();
    let mut log = BufReader::new(child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("standard output cannot be written")));
    let status = Command::new("kill").args(["-s", "INT", &child.0.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert!(log.any(|line| line.contains("Graceful leave complete")));
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
}

// upstream: TestAgent_eventHandler
#[test]
fn event_handlers_run_for_what_they_ask_for() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let write = |name: &str, words: &str| format!("printf '%s\\n' \"{words}\" >> {}", path(name).display());
    let handlers = [
        format!("member-join,member-leave={}", write("members", "$SERF_EVENT $SERF_SELF_NAME $(cat)")),
        format!("user:deploy={}", write("deploys", "$SERF_USER_EVENT $SERF_USER_LTIME $SERF_TAG_A_B $(cat)")),
        // Hangs for ever: it holds up itself alone, until it is ended.
        format!("user={}; sleep 20", write("hangs", "$$ $SERF_USER_EVENT")),
    ];
    let mut options = vec!["-tag", "a-b=c d", "-event-handler-timeout", "1s"];
    handlers.iter().for_each(|handler| options.extend(["-event-handler", handler]));
    let mut a = Agent::start("a", &options);
    let mut b = Agent::start("b", &["-join", &a.addr]);
    a.wait_change("joined", "b");
    for payload in ["v1", "v2"] {
        a.say(&json!({ "event": "deploy", "payload": payload, "coalesce": false }).to_string());
        // Commands run side by side: one that shall come after another is given after it.
        wait_for_line(&path("deploys"), |line| line.ends_with(payload));
    }
    a.say(r#"{"event": "other", "coalesce": false}"#);
    let deploys = wait_for_line(&path("deploys"), |line| line.ends_with("v2"));
    assert_eq!(deploys, ["deploy 1 c d v1", "deploy 2 c d v2"]);
    let hangs = wait_for_line(&path("hangs"), |line| line.ends_with("other"));
    let names: Vec<_> = hangs.iter().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(names, ["deploy", "deploy", "other"], "one after the other, each in its turn");
    let first = hangs[0].split_once(' ').unwrap().0;
    assert!(!Path::new("/proc").join(first).exists(), "the first of them is still there");
    b.say(r#"{"leave": true}"#);
    let lines = wait_for_line(&path("members"), |line| line.starts_with("member-leave a b\t127.0.0.1\t"));
    assert!(lines.iter().any(|line| line.starts_with("member-join a ")), "{lines:?}");
}

// upstream: TestAgent_TagsFile
#[test]
fn the_tags_file_outlives_the_agent() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tags");
    let option = ["-tags-file", path.to_str().unwrap()];
    let mut agent = Agent::start("a", &option);
    assert!(!path.exists());
    agent.say(r#"{"id": 1, "tags": {"role": "web", "dc": "east"}}"#);
    assert_eq!(agent.wait("the answer", |line| line["id"] == 1)["type"], "done");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"dc\": \"east\",\n  \"role\": \"web\"\n}");
    agent.signal("HUP");
    agent.signal("TERM");
    agent.exit_code();
    let mut agent = Agent::start("a", &option);
    agent.say(r#"{"id": 2, "members": true}"#);
    let members = agent.wait("the members", |line| line["id"] == 2);
    assert_eq!(members["members"][0]["tags"], json!({ "dc": "east", "role": "web" }));
    fs::write(&path, "[]").unwrap();
    refused(&["agent", option[0], option[1]], &[option[1], "JSON object of strings"]);
}

// upstream: TestAgent_TagsFile_BadOptions
#[test]
fn tags_come_from_one_place() {
    let both = ["agent", "-tags-file", "/no/such/file", "-tag", "role=web"];
    refused(&both, &["--tags-file", "/no/such/file", "--tag", "give one of them"]);
}

#[test]
fn a_reload_changes_handlers_and_configured_tags_and_no_others() {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("out");
    let handler = |word: &str| format!("user=echo {word} $SERF_USER_EVENT >> {}", out.display());
    let text = |tag: &str, word: &str| {
        json!({ "tags": { "role": tag }, "event_handlers": [handler(word)] }).to_string()
    };
    let config = file(&directory, "agent.json", &text("web", "before"));
    let mut a = Agent::start("a", &["-config-file", &config]);
    let mut b = Agent::start("b", &["-join", &a.addr]);
    b.wait_change("joined", "a");
    a.say(r#"{"event": "one", "coalesce": false}"#);
    wait_for_line(&out, |line| line == "before one");
    a.say(r#"{"tags": {"role": "web", "zone": "x"}}"#);
    b.wait_change("updated", "a");
    file(&directory, "agent.json", &text("db", "after"));
    a.signal("HUP");
    let tags = b.wait_change("updated", "a")["tags"].clone();
    assert_eq!(tags, json!({ "role": "db", "zone": "x" }), "what was set at run time stays");
    a.say(r#"{"event": "two", "coalesce": false}"#);
    assert_eq!(wait_for_line(&out, |line| line.ends_with("two")), ["before one", "after two"]);
}

#[test]
fn metrics_can_be_scraped() {
    let mut a = Agent::start("a", &["-metrics", "127.0.0.1:0"]);
    let addr = a.ready["metrics"].as_str().unwrap().to_owned();
    a.say(r#"{"id": 1, "event": "deploy"}"#);
    a.wait("the answer", |line| line["id"] == 1);
    // To standard error, and the agent goes on.
    a.signal("USR1");
    let mut stream = TcpStream::connect(&addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    for line in ["serf_member_join 1", "serf_events 1", "gossip_members{status=\"alive\"} 1"] {
        assert!(page.lines().any(|have| have == line), "no {line:?} in {page}");
    }
    refused(
        &["agent", "-node", "b", "-bind", "127.0.0.1:0", "-rpc-addr", "off", "-metrics", &addr],
        &["--metrics", &addr, "in use"],
    );
}

/// Each of these has effects on upstream's agents that a message should not have: it ends them, takes their memory or their
/// clock, or keeps them busy (serf.md Q1 to Q4).
#[test]
fn hostile_messages_leave_nothing_but_a_count() {
    let mut a = Agent::start("a", &["-tag", "role=web"]);
    let mut b = Agent::start("b", &["-join", &a.addr]);
    a.wait_change("joined", "b");
    let counters = |a: &mut Agent, id: u32| {
        a.say(&json!({ "stats": true, "id": id }).to_string());
        a.wait("counters", |line| line["id"] == id)
    };
    // Once b's intent to join has moved the clock as well.
    let deadline = Instant::now() + Duration::from_secs(10);
    let before = (2000..)
        .find_map(|id| {
            let now = counters(&mut a, id);
            assert!(Instant::now() < deadline, "{now}");
            (now["member_time"].as_u64() >= Some(2)).then_some(now)
        })
        .unwrap();
    let text = |text: &str| [&[0xa0 | text.len() as u8][..], text.as_bytes()].concat();
    let query = |id: u8, fields: &[(&str, Vec<u8>)]| {
        let mut message = vec![8, 4, 0x80 | (fields.len() + 2) as u8];
        for (name, value) in
            [("ID", vec![id]), ("Timeout", vec![0xce, 0x3b, 0x9a, 0xca, 0])].iter().chain(fields)
        {
            message.extend([text(name), value.clone()].concat());
        }
        message
    };
    let clock = |time: u64| [&[0xcf][..], &time.to_be_bytes()].concat();
    let filter = |expression: &str| {
        let filter = [&[1, 0x82][..], &text("Expr"), &text(expression), &text("Tag"), &text("role")].concat();
        [&[0x91, 0xda, 0, filter.len() as u8][..], &filter].concat()
    };
    let relay = [
        &[8, 9, 0x81][..],
        &text("DestAddr"),
        &[0x82],
        &text("IP"),
        &[0xa4, 192, 0, 2, 1],
        &text("Port"),
        &[53],
        &[5, 0x80],
    ]
    .concat();
    let hostile = [
        query(1, &[("Filters", vec![0x91, 0xa0]), ("LTime", vec![1])]),
        query(2, &[("LTime", clock(u64::MAX))]),
        query(3, &[("LTime", clock(1 << 40))]),
        query(4, &[("LTime", vec![1]), ("Filters", filter("((a{99}){99}){99}"))]),
        query(5, &[("Filters", vec![0xdd, 0xff, 0xff, 0xff, 0xff])]),
        query(6, &[("Payload", vec![0xdb, 0x7f, 0xff, 0xff, 0xff])]),
        query(7, &[("LTime", vec![1]), ("Name", text("_serf_install-key"))]),
        query(8, &[("LTime", vec![1]), ("Name", text("_serf_list-keys"))]),
        [&[8, 3, 0x81][..], &text("LTime"), &clock(u64::MAX)].concat(),
        [&[8, 0, 0x82][..], &text("LTime"), &clock(u64::MAX), &text("Node"), &text("b")].concat(),
        relay,
    ];
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for message in &hostile {
        socket.send_to(message, &a.addr).unwrap();
    }
    let mut id = 1;
    let deadline = Instant::now() + Duration::from_secs(10);
    let counted = |after: &serde_json::Value, name: &str| {
        after["counters"][name].as_u64().unwrap() - before["counters"][name].as_u64().unwrap()
    };
    let after = loop {
        id += 1;
        let after = counters(&mut a, id);
        if counted(&after, "serf_relay_refused") > 0 {
            break after;
        }
        assert!(Instant::now() < deadline, "{after}");
        thread::sleep(Duration::from_millis(20));
    };
    for (name, times) in
        [("queries_malformed", 1), ("ltime_refused", 4), ("query_filters_refused", 1), ("dropped_decode", 2)]
    {
        assert_eq!(counted(&after, name), times, "{name}");
    }
    for time in ["member_time", "event_time"] {
        assert_eq!(after[time], before[time]);
    }
    // It goes on as if nothing had been, and has passed nothing on that would have hurt others.
    a.say(r#"{"query": "load", "ack": true, "timeout_ms": 1000, "id": 1000}"#);
    let done = a.wait("the end of the query", |line| line["id"] == 1000 && line["type"] == "done");
    assert_eq!(done["acks"], 2);
    b.say(r#"{"stats": true, "id": 1}"#);
    let other = b.wait("counters", |line| line["id"] == 1);
    for name in ["queries_malformed", "ltime_refused", "dropped_decode"] {
        assert_eq!(other["counters"][name], 0, "{name} at the other node");
    }
}

/// Plays a recording to its end, and says what happened in it.
#[track_caller]
fn play(path: &Path) -> (Ending, Vec<(StepKind, String)>) {
    let bytes = fs::read(path).unwrap();
    let mut playback = Playback::open(&bytes).unwrap_or_else(|error| panic!("{error}"));
    let mut steps = Vec::new();
    while let Some(step) = playback.step() {
        let step = step.unwrap_or_else(|error| panic!("{error}"));
        steps.push((step.kind, step.text));
    }
    (playback.ending().unwrap(), steps)
}

#[test]
fn a_recording_of_an_agent_is_played_exactly() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("recording");
    let record = ["-record", path.to_str().unwrap(), "-encrypt", "MDEyMzQ1Njc4OWFiY2RlZg=="];
    let mut a = Agent::start("a", &record);
    let mut b = Agent::start("b", &["-join", &a.addr, record[2], record[3], "-tag", "role=db"]);
    a.wait_change("joined", "b");
    a.say(r#"{"event": "deploy", "payload": "v1", "coalesce": false}"#);
    a.wait("the event", |line| line["type"] == "user" || line["name"] == "deploy");
    b.say(r#"{"leave": true}"#);
    a.wait_change("left", "b");
    a.signal("INT");
    assert_eq!(a.exit_code(), Some(0));
    let (ending, steps) = play(&path);
    assert_eq!(ending, Ending::Stopped);
    let has = |kind, part: &str| steps.iter().any(|step| step.0 == kind && step.1.contains(part));
    assert!(has(StepKind::Member, "b: Joined") && has(StepKind::Member, "b: Left"), "{steps:?}");
    assert!(
        has(StepKind::Event, "user event \"deploy\", 2 bytes, Lamport time 1")
            && has(StepKind::Input, "datagram from 127.0.0.1:"),
        "{steps:?}"
    );
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(16).any(|bytes| bytes == b"0123456789abcdef"), "the key is in it");

    // The next life keeps it beside its own, and this one is killed.
    let mut again = Agent::start("a", &record);
    again.say(r#"{"event": "deploy", "payload": "v2", "coalesce": false}"#);
    again.wait("the event", |line| line["type"] == "user" || line["name"] == "deploy");
    wait_until(|| fs::metadata(&path).unwrap().len() > 2000);
    again.signal("KILL");
    again.child.0.wait().unwrap();
    assert_eq!(play(&path).0, Ending::CutOff);
    assert_eq!(fs::read(directory.path().join("recording.old")).unwrap(), bytes);
}

#[test]
fn a_recording_that_is_full_says_so_and_plays_to_there() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("recording");
    let options = ["-record", path.to_str().unwrap(), "-record-limit", "64K"];
    let mut agent = Agent::start_with("a", &options, Stdio::piped());
    let mut log = BufReader::new(agent.child.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let payload = "x".repeat(400);
    for _ in 0..300 {
        agent.say(&json!({ "event": "deploy", "payload": payload, "coalesce": false }).to_string());
        agent.wait("the answer", |line| line["type"] == "done");
    }
    assert!(log.any(|line| line.contains("The recording has ended")));
    agent.signal("INT");
    assert_eq!(agent.exit_code(), Some(0), "the node goes on");
    assert_eq!(play(&path).0, Ending::Full);
    let len = fs::metadata(&path).unwrap().len();
    assert!((60_000..=65_536).contains(&len), "{len} bytes");
}

#[test]
fn what_is_no_recording_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = file(&directory, "key", "a key");
    let agent = ["agent", "-bind", "127.0.0.1:0", "-rpc-addr", "off", "-record", &path];
    refused(&agent, &["cannot record to", "no recording", "another path"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a key");
    refused(&["agent", "-record", "x", "-record-limit", "1K"], &["64K"]);
    refused(&["agent", "-record", "x", "-record-limit", "much"], &["500M"]);
    refused(&["agent", "-record-limit", "1M"], &["record"]);
}

#[track_caller]
fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came");
        thread::sleep(Duration::from_millis(20));
    }
}

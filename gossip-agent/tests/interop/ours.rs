//! A node of this project: the binary `gossip`, driven by JSON lines.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

use serde_json::{Value, json};

use crate::place::Place;
use crate::process::{Output, Process};
use crate::view::{Agent, Seen, Tags, View, is_complaint};
use crate::wait::wait_until;

/// A running `gossip agent`.
pub(crate) struct Ours {
    pub(crate) process: Process,
    name: String,
    place: Place,
    tags: Tags,
    asked: u64,
}

impl Ours {
    /// Starts a node and waits until it answers. `options` are more words for its command line.
    pub(crate) fn start(name: &str, place: &Place, options: &[&str]) -> Self {
        let tags: Tags =
            [("role", "ours"), ("of", name)].map(|(key, value)| (key.into(), value.into())).into();
        let bind = place.addr.to_string();
        let mut arguments: Vec<String> =
            ["agent", "--node", name, "--bind", &bind, "--events", "json", "--stdin", "--log-level", "debug"]
                .map(str::to_owned)
                .into();
        arguments.extend(["--rpc-addr".to_owned(), place.rpc.to_string()]);
        arguments.extend(tags.iter().flat_map(|(key, value)| ["--tag".to_owned(), format!("{key}={value}")]));
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        let mut program = place.prefix();
        program.push(env!("CARGO_BIN_EXE_gossip"));
        let process = Process::start(&format!("gossip {name}"), &program, &arguments);
        let mut ours = Self { process, name: name.to_owned(), place: place.clone(), tags, asked: 0 };
        ours.ask(json!({ "members": true }));
        ours
    }

    pub(crate) fn join(&mut self, to: SocketAddr) {
        self.ask(json!({ "join": [to.to_string()] }));
    }

    pub(crate) fn user_event(&mut self, name: &str, payload: &str) {
        self.ask(json!({ "event": name, "payload": payload, "coalesce": false }));
    }

    pub(crate) fn set_tags(&mut self, tags: &Tags) {
        self.ask(json!({ "tags": tags }));
        self.tags.clone_from(tags);
    }

    pub(crate) fn force_leave(&mut self, member: &str) {
        self.ask(json!({ "force_leave": member }));
    }

    /// Its estimate of the round trip time, in milliseconds.
    pub(crate) fn rtt(&mut self, names: &[&str]) -> Result<f64, String> {
        let answer = self.try_ask(&json!({ "rtt": names }))?;
        answer["rtt_ms"].as_f64().ok_or_else(|| answer.to_string())
    }

    /// Asks for a graceful leave; the process must end well.
    pub(crate) fn leave(&mut self) {
        self.process.write_line(&json!({ "leave": true }).to_string());
        let status = self.process.wait_for_exit(LEAVE);
        assert!(status.success(), "{} left with {status}", self.name);
    }

    /// The value of a counter of its statistics.
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        let answer = self.ask(json!({ "stats": true }));
        find(&answer, name).and_then(Value::as_u64).unwrap_or_else(|| panic!("no counter {name} in {answer}"))
    }

    /// The user events it has delivered, as `ltime name payload`.
    pub(crate) fn user_events(&self) -> Vec<String> {
        let objects = self.objects("user");
        let text = |event: &Value| {
            format!("{} {} {}", event["ltime"], text(&event["name"]), text(&event["payload"]))
        };
        objects.iter().map(|(_, event)| text(event)).collect()
    }

    /// When it reported a change of `member`: joined, updated, suspected, refuted, failed, left or reaped.
    pub(crate) fn changes(&self, member: &str, change: &str) -> Vec<(Instant, Value)> {
        let mut objects = self.objects("member");
        objects.retain(|(_, object)| object["change"] == change && object["name"] == member);
        objects
    }

    /// Sends a command without waiting; the number that its answers will carry.
    pub(crate) fn tell(&mut self, mut command: Value) -> u64 {
        self.asked += 1;
        command["id"] = self.asked.into();
        self.process.write_line(&command.to_string());
        self.asked
    }

    /// What it has printed since the line with this number, which is moved on.
    pub(crate) fn printed(&self, next: &mut usize) -> Vec<Value> {
        let lines = self.process.lines_from(*next);
        *next += lines.len();
        let standard = lines.iter().filter(|line| line.output == Output::Standard);
        standard.filter_map(|line| serde_json::from_str(&line.text).ok()).collect()
    }

    /// Sends a command and waits for the answer, which must not be an error.
    fn ask(&mut self, command: Value) -> Value {
        self.try_ask(&command).unwrap_or_else(|problem| panic!("{} to {command}: {problem}", self.name))
    }

    pub(crate) fn try_ask(&mut self, command: &Value) -> Result<Value, String> {
        if !self.process.is_running() {
            return Err("the process has ended".to_owned());
        }
        let id = self.tell(command.clone());
        let what = format!("the answer of {} to {command}", self.name);
        let answer =
            || self.all_objects().into_iter().map(|(_, object)| object).find(|object| object["id"] == id);
        let (answer, _) = wait_until(&what, ANSWER, || answer().ok_or_else(|| "nothing".to_owned()));
        if answer["type"] == "error" { Err(answer.to_string()) } else { Ok(answer) }
    }

    fn objects(&self, kind: &str) -> Vec<(Instant, Value)> {
        let mut objects = self.all_objects();
        objects.retain(|(_, object)| object["type"] == kind);
        objects
    }

    fn all_objects(&self) -> Vec<(Instant, Value)> {
        let lines = self.process.lines();
        let standard = lines.iter().filter(|line| line.output == Output::Standard);
        standard.filter_map(|line| Some((line.at, serde_json::from_str(&line.text).ok()?))).collect()
    }
}

impl Agent for Ours {
    fn name(&self) -> &str {
        &self.name
    }

    fn addr(&self) -> SocketAddr {
        self.place.addr
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn complaints(&mut self) -> Vec<String> {
        let stats = self.ask(json!({ "stats": true }));
        let count = |name| find(&stats, name).and_then(Value::as_u64);
        let counters = COMPLAINTS.iter().filter(|&&name| count(name) != Some(0));
        let counters = counters.map(|&name| format!("{name}: {:?}", count(name)));
        let lines = self.process.lines().into_iter().map(|line| line.text);
        counters.chain(lines.filter(|text| is_complaint(text))).collect()
    }

    fn view(&mut self) -> Result<View, String> {
        let answer = self.try_ask(&json!({ "members": true }))?;
        let members =
            answer["members"].as_array().ok_or_else(|| format!("no list of members in {answer}"))?;
        let seen = |member: &Value| {
            let tags = member["tags"].as_object().into_iter().flatten();
            let tags = tags.map(|(key, value)| (key.clone(), text(value))).collect();
            (
                text(&member["name"]),
                Seen { addr: text(&member["addr"]), status: text(&member["status"]), tags },
            )
        };
        Ok(members.iter().map(seen).collect())
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A field of an object, or of the objects in it.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.values().find_map(|inner| find(inner, name)))
}

/// Counters that stay at 0 while everybody speaks the same protocol.
const COMPLAINTS: [&str; 15] = [
    "dropped_label",
    "dropped_seal",
    "dropped_crc",
    "dropped_malformed",
    "dropped_type",
    "dropped_decode",
    "dropped_limits",
    "compound_truncated",
    "ping_wrong_name",
    "alive_bad_versions",
    "claim_malformed",
    "claim_refused",
    "streams_malformed",
    "exchanges_failed",
    "serf_unknown_type",
];
const ANSWER: Duration = Duration::from_secs(15);
const LEAVE: Duration = Duration::from_secs(10);

//! The real thing: a `serf` agent and the `serf` commands that talk to it.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::place::Place;
use crate::process::{Process, Signal};
use crate::view::{Agent, Seen, Tags, View, is_complaint};
use crate::wait::wait_until;

/// A running `serf agent`. All user events that it delivers are written to a file by an event handler.
pub(crate) struct Serf {
    pub(crate) process: Process,
    name: String,
    place: Place,
    tags: Tags,
    events: TempDir,
}

impl Serf {
    /// Starts an agent and waits until it answers. `options` are more words for its command line.
    pub(crate) fn start(name: &str, place: &Place, options: &[&str]) -> Self {
        let events = TempDir::new().expect("a directory for the event handler");
        let tags: Tags =
            [("role", "serf"), ("of", name)].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let file = events.path().join(EVENTS);
        // The payload comes on standard input; `printf` is one write, so that lines cannot be torn.
        let handler = format!(
            "user=printf '%s %s %s\\n' \"$SERF_USER_LTIME\" \"$SERF_USER_EVENT\" \"$(cat)\" >> {}",
            file.display()
        );
        let mut arguments: Vec<String> =
            ["agent", "-node", name, "-log-level", "debug", "-event-handler", &handler]
                .map(str::to_owned)
                .into();
        arguments.extend([
            "-bind".to_owned(),
            place.addr.to_string(),
            "-rpc-addr".to_owned(),
            place.rpc.to_string(),
        ]);
        // The advertised port does not follow the bound one.
        arguments.extend(["-advertise".to_owned(), place.addr.to_string()]);
        arguments.extend(tags.iter().flat_map(|(key, value)| ["-tag".to_owned(), format!("{key}={value}")]));
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        let mut program = place.prefix();
        program.push("serf");
        let process = Process::start(&format!("serf {name}"), &program, &arguments);
        let mut serf = Self { process, name: name.to_owned(), place: place.clone(), tags, events };
        wait_until(&format!("the serf agent {name} to answer"), START, || {
            if serf.process.is_running() { serf.view().map(drop) } else { Err("it has ended".to_owned()) }
        });
        serf
    }

    pub(crate) fn join(&self, to: SocketAddr) {
        self.expect(&["join"], &[&to.to_string()]);
    }

    pub(crate) fn user_event(&self, name: &str, payload: &str) {
        self.expect(&["event", "-coalesce=false"], &[name, payload]);
    }

    pub(crate) fn set_tag(&mut self, key: &str, value: &str) {
        self.expect(&["tags", "-set", &format!("{key}={value}")], &[]);
        self.tags.insert(key.to_owned(), value.to_owned());
    }

    pub(crate) fn delete_tag(&mut self, key: &str) {
        self.expect(&["tags", "-delete", key], &[]);
        self.tags.remove(key);
    }

    pub(crate) fn force_leave(&self, member: &str) {
        self.expect(&["force-leave"], &[member]);
    }

    /// `serf rtt`: the estimate in its own words.
    pub(crate) fn rtt(&self, pair: &[&str; 2]) -> Result<String, String> {
        self.run(&["rtt"], pair)
    }

    /// `serf query`: who acknowledged, and who answered what.
    pub(crate) fn query(&self, name: &str, payload: &str, seconds: u32) -> Result<Value, String> {
        let timeout = format!("-timeout={seconds}s");
        self.query_with(&[&timeout], name, payload)
    }

    /// The same with `options`.
    pub(crate) fn query_with(&self, options: &[&str], name: &str, payload: &str) -> Result<Value, String> {
        let text = self.run(&[&["query", "-format=json"], options].concat(), &[name, payload])?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// What it has logged with this in it.
    pub(crate) fn log_lines(&mut self, part: &str) -> Vec<String> {
        let lines = self.process.lines().into_iter().map(|line| line.text);
        lines.filter(|text| text.contains(part)).collect()
    }

    /// `serf leave`: the agent says good-bye and ends.
    pub(crate) fn leave(&mut self) {
        self.expect(&["leave"], &[]);
        self.process.wait_for_exit(LEAVE);
    }

    /// SIGINT: the same by signal.
    pub(crate) fn interrupt(&mut self) {
        self.process.signal(Signal::Interrupt);
        self.process.wait_for_exit(LEAVE);
    }

    /// The user events that the handler was given, as `ltime name payload`.
    pub(crate) fn user_events(&self) -> Vec<String> {
        let file: PathBuf = self.events.path().join(EVENTS);
        let bytes = fs::read(file).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    fn expect(&self, command: &[&str], arguments: &[&str]) {
        if let Err(problem) = self.run(command, arguments) {
            panic!("serf {command:?} {arguments:?} at {}: {problem}", self.name);
        }
    }

    pub(crate) fn run(&self, command: &[&str], arguments: &[&str]) -> Result<String, String> {
        let rpc = format!("-rpc-addr={}", self.place.rpc);
        let mut words = vec!["timeout", "10"];
        words.extend(self.place.prefix());
        words.push("serf");
        // Go's flags end at the first argument that is none.
        words.extend(command.iter().copied().take(1));
        words.push(&rpc);
        words.extend(command.iter().copied().skip(1));
        words.extend(arguments);
        let output = Command::new(words[0]).args(&words[1..]).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(format!("{}: {} {}", output.status, text(&output.stdout), text(&output.stderr)))
        }
    }
}

impl Agent for Serf {
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
        let lines = self.process.lines().into_iter().map(|line| line.text);
        lines.filter(|text| is_complaint(text)).collect()
    }

    fn view(&mut self) -> Result<View, String> {
        let text = self.run(&["members", "-format=json"], &[])?;
        let listing: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let members = listing["members"].as_array().ok_or_else(|| format!("no members in {text}"))?;
        members
            .iter()
            .map(|member| {
                let word = |key: &str| {
                    member[key].as_str().map(str::to_owned).ok_or_else(|| format!("no {key}: {text}"))
                };
                let tags = match &member["tags"] {
                    Value::Object(tags) => tags
                        .iter()
                        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                        .collect(),
                    _ => BTreeMap::new(),
                };
                Ok((word("name")?, Seen { addr: word("addr")?, status: word("status")?, tags }))
            })
            .collect()
    }
}

const EVENTS: &str = "events";
const START: Duration = Duration::from_secs(10);
const LEAVE: Duration = Duration::from_secs(10);

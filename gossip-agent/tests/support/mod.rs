//! The built binary, run by tests.

// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub)]

use core::time::Duration;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

/// Runs a command that must end by itself.
#[track_caller]
pub fn gossip(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gossip"));
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    // What it prints fits the pipes, so that it never waits for a reader.
    let status = loop {
        match child.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "{arguments:?} does not end"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.0.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.0.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    Output { status, stdout, stderr }
}

/// A process that does not outlive the test.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command must fail as Serf's do, with 1, and say all of `parts`.
#[track_caller]
pub fn refused(arguments: &[&str], parts: &[&str]) {
    let output = gossip(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed to standard output");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: {part:?} is missing in {text:?}");
    }
}

pub fn file(directory: &TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().into()
}

/// A running agent.
pub struct Agent {
    pub child: Killed,
    input: Option<ChildStdin>,
    lines: Receiver<Value>,
    pub addr: String,
    pub ready: Value,
}

impl Agent {
    pub fn start(name: &str, more: &[&str]) -> Self {
        Self::start_with(name, more, Stdio::inherit())
    }

    /// With its log going there.
    pub fn start_with(name: &str, more: &[&str], log: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gossip"))
            .args([
                "agent",
                "-node",
                name,
                "-bind",
                "127.0.0.1:0",
                "-rpc-addr",
                "off",
                "-profile",
                "local",
                "-events",
                "json",
                "-stdin",
            ])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Whatever the log level: standard output carries nothing but JSON.
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut agent = Self {
            input: child.stdin.take(),
            child: Killed(child),
            lines,
            addr: String::new(),
            ready: Value::Null,
        };
        let ready = agent.wait("ready", |line| line["type"] == "ready");
        assert_eq!(ready["name"], name);
        agent.addr = ready["addr"].as_str().unwrap().into();
        agent.ready = ready;
        agent
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that fits; others are skipped.
    #[track_caller]
    pub fn wait(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if fits(&line) => return line,
                Ok(line) => seen.push(line.to_string()),
                Err(RecvTimeoutError::Timeout) => panic!("no line {what}; there was\n{}", seen.join("\n")),
                Err(RecvTimeoutError::Disconnected) => panic!("ended before {what}:\n{}", seen.join("\n")),
            }
        }
    }

    #[track_caller]
    pub fn wait_change(&mut self, change: &str, name: &str) -> Value {
        self.wait(&format!("that {name} {change}"), |line| {
            line["type"] == "member" && line["change"] == change && line["name"] == name
        })
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the agent did not end");
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args(["-s", name, &self.child.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

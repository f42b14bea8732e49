//! A child process that cannot outlive its test, whose output is kept and is shown when the test fails.

use core::fmt::Write as _;
use core::time::Duration;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::wait::wait_until;

/// Which of its two outputs a process wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Standard,
    Error,
}

/// One line of output.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) output: Output,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    Interrupt,
    Stop,
    Continue,
}

/// A running program. Dropped, it is killed; dropped by a panic, it also prints what it had written.
pub(crate) struct Process {
    label: String,
    begun: Instant,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Process {
    /// Starts `program` with `arguments`. It is killed with the thread that started it, so that a test runner that is
    /// killed itself leaves nothing behind.
    pub(crate) fn start(label: &str, program: &[&str], arguments: &[String]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(program).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{label}: cannot start {program:?}: {error}"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take(), Output::Standard, &lines);
        collect(child.stderr.take(), Output::Error, &lines);
        let stdin = child.stdin.take();
        Self { label: label.to_owned(), begun: Instant::now(), child, stdin, lines }
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        locked(&self.lines).clone()
    }

    /// The lines from the one with this number on.
    pub(crate) fn lines_from(&self, first: usize) -> Vec<Line> {
        locked(&self.lines).get(first..).unwrap_or_default().to_vec()
    }

    /// Lines of either output that contain `text`.
    pub(crate) fn count(&self, text: &str) -> usize {
        locked(&self.lines).iter().filter(|line| line.text.contains(text)).count()
    }

    pub(crate) fn write_line(&mut self, text: &str) {
        let Some(stdin) = &mut self.stdin else { panic!("{}: standard input is closed", self.label) };
        writeln!(stdin, "{text}")
            .and_then(|()| stdin.flush())
            .unwrap_or_else(|error| panic!("{}: cannot write {text}: {error}", self.label));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let option = match signal {
            Signal::Interrupt => "-INT",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let status =
            Command::new("sh").args(["-c", "kill \"$1\" \"$2\"", "kill", option, &self.id()]).status();
        assert!(status.is_ok_and(|status| status.success()), "{}: kill {option} failed", self.label);
    }

    /// SIGKILL: no farewell.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap_or_else(|error| panic!("{}: kill: {error}", self.label));
        let _ = self.child.wait();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_for_exit(&mut self, within: Duration) -> ExitStatus {
        let label = self.label.clone();
        wait_until(&format!("{label} to end"), within, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("still running".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .0
    }

    fn id(&self) -> String {
        self.child.id().to_string()
    }

    fn transcript(&self) -> String {
        let mut text = format!("----- {} -----\n", self.label);
        for line in locked(&self.lines).iter() {
            let mark = if line.output == Output::Standard { "out" } else { "err" };
            let at = line.at.saturating_duration_since(self.begun).as_secs_f64();
            let _ = writeln!(text, "{at:8.3} {mark} {}", line.text);
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A stopped process dies of SIGKILL all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            // The readers see the end of the pipes a moment after the process is gone.
            thread::sleep(Duration::from_millis(20));
            eprint!("{}", self.transcript());
        }
    }
}

fn locked(lines: &Mutex<Vec<Line>>) -> MutexGuard<'_, Vec<Line>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(pipe: Option<impl Read + Send + 'static>, output: Output, lines: &Arc<Mutex<Vec<Line>>>) {
    let Some(pipe) = pipe else { return };
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        // Not `lines()`: an agent may print names that are not UTF-8, and that must not end the capture.
        let mut reader = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            locked(&lines).push(Line { at: Instant::now(), output, text });
            bytes.clear();
        }
    });
}

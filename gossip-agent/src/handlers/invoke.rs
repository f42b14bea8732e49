//! Runs one script: bounded in time and in what is kept of its output.

use core::time::Duration;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

/// A script and what it is told.
pub(super) struct Script<'a> {
    pub(super) text: &'a str,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) input: Vec<u8>,
    /// After which it is ended, with all processes of its group.
    pub(super) limit: Duration,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ended: Ended,
    /// The end of standard output.
    pub(super) output: Vec<u8>,
    /// The end of standard error. Serf mixes it into the output, and so into answers of queries (Q29).
    pub(super) errors: Vec<u8>,
    /// Bytes of output that were written before those.
    pub(super) lost: u64,
}

#[derive(Debug)]
pub(super) enum Ended {
    Well,
    Badly(ExitStatus),
    /// It was ended.
    Overdue,
}

impl Script<'_> {
    pub(super) async fn run(self) -> io::Result<Run> {
        let mut child = self.start()?;
        let (mut output, mut errors) = (Tail::default(), Tail::default());
        let ended = self.watch(&mut child, &mut output, &mut errors).await?;
        let lost = output.lost;
        Ok(Run { ended, output: output.bytes.into(), errors: errors.bytes.into(), lost })
    }

    async fn watch(&self, child: &mut Child, output: &mut Tail, errors: &mut Tail) -> io::Result<Ended> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let feeding = feed(child.stdin.take(), &self.input);
        let reading = async { tokio::join!(output.read(stdout), errors.read(stderr)) };
        let (slow, overdue) = (sleep(SLOW), sleep(self.limit));
        tokio::pin!(feeding, reading, slow, overdue);
        let (mut fed, mut read, mut warned) = (false, false, false);
        let status = loop {
            // Its end counts alone: it may not want its input, and may leave processes behind that hold its output.
            tokio::select! {
                status = child.wait() => break Some(status?),
                () = &mut feeding, if !fed => fed = true,
                _ = &mut reading, if !read => read = true,
                () = &mut slow, if !warned => {
                    warned = true;
                    tracing::warn!("agent: Script {:?} slow, execution exceeding {SLOW:?}", self.text);
                }
                () = &mut overdue => break None,
            }
        };
        let ended = match status {
            Some(status) if status.success() => Ended::Well,
            Some(status) => Ended::Badly(status),
            None => {
                end(child).await;
                Ended::Overdue
            }
        };
        if !read {
            let _ = timeout(DRAIN, &mut reading).await;
        }
        Ok(ended)
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = shell(self.text);
        command
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own, so that it can be ended as a whole, and so that Ctrl-C is for the agent alone.
        #[cfg(unix)]
        command.process_group(0);
        command.spawn()
    }
}

#[cfg(unix)]
fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    command
}

#[cfg(windows)]
fn shell(script: &str) -> Command {
    let mut command = Command::new("cmd");
    command.arg("/C").arg(script);
    command
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        // Fails when the script does not want all of it.
        let _ = stdin.write_all(input).await;
    }
}

/// Ends the script and all that it started in its group; first in a way that lets it clean up.
#[cfg(unix)]
async fn end(child: &mut Child) {
    use rustix::process::{Pid, Signal, kill_process_group};

    // Not waited for before the last signal: until then nobody else can get its number.
    if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::TERM);
        sleep(FAREWELL).await;
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
}

#[cfg(windows)]
async fn end(child: &mut Child) {
    let _ = child.kill().await;
}

/// The end of what was written.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    lost: u64,
}

impl Tail {
    async fn read(&mut self, source: Option<impl AsyncRead + Unpin>) {
        let Some(mut source) = source else { return };
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = source.read(&mut buffer).await {
            self.bytes.extend(&buffer[..len]);
            let excess = self.bytes.len().saturating_sub(MAX_OUTPUT);
            self.bytes.drain(..excess);
            self.lost += excess as u64;
        }
    }
}

/// What is kept of a script's output.
const MAX_OUTPUT: usize = 8 * 1024;
/// After which a script is called slow.
const SLOW: Duration = Duration::from_secs(1);
/// What an overdue script has to clean up.
const FAREWELL: Duration = Duration::from_secs(1);
/// For output that was written and not read yet when the script ended.
const DRAIN: Duration = Duration::from_millis(100);

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::Instant;

    async fn run(text: &str, input: &[u8], limit: Duration) -> Run {
        let environment = vec![("SERF_EVENT".into(), "user".into())];
        Script { text, environment, input: input.into(), limit }.run().await.unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn input_environment_and_output_are_the_scripts() {
        let done = run("cat; echo $SERF_EVENT; echo oops >&2", b"payload\n", LONG).await;
        assert!(matches!(done.ended, Ended::Well));
        assert_eq!(done.output, b"payload\nuser\n");
        assert_eq!(done.errors, b"oops\n");
        let failed = run("echo no; exit 3", b"", LONG).await;
        assert!(matches!(failed.ended, Ended::Badly(status) if status.code() == Some(3)), "{failed:?}");
    }

    #[tokio::test]
    async fn the_end_of_much_output_is_kept() {
        let done = run("head -c 100000 /dev/zero | tr '\\0' a; printf end", b"", LONG).await;
        assert_eq!((done.output.len(), done.lost), (MAX_OUTPUT, 100_003 - MAX_OUTPUT as u64));
        assert!(done.output.ends_with(b"aend"));
    }

    #[tokio::test]
    async fn input_that_is_not_read_does_not_matter() {
        let done = run("exit 0", &vec![b'x'; 1 << 20], LONG).await;
        assert!(matches!(done.ended, Ended::Well));
    }

    #[tokio::test]
    async fn what_a_script_leaves_behind_does_not_hold_it_up() {
        let begun = Instant::now();
        let done = run("sleep 7 & echo $!", b"", LONG).await;
        assert!(matches!(done.ended, Ended::Well) && begun.elapsed() < Duration::from_secs(5), "{done:?}");
        let pid = String::from_utf8(done.output).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs on");
    }

    #[tokio::test]
    async fn a_script_that_hangs_is_ended_with_all_that_it_started() {
        let done =
            run("trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000", b"", Duration::from_millis(300))
                .await;
        assert!(matches!(done.ended, Ended::Overdue), "{done:?}");
        let pid = String::from_utf8(done.output).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        // Gone, or a zombie that whoever adopted it has yet to bury.
        let gone = || match std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => rustix::process::test_kill_process(pid).is_err(),
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while !gone() {
            assert!(Instant::now() < deadline, "it runs on");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

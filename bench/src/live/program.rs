//! An agent as a process, and what the system says of it.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::env;
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use super::Options;
use super::rpc::Client;

/// What is started.
#[derive(Debug)]
pub(super) struct Program {
    /// Its name and version, as in the table's head.
    pub(super) name: String,
    path: PathBuf,
    arguments: Vec<String>,
    /// Size of the file in bytes.
    pub(super) size: u64,
    /// What it is configured by, there as long as this is.
    config: Option<File>,
}

/// A file that goes with this value.
#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A running process, which ends with this value.
#[derive(Debug)]
pub(super) struct Process(Child);

/// A running agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) process: Process,
    /// Where it listens for gossip.
    pub(super) addr: SocketAddr,
    /// Its RPC.
    pub(super) rpc: Client,
    /// How long it took from the call to the first answer.
    pub(super) started: Duration,
}

/// The name of the node under test.
pub(super) const TARGET: &str = "target";

impl Program {
    /// Ours, Serf's, and Serf's without the compression of datagrams, which is on there and off with ours.
    pub(super) fn all(options: &Options) -> Result<Vec<Self>, String> {
        let ours = match &options.gossip {
            Some(path) => path.clone(),
            None => beside()?,
        };
        let gossip = Self::new(&ours, "gossip", &[])?;
        let serf = Self::new(&options.serf, "serf", &[])?;
        let plain = File(env::temp_dir().join(format!("gossip-bench-{}.json", std::process::id())));
        fs::write(&plain.0, "{\"enable_compression\": false}").map_err(|error| error.to_string())?;
        let mut uncompressed =
            Self::new(&options.serf, "serf", &["-config-file", &plain.0.to_string_lossy()])?;
        uncompressed.name += ", nothing compressed";
        uncompressed.config = Some(plain);
        Ok(vec![gossip, serf, uncompressed])
    }

    fn new(path: &PathBuf, name: &str, more: &[&str]) -> Result<Self, String> {
        let shown = path.display();
        let file = found(path).ok_or_else(|| format!("{shown} is not there; see docs/performance.md"))?;
        let size = fs::metadata(&file).map_err(|error| format!("{shown}: {error}"))?.len();
        let output =
            Command::new(&file).arg("version").output().map_err(|error| format!("{shown}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version =
            text.split_whitespace().find(|word| word.contains('.')).unwrap_or("of an unknown version");
        let name = format!("{name} {}", version.trim_start_matches('v'));
        Ok(Self {
            name,
            path: file,
            arguments: more.iter().map(|&argument| argument.to_owned()).collect(),
            size,
            config: None,
        })
    }
}

/// Our agent in the directory of this program.
fn beside() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    Ok(program.with_file_name("gossip"))
}

/// A program by its path, or by its name in PATH.
fn found(path: &PathBuf) -> Option<PathBuf> {
    if path.components().count() > 1 {
        return path.is_file().then(|| path.clone());
    }
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(path)).find(|file| file.is_file())
}

impl Agent {
    /// Starts it, and waits until it answers.
    pub(super) fn start(program: &Program) -> Result<Self, String> {
        let [addr, rpc] = free_ports().map_err(|error| format!("no port is free: {error}"))?;
        let start = Instant::now();
        let process = Process::start(
            Command::new(&program.path)
                .args(["agent", "-node", TARGET, "-log-level", "err"])
                .args(["-bind", &addr.to_string(), "-rpc-addr", &rpc.to_string()])
                .args(&program.arguments),
        )?;
        while start.elapsed() < Duration::from_secs(10) {
            if let Ok(mut rpc) = Client::connect(rpc) {
                rpc.members()?;
                let started = start.elapsed();
                return Ok(Self { process, addr, rpc, started });
            }
            thread::sleep(Duration::from_micros(200));
        }
        Err("it does not answer within ten seconds".into())
    }
}

impl Process {
    pub(super) fn start(command: &mut Command) -> Result<Self, String> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.spawn().map(Self).map_err(|error| format!("{}: {error}", command.get_program().display()))
    }

    /// Time of processors that it has used, to ten milliseconds.
    pub(super) fn cpu(&self) -> Result<Duration, String> {
        let text = self.about("stat")?;
        // What stands before the last bracket is its name, in which anything may be.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let sum = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
        sum.map(|ticks| Duration::from_millis(ticks * 10)).ok_or_else(|| format!("cannot be read: {text}"))
    }

    /// Memory in bytes that is resident.
    pub(super) fn resident(&self) -> Result<u64, String> {
        let text = self.about("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        number.map(|kib| kib * 1024).ok_or_else(|| format!("cannot be read: {text}"))
    }

    fn about(&self, what: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{what}", self.0.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two ports of loopback that nobody uses now.
pub(super) fn free_ports() -> std::io::Result<[SocketAddr; 2]> {
    let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let (first, second) = (socket()?, socket()?);
    Ok([first.local_addr()?, second.local_addr()?])
}

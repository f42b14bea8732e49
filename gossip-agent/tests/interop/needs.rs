//! What the tests need from the machine they run on.

use std::env;
use std::process::{Command, Stdio};

/// Whether all `programs` are there. Where they must be (`CI` or `GOSSIP_INTEROP` is set) a missing one is a failure:
/// a proof that silently does not run is none.
pub(crate) fn available(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !is_there(program)).collect();
    met(missing.is_empty(), &format!("no {}", missing.join(", no ")))
}

/// Whether this is root with network namespaces; the same rule.
pub(crate) fn may_make_namespaces() -> bool {
    let probe = Command::new("ip").args(["netns", "list"]).output();
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    met(root && probe.is_ok_and(|output| output.status.success()), "not root with network namespaces")
}

fn met(met: bool, problem: &str) -> bool {
    let required = env::var_os("CI").is_some() || env::var_os("GOSSIP_INTEROP").is_some();
    assert!(met || !required, "{problem}, and CI or GOSSIP_INTEROP says that this test must run");
    if !met {
        println!("skipped: {problem}");
    }
    met
}

fn is_there(program: &str) -> bool {
    let lookup =
        Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).stdout(Stdio::null()).status();
    lookup.is_ok_and(|status| status.success())
}

//! Contenders that are no part of this program: where their sources are, and how they are built on first use.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::contender::this_program;

/// Debian's packages for the Go contender.
const GO_PACKAGES: [&str; 2] = ["golang-go", "golang-github-hashicorp-memberlist-dev"];

/// Where those packages put sources of libraries.
const GO_PATH: &str = "/usr/share/gocode";

/// The Go program, built.
pub(super) fn go() -> Result<Command, String> {
    let library = Path::new(GO_PATH).join("src/github.com/hashicorp/memberlist");
    let compiler = Command::new("go").arg("version").stdout(Stdio::null()).status();
    if !compiler.is_ok_and(|status| status.success()) || !library.is_dir() {
        return Err(format!("not installed; `apt-get install {}` does that", GO_PACKAGES.join(" ")));
    }
    let directory = target()?;
    let program = directory.join("go-memberlist");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(sources().join("go"));
    build.env("GO111MODULE", "off").env("GOPATH", GO_PATH).env("GOFLAGS", "");
    build.env("GOCACHE", directory.join("go-cache"));
    finished("go build", &mut build)?;
    let mut command = Command::new(program);
    command.arg(format!("--library={}", installed(GO_PACKAGES[1])));
    Ok(command)
}

/// The program with al8n's memberlist, built. The first time that takes minutes, for it has many dependencies, which are not in
/// this workspace.
pub(super) fn memberlist() -> Result<Command, String> {
    let directory = target()?.join("memberlist");
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--locked"]).current_dir(sources().join("memberlist"));
    build.env("CARGO_TARGET_DIR", &directory);
    finished("cargo build", &mut build)?;
    Ok(Command::new(directory.join("release").join("gossip-bench-memberlist")))
}

/// The sources of such programs.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Where they are built: beside this program, in the target directory.
fn target() -> Result<PathBuf, String> {
    let program = this_program()?;
    Ok(program.parent().unwrap_or_else(|| Path::new(".")).join("peers"))
}

/// Runs a command whose output is for the one who looks on.
fn finished(name: &str, command: &mut Command) -> Result<(), String> {
    // What is printed belongs to the report that follows.
    command.stdout(Stdio::null());
    let status = command.status().map_err(|error| format!("{name} does not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed: {status}")) }
}

/// The version of a Debian package, without what Debian adds to it.
fn installed(package: &str) -> String {
    let output = Command::new("dpkg-query").args(["-W", "-f=${Version}", package]).output();
    let version = output.ok().filter(|output| output.status.success());
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.and_then(|version| Some(version.split('-').next()?.to_owned()));
    version.unwrap_or_else(|| "of an unknown version".to_owned())
}

//! Who is measured, and how its program is built and run.
//!
//! Each contender runs in a process of its own, one after the other, and prints a [`Report`].

use std::env::current_exe;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::measure::Wanted;
use super::report::Report;
use super::{build, foca, ours};

/// A program to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Contender {
    /// `gossip-proto`.
    Ours,
    /// foca, from crates.io.
    Foca,
    /// HashiCorp's memberlist, in Go, from Debian's packages.
    Go,
    /// al8n's memberlist, from crates.io.
    Memberlist,
}

impl Contender {
    /// All, ours first.
    pub const ALL: [Self; 4] = [Self::Ours, Self::Foca, Self::Memberlist, Self::Go];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Foca => "foca",
            Self::Go => "go",
            Self::Memberlist => "memberlist",
        }
    }

    /// Measures it in this process.
    ///
    /// # Errors
    /// It is not part of this program.
    pub fn measure(self, wanted: &Wanted) -> Result<Report, String> {
        match self {
            Self::Ours => Ok(ours::report(wanted)),
            Self::Foca => Ok(foca::report(wanted)),
            Self::Go | Self::Memberlist => Err(format!("{} is a program of its own", self.name())),
        }
    }

    /// Builds its program if it is not part of this one, runs it, and reads what it says.
    ///
    /// # Errors
    /// Why it could not be: what it needs is not installed, it does not build or start, it failed, what it printed is no report.
    pub fn run(self, wanted: &Wanted) -> Result<Report, String> {
        let mut command = self.program()?;
        let name = self.name();
        eprintln!("{name}: measuring");
        command.args(wanted.arguments()).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| format!("{name} does not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("{name} failed: {}", output.status));
        }
        let text = String::from_utf8(output.stdout).map_err(|_| format!("{name} printed no text"))?;
        Report::from_json(&text).map_err(|error| format!("{name} printed no report: {error}"))
    }

    fn program(self) -> Result<Command, String> {
        match self {
            Self::Ours | Self::Foca => {
                let mut command = Command::new(this_program()?);
                command.args(["measure", self.name()]);
                Ok(command)
            }
            Self::Go => build::go(),
            Self::Memberlist => build::memberlist(),
        }
    }
}

pub(super) fn this_program() -> Result<PathBuf, String> {
    current_exe().map_err(|error| format!("where this program is cannot be said: {error}"))
}

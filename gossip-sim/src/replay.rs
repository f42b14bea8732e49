//! The subcommand `replay`: a recording is run through the machine again.

use core::fmt::Write as _;
use core::time::Duration;
use std::fs;
use std::path::Path;

use gossip_proto::{Ending, Instant, Playback, Recorded, Step, StepKind};

/// What of a recording is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Calls from then on, after the first one.
    pub from: Option<Duration>,
    /// The replay stops at that time after the first call, and shows the members as they are then.
    pub until: Option<Duration>,
    /// Calls of this kind alone. Without it those are left out that ask for something and get nothing.
    pub only: Option<StepKind>,
}

/// The kinds of calls by name.
pub const KINDS: [(&str, StepKind); 7] = [
    ("input", StepKind::Input),
    ("command", StepKind::Command),
    ("timer", StepKind::Timer),
    ("output", StepKind::Output),
    ("member", StepKind::Member),
    ("event", StepKind::Event),
    ("check", StepKind::Check),
];

/// The kind of that name.
///
/// # Errors
/// There is none; the error lists all.
pub fn kind(name: &str) -> Result<StepKind, String> {
    KINDS
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, kind)| kind)
        .ok_or_else(|| format!("one of {}, not {name:?}", KINDS.map(|(known, _)| known).join(", ")))
}

/// Replays a recording, hands its timeline line by line to `line`, and says at the end how exact it was.
///
/// # Errors
/// The file cannot be read, is no recording of this version, is damaged, or the machine did something else than when it was
/// recorded; what was shown until then is exact.
pub fn replay(trace: &Path, shown: &Shown, mut line: impl FnMut(&str)) -> Result<(), String> {
    let bytes = fs::read(trace).map_err(|error| format!("{}: {error}", trace.display()))?;
    let mut playback = Playback::open(&bytes).map_err(|error| format!("{}: {error}", trace.display()))?;
    let mut first: Option<Instant> = None;
    let mut stopped = false;
    while let Some(step) = playback.step() {
        let step = step.map_err(|error| format!("{}: {error}", trace.display()))?;
        let since = step.at.saturating_duration_since(*first.get_or_insert(step.at));
        let wanted = match shown.only {
            Some(kind) => step.kind == kind,
            None => step.kind != StepKind::Output || step.text != Step::NOTHING,
        };
        if wanted
            && shown.from.is_none_or(|from| since >= from)
            && shown.until.is_none_or(|until| since <= until)
        {
            line(&format!(
                "{:>12.6} {:>8} {:<7} {}",
                since.as_secs_f64(),
                step.entry,
                name(step.kind),
                step.text
            ));
        }
        if shown.until.is_some_and(|until| since > until) {
            stopped = true;
            break;
        }
    }
    line("");
    for row in members(playback.machine()) {
        line(&row);
    }
    let end = match playback.ending() {
        _ if stopped => "stopped here as asked; more follows",
        Some(Ending::Stopped) => "to its end",
        Some(Ending::Full) => "to where it ran out of room",
        _ => "to where it is cut off",
    };
    line(&format!("replay is exact, {end}: {} entries, hash {:016x}", playback.entries(), playback.hash()));
    Ok(())
}

fn name(kind: StepKind) -> &'static str {
    KINDS.into_iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
}

/// The table of members, a line each.
fn members(machine: &Recorded) -> Vec<String> {
    let rows = machine.members().map(|member| {
        let mut row =
            format!("{:<24} {:<22} {:?}", member.name.to_string(), member.addr.to_string(), member.status);
        let _ = write!(row, ", incarnation {}", member.incarnation);
        row
    });
    rows.collect()
}

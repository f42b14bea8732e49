//! Serf's snapshot file (serf.md 7): what one says, what to append, and what to write in its place when it has grown too
//! long. Files and clocks are the driver's business.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::config::Restore;
use crate::output::Clocks;
use crate::{Name, config};

/// The state that a snapshot file stands for, kept in step with what is appended to it.
///
/// Every method that adds lines writes them to `out`, for the end of the file. Serf reads the file as well; what it has no
/// lines for are comments to it.
///
/// ```
/// use gossip_proto::{Name, Snapshot};
///
/// let file = b"alive: web-1 10.0.0.1:7946\nalive: web-2 10.0.0.2:7946\nclock: 7\nnot-alive: web-1\nclo";
/// let (mut snapshot, whole) = Snapshot::replay(file, false);
/// assert_eq!(&file[whole..], b"clo", "a torn line is cut off before anything is appended");
/// assert_eq!(snapshot.last().member, 7);
///
/// let mut out = Vec::new();
/// snapshot.joined(&Name::from("web-3"), "10.0.0.3:7946".parse().unwrap(), &mut out);
/// assert_eq!(out, b"alive: web-3 10.0.0.3:7946\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    alive: BTreeMap<Name, SocketAddr>,
    /// Members that failed and were forgotten, and until when their address is tried, in seconds of the Unix epoch.
    learnt: BTreeMap<Name, (SocketAddr, u64)>,
    /// Last times seen; those that Serf writes, one below what the clocks show.
    last: Clocks,
    /// What they were when this process began to leave.
    at_leave: Option<Clocks>,
    rejoin_after_leave: bool,
    /// Length of the file.
    len: u64,
    /// Length when it was last written anew.
    rewritten: u64,
    min_rewrite: u64,
    ignored: u64,
    left_out: u64,
}

impl Snapshot {
    /// An empty file. `rejoin_after_leave`: a farewell does not make it forget whom it knew.
    pub fn new(rejoin_after_leave: bool) -> Self {
        Self {
            alive: BTreeMap::new(),
            learnt: BTreeMap::new(),
            last: Clocks::default(),
            at_leave: None,
            rejoin_after_leave,
            len: 0,
            rewritten: 0,
            min_rewrite: MIN_REWRITE,
            ignored: 0,
            left_out: 0,
        }
    }

    /// What a file says, and how many of its bytes are whole lines: what follows was torn by a crash and must be cut off,
    /// or the next line would continue it (Q34).
    pub fn replay(file: &[u8], rejoin_after_leave: bool) -> (Self, usize) {
        let mut snapshot = Self::new(rejoin_after_leave);
        let whole = file.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        for line in file[..whole].split_inclusive(|&byte| byte == b'\n') {
            snapshot.take_line(&line[..line.len() - 1]);
        }
        snapshot.len = whole as u64;
        (snapshot, whole)
    }

    /// Whether a file may be a snapshot, whole or torn by a crash: one that is something else must not be written to.
    pub fn may_be_one(file: &[u8]) -> bool {
        let words = [ALIVE, NOT_ALIVE, MEMBER, EVENT, QUERY, LEAVE, COORDINATE, LEARNT, FORGOTTEN];
        let mut lines = file.split(|&byte| byte == b'\n');
        // Some file systems leave zeros of what was on its way when the power failed.
        file.iter().all(|&byte| byte == 0)
            || words.iter().any(|word| word.starts_with(file))
            || lines.any(|line| words.iter().any(|word| line.starts_with(word)))
    }

    /// Rewrites the file from this size on instead of from 128 KiB on.
    pub fn min_rewrite(&mut self, bytes: u64) -> &mut Self {
        self.min_rewrite = bytes;
        self
    }

    /// A member is there, at this address.
    pub fn joined(&mut self, name: &Name, addr: SocketAddr, out: &mut Vec<u8>) {
        if self.at_leave.is_some() || self.alive.get(name) == Some(&addr) {
            return;
        }
        // Such a name would forge lines in the file (Q8); without its line the member is not tried after a restart.
        if !is_writable(name) {
            self.left_out += 1;
            return;
        }
        // A name that is alive again is learnt no longer: the reader concludes it from this line.
        self.learnt.remove(name);
        self.alive.insert(name.clone(), addr);
        self.append(out, &[ALIVE, name.as_bytes(), b" ", format!("{addr}").as_bytes()]);
    }

    /// A member failed or left.
    pub fn gone(&mut self, name: &Name, out: &mut Vec<u8>) {
        if self.at_leave.is_none() && self.alive.remove(name).is_some() {
            self.append(out, &[NOT_ALIVE, name.as_bytes()]);
        }
    }

    /// What the node's clocks show.
    pub fn clocks(&mut self, clocks: Clocks, out: &mut Vec<u8>) {
        let member = clocks.member.saturating_sub(1);
        if member > self.last.member {
            self.last.member = member;
            self.append(out, &[MEMBER, format!("{member}").as_bytes()]);
        }
        // A node that has left hears nothing that it should remember.
        if self.at_leave.is_some() {
            return;
        }
        let (event, query) = (clocks.event.saturating_sub(1), clocks.query.saturating_sub(1));
        if event > self.last.event {
            self.last.event = event;
            self.append(out, &[EVENT, format!("{event}").as_bytes()]);
        }
        if query > self.last.query {
            self.last.query = query;
            self.append(out, &[QUERY, format!("{query}").as_bytes()]);
        }
    }

    /// The addresses that the node has learnt, with how long each is still tried; `now` in seconds of the Unix epoch.
    /// Those not among them any more are crossed out.
    pub fn learnt<'n>(
        &mut self,
        learnt: impl Iterator<Item = (&'n Name, SocketAddr, Duration)>,
        now: u64,
        out: &mut Vec<u8>,
    ) {
        if self.at_leave.is_some() {
            return;
        }
        let mut before = core::mem::take(&mut self.learnt);
        for (name, addr, left) in learnt {
            // One that an earlier life knew as alive stands in the file as that already.
            if !is_writable(name) || self.alive.get(name) == Some(&addr) {
                continue;
            }
            let until = match before.remove(name) {
                Some((known, until)) if known == addr => until,
                _ => {
                    let until = now.saturating_add(left.as_secs());
                    self.append(out, &learnt_line(name, &format!("{until}"), &format!("{addr}")));
                    until
                }
            };
            self.learnt.insert(name.clone(), (addr, until));
        }
        for name in before.into_keys() {
            self.append(out, &[FORGOTTEN, name.as_bytes()]);
        }
    }

    /// The node leaves: from here on only the member clock is written down (serf.md 7.3).
    pub fn leave(&mut self, out: &mut Vec<u8>) {
        if self.at_leave.is_some() {
            return;
        }
        self.at_leave = Some(self.last);
        if !self.rejoin_after_leave {
            self.alive.clear();
            self.learnt.clear();
        }
        self.append(out, &[LEAVE]);
    }

    /// Whether the file has grown so long that it should be replaced (serf.md 7.5).
    pub fn wants_rewrite(&self) -> bool {
        let lines = (self.alive.len() + self.learnt.len()) as u64;
        // With long names it is as long as that when it is new, and would be written anew for each line.
        self.len > self.min_rewrite.max(2 * LINE * lines).max(2 * self.rewritten)
    }

    /// What to write in its place: the same state in as few lines as it takes.
    pub fn rewrite(&mut self, out: &mut Vec<u8>) {
        let before = out.len();
        for (name, addr) in &self.alive {
            line(out, &[ALIVE, name.as_bytes(), b" ", format!("{addr}").as_bytes()]);
        }
        for (name, (addr, until)) in &self.learnt {
            line(out, &learnt_line(name, &format!("{until}"), &format!("{addr}")));
        }
        let last = self.at_leave.unwrap_or(self.last);
        for (clock, time) in [(MEMBER, last.member), (EVENT, last.event), (QUERY, last.query)] {
            line(out, &[clock, format!("{time}").as_bytes()]);
        }
        // Upstream loses it here, and rejoins a cluster that it has left (Q35).
        if self.at_leave.is_some() {
            line(out, &[LEAVE]);
        }
        if self.last.member > last.member {
            line(out, &[MEMBER, format!("{}", self.last.member).as_bytes()]);
        }
        self.len = (out.len() - before) as u64;
        self.rewritten = self.len;
    }

    /// Members that the file says are alive.
    pub fn alive(&self) -> impl ExactSizeIterator<Item = (&Name, SocketAddr)> {
        self.alive.iter().map(|(name, addr)| (name, *addr))
    }

    /// The last times seen.
    pub fn last(&self) -> Clocks {
        self.last
    }

    /// Lines that no reader knows, and members left out because their names cannot be written safely.
    pub fn oddities(&self) -> (u64, u64) {
        (self.ignored, self.left_out)
    }

    /// What a node named `own` takes over from the file, for [`crate::ServiceConfig::restore`]; `now` in seconds of the Unix
    /// epoch.
    pub fn restore(&self, own: &Name, now: u64) -> Restore {
        let others = |name: &Name| name != own && name.as_bytes().len() <= config::MAX_NAME;
        let alive = self.alive.iter().filter(|(name, _)| others(name));
        let learnt = self.learnt.iter().filter(|(name, (_, until))| others(name) && *until > now);
        Restore {
            last: self.last,
            alive: alive.map(|(name, addr)| (name.clone(), *addr)).collect(),
            learnt: learnt
                .map(|(name, (addr, until))| (name.clone(), *addr, Duration::from_secs(until - now)))
                .collect(),
        }
    }

    /// One line of a file, without its end (serf.md 7.4).
    fn take_line(&mut self, line: &[u8]) {
        let known = if let Some(rest) = line.strip_prefix(ALIVE) {
            member(rest).map(|(name, addr)| {
                self.learnt.remove(&name);
                self.alive.insert(name, addr);
            })
        } else if let Some(name) = line.strip_prefix(NOT_ALIVE) {
            self.alive.remove(&Name::new(name));
            Some(())
        } else if let Some(rest) = line.strip_prefix(MEMBER) {
            number(rest).map(|time| self.last.member = time)
        } else if let Some(rest) = line.strip_prefix(EVENT) {
            number(rest).map(|time| self.last.event = time)
        } else if let Some(rest) = line.strip_prefix(QUERY) {
            number(rest).map(|time| self.last.query = time)
        } else if line == LEAVE {
            if !self.rejoin_after_leave {
                self.alive.clear();
                self.learnt.clear();
                self.last = Clocks::default();
            }
            Some(())
        } else if let Some(rest) = line.strip_prefix(LEARNT) {
            let space = rest.iter().position(|&byte| byte == b' ');
            let split = space.map(|space| (&rest[..space], &rest[space + 1..]));
            split.and_then(|(until, rest)| Some((number(until)?, member(rest)?))).map(|(until, found)| {
                self.learnt.insert(found.0, (found.1, until));
            })
        } else if let Some(name) = line.strip_prefix(FORGOTTEN) {
            self.learnt.remove(&Name::new(name));
            Some(())
        } else {
            // What old versions wrote of coordinates, and comments.
            (line.starts_with(COORDINATE) || line.starts_with(b"#")).then_some(())
        };
        self.ignored += u64::from(known.is_none());
    }

    fn append(&mut self, out: &mut Vec<u8>, parts: &[&[u8]]) {
        let before = out.len();
        line(out, parts);
        self.len += (out.len() - before) as u64;
    }
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'\n');
}

fn learnt_line<'a>(name: &'a Name, until: &'a str, addr: &'a str) -> [&'a [u8]; 6] {
    [LEARNT, until.as_bytes(), b" ", name.as_bytes(), b" ", addr.as_bytes()]
}

/// `<name> <address>`; names may have spaces, so it is the last one that parts them.
fn member(text: &[u8]) -> Option<(Name, SocketAddr)> {
    let space = text.iter().rposition(|&byte| byte == b' ')?;
    let addr = core::str::from_utf8(&text[space + 1..]).ok()?.parse().ok()?;
    (space > 0).then(|| (Name::new(&text[..space]), addr))
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    core::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Whether a name can stand in a line without ending it or hiding what it says.
fn is_writable(name: &Name) -> bool {
    !name.is_empty() && !name.as_bytes().iter().any(u8::is_ascii_control)
}

const ALIVE: &[u8] = b"alive: ";
const NOT_ALIVE: &[u8] = b"not-alive: ";
const MEMBER: &[u8] = b"clock: ";
const EVENT: &[u8] = b"event-clock: ";
const QUERY: &[u8] = b"query-clock: ";
const LEAVE: &[u8] = b"leave";
const COORDINATE: &[u8] = b"coordinate: ";
// Comments to Serf.
const LEARNT: &[u8] = b"# learnt: ";
const FORGOTTEN: &[u8] = b"# forgotten: ";

/// A file shorter than this is left alone (serf.md 7.5).
const MIN_REWRITE: u64 = 128 * 1024;
/// What a line about a member may take.
const LINE: u64 = 128;

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

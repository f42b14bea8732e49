//! The fingerprints that may join, for clusters without an authority.

use core::fmt;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Fingerprint, Peer, Refusal, TlsError};

/// Which keys may join.
///
/// A list has one fingerprint per line, with the member's name behind it if only that member may use the key; `#` begins a
/// comment:
///
/// ```text
/// # db machines
/// sha256:3f1c...e2 db-1
/// sha256:90aa...07
/// ```
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    keys: BTreeMap<Fingerprint, Option<String>>,
    file: Option<PathBuf>,
    first_use: bool,
}

impl Allowed {
    /// These keys, under any name.
    pub fn list(fingerprints: impl IntoIterator<Item = Fingerprint>) -> Result<Self, TlsError> {
        let mut allowed = Self::default();
        for fingerprint in fingerprints {
            allowed.insert(fingerprint, None)?;
        }
        Ok(allowed)
    }

    /// The keys in a file, which is read again by [`crate::Credentials::reload`].
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let path = path.into();
        let keys = read(&path)?;
        Ok(Self { keys, file: Some(path), ..Self::default() })
    }

    /// Lets one more key in; under that name only, if one is given.
    pub fn insert(&mut self, fingerprint: Fingerprint, name: Option<&str>) -> Result<(), TlsError> {
        if self.keys.len() >= MAX_FINGERPRINTS && !self.keys.contains_key(&fingerprint) {
            return Err(TlsError::TooMany { limit: MAX_FINGERPRINTS });
        }
        self.keys.insert(fingerprint, name.map(str::to_owned));
        Ok(())
    }

    /// Whether a key that nobody knows is let in when it is the first one for the name in its certificate, and remembered
    /// for that name from then on; if there is a file, also there. Off by default: **with it, whoever reaches the port
    /// first under a name that is still free is a member.** It keeps a member from being replaced by another, and nobody
    /// from joining.
    pub fn trust_on_first_use(mut self, on: bool) -> Self {
        self.first_use = on;
        self
    }

    /// How many keys may join.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none may.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What is in the file now.
    pub(crate) fn read_again(&self) -> Result<Option<BTreeMap<Fingerprint, Option<String>>>, TlsError> {
        self.file.as_deref().map(read).transpose()
    }

    /// Takes over what is in the file, and those seen for the first time whose lines are not there, unless it gives their
    /// name to another key.
    pub(crate) fn replace(
        &mut self,
        mut keys: BTreeMap<Fingerprint, Option<String>>,
        unwritten: BTreeMap<Fingerprint, String>,
    ) -> bool {
        for (key, name) in unwritten {
            let is_taken = keys.values().flatten().any(|listed| *listed == name);
            if !is_taken && keys.len() < MAX_FINGERPRINTS {
                keys.entry(key).or_insert(Some(name));
            }
        }
        let changed = self.keys != keys;
        self.keys = keys;
        changed
    }

    /// Whether it may join as things stand.
    pub(crate) fn check(&self, peer: &Peer) -> Result<(), Refusal> {
        match self.keys.get(&peer.fingerprint) {
            Some(None) => Ok(()),
            Some(name) if *name == peer.name => Ok(()),
            Some(Some(name)) => Err(Refusal::WrongName { peer: peer.clone(), listed: name.clone() }),
            None => Err(Refusal::NotListed(peer.clone())),
        }
    }

    /// As [`Allowed::check`], but for one that is here for the first time the name that it is to be remembered by.
    pub(crate) fn newcomer(&self, peer: &Peer) -> Result<Option<String>, Refusal> {
        match self.check(peer) {
            Err(Refusal::NotListed(_)) if self.first_use => {}
            settled => return settled.map(|()| None),
        }
        let Some(name) = &peer.name else { return Err(Refusal::Nameless(peer.clone())) };
        if self.keys.values().flatten().any(|known| known == name) {
            return Err(Refusal::KeyChanged(peer.clone()));
        }
        if name.contains(['\n', '\r', '#']) || name.trim() != name || self.keys.len() >= MAX_FINGERPRINTS {
            return Err(Refusal::NotListed(peer.clone()));
        }
        Ok(Some(name.clone()))
    }

    /// Remembers one that is here for the first time; gives the name that must be written down.
    pub(crate) fn admit(&mut self, peer: &Peer) -> Result<Option<String>, Refusal> {
        let name = self.newcomer(peer)?;
        if let Some(name) = &name {
            self.keys.insert(peer.fingerprint, Some(name.clone()));
        }
        Ok(name)
    }

    pub(crate) fn contains(&self, key: &Fingerprint) -> bool {
        self.keys.contains_key(key)
    }
}

/// Writes down whom a node trusts since it saw them first. Not where handshakes are made: a disk may be slow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notebook {
    pending: Arc<Mutex<Pending>>,
    /// Held while lines are on their way into the file, and while the file is read again: else one that is written in between
    /// would be missed in both places.
    file: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Pending {
    /// All whose lines are not in the file, or could not be written.
    unwritten: BTreeMap<Fingerprint, String>,
    writing: bool,
    failed: Option<String>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Notebook {
    /// Has a line written to the end of the file, soon.
    pub(crate) fn write(&self, path: &Path, key: Fingerprint, name: String) {
        let mut pending = self.pending();
        pending.unwritten.insert(key, name);
        if pending.writing {
            return;
        }
        pending.writing = true;
        let (shared, path) = (self.clone(), path.to_owned());
        let started = std::thread::Builder::new()
            .name("gossip-tls".into())
            .spawn(move || while shared.write_next(&path) {});
        if let Err(error) = started {
            pending.writing = false;
            pending.failed = Some(error.to_string());
        }
    }

    /// Writes what is there to write; whether there may be more. What cannot be written is tried again with what comes next.
    fn write_next(&self, path: &Path) -> bool {
        let _file = self.hold_file();
        let unwritten = {
            let mut pending = self.pending();
            pending.writing = !pending.unwritten.is_empty();
            pending.unwritten.clone()
        };
        if unwritten.is_empty() {
            return false;
        }
        let lines: String = unwritten.iter().map(|(key, name)| format!("{key} {name}\n")).collect();
        let written = append(path, &lines);
        let mut pending = self.pending();
        match written {
            Ok(()) => pending.unwritten.retain(|key, _| !unwritten.contains_key(key)),
            Err(error) => {
                pending.failed = Some(format!("{}: {error}", path.display()));
                pending.writing = false;
            }
        }
        pending.writing
    }

    /// Nothing is written meanwhile.
    pub(crate) fn hold_file(&self) -> MutexGuard<'_, ()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who were let in and are not in the file.
    pub(crate) fn unwritten(&self) -> BTreeMap<Fingerprint, String> {
        self.pending().unwritten.clone()
    }

    /// Writes only these from now on: to somebody else the file has given the name.
    pub(crate) fn retain(&self, is_let_in: impl Fn(&Fingerprint) -> bool) {
        self.pending().unwritten.retain(|key, _| is_let_in(key));
    }

    /// Why the last attempt failed, once.
    pub(crate) fn take_failure(&self) -> Option<String> {
        self.pending().failed.take()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends to a list, which an editor may have left without the end of its last line. Half a line that a full disk took would
/// be one that nobody can read: it is taken back.
fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let len = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if len > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let begin = if last == [b'\n'] { "" } else { "\n" };
    let written = file.write_all([begin, lines].concat().as_bytes());
    if written.is_err() {
        let _ = file.set_len(len);
    }
    written
}

fn read(path: &Path) -> Result<BTreeMap<Fingerprint, Option<String>>, TlsError> {
    let text = fs::read_to_string(path).map_err(|error| TlsError::file(path, error))?;
    let mut keys = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (fingerprint, name) = match line.split_once(char::is_whitespace) {
            Some((fingerprint, name)) => (fingerprint, Some(name.trim().to_owned())),
            None => (line, None),
        };
        let fingerprint = fingerprint.parse().map_err(|error: crate::InvalidFingerprint| {
            TlsError::Malformed { place: format!("{}:{}", path.display(), index + 1), why: error.to_string() }
        })?;
        keys.insert(fingerprint, name);
        if keys.len() > MAX_FINGERPRINTS {
            return Err(TlsError::TooMany { limit: MAX_FINGERPRINTS });
        }
    }
    Ok(keys)
}

/// As many as a cluster may have members.
pub const MAX_FINGERPRINTS: usize = 65_536;

//! What goes into a snapshot file, and when a line is crossed out (serf.md 7). Who writes it where is another matter.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use gossip_proto::{ChangeKind, Clocks, Name, Snapshot, Status};

/// Lines for a snapshot file, collected from what a node says until they are written; for drivers that write the file
/// themselves. [`crate::start_with_snapshot`] does all of this.
///
/// Tell it of every member that the node knows at first, of every membership change, and twice a second of the clocks and the
/// addresses learnt; then append [`SnapshotLines::take`] to the file, or replace it by [`SnapshotLines::rewrite`] if
/// [`SnapshotLines::wants_rewrite`] says so.
#[derive(Debug)]
pub struct SnapshotLines {
    snapshot: Snapshot,
    pending: Vec<u8>,
    /// Alive in an earlier life, and not met yet in this one.
    unmet: BTreeSet<Name>,
    /// Those of them whose address was still tried when we looked last.
    sought: BTreeSet<Name>,
    learnt_version: u64,
    rejoins: bool,
    /// What was heard since the node began to leave, as the file has it; nothing if it would not rejoin.
    since_leave: Option<Clocks>,
}

impl SnapshotLines {
    /// Goes on with a file that stands for this, as [`Snapshot::replay`] gives it, or with a new one.
    pub fn new(snapshot: Snapshot) -> Self {
        let unmet = snapshot.alive().map(|(name, _)| name.clone()).collect();
        Self {
            snapshot,
            pending: Vec::new(),
            unmet,
            sought: BTreeSet::new(),
            learnt_version: 0,
            rejoins: false,
            since_leave: None,
        }
    }

    /// Whether the node rejoins also after it had left, as [`Snapshot::replay`] was told. It hears events and queries while it
    /// leaves, and its next life must not hear them again.
    pub fn rejoin_after_leave(mut self, on: bool) -> Self {
        self.rejoins = on;
        self
    }

    /// A member as the node knows it, and what became of it if it changed.
    pub fn member(&mut self, name: &Name, addr: SocketAddr, status: Status, change: Option<ChangeKind>) {
        let down = matches!(change, Some(ChangeKind::Failed | ChangeKind::Left));
        if !down && matches!(status, Status::Alive | Status::Suspect | Status::Leaving) {
            self.unmet.remove(name);
            self.snapshot.joined(name, addr, &mut self.pending);
        } else {
            self.snapshot.gone(name, &mut self.pending);
        }
    }

    /// What the node's clocks show.
    pub fn clocks(&mut self, clocks: Clocks) {
        self.snapshot.clocks(clocks, &mut self.pending);
        if let Some(last) = &mut self.since_leave {
            let before = *last;
            last.event = last.event.max(clocks.event.saturating_sub(1));
            last.query = last.query.max(clocks.query.saturating_sub(1));
            write_later(before, *last, &mut self.pending);
        }
    }

    /// The addresses that the node has learnt ([`gossip_proto::Node::learnt`] and its version), with how long each is still
    /// tried; `now` in seconds of the Unix epoch. Those of an earlier life that were sought in vain are crossed out:
    /// to see that of those who are settled at once, it must be told of the first addresses too, before the node hears anything.
    pub fn learnt(&mut self, version: u64, addresses: &[(Name, SocketAddr, Duration)], now: u64) {
        if version == self.learnt_version {
            return;
        }
        self.learnt_version = version;
        // Its time is up; it was alive in an earlier life, and this one has sought it in vain.
        let listed: BTreeSet<&Name> = addresses.iter().map(|(name, ..)| name).collect();
        for name in self.sought.iter().filter(|name| !listed.contains(name) && self.unmet.contains(*name)) {
            self.snapshot.gone(name, &mut self.pending);
        }
        self.sought = listed.into_iter().filter(|name| self.unmet.contains(*name)).cloned().collect();
        let addresses = addresses.iter().map(|(name, addr, left)| (name, *addr, *left));
        self.snapshot.learnt(addresses, now, &mut self.pending);
    }

    /// The node leaves; tell what the clocks show once more, and write this safely before its farewell is out (serf.md 4.8).
    pub fn leave(&mut self) {
        if self.rejoins && self.since_leave.is_none() {
            self.since_leave = Some(self.snapshot.last());
        }
        self.snapshot.leave(&mut self.pending);
    }

    /// How many bytes wait to be written.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// What is to be appended to the file.
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.pending)
    }

    /// Whether the file has grown so long that it should be replaced.
    pub fn wants_rewrite(&self) -> bool {
        self.snapshot.wants_rewrite()
    }

    /// What to put in its place; nothing is pending then.
    pub fn rewrite(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        self.snapshot.rewrite(&mut content);
        if let Some(last) = self.since_leave {
            write_later(self.snapshot.last(), last, &mut content);
        }
        self.pending.clear();
        content
    }
}

/// The lines of the two clocks that [`Snapshot`] does not follow beyond a leave.
fn write_later(before: Clocks, now: Clocks, out: &mut Vec<u8>) {
    if now.event > before.event {
        out.extend_from_slice(format!("event-clock: {}\n", now.event).as_bytes());
    }
    if now.query > before.query {
        out.extend_from_slice(format!("query-clock: {}\n", now.query).as_bytes());
    }
}

//! What a node's process keeps on its disk, and what of it survives the process, or its machine.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use gossip_driver::SnapshotLines;
use gossip_proto::wire::keyring::Keyring;
use gossip_proto::{Clocks, Instant, Machine, Membership, Name, RequestId, Restore, Snapshot, Status};

use crate::net::node::{Node, Power};
use crate::net::record::Change;
use crate::net::world::{Event, World};
use crate::net::{Network, NodeId};
use crate::rng::{Purpose, Rng};

/// How often lines are written, as gossip-driver does (serf.md 7.2).
const INTERVAL: Duration = Duration::from_millis(500);
/// How old written bytes become, at most, before a kernel has them on the disk itself: Linux's dirty_expire_centisecs.
const WRITEBACK: Duration = Duration::from_secs(30);

/// A machine of which a snapshot can be kept.
pub trait Persistent: Machine {
    /// What its Lamport clocks show; all 0 if it has none.
    fn lamport(&self) -> Clocks;

    /// The addresses it has learnt, with how long each is still tried, and a number that changes with them.
    fn addresses(&self) -> (u64, Vec<(Name, SocketAddr, Duration)>);

    /// Whether it leaves or has left.
    fn leaves(&self) -> bool;
}

impl Persistent for gossip_proto::Node {
    fn lamport(&self) -> Clocks {
        self.clocks()
    }

    fn addresses(&self) -> (u64, Vec<(Name, SocketAddr, Duration)>) {
        let addresses = self.learnt().map(|(name, addr, left)| (name.clone(), addr, left));
        (self.learnt_version(), addresses.collect())
    }

    fn leaves(&self) -> bool {
        self.is_leaving()
    }
}

impl Persistent for Membership {
    fn lamport(&self) -> Clocks {
        Clocks::default()
    }

    fn addresses(&self) -> (u64, Vec<(Name, SocketAddr, Duration)>) {
        (0, Vec::new())
    }

    fn leaves(&self) -> bool {
        matches!(self.local().status, Status::Leaving | Status::Left)
    }
}

/// What a node finds on its disk when it starts.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Saved {
    /// What the snapshot says, for [`gossip_proto::ServiceConfig::restore`]; the addresses in it are what a
    /// [`Membership`] may have as [`gossip_proto::Config::seeds`].
    pub restore: Restore,
    /// The keyring, if it ever changed there.
    pub keyring: Option<Keyring>,
}

/// The disk, and what the process is about to write to it.
pub(crate) struct Disk<M> {
    rejoin_after_leave: bool,
    leaves: fn(&M) -> bool,
    look: fn(&M) -> Look,
    file: Vec<u8>,
    keyring: Option<Keyring>,
    /// Bytes of the file that a power cut cannot take, and when those after them were written, up to where.
    safe: usize,
    written: VecDeque<(Instant, usize)>,
    pub(crate) fails: bool,
    /// Of the process that runs.
    lines: Option<SnapshotLines>,
    left: bool,
    /// Lines were lost that the file must have: it is to be written anew.
    behind: bool,
    random: Rng,
}

/// What is looked at beside members.
struct Look {
    clocks: Clocks,
    learnt: (u64, Vec<(Name, SocketAddr, Duration)>),
}

fn look<M: Persistent>(machine: &M) -> Look {
    Look { clocks: machine.lamport(), learnt: machine.addresses() }
}

impl<M: Persistent> Network<M> {
    /// Gives a node a disk. From now on its process keeps a snapshot there, in Serf's format, and the keyring when it
    /// changes, as gossip-driver does with files; it begins with what the node knows now. A node that starts finds both
    /// in [`crate::net::Start::saved`], and it is for its factory to make use of that. `rejoin_after_leave`: a farewell
    /// does not make it forget whom it knew.
    ///
    /// Lines are written every half a second: a crash costs those of the last. A power cut ([`Network::vanish`]) costs
    /// some of what was written in the last 30 seconds and not synced, perhaps in the middle of a line. Farewells,
    /// files written anew and keyrings are synced.
    ///
    /// # Panics
    /// If it has one.
    pub fn add_disk(&mut self, node: NodeId, rejoin_after_leave: bool) {
        assert!(self.node(node).disk.is_none(), "{} has a disk", self.name(node));
        let disk = Disk {
            rejoin_after_leave,
            leaves: M::leaves,
            look: look::<M>,
            file: Vec::new(),
            keyring: None,
            safe: 0,
            written: VecDeque::new(),
            fails: false,
            lines: None,
            left: false,
            behind: false,
            random: Rng::new(&self.seed, Purpose::Disk, node.0.into()),
        };
        let state = &mut self.nodes[node.number()];
        state.disk = Some(Box::new(disk));
        if let Some(mut machine) = state.machine.take() {
            state.open_disk(&mut *machine, &mut self.world);
            state.machine = Some(machine);
        }
    }
}

impl<M: Machine> Network<M> {
    /// The snapshot file on a node's disk, as it is now; `None` without a disk.
    pub fn snapshot(&self, node: NodeId) -> Option<&[u8]> {
        self.node(node).disk.as_ref().map(|disk| &disk.file[..])
    }

    /// The keyring on a node's disk; `None` if it never changed, or there is no disk.
    pub fn stored_keyring(&self, node: NodeId) -> Option<&Keyring> {
        self.node(node).disk.as_ref()?.keyring.as_ref()
    }

    /// Takes all that is on a node's disk, for a restart without state. A process that runs goes on writing, and has all of
    /// its state there again when it next writes the file anew.
    ///
    /// # Panics
    /// If it has no disk.
    pub fn wipe_disk(&mut self, node: NodeId) {
        let disk = self.disk(node);
        (disk.keyring, disk.safe) = (None, 0);
        disk.file.clear();
        disk.written.clear();
        self.world.fault(Some(node), "wipe_disk");
    }

    /// Makes all writing to a node's disk fail, or lets it succeed again; what is on it can be read. A change of the keyring
    /// is taken back then; the snapshot is written anew once that succeeds.
    ///
    /// # Panics
    /// If it has no disk.
    pub fn fail_disk(&mut self, node: NodeId, on: bool) {
        self.disk(node).fails = on;
        self.world.fault(Some(node), "fail_disk");
    }

    fn disk(&mut self, node: NodeId) -> &mut Disk<M> {
        let NodeId(number) = node;
        let Some(disk) = &mut self.nodes[number as usize].disk else { panic!("node {number} has no disk") };
        disk
    }
}

impl<M: Machine> Node<M> {
    /// What the process that starts finds.
    pub(crate) fn saved(&mut self, now: Instant) -> Saved {
        let Some(disk) = &self.disk else { return Saved::default() };
        let (snapshot, _) = Snapshot::replay(&disk.file, disk.rejoin_after_leave);
        Saved { restore: snapshot.restore(&self.name, seconds(now)), keyring: disk.keyring.clone() }
    }

    /// Has a new process keep its files.
    pub(crate) fn open_disk(&mut self, machine: &mut M, world: &mut World) {
        let Some(disk) = &mut self.disk else { return };
        let (snapshot, whole) = Snapshot::replay(&disk.file, disk.rejoin_after_leave);
        disk.file.truncate(whole); // a line that was torn
        disk.safe = disk.safe.min(whole);
        disk.written.clear();
        let mut lines = SnapshotLines::new(snapshot).rejoin_after_leave(disk.rejoin_after_leave);
        // Before it is told anything, so that who turns out to have left is crossed out.
        let sought = (disk.look)(machine).learnt;
        lines.learnt(sought.0, &sought.1, seconds(world.now));
        for member in machine.members() {
            lines.member(member.name, member.addr, member.status, None);
        }
        (disk.lines, disk.left, disk.behind) = (Some(lines), false, false);
        machine.persist_keyring(true);
        self.next_write(world);
    }

    fn next_write(&self, world: &mut World) {
        world.queue.push(world.later(INTERVAL), Event::Disk { node: self.number, life: self.starts });
    }

    /// A change of a member, for the snapshot.
    pub(crate) fn note(&mut self, change: &Change) {
        if let Some(lines) = self.disk.as_mut().and_then(|disk| disk.lines.as_mut())
            && let (Some(addr), Some(status)) = (change.addr, change.status)
        {
            lines.member(&change.name, addr, status, Some(change.kind));
        }
    }

    /// A farewell is written at once: a crash before it is out must not bring the node back (serf.md 4.8).
    pub(crate) fn note_leave(&mut self, machine: &M, now: Instant) {
        let Some(disk) = self.disk.as_mut().filter(|disk| !disk.left && disk.lines.is_some()) else { return };
        if (disk.leaves)(machine) {
            disk.left = true;
            let seen = (disk.look)(machine);
            if let Some(lines) = &mut disk.lines {
                lines.leave();
                lines.clocks(seen.clocks);
            }
            disk.write(now, true);
        }
    }

    /// Stores a changed keyring, and says what came of it.
    pub(crate) fn store_keyring(&mut self, machine: &mut M, id: RequestId, keyring: &Keyring, now: Instant) {
        let Some(disk) = &mut self.disk else { return };
        let result = if disk.fails { Err("the disk fails".to_owned()) } else { Ok(()) };
        if result.is_ok() {
            disk.keyring = Some(keyring.clone());
        }
        // It has asked, and nothing else answers.
        let _ = machine.keyring_stored(now, id, result);
    }

    /// It is time to write what there is, if the process is the same and may run.
    pub(crate) fn write_disk(&mut self, life: u32, world: &mut World) {
        if life != self.starts || self.machine.is_none() {
            return;
        }
        let paused = self.power != Power::Up;
        if let (Some(disk), Some(machine)) = (self.disk.as_mut().filter(|_| !paused), &self.machine) {
            let seen = (disk.look)(machine);
            if let Some(lines) = &mut disk.lines {
                lines.clocks(seen.clocks);
                lines.learnt(seen.learnt.0, &seen.learnt.1, seconds(world.now));
            }
            disk.write(world.now, false);
        }
        self.next_write(world);
    }

    /// What the end of the process leaves.
    pub(crate) fn close_disk(&mut self, power: Power, now: Instant) {
        if let Some(disk) = &mut self.disk {
            disk.lines = None;
            if power == Power::Vanished {
                disk.lose(now);
            }
        }
    }
}

impl<M> Disk<M> {
    fn write(&mut self, now: Instant, sync: bool) {
        let Some(lines) = &mut self.lines else { return };
        if self.fails {
            self.behind |= lines.pending() > 0;
            lines.take();
            return;
        }
        if self.behind || lines.wants_rewrite() {
            self.file = lines.rewrite();
            (self.safe, self.behind) = (self.file.len(), false);
            return self.written.clear();
        }
        let pending = lines.take();
        if !pending.is_empty() {
            self.file.extend_from_slice(&pending);
            self.written.push_back((now, self.file.len()));
        }
        if sync {
            self.safe = self.file.len();
            self.written.clear();
        }
        self.expire(now);
    }

    /// What is old enough has reached the disk itself.
    fn expire(&mut self, now: Instant) {
        while let Some(&(at, end)) = self.written.front()
            && now.saturating_duration_since(at) > WRITEBACK
        {
            self.safe = end;
            self.written.pop_front();
        }
    }

    /// The power fails: some of what was on its way to the disk did not get there.
    fn lose(&mut self, now: Instant) {
        self.expire(now);
        let under_way = self.file.len() - self.safe;
        self.file.truncate(self.safe + self.random.below(under_way as u64 + 1) as usize);
        self.safe = self.file.len();
        self.written.clear();
    }
}

/// Seconds of the Unix epoch, which begins with the network here.
fn seconds(now: Instant) -> u64 {
    now.as_nanos() / 1_000_000_000
}

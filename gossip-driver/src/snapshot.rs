//! The snapshot file (serf.md 7): written off the loop by a task of its own, from what the loop tells it. A slow disk holds
//! up that task alone; what happens meanwhile is folded together, per member.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_channel::{Sender, WeakSender};
use atomic_waker::AtomicWaker;
use gossip_proto::{ChangeKind, Clocks, Instant, Machine, Name, Node, Restore, Snapshot, Status};

use crate::ending::Nothing;
use crate::file::replace_file;
use crate::lines::SnapshotLines;
use crate::log::emit;
use crate::notice::Notice;
use crate::runtime::{Runtime, Timer};
use crate::state::Command;
use crate::subscribe::Subscription;

/// The file in which a node keeps whom it knows and what it has seen, for its next life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// The file; Serf's own format, so that either can go on with the other's. From time to time it is replaced by a shorter
    /// one, for which its directory must be writable. Where that fails it is appended to until it is four times as long as the
    /// new one would be (or 512 KiB); beyond that only when the node leaves or ends. To replace it is tried every 30 seconds.
    pub path: PathBuf,
    /// Rejoin also after this node had left.
    pub rejoin_after_leave: bool,
}

/// An open snapshot file.
#[derive(Debug)]
pub struct SnapshotFile {
    path: PathBuf,
    file: File,
    snapshot: Snapshot,
    rejoin_after_leave: bool,
}

impl SnapshotFile {
    /// Opens the file, or makes one, and reads what an earlier life left there. A last line that a crash has torn is cut
    /// off. Blocks.
    ///
    /// # Errors
    /// It cannot be read or written, or holds something else.
    pub fn open(options: &SnapshotOptions) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&options.path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        // Somebody's key or configuration, given by mistake, would be cut and overwritten.
        if !Snapshot::may_be_one(&content) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is there and is no snapshot; give another path, or remove it",
            ));
        }
        let (snapshot, whole) = Snapshot::replay(&content, options.rejoin_after_leave);
        if whole < content.len() {
            file.set_len(whole as u64)?;
        }
        file.seek(io::SeekFrom::End(0))?;
        let (ignored, _) = snapshot.oddities();
        if ignored > 0 {
            emit!(
                warn,
                "serf: {ignored} lines of the snapshot {} were not understood",
                options.path.display()
            );
        }
        let SnapshotOptions { path, rejoin_after_leave } = options.clone();
        Ok(Self { path, file, snapshot, rejoin_after_leave })
    }

    /// What a node of that name takes over, for [`gossip_proto::ServiceConfig::restore`].
    pub fn restore(&self, own: &Name) -> Restore {
        self.snapshot.restore(own, unix_time())
    }

    pub(crate) fn of_node(self) -> Kept<Node> {
        Kept { file: self, look: Feed::look }
    }
}

/// A file, and how to see in a machine what goes there.
#[derive(Debug)]
pub(crate) struct Kept<M> {
    pub(crate) file: SnapshotFile,
    pub(crate) look: Look<M>,
}

/// Brings what a snapshot file's task looks at up to date.
pub(crate) type Look<M> = fn(&Feed, &M);

/// What the loop tells beside changes of members.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    clocks: [AtomicU64; 3],
    leaving: AtomicBool,
    learnt: Mutex<Learnt>,
    reader: AtomicWaker,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Learnt {
    version: u64,
    addresses: Addresses,
}

/// Shared, so that neither side holds the other up while it goes through them.
type Addresses = Arc<Vec<(Name, SocketAddr, Duration)>>;

impl Feed {
    /// Called after each turn of the loop; with nothing new it costs a few stores.
    pub(crate) fn look(&self, node: &Node) {
        let Clocks { member, event, query } = node.clocks();
        for (slot, time) in self.clocks.iter().zip([member, event, query]) {
            slot.store(time, Ordering::Relaxed);
        }
        let mut learnt = self.learnt();
        if learnt.version != node.learnt_version() {
            learnt.version = node.learnt_version();
            let addresses = node.learnt().map(|(name, addr, left)| (name.clone(), addr, left));
            learnt.addresses = Arc::new(addresses.collect());
        }
        drop(learnt);
        if node.is_leaving() && !self.leaving.swap(true, Ordering::AcqRel) {
            self.reader.wake();
        }
    }

    fn clocks(&self) -> Clocks {
        let [member, event, query] = [0, 1, 2].map(|index: usize| self.clocks[index].load(Ordering::Relaxed));
        Clocks { member, event, query }
    }

    pub(crate) fn latest(&self) -> Learnt {
        self.learnt().clone()
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the file until the node has ended. The end of the node waits for `done`. `first`: whom it seeks when it starts; one who
/// has left meanwhile is struck off with the first exchange, which may come before the first look here.
pub(crate) async fn keep<R: Runtime, M: Machine>(
    runtime: R,
    opened: SnapshotFile,
    mut news: Subscription,
    (feed, first): (Arc<Feed>, Learnt),
    tell: WeakSender<Command<M>>,
    done: Sender<Nothing>,
) {
    let mut keeper = Keeper::new(&runtime, opened, tell);
    for member in core::mem::take(&mut news.members) {
        keeper.lines.member(&member.name, member.addr, member.status, None);
    }
    keeper.learn(&first);
    let mut timer = runtime.timer();
    timer.set(runtime.now() + INTERVAL);
    let mut left = false;
    loop {
        let next = poll_fn(|cx| next(cx, &feed, left, &mut timer, &mut news)).await;
        if matches!(next, Next::Leave) {
            left = true;
            keeper.lines.leave();
        }
        keeper.lines.clocks(feed.clocks());
        match next {
            // Before the farewell is out: a crash in between must not bring the node back (serf.md 4.8).
            Next::Leave => keeper.flush(true).await,
            Next::Tick => {
                timer.set(runtime.now() + INTERVAL);
                keeper.learn(&feed.latest());
                keeper.flush(false).await;
            }
            Next::Member(name, addr, status, kind) => {
                keeper.lines.member(&name, addr, status, Some(kind));
                if keeper.lines.pending() > MAX_PENDING {
                    keeper.flush(false).await;
                }
            }
            Next::Other => {}
            Next::End => break,
        }
    }
    keeper.learn(&feed.latest());
    keeper.flush(true).await;
    drop((keeper, done));
}

enum Next {
    Leave,
    Tick,
    /// A member that changed.
    Member(Name, SocketAddr, Status, ChangeKind),
    /// News of no interest here.
    Other,
    End,
}

fn next<T: Timer>(
    cx: &mut Context<'_>,
    feed: &Feed,
    left: bool,
    timer: &mut T,
    news: &mut Subscription,
) -> Poll<Next> {
    feed.reader.register(cx.waker());
    if !left && feed.leaving.load(Ordering::Acquire) {
        return Poll::Ready(Next::Leave);
    }
    if timer.poll_expired(cx).is_ready() {
        return Poll::Ready(Next::Tick);
    }
    news.poll_recv(cx).map(|notice| match notice {
        Some(Notice::Change { member, kind, .. }) => {
            Next::Member(member.name, member.addr, member.status, kind)
        }
        Some(_) => Next::Other,
        None => Next::End,
    })
}

struct Keeper<'r, R, M> {
    runtime: &'r R,
    path: PathBuf,
    /// Taken out while it is written to; gone once that failed, until it is replaced.
    file: Option<File>,
    /// How long it may grow where it cannot be replaced.
    most: u64,
    lines: SnapshotLines,
    /// The file lacks lines, or has grown too long; it is to be written anew, not before this.
    behind: Option<Instant>,
    /// Whom to tell of a disk that fails.
    tell: WeakSender<Command<M>>,
}

impl<'r, R: Runtime, M: Machine> Keeper<'r, R, M> {
    fn new(runtime: &'r R, opened: SnapshotFile, tell: WeakSender<Command<M>>) -> Self {
        let SnapshotFile { path, file, snapshot, rejoin_after_leave } = opened;
        let lines = SnapshotLines::new(snapshot).rejoin_after_leave(rejoin_after_leave);
        Self { runtime, path, file: Some(file), most: 0, lines, behind: None, tell }
    }

    fn learn(&mut self, learnt: &Learnt) {
        self.lines.learnt(learnt.version, &learnt.addresses, unix_time());
    }

    /// Writes what is pending; in the place of a file that has grown too long, or lacks something, a new one. Where that is not
    /// possible the old one is still there to append to.
    async fn flush(&mut self, sync: bool) {
        let now = self.runtime.now();
        let pending = self.lines.take();
        let due = match self.behind {
            Some(at) => sync || at <= now,
            None => self.lines.wants_rewrite(),
        };
        if due && self.rewrite(now).await {
            return;
        }
        if sync || !pending.is_empty() {
            self.append(now, pending, sync).await;
        }
    }

    /// Whether a new file is in place.
    async fn rewrite(&mut self, now: Instant) -> bool {
        let content = self.lines.rewrite();
        self.most = GROWTH * (content.len() as u64).max(SHORT);
        let path = self.path.clone();
        let work = self.runtime.blocking(move || replace(&path, &content));
        match pin!(work).await {
            Ok(file) => {
                (self.file, self.behind) = (Some(file), None);
                true
            }
            Err(error) => {
                self.failed(now, &error);
                false
            }
        }
    }

    /// Appends lines. To a file that should have been replaced only up to a limit, or it would grow without end; but always
    /// what must be there safely: that the node leaves, above all.
    async fn append(&mut self, now: Instant, lines: Vec<u8>, sync: bool) {
        let Some(mut file) = self.file.take() else { return };
        let most = if self.behind.is_some() && !sync { self.most } else { u64::MAX };
        let work = self.runtime.blocking(move || {
            if file.metadata()?.len() < most {
                file.write_all(&lines)?;
            }
            if sync {
                file.sync_all()?;
            }
            Ok(file)
        });
        match pin!(work).await {
            Ok(file) => self.file = Some(file),
            // It may end with half a line, which another must not continue.
            Err(error) => self.failed(now, &error),
        }
    }

    fn failed(&mut self, now: Instant, error: &io::Error) {
        emit!(error, "serf: the snapshot {} cannot be written: {error}", self.path.display());
        self.behind = Some(now + RECOVERY);
        let error = error.to_string();
        if let Some(tell) = self.tell.upgrade() {
            // With the loop's queue full it is told the next time, 30 s from now, if it still fails.
            let _ = tell.try_send(Box::new(|core, _| core.publish(&Notice::SnapshotFailed { error })));
        }
    }
}

/// Replaces the file whole, and goes on at its end.
fn replace(path: &Path, content: &[u8]) -> io::Result<File> {
    replace_file(path, content)?;
    OpenOptions::new().append(true).open(fs::canonicalize(path)?)
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How often the clocks are looked at and lines are written (serf.md 7.2).
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a disk that fails is left alone.
const RECOVERY: Duration = Duration::from_secs(30);
/// A file that cannot be replaced, as when it is mounted by itself, is appended to until it is so many times as long as the new
/// one would be, and that counts as this long at least; beyond that only when the node leaves and ends.
const GROWTH: u64 = 4;
const SHORT: u64 = 128 * 1024;
/// Bytes of lines that wait at most before they are written.
const MAX_PENDING: usize = 64 * 1024;

//! Recordings of a running node: what its machine was told goes to a file, written off the loop. A slow disk holds up
//! nothing; when what waits for it no longer has room the recording ends, and says so.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gossip_proto::{Instant, MAX_TAP_FRAME, Machine, Recording, ReplayError};

use crate::log::emit;
use crate::runtime::Runtime;

/// A file that takes the recording of one node from its start, in the form that [`gossip_proto::Playback`] plays. It holds
/// no keys, but everything else: names, addresses, tags, payloads.
///
/// A node is recorded from its start or not at all, because a recording is played from there.
#[derive(Clone, Debug)]
pub struct RecordingOptions {
    path: PathBuf,
    limit: u64,
    /// The file once it is open, until a node takes it.
    opened: Arc<Mutex<Option<Opened>>>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    salt: [u8; 16],
}

impl PartialEq for RecordingOptions {
    fn eq(&self, other: &Self) -> bool {
        (&self.path, self.limit) == (&other.path, other.limit)
    }
}

impl Eq for RecordingOptions {}

impl RecordingOptions {
    /// Most bytes of a file where nothing else is asked for. A node of a quiet cluster of a hundred fills it in days.
    pub const DEFAULT_LIMIT: u64 = 256 << 20;
    /// The smallest limit: room for what a recording begins with, and some calls.
    pub const MIN_LIMIT: u64 = 64 << 10;

    /// A recording in that file, of at most `limit` bytes; fewer than [`RecordingOptions::MIN_LIMIT`] count as that many.
    /// A recording that ends because it is full plays to its end.
    pub fn new(path: impl Into<PathBuf>, limit: u64) -> Self {
        Self { path: path.into(), limit: limit.max(Self::MIN_LIMIT), opened: Arc::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Most bytes that it takes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Makes the file, for its owner alone; it belongs to the next node that is started with these options. The recording
    /// of an earlier life that is there is kept under the same name with `.old` after it, in the place of one still older.
    /// Adapters call this once the node's sockets are bound, so that a node which runs keeps its file. Blocks.
    ///
    /// # Errors
    /// The file cannot be made, or is there and is no recording; then it is left alone.
    pub fn open(&self) -> io::Result<()> {
        let opened = self.make()?;
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    }

    fn make(&self) -> io::Result<Opened> {
        Ok(Opened { file: create(&self.path)?, salt: salt()? })
    }

    fn take(&self) -> Option<Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Somebody's key or configuration, given by mistake, would be lost.
            if !is_recording(path)? {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is there and is no recording; give another path, or remove it",
                ));
            }
            let mut old = path.as_os_str().to_owned();
            old.push(".old");
            fs::rename(path, old)?;
            options.open(path)
        }
        other => other,
    }
}

/// Whether a recording is there, of whatever version, or one that was just begun.
fn is_recording(path: &Path) -> io::Result<bool> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    File::open(path)?.take(MAX_START).read_to_end(&mut start)?;
    let read = Recording::read(&start);
    Ok(start.is_empty() || matches!(read, Ok(_) | Err(ReplayError::Format(_) | ReplayError::Mismatch)))
}

fn salt() -> io::Result<[u8; 16]> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(salt)
}

/// What is being written: the file and the buffer come back.
type Writing = Pin<Box<dyn Future<Output = (File, Vec<u8>, io::Result<()>)> + Send>>;

/// Takes what the machine recorded to the file, one piece at a time.
pub(crate) struct Recorder {
    path: PathBuf,
    /// Away while it is written to; gone once it is closed, or failed.
    file: Option<File>,
    buffer: Vec<u8>,
    writing: Option<Writing>,
}

impl Recorder {
    /// Begins to record a machine that was not used yet.
    pub(crate) fn begin<M: Machine>(
        options: &RecordingOptions,
        machine: &mut M,
        now: Instant,
    ) -> Option<Self> {
        match options.take().map_or_else(|| options.make(), Ok) {
            Ok(Opened { file, salt }) => {
                machine.start_recording(now, WAITING, salt);
                machine.limit_recording(options.limit);
                let path = options.path.clone();
                Some(Self { path, file: Some(file), buffer: vec![0; PIECE], writing: None })
            }
            Err(error) => {
                failed(&options.path, &error);
                None
            }
        }
    }

    /// Writes what there is; whether nothing is left to write now. `cx` is woken when a piece is written.
    pub(crate) fn poll<M: Machine, R: Runtime>(
        &mut self,
        cx: &mut Context<'_>,
        runtime: &R,
        machine: &mut M,
    ) -> bool {
        loop {
            if let Some(writing) = &mut self.writing {
                let Poll::Ready((file, buffer, written)) = writing.as_mut().poll(cx) else { return false };
                (self.writing, self.buffer) = (None, buffer);
                match written {
                    Ok(()) => self.file = Some(file),
                    Err(error) => {
                        failed(&self.path, &error);
                        // What is in the file plays up to there.
                        machine.stop_recording(runtime.now());
                    }
                }
            }
            let len = machine.poll_tap(&mut self.buffer);
            if len == 0 {
                return true;
            }
            // Where there is no file any more what still comes is let go.
            let Some(mut file) = self.file.take() else { continue };
            let buffer = core::mem::take(&mut self.buffer);
            let work = runtime.blocking(move || {
                let written = file.write_all(&buffer[..len]);
                (file, buffer, written)
            });
            self.writing = Some(Box::pin(work));
        }
    }

    /// Puts all that was written on the disk, and closes the file.
    pub(crate) async fn close<R: Runtime>(self, runtime: R) {
        let Self { path, file, .. } = self;
        if let Err(error) = runtime.blocking(move || file.map_or(Ok(()), |file| file.sync_all())).await {
            failed(&path, &error);
        }
    }
}

fn failed(path: &Path, error: &io::Error) {
    emit!(error, "gossip: the recording {} cannot be written: {error}; it ends here", path.display());
}

/// Most that is read to see what a file is.
const MAX_START: u64 = 16 << 20;
/// Bytes written at once.
const PIECE: usize = 4 * MAX_TAP_FRAME;
/// Bytes that wait for the disk at most.
const WAITING: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    use gossip_proto::{Config, Membership, NonceSecret, Seed};

    fn begun() -> Vec<u8> {
        let config = Config::lan("a", SocketAddr::from(([10, 0, 0, 1], 7946)));
        let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([0; 32]));
        let mut machine = Membership::new(Instant::ORIGIN, config, seed, nonces).unwrap();
        machine.start_recording(Instant::ORIGIN, 1 << 16, [1; 16]);
        let mut bytes = vec![0; 1 << 16];
        let len = machine.poll_tap(&mut bytes);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn an_earlier_recording_is_kept_and_anything_else_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("r"), directory.path().join("r.old"));
        let options = RecordingOptions::new(&path, 0);
        assert_eq!(options.limit(), RecordingOptions::MIN_LIMIT);
        options.open().unwrap();
        fs::write(&path, begun()).unwrap();
        options.open().unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&old).unwrap()), (Vec::new(), begun()));
        for other in [&b"a key"[..], &begun()[..20]] {
            fs::write(&path, other).unwrap();
            let error = options.open().unwrap_err().to_string();
            assert!(error.contains("no recording"), "{error}");
            assert_eq!((fs::read(&path).unwrap(), fs::read(&old).unwrap()), (other.into(), begun()));
        }
        assert!(RecordingOptions::new(directory.path(), 0).open().is_err());
        assert!(RecordingOptions::new(path.join("none"), 0).open().is_err());
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r");
        RecordingOptions::new(&path, 0).open().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

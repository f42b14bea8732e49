//! Files that must survive a crash in the middle of writing them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file whole or not at all: another one beside it takes its place once it is on the disk. Who may read the old
/// one may read the new one; if there is none, only its owner may. Blocks, so call it where that does no harm.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    // A link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Created for its owner alone.
    let mut file = tempfile::Builder::new().prefix(".gossip-").tempfile_in(directory)?;
    file.write_all(content)?;
    #[cfg(unix)]
    keep_access(file.as_file(), &path);
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    // The name is on the disk only when the directory is; not every system can do that.
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
    Ok(())
}

/// Gives the file the mode of the one that it replaces. What cannot be kept leaves it more private, never less.
#[cfg(unix)]
fn keep_access(file: &File, replaced: &Path) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};

    let Ok(old) = fs::metadata(replaced) else { return };
    let mut mode = old.mode() & 0o777;
    // Root alone can keep the owner, who is in a group can keep that.
    let kept =
        fchown(file, Some(old.uid()), Some(old.gid())).or_else(|_| fchown(file, None, Some(old.gid())));
    if kept.is_err() {
        // The group is another one, which was not meant.
        mode &= 0o707;
    }
    // Not every file system has modes.
    let _ = file.set_permissions(fs::Permissions::from_mode(mode));
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn who_may_read_a_file_stays_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o777;
        replace_file(&path, b"one").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // Only root can do that.
        let given = chown(&path, Some(12_345), Some(54_321)).is_ok();
        replace_file(&path, b"two").unwrap();
        assert_eq!((mode(), fs::read(&path).unwrap().as_slice()), (0o640, &b"two"[..]));
        if given {
            let new = fs::metadata(&path).unwrap();
            assert_eq!((new.uid(), new.gid()), (12_345, 54_321));
        }
    }
}

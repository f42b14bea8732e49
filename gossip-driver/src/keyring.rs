//! The keyring file (serf.md 8.4), which follows the keyring before anybody is told of a change.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gossip_proto::RequestId;
use gossip_proto::wire::keyring::Keyring;

use crate::file::replace_file;
use crate::runtime::Runtime;

/// A change on its way to the file.
type Writing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Writes the file off the loop, one change at a time: the machine has no other before this one is answered.
pub(crate) struct KeyringFile {
    path: Option<PathBuf>,
    writing: Option<(RequestId, Writing)>,
}

impl KeyringFile {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, writing: None }
    }

    pub(crate) fn write<R: Runtime>(&mut self, runtime: &R, id: RequestId, keyring: Keyring) {
        let path = self.path.clone();
        let written = runtime.blocking(move || match path {
            Some(path) => store(&path, &keyring),
            None => Err("no keyring file is configured".into()),
        });
        self.writing = Some((id, Box::pin(written)));
    }

    /// The change that is in the file, or why it is not; pending also if there is none.
    pub(crate) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<(RequestId, Result<(), String>)> {
        let Some((id, writing)) = &mut self.writing else { return Poll::Pending };
        let Poll::Ready(result) = writing.as_mut().poll(cx) else { return Poll::Pending };
        let id = *id;
        self.writing = None;
        Poll::Ready((id, result))
    }
}

fn store(path: &Path, keyring: &Keyring) -> Result<(), String> {
    replace_file(path, text(keyring).as_bytes())
        .map_err(|error| format!("the keyring file {} cannot be written: {error}", path.display()))
}

/// A JSON array, as Serf writes it; nothing in base64 needs escaping.
fn text(keyring: &Keyring) -> String {
    let keys: Vec<_> =
        keyring.keys().iter().map(|key| format!("  \"{}\"", STANDARD.encode(key.as_bytes()))).collect();
    format!("[\n{}\n]", keys.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gossip_proto::wire::keyring::Key;
    use std::fs;

    fn ring() -> Keyring {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let [a, b] = [ascending, descending].map(|bytes| Key::new(&bytes).unwrap());
        Keyring::new(a, [b]).unwrap()
    }

    // upstream: TestSerf_WriteKeyringFile
    #[test]
    fn the_file_is_serfs() {
        let vectors = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/serf-vectors.json");
        let vectors: serde_json::Value = serde_json::from_slice(&fs::read(vectors).unwrap()).unwrap();
        let recorded =
            vectors.as_array().unwrap().iter().find(|case| case["name"] == "file.keyring").unwrap();
        let expected = recorded["fields"]["text"].as_str().unwrap();
        assert_eq!(text(&ring()), expected);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring.json");
        fs::write(&path, "old").unwrap();
        store(&path, &ring()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_write_that_fails_says_where_and_leaves_the_old_file() {
        let error = store(Path::new("/no/such/ring.json"), &ring()).unwrap_err();
        assert!(error.starts_with("the keyring file /no/such/ring.json cannot be written: "), "{error}");
        assert!(!error.contains("AAEC"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ring.json");
        // A directory cannot be replaced by a file.
        fs::create_dir(&path).unwrap();
        assert!(store(&path, &ring()).is_err());
        assert!(path.is_dir() && fs::read_dir(&directory).unwrap().count() == 1);
    }
}

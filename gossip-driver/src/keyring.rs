//! Keys as users write them, and the keyring file (serf.md 8.4), which follows the keyring before anybody is told of a change.

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gossip_proto::Config;
use gossip_proto::RequestId;
use gossip_proto::wire::keyring::{Key, Keyring};

use crate::file::replace_file;
use crate::options::Options;
use crate::runtime::Runtime;

/// Why a text is no key or no keyring, and what would be right. Shows no key: errors end up in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError(String);

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for KeyError {}

/// Reads a key of 16, 24 or 32 bytes in base64, as Serf's and Consul's tools write them.
///
/// # Errors
/// The text is something else.
pub fn parse_key(text: &str) -> Result<Key, KeyError> {
    let bytes = STANDARD.decode(text).map_err(|error| {
        KeyError(format!("the key ({} characters) is not base64: {error}", text.chars().count()))
    })?;
    Key::new(&bytes)
        .map_err(|_| KeyError(format!("the key has {} bytes: it must have 16, 24 or 32", bytes.len())))
}

/// Reads the text of a keyring file: a JSON array of keys in base64, the primary first.
///
/// # Errors
/// The text is something else, or has no keys, or more than a ring holds.
pub fn parse_keyring(text: &str) -> Result<Keyring, KeyError> {
    let keys: Vec<String> = serde_json::from_str(text).map_err(|error| {
        // The error of the parser may quote a key; where it is will do.
        KeyError(format!(
            "not a JSON array of strings (line {}, column {}); write [\"<base64 key>\", ...], the primary first",
            error.line(),
            error.column()
        ))
    })?;
    let mut ring = Keyring::empty();
    for (index, key) in keys.iter().enumerate() {
        let at = |error: &dyn fmt::Display| KeyError(format!("key {}: {error}", index + 1));
        let key = parse_key(key).map_err(|error| at(&error))?;
        ring.add(key).map_err(|error| at(&error))?;
    }
    if ring.is_empty() {
        return Err(KeyError("it has no keys".into()));
    }
    Ok(ring)
}

/// Reads a keyring file. Blocks.
///
/// # Errors
/// It cannot be read, or does not hold what [`parse_keyring`] takes.
pub fn read_keyring(path: &Path) -> io::Result<Keyring> {
    parse_keyring(&fs::read_to_string(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Options {
    /// Takes the keyring of the configuration from [`Options::keyring_file`] if that is set and there: the keys of the last
    /// life, not those of long ago, open what the cluster says now. Blocks. Adapters do this; who starts a machine by hand
    /// does it before making the machine.
    ///
    /// # Errors
    /// As of [`read_keyring`]; the configuration has not changed.
    pub fn restore_keyring(&self, config: &mut Config) -> io::Result<()> {
        let Some(path) = &self.keyring_file else { return Ok(()) };
        match read_keyring(path) {
            Ok(ring) => config.keyring(Some(ring)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

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
        store(&path, &ring()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(read_keyring(&path).unwrap(), ring());
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

    // upstream: TestAgent_KeyringFile
    #[test]
    fn the_first_key_is_the_primary() {
        let ring = parse_keyring(&format!("[\n  \"{B}\",\n  \"{A}\"\n]")).unwrap();
        assert_eq!(ring.keys().len(), 2);
        assert_eq!(ring.primary().unwrap().as_bytes(), [1; 32]);
    }

    // upstream: TestAgent_KeyringFile_NoKeys, TestConfigEncryptBytes
    #[test]
    fn errors_say_which_key_and_never_show_it() {
        for (text, part) in [
            ("[]".into(), "no keys"),
            ("{}".into(), "JSON array"),
            (format!("\"{A}\""), "JSON array"),
            (format!("[\"{A}\", 5]"), "JSON array"),
            (format!("[\"{A}\", \"c2VjcmV0\"]"), "key 2: the key has 6 bytes"),
            (format!("[\"c2VjcmV0*\", \"{A}\"]"), "key 1: the key (9 characters) is not base64"),
        ] {
            let error = parse_keyring(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("c2VjcmV0") && !error.contains(A), "{error}");
        }
    }

    #[test]
    fn the_file_stands_for_the_configured_ring_where_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let options =
            Options { keyring_file: Some(directory.path().join("ring.json")), ..Options::default() };
        let mut config = Config::lan("quince", "127.0.0.1:7946".parse().unwrap());
        let first = Keyring::new(parse_key(A).unwrap(), []).unwrap();
        config.keyring(Some(first.clone()));
        options.restore_keyring(&mut config).unwrap();
        assert_eq!(config.values().keyring.as_ref(), Some(&first), "there is no file yet");
        store(options.keyring_file.as_deref().unwrap(), &ring()).unwrap();
        options.restore_keyring(&mut config).unwrap();
        assert_eq!(config.values().keyring.as_ref(), Some(&ring()));
        fs::write(options.keyring_file.as_deref().unwrap(), "[]").unwrap();
        let error = options.restore_keyring(&mut config).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(config.values().keyring.as_ref(), Some(&ring()), "and nothing has changed");
    }

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAA==";
    const B: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
}

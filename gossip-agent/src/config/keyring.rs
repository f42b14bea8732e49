//! Keys as users write them: base64, one by one or in a keyring file (serf.md 8.4).

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use transport_tokio::gossip_proto::wire::keyring::{Key, Keyring};

use super::Problem;

/// Reads one key. Errors never repeat it: they end up in logs.
pub(crate) fn parse_key(text: &str) -> Result<Key, Problem> {
    let bytes = STANDARD.decode(text).map_err(|error| {
        Problem::new(format!(
            "the key ({} characters) is not base64: {error}; make one with `gossip keygen`",
            text.chars().count()
        ))
    })?;
    Key::new(&bytes).map_err(|_| {
        Problem::new(format!(
            "the key has {} bytes: it must have 16, 24 or 32; make one with `gossip keygen`",
            bytes.len()
        ))
    })
}

/// Reads a keyring file: a JSON array of base64 strings, the primary key first.
pub(crate) fn read_file(path: &str) -> Result<Keyring, Problem> {
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::new(format!(
            "{path}: cannot be read: {error}; create it as a JSON array of base64 keys, the primary first"
        ))
    })?;
    parse_ring(&text).map_err(|problem| problem.within(path))
}

pub(crate) fn parse_ring(text: &str) -> Result<Keyring, Problem> {
    let keys: Vec<String> = serde_json::from_str(text).map_err(|error| {
        // The error of the parser may quote a key; where it is will do.
        Problem::new(format!(
            "not a JSON array of strings (line {}, column {}); write [\"<base64 key>\", ...], the primary first",
            error.line(),
            error.column()
        ))
    })?;
    let mut ring = Keyring::empty();
    for (index, key) in keys.iter().enumerate() {
        let place = format!("key {}", index + 1);
        let key = parse_key(key).map_err(|problem| problem.within(&place))?;
        ring.add(key).map_err(|error| Problem::new(error.to_string()).within(&place))?;
    }
    if ring.is_empty() {
        return Err(Problem::new("it has no keys; add one made with `gossip keygen`"));
    }
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAA==";
    const B: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    // upstream: TestAgent_KeyringFile
    #[test]
    fn the_first_key_is_the_primary() {
        let ring = parse_ring(&format!("[\n  \"{B}\",\n  \"{A}\"\n]")).unwrap();
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
            let error = parse_ring(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("c2VjcmV0") && !error.contains(A), "{error}");
        }
    }
}

//! Keys and keyring files, with what an operator of this program does about a wrong one.

use std::fs;

use transport_tokio::gossip_driver;
use transport_tokio::gossip_proto::wire::keyring::{Key, Keyring};

use super::Problem;

/// Reads one key in base64.
pub(crate) fn parse_key(text: &str) -> Result<Key, Problem> {
    gossip_driver::parse_key(text).map_err(advice)
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
    gossip_driver::parse_keyring(text).map_err(advice)
}

fn advice(error: gossip_driver::KeyError) -> Problem {
    Problem::new(format!("{error}; make a key with `gossip keygen`"))
}

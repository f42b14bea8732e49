//! The seal: what was sealed opens, what was changed or made by strangers does not.

use alloc::vec;
use alloc::vec::Vec;

use super::arguments::Arguments;
use crate::wire::keyring::{Key, Keyring, NONCE_LEN};
use crate::wire::seal::{OpenError, SEAL_HEADER, SealVersion, open, seal};

/// A byte that selects keys and version, two that say where a sealed text is damaged and one that says how, a nonce, the
/// data that is authenticated beside the text, and the text. The text is sealed, opened, damaged and opened again; and it
/// is opened as if it were a sealed one that had arrived.
pub fn fuzz_seal(input: &[u8]) {
    let mut arguments = Arguments::new(input);
    let [selector, high, low, mask] = arguments.array();
    let nonce: [u8; NONCE_LEN] = arguments.array();
    let (aad, text) = (arguments.bytes(), arguments.rest());
    let version = if selector & 1 == 0 { SealVersion::Plain } else { SealVersion::Padded };
    let accept_padded = selector & 2 == 0;
    let ring = ring(selector);

    let mut arrived = text.to_vec();
    if let Ok(opened) = open(&ring, aad, accept_padded, &mut arrived) {
        assert!(opened.len() + SEAL_HEADER < text.len(), "a text is shorter than its sealed form");
    }

    let sealed = sealed(&ring, version, &nonce, aad, text);
    let opened = open(&ring, aad, accept_padded, &mut sealed.clone()).map(|opened| opened.to_vec());
    if version == SealVersion::Padded && !accept_padded {
        assert_eq!(opened, Err(OpenError::Version(0)), "a version that is not admitted");
        return;
    }
    assert_eq!(opened.as_deref(), Ok(text), "what comes out is not what went in");

    let mut damaged = sealed.clone();
    let at = usize::from(u16::from_be_bytes([high, low])) % sealed.len();
    damaged[at] ^= mask.max(1);
    let before = damaged.clone();
    match open(&ring, aad, accept_padded, &mut damaged).map(|opened| opened.len()) {
        // The version byte is outside of what the seal covers (W-1): read as the other version, the text has padding
        // that is well-formed, or that is taken for text.
        Ok(len) => assert!(at == 0 && len.abs_diff(text.len()) <= 16, "a damaged byte went unnoticed"),
        Err(OpenError::Padding) => {
            assert_eq!(at, 0, "padding is looked at before the text is known to be genuine")
        }
        Err(_) => assert_eq!(damaged, before, "what could not be opened was changed"),
    }

    let mut other = aad.to_vec();
    other.push(0);
    assert_eq!(open(&ring, &other, accept_padded, &mut sealed.clone()), Err(OpenError::NoKey));
    let strangers = Keyring::new(key(0xc0, 32), []).expect("a ring of one key");
    assert_eq!(open(&strangers, aad, accept_padded, &mut sealed.clone()), Err(OpenError::NoKey));
}

/// One to three keys of all sizes; the one of the vectors is always among them.
fn ring(selector: u8) -> Keyring {
    let others = [key(0x40, 24), key(0x80, 32)];
    let many = usize::from(selector >> 2 & 3).min(others.len());
    let mut ring = Keyring::new(key(0, 16), others.into_iter().take(many)).expect("keys that differ");
    if selector & 0x10 != 0 {
        let last = ring.keys()[many].clone();
        ring.use_key(&last).expect("a key of the ring");
    }
    ring
}

fn key(first: u8, len: u8) -> Key {
    let bytes: Vec<u8> = (first..first + len).collect();
    Key::new(&bytes).expect("a length that keys have")
}

/// Seals, and checks that a buffer which is one byte too short is refused.
fn sealed(ring: &Keyring, version: SealVersion, nonce: &[u8; NONCE_LEN], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let len = version.sealed_len(text.len());
    assert!(
        version.max_text(len).is_some_and(|most| most >= text.len()),
        "the lengths contradict each other"
    );
    let key = ring.primary().expect("a ring with keys");
    let mut buf = vec![0xaa; len];
    buf[SEAL_HEADER..][..text.len()].copy_from_slice(text);
    assert_eq!(seal(key, version, nonce, aad, &mut buf.clone()[..len - 1], text.len()), None);
    assert_eq!(
        seal(key, version, nonce, aad, &mut buf, text.len()),
        Some(len),
        "a buffer of the right length"
    );
    buf
}

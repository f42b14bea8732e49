//! Sealing: AES-GCM around a packet or a stream message, in place (spec 1.6).

use super::keyring::{Key, Keyring, NONCE_LEN, TAG_LEN};
use core::fmt;

/// Bytes in front of a sealed text: the version and the nonce.
pub const SEAL_HEADER: usize = 1 + NONCE_LEN;

/// AES block size, to which version 0 pads.
const BLOCK: usize = 16;

/// How a text is prepared before it is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SealVersion {
    /// Version 0: padded as in PKCS #7. Sent by nodes that speak protocol version 1.
    Padded,
    /// Version 1: as it is.
    #[default]
    Plain,
}

impl SealVersion {
    /// What a node of this protocol version sends.
    pub fn for_protocol(version: u8) -> Self {
        if version == 1 { Self::Padded } else { Self::Plain }
    }

    /// Length of the sealed form of a text.
    pub fn sealed_len(self, text: usize) -> usize {
        SEAL_HEADER.saturating_add(self.padded(text)).saturating_add(TAG_LEN)
    }

    /// Longest text whose sealed form fits into `sealed` bytes; `None` if not even an empty one does.
    pub fn max_text(self, sealed: usize) -> Option<usize> {
        let room = sealed.checked_sub(SEAL_HEADER + TAG_LEN)?;
        match self {
            Self::Plain => Some(room),
            Self::Padded => (room / BLOCK * BLOCK).checked_sub(1),
        }
    }

    fn padded(self, text: usize) -> usize {
        match self {
            Self::Plain => text,
            Self::Padded => (text / BLOCK).saturating_add(1).saturating_mul(BLOCK),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Padded => 0,
            Self::Plain => 1,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Padded),
            1 => Some(Self::Plain),
            _ => None,
        }
    }
}

/// Seals the `text` bytes at `buf[SEAL_HEADER..]` where they stand and returns the total length, or `None` if
/// `buf` is shorter than [`SealVersion::sealed_len`] says. A nonce must never be used twice with one key.
#[must_use]
pub fn seal(
    key: &Key,
    version: SealVersion,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buf: &mut [u8],
    text: usize,
) -> Option<usize> {
    let total = version.sealed_len(text);
    let padded = version.padded(text);
    let (header, rest) = buf.get_mut(..total)?.split_at_mut_checked(SEAL_HEADER)?;
    let (body, tag) = rest.split_at_mut_checked(padded)?;
    let padding = body.get_mut(text..)?;
    padding.fill(u8::try_from(padding.len()).ok()?);
    tag.copy_from_slice(&key.encrypt(nonce, aad, body)?);
    let (version_byte, nonce_bytes) = header.split_first_mut()?;
    *version_byte = version.byte();
    nonce_bytes.copy_from_slice(nonce);
    Some(total)
}

/// Opens a sealed text where it stands with the first key of the ring that fits. After an error other than
/// [`OpenError::Padding`] the bytes are as they were.
///
/// `accept_padded` admits version 0. The version byte is not authenticated (W-1): who captures a version 1
/// packet can turn it into version 0 without the key, so everything that a genuine sender would have padded
/// is checked. The other way round nothing can be checked: a version 0 packet turned into version 1 keeps its
/// padding as trailing bytes.
pub fn open<'d>(
    ring: &Keyring,
    aad: &[u8],
    accept_padded: bool,
    sealed: &'d mut [u8],
) -> Result<&'d mut [u8], OpenError> {
    let len = sealed.len();
    let byte = *sealed.first().ok_or(OpenError::Empty)?;
    let version = SealVersion::from_byte(byte).ok_or(OpenError::Version(byte))?;
    let short = OpenError::TooShort(len);
    if len < version.sealed_len(0) {
        return Err(short);
    }
    if version == SealVersion::Padded && !accept_padded {
        return Err(OpenError::Version(byte));
    }
    let (header, rest) = sealed.split_at_mut_checked(SEAL_HEADER).ok_or(short)?;
    let nonce: &[u8; NONCE_LEN] = header.last_chunk().ok_or(short)?;
    let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(short)?;
    if version == SealVersion::Padded && !text.len().is_multiple_of(BLOCK) {
        return Err(OpenError::NoKey);
    }
    if !ring.keys().iter().any(|key| key.decrypt(nonce, aad, text, tag)) {
        return Err(OpenError::NoKey);
    }
    match version {
        SealVersion::Plain => Ok(text),
        SealVersion::Padded => unpad(text),
    }
}

fn unpad(text: &mut [u8]) -> Result<&mut [u8], OpenError> {
    let count = text.last().map_or(0, |last| usize::from(*last));
    if !(1..=BLOCK).contains(&count) {
        return Err(OpenError::Padding);
    }
    let keep = text.len().checked_sub(count).ok_or(OpenError::Padding)?;
    let (text, padding) = text.split_at_mut_checked(keep).ok_or(OpenError::Padding)?;
    if padding.iter().any(|byte| usize::from(*byte) != count) {
        return Err(OpenError::Padding);
    }
    Ok(text)
}

/// Why a sealed text could not be opened. The sender's fault, or an attacker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is nothing, not even a version byte.
    Empty,
    /// The version is unknown or not admitted. A plain packet ends here, unless it is a ping or an indirect
    /// ping: their type bytes are valid versions.
    Version(u8),
    /// Shorter than a sealed text of no bytes; the length is given.
    TooShort(usize),
    /// No key of the ring authenticates the text.
    NoKey,
    /// The text is authentic, but its padding is one that no sender writes: its version byte was changed on
    /// the way (W-1).
    Padding,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("cannot decrypt an empty payload"),
            Self::Version(version) => write!(f, "unsupported encryption version {version}"),
            Self::TooShort(len) => write!(f, "payload is too small to decrypt: {len}"),
            // One text for both: the difference would tell an attacker which guesses were authentic.
            Self::NoKey | Self::Padding => f.write_str("no installed keys could decrypt the message"),
        }
    }
}

impl core::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const NONCE: [u8; 12] = [9; 12];

    fn ring(bytes: &[u8]) -> Keyring {
        Keyring::new(Key::new(bytes).unwrap(), []).unwrap()
    }

    fn sealed(ring: &Keyring, version: SealVersion, aad: &[u8], text: &[u8]) -> Vec<u8> {
        let mut buf = vec![0xee; version.sealed_len(text.len())];
        buf[SEAL_HEADER..][..text.len()].copy_from_slice(text);
        let len = seal(ring.primary().unwrap(), version, &NONCE, aad, &mut buf, text.len()).unwrap();
        assert_eq!(len, buf.len());
        buf
    }

    // upstream: TestPKCS7, TestEncryptDecrypt_V0, TestEncryptDecrypt_V1
    #[test]
    fn every_length_round_trips_with_every_key_size_and_version() {
        for key in [16, 24, 32] {
            let ring = ring(&vec![key; usize::from(key)]);
            for version in [SealVersion::Padded, SealVersion::Plain] {
                for len in 0..256usize {
                    let text: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
                    let mut wire = sealed(&ring, version, b"aad", &text);
                    let overhead = wire.len() - len;
                    match version {
                        SealVersion::Plain => assert_eq!(overhead, 29),
                        SealVersion::Padded => assert!((30..=45).contains(&overhead)),
                    }
                    assert_eq!(open(&ring, b"aad", true, &mut wire).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn max_text_is_the_inverse_of_sealed_len() {
        for version in [SealVersion::Padded, SealVersion::Plain] {
            for room in 0..400 {
                match version.max_text(room) {
                    Some(text) => {
                        assert!(version.sealed_len(text) <= room);
                        assert!(version.sealed_len(text + 1) > room);
                    }
                    None => assert!(version.sealed_len(0) > room),
                }
            }
        }
    }

    #[test]
    fn any_damaged_byte_and_any_other_aad_is_refused_and_leaves_the_bytes() {
        let ring = ring(&[1; 16]);
        for version in [SealVersion::Padded, SealVersion::Plain] {
            let wire = sealed(&ring, version, b"blah", b"\x08some text");
            for at in 0..wire.len() {
                for bit in 0..8 {
                    let mut bad = wire.clone();
                    bad[at] ^= 1 << bit;
                    let before = bad.clone();
                    let result = open(&ring, b"blah", true, &mut bad);
                    if (version, at, bit) == (SealVersion::Padded, 0, 0) {
                        // W-1: the version byte is outside the seal, and any text is a text of version 1.
                        assert_eq!(result.unwrap(), b"\x08some text\x06\x06\x06\x06\x06\x06");
                        continue;
                    }
                    let error = result.unwrap_err();
                    assert!(error != OpenError::Padding && bad == before, "{at} {bit} {error:?}");
                }
            }
            assert_eq!(open(&ring, b"blah2", true, &mut wire.clone()), Err(OpenError::NoKey));
            assert_eq!(open(&ring, b"", true, &mut wire.clone()), Err(OpenError::NoKey));
        }
    }

    // upstream: TestKeyRing_MultiKeyEncryptDecrypt
    #[test]
    fn later_keys_of_the_ring_open_too() {
        let old = ring(&[1; 16]);
        let both = Keyring::new(Key::new(&[2; 32]).unwrap(), [Key::new(&[1; 16]).unwrap()]).unwrap();
        let mut wire = sealed(&old, SealVersion::Plain, b"", b"text");
        let before = wire.clone();
        assert_eq!(open(&both, b"", true, &mut wire).unwrap(), b"text");
        let mut without = both.clone();
        without.remove(&Key::new(&[1; 16]).unwrap()).unwrap();
        assert_eq!(open(&without, b"", true, &mut before.clone()), Err(OpenError::NoKey));
        let mut wire = sealed(&both, SealVersion::Plain, b"", b"text");
        assert_eq!(open(&old, b"", true, &mut wire), Err(OpenError::NoKey));
    }

    // W-1
    #[test]
    fn a_version_flipped_to_padded_is_refused_unless_the_text_ends_in_its_own_padding() {
        let ring = ring(&[1; 32]);
        for last in 0..=255u8 {
            for len in [16usize, 32, 33, 47] {
                let mut text = vec![0x77; len];
                text[len - 1] = last;
                let mut wire = sealed(&ring, SealVersion::Plain, b"", &text);
                wire[0] = 0;
                let result = open(&ring, b"", true, &mut wire);
                let expected = match (len % 16, last) {
                    (0, 1) => Ok(&mut text[..len - 1]),
                    (0, _) => Err(OpenError::Padding),
                    _ => Err(OpenError::NoKey),
                };
                assert_eq!(result, expected, "{len} {last}");
            }
        }
        let mut wire = sealed(&ring, SealVersion::Padded, b"", b"text");
        assert_eq!(open(&ring, b"", false, &mut wire), Err(OpenError::Version(0)));
    }

    #[test]
    fn minimum_lengths_come_before_keys() {
        let ring = ring(&[1; 16]);
        assert_eq!(open(&ring, b"", true, &mut []), Err(OpenError::Empty));
        assert_eq!(open(&ring, b"", true, &mut [1; 28]), Err(OpenError::TooShort(28)));
        assert_eq!(open(&ring, b"", true, &mut [1; 29]), Err(OpenError::NoKey));
        assert_eq!(open(&ring, b"", true, &mut [0; 44]), Err(OpenError::TooShort(44)));
        assert_eq!(open(&ring, b"", true, &mut [0; 45]), Err(OpenError::NoKey));
        assert_eq!(open(&ring, b"", true, &mut [2; 99]), Err(OpenError::Version(2)));
    }

    #[test]
    fn a_buffer_without_room_for_the_tag_is_refused() {
        let ring = ring(&[1; 16]);
        let key = ring.primary().unwrap();
        assert_eq!(seal(key, SealVersion::Plain, &NONCE, b"", &mut [0; 32], 4), None);
        assert_eq!(seal(key, SealVersion::Padded, &NONCE, b"", &mut [0; 44], 4), None);
        assert_eq!(seal(key, SealVersion::Plain, &NONCE, b"", &mut [0; 64], usize::MAX), None);
    }
}

//! Keys, the ring that holds them, and nonces (spec 1.6; serf 8.1).

use aes_gcm::aead::array::Array;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::cipher::{BlockCipherEncrypt, consts::U12};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroize;

/// Most keys a ring holds. A key arrives by a query from anyone who has the ring already, and every junk
/// packet is tried against all of them; one key more is refused with [`KeyringError::Full`].
pub const MAX_KEYS: usize = 64;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;

/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// One symmetric key of 16, 24 or 32 bytes, for AES-128, AES-192 or AES-256 in Galois counter mode.
///
/// Holds the expanded cipher, so that sealing a packet does no key schedule. All secret state is overwritten
/// on drop.
#[derive(Clone)]
pub struct Key {
    /// Stays where it is when the key is moved: a vector that takes a key out or grows leaves what the key was behind.
    secret: Box<Secret>,
}

impl Key {
    /// The key with these bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyringError> {
        let cipher = match bytes.len() {
            16 => Aes128::new_from_slice(bytes).map(|aes| Cipher::Aes128(aes.into())),
            24 => Aes192::new_from_slice(bytes).map(|aes| Cipher::Aes192(aes.into())),
            32 => Aes256::new_from_slice(bytes).map(|aes| Cipher::Aes256(aes.into())),
            _ => return Err(KeyringError::KeySize),
        }
        .map_err(|_| KeyringError::KeySize)?;
        // The bytes are copied to where they stay, and nowhere else.
        let mut secret = Box::new(Secret { bytes: [0; 32], len: 0, cipher });
        let Secret { bytes: held, len, .. } = &mut *secret;
        for (to, from) in held.iter_mut().zip(bytes) {
            *to = *from;
            *len += 1;
        }
        Ok(Self { secret })
    }

    /// The raw key, for the keyring file and for answers to key queries. Secret.
    pub fn as_bytes(&self) -> &[u8] {
        self.secret.bytes.get(..usize::from(self.secret.len)).unwrap_or_default()
    }

    /// Encrypts `text` where it stands and returns its tag.
    pub(super) fn encrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; TAG_LEN]> {
        let (nonce, text) = (<&Array<u8, U12>>::from(nonce), InOutBuf::from(text));
        match &self.secret.cipher {
            Cipher::Aes128(aes) => aes.encrypt_inout_detached(nonce, aad, text),
            Cipher::Aes192(aes) => aes.encrypt_inout_detached(nonce, aad, text),
            Cipher::Aes256(aes) => aes.encrypt_inout_detached(nonce, aad, text),
        }
        .ok()
        .map(Into::into)
    }

    /// Decrypts `text` where it stands. The tag is checked before the first byte is written, so a wrong key
    /// leaves the text to the next one.
    pub(super) fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        let (nonce, text, tag) = (<&Array<u8, U12>>::from(nonce), InOutBuf::from(text), tag.into());
        match &self.secret.cipher {
            Cipher::Aes128(aes) => aes.decrypt_inout_detached(nonce, aad, text, tag),
            Cipher::Aes192(aes) => aes.decrypt_inout_detached(nonce, aad, text, tag),
            Cipher::Aes256(aes) => aes.decrypt_inout_detached(nonce, aad, text, tag),
        }
        .is_ok()
    }
}

impl PartialEq for Key {
    /// Takes the same time wherever the keys differ: key operations compare against bytes that a remote chose.
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (&self.secret, &other.secret);
        let differ =
            own.bytes.iter().zip(&other.bytes).fold(own.len ^ other.len, |sum, (a, b)| sum | (a ^ b));
        core::hint::black_box(differ) == 0
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[derive(Clone)]
struct Secret {
    bytes: [u8; 32],
    len: u8,
    /// Overwrites itself.
    cipher: Cipher,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[derive(Clone)]
enum Cipher {
    Aes128(AesGcm<Aes128, U12>),
    Aes192(AesGcm<Aes192, U12>),
    Aes256(AesGcm<Aes256, U12>),
}

/// An ordered set of keys. The first one, the primary, seals; all of them open, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// A ring without keys: encryption is off until one is added.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A ring of `primary` and then `others`, duplicates dropped.
    pub fn new(primary: Key, others: impl IntoIterator<Item = Key>) -> Result<Self, KeyringError> {
        let mut ring = Self::empty();
        ring.add(primary)?;
        for key in others {
            ring.add(key)?;
        }
        Ok(ring)
    }

    /// Appends a key; nothing happens if the ring has it. The first key of an empty ring becomes the primary.
    pub fn add(&mut self, key: Key) -> Result<(), KeyringError> {
        if self.position(&key).is_some() {
            return Ok(());
        }
        if self.keys.len() >= MAX_KEYS {
            return Err(KeyringError::Full);
        }
        self.keys.push(key);
        Ok(())
    }

    /// Makes a key of the ring the primary; the others keep their order.
    pub fn use_key(&mut self, key: &Key) -> Result<(), KeyringError> {
        let at = self.position(key).ok_or(KeyringError::NotPresent)?;
        if let Some(keys) = self.keys.get_mut(..=at) {
            keys.rotate_right(1);
        }
        Ok(())
    }

    /// Takes a key out. Not the primary; a key that the ring does not have is no error.
    pub fn remove(&mut self, key: &Key) -> Result<(), KeyringError> {
        match self.position(key) {
            Some(0) => Err(KeyringError::Primary),
            Some(at) => {
                self.keys.remove(at);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The key that seals, if there is any.
    pub fn primary(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// All keys, the primary first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether encryption is off.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn position(&self, key: &Key) -> Option<usize> {
        self.keys.iter().position(|held| held == key)
    }
}

/// Why a key operation was refused. The texts travel in answers to key queries, so they are those of current
/// Serf nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyringError {
    /// A key has neither 16, 24 nor 32 bytes.
    KeySize,
    /// The key to be used is not in the ring.
    NotPresent,
    /// The primary key cannot be removed.
    Primary,
    /// The ring holds [`MAX_KEYS`] keys.
    Full,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeySize => "key size must be 16, 24 or 32 bytes",
            Self::NotPresent => "requested key is not in the keyring",
            Self::Primary => "removing the primary key is not allowed",
            Self::Full => "the keyring is full",
        })
    }
}

impl core::error::Error for KeyringError {}

/// A source of nonces that never repeats one within a process (W-10).
///
/// A nonce is a 64-bit prefix and a 32-bit counter. Prefixes are AES-256 of a running number under the
/// process's nonce secret, truncated, so processes that share a cluster key draw from 2^64 independently. One
/// sequence serves all keys: what is unique over all keys is unique under each, also when a key leaves the
/// ring and comes back.
pub struct Nonces {
    secret: Aes256,
    draws: u128,
    prefix: [u8; 8],
    counter: u32,
}

impl Nonces {
    /// The sequence that belongs to `secret`, which must be fresh for every process: the same secret under
    /// the same key means the same nonces, and with them the loss of both secrecy and authenticity.
    pub fn new(mut secret: [u8; 32]) -> Self {
        let cipher = Aes256::new((&secret).into());
        secret.zeroize();
        let mut nonces = Self { secret: cipher, draws: 0, prefix: [0; 8], counter: 0 };
        nonces.draw_prefix();
        nonces
    }

    /// The next nonce. Each is handed out once.
    pub fn next_nonce(&mut self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        let (prefix, counter) = nonce.split_at_mut(8);
        prefix.copy_from_slice(&self.prefix);
        counter.copy_from_slice(&self.counter.to_be_bytes());
        match self.counter.checked_add(1) {
            Some(next) => self.counter = next,
            // The counter must not wrap under its prefix: that would repeat the nonces since the prefix was
            // drawn.
            None => {
                self.counter = 0;
                self.draw_prefix();
            }
        }
        nonce
    }

    fn draw_prefix(&mut self) {
        let mut block = Array::from(self.draws.to_be_bytes());
        self.draws = self.draws.wrapping_add(1);
        self.secret.encrypt_block(&mut block);
        for (to, from) in self.prefix.iter_mut().zip(&block) {
            *to = *from;
        }
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::string::ToString;
    use std::vec;

    fn key(byte: u8) -> Key {
        Key::new(&[byte; 16]).unwrap()
    }

    fn order(ring: &Keyring) -> Vec<u8> {
        ring.keys().iter().map(|key| key.as_bytes()[0]).collect()
    }

    // upstream: TestCreate_secretKey
    #[test]
    fn only_aes_key_sizes_are_keys() {
        for len in 0..=40 {
            assert_eq!(Key::new(&vec![1; len]).is_ok(), [16, 24, 32].contains(&len), "{len}");
        }
        assert_eq!(Key::new(&[7; 24]).unwrap().as_bytes(), [7; 24]);
    }

    #[test]
    fn keys_of_different_size_differ_even_if_one_is_the_other_padded() {
        assert_ne!(Key::new(&[0; 16]).unwrap(), Key::new(&[0; 24]).unwrap());
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
    }

    #[test]
    fn debug_shows_nothing_of_a_key() {
        assert_eq!(std::format!("{:?}", Key::new(&[0x41; 32]).unwrap()), "Key(..)");
    }

    #[test]
    fn what_is_moved_of_a_key_is_a_pointer() {
        assert_eq!(size_of::<Key>(), size_of::<usize>());
    }

    // upstream: TestKeyring_AddRemoveUse, TestKeyring_GetPrimaryKey, TestKeyring_PrimaryOnly
    #[test]
    fn ring_operations_keep_the_order_of_serf_8_1() {
        let mut ring = Keyring::new(key(1), [key(2), key(1), key(3), key(2)]).unwrap();
        assert_eq!(order(&ring), [1, 2, 3]);
        ring.add(key(4)).unwrap();
        ring.add(key(2)).unwrap();
        assert_eq!(order(&ring), [1, 2, 3, 4]);
        ring.use_key(&key(3)).unwrap();
        assert_eq!(order(&ring), [3, 1, 2, 4]);
        ring.use_key(&key(3)).unwrap();
        assert_eq!(order(&ring), [3, 1, 2, 4]);
        assert_eq!(ring.use_key(&key(9)), Err(KeyringError::NotPresent));
        assert_eq!(ring.remove(&key(3)), Err(KeyringError::Primary));
        ring.remove(&key(1)).unwrap();
        ring.remove(&key(1)).unwrap();
        assert_eq!(order(&ring), [3, 2, 4]);
        assert_eq!(ring.primary(), Some(&key(3)));
        assert_eq!(order(&Keyring::new(key(8), []).unwrap()), [8]);
    }

    // upstream: TestKeyring_EmptyRing
    #[test]
    fn the_first_key_of_an_empty_ring_becomes_primary() {
        let mut ring = Keyring::empty();
        assert!(ring.is_empty() && ring.primary().is_none());
        ring.add(key(5)).unwrap();
        assert_eq!(ring.primary(), Some(&key(5)));
    }

    #[test]
    fn a_full_ring_refuses_new_keys_and_still_knows_its_own() {
        let mut ring = Keyring::empty();
        for byte in 0..MAX_KEYS as u8 {
            ring.add(key(byte)).unwrap();
        }
        assert_eq!(ring.add(key(200)), Err(KeyringError::Full));
        assert_eq!(ring.add(key(0)), Ok(()));
        ring.remove(&key(1)).unwrap();
        assert_eq!(ring.add(key(200)), Ok(()));
    }

    #[test]
    fn error_texts_are_those_that_travel() {
        assert_eq!(KeyringError::KeySize.to_string(), "key size must be 16, 24 or 32 bytes");
        assert_eq!(KeyringError::NotPresent.to_string(), "requested key is not in the keyring");
        assert_eq!(KeyringError::Primary.to_string(), "removing the primary key is not allowed");
    }

    #[test]
    fn nonces_follow_from_the_secret() {
        let (mut a, mut b, mut c) = (Nonces::new([1; 32]), Nonces::new([1; 32]), Nonces::new([2; 32]));
        let first = a.next_nonce();
        assert_eq!(first, b.next_nonce());
        assert_ne!(first[..8], c.next_nonce()[..8]);
        assert_eq!(first[8..], [0, 0, 0, 0]);
        assert_eq!(a.next_nonce()[8..], [0, 0, 0, 1]);
    }

    // W-10
    #[test]
    fn a_new_prefix_is_drawn_before_the_counter_would_wrap() {
        let mut nonces = Nonces::new([3; 32]);
        nonces.counter = u32::MAX - 2;
        let seen: Vec<_> = (0..6).map(|_| nonces.next_nonce()).collect();
        assert_eq!(seen[2][8..], [0xff; 4]);
        assert_eq!(seen[3][8..], [0; 4]);
        assert_eq!(seen[0][..8], seen[2][..8]);
        assert_ne!(seen[2][..8], seen[3][..8]);
        assert_eq!(seen[3][..8], seen[5][..8]);
    }

    #[test]
    fn every_draw_gives_another_prefix() {
        let mut nonces = Nonces::new([4; 32]);
        let mut prefixes = HashSet::new();
        for _ in 0..10_000 {
            nonces.counter = u32::MAX;
            assert!(prefixes.insert(nonces.next_nonce()[..8].to_vec()));
        }
    }
}

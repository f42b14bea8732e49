//! Keyed hashing of what remotes choose (names, addresses), so that nobody can aim collisions at us.

use core::hash::{BuildHasher, Hash};
use core::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::rng::Rng;

/// SipHash-1-3 under a key that never leaves the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    k0: u64,
    k1: u64,
}

impl Keyed {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { k0: rng.next_u64(), k1: rng.next_u64() }
    }

    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.k0, self.k1).hash(bytes)
    }

    pub(crate) fn addr(&self, addr: &SocketAddr) -> u64 {
        let mut hasher = self.build_hasher();
        addr.ip().hash(&mut hasher);
        addr.port().hash(&mut hasher);
        core::hash::Hasher::finish(&hasher)
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}

//! Keyed hashing of what remotes choose (names, addresses), so that nobody can aim collisions at us.

use core::hash::BuildHasher;
use core::net::{IpAddr, SocketAddr};

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
        let [high, low] = addr.port().to_be_bytes();
        match addr.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                self.bytes(&[a, b, c, d, high, low])
            }
            IpAddr::V6(ip) => {
                let mut bytes = [0; 18];
                bytes[..16].copy_from_slice(&ip.octets());
                bytes[16..].copy_from_slice(&[high, low]);
                self.bytes(&bytes)
            }
        }
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    /// Whoever knows the function must not know where a name falls: without the key it could aim collisions.
    #[test]
    fn each_key_sends_names_elsewhere() {
        let keyed = |seed| Keyed::new(&mut Rng::from_seed(&Seed::from_u64(seed), 0));
        let (a, b, c) = (keyed(1), keyed(1), keyed(2));
        assert_eq!((a.hash_one("name"), a.bytes(b"name")), (b.hash_one("name"), b.bytes(b"name")));
        assert_ne!(a.hash_one("name"), c.hash_one("name"));
        assert_ne!(a.bytes(b"name"), c.bytes(b"name"));
    }
}

//! The secret that nonces come from.

use core::fmt;

use crate::wire::keyring::Nonces;

/// Where the nonces of sealed traffic come from: 32 bytes, fresh from the operating system for every process, used once
/// and never recorded. Two processes with one secret and one key would give away their traffic (W-10).
pub struct NonceSecret([u8; 32]);

impl NonceSecret {
    /// The secret with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn into_nonces(self) -> Nonces {
        Nonces::new(self.0)
    }
}

impl fmt::Debug for NonceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceSecret(..)")
    }
}

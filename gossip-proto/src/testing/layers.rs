//! The combinations of layers that the bodies run with.

use crate::wire::keyring::{Key, Keyring, Nonces};
use crate::wire::label::Label;
use crate::wire::layers::{Compression, Layers};
use crate::wire::seal::SealVersion;

/// Takes the combination from a byte, so that a fuzzer can search them.
pub(super) fn layers(selector: u8) -> Layers {
    let bit = |at: u8| selector >> at & 1 == 1;
    Layers {
        label: if bit(0) { Label::new("blah").unwrap_or_default() } else { Label::default() },
        skip_inbound_label_check: bit(1),
        keyring: if bit(2) { keyring(bit(7)) } else { None },
        verify_incoming: bit(3),
        verify_outgoing: true,
        accept_padded: bit(4) || bit(5),
        seal_version: if bit(5) { SealVersion::Padded } else { SealVersion::default() },
        compression: if bit(6) { Compression::All } else { Compression::Off },
    }
}

/// The primary key is the one of the vectors, as is the label, so that a corpus made from them gets past the seal.
fn keyring(two: bool) -> Option<Keyring> {
    let key = |byte: u8| Key::new(&core::array::from_fn::<u8, 16, _>(|at| byte + at as u8)).ok();
    let other = if two { key(0x40) } else { None };
    Keyring::new(key(0)?, other).ok()
}

/// Nonces that are the same in every run; nothing secret is sealed here.
pub(super) fn nonces() -> Nonces {
    Nonces::new([7; 32])
}

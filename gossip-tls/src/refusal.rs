//! Why a peer is not let in.

use core::fmt;

use crate::Peer;

/// Why a peer is not let in, beyond what is wrong with its certificate as such. The peer is at fault, or the list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Its key is not in the list.
    NotListed(Peer),
    /// Its key is in the list, for another name.
    WrongName {
        /// Who it says it is.
        peer: Peer,
        /// Whose key it is.
        listed: String,
    },
    /// With trust on first use: the name has been seen with another key.
    KeyChanged(Peer),
    /// With trust on first use: its certificate carries no name that it could be remembered by.
    Nameless(Peer),
    /// It presented no certificate.
    NoCertificate,
    /// What it presented is not valid: another authority's, expired, or not for this use.
    Invalid(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |peer: &Peer| peer.name.clone().unwrap_or_else(|| "without a name".into());
        match self {
            Self::NotListed(peer) => {
                write!(
                    f,
                    "the key {} ({}) is not in the list of those that may join",
                    peer.fingerprint,
                    name(peer)
                )
            }
            Self::WrongName { peer, listed } => {
                write!(
                    f,
                    "the key {} is listed for {listed}, its certificate says {}",
                    peer.fingerprint,
                    name(peer)
                )
            }
            Self::KeyChanged(peer) => {
                write!(f, "{} is known by another key than {}", name(peer), peer.fingerprint)
            }
            Self::Nameless(peer) => {
                write!(f, "the certificate of the key {} carries no member's name", peer.fingerprint)
            }
            Self::NoCertificate => f.write_str("no certificate was presented"),
            Self::Invalid(why) => f.write_str(why),
        }
    }
}

impl core::error::Error for Refusal {}

//! What can be wrong with certificates on our own side.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why certificates cannot be used. Nothing has changed; whoever set them up is at fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is no certificate in it.
    NoCertificate {
        /// Where was looked: a file, or a description.
        place: String,
    },
    /// There is no private key in it.
    NoKey {
        /// Where was looked: a file, or a description.
        place: String,
    },
    /// What is in it is not well-formed.
    Malformed {
        /// Where: a file, perhaps a line, or a description.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// The private key is of a kind that cannot sign here.
    Key(String),
    /// A certificate could not be made.
    Make(String),
    /// More fingerprints than are kept.
    TooMany {
        /// How many there may be.
        limit: usize,
    },
}

impl TlsError {
    pub(crate) fn file(path: &Path, error: io::Error) -> Self {
        Self::File { path: path.to_owned(), error }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::NoCertificate { place } => {
                write!(f, "{place}: no certificate in it; one begins with -----BEGIN CERTIFICATE-----")
            }
            Self::NoKey { place } => write!(
                f,
                "{place}: no private key in it; one begins with -----BEGIN PRIVATE KEY----- and is not encrypted"
            ),
            Self::Malformed { place, why } => write!(f, "{place}: {why}"),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::Key(why) => write!(f, "the private key cannot be used: {why}"),
            Self::Make(why) => write!(f, "cannot make a certificate: {why}"),
            Self::TooMany { limit } => write!(f, "more than {limit} fingerprints"),
        }
    }
}

impl core::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::File { error, .. } => Some(error),
            _ => None,
        }
    }
}

//! Certificates of gossip nodes: whose are presented, whose are let in, and how both change while a node runs.
//!
//! Shared by the transports that have TLS. They take [`Credentials`], which say who this node is ([`Identity`]) and whom it
//! lets in ([`Trust`]): everybody with a certificate of one's own authority, or everybody whose key is in a list. Both sides
//! of every connection present a certificate and judge the other's.
//!
//! # With an authority
//!
//! ```no_run
//! use gossip_tls::{Authorities, Credentials};
//!
//! let credentials = Credentials::from_files("node.pem", "node.key", Authorities::file("ca.pem")?)?;
//! // Later, when any of the files has been renewed:
//! credentials.reload()?;
//! # Ok::<_, gossip_tls::TlsError>(())
//! ```
//!
//! Any authority will do whose certificates are good for server *and* client use. Without one, [`Authority`] makes one:
//!
//! ```
//! use gossip_tls::Authority;
//!
//! let authority = Authority::new("my cluster")?;
//! let node = authority.issue("web-1")?;
//! println!("{}{}", node.certificate_pem(), node.key_pem()); // for web-1 alone
//! println!("{}", authority.certificate_pem()); // for all nodes; its key_pem() for none
//! # Ok::<_, gossip_tls::TlsError>(())
//! ```
//!
//! `cargo run -p gossip-tls --example certificates -- DIRECTORY NAME...` writes such files.
//!
//! # Without one
//!
//! Each node makes a key of its own, and the others list its fingerprint:
//!
//! ```no_run
//! use gossip_tls::{Allowed, Credentials, Identity};
//!
//! let own = Identity::load_or_make("node.pem".as_ref(), "web-1")?;
//! println!("{} web-1", own.fingerprint()); // the line for the others' lists
//! let credentials = Credentials::new(own, Allowed::file("members.txt")?);
//! # Ok::<_, gossip_tls::TlsError>(())
//! ```
//!
//! # What is not here
//!
//! Revocation lists: take a fingerprint out of the list and reload, or use an authority with short-lived certificates.
#![forbid(unsafe_code)]

mod alert;
mod allowed;
mod authority;
mod certificate;
mod credentials;
mod error;
mod fingerprint;
mod identity;
mod refusal;
mod verifier;

use std::sync::{Arc, OnceLock};

pub use alert::explain_alert;
pub use allowed::{Allowed, MAX_FINGERPRINTS};
pub use authority::Authority;
pub use certificate::Peer;
pub use credentials::{Authorities, Credentials, Side, Trust};
pub use error::TlsError;
pub use fingerprint::{Fingerprint, InvalidFingerprint};
pub use identity::Identity;
pub use refusal::Refusal;
pub use rustls;

use rustls::crypto::{CryptoProvider, ring as ring_provider};

/// What both sides of a connection must agree on (ALPN) for one transport of one cluster: the transport's name, and a
/// hash of the label if there is one. So two clusters that share an authority do not even shake hands.
pub fn protocol(transport: &str, label: &[u8]) -> Vec<u8> {
    let mut protocol = format!("gossip-{transport}/1");
    if !label.is_empty() {
        protocol.push('/');
        let digest = ring::digest::digest(&ring::digest::SHA256, label);
        for byte in &digest.as_ref()[..LABEL_HASH] {
            protocol.push_str(&format!("{byte:02x}"));
        }
    }
    protocol.into_bytes()
}

/// Bytes of the label's hash: it tells clusters apart, and keeps nobody out.
const LABEL_HASH: usize = 16;

/// The cryptography, the same for all: `ring`, which builds with a C compiler alone.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring_provider::default_provider())).clone()
}

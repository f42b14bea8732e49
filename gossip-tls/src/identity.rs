//! This node's own certificate and key.

use core::fmt;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::certificate::{Peer, name_to_uri};
use crate::{Fingerprint, TlsError, provider};

/// A certificate, those between it and its authority, and the private key. The key is secret: it is not shown by
/// `Debug`, and [`Identity::save`] writes it for its owner only.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certified: Arc<CertifiedKey>,
    peer: Peer,
}

impl Identity {
    /// A new key, and a certificate for it that carries the member's name and is signed by nobody else. It never
    /// expires: who may join is decided by fingerprints.
    pub fn self_made(name: &str) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(make)?;
        let certificate = member_params(name)?.self_signed(&key).map_err(make)?;
        Self::new(vec![certificate.der().clone()], key.serialize_der())
    }

    /// A certificate (first the node's own, then those between it and its authority) and the private key, from PEM.
    /// Both may be in one text.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Self::read(certificates, "the certificate", key, "the private key")
    }

    /// As [`Identity::from_pem`], from files. Both may be one file.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| fs::read(path).map_err(|error| TlsError::file(path, error));
        Self::read(
            &read(certificates)?,
            &certificates.display().to_string(),
            &read(key)?,
            &key.display().to_string(),
        )
    }

    /// What [`Identity::save`] wrote to that file earlier, or, if it does not exist, a new self-made one that is written
    /// there: a node keeps its key over restarts, and with it its place in the others' lists.
    pub fn load_or_make(path: &Path, name: &str) -> Result<Self, TlsError> {
        match fs::read(path) {
            Ok(text) => {
                let place = path.display().to_string();
                Self::read(&text, &place, &text, &place)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = Self::self_made(name)?;
                made.save(path)?;
                Ok(made)
            }
            Err(error) => Err(TlsError::file(path, error)),
        }
    }

    /// Writes certificate and key to one file, as PEM. Only its owner can read it; it is there whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), TlsError> {
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let write = || {
            // Such a file is made with mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(self.certificate_pem().as_bytes())?;
            file.write_all(self.key_pem().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path).map_err(|error| error.error)
        };
        write().map(drop).map_err(|error| TlsError::file(path, error))
    }

    /// The certificates as PEM, the node's own first.
    pub fn certificate_pem(&self) -> String {
        self.chain.iter().map(|certificate| to_pem("CERTIFICATE", certificate)).collect()
    }

    /// The private key as PEM.
    pub fn key_pem(&self) -> String {
        let kind = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        to_pem(kind, self.key.secret_der())
    }

    /// Of its key: what others have in their list of those who may join.
    pub fn fingerprint(&self) -> Fingerprint {
        self.peer.fingerprint
    }

    /// The member's name that the certificate carries, if it does.
    pub fn name(&self) -> Option<&str> {
        self.peer.name.as_deref()
    }

    /// The certificates, the node's own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(crate) fn derive_secret(&self, purpose: &str) -> [u8; 32] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.key.secret_der());
        let mut secret = [0; 32];
        secret.copy_from_slice(ring::hmac::sign(&key, purpose.as_bytes()).as_ref());
        secret
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, pkcs8: Vec<u8>) -> Result<Self, TlsError> {
        Self::build(chain, PrivateKeyDer::Pkcs8(pkcs8.into()), "the certificate")
    }

    fn read(certificates: &[u8], place: &str, key: &[u8], key_place: &str) -> Result<Self, TlsError> {
        let chain = read_certificates(certificates, place)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey { place: key_place.to_owned() },
            error => TlsError::Malformed { place: key_place.to_owned(), why: error.to_string() },
        })?;
        Self::build(chain, key, place)
    }

    fn build(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        place: &str,
    ) -> Result<Self, TlsError> {
        let own = chain.first().ok_or_else(|| TlsError::NoCertificate { place: place.to_owned() })?;
        let peer = Peer::of(own)
            .map_err(|error| TlsError::Malformed { place: place.to_owned(), why: error.to_string() })?;
        let signer = provider()
            .key_provider
            .load_private_key(key.clone_key())
            .map_err(|error| TlsError::Key(error.to_string()))?;
        let certified = CertifiedKey::new(chain.clone(), signer);
        certified.keys_match().map_err(|_| TlsError::KeyMismatch)?;
        Ok(Self { chain, key, certified: Arc::new(certified), peer })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            certified: self.certified.clone(),
            peer: self.peer.clone(),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What a member's certificate holds: it is used on both sides of a connection.
pub(crate) fn member_params(name: &str) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let uri = name_to_uri(name);
    params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().map_err(make)?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

pub(crate) fn make(error: rcgen::Error) -> TlsError {
    TlsError::Make(error.to_string())
}

pub(crate) fn read_certificates(text: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let malformed =
        |error: pem::Error| TlsError::Malformed { place: place.to_owned(), why: error.to_string() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(malformed)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { place: place.to_owned() });
    }
    Ok(found)
}

fn to_pem(kind: &str, der: &[u8]) -> String {
    ::pem::encode_config(
        &::pem::Pem::new(kind, der),
        ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF),
    )
}

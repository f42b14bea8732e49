//! Who a node is and whom it lets in, in one value that all its connections share and that can change while they run.

use core::sync::atomic::{AtomicU64, Ordering};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

use crate::allowed::Notebook;
use crate::identity::read_certificates;
use crate::verifier::Judge;
use crate::{Allowed, Fingerprint, Identity, Peer, Refusal, TlsError, provider};

/// Which role the peer has in a connection. A member's certificate must be good for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It opened the connection.
    Client,
    /// It accepted the connection.
    Server,
}

/// Whom a node lets in.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Everybody whose certificate is signed by one of these authorities.
    Authorities(Authorities),
    /// Everybody whose key is in this list, whoever signed the certificate, expired or not.
    Fingerprints(Allowed),
}

impl From<Allowed> for Trust {
    fn from(allowed: Allowed) -> Self {
        Self::Fingerprints(allowed)
    }
}

impl From<Authorities> for Trust {
    fn from(authorities: Authorities) -> Self {
        Self::Authorities(authorities)
    }
}

/// Authorities whose certificates are good.
#[derive(Clone, Debug)]
pub struct Authorities {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    file: Option<PathBuf>,
    required: Option<DnsName<'static>>,
}

impl Authorities {
    /// The certificates of the authorities, as PEM.
    pub fn from_pem(certificates: &[u8]) -> Result<Self, TlsError> {
        Self::read(certificates, "the authority's certificate")
    }

    /// As [`Authorities::from_pem`], from a file, which is read again by [`Credentials::reload`].
    pub fn file(path: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let path = path.into();
        let text = std::fs::read(&path).map_err(|error| TlsError::file(&path, error))?;
        let found = Self::read(&text, &path.display().to_string())?;
        Ok(Self { file: Some(path), ..found })
    }

    /// Lets in only certificates that are valid for this host name, too: for authorities that also sign what has no
    /// business in the cluster. By default every certificate of the authority is a member's.
    pub fn require_host_name(mut self, name: &str) -> Result<Self, TlsError> {
        let name = DnsName::try_from(name.to_owned())
            .map_err(|_| TlsError::Malformed { place: name.to_owned(), why: "not a host name".into() })?;
        self.required = Some(name);
        Ok(self)
    }

    fn read(text: &[u8], place: &str) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(text, place)? {
            roots.add(certificate).map_err(|error| TlsError::Malformed {
                place: place.to_owned(),
                why: format!("not an authority's certificate: {error}"),
            })?;
        }
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| TlsError::Malformed { place: place.to_owned(), why: error.to_string() })?;
        Ok(Self { roots, clients, file: None, required: None })
    }

    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        match side {
            Side::Client => self.clients.verify_client_cert(certificate, intermediates, now).map(drop)?,
            Side::Server => {
                let algorithms = provider().signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(
                    &parsed,
                    &self.roots,
                    intermediates,
                    now,
                    algorithms,
                )?;
            }
        }
        match &self.required {
            Some(name) => verify_server_name(&parsed, &ServerName::DnsName(name.clone())),
            None => Ok(()),
        }
    }
}

/// Where a node's own certificate comes from.
#[derive(Clone, Debug)]
enum Own {
    Given,
    Files { certificates: PathBuf, key: PathBuf },
}

/// Who a node is and whom it lets in. Clones share one state: what [`Credentials::reload`] reads counts for all of them,
/// from the next handshake on.
#[derive(Clone, Debug)]
pub struct Credentials {
    shared: Arc<Shared>,
}

impl Credentials {
    /// This certificate, and whom to let in.
    pub fn new(identity: Identity, trust: impl Into<Trust>) -> Self {
        Self::build(identity, trust.into(), Own::Given)
    }

    /// A certificate and key from PEM files, which [`Credentials::reload`] reads again, and whom to let in.
    pub fn from_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
        trust: impl Into<Trust>,
    ) -> Result<Self, TlsError> {
        let (certificates, key) = (certificates.as_ref().to_owned(), key.as_ref().to_owned());
        let identity = Identity::from_pem_files(&certificates, &key)?;
        Ok(Self::build(identity, trust.into(), Own::Files { certificates, key }))
    }

    /// Reads all files again: own certificate and key, authorities, list of fingerprints. Says whether anything changed.
    /// If anything is wrong with any of them, nothing changes. Blocks on the files.
    ///
    /// New handshakes follow the new state at once. Transports that keep connections look at [`Credentials::generation`]
    /// and ask [`Credentials::check`] anew.
    pub fn reload(&self) -> Result<bool, TlsError> {
        self.shared.reload()
    }

    /// Grows with each reload that changed something.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Of this node's own key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.shared.with(|state| state.identity.fingerprint())
    }

    /// The name that this node's certificate carries, if it does.
    pub fn name(&self) -> Option<String> {
        self.shared.with(|state| state.identity.name().map(str::to_owned))
    }

    /// Who presented these certificates (its own first), if it is to be let in as things stand now. Whether it has the
    /// key is not asked here: that is for a handshake.
    pub fn check(&self, chain: &[CertificateDer<'_>], side: Side) -> Result<Peer, Refusal> {
        let (own, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        self.shared.check(own, intermediates, side, UnixTime::now())
    }

    /// A secret that only the owner of this node's key can make, and always the same for one purpose: what a node signs
    /// with it in one life it recognises in the next.
    pub fn derive_secret(&self, purpose: &str) -> [u8; 32] {
        self.shared.with(|state| state.identity.derive_secret(purpose))
    }

    /// Why somebody who is trusted since first use could not be written down, since this was last asked.
    pub fn take_write_failure(&self) -> Option<String> {
        self.shared.notebook.take_failure()
    }

    /// For connections that this node opens. TLS 1.3 only; the peer must present a certificate that is let in; nothing is
    /// resumed, since a resumed session skips that question; no early data. `protocol` is what both sides must agree on:
    /// see [`crate::protocol`].
    pub fn client_config(&self, protocol: Vec<u8>) -> Result<ClientConfig, TlsError> {
        let judge = self.judge();
        let mut config = ClientConfig::builder_with_provider(judge.provider.clone())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| TlsError::Make(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(judge.clone())
            .with_client_cert_resolver(judge);
        config.alpn_protocols = vec![protocol];
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }

    /// For connections that others open; otherwise as [`Credentials::client_config`].
    pub fn server_config(&self, protocol: Vec<u8>) -> Result<ServerConfig, TlsError> {
        let judge = self.judge();
        let mut config = ServerConfig::builder_with_provider(judge.provider.clone())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| TlsError::Make(error.to_string()))?
            .with_client_cert_verifier(judge.clone())
            .with_cert_resolver(judge);
        config.alpn_protocols = vec![protocol];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }

    fn judge(&self) -> Arc<Judge> {
        Arc::new(Judge { shared: self.shared.clone(), provider: provider() })
    }

    fn build(identity: Identity, trust: Trust, own: Own) -> Self {
        let state = Mutex::new(State { identity, trust });
        let shared = Shared { state, own, generation: AtomicU64::new(0), notebook: Notebook::default() };
        Self { shared: Arc::new(shared) }
    }
}

#[derive(Debug)]
struct State {
    identity: Identity,
    trust: Trust,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    own: Own,
    generation: AtomicU64,
    notebook: Notebook,
}

impl Shared {
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.with(|state| state.identity.certified())
    }

    /// Whether a peer in a handshake is let in.
    pub(crate) fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<(), Error> {
        let peer = Peer::of(certificate)?;
        // Chains are verified outside of the lock: others shake hands meanwhile.
        let authorities = self.with(|state| match &state.trust {
            Trust::Authorities(authorities) => Ok(Some(authorities.clone())),
            Trust::Fingerprints(allowed) => allowed.newcomer(&peer).map(|_| None),
        })?;
        match authorities {
            Some(authorities) => authorities.judge(certificate, intermediates, side, now),
            None => Ok(()),
        }
    }

    /// Remembers a peer that [`Shared::judge`] has let in for the first time. Only once it has proven that the key is its own:
    /// a certificate is no secret, and anybody can present one.
    pub(crate) fn admit(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        self.with(|state| {
            if let Trust::Fingerprints(allowed) = &mut state.trust {
                let peer = Peer::of(certificate)?;
                if let Some(name) = allowed.admit(&peer)?
                    && let Some(path) = allowed.path()
                {
                    self.notebook.write(path, peer.fingerprint, name);
                }
            }
            Ok(())
        })
    }

    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        side: Side,
        now: UnixTime,
    ) -> Result<Peer, Refusal> {
        let invalid = |error: Error| Refusal::Invalid(error.to_string());
        let peer = Peer::of(certificate).map_err(invalid)?;
        let authorities = self.with(|state| match &state.trust {
            Trust::Authorities(authorities) => Ok(Some(authorities.clone())),
            Trust::Fingerprints(allowed) => allowed.check(&peer).map(|()| None),
        })?;
        if let Some(authorities) = authorities {
            authorities.judge(certificate, intermediates, side, now).map_err(invalid)?;
        }
        Ok(peer)
    }

    fn reload(&self) -> Result<bool, TlsError> {
        let (trust, before) = self.with(|state| (state.trust.clone(), state.identity.clone()));
        let identity = match &self.own {
            Own::Given => None,
            Own::Files { certificates, key } => Some(Identity::from_pem_files(certificates, key)?),
        };
        let identity = identity.filter(|new| new.chain() != before.chain());
        let _file = self.notebook.hold_file();
        let mut authorities = None;
        let mut keys = None;
        match &trust {
            Trust::Authorities(old) => {
                if let Some(file) = &old.file {
                    let new = Authorities { required: old.required.clone(), ..Authorities::file(file)? };
                    let subjects = |of: &Authorities| of.roots.roots.clone();
                    authorities = (subjects(&new) != subjects(old)).then_some(new);
                }
            }
            Trust::Fingerprints(allowed) => keys = allowed.read_again()?,
        }
        let changed = self.with(|state| {
            let mut changed = false;
            if let Some(identity) = identity {
                state.identity = identity;
                changed = true;
            }
            if let Some(authorities) = authorities {
                state.trust = Trust::Authorities(authorities);
                changed = true;
            }
            if let (Some(keys), Trust::Fingerprints(allowed)) = (keys, &mut state.trust) {
                changed |= allowed.replace(keys, self.notebook.unwritten());
                self.notebook.retain(|key| allowed.contains(key));
            }
            changed
        });
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        Ok(changed)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

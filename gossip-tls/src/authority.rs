//! An authority of one's own, for clusters that have none yet.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

use crate::identity::{make, member_params};
use crate::{Authorities, Credentials, Identity, TlsError};

/// Makes certificates for the members of a cluster.
///
/// It is kept in two files: what [`Authority::certificate_pem`] gives goes to every node, what [`Authority::key_pem`] gives
/// to none of them. Any other tool that signs X.509 certificates for both server and client use does as well.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// A new one. The name is for humans.
    pub fn new(name: &str) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(make)?;
        let pem = certificate.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate: certificate.into(), pem })
    }

    /// One that was made earlier.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, TlsError> {
        let place = "the authority's certificate";
        let found = crate::identity::read_certificates(certificate.as_bytes(), place)?;
        let first =
            found.into_iter().next().ok_or_else(|| TlsError::NoCertificate { place: place.into() })?;
        let key = KeyPair::from_pem(key).map_err(|error| TlsError::Key(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&first, key).map_err(make)?;
        Ok(Self { issuer, certificate: first, pem: certificate.to_owned() })
    }

    /// As [`Authority::from_pem`], from files.
    pub fn from_pem_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| TlsError::file(path, error));
        Self::from_pem(&read(certificate)?, &read(key)?)
    }

    /// A new key for a member, and a certificate for it that carries the member's name.
    pub fn issue(&self, name: &str) -> Result<Identity, TlsError> {
        let key = KeyPair::generate().map_err(make)?;
        let certificate = member_params(name)?.signed_by(&key, &self.issuer).map_err(make)?;
        Identity::new(vec![certificate.into()], key.serialize_der())
    }

    /// Trust in this authority alone.
    pub fn trust(&self) -> Result<Authorities, TlsError> {
        Authorities::from_pem(self.pem.as_bytes())
    }

    /// All that a member of that name needs: a certificate as of [`Authority::issue`], and [`Authority::trust`].
    pub fn member(&self, name: &str) -> Result<Credentials, TlsError> {
        Ok(Credentials::new(self.issue(name)?, self.trust()?))
    }

    /// The certificate, as PEM: what members trust.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// The private key, as PEM. Who has it can make members.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

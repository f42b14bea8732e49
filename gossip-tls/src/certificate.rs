//! What a certificate says: whose key it is, and the member's name if it carries one.

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;

use crate::Fingerprint;

/// Who presented a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Of its key.
    pub fingerprint: Fingerprint,
    /// The member's name, if the certificate carries one, as self-made ones do.
    pub name: Option<String>,
}

impl Peer {
    /// What a certificate says of its owner; whether that is true is not checked here.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let fingerprint = Fingerprint::of(&parsed.subject_public_key_info());
        Ok(Self { fingerprint, name: member_name(certificate) })
    }
}

/// The URI that stands for a member's name in a certificate: names may hold any characters, host names may not.
pub(crate) fn name_to_uri(name: &str) -> String {
    let mut uri = String::from(SCHEME);
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

fn uri_to_name(uri: &str) -> Option<String> {
    let mut bytes = uri.strip_prefix(SCHEME)?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        // Two digits below 16.
        name.push((high << 4 | low) as u8);
    }
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

fn member_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri_to_name(uri),
        _ => None,
    })
}

/// The scheme of the URI that carries a member's name.
const SCHEME: &str = "gossip:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_characters_come_back_from_their_uri() {
        for name in ["web-1", "Zürich 7/%25", "a:b?c#d", "\u{1f980}", "."] {
            let uri = name_to_uri(name);
            assert!(uri.is_ascii() && !uri.contains(' '), "{uri}");
            assert_eq!(uri_to_name(&uri).as_deref(), Some(name));
        }
        for broken in
            ["", "gossip:", "gossip:%", "gossip:%4", "gossip:%zz", "gossip:%FF", "https://example.org/"]
        {
            assert_eq!(uri_to_name(broken), None, "{broken}");
        }
    }
}

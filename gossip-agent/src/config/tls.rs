//! The certificates of TLS on TCP: three files, or none.

use std::path::PathBuf;

use transport_quic::FINGERPRINT_TAG;
use transport_tokio::Tls;
use transport_tokio::gossip_tls::{Authorities, Credentials, TlsError};

use super::{Problem, check_tags};
use crate::tags::TagMap;

/// TLS as it is configured: where the certificates are, and what was in the files.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) files: Files,
    credentials: Credentials,
}

/// The files that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl TlsSettings {
    /// What the transport takes. It shares the credentials with this.
    pub(crate) fn transport(&self, label: &[u8]) -> Result<Tls, TlsError> {
        Tls::new(self.credentials.clone(), label)
    }

    /// What QUIC takes; shared likewise.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// Whether there is room for the tag that QUIC adds, which has this node's fingerprint.
    pub(crate) fn check_tags(&self, tags: &TagMap) -> Result<(), Problem> {
        let mut all = tags.clone();
        all.insert(FINGERPRINT_TAG.into(), self.credentials.fingerprint().to_string());
        check_tags(&all).map_err(|problem| problem.within(format!("with QUIC's own tag `{FINGERPRINT_TAG}`")))
    }

    /// Reads the files again; says whether anything changed. If anything is wrong, nothing does. Blocks on the files.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        self.credentials.reload()
    }
}

/// Reads the files, so that what is wrong with them is known before a socket is opened.
pub(crate) fn read(
    certificate: Option<String>,
    key: Option<String>,
    authority: Option<String>,
) -> Result<Option<TlsSettings>, Problem> {
    let given = [
        ("tls_cert (--tls-cert)", &certificate),
        ("tls_key (--tls-key)", &key),
        ("tls_ca (--tls-ca)", &authority),
    ];
    if let Some((name, _)) = given.iter().find(|(_, file)| file.as_deref() == Some("")) {
        return Err(Problem::new(format!("{name} \"\" is empty; give a PEM file, or leave the option out")));
    }
    let names = |present: bool| -> Vec<&str> {
        given.iter().filter(|(_, file)| file.is_some() == present).map(|(name, _)| *name).collect()
    };
    let (Some(certificate), Some(key), Some(authority)) = (&certificate, &key, &authority) else {
        let present = names(true);
        if present.is_empty() {
            return Ok(None);
        }
        return Err(Problem::new(format!(
            "{} without {}: TLS needs this node's certificate, its private key and the authority that signs the members' \
             certificates; give all three, or none",
            present.join(" and "),
            names(false).join(" and ")
        )));
    };
    let files = Files { certificate: certificate.into(), key: key.into(), authority: authority.into() };
    let trusted =
        Authorities::file(&files.authority).map_err(|error| problem(&error).within("tls_ca (--tls-ca)"))?;
    let credentials = Credentials::from_files(&files.certificate, &files.key, trusted)
        .map_err(|error| problem(&error).within("tls_cert (--tls-cert) and tls_key (--tls-key)"))?;
    // What is only found when they are used.
    Tls::new(credentials.clone(), &[])
        .map_err(|error| problem(&error).within("tls_cert (--tls-cert) and tls_key (--tls-key)"))?;
    Ok(Some(TlsSettings { files, credentials }))
}

fn problem(error: &TlsError) -> Problem {
    Problem::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use transport_tokio::gossip_tls::Authority;

    use super::*;
    use crate::config::{Layer, Settings};

    /// The path of a file with that text, as an option is given.
    fn write(directory: &TempDir, name: &str, text: &str) -> Option<String> {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path.to_str().unwrap().to_owned())
    }

    #[test]
    fn all_three_or_none() {
        let some = |given: bool| given.then(|| String::from("/no/such"));
        assert!(read(None, None, None).unwrap().is_none());
        let text = read(some(true), some(false), some(true)).unwrap_err().to_string();
        assert!(
            text.starts_with("tls_cert (--tls-cert) and tls_ca (--tls-ca) without tls_key (--tls-key): "),
            "{text}"
        );
        let text = read(some(false), some(true), some(false)).unwrap_err().to_string();
        assert!(
            text.contains("tls_key (--tls-key) without tls_cert (--tls-cert) and tls_ca (--tls-ca)"),
            "{text}"
        );
    }

    #[test]
    fn tags_leave_room_for_the_fingerprint_of_quic() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| write(&directory, name, text);
        let authority = Authority::new("test").unwrap();
        let issued = authority.issue("one").unwrap();
        let mut layer = Layer {
            transport: Some("quic".into()),
            tls_cert: file("cert.pem", &issued.certificate_pem()),
            tls_key: file("key.pem", &issued.key_pem()),
            tls_ca: file("ca.pem", authority.certificate_pem()),
            tags_file: file("tags.json", &format!("{{\"k\": \"{}\"}}", "v".repeat(450))),
            ..Layer::default()
        };
        let text = Settings::from_layer(layer.clone()).unwrap_err().to_string();
        for part in ["tags_file (--tags-file)", "tags.json", "`fingerprint`", "at most 512", "fewer"] {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
        layer.tags_file = None;
        layer.tags = [("k".into(), "v".repeat(450))].into();
        let text = Settings::from_layer(layer.clone()).unwrap_err().to_string();
        assert!(text.starts_with("tags (--tag): ") && text.contains("`fingerprint`"), "{text}");
        layer.tags = [("k".into(), "v".repeat(400))].into();
        Settings::from_layer(layer).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| write(&directory, name, text);
        let authority = Authority::new("test").unwrap();
        let (one, two) = (authority.issue("one").unwrap(), authority.issue("two").unwrap());
        let (ca, cert, key) = (
            file("ca.pem", authority.certificate_pem()),
            file("one.pem", &one.certificate_pem()),
            file("one.key", &one.key_pem()),
        );
        read(cert.clone(), key.clone(), ca.clone()).unwrap().unwrap();
        let other = file("two.key", &two.key_pem());
        let (none, gone) = (file("none.pem", "nothing"), Some(String::from("/no/such/file")));
        for (certificate, key, authority, parts) in [
            (&cert, &other, &ca, ["--tls-key", "does not belong to the certificate"]),
            (&cert, &cert, &ca, ["one.pem", "no private key in it"]),
            (&none, &key, &ca, ["none.pem", "no certificate in it"]),
            (&cert, &key, &none, ["tls_ca (--tls-ca)", "no certificate in it"]),
            (&gone, &key, &ca, ["--tls-cert", "/no/such/file"]),
            (&cert, &key, &gone, ["--tls-ca", "/no/such/file"]),
        ] {
            let text = read(certificate.clone(), key.clone(), authority.clone()).unwrap_err().to_string();
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}

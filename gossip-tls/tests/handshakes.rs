//! Two sides in memory: who gets through a handshake, and what the one that does not is told.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use gossip_tls::rustls::client::ResolvesClientCert;
use gossip_tls::rustls::crypto::ring::sign::any_supported_type;
use gossip_tls::rustls::pki_types::pem::PemObject;
use gossip_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use gossip_tls::rustls::sign::CertifiedKey;
use gossip_tls::rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection, SignatureScheme,
};
use gossip_tls::{
    Allowed, Authorities, Authority, Credentials, Fingerprint, Identity, Peer, Refusal, Side, TlsError,
    explain_alert, protocol,
};
use tempfile::TempDir;

/// What each side ends with: the dialler's first.
type Ends = (Result<(), Error>, Result<(), Error>);

fn shake_as(dialler: &Credentials, dialled: &Credentials, ours: &[u8], theirs: &[u8]) -> Ends {
    let client = dialler.client_config(protocol("test", ours)).unwrap();
    let server = dialled.server_config(protocol("test", theirs)).unwrap();
    shake_with(client, server)
}

fn shake_with(client: ClientConfig, server: ServerConfig) -> Ends {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let (mut client_end, mut server_end) = (Ok(()), Ok(()));
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut input = wire.as_slice();
        while !input.is_empty() && server_end.is_ok() {
            server.read_tls(&mut input).unwrap();
            server_end = server.process_new_packets().map(drop);
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut input = wire.as_slice();
        while !input.is_empty() && client_end.is_ok() {
            client.read_tls(&mut input).unwrap();
            client_end = client.process_new_packets().map(drop);
        }
    }
    if client_end.is_ok() && server_end.is_ok() {
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert!(client.peer_certificates().is_some() && server.peer_certificates().is_some());
    }
    (client_end, server_end)
}

fn shake(dialler: &Credentials, dialled: &Credentials) -> Ends {
    shake_as(dialler, dialled, b"", b"")
}

fn member(authority: &Authority, name: &str) -> Credentials {
    authority.member(name).unwrap()
}

fn trusting(authority: &Authority) -> Authorities {
    authority.trust().unwrap()
}

fn alert(end: Result<(), Error>) -> AlertDescription {
    match end {
        Err(Error::AlertReceived(alert)) => alert,
        other => panic!("no alert was received, but {other:?}"),
    }
}

#[test]
fn members_of_one_authority_meet() {
    let authority = Authority::new("one").unwrap();
    let (a, b) = (member(&authority, "a"), member(&authority, "b"));
    assert_eq!(shake(&a, &b), (Ok(()), Ok(())));
    assert_eq!(a.name().as_deref(), Some("a"));
}

#[test]
fn an_authority_that_was_written_down_goes_on_signing() {
    let authority = Authority::new("one").unwrap();
    let again = Authority::from_pem(authority.certificate_pem(), &authority.key_pem()).unwrap();
    assert_eq!(shake(&member(&authority, "a"), &member(&again, "b")), (Ok(()), Ok(())));
}

#[test]
fn a_certificate_of_another_authority_gets_in_nowhere_and_is_told_why() {
    let (one, two) = (Authority::new("one").unwrap(), Authority::new("two").unwrap());
    let insider = member(&one, "a");
    let stranger = member(&two, "b");
    // Dialling, the stranger finds out that it does not know the others' authority.
    let (own, _) = shake(&stranger, &insider);
    assert!(own.unwrap_err().to_string().contains("UnknownIssuer"));
    // One who trusts the cluster, but is not trusted by it.
    let stranger = Credentials::new(two.issue("b").unwrap(), trusting(&one));
    let (own, other) = shake(&stranger, &insider);
    assert!(other.is_err());
    assert!(explain_alert(alert(own).into()).unwrap().contains("authority"));
    let (other, own) = shake(&insider, &stranger);
    assert!(other.is_err());
    assert!(explain_alert(alert(own).into()).unwrap().contains("authority"));
}

#[test]
fn an_authority_that_signs_for_others_too_can_be_narrowed_to_a_host_name() {
    let authority = Authority::new("company").unwrap();
    let narrow = trusting(&authority).require_host_name("gossip.example.org").unwrap();
    let narrow = Credentials::new(authority.issue("a").unwrap(), narrow);
    assert!(shake(&member(&authority, "b"), &narrow).1.is_err(), "no host name in it");
    assert!(trusting(&authority).require_host_name("not a name").is_err());
}

#[test]
fn another_label_is_another_protocol() {
    let authority = Authority::new("one").unwrap();
    let (a, b) = (member(&authority, "a"), member(&authority, "b"));
    assert_eq!(shake_as(&a, &b, b"blue", b"blue"), (Ok(()), Ok(())));
    for (ours, theirs) in [("blue", "green"), ("", "green"), ("blue", "")] {
        let (own, other) = shake_as(&a, &b, ours.as_bytes(), theirs.as_bytes());
        assert!(other.is_err());
        assert!(explain_alert(alert(own).into()).unwrap().contains("label"));
    }
    assert!(protocol("test", &[b'x'; 255]).len() <= 255);
}

#[test]
fn listed_keys_meet_and_others_do_not() {
    let (a, b) = (Identity::self_made("a").unwrap(), Identity::self_made("b").unwrap());
    let stranger = Identity::self_made("c").unwrap();
    let both = Allowed::list([a.fingerprint(), b.fingerprint()]).unwrap();
    let (a, b) = (Credentials::new(a, both.clone()), Credentials::new(b, both.clone()));
    assert_eq!(shake(&a, &b), (Ok(()), Ok(())));
    let fingerprint = stranger.fingerprint().to_string();
    let stranger = Credentials::new(stranger, both);
    let (own, other) = shake(&stranger, &a);
    assert!(other.unwrap_err().to_string().contains(&fingerprint), "the list's owner sees whom it kept out");
    assert!(explain_alert(alert(own).into()).unwrap().contains("list"));
}

#[test]
fn a_key_listed_for_a_name_is_good_for_that_name_only() {
    let (a, b) = (Identity::self_made("a").unwrap(), Identity::self_made("b").unwrap());
    let mut right = Allowed::default();
    right.insert(a.fingerprint(), Some("a")).unwrap();
    let mut wrong = Allowed::default();
    wrong.insert(a.fingerprint(), Some("elsewhere")).unwrap();
    let chain = a.chain().to_vec();
    assert!(Credentials::new(b.clone(), right).check(&chain, Side::Client).is_ok());
    let refusal = Credentials::new(b, wrong).check(&chain, Side::Client).unwrap_err();
    assert!(matches!(&refusal, Refusal::WrongName { listed, .. } if listed == "elsewhere"), "{refusal}");
}

/// Somebody who lets one other in, and itself.
fn listing(other: &Identity, identity: &Identity) -> Credentials {
    let allowed = Allowed::list([other.fingerprint(), identity.fingerprint()]).unwrap();
    Credentials::new(identity.clone(), allowed)
}

#[test]
fn trust_on_first_use_keeps_a_name_to_its_first_key() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("members");
    fs::write(&list, "# nobody yet\n").unwrap();
    let own = Identity::self_made("own").unwrap();
    let everybody = |identity: &Identity| listing(&own, identity);
    let (first, second) = (Identity::self_made("a").unwrap(), Identity::self_made("a").unwrap());
    // Off by default.
    let strict = Credentials::new(own.clone(), Allowed::file(&list).unwrap());
    assert!(shake(&everybody(&first), &strict).1.is_err());

    let trusting = Credentials::new(own.clone(), Allowed::file(&list).unwrap().trust_on_first_use(true));
    assert_eq!(shake(&everybody(&first), &trusting), (Ok(()), Ok(())));
    let refused = shake(&everybody(&second), &trusting).1.unwrap_err().to_string();
    assert!(refused.contains("another key"), "{refused}");
    assert_eq!(shake(&everybody(&first), &trusting), (Ok(()), Ok(())));

    // It is written down by a thread of its own.
    let line = format!("{} a", first.fingerprint());
    while !fs::read_to_string(&list).unwrap().contains(&line) {
        std::thread::yield_now();
    }
    assert_eq!(trusting.take_write_failure(), None);
    let strict = Credentials::new(own.clone(), Allowed::file(&list).unwrap());
    assert_eq!(shake(&everybody(&first), &strict), (Ok(()), Ok(())), "trusted by what was written down");
}

/// Presents a certificate that it has seen somewhere, and signs by a key of its own.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesClientCert for Thief {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A list with that text, in its folder, and a node that trusts on first use and keeps whom in it.
fn trusting_newcomers(own: &Identity, text: &str) -> (TempDir, PathBuf, Credentials) {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("members");
    fs::write(&list, text).unwrap();
    let allowed = Allowed::file(&list).unwrap().trust_on_first_use(true);
    (folder, list, Credentials::new(own.clone(), allowed))
}

#[test]
fn a_key_that_nobody_has_proven_to_have_is_not_remembered() {
    let own = Identity::self_made("own").unwrap();
    let (_folder, _list, trusting) = trusting_newcomers(&own, "");
    let [seen, other, thief] = [(); 3].map(|()| Identity::self_made("a").unwrap());
    let key = PrivateKeyDer::from_pem_slice(thief.key_pem().as_bytes()).unwrap();
    let stolen = CertifiedKey::new(seen.chain().to_vec(), any_supported_type(&key).unwrap());
    let mut client = listing(&own, &thief).client_config(protocol("test", b"")).unwrap();
    client.client_auth_cert_resolver = Arc::new(Thief(Arc::new(stolen)));
    let (_, end) = shake_with(client, trusting.server_config(protocol("test", b"")).unwrap());
    assert!(end.is_err(), "the signature is another key's");
    assert!(trusting.check(seen.chain(), Side::Client).is_err());
    assert_eq!(shake(&listing(&own, &other), &trusting), (Ok(()), Ok(())), "the name is still free");
    assert!(shake(&listing(&own, &seen), &trusting).1.is_err());
}

#[test]
fn a_list_without_the_end_of_its_last_line_is_appended_to() {
    let [own, a, b] = ["own", "a", "b"].map(|name| Identity::self_made(name).unwrap());
    let (_folder, list, trusting) = trusting_newcomers(&own, &format!("{} a", a.fingerprint()));
    assert_eq!(shake(&listing(&own, &b), &trusting), (Ok(()), Ok(())));
    let both = format!("{} a\n{} b\n", a.fingerprint(), b.fingerprint());
    wait_for(&list, &both);
    assert_eq!(Allowed::file(&list).unwrap().len(), 2);
}

#[test]
fn who_could_not_be_written_down_is_with_the_next() {
    let [own, a, b] = ["own", "a", "b"].map(|name| Identity::self_made(name).unwrap());
    let (_folder, list, trusting) = trusting_newcomers(&own, "");
    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    assert_eq!(shake(&listing(&own, &a), &trusting), (Ok(()), Ok(())));
    while trusting.take_write_failure().is_none() {
        std::thread::yield_now();
    }
    fs::remove_dir(&list).unwrap();
    assert_eq!(shake(&listing(&own, &b), &trusting), (Ok(()), Ok(())));
    let mut both = [format!("{} a\n", a.fingerprint()), format!("{} b\n", b.fingerprint())];
    both.sort();
    wait_for(&list, &both.concat());
}

/// Lines are written by a thread of its own.
fn wait_for(list: &Path, text: &str) {
    let begun = Instant::now();
    while !fs::read_to_string(list).is_ok_and(|found| found == text) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", fs::read_to_string(list));
        std::thread::yield_now();
    }
}

#[test]
fn who_could_not_be_written_down_stays() {
    let own = Identity::self_made("own").unwrap();
    let (_folder, list, trusting) = trusting_newcomers(&own, "");
    let is_let_in = |identity: &Identity| shake(&listing(&own, identity), &trusting).1.is_ok();
    // In place of the file there is something that cannot be written to.
    fs::remove_file(&list).unwrap();
    fs::create_dir(&list).unwrap();
    let [a, other] = [(); 2].map(|()| Identity::self_made("a").unwrap());
    assert!(is_let_in(&a));
    while trusting.take_write_failure().is_none() {
        std::thread::yield_now();
    }
    fs::remove_dir(&list).unwrap();
    fs::write(&list, "").unwrap();
    trusting.reload().unwrap();
    assert!(!is_let_in(&other), "the name is taken");
    assert!(trusting.check(a.chain(), Side::Client).is_ok(), "it was let in, and nobody has taken it out");

    // Whoever runs the node has the last word.
    fs::write(&list, format!("{} a\n", other.fingerprint())).unwrap();
    trusting.reload().unwrap();
    assert!(trusting.check(a.chain(), Side::Client).is_err());
    assert!(is_let_in(&other));

    // What was written down can be taken out.
    let b = Identity::self_made("b").unwrap();
    assert!(is_let_in(&b));
    wait_for(&list, &format!("{} a\n{} b\n", other.fingerprint(), b.fingerprint()));
    fs::write(&list, "").unwrap();
    trusting.reload().unwrap();
    assert!(trusting.check(b.chain(), Side::Client).is_err());
}

#[test]
fn a_list_is_read_again_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("members");
    let (a, b) = (Identity::self_made("a").unwrap(), Identity::self_made("b").unwrap());
    fs::write(&list, format!("{}\n", b.fingerprint())).unwrap();
    let credentials = Credentials::new(a, Allowed::file(&list).unwrap());
    let generation = credentials.generation();
    assert!(credentials.check(b.chain(), Side::Server).is_ok());
    assert!(!credentials.reload().unwrap(), "nothing has changed");

    fs::write(&list, "sha256:beef\n").unwrap();
    let error = credentials.reload().unwrap_err().to_string();
    assert!(error.contains("members:1") && error.contains("64"), "{error}");
    assert!(credentials.check(b.chain(), Side::Server).is_ok());
    assert_eq!(credentials.generation(), generation);

    fs::write(&list, "").unwrap();
    assert!(credentials.reload().unwrap());
    assert_ne!(credentials.generation(), generation);
    assert!(matches!(credentials.check(b.chain(), Side::Server), Err(Refusal::NotListed(_))));
}

#[test]
fn certificate_files_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (own, ca) = (folder.path().join("own.pem"), folder.path().join("ca.pem"));
    let (one, two) = (Authority::new("one").unwrap(), Authority::new("two").unwrap());
    one.issue("a").unwrap().save(&own).unwrap();
    fs::write(&ca, one.certificate_pem()).unwrap();
    let credentials = Credentials::from_files(&own, &own, Authorities::file(&ca).unwrap()).unwrap();
    assert_eq!(shake(&credentials, &member(&one, "b")), (Ok(()), Ok(())));

    two.issue("a").unwrap().save(&own).unwrap();
    fs::write(&ca, two.certificate_pem()).unwrap();
    assert!(credentials.reload().unwrap());
    assert!(shake(&credentials, &member(&one, "b")).0.is_err());
    assert_eq!(shake(&credentials, &member(&two, "b")), (Ok(()), Ok(())));
}

#[test]
fn a_key_is_kept_over_restarts_and_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.pem");
    let made = Identity::load_or_make(&path, "Zürich 7").unwrap();
    let again = Identity::load_or_make(&path, "Zürich 7").unwrap();
    assert_eq!(made.fingerprint(), again.fingerprint());
    assert_eq!(again.name(), Some("Zürich 7"));
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
    assert!(!format!("{made:?}").contains("PRIVATE"));
}

#[test]
fn the_fingerprint_is_what_openssl_and_sha256sum_say() {
    // openssl ecparam -genkey | openssl req -x509, then the pipeline in the documentation of `Fingerprint`.
    let certificate = include_str!("openssl.pem");
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let expected: Fingerprint =
        include_str!("openssl.sha256").split_whitespace().next().unwrap().parse().unwrap();
    assert_eq!(Peer::of(&certificate).unwrap().fingerprint, expected);
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pem");
    let error = Identity::from_pem_files(&path, &path).unwrap_err();
    assert!(matches!(error, TlsError::File { .. }) && error.to_string().contains("x.pem"), "{error}");
    fs::write(&path, "hello").unwrap();
    let error = Identity::from_pem_files(&path, &path).unwrap_err();
    assert!(
        matches!(error, TlsError::NoCertificate { .. }) && error.to_string().contains("x.pem"),
        "{error}"
    );
    let (a, b) = (Identity::self_made("a").unwrap(), Identity::self_made("b").unwrap());
    let error = Identity::from_pem(a.certificate_pem().as_bytes(), b.key_pem().as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch), "{error}");
    let error = Identity::from_pem(a.certificate_pem().as_bytes(), b"").unwrap_err();
    assert!(matches!(error, TlsError::NoKey { .. }), "{error}");
    let broken = a.certificate_pem().replace("MII", "AAA");
    let error = Identity::from_pem(broken.as_bytes(), a.key_pem().as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::Malformed { .. }), "{error}");
}

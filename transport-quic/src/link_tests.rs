use core::time::Duration;

use gossip_tls::{Authorities, Credentials, Identity};
use quinn::ConnectionError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use super::*;
use crate::limits::Limits;
use crate::refusal::refusal;
use crate::shared::sweep;
use crate::state::tests::{connect, endpoint, on_one_thread};

/// Members of one authority whose certificates are good for that long.
fn short_lived<const N: usize>(lives: [Duration; N]) -> [Credentials; N] {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    lives.map(|life| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(1970, 1, 1) + now + life;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        let identity = Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        Credentials::new(identity, Authorities::from_pem(authority.as_bytes()).unwrap())
    })
}

#[test]
fn a_connection_ends_with_the_certificate_that_opened_it() {
    on_one_thread(async {
        let [own, peer] = short_lived([Duration::from_secs(3600), Duration::from_secs(3)]);
        let (one, two) = (endpoint(&own), endpoint(&peer));
        let (ours, theirs) = connect(&one, &two).await;
        let runtime: Arc<dyn quinn::Runtime> = Arc::new(quinn::TokioRuntime);
        let shared = Shared::new(one, runtime.clone(), own, Limits::default(), &[0; 32]);
        begin(&shared, ours, two.local_addr().unwrap(), true).unwrap();
        shared.spawn(sweep(Arc::downgrade(&shared), runtime, 2));
        let end = tokio::time::timeout(Duration::from_secs(30), theirs.closed()).await.expect("it ends");
        assert!(
            matches!(&end, ConnectionError::ApplicationClosed(close) if close.error_code == OUTDATED.into()),
            "{end}"
        );
        assert_eq!(refusal(&end), None, "nothing is said about the key");
        // Nor does this node say that it refuses the peer: that is found out when it connects again.
        let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
        while let core::task::Poll::Ready(event) = shared.with(|state| state.poll_event(&mut cx)) {
            assert!(!matches!(event, gossip_driver::TransportEvent::PeerRefused { .. }), "{event:?}");
        }
    });
}

//! TLS on TCP, over real sockets: who gets in, who does not and learns why, and what somebody who listens sees.
#![cfg(feature = "tls")]

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use transport_tokio::gossip_proto::Bytes;
use transport_tokio::gossip_proto::wire::layers::Compression;
use transport_tokio::gossip_tls::{Authorities, Authority, Credentials};
use transport_tokio::{
    Bind, Cluster, Config, Membership, Name, Notice, Subscription, Tls, TlsRefusal, start_membership,
};

fn credentials(authority: &Authority, trusted: &Authority) -> Credentials {
    Credentials::new(authority.issue("member").unwrap(), trusted.trust().unwrap())
}

fn tls(authority: &Authority, label: &[u8]) -> Tls {
    Tls::new(credentials(authority, authority), label).unwrap()
}

async fn node(name: &str, tls: Option<&Tls>) -> Cluster<Membership> {
    let mut bind = Bind::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    bind.tls = tls.cloned();
    let configure = |advertise| {
        let mut config = Config::local(name, advertise);
        // What is compressed could not be searched for.
        config.compression(Compression::Off);
        config
    };
    start_membership(bind, configure).await.unwrap()
}

async fn join(node: &Cluster<Membership>, to: SocketAddr) -> Result<usize, String> {
    node.join(&[to.to_string()]).await.map(|report| report.contacted).map_err(|error| error.to_string())
}

async fn message(news: &mut Subscription) -> Bytes {
    let heard = async {
        loop {
            if let Notice::Message { payload, reliable: true, .. } =
                news.recv().await.expect("the node ended")
            {
                return payload;
            }
        }
    };
    timeout(Duration::from_secs(10), heard).await.expect("no message came")
}

/// The first refusal that a node remembers; a peer's alert comes with the next read.
async fn refusal(tls: &Tls) -> TlsRefusal {
    let found = async {
        loop {
            if let Some(refusal) = tls.take_refusals().into_iter().next() {
                return refusal;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), found).await.expect("nobody was refused")
}

/// Passes streams on to `to`, and keeps what goes through, both ways.
async fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let (near, far) = (near.into_split(), far.into_split());
            for (mut from, mut into) in [(near.0, far.1), (far.0, near.1)] {
                let kept = kept.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(len @ 1..) = from.read(&mut buffer).await {
                        kept.lock().unwrap().extend_from_slice(&buffer[..len]);
                        if into.write_all(&buffer[..len]).await.is_err() {
                            return;
                        }
                    }
                    let _ = into.shutdown().await;
                });
            }
        }
    });
    (addr, seen)
}

fn contains(seen: &Mutex<Vec<u8>>, what: &[u8]) -> bool {
    seen.lock().unwrap().windows(what.len()).any(|window| window == what)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_join_exchange_and_send() {
    let tls = tls(&Authority::new("ca").unwrap(), b"");
    let (a, b, c) = (
        node("node-a", Some(&tls)).await,
        node("node-b", Some(&tls)).await,
        node("node-c", Some(&tls)).await,
    );
    assert_eq!(join(&b, a.local_addr()).await, Ok(1));
    assert_eq!(join(&c, a.local_addr()).await, Ok(1));
    assert_eq!(c.members().await.len(), 3, "the exchange carried the whole state");
    let mut news = a.subscribe().await;
    let large: Bytes =
        (0..2_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    c.send_reliable(&Name::from("node-a"), large.clone()).await.unwrap();
    assert!(message(&mut news).await == large);
    assert_eq!(tls.take_refusals(), []);
}

/// The relay sees what it looks for when there is no TLS, so that it would see it here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_reads_nothing() {
    let tls = tls(&Authority::new("ca").unwrap(), b"");
    for tls in [None, Some(&tls)] {
        let (a, b) = (node("node-of-the-left", tls).await, node("node-of-the-right", tls).await);
        let (between, seen) = relay(a.local_addr()).await;
        assert_eq!(join(&b, between).await, Ok(1));
        assert_eq!(a.members().await.len(), 2);
        assert!(seen.lock().unwrap().len() > 200, "the exchange went through the relay");
        for name in [&b"node-of-the-left"[..], b"node-of-the-right"] {
            assert_eq!(contains(&seen, name), tls.is_none(), "{}", String::from_utf8_lossy(name));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_authority_gets_nowhere_and_both_sides_say_why() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let (home, foreign) = (tls(&ours, b""), tls(&theirs, b""));
    let (a, b) = (node("home", Some(&home)).await, node("foreign", Some(&foreign)).await);
    let error = join(&b, a.local_addr()).await.unwrap_err();
    assert!(error.contains("joined none"), "{error}");
    let why = refusal(&foreign).await;
    assert_eq!(why.peer, a.local_addr());
    assert!(why.why.starts_with("this node does not let the peer in"), "{why:?}");
    let why = refusal(&home).await.why;
    assert!(why.contains("does not know the authority that signed this node's certificate"), "{why}");
    assert_eq!((a.members().await.len(), b.members().await.len()), (1, 1));

    // One who would let us in, and whom we do not: it is told after its handshake.
    let half = Tls::new(credentials(&theirs, &ours), b"").unwrap();
    let c = node("half", Some(&half)).await;
    join(&c, a.local_addr()).await.unwrap_err();
    let why = refusal(&half).await.why;
    assert!(why.contains("does not know the authority that signed this node's certificate"), "{why}");
    let why = refusal(&home).await.why;
    assert!(why.starts_with("this node does not let the peer in"), "{why}");
    assert_eq!((a.members().await.len(), c.members().await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_way_back_to_plaintext() {
    let tls = tls(&Authority::new("ca").unwrap(), b"");
    let (secret, plain) = (node("secret", Some(&tls)).await, node("plain", None).await);
    join(&plain, secret.local_addr()).await.unwrap_err();
    let why = refusal(&tls).await.why;
    assert!(why.contains("the peer does not speak TLS: plaintext gossip is refused"), "{why}");
    join(&secret, plain.local_addr()).await.unwrap_err();
    let why = refusal(&tls).await;
    assert_eq!(why.peer, plain.local_addr());
    assert!(why.why.contains("perhaps it has no TLS") || why.why.contains("does not speak TLS"), "{why:?}");
    assert_eq!((secret.members().await.len(), plain.members().await.len()), (1, 1));

    // Without a certificate one gets nothing, not even an answer to a ping by stream.
    let addr = secret.local_addr();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"\x00\x83\xa5SeqNo\x01\xa4Node\xa6secret\xaaSourceAddr\xa0").unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.is_empty() || answer[0] == 21, "only an alert of TLS: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_with_other_labels_do_not_shake_hands() {
    let authority = Authority::new("shared").unwrap();
    let (red, blue) = (tls(&authority, b"red"), tls(&authority, b"blue"));
    let (a, b) = (node("a", Some(&red)).await, node("b", Some(&blue)).await);
    join(&b, a.local_addr()).await.unwrap_err();
    for why in [refusal(&red).await.why, refusal(&blue).await.why] {
        assert!(why.contains("the peer belongs to another cluster"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_while_the_node_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let write = |authority: &Authority| {
        let identity = authority.issue("member").unwrap();
        std::fs::write(file("node.pem"), identity.certificate_pem()).unwrap();
        std::fs::write(file("node.key"), identity.key_pem()).unwrap();
        std::fs::write(file("ca.pem"), authority.certificate_pem()).unwrap();
    };
    let (old, new) = (Authority::new("old").unwrap(), Authority::new("new").unwrap());
    write(&old);
    let trusted = Authorities::file(file("ca.pem")).unwrap();
    let from_files = Credentials::from_files(file("node.pem"), file("node.key"), trusted).unwrap();
    let first = Tls::new(from_files, b"").unwrap();
    let (a, b) = (node("a", Some(&first)).await, node("b", Some(&tls(&new, b""))).await);
    join(&b, a.local_addr()).await.unwrap_err();
    write(&new);
    assert!(first.credentials().reload().unwrap());
    assert_eq!(join(&b, a.local_addr()).await, Ok(1), "from the next handshake on");
    assert_eq!(join(&a, b.local_addr()).await, Ok(1));
}

/// Silent connections take all places for handshakes; whoever had enough time gives up his.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_keep_nobody_out() {
    let tls = tls(&Authority::new("ca").unwrap(), b"");
    let (a, b) = (node("a", Some(&tls)).await, node("b", Some(&tls)).await);
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(a.local_addr()).await.unwrap());
    }
    let joined = timeout(Duration::from_secs(30), join(&b, a.local_addr())).await;
    assert_eq!(joined.expect("the join hangs"), Ok(1));
}

//! Real sockets on the loopback interface, in real time.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use tokio::time::timeout;
use transport_tokio::gossip_proto::wire::keyring::{Key, Keyring};
use transport_tokio::gossip_proto::wire::layers::Compression;
use transport_tokio::gossip_proto::{Bytes, KeyCommand};
use transport_tokio::{
    AdvertiseError, Bind, BindError, ChangeKind, Cluster, Config, EndReason, Error, Membership, Name, Node,
    Notice, ServiceConfig, SnapshotOptions, StartError, Status, Subscription, start_membership, start_node,
};

async fn node(name: &str, addr: &str) -> Cluster<Node> {
    let bind = Bind::from(addr.parse::<SocketAddr>().unwrap());
    let configure = |advertise| {
        let mut services = ServiceConfig::default();
        services.leave_propagate_delay(Duration::from_millis(200));
        services.tags(vec![(Bytes::from_static(b"role"), Bytes::from_static(b"test"))]);
        (Config::local(name, advertise), services)
    };
    start_node(bind, configure).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn membership(name: &str, bind: impl Into<Bind>) -> Cluster<Membership> {
    start_membership(bind.into(), |advertise| Config::local(name, advertise)).await.unwrap()
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// The first piece of news that `want` makes something of.
async fn hear<A>(news: &mut Subscription, mut want: impl FnMut(Notice) -> Option<A>) -> A {
    let heard = async {
        loop {
            let notice = news.recv().await.expect("the node ended");
            if let Some(found) = want(notice) {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(30), heard).await.expect("no such news came")
}

fn change(notice: Notice, wanted: ChangeKind, of: &str) -> Option<()> {
    match notice {
        Notice::Change { member, kind, .. } if kind == wanted && member.name == of => Some(()),
        _ => None,
    }
}

async fn three_nodes_meet_hear_and_part(addr: &str) {
    let (a, b, c) = (node("a", addr).await, node("b", addr).await, node("c", addr).await);
    let mut news = a.subscribe().await;
    let seed = a.local_addr().to_string();
    assert_eq!(b.join(&[&seed]).await.unwrap().contacted, 1);
    assert_eq!(c.join(&[&format!("a/{seed}")]).await.unwrap().contacted, 1);
    hear(&mut news, |notice| change(notice, ChangeKind::Joined, "c")).await;
    let mut others = b.subscribe().await;
    if others.members.len() < 3 {
        hear(&mut others, |notice| change(notice, ChangeKind::Joined, "c")).await;
    }
    let tagged = b.members().await.into_iter().find(|member| member.name == "a").unwrap();
    assert_eq!(tagged.tag("role").map(Bytes::as_ref), Some(&b"test"[..]));
    assert_eq!(tagged.addr, a.local_addr());

    c.user_event("deploy", "v1", false).await.unwrap();
    let payload = hear(&mut news, |notice| match notice {
        Notice::UserEvent { name, payload, .. } if name == "deploy" => Some(payload),
        _ => None,
    });
    assert_eq!(payload.await, "v1");
    assert!(b.ping(&Name::from("c")).await.unwrap().is_some());

    c.leave().await.unwrap();
    hear(&mut news, |notice| change(notice, ChangeKind::Left, "c")).await;
    let closed = c.closed();
    c.shutdown().await;
    assert_eq!(closed.await, EndReason::Shutdown);
    assert_eq!(a.members().await.iter().filter(|member| member.status == Status::Alive).count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_over_ipv4() {
    three_nodes_meet_hear_and_part("127.0.0.1:0").await;
}

#[tokio::test]
async fn three_nodes_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    three_nodes_meet_hear_and_part("[::1]:0").await;
}

#[tokio::test]
async fn a_dual_stack_node_meets_ipv4_under_its_plain_address() {
    if UdpSocket::bind("[::]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let advertise = Some(([127, 0, 0, 1], 0).into());
    let dual = membership("dual", Bind { advertise, ..SocketAddr::from(([0; 8], 0)).into() }).await;
    let plain = membership("plain", loopback()).await;
    let mut news = dual.subscribe().await;
    plain.join(&[format!("127.0.0.1:{}", dual.local_addr().port())]).await.unwrap();
    hear(&mut news, |notice| change(notice, ChangeKind::Joined, "plain")).await;
    let peer = plain.members().await.into_iter().find(|member| member.name == "dual").unwrap();
    assert_eq!(peer.addr, SocketAddr::from(([127, 0, 0, 1], dual.local_addr().port())));
    assert!(
        dual.ping(&Name::from("plain")).await.unwrap().is_some(),
        "from an IPv6 socket to an IPv4 address"
    );
    assert!(plain.ping(&Name::from("dual")).await.unwrap().is_some());
    dual.send(&Name::from("plain"), Bytes::from_static(b"hello")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_any_size_arrive_whole() {
    let (a, b) = (membership("a", loopback()).await, membership("b", loopback()).await);
    b.join(&[a.local_addr().to_string()]).await.unwrap();
    let mut news = a.subscribe().await;
    // Hard to compress, so that the stream is long.
    let large: Bytes =
        (0..3_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    b.send_reliable(&Name::from("a"), large.clone()).await.unwrap();
    let received = hear(&mut news, |notice| match notice {
        Notice::Message { payload, reliable: true, .. } => Some(payload),
        _ => None,
    });
    assert!(received.await == large);

    // The loop is held up until many commands wait, so that their datagrams leave in runs, and arrive merged.
    let busy = b.clone();
    let busy =
        tokio::spawn(async move { busy.inspect(|_, _| std::thread::sleep(Duration::from_millis(50))).await });
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..100_u8 {
        let b = b.clone();
        let payload = vec![number; if number % 10 == 9 { 300 } else { 1000 }];
        sending.spawn(async move { b.send(&Name::from("a"), payload.into()).await });
    }
    assert!(sending.join_all().await.into_iter().all(|sent| sent.is_ok()));
    busy.await.unwrap().unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < 100 {
        let number = hear(&mut news, |notice| match notice {
            Notice::Message { payload, reliable: false, .. } => {
                assert!(payload.iter().all(|byte| *byte == payload[0]));
                assert_eq!(payload.len(), if payload[0] % 10 == 9 { 300 } else { 1000 });
                Some(payload[0])
            }
            _ => None,
        });
        numbers.push(number.await);
    }
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..100), "each arrives once: {numbers:?}");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_remedy() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    let configure = |advertise| Config::local("a", advertise);
    let error = start_membership(addr.into(), configure).await.unwrap_err();
    assert!(matches!(error, StartError::Bind(BindError { protocol: "TCP", .. })));
    assert_eq!(
        error.to_string(),
        format!("cannot bind TCP {addr}: the address is in use; stop the other program or bind another port")
    );
    drop(tcp);
    // Connections of other tests may have the number of its port for TCP.
    let udp = core::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .find(|udp| TcpListener::bind(udp.local_addr().unwrap()).is_ok())
        .unwrap();
    let addr = udp.local_addr().unwrap();
    let error = start_membership(addr.into(), configure).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("cannot bind UDP {addr}: the address is in use")),
        "{error}"
    );
    TcpListener::bind(addr).expect("a start that failed half-way leaves nothing bound");
}

#[tokio::test]
async fn errors_at_the_start_say_what_to_do() {
    let configure = |advertise| Config::local("a", advertise);
    let error =
        start_membership(SocketAddr::from(([203, 0, 113, 7], 0)).into(), configure).await.unwrap_err();
    assert!(error.to_string().contains("no such address"), "{error}");
    for wildcard in ["0.0.0.0:7", "[::ffff:0.0.0.0]:7"] {
        let bind = Bind { advertise: Some(wildcard.parse().unwrap()), ..loopback().into() };
        let error = start_membership(bind, configure).await.unwrap_err();
        assert!(error.to_string().contains(wildcard) && error.to_string().contains("wildcard"), "{error}");
    }
    let error =
        start_membership(loopback().into(), |advertise| Config::local("", advertise)).await.unwrap_err();
    assert!(error.to_string().contains("name is empty"), "{error}");
}

#[tokio::test]
async fn keys_that_were_changed_are_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = [[1; 32], [2; 32]].map(|bytes| Key::new(&bytes).unwrap());
    let start = async || {
        let mut bind = Bind::from(loopback());
        bind.options.keyring_file = Some(directory.path().join("ring.json"));
        let ring = Keyring::new(old.clone(), []).unwrap();
        let configure = |advertise| {
            let mut config = Config::local("quince", advertise);
            config.keyring(Some(ring));
            (config, ServiceConfig::default())
        };
        start_node(bind, configure).await
    };
    let first = start().await.unwrap();
    for command in
        [KeyCommand::Install(new.clone()), KeyCommand::Use(new.clone()), KeyCommand::Remove(old.clone())]
    {
        assert_eq!(first.keys(command).await.unwrap().failure(), None);
    }
    first.shutdown().await;
    let second = start().await.unwrap();
    let report = second.keys(KeyCommand::List).await.unwrap();
    assert_eq!((report.keys, report.primary_keys), (vec![(new.clone(), 1)], vec![(new, 1)]));
    second.shutdown().await;

    std::fs::write(directory.path().join("ring.json"), "[]").unwrap();
    let error = start().await.unwrap_err();
    assert!(error.to_string().ends_with("ring.json: it has no keys"), "{error}");
}

#[tokio::test]
async fn a_snapshot_of_a_membership_is_refused() {
    let mut bind = Bind::from(loopback());
    bind.options.snapshot = Some(SnapshotOptions { path: "never".into(), rejoin_after_leave: false });
    let error = start_membership(bind, |advertise| Config::local("quince", advertise)).await.unwrap_err();
    assert!(matches!(error, StartError::SnapshotOfMembership), "{error}");
    assert!(!std::path::Path::new("never").exists());
}

#[test]
fn starting_outside_a_runtime_is_an_error_not_a_panic() {
    let mut start = Box::pin(start_membership(loopback().into(), |advertise| Config::local("a", advertise)));
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    let core::task::Poll::Ready(Err(error)) = start.as_mut().poll(&mut cx) else { panic!() };
    assert!(matches!(error, StartError::NoRuntime));
}

#[tokio::test]
async fn the_advertised_port_defaults_to_the_bound_one() {
    let bind = Bind { advertise: Some(([192, 168, 7, 7], 0).into()), ..loopback().into() };
    let a = membership("a", bind).await;
    assert_ne!(a.local_addr().port(), 0);
    assert_eq!(a.local().await.addr, SocketAddr::from(([192, 168, 7, 7], a.local_addr().port())));
}

#[tokio::test]
async fn a_wildcard_advertises_a_private_address_or_asks_for_one() {
    let configure = |advertise| Config::local("a", advertise);
    match start_membership(SocketAddr::from(([0, 0, 0, 0], 0)).into(), configure).await {
        Ok(a) => {
            let addr = a.local().await.addr;
            assert!(addr.is_ipv4() && !addr.ip().is_unspecified() && !addr.ip().is_loopback(), "{addr}");
            assert_eq!(addr.port(), a.local_addr().port());
        }
        Err(error) => {
            assert!(
                matches!(error, StartError::Advertise(AdvertiseError::NoPrivateAddress { .. })),
                "{error}"
            );
            assert!(error.to_string().contains("give the address"), "{error}");
        }
    }
}

#[tokio::test]
async fn after_shutdown_both_sockets_are_free() {
    let a = membership("a", loopback()).await;
    let addr = a.local_addr();
    let other = a.clone();
    a.shutdown().await;
    UdpSocket::bind(addr).expect("UDP is free");
    TcpListener::bind(addr).expect("TCP is free");
    assert_eq!(other.join(&["127.0.0.1:1"]).await, Err(Error::Closed));
    let again = membership("a", addr).await;
    assert_eq!(again.local_addr(), addr);
}

#[tokio::test]
async fn joining_nobody_says_why() {
    let a = membership("a", loopback()).await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Err(error) = a.join(&[free.to_string()]).await else { panic!("nobody is there") };
    assert_eq!(
        error.to_string(),
        format!("joined none of the addresses: {free}: connection refused or unreachable")
    );
    let report = membership("b", loopback()).await;
    let seed = format!("localhost:{}", report.local_addr().port());
    // The name may stand for ::1 as well, where nobody listens; one address is enough.
    assert_eq!(a.join(&[seed]).await.unwrap().contacted, 1);
}

/// a socket that is closed over unread input resets the connection, and with it the answer under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_reply_survives_input_that_nobody_reads() {
    let a = start_membership(loopback().into(), |advertise| {
        let mut config = Config::local("a", advertise);
        config.compression(Compression::Off);
        config
    });
    let a = a.await.unwrap();
    let addr = a.local_addr();
    let reply = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        // A sealed frame, which a node without keys answers with an error, and more of it than anybody reads.
        stream.write_all(&[10; 150_000]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        // After a reset this would fail.
        stream.write_all(&[10; 10_000]).unwrap();
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).map(|_| reply)
    });
    let reply = reply.await.unwrap().expect("the connection was reset");
    assert_eq!(reply.first(), Some(&13), "an error reply is of type 13");
    assert!(String::from_utf8_lossy(&reply).contains("encrypted"));
}

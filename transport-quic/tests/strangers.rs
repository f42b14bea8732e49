//! Who gets in, who does not and learns why, and what somebody sees who listens on the path.

mod common;

use core::net::SocketAddr;
use core::time::Duration;
use std::borrow::Cow;
use std::net::UdpSocket;

use common::*;
use transport_quic::gossip_proto::wire::layers::Compression;
use transport_quic::gossip_proto::wire::message::{Alive, MessageType, Ping};
use transport_quic::{
    Allowed, Authorities, Authority, Bind, Cluster, Credentials, Error, Identity, JoinErrorKind, Node,
    start_node,
};

on_each_runtime! {
    another_authority_is_not_known
    who_is_not_let_in_is_told_why
    keys_that_are_not_listed_stay_out
    another_label_is_another_cluster
    nothing_on_the_wire_can_be_read
    plaintext_gossip_has_no_effect
}

/// Why the join is refused, in the words of the node that joins.
async fn refusal(node: &Cluster<Node>, to: &Cluster<Node>) -> String {
    let Err(Error::Join(failed)) = node.join(&[to.local_addr().to_string()]).await else {
        panic!("it joined");
    };
    let [failed] = &failed[..] else { panic!("{failed:?}") };
    assert!(
        matches!(&failed.why, JoinErrorKind::Refused { addr, .. } if *addr == to.local_addr()),
        "{failed}"
    );
    failed.to_string()
}

/// They know nothing of each other: no member, not a byte of gossip.
async fn apart(a: &Cluster<Node>, b: &Cluster<Node>) {
    // Long enough for probes, pushes and reconnects, if there were any.
    pause(1500).await;
    for node in [a, b] {
        assert_eq!(node.members().await.len(), 1);
        let stats = node.stats().await;
        assert_eq!((stats.datagrams_received, stats.messages_received), (0, 0));
    }
}

async fn another_authority_is_not_known() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let inside = node("inside", member(&ours, "inside")).await;
    let outside = node("outside", member(&theirs, "outside")).await;
    let why = refusal(&outside, &inside).await;
    assert_eq!(
        why,
        format!(
            "{}: this node does not know the authority that signed the peer's certificate",
            inside.local_addr()
        )
    );
    apart(&inside, &outside).await;
    // It makes no difference who calls.
    refusal(&inside, &outside).await;
    apart(&inside, &outside).await;
    inside.shutdown().await;
    outside.shutdown().await;
}

/// Somebody who would accept the members, but whom they do not accept.
async fn who_is_not_let_in_is_told_why() {
    let (ours, theirs) = (Authority::new("ours").unwrap(), Authority::new("theirs").unwrap());
    let inside = node("inside", member(&ours, "inside")).await;
    let both = format!("{}{}", ours.certificate_pem(), theirs.certificate_pem());
    let trusts_all = Authorities::from_pem(both.as_bytes()).unwrap();
    let outside = node("outside", Credentials::new(theirs.issue("outside").unwrap(), trusts_all)).await;
    let why = refusal(&outside, &inside).await;
    assert_eq!(
        why,
        format!(
            "{}: the peer does not know the authority that signed this node's certificate",
            inside.local_addr()
        )
    );
    apart(&inside, &outside).await;
    inside.shutdown().await;
    outside.shutdown().await;
}

async fn keys_that_are_not_listed_stay_out() {
    let [a, b, stranger] = ["a", "b", "stranger"].map(|name| Identity::self_made(name).unwrap());
    let everybody = [a.fingerprint(), b.fingerprint(), stranger.fingerprint()];
    let listed = Allowed::list(everybody[..2].iter().copied()).unwrap();
    let a = node("a", Credentials::new(a, listed)).await;
    let stranger = node("stranger", Credentials::new(stranger, Allowed::list(everybody).unwrap())).await;
    let why = refusal(&stranger, &a).await;
    assert_eq!(
        why,
        format!(
            "{}: the peer does not let this node's key in: it is not in the peer's list, or listed for another name",
            a.local_addr()
        )
    );
    apart(&a, &stranger).await;
    a.shutdown().await;
    stranger.shutdown().await;
}

/// One authority for two clusters does not merge them.
async fn another_label_is_another_cluster() {
    let authority = Authority::new("test").unwrap();
    let labelled = async |name: &'static str, label: &'static str| {
        let configure = move |advertise| {
            let (mut config, services) = quick(name, advertise);
            config.label(label.into());
            (config, services)
        };
        start_node(Bind::at(loopback(), member(&authority, name)), configure).await.unwrap()
    };
    let (red, blue) = (labelled("red", "red").await, labelled("blue", "blue").await);
    let why = refusal(&blue, &red).await;
    assert_eq!(why, format!("{}: the peer belongs to another cluster: its label differs", red.local_addr()));
    apart(&red, &blue).await;
    let second = labelled("second", "red").await;
    second.join(&[red.local_addr().to_string()]).await.unwrap();
    for node in [red, blue, second] {
        node.shutdown().await;
    }
}

fn contains(packets: &[Vec<u8>], text: &str) -> bool {
    packets.iter().any(|packet| packet.windows(text.len()).any(|part| part == text.as_bytes()))
}

/// Everything that two nodes tell each other passes relays that write it down.
async fn nothing_on_the_wire_can_be_read() {
    let authority = Authority::new("test").unwrap();
    let relays = [Relay::new(), Relay::new()];
    let mut nodes = Vec::new();
    for (relay, name) in relays.iter().zip(["marmalade", "quince"]) {
        let mut bind = Bind::at(loopback(), member(&authority, name));
        bind.advertise = Some(relay.addr);
        let configure = move |advertise| {
            let (mut config, mut services) = quick(name, advertise);
            // What is compressed could not be searched for.
            config.compression(Compression::Off);
            services.tags(vec![("damson".into(), "greengage".into())]);
            (config, services)
        };
        let node = start_node(bind, configure).await.unwrap();
        relay.lead_to(node.local_addr());
        nodes.push(node);
    }
    nodes[1].join(&[relays[0].addr.to_string()]).await.unwrap();
    until("both see both", async || alive(&nodes[0]).await == 2 && alive(&nodes[1]).await == 2).await;
    let mut news = nodes[1].subscribe().await;
    nodes[0].user_event("mirabelle", "persimmon", false).await.unwrap();
    notice(&mut news, "the event", |notice| {
        matches!(&notice, transport_quic::Notice::UserEvent { name, .. } if **name == *b"mirabelle")
            .then_some(())
    })
    .await;
    nodes[0].query("plum", "medlar", transport_quic::QueryParams::default()).await.unwrap();
    assert!(nodes[0].ping(&"quince".into()).await.unwrap().is_some());

    for relay in &relays {
        let seen = relay.seen();
        assert!(seen.len() > 10, "{} packets passed", seen.len());
        for text in ["marmalade", "quince", "damson", "greengage", "mirabelle", "persimmon", "medlar"] {
            assert!(!contains(&seen, text), "{text} can be read");
        }
    }
    // And what can be read would have been found.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"a medlar in the open", relays[0].addr).unwrap();
    until("what is in the open", async || contains(&relays[0].seen(), "medlar")).await;
    for node in nodes {
        node.shutdown().await;
    }
}

fn encoded(kind: MessageType, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![kind.byte()];
    encode(&mut bytes);
    bytes
}

/// A ping for that node, and the news of a member that is not there.
fn plaintext(node: &str, from: SocketAddr) -> [Vec<u8>; 2] {
    let SocketAddr::V4(from) = from else { panic!("IPv4") };
    let octets = from.ip().octets();
    let ping = encoded(MessageType::Ping, |bytes| {
        let ping = Ping {
            seq: 7,
            node: Cow::Borrowed(node.as_bytes()),
            source_addr: octets.as_slice().into(),
            source_port: from.port(),
            source_node: Cow::Borrowed(b"intruder"),
        };
        ping.encode(bytes).unwrap();
    });
    let alive = encoded(MessageType::Alive, |bytes| {
        let alive = Alive {
            incarnation: 1,
            node: Cow::Borrowed(b"intruder"),
            addr: octets.as_slice().into(),
            port: from.port(),
            meta: b"".as_slice().into(),
            vsn: [1, 5, 2, 2, 5, 5].as_slice().into(),
        };
        alive.encode(bytes).unwrap();
    });
    [ping, alive]
}

/// A stranger who sends that to the port; whether anything comes back.
async fn intrude(name: &str, to: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    for _ in 0..20 {
        for packet in plaintext(name, socket.local_addr().unwrap()) {
            socket.send_to(&packet, to).unwrap();
        }
        pause(10).await;
    }
    pause(500).await;
    socket.recv_from(&mut [0; 2048]).is_ok()
}

async fn plaintext_gossip_has_no_effect() {
    let authority = Authority::new("test").unwrap();
    let a = node("a", member(&authority, "a")).await;
    assert!(!intrude("a", a.local_addr()).await, "a stranger was answered");
    assert_eq!(a.members().await.len(), 1);
    let stats = a.stats().await;
    let counted = [stats.datagrams_received, stats.datagrams_sent, stats.messages_received];
    assert_eq!(counted, [0, 0, 0], "{stats:?}");
    // The port is one for UDP alone: nobody listens for streams in the open.
    let tcp = std::net::TcpStream::connect_timeout(&a.local_addr(), Duration::from_millis(200));
    assert!(tcp.is_err(), "something accepts TCP");
    a.shutdown().await;
}

/// The same packets, to a node that speaks UDP: they are answered and believed.
#[cfg(feature = "runtime-tokio")]
#[test]
fn plaintext_gossip_has_an_effect_where_it_is_spoken() {
    on_tokio(async {
        let configure = |advertise| quick("a", advertise);
        let a = transport_tokio::start_node(loopback().into(), configure).await.unwrap();
        assert!(intrude("a", a.local_addr()).await, "the ping is none");
        until("the intruder is believed", async || a.members().await.len() == 2).await;
        a.shutdown().await;
    });
}

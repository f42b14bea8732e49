//! Paths that open, break, move and are given up; and certificates that are read again while a node runs.

mod common;

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;
use std::net::UdpSocket;

use common::*;
use gossip_driver::{SendBatch, Transport, TransportEvent};
use transport_quic::gossip_proto::{DatagramKind, Transmit, TransmitFailure, TransmitId};
use transport_quic::{
    Allowed, Authority, Bind, Cluster, Credentials, Identity, JoinErrorKind, Node, Notice, QuicTransport,
    Status, start_node,
};

on_each_runtime! {
    an_endpoint_that_has_not_taken_what_came_gives_its_port_back
    what_waits_for_a_path_fails_with_it
    what_waited_for_a_path_is_late
    a_peer_whose_address_changes_stays_a_member
    a_peer_that_vanishes_fails_and_comes_back
    a_cluster_larger_than_the_cache_holds_together
    a_key_that_is_taken_from_the_list_is_out_at_once
    an_authority_can_be_changed_while_nodes_run
}

fn endpoint(authority: &Authority) -> QuicTransport {
    QuicTransport::bind(&Bind::at(loopback(), member(authority, "member")), b"").unwrap()
}

/// Sends datagrams of these kinds, numbered from 0.
async fn send(transport: &mut QuicTransport, to: SocketAddr, kinds: &[DatagramKind]) {
    let mut batch = SendBatch::new(100, kinds.len());
    for (number, &kind) in (0..).zip(kinds) {
        batch.compose(|buffer| {
            buffer[..50].fill(7);
            Some(Transmit { id: TransmitId::from_u64(number), to, peer: None, kind, len: 50 })
        });
    }
    poll_fn(|cx| transport.poll_send(cx, &mut batch)).await;
}

/// The next thing that became of a datagram.
async fn became(transport: &mut QuicTransport) -> (TransmitId, Option<TransmitFailure>) {
    poll_fn(|cx| {
        loop {
            match core::task::ready!(transport.poll_event(cx)) {
                TransportEvent::TransmitFailed { id, why } => return Poll::Ready((id, Some(why))),
                TransportEvent::TransmitDelayed { id } => return Poll::Ready((id, None)),
                _ => {}
            }
        }
    })
    .await
}

async fn what_waits_for_a_path_fails_with_it() {
    use DatagramKind::{Answer, Gossip, Ping};
    let authority = Authority::new("test").unwrap();
    let nobody = endpoint(&authority).local_addr();
    let mut a = endpoint(&authority);
    send(&mut a, nobody, &[Gossip, Ping, Gossip, Answer, Ping, Ping, Ping]).await;
    let mut fate = Vec::new();
    for _ in 0..7 {
        let (id, why) = became(&mut a).await;
        fate.push((id, why.expect("nobody is there")));
    }
    // Four wait, and all of them are pings; the others gave way, gossip first.
    let (local, unreachable) = (TransmitFailure::Local, TransmitFailure::Unreachable);
    let expected = [
        (0, local),
        (2, local),
        (3, local),
        (1, unreachable),
        (4, unreachable),
        (5, unreachable),
        (6, unreachable),
    ];
    assert_eq!(fate, expected.map(|(number, why)| (TransmitId::from_u64(number), why)));
}

async fn an_endpoint_that_has_not_taken_what_came_gives_its_port_back() {
    let authority = Authority::new("test").unwrap();
    let (mut a, mut b) = (endpoint(&authority), endpoint(&authority));
    let at = b.local_addr();
    send(&mut a, at, &[DatagramKind::Ping]).await;
    became(&mut a).await;
    // More than an endpoint keeps for one peer: the rest waits with the connection.
    for _ in 0..10 {
        send(&mut a, at, &[DatagramKind::Gossip; 20]).await;
        pause(20).await;
    }
    poll_fn(|cx| b.poll_close(cx)).await;
    drop(b);
    until("the port is free", async || UdpSocket::bind(at).is_ok()).await;
}

async fn what_waited_for_a_path_is_late() {
    let authority = Authority::new("test").unwrap();
    let (mut a, b) = (endpoint(&authority), endpoint(&authority));
    send(&mut a, b.local_addr(), &[DatagramKind::Ping, DatagramKind::Gossip]).await;
    assert_eq!(became(&mut a).await, (TransmitId::from_u64(0), None));
    assert_eq!(became(&mut a).await, (TransmitId::from_u64(1), None));
}

/// A node that others reach by way of a relay.
async fn behind(relay: &Relay, name: &str, credentials: Credentials) -> Cluster<Node> {
    let mut bind = Bind::at(loopback(), credentials);
    bind.advertise = Some(relay.addr);
    let name = name.to_owned();
    let configure = move |advertise| {
        let (mut config, services) = quick(&name, advertise);
        // A move takes a few round trips, which are seconds where the machine has other things to do. If it failed, no ping would
        // come through, however long the suspicion.
        config.suspicion_mult(12);
        (config, services)
    };
    let node = start_node(bind, configure).await.unwrap();
    relay.lead_to(node.local_addr());
    node
}

async fn a_peer_whose_address_changes_stays_a_member() {
    let authority = Authority::new("test").unwrap();
    let relays = [Relay::new(), Relay::new()];
    let a = behind(&relays[0], "a", member(&authority, "a")).await;
    let b = behind(&relays[1], "b", member(&authority, "b")).await;
    b.join(&[relays[0].addr.to_string()]).await.unwrap();
    until("both see both", async || alive(&a).await == 2 && alive(&b).await == 2).await;
    for _ in 0..3 {
        relays.iter().for_each(Relay::change_addresses);
        for _ in 0..10 {
            pause(200).await;
            assert_eq!((alive(&a).await, alive(&b).await), (2, 2), "a member is lost");
        }
        // The path works both ways, for both kinds of traffic.
        assert!(a.ping(&"b".into()).await.unwrap().is_some() && b.ping(&"a".into()).await.unwrap().is_some());
        a.join(&[relays[1].addr.to_string()]).await.unwrap();
        b.join(&[relays[0].addr.to_string()]).await.unwrap();
    }
    a.shutdown().await;
    b.shutdown().await;
}

/// As a machine that loses its power: no good-bye, and nothing that says that the port is closed.
async fn a_peer_that_vanishes_fails_and_comes_back() {
    let authority = Authority::new("test").unwrap();
    let relay = Relay::new();
    let a = node("a", member(&authority, "a")).await;
    let c = node("c", member(&authority, "c")).await;
    let b = behind(&relay, "b", member(&authority, "b")).await;
    for other in [&b, &c] {
        other.join(&[a.local_addr().to_string()]).await.unwrap();
    }
    until("all three", async || alive(&a).await == 3 && alive(&c).await == 3).await;
    // Its good-bye on the connections to its address is lost on the way.
    relay.cut(true);
    let addr = b.local_addr();
    b.shutdown().await;
    for node in [&a, &c] {
        until("b has failed", async || status_of(node, "b").await == Some(Status::Failed)).await;
        assert_eq!(alive(node).await, 2, "and nobody else");
    }
    relay.cut(false);
    let mut bind = Bind::at(addr, member(&authority, "b"));
    bind.advertise = Some(relay.addr);
    let back = start_node(bind, |advertise| quick("b", advertise)).await.unwrap();
    // Nobody tells it about the others: they look for it.
    until("b is found again", async || {
        alive(&a).await == 3 && alive(&c).await == 3 && alive(&back).await == 3
    })
    .await;
    for node in [a, back, c] {
        node.shutdown().await;
    }
}

async fn a_cluster_larger_than_the_cache_holds_together() {
    let authority = Authority::new("test").unwrap();
    let mut nodes: Vec<Cluster<Node>> = Vec::new();
    for number in 0..8 {
        let name = format!("node-{number}");
        let mut bind = Bind::at(loopback(), member(&authority, &name));
        bind.limits.connections = 3;
        nodes.push(start_node(bind, move |advertise| quick(&name, advertise)).await.unwrap());
    }
    let seed = [nodes[0].local_addr().to_string()];
    for node in &nodes[1..] {
        // The seed may close a connection in favour of another one while a stream on it is still on its way.
        until("it has joined", async || node.join(&seed).await.is_ok()).await;
    }
    for node in &nodes {
        until("eight members", async || alive(node).await == 8).await;
    }
    // Probes go round: everybody is probed by everybody at least once, and each time a connection makes room.
    let mut news = Vec::new();
    for node in &nodes {
        news.push(node.subscribe().await);
    }
    pause(6000).await;
    nodes[5].user_event("deploy", "v42", false).await.unwrap();
    for subscription in &mut news {
        let failed = notice(subscription, "the event", |notice| match notice {
            Notice::UserEvent { .. } => Some(None),
            Notice::Change { member, kind: transport_quic::ChangeKind::Failed, .. } => {
                Some(Some(member.name))
            }
            _ => None,
        });
        assert_eq!(failed.await, None, "a member is lost");
    }
    nodes.pop().unwrap().shutdown().await;
    for node in &nodes {
        until("the last has failed", async || status_of(node, "node-7").await == Some(Status::Failed)).await;
    }
    for node in nodes {
        node.shutdown().await;
    }
}

async fn a_key_that_is_taken_from_the_list_is_out_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("members");
    let [a, b] = ["a", "b"].map(|name| Identity::self_made(name).unwrap());
    let (key_a, key_b) = (a.fingerprint(), b.fingerprint());
    std::fs::write(&list, format!("{key_a} a\n{key_b} b\n")).unwrap();
    let credentials = Credentials::new(a, Allowed::file(&list).unwrap());
    let a = node("a", credentials.clone()).await;
    let b = node("b", Credentials::new(b, Allowed::list([key_a, key_b]).unwrap())).await;
    b.join(&[a.local_addr().to_string()]).await.unwrap();
    until("both see both", async || alive(&a).await == 2 && alive(&b).await == 2).await;

    std::fs::write(&list, format!("{key_a} a\n")).unwrap();
    assert!(credentials.reload().unwrap());
    until("b is out", async || status_of(&a, "b").await == Some(Status::Failed)).await;
    // It is told why, and what it says from now on reaches nobody.
    until("b is refused", async || {
        let Err(transport_quic::Error::Join(failed)) = b.join(&[a.local_addr().to_string()]).await else {
            return false;
        };
        matches!(&failed[0].why, JoinErrorKind::Refused { why, .. }
            if why.starts_with("the peer does not let this node's key in"))
    })
    .await;

    std::fs::write(&list, format!("{key_a} a\n{key_b} b\n")).unwrap();
    assert!(credentials.reload().unwrap());
    until("b is back", async || alive(&a).await == 2 && alive(&b).await == 2).await;
    a.shutdown().await;
    b.shutdown().await;
}

async fn an_authority_can_be_changed_while_nodes_run() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (old, new) = (Authority::new("old").unwrap(), Authority::new("new").unwrap());
    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    std::fs::write(file("authority.pem"), old.certificate_pem()).unwrap();
    let mut nodes = Vec::new();
    let mut credentials = Vec::new();
    for name in ["a", "b"] {
        old.issue(name).unwrap().save(&file(name)).unwrap();
        let trusted = transport_quic::Authorities::file(file("authority.pem")).unwrap();
        credentials.push(Credentials::from_files(file(name), file(name), trusted).unwrap());
        nodes.push(node(name, credentials.last().unwrap().clone()).await);
    }
    nodes[1].join(&[nodes[0].local_addr().to_string()]).await.unwrap();
    until("both see both", async || alive(&nodes[0]).await == 2 && alive(&nodes[1]).await == 2).await;

    // First everybody trusts both; then somebody with a certificate of the new one is let in.
    std::fs::write(file("authority.pem"), both.as_bytes()).unwrap();
    for credentials in &credentials {
        assert!(credentials.reload().unwrap());
    }
    let trusts_both = transport_quic::Authorities::from_pem(both.as_bytes()).unwrap();
    let c = node("c", Credentials::new(new.issue("c").unwrap(), trusts_both)).await;
    c.join(&[nodes[0].local_addr().to_string()]).await.unwrap();
    nodes.push(c);
    for _ in 0..10 {
        pause(200).await;
        for node in &nodes[..2] {
            assert!(status_of(node, "a").await != Some(Status::Failed), "the change costs a member");
            assert!(status_of(node, "b").await != Some(Status::Failed), "the change costs a member");
        }
    }
    for node in &nodes {
        until("all three", async || alive(node).await == 3).await;
    }

    // Files that make no sense change nothing.
    std::fs::write(file("authority.pem"), "nonsense").unwrap();
    credentials[0].reload().unwrap_err();
    pause(Duration::from_secs(2).as_millis() as u64).await;
    assert_eq!(alive(&nodes[0]).await, 3);
    for node in nodes {
        node.shutdown().await;
    }
}

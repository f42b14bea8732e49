//! Nodes on loopback sockets.

mod common;

use common::*;
use transport_quic::{Allowed, Authority, Cluster, Credentials, Identity, Node, Notice, Status};

on_each_runtime! {
    two_nodes_meet
    ten_nodes_join_tell_lose_and_find_each_other
    self_made_certificates_of_listed_keys_meet
}

async fn two_nodes_meet() {
    let authority = Authority::new("test").unwrap();
    let one = node("one", member(&authority, "one")).await;
    let two = node("two", member(&authority, "two")).await;
    let report = two.join(&[one.local_addr().to_string()]).await.unwrap();
    assert_eq!(report.contacted, 1);
    until("both see both", async || alive(&one).await == 2 && alive(&two).await == 2).await;
    let rtt = two.ping(&"one".into()).await.unwrap();
    assert!(rtt.is_some(), "one answers");
    let tags = one.members().await;
    let tag = |name: &str| {
        let member = tags.iter().find(|member| member.name.as_bytes() == name.as_bytes()).unwrap();
        member.tags.iter().find(|(tag, _)| tag == "fingerprint").map(|(_, value)| value.clone())
    };
    assert!(tag("one").is_some() && tag("two").is_some() && tag("one") != tag("two"));
    // Fixed tags of the application's stay beside it.
    assert!(one.local().await.tag("zone").is_some());
    two.leave().await.unwrap();
    until("two has left", async || status_of(&one, "two").await == Some(Status::Left)).await;
    two.shutdown().await;
    one.shutdown().await;
}

async fn ten_nodes_join_tell_lose_and_find_each_other() {
    let authority = Authority::new("test").unwrap();
    let mut nodes: Vec<Cluster<Node>> = Vec::new();
    for number in 0..10 {
        let name = format!("node-{number}");
        nodes.push(node(&name, member(&authority, &name)).await);
    }
    let seed = nodes[0].local_addr().to_string();
    for node in &nodes[1..] {
        node.join(&[&seed]).await.unwrap();
    }
    for node in &nodes {
        until("ten members", async || alive(node).await == 10).await;
    }

    let mut news = Vec::new();
    for node in &nodes {
        news.push(node.subscribe().await);
    }
    nodes[3].user_event("deploy", "v42", false).await.unwrap();
    for subscription in &mut news {
        notice(subscription, "the event", |notice| {
            matches!(&notice, Notice::UserEvent { name, .. } if **name == *b"deploy").then_some(())
        })
        .await;
    }

    let killed = nodes.pop().unwrap();
    let addr = killed.local_addr();
    killed.shutdown().await;
    for node in &nodes {
        until("the killed one has failed", async || status_of(node, "node-9").await == Some(Status::Failed))
            .await;
        assert_eq!(alive(node).await, 9, "nobody else has");
    }

    // Another life on the same port, and with the same address.
    let back = node_at(addr, "node-9", member(&authority, "node-9")).await;
    back.join(&[&seed]).await.unwrap();
    nodes.push(back);
    for node in &nodes {
        until("ten members again", async || alive(node).await == 10).await;
    }
    for node in nodes {
        node.shutdown().await;
    }
}

async fn self_made_certificates_of_listed_keys_meet() {
    let (a, b) = (Identity::self_made("a").unwrap(), Identity::self_made("b").unwrap());
    let list = Allowed::list([a.fingerprint(), b.fingerprint()]).unwrap();
    let a = node("a", Credentials::new(a, list.clone())).await;
    let b = node("b", Credentials::new(b, list)).await;
    a.join(&[b.local_addr().to_string()]).await.unwrap();
    until("both see both", async || alive(&a).await == 2 && alive(&b).await == 2).await;
    a.shutdown().await;
    b.shutdown().await;
}

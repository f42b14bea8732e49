//! A node inside of an application: joins a cluster, fires an event, and reports what it hears.
use transport_tokio::{Bind, Config, Notice, ServiceConfig, start_node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    let node =
        start_node(Bind::default(), |advertise| (Config::lan("web-1", advertise), ServiceConfig::default()))
            .await?;
    // Before joining, which brings members and events.
    let mut news = node.subscribe().await;
    // One that can be reached is enough; the error says of each why not.
    node.join(&["10.0.0.7", "seed.example.org:7946"]).await?;
    node.user_event("deploy", "v42", true).await?;

    while let Some(notice) = news.recv().await {
        match notice {
            Notice::Change { member, kind, cause } => println!("{} {kind:?}, because {cause:?}", member.name),
            Notice::UserEvent { name, payload, .. } => println!("event {name:?}: {payload:?}"),
            _ => {}
        }
    }
    // Nobody stopped it: its name went to another node, or its sockets broke.
    Err(node.closed().await.to_string().into())
}

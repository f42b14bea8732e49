//! A member of a Consul data centre's LAN pool. See docs/consul.md.
use transport_tokio::gossip_driver::parse_key;
use transport_tokio::gossip_proto::ConsulClient;
use transport_tokio::gossip_proto::wire::keyring::Keyring;
use transport_tokio::{Bind, Config, Notice, start_node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn core::error::Error>> {
    // The id stays the same over restarts: keep it in a file, as Consul keeps its in `node-id`.
    let mut consul = ConsulClient::new("dc1", "40e4a748-2192-161a-0510-9bf59fe950b5");
    consul.build("1.19.2");
    let bind: core::net::SocketAddr = "10.0.0.1:8301".parse()?;
    let (mut config, services) = Config::consul_client("edge-1", bind, &consul)?;
    // What Consul calls `encrypt`. Without it the pool is open.
    let key = std::fs::read_to_string("gossip.key")?;
    config.keyring(Some(Keyring::new(parse_key(key.trim())?, [])?));
    let mut bind = Bind::from(bind);
    // The keys as they are rotated; once the file is there, it counts.
    bind.options.keyring_file = Some("keyring.json".into());

    let node = start_node(bind, |_| (config, services)).await?;
    let mut news = node.subscribe().await;
    node.join(&["consul-server-1:8301"]).await?;
    while let Some(notice) = news.recv().await {
        if let Notice::Change { member, kind, .. } = notice {
            println!("{} {kind:?}", member.name);
        }
    }
    Err(node.closed().await.to_string().into())
}

//! From the settings to a node, and what is told when it runs.

use core::net::SocketAddr;

use serde_json::{Map, Value, json};
use transport_tokio::gossip_proto::config::Admission;
use transport_tokio::{Cluster, Config, Node, ServiceConfig, Subscription};

use crate::config::{Profile, Settings};
use crate::{events, tags};

/// The configuration of the node.
pub(crate) fn configs(settings: &Settings, advertise: SocketAddr) -> (Config, ServiceConfig) {
    let name = settings.node_name.as_str();
    let mut config = match settings.profile {
        Profile::Lan => Config::lan(name, advertise),
        Profile::Wan => Config::wan(name, advertise),
        Profile::Local => Config::local(name, advertise),
    };
    config.label(settings.label.clone()).keyring(settings.keyring.clone()).compression(settings.compression);
    if let Some(limit) = settings.broadcast_timeout {
        config.broadcast_timeout(limit);
    }
    if settings.validate_node_names {
        config.admission(vec![Admission::PlainName]);
    }
    let mut services = ServiceConfig::default();
    services
        .tags(tags::wire(&settings.tags))
        .serf_protocol(settings.protocol)
        .coordinates(!settings.disable_coordinates)
        .name_conflict_resolution(!settings.disable_name_resolution);
    if let Some(limit) = settings.user_event_size_limit {
        services.user_event_size_limit(limit);
    }
    if let Some(limit) = settings.query_size_limit {
        services.query_size_limit(limit);
    }
    if let Some(limit) = settings.query_response_size_limit {
        services.query_response_size_limit(limit);
    }
    if let Some(interval) = settings.reconnect_interval {
        services.reconnect_interval(interval);
    }
    if let Some(limit) = settings.reconnect_timeout {
        services.reconnect_timeout(limit);
    }
    if let Some(limit) = settings.tombstone_timeout {
        services.tombstone_timeout(limit);
    }
    (config, services)
}

/// The first line of `--events json`.
pub(crate) async fn ready(
    settings: &Settings,
    cluster: &Cluster<Node>,
    news: &Subscription,
) -> Map<String, Value> {
    let mut object = events::line("ready", json!({ "name": settings.node_name }));
    object.insert("addr".into(), cluster.local().await.addr.to_string().into());
    object.insert("bind".into(), cluster.local_addr().to_string().into());
    object.insert("encrypted".into(), settings.keyring.is_some().into());
    if settings.tls.is_some() {
        object.insert("tls".into(), true.into());
    }
    object.insert("members".into(), events::members(&news.members));
    object
}

/// What Serf prints.
pub(crate) async fn banner(settings: &Settings, cluster: &Cluster<Node>, rpc: Option<SocketAddr>) -> String {
    let rpc = rpc.map(|rpc| format!("      RPC addr: '{rpc}'\n")).unwrap_or_default();
    let tls = if settings.tls.is_some() { "           TLS: streams\n" } else { "" };
    format!(
        "==> Gossip agent running!\n     Node name: '{}'\n     Bind addr: '{}'\nAdvertise addr: '{}'\n{rpc}     \
         Encrypted: {}\n{tls}       Profile: {}\n\n==> Log data will now stream in as it occurs:\n\n",
        settings.node_name,
        cluster.local_addr(),
        cluster.local().await.addr,
        settings.keyring.is_some(),
        settings.profile.as_str()
    )
}

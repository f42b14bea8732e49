//! From the settings to a node, and what is told when it runs.

use core::fmt::Display;
use core::net::SocketAddr;

use serde_json::{Map, Value, json};
use transport_tokio::gossip_proto::config::Admission;
use transport_tokio::{
    Bind, Cluster, Config, Node, Options, RecordingOptions, ServiceConfig, Subscription, start_node,
};

use crate::cli::AgentArgs;
use crate::config::{Problem, Profile, Settings, Transport};
use crate::{events, tags};

/// Starts the node.
pub(crate) async fn cluster(arguments: &AgentArgs, settings: &Settings) -> Result<Cluster<Node>, Problem> {
    let options = Options {
        keyring_file: settings.keyring_file.clone(),
        snapshot: settings.snapshot.clone(),
        recording: arguments.record.as_ref().map(|path| {
            RecordingOptions::new(path, arguments.record_limit.unwrap_or(RecordingOptions::DEFAULT_LIMIT))
        }),
        ..Options::default()
    };
    let configure = |advertise| configs(settings, advertise);
    let problem = |error: &dyn Display| Problem::new(error.to_string());
    match (settings.transport, &settings.tls) {
        (Transport::Quic, Some(tls)) => {
            let mut bind = transport_quic::Bind::at(settings.bind, tls.credentials());
            (bind.advertise, bind.options) = (settings.advertise, options);
            transport_quic::start_node(bind, configure).await.map_err(|error| problem(&error))
        }
        (_, tls) => {
            let mut bind = Bind::from(settings.bind);
            (bind.advertise, bind.options) = (settings.advertise, options);
            let tls = tls.as_ref().map(|tls| tls.transport(&settings.label)).transpose();
            bind.tls = tls.map_err(|error| problem(&error).within("tls_cert (--tls-cert)"))?;
            start_node(bind, configure).await.map_err(|error| problem(&error))
        }
    }
}

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
    match settings.transport {
        Transport::Quic => drop(object.insert("transport".into(), "quic".into())),
        Transport::Udp if settings.tls.is_some() => drop(object.insert("tls".into(), true.into())),
        Transport::Udp => {}
    }
    object.insert("members".into(), events::members(&news.members));
    object
}

/// What Serf prints.
pub(crate) async fn banner(settings: &Settings, cluster: &Cluster<Node>, rpc: Option<SocketAddr>) -> String {
    let rpc = rpc.map(|rpc| format!("      RPC addr: '{rpc}'\n")).unwrap_or_default();
    let tls = match settings.transport {
        Transport::Quic => "     Transport: QUIC\n",
        Transport::Udp if settings.tls.is_some() => "           TLS: streams\n",
        Transport::Udp => "",
    };
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

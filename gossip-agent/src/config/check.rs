//! From what the sources said to what can be run: all that can be known to be wrong before a socket is opened.

use core::net::SocketAddr;
use core::time::Duration;
use std::path::{Path, PathBuf};

use gethostname::gethostname;
use transport_tokio::SnapshotOptions;
use transport_tokio::gossip_proto::Bytes;
use transport_tokio::gossip_proto::config::{
    MAX_LABEL, MAX_METADATA, MAX_NAME, SERF_PROTOCOLS, is_plain_name,
};
use transport_tokio::gossip_proto::wire::keyring::Keyring;
use transport_tokio::gossip_proto::wire::layers::Compression;
use transport_tokio::gossip_proto::wire::serf::encode_tags;

use super::{Layer, Problem, Profile, Settings, Transport, address, interface, keyring, tls};
use crate::handlers::Spec;
use crate::log::Level;
use crate::mdns::{Discovery, Service};
use crate::tags::{self, TagMap};

impl Settings {
    /// Fills in defaults and refuses what cannot work.
    pub(crate) fn from_layer(layer: Layer) -> Result<Self, Problem> {
        let mut warnings = layer.warnings;
        let node_name = node_name(layer.node_name)?;
        if layer.validate_node_names && !is_plain_name(node_name.as_bytes()) {
            return Err(Problem::new(format!(
                "the node name {node_name:?} is not a plain one, which validate_node_names asks for: give one of \
                 letters, digits, hyphens and dots, of at most 128 bytes, with --node"
            )));
        }
        let configured_tags = configured_tags(layer.tags, layer.role, &mut warnings)?;
        let tags_file = layer.tags_file.map(PathBuf::from);
        let tags = match &tags_file {
            Some(path) => stored_tags(path, &configured_tags)?,
            None => configured_tags.clone(),
        };
        let bind_text = layer.bind.unwrap_or_else(|| "0.0.0.0".into());
        let mut bind = address::parse("bind", &bind_text, DEFAULT_PORT)?;
        if let Some(name) = &layer.interface {
            bind = interface::bind(name, bind)?;
        }
        let discovery = discovery(
            layer.discover,
            layer.mdns_interface.or(layer.interface),
            [!layer.mdns_disable_ipv4, !layer.mdns_disable_ipv6],
        )?;
        let advertise = advertise(layer.advertise.as_deref(), bind.port(), &mut warnings)?;
        let keyring_file = layer.keyring_file.as_ref().map(PathBuf::from);
        let keyring = keys(layer.encrypt_key, layer.keyring_file)?;
        let tls = tls::read(layer.tls_cert, layer.tls_key, layer.tls_ca)?;
        let transport = transport(layer.transport.as_deref(), tls.is_some())?;
        if let (Transport::Quic, Some(tls)) = (transport, &tls) {
            tls.check_tags(&tags).map_err(|problem| match &tags_file {
                Some(path) => problem.within(format!("tags_file (--tags-file) {}", path.display())),
                None => problem.within("tags (--tag)"),
            })?;
        }
        if transport == Transport::Udp && tls.is_some() && keyring.is_none() {
            warnings.push(
                "TLS protects streams only: datagrams, with all probes and events, can be read and forged by anybody; set \
                 encrypt_key (--encrypt) or keyring_file (--keyring-file) too"
                    .into(),
            );
        }
        let label = label(layer.label)?;
        let protocol = protocol(layer.protocol)?;
        let rpc_addr = rpc_addr(layer.rpc_addr.as_deref())?;
        let rpc_auth = layer.rpc_auth.filter(|secret| !secret.is_empty());
        if let Some(addr) = rpc_addr.filter(|addr| !addr.ip().is_loopback() && rpc_auth.is_none()) {
            warnings.push(format!(
                "rpc_addr {addr} can be reached from elsewhere, and whoever connects to it controls this agent: set \
                 rpc_auth, or use 127.0.0.1"
            ));
        }
        targets("start_join (--join)", &layer.start_join)?;
        targets("retry_join (--retry-join)", &layer.retry_join)?;
        let user_event_size_limit = layer.user_event_size_limit;
        if let Some(limit) = user_event_size_limit
            && limit > MAX_USER_EVENT
        {
            return Err(Problem::new(format!(
                "user_event_size_limit {limit}: at most {MAX_USER_EVENT} bytes can be sent; give a smaller one"
            )));
        }
        Ok(Self {
            node_name,
            bind,
            advertise,
            tags,
            configured_tags,
            tags_file,
            keyring,
            keyring_file,
            transport,
            tls,
            snapshot: layer.snapshot_path.map(|path| SnapshotOptions {
                path: path.into(),
                rejoin_after_leave: layer.rejoin_after_leave,
            }),
            label,
            profile: profile(layer.profile.as_deref())?,
            protocol,
            compression: compression(layer.compression.as_deref())?,
            discovery,
            metrics_addr: layer
                .metrics_addr
                .map(|text| address::parse("metrics_addr (--metrics)", &text, METRICS_PORT))
                .transpose()?,
            log_level: log_level(layer.log_level.as_deref())?,
            rpc_addr,
            rpc_auth,
            start_join: layer.start_join,
            retry_join: layer.retry_join,
            retry_interval: at_least_a_second("retry_interval", layer.retry_interval, &mut warnings)
                .unwrap_or(Duration::from_secs(30)),
            retry_max: layer.retry_max_attempts.unwrap_or(0),
            replay_on_join: layer.replay_on_join,
            leave_on_terminate: layer.leave_on_terminate,
            skip_leave_on_interrupt: layer.skip_leave_on_interrupt,
            disable_coordinates: layer.disable_coordinates,
            validate_node_names: layer.validate_node_names,
            user_event_size_limit,
            query_size_limit: layer.query_size_limit,
            query_response_size_limit: layer.query_response_size_limit,
            disable_name_resolution: layer.disable_name_resolution,
            broadcast_timeout: at_least_a_second("broadcast_timeout", layer.broadcast_timeout, &mut warnings),
            reconnect_interval: layer.reconnect_interval,
            reconnect_timeout: layer.reconnect_timeout,
            tombstone_timeout: layer.tombstone_timeout,
            event_handlers: event_handlers(&layer.event_handlers)?,
            event_handler_timeout: handler_timeout(layer.event_handler_timeout)?,
            warnings,
        })
    }
}

/// What a set of tags takes on the wire (serf.md 1.2), or the error that says it is too much.
pub(crate) fn check_tags(tags: &TagMap) -> Result<(), Problem> {
    if let Some(value) = tags.get("") {
        return Err(Problem::new(format!("tag \"={value}\": the key is empty; write key=value")));
    }
    let mut encoded = Vec::new();
    // A vector takes everything.
    let _ = encode_tags(&mut encoded, tags.iter());
    if encoded.len() > MAX_METADATA {
        let longest =
            tags.iter().max_by_key(|(key, value)| key.len() + value.len()).map_or("", |(key, _)| key);
        return Err(Problem::new(format!(
            "the tags take {} bytes encoded, and at most {MAX_METADATA} can be sent; use fewer or shorter ones \
             (the longest is `{longest}`)",
            encoded.len()
        )));
    }
    Ok(())
}

fn node_name(given: Option<String>) -> Result<String, Problem> {
    let name = match given {
        Some(name) => name,
        None => gethostname().to_string_lossy().into_owned(),
    };
    if name.is_empty() {
        return Err(Problem::new(
            "the node name is empty, and the host has none either; give one with --node",
        ));
    }
    if name.len() > MAX_NAME {
        let start: String = name.chars().take(32).collect();
        return Err(Problem::new(format!(
            "the node name \"{start}...\" has {} bytes; at most {MAX_NAME} are possible, give a shorter one with --node",
            name.len()
        )));
    }
    Ok(name)
}

fn configured_tags(
    mut tags: TagMap,
    role: Option<String>,
    warnings: &mut Vec<String>,
) -> Result<TagMap, Problem> {
    if let Some(role) = role {
        warnings.push(format!("`role` is deprecated; write --tag role={role} instead"));
        tags.insert("role".into(), role);
    }
    check_tags(&tags)?;
    Ok(tags)
}

/// The tags of the file. It is the only source then: two would contradict each other (serf.md 9.2).
fn stored_tags(path: &Path, configured: &TagMap) -> Result<TagMap, Problem> {
    let option = "tags_file (--tags-file)";
    if !configured.is_empty() {
        return Err(Problem::new(format!(
            "{option} {} and tags (--tag, --role) are both given; give one of them: the file holds all tags",
            path.display()
        )));
    }
    Ok(tags::load(path).map_err(|problem| problem.within(option))?.unwrap_or_default())
}

/// `families`: whether IPv4 and IPv6 are used.
fn discovery(
    given: Option<String>,
    interface: Option<String>,
    families: [bool; 2],
) -> Result<Option<Discovery>, Problem> {
    let Some(name) = given else { return Ok(None) };
    let problem = |why: &str| Problem::new(format!("discover (--discover) {name:?}: {why}"));
    let service = Service::new(&name).map_err(|why| problem(&why))?;
    let [ipv4, ipv6] = families;
    if !ipv4 && !ipv6 {
        return Err(problem("--mdns-disable-ipv4 and --mdns-disable-ipv6 leave nothing; give one of them"));
    }
    Ok(Some(Discovery { service, interface, ipv4, ipv6 }))
}

fn event_handlers(given: &[String]) -> Result<Vec<Spec>, Problem> {
    given
        .iter()
        .map(|text| {
            Spec::parse(text)
                .map_err(|why| Problem::new(format!("event_handlers (--event-handler) {text:?}: {why}")))
        })
        .collect()
}

fn handler_timeout(given: Option<Duration>) -> Result<Duration, Problem> {
    match given {
        Some(Duration::ZERO) => Err(Problem::new(
            "event_handler_timeout (--event-handler-timeout) 0s leaves scripts no time; give one such as 5m, or leave the \
             option out",
        )),
        given => Ok(given.unwrap_or(HANDLER_TIMEOUT)),
    }
}

fn advertise(
    given: Option<&str>,
    bound_port: u16,
    warnings: &mut Vec<String>,
) -> Result<Option<SocketAddr>, Problem> {
    let Some(text) = given else { return Ok(None) };
    let addr = address::parse("advertise", text, DEFAULT_PORT)?;
    if addr.ip().to_canonical().is_unspecified() {
        return Err(Problem::new(format!(
            "advertise {text:?}: nobody can reach a wildcard; give the address that other nodes reach this one at"
        )));
    }
    // As in Serf, the port that is not written is 7946 and not the one of `bind`: behind a port mapping that is meant,
    // elsewhere it is a mistake.
    if bound_port != 0 && addr.port() != bound_port && addr.port() == DEFAULT_PORT {
        warnings.push(format!(
            "advertise {text:?} tells others port {DEFAULT_PORT}, and bind uses port {bound_port}; write the port too \
             unless it is mapped"
        ));
    }
    Ok(Some(addr))
}

fn keys(encrypt: Option<String>, file: Option<String>) -> Result<Option<Keyring>, Problem> {
    match (encrypt, file) {
        (Some(_), Some(file)) => Err(Problem::new(format!(
            "encrypt_key (--encrypt) and keyring_file (--keyring-file) {file} are both given; give one of them: a \
             single key, or a file that holds all keys"
        ))),
        (Some(key), None) => {
            let key =
                keyring::parse_key(&key).map_err(|problem| problem.within("encrypt_key (--encrypt)"))?;
            let ring = Keyring::new(key, []).map_err(|error| Problem::new(error.to_string()))?;
            Ok(Some(ring))
        }
        (None, Some(file)) => keyring::read_file(&file)
            .map(Some)
            .map_err(|problem| problem.within("keyring_file (--keyring-file)")),
        (None, None) => Ok(None),
    }
}

fn label(given: Option<String>) -> Result<Bytes, Problem> {
    let label = given.unwrap_or_default();
    if label.len() > MAX_LABEL {
        let start: String = label.chars().take(32).collect();
        return Err(Problem::new(format!(
            "label (--label) \"{start}...\" has {} bytes; at most {MAX_LABEL} are allowed, give a shorter one",
            label.len()
        )));
    }
    Ok(label.into())
}

fn protocol(given: Option<u8>) -> Result<u8, Problem> {
    let (min, max) = SERF_PROTOCOLS;
    let protocol = given.unwrap_or(max);
    if !(min..=max).contains(&protocol) {
        return Err(Problem::new(format!(
            "protocol (--protocol) {protocol} is not spoken by this version; give one from {min} to {max}"
        )));
    }
    Ok(protocol)
}

fn transport(given: Option<&str>, certificates: bool) -> Result<Transport, Problem> {
    match given.unwrap_or("udp") {
        "udp" => Ok(Transport::Udp),
        "quic" if certificates => Ok(Transport::Quic),
        "quic" => Err(Problem::new(
            "transport (--transport) quic has no mode without certificates; give tls_cert (--tls-cert), tls_key (--tls-key) \
             and tls_ca (--tls-ca)",
        )),
        other => {
            Err(Problem::new(format!("transport (--transport) {other:?} is unknown; give one of udp, quic")))
        }
    }
}

fn profile(given: Option<&str>) -> Result<Profile, Problem> {
    match given.unwrap_or("lan") {
        "lan" => Ok(Profile::Lan),
        "wan" => Ok(Profile::Wan),
        "local" => Ok(Profile::Local),
        other => Err(Problem::new(format!(
            "profile (--profile) {other:?} is unknown; give one of lan, wan, local"
        ))),
    }
}

fn compression(given: Option<&str>) -> Result<Compression, Problem> {
    match given.unwrap_or("streams") {
        "off" => Ok(Compression::Off),
        "streams" => Ok(Compression::Streams),
        "all" => Ok(Compression::All),
        other => Err(Problem::new(format!(
            "compression (--compression) {other:?} is unknown; give one of off, streams, all"
        ))),
    }
}

fn log_level(given: Option<&str>) -> Result<Level, Problem> {
    let text = given.unwrap_or("INFO");
    Level::parse(text).ok_or_else(|| {
        Problem::new(format!(
            "log_level (--log-level) {text:?} is unknown; give one of {}",
            Level::NAMES.join(", ")
        ))
    })
}

fn rpc_addr(given: Option<&str>) -> Result<Option<SocketAddr>, Problem> {
    match given.unwrap_or("127.0.0.1") {
        "off" => Ok(None),
        text => address::parse("rpc_addr (--rpc-addr)", text, RPC_PORT).map(Some),
    }
}

fn targets(option: &str, targets: &[String]) -> Result<(), Problem> {
    for target in targets {
        transport_tokio::gossip_driver::Target::parse(target, DEFAULT_PORT)
            .map_err(|error| Problem::new(error.to_string()).within(option))?;
    }
    Ok(())
}

fn at_least_a_second(option: &str, given: Option<Duration>, warnings: &mut Vec<String>) -> Option<Duration> {
    let least = Duration::from_secs(1);
    let given = given?;
    if given < least {
        warnings.push(format!("{option} {given:?} is too short; {least:?} is used"));
    }
    Some(given.max(least))
}

/// Port where none is written (serf.md 9.2).
const DEFAULT_PORT: u16 = 7946;
pub(crate) const RPC_PORT: u16 = 7373;
/// Away from the ports next to Serf's, which further agents on a host use.
const METRICS_PORT: u16 = 9373;
/// Serf lets scripts run for ever; one that does never hears of another event.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(300);
/// Serf's ceiling of user events (serf.md 3.11).
const MAX_USER_EVENT: usize = 9216;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Layer)) -> Result<Settings, Problem> {
        let mut layer = Layer { node_name: Some("n".into()), ..Layer::default() };
        change(&mut layer);
        Settings::from_layer(layer)
    }

    fn error(change: impl FnOnce(&mut Layer)) -> String {
        settings(change).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_serfs() {
        let settings = settings(|_| ()).unwrap();
        assert_eq!(settings.bind, "0.0.0.0:7946".parse().unwrap());
        assert_eq!(settings.profile, Profile::Lan);
        assert_eq!(settings.protocol, 5);
        assert_eq!(settings.retry_interval, Duration::from_secs(30));
        assert_eq!(settings.log_level, Level::Info);
        assert_eq!(settings.rpc_addr, Some("127.0.0.1:7373".parse().unwrap()));
        assert!(settings.keyring.is_none() && settings.advertise.is_none() && settings.warnings.is_empty());
    }

    #[test]
    fn plain_names_can_be_asked_for() {
        let named = |name: &str| {
            settings(|layer| (layer.node_name, layer.validate_node_names) = (Some(name.into()), true))
        };
        assert!(named("web-1.example").is_ok());
        let text = named("web_1").unwrap_err().to_string();
        assert!(text.contains("\"web_1\"") && text.contains("validate_node_names"), "{text}");
    }

    #[test]
    fn the_host_name_stands_in() {
        let settings = Settings::from_layer(Layer::default()).unwrap();
        assert_eq!(settings.node_name, gethostname().to_string_lossy());
    }

    #[test]
    fn role_becomes_a_tag_with_a_warning() {
        let settings = settings(|layer| layer.role = Some("web".into())).unwrap();
        assert_eq!(settings.tags["role"], "web");
        assert!(settings.warnings[0].contains("--tag role=web"));
    }

    #[test]
    fn the_boundaries_hold() {
        // 1 byte of prefix, 1 of map, 2 for the key, 3 for the length of the value: 505 remain.
        settings(|layer| layer.tags = [("k".into(), "v".repeat(505))].into()).unwrap();
        let text = error(|layer| layer.tags = [("k".into(), "v".repeat(506))].into());
        assert!(text.contains("513 bytes") && text.contains("512") && text.contains("`k`"), "{text}");
        settings(|layer| layer.label = Some("l".repeat(255))).unwrap();
        let text = error(|layer| layer.label = Some("l".repeat(256)));
        assert!(text.contains("256 bytes") && text.contains("255"), "{text}");
        settings(|layer| layer.node_name = Some("n".repeat(512))).unwrap();
        let text = error(|layer| layer.node_name = Some("n".repeat(513)));
        assert!(text.contains("513 bytes") && text.contains("--node"), "{text}");
        settings(|layer| layer.user_event_size_limit = Some(9216)).unwrap();
        assert!(error(|layer| layer.user_event_size_limit = Some(9217)).contains("9217"));
    }

    #[test]
    fn values_out_of_range_are_named_with_the_remedy() {
        for (text, parts) in [
            (error(|l| l.protocol = Some(6)), ["protocol (--protocol) 6", "2 to 5"]),
            (error(|l| l.protocol = Some(1)), ["protocol (--protocol) 1", "2 to 5"]),
            (error(|l| l.profile = Some("LAN".into())), ["\"LAN\"", "lan, wan, local"]),
            (error(|l| l.transport = Some("tcp".into())), ["\"tcp\"", "udp, quic"]),
            (error(|l| l.transport = Some("quic".into())), ["certificates", "--tls-cert"]),
            (error(|l| l.compression = Some("lzw".into())), ["\"lzw\"", "off, streams, all"]),
            (error(|l| l.log_level = Some("loud".into())), ["\"loud\"", "TRACE, DEBUG, INFO, WARN, ERR"]),
            (error(|l| l.encrypt_key = Some("c2hvcnQ=".into())), ["5 bytes", "gossip keygen"]),
            (error(|l| l.encrypt_key = Some("?".into())), ["not base64", "gossip keygen"]),
            (error(|l| l.keyring_file = Some("/no/such".into())), ["/no/such", "JSON array"]),
            (error(|l| l.advertise = Some("0.0.0.0".into())), ["\"0.0.0.0\"", "wildcard"]),
            (error(|l| l.advertise = Some("[::ffff:0.0.0.0]".into())), ["[::ffff:0.0.0.0]", "wildcard"]),
            (error(|l| l.start_join = vec!["a:b:c".into()]), ["start_join", "\"a:b:c\""]),
            (error(|l| l.tags = [(String::new(), "x".into())].into()), ["\"=x\"", "key=value"]),
        ] {
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }

    // upstream: TestAgent_KeyringFile_BadOptions
    #[test]
    fn one_source_of_keys_only() {
        let text = error(|layer| {
            layer.encrypt_key = Some("AAAAAAAAAAAAAAAAAAAAAA==".into());
            layer.keyring_file = Some("ring.json".into());
        });
        assert!(
            text.contains("--encrypt") && text.contains("ring.json") && text.contains("give one of them")
        );
        assert!(!text.contains("AAAA"), "a key is never shown: {text}");
    }

    #[test]
    fn the_rpc_can_be_elsewhere_or_nowhere_and_in_the_open_only_with_a_warning() {
        let rpc = |addr: &str, auth: &str| {
            settings(|layer| {
                layer.rpc_addr = Some(addr.into());
                layer.rpc_auth = Some(auth.into());
            })
            .unwrap()
        };
        assert_eq!(rpc("off", "").rpc_addr, None);
        assert_eq!(rpc("127.0.0.2:80", "").rpc_addr, Some("127.0.0.2:80".parse().unwrap()));
        assert_eq!(rpc("127.0.0.2", "").rpc_auth, None);
        let open = rpc("0.0.0.0:7373", "");
        assert!(open.warnings[0].contains("rpc_auth"), "{:?}", open.warnings);
        let guarded = rpc("0.0.0.0:7373", "s3cret");
        assert!(guarded.warnings.is_empty() && guarded.rpc_auth.as_deref() == Some("s3cret"));
        assert!(error(|l| l.rpc_addr = Some("a:b:c".into())).contains("rpc_addr (--rpc-addr) \"a:b:c\""));
    }

    #[test]
    fn intervals_below_a_second_are_raised() {
        let settings = settings(|layer| layer.retry_interval = Some(Duration::from_millis(10))).unwrap();
        assert_eq!(settings.retry_interval, Duration::from_secs(1));
        assert!(settings.warnings[0].contains("10ms"));
    }

    #[test]
    fn a_port_that_was_forgotten_is_warned_about() {
        let changed = |bind: &str, advertise: &str| {
            settings(|layer| {
                layer.bind = Some(bind.into());
                layer.advertise = Some(advertise.into());
            })
            .unwrap()
        };
        let settings = changed("127.0.0.1:7000", "10.0.0.1");
        assert_eq!(settings.advertise, Some("10.0.0.1:7946".parse().unwrap()));
        assert!(settings.warnings[0].contains("7000"));
        assert!(changed("127.0.0.1:7000", "10.0.0.1:7000").warnings.is_empty());
    }
}

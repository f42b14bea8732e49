//! Configuration files: JSON with Serf's keys, matched without regard to case; a key that is nobody's is an error.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::unsupported::{self, Verdict};
use super::{Layer, Problem, parse_duration};

/// Reads files in their order, one over the other. A directory stands for its `.json` files, sorted by name.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Layer, Problem> {
    let mut merged = Layer::default();
    for path in paths {
        if path.is_dir() {
            for file in files_of(path)? {
                merged.merge(read_one(&file)?);
            }
        } else {
            merged.merge(read_one(path)?);
        }
    }
    Ok(merged)
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error| {
        Problem::new(format!("cannot read the configuration directory {}: {error}", directory.display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_one(path: &Path) -> Result<Layer, Problem> {
    let place = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| {
        Problem::new(format!("cannot read the configuration file {place}: {error}; check --config-file"))
    })?;
    parse(&text).map_err(|problem| problem.within(&place)).map(|mut layer| {
        layer.warnings.iter_mut().for_each(|warning| *warning = format!("{place}: {warning}"));
        layer
    })
}

/// Reads the text of one file.
pub(crate) fn parse(text: &str) -> Result<Layer, Problem> {
    let root: Value =
        serde_json::from_str(text).map_err(|error| Problem::new(format!("not valid JSON: {error}")))?;
    let Value::Object(fields) = root else {
        return Err(Problem::new("the configuration must be one JSON object, { \"key\": value, ... }"));
    };
    let mut layer = Layer::default();
    let mut seen = BTreeSet::new();
    for (key, value) in fields {
        let name = key.to_ascii_lowercase();
        set(&mut layer, &name, &value).map_err(|problem| problem.within(format_args!("key `{key}`")))?;
        if !seen.insert(name) {
            return Err(Problem::new(format!("key `{key}` is there twice; keys differ by more than case")));
        }
    }
    Ok(layer)
}

fn set(layer: &mut Layer, name: &str, value: &Value) -> Result<(), Problem> {
    match name {
        "node_name" => layer.node_name = Some(string(value)?),
        "role" => layer.role = Some(string(value)?),
        "bind" => layer.bind = Some(string(value)?),
        "advertise" => layer.advertise = Some(string(value)?),
        "encrypt_key" => layer.encrypt_key = Some(string(value)?),
        "keyring_file" => layer.keyring_file = Some(string(value)?),
        "transport" => layer.transport = Some(string(value)?),
        "tls_cert" => layer.tls_cert = Some(string(value)?),
        "tls_key" => layer.tls_key = Some(string(value)?),
        "tls_ca" => layer.tls_ca = Some(string(value)?),
        "tags_file" => layer.tags_file = Some(string(value)?),
        "snapshot_path" => layer.snapshot_path = Some(string(value)?),
        "rejoin_after_leave" => layer.rejoin_after_leave = boolean(value)?,
        "label" => layer.label = Some(string(value)?),
        "log_level" => layer.log_level = Some(string(value)?),
        "rpc_addr" => layer.rpc_addr = Some(string(value)?),
        "rpc_auth" => layer.rpc_auth = Some(string(value)?),
        "interface" => layer.interface = Some(string(value)?),
        "discover" => layer.discover = Some(string(value)?),
        "mdns" => mdns(layer, value)?,
        "metrics_addr" => layer.metrics_addr = Some(string(value)?),
        "profile" => layer.profile = Some(string(value)?),
        "compression" => layer.compression = Some(string(value)?),
        // On is the default; which traffic it covers is for `compression` to say.
        "enable_compression" if !boolean(value)? => layer.compression = Some("off".into()),
        "enable_compression" => {}
        "protocol" => layer.protocol = Some(integer(value)?),
        "retry_max_attempts" => layer.retry_max_attempts = Some(integer(value)?),
        "user_event_size_limit" => layer.user_event_size_limit = Some(integer(value)?),
        "query_size_limit" => layer.query_size_limit = Some(integer(value)?),
        "query_response_size_limit" => layer.query_response_size_limit = Some(integer(value)?),
        "disable_name_resolution" => layer.disable_name_resolution = boolean(value)?,
        "retry_interval" => layer.retry_interval = Some(duration(value)?),
        "broadcast_timeout" => layer.broadcast_timeout = Some(duration(value)?),
        "reconnect_interval" => layer.reconnect_interval = Some(duration(value)?),
        "reconnect_timeout" => layer.reconnect_timeout = Some(duration(value)?),
        "tombstone_timeout" => layer.tombstone_timeout = Some(duration(value)?),
        "event_handler_timeout" => layer.event_handler_timeout = Some(duration(value)?),
        "tags" => layer.tags = tags(value)?,
        "event_handlers" => layer.event_handlers = strings(value)?,
        "start_join" => layer.start_join = strings(value)?,
        "retry_join" => layer.retry_join = strings(value)?,
        "replay_on_join" => layer.replay_on_join = boolean(value)?,
        "leave_on_terminate" => layer.leave_on_terminate = boolean(value)?,
        "skip_leave_on_interrupt" => layer.skip_leave_on_interrupt = boolean(value)?,
        "validate_node_names" => layer.validate_node_names = boolean(value)?,
        "disable_coordinates" => layer.disable_coordinates = boolean(value)?,
        _ => match unsupported::key(name) {
            Some(_) if unsupported::is_zero(value) => {}
            Some(Verdict::Refused(remedy)) => {
                return Err(Problem::new(format!("not supported: {remedy}")));
            }
            Some(Verdict::Harmless(why)) => {
                layer.warnings.push(format!("`{name}` has no effect: {why}"));
            }
            None => return Err(Problem::new(format!("unknown; {}", suggestion(name)))),
        },
    }
    Ok(())
}

/// The one key that has keys of its own.
fn mdns(layer: &mut Layer, value: &Value) -> Result<(), Problem> {
    let fields = value.as_object().ok_or_else(|| wrong(value, "an object"))?;
    for (key, value) in fields {
        match key.to_ascii_lowercase().as_str() {
            "interface" => string(value).map(|name| layer.mdns_interface = Some(name)),
            "disable_ipv4" => boolean(value).map(|off| layer.mdns_disable_ipv4 = off),
            "disable_ipv6" => boolean(value).map(|off| layer.mdns_disable_ipv6 = off),
            _ => Err(Problem::new("unknown; use one of interface, disable_ipv4, disable_ipv6")),
        }
        .map_err(|problem| problem.within(format_args!("key `{key}`")))?;
    }
    Ok(())
}

fn suggestion(name: &str) -> String {
    let known = SUPPORTED.iter().copied().chain(unsupported::keys());
    let nearest = known.map(|key| (strsim::jaro_winkler(key, name), key)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, key)) if likeness > 0.85 => format!("did you mean `{key}`?"),
        _ => format!("remove it, or use one of {}", SUPPORTED.join(", ")),
    }
}

fn wrong(value: &Value, wanted: &str) -> Problem {
    let found = match value {
        Value::Null => "null".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        // A key in quotes that are missing must not be shown; a number or boolean may be.
        Value::String(_) => "a string".into(),
        other => other.to_string(),
    };
    Problem::new(format!("{found} is not {wanted}"))
}

fn string(value: &Value) -> Result<String, Problem> {
    value.as_str().map(Into::into).ok_or_else(|| wrong(value, "a string"))
}

fn boolean(value: &Value) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| wrong(value, "true or false"))
}

fn integer<T: TryFrom<u64>>(value: &Value) -> Result<T, Problem> {
    value
        .as_u64()
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| wrong(value, "a whole number in the range of this setting"))
}

fn duration(value: &Value) -> Result<Duration, Problem> {
    let form = "write it as \"30s\" or \"1h2m3.5s\"";
    let text = value.as_str().ok_or_else(|| wrong(value, &format!("a duration; {form}")))?;
    parse_duration(text).map_err(|why| Problem::new(format!("{text:?} is not a duration: {why}; {form}")))
}

fn strings(value: &Value) -> Result<Vec<String>, Problem> {
    let items = value.as_array().ok_or_else(|| wrong(value, "a list of strings"))?;
    items.iter().map(string).collect()
}

fn tags(value: &Value) -> Result<BTreeMap<String, String>, Problem> {
    let fields: &Map<String, Value> =
        value.as_object().ok_or_else(|| wrong(value, "an object of strings"))?;
    fields
        .iter()
        .map(|(key, value)| {
            string(value).map(|value| (key.clone(), value)).map_err(|p| p.within(format_args!("tag {key:?}")))
        })
        .collect()
}

const SUPPORTED: &[&str] = &[
    "node_name",
    "role",
    "tags",
    "tags_file",
    "snapshot_path",
    "rejoin_after_leave",
    "bind",
    "advertise",
    "encrypt_key",
    "keyring_file",
    "transport",
    "tls_cert",
    "tls_key",
    "tls_ca",
    "label",
    "interface",
    "discover",
    "mdns",
    "log_level",
    "rpc_addr",
    "rpc_auth",
    "metrics_addr",
    "profile",
    "protocol",
    "compression",
    "enable_compression",
    "start_join",
    "retry_join",
    "retry_interval",
    "retry_max_attempts",
    "replay_on_join",
    "leave_on_terminate",
    "skip_leave_on_interrupt",
    "disable_coordinates",
    "disable_name_resolution",
    "validate_node_names",
    "user_event_size_limit",
    "query_size_limit",
    "query_response_size_limit",
    "broadcast_timeout",
    "reconnect_interval",
    "reconnect_timeout",
    "tombstone_timeout",
    "event_handlers",
    "event_handler_timeout",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    // upstream: TestDecodeConfig
    #[test]
    fn reads_every_supported_key() {
        let layer = parse(
            r#"{"node_name": "n", "role": "web", "tags": {"dc": "east"}, "bind": "10.0.0.1:7000",
                "advertise": "10.0.0.2", "encrypt_key": "k", "keyring_file": "f", "transport": "0", "tls_cert": "1", "tls_key": "2", "tls_ca": "3", "label": "blue",
                "log_level": "debug", "rpc_addr": "127.0.0.1:7000", "rpc_auth": "s3cret", "profile": "wan", "protocol": 4, "compression": "all",
                "start_join": ["a", "b"], "retry_join": ["c"], "retry_interval": "1m30s",
                "retry_max_attempts": 3, "replay_on_join": true, "leave_on_terminate": true,
                "skip_leave_on_interrupt": true, "disable_coordinates": true, "disable_name_resolution": true,
                "validate_node_names": true, "query_size_limit": 2000, "query_response_size_limit": 3000,
                "user_event_size_limit": 1024, "broadcast_timeout": "7s",
                "reconnect_interval": "15s", "reconnect_timeout": "12h", "tombstone_timeout": "6h",
                "tags_file": "t", "snapshot_path": "s", "rejoin_after_leave": true, "interface": "eth0", "discover": "d",
                "mdns": {"interface": "eth1", "disable_ipv4": true, "disable_ipv6": true}, "metrics_addr": "m", "event_handlers": ["a", "b"], "event_handler_timeout": "10s"}"#,
        )
        .unwrap();
        let some = |text: &str| Some(String::from(text));
        let expected = Layer {
            node_name: some("n"),
            role: some("web"),
            bind: some("10.0.0.1:7000"),
            advertise: some("10.0.0.2"),
            encrypt_key: some("k"),
            keyring_file: some("f"),
            transport: some("0"),
            tls_cert: some("1"),
            tls_key: some("2"),
            tls_ca: some("3"),
            tags_file: some("t"),
            snapshot_path: some("s"),
            rejoin_after_leave: true,
            label: some("blue"),
            log_level: some("debug"),
            rpc_addr: some("127.0.0.1:7000"),
            rpc_auth: some("s3cret"),
            interface: some("eth0"),
            discover: some("d"),
            mdns_interface: some("eth1"),
            metrics_addr: some("m"),
            profile: some("wan"),
            compression: some("all"),
            protocol: Some(4),
            retry_max_attempts: Some(3),
            user_event_size_limit: Some(1024),
            query_size_limit: Some(2000),
            query_response_size_limit: Some(3000),
            retry_interval: Some(Duration::from_secs(90)),
            broadcast_timeout: Some(Duration::from_secs(7)),
            reconnect_interval: Some(Duration::from_secs(15)),
            reconnect_timeout: Some(Duration::from_secs(12 * 3600)),
            tombstone_timeout: Some(Duration::from_secs(6 * 3600)),
            event_handler_timeout: Some(Duration::from_secs(10)),
            tags: BTreeMap::from([("dc".into(), "east".into())]),
            start_join: vec!["a".into(), "b".into()],
            retry_join: vec!["c".into()],
            event_handlers: vec!["a".into(), "b".into()],
            replay_on_join: true,
            leave_on_terminate: true,
            skip_leave_on_interrupt: true,
            mdns_disable_ipv4: true,
            mdns_disable_ipv6: true,
            disable_coordinates: true,
            disable_name_resolution: true,
            validate_node_names: true,
            warnings: Vec::new(),
        };
        assert_eq!(layer, expected);
    }

    #[test]
    fn every_supported_key_is_in_the_list_and_the_other_way_round() {
        for key in SUPPORTED {
            let text = set(&mut Layer::default(), key, &Value::Null).unwrap_err().to_string();
            assert!(text.starts_with("null is not "), "{key}: {text}");
            assert_eq!(unsupported::key(key), None);
        }
    }

    #[test]
    fn keys_match_in_any_case_but_once() {
        assert_eq!(parse(r#"{"Node_Name": "n"}"#).unwrap().node_name.as_deref(), Some("n"));
        assert!(error(r#"{"bind": "a", "BIND": "b"}"#).contains("key `BIND` is there twice"));
    }

    // upstream: TestDecodeConfig_unknownDirective
    #[test]
    fn an_unknown_key_is_named() {
        let text = error(r#"{"nodename": "n"}"#);
        assert_eq!(text, "key `nodename`: unknown; did you mean `node_name`?");
        let text = error(r#"{"colour": "red"}"#);
        assert!(text.starts_with("key `colour`: unknown; remove it, or use one of node_name, "), "{text}");
        // The library's switches for papers are nobody's options.
        for key in ["experiment", "lockstep", "stall_rule", "lha_probe"] {
            assert!(error(&format!(r#"{{"{key}": {{}}}}"#)).starts_with(&format!("key `{key}`: unknown; ")));
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_unless_it_asks_for_nothing() {
        let text = error(r#"{"statsd_addr": "127.0.0.1:8125"}"#);
        assert!(
            text.starts_with("key `statsd_addr`: not supported: ") && text.contains("--metrics"),
            "{text}"
        );
        assert!(
            error(r#"{"mdns": {"interfaces": "eth0"}}"#).starts_with("key `mdns`: key `interfaces`: unknown")
        );
        let layer =
            parse(r#"{"statsd_addr": "", "enable_syslog": false, "mdns": {"disable_ipv4": false}}"#).unwrap();
        assert_eq!(layer, Layer::default());
        let layer = parse(r#"{"syslog_facility": "LOCAL1", "MsgpackUseNewTimeFormat": true}"#).unwrap();
        assert_eq!(layer.warnings.len(), 2);
        assert!(layer.warnings[0].starts_with("`syslog_facility` has no effect: "));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_key() {
        for (text, part) in [
            (r#"{"protocol": "5"}"#, "key `protocol`: a string is not a whole number"),
            (r#"{"protocol": 300}"#, "key `protocol`: 300 is not a whole number"),
            (r#"{"protocol": 4.5}"#, "key `protocol`: 4.5 is not a whole number"),
            (r#"{"node_name": 5}"#, "key `node_name`: 5 is not a string"),
            (r#"{"tags": {"a": 1}}"#, "key `tags`: tag \"a\": 1 is not a string"),
            (r#"{"start_join": "a"}"#, "key `start_join`: a string is not a list of strings"),
            (r#"{"retry_interval": 30}"#, "key `retry_interval`: 30 is not a duration; write it as \"30s\""),
            (
                r#"{"retry_interval": "30"}"#,
                "key `retry_interval`: \"30\" is not a duration: a number needs one",
            ),
            (r#"{"replay_on_join": "yes"}"#, "key `replay_on_join`: a string is not true or false"),
            ("[]", "one JSON object"),
            ("{", "not valid JSON"),
        ] {
            assert!(error(text).starts_with(part) || error(text).contains(part), "{text}: {}", error(text));
        }
    }

    // upstream: TestReadConfigPaths_badPath, TestReadConfigPaths_file, TestReadConfigPaths_dir
    #[test]
    fn a_directory_stands_for_its_files_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("b.json"), r#"{"node_name": "b", "start_join": ["b"]}"#).unwrap();
        fs::write(path("a.json"), r#"{"node_name": "a", "bind": "10.0.0.1", "start_join": ["a"]}"#).unwrap();
        fs::write(path("c.txt"), "no configuration").unwrap();
        fs::create_dir(path("d.json")).unwrap();
        let layer = read(&[directory.path().into()]).unwrap();
        assert_eq!((layer.node_name.as_deref(), layer.bind.as_deref()), (Some("b"), Some("10.0.0.1")));
        assert_eq!(layer.start_join, ["a", "b"]);
        let layer = read(&[path("b.json"), path("a.json")]).unwrap();
        assert_eq!((layer.node_name.as_deref(), layer.start_join), (Some("a"), vec!["b".into(), "a".into()]));
        let error = read(&[path("none.json")]).unwrap_err().to_string();
        assert!(error.contains("none.json"), "{error}");
    }

    #[test]
    fn compression_has_serfs_key_too() {
        assert_eq!(parse(r#"{"enable_compression": false}"#).unwrap().compression.as_deref(), Some("off"));
        assert_eq!(parse(r#"{"enable_compression": true}"#).unwrap().compression, None);
    }
}

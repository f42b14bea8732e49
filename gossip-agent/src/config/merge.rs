//! One source of configuration, and how later sources go over earlier ones.

use core::time::Duration;
use std::collections::BTreeMap;

/// What one file, or the command line, sets. Nothing in it has been checked beyond its type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) node_name: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) bind: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) encrypt_key: Option<String>,
    pub(crate) keyring_file: Option<String>,
    pub(crate) transport: Option<String>,
    pub(crate) tls_cert: Option<String>,
    pub(crate) tls_key: Option<String>,
    pub(crate) tls_ca: Option<String>,
    pub(crate) tags_file: Option<String>,
    pub(crate) snapshot_path: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) rpc_addr: Option<String>,
    pub(crate) rpc_auth: Option<String>,
    pub(crate) interface: Option<String>,
    pub(crate) discover: Option<String>,
    pub(crate) mdns_interface: Option<String>,
    pub(crate) metrics_addr: Option<String>,
    pub(crate) profile: Option<String>,
    pub(crate) compression: Option<String>,
    pub(crate) protocol: Option<u8>,
    pub(crate) retry_max_attempts: Option<u32>,
    pub(crate) user_event_size_limit: Option<usize>,
    pub(crate) query_size_limit: Option<usize>,
    pub(crate) query_response_size_limit: Option<usize>,
    pub(crate) retry_interval: Option<Duration>,
    pub(crate) broadcast_timeout: Option<Duration>,
    pub(crate) reconnect_interval: Option<Duration>,
    pub(crate) reconnect_timeout: Option<Duration>,
    pub(crate) tombstone_timeout: Option<Duration>,
    pub(crate) event_handler_timeout: Option<Duration>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) start_join: Vec<String>,
    pub(crate) retry_join: Vec<String>,
    pub(crate) event_handlers: Vec<String>,
    pub(crate) replay_on_join: bool,
    pub(crate) rejoin_after_leave: bool,
    pub(crate) leave_on_terminate: bool,
    pub(crate) skip_leave_on_interrupt: bool,
    pub(crate) mdns_disable_ipv4: bool,
    pub(crate) mdns_disable_ipv6: bool,
    pub(crate) disable_coordinates: bool,
    pub(crate) disable_name_resolution: bool,
    pub(crate) validate_node_names: bool,
    /// What the user should hear about this source.
    pub(crate) warnings: Vec<String>,
}

impl Layer {
    /// Puts `over` on top: scalars that are not zero override, booleans only ever turn on, tags are merged, lists
    /// concatenated. That is how Serf does it; an option that it does not have, and that nothing is no value of, overrides
    /// with nothing too, to be refused.
    pub(crate) fn merge(&mut self, over: Self) {
        scalar(&mut self.node_name, over.node_name);
        scalar(&mut self.role, over.role);
        scalar(&mut self.bind, over.bind);
        scalar(&mut self.advertise, over.advertise);
        scalar(&mut self.encrypt_key, over.encrypt_key);
        scalar(&mut self.keyring_file, over.keyring_file);
        ours(&mut self.transport, over.transport);
        ours(&mut self.tls_cert, over.tls_cert);
        ours(&mut self.tls_key, over.tls_key);
        ours(&mut self.tls_ca, over.tls_ca);
        scalar(&mut self.tags_file, over.tags_file);
        scalar(&mut self.snapshot_path, over.snapshot_path);
        scalar(&mut self.label, over.label);
        scalar(&mut self.log_level, over.log_level);
        scalar(&mut self.rpc_addr, over.rpc_addr);
        scalar(&mut self.rpc_auth, over.rpc_auth);
        scalar(&mut self.interface, over.interface);
        scalar(&mut self.discover, over.discover);
        scalar(&mut self.mdns_interface, over.mdns_interface);
        scalar(&mut self.metrics_addr, over.metrics_addr);
        scalar(&mut self.profile, over.profile);
        scalar(&mut self.compression, over.compression);
        scalar(&mut self.protocol, over.protocol);
        scalar(&mut self.retry_max_attempts, over.retry_max_attempts);
        scalar(&mut self.user_event_size_limit, over.user_event_size_limit);
        scalar(&mut self.query_size_limit, over.query_size_limit);
        scalar(&mut self.query_response_size_limit, over.query_response_size_limit);
        scalar(&mut self.retry_interval, over.retry_interval);
        scalar(&mut self.broadcast_timeout, over.broadcast_timeout);
        scalar(&mut self.reconnect_interval, over.reconnect_interval);
        scalar(&mut self.reconnect_timeout, over.reconnect_timeout);
        scalar(&mut self.tombstone_timeout, over.tombstone_timeout);
        ours(&mut self.event_handler_timeout, over.event_handler_timeout);
        self.tags.extend(over.tags);
        self.start_join.extend(over.start_join);
        self.retry_join.extend(over.retry_join);
        self.event_handlers.extend(over.event_handlers);
        self.replay_on_join |= over.replay_on_join;
        self.rejoin_after_leave |= over.rejoin_after_leave;
        self.leave_on_terminate |= over.leave_on_terminate;
        self.skip_leave_on_interrupt |= over.skip_leave_on_interrupt;
        self.mdns_disable_ipv4 |= over.mdns_disable_ipv4;
        self.mdns_disable_ipv6 |= over.mdns_disable_ipv6;
        self.disable_coordinates |= over.disable_coordinates;
        self.disable_name_resolution |= over.disable_name_resolution;
        self.validate_node_names |= over.validate_node_names;
        self.warnings.extend(over.warnings);
    }
}

fn scalar<T: Default + PartialEq>(base: &mut Option<T>, over: Option<T>) {
    if let Some(value) = over
        && value != T::default()
    {
        *base = Some(value);
    }
}

/// A variable that is not set must not come to mean "without certificates".
fn ours<T>(base: &mut Option<T>, over: Option<T>) {
    if over.is_some() {
        *base = over;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|&item| item.into()).collect()
    }

    // upstream: TestMergeConfig
    #[test]
    fn later_sources_go_over_earlier_ones() {
        let mut base = Layer {
            node_name: Some("first".into()),
            bind: Some("10.0.0.1".into()),
            protocol: Some(4),
            retry_interval: Some(Duration::from_secs(5)),
            tags: [("role", "web"), ("dc", "east")].map(|(k, v)| (k.into(), v.into())).into(),
            start_join: strings(&["a"]),
            leave_on_terminate: true,
            ..Layer::default()
        };
        base.merge(Layer {
            node_name: Some("second".into()),
            tags: [("role", "db")].map(|(k, v)| (k.into(), v.into())).into(),
            start_join: strings(&["b", "a"]),
            retry_join: strings(&["c"]),
            skip_leave_on_interrupt: true,
            ..Layer::default()
        });
        assert_eq!(base.node_name.as_deref(), Some("second"));
        assert_eq!(base.bind.as_deref(), Some("10.0.0.1"));
        assert_eq!(base.tags["role"], "db");
        assert_eq!(base.tags["dc"], "east");
        assert_eq!(base.start_join, ["a", "b", "a"]);
        assert_eq!(base.retry_join, ["c"]);
        assert!(base.leave_on_terminate && base.skip_leave_on_interrupt && !base.replay_on_join);
    }

    #[test]
    fn zero_does_not_override() {
        let mut base = Layer {
            node_name: Some("n".into()),
            protocol: Some(4),
            retry_interval: Some(Duration::from_secs(5)),
            ..Layer::default()
        };
        let before = base.clone();
        base.merge(Layer {
            node_name: Some(String::new()),
            protocol: Some(0),
            retry_interval: Some(Duration::ZERO),
            ..Layer::default()
        });
        assert_eq!(base, before);
    }
}

//! What a well-behaved member of Consul's LAN pool is configured with (serf.md 13).

use alloc::format;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::{Admission, Config, ServiceConfig};
use crate::Name;
use crate::error::ConfigError;

/// A node in Consul's LAN pool: not a Consul agent, but a member that agents take for one of their own kind. See
/// [`Config::consul_client`].
#[derive(Clone, Debug)]
pub struct ConsulClient {
    datacenter: Bytes,
    id: Bytes,
    role: Bytes,
    segment: Bytes,
    build: Bytes,
    reconnect_timeout: Option<Duration>,
}

impl ConsulClient {
    /// A client of a data centre. `id` is a UUID that the node keeps over restarts, as Consul keeps its in `node-id`.
    pub fn new(datacenter: impl Into<Bytes>, id: impl Into<Bytes>) -> Self {
        Self {
            datacenter: datacenter.into(),
            id: id.into(),
            role: Bytes::from_static(b"node"),
            segment: Bytes::new(),
            build: Bytes::from_static(b"1.17.0"),
            reconnect_timeout: None,
        }
    }

    /// The tag `role`. With `node`, the default, Consul's leader lists the node in the catalog, with a check of its
    /// health; any other keeps it out of there. `consul` is for Consul's own servers, and refused.
    pub fn role(&mut self, role: impl Into<Bytes>) -> &mut Self {
        self.role = role.into();
        self
    }

    /// The network segment. Default none, which is the default pool.
    pub fn segment(&mut self, segment: impl Into<Bytes>) -> &mut Self {
        self.segment = segment.into();
        self
    }

    /// The version of Consul that the node claims to be like, `x.y.z` with or without more behind it. Set it to what the
    /// pool runs. Default 1.17.0, after which these rules were written.
    pub fn build(&mut self, build: impl Into<Bytes>) -> &mut Self {
        self.build = build.into();
        self
    }

    /// How long others remember the node after it failed or left, in whole seconds; for nodes that come and go. Default
    /// as they are configured, usually 72 hours.
    pub fn reconnect_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.reconnect_timeout = Some(timeout);
        self
    }

    fn check(&self) -> Result<(), ConfigError> {
        let range = |ok, parameter, allowed| {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { parameter, allowed }) }
        };
        let in_datacenter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let datacenter = !self.datacenter.is_empty() && self.datacenter.iter().all(in_datacenter);
        range(datacenter, "datacenter", "lower-case letters, digits, - and _")?;
        range(is_uuid(&self.id), "id", "a UUID, such as 40e4a748-2192-161a-0510-9bf59fe950b5")?;
        range(*self.role != *b"consul", "role", "anything but consul, which is for Consul's servers")?;
        range(is_version(&self.build), "build", "a version that begins with x.y.z")?;
        let timeout = self.reconnect_timeout.is_none_or(|timeout| timeout.as_secs() > 0);
        range(timeout, "reconnect_timeout", "at least a second")
    }

    /// The tags that agents look for (serf.md 13.3).
    fn tags(&self) -> Vec<(Bytes, Bytes)> {
        let mut tags: Vec<(Bytes, Bytes)> = [
            ("role", self.role.clone()),
            ("dc", self.datacenter.clone()),
            // There with an empty value too, as agents of the default pool have it.
            ("segment", self.segment.clone()),
            ("id", self.id.clone()),
            ("vsn", "2".into()),
            ("vsn_min", "2".into()),
            ("vsn_max", "3".into()),
            ("build", self.build.clone()),
        ]
        .map(|(tag, value)| (Bytes::from(tag), value))
        .into();
        if let Some(timeout) = self.reconnect_timeout {
            tags.push((RECONNECT_TAG.into(), format!("{}s", timeout.as_secs()).into()));
        }
        tags
    }

    /// What Consul's merge delegate asks of each member (serf.md 13.4).
    fn admission(&self) -> Vec<Admission> {
        let same_datacenter = Admission::TagEqualsAmong {
            tag: "dc".into(),
            value: self.datacenter.clone(),
            of: "role".into(),
            among: ["node", "consul"].map(Bytes::from).into(),
        };
        [same_datacenter, Admission::TagUnique("id".into())].into()
    }
}

impl Config {
    /// The configuration of a node in Consul's LAN pool: tags, versions, admission and times as Consul's own clients have
    /// them (serf.md 13.9). Both parts can be changed further; the pool's key goes to [`Config::keyring`]. Consul's port
    /// is 8301.
    ///
    /// ```
    /// use gossip_proto::{Config, ConsulClient};
    ///
    /// let consul = ConsulClient::new("dc1", "40e4a748-2192-161a-0510-9bf59fe950b5");
    /// let (config, services) = Config::consul_client("edge-1", "10.0.0.1:8301".parse().unwrap(), &consul)?;
    /// # Ok::<(), gossip_proto::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// A data centre, id, role or version that agents would not take for one.
    pub fn consul_client(
        name: impl Into<Name>,
        advertise: SocketAddr,
        consul: &ConsulClient,
    ) -> Result<(Self, ServiceConfig), ConfigError> {
        consul.check()?;
        let mut config = Self::lan(name, advertise);
        config
            .dead_node_reclaim(Duration::from_secs(30))
            .admission(consul.admission())
            .admission_refuses_merges(true);
        let mut services = ServiceConfig::default();
        services
            .tags(consul.tags())
            .serf_protocol(4)
            // As Consul's servers: a stranger that takes the name must not be able to end this node.
            .name_conflict_resolution(false)
            // With less, peers that have not heard the farewell would take the node for failed, and keep it for 72 hours.
            .leave_propagate_delay(Duration::from_secs(3))
            .reconnect_timeout(Duration::from_secs(72 * 3600))
            .reconnect_tag(Some(RECONNECT_TAG.into()));
        Ok((config, services))
    }
}

/// How long a member wants to be remembered, as a Go duration (serf.md 13.5).
const RECONNECT_TAG: &str = "rc_tm";

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Digits, a dot, digits, a dot, a digit; whatever follows.
fn is_version(text: &[u8]) -> bool {
    let mut parts = text.splitn(3, |byte| *byte == b'.');
    let number = |part: Option<&[u8]>| {
        part.is_some_and(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
    };
    number(parts.next())
        && number(parts.next())
        && parts.next().is_some_and(|part| part.first().is_some_and(u8::is_ascii_digit))
}

//! Every parameter, with the values of memberlist's LAN, WAN and local presets (spec 5).

mod admission;
mod consul;

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;

pub(crate) use self::admission::Candidate;
pub use self::consul::ConsulClient;
use crate::Name;
use crate::error::ConfigError;
use crate::output::Clocks;
use crate::wire::keyring::Keyring;
use crate::wire::layers::Compression;
pub use admission::{Admission, is_plain_name};
pub use experiment::{Experiment, ExperimentValues, Logarithm};

/// Most bytes of metadata a node may carry (spec 1.11).
pub const MAX_METADATA: usize = 512;
/// Longest label (spec 1.5).
pub const MAX_LABEL: usize = 255;
/// Longest node name: with it, an alive with full metadata still fits a datagram of 1,400 bytes.
pub const MAX_NAME: usize = 512;
/// memberlist protocol versions that this implementation speaks (spec 3.1).
pub const PROTOCOL_VERSIONS: (u8, u8) = (1, 5);

/// No time of the configuration is longer: sums of them stay far from the end of the clock.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A network in CIDR notation, for the allow list (spec 4.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The network that `address` is in, with a prefix of that many bits; `None` if the prefix is longer than the
    /// address (32 for IPv4, 128 for IPv6). Bits beyond the prefix are ignored.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let network = address.to_canonical();
        let bits = if network.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { network, prefix })
    }

    /// The network and its prefix.
    pub(crate) fn parts(&self) -> (IpAddr, u8) {
        (self.network, self.prefix)
    }

    /// Whether the address lies in it. An IPv4-mapped address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        fn matches(a: u128, b: u128, width: u32, prefix: u8) -> bool {
            let host_bits = width - u32::from(prefix);
            (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
        }
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                matches(a.to_bits().into(), b.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => matches(a.to_bits(), b.to_bits(), 128, self.prefix),
            _ => false,
        }
    }
}

/// What happens to a question that the application does not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As if accepted.
    Accept,
    /// As if refused.
    Refuse,
}

macro_rules! config {
    ($(#[$doc:meta])* pub struct $name:ident / $values:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty = $default:expr,)* }
     required { $($(#[$rdoc:meta])* $required:ident: $rtype:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(pub(crate) $required: $rtype,)*
            $(pub(crate) $field: $type,)*
        }

        #[doc = concat!("What a [`", stringify!($name), "`] says, to read.")]
        #[derive(Clone, Copy, Debug)]
        #[non_exhaustive]
        pub struct $values<'a> {
            $($(#[$fdoc])* pub $field: &'a $type,)*
        }

        impl $name {
            /// All values, to read.
            pub fn values(&self) -> $values<'_> {
                $values { $($field: &self.$field,)* }
            }

            fn with_defaults($($required: $rtype),*) -> Self {
                Self { $($required,)* $($field: $default,)* }
            }

            $($(#[$rdoc])* pub fn $required(&self) -> &$rtype { &self.$required })*
            $($(#[$fdoc])* pub fn $field(&mut self, value: $type) -> &mut Self { self.$field = value; self })*
        }
    };
}

// Below the macro, which it uses.
mod experiment;

config! {
    /// How a node behaves at the membership level. Setters take and return `&mut Self`; nothing is checked before the
    /// machine is made, and then all of it.
    ///
    /// ```
    /// use gossip_proto::Config;
    ///
    /// let mut config = Config::lan("node-a", "10.0.0.1:7946".parse().unwrap());
    /// config.label(b"blue".as_slice().into()).gossip_nodes(4);
    /// ```
    pub struct Config / ConfigValues {
        /// Metadata that members see of this node, at most 512 bytes. A [`crate::Node`] sets it from its tags.
        metadata: Bytes = Bytes::new(),
        /// Own memberlist protocol version, 1 to 5 (spec 3.1). Default 2.
        protocol_version: u8 = 2,
        /// The three delegate versions `[min, max, current]` (spec 3.1). A [`crate::Node`] sets them.
        delegate_versions: [u8; 3] = [0, 0, 0],
        /// Label of the cluster; packets and streams with another one are dropped (spec 1.5). Default none.
        label: Bytes = Bytes::new(),
        /// A label header is an error, since an outer layer consumed it already (spec 1.5). Default off.
        skip_inbound_label_check: bool = false,
        /// Keys; with any key in it, traffic is sealed (spec 1.6). Default none.
        keyring: Option<Keyring> = None,
        /// Drop what is not sealed, when there is a keyring. Default on.
        verify_incoming: bool = true,
        /// Seal what is sent, when there is a keyring. Default on.
        verify_outgoing: bool = true,
        /// What is compressed when sent; receiving always works. Default streams only: compressing a small packet costs
        /// more than everything else this machine does with it.
        compression: Compression = Compression::Streams,
        /// Deadline of streams: connecting, and each exchange (spec 1.4).
        stream_timeout: Duration = Duration::from_secs(10),
        /// Helpers asked to probe a member that does not answer (SWIM's k; spec 4.8).
        indirect_checks: usize = 3,
        /// Multiplier of the transmit limit: `mult * ceil(log10(n + 1))` (spec 4.11).
        retransmit_mult: u32 = 4,
        /// Multiplier of the suspicion timeout (spec 4.7).
        suspicion_mult: u32 = 4,
        /// Longest suspicion as a multiple of the shortest (Lifeguard; spec 4.7).
        suspicion_max_mult: u32 = 6,
        /// Period of push/pull with a random member; zero disables it (spec 4.10).
        push_pull_interval: Duration = Duration::from_secs(30),
        /// How long a probe waits for the direct answer (spec 4.8).
        probe_timeout: Duration = Duration::from_millis(500),
        /// Period of probing; zero disables it (spec 4.8).
        probe_interval: Duration = Duration::from_secs(1),
        /// Probe by stream as well when datagrams go unanswered (spec 4.8). Default on.
        stream_pings: bool = true,
        /// Ceiling of the local health score, which stays below it (Lifeguard; spec 4.8). At least 1.
        awareness_max: u32 = 8,
        /// Members that each gossip tick sends to (spec 4.9).
        gossip_nodes: usize = 3,
        /// Period of gossip; zero disables it (spec 4.9).
        gossip_interval: Duration = Duration::from_millis(200),
        /// How long the dead still get gossip, and how long they stay in the table (spec 4.9, 4.13).
        gossip_to_the_dead: Duration = Duration::from_secs(30),
        /// After how long a dead member's name may be taken by another address; zero is never (spec 4.3 step 5).
        dead_node_reclaim: Duration = Duration::ZERO,
        /// Addresses that are joined now, and again whenever no alive member has them: who was cut off from everybody finds
        /// back by itself. Default none.
        seeds: Vec<SocketAddr> = Vec::new(),
        /// Longest pause between two attempts at a seed; zero disables them. After one at which somebody answered, though no
        /// alive member has the address, it grows with the cluster as `push_pull_interval` does. A [`crate::Node`] sets it to
        /// its reconnect interval.
        seed_interval: Duration = Duration::from_secs(30),
        /// Refuse to send to addresses without a node name (spec 4.17).
        require_node_names: bool = false,
        /// Networks whose members are admitted; empty admits all (spec 4.16).
        cidrs_allowed: Vec<Cidr> = Vec::new(),
        /// Longest datagram, all layers included, that is composed for a destination whose path is not known better.
        /// A true bound, unlike upstream's (W-14). 256 to 65,507.
        max_datagram: usize = 1400,
        /// As `max_datagram`, for destinations whose path nothing has been told about yet
        /// ([`crate::Machine::handle_path`]); no message for gossip is longer. Default, and if it is more, `max_datagram`.
        unknown_path: usize = usize::MAX,
        /// How many paths the transport keeps open at once. In a larger cluster gossip prefers members whose path is open,
        /// by [`crate::Machine::handle_path`]; probes go to everybody in turn all the same. Default 0: paths cost nothing.
        max_paths: usize = 0,
        /// How long `set_metadata`, `leave` and Serf's broadcasts wait until the news is out.
        broadcast_timeout: Duration = Duration::from_secs(5),
        /// Most members in the roster, this node included; what does not fit is refused and counted.
        max_members: usize = 65_536,
        /// Most rumors in each lane of the queue, each at most a datagram long; the most transmitted go first.
        max_rumors: usize = 4096,
        /// Streams that peers may have open stay below this (memberlist serves 127 at once, spec 1.11); our own are at
        /// most as many again. When all are taken, one that has been open for a tenth of `stream_timeout` gives way to a
        /// newcomer whose identity, or host, holds at least two fewer than its own.
        max_streams: usize = 128,
        /// Memory for inbound exchanges in all; one may take 20 MiB (spec 1.11). Over it, streams wait. As much again may be
        /// taken by the services' part of what is being merged, and by replies that peers do not read: sealed or compressed,
        /// each is a copy of the table.
        max_exchange_bytes: usize = 64 << 20,
        /// Most bytes one datagram may inflate to (W-6).
        max_inflated: usize = 1 << 20,
        /// Most outgoing packets that wait for the socket; further answers are dropped and counted.
        max_outgoing: usize = 1024,
        /// Most operations open at once.
        max_operations: usize = 1024,
        /// Most indirect pings carried out for others at once.
        max_relays: usize = 1024,
        /// Bytes that events may take while nobody polls them; then the oldest go.
        max_event_bytes: usize = 1 << 20,
        /// Units of work that one call may do before it puts the rest off: members merged, timers fired, and of what is on
        /// streams each 64 bytes that are compressed, decompressed or decoded.
        work_per_call: usize = 256,
        /// Ask the application before a join merges two states; see [`crate::Event::MergeRequested`]. Default off.
        /// At most `max_streams` questions wait for an answer; further joins are refused and counted.
        ask_before_merge: bool = false,
        /// The answer taken when the application gives none within `stream_timeout / 2`.
        merge_default: Answer = Answer::Refuse,
        /// Tags or metadata every member must have, checked on each alive of a member.
        admission: Vec<Admission> = Vec::new(),
        /// A join fails, on both sides, if any member that the other brings breaks an admission rule; so two clusters that
        /// are none of each other's business do not even exchange their members. Default off: such members are left out.
        admission_refuses_merges: bool = false,
        /// Trust identities: what a member says about itself directly must come under the identity it first used. Only
        /// for transports that authenticate datagrams and streams.
        identities: bool = false,
        /// For reproducing papers; see [`Experiment`]. No option for users, and no promise of stability.
        experiment: Experiment = Experiment::default(),
    }
    required {
        /// The node's name, unique in the cluster.
        name: Name,
        /// The address other nodes reach this one at, for datagrams and streams alike.
        advertise: SocketAddr,
    }
}

impl Config {
    /// memberlist's preset for a local network.
    pub fn lan(name: impl Into<Name>, advertise: SocketAddr) -> Self {
        Self::with_defaults(name.into(), advertise)
    }

    /// memberlist's preset for links between data centres.
    pub fn wan(name: impl Into<Name>, advertise: SocketAddr) -> Self {
        let mut config = Self::lan(name, advertise);
        config
            .stream_timeout(Duration::from_secs(30))
            .suspicion_mult(6)
            .push_pull_interval(Duration::from_secs(60))
            .probe_timeout(Duration::from_secs(3))
            .probe_interval(Duration::from_secs(5))
            .gossip_nodes(4)
            .gossip_interval(Duration::from_millis(500))
            .gossip_to_the_dead(Duration::from_secs(60));
        config
    }

    /// memberlist's preset for nodes on one machine.
    pub fn local(name: impl Into<Name>, advertise: SocketAddr) -> Self {
        let mut config = Self::lan(name, advertise);
        config
            .stream_timeout(Duration::from_secs(1))
            .indirect_checks(1)
            .retransmit_mult(2)
            .suspicion_mult(3)
            .push_pull_interval(Duration::from_secs(15))
            .probe_timeout(Duration::from_millis(200))
            .gossip_interval(Duration::from_millis(100))
            .gossip_to_the_dead(Duration::from_secs(15));
        config
    }

    /// The label of the cluster, empty if there is none: transports keep those with another one apart, too.
    pub fn label_bytes(&self) -> &[u8] {
        &self.label
    }

    /// The smallest buffer to lend to `poll_transmit`.
    pub fn datagram_size(&self) -> usize {
        self.max_datagram
    }

    /// The longest datagram that any path can carry, as far as is known.
    pub(crate) fn surest_datagram(&self) -> usize {
        self.max_datagram.min(self.unknown_path)
    }

    pub(crate) fn versions(&self) -> [u8; 6] {
        let [dmin, dmax, dcur] = self.delegate_versions;
        [PROTOCOL_VERSIONS.0, PROTOCOL_VERSIONS.1, self.protocol_version, dmin, dmax, dcur]
    }

    pub(crate) fn admits_address(&self, address: IpAddr) -> bool {
        self.cidrs_allowed.is_empty() || self.cidrs_allowed.iter().any(|cidr| cidr.contains(address))
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        fn range(ok: bool, parameter: &'static str, allowed: &'static str) -> Result<(), ConfigError> {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { parameter, allowed }) }
        }
        if self.name.is_empty() {
            return Err(ConfigError::EmptyName);
        }
        let len = self.name.as_bytes().len();
        if len > MAX_NAME {
            return Err(ConfigError::NameTooLong { len, max: MAX_NAME });
        }
        if self.label.len() > MAX_LABEL {
            return Err(ConfigError::LabelTooLong { len: self.label.len() });
        }
        if self.metadata.len() > MAX_METADATA {
            return Err(ConfigError::MetadataTooLong { len: self.metadata.len() });
        }
        let (min, max) = PROTOCOL_VERSIONS;
        if !(min..=max).contains(&self.protocol_version) {
            return Err(ConfigError::ProtocolVersion { version: self.protocol_version, min, max });
        }
        if self.advertise.ip().to_canonical().is_unspecified() || self.advertise.port() == 0 {
            return Err(ConfigError::AdvertiseAddress);
        }
        if !self.admits_address(self.advertise.ip()) {
            return Err(ConfigError::ExcludedByCidrs);
        }
        let [dmin, dmax, dcur] = self.delegate_versions;
        range(dmin <= dcur && dcur <= dmax, "delegate_versions", "min <= current <= max")?;
        range((1..=1024).contains(&self.awareness_max), "awareness_max", "1 to 1024")?;
        range((1..=1024).contains(&self.suspicion_mult), "suspicion_mult", "1 to 1024")?;
        range((1..=1024).contains(&self.suspicion_max_mult), "suspicion_max_mult", "1 to 1024")?;
        range((1..=1024).contains(&self.retransmit_mult), "retransmit_mult", "1 to 1024")?;
        range(self.indirect_checks <= 64, "indirect_checks", "0 to 64")?;
        range(self.gossip_nodes <= 64, "gossip_nodes", "0 to 64")?;
        range((256..=65_507).contains(&self.max_datagram), "max_datagram", "256 to 65507 bytes")?;
        range(self.unknown_path >= 256, "unknown_path", "at least 256 bytes")?;
        let interval = |d: Duration| d.is_zero() || d >= Duration::from_millis(1);
        range(interval(self.probe_interval), "probe_interval", "0 (off) or at least 1 ms")?;
        range(interval(self.gossip_interval), "gossip_interval", "0 (off) or at least 1 ms")?;
        range(interval(self.seed_interval), "seed_interval", "0 (off) or at least 1 ms")?;
        range(interval(self.push_pull_interval), "push_pull_interval", "0 (off) or at least 1 ms")?;
        range(self.probe_timeout >= Duration::from_millis(1), "probe_timeout", "at least 1 ms")?;
        range(self.stream_timeout >= Duration::from_millis(1), "stream_timeout", "at least 1 ms")?;
        let bounded = [
            (self.probe_interval, "probe_interval"),
            (self.probe_timeout, "probe_timeout"),
            (self.gossip_interval, "gossip_interval"),
            (self.push_pull_interval, "push_pull_interval"),
            (self.stream_timeout, "stream_timeout"),
            (self.gossip_to_the_dead, "gossip_to_the_dead"),
            (self.dead_node_reclaim, "dead_node_reclaim"),
            (self.broadcast_timeout, "broadcast_timeout"),
            (self.seed_interval, "seed_interval"),
        ];
        for (duration, parameter) in bounded {
            range(duration <= LONGEST, parameter, "at most 366 days")?;
        }
        range((2..=1 << 24).contains(&self.max_members), "max_members", "2 to 16777216")?;
        range(self.max_rumors >= 16, "max_rumors", "at least 16")?;
        range(self.max_streams >= 2, "max_streams", "at least 2")?;
        range(self.max_outgoing >= 16, "max_outgoing", "at least 16")?;
        range(self.max_operations >= 1, "max_operations", "at least 1")?;
        range(self.max_relays >= 1, "max_relays", "at least 1")?;
        range(self.work_per_call >= 16, "work_per_call", "at least 16")?;
        self.experiment.check()
    }
}

config! {
    /// What a [`crate::Node`] adds to membership: Serf's parameters (serf.md 10.1).
    pub struct ServiceConfig / ServiceConfigValues {
        /// Tags that members see, in the order given; names must be unique. Encoded at most 512 bytes.
        tags: Vec<(Bytes, Bytes)> = Vec::new(),
        /// Tags that are there as well, whatever [`crate::Node::set_tags`] sets: what a transport says about the node, such
        /// as its key's fingerprint. They stand for tags of the same name. Default none.
        fixed_tags: Vec<(Bytes, Bytes)> = Vec::new(),
        /// Serf's protocol version, 2 to 5 (serf.md 1.4). Default 5.
        serf_protocol: u8 = 5,
        /// Slots of the user event ring (serf.md 2.3). 1 to 65,536.
        event_buffer: usize = 512,
        /// User events kept per slot and Lamport time; more are dropped and counted (Q7).
        max_events_per_ltime: usize = 64,
        /// Longest user event: name and payload, and the encoded whole; what a datagram carries is a limit as well (serf.md
        /// 3.11). At most 9,216.
        user_event_size_limit: usize = 512,
        /// Multiplier of the default query timeout: `mult * gossip_interval * ceil(log10(n + 1))` (serf.md 5.1).
        query_timeout_mult: u32 = 16,
        /// Longest query, encoded; what a datagram carries is a limit as well (serf.md 3.11).
        query_size_limit: usize = 1024,
        /// Longest answer to a query, encoded, and longest wrapper of a relayed one; as above.
        query_response_size_limit: usize = 1024,
        /// Queries of others that can be answered at once; a further one displaces the oldest, which is counted.
        max_open_queries: usize = 1024,
        /// Ask the cluster when another node turns up with this node's name, and give way to the majority with
        /// [`crate::Completion::NameLost`] (serf.md 5.8). Default on.
        name_conflict_resolution: bool = true,
        /// How long to wait between the last farewell and the end of `leave`, while probes are still answered.
        leave_propagate_delay: Duration = Duration::from_secs(1),
        /// How long a failed member is kept and listed (serf.md 4.11).
        reconnect_timeout: Duration = Duration::from_secs(24 * 3600),
        /// How long a left member is kept and listed.
        tombstone_timeout: Duration = Duration::from_secs(24 * 3600),
        /// Period of attempts to join failed members again; zero disables them (serf.md 4.12).
        reconnect_interval: Duration = Duration::from_secs(30),
        /// Tag with which a member says how long it is to be remembered after it failed or left, as a Go duration (serf.md
        /// 4.11); Consul's is `rc_tm`. Default none.
        reconnect_tag: Option<Bytes> = None,
        /// A member that is back this soon after it failed counts as flapping.
        flap_timeout: Duration = Duration::from_secs(60),
        /// How long after it failed the address of a member is tried that is no longer listed. It is joined only if the
        /// member of that name answers there. Zero also leaves a restart without those whom [`restore`](Self::restore) names.
        learnt_timeout: Duration = Duration::from_secs(72 * 3600),
        /// How many such addresses are remembered, those that a restart takes over included; then the one whose time ends first
        /// goes.
        max_learnt: usize = 1024,
        /// How long intents about unknown members are remembered (serf.md 4.2).
        recent_intent_timeout: Duration = Duration::from_secs(300),
        /// How many of them at most.
        max_recent_intents: usize = 4096,
        /// What an earlier life of this node knew: clocks go on from there, what happened before is not delivered again,
        /// and the members are joined without anybody's help. Default none.
        restore: Option<Restore> = None,
        /// Whether acks carry this node's network coordinate, and those of others move it (serf.md 6).
        coordinates: bool = true,
    }
    required {}
}

/// What a node takes over from an earlier life; a [`crate::Snapshot`] tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restore {
    /// The last time seen of each clock; 0 is none.
    pub last: Clocks,
    /// Members that were alive, without the node itself.
    pub alive: Vec<(Name, SocketAddr)>,
    /// Members that had been forgotten, and for how long their addresses are still tried.
    pub learnt: Vec<(Name, SocketAddr, Duration)>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self::with_defaults()
    }
}

/// Serf protocol versions that this implementation speaks (serf.md 1.4).
pub const SERF_PROTOCOLS: (u8, u8) = (2, 5);

impl ServiceConfig {
    /// Puts the fixed tags in their place among the others.
    pub(crate) fn fix_tags(&mut self) {
        let fixed = &self.fixed_tags;
        self.tags.retain(|(name, _)| !fixed.iter().any(|(fixed, _)| fixed == name));
        self.tags.extend_from_slice(fixed);
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (min, max) = SERF_PROTOCOLS;
        if !(min..=max).contains(&self.serf_protocol) {
            return Err(ConfigError::ProtocolVersion { version: self.serf_protocol, min, max });
        }
        let range = |ok, parameter, allowed| {
            if ok { Ok(()) } else { Err(ConfigError::OutOfRange { parameter, allowed }) }
        };
        range((1..=65_536).contains(&self.event_buffer), "event_buffer", "1 to 65536")?;
        range((1..=1024).contains(&self.query_timeout_mult), "query_timeout_mult", "1 to 1024")?;
        range(self.max_open_queries >= 1, "max_open_queries", "at least 1")?;
        let bounded = [
            (self.leave_propagate_delay, "leave_propagate_delay"),
            (self.reconnect_timeout, "reconnect_timeout"),
            (self.tombstone_timeout, "tombstone_timeout"),
            (self.reconnect_interval, "reconnect_interval"),
            (self.recent_intent_timeout, "recent_intent_timeout"),
            (self.flap_timeout, "flap_timeout"),
            (self.learnt_timeout, "learnt_timeout"),
        ];
        for (duration, parameter) in bounded {
            range(duration <= LONGEST, parameter, "at most 366 days")?;
        }
        let interval = self.reconnect_interval;
        let regular = interval.is_zero() || interval >= Duration::from_millis(10);
        range(regular, "reconnect_interval", "0 (off) or at least 10 ms")?;
        range(self.user_event_size_limit <= 9216, "user_event_size_limit", "at most 9216 bytes")?;
        Ok(())
    }
}

//! Settings of nodes by name: the fields of `Config` and `ServiceConfig`, as scenario files give them.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use gossip_proto::wire::layers::Compression;
use gossip_proto::{Config, Experiment, Instant, Logarithm, NonceSecret, Seed, ServiceConfig};

use crate::run::kind::Kind;
use crate::scenario::{MachineKind, Preset, Scenario, Settings, Variant};
use crate::value::{FromScalar, Parameters, Scalar};

macro_rules! fields {
    ($set:ident, $names:ident, $target:ty, $($field:ident: $type:ty),* $(,)?) => {
        /// Sets one field; false if there is none of that name.
        fn $set(target: &mut $target, name: &str, value: &Scalar) -> Result<bool, String> {
            match name {
                $(stringify!($field) => { target.$field(<$type>::from_scalar(value)?.into()); })*
                _ => return Ok(false),
            }
            Ok(true)
        }

        /// The fields that scenarios can set.
        const $names: &[&str] = &[$(stringify!($field)),*];
    };
}

fields! {
    set_config, CONFIG, Config,
    label: Label,
    compression: Compressed,
    stream_timeout: Duration,
    indirect_checks: usize,
    retransmit_mult: u32,
    suspicion_mult: u32,
    suspicion_max_mult: u32,
    push_pull_interval: Duration,
    probe_timeout: Duration,
    probe_interval: Duration,
    stream_pings: bool,
    awareness_max: u32,
    gossip_nodes: usize,
    gossip_interval: Duration,
    gossip_to_the_dead: Duration,
    dead_node_reclaim: Duration,
    seed_interval: Duration,
    max_datagram: usize,
    broadcast_timeout: Duration,
    max_members: usize,
    max_rumors: usize,
    max_streams: usize,
    max_exchange_bytes: usize,
    max_outgoing: usize,
    max_operations: usize,
    max_relays: usize,
    max_event_bytes: usize,
    work_per_call: usize,
}

fields! {
    set_service, SERVICE, ServiceConfig,
    event_buffer: usize,
    query_timeout_mult: u32,
    max_open_queries: usize,
    name_conflict_resolution: bool,
    leave_propagate_delay: Duration,
    reconnect_timeout: Duration,
    tombstone_timeout: Duration,
    reconnect_interval: Duration,
    flap_timeout: Duration,
    learnt_timeout: Duration,
    max_learnt: usize,
    recent_intent_timeout: Duration,
    max_recent_intents: usize,
    coordinates: bool,
}

fields! {
    set_experiment, EXPERIMENT, Experiment,
    lha_probe: bool,
    lha_suspicion: bool,
    buddy_system: bool,
    scaled_probe_timeout: bool,
    probe_from_tick: bool,
    gossip_keeps_tick: bool,
    suspicion_k: u32,
    suspicion: bool,
    final_deaths: bool,
    logarithm: Base,
    transmit_limit: u32,
    piggyback: bool,
    max_updates: usize,
    one_lane: bool,
    stall_rule: bool,
    healing: bool,
    lockstep: bool,
}

/// What `ServiceConfig` and `Config` begin with for either, and do not tell.
const RECONNECT: Duration = Duration::from_secs(30);

struct Label(gossip_proto::Bytes);
struct Base(Logarithm);
struct Compressed(Compression);

/// The settings of the nodes of one run, parameters filled in.
#[derive(Clone, Debug)]
pub(crate) struct NodeSettings {
    preset: Preset,
    config: Vec<(String, Scalar)>,
    service: Vec<(String, Scalar)>,
    experiment: Vec<(String, Scalar)>,
}

impl NodeSettings {
    /// Those of a run with these parameters.
    ///
    /// # Errors
    /// A setting that does not exist, or has a value that it cannot have.
    pub(crate) fn new(
        scenario: &Scenario,
        variant: &Variant,
        parameters: &Parameters,
    ) -> Result<Self, String> {
        let cluster = &scenario.cluster;
        let fill = |section: &str, settings: [&Settings; 2]| {
            let values = settings.into_iter().flatten().map(|(name, value)| {
                let value = value.get(parameters).map_err(|error| format!("{section}.{name}: {error}"))?;
                Ok((name.clone(), value))
            });
            values.collect::<Result<Vec<_>, String>>()
        };
        let settings = Self {
            preset: cluster.preset,
            config: fill("config", [&cluster.config, &variant.config])?,
            service: fill("service", [&cluster.service, &variant.service])?,
            experiment: fill("experiment", [&cluster.experiment, &variant.experiment])?,
        };
        if cluster.machine == MachineKind::Membership
            && let Some((name, _)) = settings.service.first()
        {
            return Err(format!(
                "service.{name}: a membership machine has no services; use machine = \"node\""
            ));
        }
        settings.configure("check", SocketAddr::from((Ipv4Addr::LOCALHOST, 7946)))?;
        Ok(settings)
    }

    /// The period of probing.
    pub(crate) fn probe_interval(&self) -> Duration {
        let preset = if self.preset == Preset::Wan { Duration::from_secs(5) } else { Duration::from_secs(1) };
        self.config_time("probe_interval").unwrap_or(preset)
    }

    /// Datagrams per node and second while there is no news: a ping and its acknowledgement per period, and some to spare.
    pub(crate) fn quiet_rate(&self) -> f64 {
        let interval = self.probe_interval();
        if interval.is_zero() { 0.0 } else { 2.5 / interval.as_secs_f64() }
    }

    /// How often members that were lost are tried again.
    pub(crate) fn reconnect_interval(&self) -> Duration {
        time_in(&self.service, "reconnect_interval").unwrap_or(RECONNECT)
    }

    /// How often seeds that were lost are tried again.
    pub(crate) fn seed_interval(&self) -> Duration {
        self.config_time("seed_interval").unwrap_or(RECONNECT)
    }

    /// Whether nodes probe, gossip and exchange all they know.
    pub(crate) fn repairs(&self) -> bool {
        let interval = |name| self.config_time(name).is_none_or(|interval| !interval.is_zero());
        ["probe_interval", "gossip_interval", "push_pull_interval"].into_iter().all(interval)
    }

    fn config_time(&self, name: &str) -> Option<Duration> {
        time_in(&self.config, name)
    }

    /// The configuration of a node.
    pub(crate) fn configure(&self, name: &str, addr: SocketAddr) -> Result<(Config, ServiceConfig), String> {
        let mut config = match self.preset {
            Preset::Lan => Config::lan(name, addr),
            Preset::Wan => Config::wan(name, addr),
            Preset::Local => Config::local(name, addr),
        };
        let mut service = ServiceConfig::default();
        for (name, value) in &self.config {
            let known =
                set_config(&mut config, name, value).map_err(|error| format!("config.{name}: {error}"))?;
            known.then_some(()).ok_or_else(|| unknown("config", name, CONFIG))?;
        }
        let mut experiment = Experiment::default();
        for (name, value) in &self.experiment {
            let known = set_experiment(&mut experiment, name, value)
                .map_err(|error| format!("experiment.{name}: {error}"))?;
            known.then_some(()).ok_or_else(|| unknown("experiment", name, EXPERIMENT))?;
        }
        config.experiment(experiment);
        for (name, value) in &self.service {
            let known =
                set_service(&mut service, name, value).map_err(|error| format!("service.{name}: {error}"))?;
            known.then_some(()).ok_or_else(|| unknown("service", name, SERVICE))?;
        }
        Ok((config, service))
    }
}

/// A time among settings; the last of several counts.
fn time_in(settings: &[(String, Scalar)], name: &str) -> Option<Duration> {
    let value = settings.iter().rfind(|(known, _)| known == name).map(|(_, value)| value);
    value.and_then(|value| Duration::from_scalar(value).ok())
}

/// Makes a machine of the settings and drops it, to learn what it refuses.
pub(crate) fn probe(scenario: &Scenario, variant: &Variant, parameters: &Parameters) -> Result<(), String> {
    fn make<K: Kind>(settings: &NodeSettings) -> Result<(), String> {
        let (config, service) = settings.configure("check", SocketAddr::from((Ipv4Addr::LOCALHOST, 7946)))?;
        let nonces = NonceSecret::new([0; 32]);
        K::make(Instant::ORIGIN, config, service, Seed::from_u64(0), nonces)
            .map(drop)
            .map_err(|error| error.to_string())
    }
    let settings = NodeSettings::new(scenario, variant, parameters)?;
    match scenario.cluster.machine {
        MachineKind::Node => make::<gossip_proto::Node>(&settings),
        MachineKind::Membership => make::<gossip_proto::Membership>(&settings),
    }
}

/// Which part of `cluster` has a setting of that name.
pub(crate) fn section(name: &str) -> Option<&'static str> {
    [("config", CONFIG), ("service", SERVICE), ("experiment", EXPERIMENT)]
        .into_iter()
        .find(|(_, names)| names.contains(&name))
        .map(|(section, _)| section)
}

fn unknown(section: &str, name: &str, known: &[&str]) -> String {
    format!("{section}.{name}: there is no such setting; there are {}", known.join(", "))
}

impl FromScalar for Label {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        String::from_scalar(scalar).map(|label| Self(label.into()))
    }
}

impl FromScalar for Base {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text == "ten" => Ok(Self(Logarithm::Ten)),
            Scalar::Text(text) if text == "natural" => Ok(Self(Logarithm::Natural)),
            _ => Err(format!("\"ten\" or \"natural\", not {scalar}")),
        }
    }
}

impl From<Base> for Logarithm {
    fn from(base: Base) -> Self {
        base.0
    }
}

impl From<Label> for gossip_proto::Bytes {
    fn from(label: Label) -> Self {
        label.0
    }
}

impl FromScalar for Compressed {
    fn from_scalar(scalar: &Scalar) -> Result<Self, String> {
        match scalar {
            Scalar::Text(text) if text == "off" => Ok(Self(Compression::Off)),
            Scalar::Text(text) if text == "streams" => Ok(Self(Compression::Streams)),
            Scalar::Text(text) if text == "all" => Ok(Self(Compression::All)),
            _ => Err(format!("\"off\", \"streams\" or \"all\", not {scalar}")),
        }
    }
}

impl From<Compressed> for Compression {
    fn from(compressed: Compressed) -> Self {
        compressed.0
    }
}

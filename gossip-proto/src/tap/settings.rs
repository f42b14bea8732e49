//! A machine's whole configuration in the first entry of a recording; keys are left out.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::entry::{Item, Parser, Writer};
use super::scrub::Scrub;
use crate::config::{Admission, Answer, Cidr, Config, Experiment, Logarithm, Restore, ServiceConfig};
use crate::output::Clocks;
use crate::wire::layers::Compression;

/// Writes what a machine is made of.
pub(crate) fn write(config: &Config, services: Option<&ServiceConfig>) -> Vec<u8> {
    let (mut bytes, scrub) = (Vec::new(), Scrub::new([0; 16], false));
    let mut out = Writer::new(&mut bytes, usize::MAX, &scrub);
    config.put(&mut out);
    services.is_some().put(&mut out);
    if let Some(services) = services {
        services.put(&mut out);
    }
    bytes
}

/// Reads it again; `None` if another version wrote it in another way.
pub(crate) fn read(bytes: &[u8]) -> Option<(Config, Option<ServiceConfig>)> {
    let mut input = Parser::new(bytes);
    let settings = (Config::take(&mut input)?, <Option<ServiceConfig> as Item<'_>>::take(&mut input)?);
    input.is_empty().then_some(settings)
}

/// Lists every field, or it does not compile.
macro_rules! settings {
    ($name:ident { $($field:ident)* } $($skip:ident = $value:expr)?) => {
        impl<'a> Item<'a> for $name {
            fn put(&self, out: &mut Writer<'_>) {
                let Self { $($field,)* $($skip: _)? } = self;
                $($field.put(out);)*
            }

            fn take(input: &mut Parser<'a>) -> Option<Self> {
                Some(Self { $($field: Item::take(input)?,)* $($skip: $value)? })
            }
        }
    };
}

settings! {
    Config {
        name advertise metadata protocol_version delegate_versions label skip_inbound_label_check verify_incoming
        verify_outgoing compression stream_timeout indirect_checks retransmit_mult suspicion_mult suspicion_max_mult
        push_pull_interval probe_timeout probe_interval stream_pings awareness_max gossip_nodes gossip_interval
        gossip_to_the_dead dead_node_reclaim seeds seed_interval require_node_names cidrs_allowed max_datagram
        broadcast_timeout max_members max_rumors max_streams max_exchange_bytes max_inflated max_outgoing max_operations
        max_relays max_event_bytes work_per_call ask_before_merge merge_default admission admission_refuses_merges
        identities unknown_path max_paths experiment
    }
    keyring = None
}

settings! {
    ServiceConfig {
        tags serf_protocol event_buffer max_events_per_ltime user_event_size_limit query_timeout_mult query_size_limit
        query_response_size_limit max_open_queries name_conflict_resolution leave_propagate_delay reconnect_timeout
        tombstone_timeout reconnect_interval reconnect_tag flap_timeout learnt_timeout max_learnt
        recent_intent_timeout max_recent_intents restore coordinates fixed_tags
    }
}

settings! {
    Experiment {
        lha_probe lha_suspicion buddy_system scaled_probe_timeout probe_from_tick gossip_keeps_tick suspicion_k suspicion
        final_deaths logarithm transmit_limit piggyback max_updates one_lane stall_rule healing lockstep
    }
}

settings! { Restore { last alive learnt } }
settings! { Clocks { member event query } }

/// Variants without content, by number.
macro_rules! choices {
    ($($name:ident { $($code:literal $variant:ident)* })*) => {$(
        impl<'a> Item<'a> for $name {
            fn put(&self, out: &mut Writer<'_>) {
                match self { $(Self::$variant => $code,)* }.put(out);
            }

            fn take(input: &mut Parser<'a>) -> Option<Self> {
                match u8::take(input)? {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    )*};
}

choices! {
    Compression { 0u8 Off 1u8 Streams 2u8 All }
    Answer { 0u8 Accept 1u8 Refuse }
    Logarithm { 0u8 Ten 1u8 Natural }
}

impl<'a, T: Item<'a>> Item<'a> for Vec<T> {
    fn put(&self, out: &mut Writer<'_>) {
        self.len().put(out);
        self.iter().for_each(|item| item.put(out));
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let mut items = Self::new();
        for _ in 0..usize::take(input)? {
            // Ends with the input: every item takes a byte at the least.
            items.push(T::take(input)?);
        }
        Some(items)
    }
}

impl<'a, A: Item<'a>, B: Item<'a>, C: Item<'a>> Item<'a> for (A, B, C) {
    fn put(&self, out: &mut Writer<'_>) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some((A::take(input)?, B::take(input)?, C::take(input)?))
    }
}

impl<'a> Item<'a> for Duration {
    fn put(&self, out: &mut Writer<'_>) {
        self.as_secs().put(out);
        self.subsec_nanos().put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let (secs, nanos) = (u64::take(input)?, u32::take(input)?);
        (nanos < 1_000_000_000).then(|| Self::new(secs, nanos))
    }
}

impl<'a> Item<'a> for Cidr {
    fn put(&self, out: &mut Writer<'_>) {
        let (network, prefix) = self.parts();
        SocketAddr::new(network, 0).put(out);
        prefix.put(out);
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        let network: IpAddr = SocketAddr::take(input)?.ip();
        Self::new(network, u8::take(input)?)
    }
}

impl<'a> Item<'a> for Admission {
    fn put(&self, out: &mut Writer<'_>) {
        match self {
            Self::MetadataPrefix(prefix) => {
                0u8.put(out);
                prefix.put(out);
            }
            Self::TagRequired(tag) => {
                1u8.put(out);
                tag.put(out);
            }
            Self::TagEquals(tag, value) => {
                2u8.put(out);
                tag.put(out);
                value.put(out);
            }
            Self::TagEqualsAmong { tag, value, of, among } => {
                3u8.put(out);
                tag.put(out);
                value.put(out);
                of.put(out);
                among.put(out);
            }
            Self::TagUnique(tag) => {
                4u8.put(out);
                tag.put(out);
            }
            Self::PlainName => 5u8.put(out),
        }
    }

    fn take(input: &mut Parser<'a>) -> Option<Self> {
        Some(match u8::take(input)? {
            0 => Self::MetadataPrefix(Item::take(input)?),
            1 => Self::TagRequired(Item::take(input)?),
            2 => Self::TagEquals(Item::take(input)?, Item::take(input)?),
            3 => Self::TagEqualsAmong {
                tag: Item::take(input)?,
                value: Item::take(input)?,
                of: Item::take(input)?,
                among: Item::take(input)?,
            },
            4 => Self::TagUnique(Item::take(input)?),
            5 => Self::PlainName,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;
    use alloc::{format, vec};

    /// Whatever can be set, set to something else than its default.
    fn unusual() -> (Config, ServiceConfig) {
        let seconds = Duration::from_millis(1500);
        let mut config = Config::wan("näme", "[fe80::1]:7".parse().unwrap());
        let mut experiment = Experiment::default();
        experiment.suspicion_k(Some(3)).logarithm(Logarithm::Natural).lockstep(true).transmit_limit(Some(4));
        let rules = vec![
            Admission::MetadataPrefix(b"\0"[..].into()),
            Admission::TagRequired("a".into()),
            Admission::TagEquals("a".into(), "b".into()),
            Admission::TagEqualsAmong {
                tag: "a".into(),
                value: "b".into(),
                of: "c".into(),
                among: vec!["d".into(), "".into()],
            },
            Admission::TagUnique("u".into()),
            Admission::PlainName,
        ];
        config.label("l".into()).compression(Compression::All).merge_default(Answer::Accept).admission(rules);
        config.seeds(vec!["1.2.3.4:5".parse().unwrap()]).experiment(experiment).stream_timeout(seconds);
        let network = |text: &str, prefix| Cidr::new(text.parse().unwrap(), prefix).unwrap();
        config.cidrs_allowed(vec![network("10.0.0.0", 8), network("fe80::", 64)]).identities(true);
        let mut services = ServiceConfig::default();
        services.tags(vec![("role".into(), "web".into())]).reconnect_tag(Some("rc_tm".into()));
        services.restore(Some(Restore {
            last: Clocks { member: 1, event: 2, query: u64::MAX },
            alive: vec![(Name::from("b"), "1.2.3.4:5".parse().unwrap())],
            learnt: vec![(Name::from("c"), "1.2.3.4:6".parse().unwrap(), seconds)],
        }));
        (config, services)
    }

    #[test]
    fn a_configuration_comes_back_as_it_was() {
        let (config, services) = unusual();
        for services in [None, Some(&services)] {
            let bytes = write(&config, services);
            let (read_config, read_services) = read(&bytes).expect("what was written");
            assert_eq!(format!("{read_config:?}"), format!("{config:?}"));
            assert_eq!(format!("{read_services:?}"), format!("{services:?}"));
            for len in 0..bytes.len() {
                assert!(read(&bytes[..len]).is_none());
            }
        }
    }
}

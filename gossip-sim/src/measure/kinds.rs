//! What traffic is for, and how the first event spreads: read off the datagrams themselves, in the runs that keep series or
//! whose scenario asks for it. Opening every datagram at both of its ends takes its time.

use gossip_proto::Bytes;
use gossip_proto::wire::message::MessageType;
use transport_mem::net::observe::{Kind, Load, Spread};
use transport_mem::net::{Network, Watch};

use crate::measure::meter::Samples;
use crate::measure::series::{KindLoad, Series};
use crate::run::kind;

/// Observers that open datagrams.
#[derive(Debug, Default)]
pub(super) struct Opened {
    load: Option<Watch<Load>>,
    counted: Option<Load>,
    spread: Option<Watch<Spread>>,
}

impl Opened {
    /// Kinds count from now on.
    pub(super) fn begin<K: kind::Kind>(&mut self, net: &mut Network<K>) {
        self.load = Some(net.observe(if K::PASSES_ON { Load::new() } else { Load::serf() }));
    }

    /// Kinds do not count any more.
    pub(super) fn end<K: kind::Kind>(&mut self, net: &mut Network<K>) {
        if let Some(load) = self.load.take() {
            self.counted = Some(net.unobserve(load));
        }
    }

    /// An event is about to begin; the first one is followed.
    pub(super) fn follow<K: kind::Kind>(&mut self, net: &mut Network<K>, name: &str, payload: &[u8]) {
        if self.spread.is_some() {
            return;
        }
        let spread = if K::PASSES_ON {
            let name = Bytes::copy_from_slice(name.as_bytes());
            Spread::of(move |message| {
                message.split_first().is_some_and(|(first, message)| {
                    *first == MessageType::User.byte() && kind::named(message).0 == &name[..]
                })
            })
        } else {
            Spread::of_event(name.as_bytes().to_vec(), payload.to_vec())
        };
        self.spread = Some(net.observe(spread));
    }

    /// Puts what was counted, in the time that is measured, beside the rest.
    pub(super) fn finish<K: kind::Kind>(
        mut self,
        net: &mut Network<K>,
        seconds: f64,
        samples: &mut Samples,
        series: &mut Option<Series>,
    ) {
        self.end(net);
        if let Some(spread) = self.spread {
            let spread = net.unobserve(spread);
            if let Some(hop) = spread.last_hop() {
                samples.entry("last_hop").or_default().push(f64::from(hop));
            }
            if let Some(redundancy) = spread.redundancy() {
                samples.entry("redundancy").or_default().push(redundancy);
            }
        }
        let running = net.running().count();
        if let (Some(load), Some(series)) = (self.counted, series)
            && running > 0
            && seconds > 0.0
        {
            let each = |sum: u64| sum as f64 / running as f64 / seconds;
            for kind in Kind::ALL {
                let sent = load.total(kind);
                let (mut messages, mut bytes) = (0, 0);
                for node in net.nodes() {
                    let received = load.received(node, kind);
                    messages += received.messages;
                    bytes += received.bytes;
                }
                if sent.bytes > 0 || bytes > 0 {
                    series.kinds.push(KindLoad {
                        kind: kind.as_str().to_owned(),
                        messages_sent: each(sent.messages),
                        bytes_sent: each(sent.bytes),
                        messages_received: each(messages),
                        bytes_received: each(bytes),
                    });
                }
            }
        }
    }
}

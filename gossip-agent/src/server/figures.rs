//! What `stats` tells (serf.md 9.3): sections of figures, all of them text.

use transport_tokio::gossip_proto::Machine as _;
use transport_tokio::{Error, MemberInfo};

use super::Shared;
use crate::rpc::{Map, Stats, Text};

pub(super) async fn collect(shared: &Shared) -> Result<Stats, Error> {
    let section = |values: Vec<(&str, String)>| -> Map<Text> {
        values.into_iter().map(|(key, value)| (key, value.into())).collect()
    };
    let cluster = &shared.local.cluster;
    let (node, mut serf) = cluster
        .inspect(|node, _| {
            let (clocks, queues) = (node.clocks(), node.queues());
            let mut figures = vec![
                ("members", node.members().count().to_string()),
                ("failed", node.num_failed().to_string()),
                ("left", node.num_left().to_string()),
                ("health_score", node.health().to_string()),
                ("member_time", clocks.member.to_string()),
                ("event_time", clocks.event.to_string()),
                ("query_time", clocks.query.to_string()),
                ("intent_queue", queues.intents.to_string()),
                ("event_queue", queues.events.to_string()),
                ("query_queue", queues.queries.to_string()),
            ];
            let resets = node.coordinate().map(|_| node.stats().coordinate_resets);
            figures.extend(resets.map(|resets| ("coordinate_resets", resets.to_string())));
            (MemberInfo::from(&node.local()), figures)
        })
        .await?;
    serf.push(("encrypted", shared.encrypted.to_string()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Handle::current().metrics();
    Ok([
        ("agent", section(vec![("name", String::from_utf8_lossy(node.name.as_bytes()).into_owned())])),
        (
            "runtime",
            section(vec![
                ("os", go_name(std::env::consts::OS)),
                ("arch", go_name(std::env::consts::ARCH)),
                ("version", concat!("gossip ", env!("CARGO_PKG_VERSION")).into()),
                ("max_procs", runtime.num_workers().to_string()),
                // The nearest thing here.
                ("goroutines", runtime.num_alive_tasks().to_string()),
                ("cpu_count", threads.to_string()),
            ]),
        ),
        ("serf", section(serf)),
        ("tags", node.tags.iter().map(|(key, value)| (key, value.into())).collect()),
        ("event_handlers", handlers(shared)),
    ]
    .into_iter()
    .collect())
}

fn handlers(shared: &Shared) -> Map<Text> {
    let mut handlers = Vec::new();
    for spec in shared.handlers.borrow().iter() {
        for filter in spec.filter.to_string().split(',') {
            handlers.push((filter.to_owned(), spec.script.as_str().into()));
        }
    }
    handlers.into_iter().collect()
}

/// Whoever tells machines apart by these figures knows Go's names.
fn go_name(name: &str) -> String {
    match name {
        "macos" => "darwin",
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    }
    .into()
}

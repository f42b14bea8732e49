//! What tests with arbitrary input need to keep to themselves: no files, no interfaces, no names looked up.

use core::net::IpAddr;

use super::Layer;
use super::address::split;

pub(crate) use super::file::parse as parse_file;
pub(crate) use super::keyring::parse_ring;

/// Leaves out of a configuration what would be looked for outside of it.
pub(crate) fn without_surroundings(mut layer: Layer) -> Layer {
    layer.node_name.get_or_insert_with(|| "node".into());
    for path in [
        &mut layer.tags_file,
        &mut layer.keyring_file,
        &mut layer.tls_cert,
        &mut layer.tls_key,
        &mut layer.tls_ca,
        &mut layer.interface,
    ] {
        *path = None;
    }
    for address in [&mut layer.bind, &mut layer.advertise, &mut layer.rpc_addr, &mut layer.metrics_addr] {
        *address = address.take().filter(|text| !is_looked_up(text));
    }
    layer
}

fn is_looked_up(text: &str) -> bool {
    split(text).is_some_and(|(host, _)| !host.is_empty() && host.parse::<IpAddr>().is_err())
}

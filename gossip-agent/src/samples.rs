//! Values for tests that nothing but a node can make.

use core::net::SocketAddr;

use transport_tokio::gossip_proto::{Bytes, Instant, Machine as _, NonceSecret};
use transport_tokio::{Config, MemberInfo, Node, Seed, ServiceConfig};

/// A member as a node sees itself.
pub(crate) fn member(name: &str, addr: &str, tags: &[(&str, &str)]) -> MemberInfo {
    let addr: SocketAddr = addr.parse().unwrap();
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let mut services = ServiceConfig::default();
    services.tags(tags.iter().map(|(key, value)| (bytes(key), bytes(value))).collect::<Vec<_>>());
    let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
    let node = Node::new(Instant::ORIGIN, Config::lan(name, addr), services, seed, nonces).unwrap();
    MemberInfo::from(&node.local())
}

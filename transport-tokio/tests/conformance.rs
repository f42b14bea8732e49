//! UDP and TCP keep to what is asked of every transport, and so does tokio as a runtime.

mod conformance {
    pub(crate) mod factory;
}

use conformance::factory::Sockets;

gossip_driver::transport_conformance!(ipv4, Sockets::new([127, 0, 0, 1]));
gossip_driver::transport_conformance!(on_many_threads, Sockets::new([127, 0, 0, 1]).on_many_threads());
gossip_driver::transport_conformance!(ipv6, Sockets::new([0, 0, 0, 0, 0, 0, 0, 1]));
#[cfg(feature = "tls")]
gossip_driver::transport_conformance!(tls, Sockets::new([127, 0, 0, 1]).with_tls());
#[cfg(feature = "tls")]
gossip_driver::transport_conformance!(
    tls_on_many_threads,
    Sockets::new([127, 0, 0, 1]).with_tls().on_many_threads()
);

//! UDP and TCP keep to what is asked of every transport, and so does tokio as a runtime.

mod conformance {
    pub(crate) mod factory;
}

use conformance::factory::Sockets;

gossip_driver::transport_conformance!(ipv4, Sockets::new([127, 0, 0, 1]));
gossip_driver::transport_conformance!(on_many_threads, Sockets::new([127, 0, 0, 1]).on_many_threads());
gossip_driver::transport_conformance!(ipv6, Sockets::new([0, 0, 0, 0, 0, 0, 0, 1]));

//! The bus keeps to what is asked of every transport, and so does the virtual runtime.

mod conformance {
    pub(crate) mod factory;
}

use conformance::factory::InMemory;

gossip_driver::transport_conformance!(at_once, InMemory::at_once());
gossip_driver::transport_conformance!(with_latency, InMemory::with_latency());

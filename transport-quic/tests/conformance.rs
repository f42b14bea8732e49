//! QUIC keeps to what is asked of every transport, and so does async-std as a runtime, as this crate uses it.

mod conformance {
    pub(crate) mod factory;
}

#[cfg(feature = "runtime-async-std")]
mod on_async_std {
    use crate::conformance::factory::AsyncStd;

    gossip_driver::transport_conformance!(ipv4, AsyncStd::new([127, 0, 0, 1]));
    gossip_driver::transport_conformance!(ipv6, AsyncStd::new([0, 0, 0, 0, 0, 0, 0, 1]));
}

#[cfg(feature = "runtime-tokio")]
mod on_tokio {
    use crate::conformance::factory::Tokio;

    gossip_driver::transport_conformance!(ipv4, Tokio::new([127, 0, 0, 1]));
    gossip_driver::transport_conformance!(on_many_threads, Tokio::new([127, 0, 0, 1]).on_many_threads());
    gossip_driver::transport_conformance!(ipv6, Tokio::new([0, 0, 0, 0, 0, 0, 0, 1]));
}

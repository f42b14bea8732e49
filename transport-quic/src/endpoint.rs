//! How QUIC is set up.

use core::time::Duration;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use gossip_tls::{Credentials, protocol};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::limits::Limits;

/// An endpoint that both dials and accepts.
pub(crate) fn new(
    socket: UdpSocket,
    runtime: Arc<dyn quinn::Runtime>,
    credentials: &Credentials,
    label: &[u8],
    limits: &Limits,
) -> io::Result<Endpoint> {
    let protocol = protocol("quic", label);
    let transport = Arc::new(transport(limits)?);
    let tls = credentials.server_config(protocol.clone()).map_err(io::Error::other)?;
    let mut server =
        ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(io::Error::other)?));
    server
        .transport_config(transport.clone())
        .max_incoming(limits.validate_from.max(16) * 4)
        // Before it is decided what becomes of a first packet, the next ones of its peer need not be kept.
        .incoming_buffer_size(16 << 10)
        .incoming_buffer_size_total(1 << 20)
        .migration(true);
    let tls = credentials.client_config(protocol).map_err(io::Error::other)?;
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(io::Error::other)?));
    client.transport_config(transport);
    // A node that was restarted tells peers, with the same key as before, that it knows nothing of their connections.
    let reset_key = credentials.derive_secret("quic stateless reset");
    let config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_key)));
    let mut endpoint = Endpoint::new(config, Some(server), socket, runtime)?;
    endpoint.set_default_client_config(client);
    Ok(endpoint)
}

fn transport(limits: &Limits) -> io::Result<TransportConfig> {
    let idle = IdleTimeout::try_from(limits.idle).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_per_connection))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(limits.stream_window))
        .receive_window(VarInt::from_u32(limits.receive_window))
        .send_window(limits.send_window.into())
        .datagram_send_buffer_size(limits.datagram_buffer)
        .datagram_receive_buffer_size(Some(limits.datagram_buffer))
        .initial_mtu(INITIAL_MTU)
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(None);
    Ok(transport)
}

/// What every path must carry for QUIC (RFC 9000, section 14); larger ones are found out.
const INITIAL_MTU: u16 = 1200;
/// Until the first round trip is measured; RFC 9002 has 333 ms, which leaves a lost first packet of a probe no second try
/// within the probe's half second.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// The longest gossip datagram that fits a packet of [`INITIAL_MTU`]: the rest is the packet's header, with the longest
/// connection id that nodes use and the longest packet number, the seal, and the frame's header, for which quinn sets
/// aside a type and a length of 8 bytes.
pub(crate) const FIRST_DATAGRAM: usize = INITIAL_MTU as usize - (1 + 8 + 4) - 16 - (1 + 8);

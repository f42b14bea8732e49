//! One open connection: who is at its other end, and the two tasks that read from it.

use core::future::poll_fn;
use core::net::SocketAddr;
use std::sync::Arc;

use gossip_tls::{Peer, Refusal, Side};
use quinn::{Connection, VarInt};
use rustls_pki_types::CertificateDer;

use crate::refusal::{OUTDATED, UNTRUSTED};
use crate::shared::Shared;
use crate::stream::{Open, QuicStream};

/// Takes a connection whose handshake is done. If it is not kept, why the peer is refused; nothing if this node had no place
/// for it.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    connection: Connection,
    addr: SocketAddr,
    dialled: bool,
) -> Result<(), Option<String>> {
    let generation = shared.credentials.generation();
    let peer = match check(shared, &connection, dialled) {
        Ok(peer) => peer,
        Err(refusal) => {
            connection.close(VarInt::from_u32(UNTRUSTED), b"");
            return Err(Some(format!("this node does not accept the peer's certificate: {refusal}")));
        }
    };
    let identity = shared.identity(&peer.fingerprint);
    let mut tie = [0; 32];
    if connection.export_keying_material(&mut tie, b"EXPORTER-gossip-tie", b"").is_err() {
        return Err(None);
    }
    let id =
        shared.with(|state| state.opened(connection.clone(), addr, identity, tie, dialled)).ok_or(None)?;
    shared.spawn(read_datagrams(shared.clone(), connection.clone(), id));
    shared.spawn(accept_streams(shared.clone(), connection, id));
    if shared.credentials.generation() != generation {
        // Those who looked through all connections may have missed this one.
        check_all(shared, |_| true);
    }
    Ok(())
}

/// Closes connections whose certificate is not good any more, of those that are asked about.
pub(crate) fn check_all(shared: &Arc<Shared>, is_asked: impl Fn(u64) -> bool) {
    for (id, connection, dialled) in shared.with(|state| state.links()) {
        if !is_asked(id) {
            continue;
        }
        match check(shared, &connection, dialled) {
            Ok(_) => {}
            // The peer may have another certificate by now than when it connected: the next handshake judges that.
            Err(Refusal::Invalid(_)) => shared.with(|state| state.end(id, OUTDATED, b"")),
            Err(refusal) => shared.with(|state| {
                if let Some(addr) = state.addr(id) {
                    state.refused(addr, format!("this node does not accept the peer any more: {refusal}"));
                }
                state.end(id, UNTRUSTED, b"");
            }),
        }
    }
}

fn check(shared: &Shared, connection: &Connection, dialled: bool) -> Result<Peer, Refusal> {
    let chain =
        connection.peer_identity().and_then(|found| found.downcast::<Vec<CertificateDer<'static>>>().ok());
    let side = if dialled { Side::Server } else { Side::Client };
    shared.credentials.check(&chain.ok_or(Refusal::NoCertificate)?, side)
}

async fn read_datagrams(shared: Arc<Shared>, connection: Connection, id: u64) {
    loop {
        poll_fn(|cx| shared.with(|state| state.poll_room(id, cx))).await;
        match connection.read_datagram().await {
            Ok(bytes) => shared.with(|state| state.received(id, bytes)),
            Err(error) => return shared.with(|state| state.lost(id, Some(&error))),
        }
    }
}

async fn accept_streams(shared: Arc<Shared>, connection: Connection, id: u64) {
    loop {
        poll_fn(|cx| shared.with(|state| state.poll_accept_room(id, cx))).await;
        let Ok(halves) = connection.accept_bi().await else { return };
        let Some(held) = shared.with(|state| state.hold(id)) else { return };
        let stream = QuicStream::accepted(Open::new(halves, held, Arc::downgrade(&shared)));
        shared.with(|state| state.accept(id, stream));
    }
}

/// As the machine knows addresses: IPv4 as IPv4, and scopes only where they matter.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(mut addr) if addr.ip().is_unicast_link_local() => {
            addr.set_flowinfo(0);
            addr.into()
        }
        _ => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
    }
}

#[cfg(all(test, feature = "runtime-tokio"))]
#[path = "link_tests.rs"]
mod tests;

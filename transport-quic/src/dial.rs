//! Opening connections.

use core::net::SocketAddr;
use std::sync::Arc;

use gossip_driver::gossip_proto::TransmitFailure;
use quinn::{ConnectError, ConnectionError};

use crate::link;
use crate::refusal::refusal;
use crate::shared::Shared;
use crate::timer::within;

/// Opens a connection in a task of its own. The path is noted as opening already.
pub(crate) fn begin(shared: &Arc<Shared>, to: SocketAddr, attempt: u64) {
    let task = shared.clone();
    shared.spawn(async move { dial(&task, to, attempt).await });
}

async fn dial(shared: &Arc<Shared>, to: SocketAddr, attempt: u64) {
    // Members are known by their certificates, not by host names; with an address no name is sent.
    let connecting = match shared.endpoint.connect(to, "0.0.0.0") {
        Ok(connecting) => connecting,
        Err(error) => {
            let why = match error {
                ConnectError::InvalidRemoteAddress(_) => TransmitFailure::Unreachable,
                _ => TransmitFailure::Local,
            };
            return shared.with(|state| state.dial_failed(to, attempt, why, None));
        }
    };
    let error = match within(&*shared.runtime, shared.limits.open_timeout, connecting).await {
        Some(Ok(connection)) => match link::begin(shared, connection, to, true) {
            Ok(()) => return shared.with(|state| state.dial_ended()),
            Err(refused) => {
                // Without a refusal it was this node that had no place for it.
                let why = match refused {
                    Some(_) => TransmitFailure::Unreachable,
                    None => TransmitFailure::Local,
                };
                return shared.with(|state| state.dial_failed(to, attempt, why, refused));
            }
        },
        Some(Err(error)) => error,
        None => ConnectionError::TimedOut,
    };
    let why = match error {
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => TransmitFailure::Local,
        _ => TransmitFailure::Unreachable,
    };
    shared.with(|state| state.dial_failed(to, attempt, why, refusal(&error)));
}

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
pub(crate) fn begin(shared: &Arc<Shared>, to: SocketAddr) {
    let task = shared.clone();
    shared.spawn(async move { dial(&task, to).await });
}

async fn dial(shared: &Arc<Shared>, to: SocketAddr) {
    // Members are known by their certificates, not by host names; with an address no name is sent.
    let connecting = match shared.endpoint.connect(to, "0.0.0.0") {
        Ok(connecting) => connecting,
        Err(error) => {
            let why = match error {
                ConnectError::InvalidRemoteAddress(_) => TransmitFailure::Unreachable,
                _ => TransmitFailure::Local,
            };
            return shared.with(|state| state.dial_failed(to, why, None));
        }
    };
    let error = match within(&*shared.runtime, shared.limits.open_timeout, connecting).await {
        Some(Ok(connection)) => match link::begin(shared, connection, to, true) {
            Ok(()) => return shared.with(|state| state.dial_ended()),
            Err(refused) => {
                return shared.with(|state| state.dial_failed(to, TransmitFailure::Unreachable, refused));
            }
        },
        Some(Err(error)) => error,
        None => ConnectionError::TimedOut,
    };
    let why = match error {
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => TransmitFailure::Local,
        _ => TransmitFailure::Unreachable,
    };
    shared.with(|state| state.dial_failed(to, why, refusal(&error)));
}

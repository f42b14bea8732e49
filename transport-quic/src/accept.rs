//! Letting peers in, or not.

use std::sync::Arc;

use quinn::Incoming;

use crate::link;
use crate::refusal::refusal;
use crate::shared::Shared;
use crate::timer::within;

/// Takes what comes until the endpoint is closed. What is kept before a peer has shown a certificate is bounded.
pub(crate) async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let ip = incoming.remote_address().ip().to_canonical();
        let (all, from_there) = shared.with(|state| state.handshakes(ip));
        let limits = &shared.limits;
        let validated = incoming.remote_address_validated();
        if !validated && all >= limits.validate_from {
            // Nothing is kept; whoever is there comes back with the token.
            let _ = incoming.retry();
        } else if all >= limits.handshakes || from_there >= limits.handshakes_per_address {
            incoming.ignore();
        } else {
            shared.with(|state| state.handshake_begun(ip));
            let task = shared.clone();
            shared.spawn(async move {
                shake(&task, incoming).await;
                task.with(|state| state.handshake_ended(ip));
            });
        }
    }
}

async fn shake(shared: &Arc<Shared>, incoming: Incoming) {
    let from = incoming.remote_address();
    let from = link::canonical(from);
    let Ok(connecting) = incoming.accept() else { return };
    match within(&*shared.runtime, shared.limits.open_timeout, connecting).await {
        Some(Ok(connection)) => {
            let addr = link::canonical(connection.remote_address());
            if let Err(Some(why)) = link::begin(shared, connection, addr, false) {
                shared.with(|state| state.refused(from, why));
            }
        }
        Some(Err(error)) => {
            if let Some(why) = refusal(&error) {
                shared.with(|state| state.refused(from, why));
            }
        }
        None => {}
    }
}

//! Letting peers in, or not.

use core::future::{Future as _, poll_fn};
use core::pin::pin;
use core::task::Poll;
use std::sync::Arc;

use quinn::Incoming;

use crate::link;
use crate::refusal::refusal;
use crate::shared::Shared;
use crate::state::State;
use crate::timer::within;

/// Takes what comes until the endpoint is closed. What is kept before a peer has shown a certificate is bounded.
pub(crate) async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let ip = incoming.remote_address().ip();
        let (all, from_there) = shared.with(|state| state.handshakes(ip));
        let limits = &shared.limits;
        let validated = incoming.remote_address_validated();
        if !validated && all >= limits.validate_from {
            // Nothing is kept; whoever is there comes back with the token.
            let _ = incoming.retry();
        } else if from_there >= limits.handshakes_per_address
            || (all >= limits.handshakes && !shared.with(State::displace_handshake))
        {
            incoming.ignore();
        } else {
            let id = shared.with(|state| state.handshake_begun(ip));
            let task = shared.clone();
            shared.spawn(async move {
                let mut work = pin!(shake(&task, incoming));
                poll_fn(|cx| match task.with(|state| state.poll_displaced(id, cx)) {
                    Poll::Pending => work.as_mut().poll(cx),
                    displaced => displaced,
                })
                .await;
                task.with(|state| state.handshake_ended(id));
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

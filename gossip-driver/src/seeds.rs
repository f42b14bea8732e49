//! Seeds by name: what a name stands for may change while a node runs, so it is looked up again.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use async_channel::WeakSender;
use gossip_proto::Machine;

use crate::address::{Host, Target};
use crate::resolve::Resolve;
use crate::state::Command;

/// Looks the names up for as long as the node runs and nobody has given it other seeds; `turn` then says another number.
/// A name that is not found keeps the addresses it had.
pub(crate) async fn follow<M: Machine + 'static>(
    commands: WeakSender<Command<M>>,
    resolver: Arc<dyn Resolve>,
    targets: Vec<Target>,
    max_addresses: usize,
    turn: (u64, Arc<AtomicU64>),
) {
    let mut found: Vec<Vec<SocketAddr>> = vec![Vec::new(); targets.len()];
    loop {
        for (Target { host, port, .. }, found) in targets.iter().zip(&mut found) {
            match host {
                Host::Literal(addr) => *found = vec![*addr],
                Host::Name(name) => {
                    if let Ok(ips) = resolver.resolve(name).await
                        && !ips.is_empty()
                    {
                        let ips = ips.into_iter().take(max_addresses);
                        *found = ips.map(|ip| SocketAddr::new(ip.to_canonical(), *port)).collect();
                    }
                }
            }
        }
        let seeds = found.concat();
        let Some(commands) = commands.upgrade().filter(|_| turn.1.load(Ordering::Acquire) == turn.0) else {
            return;
        };
        let sent = commands.send(Box::new(move |core, now| core.machine.set_seeds(now, &seeds))).await;
        drop(commands);
        if sent.is_err() || targets.iter().all(|target| matches!(target.host, Host::Literal(_))) {
            return;
        }
        resolver.pause(LOOK_UP).await;
    }
}

/// How often names are looked up.
const LOOK_UP: Duration = Duration::from_secs(60);

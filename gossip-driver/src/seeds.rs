//! Seeds by name: what a name stands for may change while a node runs, so it is looked up again.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use async_channel::WeakSender;
use gossip_proto::Machine;

use crate::address::{Host, Target};
use crate::resolve::{self, Resolve};
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
    let literal = |target: &Target| match target.host {
        Host::Literal(addr) => vec![addr],
        Host::Name(_) => Vec::new(),
    };
    let mut found: Vec<Vec<SocketAddr>> = targets.iter().map(literal).collect();
    let names = || {
        targets.iter().enumerate().filter_map(|(index, target)| match &target.host {
            Host::Literal(_) => None,
            Host::Name(name) => Some((index, name, target.port)),
        })
    };
    let has_names = names().next().is_some();
    // Addresses do not wait for a name server. If there are only names, the seeds of before stay until these are looked up.
    if !has_names || !found.concat().is_empty() {
        let is_taken = hand_over(&commands, found.concat(), &turn).await;
        if !is_taken || !has_names {
            return;
        }
    }
    loop {
        let answers = resolve::all(names().map(|(_, name, _)| resolver.resolve(name))).await;
        for ((index, _, port), answer) in names().zip(answers) {
            if let Ok(ips) = answer
                && !ips.is_empty()
            {
                let ips = ips.into_iter().take(max_addresses);
                found[index] = ips.map(|ip| SocketAddr::new(ip.to_canonical(), port)).collect();
            }
        }
        if !hand_over(&commands, found.concat(), &turn).await {
            return;
        }
        resolver.pause(LOOK_UP).await;
    }
}

/// Whether the node still runs, and wants these.
async fn hand_over<M: Machine + 'static>(
    commands: &WeakSender<Command<M>>,
    seeds: Vec<SocketAddr>,
    turn: &(u64, Arc<AtomicU64>),
) -> bool {
    let commands = commands.upgrade().filter(|_| turn.1.load(Ordering::Acquire) == turn.0);
    let Some(commands) = commands else { return false };
    commands.send(Box::new(move |core, now| core.machine.set_seeds(now, &seeds))).await.is_ok()
}

/// How often names are looked up.
const LOOK_UP: Duration = Duration::from_secs(60);

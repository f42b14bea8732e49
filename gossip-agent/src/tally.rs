//! What the agent itself counts, beside the node.

use core::ops::AddAssign;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cheap to clone; all clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ipc_accepts: AtomicU64,
    ipc_commands: AtomicU64,
    /// By script; as many as were ever configured.
    invocations: Mutex<BTreeMap<String, Invocations>>,
}

/// How often a script ran, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Invocations {
    pub(crate) count: u64,
    pub(crate) took: Duration,
}

impl AddAssign for Invocations {
    fn add_assign(&mut self, more: Self) {
        self.count += more.count;
        self.took += more.took;
    }
}

impl Tally {
    /// A client of the RPC server was let in.
    pub(crate) fn ipc_accepted(&self) {
        self.shared.ipc_accepts.fetch_add(1, Ordering::Relaxed);
    }

    /// It gave a command.
    pub(crate) fn ipc_command(&self) {
        self.shared.ipc_commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn invoked(&self, script: &str, took: Duration) {
        let mut invocations = self.lock();
        *invocations.entry(script.into()).or_default() += Invocations { count: 1, took };
    }

    pub(crate) fn ipc_accepts(&self) -> u64 {
        self.shared.ipc_accepts.load(Ordering::Relaxed)
    }

    pub(crate) fn ipc_commands(&self) -> u64 {
        self.shared.ipc_commands.load(Ordering::Relaxed)
    }

    pub(crate) fn invocations(&self) -> BTreeMap<String, Invocations> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Invocations>> {
        self.shared.invocations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

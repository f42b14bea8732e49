//! What remains of a node after its end.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use gossip_proto::{Machine, Stats};

use crate::error::EndReason;
use crate::notice::MemberInfo;
use crate::state::Core;

/// Never sent: that the channel is closed says that the loop has ended.
pub(crate) enum Nothing {}

/// What remains of a node after its end.
pub(crate) struct Ending {
    reason: OnceLock<EndReason>,
    last: Mutex<Last>,
}

/// What a node knew last.
pub(crate) struct Last {
    pub(crate) local: MemberInfo,
    pub(crate) members: Vec<MemberInfo>,
    pub(crate) stats: Stats,
}

impl Ending {
    pub(crate) fn new(machine: &impl Machine) -> Self {
        Self { reason: OnceLock::new(), last: Mutex::new(Last::of(machine)) }
    }

    pub(crate) fn set<M: Machine>(&self, reason: EndReason, core: &Core<M>) {
        *self.last() = Last::of(&core.machine);
        let _ = self.reason.set(reason);
    }

    pub(crate) fn reason(&self) -> EndReason {
        self.reason.get().cloned().unwrap_or(EndReason::Cancelled)
    }

    pub(crate) fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn of(machine: &impl Machine) -> Self {
        Self {
            local: MemberInfo::from(&machine.local()),
            members: machine.members().map(|member| MemberInfo::from(&member)).collect(),
            stats: machine.stats().clone(),
        }
    }
}

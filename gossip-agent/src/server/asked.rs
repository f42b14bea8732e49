//! The queries that a client was told of and may answer. It knows them by numbers of its own, which count from 1.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use transport_tokio::gossip_proto::RequestId;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    waiting: BTreeMap<u64, RequestId>,
}

impl Asked {
    /// The client's number for a query. A client that answers none has its oldest forgotten.
    pub(super) fn add(&self, query: RequestId) -> u64 {
        let mut state = self.state();
        if state.waiting.len() == MAX {
            state.waiting.pop_first();
        }
        state.last += 1;
        let id = state.last;
        state.waiting.insert(id, query);
        id
    }

    /// The query of a number; `None` if its time is over, or it was never asked.
    pub(super) fn get(&self, id: u64) -> Option<RequestId> {
        self.state().waiting.get(&id).copied()
    }

    /// Its time is over.
    pub(super) fn remove(&self, id: u64) {
        self.state().waiting.remove(&id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queries that may wait for one client's answers.
const MAX: usize = 1024;

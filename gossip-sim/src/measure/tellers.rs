//! Who told whom: what a node says at the very instant at which it was handed something, the sender of that has told it.

use std::collections::BTreeMap;

use gossip_proto::Instant;
use transport_mem::net::{Change, News, NodeId, Observer, StreamPath};

use crate::measure::series::TOLD;

/// Senders of news, by when and to whom; as many as a picture can show.
#[derive(Debug, Default)]
pub(crate) struct Tellers {
    last: BTreeMap<NodeId, (Instant, NodeId)>,
    told: BTreeMap<(Instant, usize), usize>,
}

impl Tellers {
    /// What was noted since this was asked last.
    pub(crate) fn take(&mut self) -> BTreeMap<(Instant, usize), usize> {
        core::mem::take(&mut self.told)
    }

    fn learnt(&mut self, at: Instant, node: NodeId) {
        if let Some(&(when, from)) = self.last.get(&node)
            && when == at
            && self.told.len() < TOLD
        {
            self.told.insert((at, node.number()), from.number());
        }
    }
}

impl<M> Observer<M> for Tellers {
    fn received(&mut self, at: Instant, from: NodeId, to: NodeId, _: &[u8]) {
        self.last.insert(to, (at, from));
    }

    fn read(&mut self, at: Instant, stream: StreamPath, _: &[u8]) {
        self.last.insert(stream.to, (at, stream.from));
    }

    fn changed(&mut self, node: NodeId, change: &Change) {
        self.learnt(change.at, node);
    }

    fn heard(&mut self, at: Instant, node: NodeId, _: &News) {
        self.learnt(at, node);
    }
}

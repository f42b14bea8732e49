//! Recordings of nodes: what a node was told, in the form that [`gossip_proto::Playback`] plays.

use gossip_proto::{Instant, MAX_TAP_FRAME, Machine};

use crate::net::node::Node;
use crate::net::{Network, NodeId};

/// What may wait between two turns of a node, beyond what one call brings.
const BUFFER: usize = 64 << 20;
/// Keys in a simulation are no secrets, and two runs shall be equal.
const SALT: [u8; 16] = *b"a simulated salt";

impl<M: Machine> Network<M> {
    /// Records every node that is started from now on, restarts included, in at most `limit` bytes each; `None` ends that
    /// for later starts. A node is recorded from its start or not at all, because a recording is played from there.
    pub fn record_starts(&mut self, limit: Option<u64>) {
        self.world.settings.record = limit;
    }

    /// What was recorded of a node since it was last started; empty if it is not recorded. As it is, this is what
    /// [`gossip_proto::Playback`] plays, and what a file holds.
    pub fn recording(&self, node: NodeId) -> &[u8] {
        &self.node(node).recording
    }

    /// Ends a node's recording with its present state. Nothing happens if none runs.
    pub fn stop_recording(&mut self, node: NodeId) {
        let now = self.node(node).now(&self.world);
        let node = &mut self.nodes[node.number()];
        if let Some(mut machine) = node.machine.take() {
            machine.stop_recording(now);
            node.keep_recorded(&mut *machine);
            node.machine = Some(machine);
        }
    }
}

impl<M: Machine> Node<M> {
    pub(crate) fn begin_recording(&mut self, machine: &mut M, now: Instant, limit: Option<u64>) {
        self.recording = Vec::new();
        self.records = limit.is_some();
        if let Some(limit) = limit {
            let buffer = usize::try_from(limit).map_or(BUFFER, |limit| limit.min(BUFFER));
            machine.start_recording(now, buffer, SALT);
            machine.limit_recording(limit);
        }
    }

    /// Takes what was recorded since the last call.
    pub(crate) fn keep_recorded(&mut self, machine: &mut M) {
        if !self.records {
            return;
        }
        let mut frames = [0; MAX_TAP_FRAME];
        loop {
            match machine.poll_tap(&mut frames) {
                0 => return,
                len => self.recording.extend_from_slice(&frames[..len]),
            }
        }
    }
}

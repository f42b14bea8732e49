//! One direction of an exchange, received whole.

use crate::wire::message::NodeState;
use crate::wire::msgpack::DecodeError;
use alloc::vec::Vec;
use core::ops::Range;

/// The state that a peer sent: its member table and its user state. Owns the received bytes; node states are
/// decoded when they are asked for, so that merging a large table can be done in slices.
#[derive(Debug)]
pub struct PushPull {
    buf: Vec<u8>,
    join: bool,
    nodes: usize,
    states: Range<usize>,
    user_state: Range<usize>,
    next: usize,
    at: usize,
}

impl PushPull {
    pub(super) fn new(
        buf: Vec<u8>,
        join: bool,
        nodes: usize,
        states: Range<usize>,
        user_state: Range<usize>,
    ) -> Self {
        let at = states.start;
        Self { buf, join, nodes, states, user_state, next: 0, at }
    }

    /// The next node state, `None` after the last one. All have been checked on arrival, so an error means a
    /// defect here, not at the peer; the rest is passed over then.
    pub fn next_node(&mut self) -> Option<Result<NodeState<'_>, DecodeError>> {
        if self.next >= self.nodes {
            return None;
        }
        let left = self.buf.get(self.at..self.states.end).unwrap_or_default();
        match NodeState::decode(left) {
            Ok((state, used)) => {
                self.next += 1;
                self.at += used;
                Some(Ok(state))
            }
            Err(error) => {
                self.next = self.nodes;
                Some(Err(error))
            }
        }
    }

    /// Starts over with the first node state: a table is judged as a whole before any of it is merged (spec
    /// 3.1).
    pub fn rewind(&mut self) {
        self.next = 0;
        self.at = self.states.start;
    }

    /// All node states, from the first; what lies behind one that does not decode is passed over.
    pub fn iter(&self) -> impl Iterator<Item = NodeState<'_>> {
        let mut left = self.buf.get(self.states.clone()).unwrap_or_default();
        (0..self.nodes).map_while(move |_| {
            let (state, used) = NodeState::decode(left).ok()?;
            left = left.get(used..)?;
            Some(state)
        })
    }

    /// Whether the peer is joining.
    #[must_use]
    pub fn join(&self) -> bool {
        self.join
    }

    /// How many node states there are in all.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many are still to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.nodes - self.next
    }

    /// What the layer above sent along.
    #[must_use]
    pub fn user_state(&self) -> &[u8] {
        self.buf.get(self.user_state.clone()).unwrap_or_default()
    }

    /// Bytes held, for accounting.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buf.capacity()
    }
}

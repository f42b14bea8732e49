//! Drives two machines against each other over a network of one wire, in virtual time.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};
use core::time::Duration;

use gossip_proto::{Instant, Machine, Node, Source, StreamAction, StreamFailure, StreamId};

/// One of the two nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Side {
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A stream between the two: its id on each side, until that side has closed it.
struct Stream {
    ids: [Option<StreamId>; 2],
    /// Bytes under way to each side, and whether the end follows them.
    toward: [(VecDeque<u8>, bool); 2],
}

/// The two nodes and what is between them. Datagrams and bytes arrive when time next moves, at most a
/// millisecond later.
pub(crate) struct Link {
    nodes: [Node; 2],
    now: Instant,
    datagrams: Vec<(Side, Vec<u8>)>,
    streams: Vec<Stream>,
    buffer: Vec<u8>,
}

const LATENCY: Duration = Duration::from_millis(1);

impl Link {
    pub(crate) fn new(left: Node, right: Node) -> Self {
        let buffer = vec![0; left.config().datagram_size().max(right.config().datagram_size())];
        Self {
            nodes: [left, right],
            now: Instant::ORIGIN,
            datagrams: Vec::new(),
            streams: Vec::new(),
            buffer,
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Runs until `done` says so. It sees the nodes after each step and polls the outputs it cares for.
    pub(crate) fn run_until<E>(
        &mut self,
        patience: Duration,
        failure: E,
        mut done: impl FnMut(&mut [Node; 2]) -> bool,
    ) -> Result<(), E> {
        let give_up = self.now + patience;
        while self.now <= give_up {
            self.send();
            if done(&mut self.nodes) {
                return Ok(());
            }
            self.sleep();
            self.deliver();
            for node in &mut self.nodes {
                // Work may be sliced: as long as the node stays due, it is called again.
                while node.poll_timeout().is_some_and(|due| due <= self.now) {
                    node.handle_timeout(self.now);
                }
            }
        }
        Err(failure)
    }

    /// Time goes on to the next thing that happens.
    fn sleep(&mut self) {
        let under_way = !self.datagrams.is_empty()
            || self
                .streams
                .iter()
                .any(|stream| stream.toward.iter().any(|(bytes, end)| *end || !bytes.is_empty()));
        let arrival = under_way.then(|| self.now + LATENCY);
        let timers = self.nodes.iter().filter_map(Machine::poll_timeout);
        let next = timers.chain(arrival).min().unwrap_or(Instant::MAX);
        self.now = next.max(self.now);
    }

    /// Hands over what is under way.
    fn deliver(&mut self) {
        for (to, mut datagram) in core::mem::take(&mut self.datagrams) {
            let source = Source::unauthenticated(self[to.other()].local().addr);
            let now = self.now;
            // A datagram that a node cannot read is counted there and changes nothing.
            let _ = self[to].handle_datagram(now, source, &mut datagram);
        }
        for stream in &mut self.streams {
            for side in [Side::Left, Side::Right] {
                let (bytes, end) = &mut stream.toward[side.index()];
                let Some(id) = stream.ids[side.index()] else { continue };
                if bytes.is_empty() && !*end {
                    continue;
                }
                let node = &mut self.nodes[side.index()];
                match node.handle_stream_data(self.now, id, bytes.make_contiguous(), *end) {
                    Ok(consumed) => {
                        bytes.drain(..consumed);
                        *end &= !bytes.is_empty();
                    }
                    Err(_) => {
                        bytes.clear();
                        *end = false;
                    }
                }
            }
        }
    }

    /// Takes what the nodes have to say, in the order that the contract asks for: datagrams, then streams.
    fn send(&mut self) {
        for side in [Side::Left, Side::Right] {
            let node = &mut self.nodes[side.index()];
            while let Some(transmit) = node.poll_transmit(self.now, &mut self.buffer) {
                // There is nobody else on the wire, so an address is the other node's or nobody's.
                self.datagrams.push((side.other(), self.buffer[..transmit.len].to_vec()));
            }
            while let Some(action) = self.nodes[side.index()].poll_stream() {
                match action {
                    StreamAction::Open { id, .. } => self.open(side, id),
                    StreamAction::Writable { id } => self.write(side, id),
                    StreamAction::Close { id } => self.close(side, id),
                }
            }
        }
        self.streams.retain(|stream| stream.ids != [None, None]);
    }

    fn open(&mut self, side: Side, id: StreamId) {
        let source = Source::unauthenticated(self[side].local().addr);
        let now = self.now;
        match self[side.other()].accept_stream(now, source) {
            Ok(accepted) => {
                let mut ids = [Some(id), Some(accepted)];
                if side == Side::Right {
                    ids.swap(0, 1);
                }
                self.streams.push(Stream { ids, toward: Default::default() });
                self[side].handle_stream_opened(now, id);
            }
            Err(_) => self[side].handle_stream_failed(now, id, StreamFailure::Unreachable),
        }
    }

    fn write(&mut self, side: Side, id: StreamId) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ids[side.index()] == Some(id)) else {
            return;
        };
        loop {
            let written = self.nodes[side.index()].poll_stream_data(self.now, id, &mut self.buffer);
            if written.len == 0 {
                return;
            }
            stream.toward[side.other().index()].0.extend(&self.buffer[..written.len]);
        }
    }

    fn close(&mut self, side: Side, id: StreamId) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.ids[side.index()] == Some(id)) else {
            return;
        };
        stream.ids[side.index()] = None;
        stream.toward[side.index()] = Default::default();
        stream.toward[side.other().index()].1 = true;
    }
}

impl Index<Side> for Link {
    type Output = Node;

    fn index(&self, side: Side) -> &Node {
        &self.nodes[side.index()]
    }
}

impl IndexMut<Side> for Link {
    fn index_mut(&mut self, side: Side) -> &mut Node {
        &mut self.nodes[side.index()]
    }
}

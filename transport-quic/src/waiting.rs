//! Datagrams that wait for a path to open.

use std::collections::VecDeque;

use bytes::Bytes;
use gossip_driver::gossip_proto::{DatagramKind, TransmitId};

/// A few datagrams. A path that does not open must not collect what grows old meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    datagrams: VecDeque<(TransmitId, DatagramKind, Bytes)>,
}

impl Waiting {
    /// Adds one. If it is one too many, the id of the one that gives way: the oldest of the most dispensable, gossip before
    /// all others, but never a ping that waits already; if there is nothing else, the new one has no place.
    pub(crate) fn push(&mut self, id: TransmitId, kind: DatagramKind, bytes: Bytes) -> Option<TransmitId> {
        self.datagrams.push_back((id, kind, bytes));
        if self.datagrams.len() <= MOST {
            return None;
        }
        let least = self.datagrams.iter().map(|(_, kind, _)| *kind).min()?;
        let index = match least {
            DatagramKind::Ping => self.datagrams.len() - 1,
            _ => self.datagrams.iter().position(|(_, kind, _)| *kind == least)?,
        };
        self.datagrams.remove(index).map(|(id, ..)| id)
    }

    /// Takes them, the oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (TransmitId, Bytes)> {
        self.datagrams.drain(..).map(|(id, _, bytes)| (id, bytes))
    }
}

/// How many wait for one path.
pub(crate) const MOST: usize = 4;

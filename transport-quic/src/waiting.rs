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

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes datagrams of these kinds, numbered from 0; which gave way, and which are left.
    fn push(kinds: &[DatagramKind]) -> (Vec<u64>, Vec<u64>) {
        let mut waiting = Waiting::default();
        let number = |id: TransmitId| (0..).find(|&number| TransmitId::from_u64(number) == id).unwrap();
        let push = |(index, &kind)| waiting.push(TransmitId::from_u64(index), kind, Bytes::new());
        let gone = (0..).zip(kinds).filter_map(push).map(number).collect();
        (gone, waiting.drain().map(|(id, _)| number(id)).collect())
    }

    #[test]
    fn the_oldest_gossip_gives_way_first_and_a_ping_that_waits_never() {
        use DatagramKind::{Answer, Gossip, Message, Ping};
        assert_eq!(push(&[Gossip; 4]), (vec![], vec![0, 1, 2, 3]));
        assert_eq!(push(&[Gossip; 6]), (vec![0, 1], vec![2, 3, 4, 5]));
        assert_eq!(push(&[Ping, Gossip, Answer, Message, Ping]), (vec![1], vec![0, 2, 3, 4]));
        assert_eq!(push(&[Ping, Answer, Message, Ping, Ping, Gossip]), (vec![2, 5], vec![0, 1, 3, 4]));
        // Five pings: the fifth has no place.
        assert_eq!(push(&[Ping; 5]), (vec![4], vec![0, 1, 2, 3]));
    }
}

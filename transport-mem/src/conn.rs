//! Connections: who holds which end, and in what state.

use gossip_proto::Instant;

use crate::pipe::Pipe;

/// One end of a connection: 0 opened it, 1 accepted it.
pub(crate) type Side = usize;

/// Names a connection; it never names a later one that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnKey {
    index: u32,
    epoch: u32,
}

impl ConnKey {
    /// A number that no other connection has.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.index)
    }
}

/// A connection, from the first attempt until both ends have closed.
#[derive(Debug, Default)]
pub(crate) struct Conn<O> {
    epoch: u32,
    /// Counted from 1, over all connections there ever were.
    pub(crate) serial: u64,
    pub(crate) ends: [End<O>; 2],
    /// Written by the end of the same number.
    pub(crate) pipes: [Pipe; 2],
    /// When the next arrival of each pipe is scheduled for.
    pub(crate) scheduled: [Option<Instant>; 2],
}

/// One end.
#[derive(Debug, Default)]
pub(crate) struct End<O> {
    /// The endpoint it belongs to; nobody if nobody was ever bound to the address.
    pub(crate) node: Option<u32>,
    pub(crate) state: State,
    /// What its holder keeps with it.
    pub(crate) own: O,
}

/// How far an end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody holds it yet.
    #[default]
    Idle,
    /// The opener waits.
    Connecting,
    /// Established, but not accepted yet.
    Backlog,
    /// In use.
    Open,
    /// Closed, or never accepted.
    Closed,
    /// Its machine lost power: the other end is told nothing.
    Gone,
}

impl<O> Conn<O> {
    fn is_over(&self) -> bool {
        self.ends.iter().all(|end| matches!(end.state, State::Idle | State::Closed | State::Gone))
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Conns<O> {
    conns: Vec<Conn<O>>,
    free: Vec<u32>,
    opened: u64,
}

impl<O: Default> Conns<O> {
    pub(crate) fn open(&mut self, from: u32, own: O, to: Option<u32>) -> ConnKey {
        let index = self.free.pop().unwrap_or_else(|| {
            self.conns.push(Conn::default());
            (self.conns.len() - 1) as u32
        });
        self.opened += 1;
        let conn = &mut self.conns[index as usize];
        conn.serial = self.opened;
        conn.ends[0] = End { node: Some(from), state: State::Connecting, own };
        conn.ends[1] = End { node: to, ..End::default() };
        ConnKey { index, epoch: conn.epoch }
    }

    pub(crate) fn get(&mut self, key: ConnKey) -> Option<&mut Conn<O>> {
        self.conns.get_mut(key.index as usize).filter(|conn| conn.epoch == key.epoch)
    }

    /// The endpoints at that side and at the other, if both exist.
    pub(crate) fn ends(&mut self, key: ConnKey, side: Side) -> Option<(u32, u32)> {
        let conn = self.get(key)?;
        Some((conn.ends[side].node?, conn.ends[1 - side].node?))
    }

    /// Frees the place if nobody holds an end any more.
    pub(crate) fn release(&mut self, key: ConnKey) {
        if let Some(conn) = self.get(key)
            && conn.is_over()
        {
            let epoch = conn.epoch.wrapping_add(1);
            *conn = Conn { epoch, ..Conn::default() };
            self.free.push(key.index);
        }
    }

    /// Connections that are not over.
    pub(crate) fn len(&self) -> usize {
        self.conns.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_connection_that_is_over_names_nothing() {
        let mut conns = Conns::<()>::default();
        let old = conns.open(1, (), Some(2));
        assert_eq!(conns.ends(old, 1), Some((2, 1)));
        conns.release(old);
        assert!(conns.get(old).is_some(), "the opener still holds it");
        conns.get(old).unwrap().ends[0].state = State::Closed;
        conns.release(old);
        let new = conns.open(3, (), None);
        assert!(conns.get(old).is_none() && conns.get(new).is_some());
        assert_eq!((conns.ends(new, 0), conns.len()), (None, 1));
    }
}

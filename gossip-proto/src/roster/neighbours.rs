//! Lookup by address. Names that share one are a ring, so that neither finding one of them nor forgetting one takes longer the
//! more there are: whoever has the key can have tens of thousands at one address. Most share theirs with nobody, and take no room here.

use core::net::SocketAddr;

use super::{Record, Roster, canonical};

/// The two beside a slot in its ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    next: u32,
    previous: u32,
}

impl Roster {
    /// A member at this address; with several, one that lives: a host that comes back under another name shares it with the name
    /// that it had, which is remembered for a day.
    pub(crate) fn at(&self, addr: SocketAddr) -> Option<u32> {
        let addr = canonical(addr);
        self.addresses.find(self.keyed.addr(&addr), |&slot| self.get(slot).is_at(addr)).copied()
    }

    /// Whether a member at this address is of that kind; of many at one address only the first few are asked.
    pub(crate) fn any_at(&self, addr: SocketAddr, is: impl Fn(&Record) -> bool) -> bool {
        let Some(first) = self.at(addr) else { return false };
        let mut slot = first;
        for _ in 0..MOST_ASKED {
            if is(self.get(slot)) {
                return true;
            }
            slot = self.neighbours(slot).next;
            if slot == first {
                break;
            }
        }
        false
    }

    /// Puts a slot last among those at its address.
    pub(super) fn index_address(&mut self, slot: u32) {
        let Self { addresses, records, keyed, .. } = self;
        let addr = records[slot as usize].socket();
        let hash = keyed.addr(&addr);
        let first = addresses.find(hash, |&s| records[s as usize].is_at(addr)).copied();
        match first {
            Some(first) => self.link(slot, first),
            None => {
                addresses.insert_unique(hash, slot, |&s| keyed.addr(&records[s as usize].socket()));
            }
        }
    }

    /// Takes a slot out from those at its address.
    pub(super) fn unindex_address(&mut self, slot: u32) {
        let next = self.neighbours(slot).next;
        let hash = self.keyed.addr(&self.get(slot).socket());
        if let Ok(mut first) = self.addresses.find_entry(hash, |&s| s == slot) {
            if next == slot {
                first.remove();
                return;
            }
            *first.get_mut() = next;
        }
        self.unlink(slot);
    }

    /// Those who live stand before those who do not.
    pub(super) fn place_by_standing(&mut self, slot: u32) {
        let lives = self.get(slot).is_member();
        let addr = self.get(slot).socket();
        let next = self.neighbours(slot).next;
        if next == slot {
            return;
        }
        let Self { addresses, records, keyed, .. } = self;
        let Some(first) = addresses.find_mut(keyed.addr(&addr), |&s| records[s as usize].is_at(addr)) else {
            return;
        };
        let was_first = *first;
        if lives {
            *first = slot;
        } else if was_first == slot {
            // The ring turns: who was first is last.
            *first = next;
        }
        if was_first != slot {
            self.unlink(slot);
            self.link(slot, was_first);
        }
    }

    fn link(&mut self, slot: u32, before: u32) {
        let previous = self.neighbours(before).previous;
        self.join(previous, slot);
        self.join(slot, before);
    }

    fn unlink(&mut self, slot: u32) {
        if let Some(Neighbours { next, previous }) = self.rings.remove(&slot) {
            self.join(previous, next);
        }
    }

    fn neighbours(&self, slot: u32) -> Neighbours {
        self.rings.get(&slot).copied().unwrap_or(Neighbours { next: slot, previous: slot })
    }

    /// Puts one behind the other; who is left alone has no ring.
    fn join(&mut self, slot: u32, next: u32) {
        if slot == next {
            self.rings.remove(&slot);
            return;
        }
        self.rings.entry(slot).or_insert(Neighbours { next, previous: slot }).next = next;
        self.rings.entry(next).or_insert(Neighbours { next, previous: slot }).previous = slot;
    }
}

/// At one address one name lives at a time, unless somebody lies or has just renamed a node.
const MOST_ASKED: usize = 8;

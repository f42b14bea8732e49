//! The member table: lookup by name and address, stable slots, sampling, probe order.

mod address;
mod neighbours;
mod order;
pub(crate) mod precedence;
mod versions;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use hashbrown::{HashMap, HashTable};

pub(crate) use address::{WireAddr, canonical};
pub(crate) use order::Order;
pub use precedence::Standing;
pub(crate) use versions::{Common, VersionRanges};

use self::neighbours::Neighbours;
use crate::hash::Keyed;
use crate::rng::Rng;
use crate::slab::{make_room, reach};
use crate::timer::TimerId;
use crate::wire::same;
use crate::{IdentityId, Instant, MemberKey, Name, Status};

/// No slot, suspicion or pending change.
pub(crate) const NONE: u32 = u32::MAX;

/// The local node's slot; it is never freed.
pub(crate) const LOCAL: u32 = 0;

/// What the application was last told of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reported {
    #[default]
    Nothing,
    Alive,
    Suspect,
    Failed,
    Left,
}

/// What is known of one member. There may be tens of thousands: what few members have is kept elsewhere.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: Name,
    pub(crate) metadata: Box<[u8]>,
    /// When the standing last changed; meaningless before the first alive was accepted.
    pub(crate) changed: Instant,
    pub(crate) addr: WireAddr,
    pub(crate) port: u16,
    pub(crate) versions: [u8; 6],
    pub(crate) standing: Standing,
    pub(crate) incarnation: u32,
    pub(crate) epoch: u32,
    /// Where the permutation holds this slot; `NONE` once SWIM has reaped the member while a service still holds it.
    position: u32,
    /// Rumors, queued outputs and services that name this slot.
    pins: u32,
    /// The change that waits to be polled.
    pub(crate) pending: u32,
    /// What will end the standing: of a suspect its suspicion, of who is dead or left the timer by which SWIM forgets it.
    due: u64,
    /// What the application was last told.
    pub(crate) reported: Reported,
    /// A service's word on the member, which then stands above SWIM's.
    pub(crate) says: Option<Status>,
}

/// Nothing is due; no key and no timer looks like that, because their lower half is an index into memory.
const NOTHING: u64 = u64::MAX;

impl Record {
    pub(crate) fn socket(&self) -> SocketAddr {
        self.addr.socket(self.port)
    }

    /// Whether that is its [address](Self::socket).
    pub(crate) fn is_at(&self, addr: SocketAddr) -> bool {
        self.addr.is(self.port, addr)
    }

    /// Whether the slot is in use: who is known has a name.
    fn used(&self) -> bool {
        !self.name.is_empty()
    }

    fn due(&self, is: impl FnOnce(Standing) -> bool) -> Option<u64> {
        (self.due != NOTHING && is(self.standing)).then_some(self.due)
    }

    /// Key of the suspicion that runs against it.
    pub(crate) fn suspicion(&self) -> Option<u64> {
        self.due(|standing| standing == Standing::Suspect)
    }

    /// As [`Record::suspicion`], which ends here: before the standing changes.
    pub(crate) fn take_suspicion(&mut self) -> Option<u64> {
        self.suspicion().inspect(|_| self.due = NOTHING)
    }

    /// A suspicion runs; it is a suspect by now.
    pub(crate) fn set_suspicion(&mut self, key: u64) {
        debug_assert!(self.standing == Standing::Suspect);
        self.due = key;
    }

    /// The timer by which SWIM forgets it, which is not armed any more: before the standing changes.
    pub(crate) fn take_reap(&mut self) -> Option<TimerId> {
        let due = self.due(|standing| matches!(standing, Standing::Dead | Standing::Left));
        due.inspect(|_| self.due = NOTHING).map(TimerId::unpack)
    }

    /// SWIM forgets it when this comes due; it is dead or left by now.
    pub(crate) fn set_reap(&mut self, timer: TimerId) {
        debug_assert!(matches!(self.standing, Standing::Dead | Standing::Left));
        self.due = timer.pack();
    }

    /// Whether SWIM lists it; false for a reaped member that a service still remembers.
    pub(crate) fn tracked(&self) -> bool {
        self.position != NONE
    }

    /// What the application shall see. A suspect is still alive to a service.
    pub(crate) fn status(&self) -> Status {
        match (self.says, self.standing) {
            (Some(status @ (Status::Left | Status::Failed | Status::Leaving)), _) => status,
            (_, Standing::Alive) => Status::Alive,
            (_, Standing::Suspect) => Status::Suspect,
            (_, Standing::Dead) => Status::Failed,
            (_, Standing::Left) => Status::Left,
        }
    }

    /// Whether it takes gossip: alive and suspect always, the dead for a while, those who left never (spec 4.9).
    pub(crate) fn takes_gossip(&self, now: Instant, gossip_to_the_dead: Duration) -> bool {
        self.tracked()
            && match self.standing {
                Standing::Alive | Standing::Suspect => true,
                Standing::Dead => now.saturating_duration_since(self.changed) <= gossip_to_the_dead,
                Standing::Left => false,
            }
    }

    /// Alive or suspect.
    pub(crate) fn is_member(&self) -> bool {
        self.tracked() && matches!(self.standing, Standing::Alive | Standing::Suspect)
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Roster {
    records: Vec<Record>,
    free: Vec<u32>,
    names: HashTable<u32>,
    /// Of those at one address the first, see [`neighbours`].
    addresses: HashTable<u32>,
    /// Of those who share their address.
    rings: HashMap<u32, Neighbours, Keyed>,
    keyed: Keyed,
    order: Order,
    ranges: VersionRanges,
    /// By slot, as far as any are known.
    identities: Vec<Option<IdentityId>>,
    members: usize,
    /// Grows with each change that a push/pull would show.
    version: u64,
    max: usize,
    /// Whether a service decides who is listed.
    pub(crate) serviced: bool,
}

impl Roster {
    pub(crate) fn new(keyed: Keyed, max: usize) -> Self {
        Self {
            records: Vec::new(),
            free: Vec::new(),
            names: HashTable::new(),
            addresses: HashTable::new(),
            rings: HashMap::with_hasher(keyed),
            keyed,
            order: Order::new(),
            ranges: VersionRanges::new(),
            identities: Vec::new(),
            members: 0,
            version: 0,
            max,
            serviced: false,
        }
    }

    /// Members that SWIM lists, dead and left included: what it scales by (spec 4.1, Q-17).
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Alive and suspect members.
    pub(crate) fn num_members(&self) -> usize {
        self.members
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn ranges(&self) -> &VersionRanges {
        &self.ranges
    }

    /// Whether the versions of all that are alive would still fit together if these came in the place of that member's.
    pub(crate) fn speaks_with_all(&mut self, known: Option<u32>, versions: [u8; 6]) -> bool {
        let replaced = known
            .map(|slot| self.get(slot))
            .filter(|record| record.tracked() && record.standing == Standing::Alive);
        let replaced = replaced.map(|record| record.versions);
        if let Some(old) = replaced {
            self.ranges.remove(old);
        }
        self.ranges.add(versions);
        let fits = self.ranges.all_speak(&self.ranges.common());
        self.ranges.remove(versions);
        if let Some(old) = replaced {
            self.ranges.add(old);
        }
        fits
    }

    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// The member whose turn it is to be probed.
    pub(crate) fn next_to_probe(&mut self, rng: &mut Rng) -> Option<u32> {
        let Self { order, records, .. } = self;
        order.next(rng, |slot, position| records[slot as usize].position = position)
    }

    /// Names in the table, those included that only a service remembers.
    pub(crate) fn names(&self) -> usize {
        self.records.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.names() >= self.max
    }

    pub(crate) fn slots(&self) -> u32 {
        self.records.len() as u32
    }

    pub(crate) fn get(&self, slot: u32) -> &Record {
        &self.records[slot as usize]
    }

    /// For fields that neither lookup, counts nor a push/pull depend on.
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Record {
        &mut self.records[slot as usize]
    }

    /// Whether the application sees it in the list of members.
    pub(crate) fn lists(&self, record: &Record) -> bool {
        if self.serviced { record.says.is_some() } else { record.tracked() }
    }

    /// The record in a slot, if the slot is in use.
    pub(crate) fn used(&self, slot: u32) -> Option<&Record> {
        self.records.get(slot as usize).filter(|record| record.used())
    }

    pub(crate) fn key(&self, slot: u32) -> MemberKey {
        MemberKey { slot, epoch: self.get(slot).epoch }
    }

    pub(crate) fn resolve(&self, key: MemberKey) -> Option<u32> {
        self.used(key.slot).filter(|record| record.epoch == key.epoch).map(|_| key.slot)
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        self.names.find(self.keyed.bytes(name), |&slot| self.get(slot).name.as_bytes() == name).copied()
    }

    /// Admits a name: a slot that SWIM does not yet list counts as never seen. `None` if the table is full.
    pub(crate) fn insert(&mut self, name: &[u8], addr: WireAddr, port: u16) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let record = Record {
            name: Name::new(name),
            metadata: Box::default(),
            changed: Instant::ORIGIN,
            addr,
            port,
            versions: [0; 6],
            standing: Standing::Dead,
            incarnation: 0,
            epoch: 0,
            position: NONE,
            pins: 0,
            pending: NONE,
            due: NOTHING,
            reported: Reported::default(),
            says: None,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                let epoch = self.records[slot as usize].epoch.wrapping_add(1);
                self.records[slot as usize] = Record { epoch, ..record };
                slot
            }
            None => {
                make_room(&mut self.records, 1);
                self.records.push(record);
                self.records.len() as u32 - 1
            }
        };
        let Self { names, records, keyed, .. } = self;
        names.insert_unique(keyed.bytes(name), slot, |&s| keyed.bytes(records[s as usize].name.as_bytes()));
        self.index_address(slot);
        Some(slot)
    }

    /// SWIM lists the slot from now on.
    pub(crate) fn track(&mut self, slot: u32, rng: &mut Rng) {
        if self.get(slot).tracked() {
            return;
        }
        let Self { order, records, .. } = self;
        order.insert(slot, rng, |slot, position| records[slot as usize].position = position);
        self.place_by_standing(slot);
        self.version += 1;
    }

    /// SWIM forgets a member that is dead or left; the slot stays while something pins it.
    pub(crate) fn untrack(&mut self, slot: u32) {
        let position = self.get(slot).position;
        if position == NONE {
            return;
        }
        let records = &mut self.records;
        self.order.remove(position, |moved, to| records[moved as usize].position = to);
        let record = self.get_mut(slot);
        record.position = NONE;
        record.incarnation = 0;
        self.place_by_standing(slot);
        self.set_identity(slot, None);
        self.version += 1;
        self.release(slot);
    }

    pub(crate) fn pin(&mut self, slot: u32) {
        self.get_mut(slot).pins += 1;
    }

    pub(crate) fn unpin(&mut self, slot: u32) {
        let record = self.get_mut(slot);
        record.pins = record.pins.saturating_sub(1);
        self.release(slot);
    }

    fn release(&mut self, slot: u32) {
        let record = self.get(slot);
        if slot == LOCAL || !record.used() || record.tracked() || record.pins > 0 {
            return;
        }
        let hash = self.keyed.bytes(record.name.as_bytes());
        if let Ok(entry) = self.names.find_entry(hash, |&s| s == slot) {
            entry.remove();
        }
        self.unindex_address(slot);
        let record = self.get_mut(slot);
        record.name = Name::default();
        record.metadata = Box::default();
        self.free.push(slot);
    }

    /// Under which identity a member speaks for itself, if one is known.
    pub(crate) fn identity(&self, slot: u32) -> Option<IdentityId> {
        self.identities.get(slot as usize).copied().flatten()
    }

    pub(crate) fn set_identity(&mut self, slot: u32, identity: Option<IdentityId>) {
        if identity.is_some() {
            reach(&mut self.identities, slot, None);
        }
        if let Some(place) = self.identities.get_mut(slot as usize) {
            *place = identity;
        }
    }

    /// A new standing, and when it began.
    pub(crate) fn set_standing(&mut self, slot: u32, standing: Standing, since: Instant) {
        let was = self.get(slot).is_member();
        let was_alive = self.get(slot).tracked() && self.get(slot).standing == Standing::Alive;
        let record = self.get_mut(slot);
        record.standing = standing;
        record.changed = since;
        let versions = record.versions;
        let (is, is_alive) = (record.is_member(), record.tracked() && standing == Standing::Alive);
        self.members = self.members + usize::from(is) - usize::from(was);
        if is != was {
            self.place_by_standing(slot);
        }
        if is_alive && !was_alive {
            self.ranges.add(versions);
        }
        if was_alive && !is_alive {
            self.ranges.remove(versions);
        }
        self.version += 1;
    }

    /// A new incarnation.
    pub(crate) fn set_incarnation(&mut self, slot: u32, incarnation: u32) {
        self.get_mut(slot).incarnation = incarnation;
        self.version += 1;
    }

    /// What an alive message says of a member.
    pub(crate) fn set_content(
        &mut self,
        slot: u32,
        addr: WireAddr,
        port: u16,
        metadata: &[u8],
        versions: [u8; 6],
    ) {
        let record = self.get(slot);
        if record.addr != addr || record.port != port {
            self.unindex_address(slot);
            let record = self.get_mut(slot);
            (record.addr, record.port) = (addr, port);
            self.index_address(slot);
            self.place_by_standing(slot);
        }
        let counted = self.get(slot).tracked() && self.get(slot).standing == Standing::Alive;
        let old = self.get(slot).versions;
        if counted && old != versions {
            self.ranges.remove(old);
            self.ranges.add(versions);
        }
        let record = self.get_mut(slot);
        record.versions = versions;
        if !same(&record.metadata, metadata) {
            record.metadata = metadata.into();
        }
        self.version += 1;
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let heap: usize = self.records.iter().map(|r| r.name.heap_bytes() + r.metadata.len()).sum();
        heap + self.records.capacity() * size_of::<Record>()
            + (self.names.capacity() + self.addresses.capacity()) * (size_of::<u32>() + 1)
            + self.rings.capacity() * (size_of::<(u32, Neighbours)>() + 1)
            + self.order.memory()
            + self.identities.capacity() * size_of::<Option<IdentityId>>()
            + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests;

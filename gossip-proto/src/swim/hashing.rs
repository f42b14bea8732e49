//! A hash over the state, to compare a replay with the original run.

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

use super::{Swim, Upper};

impl Swim {
    /// Over members, rumors, timers and counters of operations: what decides future behaviour. Statistics and keys are
    /// left out.
    pub(crate) fn state_hash<U: Upper>(&self, upper: &U) -> u64 {
        let mut hasher = SipHasher13::new();
        self.now.hash(&mut hasher);
        for slot in 0..self.roster.slots() {
            let Some(record) = self.roster.used(slot) else { continue };
            slot.hash(&mut hasher);
            record.name.as_bytes().hash(&mut hasher);
            record.metadata.hash(&mut hasher);
            record.addr.as_bytes().hash(&mut hasher);
            (record.port, record.versions, record.incarnation, record.changed).hash(&mut hasher);
            (record.standing.wire(), record.epoch, record.tracked(), record.says).hash(&mut hasher);
        }
        self.roster.order().as_slice().hash(&mut hasher);
        (self.rumors.len(), self.subjects.len(), self.seq, self.transmits, self.health.score(), self.leaving)
            .hash(&mut hasher);
        (self.timers.next(), self.timers.len(), self.streams.len(), self.operations.len()).hash(&mut hasher);
        (self.outgoing.len(), self.relays.len(), self.suspicions.len(), self.stalled).hash(&mut hasher);
        (self.actions.len(), self.completions.len(), self.busy.len(), self.starving.len()).hash(&mut hasher);
        (
            self.packing.len(),
            self.merges.len(),
            self.asked.len(),
            self.stream_bytes,
            self.awaited.len(),
            self.settled,
        )
            .hash(&mut hasher);
        (self.persists_keyring, self.stored, self.storing.is_some()).hash(&mut hasher);
        self.contacts.hash(&mut hasher);
        upper.hash(&mut hasher);
        self.rng.clone().next_u64().hash(&mut hasher);
        hasher.finish()
    }
}

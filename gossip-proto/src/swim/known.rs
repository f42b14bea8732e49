//! Members that are known from the start, without a word on the network: how simulations begin with a large cluster.

use super::{News, Swim, Upper};
use crate::KnownMember;
use crate::roster::{LOCAL, Reported, Standing, WireAddr};

impl Swim {
    /// See [`crate::Machine::know`].
    pub(crate) fn know<U: Upper>(&mut self, upper: &mut U, members: &[KnownMember]) -> usize {
        // What there was to say of this node has been said as well.
        self.retire_subject(LOCAL);
        let known = members.iter().filter(|member| self.know_one(upper, member)).count();
        self.spread_exchanges();
        known
    }

    fn know_one<U: Upper>(&mut self, upper: &mut U, member: &KnownMember) -> bool {
        let KnownMember { name, addr, metadata, incarnation, versions } = member;
        let ip = WireAddr::from_ip(addr.ip());
        if self.roster.find(name.as_bytes()).is_some() {
            return false;
        }
        let claim = self.alive_claim(
            name.as_bytes(),
            *incarnation,
            ip.as_bytes(),
            addr.port(),
            metadata,
            versions.as_slice(),
        );
        let Some(claim) = claim else { return false };
        if !self.admits(claim.name, claim.metadata, false) {
            self.stats.admission_refused += 1;
            return false;
        }
        if !self.config.admits_address(addr.ip()) {
            self.stats.cidr_refused += 1;
            return false;
        }
        let Some(slot) = self.admit(&claim) else { return false };
        self.roster.set_content(slot, claim.addr, claim.port, claim.metadata, claim.versions);
        self.roster.set_incarnation(slot, claim.incarnation);
        self.roster.set_standing(slot, Standing::Alive, self.now);
        self.roster.get_mut(slot).reported = Reported::Alive;
        self.stats.members_joined += 1;
        upper.changed(self, slot, News::Joined);
        true
    }
}

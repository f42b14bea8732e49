//! When very many become known at once, as when a whole cluster starts or two become one. Gossip alone then takes long: a packet
//! has room for some twenty of them, and each of them comes to every node some sixteen times. Whoever sees that exchanges
//! states with one of those that came last, who knows most of the others, and once more as long as that brings somebody.
//! Upstream has gossip do it all; a thousand that join through one are then known to all after half a minute.

use core::time::Duration;

use crate::time::nanos;
use crate::{Instant, MemberKey};

use super::streams::Contact;
use super::{Deadline, Lane, Swim};

/// How many became known of late.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Influx {
    /// Since the last exchange that this was the reason for, or that joined; half as many after each [`LOOK_TICKS`].
    newcomers: u32,
    /// Since when they are so many.
    since: Instant,
    /// Who came last.
    newest: Option<MemberKey>,
    /// A look is due.
    watched: bool,
    /// That look follows an exchange.
    goes_on: bool,
}

impl Swim {
    /// A member became known.
    pub(crate) fn note_newcomer(&mut self, slot: u32) {
        if !self.config.experiment.healing {
            return;
        }
        let span = nanos(self.look_span()).max(1);
        let influx = &mut self.contacts.influx;
        let spans = nanos(self.now.saturating_duration_since(influx.since)) / span;
        if spans > 0 {
            influx.newcomers = influx.newcomers.checked_shr(spans.min(32) as u32).unwrap_or(0);
            influx.since = self.now;
        }
        influx.newcomers = influx.newcomers.saturating_add(1);
        influx.newest = Some(self.roster.key(slot));
        if influx.newcomers > FEW {
            self.watch_influx();
        }
    }

    /// A join has brought all that its peer knows: that is no sign that more are coming.
    pub(crate) fn forget_newcomers(&mut self) {
        self.contacts.influx.newcomers = 0;
    }

    fn look_span(&self) -> Duration {
        self.config.gossip_interval.saturating_mul(LOOK_TICKS)
    }

    fn watch_influx(&mut self) {
        if !core::mem::replace(&mut self.contacts.influx.watched, true) {
            // At different times, or all nodes of a cluster would exchange states at once.
            let span = self.look_span();
            let at = self.now + span / 2 + self.rng.duration_below(span);
            self.timers.arm(at, Deadline::Influx);
        }
    }

    /// Looks whether more became known than gossip carries well.
    pub(crate) fn influx_due(&mut self) {
        let Influx { newcomers, newest, goes_on, .. } = self.contacts.influx;
        (self.contacts.influx.watched, self.contacts.influx.goes_on) = (false, false);
        let known = u32::try_from(self.roster.num_members()).unwrap_or(u32::MAX);
        let many = if goes_on { known / GOES_ON } else { (known / MANY).max(FEW) };
        if newcomers > many
            && !self.leaving
            && let Some(peer) = newest
            && let Some(slot) = self.roster.resolve(peer)
            && self.take_extra()
        {
            let to = self.roster.get(slot).socket();
            let begun = self.begin_contact(to, Some(peer), Contact::LAST_FOLLOW_UP);
            self.stats.follow_ups += u64::from(begun);
            if begun {
                // What came before that exchange says nothing of what comes after it.
                self.contacts.influx.newcomers = 0;
                self.contacts.influx.goes_on = true;
                self.watch_influx();
            }
        }
    }

    /// Queues that a member lives who became known by an exchange. Whoever told us knows, and so do most of those it
    /// knows: of very many each is told once, when there is nothing else to tell, instead of crowding out what is news.
    pub(crate) fn pass_on_alive(&mut self, slot: u32) {
        let crowded = self.queued(Lane::Alive) >= FEW as usize && self.config.experiment.healing;
        let sent = if crowded { self.transmit_limits()[Lane::Alive as usize].saturating_sub(1) } else { 0 };
        self.announce_alive_as_sent(slot, None, sent);
    }
}

/// A look comes after half to one and a half times so many gossip ticks: several packets have come by then from each of a dozen
/// nodes.
const LOOK_TICKS: u32 = 4;
/// What gossip carries in two packets or so, it carries.
const FEW: u32 = 32;
/// An exchange brings all that are known, gossip each newcomer some sixteen times: beyond one newcomer in so many an exchange
/// is cheaper.
const MANY: u32 = 16;
/// After an exchange it is worth another one sooner: who still misses somebody is behind all others by now.
const GOES_ON: u32 = 1024;

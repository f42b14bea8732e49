//! When very many become known at once, as when a whole cluster starts or two become one. Gossip alone then takes long: a packet
//! has room for some twenty of them, and each of them comes to every node some sixteen times. Whoever sees that exchanges
//! states with one of those that came last, who knows most of the others, and once more as long as that brings somebody; and a
//! last time with anybody a little later, for one of so many views misses somebody then whom gossip does not bring any more. Upstream has gossip do it all; a thousand that join through one are then known to all after half a minute.

use core::time::Duration;

use crate::time::nanos;
use crate::timer::TimerId;
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
    /// When a look is due.
    timer: Option<TimerId>,
    /// What that look follows.
    look: Look,
    /// A join or an exchange has brought many, so that a last look is to come.
    owed: bool,
}

/// What a look for newcomers comes after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Look {
    /// Gossip told of many.
    #[default]
    First,
    /// An exchange.
    Next,
    /// A join, or an exchange that brought nobody any more.
    Last,
}

impl Swim {
    /// A member became known.
    pub(crate) fn note_newcomer(&mut self, slot: u32) {
        if !self.config.experiment.healing {
            return;
        }
        let span = nanos(self.ticks_span(LOOK_TICKS)).max(1);
        let influx = &mut self.contacts.influx;
        let spans = nanos(self.now.saturating_duration_since(influx.since)) / span;
        if spans > 0 {
            influx.newcomers = influx.newcomers.checked_shr(spans.min(32) as u32).unwrap_or(0);
            influx.since = self.now;
        }
        influx.newcomers = influx.newcomers.saturating_add(1);
        influx.newest = Some(self.roster.key(slot));
        if influx.newcomers > FEW {
            // Many once more: that does not wait for the last look.
            if influx.look == Look::Last {
                self.unwatch_influx();
            }
            self.watch_influx(Look::First, LOOK_TICKS);
        }
    }

    /// A join has brought all that its peer knows: that is no sign that more are coming. But others may have joined meanwhile.
    pub(crate) fn forget_newcomers(&mut self) {
        let influx = &mut self.contacts.influx;
        if core::mem::take(&mut influx.newcomers) > FEW {
            influx.owed = true;
            self.unwatch_influx();
            self.watch_influx(Look::Last, LAST_TICKS);
        }
    }

    fn ticks_span(&self, ticks: u32) -> Duration {
        self.config.gossip_interval.saturating_mul(ticks)
    }

    /// Looks after half to one and a half times so many gossip ticks, unless that is going to happen anyway.
    fn watch_influx(&mut self, look: Look, ticks: u32) {
        if self.contacts.influx.timer.is_none() {
            // At different times, or all nodes of a cluster would exchange states at once.
            let span = self.ticks_span(ticks);
            let at = self.now + span / 2 + self.rng.duration_below(span);
            self.contacts.influx.look = look;
            self.contacts.influx.timer = Some(self.timers.arm(at, Deadline::Influx));
        }
    }

    fn unwatch_influx(&mut self) {
        if let Some(timer) = self.contacts.influx.timer.take() {
            self.timers.cancel(timer);
        }
    }

    /// Looks whether more became known than gossip carries well.
    pub(crate) fn influx_due(&mut self) {
        let Influx { newcomers, newest, look, .. } = self.contacts.influx;
        self.contacts.influx.timer = None;
        self.contacts.influx.owed &= look != Look::Last;
        let known = u32::try_from(self.roster.num_members()).unwrap_or(u32::MAX);
        let (is_worth_it, peer) = match look {
            Look::First => (newcomers > (known / MANY).max(FEW), newest),
            Look::Next => (newcomers > known / GOES_ON, newest),
            Look::Last => (true, self.random_alive().map(|slot| self.roster.key(slot))),
        };
        if !is_worth_it {
            if self.contacts.influx.owed {
                self.watch_influx(Look::Last, LAST_TICKS);
            }
            return;
        }
        if !self.leaving
            && let Some(peer) = peer
            && let Some(slot) = self.roster.resolve(peer)
            && self.take_extra()
        {
            let to = self.roster.get(slot).socket();
            let begun = self.begin_contact(to, Some(peer), Contact::LAST_FOLLOW_UP);
            self.stats.follow_ups += u64::from(begun);
            if begun {
                // What came before that exchange says nothing of what comes after it.
                self.contacts.influx.newcomers = 0;
                if look != Look::Last {
                    self.contacts.influx.owed = true;
                    self.watch_influx(Look::Next, LOOK_TICKS);
                }
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

/// Gossip ticks until a look: several packets have come by then from each of a dozen nodes.
const LOOK_TICKS: u32 = 4;
/// Gossip ticks until the last look: the queues of gossip have run dry by then.
const LAST_TICKS: u32 = 16;
/// What gossip carries in two packets or so, it carries.
const FEW: u32 = 32;
/// An exchange brings all that are known, gossip each newcomer some sixteen times: beyond one newcomer in so many an exchange
/// is cheaper.
const MANY: u32 = 16;
/// After an exchange it is worth another one sooner: who still misses somebody is behind all others by now.
const GOES_ON: u32 = 1024;

//! Timers: what is due, in order, and what happens when the process itself was late.

use core::time::Duration;

use super::{Swim, Upper, scale};
use crate::Instant;
use crate::config::Config;
use crate::output::Wakeup;
use crate::rng::Rng;
use crate::time::nanos;
use crate::timer::TimerId;

/// The timers there is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Probe,
    /// The running probe's phase.
    Phase,
    Gossip,
    Exchange,
}

/// The timers there are many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    Suspicion(u64),
    Reap(u32),
    Relay(u64),
    Stream(u64),
    Operation(u64),
    Merge(u64),
    Service(u64),
    Seeds,
    FollowUp,
    SecondLook,
    Influx,
}

/// When each tick is due; never is [`Instant::MAX`].
#[derive(Debug)]
pub(crate) struct Ticks {
    due: [Instant; 4],
    /// The gossip tick has nothing to do. When it would be due is kept, so that it goes on in step.
    gossip_rests: bool,
}

const NANOSECOND: Duration = Duration::from_nanos(1);

const ORDER: [Tick; 4] = [Tick::Probe, Tick::Phase, Tick::Gossip, Tick::Exchange];

impl Ticks {
    /// Each periodic tick begins at a random time within its interval, so that a cluster started at once does not tick
    /// at once (spec 4.8).
    pub(crate) fn new(now: Instant, config: &Config, rng: &mut Rng) -> Self {
        let lockstep = config.experiment.lockstep;
        let mut first = |interval: Duration, wait: Duration| match () {
            () if interval.is_zero() => Instant::MAX,
            () if lockstep => scale::period_after(now + wait, interval),
            () => now + wait + rng.duration_below(interval),
        };
        let probe = first(config.probe_interval, Duration::ZERO);
        let gossip = first(
            if config.gossip_nodes == 0 { Duration::ZERO } else { config.gossip_interval },
            Duration::ZERO,
        );
        let exchange = first(config.push_pull_interval, config.push_pull_interval);
        Self { due: [probe, Instant::MAX, gossip, exchange], gossip_rests: false }
    }

    pub(crate) fn set(&mut self, tick: Tick, at: Instant) {
        self.due[tick as usize] = at;
    }

    pub(crate) fn clear(&mut self, tick: Tick) {
        self.set(tick, Instant::MAX);
    }

    pub(crate) fn delay(&mut self, tick: Tick, by: Duration) {
        self.due[tick as usize] += by;
    }

    fn next(&self) -> (Instant, Tick) {
        let mut best = (self.due[0], ORDER[0]);
        for (&at, tick) in self.due.iter().zip(ORDER).skip(1) {
            if at < best.0 && !(self.gossip_rests && tick == Tick::Gossip) {
                best = (at, tick);
            }
        }
        best
    }
}

impl Swim {
    /// When `handle_timeout` is wanted.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next_wakeup().map(|(_, at)| at)
    }

    pub(crate) fn next_wakeup(&self) -> Option<(Wakeup, Instant)> {
        if self.has_backlog() {
            return Some((Wakeup::Backlog, self.now));
        }
        let (at, tick) = self.ticks.next();
        let deadline = self.timers.next().unwrap_or(Instant::MAX);
        let (wakeup, at) = match tick {
            _ if deadline < at => (Wakeup::Deadline, deadline),
            Tick::Probe => (Wakeup::Probe, at),
            Tick::Phase => (Wakeup::ProbePhase, at),
            Tick::Gossip => (Wakeup::Gossip, at),
            Tick::Exchange => (Wakeup::Exchange, at),
        };
        (at < Instant::MAX).then_some((wakeup, at))
    }

    /// Fires what is due, at most `work_per_call` units of it; the rest stays due.
    pub(crate) fn timeout<U: Upper>(&mut self, upper: &mut U, now: Instant) {
        self.advance(now);
        self.notice_stall();
        // Half for what was put off, so that it cannot keep the clocks from being served.
        let mut backlog = self.config.work_per_call / 2;
        let mut work = self.config.work_per_call - backlog;
        self.work_off(upper, &mut backlog);
        work += backlog;
        while work > 0 {
            let (tick_at, tick) = self.ticks.next();
            let deadline = self.timers.next().unwrap_or(Instant::MAX);
            if tick_at.min(deadline) > self.now {
                break;
            }
            work -= 1;
            if deadline < tick_at {
                if let Some((_, deadline, _)) = self.timers.pop_due(self.now) {
                    self.deadline(upper, deadline);
                }
            } else {
                self.tick(tick, tick_at);
            }
            self.settle(upper);
        }
        self.settled = self.now;
    }

    fn tick(&mut self, tick: Tick, at: Instant) {
        // Ticks that were missed are not made up for.
        let next = |interval: Duration| match at + interval {
            _ if self.config.experiment.lockstep => scale::period_after(self.now, interval),
            next if next > self.now => next,
            _ => self.now + interval,
        };
        match tick {
            Tick::Probe => {
                self.ticks.set(tick, next(self.config.probe_interval));
                self.probe_tick();
            }
            Tick::Phase => {
                self.ticks.clear(tick);
                self.probe_phase_ended();
            }
            Tick::Gossip => {
                self.ticks.set(tick, next(self.config.gossip_interval));
                self.gossip_tick();
                self.rest_gossip();
            }
            Tick::Exchange => {
                self.ticks.clear(tick);
                self.exchange_tick();
            }
        }
    }

    /// Lets the gossip tick rest if it has nothing to say. While a probe or a suspicion runs it goes on, because its being
    /// late is what tells a stall of this process soon.
    pub(crate) fn rest_gossip(&mut self) {
        if self.rumors.is_empty() && self.suspicions.len() == 0 && self.probe.is_none() {
            self.ticks.gossip_rests = true;
        }
    }

    /// The gossip tick goes on at the next of the times at which it would have been due.
    pub(crate) fn wake_gossip(&mut self) {
        if !core::mem::replace(&mut self.ticks.gossip_rests, false) {
            return;
        }
        let due = self.ticks.due[Tick::Gossip as usize];
        // What was due up to the last call has been.
        let from = if self.settled == self.now { self.now.saturating_add(NANOSECOND) } else { self.now };
        if due < from {
            let interval = nanos(self.config.gossip_interval).max(1);
            let missed = nanos(from - due).div_ceil(interval);
            self.ticks.set(Tick::Gossip, due + Duration::from_nanos(missed.saturating_mul(interval)));
        }
    }

    fn deadline<U: Upper>(&mut self, upper: &mut U, deadline: Deadline) {
        match deadline {
            Deadline::Suspicion(key) => self.suspicion_expired(upper, key),
            Deadline::Reap(slot) => self.reap(upper, slot),
            Deadline::Relay(key) => self.relay_expired(key),
            Deadline::Stream(key) => self.stream_expired(key),
            Deadline::Operation(key) => self.operation_expired(key),
            Deadline::Merge(key) => self.merge_unanswered(key),
            Deadline::Service(timer) => upper.timeout(self, timer),
            Deadline::Seeds => self.seeds_due(),
            Deadline::FollowUp => self.follow_up_due(),
            Deadline::SecondLook => self.second_look(),
            Deadline::Influx => self.influx_due(),
        }
    }

    /// Push/pull is scheduled from the end of the last one (spec 4.10).
    pub(crate) fn schedule_exchange(&mut self) {
        if !self.config.push_pull_interval.is_zero() {
            let wait = scale::push_pull_interval(self.config.push_pull_interval, self.roster.len());
            let lockstep = self.config.experiment.lockstep;
            let at = if lockstep { scale::period_after(self.now, wait) } else { self.now + wait };
            self.ticks.set(Tick::Exchange, at);
        }
    }

    /// As it is in a cluster that has stood for long: the next push/pull is due at any time within its interval.
    pub(crate) fn spread_exchanges(&mut self) {
        // One that is under way sets the next.
        if self.ticks.due[Tick::Exchange as usize] < Instant::MAX {
            self.schedule_exchange();
            if !self.config.experiment.lockstep {
                let wait = self.ticks.due[Tick::Exchange as usize].saturating_duration_since(self.now);
                let at = self.now + self.rng.duration_below(wait);
                self.ticks.set(Tick::Exchange, at);
            }
        }
    }

    /// Arms a timer of the layer above.
    pub(crate) fn arm_service(&mut self, at: Instant, timer: u64) -> TimerId {
        self.timers.arm(at, Deadline::Service(timer))
    }

    /// Takes it back.
    pub(crate) fn cancel_service(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }

    /// A timer call that comes late by more than half a probe timeout is this process's own stall: what it could not
    /// hear meanwhile must not count against others (contract rule 6).
    fn notice_stall(&mut self) {
        // By the clocks alone: work that was put off is not late, and what was due at the last call is late only since
        // then.
        let due = self.ticks.next().0.min(self.timers.next().unwrap_or(Instant::MAX));
        let late = self.now.saturating_duration_since(due.max(self.settled));
        if late > self.config.probe_timeout / 2 && self.config.experiment.stall_rule {
            self.stats.stalls += 1;
            self.stalled += late;
            self.extend_probe(late);
            self.emit_stalled(late);
        }
    }
}

//! How much of a processor a node's process gets.

use core::time::Duration;

use gossip_proto::{Instant, Seed};

use crate::rng::{Purpose, Rng};

/// A process that is scheduled in bursts, as one of many on a machine that has too little processor for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// How long it runs at a time. With zero it does all that waits for it, and nothing more.
    pub awake: Duration,
    /// The shortest time that it then has to wait, at least a millisecond.
    pub least: Duration,
    /// The longest; the time is drawn uniformly from the one to the other.
    pub most: Duration,
}

/// What holds a process up, and until when.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How long each call of the machine takes.
    pub(crate) per_call: Duration,
    /// Most inputs before time is looked at.
    pub(crate) drain: usize,
    /// A call is under way until then.
    busy: Instant,
    bursts: Option<Bursts>,
    /// When the latest burst began, and when the next one does.
    burst: (Instant, Instant),
    random: Rng,
    /// For when the process is to be looked at again.
    pub(crate) turn: Option<Instant>,
    /// Inputs since time was looked at.
    pub(crate) drained: usize,
}

impl Pace {
    pub(crate) fn new(seed: &Seed, number: u32, drain: usize) -> Self {
        Self {
            per_call: Duration::ZERO,
            drain,
            busy: Instant::ORIGIN,
            bursts: None,
            burst: (Instant::ORIGIN, Instant::ORIGIN),
            random: Rng::new(seed, Purpose::Pace, number.into()),
            turn: None,
            drained: 0,
        }
    }

    pub(crate) fn set_bursts(&mut self, now: Instant, bursts: Option<Bursts>) {
        if let Some(Bursts { least, most, .. }) = bursts {
            assert!(least >= Duration::from_millis(1), "a process waits for at least 1 ms, not {least:?}");
            assert!(least <= most, "the least wait, {least:?}, is longer than the most, {most:?}");
        }
        self.bursts = bursts;
        self.burst = (now, now);
    }

    /// Until when the process does not run; `None` if it does now.
    pub(crate) fn held(&mut self, now: Instant) -> Option<Instant> {
        if now < self.busy {
            return Some(self.busy);
        }
        let Bursts { awake, least, most } = self.bursts?;
        while now >= self.burst.1 {
            let spread = (most - least) + Duration::from_nanos(1);
            let begin = self.burst.1;
            self.burst = (begin, begin + awake + least + self.random.duration_below(spread));
        }
        (now > self.burst.0 + awake).then_some(self.burst.1)
    }

    /// A call was made, and takes its time.
    pub(crate) fn called(&mut self, now: Instant) {
        self.busy = now + self.per_call;
    }

    /// The process is another one.
    pub(crate) fn restart(&mut self) {
        self.busy = Instant::ORIGIN;
        self.drained = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_take_their_share_and_waits_fill_their_range() {
        let (awake, least, most) =
            (Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(900));
        let mut pace = Pace::new(&Seed::from_u64(3), 0, 1);
        pace.set_bursts(Instant::ORIGIN, Some(Bursts { awake, least, most }));
        let (mut runs, mut waits) = (0, Vec::new());
        for at in (0..1_000_000).map(Instant::from_millis) {
            match pace.held(at) {
                None => runs += 1,
                Some(until) => {
                    assert!(until > at);
                    waits.push((until, until - (pace.burst.0 + awake)));
                }
            }
        }
        waits.dedup();
        assert!(waits.iter().all(|(_, wait)| (least..=most).contains(wait)));
        let mean = waits.iter().map(|(_, wait)| *wait).sum::<Duration>() / waits.len() as u32;
        // 1,800 waits of 500 ms on average, whose deviation is 231 ms: three errors of the mean are 16 ms.
        assert!((Duration::from_millis(484)..Duration::from_millis(516)).contains(&mean), "{mean:?}");
        assert!(waits.iter().any(|(_, wait)| *wait < Duration::from_millis(110)));
        assert!(waits.iter().any(|(_, wait)| *wait > Duration::from_millis(890)));
        assert!((88_000..94_500).contains(&runs), "{runs} of 1,000,000 ms, and 50 of 550 were asked for");
    }

    #[test]
    #[should_panic(expected = "the least wait, 2s, is longer than the most, 1s")]
    fn bursts_that_make_no_sense_are_refused() {
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(1));
        let bursts = Bursts { awake: Duration::ZERO, least, most };
        Pace::new(&Seed::from_u64(1), 0, 1).set_bursts(Instant::ORIGIN, Some(bursts));
    }
}

//! Churn: nodes are replaced at a rate. Who is replaced is drawn before the run, so that those are faulty from time 0 on, as
//! all are to whom something is going to happen.

use core::time::Duration;
use std::collections::VecDeque;

use gossip_proto::Instant;

use crate::run::kind::Kind;
use crate::run::{Due, Sim, get};

/// How long a replaced node is away unless the scenario says otherwise.
const AWAY: Duration = Duration::from_secs(5);

impl<K: Kind> Sim<'_, K> {
    /// Draws whom one round of a step replaces, in order: nobody who would still be away.
    pub(super) fn draw_replaced(&mut self, number: usize) -> Result<(), String> {
        let step = self.step(number);
        let nodes = match get(&step.nodes, &self.parameters)? {
            Some(name) => self.named_of(&name, self.size)?,
            None => (1..self.size).collect(),
        };
        let rate = get(&step.rate, &self.parameters)?.unwrap_or(1.0);
        let away = get(&step.away, &self.parameters)?.unwrap_or(AWAY);
        let lasts = get(&step.lasts, &self.parameters)?.unwrap_or_default();
        let count = (lasts.as_secs_f64() * rate).ceil() as usize;
        // The last so many drawn are still away when the next one is.
        let still_away = (away.as_secs_f64() * rate).ceil() as usize;
        let mut there = nodes;
        let mut gone = VecDeque::new();
        let mut drawn = VecDeque::with_capacity(count);
        for _ in 0..count {
            if gone.len() > still_away || there.is_empty() {
                there.extend(gone.pop_front());
            }
            if there.is_empty() {
                break;
            }
            let node = there.swap_remove(self.net.random(there.len() as u64) as usize);
            self.meter.expect_fault(node);
            gone.push_back(node);
            drawn.push_back(node);
        }
        self.replaced.insert(number, drawn);
        Ok(())
    }

    /// One node goes, to come back later; and the next follows. One that is not there in that moment, since another step
    /// took it away or its good-bye takes long, is left out.
    pub(super) fn replace(&mut self, number: usize, until: Instant, now: Instant) -> Result<(), String> {
        let step = self.step(number);
        let node = self.replaced.get_mut(&number).and_then(VecDeque::pop_front);
        let there = |node: &usize| {
            let id = self.nodes.get(*node);
            let runs = id.is_some_and(|id| self.net.machine(*id).is_some());
            runs && !self.away.contains(node) && !self.leaving.contains(node)
        };
        if let Some(node) = node.filter(there) {
            let graceful = get(&step.graceful, &self.parameters)?.map_or(0.0, |share| share.0);
            self.away.insert(node);
            if (self.net.random(1 << 32) as f64) < graceful * (1u64 << 32) as f64 {
                self.leave(node, now);
            } else {
                self.stop(node, true, now, "churn");
            }
            let away = get(&step.away, &self.parameters)?.unwrap_or(AWAY);
            self.enter(now + away, Due::Return { step: number, node });
        }
        let rate = step.rate.as_ref().map_or(Ok(1.0), |rate| rate.get(&self.parameters))?;
        let next = now + Duration::from_secs_f64(1.0 / rate);
        if next < until {
            self.enter(next, Due::Replace { step: number, until });
        }
        Ok(())
    }
}

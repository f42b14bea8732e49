//! What steps do.

use core::time::Duration;

use gossip_proto::Instant;
use transport_mem::net::NodeId;

use crate::run::kind::Kind;
use crate::run::{Due, Sim, get};
use crate::scenario::{Action, Step};
use crate::value::Val;

/// How long a replaced node is away unless the scenario says otherwise.
const AWAY: Duration = Duration::from_secs(5);

impl<K: Kind> Sim<'_, K> {
    /// Does what is due.
    pub(super) fn act(&mut self, due: Due, now: Instant) -> Result<(), String> {
        match due {
            Due::Do { step: number, round } => self.begin_step(number, round, now),
            Due::Undo { step: number, round } => self.end_step(number, round, now),
            Due::Part { step: number, node, undo } => {
                let step = self.step(number);
                self.mark(step, undo, &[node], now);
                self.apply(step, &[node], !undo, now)?;
                if let (false, Some(lasts)) = (undo, get(&step.lasts, &self.parameters)?) {
                    self.enter(now + lasts, Due::Part { step: number, node, undo: true });
                }
                Ok(())
            }
            Due::Join { node, via } => {
                self.join(node, via);
                Ok(())
            }
            Due::Start { node } => {
                let id = self.add_node();
                debug_assert_eq!(id.number(), node);
                if node > 0 {
                    self.join(node, vec![0]);
                }
                Ok(())
            }
            Due::Replace { step, until } => self.replace(step, until, now),
            Due::Return { step: number, node } => {
                if self.leaving.contains(&node) {
                    // Its good-bye takes longer than it is to be away.
                    self.enter(now + self.retry, Due::Return { step: number, node });
                    return Ok(());
                }
                self.away.remove(&node);
                self.restart(self.step(number), node)
            }
            Due::Measure | Due::Look => Ok(()),
        }
    }

    /// Marks the nodes that will have a fault: what is said against them is not false, before it either.
    pub(super) fn expect_faults(&mut self, step: &Step) -> Result<(), String> {
        if step.action.makes_faulty() {
            for node in self.targets(&step.nodes)? {
                self.meter.expect_fault(node);
            }
        }
        Ok(())
    }

    fn begin_step(&mut self, number: usize, round: usize, now: Instant) -> Result<(), String> {
        let step = self.step(number);
        let nodes = self.targets(&step.nodes)?;
        let lasts = get(&step.lasts, &self.parameters)?;
        let again = round + 1 < get(&step.times, &self.parameters)?.unwrap_or(usize::MAX);
        if let Some(every) = get(&step.every, &self.parameters)?
            && again
            && get(&step.until, &self.parameters)?.is_none_or(|until| now + every < self.zero + until)
        {
            self.enter(now + every, Due::Do { step: number, round: round + 1 });
        }
        if step.action == Action::Churn {
            self.mark(step, false, &[], now);
            let until = now + lasts.unwrap_or_default();
            self.enter(now, Due::Replace { step: number, until });
            return Ok(());
        }
        if let Some(over) = get(&step.over, &self.parameters)? {
            for node in nodes {
                let wait = self.net.random(over.as_nanos() as u64);
                self.enter(now + Duration::from_nanos(wait), Due::Part { step: number, node, undo: false });
            }
            return Ok(());
        }
        self.mark(step, false, &nodes, now);
        self.apply(step, &nodes, true, now)?;
        if let Some(lasts) = lasts {
            self.enter(now + lasts, Due::Undo { step: number, round });
        }
        Ok(())
    }

    fn end_step(&mut self, number: usize, round: usize, now: Instant) -> Result<(), String> {
        let step = self.step(number);
        let nodes = self.targets(&step.nodes)?;
        self.mark(step, true, &nodes, now);
        self.apply(step, &nodes, false, now)?;
        if let Some(off) = get(&step.off, &self.parameters)? {
            let over = get(&step.until, &self.parameters)?.is_some_and(|until| now >= self.zero + until);
            if !over && round + 1 < get(&step.times, &self.parameters)?.unwrap_or(usize::MAX) {
                self.enter(now + off, Due::Do { step: number, round: round + 1 });
            }
        }
        Ok(())
    }

    fn mark(&mut self, step: &Step, undo: bool, nodes: &[usize], now: Instant) {
        let what = if undo { format!("undo {}", step.action) } else { step.action.to_string() };
        self.meter.mark(now, what, nodes);
    }

    /// Does something to nodes, or undoes it.
    fn apply(&mut self, step: &Step, nodes: &[usize], on: bool, now: Instant) -> Result<(), String> {
        let name = step.action.name();
        match step.action {
            Action::Crash | Action::Vanish => {
                for &node in nodes {
                    if on {
                        self.stop(node, step.action == Action::Crash, now, name);
                    } else {
                        self.restart(step, node)?;
                    }
                }
            }
            Action::Restart => {
                for &node in nodes {
                    if self.net.machine(self.nodes[node]).is_some() {
                        self.stop(node, true, now, name);
                    }
                    self.restart(step, node)?;
                }
            }
            Action::Pause | Action::StopIo => {
                for &node in nodes {
                    let id = self.nodes[node];
                    match (step.action, on) {
                        (Action::Pause, true) => self.net.pause(id),
                        (Action::Pause, false) => self.net.resume(id),
                        (_, true) => self.net.stop_io(id),
                        (_, false) => self.net.start_io(id),
                    }
                    if on {
                        self.meter.fault(node, now, name, false);
                    }
                }
            }
            Action::Loss => {
                let out = get(&step.out, &self.parameters)?.map_or(0.0, |share| share.0);
                let inbound = get(&step.inbound, &self.parameters)?.map_or(0.0, |share| share.0);
                for &node in nodes {
                    let (out, inbound) = if on { (out, inbound) } else { (0.0, 0.0) };
                    self.net.set_loss(self.nodes[node], out, inbound);
                    if on {
                        self.meter.fault(node, now, name, false);
                    }
                }
            }
            Action::Cut | Action::BlockDatagrams => self.cut(step, on)?,
            Action::Partition if on => {
                let groups = step.groups.as_deref().unwrap_or_default();
                let groups = groups.iter().map(|group| self.named(group)).collect::<Result<Vec<_>, _>>()?;
                let ids: Vec<Vec<NodeId>> =
                    groups.iter().map(|group| group.iter().map(|node| self.nodes[*node]).collect()).collect();
                self.net.partition(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>());
                self.meter.sides(&groups);
            }
            Action::Partition | Action::Heal => {
                self.net.heal();
                self.meter.sides(&[]);
            }
            Action::Join => {
                let via = self.via(step)?;
                for &node in nodes {
                    self.join(node, via.clone());
                }
            }
            Action::Leave => {
                for &node in nodes {
                    self.leave(node, now);
                }
            }
            Action::UserEvent => {
                for &node in nodes {
                    self.user_event(step, node, now)?;
                }
            }
            Action::Query => {
                for &node in nodes {
                    self.query(step, node)?;
                }
            }
            Action::SetTag => {
                let name = get(&step.name, &self.parameters)?.unwrap_or_default();
                let value =
                    get(&step.value, &self.parameters)?.map_or_else(String::new, |value| value.to_string());
                for &node in nodes {
                    let id = self.nodes[node];
                    if self.net.machine(id).is_some() {
                        let (name, value) = (name.clone(), value.clone());
                        let set = self.net.with(id, |machine, now| machine.set_tag(now, name, value));
                        set.map_err(|error| format!("set-tag: {error}"))?;
                    }
                }
            }
            Action::Churn => {}
        }
        Ok(())
    }

    fn stop(&mut self, node: usize, crash: bool, now: Instant, what: &'static str) {
        let id = self.nodes[node];
        let Some(machine) = self.net.machine(id) else { return };
        if self.keeps_state {
            let saved = machine.save();
            *self.saved[node].borrow_mut() = Some(saved);
        }
        if crash {
            self.net.crash(id);
        } else {
            self.net.vanish(id);
        }
        self.leaving.remove(&node);
        self.meter.stopped(node);
        self.meter.fault(node, now, what, false);
    }

    fn restart(&mut self, step: &Step, node: usize) -> Result<(), String> {
        let id = self.nodes[node];
        if self.net.machine(id).is_some() {
            return Ok(());
        }
        let state = get(&step.state, &self.parameters)?.unwrap_or(false);
        if !state {
            self.saved[node].take();
        }
        self.net.restart(id);
        self.meter.restarted(node);
        if !state || step.via.is_some() {
            let via = self.via(step)?;
            self.join(node, via);
        }
        Ok(())
    }

    /// Through whom nodes join.
    fn via(&self, step: &Step) -> Result<Vec<usize>, String> {
        match &step.via {
            Some(_) => self.targets(&step.via),
            None => Ok(vec![0]),
        }
    }

    /// Joins through the first of those that run, or through the first other node that does.
    fn join(&mut self, node: usize, via: Vec<usize>) {
        let id = self.nodes[node];
        if self.net.machine(id).is_none() {
            return;
        }
        let runs = |other: &usize| *other != node && self.net.machine(self.nodes[*other]).is_some();
        let via_now = via.iter().copied().find(runs).or_else(|| (0..self.nodes.len()).find(runs));
        let Some(via_now) = via_now else { return };
        let target = self.net.addr(self.nodes[via_now]).into();
        match self.net.with(id, |machine, now| machine.join(now, &[target])) {
            Ok(operation) => {
                self.joins.insert((node, operation), via);
            }
            // It leaves, or has too much to do: the second passes.
            Err(gossip_proto::CommandError::Left) => {}
            Err(_) => self.enter(self.net.now() + self.retry, Due::Join { node, via }),
        }
    }

    fn leave(&mut self, node: usize, now: Instant) {
        let id = self.nodes[node];
        if self.net.machine(id).is_none() || !self.leaving.insert(node) {
            return;
        }
        self.meter.fault(node, now, "leave", true);
        if self.net.with(id, |machine, now| machine.leave(now)).is_err() {
            self.leaving.remove(&node);
        }
    }

    fn user_event(&mut self, step: &Step, node: usize, now: Instant) -> Result<(), String> {
        let id = self.nodes[node];
        if self.net.machine(id).is_none() {
            return Ok(());
        }
        let prefix = get(&step.name, &self.parameters)?.unwrap_or_else(|| "e".into());
        let name = format!("{prefix}{}", self.events);
        self.events += 1;
        let payload = vec![b'x'; get(&step.size, &self.parameters)?.unwrap_or(0)];
        self.meter.rumor(name.clone(), node, now);
        let sent = self.net.with(id, |machine, now| machine.spread(now, name.as_bytes(), &payload));
        sent.map(drop).map_err(|error| format!("user-event: {error}"))
    }

    fn query(&mut self, step: &Step, node: usize) -> Result<(), String> {
        let id = self.nodes[node];
        if self.net.machine(id).is_none() {
            return Ok(());
        }
        let name = get(&step.name, &self.parameters)?.unwrap_or_else(|| "q".into());
        let payload = vec![b'x'; get(&step.size, &self.parameters)?.unwrap_or(0)];
        let running = self.net.running().count();
        match self.net.with(id, |machine, now| machine.ask(now, name.as_bytes(), &payload)) {
            Some(Ok(operation)) => {
                self.queries.insert((node, operation), running);
                Ok(())
            }
            Some(Err(error)) => Err(format!("query: {error}")),
            None => Err("query: a membership machine has no queries; use machine = \"node\"".into()),
        }
    }

    fn cut(&mut self, step: &Step, on: bool) -> Result<(), String> {
        let (from, to) = (self.targets(&step.from)?, self.targets(&step.to)?);
        let both_ways = get(&step.both_ways, &self.parameters)?.unwrap_or(false);
        for &a in &from {
            for &b in to.iter().filter(|b| **b != a) {
                let (a, b) = (self.nodes[a], self.nodes[b]);
                for (a, b) in [(a, b), (b, a)].into_iter().take(if both_ways { 2 } else { 1 }) {
                    match step.action {
                        Action::Cut => self.net.cut(a, b, on),
                        _ => self.net.block_datagrams(a, b, on),
                    }
                }
            }
        }
        Ok(())
    }

    /// One node goes, to come back later; and the next follows.
    fn replace(&mut self, number: usize, until: Instant, now: Instant) -> Result<(), String> {
        let step = self.step(number);
        let nodes =
            if step.nodes.is_some() { self.targets(&step.nodes)? } else { (1..self.nodes.len()).collect() };
        let there: Vec<usize> = nodes
            .into_iter()
            .filter(|node| {
                let runs = self.net.machine(self.nodes[*node]).is_some();
                runs && !self.away.contains(node) && !self.leaving.contains(node)
            })
            .collect();
        if !there.is_empty() {
            let node = there[self.net.random(there.len() as u64) as usize];
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

    // Who.

    /// The nodes that a field names, as far as they are there yet; nobody if it is not there.
    fn targets(&self, field: &Option<Val<String>>) -> Result<Vec<usize>, String> {
        match get(field, &self.parameters)? {
            Some(name) => self.named(&name),
            None => Ok(Vec::new()),
        }
    }

    fn named(&self, name: &str) -> Result<Vec<usize>, String> {
        if name == "all" {
            return Ok((0..self.nodes.len()).collect());
        }
        if let Some(group) = self.groups.get(name) {
            return Ok(group.iter().copied().filter(|node| *node < self.nodes.len()).collect());
        }
        let number = name.strip_prefix("node-").and_then(|number| number.parse().ok());
        let number: usize = number.ok_or_else(|| format!("{name:?} names no nodes"))?;
        Ok(if number < self.nodes.len() { vec![number] } else { Vec::new() })
    }
}

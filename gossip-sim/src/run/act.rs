//! What steps do.

use core::time::Duration;

use gossip_proto::{CommandError, Instant};

use crate::run::kind::Kind;
use crate::run::{Due, Sim, get};
use crate::scenario::{Action, Step};
use crate::value::Val;

impl<K: Kind> Sim<'_, K> {
    /// Does what is due.
    pub(super) fn act(&mut self, due: Due, now: Instant) -> Result<(), String> {
        match due {
            Due::Do { step: number, round } => self.begin_step(number, round, now),
            Due::Undo { step: number, round } => self.end_step(number, round, now),
            Due::Part { step: number, node, undo } => {
                let step = self.step(number);
                self.mark(step, undo, &[node], now);
                self.apply(number, &[node], !undo, now)?;
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
            Due::Measure | Due::StopMeasuring | Due::Look => Ok(()),
        }
    }

    /// Marks the nodes that will have a fault: what is said against them is not false, before it either.
    pub(super) fn expect_faults(&mut self, number: usize) -> Result<(), String> {
        let step = self.step(number);
        if step.action == Action::Churn {
            return self.draw_replaced(number);
        }
        if step.action.makes_faulty()
            && let Some(name) = get(&step.nodes, &self.parameters)?
        {
            for node in self.named_of(&name, self.size)? {
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
            if round > 0 {
                self.draw_replaced(number)?;
            }
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
        self.apply(number, &nodes, true, now)?;
        if let Some(lasts) = lasts {
            self.enter(now + lasts, Due::Undo { step: number, round });
        }
        Ok(())
    }

    fn end_step(&mut self, number: usize, round: usize, now: Instant) -> Result<(), String> {
        let step = self.step(number);
        let nodes = self.targets(&step.nodes)?;
        self.mark(step, true, &nodes, now);
        self.apply(number, &nodes, false, now)?;
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
    fn apply(&mut self, number: usize, nodes: &[usize], on: bool, now: Instant) -> Result<(), String> {
        let step = self.step(number);
        let name = step.action.name();
        match step.action {
            Action::Crash | Action::Vanish => {
                for &node in nodes {
                    // Down is down, by either.
                    let down = self.hold(number, (Action::Crash, node, node), on).is_some();
                    if on {
                        self.stop(node, step.action == Action::Crash, now, name);
                    } else if !down {
                        self.restart(step, node)?;
                    }
                }
            }
            Action::Restart => {
                for &node in nodes {
                    self.held.remove(&(Action::Crash, node, node));
                    if self.net.machine(self.nodes[node]).is_some() {
                        self.stop(node, true, now, name);
                    }
                    self.restart(step, node)?;
                }
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
                    if self.takes_orders(node) {
                        self.count("tags set");
                        let (name, value) = (name.clone(), value.clone());
                        let set = self.net.with(id, |machine, now| machine.set_tag(now, name, value));
                        set.map_err(|error| format!("set-tag: {error}"))?;
                    }
                }
            }
            Action::Churn => {}
            _ => self.fault(number, nodes, on, now)?,
        }
        Ok(())
    }

    pub(super) fn stop(&mut self, node: usize, crash: bool, now: Instant, what: &'static str) {
        let id = self.nodes[node];
        if self.net.machine(id).is_none() {
            return;
        }
        if crash {
            self.net.crash(id);
        } else {
            self.net.vanish(id);
        }
        self.count(if crash { "crashes" } else { "power cuts" });
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
        if self.disks && !state {
            self.net.wipe_disk(id);
        }
        self.count(if state { "restarts with a disk" } else { "restarts without a disk" });
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
                self.count("joins");
                self.joins.insert((node, operation), via);
            }
            // It leaves, or has too much to do: the second passes.
            Err(CommandError::Left) => {}
            Err(_) => self.enter(self.net.now() + self.retry, Due::Join { node, via }),
        }
    }

    pub(super) fn leave(&mut self, node: usize, now: Instant) {
        let id = self.nodes[node];
        if self.net.machine(id).is_none() || !self.leaving.insert(node) {
            return;
        }
        self.meter.fault(node, now, "leave", true);
        match self.net.with(id, |machine, now| machine.leave(now)) {
            Ok(_) => self.count("leaves"),
            Err(_) => drop(self.leaving.remove(&node)),
        }
    }

    /// Whether a node can be told to say something: it runs, and does not say good-bye.
    fn takes_orders(&self, node: usize) -> bool {
        self.net.machine(self.nodes[node]).is_some_and(|machine| !machine.leaves())
    }

    fn user_event(&mut self, step: &Step, node: usize, now: Instant) -> Result<(), String> {
        let id = self.nodes[node];
        if !self.takes_orders(node) {
            return Ok(());
        }
        self.count("user events");
        let prefix = get(&step.name, &self.parameters)?.unwrap_or_else(|| "e".into());
        let name = format!("{prefix}{}", self.events);
        self.events += 1;
        let payload = vec![b'x'; get(&step.size, &self.parameters)?.unwrap_or(0)];
        self.meter.rumor(name.clone(), node, now);
        self.meter.follow(&mut self.net, &name, &payload);
        let sent = self.net.with(id, |machine, now| machine.spread(now, name.as_bytes(), &payload));
        match sent {
            // Whoever passes on what it hears may have as much to say as it may have open; nobody will have heard of this one.
            Err(CommandError::TooManyOperations) => self.count("user events refused"),
            Err(error) => return Err(format!("user-event: {error}")),
            Ok(_) => {}
        }
        Ok(())
    }

    fn query(&mut self, step: &Step, node: usize) -> Result<(), String> {
        let id = self.nodes[node];
        if !self.takes_orders(node) {
            return Ok(());
        }
        self.count("queries");
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

    // Who.

    /// The nodes that a field names, as far as they are there yet; nobody if it is not there.
    pub(super) fn targets(&self, field: &Option<Val<String>>) -> Result<Vec<usize>, String> {
        match get(field, &self.parameters)? {
            Some(name) => self.named(&name),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn named(&self, name: &str) -> Result<Vec<usize>, String> {
        self.named_of(name, self.nodes.len())
    }

    /// The same, of the first so many nodes.
    pub(super) fn named_of(&self, name: &str, count: usize) -> Result<Vec<usize>, String> {
        if name == "all" {
            return Ok((0..count).collect());
        }
        if let Some(group) = self.groups.get(name) {
            return Ok(group.iter().copied().filter(|node| *node < count).collect());
        }
        let number = name.strip_prefix("node-").and_then(|number| number.parse().ok());
        let number: usize = number.ok_or_else(|| format!("{name:?} names no nodes"))?;
        Ok(if number < count { vec![number] } else { Vec::new() })
    }
}

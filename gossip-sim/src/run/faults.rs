//! What breaks nodes and links, and mends them again.

use std::collections::BTreeSet;

use gossip_proto::{Instant, Seed};
use transport_mem::net::{Bursts, Device, FaultInjection, NodeId, Packet, Verdict};
use transport_mem::{Conditions, Rate};

use crate::run::kind::Kind;
use crate::run::{Sim, Target, get, links};
use crate::scenario::{Action, Step};
use crate::value::Share;

impl<K: Kind> Sim<'_, K> {
    /// Does it, or undoes it.
    pub(super) fn fault(
        &mut self,
        number: usize,
        nodes: &[usize],
        on: bool,
        now: Instant,
    ) -> Result<(), String> {
        let step = self.step(number);
        match step.action {
            Action::Heal => {
                self.net.heal();
                self.held.retain(|(action, ..), _| *action != Action::Cut);
                self.split = None;
                self.meter.sides(&[]);
                Ok(())
            }
            Action::Partition => self.split(number, on),
            Action::Corrupt => self.corrupt(number, nodes, on, now),
            Action::Link
            | Action::Cut
            | Action::BlockDatagrams
            | Action::StallStreams
            | Action::BlockConnects
            | Action::BreakStreams
            | Action::LimitPath => self.links(number, on),
            _ => nodes.iter().try_for_each(|&node| {
                if on {
                    self.count(counted(step));
                    self.meter.fault(node, now, step.action.name(), false);
                }
                match self.hold(number, (step.action, node, node), on) {
                    Some(holder) => self.hinder(self.step(holder), node, true),
                    None => self.hinder(step, node, false),
                }
            }),
        }
    }

    /// A step begins to hold something, or lets go of it; which one has it from now on, if any. Of several the latest one
    /// has it, so that the end of one does not end another.
    pub(super) fn hold(&mut self, step: usize, target: Target, on: bool) -> Option<usize> {
        let undone = self.step(step).lasts.is_some();
        let holders = self.held.entry(target).or_default();
        if on {
            if !undone {
                holders.retain(|holder| *holder != step);
            }
            holders.push(step);
        } else if let Some(place) = holders.iter().rposition(|holder| *holder == step) {
            holders.remove(place);
        }
        let holder = holders.last().copied();
        if holder.is_none() {
            self.held.remove(&target);
        }
        holder
    }

    /// Hinders one node, or lets go of it.
    fn hinder(&mut self, step: &Step, node: usize, on: bool) -> Result<(), String> {
        let (net, id, parameters) = (&mut self.net, self.nodes[node], &self.parameters);
        let time = |value| get(value, parameters).map(|value| value.filter(|_| on).unwrap_or_default());
        match (step.action, on) {
            (Action::Pause, true) => net.pause(id),
            (Action::Pause, false) => net.resume(id),
            (Action::StopIo, true) => net.stop_io(id),
            (Action::StopIo, false) => net.start_io(id),
            (Action::Loss, _) => {
                let share = |value| {
                    get(value, parameters)
                        .map(|share| share.filter(|_| on).map_or(0.0, |share: Share| share.0))
                };
                net.set_loss(id, share(&step.out)?, share(&step.inbound)?);
            }
            (Action::Slow, true) => net.set_slow(id, time(&step.per_call)?),
            (Action::Slow, false) => {
                let always = get(&self.task.scenario.cluster.per_call, parameters)?;
                net.set_slow(id, always.unwrap_or_default());
            }
            (Action::Bursts, _) => {
                let (awake, least, most) = (time(&step.awake)?, time(&step.least)?, time(&step.most)?);
                net.set_bursts(id, on.then_some(Bursts { awake, least, most }));
            }
            (Action::SkewClock, _) => {
                let ppm = get(&step.ppm, parameters)?.filter(|_| on).unwrap_or(0);
                net.skew_clock(id, ppm);
            }
            (Action::SetClock, _) => match (get(&step.forward, parameters)?, get(&step.back, parameters)?) {
                (Some(by), _) => net.set_clock_forward(id, by),
                (_, by) => net.set_clock_back(id, by.unwrap_or_default()),
            },
            (Action::RefuseStreams, _) => net.refuse_streams(id, on),
            (Action::FailDisk, _) => net.fail_disk(id, on),
            (Action::SlowReader, _) => {
                let rate = get(&step.bytes, parameters)?.filter(|_| on);
                net.set_read_rate(id, rate.map(|rate| rate as u64));
            }
            (Action::Line, _) => {
                let buffer = get(&step.buffer, parameters)?.unwrap_or(links::BUFFER);
                let rate = |value| {
                    get(value, parameters).map(|rate| {
                        let rate = rate.filter(|_| on);
                        rate.map(|rate: usize| Rate { bytes_per_second: rate as u64, buffer })
                    })
                };
                net.set_uplink(id, rate(&step.up)?);
                net.set_downlink(id, rate(&step.down)?);
            }
            (action, _) => return Err(format!("{action} is not done to one node")),
        }
        Ok(())
    }

    /// Damages what nodes send, or ends that. Several such steps at once each do theirs.
    fn corrupt(&mut self, number: usize, nodes: &[usize], on: bool, now: Instant) -> Result<(), String> {
        if !on {
            if let Some(place) = self.damage.iter().rposition(|(step, _)| *step == number) {
                let (_, device) = self.damage.remove(place);
                self.net.detach(device);
            }
            return Ok(());
        }
        let step = self.step(number);
        let share =
            |value| get(value, &self.parameters).map(|share| share.map_or(0.0, |share: Share| share.0));
        let (flip, truncate) = (share(&step.flip)?, share(&step.truncate)?);
        let streams = get(&step.streams, &self.parameters)?.unwrap_or(false);
        // Streams of random numbers that have nothing to do with each other.
        let seed = Seed::from_u64(self.net.random(u64::MAX));
        let harm = FaultInjection::new(&seed).corrupt(flip).truncate(truncate).streams(streams);
        let from: BTreeSet<NodeId> = nodes.iter().map(|node| self.nodes[*node]).collect();
        for &node in nodes {
            self.count("nodes whose packets are damaged");
            self.meter.fault(node, now, step.action.name(), false);
        }
        let device = self.net.attach(Of { from, harm });
        self.damage.push((number, device));
        Ok(())
    }

    /// Splits the network, or ends that, unless another split has taken its place.
    fn split(&mut self, number: usize, on: bool) -> Result<(), String> {
        if !on {
            if self.split == Some(number) {
                self.split = None;
                // No groups: all are on one side. What else was cut stays so.
                self.net.partition(&[]);
                self.meter.sides(&[]);
            }
            return Ok(());
        }
        let groups = self.step(number).groups.as_deref().unwrap_or_default();
        let groups = groups.iter().map(|group| self.named(group)).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<Vec<NodeId>> =
            groups.iter().map(|group| group.iter().map(|node| self.nodes[*node]).collect()).collect();
        self.count("partitions");
        self.net.partition(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>());
        self.meter.sides(&groups);
        self.split = Some(number);
        Ok(())
    }

    /// Changes links from some nodes to others.
    fn links(&mut self, number: usize, on: bool) -> Result<(), String> {
        let step = self.step(number);
        let ways = if get(&step.both_ways, &self.parameters)?.unwrap_or(false) { 2 } else { 1 };
        let zone = |field| {
            let name: Option<String> = get(field, &self.parameters)?;
            Ok::<_, String>(name.and_then(|name| self.zones.get(&name).copied()))
        };
        if let (Some(from), Some(to)) = (zone(&step.from)?, zone(&step.to)?)
            && matches!(step.action, Action::Link | Action::Cut)
        {
            for (from, to) in [(from, to), (to, from)].into_iter().take(ways) {
                // Zones are targets beyond all nodes.
                let target = [from, to].map(|zone| usize::MAX - zone as usize);
                let holder = self.hold(number, (step.action, target[0], target[1]), on);
                if step.action == Action::Cut {
                    self.net.cut_zones(from, to, holder.is_some());
                    continue;
                }
                let conditions = self.conditions_of(holder)?;
                self.net.set_zone_link(from, to, conditions);
                match conditions {
                    Some(conditions) => self.zone_links.insert((from, to), conditions),
                    None => self.zone_links.remove(&(from, to)),
                };
            }
            return Ok(());
        }
        let (from, to) = (self.targets(&step.from)?, self.targets(&step.to)?);
        if on && step.action == Action::Cut {
            self.count(if ways == 2 { "cuts both ways" } else { "cuts one way" });
        }
        self.pair_links |= step.action == Action::Link;
        for &a in &from {
            for &b in to.iter().filter(|b| **b != a) {
                for (a, b) in [(a, b), (b, a)].into_iter().take(ways) {
                    self.link(number, a, b, on)?;
                }
            }
        }
        Ok(())
    }

    /// Changes the link from one node to another.
    fn link(&mut self, number: usize, a: usize, b: usize, on: bool) -> Result<(), String> {
        let action = self.step(number).action;
        if on {
            self.count_link(self.step(number));
        }
        let holder = self.hold(number, (action, a, b), on);
        let on = holder.is_some();
        let bytes = match holder {
            Some(holder) => get(&self.step(holder).bytes, &self.parameters)?,
            None => None,
        };
        let conditions = self.conditions_of(holder)?;
        let (a, b) = (self.nodes[a], self.nodes[b]);
        match action {
            Action::Link if conditions.is_none() => self.place(a, b)?,
            Action::Link => self.net.set_link(a, b, conditions),
            Action::Cut => self.net.cut(a, b, on),
            Action::BlockDatagrams => self.net.block_datagrams(a, b, on),
            Action::StallStreams => self.net.stall_streams(a, b, on),
            Action::BlockConnects => self.net.block_connects(a, b, on),
            Action::BreakStreams => self.net.break_streams(a, b, bytes.map(|bytes| bytes as u64)),
            Action::LimitPath => self.net.set_path(a, b, bytes),
            action => return Err(format!("{action} is not done to links")),
        }
        Ok(())
    }

    /// Notes what is done to one direction of a link: each of several conditions by itself.
    fn count_link(&mut self, step: &Step) {
        let Some(links) = &step.conditions else { return self.count(counted(step)) };
        for (what, given) in [
            ("links with other latency", links.latency.is_some()),
            ("links with jitter", links.jitter.is_some()),
            ("links that lose packets", links.loss.is_some() && links.burst.is_none()),
            ("links that lose packets in bursts", links.loss.is_some() && links.burst.is_some()),
            ("links with a rate", links.rate.is_some()),
            ("links that lose large datagrams", links.mtu.is_some()),
            ("links that duplicate", links.duplicate.is_some()),
            ("links that reorder", links.reorder.is_some()),
        ] {
            if given {
                self.count(what);
            }
        }
    }

    /// How links behave by that step, if it says so.
    fn conditions_of(&self, holder: Option<usize>) -> Result<Option<Conditions>, String> {
        let network = holder.and_then(|holder| self.step(holder).conditions.as_ref());
        network.map(|network| links::conditions(network, &self.parameters)).transpose()
    }
}

/// Harm to what some nodes send.
struct Of {
    from: BTreeSet<NodeId>,
    harm: FaultInjection,
}

impl Device for Of {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        if self.from.contains(&packet.from) { self.harm.pass(packet) } else { Verdict::Pass }
    }
}

/// What a step does to one node or link, in the plural.
fn counted(step: &Step) -> &'static str {
    match step.action {
        Action::Pause => "processes paused",
        Action::StopIo => "sockets stopped",
        Action::Loss => "nodes that lose packets",
        Action::Slow => "slow processes",
        Action::Bursts => "processes in bursts",
        Action::SkewClock => "skewed clocks",
        Action::SetClock if step.forward.is_some() => "clocks set forward",
        Action::SetClock => "clocks set back",
        Action::RefuseStreams => "nodes that refuse streams",
        Action::SlowReader => "slow readers",
        Action::Line => "lines with a rate",
        Action::FailDisk => "failing disks",
        Action::Cut => "links cut",
        Action::BlockDatagrams => "links without datagrams",
        Action::StallStreams => "links with stalled streams",
        Action::BlockConnects => "links without connects",
        Action::BreakStreams => "links that break streams",
        Action::LimitPath => "paths for small datagrams",
        other => other.name(),
    }
}

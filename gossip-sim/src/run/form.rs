//! How a cluster comes about, and who belongs to which group.

use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;

use gossip_proto::NonceSecret;
use gossip_proto::wire::keyring::Keyring;
use transport_mem::Conditions;
use transport_mem::net::{NodeId, Start};

use crate::run::kind::Kind;
use crate::run::{Due, Sim, get, links};
use crate::scenario::{Forming, Group};
use crate::settings::NodeSettings;

/// So many join at a time while a cluster forms ahead: below the number of streams that a node serves at once.
const BATCH: usize = 100;
/// From one such batch to the next.
const PAUSE: Duration = Duration::from_millis(20);
/// The unit of a shape, unless the scenario says otherwise.
const SPACING: Duration = Duration::from_millis(10);
/// A cluster that has not formed after that long never will.
const PATIENCE: Duration = Duration::from_secs(3600);

impl<K: Kind> Sim<'_, K> {
    /// Starts the nodes, as far as they are there before time 0.
    pub(super) fn form(&mut self) -> Result<(), String> {
        let scenario = self.task.scenario;
        let network = &scenario.network;
        if let Some(bytes) = get(&network.socket_buffer, &self.parameters)? {
            self.net.set_socket_buffer(bytes);
        }
        if let Some(bytes) = get(&network.segment, &self.parameters)? {
            self.net.set_max_segment(bytes);
        }
        if let Some(on) = get(&network.report_unreachable, &self.parameters)? {
            self.net.report_unreachable(on);
        }
        let settle = get(&scenario.start.settle, &self.parameters)?;
        let conditions = links::conditions(network, &self.parameters)?;
        match scenario.start.how {
            Forming::Formed => {
                self.add_all();
                self.know_each_other()?;
                self.net.set_conditions(conditions);
                self.net.run_for(settle.unwrap_or_default());
                self.collect();
            }
            Forming::Known => {
                self.net.set_conditions(conditions);
                self.add_all();
                self.net.form();
                // That is no news to anybody, so that snapshots must begin with it.
                if self.disks {
                    self.nodes.iter().for_each(|&id| self.net.add_disk(id, true));
                }
                self.net.run_for(settle.unwrap_or_default());
                self.collect();
            }
            Forming::SeedThenAll => {
                self.net.set_conditions(conditions);
                self.add_node();
                self.net.run_for(settle.unwrap_or_default());
                self.zero = self.net.now();
                for node in 1..self.size {
                    self.later(Duration::ZERO, Due::Start { node });
                }
            }
            Forming::Sequential => {
                let every = get(&scenario.start.every, &self.parameters)?.unwrap_or_default();
                self.zero = self.net.now();
                for node in 0..self.size {
                    self.later(every * node as u32, Due::Start { node });
                }
            }
            Forming::Strangers => self.add_all(),
        }
        Ok(())
    }

    fn add_all(&mut self) {
        for _ in 0..self.size {
            self.add_node();
        }
    }

    /// One more node.
    pub(super) fn add_node(&mut self) -> NodeId {
        let settings = Rc::clone(&self.settings);
        let (seeds, keyring) = (self.seeds.clone(), self.keyring.clone());
        let id = self.net.add_node(move |start| boot(&settings, &seeds, keyring.as_ref(), start));
        if self.disks && self.task.scenario.start.how != Forming::Known {
            // A node that said good-bye and comes back with its state knows whom to come back to.
            self.net.add_disk(id, true);
        }
        self.nodes.push(id);
        let zone = self.zones.iter().find(|(name, _)| self.groups[*name].contains(&id.number()));
        if let Some((_, &zone)) = zone {
            self.net.set_zone(id, zone);
        }
        // The values were looked at when the scenario was checked.
        let cluster = &self.task.scenario.cluster;
        if let Ok(Some(per_call)) = get(&cluster.per_call, &self.parameters) {
            self.net.set_slow(id, per_call);
        }
        if let Ok(Some(inputs)) = get(&cluster.drain, &self.parameters) {
            self.net.set_drain(id, inputs);
        }
        let name = self.net.name(id).clone();
        self.meter.added(id.number(), name);
        if self.task.scenario.network.shape.is_some() {
            for other in 0..id.number() {
                let other = self.nodes[other];
                // Looked at when the scenario was checked, as well.
                let _ = self.place(other, id).and_then(|()| self.place(id, other));
            }
        }
        id
    }

    /// Puts the link from one node to another as it is by the network's shape, or as all are.
    pub(super) fn place(&mut self, from: NodeId, to: NodeId) -> Result<(), String> {
        let conditions = match self.round_trip(from.number(), to.number())? {
            Some(both_ways) => {
                let conditions = links::conditions(&self.task.scenario.network, &self.parameters)?;
                Some(conditions.delay(both_ways / 2, Duration::ZERO))
            }
            None => None,
        };
        self.net.set_link(from, to, conditions);
        Ok(())
    }

    /// The round trip between two nodes, by the network's shape if it has one.
    pub(super) fn round_trip(&self, a: usize, b: usize) -> Result<Option<Duration>, String> {
        let network = &self.task.scenario.network;
        let spacing = get(&network.spacing, &self.parameters)?.unwrap_or(SPACING);
        Ok(network.shape.map(|shape| shape.round_trip(spacing, a, b, self.size)))
    }

    /// Has everybody know everybody, on a network that loses nothing, and waits until that is no news any more.
    fn know_each_other(&mut self) -> Result<(), String> {
        self.net.set_conditions(Conditions::LAN);
        let end = self.net.now() + PATIENCE;
        while !self.net.agrees() {
            for batch in 1..=self.size.div_ceil(BATCH) {
                let ids = self.nodes[(batch - 1) * BATCH..self.size.min(batch * BATCH)].to_vec();
                for id in ids {
                    let knows = self.net.machine(id).is_some_and(|machine| machine.num_alive() == self.size);
                    if id != self.nodes[0] && !knows {
                        self.net.join(id, &[self.nodes[0]]);
                    }
                }
                self.net.run_for(PAUSE);
                self.forget();
            }
            if self.net.now() >= end {
                return Err(format!("no cluster of {} nodes formed within an hour", self.size));
            }
        }
        // Gossip goes on until each piece of news was sent often enough, and then stops: what is left is probes.
        let quiet = self.settings.quiet_rate() * self.size as f64;
        loop {
            let before = self.net.traffic().datagrams;
            self.net.run_for(Duration::from_secs(1));
            self.forget();
            let sent = (self.net.traffic().datagrams - before) as f64;
            if sent <= quiet {
                return Ok(());
            }
            if self.net.now() >= end {
                return Err(format!("a cluster of {} nodes was not quiet after an hour", self.size));
            }
        }
    }

    /// What nodes said before time 0 concerns nobody.
    fn forget(&mut self) {
        for &id in &self.nodes {
            self.net.clear_log(id);
        }
    }

    // Groups.

    pub(super) fn draw_groups(&mut self) -> Result<(), String> {
        for group in &self.task.scenario.groups {
            let group = group.get_ref();
            let nodes = self.draw(group)?;
            if group.zone {
                let taken = |node: &&usize| self.zones.keys().any(|zone| self.groups[zone].contains(node));
                if let Some(node) = nodes.iter().find(taken) {
                    return Err(format!(
                        "group {:?}: node-{node} is in a zone already; `except` leaves out the nodes of other groups",
                        group.name
                    ));
                }
                // All others are in zone 0.
                self.zones.insert(group.name.clone(), self.zones.len() as u32 + 1);
            }
            self.groups.insert(group.name.clone(), nodes);
        }
        Ok(())
    }

    fn draw(&mut self, group: &Group) -> Result<Vec<usize>, String> {
        let size = group.size(self.size, &self.parameters)?;
        if let Some(numbers) = &group.numbers {
            return Ok(numbers.clone());
        }
        let taken: Vec<usize> = group.except.iter().flat_map(|name| self.groups[name].clone()).collect();
        let mut nodes: Vec<usize> = (0..self.size).filter(|node| !taken.contains(node)).collect();
        if group.last.is_some() {
            nodes.reverse();
        } else if group.first.is_none() {
            for i in 0..size.min(nodes.len()) {
                let other = i + self.net.random((nodes.len() - i) as u64) as usize;
                nodes.swap(i, other);
            }
        }
        nodes.truncate(size);
        nodes.sort_unstable();
        Ok(nodes)
    }
}

fn boot<K: Kind>(
    settings: &NodeSettings,
    seeds: &[SocketAddr],
    keyring: Option<&Keyring>,
    start: Start,
) -> K {
    let name = format!("node-{}", start.number);
    // The settings were tried out when the scenario was checked.
    let (mut config, mut service) = settings.configure(&name, start.addr).expect("the settings were checked");
    config.seeds(seeds.to_vec()).keyring(start.saved.keyring.clone().or_else(|| keyring.cloned()));
    if start.restarts > 0 {
        K::restore(&start.saved, seeds, &mut config, &mut service);
    }
    let nonces: NonceSecret = start.nonces;
    K::make(start.now, config, service, start.seed, nonces).expect("the settings were checked")
}

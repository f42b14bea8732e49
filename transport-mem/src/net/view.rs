//! Who sees whom, and how.

use core::fmt::Write;
use core::net::SocketAddr;

use gossip_proto::{Machine, Name, Status};

use crate::net::node::Power;
use crate::net::{Network, NodeId};

/// A member as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub name: Name,
    /// Its address.
    pub addr: SocketAddr,
    /// What the node believes of it.
    pub status: Status,
    /// The incarnation the node has accepted.
    pub incarnation: u32,
    /// Its metadata.
    pub metadata: Vec<u8>,
}

impl<M: Machine> Network<M> {
    /// What one node believes of another, by its name; `None` if it does not know it or is down itself.
    pub fn status(&self, viewer: NodeId, subject: NodeId) -> Option<Status> {
        Some(self.machine(viewer)?.find(self.name(subject).as_bytes())?.status)
    }

    /// All that a node knows, itself included, by name.
    pub fn view(&self, viewer: NodeId) -> Vec<Seen> {
        let Some(machine) = self.machine(viewer) else { return Vec::new() };
        let mut seen: Vec<_> = machine
            .members()
            .map(|member| Seen {
                name: member.name.clone(),
                addr: member.addr,
                status: member.status,
                incarnation: member.incarnation,
                metadata: member.metadata.to_vec(),
            })
            .collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        seen
    }

    /// Whether every running node but the subject believes this of it.
    pub fn all_see(&self, subject: NodeId, status: Status) -> bool {
        self.running().all(|viewer| viewer == subject || self.status(viewer, subject) == Some(status))
    }

    /// Whether no running node but the subject itself counts it as a member.
    pub fn none_counts(&self, subject: NodeId) -> bool {
        self.running().all(|viewer| {
            viewer == subject
                || !matches!(self.status(viewer, subject), Some(Status::Alive | Status::Suspect))
        })
    }

    /// Whether every running node sees all running nodes alive at their addresses, and counts nobody else.
    pub fn agrees(&self) -> bool {
        let running = self.running().count();
        self.running()
            .all(|viewer| self.machine(viewer).is_some_and(|machine| machine.num_alive() == running))
            && self.running().all(|viewer| self.running().all(|subject| self.sees_alive(viewer, subject)))
    }

    /// Whether all these nodes see each other alive at their addresses.
    pub fn agree_among(&self, nodes: &[NodeId]) -> bool {
        nodes.iter().all(|&viewer| nodes.iter().all(|&subject| self.sees_alive(viewer, subject)))
    }

    /// The nodes whose processes run and have working sockets, and that are members or want to be: none that has left.
    pub fn active(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.running().filter(|node| {
            let state = self.node(*node);
            let left = |machine: &M| matches!(machine.local().status, Status::Left | Status::Leaving);
            state.power == Power::Up && state.io && !state.machine.as_deref().is_some_and(left)
        })
    }

    /// The active nodes, by who can reach whom in both directions, over others if need be: each group in order, and the
    /// groups by their first node. Losses do not count, only partitions and cuts.
    pub fn groups(&self) -> Vec<Vec<NodeId>> {
        let mut rest: Vec<NodeId> = self.active().collect();
        let mut groups = Vec::new();
        while !rest.is_empty() {
            let mut group = vec![rest.remove(0)];
            let mut next = 0;
            while let Some(&from) = group.get(next) {
                next += 1;
                let links = &self.world.links;
                rest.retain(|&to| {
                    let reached = links.connected(from.0, to.0) && links.connected(to.0, from.0);
                    if reached {
                        group.push(to);
                    }
                    !reached
                });
            }
            group.sort_unstable();
            groups.push(group);
        }
        groups
    }

    /// Whether every active node sees all of its group of [`Network::groups`] alive at their addresses, and counts nobody
    /// else.
    pub fn agrees_where_connected(&self) -> bool {
        self.groups().iter().all(|group| {
            let counts = |viewer: &NodeId| self.machine(*viewer).map(Machine::num_alive) == Some(group.len());
            group.iter().all(counts) && self.agree_among(group)
        })
    }

    fn sees_alive(&self, viewer: NodeId, subject: NodeId) -> bool {
        self.machine(viewer)
            .and_then(|machine| machine.find(self.name(subject).as_bytes()))
            .is_some_and(|member| member.status == Status::Alive && member.addr == self.addr(subject))
    }

    /// A table of who sees whom how, for the message of a failed test: a line for each viewer, a letter for each
    /// subject (`a`live, `s`uspect, leavin`g`, `l`eft, `f`ailed, `.` unknown).
    pub fn table(&self) -> String {
        let mut table = format!("views at {}:\n", self.now());
        for viewer in self.nodes() {
            let _ = write!(table, "{:>12} ", format!("{}", self.name(viewer)));
            if self.machine(viewer).is_none() {
                table.push_str("(down)\n");
                continue;
            }
            table.extend(self.nodes().map(|subject| match self.status(viewer, subject) {
                Some(Status::Alive) => 'a',
                Some(Status::Suspect) => 's',
                Some(Status::Leaving) => 'g',
                Some(Status::Left) => 'l',
                Some(Status::Failed) => 'f',
                Some(_) => '?',
                None => '.',
            }));
            table.push('\n');
        }
        table
    }
}

//! Whether a cluster has settled: what the protocol promises once nothing goes wrong any more, looked at from outside.
//!
//! Each node that runs must see each other one as that one sees itself. That is more than [`transport_mem::net::Network::agrees`]:
//! an old incarnation or an old tag anywhere is news that got lost. Nobody who is down may be counted. The Lamport clocks
//! must agree, since every exchange carries them (serf.md 1.4) and nobody moves them any more. And a node must come to rest:
//! what it keeps for a while, a rumor, an answer, a stream, ends.

use core::time::Duration;
use std::collections::BTreeSet;

use gossip_proto::{Instant, Machine, Status};
use transport_mem::net::NodeId;
use transport_mem::net::Persistent;

use crate::run::Sim;
use crate::run::kind::Kind;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(1);
/// So much of what is wrong is told.
const TOLD: usize = 6;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Settled {
    next: Instant,
    /// Who was seen at rest since nothing was wrong.
    rested: BTreeSet<NodeId>,
    holds: bool,
    /// What was wrong when it was last looked.
    wrong: Vec<String>,
    pub(super) checked: u64,
}

impl<K: Kind> Sim<'_, K> {
    /// Looks, if somebody wants to know and it is time.
    pub(super) fn look_whether_settled(&mut self, now: Instant) {
        if now < self.settled.next {
            return;
        }
        let mut wrong = Vec::new();
        let running: Vec<NodeId> = self.net.running().collect();
        for &viewer in &running {
            self.settled.checked += self.nodes.len() as u64;
            self.compare(viewer, running.len(), &mut wrong);
        }
        self.compare_clocks(&running, &mut wrong);
        let settled = &mut self.settled;
        settled.next = now + LOOK;
        if !wrong.is_empty() {
            settled.rested.clear();
        }
        settled.wrong = wrong;
        if self.settled.wrong.is_empty() {
            let waits: Vec<_> = running.iter().filter(|node| !self.settled.rested.contains(node)).collect();
            let rested: Vec<NodeId> =
                waits.into_iter().copied().filter(|node| self.unrest(*node).is_none()).collect();
            self.settled.rested.extend(rested);
        }
        self.settled.holds = running.iter().all(|node| self.settled.rested.contains(node));
    }

    pub(super) fn is_settled(&self) -> bool {
        self.settled.holds
    }

    /// The error of a run that ends before it is settled: what stands against it.
    pub(super) fn not_settled(&self) -> String {
        let mut wrong = self.settled.wrong.clone();
        if wrong.is_empty() {
            let restless = self.net.running().filter(|node| !self.settled.rested.contains(node));
            wrong.extend(restless.filter_map(|node| {
                Some(format!("{} never came to rest: {}", self.net.name(node), self.unrest(node)?))
            }));
        }
        let more = wrong.len().saturating_sub(TOLD);
        wrong.truncate(TOLD);
        if more > 0 {
            wrong.push(format!("... and {more} more"));
        }
        let (now, since) = (self.net.now(), self.last_step);
        let quiet = now.saturating_duration_since(since);
        format!(
            "not settled at {now}, {quiet:?} after the last step:\n{}\n{}",
            wrong.join("\n"),
            self.net.table()
        )
    }

    /// Sets what one node sees beside what is.
    fn compare(&self, viewer: NodeId, running: usize, wrong: &mut Vec<String>) {
        let Some(machine) = self.net.machine(viewer) else { return };
        let name = self.net.name(viewer);
        if machine.num_alive() != running {
            wrong.push(format!("{name} counts {} members where {running} run", machine.num_alive()));
        }
        for &subject in &self.nodes {
            let of = self.net.name(subject);
            let seen = machine.find(of.as_bytes());
            let Some(itself) = self.net.machine(subject).map(Machine::local) else {
                if let Some(seen) = seen
                    && !matches!(seen.status, Status::Failed | Status::Left)
                {
                    wrong.push(format!("{name} sees {of} {:?}, which is down", seen.status));
                }
                continue;
            };
            let Some(seen) = seen else {
                wrong.push(format!("{name} does not know {of}"));
                continue;
            };
            if seen.status != Status::Alive {
                wrong.push(format!("{name} sees {of} {:?}, which runs", seen.status));
            } else if (seen.addr, seen.incarnation) != (self.net.addr(subject), itself.incarnation) {
                let (at, incarnation) = (self.net.addr(subject), itself.incarnation);
                wrong.push(format!(
                    "{name} sees {of} at {} in incarnation {}, which is at {at} in {incarnation}",
                    seen.addr, seen.incarnation
                ));
            } else if seen.metadata != itself.metadata {
                wrong.push(format!("{name} sees old tags of {of}"));
            }
        }
    }

    fn compare_clocks(&mut self, running: &[NodeId], wrong: &mut Vec<String>) {
        let clocks = |node: &NodeId| self.net.machine(*node).map(Persistent::lamport);
        let Some(first) = running.first() else { return };
        let of_first = clocks(first);
        if let Some(other) = running.iter().find(|node| clocks(node) != of_first) {
            wrong.push(format!(
                "the clocks of {} and {} differ: {:?}, {:?}",
                self.net.name(*first),
                self.net.name(*other),
                of_first.unwrap_or_default(),
                clocks(other).unwrap_or_default()
            ));
        }
        self.settled.checked += running.len() as u64;
    }

    /// What a node still has to do. Streams to those who failed are no unrest: it goes on trying them. Nor is news while there is
    /// nobody to tell.
    fn unrest(&self, node: NodeId) -> Option<String> {
        let machine = self.net.machine(node)?;
        let failed = machine.members().filter(|member| member.status == Status::Failed).count();
        let is_alone = machine.num_alive() <= 1;
        let depths = machine.depths();
        let busy = depths.iter().find(|depth| match depth.what {
            "members" => false,
            "refutations" | "accusations" | "alive rumors" | "intents" | "events" | "queries" if is_alone => {
                false
            }
            "own streams" => depth.len > failed,
            _ => depth.len > 0,
        });
        if let Some(busy) = busy {
            return Some(format!("{} {}", busy.len, busy.what));
        }
        let streams = self.net.open_streams(node);
        (streams > failed).then(|| format!("{streams} streams in its driver"))
    }
}

//! How soon a fault is noticed, and what is noticed that is none.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_proto::{Cause, ChangeKind, Instant, Machine, Name};

use crate::net::observe::Summary;
use crate::net::record::Change;
use crate::net::{Network, NodeId, Observer};

/// Measures detection: for each node that stops or stands still, when it was first suspected, first declared dead, and when
/// all others knew.
///
/// A case begins when a node crashes, vanishes, is paused or has its sockets stopped, or by [`Detection::begin`]; it ends
/// when that is undone, or by [`Detection::end`]. What the node says of itself does not count; what any other says does,
/// also another node with a case of its own.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    names: BTreeMap<Name, NodeId>,
    running: BTreeSet<NodeId>,
    open: BTreeMap<NodeId, usize>,
    cases: Vec<Case>,
}

/// One fault of one node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Case {
    /// The node.
    pub node: NodeId,
    /// Since when it is at fault.
    pub since: Instant,
    /// Until when it was.
    pub until: Option<Instant>,
    /// When it was first suspected, and where.
    pub first_suspicion: Option<(Instant, NodeId)>,
    /// When it was first declared dead, and where.
    pub first_death: Option<(Instant, NodeId)>,
    /// When each node took it for dead.
    pub informed: BTreeMap<NodeId, Instant>,
    /// When the last of all running nodes without a case of their own took it for dead.
    pub all_informed: Option<Instant>,
}

impl Case {
    /// How long after the fault the first suspicion came.
    pub fn to_suspicion(&self) -> Option<Duration> {
        self.first_suspicion.map(|(at, _)| at.saturating_duration_since(self.since))
    }

    /// How long after the fault the first death came: the papers' detection time.
    pub fn to_death(&self) -> Option<Duration> {
        self.first_death.map(|(at, _)| at.saturating_duration_since(self.since))
    }

    /// How long after the fault all knew: Lifeguard's full dissemination.
    pub fn to_all(&self) -> Option<Duration> {
        self.all_informed.map(|at| at.saturating_duration_since(self.since))
    }
}

impl Detection {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// This node is at fault from now on, whatever the fault is. Nothing happens if it is already.
    pub fn begin(&mut self, now: Instant, node: NodeId) {
        if self.open.contains_key(&node) {
            return;
        }
        self.open.insert(node, self.cases.len());
        self.cases.push(Case {
            node,
            since: now,
            until: None,
            first_suspicion: None,
            first_death: None,
            informed: BTreeMap::new(),
            all_informed: None,
        });
    }

    /// It is not any more.
    pub fn end(&mut self, now: Instant, node: NodeId) {
        if let Some(index) = self.open.remove(&node) {
            self.cases[index].until = Some(now);
        }
    }

    /// All cases, in the order in which they began.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The last case of a node.
    pub fn case(&self, node: NodeId) -> Option<&Case> {
        self.cases.iter().rev().find(|case| case.node == node)
    }

    /// Seconds to the first suspicion, over all cases that were suspected.
    pub fn suspicion(&self) -> Summary {
        Summary::of_seconds(self.cases.iter().filter_map(Case::to_suspicion))
    }

    /// Seconds to the first death, over all cases that were declared dead.
    pub fn death(&self) -> Summary {
        Summary::of_seconds(self.cases.iter().filter_map(Case::to_death))
    }

    /// Seconds until all knew, over all cases that all knew of.
    pub fn dissemination(&self) -> Summary {
        Summary::of_seconds(self.cases.iter().filter_map(Case::to_all))
    }

    /// Somebody learnt, stopped or fell silent: perhaps all that are left know now.
    fn settle(&mut self, at: Instant) {
        let open = &self.open;
        for &index in open.values() {
            let case = &mut self.cases[index];
            if case.all_informed.is_none() && !case.informed.is_empty() {
                let mut audience = self.running.iter().filter(|node| !open.contains_key(node));
                if audience.all(|node| case.informed.contains_key(node)) {
                    case.all_informed = Some(at);
                }
            }
        }
    }
}

impl<M: Machine> Observer<M> for Detection {
    fn started(&mut self, net: &Network<M>, node: NodeId) {
        self.names.insert(net.name(node).clone(), node);
        self.running.insert(node);
        self.end(net.now(), node);
    }

    fn stopped(&mut self, net: &Network<M>, node: NodeId) {
        self.running.remove(&node);
        self.settle(net.now());
    }

    fn faulted(&mut self, at: Instant, node: Option<NodeId>, what: &'static str) {
        let Some(node) = node else { return };
        match what {
            "crash" | "vanish" | "pause" | "stop_io" => self.begin(at, node),
            "resume" | "start_io" | "restart" => self.end(at, node),
            _ => return,
        }
        self.settle(at);
    }

    fn changed(&mut self, viewer: NodeId, change: &Change) {
        let Some(subject) = self.names.get(&change.name).copied().filter(|subject| *subject != viewer) else {
            return;
        };
        let Some(&index) = self.open.get(&subject) else { return };
        let case = &mut self.cases[index];
        match change.kind {
            ChangeKind::Suspected => {
                case.first_suspicion = case.first_suspicion.or(Some((change.at, viewer)))
            }
            ChangeKind::Failed => {
                case.first_death = case.first_death.or(Some((change.at, viewer)));
                case.informed.entry(viewer).or_insert(change.at);
                self.settle(change.at);
            }
            _ => {}
        }
    }
}

/// Counts false positives as Lifeguard's paper does: failure events about members that are not anomalous, raised anywhere;
/// and of those, the ones raised at nodes that are not anomalous either (FP and FP-).
///
/// One event is one node's change of one member to failed, whether its own suspicion ran out or it believed another's word
/// ([`FalsePositive::own`] tells them apart): that is what an agent logs, and what the paper counted in its agents' logs. The
/// same death told again is no further event; a death after the member had refuted is. A member whose process is gone
/// is never falsely failed. The paper fixes the anomalous set for a whole run; so must the caller,
/// for an event that trails the end of an anomaly counts by the set of its own time.
#[derive(Clone, Debug, Default)]
pub struct FalsePositives {
    names: BTreeMap<Name, NodeId>,
    running: BTreeSet<NodeId>,
    anomalous: BTreeSet<NodeId>,
    events: Vec<FalsePositive>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FalsePositive {
    /// When.
    pub at: Instant,
    /// Who raised it.
    pub observer: NodeId,
    /// About whom.
    pub subject: NodeId,
    /// Whether the observer was healthy: not in the anomalous set.
    pub healthy: bool,
    /// Whether the observer's own suspicion ran out, as opposed to believing another's word.
    pub own: bool,
}

impl FalsePositives {
    /// With nobody anomalous.
    pub fn new() -> Self {
        Self::default()
    }

    /// These nodes are the anomalous ones from now on, and no others.
    pub fn set_anomalous(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        self.anomalous = nodes.into_iter().collect();
    }

    /// All events, in order.
    pub fn events(&self) -> &[FalsePositive] {
        &self.events
    }

    /// The paper's FP: all of them.
    pub fn total(&self) -> usize {
        self.events.len()
    }

    /// The paper's FP-: those at healthy nodes.
    pub fn at_healthy(&self) -> usize {
        self.events.iter().filter(|event| event.healthy).count()
    }

    /// Forgets what was counted.
    pub fn clear(&mut self) {
        self.events.clear();
    }
}

impl<M: Machine> Observer<M> for FalsePositives {
    fn started(&mut self, net: &Network<M>, node: NodeId) {
        self.names.insert(net.name(node).clone(), node);
        self.running.insert(node);
    }

    fn stopped(&mut self, _: &Network<M>, node: NodeId) {
        self.running.remove(&node);
    }

    fn changed(&mut self, observer: NodeId, change: &Change) {
        let Some(&subject) = self.names.get(&change.name) else { return };
        let false_positive = change.kind == ChangeKind::Failed
            && observer != subject
            && self.running.contains(&subject)
            && !self.anomalous.contains(&subject);
        if false_positive {
            let healthy = !self.anomalous.contains(&observer);
            let own = matches!(change.cause, Cause::Expired { .. });
            self.events.push(FalsePositive { at: change.at, observer, subject, healthy, own });
        }
    }
}

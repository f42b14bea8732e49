//! What must always hold, and what must hold in the end.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use gossip_proto::wire::keyring::Keyring;
use gossip_proto::wire::message::MessageType;
use gossip_proto::{ChangeKind, Config, Depth, Instant, Machine, MemberKey, Status};

use super::traffic::Opener;
use crate::net::record::Change;
use crate::net::{Clock, Network, NodeId, Observer};

/// Which invariant was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// In one node's view, the incarnation of a member at one address never falls, until the member is forgotten.
    Incarnation,
    /// A node begins at most one probe in each interval, one at a time: it sends at most one ping for each interval since it
    /// started, one more for the first, and one for each request to ping for another.
    Probes,
    /// No queue is longer than its cap.
    Queue,
    /// No datagram is longer than its sender's limit.
    Datagram,
    /// A node sends no more bytes of datagrams in one second than its budget.
    Budget,
    /// So long after the last fault, no active node takes one that it is connected to for dead.
    StaysDead,
    /// So long after the last fault, all active nodes agree with those they are connected to.
    Disagreement,
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broken {
    /// When.
    pub at: Instant,
    /// At which node, if at one.
    pub node: Option<NodeId>,
    /// Which one.
    pub rule: Rule,
    /// What was seen, and what would have been right.
    pub what: String,
    /// The line that repeats the run.
    pub replay: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, node, rule, what, replay } = self;
        write!(f, "{rule:?} broken at {at}")?;
        if let Some(node) = node {
            write!(f, " by node {}", node.number())?;
        }
        write!(f, ": {what}\nrepeat it with: {replay}")
    }
}

/// How long after the last fault all may disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub Duration);

impl Bound {
    /// T(n), from the protocol's parameters. What is wrong when the last fault ends, and how long it may stay:
    ///
    /// 1. Somebody has to be probed: each of n nodes probes a random other in each interval, so that a member is missed by
    ///    all in one with probability 1/e, and in 20 intervals with 2·10⁻⁹. Small clusters need no chance: a round and
    ///    its shuffled successor take 2n. Prober's health stretches the last of these to `awareness_max` intervals.
    /// 2. The suspicion runs its longest, since nobody confirms it.
    /// 3. The news dies on its way to somebody, who learns it by its next own exchange: one interval of push/pull,
    ///    stretched by log₂(n) − 4 above 32 nodes, and one of stagger after a start.
    /// 4. What an exchange tells of the dead is a suspicion there (spec 4.10), which runs its longest again.
    /// 5. Sides that gave each other up meet when one tries an address it lost: `reconnect`, zero where nobody does, as
    ///    with [`gossip_proto::Membership`] without seeds. After cuts that outlast `gossip_to_the_dead` those need not
    ///    meet at all, and no bound is right.
    ///
    /// It is what the parameters promise at worst; half of it is long for nearly all runs. The spans are on the nodes' clocks:
    /// where some are slow, or were set back, it takes so much longer.
    pub fn of(config: &Config, n: usize, reconnect: Duration) -> Self {
        let values = config.values();
        let interval = *values.probe_interval;
        let periods = (2 * n).min(20) as u32 + *values.awareness_max;
        let scale = (n.max(1) as f64).log10().max(1.0);
        let longest =
            interval.mul_f64(f64::from(*values.suspicion_mult * *values.suspicion_max_mult) * scale);
        let stretch = if n <= 32 { 1 } else { (n as f64).log2().ceil() as u32 - 4 };
        let exchange = *values.push_pull_interval * (1 + stretch);
        Self(interval * periods + longest * 2 + exchange + reconnect)
    }
}

/// Checks invariants while it is attached: [`Rule`] lists them.
///
/// Changes and datagrams are checked as they come, everything else once a second of virtual time. Each look goes through the
/// queues of all nodes, and through views in turn until 20,000 members were looked at, all of them in clusters of up to 140
/// nodes: else looking would cost the square of the number of nodes.
pub struct Invariants {
    replay: String,
    panics: bool,
    every: Duration,
    budget: Option<u64>,
    pings_are_probes: bool,
    bound: Option<Bound>,
    opener: Opener,
    nodes: BTreeMap<NodeId, State>,
    /// Whose view is looked at next.
    turn: usize,
    since: Instant,
    judged: bool,
    checked: u64,
    broken: Vec<Broken>,
}

/// What is known of one node's present machine.
#[derive(Debug, Default)]
struct State {
    /// When it was started, by its clock.
    started: Instant,
    clock: Clock,
    /// The latest that the clock showed: where it is set back, the machine keeps that until the clock has made up for it.
    latest: Instant,
    interval: Duration,
    limit: usize,
    /// Of members above incarnation 1, which the others are all in: what has not risen cannot fall.
    incarnations: BTreeMap<MemberKey, Risen>,
    /// So long after its death a member's incarnation may be forgotten, while Serf still knows its name.
    forgets: Duration,
    pings: u64,
    requests: u64,
    second: u64,
    bytes: u64,
}

impl State {
    /// The time that the machine goes by.
    fn reads(&self, at: Instant) -> Instant {
        self.clock.reads(at).max(self.latest)
    }
}

/// A member that has refuted something.
#[derive(Clone, Copy, Debug)]
struct Risen {
    addr: SocketAddr,
    incarnation: u32,
    /// Since when it is dead or has left, by the clock of who sees it.
    gone: Option<Instant>,
}

impl Invariants {
    /// Checks that end a run by a panic that says what was broken and the line that repeats the run, which is
    /// [`crate::net::Replay::line`] in tests.
    pub fn new(replay: impl Into<String>) -> Self {
        Self {
            replay: replay.into(),
            panics: true,
            every: Duration::from_secs(1),
            budget: None,
            pings_are_probes: true,
            bound: None,
            opener: Opener::default(),
            nodes: BTreeMap::new(),
            turn: 0,
            since: Instant::ORIGIN,
            judged: false,
            checked: 0,
            broken: Vec::new(),
        }
    }

    /// Keeps what is broken in [`Invariants::broken`] instead, at most a thousand.
    pub fn collecting(mut self) -> Self {
        self.panics = false;
        self
    }

    /// Looks that often instead of once a second.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// The most bytes of datagrams that a node may send in one second, counted from the start of the network. Default none.
    pub fn budget(mut self, bytes_per_second: u64) -> Self {
        self.budget = Some(bytes_per_second);
        self
    }

    /// The scenario gives ping commands, or changes how fast clocks go: pings on the wire say nothing about probes then.
    pub fn pings_by_command(mut self) -> Self {
        self.pings_are_probes = false;
        self
    }

    /// Keys that sealed traffic is opened with; give them before they are attached; without, pings in it are not
    /// counted.
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.opener.keyring = Some(keyring);
        self
    }

    /// So long after the last fault all must agree and nobody connected be dead. Without, that is not asked for.
    pub fn within(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// What was broken.
    pub fn broken(&self) -> &[Broken] {
        &self.broken
    }

    /// How many comparisons were made, whatever came of them.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    fn report(&mut self, at: Instant, node: Option<NodeId>, rule: Rule, what: String) {
        let broken = Broken { at, node, rule, what, replay: self.replay.clone() };
        assert!(!self.panics, "{broken}");
        if self.broken.len() < MAX_KEPT {
            self.broken.push(broken);
        }
    }

    fn incarnation(
        &mut self,
        at: Instant,
        node: NodeId,
        key: MemberKey,
        (addr, incarnation): (SocketAddr, u32),
        status: Option<Status>,
    ) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        self.checked += 1;
        let (forgets, reads) = (state.forgets, state.reads(at));
        let before = state.incarnations.remove(&key);
        if incarnation > 1 {
            // One that is seen dead for the first time may have died right after the last look: Serf knew it before, so that nothing
            // was told.
            let first_seen = if before.is_none() { reads.saturating_sub(self.every) } else { reads };
            let since = before.and_then(|before| before.gone).unwrap_or(first_seen);
            let gone = matches!(status, Some(Status::Failed | Status::Left)).then_some(since);
            state.incarnations.insert(key, Risen { addr, incarnation, gone });
        }
        // Members begin with 1: one in 0 is a name whose incarnation was forgotten.
        let forgotten = |before: &Risen| before.gone.is_some_and(|gone| reads - gone >= forgets);
        let fell = |before: &Risen| before.addr == addr && before.incarnation > incarnation;
        if let Some(before) = before.filter(|before| incarnation > 0 && fell(before) && !forgotten(before)) {
            let before = before.incarnation;
            let what = format!("the member at {addr} fell from incarnation {before} to {incarnation}");
            self.report(at, Some(node), Rule::Incarnation, what);
        }
    }

    fn depths(&mut self, at: Instant, node: NodeId, depths: &[Depth]) {
        self.checked += depths.len() as u64;
        for Depth { what, len, cap } in depths.iter().filter(|depth| depth.len > depth.cap) {
            self.report(at, Some(node), Rule::Queue, format!("{len} {what} where {cap} may be"));
        }
    }

    fn eventually<M: Machine>(&mut self, net: &Network<M>, bound: Duration) {
        let (at, since) = (net.now(), self.since);
        for group in net.groups() {
            self.checked += group.len() as u64 * group.len() as u64;
            for &viewer in &group {
                let dead = |subject: &&NodeId| net.status(viewer, **subject) == Some(Status::Failed);
                if let Some(dead) = group.iter().find(dead) {
                    let what = format!(
                        "{} takes {} for dead {bound:?} after the last fault at {since}",
                        net.name(viewer),
                        net.name(*dead)
                    );
                    return self.report(at, Some(viewer), Rule::StaysDead, what);
                }
            }
        }
        if !net.agrees_where_connected() {
            let what = format!("no agreement {bound:?} after the last fault at {since}\n{}", net.table());
            self.report(at, None, Rule::Disagreement, what);
        }
    }
}

impl<M: Machine> Observer<M> for Invariants {
    fn interval(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn started(&mut self, net: &Network<M>, node: NodeId) {
        self.opener.meet(net, node);
        let Some(machine) = net.machine(node) else { return };
        let state = State {
            started: net.clock(node).reads(net.now()),
            clock: net.clock(node),
            interval: *machine.config().values().probe_interval,
            limit: machine.config().datagram_size(),
            forgets: *machine.config().values().gossip_to_the_dead,
            ..State::default()
        };
        self.nodes.insert(node, state);
        Observer::<M>::faulted(self, net.now(), Some(node), "restart");
    }

    fn stopped(&mut self, _: &Network<M>, node: NodeId) {
        self.nodes.remove(&node);
    }

    fn faulted(&mut self, at: Instant, _: Option<NodeId>, _: &'static str) {
        (self.since, self.judged) = (at, false);
    }

    fn clock_set(&mut self, at: Instant, node: NodeId, clock: Clock) {
        if let Some(state) = self.nodes.get_mut(&node) {
            state.latest = state.reads(at);
            state.clock = clock;
        }
    }

    fn changed(&mut self, node: NodeId, change: &Change) {
        if change.kind == ChangeKind::Reaped {
            if let Some(state) = self.nodes.get_mut(&node) {
                state.incarnations.remove(&change.key);
            }
        } else if let Some(addr) = change.addr {
            self.incarnation(change.at, node, change.key, (addr, change.incarnation), change.status);
        }
    }

    fn sent(&mut self, at: Instant, from: NodeId, _: Option<NodeId>, datagram: &[u8]) {
        let mut pings = 0;
        self.opener.messages(from, datagram, &mut |message| {
            pings += u64::from(message.first() == Some(&MessageType::Ping.byte()));
        });
        let Some(state) = self.nodes.get_mut(&from) else { return };
        state.pings += pings;
        let second = at.as_nanos() / 1_000_000_000;
        if second != state.second {
            (state.second, state.bytes) = (second, 0);
        }
        let before = state.bytes;
        state.bytes += datagram.len() as u64;
        let (bytes, limit) = (state.bytes, state.limit);
        let allowed = match state.interval.as_nanos() {
            0 => state.requests,
            interval => {
                let since = state.reads(at).saturating_duration_since(state.started);
                (since.as_nanos() / interval) as u64 + 1 + state.requests
            }
        };
        let sent = state.pings;
        self.checked += 1 + u64::from(pings > 0 && self.pings_are_probes) + u64::from(self.budget.is_some());
        if pings > 0 && self.pings_are_probes && sent > allowed {
            let what = format!("{sent} pings since it started, where {allowed} may be");
            self.report(at, Some(from), Rule::Probes, what);
        }
        if datagram.len() > limit {
            let what = format!("a datagram of {} bytes, where {limit} may be", datagram.len());
            self.report(at, Some(from), Rule::Datagram, what);
        }
        // Said once for each second.
        if let Some(budget) = self.budget.filter(|budget| before <= *budget && bytes > *budget) {
            let what = format!("{bytes} bytes of datagrams in second {second}, where {budget} may be");
            self.report(at, Some(from), Rule::Budget, what);
        }
    }

    fn received(&mut self, _: Instant, from: NodeId, to: NodeId, datagram: &[u8]) {
        let mut requests = 0;
        self.opener.messages(from, datagram, &mut |message| {
            requests += u64::from(message.first() == Some(&MessageType::IndirectPing.byte()));
        });
        if let Some(state) = self.nodes.get_mut(&to) {
            state.requests += requests;
        }
    }

    fn look(&mut self, net: &Network<M>) {
        let now = net.now();
        let running: Vec<(NodeId, &M)> =
            net.running().filter_map(|node| Some((node, net.machine(node)?))).collect();
        for (node, machine) in &running {
            self.depths(now, *node, &machine.depths());
        }
        let mut looked_at = 0;
        for _ in 0..running.len() {
            let (node, machine) = running[self.turn % running.len()];
            self.turn = (self.turn + 1) % running.len();
            for member in machine.members() {
                let (addr, incarnation) = (member.addr, member.incarnation);
                self.incarnation(now, node, member.key, (addr, incarnation), Some(member.status));
                looked_at += 1;
            }
            if looked_at >= MEMBERS {
                break;
            }
        }
        if let Some(Bound(bound)) = self.bound.filter(|bound| !self.judged && now - self.since >= bound.0) {
            self.judged = true;
            self.eventually(net, bound);
        }
    }
}

impl fmt::Debug for Invariants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invariants").field("broken", &self.broken).finish_non_exhaustive()
    }
}

/// So many members are looked at in one look, about a millisecond of a processor.
const MEMBERS: usize = 20_000;
/// More is no more use to anybody.
const MAX_KEPT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_over_its_cap_is_reported() {
        let mut checks = Invariants::new("SEED=1").collecting();
        let depth = |len| Depth { what: "relays", len, cap: 4 };
        checks.depths(Instant::ORIGIN, NodeId(3), &[depth(4), depth(0)]);
        assert_eq!(checks.broken(), []);
        checks.depths(Instant::ORIGIN, NodeId(3), &[depth(0), depth(5)]);
        let [broken] = checks.broken() else { panic!("{:?}", checks.broken()) };
        assert_eq!((broken.rule, broken.node), (Rule::Queue, Some(NodeId(3))));
        assert_eq!(
            broken.to_string(),
            format!(
                "Queue broken at {} by node 3: 5 relays where 4 may be\nrepeat it with: SEED=1",
                Instant::ORIGIN
            )
        );
    }
}

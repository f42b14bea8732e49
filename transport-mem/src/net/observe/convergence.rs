//! How long it takes until all agree.

use core::time::Duration;

use gossip_proto::{Instant, Machine};

use crate::net::observe::Summary;
use crate::net::{Network, NodeId, Observer};

/// Measures convergence time: from the last fault, start, stop or mark until all running nodes agree with those they are
/// connected to ([`Network::agrees_where_connected`]), and go on agreeing.
#[derive(Clone, Debug)]
pub struct Convergence {
    every: Duration,
    since: Option<Instant>,
    agreed: Option<Instant>,
    spans: Vec<(Instant, Duration)>,
}

impl Convergence {
    /// One that looks that often, which is how exact its times are: they are late by at most that much. Looking costs up
    /// to the square of the number of nodes, but only while the numbers of members that the nodes count are right.
    pub fn every(every: Duration) -> Self {
        Self { every, since: None, agreed: None, spans: Vec::new() }
    }

    /// Counts from this time on, as if a fault had happened then.
    pub fn mark(&mut self, now: Instant) {
        self.keep();
        self.since = Some(now);
    }

    /// The last fault or mark.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Since when all agree; `None` if they do not.
    pub fn agreed_at(&self) -> Option<Instant> {
        self.agreed
    }

    /// How long it took from the last fault or mark; `None` until they agree.
    pub fn took(&self) -> Option<Duration> {
        Some(self.agreed?.saturating_duration_since(self.since?))
    }

    /// Each fault or mark that was converged from before the next, and how long that took; the last is
    /// [`Convergence::took`]. Faults of one instant are one.
    pub fn spans(&self) -> impl Iterator<Item = (Instant, Duration)> + '_ {
        self.spans.iter().copied().chain(self.since.zip(self.took()))
    }

    /// All times, in seconds.
    pub fn summary(&self) -> Summary {
        Summary::of_seconds(self.spans().map(|span| span.1))
    }

    fn keep(&mut self) {
        self.spans.extend(self.since.zip(self.took()));
        self.agreed = None;
    }
}

impl<M: Machine> Observer<M> for Convergence {
    fn interval(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn look(&mut self, net: &Network<M>) {
        match net.agrees_where_connected() {
            true => self.agreed = self.agreed.or_else(|| Some(net.now())),
            false => self.agreed = None,
        }
    }

    fn started(&mut self, net: &Network<M>, _: NodeId) {
        self.mark(net.now());
    }

    fn faulted(&mut self, at: Instant, _: Option<NodeId>, _: &'static str) {
        self.mark(at);
    }
}

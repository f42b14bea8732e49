//! The nodes of the demo, and what each of them sees.

use core::fmt::Display;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::time::Instant;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;
use transport_tokio::gossip_tls::Authority;
use transport_tokio::{
    Bind, ChangeKind, Cluster, Config, Node, Notice, ServiceConfig, Status, Subscription, start_node,
};

use super::Pace;
use crate::config::Problem;

/// What one node noticed.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) at: Instant,
    /// Which node noticed it.
    pub(crate) by: usize,
    pub(crate) notice: Notice,
}

/// What all nodes sent together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    pub(crate) exchanges: u64,
    pub(crate) probes: u64,
    pub(crate) nodes: usize,
    pub(crate) lasted: Duration,
}

/// What carries the gossip.
pub(crate) enum Network {
    Udp,
    /// With certificates of this authority.
    Quic(Box<Authority>),
}

pub(crate) struct Stage {
    network: Network,
    names: Vec<String>,
    running: Vec<Option<Cluster<Node>>>,
    /// Handles of nodes that ended: they still tell their last counters.
    ended: Vec<Cluster<Node>>,
    addresses: Vec<Option<SocketAddr>>,
    /// What each node, first index, believes of each, second index.
    views: Vec<Vec<Option<Status>>>,
    sightings: Receiver<Sighting>,
    sender: Sender<Sighting>,
    pace: Pace,
    began: Instant,
    false_alarms: usize,
}

impl Stage {
    pub(crate) fn new(nodes: usize, pace: Pace, network: Network) -> Self {
        let (sender, sightings) = channel(4096);
        Self {
            network,
            names: (0..nodes).map(name).collect(),
            running: (0..nodes).map(|_| None).collect(),
            ended: Vec::new(),
            addresses: vec![None; nodes],
            views: vec![vec![None; nodes]; nodes],
            sightings,
            sender,
            pace,
            began: Instant::now(),
            false_alarms: 0,
        }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn cluster(&self, node: usize) -> Option<&Cluster<Node>> {
        self.running[node].as_ref()
    }

    /// Starts a node; one that ran before comes back at its old address.
    pub(crate) async fn start(&mut self, node: usize) -> Result<SocketAddr, Problem> {
        let addr = self.addresses[node].unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let (name, pace) = (self.names[node].clone(), self.pace);
        let cluster = self.network.start(&name, addr, pace).await?;
        let news = cluster.subscribe().await;
        self.views[node] = vec![None; self.len()];
        self.views[node][node] = Some(Status::Alive);
        tokio::spawn(watch(news, node, self.sender.clone()));
        let addr = cluster.local_addr();
        self.addresses[node] = Some(addr);
        self.running[node] = Some(cluster);
        Ok(addr)
    }

    /// Ends a node without a word to the others.
    pub(crate) async fn kill(&mut self, node: usize) {
        if let Some(cluster) = self.running[node].take() {
            self.ended.push(cluster.clone());
            cluster.shutdown().await;
        }
    }

    /// The next thing that a running node notices; `None` when the deadline passes first.
    pub(crate) async fn next(&mut self, deadline: Instant) -> Option<Sighting> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let sighting = timeout(left, self.sightings.recv()).await.ok()??;
            if self.running[sighting.by].is_none() {
                continue;
            }
            if let Notice::Change { member, kind, .. } = &sighting.notice
                && let Some(whom) = self.index(member.name.as_bytes())
            {
                if *kind == ChangeKind::Suspected && self.running[whom].is_some() {
                    self.false_alarms += 1;
                }
                let status = (*kind != ChangeKind::Reaped).then_some(member.status);
                self.views[sighting.by][whom] = status;
            }
            return Some(sighting);
        }
    }

    /// Lets time pass.
    pub(crate) async fn pause(&mut self, millis: u64) {
        let deadline = Instant::now() + self.pace.millis(millis);
        while self.next(deadline).await.is_some() {}
    }

    /// Whether every running node believes this of `whom`; of itself a node need not.
    pub(crate) fn all_believe(&self, whom: usize, status: Status) -> bool {
        (0..self.len())
            .filter(|&by| by != whom && self.running[by].is_some())
            .all(|by| self.views[by][whom] == Some(status))
    }

    /// Whether every running node takes every running node for alive.
    pub(crate) fn all_know_each_other(&self) -> bool {
        (0..self.len())
            .filter(|&whom| self.running[whom].is_some())
            .all(|whom| self.all_believe(whom, Status::Alive))
    }

    /// How many probes have failed at each node.
    pub(crate) async fn failed_probes(&self) -> Vec<u64> {
        let mut failed = Vec::with_capacity(self.len());
        for cluster in &self.running {
            failed.push(match cluster {
                Some(cluster) => cluster.stats().await.probes_failed,
                None => 0,
            });
        }
        failed
    }

    /// How long a suspicion lasts that nobody confirms (spec 4.7).
    pub(crate) fn longest_suspicion(&self) -> Duration {
        let scale = (self.len() as f64).log10().max(1.0);
        (self.pace.millis(PROBE_INTERVAL) * SUSPICION_MULT * SUSPICION_MAX_MULT).mul_f64(scale)
    }

    fn index(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|known| known.as_bytes() == name)
    }

    /// Suspicions so far of nodes that were well.
    pub(crate) fn false_alarms(&self) -> usize {
        self.false_alarms
    }

    pub(crate) fn running(&self) -> usize {
        self.running.iter().flatten().count()
    }

    /// All nodes say good-bye at once.
    pub(crate) async fn leave_all(&mut self) {
        let leaving: Vec<_> = self
            .running
            .iter()
            .flatten()
            .cloned()
            .map(|cluster| tokio::spawn(async move { cluster.leave().await }))
            .collect();
        let _ = timeout(Duration::from_secs(3), async {
            for left in leaving {
                let _ = left.await;
            }
        })
        .await;
    }

    /// Ends what still runs, and adds up what all nodes sent.
    pub(crate) async fn close(&mut self) -> Traffic {
        let mut traffic = Traffic { lasted: self.began.elapsed(), nodes: self.len(), ..Traffic::default() };
        for node in 0..self.len() {
            self.kill(node).await;
        }
        for cluster in self.ended.drain(..) {
            let stats = cluster.stats().await;
            traffic.datagrams += stats.datagrams_sent;
            traffic.bytes += stats.bytes_sent;
            traffic.exchanges += stats.exchanges_begun;
            traffic.probes += stats.probes;
        }
        traffic
    }
}

impl Network {
    async fn start(&self, name: &str, addr: SocketAddr, pace: Pace) -> Result<Cluster<Node>, Problem> {
        let problem = |error: &dyn Display| Problem::new(error.to_string());
        let configure = |advertise| configs(name, advertise, pace);
        match self {
            Self::Udp => start_node(Bind::from(addr), configure).await.map_err(|error| problem(&error)),
            Self::Quic(authority) => {
                let credentials = authority.member(name).map_err(|error| problem(&error))?;
                let bind = transport_quic::Bind::at(addr, credentials);
                transport_quic::start_node(bind, configure).await.map_err(|error| problem(&error))
            }
        }
    }
}

async fn watch(mut news: Subscription, by: usize, sightings: Sender<Sighting>) {
    while let Some(notice) = news.recv().await {
        if sightings.send(Sighting { at: Instant::now(), by, notice }).await.is_err() {
            return;
        }
    }
}

/// The preset for one machine, quicker still: a crash must be found out within a few seconds.
fn configs(name: &str, advertise: SocketAddr, pace: Pace) -> (Config, ServiceConfig) {
    let mut config = Config::local(name, advertise);
    config
        .probe_interval(pace.millis(PROBE_INTERVAL))
        .probe_timeout(pace.millis(200))
        .gossip_interval(pace.millis(50))
        .push_pull_interval(pace.millis(5000))
        .indirect_checks(2)
        .retransmit_mult(4)
        .suspicion_mult(SUSPICION_MULT)
        .suspicion_max_mult(SUSPICION_MAX_MULT);
    let mut services = ServiceConfig::default();
    services.tags(vec![("role".into(), "actor".into())]).leave_propagate_delay(pace.millis(500));
    (config, services)
}

fn name(index: usize) -> String {
    const NAMES: [&str; 10] = ["anna", "ben", "cleo", "dan", "eve", "finn", "gaia", "hugo", "iris", "jack"];
    NAMES.get(index).map_or_else(|| format!("node-{}", index + 1), |&name| name.into())
}

/// With 4, two confirmations shorten a suspicion to its minimum (Lifeguard; spec 4.7).
const SUSPICION_MULT: u32 = 4;
const SUSPICION_MAX_MULT: u32 = 6;
/// In milliseconds.
const PROBE_INTERVAL: u64 = 700;

//! `--discover`: agents of one cluster find each other by multicast DNS (serf.md 9.6). Each answers for itself, asks at the
//! start and every minute, and joins whom it finds.

mod found;
mod message;
mod seen;
mod sockets;

use core::future::pending;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use transport_tokio::{Cluster, Error, Node, Status};

use crate::joining;
use found::Found;
pub(crate) use message::{Answerer, Service};
use sockets::{Families, Heard, Sockets, interfaces};

/// What `--discover` and its companions say.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    pub(crate) service: Service,
    pub(crate) interface: Option<String>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
}

impl Discovery {
    /// Starts it in the background; it ends with the runtime.
    pub(crate) async fn start(self, cluster: Cluster<Node>, replay: bool) -> io::Result<()> {
        let sockets = self.open()?;
        let local = cluster.local().await;
        let host = gethostname::gethostname();
        let answerer =
            Answerer::new(self.service.clone(), local.name.as_bytes(), &host.to_string_lossy(), local.addr);
        let state = State {
            found: Found::new(local.addr),
            discovery: self,
            answerer,
            cluster,
            replay,
            sockets: Some(sockets),
            budget: Budget { left: MAX_ANSWERS, until: Instant::now() },
        };
        tokio::spawn(state.run());
        Ok(())
    }

    fn open(&self) -> io::Result<Sockets> {
        let families = Families { v4: self.ipv4, v6: self.ipv6 };
        let sockets = Sockets::open(interfaces(self.interface.as_deref(), families)?)?;
        for problem in &sockets.problems {
            tracing::warn!("agent: mdns: {problem}");
        }
        Ok(sockets)
    }
}

struct State {
    discovery: Discovery,
    answerer: Answerer,
    cluster: Cluster<Node>,
    replay: bool,
    /// `None` while no interface can be used.
    sockets: Option<Sockets>,
    found: Found,
    budget: Budget,
}

/// What came of joining.
type Tried = Vec<(SocketAddr, bool)>;

impl State {
    async fn run(mut self) {
        let mut asking = interval(ASK_EVERY);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet = None;
        let mut joining: Option<JoinHandle<Tried>> = None;
        loop {
            tokio::select! {
                _ = asking.tick() => self.ask().await,
                heard = hear(&mut self.sockets) => {
                    if self.handle(heard).await {
                        quiet = Some(Instant::now() + QUIET);
                    }
                }
                () = until(quiet), if joining.is_none() => {
                    quiet = None;
                    let members = members(&self.cluster).await;
                    let found = self.found.take(Instant::now(), &members);
                    if !found.is_empty() {
                        joining = Some(tokio::spawn(join(self.cluster.clone(), found, self.replay)));
                    }
                }
                tried = finished(&mut joining) => {
                    joining = None;
                    for (addr, joined) in tried {
                        self.found.tried(Instant::now(), addr, joined);
                    }
                }
            }
        }
    }

    async fn ask(&mut self) {
        // Interfaces come and go.
        let families = Families { v4: self.discovery.ipv4, v6: self.discovery.ipv6 };
        let now = interfaces(self.discovery.interface.as_deref(), families).unwrap_or_default();
        if self.sockets.as_ref().is_none_or(|sockets| sockets.interfaces() != now) {
            // The port is free again before it is taken again.
            self.sockets = None;
            match self.discovery.open() {
                Ok(sockets) => self.sockets = Some(sockets),
                Err(error) => tracing::warn!("agent: mdns: {error}"),
            }
        }
        if let Some(sockets) = &self.sockets {
            sockets.ask(&self.discovery.service.question()).await;
        }
    }

    /// Whether it told of somebody new.
    async fn handle(&mut self, heard: Heard) -> bool {
        let Heard { packet, from, group } = heard;
        if let Some(found) = self.discovery.service.found(&packet) {
            return self.found.heard(Instant::now(), found);
        }
        let near = self.sockets.as_ref().is_some_and(|sockets| sockets.is_near(from.ip()));
        if let Some(socket) = group.filter(|_| near)
            && let Some(answer) = self.answerer.answer(&packet)
            && self.budget.take(Instant::now())
        {
            // To whoever asked, and not to the group.
            if let Err(error) = socket.send_to(&answer, from).await {
                tracing::debug!("agent: mdns: cannot answer {from}: {error}");
            }
        }
        false
    }
}

/// Where the members are that live.
async fn members(cluster: &Cluster<Node>) -> BTreeSet<SocketAddr> {
    let members = cluster.members().await.into_iter();
    let live = members.filter(|member| matches!(member.status, Status::Alive | Status::Suspect));
    live.map(|member| member.addr).collect()
}

async fn join(cluster: Cluster<Node>, found: Vec<SocketAddr>, replay: bool) -> Tried {
    let targets: Vec<String> = found.iter().map(ToString::to_string).collect();
    tracing::info!("agent.mdns: Joining {targets:?}");
    let failed = match joining::join(&cluster, &targets, replay).await {
        Ok(report) => report.failed,
        Err(Error::Join(failed)) => {
            tracing::warn!("agent.mdns: joined none of {targets:?}, will be tried again");
            failed
        }
        Err(error) => {
            tracing::warn!("agent.mdns: {error}");
            return found.into_iter().map(|addr| (addr, false)).collect();
        }
    };
    let joined = |addr: &SocketAddr| failed.iter().all(|failure| failure.target != addr.to_string());
    found.into_iter().map(|addr| (addr, joined(&addr))).collect()
}

/// The next datagram; waits for ever where there are no sockets.
async fn hear(sockets: &mut Option<Sockets>) -> Heard {
    if let Some(sockets) = sockets
        && let Some(heard) = sockets.recv().await
    {
        return heard;
    }
    pending().await
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

async fn finished(joining: &mut Option<JoinHandle<Tried>>) -> Tried {
    match joining {
        Some(joining) => joining.await.unwrap_or_default(),
        None => pending().await,
    }
}

/// Bounds the answers: a question is small, its sender easily forged.
struct Budget {
    left: u32,
    until: Instant,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        if now >= self.until {
            *self = Self { left: MAX_ANSWERS, until: now + Duration::from_secs(1) };
        }
        let some = self.left > 0;
        self.left -= u32::from(some);
        some
    }
}

const ASK_EVERY: Duration = Duration::from_secs(60);
/// Who is found within this time of another is joined together with it.
const QUIET: Duration = Duration::from_millis(100);
/// Answers within a second.
const MAX_ANSWERS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_bounded() {
        let start = Instant::now();
        let mut budget = Budget { left: 0, until: start };
        let mut given = |at| (0..1000).filter(|_| budget.take(at)).count();
        assert_eq!(given(start), MAX_ANSWERS as usize);
        assert_eq!(given(start + Duration::from_millis(999)), 0);
        assert_eq!(given(start + Duration::from_secs(1)), MAX_ANSWERS as usize);
    }
}

//! What happens in the cluster, folded as Serf's agent does (serf.md 4.15), for everybody in the agent who wants to hear of
//! it. A listener that does not keep up loses events and is told so in the log, as of events that came too fast for all of
//! them; it holds up nobody.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use transport_tokio::gossip_driver::Runtime as _;
use transport_tokio::gossip_proto::Status;
use transport_tokio::{
    Batch, Cause, ChangeKind, Cluster, Coalesced, Coalescer, Node, Notice, TokioRuntime, Window,
};

use crate::filter::Filter;

/// Where to listen; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    board: Mutex<Board>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Board {
    listeners: Vec<Line>,
    ended: bool,
    missed: Missed,
}

/// What was lost before it came here.
#[derive(Debug, Default)]
struct Missed {
    /// Not in the log yet.
    untold: u64,
    /// Who can send events must not be able to fill a disk.
    quiet_until: Option<Instant>,
}

/// One listener, seen from here.
#[derive(Debug)]
struct Line {
    who: String,
    filter: Filter,
    events: Sender<Arc<Batch>>,
    waiting: Arc<AtomicUsize>,
    /// Events dropped since it last kept up.
    dropped: u64,
}

/// What one listener hears.
#[derive(Debug)]
pub(crate) struct Listener {
    events: Receiver<Arc<Batch>>,
    waiting: Arc<AtomicUsize>,
}

impl Feed {
    /// Starts to follow the node; ends with it.
    pub(crate) async fn start(cluster: &Cluster<Node>) -> Self {
        let feed = Self::default();
        let Ok(runtime) = TokioRuntime::current() else { return feed };
        let news = cluster.subscribe().await;
        let mut coalescer = Coalescer::new(Some(Window::SERF_AGENT), Some(Window::SERF_AGENT));
        // Who is there already, which is this node: the first event of an agent is its own join (serf.md 4.14).
        for member in news.members.iter().filter(|member| member.status == Status::Alive) {
            let (kind, cause) = (ChangeKind::Joined, Cause::Local);
            coalescer.handle(runtime.now(), Notice::Change { member: member.clone(), kind, cause });
        }
        let mut news = Coalesced::new(news, coalescer, runtime);
        let publisher = feed.clone();
        tokio::spawn(async move {
            while let Some(batch) = news.recv().await {
                publisher.publish(batch);
            }
            publisher.end();
        });
        feed
    }

    /// Hears of what passes the filter, from now on. `who` names the listener in the log.
    pub(crate) fn listen(&self, who: impl Into<String>, filter: Filter) -> Listener {
        let (sender, events) = channel(WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let line = Line { who: who.into(), filter, events: sender, waiting: waiting.clone(), dropped: 0 };
        let mut board = self.board();
        // Without its sender the listener hears the end at once.
        if !board.ended {
            board.listeners.push(line);
        }
        Listener { events, waiting }
    }

    /// How many events listeners have lost; those that were lost to all of them count once.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn publish(&self, batch: Batch) {
        if let Batch::Single(Notice::Lagged { lost }) = batch {
            self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
            return self.board().missed.tell(Instant::now(), lost);
        }
        let batch = Arc::new(batch);
        let mut dropped = 0;
        self.board().listeners.retain_mut(|line| {
            if line.filter.matches(&batch) {
                dropped += u64::from(!line.offer(&batch));
            }
            !line.events.is_closed()
        });
        self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn end(&self) {
        let mut board = self.board();
        board.listeners.clear();
        board.ended = true;
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Missed {
    fn tell(&mut self, now: Instant, lost: u64) {
        self.untold += lost;
        if self.quiet_until.is_some_and(|until| now < until) {
            return;
        }
        self.quiet_until = Some(now + Duration::from_secs(1));
        let lost = core::mem::take(&mut self.untold);
        tracing::warn!("agent: {lost} events came too fast: event handlers and streams do not hear of them");
    }
}

impl Line {
    /// Whether there was room.
    fn offer(&mut self, batch: &Arc<Batch>) -> bool {
        let weight = weight(batch);
        let room = self.waiting.load(Ordering::Relaxed) < WAITING_MEMBERS;
        // Counted before it can be taken.
        self.waiting.fetch_add(weight, Ordering::Relaxed);
        let sent = match room {
            true => self.events.try_send(batch.clone()),
            false => Err(TrySendError::Full(batch.clone())),
        };
        match sent {
            Ok(()) => {
                if self.dropped > 0 {
                    tracing::warn!("agent: {} did not keep up and lost {} events", self.who, self.dropped);
                    self.dropped = 0;
                }
                true
            }
            Err(error) => {
                self.waiting.fetch_sub(weight, Ordering::Relaxed);
                if matches!(error, TrySendError::Closed(_)) {
                    return true;
                }
                if self.dropped == 0 {
                    tracing::warn!("agent: {} does not keep up: dropping events for it", self.who);
                }
                self.dropped += 1;
                false
            }
        }
    }
}

impl Listener {
    /// The next event; `None` when the node has ended. Safe to cancel.
    pub(crate) async fn recv(&mut self) -> Option<Arc<Batch>> {
        let batch = self.events.recv().await?;
        Some(self.taken(batch))
    }

    /// The next event if it is there already.
    pub(crate) fn try_recv(&mut self) -> Option<Arc<Batch>> {
        let batch = self.events.try_recv().ok()?;
        Some(self.taken(batch))
    }

    fn taken(&self, batch: Arc<Batch>) -> Arc<Batch> {
        self.waiting.fetch_sub(weight(&batch), Ordering::Relaxed);
        batch
    }
}

fn weight(batch: &Batch) -> usize {
    match batch {
        Batch::Members { members, .. } => members.len().max(1),
        _ => 1,
    }
}

/// Events that may wait for one listener, as many as in Serf's IPC streams.
const WAITING: usize = 512;
/// Members in them, beyond which no more is taken.
const WAITING_MEMBERS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    use transport_tokio::gossip_proto::Bytes;
    use transport_tokio::{Bind, Config, ServiceConfig, start_node};

    use crate::journal::Journal;
    use crate::{log, samples};

    fn event(ltime: u64) -> Batch {
        let name = Bytes::from_static(b"deploy");
        Batch::Single(Notice::UserEvent { ltime, name, payload: Bytes::new(), coalesce: true })
    }

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    #[tokio::test]
    async fn the_first_event_is_the_join_of_the_node_itself() {
        let bind = Bind::from(core::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let configure = |addr| (Config::local("me", addr), ServiceConfig::default());
        let cluster = start_node(bind, configure).await.unwrap();
        let mut listener = Feed::start(&cluster).await.listen("it", filter("*"));
        let first = tokio::time::timeout(Duration::from_secs(20), listener.recv()).await.unwrap().unwrap();
        let Batch::Members { kind: ChangeKind::Joined, members } = &*first else { panic!("{first:?}") };
        let names: Vec<_> = members.iter().map(|member| member.name.to_string()).collect();
        assert_eq!(names, ["me"]);
    }

    #[tokio::test]
    async fn a_listener_that_does_not_keep_up_loses_events_and_nobody_else_does() {
        let feed = Feed::default();
        let mut slow = feed.listen("the slow one", filter("*"));
        let mut other = feed.listen("the other", filter("user:deploy"));
        let mut deaf = feed.listen("the deaf one", filter("member-join"));
        for ltime in 0..WAITING as u64 + 10 {
            feed.publish(event(ltime));
            assert!(other.recv().await.is_some());
        }
        assert_eq!(feed.dropped(), 10);
        feed.end();
        let mut heard = 0;
        while slow.recv().await.is_some() {
            heard += 1;
        }
        assert_eq!(heard, WAITING);
        assert_eq!(deaf.recv().await, None);
        assert_eq!(feed.listen("the late one", filter("*")).recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_before_it_came_here_is_counted_and_told() {
        let journal = Journal::default();
        let _guard = tracing_subscriber::registry().with(log::kept(journal.clone())).set_default();
        let feed = Feed::default();
        let mut listener = feed.listen("it", filter("*"));
        for lost in [7, 2, 1] {
            feed.publish(Batch::Single(Notice::Lagged { lost }));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        feed.publish(Batch::Single(Notice::Lagged { lost: 10 }));
        assert_eq!(feed.dropped(), 20);
        let (_, lines) = journal.read().next().await;
        let lines: Vec<_> = lines.iter().map(|line| &line.text).collect();
        assert!(lines.len() == 2 && lines[0].contains("[WARN] agent: 7 events"), "{lines:?}");
        assert!(lines[1].contains("[WARN] agent: 13 events"), "{lines:?}");
        feed.end();
        assert_eq!(listener.recv().await, None);
    }

    #[tokio::test]
    async fn members_that_wait_are_bounded() {
        let member = samples::member("m", "10.0.0.1:7946", &[]);
        let feed = Feed::default();
        let mut listener = feed.listen("it", filter("*"));
        let many = |count| Batch::Members { kind: ChangeKind::Joined, members: vec![member.clone(); count] };
        feed.publish(many(WAITING_MEMBERS));
        feed.publish(event(1));
        assert_eq!(feed.dropped(), 1);
        assert!(listener.recv().await.is_some());
        feed.publish(event(2));
        assert_eq!(feed.dropped(), 1);
    }

    #[tokio::test]
    async fn who_stopped_listening_is_forgotten() {
        let feed = Feed::default();
        drop(feed.listen("it", filter("*")));
        feed.publish(event(1));
        assert_eq!((feed.board().listeners.len(), feed.dropped()), (0, 0));
    }
}

//! Snapshot files through the driver, on virtual time: lives of a node that follow each other.

use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::fs;
use std::io;
use std::path::Path;

use gossip_driver::{
    Notice, Options, Runtime, SnapshotFile, SnapshotLines, SnapshotOptions, Subscription, Transport,
    start_with_snapshot,
};
use gossip_proto::{Bytes, Clocks, Config, Instant, Name, Node, Seed, ServiceConfig, Snapshot, Status};
use tempfile::TempDir;
use transport_mem::{Bus, Cluster, VirtualRuntime, VirtualTimer, start_node};

const SECOND: Duration = Duration::from_secs(1);

fn addr(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8 + 1], 7946))
}

struct World {
    runtime: VirtualRuntime,
    bus: Bus,
    directory: TempDir,
}

impl World {
    fn new(seed: u64) -> Self {
        let runtime = VirtualRuntime::new();
        let bus = Bus::with_runtime(&runtime, Seed::from_u64(seed));
        Self { runtime, bus, directory: TempDir::new().unwrap() }
    }

    fn plain(&self, number: usize) -> Cluster<Node> {
        let configure = |addr| (Config::lan(name(number).as_str(), addr), ServiceConfig::default());
        start_node(&self.bus, &self.runtime, addr(number), configure).unwrap()
    }

    fn path(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(name(number))
    }

    /// A node that keeps a snapshot.
    fn keeping(&self, number: usize, rejoin_after_leave: bool) -> Cluster<Node> {
        self.keeping_on(&self.runtime, number, rejoin_after_leave)
    }

    fn keeping_on<R: Runtime>(&self, runtime: &R, number: usize, rejoin_after_leave: bool) -> Cluster<Node> {
        let options = SnapshotOptions { path: self.path(number), rejoin_after_leave };
        let file = SnapshotFile::open(&options).unwrap();
        let transport = self.bus.bind(addr(number)).unwrap();
        let config = Config::lan(name(number).as_str(), transport.local_addr());
        let mut services = ServiceConfig::default();
        services.restore(Some(file.restore(&name(number).as_str().into())));
        let (seed, nonces) = self.bus.seeds();
        let node = Node::new(runtime.now(), config, services, seed, nonces).unwrap();
        start_with_snapshot(node, transport, runtime.clone(), Options::default(), file)
    }

    async fn sleep(&self, duration: Duration) {
        self.runtime.sleep_until(self.runtime.now() + duration).await;
    }

    fn text(&self, number: usize) -> String {
        read(&self.path(number))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

fn name(number: usize) -> String {
    format!("n{number}")
}

async fn statuses(cluster: &Cluster<Node>) -> Vec<(Name, Status)> {
    let mut seen: Vec<_> =
        cluster.members().await.into_iter().map(|member| (member.name, member.status)).collect();
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    seen
}

/// What came with user events.
fn payloads(news: &mut Subscription) -> Vec<Bytes> {
    core::iter::from_fn(|| news.try_recv())
        .filter_map(|notice| match notice {
            Notice::UserEvent { payload, .. } => Some(payload),
            _ => None,
        })
        .collect()
}

fn all_alive(count: usize) -> Vec<(Name, Status)> {
    (0..count).map(|number| (name(number).as_str().into(), Status::Alive)).collect()
}

#[test]
fn a_file_that_is_something_else_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ring.json");
    let ring = "[\n  \"c2JpG6LVj2kVKi75n2VLGO0/BvemeZLGXaWr8HeTtAw=\"\n]";
    fs::write(&path, ring).unwrap();
    let error = SnapshotFile::open(&SnapshotOptions { path: path.clone(), rejoin_after_leave: false });
    assert!(error.unwrap_err().to_string().contains("no snapshot"));
    assert_eq!(read(&path), ring);
}

// upstream: TestSerf_SnapshotRecovery
#[test]
fn a_killed_node_comes_back_by_itself_and_hears_nothing_twice() {
    let world = World::new(1);
    let (first, second) = (world.plain(0), world.plain(1));
    world.runtime.block_on(async {
        let third = world.keeping(2, false);
        second.join(&["10.0.0.1"]).await.unwrap();
        third.join(&["10.0.0.1"]).await.unwrap();
        first.user_event("deploy", "one", false).await.unwrap();
        world.sleep(3 * SECOND).await;
        let before = third.clocks().await.unwrap();
        third.shutdown().await;
        let text = world.text(2);
        for line in ["alive: n0 10.0.0.1:7946\n", "alive: n2 10.0.0.3:7946\n", "event-clock: 1\n"] {
            assert!(text.contains(line), "{text}");
        }
        // An operator has given it up meanwhile.
        world.sleep(30 * SECOND).await;
        assert!(first.force_leave("n2", false).await.unwrap());
        world.sleep(SECOND).await;
        assert_eq!(statuses(&second).await[2].1, Status::Left);
        first.user_event("deploy", "two", false).await.unwrap();

        let third = world.keeping(2, false);
        let mut news = third.subscribe().await;
        let restored = third.clocks().await.unwrap();
        assert!(
            restored.member >= before.member && restored.event >= before.event,
            "{restored:?} {before:?}"
        );
        world.sleep(5 * SECOND).await;
        for node in [&first, &second, &third] {
            assert_eq!(statuses(node).await, all_alive(3));
        }
        assert_eq!(payloads(&mut news), ["two"], "what was heard before is not heard again");
    });
}

// upstream: TestSerf_Leave_SnapshotRecovery
#[test]
fn who_has_left_stays_away_unless_told_otherwise() {
    for rejoin in [false, true] {
        let world = World::new(2);
        let first = world.plain(0);
        world.runtime.block_on(async {
            let second = world.keeping(1, rejoin);
            second.join(&["10.0.0.1"]).await.unwrap();
            world.sleep(2 * SECOND).await;
            assert!(second.leave().await.unwrap());
            second.shutdown().await;
            let text = world.text(1);
            assert!(text.contains("\nleave\n"), "{text}");
            assert!(!text[text.find("leave").unwrap()..].contains("alive"), "{text}");

            let second = world.keeping(1, rejoin);
            world.sleep(60 * SECOND).await;
            let seen = statuses(&second).await;
            let clocks = second.clocks().await.unwrap();
            if rejoin {
                assert_eq!((seen, statuses(&first).await), (all_alive(2), all_alive(2)));
            } else {
                assert_eq!(seen.len(), 1, "{seen:?}");
                assert_eq!(statuses(&first).await[1].1, Status::Left);
                assert_eq!((clocks.event, clocks.query), (1, 1));
                assert!(clocks.member > 1, "the clock behind the farewell counts (Q33)");
            }
        });
    }
}

#[test]
fn what_is_heard_while_leaving_is_not_heard_again() {
    let world = World::new(8);
    let first = world.plain(0);
    world.runtime.block_on(async {
        let second = world.keeping(1, true);
        second.join(&["10.0.0.1"]).await.unwrap();
        world.sleep(2 * SECOND).await;
        let mut news = second.subscribe().await;
        let leaving = second.clone();
        world.runtime.spawn(async move { assert!(leaving.leave().await.unwrap()) });
        world.sleep(SECOND / 10).await;
        first.user_event("deploy", "one", false).await.unwrap();
        world.sleep(5 * SECOND).await;
        assert_eq!(payloads(&mut news), ["one"]);
        second.shutdown().await;
        let text = world.text(1);
        assert!(text[text.find("leave").unwrap()..].contains("\nevent-clock: 1\n"), "{text}");

        let second = world.keeping(1, true);
        let mut news = second.subscribe().await;
        world.sleep(30 * SECOND).await;
        first.user_event("deploy", "two", false).await.unwrap();
        world.sleep(5 * SECOND).await;
        assert_eq!(payloads(&mut news), ["two"]);
    });
}

#[test]
fn what_is_heard_while_leaving_stays_when_the_file_is_replaced() {
    let clocks = |member, event, query| Clocks { member, event, query };
    for rejoin in [false, true] {
        let mut lines = SnapshotLines::new(Snapshot::new(rejoin)).rejoin_after_leave(rejoin);
        lines.clocks(clocks(2, 5, 5));
        lines.leave();
        lines.clocks(clocks(4, 8, 5));
        let appended = lines.take();
        for file in [appended, lines.rewrite()] {
            let (read, _) = Snapshot::replay(&file, rejoin);
            let expected = if rejoin { clocks(3, 7, 4) } else { clocks(3, 0, 0) };
            assert_eq!(read.last(), expected);
        }
    }
}

#[test]
fn a_torn_line_is_cut_off_and_nothing_continues_it() {
    let world = World::new(3);
    fs::write(world.path(0), "alive: old 10.0.0.9:7946\nclock: 41\nalive: oth").unwrap();
    world.runtime.block_on(async {
        let node = world.keeping(0, false);
        assert_eq!(node.clocks().await.unwrap(), Clocks { member: 42, event: 1, query: 1 });
        world.sleep(SECOND).await;
        node.shutdown().await;
    });
    let text = world.text(0);
    assert!(text.starts_with("alive: old 10.0.0.9:7946\nclock: 41\nalive: n0 10.0.0.1:7946\n"), "{text}");
    assert!(text.ends_with('\n') && text.lines().count() == 3, "{text}");
}

/// A member that nobody finds any more is not tried for ever.
#[test]
fn whom_nobody_finds_is_given_up_after_days() {
    let world = World::new(4);
    fs::write(world.path(0), "alive: gone 10.0.0.9:7946\n").unwrap();
    world.runtime.block_on(async {
        let node = world.keeping(0, false);
        world.sleep(71 * 3600 * SECOND).await;
        assert!(!world.text(0).contains("not-alive"));
        assert!(node.stats().await.learnt_tried > 1000);
        world.sleep(2 * 3600 * SECOND).await;
        assert!(world.text(0).ends_with("not-alive: gone\n"), "{}", world.text(0));
    });
}

#[test]
fn who_left_while_the_node_was_down_is_crossed_out() {
    let world = World::new(9);
    let (first, second) = (world.plain(0), world.plain(1));
    world.runtime.block_on(async {
        let third = world.keeping(2, false);
        second.join(&["10.0.0.1"]).await.unwrap();
        third.join(&["10.0.0.1"]).await.unwrap();
        world.sleep(3 * SECOND).await;
        third.shutdown().await;
        assert!(second.leave().await.unwrap());
        second.shutdown().await;
        // Nobody has heard of this one.
        let text = world.text(2) + "alive: n8 10.0.0.9:7946\n";
        assert!(text.contains("alive: n1 "), "{text}");
        fs::write(world.path(2), text).unwrap();
        let _third = world.keeping(2, false);
        world.sleep(5 * SECOND).await;
        let text = world.text(2);
        assert!(text.contains("\nnot-alive: n1\n"), "{text}");
        assert!(!text.contains("not-alive: n0\n") && !text.contains("not-alive: n8\n"), "{text}");
        drop(first);
    });
}

/// A runtime whose disk takes an hour for everything.
#[derive(Clone)]
struct SlowDisk(VirtualRuntime);

impl Runtime for SlowDisk {
    type Timer = VirtualTimer;

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn timer(&self) -> VirtualTimer {
        self.0.timer()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        self.0.resolve(host)
    }

    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static {
        let hour = self.0.sleep_until(self.0.now() + 3600 * SECOND);
        async move {
            hour.await;
            work()
        }
    }
}

// upstream: TestSnapshotter_blockedUpstreamNotBlockingMemberlist
#[test]
fn a_slow_disk_holds_up_nothing_but_the_file() {
    let world = World::new(5);
    let others: Vec<_> = (1..6).map(|number| world.plain(number)).collect();
    world.runtime.block_on(async {
        let node = world.keeping_on(&SlowDisk(world.runtime.clone()), 0, false);
        for other in &others {
            other.join(&["10.0.0.1"]).await.unwrap();
        }
        for round in 0..300 {
            others[round % 5].user_event("tick", round.to_string(), false).await.unwrap();
        }
        world.sleep(60 * SECOND).await;
        assert_eq!(statuses(&node).await, all_alive(6));
        assert_eq!((node.stats().await.stalls, node.stats().await.user_events), (0, 300));
        assert_eq!(world.text(0), "");
        let clocks = node.clocks().await.unwrap();
        // What happened meanwhile is there when the disk is, and the end of the node waits for it.
        node.shutdown().await;
        let text = world.text(0);
        for number in 0..6 {
            assert!(text.contains(&format!("alive: n{number} ")), "{text}");
        }
        assert!(text.ends_with(&format!("event-clock: {}\n", clocks.event - 1)), "{text}");
    });
}

#[test]
fn the_file_is_rewritten_before_it_grows_without_bound() {
    let world = World::new(6);
    let first = world.plain(0);
    world.runtime.block_on(async {
        let node = world.keeping(1, false);
        node.join(&["10.0.0.1"]).await.unwrap();
        let mut longest = 0;
        // A line for each look at the clocks: more than the limit of 128 KiB in all.
        for round in 0..8000 {
            first.user_event("tick", format!("{round}"), false).await.unwrap();
            world.sleep(Duration::from_millis(500)).await;
            longest = longest.max(fs::metadata(world.path(1)).unwrap().len());
        }
        node.shutdown().await;
        let text = world.text(1);
        assert!((127 * 1024..=128 * 1024).contains(&longest), "{longest}");
        assert!(text.len() < 64 * 1024 && text.contains("event-clock: 8000\n"), "{}", text.len());
        assert_eq!(fs::read_dir(world.directory.path()).unwrap().count(), 1, "nothing else is left");
    });
}

/// As a file that is mounted by itself, or whose directory cannot be written to.
#[test]
fn a_file_that_cannot_be_replaced_is_appended_to() {
    for (length, is_within_limit) in [(200 * 1024, true), (600 * 1024, false)] {
        let world = World::new(7);
        let _first = world.plain(0);
        fs::write(world.path(1), "clock: 41\n".repeat(length / 10)).unwrap();
        let directory = world.directory.path();
        let moved = directory.with_extension("moved");
        world.runtime.block_on(async {
            let node = world.keeping(1, false);
            let mut news = node.subscribe().await;
            // The open file goes along; a new one finds no place.
            fs::rename(directory, &moved).unwrap();
            let text = || read(&moved.join(name(1)));
            world.sleep(2 * SECOND).await;
            node.join(&["10.0.0.1"]).await.unwrap();
            world.sleep(2 * SECOND).await;
            assert_eq!(text().contains("\nalive: n0 "), is_within_limit);
            assert!(node.leave().await.unwrap());
            world.sleep(SECOND).await;
            assert!(text().contains("\nleave\n"));
            let failed = core::iter::from_fn(|| news.try_recv())
                .find(|notice| matches!(notice, Notice::SnapshotFailed { .. }));
            assert!(failed.is_some());

            // It is tried again.
            fs::rename(&moved, directory).unwrap();
            world.sleep(31 * SECOND).await;
            assert!(world.text(1).len() < 1000 && world.text(1).contains("leave\n"));
            node.shutdown().await;
        });
    }
}

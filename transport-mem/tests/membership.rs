//! Applications on memberlist alone, without Serf: metadata, broadcasts of their own, state in push/pull, a word in who may
//! merge. On virtual time; the data is that of the example `replicated_map`.

#[path = "../../transport-tokio/examples/replicated_map/map.rs"]
mod map;

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use gossip_driver::{Error, JoinErrorKind, Notice, Runtime, Subscription};
use gossip_proto::{CommandError, Config, JoinFailure, Membership, Name, Seed};
use map::Map;
use transport_mem::{Bus, Cluster, Conditions, VirtualRuntime, start_membership};

const SECOND: Duration = Duration::from_secs(1);

fn addr(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8 + 1], 7946))
}

fn world(seed: u64) -> (VirtualRuntime, Bus) {
    let runtime = VirtualRuntime::new();
    let bus = Bus::with_runtime(&runtime, Seed::from_u64(seed));
    (runtime, bus)
}

fn node(
    bus: &Bus,
    runtime: &VirtualRuntime,
    number: usize,
    configure: impl FnOnce(&mut Config),
) -> Cluster<Membership> {
    start_membership(bus, runtime, addr(number), |addr| {
        let mut config = Config::lan(format!("n{number}").as_str(), addr);
        config.metadata(format!("peer {number}").into());
        configure(&mut config);
        config
    })
    .unwrap()
}

async fn sleep(runtime: &VirtualRuntime, duration: Duration) {
    runtime.sleep_until(runtime.now() + duration).await;
}

/// An application: its map, and the node that carries it.
struct App {
    node: Cluster<Membership>,
    news: Subscription,
    map: Map,
    /// Messages and states that came.
    heard: usize,
}

impl App {
    async fn new(bus: &Bus, runtime: &VirtualRuntime, number: usize) -> Self {
        let node = node(bus, runtime, number, |_| {});
        Self { news: node.subscribe().await, node, map: Map::default(), heard: 0 }
    }

    async fn set(&mut self, runtime: &VirtualRuntime, key: &str, value: &str) {
        let line = self.map.set(key, value, "me");
        self.tell(runtime, vec![(key.into(), line)]).await;
    }

    async fn tell(&self, runtime: &VirtualRuntime, news: Vec<(String, String)>) {
        self.node.set_user_state(self.map.encode().into()).await.unwrap();
        for (key, line) in news {
            let node = self.node.clone();
            runtime.spawn(async move { drop(node.broadcast_about(key, line.into()).await) });
        }
    }

    /// Takes in what came, and passes on what was news.
    async fn listen(&mut self, runtime: &VirtualRuntime) {
        while let Some(notice) = self.news.try_recv() {
            let (told, goes_on) = match notice {
                Notice::Message { payload, .. } => (payload, true),
                Notice::UserState { state, .. } => (state, false),
                _ => continue,
            };
            self.heard += 1;
            let news = self.map.merge(&told);
            if goes_on && !news.is_empty() {
                self.tell(runtime, news).await;
            } else {
                self.node.set_user_state(self.map.encode().into()).await.unwrap();
            }
        }
    }
}

async fn run(runtime: &VirtualRuntime, apps: &mut [App], duration: Duration) {
    for _ in 0..duration.as_millis() / 50 {
        sleep(runtime, Duration::from_millis(50)).await;
        for app in &mut *apps {
            app.listen(runtime).await;
        }
    }
}

/// What is told once reaches everybody, although a broadcast goes to a few; and who joins later has it from push/pull.
#[test]
fn a_map_is_the_same_everywhere() {
    let (runtime, bus) = world(1);
    bus.set_conditions(Conditions::LAN.loss(0.05));
    runtime.clone().block_on(async {
        let mut apps = Vec::new();
        for number in 0..30 {
            let app = App::new(&bus, &runtime, number).await;
            if number > 0 {
                app.node.join(&["10.0.0.1"]).await.unwrap();
            }
            apps.push(app);
        }
        run(&runtime, &mut apps, 10 * SECOND).await;
        apps[7].set(&runtime, "silence", "until noon").await;
        run(&runtime, &mut apps, 5 * SECOND).await;
        let have = apps.iter().filter(|app| app.map.get("silence") == Some("until noon")).count();
        assert_eq!(have, 30, "within a few rounds of gossip");

        // Two write at once: all end with one of the two.
        apps[3].set(&runtime, "silence", "a").await;
        apps[4].set(&runtime, "silence", "b").await;
        run(&runtime, &mut apps, 5 * SECOND).await;
        assert!(apps.iter().all(|app| app.map == apps[0].map), "{:?}", apps[0].map);

        let late = App::new(&bus, &runtime, 30).await;
        late.node.join(&["10.0.0.1"]).await.unwrap();
        apps.push(late);
        run(&runtime, &mut apps, SECOND).await;
        assert_eq!(apps[30].map, apps[0].map, "from the join");

        // Nothing goes round for ever.
        run(&runtime, &mut apps, 30 * SECOND).await;
        let heard: usize = apps.iter().map(|app| app.heard).sum();
        let exchanges_only = Duration::from_secs(120);
        run(&runtime, &mut apps, exchanges_only).await;
        let later: usize = apps.iter().map(|app| app.heard).sum();
        assert!(later - heard < 31 * 2 * 6, "{} messages in two quiet minutes", later - heard);
    });
}

/// A counter that is set a hundred times between two rounds of gossip costs as much as one that is set once.
#[test]
fn only_the_last_word_about_a_subject_is_sent() {
    let sent = |about: bool| {
        let (runtime, bus) = world(2);
        runtime.clone().block_on(async {
            let (a, b) = (node(&bus, &runtime, 0, |_| {}), node(&bus, &runtime, 1, |_| {}));
            a.join(&["10.0.0.2"]).await.unwrap();
            sleep(&runtime, 10 * SECOND).await;
            let mut news = b.subscribe().await;
            let before = a.stats().await;
            for count in 0..100u32 {
                let (a, payload) = (a.clone(), Bytes::from(format!("count {count}")));
                runtime.spawn(async move {
                    let told = if about {
                        a.broadcast_about("counter", payload).await
                    } else {
                        a.broadcast(payload).await
                    };
                    assert!(told.unwrap(), "displaced or sent: told");
                });
            }
            sleep(&runtime, 10 * SECOND).await;
            let mut heard = Vec::new();
            while let Some(notice) = news.try_recv() {
                if let Notice::Message { payload, .. } = notice {
                    heard.push(payload);
                }
            }
            let stats = a.stats().await;
            (heard, stats.rumors_displaced - before.rumors_displaced)
        })
    };
    let (heard, displaced) = sent(true);
    assert_eq!((heard.len(), displaced), (4, 99), "as often as the transmit limit says");
    assert!(heard.iter().all(|payload| payload == "count 99"));
    assert_eq!((sent(false).0.len(), sent(false).1), (400, 0));
}

// upstream: TestMemberlist_delegateMeta, TestMemberlist_delegateMeta_Update
#[test]
fn metadata_is_the_applications_own() {
    let (runtime, bus) = world(3);
    runtime.clone().block_on(async {
        let (a, b) = (node(&bus, &runtime, 0, |_| {}), node(&bus, &runtime, 1, |_| {}));
        a.join(&["10.0.0.2"]).await.unwrap();
        sleep(&runtime, 2 * SECOND).await;
        let seen = |members: Vec<gossip_driver::MemberInfo>, name: &str| {
            members.into_iter().find(|member| member.name == name).expect("a member").metadata
        };
        assert_eq!(
            (seen(a.members().await, "n1"), seen(b.members().await, "n0")),
            ("peer 1".into(), "peer 0".into())
        );
        assert!(b.set_metadata("peer 1, read-only".into()).await.unwrap());
        sleep(&runtime, 2 * SECOND).await;
        assert_eq!(seen(a.members().await, "n1"), "peer 1, read-only");
        let long = b.set_metadata(vec![0; 513].into()).await;
        assert!(matches!(long, Err(Error::Command(_))), "{long:?}");
        let state = b.set_user_state(vec![0; 20 << 20].into()).await;
        assert!(matches!(state, Err(Error::Command(CommandError::TooBig { .. }))), "{state:?}");
    });
}

// upstream: TestMemberlist_Join_Cancel
#[test]
fn the_application_decides_who_may_merge() {
    let (runtime, bus) = world(4);
    runtime.clone().block_on(async {
        let ours = node(&bus, &runtime, 0, |config| {
            config.ask_before_merge(true);
        });
        let mut news = ours.subscribe().await;
        let judge = ours.clone();
        runtime.spawn(async move {
            while let Some(notice) = news.recv().await {
                let Notice::MergeRequested { id, members, .. } = notice else { continue };
                let brought = judge.merge_members(id).await.unwrap();
                assert_eq!(brought.len(), members);
                let fits = brought.iter().all(|member| member.metadata.starts_with(b"peer"));
                if fits { judge.accept(id).await } else { judge.refuse(id).await }.unwrap();
            }
        });
        let friend = node(&bus, &runtime, 1, |_| {});
        assert_eq!(friend.join(&["10.0.0.1"]).await.unwrap().contacted, 1);
        let stranger = node(&bus, &runtime, 2, |config| {
            config.metadata("other".into());
        });
        let Err(Error::Join(failed)) = stranger.join(&["10.0.0.1"]).await else { panic!("refused") };
        let JoinErrorKind::Exchange { why: JoinFailure::Remote(text), .. } = &failed[0].why else {
            panic!("{failed:?}")
        };
        assert!(text.contains("refused"), "{text}");
        sleep(&runtime, 2 * SECOND).await;
        let names: Vec<Name> = ours.members().await.into_iter().map(|member| member.name).collect();
        assert_eq!(names, ["n0", "n1"].map(Name::from));
    });
}

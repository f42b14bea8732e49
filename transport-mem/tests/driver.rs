//! The async driver over the bus, on virtual time: what applications hold.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use gossip_driver::{
    Answer, Batch, Coalesced, Coalescer, EndReason, Error, Notice, Options, Runtime, Window,
};
use gossip_proto::{ChangeKind, Config, Membership, Name, Node, QueryParams, Seed, ServiceConfig, Status};
use transport_mem::{Bus, Cluster, Conditions, StartError, VirtualRuntime, start_membership, start_node};

const SECOND: Duration = Duration::from_secs(1);

fn addr(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8 + 1], 7946))
}

fn world(seed: u64) -> (VirtualRuntime, Bus) {
    let runtime = VirtualRuntime::new();
    let bus = Bus::with_runtime(&runtime, Seed::from_u64(seed));
    (runtime, bus)
}

fn node(bus: &Bus, runtime: &VirtualRuntime, number: usize) -> Cluster<Node> {
    let configure = |addr| (Config::lan(format!("n{number}").as_str(), addr), ServiceConfig::default());
    start_node(bus, runtime, addr(number), configure).unwrap()
}

fn member(bus: &Bus, runtime: &VirtualRuntime, number: usize) -> Cluster<Membership> {
    start_membership(bus, runtime, addr(number), |addr| Config::lan(format!("n{number}").as_str(), addr))
        .unwrap()
}

async fn sleep(runtime: &VirtualRuntime, duration: Duration) {
    runtime.sleep_until(runtime.now() + duration).await;
}

async fn alive<M: gossip_proto::Machine + 'static>(cluster: &Cluster<M>) -> usize {
    cluster.members().await.iter().filter(|member| member.status == Status::Alive).count()
}

// upstream: TestTransport_Join
// upstream: TestSerf_eventsJoin
#[test]
fn a_cluster_forms_talks_and_notices_a_death() {
    let (runtime, bus) = world(1);
    let nodes: Vec<_> = (0..8).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        let mut subscription = nodes[7].subscribe().await;
        for node in &nodes[1..] {
            assert_eq!(node.join(&["10.0.0.1"]).await.unwrap().contacted, 1);
        }
        sleep(&runtime, 40 * SECOND).await;
        for node in &nodes {
            assert_eq!(alive(node).await, 8);
        }
        let mut joined = 0;
        while let Some(notice) = subscription.try_recv() {
            let Notice::Change { member, kind, .. } = notice else { panic!("{notice:?}") };
            joined += usize::from(kind == ChangeKind::Joined && !member.local);
        }
        assert_eq!(joined, 7);
        assert!(nodes[3].user_event("deploy", "v2", false).await.unwrap());
        nodes[2].set_tags(vec![(Bytes::from("role"), Bytes::from("db"))]).await.unwrap();
        sleep(&runtime, 5 * SECOND).await;
        nodes[5].clone().shutdown().await;
        sleep(&runtime, 30 * SECOND).await;
        let (mut event, mut updated, mut failed) = (false, false, false);
        while let Some(notice) = subscription.try_recv() {
            match notice {
                Notice::Change { member, kind: ChangeKind::Updated, .. } => {
                    updated |= member.name == "n2" && member.tag("role") == Some(&Bytes::from("db"));
                }
                Notice::Change { member, kind: ChangeKind::Failed, .. } => {
                    assert_eq!(member.name, "n5");
                    failed = true;
                }
                Notice::UserEvent { name, payload, .. } => {
                    assert!(!core::mem::replace(&mut event, true), "an event came twice");
                    assert_eq!((name.as_ref(), payload.as_ref()), (b"deploy".as_slice(), b"v2".as_slice()));
                }
                _ => {}
            }
        }
        assert!(event && updated && failed, "{event} {updated} {failed}");
    });
}

#[test]
fn hours_pass_in_moments_and_two_runs_are_equal() {
    let run = |seed| {
        let (runtime, bus) = world(seed);
        bus.set_conditions(Conditions::LAN.loss(0.02));
        let nodes: Vec<_> = (0..5).map(|number| member(&bus, &runtime, number)).collect();
        runtime.block_on(async {
            for node in &nodes[1..] {
                node.join(&["10.0.0.1:7946"]).await.unwrap();
            }
            sleep(&runtime, 3600 * SECOND).await;
            let mut sums = Vec::new();
            for node in &nodes {
                assert_eq!(alive(node).await, 5);
                let stats = node.stats().await;
                sums.push((stats.bytes_sent, stats.bytes_received, stats.probes, stats.refutations));
            }
            sums
        })
    };
    let first = run(3);
    assert!(first.iter().all(|(_, _, probes, _)| *probes > 1000), "{first:?}");
    assert_eq!(first, run(3));
    assert_ne!(first, run(4));
}

/// The snapshot and what follows it, put together, are the members at any later time.
#[test]
fn a_subscription_has_no_gap() {
    let (runtime, bus) = world(5);
    let nodes: Vec<_> = (0..10).map(|number| member(&bus, &runtime, number)).collect();
    let observer = nodes[0].clone();
    for node in &nodes[1..] {
        let node = node.clone();
        runtime.spawn(async move {
            node.join(&["10.0.0.1"]).await.unwrap();
        });
    }
    runtime.block_on(async {
        for round in 0..60u64 {
            let mut subscription = observer.subscribe().await;
            let mut names: Vec<Name> =
                subscription.members.iter().map(|member| member.name.clone()).collect();
            // At odd moments, in the middle of the joins.
            sleep(&runtime, Duration::from_micros(137 * (round + 1))).await;
            let now: Vec<_> = observer.members().await.into_iter().map(|member| member.name).collect();
            while let Some(notice) = subscription.try_recv() {
                match notice {
                    Notice::Change { member, kind: ChangeKind::Joined, .. } => {
                        assert!(!names.contains(&member.name), "{} was in the snapshot", member.name);
                        names.push(member.name);
                    }
                    Notice::Change { member, .. } => assert!(names.contains(&member.name)),
                    _ => {}
                }
            }
            names.sort();
            let mut now = now;
            now.sort();
            assert_eq!(names, now);
        }
        sleep(&runtime, 40 * SECOND).await;
        assert_eq!(alive(&observer).await, 10);
    });
}

#[test]
fn a_slow_subscriber_loses_events_only_and_stalls_nothing() {
    let (runtime, bus) = world(6);
    let transport = bus.bind(addr(0)).unwrap();
    let (seed, nonces) = bus.seeds();
    let services = ServiceConfig::default();
    let machine = Node::new(runtime.now(), Config::lan("n0", addr(0)), services, seed, nonces).unwrap();
    let options = Options { event_buffer: 10, ..Options::default() };
    let observer = gossip_driver::start(machine, transport, runtime.clone(), options);
    let other = node(&bus, &runtime, 1);
    runtime.block_on(async {
        let mut slow = observer.subscribe().await;
        other.join(&["10.0.0.1"]).await.unwrap();
        let mut quick = observer.subscribe().await;
        let mut heard = 0;
        for number in 0..100u32 {
            other.user_event("tick", number.to_string(), false).await.unwrap();
            sleep(&runtime, SECOND).await;
            while let Some(notice) = quick.try_recv() {
                heard += usize::from(matches!(notice, Notice::UserEvent { .. }));
                assert!(!matches!(notice, Notice::Lagged { .. }));
            }
        }
        assert_eq!(heard, 100);
        let (mut events, mut lost, mut joined) = (Vec::new(), 0, 0);
        while let Some(notice) = slow.try_recv() {
            match notice {
                Notice::UserEvent { payload, .. } => events.push(payload),
                Notice::Lagged { lost: more } => lost += more,
                Notice::Change { kind: ChangeKind::Joined, .. } => joined += 1,
                _ => {}
            }
        }
        let expected: Vec<_> = (90..100).map(|number: u32| Bytes::from(number.to_string())).collect();
        assert_eq!((events, lost, joined), (expected, 90, 1));
    });
}

#[test]
fn a_shutdown_leaves_nothing() {
    let (runtime, bus) = world(7);
    let nodes: Vec<_> = (0..6).map(|number| member(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        let mut subscription = nodes[1].subscribe().await;
        let closed = nodes[1].closed();
        nodes[1].clone().shutdown().await;
        assert!(matches!(closed.await, EndReason::Shutdown));
        while subscription.recv().await.is_some() {}
        assert!(matches!(nodes[1].join(&["10.0.0.1"]).await, Err(Error::Closed)));
        assert_eq!(nodes[1].members().await.len(), subscription.members.len(), "the last known ones");
    });
    assert_eq!(bus.census().0, 5);
    // Its address is free again at once.
    drop(bus.bind(addr(1)).unwrap());
    drop(nodes); // the last handles: the others end as well
    runtime.run_for(5 * SECOND);
    assert_eq!(bus.census(), (0, 0, 0));
    drop(bus);
    runtime.run_for(SECOND);
    assert_eq!((runtime.tasks(), runtime.timers()), (0, 0));
}

#[test]
fn a_leave_is_a_leave() {
    let (runtime, bus) = world(8);
    let nodes: Vec<_> = (0..4).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        sleep(&runtime, 5 * SECOND).await;
        assert!(nodes[2].leave().await.unwrap());
        nodes[2].clone().shutdown().await;
        sleep(&runtime, 40 * SECOND).await;
        for node in [&nodes[0], &nodes[1], &nodes[3]] {
            let left: Vec<_> =
                node.members().await.into_iter().filter(|member| member.status == Status::Left).collect();
            assert_eq!(left.iter().map(|member| member.name.clone()).collect::<Vec<_>>(), [Name::from("n2")]);
        }
    });
}

#[test]
fn a_failed_join_says_why_for_each_address() {
    let (runtime, bus) = world(9);
    let a = member(&bus, &runtime, 0);
    let b = member(&bus, &runtime, 1);
    runtime.add_host("seeds.example", &[addr(1).ip(), addr(2).ip()]);
    runtime.block_on(async {
        let Err(Error::Join(failed)) = a.join(&["10.0.0.9", "nowhere.example", "10.0.0.1:port"]).await else {
            panic!("nobody is there")
        };
        assert_eq!(failed.len(), 3, "{failed:?}");
        // One of two addresses of a name is enough.
        let report = a.join(&["seeds.example"]).await.unwrap();
        assert_eq!((report.contacted, report.failed.len()), (1, 1));
        assert_eq!((alive(&a).await, alive(&b).await), (2, 2));
    });
}

// upstream: TestTransport_Send
#[test]
fn messages_and_pings_reach_members_by_name() {
    let (runtime, bus) = world(10);
    bus.set_conditions(Conditions::PERFECT.delay(Duration::from_millis(5), Duration::ZERO));
    let (a, b) = (member(&bus, &runtime, 0), member(&bus, &runtime, 1));
    runtime.block_on(async {
        b.join(&["10.0.0.1"]).await.unwrap();
        let mut subscription = b.subscribe().await;
        let name = Name::from("n1");
        assert_eq!(a.ping(&name).await.unwrap(), Some(Duration::from_millis(10)));
        a.send(&name, Bytes::from("datagram")).await.unwrap();
        a.send_reliable(&name, Bytes::from(vec![5; 300_000])).await.unwrap();
        assert!(matches!(a.ping(&Name::from("nobody")).await, Err(Error::UnknownMember(_))));
        sleep(&runtime, SECOND).await;
        let mut received = Vec::new();
        while let Some(notice) = subscription.try_recv() {
            if let Notice::Message { payload, reliable, .. } = notice {
                received.push((reliable, payload));
            }
        }
        received.sort();
        assert_eq!(received, [(false, Bytes::from("datagram")), (true, Bytes::from(vec![5; 300_000]))]);
    });
}

#[test]
fn a_partition_on_the_bus_is_noticed_and_heals() {
    let (runtime, bus) = world(11);
    let nodes: Vec<_> = (0..6).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        sleep(&runtime, 40 * SECOND).await;
        bus.partition(&[&[addr(0), addr(1), addr(2)]]);
        sleep(&runtime, 120 * SECOND).await;
        for node in &nodes {
            assert_eq!(alive(node).await, 3);
        }
        bus.heal();
        sleep(&runtime, 300 * SECOND).await;
        for node in &nodes {
            assert_eq!(alive(node).await, 6);
        }
    });
}

#[test]
fn an_address_can_be_used_once() {
    let (runtime, bus) = world(12);
    let _first = member(&bus, &runtime, 0);
    let second = start_membership(&bus, &runtime, addr(0), |addr| Config::lan("second", addr));
    assert!(matches!(second, Err(StartError::Bind(error)) if error.kind() == std::io::ErrorKind::AddrInUse));
    let unnamed = start_membership(&bus, &runtime, addr(1), |addr| Config::lan("", addr));
    assert!(matches!(unnamed, Err(StartError::Config(_))));
    drop(bus.bind(addr(1)).unwrap());
    let any = start_membership(&bus, &runtime, "10.0.0.1:0".parse().unwrap(), |addr| {
        assert_ne!(addr.port(), 0);
        Config::lan("any", addr)
    });
    assert_ne!(any.unwrap().local_addr().port(), 7946);
}

/// A bus without a clock, for applications that want no more than a network in their process.
#[test]
fn a_bus_without_a_clock_delivers_at_once() {
    let runtime = VirtualRuntime::new();
    let bus = Bus::new();
    let nodes: Vec<_> = (0..5).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        assert_eq!(runtime.now().as_nanos(), 0, "joining takes no time at all");
        sleep(&runtime, 40 * SECOND).await;
        for node in &nodes {
            assert_eq!(alive(node).await, 5);
        }
        bus.cut(addr(1), addr(0), true);
        let join = nodes[1].join(&["10.0.0.1"]).await;
        assert!(join.is_err(), "{join:?}");
        bus.heal();
        nodes[1].join(&["10.0.0.1"]).await.unwrap();
    });
}

#[test]
fn a_burst_of_joins_is_one_piece_of_news() {
    let (runtime, bus) = world(9);
    let nodes: Vec<_> = (0..6).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        let coalescer = Coalescer::new(Some(Window::SERF_AGENT), Some(Window::SERF_AGENT));
        let mut news = Coalesced::new(nodes[0].subscribe().await, coalescer, runtime.clone());
        let begun = runtime.now();
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        let Some(Batch::Members { kind: ChangeKind::Joined, members }) = news.recv().await else { panic!() };
        assert_eq!(members.len(), 5);
        let waited = runtime.now() - begun;
        assert!(SECOND <= waited && waited <= 4 * SECOND, "{waited:?}");
        // What is held when the node ends is told all the same.
        nodes[0].user_event("deploy", "v1", true).await.unwrap();
        nodes[0].clone().shutdown().await;
        let last = news.recv().await;
        assert!(matches!(last, Some(Batch::Single(Notice::UserEvent { ltime: 1, .. }))), "{last:?}");
        assert_eq!(news.recv().await, None);
    });
}

/// Answers each query that it hears with its name, after a while.
async fn answerer(runtime: &VirtualRuntime, cluster: &Cluster<Node>, number: usize) {
    let (cluster, sleeper) = (cluster.clone(), runtime.clone());
    let mut news = cluster.subscribe().await;
    runtime.spawn(async move {
        while let Some(notice) = news.recv().await {
            let Notice::Query { id, name, payload, from, .. } = notice else { continue };
            if name != "load" {
                continue;
            }
            assert_eq!((payload.as_ref(), from.to_string().as_str()), (&b"now"[..], "n0"));
            sleep(&sleeper, Duration::from_millis(100 * number as u64)).await;
            cluster.respond(id, format!("n{number} is fine")).await.unwrap();
            let again = cluster.respond(id, "twice").await.unwrap_err();
            assert_eq!(again.to_string(), "response already sent");
        }
    });
}

// upstream: TestSerf_Query
#[test]
fn a_query_is_answered_by_everybody_and_over_in_time() {
    let (runtime, bus) = world(41);
    bus.set_conditions(Conditions::LAN);
    let nodes: Vec<_> = (0..6).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        sleep(&runtime, 20 * SECOND).await;
        for (number, node) in nodes.iter().enumerate() {
            answerer(&runtime, node, number).await;
        }
        let asked = runtime.now();
        let mut answers =
            nodes[0].query("load", "now", QueryParams::default().ack(true).clone()).await.unwrap();
        let (mut acks, mut responses) = (Vec::new(), Vec::new());
        while let Some(answer) = answers.recv().await {
            match answer {
                Answer::Ack { from } => acks.push(from.to_string()),
                Answer::Response { from, payload } => {
                    assert_eq!(payload, format!("{from} is fine"));
                    responses.push(from.to_string());
                }
                other => panic!("{other:?}"),
            }
        }
        // The default: 16 gossip intervals of 200 ms.
        assert_eq!(runtime.now() - asked, Duration::from_millis(3200));
        acks.sort();
        responses.sort();
        let everybody: Vec<_> = (0..6).map(|number| format!("n{number}")).collect();
        assert_eq!((acks, responses, answers.lost()), (everybody.clone(), everybody, 0));
        // A query that runs ends with its node.
        let mut cut = nodes[5].query("other", "", QueryParams::default()).await.unwrap();
        let begun = runtime.now();
        nodes[5].clone().shutdown().await;
        assert_eq!((cut.recv().await, runtime.now() < begun + SECOND), (None, true));
        assert_eq!(nodes[5].query("other", "", QueryParams::default()).await.unwrap_err(), Error::Closed);
    });
}

#[test]
fn who_joins_under_a_name_that_is_taken_gives_way() {
    let (runtime, bus) = world(43);
    let nodes: Vec<_> = (0..4).map(|number| node(&bus, &runtime, number)).collect();
    let configure = |addr| (Config::lan("n2", addr), ServiceConfig::default());
    let double = start_node(&bus, &runtime, addr(9), configure).unwrap();
    runtime.block_on(async {
        for node in &nodes[1..] {
            node.join(&["10.0.0.1"]).await.unwrap();
        }
        sleep(&runtime, 10 * SECOND).await;
        let closed = double.closed();
        double.join(&["10.0.0.1"]).await.unwrap();
        let EndReason::NameLost { other, responses, matching } = closed.await else { panic!() };
        // n2 itself has no say.
        assert_eq!((other, responses, matching), (addr(2), 3, 0));
        sleep(&runtime, 10 * SECOND).await;
        for node in &nodes {
            assert_eq!(alive(node).await, 4);
        }
    });
}

/// A seed's name is looked up again: it may come to be known, or move, while the node runs.
#[test]
fn seeds_are_followed_by_name() {
    let (runtime, bus) = world(21);
    let nodes: Vec<_> = (0..3).map(|number| node(&bus, &runtime, number)).collect();
    runtime.block_on(async {
        nodes[2].set_seeds(&["seed.example"]).await.unwrap();
        assert!(matches!(nodes[2].set_seeds(&["[broken"]).await, Err(Error::Join(_))));
        sleep(&runtime, 200 * SECOND).await;
        assert_eq!(alive(&nodes[2]).await, 1);
        runtime.add_host("seed.example", &[addr(0).ip()]);
        sleep(&runtime, 61 * SECOND).await;
        assert_eq!((alive(&nodes[2]).await, alive(&nodes[0]).await), (2, 2));
        // It moves to another cluster of one, and so the two become one.
        runtime.add_host("seed.example", &[addr(1).ip()]);
        sleep(&runtime, 70 * SECOND).await;
        assert_eq!(alive(&nodes[0]).await, 3);
        nodes[2].set_seeds::<&str>(&[]).await.unwrap();
        // What follows names does not keep the node running.
        let closed = nodes[2].closed();
        drop(nodes);
        assert_eq!(closed.await, EndReason::Shutdown);
    });
}

//! What an operator reads.

mod support;

use core::fmt;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use support::net::Net;
use support::{World, addr, node, node_with};

/// Keeps the lines that are logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Lines {
    fn has(&self, level: Level, text: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| *line == (level, text.to_owned()))
    }

    fn count(&self, part: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(_, line)| line.contains(part)).count()
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push((*event.metadata().level(), message.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn the_story_of_a_member_reads_as_in_serf() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    let c = node_with(&world, &net, 3, gossip_driver::Options::default(), |_| {});
    world.wait(b.join(&["10.0.0.1"])).unwrap();
    world.wait(c.join(&["10.0.0.1"])).unwrap();
    world.pass(Duration::from_secs(1));
    assert!(lines.has(Level::INFO, "serf: EventMemberJoin: n2 10.0.0.2"), "{:?}", lines.0);
    assert!(lines.has(Level::DEBUG, "memberlist: Stream connection from=10.0.0.2:7946"));
    world.wait(b.shutdown());
    world.pass(Duration::from_secs(30));
    assert!(lines.has(Level::INFO, "memberlist: Suspect n2 has failed, no acks received"), "{:?}", lines.0);
    assert!(lines.count("memberlist: Marking n2 as failed, suspect timeout reached (") >= 1, "{:?}", lines.0);
    assert!(lines.has(Level::INFO, "serf: EventMemberFailed: n2 10.0.0.2"));
    world.wait(c.leave()).unwrap();
    world.pass(Duration::from_secs(1));
    assert!(lines.has(Level::INFO, "serf: EventMemberLeave: n3 10.0.0.3"));
    drop(a);
}

#[test]
fn garbage_does_not_fill_the_disk() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (world, net) = (World::default(), Net::default());
    let a = node(&world, &net, 1);
    world.run();
    for _ in 0..500 {
        net.inject(addr(1), addr(66), STRANGE);
    }
    world.run();
    assert_eq!(lines.count("Dropped packet from=10.0.0.66:7946"), 1);
    world.pass(Duration::from_secs(2));
    net.inject(addr(1), addr(66), STRANGE);
    world.run();
    assert_eq!(lines.count("(and 499 more like it)"), 1);
    drop(a);
}

#[test]
fn disputes_about_names_do_not_fill_the_disk() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (world, net) = (World::default(), Net::default());
    let (a, b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(b.join(&["10.0.0.1"])).unwrap();
    let claim = |n: u8| {
        let address = [10, 1, n / 250, n % 250 + 1];
        net.inject(addr(1), addr(66), &alive("n2", address));
        world.run();
    };
    (0..200).for_each(claim);
    assert_eq!(lines.count("Conflicting address for n2. Mine: 10.0.0.2:7946 Theirs: 10.1."), 1);
    world.pass(Duration::from_secs(2));
    claim(200);
    let last = "memberlist: Conflicting address for n2. Mine: 10.0.0.2:7946 Theirs: 10.1.0.201:7946 (and 199 more like it)";
    assert!(lines.has(Level::ERROR, last), "{:?}", lines.0);
    drop(a);
}

#[test]
fn streams_that_find_no_place_do_not_fill_the_disk() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (world, net) = (World::default(), Net::default());
    let few = gossip_driver::Options::default();
    let a = node_with(&world, &net, 1, few, |config| {
        config.max_streams(4).stream_timeout(Duration::from_secs(10));
    });
    // Somebody holds all places, and comes for more: another could have one of these, so the driver goes on accepting.
    let _held = [(); 3].map(|()| net.dial(addr(1), addr(66)));
    world.pass(Duration::from_secs(2));
    for _ in 0..500 {
        drop(net.dial(addr(1), addr(66)));
        world.run();
    }
    assert_eq!(lines.count("Refusing stream connection from=10.0.0.66:7946"), 1);
    world.pass(Duration::from_secs(2));
    drop(net.dial(addr(1), addr(66)));
    world.run();
    assert_eq!(lines.count("(and 499 more like it)"), 1);
    drop(a);
}

#[test]
fn refutations_do_not_fill_the_disk() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let (world, net) = (World::default(), Net::default());
    let a = node(&world, &net, 1);
    world.run();
    for incarnation in 1..=100 {
        net.inject(addr(1), addr(66), &suspicion("n1", incarnation));
        world.run();
    }
    assert!(world.wait(a.stats()).refutations >= 99);
    assert_eq!(lines.count("Refuting a suspect message"), 1);
    drop(a);
}

/// The news that a member does not answer.
fn suspicion(name: &str, incarnation: u8) -> Vec<u8> {
    let name = [&[0xa0 | name.len() as u8], name.as_bytes()].concat();
    [b"\x03\x83\xa4From\xa1x\xabIncarnation".as_slice(), &[incarnation], b"\xa4Node", &name].concat()
}

/// The news that a member is there.
fn alive(name: &str, address: [u8; 4]) -> Vec<u8> {
    let name = [&[0xa0 | name.len() as u8], name.as_bytes()].concat();
    [
        b"\x04\x86\xa4Addr\xa4".as_slice(),
        &address,
        b"\xabIncarnation\x05\xa4Meta\xa0\xa4Node",
        &name,
        b"\xa4Port\xcd\x1f\x0a\xa3Vsn\xa6\x01\x05\x05\x02\x05\x04",
    ]
    .concat()
}

/// A datagram with the label of another cluster.
const STRANGE: &[u8] = b"\xf4\x04blue\x00";

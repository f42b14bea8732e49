//! What is recorded of a machine has a fresh one go the same way, and gives no keys away.
use crate::support;

use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::keyring::{Key, Keyring, Nonces};
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::MessageType;
use gossip_proto::wire::packet::{self, Envelope};
use gossip_proto::wire::serf::{KeyRequest, Query, SerfType};
use gossip_proto::wire::stream::{Side, StreamLimits, StreamReader};
use gossip_proto::*;
use std::collections::BTreeMap;
use support::pair::{Fate, Net, Note};

const SALT: [u8; 16] = [5; 16];
const PRIMARY: &[u8; 32] = b"the primary key has thirty-two b";
const SECOND: &[u8; 16] = b"a sixteen-byte k";
const INSTALLED: &[u8; 24] = b"installed while it runs.";
const SPREAD: &[u8; 16] = b"spread by a quer";

fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7946))
}

fn ring<K: AsRef<[u8]>>(keys: &[K]) -> Option<Keyring> {
    let mut keys = keys.iter().map(|key| Key::new(key.as_ref()).expect("a key"));
    Some(Keyring::new(keys.next()?, keys).expect("a ring"))
}

/// How the cluster at hand wraps its traffic.
#[derive(Clone, Copy, Debug)]
enum Wrap {
    Plain,
    Labelled,
    Sealed,
}

fn config(host: u8, wrap: Wrap, with_keys: bool) -> Config {
    let mut config = Config::lan(format!("node-{host}").as_str(), addr(host));
    config.push_pull_interval(Duration::from_secs(10)).gossip_to_the_dead(Duration::from_secs(15));
    match wrap {
        Wrap::Plain => {}
        Wrap::Labelled => {
            config.label(b"blue"[..].into()).compression(Compression::All);
        }
        Wrap::Sealed => {
            config.label(b"blue"[..].into()).compression(Compression::Off).work_per_call(16);
        }
    }
    if with_keys && matches!(wrap, Wrap::Sealed) {
        config.keyring(ring(&[&PRIMARY[..], SECOND]));
    }
    config
}

fn layers(wrap: Wrap, keys: Option<Keyring>) -> Layers {
    let label = if matches!(wrap, Wrap::Plain) { &b""[..] } else { b"blue" };
    let label = wire::label::Label::new(label).expect("a label");
    Layers { label, keyring: keys, ..Layers::default() }
}

fn node(host: u8, wrap: Wrap, with_keys: bool) -> Node {
    let mut services = ServiceConfig::default();
    services.tags(vec![("role".into(), "test".into())]).reconnect_interval(Duration::from_secs(5));
    let config = config(host, wrap, with_keys);
    Node::new(Instant::ORIGIN, config, services, Seed::from_u64(host.into()), NonceSecret::new([host; 32]))
        .expect("a node")
}

fn membership(host: u8, wrap: Wrap, with_keys: bool) -> Membership {
    let mut config = config(host, wrap, with_keys);
    config.ask_before_merge(host == 1).max_exchange_bytes(3 << 20);
    Membership::new(Instant::ORIGIN, config, Seed::from_u64(host.into()), NonceSecret::new([host; 32]))
        .expect("a node")
}

/// Everything that came out of a machine, its layers taken off.
#[derive(Debug, Default, PartialEq)]
struct Outputs {
    datagrams: Vec<(SocketAddr, usize, Vec<u8>)>,
    /// By stream: how many bytes, whether its end was said, and what either side would read.
    streams: BTreeMap<StreamId, (usize, bool, String)>,
    notes: Vec<Note>,
}

fn opened(layers: &Layers, datagram: &[u8]) -> Vec<u8> {
    packet::open(layers, &mut datagram.to_vec()).expect("one of our datagrams").to_vec()
}

fn read(layers: &Layers, bytes: &[u8], fin: bool) -> (usize, bool, String) {
    let message = [Side::Accepting, Side::Opening].map(|side| {
        let mut reader = StreamReader::new(side, StreamLimits::default());
        let fed = reader.feed(layers, bytes, usize::MAX);
        (fed, reader.opened().map(<[u8]>::to_vec))
    });
    (bytes.len(), fin, format!("{message:?}"))
}

fn join_streams(
    layers: &Layers,
    pieces: impl Iterator<Item = (StreamId, Vec<u8>, bool)>,
) -> BTreeMap<StreamId, (usize, bool, String)> {
    let mut streams: BTreeMap<StreamId, (Vec<u8>, bool)> = BTreeMap::new();
    for (id, bytes, fin) in pieces {
        let stream = streams.entry(id).or_default();
        stream.0.extend_from_slice(&bytes);
        stream.1 |= fin;
    }
    streams.into_iter().map(|(id, (bytes, fin))| (id, read(layers, &bytes, fin))).collect()
}

/// What the first host of a network gave.
fn original<M: Machine>(net: &Net<M>, layers: &Layers) -> Outputs {
    let own = net.hosts[0].addr;
    let datagrams = net.log.iter().filter(|(_, from, ..)| *from == own);
    let pieces = net.stream_log.iter().filter(|(from, ..)| *from == own);
    Outputs {
        datagrams: datagrams.map(|(_, _, to, bytes)| (*to, bytes.len(), opened(layers, bytes))).collect(),
        streams: join_streams(layers, pieces.map(|(_, id, bytes, fin)| (*id, bytes.clone(), *fin))),
        notes: net.hosts[0].notes.clone(),
    }
}

fn note(event: &Event<'_>) -> Note {
    match *event {
        Event::Message { from, reliable, payload } => {
            Note::Message { from: from.addr, reliable, payload: payload.to_vec() }
        }
        Event::UserState { join, state, .. } => Note::UserState { join, state: state.to_vec() },
        Event::MergeRequested { id, members, deadline, .. } => Note::MergeRequested { id, members, deadline },
        ref query @ Event::Query { id, .. } => Note::Query(id, format!("{query:?}")),
        Event::Stalled { late } => Note::Stalled(late),
        ref other => Note::Other(format!("{other:?}")),
    }
}

/// Has a fresh machine do what was recorded, to the end.
fn replay<M: Machine>(
    recording: &[u8],
    machine: &mut M,
    layers: impl FnOnce(Option<Keyring>) -> Layers,
) -> (Outputs, Option<bool>) {
    let first = Recording::entries(recording).next().expect("a first entry");
    let layers = layers(ring(&Recording::read(first).expect("a recording").keys));
    let (mut outputs, mut pieces, mut stopped) = (Outputs::default(), Vec::new(), None);
    for entry in Recording::entries(recording) {
        assert_eq!(stopped, None, "the last entry is the last");
        match machine.replay(entry).expect("an entry") {
            Replayed::Transmit { transmit, datagram } => {
                outputs.datagrams.push((transmit.to, datagram.len(), opened(&layers, datagram)));
            }
            Replayed::StreamData { id, bytes, fin } => pieces.push((id, bytes.to_vec(), fin)),
            Replayed::Membership(MembershipChange { key, kind, cause, .. }) => {
                let name = machine.member(key).expect("a member").name.to_string();
                outputs.notes.push(Note::Change { name, kind, cause });
            }
            Replayed::Completion(Completion::Ended { operation, outcome }) => {
                outputs.notes.push(Note::Done { operation, outcome });
            }
            Replayed::Event(event) => outputs.notes.push(note(&event)),
            Replayed::Stopped { full } => stopped = Some(full),
            _ => {}
        }
    }
    outputs.streams = join_streams(&layers, pieces.into_iter());
    (outputs, stopped)
}

fn drain<M: Machine>(machine: &mut M) -> Vec<u8> {
    let (mut recording, mut buf) = (Vec::new(), vec![0; MAX_TAP_FRAME]);
    loop {
        let len = machine.poll_tap(&mut buf);
        if len == 0 {
            return recording;
        }
        recording.extend_from_slice(&buf[..len]);
    }
}

fn assert_same(original: &Outputs, replayed: &Outputs) {
    for (index, (a, b)) in original.datagrams.iter().zip(&replayed.datagrams).enumerate() {
        assert_eq!(a, b, "datagram {index}");
    }
    assert_eq!(original.datagrams.len(), replayed.datagrams.len());
    assert_eq!(original.notes, replayed.notes);
    assert_eq!(original.streams, replayed.streams);
}

/// A cluster of four under loss, with streams that come in small pieces; the first host is recorded.
fn cluster<M: Machine>(make: impl Fn(u8) -> M) -> Net<M> {
    let mut net = Net::new((1..=4).map(make));
    net.chunk = 61;
    let mut count = 0u32;
    net.fate(move |_, _, _| {
        count = count.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if count >> 24 < 12 { Fate::Lose } else { Fate::Deliver }
    });
    net.hosts[0].machine.start_recording(Instant::ORIGIN, 64 << 20, SALT);
    net
}

/// Suspicion, death and return of the fourth host, and a connection that fails.
fn troubles<M: Machine>(net: &mut Net<M>) {
    net.hosts[3].down = true;
    net.run_ms(12_000);
    net.no_streams.push(addr(3));
    net.run_ms(20_000);
    net.no_streams.clear();
    net.hosts[3].down = false;
    let now = net.now;
    let _ = net.hosts[3].machine.join(now, &[addr(1).into()]);
    net.run_ms(20_000);
}

fn node_run(wrap: Wrap) -> (Net<Node>, Vec<u8>) {
    let mut net = cluster(|host| node(host, wrap, true));
    for host in 1..4 {
        net.join(host, 0);
    }
    let now = net.now;
    let host = &mut net.hosts[0].machine;
    host.user_event(now, b"deploy", b"v1", true).expect("an event");
    host.set_tags(now, vec![("role".into(), "changed".into())]).expect("tags");
    host.join_ignoring_old(now, &[addr(2).into(), addr(99).into()]).expect("a join");
    host.user_event(now, b"deploy", &[0; 4096], true).expect_err("too long, and recorded all the same");
    let key = host.find(b"node-3").expect("a member").key;
    host.ping(now, key).expect("a ping");
    let mut params = QueryParams::default();
    params
        .nodes(vec!["node-1".into(), "node-2".into()])
        .tags(vec![("role".into(), "^(test|changed)$".into())]);
    params.ack(true).relay_factor(1).timeout(Some(Duration::from_millis(2500)));
    host.query(now, b"load", b"now", &params).expect("a query");
    net.run_ms(1000);
    let now = net.now;
    net.hosts[1].machine.query(now, b"other", b"", &QueryParams::default()).expect("a query");
    net.run_ms(1000);
    let asked = |note: &Note| if let Note::Query(id, _) = note { Some(*id) } else { None };
    let asked: Vec<RequestId> = net.hosts[0].notes.iter().filter_map(asked).collect();
    assert_eq!(asked.len(), 2, "its own query and the other's");
    for (id, again) in asked.iter().flat_map(|id| [(id, false), (id, true)]) {
        let answered = net.hosts[0].machine.respond(net.now, *id, b"low");
        assert_eq!(answered.is_err(), again);
    }
    net.run_ms(1000);
    let now = net.now;
    net.hosts[1].machine.user_event(now, b"other", b"", false).expect("an event");
    net.hosts[0].machine.handle_path(now, addr(2), 600);
    troubles(&mut net);
    if matches!(wrap, Wrap::Sealed) {
        keys(&mut net);
    }
    net.hosts[3].down = true;
    net.run_ms(40_000);
    let now = net.now;
    net.hosts[0].machine.force_leave(now, b"node-4", false).expect("a member that failed");
    net.run_ms(5000);
    let now = net.now;
    net.hosts[0].machine.leave(now).expect("a leave");
    net.run_ms(10_000);
    let now = net.now;
    net.hosts[0].machine.stop_recording(now);
    let recording = drain(&mut net.hosts[0].machine);
    (net, recording)
}

/// Everything that brings keys along.
fn keys(net: &mut Net<Node>) {
    let now = net.now;
    for host in &mut net.hosts {
        host.machine.install_key(now, INSTALLED).expect("a key");
        host.machine.use_key(now, SECOND).expect("a key it has");
    }
    let own = &mut net.hosts[0].machine;
    own.remove_key(now, PRIMARY).expect("not the primary one any more");
    own.install_key(now, PRIMARY).expect("a key");
    own.install_key(now, &PRIMARY[..7]).expect_err("no key");
    // As a node with the key would spread another one.
    let mut payload = vec![SerfType::KeyRequest.byte()];
    KeyRequest { key: SPREAD[..].into() }.encode(&mut payload).expect("room");
    let name = b"_serf_install-key"[..].into();
    let query = Query {
        ltime: 2,
        id: 1,
        name,
        payload: payload.as_slice().into(),
        timeout: 1 << 34,
        ..Query::default()
    };
    let mut body = vec![MessageType::User.byte(), SerfType::Query.byte()];
    query.encode(&mut body).expect("room");
    let layers = layers(Wrap::Sealed, ring(&[SECOND]));
    let mut datagram = vec![0; 1400];
    let mut envelope = Envelope::new(&layers, &mut datagram, 1400, false).expect("room");
    envelope.body()[..body.len()].copy_from_slice(&body);
    let len =
        envelope.finish(body.len(), &mut Nonces::new([9; 32]), &mut Deflater::new()).expect("a datagram");
    net.inject(addr(2), addr(1), datagram[..len].to_vec());
    net.run_ms(2000);
}

#[test]
fn a_node_is_replayed_to_the_same_state_by_the_same_outputs() {
    for wrap in [Wrap::Plain, Wrap::Labelled] {
        let (mut net, recording) = node_run(wrap);
        let (replayed, stopped) = {
            let mut machine = node(1, wrap, false);
            let result = replay(&recording, &mut machine, |keys| layers(wrap, keys));
            assert_eq!(machine.state_hash(), net.hosts[0].machine.state_hash());
            assert_eq!(machine.clocks(), net.hosts[0].machine.clocks());
            result
        };
        assert_eq!(stopped, Some(false));
        let original = original(&net, &layers(wrap, None));
        let counts = (original.datagrams.len(), original.streams.len(), original.notes.len());
        assert!(counts.0 > 200 && counts.1 > 10 && counts.2 > 10, "{counts:?}");
        let failed = |note: &Note| matches!(note, Note::Change { kind: ChangeKind::Failed, .. });
        assert!(original.notes.iter().any(failed), "the run is meant to be eventful");
        assert_same(&original, &replayed);
        assert_eq!(net.hosts[0].machine.poll_tap(&mut [0; 64]), 0);
    }
}

#[test]
fn a_sealed_node_is_replayed_without_its_keys() {
    let (net, recording) = node_run(Wrap::Sealed);
    let mut machine = node(1, Wrap::Sealed, false);
    let (replayed, stopped) = replay(&recording, &mut machine, |keys| layers(Wrap::Sealed, keys));
    assert_eq!((stopped, machine.state_hash()), (Some(false), net.hosts[0].machine.state_hash()));
    let mut original = original(&net, &layers(Wrap::Sealed, ring(&[&PRIMARY[..], SECOND])));
    // The one message with a key in it was passed on as it came, and is now as it was recorded.
    let holds = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let mut spread = 0;
    for ((_, _, text), (_, _, again)) in original.datagrams.iter_mut().zip(&replayed.datagrams) {
        if holds(text, SPREAD) {
            assert!(!holds(again, SPREAD) && holds(again, b"_serf_install-key"));
            text.clone_from(again);
            spread += 1;
        }
    }
    assert!(spread > 0, "the query is meant to be passed on");
    assert_same(&original, &replayed);
}

#[test]
fn a_recording_holds_no_key() {
    let (_, recording) = node_run(Wrap::Sealed);
    // In base64 at each of the three places that a key can start at in a group.
    let texts: [(&[u8], [&[u8]; 2]); 4] = [
        (PRIMARY, [b"dGhlIHByaW1hcnkga2V5", b"aGUgcHJpbWFyeSBrZXkg"]),
        (SECOND, [b"YSBzaXh0ZWVuLWJ5dGUg", b"IHNpeHRlZW4tYnl0ZSBr"]),
        (INSTALLED, [b"aW5zdGFsbGVkIHdoaWxl", b"bnN0YWxsZWQgd2hpbGUg"]),
        (SPREAD, [b"c3ByZWFkIGJ5IGEgcXVl", b"cHJlYWQgYnkgYSBxdWVy"]),
    ];
    for (key, texts) in texts {
        for part in key.windows(8).chain(texts) {
            assert!(
                !recording.windows(part.len()).any(|window| window == part),
                "{}",
                String::from_utf8_lossy(part)
            );
        }
    }
    // The search would find something: the query and the tags are there.
    for part in [&b"_serf_install-key"[..], b"changed"] {
        assert!(recording.windows(part.len()).any(|window| window == part));
    }
}

#[test]
fn a_membership_machine_is_replayed() {
    for wrap in [Wrap::Plain, Wrap::Labelled, Wrap::Sealed] {
        let mut net = cluster(|host| membership(host, wrap, true));
        let now = net.now;
        net.chunk = 4001;
        net.hosts[0].machine.set_user_state(b"state of one"[..].into()).expect("a state");
        // More than one call reads, so that streams are put off and taken up again.
        let state: Vec<u8> = (0..700_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        net.hosts[1].machine.set_user_state(state.into()).expect("a state");
        net.hosts[1].machine.join(now, &[addr(1).into()]).expect("a join");
        let mut asked = 0;
        for step in 0..1200 {
            net.run_ms(50);
            let now = net.now;
            let requests: Vec<RequestId> = net.hosts[0]
                .notes
                .iter()
                .filter_map(|note| match note {
                    Note::MergeRequested { id, .. } => Some(*id),
                    _ => None,
                })
                .collect();
            let own = &mut net.hosts[0].machine;
            for &id in &requests[asked..] {
                // The first one is refused.
                if asked == 0 { own.refuse(now, id) } else { own.accept(now, id) }.expect("an answer");
                asked += 1;
            }
            match step {
                20 | 40 | 60 => drop(net.hosts[step / 20].machine.join(now, &[addr(1).into()])),
                100 => drop(own.set_metadata(now, b"metadata"[..].into()).expect("metadata")),
                110 => drop(own.broadcast(now, b"to all"[..].into()).expect("a broadcast")),
                111 | 112 => drop(own.broadcast_about(now, b"one", b"of these"[..].into()).expect("another")),
                120..140 => {
                    let key = own.find(b"node-2").expect("a member").key;
                    own.send(now, key, vec![4; step].into()).expect("a message");
                    own.send_reliable(now, key, vec![6; 100 * step].into()).expect("a message");
                }
                150..160 => {
                    let key = net.hosts[1].machine.find(b"node-1").expect("a member").key;
                    net.hosts[1].machine.send(now, key, vec![4; 70].into()).expect("a message");
                    net.hosts[1].machine.send_reliable(now, key, vec![8; 100_000].into()).expect("a message");
                }
                300 => net.hosts[2].down = true,
                _ => {}
            }
        }
        assert!(asked >= 3);
        let now = net.now;
        let own = &mut net.hosts[0].machine;
        own.leave(now).expect("a leave");
        net.run_ms(5000);
        let now = net.now;
        net.hosts[0].machine.stop_recording(now);
        let recording = drain(&mut net.hosts[0].machine);
        let mut machine = membership(1, wrap, false);
        let (replayed, stopped) = replay(&recording, &mut machine, |keys| layers(wrap, keys));
        assert_eq!((stopped, machine.state_hash()), (Some(false), net.hosts[0].machine.state_hash()));
        let keys = if matches!(wrap, Wrap::Sealed) { ring(&[PRIMARY]) } else { None };
        assert_same(&original(&net, &layers(wrap, keys)), &replayed);
        let mine = |name, of: &Stats| of.iter().find(|(known, _)| *known == name).expect("a counter").1;
        for name in [
            "messages_received",
            "alive_accepted",
            "probes",
            "probes_failed",
            "exchanges_answered",
            "user_messages",
        ] {
            assert_eq!(mine(name, machine.stats()), mine(name, net.hosts[0].machine.stats()), "{name}");
        }
    }
}

#[test]
fn a_full_buffer_ends_the_recording_and_says_so() {
    for limit in [1000, 4096, 20_000] {
        let mut net = Net::new([node(1, Wrap::Plain, true), node(2, Wrap::Plain, true)]);
        let before = net.hosts[0].machine.memory();
        net.hosts[0].machine.start_recording(net.now, limit, SALT);
        net.join(1, 0);
        net.run_ms(120_000);
        let stops =
            net.hosts[0].notes.iter().filter(|note| **note == Note::Other("RecordingStopped".into())).count();
        assert_eq!(stops, 1);
        assert!(net.hosts[0].machine.memory() < before + 2 * limit + 64 * 1024);
        let recording = drain(&mut net.hosts[0].machine);
        assert!(recording.len() <= limit && recording.len() > limit / 2, "{} of {limit}", recording.len());
        let mut machine = node(1, Wrap::Plain, false);
        let (outputs, stopped) = replay(&recording, &mut machine, |keys| layers(Wrap::Plain, keys));
        assert_eq!(stopped, Some(true));
        // A beginning of what happened.
        let all = original(&net, &layers(Wrap::Plain, None));
        assert_eq!(outputs.datagrams, all.datagrams[..outputs.datagrams.len()]);
        net.run_ms(10_000);
        assert_eq!(net.hosts[0].machine.poll_tap(&mut [0; MAX_TAP_FRAME]), 0);
    }
}

#[test]
fn without_room_for_a_beginning_there_is_no_recording() {
    for limit in [0, 20, 60] {
        let mut machine = node(1, Wrap::Plain, true);
        machine.start_recording(Instant::ORIGIN, limit, SALT);
        assert_eq!(machine.poll_event(), Some(Event::RecordingStopped));
        assert!(Recording::entries(&drain(&mut machine)).all(|entry| Recording::read(entry).is_err()));
    }
    // A limit beyond any memory is only a limit.
    let mut machine = node(1, Wrap::Plain, true);
    machine.start_recording(Instant::ORIGIN, usize::MAX, SALT);
    assert!(!drain(&mut machine).is_empty());
}

#[test]
fn damaged_missing_and_foreign_entries_change_nothing() {
    let (_, recording) = node_run(Wrap::Plain);
    let entries: Vec<_> = Recording::entries(&recording).collect();
    let mut machine = node(1, Wrap::Plain, false);
    assert_eq!(machine.replay(entries[5]), Err(ReplayError::Damaged), "not the first");
    for (index, entry) in entries[..40].iter().enumerate() {
        let before = machine.state_hash();
        for at in 0..entry.len() {
            let mut damaged = entry.to_vec();
            damaged[at] ^= 1 << (at % 8);
            assert_eq!(machine.replay(&damaged), Err(ReplayError::Damaged));
            assert_eq!(machine.replay(&entry[..at]), Err(ReplayError::Damaged));
        }
        assert_eq!(machine.replay(entries[index + 1]), Err(ReplayError::Damaged), "one is missing");
        assert_eq!(machine.state_hash(), before);
        machine.replay(entry).expect("the entry as it was");
    }
    let mut membership = membership(1, Wrap::Plain, false);
    assert_eq!(membership.replay(entries[0]), Err(ReplayError::Mismatch), "another kind of machine");
    assert_eq!(
        node(1, Wrap::Labelled, false).replay(entries[0]),
        Err(ReplayError::Mismatch),
        "another configuration"
    );
    let other = Seed::from_u64(2);
    let mut services = ServiceConfig::default();
    services.tags(vec![("role".into(), "test".into())]).reconnect_interval(Duration::from_secs(5));
    let config = config(1, Wrap::Plain, false);
    let mut seeded =
        Node::new(Instant::ORIGIN, config, services, other, NonceSecret::new([0; 32])).expect("a node");
    assert_eq!(seeded.replay(entries[0]), Err(ReplayError::Mismatch), "another seed");
    let mut driven = node(1, Wrap::Plain, false);
    driven.handle_timeout(Instant::from_millis(5000));
    assert_eq!(driven.replay(entries[0]), Err(ReplayError::Mismatch), "not fresh any more");
}

#[test]
fn a_replay_that_goes_another_way_is_noticed() {
    let (_, recording) = node_run(Wrap::Plain);
    let mut machine = node(1, Wrap::Plain, false);
    let mut outcome = Ok(());
    for (index, entry) in Recording::entries(&recording).enumerate() {
        if index == 100 {
            // What was not recorded makes the difference.
            machine.user_event(machine_now(&machine), b"extra", b"", false).expect("an event");
        }
        outcome = machine.replay(entry).map(drop);
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(ReplayError::Diverged));
}

fn machine_now(machine: &Node) -> Instant {
    machine.poll_timeout().expect("a timer")
}

#[test]
fn recording_can_begin_again_and_leaves_the_machine_alone() {
    let run = |records: bool| {
        let mut net = Net::new([node(1, Wrap::Plain, true), node(2, Wrap::Plain, true)]);
        for _ in 0..if records { 2 } else { 0 } {
            net.hosts[0].machine.start_recording(net.now, 1 << 20, SALT);
        }
        net.join(1, 0);
        net.run_ms(30_000);
        let hash = net.hosts[0].machine.state_hash();
        let recording = drain(&mut net.hosts[0].machine);
        (hash, original(&net, &layers(Wrap::Plain, None)), recording)
    };
    let (with, without) = (run(true), run(false));
    assert_eq!((with.0, with.1), (without.0, without.1));
    assert!(
        without.2.is_empty()
            && Recording::read(Recording::entries(&with.2).next().expect("an entry")).is_ok()
    );
}

/// A node that goes on where an earlier life stopped.
fn restored(with_keys: bool) -> Node {
    let mut services = ServiceConfig::default();
    services.reconnect_interval(Duration::from_secs(5)).reconnect_timeout(Duration::from_secs(10)).restore(
        Some(Restore {
            last: Clocks { member: 40, event: 50, query: 60 },
            alive: vec![("node-2".into(), addr(2)), ("node-9".into(), addr(9))],
            learnt: vec![("node-8".into(), addr(8), Duration::from_secs(600))],
        }),
    );
    let config = config(1, Wrap::Sealed, with_keys);
    Node::new(Instant::ORIGIN, config, services, Seed::from_u64(1), NonceSecret::new([1; 32]))
        .expect("a node")
}

/// An earlier life, seeds, a partition that heals, and keys with a file that once cannot be written.
#[test]
fn what_comes_back_and_what_rotates_is_replayed() {
    let make = |host| if host == 1 { restored(true) } else { node(host, Wrap::Sealed, true) };
    let mut net = cluster(make);
    net.host(0).machine.set_seeds(Instant::ORIGIN, &[addr(2), addr(3), addr(77)]);
    net.host(0).machine.persist_keyring(true);
    for host in 2..4 {
        net.join(host, 1);
    }
    net.run_ms(10_000);
    assert_eq!(net.hosts[0].machine.num_alive(), 4);
    let side = |at: SocketAddr| at == addr(1) || at == addr(2);
    net.fate(move |from, to, _| if side(from) == side(to) { Fate::Deliver } else { Fate::Lose });
    net.black_holes = (1..=4).map(addr).collect();
    net.run_ms(40_000);
    assert_eq!(net.hosts[0].machine.num_alive(), 2);
    net.fate(|_, _, _| Fate::Deliver);
    net.black_holes.clear();
    net.run_ms(40_000);
    assert_eq!(net.hosts[0].machine.num_alive(), 4);

    let installed = Key::new(INSTALLED).expect("a key");
    let commands = [
        (KeyCommand::Install(installed.clone()), true),
        (KeyCommand::Install(installed.clone()), false),
        (KeyCommand::Use(installed), false),
        (KeyCommand::Remove(Key::new(PRIMARY).expect("a key")), false),
    ];
    for (stored, (command, fails)) in (1 << 62..).zip(commands) {
        let now = net.now;
        net.host(0).machine.keys(now, &command, 1).expect("an operation");
        net.run_ms(100);
        let now = net.now;
        let result = if fails { Err("no room".into()) } else { Ok(()) };
        net.host(0)
            .machine
            .keyring_stored(now, RequestId::from_u64(stored), result)
            .expect("a change that waits");
        net.run_ms(8000);
    }
    let now = net.now;
    net.host(0).machine.keys(now, &KeyCommand::List, 0).expect("an operation");
    net.run_ms(8000);
    let reports: Vec<(usize, usize)> = net.hosts[0]
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::Done { outcome: Outcome::Keys(report), .. } => Some((report.responses, report.errors)),
            _ => None,
        })
        .collect();
    assert_eq!(reports, [(4, 1), (4, 0), (4, 0), (4, 0), (4, 0)]);
    let own = net.hosts[0].machine.stats();
    assert!(own.seeds_tried > 0 && own.learnt_tried > 0 && own.keyring_unstored == 1, "{own:?}");

    let now = net.now;
    net.host(0).machine.stop_recording(now);
    let recording = drain(&mut net.host(0).machine);
    let (mut machine, mut lens, mut stopped) = (restored(false), Vec::new(), None);
    for entry in Recording::entries(&recording) {
        match machine.replay(entry).expect("an entry") {
            Replayed::Transmit { transmit, datagram } => lens.push((transmit.to, datagram.len())),
            Replayed::Stopped { full } => stopped = Some(full),
            _ => {}
        }
    }
    let own = &net.hosts[0].machine;
    assert_eq!((stopped, machine.state_hash()), (Some(false), own.state_hash()));
    let mut stats = machine.stats().clone();
    // Datagrams are recorded without their layers.
    stats.datagrams_received = own.stats().datagrams_received;
    stats.bytes_received = own.stats().bytes_received;
    assert_eq!((&stats, machine.learnt_version()), (own.stats(), own.learnt_version()));
    let sent = net.log.iter().filter(|(_, from, ..)| *from == addr(1));
    assert!(sent.map(|(_, _, to, bytes)| (*to, bytes.len())).eq(lens));
    assert!(!recording.windows(INSTALLED.len()).any(|window| window == INSTALLED));
}

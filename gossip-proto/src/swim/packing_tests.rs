//! Bytes that are compressed are counted, not timed: what a call does is bounded, and what is held.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;

use super::{BYTES_PER_UNIT, Packing};
use crate::output::{Completion, Outcome, Source, StreamAction, StreamFailure, StreamId};
use crate::wire::keyring::{Key, Keyring, Nonces};
use crate::wire::layers::{Compression, Layers};
use crate::wire::lzw::Deflater;
use crate::wire::message::{MessageType, PushPullHeader};
use crate::wire::stream::{Pending, Side, StreamLimits, StreamMessage, StreamReader, write_stream};
use crate::{Config, Instant, KnownMember, Machine, MemberKey, Membership, NonceSecret, Seed};

const NOW: Instant = Instant::ORIGIN;
const MEMBERS: u32 = 3_000;

fn addr(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    ([10, a, b, c], 7946).into()
}

fn node(configure: impl FnOnce(&mut Config)) -> Membership {
    let mut config = Config::lan("self", addr(1 << 20));
    config.probe_interval(Duration::ZERO).gossip_nodes(0).push_pull_interval(Duration::ZERO);
    configure(&mut config);
    let mut machine = Membership::new(NOW, config, Seed::from_u64(1), NonceSecret::new([1; 32])).unwrap();
    let member = |number| KnownMember {
        name: format!("member-{number:05}").as_str().into(),
        addr: addr(number),
        metadata: Bytes::new(),
        incarnation: 1,
        versions: [1, 5, 2, 0, 0, 0],
    };
    let known: Vec<_> = (1..MEMBERS).map(member).collect();
    assert_eq!(machine.know(NOW, &known), known.len());
    machine
}

fn ring() -> Option<Keyring> {
    Keyring::new(Key::new(&[7; 16]).unwrap(), []).ok()
}

/// Bytes that wait for their compression.
fn unpacked(machine: &Membership) -> usize {
    machine.swim.packing.iter().flat_map(|packing| &packing.parts).map(Bytes::len).sum()
}

fn begun(machine: &Membership) -> usize {
    machine.swim.packing.iter().filter(|packing| packing.begun.is_some()).count()
}

/// Calls the timer while there is work; each call compresses at most what it may, and never two messages at once. Returns
/// how many calls compressed something.
fn settle(machine: &mut Membership) -> usize {
    let most = machine.swim.config.work_per_call * BYTES_PER_UNIT;
    let mut calls = 0;
    while machine.poll_timeout().is_some_and(|due| due <= NOW) {
        let (before, messages) = (unpacked(machine), machine.swim.packing.len());
        machine.handle_timeout(NOW);
        if machine.swim.packing.len() <= messages {
            let done = before - unpacked(machine).min(before);
            assert!(done <= most, "{done} bytes in a call that may compress {most}");
            calls += usize::from(done > 0);
        }
        assert!(begun(machine) <= 1);
        assert!(calls < 10_000, "never settles");
    }
    calls
}

fn written(machine: &mut Membership, id: StreamId) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 10_000]);
    loop {
        let written = machine.poll_stream_data(NOW, id, &mut piece);
        bytes.extend_from_slice(&piece[..written.len]);
        if written.len == 0 || written.fin {
            return bytes;
        }
    }
}

fn members_in(machine: &Membership, side: Side, bytes: &[u8]) -> usize {
    let mut reader = StreamReader::new(side, StreamLimits::default());
    reader.feed(machine.swim.layers(), bytes, usize::MAX).unwrap();
    while reader.pending() == Pending::Work {
        reader.feed(machine.swim.layers(), &[], usize::MAX).unwrap();
    }
    match reader.message() {
        Some(StreamMessage::PushPull { nodes, .. }) => nodes,
        other => panic!("{other:?}"),
    }
}

/// A push/pull that brings nobody.
fn request() -> Vec<u8> {
    let mut body = vec![MessageType::PushPull.byte()];
    PushPullHeader { nodes: 0, user_state_len: 0, join: false }.encode(&mut body).unwrap();
    let (layers, mut bytes) = (Layers { compression: Compression::Off, ..Layers::default() }, Vec::new());
    write_stream(&layers, true, &[&body], &mut Nonces::new([3; 32]), &mut Deflater::new(), &mut bytes)
        .unwrap();
    bytes
}

fn opened(machine: &mut Membership) -> StreamId {
    match machine.poll_stream() {
        Some(StreamAction::Open { id, .. }) => {
            machine.handle_stream_opened(NOW, id);
            id
        }
        other => panic!("{other:?}"),
    }
}

fn asked(machine: &mut Membership, number: u32) -> StreamId {
    let id = machine.accept_stream(NOW, Source::unauthenticated(addr(number))).unwrap();
    let request = request();
    assert_eq!(machine.handle_stream_data(NOW, id, &request, false), Ok(request.len()));
    id
}

#[test]
fn a_state_is_compressed_in_slices_and_comes_out_as_if_at_once() {
    let mut machine = node(|config| {
        config.compression(Compression::Off);
    });
    machine.join(NOW, &[addr(1).into()]).unwrap();
    let id = opened(&mut machine);
    settle(&mut machine);
    let plain = written(&mut machine, id);
    for (keyring, units) in [(None, 256), (ring(), 256), (None, 16), (None, 1 << 20)] {
        let sealed = keyring.is_some();
        let mut machine = node(|config| {
            config.keyring(keyring).compression(Compression::Streams).work_per_call(units);
        });
        machine.join(NOW, &[addr(1).into()]).unwrap();
        let id = opened(&mut machine);
        assert!(unpacked(&machine) <= MEMBERS as usize * 80);
        let calls = settle(&mut machine);
        // 200 KB, by half of the units in each timer call while the clocks have nothing to do, or by all of them.
        let least = MEMBERS as usize * 64 / (units * BYTES_PER_UNIT);
        assert!(calls >= least && (calls == 0) == (units == 1 << 20), "{calls} calls, {units} units");
        let bytes = written(&mut machine, id);
        assert_eq!(bytes[0] == MessageType::Encrypted.byte(), sealed);
        assert_eq!(members_in(&machine, Side::Accepting, &bytes), MEMBERS as usize);
        if !sealed {
            let mut whole = Vec::new();
            Deflater::new().append_message(&[&plain], &mut whole);
            assert!(whole == bytes, "{} and {} bytes", whole.len(), bytes.len());
        }
        assert_eq!(machine.swim.packing.len(), 0);
    }
}

/// Whoever opens many streams at once has one compressor work for all of them, one after the other.
#[test]
fn many_that_ask_at_once_are_answered_one_after_the_other() {
    let mut machine = node(|config| {
        config.compression(Compression::Streams);
    });
    let before = machine.memory();
    let ids: Vec<_> = (1..101).map(|number| asked(&mut machine, number)).collect();
    assert!(machine.swim.packing.len() <= 1 && begun(&machine) <= 1);
    // The state itself, one compressor with what comes out of it, and what is done and waits to be read.
    let (held, done) = (machine.memory() - before, machine.stats().exchanges_answered as usize);
    assert!(held < MEMBERS as usize * 80 + 250_000 + done * 30_000, "{held}, {done} done");
    settle(&mut machine);
    assert_eq!(machine.stats().exchanges_answered, 100);
    for id in ids {
        let bytes = written(&mut machine, id);
        assert_eq!(members_in(&machine, Side::Opening, &bytes), MEMBERS as usize);
    }
    while machine.poll_stream().is_some() {}
    assert!(machine.memory() <= before, "{} after {before}", machine.memory());
}

#[test]
fn a_stream_that_ends_in_the_middle_leaves_nothing_and_the_next_has_its_turn() {
    let mut machine = node(|config| {
        config.compression(Compression::All);
    });
    let (first, second) = (asked(&mut machine, 1), asked(&mut machine, 2));
    while begun(&machine) == 0 {
        machine.handle_timeout(NOW);
    }
    let in_work = machine.swim.packing[0].key;
    assert!(machine.swim.packing.iter().map(Packing::memory).sum::<usize>() > 100_000);
    let (gone, stays) = if in_work == first.0 { (first, second) } else { (second, first) };
    machine.handle_stream_failed(NOW, gone, StreamFailure::Reset);
    assert_eq!(machine.swim.packing.len(), 0);
    settle(&mut machine);
    assert!(written(&mut machine, gone).is_empty());
    let bytes = written(&mut machine, stays);
    assert_eq!(members_in(&machine, Side::Opening, &bytes), MEMBERS as usize);
    // And by its deadline.
    let late = asked(&mut machine, 3);
    while begun(&machine) == 0 {
        machine.handle_timeout(NOW);
    }
    machine.handle_timeout(NOW + Duration::from_secs(11));
    assert!(machine.swim.packing.is_empty() && machine.swim.streams.get(late.0).is_none());
    assert_eq!((machine.swim.snapshot.memory(), machine.swim.stream_bytes), (0, 0));
    // While it is still being encoded nobody is left to send it to either.
    let early = machine.accept_stream(machine.swim.now, Source::unauthenticated(addr(4))).unwrap();
    machine.handle_stream_data(machine.swim.now, early, &request(), false).unwrap();
    assert!(machine.swim.snapshot.is_building());
    machine.handle_stream_failed(machine.swim.now, early, StreamFailure::Reset);
    assert_eq!(machine.swim.snapshot.memory(), 0);
}

/// A message of the application may be as long as many states: they go first, and what comes in goes on meanwhile.
#[test]
fn a_long_message_holds_up_no_exchange() {
    let mut machine = node(|config| {
        config.compression(Compression::Streams);
    });
    let to: Vec<MemberKey> = machine.members().skip(1).take(2).map(|member| member.key).collect();
    let payload = Bytes::from(vec![b'x'; 4 << 20]);
    let messages: Vec<_> = to
        .iter()
        .map(|&to| {
            let operation = machine.send_reliable(NOW, to, payload.clone()).unwrap();
            (operation, opened(&mut machine))
        })
        .collect();
    let most = machine.swim.config.work_per_call * BYTES_PER_UNIT;
    assert!(2 * payload.len() - unpacked(&machine) <= 2 * most, "in slices as well");
    let id = asked(&mut machine, 9);
    while machine.swim.packs_state() || machine.swim.state_is_wanted() {
        machine.handle_timeout(NOW);
    }
    let answer = written(&mut machine, id);
    assert_eq!(members_in(&machine, Side::Opening, &answer), MEMBERS as usize);
    // The one in work kept its turn, and the other one came behind the state.
    assert!(unpacked(&machine) + most >= payload.len(), "{}", unpacked(&machine));
    settle(&mut machine);
    for (operation, id) in messages {
        let bytes = written(&mut machine, id);
        let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
        reader.feed(machine.swim.layers(), &bytes, usize::MAX).unwrap();
        while reader.pending() == Pending::Work {
            reader.feed(machine.swim.layers(), &[], usize::MAX).unwrap();
        }
        assert_eq!(reader.message(), Some(StreamMessage::User(&payload)));
        let ended = Completion::Ended { operation, outcome: Outcome::Sent(Ok(())) };
        assert_eq!(machine.poll_completion(), Some(ended));
    }
}

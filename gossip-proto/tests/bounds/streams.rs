//! Streams and what comes by them.

use super::*;
use gossip_proto::wire::keyring::{Key, Keyring, Nonces};
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::wire::serf::{PushPullParts, RecentEvent, SerfType};
use gossip_proto::wire::stream::write_stream;
use std::borrow::Cow;

/// What a peer sends to exchange states: so many, as they are written, and what is of services.
fn states(
    layers: &Layers,
    join: bool,
    nodes: usize,
    write: impl FnOnce(&mut Vec<u8>),
    user_state: &[u8],
) -> Vec<u8> {
    let header = PushPullHeader { nodes: nodes as i64, user_state_len: user_state.len() as i64, join };
    let mut body = message(MessageType::PushPull, |bytes| header.encode(bytes));
    write(&mut body);
    body.extend_from_slice(user_state);
    let mut bytes = Vec::new();
    write_stream(layers, true, &[&body], &mut Nonces::new([3; 32]), &mut Deflater::new(), &mut bytes)
        .expect("it is short enough");
    bytes
}

fn member(name: &str, addr: [u8; 4], body: &mut Vec<u8>) {
    let state = NodeState {
        name: Cow::Borrowed(name.as_bytes()),
        addr: addr.as_slice().into(),
        port: 7946,
        incarnation: 1,
        vsn: SERF_VSN.as_slice().into(),
        ..NodeState::default()
    };
    state.encode(body).expect("a vector has room");
}

/// One member, itself, and the user state.
fn request(layers: &Layers, join: bool, user_state: &[u8]) -> Vec<u8> {
    states(layers, join, 1, |body| member("b", [10, 0, 0, 2], body), user_state)
}

/// Serf's part of a state: names that left, at that time, and nothing else.
fn left(names: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut state = vec![SerfType::PushPull.byte()];
    let none = core::iter::empty::<Option<(u64, core::iter::Empty<RecentEvent<'_>>)>>;
    let events: Vec<_> = none().collect();
    let parts = PushPullParts {
        ltime: 5,
        event_ltime: 5,
        query_ltime: 5,
        status_ltimes: Vec::<(Vec<u8>, u64)>::new().into_iter(),
        left_members: names,
        events: events.into_iter(),
    };
    parts.encode(&mut state).expect("a vector has room");
    state
}

impl Victim {
    fn accept(&mut self) -> Result<StreamId, Refused> {
        self.node.accept_stream(self.now, Source::unauthenticated(addr(2)))
    }

    /// All of it, by a stream of its own.
    fn exchange(&mut self, bytes: &[u8]) {
        let id = self.accept().expect("a place");
        for piece in bytes.chunks(64 << 10) {
            let taken = self.node.handle_stream_data(self.now, id, piece, false);
            assert_eq!(taken, Ok(piece.len()));
            self.settle();
        }
    }
}

/// Streams that peers open stay below the cap, each for its time; those of the node itself have places of their own.
#[test]
fn open_streams_stop_at_the_cap_and_end_in_time() {
    let mut victim = Victim::new(|config, _| {
        config.max_streams(64);
    });
    for _ in 0..MANY {
        let _ = victim.accept();
    }
    assert_eq!(victim.stats().streams_refused, MANY as u64 - 63);
    victim.holds_at_most(128 * KIB);
    let before = victim.stats().exchanges_begun;
    victim.node.join(victim.now, &[addr(3).into()]).expect("a join");
    assert_eq!(victim.stats().exchanges_begun, before + 1);
    victim.run(Duration::from_secs(10));
    assert_eq!(victim.stats().streams_timed_out, 63 + 1, "and the join's");
    assert!(victim.accept().is_ok());
}

/// A stream that comes and goes leaves nothing: not its buffers, not its timer, not its place.
#[test]
fn streams_that_come_and_go_pile_nothing_up() {
    let mut victim = Victim::new(|config, _| {
        config.compression(Compression::Off);
    });
    let bytes = request(&Layers { compression: Compression::Off, ..Layers::default() }, false, b"");
    for n in 0..MANY / 10 {
        let id = victim.accept().expect("a place");
        // Cut off anywhere, or whole.
        let piece = &bytes[..n % (bytes.len() + 1)];
        victim.node.handle_stream_data(victim.now, id, piece, false).expect("a beginning");
        victim.node.handle_stream_failed(victim.now, id, StreamFailure::Reset);
        victim.settle();
        victim.send();
    }
    victim.holds_at_most(128 * KIB);
}

/// Names that left travel in a state as long as one may be: those beyond the size of a table are not kept.
#[test]
fn a_state_of_names_that_left_costs_what_it_is_long() {
    let mut victim = Victim::new(|config, _| {
        config.max_members(1000).compression(Compression::Off);
    });
    let name = |n: usize| n.to_be_bytes()[5..].to_vec();
    let state = left((0..4 * MANY).map(name).collect::<Vec<_>>().into_iter());
    let bytes = request(&Layers { compression: Compression::Off, ..Layers::default() }, false, &state);
    victim.heap = Heap::now();
    victim.exchange(&bytes);
    assert!(victim.stats().exchanges_answered == 1 && victim.stats().intents_full > 3 * MANY as u64);
    // Where it arrives, where it is merged from, and where it was while that grew.
    victim.holds_at_most(3 * bytes.len() as isize + 512 * KIB);
    victim.send();
    assert!(victim.heap.held() < 512 * KIB, "{}", victim.heap.held());
}

/// Replies that nobody reads: sealed, each is a copy of the table. They wait for one another where memory is short.
#[test]
fn replies_that_are_not_read_stop_at_the_memory_for_exchanges() {
    let key = || Keyring::new(Key::new(&[7; 16]).expect("16 bytes"), []).expect("one key");
    let mut victim = Victim::new(|config, _| {
        config
            .keyring(Some(key()))
            .verify_incoming(false)
            .compression(Compression::Off)
            .max_exchange_bytes(4 << 20);
    });
    victim.flood(1500, |n| invented(n, 1, &[b'm'; 400]));
    while victim.node.poll_membership().is_some() {}
    let layers = Layers { keyring: Some(key()), compression: Compression::Off, ..Layers::default() };
    let bytes = request(&layers, false, b"");
    victim.heap = Heap::now();
    let ids: Vec<_> = (0..100)
        .map(|_| {
            let id = victim.accept().expect("a place");
            victim.node.handle_stream_data(victim.now, id, &bytes, false).expect("a request");
            victim.settle();
            id
        })
        .collect();
    let answered = victim.stats().exchanges_answered;
    assert!((2..8).contains(&answered), "{answered} replies of 800 KiB each");
    victim.holds_at_most(6 * MIB);
    // Who reads makes room for others.
    let mut buf = vec![0; 1 << 20];
    for _ in 0..100 {
        let ready = ids.iter().find_map(|&id| {
            Some(victim.node.poll_stream_data(victim.now, id, &mut buf)).filter(|written| written.len > 0)
        });
        assert!(ready.is_some_and(|written| written.fin && written.len > 700_000), "{ready:?}");
        victim.settle();
    }
    assert_eq!(victim.stats().exchanges_answered, 100);
    victim.holds_at_most(7 * MIB);
    assert!(victim.stats().exchange_memory_full >= 90, "{}", victim.stats().exchange_memory_full);
}

/// Without seal and compression all replies share what is encoded, as long as it stays the same; whoever changes the table before
/// each question, and reads no answer, must not have as many tables kept.
#[test]
fn replies_of_a_table_that_changes_count_too() {
    let mut victim = Victim::new(|config, _| {
        config.compression(Compression::Off).max_exchange_bytes(4 << 20);
    });
    victim.flood(1500, |n| invented(n, 1, &[b'm'; 400]));
    while victim.node.poll_membership().is_some() {}
    let layers = Layers { compression: Compression::Off, ..Layers::default() };
    let bytes = request(&layers, false, b"");
    victim.heap = Heap::now();
    for incarnation in 2..100 {
        victim.hear(&b(2, incarnation));
        let id = victim.accept().expect("a place");
        victim.node.handle_stream_data(victim.now, id, &bytes, false).expect("a request");
        victim.settle();
        while victim.node.poll_stream().is_some() {}
        while victim.node.poll_membership().is_some() {}
    }
    let answered = victim.stats().exchanges_answered;
    assert!((2..10).contains(&answered), "{answered} replies of 800 KiB each");
    assert!(victim.node.memory() > 3 << 20, "{} are said to be held", victim.node.memory());
    victim.holds_at_most(8 * MIB);
}

/// A short stream can be very long to read, for what it says compresses to nothing. While some of them are open, states that came
/// before are merged and answered all the same.
#[test]
fn streams_that_are_long_to_read_keep_no_state_from_being_merged() {
    let mut victim = Victim::new(|_, _| {});
    let layers = Layers { compression: Compression::All, ..Layers::default() };
    let newcomers = |body: &mut Vec<u8>| (0..1000).for_each(|n| member(&format!("x{n}"), octets(n), body));
    let honest = states(&layers, true, 1000, newcomers, b"");
    let long = states(&layers, true, 1 << 20, |body| body.resize(body.len() + (1 << 20) - 1, 0xc0), b"");
    assert!(long.len() < 8192, "{} bytes", long.len());
    for bytes in [&honest, &long, &long, &long] {
        let id = victim.accept().expect("a place");
        victim.node.handle_stream_data(victim.now, id, bytes, false).expect("a request");
    }
    let mut calls = 0;
    while victim.stats().exchanges_answered == 0 || victim.node.num_alive() < 1000 {
        calls += 1;
        assert!(calls < 1000, "{} of them after {calls} calls", victim.node.num_alive());
        victim.node.handle_timeout(victim.now);
        while victim.node.poll_stream().is_some() {}
        while victim.node.poll_membership().is_some() {}
    }
    assert_eq!(victim.stats().streams_malformed, 0, "the others are still read");
}

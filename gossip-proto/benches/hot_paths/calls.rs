//! The longest single call of a machine that knows very many members, for what could take as long as there are members.
//!
//! Each scenario is carried out several times from the start. The machines are deterministic, so the n-th call of one round does
//! what the n-th of every other does: of each the best time counts, which leaves out what other programs took.

use core::time::Duration;

use bytes::Bytes;
use cpu_time::ThreadTime;
use gossip_proto::wire::layers::Compression;
use gossip_proto::wire::message::{Accusation, MessageType};
use gossip_proto::{
    Config, Event, Instant, KnownMember, Machine, Membership, Node, NonceSecret, QueryParams, RequestId,
    Seed, ServiceConfig, Source, StreamAction, StreamId, Written,
};

use crate::bed::member;
use crate::exchange::PIECE;
use crate::packets::{Forge, KEY, address, name, ring};

const ROUNDS: usize = 7;
const NOW: Instant = Instant::ORIGIN;

/// Calls in the order in which they were made.
#[derive(Debug, Default)]
struct Calls {
    best: Vec<(&'static str, Duration)>,
    next: usize,
}

impl Calls {
    fn time<T>(&mut self, what: &'static str, call: impl FnOnce() -> T) -> T {
        let began = ThreadTime::now();
        let value = call();
        let took = began.elapsed();
        match self.best.get_mut(self.next) {
            Some((known, best)) => {
                assert_eq!(*known, what, "every round is the same");
                *best = took.min(*best);
            }
            None => self.best.push((what, took)),
        }
        self.next += 1;
        value
    }

    fn report(&self, scenario: &str) {
        let (what, longest) = self.best.iter().max_by_key(|(_, took)| *took).expect("a call");
        let sum: Duration = self.best.iter().map(|(_, took)| *took).sum();
        println!(
            "{scenario:44} {:7} calls {:9.0} µs in all, longest {:6.0} µs: {what}",
            self.best.len(),
            sum.as_secs_f64() * 1e6,
            longest.as_secs_f64() * 1e6,
        );
    }
}

/// How a cluster wraps what goes on streams.
#[derive(Clone, Copy, Debug)]
struct Wrap {
    name: &'static str,
    sealed: bool,
    compressed: bool,
}

const WRAPS: [Wrap; 4] = [
    Wrap { name: "plain", sealed: false, compressed: false },
    Wrap { name: "sealed", sealed: true, compressed: false },
    Wrap { name: "compressed", sealed: false, compressed: true },
    Wrap { name: "sealed, compressed", sealed: true, compressed: true },
];

fn config(number: usize, members: usize, wrap: Wrap) -> Config {
    let mut config = Config::lan(name(number).as_str(), address(number));
    config
        .keyring(wrap.sealed.then(|| ring(&KEY)))
        .compression(if wrap.compressed { Compression::Streams } else { Compression::Off })
        .push_pull_interval(Duration::ZERO)
        .probe_interval(Duration::ZERO)
        .max_members(members.max(64));
    config
}

fn know<M: Machine>(mut machine: M, number: usize, members: usize) -> M {
    let versions = machine.local().versions;
    let others = (0..members).filter(|&other| other != number);
    let known: Vec<_> = others.map(|other| KnownMember { versions, ..member(other, &[]) }).collect();
    assert_eq!(machine.know(NOW, &known), known.len());
    while machine.poll_membership().is_some() {}
    machine
}

fn membership(config: Config) -> Membership {
    Membership::new(NOW, config, Seed::from_u64(1), NonceSecret::new([1; 32])).expect("a valid configuration")
}

fn node(config: Config) -> Node {
    Node::new(NOW, config, ServiceConfig::default(), Seed::from_u64(1), NonceSecret::new([1; 32]))
        .expect("a valid configuration")
}

/// Prints the longest calls with so many members.
pub(crate) fn report(members: usize) {
    for wrap in WRAPS {
        exchange("membership", members, wrap, false, &membership);
        exchange("node", members, wrap, false, &node);
    }
    for wrap in [WRAPS[0], WRAPS[3]] {
        exchange("membership", members, wrap, true, &membership);
        exchange("node", members, wrap, true, &node);
    }
    asked(members);
    commands(members);
    getters(members);
    recorded(members);
    accused(members);
}

fn rounds(scenario: &str, mut round: impl FnMut(&mut Calls)) {
    let mut calls = Calls::default();
    for _ in 0..ROUNDS {
        calls.next = 0;
        round(&mut calls);
    }
    calls.report(scenario);
}

/// One machine joins another. Both know everybody, or the one that joins nobody.
fn exchange<M: Machine>(what: &str, members: usize, wrap: Wrap, newcomer: bool, make: &impl Fn(Config) -> M) {
    let mut sides = [Calls::default(), Calls::default()];
    for _ in 0..ROUNDS {
        sides.iter_mut().for_each(|calls| calls.next = 0);
        let own = make(config(1, members, wrap));
        let own = if newcomer { own } else { know(own, 1, members) };
        join([own, know(make(config(0, members, wrap)), 0, members)], &mut sides);
    }
    let who = if newcomer { "who knows nobody" } else { "who knows all" };
    sides[0].report(&format!("{what}, {}: {who} joins", wrap.name));
    sides[1].report(&format!("{what}, {}: is joined by that", wrap.name));
}

/// Both machines as a driver calls them, all in one moment, until neither has work left.
fn join<M: Machine>(mut machines: [M; 2], calls: &mut [Calls; 2]) -> [M; 2] {
    let mut piece = vec![0; PIECE];
    machines[0].join(NOW, &[address(0).into()]).expect("a join");
    let Some(StreamAction::Open { id, .. }) = machines[0].poll_stream() else { panic!("it connects") };
    let accepted = machines[1].accept_stream(NOW, Source::unauthenticated(address(1))).expect("a place");
    let ids = [id, accepted];
    calls[0].time("handle_stream_opened", || machines[0].handle_stream_opened(NOW, id));
    loop {
        let mut idle = true;
        for from in 0..2 {
            let calls = &mut *calls;
            let machine = &mut machines[from];
            if machine.poll_timeout().is_some_and(|due| due <= NOW) {
                calls[from].time("handle_timeout", || machine.handle_timeout(NOW));
                idle = false;
            }
            while calls[from].time("poll_membership", || machine.poll_membership()).is_some() {}
            while machine.poll_event().is_some() {}
            while machine.poll_stream().is_some() {}
            let Written { len, fin } =
                calls[from].time("poll_stream_data", || machine.poll_stream_data(NOW, ids[from], &mut piece));
            let mut rest = &piece[..len];
            let to = 1 - from;
            while !rest.is_empty() {
                idle = false;
                let machine = &mut machines[to];
                let taken = calls[to].time("handle_stream_data", || {
                    // One that has all it wants has forgotten the stream.
                    machine.handle_stream_data(NOW, ids[to], rest, fin).unwrap_or(rest.len())
                });
                rest = &rest[taken..];
            }
        }
        if idle {
            break;
        }
    }
    let [own, other] = &machines;
    assert!(own.num_alive() == other.num_alive() && own.stats().exchanges_failed == 0);
    machines
}

/// A merge that the application is asked about.
fn asked(members: usize) {
    let wrap = WRAPS[0];
    rounds("node: a merge that is asked about", |calls| {
        let mut peer = know(node(config(1, members, wrap)), 1, members);
        let mut config = config(0, members, wrap);
        config.ask_before_merge(true);
        let mut machine = know(node(config), 0, members);
        let id = machine.accept_stream(NOW, Source::unauthenticated(address(1))).expect("a place");
        let mut request = said(&mut peer);
        let mut question: Option<RequestId> = None;
        while question.is_none() {
            let piece = request.drain(..PIECE.min(request.len())).collect::<Vec<_>>();
            calls.time("handle_stream_data", || machine.handle_stream_data(NOW, id, &piece, false).is_ok());
            calls.time("handle_timeout", || machine.handle_timeout(NOW));
            while let Some(event) = machine.poll_event() {
                if let Event::MergeRequested { id, .. } = event {
                    question = Some(id);
                }
            }
        }
        let id = question.expect("it asks");
        assert!(calls.time("merge_members", || machine.merge_members(id).next()).is_some());
        assert_eq!(machine.merge_members(id).count(), members);
        calls.time("accept", || machine.accept(NOW, id)).expect("it waits for that");
        while machine.poll_timeout().is_some_and(|due| due <= NOW) {
            calls.time("handle_timeout", || machine.handle_timeout(NOW));
        }
    });
}

/// What a machine says when it joins.
fn said<M: Machine>(machine: &mut M) -> Vec<u8> {
    machine.join(NOW, &[address(0).into()]).expect("a join");
    let Some(StreamAction::Open { id, .. }) = machine.poll_stream() else { panic!("it connects") };
    machine.handle_stream_opened(NOW, id);
    while machine.poll_timeout().is_some_and(|due| due <= NOW) {
        machine.handle_timeout(NOW);
    }
    drained(machine, id)
}

fn drained<M: Machine>(machine: &mut M, id: StreamId) -> Vec<u8> {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let written = machine.poll_stream_data(NOW, id, &mut piece);
        bytes.extend_from_slice(&piece[..written.len]);
        if written.len == 0 || written.fin {
            return bytes;
        }
    }
}

/// What an application asks of a node, one call each.
fn commands(members: usize) {
    let tags = || vec![(Bytes::from_static(b"role"), Bytes::from_static(b"web"))];
    let made = || know(node(config(0, members, WRAPS[0])), 0, members);
    rounds("node: set_tags", |calls| {
        let mut node = made();
        calls.time("set_tags", || node.set_tags(NOW, tags())).expect("they fit");
    });
    rounds("node: user_event and query", |calls| {
        let mut node = made();
        calls.time("user_event", || node.user_event(NOW, b"deploy", b"7", false)).expect("it fits");
        calls.time("query", || node.query(NOW, b"load", b"", &QueryParams::default())).expect("it fits");
    });
    for prune in [false, true] {
        rounds(if prune { "node: force_leave, prune" } else { "node: force_leave" }, |calls| {
            let mut node = made();
            let gone = name(members / 2);
            calls.time("force_leave", || node.force_leave(NOW, gone.as_bytes(), prune)).expect("a member");
            calls.time("poll_membership", || node.poll_membership().is_some());
        });
    }
    rounds("node: leave, and its farewell", |calls| {
        let mut node = made();
        let mut output = vec![0; 65_536];
        calls.time("leave", || node.leave(NOW)).expect("it is there");
        for _ in 0..200 {
            let now = node.poll_timeout().unwrap_or(NOW);
            calls.time("handle_timeout", || node.handle_timeout(now));
            while calls.time("poll_transmit", || node.poll_transmit(now, &mut output)).is_some() {}
        }
    });
}

/// What only looks.
fn getters(members: usize) {
    rounds("node: getters", |calls| {
        let node = know(node(config(0, members, WRAPS[0])), 0, members);
        let listed = calls.time("members, each looked at", || {
            node.members().filter(|member| !member.name.as_bytes().is_empty()).count()
        });
        assert_eq!(listed, members);
        calls.time("find", || node.find(name(members / 2).as_bytes()).is_some());
        calls.time("memory", || node.memory());
        calls.time("depths", || node.depths());
        calls.time("poll_timeout", || node.poll_timeout());
    });
    rounds("node: state_hash, for replays", |calls| {
        let node = know(node(config(0, members, WRAPS[0])), 0, members);
        calls.time("state_hash", || node.state_hash());
    });
}

/// A recording has a look at the whole state now and then.
fn recorded(members: usize) {
    rounds("node: two minutes with a recording", |calls| {
        let mut node = know(node(config(0, members, WRAPS[0])), 0, members);
        let mut tap = vec![0; 65_536];
        calls.time("start_recording", || node.start_recording(NOW, 8 << 20, [0; 16]));
        for second in 0..120 {
            let now = NOW + Duration::from_secs(second);
            calls.time("handle_timeout", || node.handle_timeout(now));
            while calls.time("poll_tap", || node.poll_tap(&mut tap)) > 0 {}
        }
    });
}

/// Everybody is accused at the same moment, nobody refutes, and all are declared dead and forgotten.
fn accused(members: usize) {
    rounds("node: all are suspected, die, are forgotten", |calls| {
        let mut node = know(node(config(0, members, WRAPS[0])), 0, members);
        let mut forge = Forge::new(None, Compression::Off);
        let mut packet = Vec::new();
        for number in (2..members).collect::<Vec<_>>().chunks(10) {
            forge.packet(&mut packet, |packer| {
                for &number in number {
                    let (of, by) = (name(number), name(1));
                    let accusation =
                        Accusation { incarnation: 1, node: of.as_bytes().into(), from: by.as_bytes().into() };
                    crate::packets::put(packer, MessageType::Suspect, |sink| accusation.encode(sink));
                }
            });
            let source = Source::unauthenticated(address(1));
            calls.time("handle_datagram", || node.handle_datagram(NOW, source, &mut packet)).expect("good");
        }
        let mut now = NOW;
        let end = NOW + Duration::from_secs(3 * 24 * 3600);
        let mut output = vec![0; 65_536];
        while let Some(due) = node.poll_timeout().filter(|&due| due < end) {
            now = now.max(due);
            // Rumors about all of them are in the queue for hours otherwise.
            calls.time("handle_timeout", || node.handle_timeout(now));
            while calls.time("poll_transmit", || node.poll_transmit(now, &mut output)).is_some() {}
            while calls.time("poll_membership", || node.poll_membership()).is_some() {}
            while node.poll_event().is_some() {}
            while node.poll_stream().is_some() {}
            if node.members().count() <= 2 {
                break;
            }
        }
        assert!(node.members().count() <= 2, "{} are left at {now:?}", node.members().count());
    });
}

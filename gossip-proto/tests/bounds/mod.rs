//! What a member that holds the key can make a node keep: each collection is filled as an attacker would, and stays at its
//! cap; the counter that is there for it counts; what gives way is what the documentation says. Nobody polls what the node
//! tells its application: that is the worst case.
//!
//! Debug builds send some ten thousand of everything; `.ci/soak hostile` sends a million.

mod membership;
mod services;
mod streams;

use crate::support::heap::Heap;
use crate::support::node::*;
use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::compound::Packer;
use gossip_proto::*;

/// As many as an attacker sends.
const MANY: usize = if cfg!(debug_assertions) { 30_000 } else { 1_000_000 };

const KIB: isize = 1 << 10;
const MIB: isize = 1 << 20;

/// A node under attack.
pub(crate) struct Victim {
    pub(crate) node: Node,
    pub(crate) now: Instant,
    heap: Heap,
    is_sealed: bool,
    /// What it sends is kept, as [`Victim::sent`] has it.
    kept: Option<Vec<Datagram>>,
}

/// Where it goes, how long it is, its messages.
pub(crate) type Datagram = (SocketAddr, usize, Vec<Vec<u8>>);

impl Victim {
    /// A node "self" at host 1 whose only friend is "b" at host 2; nothing it holds so far is counted.
    pub(crate) fn new(configure: impl FnOnce(&mut Config, &mut ServiceConfig)) -> Self {
        let mut victim = Self::alone(configure);
        victim.hear(&b(2, 1));
        victim.send();
        victim.heap = Heap::now();
        victim
    }

    /// As [`Victim::new`], and nobody has said anything to it.
    pub(crate) fn alone(configure: impl FnOnce(&mut Config, &mut ServiceConfig)) -> Self {
        let (mut config, mut services) = (config("self", 1), ServiceConfig::default());
        config.probe_interval(Duration::ZERO).push_pull_interval(Duration::ZERO);
        configure(&mut config, &mut services);
        let is_sealed = config.values().keyring.is_some();
        let seed = (Seed::from_u64(1), NonceSecret::new([1; 32]));
        let node = Node::new(Instant::ORIGIN, config, services, seed.0, seed.1).expect("a config");
        Self { node, now: Instant::ORIGIN, heap: Heap::now(), is_sealed, kept: None }
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.node.stats()
    }

    /// A datagram of one message, from host 2.
    pub(crate) fn hear(&mut self, message: &[u8]) {
        self.datagram(addr(2), &mut message.to_vec());
    }

    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &mut [u8]) {
        self.node.handle_datagram(self.now, Source::unauthenticated(from), bytes).expect("a packet");
    }

    /// That many messages, as many to a datagram as it takes; the socket is always free.
    fn flood(&mut self, many: usize, message: impl FnMut(usize) -> Vec<u8>) {
        self.flood_by(usize::MAX, many, message);
    }

    /// The same, at most `each` to a datagram.
    fn flood_by(&mut self, each: usize, many: usize, mut message: impl FnMut(usize) -> Vec<u8>) {
        let mut body = vec![0; 65_507];
        let mut next = Vec::new();
        let mut sent = 0;
        while sent < many {
            let mut packer = Packer::new(&mut body);
            let first = sent;
            while sent < many && sent - first < each {
                if next.is_empty() {
                    next = message(sent);
                }
                if packer.push(&next).is_err() {
                    break;
                }
                next.clear();
                sent += 1;
            }
            let len = packer.finish();
            self.datagram(addr(2), &mut body[..len].to_vec());
            self.send();
        }
    }

    /// Sends all that is to be sent, to nowhere; streams that the node opens are not answered.
    fn send(&mut self) {
        while let Some(datagram) = self.one() {
            if let Some(kept) = &mut self.kept {
                kept.push(datagram);
            }
        }
        while self.node.poll_stream().is_some() {}
    }

    fn one(&mut self) -> Option<Datagram> {
        let mut buf = [0; 1400];
        let transmit = self.node.poll_transmit(self.now, &mut buf)?;
        let shown = self.kept.is_some() && !self.is_sealed;
        Some((transmit.to, transmit.len, if shown { messages(&buf[..transmit.len]) } else { Vec::new() }))
    }

    /// All that it sends now.
    pub(crate) fn sent(&mut self) -> Vec<Datagram> {
        self.kept = Some(Vec::new());
        self.send();
        self.kept.take().unwrap_or_default()
    }

    /// All that it sends in this time.
    pub(crate) fn sent_within(&mut self, span: Duration) -> Vec<Datagram> {
        self.kept = Some(Vec::new());
        self.run(span);
        self.kept.take().unwrap_or_default()
    }

    /// Timer calls until nothing is put off any more.
    pub(crate) fn settle(&mut self) {
        while self.node.poll_timeout().is_some_and(|due| due <= self.now) {
            self.node.handle_timeout(self.now);
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.node.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.send();
        }
        self.now = end;
    }

    /// What the application would be told now, as text.
    fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.node.poll_event() {
            events.push(format!("{event:?}"));
        }
        events
    }

    fn status(&self, name: &str) -> Option<Status> {
        self.node.find(name.as_bytes()).map(|member| member.status)
    }

    /// Fails if the node holds more, or held more for a moment.
    fn holds_at_most(&self, bytes: isize) {
        let (held, peak) = (self.heap.held(), self.heap.peak());
        assert!(peak <= bytes, "{} KiB held, {} KiB at most", held / KIB, peak / KIB);
    }
}

/// The alive of "b", or of whoever uses its name, at a host.
fn b(host: u8, incarnation: u32) -> Vec<u8> {
    AliveOf { name: "b", incarnation, addr: &[10, 0, 0, host], port: 7946, meta: b"", vsn: &SERF_VSN }
        .encode()
}

fn invented(n: usize, incarnation: u32, meta: &[u8]) -> Vec<u8> {
    AliveOf { name: &format!("x{n}"), incarnation, addr: &octets(n), port: 7946, meta, vsn: &SERF_VSN }
        .encode()
}

/// The address of an attacker's `n`th invention.
fn octets(n: usize) -> [u8; 4] {
    let [_, a, b, c] = (n as u32).to_be_bytes();
    [11 + a % 100, a, b, c]
}

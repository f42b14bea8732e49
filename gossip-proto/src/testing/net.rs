//! A few whole nodes and the network between them, which a program decides about.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::forge::{address, name};
use super::layers::layers;
use super::node_ops::Watch;
use crate::output::*;
use crate::{Config, Instant, JoinTarget, Machine, Node, NonceSecret, Seed, ServiceConfig};

/// Events after which a run that goes on at one instant never ends.
const PATIENCE: usize = 20_000;

/// Timers that may be due at one instant.
const SETTLES: usize = 100;

/// What carries datagrams and streams between nodes, and what it does to them.
pub(super) struct Net<'p> {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    /// What becomes of datagrams, in turn and over again: see [`Net::send`]. With none all arrive.
    pub(super) fates: &'p [u8],
    /// Connections that are opened next: refused, never answered, reset after some bytes, or as they should be.
    pub(super) connections: &'p [u8],
    sealed: bool,
    fate: usize,
    connection: usize,
    under_way: BTreeMap<(Instant, u64), Event>,
    serial: u64,
    pipes: Vec<Pipe>,
    buffer: Vec<u8>,
}

/// A node, and what was seen of it before.
pub(super) struct Host {
    node: Node,
    watch: Watch,
    /// Something happened to it that was not checked yet.
    stirred: bool,
    /// Until then its process does not run.
    asleep: Instant,
}

enum Event {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Connect { host: usize, id: StreamId, to: SocketAddr, bytes_until_reset: Option<usize> },
    Fail { host: usize, id: StreamId, why: StreamFailure },
}

/// A connection; an end without a host is somebody who does not listen.
struct Pipe {
    ends: [Option<(usize, StreamId)>; 2],
    /// On the way to each end.
    data: [VecDeque<u8>; 2],
    /// Nothing follows in that direction; then, whether the end knows.
    fin: [(bool, bool); 2],
    bytes_until_reset: Option<usize>,
}

impl<'p> Net<'p> {
    /// Nodes that are to find each other; each knows where all are.
    pub(super) fn new(nodes: u8, sealed: bool) -> Self {
        let hosts = (0..nodes).map(|number| Host::new(number, nodes, sealed)).collect();
        let mut net = Self {
            now: Instant::ORIGIN,
            hosts,
            fates: &[],
            connections: &[],
            sealed,
            fate: 0,
            connection: 0,
            under_way: BTreeMap::new(),
            serial: 0,
            pipes: Vec::new(),
            buffer: vec![0; 2048],
        };
        for host in 1..net.hosts.len() {
            let joined = net.hosts[host].node_mut().join(net.now, &[JoinTarget::from(address(0))]);
            joined.expect("a node that has just begun can join");
        }
        net.heal(Duration::from_secs(20));
        net
    }

    /// Stops a node's process for so long.
    pub(super) fn put_to_sleep(&mut self, host: usize, span: Duration) {
        self.hosts[host].asleep = self.now + span;
    }

    /// A datagram from anywhere, on its way for a millisecond.
    pub(super) fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.schedule(Duration::from_millis(1), Event::Datagram { from, to, bytes });
    }

    /// A connection from anywhere, on which this arrives and answers are not read.
    pub(super) fn connect(&mut self, from: SocketAddr, host: usize, bytes: &[u8], fin: bool) {
        let Ok(id) = self.hosts[host].node_mut().accept_stream(self.now, Source::unauthenticated(from))
        else {
            return;
        };
        self.pipes.push(Pipe {
            ends: [Some((host, id)), None],
            data: [bytes.iter().copied().collect(), VecDeque::new()],
            fin: [(fin, false), (false, false)],
            bytes_until_reset: None,
        });
        self.settle();
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        let mut at_once = 0;
        while let Some(next) = self.next().filter(|&next| next <= end) {
            at_once = if next <= self.now { at_once + 1 } else { 0 };
            assert!(at_once < PATIENCE, "it never gets on");
            self.now = next.max(self.now);
            self.deliver();
            self.settle();
            self.fire();
            self.settle();
        }
        self.now = end;
    }

    /// Who sees whom otherwise than alive, in its present incarnation, where and what it is; first of all.
    fn disagreement(&self) -> Option<(usize, usize)> {
        let all = 0..self.hosts.len();
        let pairs = all.clone().flat_map(|viewer| all.clone().map(move |subject| (viewer, subject)));
        let mut pairs = pairs.filter(|(viewer, subject)| viewer != subject);
        pairs.find(|&(viewer, subject)| {
            let own = self.hosts[subject].node.local();
            let seen = self.hosts[viewer].node.find(own.name.as_bytes());
            seen.is_none_or(|seen| {
                // In the upper half incarnations are followed in steps: one more with each exchange.
                let follows = (u32::MAX / 2..own.incarnation).contains(&seen.incarnation);
                seen.status != Status::Alive
                    || (seen.addr, seen.metadata) != (own.addr, own.metadata)
                    || seen.incarnation != own.incarnation && !follows
            })
        })
    }

    /// Without faults, or once they have stopped: all must agree within this time.
    pub(super) fn heal(&mut self, bound: Duration) {
        (self.fates, self.connections) = (&[], &[]);
        for host in &mut self.hosts {
            host.asleep = self.now;
        }
        let end = self.now + bound;
        while let Some((viewer, subject)) = self.disagreement() {
            assert!(
                self.now < end,
                "{bound:?} without faults, and node {viewer} sees node {subject} as {:?}, which is {:?}",
                self.hosts[viewer].node.find(&name(subject as u8)),
                self.hosts[subject].node.local(),
            );
            self.run(Duration::from_millis(500));
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.serial += 1;
        self.under_way.insert((self.now + after, self.serial), event);
    }

    fn next(&self) -> Option<Instant> {
        let timers = self.hosts.iter().filter_map(|host| Some(host.node.poll_timeout()?.max(host.asleep)));
        let arrivals = self.under_way.first_key_value().map(|((at, _), _)| *at);
        timers.chain(arrivals).min()
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Event::Datagram { from, to, mut bytes } => {
                    let Some(host) = self.host_at(to) else { continue };
                    if self.hosts[host].asleep > self.now {
                        // It waits in the socket.
                        let left = self.hosts[host].asleep - self.now;
                        self.schedule(left, Event::Datagram { from, to, bytes });
                        continue;
                    }
                    let node = self.hosts[host].node_mut();
                    let _ = node.handle_datagram(self.now, Source::unauthenticated(from), &mut bytes);
                }
                Event::Connect { host, id, to, bytes_until_reset } => {
                    let from = self.hosts[host].node.local().addr;
                    let accepted = self.host_at(to).and_then(|other| {
                        let node = self.hosts[other].node_mut();
                        Some((other, node.accept_stream(self.now, Source::unauthenticated(from)).ok()?))
                    });
                    let node = self.hosts[host].node_mut();
                    if accepted.is_none() {
                        node.handle_stream_failed(self.now, id, StreamFailure::Unreachable);
                        continue;
                    }
                    node.handle_stream_opened(self.now, id);
                    let ends = [Some((host, id)), accepted];
                    self.pipes.push(Pipe {
                        ends,
                        data: Default::default(),
                        fin: Default::default(),
                        bytes_until_reset,
                    });
                }
                Event::Fail { host, id, why } => {
                    self.hosts[host].node_mut().handle_stream_failed(self.now, id, why)
                }
            }
        }
    }

    /// Calls the timers that are due.
    fn fire(&mut self) {
        for host in &mut self.hosts {
            let mut left = SETTLES;
            while host.asleep <= self.now && host.node.poll_timeout().is_some_and(|due| due <= self.now) {
                host.node_mut().handle_timeout(self.now);
                left -= 1;
                assert!(left > 0, "timers at one instant never come to an end");
            }
        }
    }

    /// Does what the nodes want done, until they want nothing more.
    fn settle(&mut self) {
        for _ in 0..PATIENCE {
            let mut stirred = false;
            for host in 0..self.hosts.len() {
                if self.hosts[host].asleep <= self.now {
                    stirred |= self.send(host);
                    stirred |= self.streams(host);
                    self.hosts[host].outputs();
                }
            }
            stirred |= self.carry();
            if !stirred {
                return;
            }
        }
        panic!("nodes and network never come to rest");
    }

    /// Takes a node's datagrams. A byte below 128 delivers after as many milliseconds as its last six bits say; one below 160
    /// loses, one below 192 delivers twice, one below 224 delivers late; the others damage it, where that can be told, or
    /// lose it too.
    fn send(&mut self, host: usize) -> bool {
        let mut stirred = false;
        while let Some(transmit) = self.hosts[host].node.poll_transmit(self.now, &mut self.buffer) {
            stirred = true;
            self.hosts[host].stirred = true;
            assert!(
                transmit.len <= self.hosts[host].node.config().datagram_size(),
                "a datagram over its limit"
            );
            let from = self.hosts[host].node.local().addr;
            let mut bytes = self.buffer[..transmit.len].to_vec();
            let fate = self.fates.get(self.fate % self.fates.len().max(1)).copied().unwrap_or(1);
            self.fate += 1;
            let after = match fate {
                0..128 => u64::from(fate % 64),
                160..192 => {
                    let copy = Event::Datagram { from, to: transmit.to, bytes: bytes.clone() };
                    self.schedule(Duration::from_millis(u64::from(fate)), copy);
                    1
                }
                192..224 => u64::from(fate - 191) * 100,
                224.. if self.sealed => {
                    let at = self.fate * 31 % bytes.len();
                    bytes[at] ^= fate;
                    1
                }
                _ => continue,
            };
            self.schedule(Duration::from_millis(after), Event::Datagram { from, to: transmit.to, bytes });
        }
        stirred
    }

    fn streams(&mut self, host: usize) -> bool {
        let mut stirred = false;
        while let Some(action) = self.hosts[host].node.poll_stream() {
            stirred = true;
            self.hosts[host].stirred = true;
            match action {
                StreamAction::Open { id, to, deadline, .. } => self.open(host, id, to, deadline),
                StreamAction::Writable { id } => loop {
                    let written = self.hosts[host].node.poll_stream_data(self.now, id, &mut self.buffer);
                    if let Some((pipe, end)) = self.pipe(host, id) {
                        let pipe = &mut self.pipes[pipe];
                        // Towards the other end; what nobody reads is gone.
                        if pipe.ends[1 - end].is_some() {
                            pipe.data[1 - end].extend(&self.buffer[..written.len]);
                        }
                        pipe.fin[1 - end].0 |= written.fin;
                    }
                    if written.len == 0 {
                        break;
                    }
                },
                StreamAction::Close { id } => {
                    if let Some((pipe, end)) = self.pipe(host, id) {
                        let pipe = &mut self.pipes[pipe];
                        pipe.ends[end] = None;
                        pipe.fin[1 - end].0 = true;
                    }
                }
            }
        }
        stirred
    }

    fn open(&mut self, host: usize, id: StreamId, to: SocketAddr, deadline: Instant) {
        let fate =
            self.connections.get(self.connection % self.connections.len().max(1)).copied().unwrap_or(0);
        self.connection += 1;
        let after = Duration::from_millis(u64::from(fate >> 2 & 7) * 40);
        let (after, event) = match fate % 4 {
            0 => (after, Event::Connect { host, id, to, bytes_until_reset: None }),
            1 => (after, Event::Fail { host, id, why: StreamFailure::Unreachable }),
            2 => (after, Event::Connect { host, id, to, bytes_until_reset: Some(usize::from(fate) * 2) }),
            _ => (deadline - self.now, Event::Fail { host, id, why: StreamFailure::TimedOut }),
        };
        self.schedule(after, event);
    }

    /// Moves what is in the connections.
    fn carry(&mut self) -> bool {
        let mut stirred = false;
        for pipe in &mut self.pipes {
            for end in 0..2 {
                let Some((host, id)) = pipe.ends[end] else { continue };
                let host = &mut self.hosts[host];
                if host.asleep > self.now {
                    continue;
                }
                let data = pipe.data[end].make_contiguous();
                let (said, known) = pipe.fin[end];
                if data.is_empty() && (!said || known) {
                    continue;
                }
                let taken = host.node_mut().handle_stream_data(self.now, id, data, said);
                let taken = taken.unwrap_or(data.len());
                assert!(taken <= data.len(), "consumed more than there is");
                stirred |= taken > 0 || (said && !known && taken == data.len());
                pipe.fin[end].1 = said && taken == data.len();
                pipe.data[end].drain(..taken);
                if let Some(left) = &mut pipe.bytes_until_reset {
                    *left = left.saturating_sub(taken);
                }
            }
            if pipe.bytes_until_reset == Some(0) {
                stirred = true;
                for end in &mut pipe.ends {
                    if let Some((host, id)) = end.take() {
                        self.hosts[host].node_mut().handle_stream_failed(self.now, id, StreamFailure::Reset);
                    }
                }
            }
        }
        self.pipes.retain(|pipe| pipe.ends.iter().any(Option::is_some));
        stirred
    }

    fn pipe(&self, host: usize, id: StreamId) -> Option<(usize, usize)> {
        self.pipes.iter().enumerate().find_map(|(index, pipe)| {
            let end = pipe.ends.iter().position(|end| *end == Some((host, id)))?;
            Some((index, end))
        })
    }

    pub(super) fn host_at(&self, addr: SocketAddr) -> Option<usize> {
        self.hosts.iter().position(|host| host.node.local().addr == addr)
    }
}

impl Host {
    fn new(number: u8, nodes: u8, sealed: bool) -> Self {
        let mut config = Config::local(&name(number)[..], address(number));
        // Quick to find out, quick to forget, so that healing takes little time to simulate.
        config
            .suspicion_max_mult(2)
            .push_pull_interval(Duration::from_secs(5))
            .gossip_to_the_dead(Duration::from_secs(10))
            .seeds((0..nodes).map(address).filter(|&seed| seed != address(number)).collect::<Vec<_>>())
            .max_members(32)
            .max_rumors(32)
            .max_streams(16)
            .max_outgoing(64)
            .max_relays(16);
        if sealed {
            config.keyring(layers(4).keyring);
        }
        let mut services = ServiceConfig::default();
        services.reconnect_interval(Duration::from_secs(5));
        let (seed, nonces) = (Seed::from_u64(number.into()), NonceSecret::new([number; 32]));
        let node =
            Node::new(Instant::ORIGIN, config, services, seed, nonces).expect("the configuration is valid");
        Self { watch: Watch::new(&node), node, stirred: true, asleep: Instant::ORIGIN }
    }

    pub(super) fn node_mut(&mut self) -> &mut Node {
        self.stirred = true;
        &mut self.node
    }

    /// Takes what it says, and checks what must always hold, if anything happened to it.
    fn outputs(&mut self) {
        if !core::mem::take(&mut self.stirred) {
            return;
        }
        while let Some(change) = self.node.poll_membership() {
            self.watch.changed(&self.node, &change);
        }
        while self.node.poll_completion().is_some() {}
        while self.node.poll_event().is_some() {}
        self.watch.check(&self.node);
    }
}

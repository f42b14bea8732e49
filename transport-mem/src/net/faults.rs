//! What can go wrong: with nodes, with links, and how sockets behave.

use core::net::SocketAddr;
use core::time::Duration;

use gossip_proto::{Instant, Machine};

use crate::conditions::Conditions;
use crate::net::clock::Clock;
use crate::net::node::{Node, Power};
use crate::net::pace::{Bursts, Pace};
use crate::net::trace::{Entry, NOBODY};
use crate::net::world::World;
use crate::net::{Network, NodeId};

impl<M: Machine> Network<M> {
    // Faults of nodes.

    /// Stops a node's process without ending it: no input, no timer. Its kernel goes on: datagrams wait in the socket
    /// buffer, and streams are accepted.
    pub fn pause(&mut self, node: NodeId) {
        self.switch(node, b"pause", "pause", |node, _| node.power = Power::Paused);
    }

    /// Lets a paused process go on. What has arrived meanwhile is handed over before time is.
    pub fn resume(&mut self, node: NodeId) {
        self.switch(node, b"resume", "resume", |node, _| node.power = Power::Up);
    }

    /// Ends a node's process at once. Its streams are reset, new ones refused, its state is lost.
    pub fn crash(&mut self, node: NodeId) {
        self.switch(node, b"crash", "crash", |node, world| node.stop(Power::Crashed, world));
    }

    /// Takes the power of a node's machine: as [`Network::crash`], but the others are not told by resets; what they
    /// send disappears.
    pub fn vanish(&mut self, node: NodeId) {
        self.switch(node, b"vanish", "vanish", |node, world| node.stop(Power::Vanished, world));
    }

    /// Starts a node again that has crashed or vanished, with a new machine from its factory.
    ///
    /// # Panics
    /// If it is running.
    pub fn restart(&mut self, node: NodeId) {
        assert!(self.machine(node).is_none(), "{} is running", self.name(node));
        self.boot(node.0);
    }

    /// As [`Network::restart`], at another address.
    ///
    /// # Panics
    /// If it is running, or another node is at that address.
    pub fn restart_at(&mut self, node: NodeId, addr: SocketAddr) {
        assert!(self.machine(node).is_none(), "{} is running", self.name(node));
        self.world.bind(node.0, addr);
        self.boot(node.0);
    }

    /// Makes a node's sockets stop: they take nothing and give nothing, while its timers go on.
    pub fn stop_io(&mut self, node: NodeId) {
        self.switch(node, b"stop", "stop_io", |node, _| node.io = false);
    }

    /// Makes a node's sockets work again.
    pub fn start_io(&mut self, node: NodeId) {
        self.switch(node, b"go", "start_io", |node, _| node.io = true);
    }

    /// Makes a node's process slow: each call of its machine takes that long, be it a datagram, bytes of a stream, a stream
    /// to accept or a timer. What arrives meanwhile waits in its socket buffer, and timers come late. What a call
    /// brings leaves when it begins. Zero, the default, makes it as fast as any. It stays across restarts.
    pub fn set_slow(&mut self, node: NodeId, per_call: Duration) {
        self.set_pace(node, "set_slow", |pace, _| pace.per_call = per_call);
    }

    /// Has a node's process run in bursts only, beginning with one now; `None`, the default, lets it always run. Between
    /// them it is as one that is paused. It stays across restarts, and goes together with [`Network::set_slow`].
    ///
    /// # Panics
    /// If the least wait is below a millisecond or longer than the most.
    pub fn set_bursts(&mut self, node: NodeId, bursts: Option<Bursts>) {
        self.set_pace(node, "set_bursts", |pace, now| pace.set_bursts(now, bursts));
    }

    /// Has a node's clock run faster, or slower if it is below 0, by so many millionths, beginning with what it shows
    /// now. A crystal is good for 100, which is 9 seconds a day; +100,000 makes a timer of ten seconds fire after
    /// 9.09. It stays across restarts. All that the node does, its machine's and its connects' deadlines, goes by
    /// its clock; what it gets of a processor, and what is told to observers and logs, goes by the network's time.
    ///
    /// # Panics
    /// If the clock would stand still or run backwards: at -1,000,000 and below.
    pub fn skew_clock(&mut self, node: NodeId, ppm: i32) {
        self.set_clock(node, "skew_clock", |clock, now| clock.skew(now, ppm));
    }

    /// Sets a node's clock forward, as when a virtual machine wakes up from a long sleep. Timers that became due fire now,
    /// late: a machine takes that for a stall of its own (rule 6 of driving), since datagrams that came meanwhile were
    /// not read.
    pub fn set_clock_forward(&mut self, node: NodeId, by: Duration) {
        self.set_clock(node, "set_clock_forward", |clock, now| clock.set_forward(now, by));
    }

    /// Sets a node's clock back, not below its origin. This breaks a rule of driving (`now` never goes back), as a bad clock does:
    /// the machine keeps the time it had, and counts each call (`Stats::time_went_back`). Until the clock has made up for it
    /// no timer fires, while what comes is answered.
    pub fn set_clock_back(&mut self, node: NodeId, by: Duration) {
        self.set_clock(node, "set_clock_back", |clock, now| clock.set_back(now, by));
    }

    fn set_clock(&mut self, node: NodeId, what: &'static str, how: impl FnOnce(&mut Clock, Instant)) {
        let (now, clock) = (self.world.now, &mut self.nodes[node.number()].clock);
        how(clock, now);
        self.world.observers.tell(|observer| observer.clock_set(now, node, *clock));
        self.world.fault(Some(node), what);
        self.world.mark(node.0);
        self.settle();
    }

    fn set_pace(&mut self, node: NodeId, what: &'static str, how: impl FnOnce(&mut Pace, Instant)) {
        let pace = &mut self.nodes[node.number()].pace;
        how(pace.get_or_insert_with(|| Box::new(Pace::new(&self.seed, node.0))), self.world.now);
        self.world.fault(Some(node), what);
        self.world.mark(node.0);
        self.settle();
    }

    fn switch(
        &mut self,
        node: NodeId,
        entry: &[u8],
        what: &'static str,
        how: impl FnOnce(&mut Node<M>, &mut World),
    ) {
        let Some(switched) = self.nodes.get_mut(node.number()).filter(|node| node.machine.is_some()) else {
            return;
        };
        self.world.trace.bytes(Entry::Power, self.world.now, node.0, NOBODY, entry);
        how(switched, &mut self.world);
        if switched.machine.is_none() {
            self.tell_stopped(node);
        }
        self.world.fault(Some(node), what);
        self.world.mark(node.0);
        self.settle();
    }

    // Faults of links.

    /// Sets how all links behave that have no conditions of their own. The default is [`Conditions::LAN`]. A link's own
    /// conditions ([`Network::set_link`]) go before those of its zones ([`Network::set_zone_link`]), and these before those
    /// of all.
    ///
    /// # Panics
    /// As the other two: if a probability is not from 0 to 1, or a parameter of [`Conditions`] is outside of its range.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.world.fault(None, "set_conditions");
        self.world.links.set_everywhere(conditions);
    }

    /// Gives one direction of a link conditions of its own, or takes them away.
    pub fn set_link(&mut self, from: NodeId, to: NodeId, conditions: Option<Conditions>) {
        self.world.fault(None, "set_link");
        self.world.links.set_pair(from.0, to.0, conditions);
    }

    /// Puts a node into a zone: a data centre, a rack, anything that links depend on. All are in zone 0 at first.
    pub fn set_zone(&mut self, node: NodeId, zone: u32) {
        self.world.fault(Some(node), "set_zone");
        self.world.links.set_zone(node.0, zone);
    }

    /// The zone a node is in.
    pub fn zone(&self, node: NodeId) -> u32 {
        self.world.links.zone(node.0)
    }

    /// Gives all links from one zone to another, or within one, conditions of their own, or takes them away. One
    /// direction: call it twice for both.
    pub fn set_zone_link(&mut self, from: u32, to: u32, conditions: Option<Conditions>) {
        self.world.fault(None, "set_zone_link");
        self.world.links.set_zones(from, to, conditions);
    }

    /// Lets nothing through from one zone to another, or everything again. One direction; [`Network::heal`] ends it.
    pub fn cut_zones(&mut self, from: u32, to: u32, on: bool) {
        self.world.fault(None, "cut_zones");
        self.world.links.cut_zones(from, to, on);
    }

    /// Loses a share of what a node sends and of what it receives, on top of what its links lose.
    pub fn set_loss(&mut self, node: NodeId, outbound: f64, inbound: f64) {
        self.world.fault(Some(node), "set_loss");
        self.world.links.set_loss_at(node.0, outbound, inbound);
    }

    /// Splits the network: nodes in different groups do not reach each other. Nodes in none of them are one more group.
    pub fn partition(&mut self, groups: &[&[NodeId]]) {
        self.world.fault(None, "partition");
        let groups: Vec<Vec<u32>> =
            groups.iter().map(|group| group.iter().map(|node| node.0).collect()).collect();
        self.world.links.partition(groups.iter().map(Vec::as_slice));
    }

    /// Ends partitions, cuts, stalls and blocks of datagrams. Conditions and losses stay.
    pub fn heal(&mut self) {
        self.world.fault(None, "heal");
        self.world.links.heal();
    }

    /// Lets nothing through from one node to another, or everything again.
    pub fn cut(&mut self, from: NodeId, to: NodeId, on: bool) {
        self.world.fault(None, "cut");
        self.world.links.cut(from.0, to.0, on);
    }

    /// Lets no datagrams through from one node to another, while streams work.
    pub fn block_datagrams(&mut self, from: NodeId, to: NodeId, on: bool) {
        self.world.fault(None, "block_datagrams");
        self.world.links.block_datagrams(from.0, to.0, on);
    }

    /// Lets no bytes of streams through from one node to another. Connections are made, and stay open.
    pub fn stall_streams(&mut self, from: NodeId, to: NodeId, on: bool) {
        self.world.fault(None, "stall_streams");
        self.world.links.stall_streams(from.0, to.0, on);
    }

    /// Limits the datagrams that one path carries; who sends a larger one is told at once. `None` lifts the limit.
    pub fn set_path(&mut self, from: NodeId, to: NodeId, max_datagram: Option<usize>) {
        self.world.fault(None, "set_path");
        self.world.links.set_limit(from.0, to.0, max_datagram);
    }

    /// Whether sockets report that no process listens at a destination, as those of one machine do. Default off.
    pub fn report_unreachable(&mut self, on: bool) {
        self.world.settings.report_unreachable = on;
    }

    /// The most bytes of a stream that arrive at a time; 1 hands streams over byte by byte. At least 1.
    pub fn set_max_segment(&mut self, bytes: usize) {
        self.world.settings.max_segment = bytes.max(1);
    }

    /// The most bytes of datagrams that wait for a process that does not read. Default 2 MiB.
    pub fn set_socket_buffer(&mut self, bytes: usize) {
        self.world.settings.socket_buffer = bytes;
    }

    /// Whether streams tell the reader when the writer is done, as QUIC's do and TCP's here do not. Default off.
    pub fn set_half_close(&mut self, on: bool) {
        self.world.settings.half_close = on;
    }
}

//! What can go wrong with nodes.

use core::net::SocketAddr;
use core::time::Duration;

use gossip_proto::{Instant, Machine};

use crate::net::clock::Clock;
use crate::net::node::{DRAIN, Node, Power};
use crate::net::pace::{Bursts, Pace};
use crate::net::trace::{Entry, NOBODY};
use crate::net::world::World;
use crate::net::{Network, NodeId};

impl<M: Machine> Network<M> {
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

    /// How many inputs a slow process takes at most before a timer that is due gets its turn; the default, 1,024, is what
    /// the contract asks of a driver (drain before judge). With 1 they take turns, as the threads of a program do that
    /// reads in one and waits for its timers in others. It stays across restarts.
    ///
    /// # Panics
    /// If it is 0: no input would ever be taken while timers are due.
    pub fn set_drain(&mut self, node: NodeId, inputs: usize) {
        assert!(inputs > 0, "at least one input is taken at a time");
        self.set_pace(node, "set_drain", |pace, _| pace.drain = inputs);
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

    /// Makes a node's port refuse streams at once, as if nobody listened, while those that there are go on, and datagrams
    /// too. It stays across restarts.
    pub fn refuse_streams(&mut self, node: NodeId, on: bool) {
        self.nodes[node.number()].refuses = on;
        self.world.fault(Some(node), "refuse_streams");
    }

    /// Makes a node a slow reader: of each stream it reads so many bytes in a second, in pieces of a hundredth of that, or
    /// of one byte if that is less. What it has not read fills the sender's buffer, until that must wait (256 KiB are
    /// under way or unread at most). `None`, the default, reads whatever comes. It stays across restarts.
    ///
    /// # Panics
    /// If it would read nothing: that is [`Network::stall_streams`].
    pub fn set_read_rate(&mut self, node: NodeId, bytes_per_second: Option<u64>) {
        assert!(bytes_per_second != Some(0), "a reader reads at least 1 byte a second");
        self.nodes[node.number()].read_rate = bytes_per_second;
        self.world.fault(Some(node), "set_read_rate");
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
        how(pace.get_or_insert_with(|| Box::new(Pace::new(&self.seed, node.0, DRAIN))), self.world.now);
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
}

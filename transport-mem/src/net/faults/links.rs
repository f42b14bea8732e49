//! What can go wrong with links and zones, and how sockets behave.

use gossip_proto::Machine;

use crate::conditions::{Conditions, Rate};
use crate::net::{Network, NodeId};

impl<M: Machine> Network<M> {
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

    /// Ends partitions, cuts, stalls, breaks of streams, and blocks of datagrams and connects. Conditions, losses and rates
    /// stay, and what is wrong with nodes.
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

    /// Lets no request for a stream through from one node to another, as a firewall that drops them does: who asks hears
    /// nothing, asks again, and gives up at its deadline. Streams that there are go on, and datagrams too.
    pub fn block_connects(&mut self, from: NodeId, to: NodeId, on: bool) {
        self.world.fault(None, "block_connects");
        self.world.links.block_connects(from.0, to.0, on);
    }

    /// Breaks each stream, whoever opened it, that has carried so many bytes from one node to another, as a middlebox does: those
    /// bytes arrive, then both ends are told that it was reset. With 0 the first byte is too much. `None` ends that.
    pub fn break_streams(&mut self, from: NodeId, to: NodeId, after: Option<u64>) {
        self.world.fault(None, "break_streams");
        self.world.links.break_streams(from.0, to.0, after);
    }

    /// Gives what a node sends, to whomever, a rate and a buffer, before the rates of links: datagrams and streams share it.
    /// `None`, the default, lifts that.
    ///
    /// # Panics
    /// If the rate is 0.
    pub fn set_uplink(&mut self, node: NodeId, rate: Option<Rate>) {
        self.world.fault(Some(node), "set_uplink");
        self.world.links.set_uplink(node.0, rate);
    }

    /// As [`Network::set_uplink`], for what a node receives, from whomever: it waits there after its latency, in the order in
    /// which it came.
    ///
    /// # Panics
    /// If the rate is 0.
    pub fn set_downlink(&mut self, node: NodeId, rate: Option<Rate>) {
        self.world.fault(Some(node), "set_downlink");
        self.world.links.set_downlink(node.0, rate);
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

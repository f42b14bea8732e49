//! What the transport may use, whoever its peers are.

use core::time::Duration;

/// Limits of the transport. Those that take memory say how much; the sum over all connections is what a node may use for
/// its network at worst, if every one of its peers is hostile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections kept open. When there are more, the one that was used least recently and carries no stream is closed.
    /// A stream that the peer has just opened on it, and that is still on its way, is reset then: joining a crowded node may
    /// have to be repeated.
    /// In a cluster with more members gossip prefers those that are connected.
    ///
    /// An idle connection takes about 36 KB, so the default 1,024 about 36 MiB (measured as the growth of a process by 300
    /// connections: `cargo test -p transport-quic --test hostile -- --nocapture idle`). At worst, if its peer is a member and
    /// hostile, it takes the sum of the windows and buffers below as well: 640 KiB by default.
    pub connections: usize,
    /// After this long without a packet either way a connection is closed. Both sides use the lower of their two.
    pub idle: Duration,
    /// How long a connection may take to open, in either direction. What waits for it then fails.
    pub open_timeout: Duration,
    /// After this long without any packet from a peer that was sent something, its connection is given up, and the next
    /// datagram opens a new one: over a path that was cut for a while, an old connection comes back only slowly.
    pub silence: Duration,
    /// Connections that this node opens at the same time; datagrams to further ones are not sent.
    pub opening: usize,
    /// Connections of others that are shaking hands at the same time. A further one takes the place of the oldest that has taken
    /// longer than a second, of those from the network that holds most places; if there is none it is turned away. Each takes
    /// about 36 KB. From [`Limits::validate_from`] on, a peer must first show that it receives at its address.
    pub handshakes: usize,
    /// How many of these may come from one IPv4 address, or from one /64 of IPv6.
    pub handshakes_per_address: usize,
    /// Handshakes in progress at which addresses are validated before anything is kept.
    pub validate_from: usize,
    /// Streams that one peer may have open at the same time; a peer that wants more waits.
    pub streams_per_connection: u32,
    /// Bytes of one stream that are taken from the network before they are read.
    pub stream_window: u32,
    /// Bytes of all streams of one connection that are taken from the network before they are read.
    pub receive_window: u32,
    /// Bytes of all streams of one connection that wait for the peer's acknowledgement.
    pub send_window: u32,
    /// Bytes of datagrams that wait on one connection for the network, and as many received ones for this node. The oldest
    /// go first.
    pub datagram_buffer: usize,
    /// Bytes of datagrams received on all connections that wait for the node; then each connection keeps its own.
    pub inbox: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_secs(60),
            open_timeout: Duration::from_secs(3),
            silence: Duration::from_secs(3),
            opening: 128,
            handshakes: 256,
            handshakes_per_address: 64,
            validate_from: 8,
            streams_per_connection: 64,
            stream_window: 64 << 10,
            receive_window: 256 << 10,
            send_window: 256 << 10,
            datagram_buffer: 64 << 10,
            inbox: 2 << 20,
        }
    }
}

impl Limits {
    /// What is wrong with them, and what would be right.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let timed = [self.idle, self.open_timeout, self.silence];
        let checks = [
            (self.connections >= 2, "connections must be at least 2"),
            (self.opening >= 1, "opening must be at least 1"),
            (self.handshakes >= 1, "handshakes must be at least 1"),
            (self.handshakes_per_address >= 1, "handshakes_per_address must be at least 1"),
            (self.streams_per_connection >= 1, "streams_per_connection must be at least 1"),
            (self.stream_window >= 1024, "stream_window must be at least 1024 bytes"),
            (self.receive_window >= self.stream_window, "receive_window must be at least stream_window"),
            (self.send_window >= 1024, "send_window must be at least 1024 bytes"),
            (self.datagram_buffer >= 4096, "datagram_buffer must be at least 4096 bytes"),
            (self.inbox >= 65_536, "inbox must be at least 65536 bytes"),
            (
                timed.iter().all(|time| (MIN_TIME..=MAX_TIME).contains(time)),
                "idle, open_timeout and silence must be from 100 ms to an hour",
            ),
        ];
        checks.iter().find(|(fine, _)| !fine).map_or(Ok(()), |(_, wrong)| Err(wrong))
    }
}

const MIN_TIME: Duration = Duration::from_millis(100);
const MAX_TIME: Duration = Duration::from_secs(3600);

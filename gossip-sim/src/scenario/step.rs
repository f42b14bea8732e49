//! What happens to a cluster: one step of a timeline.

use core::fmt;
use core::time::Duration;

use serde::Deserialize;

use crate::scenario::Network;
use crate::value::{Scalar, Share, Val};

/// One step: what, to whom, when, and how often. Which fields a step may have depends on its action; [`Action::fields`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens.
    #[serde(rename = "do")]
    pub action: Action,
    /// When, from time 0 on. Default 0.
    pub at: Option<Val<Duration>>,
    /// Undone after that long; where another step holds the same node or link, that one counts then.
    #[serde(rename = "for")]
    pub lasts: Option<Val<Duration>>,
    /// Done again that long after it was undone, and so on.
    pub off: Option<Val<Duration>>,
    /// Done again that long after it was done, and so on.
    pub every: Option<Val<Duration>>,
    /// No repetition begins at or after that time; with `off`, the last one is the first that ends at or after it.
    pub until: Option<Val<Duration>>,
    /// At most that many times in all.
    pub times: Option<Val<usize>>,

    /// Whom: a group, `all`, or `node-N`.
    pub nodes: Option<Val<String>>,
    /// One end of links: a group, `all`, or `node-N`.
    pub from: Option<Val<String>>,
    /// The other end.
    pub to: Option<Val<String>>,
    /// Whether a cut goes both ways. Default no.
    pub both_ways: Option<Val<bool>>,
    /// The sides of a partition; nodes in none of them are one more side.
    pub groups: Option<Vec<String>>,
    /// Share of what a node sends that is lost.
    pub out: Option<Val<Share>>,
    /// Share of what a node receives that is lost.
    #[serde(rename = "in")]
    pub inbound: Option<Val<Share>>,
    /// A restarted node goes on with what its disk has of what it knew: a snapshot as agents keep one, without the last half
    /// second, or less if its machine lost its power. Default no: it finds its disk empty.
    pub state: Option<Val<bool>>,
    /// Through whom a node joins: a group, or `node-N`. Default `node-0`; a restarted node with state joins by itself.
    pub via: Option<Val<String>>,
    /// Nodes are affected one after the other, in random order, spread over that time.
    pub over: Option<Val<Duration>>,
    /// How links behave: as under `[network]`, the preset included.
    pub conditions: Option<Network>,
    /// How long each call of a machine takes: a datagram, a piece of a stream, a timer.
    pub per_call: Option<Val<Duration>>,
    /// How long a process runs at a time.
    pub awake: Option<Val<Duration>>,
    /// The shortest time that it then waits, at least a millisecond.
    pub least: Option<Val<Duration>>,
    /// The longest; each wait is drawn uniformly.
    pub most: Option<Val<Duration>>,
    /// Millionths by which a clock is too fast; below 0, too slow.
    pub ppm: Option<Val<i32>>,
    /// A clock is set forward by that.
    pub forward: Option<Val<Duration>>,
    /// A clock is set back by that.
    pub back: Option<Val<Duration>>,
    /// Bytes: per second that are read of a stream; after which it breaks; of the largest datagram of a path.
    pub bytes: Option<Val<usize>>,
    /// Bytes per second that a node's line carries of what it sends. Default without limit.
    pub up: Option<Val<usize>>,
    /// The same of what it receives.
    pub down: Option<Val<usize>>,
    /// Bytes that wait at each end of a line. Default 64 KiB.
    pub buffer: Option<Val<usize>>,
    /// Churn: nodes that are replaced per second.
    pub rate: Option<Val<f64>>,
    /// Churn: share of nodes that say good-bye before they go. Default none.
    pub graceful: Option<Val<Share>>,
    /// Churn: how long a node is away. Default 5 s.
    pub away: Option<Val<Duration>>,
    /// Share of packets in which a bit is turned.
    pub flip: Option<Val<Share>>,
    /// Share of packets that are cut short.
    pub truncate: Option<Val<Share>>,
    /// Whether the bytes of streams suffer as well, as where checksums fail to notice. Default no.
    pub streams: Option<Val<bool>>,
    /// Name of a user event, query or tag.
    pub name: Option<Val<String>>,
    /// Payload of a user event or query in bytes, or value of a tag.
    pub size: Option<Val<usize>>,
    /// Value of a tag.
    pub value: Option<Val<Scalar>>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The process ends at once; its machine refuses connections. Undone by a restart without state.
    Crash,
    /// The machine loses its power; nothing answers. Undone by a restart without state.
    Vanish,
    /// A process that is down starts again and joins.
    Restart,
    /// The process stands still; what arrives waits in its socket.
    Pause,
    /// Sockets take and give nothing, while timers go on: the anomaly of the Lifeguard paper.
    StopIo,
    /// Loses a share of what the nodes send and receive.
    Loss,
    /// Each call of the machine takes its time.
    Slow,
    /// The process runs in bursts, and stands still between them.
    Bursts,
    /// The clock goes too fast or too slow.
    SkewClock,
    /// The clock jumps.
    SetClock,
    /// The port refuses streams.
    RefuseStreams,
    /// The process reads streams slowly.
    SlowReader,
    /// What the nodes send and receive goes over a line of a certain rate.
    Line,
    /// All writing to the disk fails, so that what happens meanwhile is not known after a restart with `state`.
    FailDisk,
    /// Links from some nodes to others have conditions of their own.
    Link,
    /// Lets nothing through from some nodes to others.
    Cut,
    /// Lets no datagrams through from some nodes to others, while streams work.
    BlockDatagrams,
    /// Lets no bytes of streams through from some nodes to others; they are opened, and stay open.
    StallStreams,
    /// Lets no request for a stream through from some nodes to others.
    BlockConnects,
    /// Breaks each stream that carried so many bytes from some nodes to others.
    BreakStreams,
    /// Limits the datagrams from some nodes to others; who sends a larger one is told.
    LimitPath,
    /// Damages some of the packets that the nodes send.
    Corrupt,
    /// Splits the network.
    Partition,
    /// Ends partitions and cuts.
    Heal,
    /// The nodes join through others.
    Join,
    /// The nodes say good-bye and go.
    Leave,
    /// The nodes send a user event; on `membership`, a broadcast that every node passes on once.
    UserEvent,
    /// The nodes ask a query that everybody acknowledges and answers.
    Query,
    /// The nodes change a tag; on `membership`, their metadata.
    SetTag,
    /// Nodes are replaced at a rate: each goes, stays away, and starts anew.
    Churn,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Crash,
        Self::Vanish,
        Self::Restart,
        Self::Pause,
        Self::StopIo,
        Self::Loss,
        Self::Slow,
        Self::Bursts,
        Self::SkewClock,
        Self::SetClock,
        Self::RefuseStreams,
        Self::SlowReader,
        Self::Line,
        Self::FailDisk,
        Self::Link,
        Self::Cut,
        Self::BlockDatagrams,
        Self::StallStreams,
        Self::BlockConnects,
        Self::BreakStreams,
        Self::LimitPath,
        Self::Corrupt,
        Self::Partition,
        Self::Heal,
        Self::Join,
        Self::Leave,
        Self::UserEvent,
        Self::Query,
        Self::SetTag,
        Self::Churn,
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Vanish => "vanish",
            Self::Restart => "restart",
            Self::Pause => "pause",
            Self::StopIo => "stop-io",
            Self::Loss => "loss",
            Self::Slow => "slow",
            Self::Bursts => "bursts",
            Self::SkewClock => "skew-clock",
            Self::SetClock => "set-clock",
            Self::RefuseStreams => "refuse-streams",
            Self::SlowReader => "slow-reader",
            Self::Line => "line",
            Self::FailDisk => "fail-disk",
            Self::Link => "link",
            Self::Cut => "cut",
            Self::BlockDatagrams => "block-datagrams",
            Self::StallStreams => "stall-streams",
            Self::BlockConnects => "block-connects",
            Self::BreakStreams => "break-streams",
            Self::LimitPath => "limit-path",
            Self::Corrupt => "corrupt",
            Self::Partition => "partition",
            Self::Heal => "heal",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::UserEvent => "user-event",
            Self::Query => "query",
            Self::SetTag => "set-tag",
            Self::Churn => "churn",
        }
    }

    /// The fields it needs, and those it may have besides the ones about time.
    pub fn fields(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Crash | Self::Vanish => (&["nodes"], &["over", "state", "via"]),
            Self::Restart => (&["nodes"], &["over", "state", "via"]),
            Self::Pause | Self::StopIo | Self::RefuseStreams | Self::FailDisk => (&["nodes"], &[]),
            Self::Loss => (&["nodes"], &["in", "out"]),
            Self::Slow => (&["nodes", "per_call"], &[]),
            Self::Bursts => (&["nodes", "awake", "least", "most"], &[]),
            Self::SkewClock => (&["nodes", "ppm"], &[]),
            Self::SetClock => (&["nodes"], &["forward", "back"]),
            Self::SlowReader => (&["nodes", "bytes"], &[]),
            Self::Line => (&["nodes"], &["up", "down", "buffer"]),
            Self::Link => (&["from", "to", "conditions"], &["both_ways"]),
            Self::Cut | Self::BlockDatagrams | Self::StallStreams | Self::BlockConnects => {
                (&["from", "to"], &["both_ways"])
            }
            Self::BreakStreams | Self::LimitPath => (&["from", "to", "bytes"], &["both_ways"]),
            Self::Corrupt => (&["nodes"], &["flip", "truncate", "streams"]),
            Self::Partition => (&["groups"], &[]),
            Self::Heal => (&[], &[]),
            Self::Join => (&["nodes"], &["via", "over"]),
            Self::Leave => (&["nodes"], &["over"]),
            Self::UserEvent => (&["nodes"], &["name", "size"]),
            Self::Query => (&["nodes"], &["name", "size"]),
            Self::SetTag => (&["nodes", "name"], &["value"]),
            Self::Churn => (&["rate"], &["nodes", "graceful", "away", "state", "via"]),
        }
    }

    /// Whether it can be undone, and so last for a while.
    pub fn lasts(self) -> bool {
        !matches!(
            self,
            Self::Restart
                | Self::SetClock
                | Self::Heal
                | Self::Join
                | Self::Leave
                | Self::UserEvent
                | Self::Query
                | Self::SetTag
        )
    }

    /// Whether nodes that it is done to are faulty: what the others say against them is not false.
    pub fn makes_faulty(self) -> bool {
        matches!(
            self,
            Self::Crash
                | Self::Vanish
                | Self::Restart
                | Self::Pause
                | Self::StopIo
                | Self::Loss
                | Self::Slow
                | Self::Bursts
                | Self::SkewClock
                | Self::SetClock
                | Self::RefuseStreams
                | Self::SlowReader
                | Self::Line
                | Self::Corrupt
                | Self::Churn
                | Self::Leave
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Step {
    /// Whether the protocol may take it for a fault of a node at any time as long as it lasts, though all are connected.
    pub(crate) fn hampers(&self) -> bool {
        match self.action {
            Action::Link => self.conditions.as_ref().is_some_and(|links| {
                links.loss.is_some() || links.rate.is_some() || links.mtu.is_some() || links.latency.is_some()
            }),
            Action::Loss
            | Action::Slow
            | Action::Bursts
            | Action::SkewClock
            | Action::SetClock
            | Action::RefuseStreams
            | Action::SlowReader
            | Action::Line
            | Action::Cut
            | Action::BlockDatagrams
            | Action::StallStreams
            | Action::BlockConnects
            | Action::BreakStreams
            | Action::LimitPath
            | Action::Corrupt => true,
            _ => false,
        }
    }

    /// The fields that this step has, times aside.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let fields = [
            ("nodes", self.nodes.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("both_ways", self.both_ways.is_some()),
            ("groups", self.groups.is_some()),
            ("out", self.out.is_some()),
            ("in", self.inbound.is_some()),
            ("state", self.state.is_some()),
            ("via", self.via.is_some()),
            ("over", self.over.is_some()),
            ("conditions", self.conditions.is_some()),
            ("per_call", self.per_call.is_some()),
            ("awake", self.awake.is_some()),
            ("least", self.least.is_some()),
            ("most", self.most.is_some()),
            ("ppm", self.ppm.is_some()),
            ("forward", self.forward.is_some()),
            ("back", self.back.is_some()),
            ("bytes", self.bytes.is_some()),
            ("up", self.up.is_some()),
            ("down", self.down.is_some()),
            ("buffer", self.buffer.is_some()),
            ("rate", self.rate.is_some()),
            ("graceful", self.graceful.is_some()),
            ("away", self.away.is_some()),
            ("flip", self.flip.is_some()),
            ("truncate", self.truncate.is_some()),
            ("streams", self.streams.is_some()),
            ("name", self.name.is_some()),
            ("size", self.size.is_some()),
            ("value", self.value.is_some()),
        ];
        fields.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

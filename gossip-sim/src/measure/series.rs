//! What pictures are made of: curves and lists of one run.

use serde::{Deserialize, Serialize};

/// The series of one run, the one with the first seed. Times are seconds since time 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What happened, and when.
    pub timeline: Vec<Mark>,
    /// How many nodes knew something, over time: of the first events and outages.
    pub infection: Vec<Curve>,
    /// The views over time.
    pub views: Vec<View>,
    /// Bytes of datagrams that each node sent in the time that is measured, by node number; every so-many-th node of a
    /// large cluster.
    pub bytes_sent: Vec<f64>,
    /// Bytes it was handed.
    pub bytes_received: Vec<f64>,
    /// What the traffic of that time was for.
    #[serde(default)]
    pub kinds: Vec<KindLoad>,
    /// The longest that each queue and table of a node ever was when it was looked at.
    #[serde(default)]
    pub longest: Vec<Longest>,
    /// Who told whom what, and when: the first of it.
    pub told: Vec<Told>,
    /// Names of the nodes' states in `told` are of this many nodes.
    pub nodes: usize,
}

/// Something that the scenario did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: f64,
    /// The action, `undo` before it if it ended.
    pub what: String,
    /// To which nodes: all, if it is to more than 64, stands for itself as an empty list.
    pub nodes: Vec<usize>,
    /// To how many.
    pub count: usize,
}

/// How many knew, over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Of what: `crash of node-3`, `event e0`.
    pub what: String,
    /// When it happened.
    pub since: f64,
    /// How many were to learn of it.
    pub of: usize,
    /// When one more suspected it, in order; of faults alone.
    #[serde(default)]
    pub suspected: Vec<f64>,
    /// When one more knew, in order.
    pub at: Vec<f64>,
}

/// What the nodes hold at one time: their views, and more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// When.
    pub at: f64,
    /// The smallest, each node itself included.
    pub min: usize,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: usize,
    /// How many different sizes.
    pub sizes: usize,
    /// How many nodes ran.
    pub running: usize,
    /// Rumors of all kinds that wait at a node, on average.
    #[serde(default)]
    pub queued: f64,
    /// Those of the node with most of them.
    #[serde(default)]
    pub queued_max: usize,
    /// Bytes of memory that a node holds for members, rumors, streams and events, on average.
    #[serde(default)]
    pub memory: f64,
    /// Those of the node that holds most.
    #[serde(default)]
    pub memory_max: usize,
}

/// Messages and bytes of one kind, of datagrams and streams: means per node and second over the time that is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindLoad {
    /// The kind: `ping`, `ack`, `push/pull`, ... ([`transport_mem::net::observe::Kind`]); `framing` is what is left of datagrams
    /// beside their messages.
    pub kind: String,
    /// Messages sent; of `framing` there are none.
    pub messages_sent: f64,
    /// Bytes sent.
    pub bytes_sent: f64,
    /// Messages that nodes were handed.
    pub messages_received: f64,
    /// Bytes that nodes were handed.
    pub bytes_received: f64,
}

/// How long a queue or a table of a node was, and how long it may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Longest {
    /// Which one.
    pub what: String,
    /// The most entries that were seen, at any node.
    pub most: usize,
    /// The most that it takes.
    pub cap: usize,
}

/// One node learnt something of another by a datagram or stream of a third.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When the news was taken in.
    pub at: f64,
    /// Who sent it, if it came from outside.
    pub from: Option<usize>,
    /// Who learnt it.
    pub to: usize,
    /// What: `suspected`, `failed`, `left`, `joined`, `refuted`, `event`.
    pub what: String,
    /// Of whom; of events there is none.
    pub about: Option<usize>,
}

/// So many curves, marks, points and tellings are kept; a page with more is not readable.
pub(crate) const CURVES: usize = 16;
pub(crate) const MARKS: usize = 200;
pub(crate) const VIEWS: usize = 600;
pub(crate) const TOLD: usize = 2000;
pub(crate) const NODES: usize = 1000;

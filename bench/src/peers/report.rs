//! What a contender says about itself: one JSON document, the same for each, in whatever language it is written.

use serde::{Deserialize, Serialize};

/// The version of the form below.
pub const SCHEMA: u32 = 1;

/// What one contender measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Its name, as in the table's head.
    pub name: String,
    /// The version that was measured.
    pub version: String,
    /// How it was measured where that differs from the others, and what it does not do that the others do; sentences.
    pub remarks: Vec<String>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// What could not be measured.
    pub absent: Vec<Absent>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Of what.
    pub row: Row,
    /// How many members the node knew, itself included.
    pub members: usize,
    /// The best repetition, in the row's unit.
    pub best: f64,
    /// The one in the middle.
    pub median: f64,
    /// The worst.
    pub worst: f64,
    /// How many repetitions there were.
    pub repetitions: usize,
    /// How often memory was asked for in one operation, on average, if that was counted.
    pub allocations: Option<f64>,
}

/// A figure that is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Of what.
    pub row: Row,
    /// For how many members; for any if it is not said.
    pub members: Option<usize>,
    /// Why; a sentence.
    pub why: String,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Row {
    /// A datagram with ten alive messages that are known is applied.
    KnownAlives,
    /// A datagram with ten alive messages that are news is applied; they are queued to be passed on.
    News,
    /// A ping comes in, its acknowledgement goes out.
    PingAck,
    /// One datagram of gossip is built, out of a queue with an update about each member.
    GossipPacket,
    /// A node that has nothing to say probes and is answered; its scheduled exchanges are off.
    Idle,
    /// Memory for each member.
    HeapPerMember,
    /// All nodes of a cluster join through one at once: how long until 99 % of the views are whole.
    Join99,
    /// The same, until all are.
    JoinAll,
    /// What it takes of the processor until 99 % are, for each node, the simulated network included.
    JoinCpu,
    /// One node has an event for all: how long until all have it.
    EventAll,
    /// How often it comes in, for each node.
    EventCopies,
    /// How many nodes it has not reached after half a minute.
    EventMissed,
}

impl Row {
    /// All, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::KnownAlives,
        Self::News,
        Self::PingAck,
        Self::GossipPacket,
        Self::Idle,
        Self::HeapPerMember,
        Self::Join99,
        Self::JoinAll,
        Self::JoinCpu,
        Self::EventAll,
        Self::EventCopies,
        Self::EventMissed,
    ];

    /// Whether it is of a cluster, and not of one node.
    pub fn is_of_cluster(self) -> bool {
        self >= Self::Join99
    }

    /// What it is called in the table, and the unit of its figures.
    pub fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::KnownAlives => ("apply a packet of 10 known alives", "µs"),
            Self::News => ("apply a packet of 10 alives that are news", "µs"),
            Self::PingAck => ("ping in, ack out", "µs"),
            Self::GossipPacket => ("build one gossip packet, queue of N", "µs"),
            Self::Idle => ("idle, per node and second", "µs"),
            Self::HeapPerMember => ("heap per member", "bytes"),
            Self::Join99 => ("all join through one, 99 % of the views whole", "s"),
            Self::JoinAll => ("all join through one, all views whole", "s"),
            Self::JoinCpu => ("all join through one, CPU per node until 99 %", "ms"),
            Self::EventAll => ("one event, until all have it", "s"),
            Self::EventCopies => ("one event, copies that a node gets", ""),
            Self::EventMissed => ("one event, nodes that miss it", ""),
        }
    }
}

impl Report {
    /// Reads what a contender printed.
    ///
    /// # Errors
    /// It is not of this form; says where.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let report: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if report.schema != SCHEMA {
            return Err(format!("the report is of form {}, this program reads {SCHEMA}", report.schema));
        }
        for figure in &report.figures {
            let numbers = [figure.best, figure.median, figure.worst];
            let (name, members) = (figure.row.title().0, figure.members);
            if !(numbers.is_sorted() && figure.best >= 0.0 && figure.repetitions > 0) {
                return Err(format!("{name}, {members} members: {numbers:?} is not best, median, worst"));
            }
        }
        Ok(report)
    }

    /// What a contender prints.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and texts");
        text.push('\n');
        text
    }

    /// The figure of that row and size, if there is one.
    pub fn figure(&self, row: Row, members: usize) -> Option<&Figure> {
        self.figures.iter().find(|figure| (figure.row, figure.members) == (row, members))
    }

    /// Why there is none.
    pub fn absent(&self, row: Row, members: usize) -> Option<&Absent> {
        let about = |absent: &&Absent| absent.row == row && absent.members.is_none_or(|of| of == members);
        self.absent.iter().find(about)
    }
}

impl Figure {
    /// What stands for it: the best repetition of what noise can only make worse, the middle of what is left to chance.
    pub fn value(&self) -> f64 {
        if self.row.is_of_cluster() { self.median } else { self.best }
    }

    /// A figure out of repetitions.
    ///
    /// # Panics
    /// There were none.
    pub fn new(row: Row, members: usize, mut repetitions: Vec<f64>, allocations: Option<f64>) -> Self {
        repetitions.sort_by(f64::total_cmp);
        Self {
            row,
            members,
            best: repetitions[0],
            median: repetitions[repetitions.len() / 2],
            worst: *repetitions.last().expect("at least one"),
            repetitions: repetitions.len(),
            allocations,
        }
    }
}

//! The running node as commands see it, wherever they come from.

use transport_tokio::{Cluster, Node};

use crate::feed::Feed;
use crate::tags::Tags;
use crate::tally::Tally;

/// The running node, and what of the agent belongs to it: what commands work on, wherever they come from.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) cluster: Cluster<Node>,
    /// Where to listen to events.
    pub(crate) feed: Feed,
    pub(crate) tags: Tags,
    pub(crate) tally: Tally,
    pub(crate) replay_on_join: bool,
}

//! Keys of a whole cluster: what can be done with them, and what came of it (serf.md 8.2).

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::Name;
use crate::wire::keyring::Key;

/// What every node is asked to do. A key is changed in three steps, each done by all nodes before the next one:
/// install the new key, use it, remove the old one (serf.md 8.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyCommand {
    /// Add a key to the ring: what is sealed with it can be opened from then on.
    Install(Key),
    /// Make a key of the ring the primary one: what is sent is sealed with it from then on.
    Use(Key),
    /// Take a key, not the primary one, out of the ring.
    Remove(Key),
    /// Tell the keys.
    List,
}

/// What the nodes of a cluster said to a [`KeyCommand`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyReport {
    /// Members that were to answer: those alive when they were asked, and who came while they were.
    pub nodes: usize,
    /// How many answered.
    pub responses: usize,
    /// How many of them did not do it.
    pub errors: usize,
    /// What those, and others with something to add, said; for people.
    pub messages: Vec<(Name, String)>,
    /// Each key that was told, and by how many.
    pub keys: Vec<(Key, usize)>,
    /// Each primary key that was told, and by how many.
    pub primary_keys: Vec<(Key, usize)>,
}

impl KeyReport {
    /// What stands against the next step: some refused, or some did not answer. Asking once more does no harm.
    pub fn failure(&self) -> Option<KeyFailure> {
        let (nodes, responses) = (self.nodes, self.responses);
        match self.errors {
            0 if responses == nodes => None,
            0 => Some(KeyFailure::Missing { responses, nodes }),
            errors => Some(KeyFailure::Refused { errors, nodes }),
        }
    }

    /// Counts an answer's keys, each once, however often it is in there. Whether all had room.
    pub(crate) fn count(counts: &mut Vec<(Key, usize)>, keys: impl Iterator<Item = Key>) -> bool {
        let mut counted: Vec<Key> = Vec::new();
        let mut complete = true;
        for key in keys {
            if counted.contains(&key) {
                continue;
            }
            match counts.iter().position(|(known, _)| *known == key) {
                Some(at) => counts[at].1 += 1,
                None if counts.len() < MAX_REPORTED_KEYS => counts.push((key.clone(), 1)),
                None => complete = false,
            }
            counted.push(key);
        }
        complete
    }
}

/// Why a [`KeyCommand`] is not done everywhere, in Serf's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFailure {
    /// Some did not do it.
    Refused {
        /// How many.
        errors: usize,
        /// Of how many.
        nodes: usize,
    },
    /// All that answered did it, but some did not answer.
    Missing {
        /// How many answered.
        responses: usize,
        /// Of how many.
        nodes: usize,
    },
}

impl fmt::Display for KeyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { errors, nodes } => write!(f, "{errors}/{nodes} nodes reported failure"),
            Self::Missing { responses, nodes } => write!(f, "{responses}/{nodes} nodes reported success"),
        }
    }
}

impl core::error::Error for KeyFailure {}

/// Different keys that a report has room for. A cluster has a few; what is more is not counted.
const MAX_REPORTED_KEYS: usize = 256;

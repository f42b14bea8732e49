//! What an agent believes of its cluster, in one form for both kinds of agent.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::wait::wait_until;

pub(crate) type Tags = BTreeMap<String, String>;

/// A member as an agent lists it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) addr: String,
    pub(crate) status: String,
    pub(crate) tags: Tags,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.status, self.addr, self.tags)
    }
}

/// All members by name.
pub(crate) type View = BTreeMap<String, Seen>;

/// An agent of either kind.
pub(crate) trait Agent {
    fn name(&self) -> &str;
    fn addr(&self) -> SocketAddr;
    fn tags(&self) -> &Tags;
    /// Asks it for its members.
    fn view(&mut self) -> Result<View, String>;
    /// What it could not make sense of, or complained of, since it started.
    fn complaints(&mut self) -> Vec<String>;
}

/// Fails if an agent complains: in an undisturbed cluster no byte may be lost on a peer.
pub(crate) fn assert_no_complaints(agents: &mut [&mut dyn Agent]) {
    for agent in agents {
        let complaints = agent.complaints();
        assert!(complaints.is_empty(), "{} complains: {complaints:#?}", agent.name());
    }
}

/// Whether a line of a log is a warning or an error. What a busy machine causes does not count: a late answer says nothing
/// about the protocol.
pub(crate) fn is_complaint(line: &str) -> bool {
    (line.contains("[ERR]") || line.contains("[WARN]"))
        && ![
            "Refuting a suspect message",
            "network may be misconfigured",
            "slow, execution exceeding",
            // `serf query` hangs up before the agent has told it all.
            "Failed to stream ack to ipc.client",
            "Failed to stream response to ipc.client",
            "Failed to stream query end to ipc.client",
            "[ERR] agent.ipc: failed to decode request header: read tcp",
        ]
        .iter()
        .any(|harmless| line.contains(harmless))
}

/// The view in which all of `agents` are alive.
pub(crate) fn all_alive(agents: &[&mut dyn Agent]) -> View {
    let seen = |agent: &dyn Agent| Seen {
        addr: agent.addr().to_string(),
        status: "alive".to_owned(),
        tags: agent.tags().clone(),
    };
    agents.iter().map(|agent| (agent.name().to_owned(), seen(&**agent))).collect()
}

/// Waits until each of `agents` lists exactly all of them, alive, with their addresses and tags.
pub(crate) fn wait_for_agreement(agents: &mut [&mut dyn Agent], within: Duration) -> Duration {
    let expected = all_alive(agents);
    let what = format!("{} agents to list each other", agents.len());
    wait_until(&what, within, || {
        agents.iter_mut().try_for_each(|agent| {
            let view = agent.view()?;
            if view == expected {
                Ok(())
            } else {
                Err(format!("{} lists {view:#?}, not {expected:#?}", agent.name()))
            }
        })
    })
    .1
}

/// Waits until each of `agents` says that `member` has `status`.
pub(crate) fn wait_for_status(
    agents: &mut [&mut dyn Agent],
    member: &str,
    status: &str,
    within: Duration,
) -> Duration {
    wait_until(&format!("{member} to be {status}"), within, || has_status(agents, member, status)).1
}

/// Whether each of `agents` says that `member` has `status`.
pub(crate) fn has_status(agents: &mut [&mut dyn Agent], member: &str, status: &str) -> Result<(), String> {
    agents.iter_mut().try_for_each(|agent| match agent.view()?.get(member) {
        Some(seen) if seen.status == status => Ok(()),
        Some(seen) => Err(format!("{} says that {member} is {}", agent.name(), seen.status)),
        None => Err(format!("{} does not list {member}", agent.name())),
    })
}

/// Waits until each of `agents` lists `member` with exactly `tags`.
pub(crate) fn wait_for_tags(
    agents: &mut [&mut dyn Agent],
    member: &str,
    tags: &Tags,
    within: Duration,
) -> Duration {
    wait_until(&format!("{member} to have the tags {tags:?}"), within, || {
        agents.iter_mut().try_for_each(|agent| match agent.view()?.get(member) {
            Some(seen) if seen.tags == *tags => Ok(()),
            seen => Err(format!("{} lists {member} as {seen:?}", agent.name())),
        })
    })
    .1
}

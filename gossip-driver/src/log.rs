//! What an operator reads: `tracing` events in Serf's and memberlist's own words, at their levels. Without the feature
//! `tracing` nothing of this remains.

use core::fmt;
use core::future::Future;
use core::time::Duration;

use gossip_proto::{Cause, ChangeKind, Event, Instant, Stats};

use crate::notice::MemberInfo;

/// Whether logging is compiled in, and details of members are worth copying for it alone.
pub(crate) const ENABLED: bool = cfg!(feature = "tracing");

macro_rules! emit {
    ($level:ident, $($arg:tt)*) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!($($arg)*);
        #[cfg(not(feature = "tracing"))]
        { let _ = format_args!($($arg)*); }
    }};
}
pub(crate) use emit;

/// What a node logs is in the span in which it was started: who runs several in one process tells them apart by that.
#[cfg(feature = "tracing")]
pub(crate) fn within_span<F: Future>(task: F) -> tracing::instrument::Instrumented<F> {
    tracing::Instrument::in_current_span(task)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn within_span<F: Future>(task: F) -> F {
    task
}

/// A member changed.
pub(crate) fn change(member: &MemberInfo, kind: ChangeKind, cause: &Cause) {
    let (name, ip) = (&member.name, member.addr.ip());
    match (kind, cause) {
        (ChangeKind::Failed, Cause::Expired { accusers, .. }) => {
            // The first accuser began the suspicion; only the others confirmed it.
            let confirmations = accusers.len().saturating_sub(1);
            emit!(
                info,
                "memberlist: Marking {name} as failed, suspect timeout reached ({confirmations} peer confirmations)"
            );
        }
        (ChangeKind::Suspected, Cause::Probe { .. }) => {
            emit!(info, "memberlist: Suspect {name} has failed, no acks received");
        }
        (ChangeKind::Suspected, Cause::Accused { by, .. }) => {
            emit!(debug, "memberlist: Suspect {name} has failed (from: {by})");
        }
        (ChangeKind::Refuted, _) => emit!(debug, "memberlist: {name} refuted the suspicion"),
        _ => {}
    }
    match kind {
        ChangeKind::Joined => emit!(info, "serf: EventMemberJoin: {name} {ip}"),
        ChangeKind::Left => emit!(info, "serf: EventMemberLeave: {name} {ip}"),
        ChangeKind::Failed => emit!(info, "serf: EventMemberFailed: {name} {ip}"),
        ChangeKind::Updated => emit!(info, "serf: EventMemberUpdate: {name}"),
        ChangeKind::Reaped => emit!(info, "serf: EventMemberReap: {name}"),
        _ => {}
    }
}

/// The node gives way to another one of its name.
pub(crate) fn name_lost(matching: usize, responses: usize) {
    emit!(warn, "serf: minority in name conflict resolution, quiting [{matching} / {responses}]");
}

/// Something happened that concerns no single member's state.
pub(crate) fn event(now: Instant, event: &Event<'_>, conflicts: &mut Throttle) {
    match event {
        Event::Conflict { name, known, claimed } => {
            let Some(more) = conflicts.admit(now) else { return };
            let name = gossip_proto::Name::new(name);
            emit!(error, "memberlist: Conflicting address for {name}. Mine: {known} Theirs: {claimed}{more}");
        }
        Event::UserEvent { name, ltime, .. } => {
            let name = gossip_proto::Name::new(name);
            emit!(debug, "serf: User event: {name} (ltime: {ltime})");
        }
        Event::Query { name, ltime, .. } => {
            let name = gossip_proto::Name::new(name);
            emit!(debug, "serf: Query: {name} (ltime: {ltime})");
        }
        Event::Stalled { late } => {
            emit!(warn, "memberlist: This process did not run for {late:?}; deadlines were moved")
        }
        Event::RosterFull => emit!(warn, "memberlist: A member was not admitted: max_members is reached"),
        Event::RecordingStopped => {
            emit!(
                warn,
                "gossip: The recording has ended: it is as long as it may be, or its disk is too slow"
            )
        }
        Event::Lagged { lost } => emit!(warn, "serf: {lost} events were lost"),
        _ => {}
    }
}

/// A change of the keyring is in its file, or was taken back.
pub(crate) fn keyring_stored(result: &Result<(), String>) {
    match result {
        Ok(()) => emit!(info, "serf: The keyring was stored"),
        Err(why) => emit!(error, "serf: {why}; the change of the keyring was taken back"),
    }
}

/// Reports what any stranger can cause, once a second at most: whoever can send garbage must not be able to fill a
/// disk.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    next: Instant,
    silent: u64,
}

impl Throttle {
    pub(crate) fn report(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        if let Some(more) = self.admit(now) {
            emit!(warn, "{what}{more}");
        }
    }

    /// Whether one may be reported, and what to add about those that were not.
    fn admit(&mut self, now: Instant) -> Option<String> {
        if !ENABLED {
            return None;
        }
        if now < self.next {
            self.silent += 1;
            return None;
        }
        self.next = now + Duration::from_secs(1);
        Some(match core::mem::take(&mut self.silent) {
            0 => String::new(),
            silent => format!(" (and {silent} more like it)"),
        })
    }
}

/// Counters whose growth an operator must hear of, because no output tells it.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    refutations: u64,
    saved_by_stream: u64,
    refuting: Throttle,
}

impl Watch {
    pub(crate) fn look(&mut self, now: Instant, stats: &Stats, incarnation: impl FnOnce() -> u32) {
        if !ENABLED {
            return;
        }
        if stats.refutations > self.refutations {
            let incarnation = incarnation();
            let what =
                format_args!("memberlist: Refuting a suspect message (incarnation is now {incarnation})");
            self.refuting.report(now, what);
        }
        if stats.probes_saved_by_stream > self.saved_by_stream {
            emit!(
                warn,
                "memberlist: Was able to connect to a member over streams but datagram probes failed, network may be \
                 misconfigured"
            );
        }
        (self.refutations, self.saved_by_stream) = (stats.refutations, stats.probes_saved_by_stream);
    }
}

//! Which of two claims about a member wins.
//!
//! [`decide`] is the whole of it: a total function without state, clock or randomness. The caller gathers what it
//! believes into a [`Belief`], asks, and carries out the [`Verdict`]. It equals the reference (spec 4.3–4.5), apart
//! from the range of incarnations below.
//!
//! # What holds, and what does not
//!
//! This is *not* a join semilattice, and nodes that heard the same claims in another order may disagree for a while:
//!
//! * *Dead* and *left* are first-come: of two claims with one incarnation, the one that arrives first decides which
//!   of them the member is, because a second death changes nothing (4.5 step 4).
//! * A second death does not raise the incarnation either, so `dead 3, dead 5, alive 4` brings the member back and
//!   `dead 5, dead 3, alive 4` does not.
//! * A confirmation of a suspicion does not raise the incarnation (4.4 step 3).
//! * A new address may take over a name that left, at any incarnation, also a lower one (4.3 step 5).
//!
//! What does hold: a claim that was accepted does nothing when it comes again; at one address the incarnation never
//! falls; alive claims at one address with distinct incarnations commute; an alive one above the highest incarnation
//! accepted always wins; and who left stays so, for its incarnation and address, until it is reaped. Agreement after
//! faults stop then follows from exchanges and refutations, not from this function alone.
//!
//! # The range of incarnations
//!
//! The reference lets any single message raise an incarnation to the end of its range, where the counter wraps and
//! its victim can never again say anything that is believed (W-3). Here a claim that would take effect is refused if
//! it leaves the range of [`reach`], which keeps three promises: an accusation that is accepted can be answered by an
//! alive claim that is accepted; it is accepted also by those who missed the accusation; and to bring a member to the end
//! of the range takes tens of thousands of accepted claims, not one.

use core::fmt;

/// How a member stands in the view of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// It answers, or nobody has said otherwise.
    Alive,
    /// Somebody could not reach it. It counts as a member until the suspicion runs out or is refuted.
    Suspect,
    /// Its suspicion ran out, or another node declared it dead.
    Dead,
    /// It said itself that it leaves.
    Left,
}

impl Standing {
    /// Whether it takes part in the cluster: alive or suspect.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        })
    }
}

/// What this node believes of a member, as far as it matters for a claim at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Belief {
    pub(crate) standing: Standing,
    pub(crate) incarnation: u32,
    pub(crate) is_self: bool,
    /// This node is on its way out; only read together with `is_self`.
    pub(crate) leaving: bool,
    /// Dead for longer than a reclaim time that is not zero.
    pub(crate) reclaimable: bool,
    /// A suspicion is running.
    pub(crate) suspected: bool,
    /// The claim names the record's address and port, in whatever form. True for claims that name none.
    pub(crate) same_address: bool,
    /// The claim has the record's meta and versions. True for claims that have none.
    pub(crate) same_content: bool,
}

/// What somebody says about a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// It is there. `bootstrap`: this node announces itself, by command rather than by hearsay.
    Alive { incarnation: u32, bootstrap: bool },
    /// It did not answer.
    Suspect { incarnation: u32 },
    /// It is gone. `leave`: it says so itself.
    Dead { incarnation: u32, leave: bool },
}

impl Claim {
    const fn incarnation(self) -> u32 {
        match self {
            Self::Alive { incarnation, .. }
            | Self::Suspect { incarnation }
            | Self::Dead { incarnation, .. } => incarnation,
        }
    }
}

/// What a claim does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing: it is older than the belief, or adds nothing to it.
    Ignore,
    /// It replaces the belief and travels on.
    Accept,
    /// A member not known so far; the claim makes its record.
    Insert,
    /// Somebody else uses the name at another address. Nothing changes; whoever cares is told.
    Conflict,
    /// One more accuser for the suspicion that is running. The record does not change.
    Confirm,
    /// It is about this node and wrong: answer with [`refutation`].
    Refute,
    /// It would take effect, but its incarnation is out of range. Nothing changes; counted.
    Refuse,
}

/// Decides what `claim` does to `belief` (`None`: the member is unknown).
///
/// Whether this node wants to hear of the member at all (versions, allow lists, admission) is asked before.
pub(crate) fn decide(belief: Option<&Belief>, claim: Claim) -> Verdict {
    let verdict = match (belief, claim) {
        (None, Claim::Alive { .. }) => Verdict::Insert,
        (None, Claim::Suspect { .. } | Claim::Dead { .. }) => Verdict::Ignore,
        (Some(belief), Claim::Alive { incarnation, bootstrap }) => alive(belief, incarnation, bootstrap),
        (Some(belief), Claim::Suspect { incarnation }) => suspect(belief, incarnation),
        (Some(belief), Claim::Dead { incarnation, .. }) => dead(belief, incarnation),
    };
    match verdict {
        // Only what would take effect is refused: a conflict is still reported, and stale noise is still noise.
        Verdict::Ignore | Verdict::Conflict => verdict,
        _ if within_reach(belief, claim) => verdict,
        _ => Verdict::Refuse,
    }
}

/// The incarnation with which a node answers a wrong claim about itself (spec 4.6).
///
/// It saturates where the reference wraps (W-3). [`decide`] accepts no claim about a member that this could not answer.
pub(crate) fn refutation(own: u32, accused: u32) -> u32 {
    own.max(accused).saturating_add(1).min(HIGHEST_ALIVE)
}

/// Spec 4.3, steps 1 and 5–10.
fn alive(belief: &Belief, incarnation: u32, bootstrap: bool) -> Verdict {
    if belief.is_self && belief.leaving {
        return Verdict::Ignore;
    }
    let takes_over = !belief.same_address;
    if takes_over {
        let free = match belief.standing {
            Standing::Left => true,
            Standing::Dead => belief.reclaimable,
            Standing::Alive | Standing::Suspect => false,
        };
        // Before any look at the incarnation, and for our own name too (Q-10, W-20).
        if !free {
            return Verdict::Conflict;
        }
    }
    if !belief.is_self {
        let newer = incarnation > belief.incarnation;
        return if newer || takes_over { Verdict::Accept } else { Verdict::Ignore };
    }
    if incarnation < belief.incarnation {
        return Verdict::Ignore;
    }
    if bootstrap {
        return Verdict::Accept;
    }
    // Our own words coming back are not news. The same incarnation with other content is somebody else's words.
    let echo = incarnation == belief.incarnation && belief.same_content;
    if echo { Verdict::Ignore } else { Verdict::Refute }
}

/// Spec 4.4.
fn suspect(belief: &Belief, incarnation: u32) -> Verdict {
    if incarnation < belief.incarnation {
        Verdict::Ignore
    } else if belief.suspected {
        Verdict::Confirm
    } else if belief.standing != Standing::Alive {
        Verdict::Ignore
    } else if belief.is_self {
        Verdict::Refute
    } else {
        Verdict::Accept
    }
}

/// Spec 4.5. Step 3, that the suspicion ends, is part of [`Verdict::Accept`]; elsewhere there is none to end.
fn dead(belief: &Belief, incarnation: u32) -> Verdict {
    if incarnation < belief.incarnation || !belief.standing.is_live() {
        Verdict::Ignore
    } else if belief.is_self && !belief.leaving {
        Verdict::Refute
    } else {
        Verdict::Accept
    }
}

/// The incarnation as far as a claim is followed: not beyond its [`reach`], and each time that it is heard it goes further.
///
/// So it is with alive claims: were they refused, one message to a member, which answers it, would put that member beyond what
/// others believe of it, and from then on it could not refute. And so with whatever is said of this node: two messages
/// to somebody who has not heard of it for a while would put what that one believes out of this node's reach, for good.
pub(crate) fn followed(belief: Option<&Belief>, claim: Claim) -> u32 {
    // Who leaves has no answer to give.
    let is_answered = belief.is_some_and(|belief| belief.is_self && !belief.leaving);
    let in_steps = match claim {
        Claim::Alive { bootstrap, .. } => !bootstrap,
        Claim::Suspect { .. } | Claim::Dead { .. } => is_answered,
    };
    if in_steps { claim.incarnation().min(reach(belief, claim)) } else { claim.incarnation() }
}

fn within_reach(belief: Option<&Belief>, claim: Claim) -> bool {
    match claim {
        // By command, not by hearsay. Zero is never sent: a record with it could not be told from a ghost.
        Claim::Alive { incarnation, bootstrap: true } => {
            return incarnation != 0 && incarnation <= HIGHEST_ALIVE;
        }
        Claim::Alive { incarnation: 0, .. } => return false,
        Claim::Alive { .. } | Claim::Suspect { .. } | Claim::Dead { .. } => {}
    }
    // Our own leave needs no answer, whatever its incarnation.
    let own_leave = belief.is_some_and(|belief| belief.is_self && belief.leaving);
    own_leave || claim.incarnation() <= reach(belief, claim)
}

/// The highest incarnation to which one claim can take a member.
///
/// A newcomer may have any history, but stays in the lower half of the range, so that nobody can plant a member where
/// accusations end, to haunt the cluster for good. The same holds for what is said about this node: after a restart it
/// counts from 1 again while its peers may remember any incarnation, and it must be able to answer what they
/// believe. And so an alive claim may take anybody that far, and one further: an answer has to be believed also by those
/// who missed what it answers. Otherwise one suspicion with a high incarnation, sent to its victim alone, has the victim
/// answer with what nobody else takes from it, and from then on it could not refute.
///
/// In the upper half a member rises by [`LARGEST_RAISE`] at most. Accusations have half of that, for the same reason.
fn reach(belief: Option<&Belief>, claim: Claim) -> u32 {
    let Some(belief) = belief else { return HIGHEST_UNKNOWN };
    let raised = |by| belief.incarnation.saturating_add(by);
    match claim {
        Claim::Alive { .. } => raised(LARGEST_RAISE).clamp(HIGHEST_UNKNOWN + 1, HIGHEST_ALIVE),
        Claim::Suspect { .. } | Claim::Dead { .. } if belief.is_self => {
            raised(LARGEST_RAISE / 2).clamp(HIGHEST_UNKNOWN, HIGHEST_ACCUSATION)
        }
        Claim::Suspect { .. } | Claim::Dead { .. } => raised(LARGEST_RAISE / 2).min(HIGHEST_ACCUSATION),
    }
}

/// One below the top, so that a peer that adds one does not wrap.
const HIGHEST_ALIVE: u32 = u32::MAX - 1;
/// Leaves one alive claim above it to answer with.
const HIGHEST_ACCUSATION: u32 = HIGHEST_ALIVE - 1;
const HIGHEST_UNKNOWN: u32 = u32::MAX / 2;
const LARGEST_RAISE: u32 = 1 << 16;

#[cfg(test)]
#[path = "precedence_tests.rs"]
mod tests;

//! One running suspicion: its deadline, and who else accuses (spec 4.7, Lifeguard).

use core::time::Duration;

use smallvec::SmallVec;

use super::scale;
use crate::name::Name;
use crate::time::Instant;

/// A suspicion waits long at first and shorter with each independent accuser, so that one node with a bad link
/// cannot have a healthy member declared dead quickly.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    /// How long this node had been stalled in all when the suspicion began; see [`Suspicion::extend_for_stall`].
    pub(crate) stall_base: Duration,
    stall_applied: Duration,
    /// Until when a stall's end leaves time to listen.
    listening: Instant,
    started: Instant,
    deadline: Instant,
    min: Duration,
    max: Duration,
    k: u32,
    /// The initiator, then the confirmers; the confirmations are one fewer, and never more than `k`.
    accusers: SmallVec<[Name; 4]>,
}

impl Suspicion {
    /// A suspicion that begins now. It lasts `max`, or `min` if no confirmation is expected (`k` = 0).
    pub(crate) fn new(
        now: Instant,
        k: u32,
        min: Duration,
        max: Duration,
        initiator: impl AsRef<[u8]>,
    ) -> Self {
        let mut accusers = SmallVec::new();
        accusers.push(Name::new(initiator));
        Self {
            stall_base: Duration::ZERO,
            stall_applied: Duration::ZERO,
            listening: now,
            started: now,
            deadline: now + if k >= 1 { max } else { min },
            min,
            max,
            k,
            accusers,
        }
    }

    /// Counts one more accuser; false if it counted before, or if enough have confirmed (spec 4.7: that is checked
    /// first, so the list of accusers is bounded by `k` whatever names arrive).
    pub(crate) fn confirm(&mut self, now: Instant, from: impl AsRef<[u8]>) -> bool {
        let from = from.as_ref();
        if self.confirmations() >= self.k || self.accusers.iter().any(|accuser| accuser.as_bytes() == from) {
            return false;
        }
        self.accusers.push(Name::new(from));
        let lasts = scale::remaining_suspicion(self.confirmations(), self.k, self.min, self.max);
        let shortened = (self.started + lasts + self.stall_applied).max(self.listening);
        // A deadline that would lie in the past is due now; one that has been missed already stays missed.
        self.deadline = self.deadline.min(shortened.max(now));
        true
    }

    /// Gives the member back the time in which this node itself could not listen: refutations that arrived then have
    /// not been read yet. `total_stalled` counts from the node's start; what exceeds [`Suspicion::stall_base`] and
    /// was not granted before moves the deadline, in all by at most the maximum suspicion time; but however long the stall was,
    /// as much as a minimal suspicion of it is left from `now` on. Returns the new deadline if it moved.
    pub(crate) fn extend_for_stall(&mut self, now: Instant, total_stalled: Duration) -> Option<Instant> {
        let owed = total_stalled.saturating_sub(self.stall_base).min(self.max);
        let more = owed.checked_sub(self.stall_applied).filter(|more| !more.is_zero())?;
        self.stall_applied = owed;
        self.listening = now + more.min(self.min);
        self.deadline = (self.deadline + more).max(self.listening);
        Some(self.deadline)
    }

    /// When the member is to be declared dead.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When the suspicion began.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// How many independent accusers followed the first.
    pub(crate) fn confirmations(&self) -> u32 {
        (self.accusers.len() - 1) as u32
    }

    /// Who accused, the initiator first.
    pub(crate) fn accusers(&self) -> &[Name] {
        &self.accusers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_millis(2000);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(10_000 + millis)
    }

    fn suspicion(k: u32) -> Suspicion {
        Suspicion::new(at(0), k, MIN, MAX, "me")
    }

    // upstream: TestSuspicion_Timer
    #[test]
    fn confirmations_shorten_it_by_the_formula() {
        let mut s = suspicion(3);
        assert_eq!((s.deadline(), s.started(), s.confirmations()), (at(2000), at(0), 0));
        assert!(!s.confirm(at(10), "me"), "the initiator is not a confirmation");
        assert!(s.confirm(at(20), "foo"));
        assert_eq!(s.deadline(), at(1250));
        assert!(!s.confirm(at(30), "foo"));
        assert_eq!(s.deadline(), at(1250));
        assert!(s.confirm(at(40), "bar"));
        assert_eq!(s.deadline(), at(811), "cut to whole milliseconds");
        assert!(s.confirm(at(50), "baz"));
        assert_eq!(s.deadline(), at(500));
        assert!(!s.confirm(at(60), "zoo"), "k are in");
        assert_eq!(s.accusers(), ["me", "foo", "bar", "baz"].map(Name::from));
    }

    // upstream: TestSuspicion_Timer_ZeroK
    #[test]
    fn without_expected_confirmations_it_lasts_the_minimum() {
        let mut s = suspicion(0);
        assert_eq!(s.deadline(), at(500));
        assert!(!s.confirm(at(1), "foo"));
        assert_eq!((s.deadline(), s.confirmations()), (at(500), 0));
    }

    // upstream: TestSuspicion_Timer_Immediate
    #[test]
    fn a_late_confirmation_is_due_at_once_not_in_the_past() {
        let mut s = suspicion(1);
        assert!(s.confirm(at(900), "foo"));
        assert_eq!(s.deadline(), at(900));
        // One that comes after the deadline was missed does not postpone it.
        let mut s = suspicion(1);
        assert!(s.confirm(at(9000), "foo"));
        assert_eq!(s.deadline(), at(2000));
    }

    #[test]
    fn a_stall_moves_the_deadline_once_and_within_bounds() {
        let mut s = suspicion(2);
        s.stall_base = Duration::from_millis(300);
        assert_eq!(s.extend_for_stall(at(2000), Duration::from_millis(300)), None);
        assert_eq!(s.extend_for_stall(at(2000), Duration::from_millis(200)), None);
        assert_eq!(s.extend_for_stall(at(100), Duration::from_millis(700)), Some(at(2400)));
        assert_eq!(s.extend_for_stall(at(100), Duration::from_millis(700)), None, "granted before");
        assert!(s.confirm(at(101), "foo"));
        assert_eq!(s.deadline(), at(1053 + 400), "a confirmation keeps what was granted");
        assert_eq!(s.extend_for_stall(at(1453), Duration::from_secs(60)), Some(at(1053 + 2000)));
        assert_eq!(s.extend_for_stall(at(3053), Duration::MAX), None, "at most the maximum in all");
    }

    #[test]
    fn after_a_stall_of_any_length_there_is_time_to_listen() {
        let mut s = suspicion(2);
        let woken = at(60_000);
        assert_eq!(s.extend_for_stall(woken, Duration::from_secs(59)), Some(woken + MIN));
        assert!(s.confirm(woken, "foo"), "what waited in the socket");
        assert!(s.deadline() >= woken + MIN, "{:?}", s.deadline());
        assert_eq!(s.extend_for_stall(woken + MIN, Duration::from_secs(59)), None);
        // As much of it as the stall was long.
        let mut s = suspicion(2);
        assert_eq!(s.extend_for_stall(at(9000), Duration::from_millis(20)), Some(at(9020)));
    }

    #[test]
    fn hostile_accusers_cannot_grow_it() {
        let mut s = suspicion(2);
        let counted = (0..10_000u32).filter(|n| s.confirm(at(1), n.to_le_bytes())).count();
        assert_eq!((counted, s.accusers().len()), (2, 3));
        assert_eq!(s.deadline(), at(500));
    }
}

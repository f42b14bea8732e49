//! What must hold after every call.

use alloc::collections::BTreeMap;

use super::Subject;
use crate::output::*;
use crate::{Name, Stats};

/// What a machine under test may hold at most, by its own account.
const MAX_MEMORY: usize = 4 << 20;

/// What was seen of a machine before.
pub(in crate::testing) struct Watch {
    name: Name,
    max_members: usize,
    stats: Stats,
    incarnation: u32,
    clocks: Clocks,
    told: BTreeMap<MemberKey, Told>,
}

/// What the application was told of a member last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Up,
    Suspected,
    Gone,
}

impl Watch {
    pub(in crate::testing) fn new<M: Subject>(machine: &M) -> Self {
        Self {
            name: machine.local().name.clone(),
            max_members: *machine.config().values().max_members,
            stats: Stats::default(),
            incarnation: machine.local().incarnation,
            clocks: machine.lamport(),
            told: BTreeMap::new(),
        }
    }

    pub(in crate::testing) fn check<M: Subject>(&mut self, machine: &M) {
        self.counters(machine);
        self.members(machine);
        for Depth { what, len, cap } in machine.depths() {
            assert!(len <= cap, "{len} {what}, and {cap} may be");
        }
        assert!(machine.memory() <= MAX_MEMORY, "{} bytes held", machine.memory());
        assert!(machine.health() < *machine.config().values().awareness_max, "health beyond its ceiling");
        assert_eq!(machine.next_wakeup().map(|(_, at)| at), machine.poll_timeout(), "two different timers");
        let clocks = machine.lamport();
        let kept = clocks.member >= self.clocks.member && clocks.event >= self.clocks.event;
        assert!(
            kept && clocks.query >= self.clocks.query,
            "a clock went back: {:?} to {clocks:?}",
            self.clocks
        );
        self.clocks = clocks;
    }

    fn counters<M: Subject>(&mut self, machine: &M) {
        let stats = machine.stats();
        for ((name, now), (_, before)) in stats.iter().zip(self.stats.iter()) {
            assert!(now >= before, "the counter {name} fell from {before} to {now}");
        }
        self.stats.clone_from(stats);
    }

    fn members<M: Subject>(&mut self, machine: &M) {
        let local = machine.local();
        assert!(local.local && *local.name == self.name, "the local member is somebody else");
        assert!(local.incarnation >= self.incarnation, "its own incarnation fell to {}", local.incarnation);
        self.incarnation = local.incarnation;
        let (mut members, mut gone) = (0, 0);
        for member in machine.members() {
            members += 1;
            gone += usize::from(matches!(member.status, Status::Failed | Status::Left));
            let found = machine.find(member.name.as_bytes()).map(|found| found.key);
            assert_eq!(found, Some(member.key), "a member is not found by its name");
            assert!(machine.member(member.key).is_some(), "a member is not found by its key");
            let _ = member.tags().count();
        }
        assert!(members <= self.max_members, "{members} members");
        assert_eq!(machine.num_alive() + gone, members, "members are counted otherwise");
        machine.check_own(gone);
    }

    /// A member is up without a word about it.
    pub(in crate::testing) fn knows(&mut self, key: MemberKey) {
        self.told.insert(key, Told::Up);
    }

    /// Changes of a member come in an order in which they can have happened.
    pub(in crate::testing) fn changed<M: Subject>(&mut self, machine: &M, change: &MembershipChange) {
        let MembershipChange { key, kind, .. } = change;
        let before = self.told.get(key).copied();
        let after = match (before, kind) {
            (None | Some(Told::Gone), ChangeKind::Joined) => Some(Told::Up),
            (Some(_), ChangeKind::Updated) => before,
            (Some(Told::Up), ChangeKind::Suspected) => Some(Told::Suspected),
            (Some(Told::Suspected), ChangeKind::Refuted) => Some(Told::Up),
            (Some(_), ChangeKind::Left) => Some(Told::Gone),
            (Some(Told::Up | Told::Suspected), ChangeKind::Failed) => Some(Told::Gone),
            (Some(Told::Gone), ChangeKind::Reaped) => None,
            _ => panic!("{kind:?} of a member that was {before:?}"),
        };
        match after {
            Some(told) => self.told.insert(*key, told),
            None => self.told.remove(key),
        };
        assert!(self.told.len() <= 4 * self.max_members, "members are forgotten, and nobody is told");
        if *kind != ChangeKind::Reaped {
            assert!(machine.member(*key).is_some(), "a member that changed is not there");
        }
    }
}

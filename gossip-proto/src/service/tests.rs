//! Serf's rules on a single node: intents, events, push/pull, leaving (serf.md 2–4).

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::ring::Seen;
use super::*;
use crate::output::{ChangeKind, DatagramKind, Event, Outcome, Source};
use crate::roster::{LOCAL, WireAddr};
use crate::swim::{AliveClaim, Swim, Upper, Via};
use crate::wire::keyring::Keyring;
use crate::wire::serf::{JoinIntent, LeaveIntent, PushPull, PushPullParts, Query, RecentEvent, UserEvent};
use crate::{Config, Instant, NonceSecret, Seed, Status};

#[path = "learnt_tests.rs"]
mod learnt;

pub(super) struct Bed {
    pub(super) swim: Swim,
    pub(super) services: Services,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(ServiceConfig::default())
    }

    pub(super) fn with(config: ServiceConfig) -> Self {
        Self::with_ring(config, None)
    }

    pub(super) fn with_ring(config: ServiceConfig, ring: Option<Keyring>) -> Self {
        let seed = Seed::from_u64(1);
        let mut membership = Config::lan("self", "10.0.0.1:7946".parse().unwrap());
        membership.keyring(ring).delegate_versions([2, 5, 5]);
        let mut swim = Swim::new(Instant::ORIGIN, membership, &seed, NonceSecret::new([0; 32])).unwrap();
        swim.roster.serviced = true;
        let keyed = Keyed::new(&mut crate::rng::Rng::from_seed(&seed, 2));
        let mut services = Services::new(config, keyed, &seed);
        swim.start(&mut services);
        services.start(&mut swim);
        let mut bed = Self { swim, services };
        bed.changes();
        bed
    }

    pub(super) fn alive(&mut self, name: &str, incarnation: u32) {
        let addr = WireAddr::new(&[10, 0, 0, name.len() as u8 + 10]).unwrap();
        let claim = AliveClaim {
            name: name.as_bytes(),
            incarnation,
            addr,
            port: 7946,
            metadata: &[0xff, 0x80],
            versions: [1, 5, 2, 2, 5, 5],
        };
        let source = Source::unauthenticated(addr.socket(7946));
        let known = self.swim.known(claim.name);
        self.swim.alive(&mut self.services, known, &claim, Via::Datagram(source));
    }

    pub(super) fn dead(&mut self, name: &str, incarnation: u32, by: &str) {
        let slot = self.swim.roster.find(name.as_bytes()).unwrap();
        let cause = crate::Cause::Declared { by: by.into() };
        self.swim.dead(&mut self.services, slot, incarnation, by.as_bytes(), cause);
    }

    fn leave_intent(&mut self, name: &str, ltime: u64, prune: bool) -> bool {
        let intent = LeaveIntent { ltime, node: name.as_bytes().into(), prune };
        self.services.leave_intent(&mut self.swim, &intent, false)
    }

    fn join_intent(&mut self, name: &str, ltime: u64) -> bool {
        self.services.join_intent(&mut self.swim, &JoinIntent { ltime, node: name.as_bytes().into() }, false)
    }

    fn event(&mut self, ltime: u64, name: &str, payload: &str) -> bool {
        let event = UserEvent {
            ltime,
            name: name.as_bytes().into(),
            payload: payload.as_bytes().into(),
            coalesce: false,
        };
        self.services.user_event(&mut self.swim, &event)
    }

    pub(super) fn says(&self, name: &str) -> Option<Status> {
        self.swim.roster.find(name.as_bytes()).and_then(|slot| self.swim.roster.get(slot).says)
    }

    fn ltime(&self, name: &str) -> u64 {
        self.services.member(self.swim.roster.find(name.as_bytes()).unwrap()).ltime
    }

    pub(super) fn changes(&mut self) -> Vec<ChangeKind> {
        core::iter::from_fn(|| self.swim.poll_membership().map(|change| change.kind)).collect()
    }

    fn events(&mut self) -> usize {
        let mut n = 0;
        while let Some(event) = self.swim.events.poll(&mut self.swim.buffers) {
            n += usize::from(matches!(event, Event::UserEvent { .. }));
        }
        n
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.swim.now + duration;
        let mut buf = [0; 1400];
        loop {
            while self.swim.poll_transmit(&self.services, &mut buf).is_some() {}
            self.swim.settle(&mut self.services);
            while self.swim.poll_stream().is_some() {}
            let at = self.swim.poll_timeout().unwrap();
            if at > end {
                self.swim.advance(end);
                return;
            }
            self.swim.timeout(&mut self.services, at);
            self.swim.settle(&mut self.services);
        }
    }

    fn merge(&mut self, state: &[u8], join: bool) {
        let from = Source::unauthenticated("10.0.0.2:7946".parse().unwrap());
        self.services.merge_state(&mut self.swim, from, join, state);
        let mut work = 10_000;
        self.services.merge_states(&mut self.swim, &mut work);
        assert!(work > 0);
    }
}

fn state(times: [u64; 3], statuses: &[(&str, u64)], left: &[&str], events: &[(u64, &str)]) -> Vec<u8> {
    let [ltime, event_ltime, query_ltime] = times;
    let mut out = alloc::vec![2];
    let statuses: Vec<(&[u8], u64)> = statuses.iter().map(|&(name, t)| (name.as_bytes(), t)).collect();
    let left: Vec<&[u8]> = left.iter().map(|name| name.as_bytes()).collect();
    let events: Vec<_> = events
        .iter()
        .map(|&(t, name)| {
            Some((t, [RecentEvent { name: name.as_bytes().into(), payload: Default::default() }].into_iter()))
        })
        .collect();
    let parts = PushPullParts {
        ltime,
        event_ltime,
        query_ltime,
        status_ltimes: statuses.into_iter(),
        left_members: left.into_iter(),
        events: events.into_iter(),
    };
    parts.encode(&mut out).unwrap();
    out
}

// upstream: TestSerf_leaveIntent_bufferEarly
// upstream: TestSerf_joinIntent_bufferEarly
// upstream: TestSerf_join_pendingIntent
#[test]
fn intents_may_come_before_their_member() {
    let mut bed = Bed::new();
    assert!(bed.join_intent("a", 10) && !bed.join_intent("a", 10));
    bed.alive("a", 1);
    assert_eq!((bed.says("a"), bed.ltime("a")), (Some(Status::Alive), 10));
    assert!(bed.leave_intent("bb", 12, false) && !bed.leave_intent("bb", 12, false));
    bed.alive("bb", 1);
    assert_eq!((bed.says("bb"), bed.ltime("bb"), bed.services.clock.time()), (Some(Status::Leaving), 12, 13));
}

// upstream: TestSerf_join_pendingIntents
// upstream: TestSerf_RecentIntent
#[test]
fn of_early_intents_the_newest_counts() {
    let mut bed = Bed::new();
    assert!(bed.join_intent("a", 5));
    assert!(bed.leave_intent("a", 6, false));
    assert!(!bed.join_intent("a", 6));
    bed.alive("a", 1);
    assert_eq!((bed.says("a"), bed.ltime("a")), (Some(Status::Leaving), 6));
}

// upstream: TestSerf_leaveIntent_oldMessage
// upstream: TestSerf_leaveIntent_newer
// upstream: TestSerf_joinIntent_resetLeaving
// upstream: TestSerf_joinIntent_oldMessage, TestSerf_joinIntent_newer
#[test]
fn newer_intents_win() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    assert!(bed.join_intent("a", 12));
    assert!(!bed.leave_intent("a", 10, false) && !bed.leave_intent("a", 12, false));
    assert_eq!(bed.says("a"), Some(Status::Alive));
    assert!(bed.leave_intent("a", 14, false));
    assert_eq!((bed.says("a"), bed.services.clock.time()), (Some(Status::Leaving), 15));
    assert!(bed.join_intent("a", 15));
    assert_eq!((bed.says("a"), bed.ltime("a")), (Some(Status::Alive), 15));
    assert_eq!(bed.changes(), [ChangeKind::Joined], "intents alone are no events");
}

#[test]
fn with_the_intent_it_left_without_it_failed() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.alive("bb", 1);
    bed.changes();
    bed.leave_intent("a", 5, false);
    bed.dead("a", 1, "a");
    // Serf looks at the intent alone, not at how membership was left.
    bed.dead("bb", 1, "bb");
    assert_eq!((bed.says("a"), bed.says("bb")), (Some(Status::Left), Some(Status::Failed)));
    assert_eq!(bed.changes(), [ChangeKind::Left, ChangeKind::Failed]);
    assert_eq!((bed.services.num_left(), bed.services.num_failed()), (1, 1));
}

// upstream: TestSerf_RemoveFailed_eventsLeave, TestSerf_forceLeaveLeft
#[test]
fn a_failed_member_can_be_forced_out_and_forgotten() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.dead("a", 1, "x");
    bed.changes();
    assert!(bed.leave_intent("a", 5, false));
    assert_eq!((bed.says("a"), bed.changes()), (Some(Status::Left), alloc::vec![ChangeKind::Left]));
    assert!(bed.leave_intent("a", 6, true));
    assert_eq!((bed.says("a"), bed.changes()), (None, alloc::vec![ChangeKind::Reaped]));
    assert_eq!((bed.services.num_left(), bed.services.num_failed(), bed.services.listed), (0, 0, 1));
}

// upstream: TestSerf_forceLeaveLeaving
#[test]
fn a_pruned_member_that_objects_stays() {
    let mut bed = Bed::new();
    // Sooner than anybody is suspected.
    bed.swim.config.broadcast_timeout = Duration::from_millis(100);
    bed.alive("a", 1);
    bed.alive("bb", 1);
    assert!(bed.leave_intent("a", 5, true) && bed.leave_intent("bb", 6, true));
    assert!(bed.join_intent("a", 7));
    bed.run(Duration::from_millis(1200));
    // One that lives and has not objected may have heard nothing of it: it goes when it is gone.
    assert_eq!((bed.says("a"), bed.says("bb")), (Some(Status::Alive), Some(Status::Leaving)));
    bed.dead("bb", 1, "x");
    assert_eq!((bed.says("a"), bed.says("bb")), (Some(Status::Alive), None));
}

#[test]
fn of_a_leave_and_a_join_at_one_time_the_join_counts() {
    for join_first in [true, false] {
        let mut bed = Bed::new();
        bed.alive("a", 1);
        if join_first {
            bed.join_intent("a", 5);
            assert!(!bed.leave_intent("a", 5, false));
        } else {
            bed.leave_intent("a", 5, false);
            assert!(bed.join_intent("a", 5));
        }
        assert_eq!((bed.says("a"), bed.ltime("a")), (Some(Status::Alive), 5));
    }
    // The node itself says so once more: other implementations take what came first.
    let mut bed = Bed::new();
    let own = bed.ltime("self");
    assert!(!bed.leave_intent("self", own, false));
    assert!(bed.ltime("self") > own);
}

/// Exchanges say a time, and not whether it is that of a join: whoever took the time of a join for that of a leave says so to the
/// member. Gossip would have to reach it by chance, as nobody passes on what is old.
#[test]
fn who_heard_of_a_leave_at_the_time_of_a_join_gives_the_member_a_chance_to_object() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.leave_intent("a", 5, false);
    let told = |bed: &mut Bed| {
        let (mut buf, mut to) = ([0; 1400], Vec::new());
        while let Some(transmit) = bed.swim.poll_transmit(&bed.services, &mut buf) {
            if transmit.kind == DatagramKind::Message {
                to.push(transmit.to);
            }
        }
        to
    };
    bed.merge(&state([6, 0, 0], &[("a", 4)], &[], &[]), false);
    assert_eq!(told(&mut bed), [], "older than the leave: it is none of a join that could count");
    bed.merge(&state([6, 0, 0], &[("a", 5)], &[], &[]), false);
    assert_eq!(
        (told(&mut bed), bed.says("a")),
        (Vec::from(["10.0.0.11:7946".parse().unwrap()]), Some(Status::Leaving))
    );
    assert_eq!(bed.swim.stats.hearsay_told, 1);
    // What it hears then.
    let mut other = Bed::new();
    other.join_intent("self", 5);
    assert!(!other.leave_intent("self", 5, false));
    let objection = other.ltime("self");
    assert!(objection > 5 && bed.join_intent("a", objection));
    assert_eq!(bed.says("a"), Some(Status::Alive));
    // And then there is nothing to ask any more.
    bed.merge(&state([6, 0, 0], &[("a", objection)], &[], &[]), false);
    assert_eq!(told(&mut bed), []);
    // Whoever claims such times of many members does not have as many packets sent.
    bed.leave_intent("a", 9, false);
    for _ in 0..100 {
        bed.merge(&state([10, 0, 0], &[("a", 9)], &[], &[]), false);
    }
    let stats = &bed.swim.stats;
    assert_eq!((stats.hearsay_told, stats.hearsay_withheld), (8, 93));
}

#[test]
fn the_node_objects_to_an_intent_that_it_hears_of_in_an_exchange() {
    let mut bed = Bed::new();
    let about_us = |ltime| state([ltime + 1, 0, 0], &[("self", ltime)], &[], &[]);
    bed.merge(&about_us(20), false);
    assert_eq!((bed.says("self"), bed.ltime("self")), (Some(Status::Alive), 21));
    // What is known already is no news.
    bed.merge(&about_us(21), false);
    assert_eq!(bed.ltime("self"), 21);
}

#[test]
fn the_node_objects_to_being_forced_out() {
    let mut bed = Bed::new();
    assert!(!bed.leave_intent("self", 20, false));
    assert_eq!(
        (bed.says("self"), bed.ltime("self"), bed.services.clock.time()),
        (Some(Status::Alive), 21, 22)
    );
}

// upstream: TestSerf_ReapHandler, TestSerf_Reap, TestSerf_joinLeave
#[test]
fn failed_and_left_members_are_forgotten_in_time() {
    let mut config = ServiceConfig::default();
    config.reconnect_timeout(Duration::from_secs(100)).tombstone_timeout(Duration::from_secs(200));
    let mut bed = Bed::with(config);
    bed.alive("a", 1);
    bed.alive("bb", 1);
    bed.leave_intent("bb", 5, false);
    bed.dead("a", 1, "x");
    bed.dead("bb", 1, "bb");
    bed.changes();
    bed.run(Duration::from_secs(99));
    assert_eq!((bed.says("a"), bed.says("bb")), (Some(Status::Failed), Some(Status::Left)));
    bed.run(Duration::from_secs(2));
    assert_eq!((bed.says("a"), bed.says("bb")), (None, Some(Status::Left)));
    bed.run(Duration::from_secs(100));
    assert_eq!((bed.says("bb"), bed.changes()), (None, alloc::vec![ChangeKind::Reaped; 2]));
    assert_eq!(bed.swim.roster.find(b"a"), None, "the slot is free");
}

#[test]
fn a_member_that_failed_long_ago_can_come_back() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.dead("a", 1, "x");
    // SWIM has forgotten it by then, Serf has not.
    bed.run(Duration::from_secs(60));
    assert_eq!(bed.says("a"), Some(Status::Failed));
    bed.changes();
    bed.alive("a", 1);
    assert_eq!((bed.says("a"), bed.changes()), (Some(Status::Alive), alloc::vec![ChangeKind::Joined]));
}

// upstream: TestSerf_userEvent_sameClock
// upstream: TestSerf_userEvent_oldMessage
#[test]
fn user_events_arrive_once() {
    let mut bed = Bed::new();
    assert!(bed.event(1, "first", "x") && bed.event(1, "first", "newpayload") && bed.event(1, "other", "x"));
    assert!(!bed.event(1, "first", "x"));
    assert_eq!(bed.events(), 3);
    assert!(bed.event(2000, "late", ""));
    assert!(!bed.event(2001 - 513, "old", "") && bed.event(2001 - 512, "just", ""));
    assert_eq!((bed.swim.stats.user_events_old, bed.swim.stats.user_events_duplicate), (1, 1));
}

#[test]
fn events_of_one_time_are_bounded_and_so_is_each() {
    let mut config = ServiceConfig::default();
    config.max_events_per_ltime(2);
    let mut bed = Bed::with(config);
    assert!(bed.event(1, "a", "") && bed.event(1, "b", "") && !bed.event(1, "c", ""));
    assert!(!bed.event(2, "large", &"x".repeat(9216)));
    assert_eq!((bed.events(), bed.swim.stats.user_events_refused), (2, 2));
}

#[test]
fn a_ring_of_eight_drops_what_is_older() {
    // serf.md 2.3: B = 8, clock 21: 12 is dropped, 13 accepted.
    let mut config = ServiceConfig::default();
    config.event_buffer(8);
    let mut bed = Bed::with(config);
    bed.event(20, "now", "");
    assert!(!bed.event(12, "old", "") && bed.event(13, "just", ""));
}

// upstream: TestDelegate_MergeRemoteState
#[test]
fn a_remote_state_moves_clocks_and_statuses() {
    let mut bed = Bed::new();
    bed.alive("gone", 1);
    bed.merge(&state([42, 50, 100], &[("test", 20), ("gone", 15)], &["gone"], &[(45, "test")]), false);
    assert_eq!(
        (bed.services.clock.time(), bed.services.event_clock.time(), bed.services.query_clock.time()),
        (42, 50, 100)
    );
    assert_eq!(bed.services.recent.get(&"test".into()), Some((intents::Intent::Join, 20)));
    assert_eq!((bed.says("gone"), bed.ltime("gone")), (Some(Status::Leaving), 16));
    assert_eq!(bed.events(), 1);
}

#[test]
fn tombstones_do_not_grow_with_every_exchange() {
    // serf.md Q11: upstream raises the time by one at each.
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.leave_intent("a", 10, false);
    bed.dead("a", 1, "a");
    for _ in 0..5 {
        bed.merge(&state([11, 1, 1], &[("a", 10)], &["a"], &[]), false);
    }
    assert_eq!((bed.ltime("a"), bed.services.clock.time()), (10, 11));
}

// upstream: TestDelegate_LocalState
#[test]
fn what_this_node_tells_can_be_read_back() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    bed.alive("bb", 1);
    bed.leave_intent("bb", 7, false);
    bed.dead("bb", 1, "bb");
    bed.event(3, "deploy", "v1");
    let mut out = Vec::new();
    bed.services.encode_state(&mut bed.swim, &mut out);
    let (state, _) = PushPull::decode(&out[1..]).unwrap();
    assert_eq!((state.ltime, state.event_ltime, state.query_ltime), (8, 4, 1));
    let names: Vec<_> = state.left_members(&out[1..]).collect();
    assert_eq!(names, [&b"bb"[..]]);
    assert_eq!(state.status_ltimes(&out[1..]).count(), 3);
    assert_eq!(state.events(&out[1..]).count(), 1);
}

/// Peers refuse a state that is too long, and every exchange with it: who is gone is left out first.
#[test]
fn names_that_are_too_long_in_all_are_left_out_of_what_is_told() {
    let mut bed = Bed::new();
    let name = |n: usize| format!("{n:0512}");
    let told = |bed: &mut Bed| {
        let mut out = Vec::new();
        bed.services.encode_state(&mut bed.swim, &mut out);
        let (state, _) = PushPull::decode(&out[1..]).unwrap();
        let numbers: Vec<usize> = state
            .status_ltimes(&out[1..])
            .filter_map(|(name, _)| core::str::from_utf8(&name).unwrap().parse().ok())
            .collect();
        (out.len(), numbers)
    };
    for n in 0..16_000 {
        bed.alive(&name(n), 1);
        if n < 1000 {
            bed.dead(&name(n), 1, "x");
        }
    }
    let (len, all) = told(&mut bed);
    assert_eq!((all.len(), bed.swim.stats.statuses_untold), (15_947, 53), "{len}");
    assert!(len <= 8 << 20 && all.iter().filter(|&&n| n < 1000).count() == 947);
    for n in 16_000..18_000 {
        bed.alive(&name(n), 1);
    }
    let (len, all) = told(&mut bed);
    assert!(len <= 8 << 20 && len > 7 << 20 && all.iter().all(|&n| n >= 1000), "{len}");
    assert!(bed.swim.stats.statuses_untold > 1053);
}

#[test]
fn times_far_ahead_are_refused_by_gossip_and_followed_in_an_exchange() {
    let mut bed = Bed::new();
    let from = Source::unauthenticated("10.0.0.2:7946".parse().unwrap());
    let far = 1 << 40;
    let mut message = alloc::vec![3];
    UserEvent { ltime: far, name: (&b"x"[..]).into(), ..Default::default() }.encode(&mut message).unwrap();
    bed.services.message(&mut bed.swim, from, false, &message);
    assert_eq!((bed.services.event_clock.time(), bed.swim.stats.ltime_refused), (1, 1));
    bed.merge(&state([1, far, 1], &[], &[], &[]), false);
    assert_eq!(bed.services.event_clock.time(), far);
    bed.services.message(&mut bed.swim, from, false, &message);
    assert_eq!(bed.events(), 1);
    bed.merge(&state([u64::MAX, u64::MAX, u64::MAX], &[("self", u64::MAX)], &[], &[]), false);
    assert_eq!((bed.services.event_clock.time(), bed.ltime("self")), (far + 1, 0));
}

// upstream: TestSerf_RecentIntent, TestSerf_ReapHandler
#[test]
fn remembered_intents_are_bounded_and_age() {
    let mut config = ServiceConfig::default();
    config.max_recent_intents(3);
    let mut bed = Bed::with(config);
    for name in ["a", "b", "c", "d"] {
        bed.join_intent(name, 5);
    }
    assert_eq!((bed.services.recent.len(), bed.swim.stats.intents_full), (3, 1));
    bed.run(Duration::from_secs(400));
    assert_eq!(bed.services.recent.len(), 0);
}

// upstream: TestSerf_State, TestBroadcastFinished
#[test]
fn leaving_alone_ends_at_once_and_in_company_in_steps() {
    let mut bed = Bed::new();
    bed.services.leave(&mut bed.swim).unwrap();
    bed.run(Duration::from_millis(1));
    let completion = bed.swim.poll_completion().unwrap();
    assert_eq!(completion.outcome(), Some(&Outcome::Left { announced: true }));
    assert_eq!((bed.says("self"), bed.services.life), (Some(Status::Left), Life::Left));

    let mut bed = Bed::new();
    bed.alive("a", 1);
    let operation = bed.services.leave(&mut bed.swim).unwrap();
    assert!(bed.services.leave(&mut bed.swim).is_err());
    assert_eq!(bed.says("self"), Some(Status::Leaving));
    bed.run(Duration::from_secs(15));
    let completion = bed.swim.poll_completion().unwrap();
    assert_eq!(bed.says("self"), Some(Status::Left));
    assert_eq!(completion.ended(), Some((operation, Outcome::Left { announced: true })));
}

// upstream: TestSerf_eventsUser_sizeLimit
#[test]
fn an_event_that_no_datagram_carries_is_refused() {
    let mut config = ServiceConfig::default();
    config.user_event_size_limit(9216);
    let mut bed = Bed::with(config);
    assert!(bed.services.fire(&mut bed.swim, b"big", &[0; 1380], false).is_err());
    assert!(bed.services.fire(&mut bed.swim, b"big", &[0; 1300], false).is_ok());
    assert_eq!((bed.services.event_clock.time(), bed.events()), (2, 1));
    assert_eq!(bed.services.events.insert(1, b"big", &[0; 1300]), Seen::Duplicate);
    // serf.md 3.11: with a name of one byte 481 bytes of payload are the most at the default limit.
    let mut bed = Bed::new();
    assert!(bed.services.fire(&mut bed.swim, b"n", &[0; 482], false).is_err());
    assert!(bed.services.fire(&mut bed.swim, b"n", &[0; 481], false).is_ok());
}

#[test]
fn local_slot_is_the_first() {
    assert_eq!(Bed::new().swim.roster.find(b"self"), Some(LOCAL));
}

// upstream: TestSerf_SnapshotRecovery
#[test]
fn a_restored_node_goes_on_where_it_stopped() {
    let mut config = ServiceConfig::default();
    let last = crate::Clocks { member: 40, event: 7, query: 0 };
    config.restore(Some(crate::Restore { last, ..crate::Restore::default() }));
    let mut bed = Bed::with(config);
    let Services { clock, event_clock, query_clock, .. } = &bed.services;
    assert_eq!((clock.time(), event_clock.time(), query_clock.time()), (41, 8, 1));
    // What was delivered before is not delivered again.
    assert!(!bed.event(7, "deploy", "old"));
    assert_eq!(bed.swim.stats.user_events_old, 1);
    assert!(bed.event(8, "deploy", "new"));
    let query = |ltime| Query { ltime, id: 1, ..Query::default() };
    assert!(!bed.services.query(&mut bed.swim, None, &query(0)));
    assert!(bed.services.query(&mut bed.swim, None, &query(1)));
    // A file that would leave the clock no room to go on says nothing (Q3).
    let mut config = ServiceConfig::default();
    let last = crate::Clocks { member: u64::MAX, event: 1 << 40, query: u64::MAX };
    config.restore(Some(crate::Restore { last, ..crate::Restore::default() }));
    let bed = Bed::with(config);
    let Services { clock, event_clock, query_min, .. } = &bed.services;
    assert_eq!((clock.time(), event_clock.time(), *query_min), (1, (1 << 40) + 1, 1));
    // One that others were brought to, and gossip has moved on from, is a time as any other.
    let far = (1 << 63) + (1 << 33);
    let mut config = ServiceConfig::default();
    let last = crate::Clocks { member: far, event: far, query: far };
    config.restore(Some(crate::Restore { last, ..crate::Restore::default() }));
    let bed = Bed::with(config);
    assert_eq!((bed.services.event_clock.time(), bed.services.event_min), (far + 1, far + 1));
}

/// What takes long to decode is decoded in slices, and counts once all of it has been.
#[test]
fn a_state_that_is_long_to_decode_is_decoded_in_slices() {
    let mut bed = Bed::new();
    bed.alive("a", 1);
    let names: Vec<alloc::string::String> = (0..70_000).map(|n| format!("{n}")).collect();
    let mut statuses: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    statuses.push(("a", 9));
    let mut long = state([50, 60, 70], &statuses, &[], &[(3, "deploy")]);
    bed.services.begin_state(&mut bed.swim, false, &long);
    assert_eq!(bed.services.clock.time(), 1, "not all of it has been read");
    let mut calls = 0;
    while bed.services.has_backlog() {
        bed.services.merge_states(&mut bed.swim, &mut 256);
        calls += 1;
    }
    assert!(calls > 70_000 / 256, "{calls}");
    assert_eq!((bed.services.clock.time(), bed.ltime("a"), bed.events()), (50, 9, 1));
    // A flaw at the very end: nothing of it counts.
    let end = long.len() - 1;
    long[end] = 0xc1;
    bed.services.begin_state(&mut bed.swim, false, &long);
    while bed.services.has_backlog() {
        bed.services.merge_states(&mut bed.swim, &mut 256);
    }
    assert_eq!((bed.swim.stats.dropped_decode, bed.events()), (1, 0));
}

/// States that wait to be merged may take as much memory as exchanges may, all together.
#[test]
fn a_state_that_finds_no_memory_is_dropped_and_counted() {
    let mut bed = Bed::new();
    let [first, second] = [3, 4].map(|ltime| state([50, 60, 70], &[], &[], &[(ltime, "deploy")]));
    bed.swim.config.max_exchange_bytes = first.len() + second.len() - 3;
    for (body, refused) in [(&first, 0), (&second, 1)] {
        bed.services.begin_state(&mut bed.swim, false, body);
        assert_eq!(bed.swim.stats.exchange_memory_full, refused);
    }
    bed.services.merge_states(&mut bed.swim, &mut 256);
    assert_eq!(bed.events(), 1);
    bed.swim.config.max_exchange_bytes += 1;
    for body in [&first, &second] {
        bed.services.begin_state(&mut bed.swim, false, body);
    }
    assert_eq!(bed.swim.stats.exchange_memory_full, 1, "both have room");
}

/// A list in a list counts as one element, so it must be short: as it is from whoever is honest.
#[test]
fn an_entry_with_too_many_events_is_none() {
    let mut bed = Bed::new();
    let mut long = alloc::vec![2, 0x81, 0xa6];
    long.extend(b"Events");
    long.extend([0x91, 0x81, 0xa6]);
    long.extend(b"Events");
    long.extend([0xdd, 0, 2, 0, 0]);
    long.resize(long.len() + (2 << 16), 0xc0);
    bed.merge(&long, false);
    assert_eq!(bed.swim.stats.dropped_decode, 1);
}

#[test]
fn what_members_go_through_is_counted() {
    let mut bed = Bed::new();
    for incarnation in [1, 3] {
        bed.alive("fails", incarnation);
        bed.dead("fails", incarnation, "other");
    }
    bed.alive("leaves", 1);
    bed.leave_intent("leaves", 5, false);
    bed.dead("leaves", 1, "leaves");
    let stats = &bed.swim.stats;
    // This node's own start is the first.
    assert_eq!((stats.members_joined, stats.members_failed, stats.members_left), (4, 2, 1));
    assert_eq!(stats.members_updated, 0);
}

// upstream: TestCreate_checkBroadcastQueueMetrics
#[test]
fn what_waits_for_gossip_is_counted() {
    use crate::{Machine as _, Node};

    let config = Config::lan("self", "10.0.0.1:7946".parse().unwrap());
    let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([0; 32]));
    let mut node = Node::new(Instant::ORIGIN, config, ServiceConfig::default(), seed, nonces).unwrap();
    let mut alive = Vec::from([4]);
    let claim = crate::wire::message::Alive {
        incarnation: 1,
        node: b"b"[..].into(),
        addr: [10, 0, 0, 2][..].into(),
        port: 7946,
        meta: [0xff, 0x80][..].into(),
        vsn: [1, 5, 2, 2, 5, 5][..].into(),
    };
    claim.encode(&mut alive).unwrap();
    let source = Source::unauthenticated("10.0.0.2:7946".parse().unwrap());
    node.handle_datagram(Instant::ORIGIN, source, &mut alive).unwrap();
    node.user_event(Instant::ORIGIN, b"deploy", b"v1", true).unwrap();
    assert_eq!(node.queues(), crate::Queues { intents: 0, events: 1, queries: 0 });
    let mut buffer = [0; 1400];
    while node.queues().events > 0 {
        let due = node.poll_timeout().unwrap();
        node.handle_timeout(due);
        while node.poll_transmit(due, &mut buffer).is_some() {}
    }
    let stats = node.stats();
    // Retransmitted `4 * ceil(log10(2 + 1))` times.
    assert_eq!(stats.user_messages_sent, 4);
    assert!(stats.user_bytes_sent.is_multiple_of(4) && stats.user_bytes_sent > 4 * 8);
}

use super::*;
use bytes::Bytes;
use gossip_proto::{Name, Status};

/// What may follow what, for one member: the states are "unknown", alive, suspect, failed and left.
const STEPS: &[(Option<Status>, ChangeKind, Option<Status>)] = &[
    (None, ChangeKind::Joined, Some(Status::Alive)),
    (Some(Status::Alive), ChangeKind::Updated, Some(Status::Alive)),
    (Some(Status::Alive), ChangeKind::Suspected, Some(Status::Suspect)),
    (Some(Status::Alive), ChangeKind::Failed, Some(Status::Failed)),
    (Some(Status::Alive), ChangeKind::Left, Some(Status::Left)),
    (Some(Status::Suspect), ChangeKind::Updated, Some(Status::Suspect)),
    (Some(Status::Suspect), ChangeKind::Refuted, Some(Status::Alive)),
    (Some(Status::Suspect), ChangeKind::Failed, Some(Status::Failed)),
    (Some(Status::Suspect), ChangeKind::Left, Some(Status::Left)),
    (Some(Status::Failed), ChangeKind::Joined, Some(Status::Alive)),
    (Some(Status::Failed), ChangeKind::Left, Some(Status::Left)),
    (Some(Status::Failed), ChangeKind::Reaped, None),
    (Some(Status::Left), ChangeKind::Joined, Some(Status::Alive)),
    (Some(Status::Left), ChangeKind::Reaped, None),
];

fn change(kind: ChangeKind, status: Option<Status>, incarnation: u32) -> Change {
    let member = MemberInfo {
        name: Name::from("m"),
        addr: ([10, 0, 0, 1], 7946).into(),
        metadata: Bytes::new(),
        tags: Vec::new(),
        status: status.unwrap_or(Status::Failed),
        incarnation,
        versions: [1, 5, 2, 0, 0, 0],
        local: false,
    };
    Change { member: Arc::new(member), kind, cause: Cause::Local }
}

fn event(ltime: u64) -> Notice {
    Notice::UserEvent { ltime, name: Bytes::new(), payload: Bytes::new(), coalesce: false }
}

/// Plays every history of one member up to a length, with a reader that takes one notice at any moment.
#[derive(Clone, Copy)]
struct History<'a> {
    past: &'a [Option<ChangeKind>],
}

impl History<'_> {
    /// Replays the past; `None` takes a notice. Returns the member's true state.
    fn replay(self) -> Option<Status> {
        let mut inbox = Inbox::<u32>::new(8, 1 << 20);
        let (mut truth, mut seen) = (None, None);
        for entry in self.past {
            match entry {
                Some(kind) => {
                    let fresh = truth.is_none();
                    truth = self.follow(truth, *kind);
                    inbox.change(1, change(*kind, truth, 1), fresh);
                }
                None => {
                    if let Some(notice) = inbox.pop() {
                        seen = self.read(seen, notice);
                    }
                }
            }
            assert_eq!(inbox.changes.len(), inbox.order.len());
        }
        while let Some(notice) = inbox.pop() {
            seen = self.read(seen, notice);
        }
        assert_eq!(seen, truth, "the reader ends elsewhere after {:?}", self.past);
        assert!(inbox.order.is_empty() && inbox.changes.is_empty());
        truth
    }

    fn follow(self, from: Option<Status>, kind: ChangeKind) -> Option<Status> {
        let step = STEPS.iter().find(|step| step.0 == from && step.1 == kind);
        step.unwrap_or_else(|| panic!("{kind:?} cannot follow {from:?} in {:?}", self.past)).2
    }

    fn read(self, seen: Option<Status>, notice: Notice) -> Option<Status> {
        let Notice::Change { kind, .. } = notice else { panic!("{notice:?}") };
        self.follow(seen, kind)
    }
}

fn explore(past: &mut Vec<Option<ChangeKind>>, depth: usize, count: &mut usize) {
    let truth = History { past }.replay();
    *count += 1;
    if depth == 0 || past.last() == Some(&Some(ChangeKind::Reaped)) {
        return;
    }
    for &(from, kind, _) in STEPS {
        if from == truth {
            past.push(Some(kind));
            explore(past, depth - 1, count);
            past.pop();
        }
    }
    if past.last().is_some_and(Option::is_some) {
        past.push(None);
        explore(past, depth - 1, count);
        past.pop();
    }
}

#[test]
fn folding_never_tells_an_impossible_story() {
    let mut count = 0;
    explore(&mut Vec::new(), 9, &mut count);
    assert!(count > 10_000, "only {count} histories");
}

#[test]
fn a_member_that_came_and_went_unseen_leaves_nothing_behind() {
    let mut inbox = Inbox::<u32>::new(8, 1 << 20);
    for key in 0..1000 {
        inbox.change(key, change(ChangeKind::Joined, Some(Status::Alive), 1), true);
        inbox.change(key, change(ChangeKind::Failed, Some(Status::Failed), 1), false);
        inbox.change(key, change(ChangeKind::Reaped, None, 1), false);
    }
    assert_eq!((inbox.changes.len(), inbox.order.len()), (0, 0));
}

#[test]
fn a_folded_change_shows_the_latest_details() {
    let mut inbox = Inbox::<u32>::new(8, 1 << 20);
    inbox.change(1, change(ChangeKind::Joined, Some(Status::Alive), 1), true);
    inbox.change(1, change(ChangeKind::Updated, Some(Status::Alive), 2), false);
    let Some(Notice::Change { member, kind, .. }) = inbox.pop() else { panic!() };
    assert_eq!((kind, member.incarnation), (ChangeKind::Joined, 2));
    assert_eq!(inbox.pop(), None);
}

#[test]
fn news_keep_their_order_and_events_that_do_not_fit_are_counted() {
    let mut inbox = Inbox::<u32>::new(2, 1 << 20);
    inbox.event(event(1));
    inbox.change(1, change(ChangeKind::Joined, Some(Status::Alive), 1), true);
    inbox.event(event(2));
    inbox.event(event(3));
    inbox.event(event(4));
    assert!(matches!(inbox.pop(), Some(Notice::Change { .. })));
    assert_eq!(inbox.pop(), Some(Notice::Lagged { lost: 2 }));
    assert_eq!(inbox.pop(), Some(event(3)));
    assert_eq!(inbox.pop(), Some(event(4)));
    assert_eq!(inbox.pop(), None);
    assert_eq!(inbox.bytes, 0);
}

#[test]
fn events_are_bounded_in_bytes_too_but_one_always_fits() {
    let large = |ltime| Notice::UserEvent {
        ltime,
        name: Bytes::new(),
        payload: Bytes::from_static(&[0; 600]),
        coalesce: false,
    };
    let mut inbox = Inbox::<u32>::new(100, 500);
    inbox.event(large(1));
    inbox.event(large(2));
    assert_eq!(inbox.pop(), Some(Notice::Lagged { lost: 1 }));
    assert_eq!(inbox.pop(), Some(large(2)));
}

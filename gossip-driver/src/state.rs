//! The part of the loop that commands may touch: the machine, open operations, subscribers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_channel::Sender;
use bytes::Bytes;
use gossip_proto::wire::keyring::Keyring;
use gossip_proto::{
    ChangeKind, Completion, Event, Instant, Machine, MemberKey, Name, OperationId, Outcome, RequestId,
};

use crate::answers::{Answer, Answers, Collector};
use crate::ending::Nothing;
use crate::error::EndReason;
use crate::log;
use crate::notice::{MemberInfo, Notice};
use crate::options::Options;
use crate::refusals::Refusals;
use crate::snapshot::{Feed, Look};
use crate::subscribe::{Change, Publisher, Subscription};

/// A command on its way to the loop.
pub(crate) type Command<M> = Box<dyn FnOnce(&mut Core<M>, Instant) + Send>;

/// The machine, and everybody who waits for its outputs.
pub(crate) struct Core<M> {
    pub(crate) machine: M,
    /// Set by a command or by the machine: the loop ends.
    pub(crate) stop: Option<EndReason>,
    /// A change of the keyring that must be stored.
    pub(crate) keyring: Option<(RequestId, Keyring)>,
    /// Those who wait until the recording that was stopped is in its file.
    pub(crate) recorded: Vec<Sender<Nothing>>,
    /// Peers that did not accept this node, or were not accepted.
    pub(crate) refusals: Refusals,
    options: Options,
    operations: BTreeMap<OperationId, Sender<Outcome>>,
    queries: BTreeMap<OperationId, Collector>,
    publishers: Vec<Publisher>,
    /// Members whose joining was told and whose reaping was not.
    known: BTreeSet<MemberKey>,
    watch: log::Watch,
    conflicts: log::Throttle,
    /// What a snapshot file hears of, and how to tell it.
    feed: Option<(Arc<Feed>, Look<M>)>,
}

impl<M: Machine> Core<M> {
    pub(crate) fn new(machine: M, options: Options) -> Self {
        let known = machine.members().map(|member| member.key).collect();
        Self {
            machine,
            stop: None,
            keyring: None,
            recorded: Vec::new(),
            refusals: Refusals::default(),
            options,
            operations: BTreeMap::new(),
            queries: BTreeMap::new(),
            publishers: Vec::new(),
            known,
            watch: log::Watch::default(),
            conflicts: log::Throttle::default(),
            feed: None,
        }
    }

    /// Sends the end of the operation there. A receiver that is gone by then costs nothing more.
    pub(crate) fn expect(&mut self, operation: OperationId, done: Sender<Outcome>) {
        self.operations.insert(operation, done);
    }

    /// Has the answers to a query sent there, until it is over.
    pub(crate) fn collect(&mut self, operation: OperationId) -> Answers {
        let (answers, collector) = Answers::new(&self.options, self.machine.num_alive());
        self.queries.insert(operation, collector);
        answers
    }

    /// The members now and their changes from now on, and a place for the rest of what a snapshot file holds.
    pub(crate) fn feed(&mut self, now: Instant, look: Look<M>) -> (Subscription, Arc<Feed>) {
        let feed = Arc::<Feed>::default();
        self.feed = Some((feed.clone(), look));
        // Of events only the clocks are written.
        let few = Options { event_buffer: 1, event_bytes: 0, ..self.options.clone() };
        (self.subscribe_with(now, &few), feed)
    }

    /// The members now, and everything that happens from now on.
    pub(crate) fn subscribe(&mut self, now: Instant) -> Subscription {
        let options = self.options.clone();
        self.subscribe_with(now, &options)
    }

    fn subscribe_with(&mut self, now: Instant, options: &Options) -> Subscription {
        // What happened before belongs to the snapshot, not to the changes.
        self.deliver(now);
        let (subscription, publisher) = Subscription::new(self.members(), options);
        self.publishers.retain(Publisher::is_wanted);
        self.publishers.push(publisher);
        subscription
    }

    pub(crate) fn members(&self) -> Vec<MemberInfo> {
        self.machine.members().map(|member| MemberInfo::from(&member)).collect()
    }

    /// Tells all subscribers what the machine does not know.
    pub(crate) fn publish(&self, notice: &Notice) {
        publish(&self.publishers, notice);
    }

    /// Hands the machine's three outputs to those who wait for them.
    pub(crate) fn deliver(&mut self, now: Instant) {
        self.watch.look(now, self.machine.stats(), || self.machine.local().incarnation);
        if let Some((feed, look)) = &self.feed {
            look(feed, &self.machine);
        }
        while let Some(change) = self.machine.poll_membership() {
            let fresh = match change.kind {
                ChangeKind::Reaped => !self.known.remove(&change.key),
                _ => self.known.insert(change.key),
            };
            self.publishers.retain(Publisher::is_wanted);
            if self.publishers.is_empty() && !log::ENABLED {
                continue;
            }
            let Some(member) = self.machine.member(change.key) else { continue };
            let member = Arc::new(MemberInfo::from(&member));
            log::change(&member, change.kind, &change.cause);
            for publisher in &self.publishers {
                let news = Change { member: member.clone(), kind: change.kind, cause: change.cause.clone() };
                publisher.change(change.key, news, fresh);
            }
        }
        let mut over = Vec::new();
        while let Some(completion) = self.machine.poll_completion() {
            match completion {
                // Not before the answers that came at the last moment are handed out.
                Completion::Ended { operation, outcome: Outcome::Query { .. } } => over.push(operation),
                Completion::Ended { operation, outcome } => {
                    if let Some(done) = self.operations.remove(&operation) {
                        // Room for one is there; it fails only when nobody waits any more.
                        let _ = done.try_send(outcome);
                    }
                }
                Completion::NameLost { other, responses, matching } => {
                    log::name_lost(matching, responses);
                    self.stop = Some(EndReason::NameLost { other, responses, matching });
                }
                Completion::KeyringChanged { id, keyring } => self.keyring = Some((id, keyring)),
                _ => {}
            }
        }
        while let Some(event) = self.machine.poll_event() {
            log::event(now, &event, &mut self.conflicts);
            if let Some((operation, answer)) = answer(&event) {
                if let Some(collector) = self.queries.get(&operation) {
                    collector.answer(answer);
                }
                continue;
            }
            if let Some(notice) = Notice::from_event(&event) {
                publish(&self.publishers, &notice);
            }
        }
        for operation in over {
            self.queries.remove(&operation);
        }
    }
}

fn publish(publishers: &[Publisher], notice: &Notice) {
    for publisher in publishers {
        publisher.event(notice.clone());
    }
}

/// An answer to a query of this node's, and to which.
fn answer(event: &Event<'_>) -> Option<(OperationId, Answer)> {
    match *event {
        Event::QueryAck { operation, from } => Some((operation, Answer::Ack { from: Name::new(from) })),
        Event::QueryResponse { operation, from, payload } => Some((
            operation,
            Answer::Response { from: Name::new(from), payload: Bytes::copy_from_slice(payload) },
        )),
        _ => None,
    }
}

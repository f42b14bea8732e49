//! Precedence and suspicion of three nodes, explored exhaustively: every order in which messages can arrive, be lost or come
//! twice, and every moment at which somebody can be suspected, or declared dead or gone without reason.
//!
//! What is decided is decided by the functions of the core ([`decide`], [`refutation`], [`Suspicion`]); the model adds
//! three tables and the messages under way. All three nodes live, the whole time.
#![allow(clippy::unwrap_used, reason = "a test")]

use alloc::vec::Vec;
use core::time::Duration;
use std::{env, println};

use stateright::{Checker, Model, Property};

use super::Suspicion;
use crate::Instant;
use crate::roster::Standing;
use crate::roster::precedence::{Belief, Claim, Verdict, decide, refutation};

const NODES: usize = 3;
const NAMES: [&str; NODES] = ["a", "b", "c"];

/// What the network and the accusers may do.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    /// False accusations in all.
    faults: u8,
    /// Also deaths and farewells that nobody has reason to claim, up to this much above what is known.
    forged: Option<u32>,
    /// Messages arrive within so many ticks, everybody listens, and time counts. `None`: they may be lost, and any suspicion
    /// may run out at any time.
    delay: Option<u8>,
    /// Shortest and longest suspicion, in ticks.
    suspicion: (u8, u8),
    /// Ticks until the end.
    ticks: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// What the first believes of the second.
    views: [[Record; NODES]; NODES],
    /// Everything that was ever said.
    sent: Vec<Sent>,
    faults: u8,
    tick: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    standing: Standing,
    incarnation: u32,
    suspicion: Option<Accused>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Accused {
    since: u8,
    by: u8,
    /// When, and by whom.
    confirmed: Vec<(u8, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Alive { about: u8, incarnation: u32 },
    Suspect { about: u8, incarnation: u32, by: u8 },
    Dead { about: u8, incarnation: u32, by: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    message: Message,
    at: u8,
    /// By whom it was received, where that matters.
    received: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A probe of the first of the second goes unanswered.
    Suspect(u8, u8),
    /// A suspicion of the first against the second runs out.
    Expire(u8, u8),
    /// Somebody who has the key lies.
    Forge(Message),
    Deliver(u8, usize),
    /// The first gives the second its table.
    Exchange(u8, u8),
    Tick,
}

impl Message {
    fn about(self) -> usize {
        match self {
            Self::Alive { about, .. } | Self::Suspect { about, .. } | Self::Dead { about, .. } => {
                about.into()
            }
        }
    }
}

impl Cluster {
    fn suspicion_of(&self, record: &Record) -> Suspicion {
        let at = |tick: u8| Instant::from_millis(u64::from(tick) * 1000);
        let span = |ticks: u8| Duration::from_secs(ticks.into());
        let Accused { since, by, confirmed } = record.suspicion.as_ref().unwrap();
        let (min, max) = self.suspicion;
        let mut suspicion = Suspicion::new(at(*since), 1, span(min), span(max), NAMES[usize::from(*by)]);
        for (tick, by) in confirmed {
            suspicion.confirm(at(*tick), NAMES[usize::from(*by)]);
        }
        suspicion
    }

    /// A node hears something, from another or from its own timers, by the rules of the core.
    fn hear(&self, state: &mut State, node: usize, message: Message) {
        let about = message.about();
        let tick = if self.delay.is_some() { state.tick } else { 0 };
        let record = &mut state.views[node][about];
        let (claim, by) = match message {
            Message::Alive { incarnation, .. } => (Claim::Alive { incarnation, bootstrap: false }, None),
            Message::Suspect { incarnation, by, .. } => (Claim::Suspect { incarnation }, Some(by)),
            Message::Dead { incarnation, by, .. } => {
                (Claim::Dead { incarnation, leave: usize::from(by) == about }, Some(by))
            }
        };
        let said = match (decide(Some(&belief(record, node == about)), claim), claim) {
            (Verdict::Accept, Claim::Alive { incarnation, .. }) => {
                *record = Record { standing: Standing::Alive, incarnation, suspicion: None };
                message
            }
            (Verdict::Accept, Claim::Suspect { incarnation }) => {
                let suspicion = Some(Accused { since: tick, by: by.unwrap(), confirmed: Vec::new() });
                *record = Record { standing: Standing::Suspect, incarnation, suspicion };
                message
            }
            (Verdict::Accept, Claim::Dead { incarnation, leave }) => {
                let standing = if leave { Standing::Left } else { Standing::Dead };
                *record = Record { standing, incarnation, suspicion: None };
                message
            }
            (Verdict::Confirm, _) => {
                let now = Instant::from_millis(u64::from(tick) * 1000);
                let by = by.unwrap();
                if !self.suspicion_of(record).confirm(now, NAMES[usize::from(by)]) {
                    return;
                }
                record.suspicion.as_mut().unwrap().confirmed.push((tick, by));
                message
            }
            (
                Verdict::Refute,
                Claim::Alive { incarnation, .. }
                | Claim::Suspect { incarnation }
                | Claim::Dead { incarnation, .. },
            ) => {
                record.incarnation = refutation(record.incarnation, incarnation);
                Message::Alive { about: about as u8, incarnation: record.incarnation }
            }
            (Verdict::Ignore | Verdict::Insert | Verdict::Conflict | Verdict::Refuse, _) => return,
        };
        self.say(state, node, said);
    }

    /// What was said once is under way for good: who passes it on adds nothing.
    fn say(&self, state: &mut State, node: usize, message: Message) {
        if state.sent.iter().all(|sent| sent.message != message) {
            let (at, received) = if self.delay.is_some() { (state.tick, 1 << node) } else { (0, 0) };
            state.sent.push(Sent { message, at, received });
            state.sent.sort_unstable_by_key(|sent| sent.message);
        }
    }

    fn deliver(&self, state: &mut State, node: usize, index: usize) {
        let message = state.sent[index].message;
        if self.delay.is_some() {
            state.sent[index].received |= 1 << node;
        }
        self.hear(state, node, message);
    }

    /// What an exchange tells: of the dead a suspicion (spec 4.10), so that they can answer.
    fn exchange(&self, state: &mut State, from: usize, to: usize) {
        let table = state.views[from].clone();
        for (about, record) in table.into_iter().enumerate() {
            let (incarnation, by) = (record.incarnation, to as u8);
            let about = about as u8;
            let message = match record.standing {
                Standing::Alive => Message::Alive { about, incarnation },
                Standing::Suspect | Standing::Dead => Message::Suspect { about, incarnation, by },
                Standing::Left => Message::Dead { about, incarnation, by: about },
            };
            self.hear(state, to, message);
        }
    }

    /// Faults are over: everything arrives, all exchange, and suspicions run out or do not. Whether all are alive then.
    fn heals(&self, state: &State, expiring: bool) -> bool {
        let mut state = state.clone();
        for _ in 0..4 {
            for (node, about) in pairs().filter(|_| expiring) {
                self.expire(&mut state, node, about);
            }
            for (from, to) in pairs() {
                self.exchange(&mut state, from, to);
            }
            for node in 0..NODES {
                for index in 0..state.sent.len() {
                    let message = state.sent[index].message;
                    self.hear(&mut state, node, message);
                }
            }
        }
        state.views.iter().flatten().all(|record| record.standing == Standing::Alive)
    }

    fn expire(&self, state: &mut State, node: usize, about: usize) {
        let record = &state.views[node][about];
        if record.suspicion.is_some() {
            let (about, incarnation, by) = (about as u8, record.incarnation, node as u8);
            self.hear(state, node, Message::Dead { about, incarnation, by });
        }
    }

    /// Whether all that should have arrived by now has, at this node or at all.
    fn arrived(&self, state: &State, node: Option<usize>) -> bool {
        let Some(delay) = self.delay else { return true };
        let wanted = node.map_or((1 << NODES) - 1, |node| 1 << node);
        state
            .sent
            .iter()
            .filter(|sent| sent.at + delay <= state.tick)
            .all(|sent| sent.received & wanted == wanted)
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let alive = Record { standing: Standing::Alive, incarnation: 1, suspicion: None };
        let views = core::array::from_fn(|_| core::array::from_fn(|_| alive.clone()));
        alloc::vec![State { views, sent: Vec::new(), faults: self.faults, tick: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (node, about) in pairs() {
            let record = &state.views[node][about];
            let (n, a) = (node as u8, about as u8);
            if state.faults > 0 && record.standing == Standing::Alive {
                actions.push(Action::Suspect(n, a));
            }
            // Drain before judge: what has arrived is read before a suspicion runs out.
            let due = record.suspicion.is_some()
                && (self.delay.is_none()
                    || self.suspicion_of(record).deadline().as_nanos()
                        <= u64::from(state.tick) * 1_000_000_000)
                && self.arrived(state, Some(node));
            if due {
                actions.push(Action::Expire(n, a));
            }
            if self.delay.is_none() {
                actions.push(Action::Exchange(n, a));
            }
        }
        for node in 0..NODES {
            for (index, sent) in state.sent.iter().enumerate() {
                if self.delay.is_none() || sent.received >> node & 1 == 0 {
                    actions.push(Action::Deliver(node as u8, index));
                }
            }
        }
        if let Some(above) = self.forged.filter(|_| state.faults > 0) {
            for about in 0..NODES as u8 {
                let known = state.views[usize::from(about)][usize::from(about)].incarnation;
                for by in [about, (about + 1) % NODES as u8] {
                    actions.push(Action::Forge(Message::Dead { about, incarnation: known + above, by }));
                }
            }
        }
        if self.delay.is_some() && state.tick < self.ticks && self.arrived(state, None) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Suspect(node, about) => {
                state.faults -= 1;
                let incarnation = state.views[usize::from(node)][usize::from(about)].incarnation;
                self.hear(&mut state, node.into(), Message::Suspect { about, incarnation, by: node });
            }
            Action::Expire(node, about) => self.expire(&mut state, node.into(), about.into()),
            Action::Forge(message) => {
                state.faults -= 1;
                // At nobody yet: the liar chooses whom it tells, and when.
                if state.sent.iter().all(|sent| sent.message != message) {
                    state.sent.push(Sent { message, at: state.tick, received: 0 });
                    state.sent.sort_unstable_by_key(|sent| sent.message);
                }
            }
            Action::Deliver(node, index) => self.deliver(&mut state, node.into(), index),
            Action::Exchange(from, to) => self.exchange(&mut state, from.into(), to.into()),
            Action::Tick => state.tick += 1,
        }
        // What changes nothing is no step.
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = alloc::vec![
            Property::<Self>::always("who lives can answer whatever is believed of it", |_, state| {
                pairs().all(|(node, about)| can_answer(state, node, about))
            }),
            Property::<Self>::always("its own incarnation is the highest", |_, state| {
                let own = |about: usize| state.views[about][about].incarnation;
                // Unless somebody lies: then its next answer will be.
                pairs().all(|(node, about)| state.views[node][about].incarnation <= own(about))
                    || state.sent.iter().any(|sent| matches!(sent.message, Message::Dead { .. }))
            }),
            Property::<Self>::always(
                "once faults stop all are alive, suspicions that run out or not",
                |model, state| { model.heals(state, false) && model.heals(state, true) }
            ),
            // That the model says anything at all:
            Property::<Self>::sometimes("somebody is suspected", |_, state| {
                state.views.iter().flatten().any(|record| record.standing == Standing::Suspect)
            }),
            Property::<Self>::sometimes("somebody has answered", |_, state| {
                (0..NODES).any(|node| state.views[node][node].incarnation > 1)
            }),
        ];
        if self.delay.is_some() {
            properties.push(Property::<Self>::always("nobody who is connected dies", |_, state| {
                state.views.iter().flatten().all(|record| record.standing.is_live())
            }));
        } else {
            properties.push(Property::<Self>::sometimes("a live node is taken for dead", |_, state| {
                state.views.iter().flatten().any(|record| record.standing == Standing::Dead)
            }));
        }
        // Beyond that the victim alone takes notice.
        if self.forged.is_some_and(|above| above <= 1 << 15) {
            properties
                .push(Property::<Self>::sometimes("a live node is taken for one that left", |_, state| {
                    state.views.iter().flatten().any(|record| record.standing == Standing::Left)
                }));
        }
        properties
    }
}

/// Whether the alive claim with which a node would answer what another believes of it is one that the other accepts.
fn can_answer(state: &State, node: usize, about: usize) -> bool {
    let believed = &state.views[node][about];
    if believed.standing == Standing::Alive {
        return true;
    }
    let own = &state.views[about][about];
    let accusation = Claim::Suspect { incarnation: believed.incarnation };
    // It has answered already, or it would when it hears of it.
    let incarnation = if own.incarnation > believed.incarnation {
        own.incarnation
    } else if decide(Some(&belief(own, true)), accusation) == Verdict::Refute {
        refutation(own.incarnation, believed.incarnation)
    } else {
        return false;
    };
    let answer = Claim::Alive { incarnation, bootstrap: false };
    decide(Some(&belief(believed, false)), answer) == Verdict::Accept
}

fn belief(record: &Record, is_self: bool) -> Belief {
    Belief {
        standing: record.standing,
        incarnation: record.incarnation,
        is_self,
        leaving: false,
        reclaimable: false,
        suspected: record.suspicion.is_some(),
        same_address: true,
        same_content: true,
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..NODES).flat_map(|node| (0..NODES).filter(move |about| *about != node).map(move |about| (node, about)))
}

/// Explores to this depth, 0 being the end, or to that of `MODEL_DEPTH`; the soak takes 0, which is some minutes in all.
fn explore(model: Cluster, depth: usize) {
    let depth = env::var("MODEL_DEPTH").ok().and_then(|depth| depth.parse().ok()).unwrap_or(depth);
    let mut checker = model.checker().threads(2);
    if depth > 0 {
        checker = checker.target_max_depth(depth);
    }
    let checker = checker.spawn_bfs().join();
    println!("{model:?}: {} states to depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

const UNTIMED: Cluster = Cluster { faults: 1, forged: None, delay: None, suspicion: (1, 1), ticks: 0 };

#[test]
fn lost_and_late_messages_kill_nobody_for_good() {
    explore(UNTIMED, 0);
}

#[test]
fn two_false_suspicions_kill_nobody_for_good() {
    explore(Cluster { faults: 2, ..UNTIMED }, 8);
}

#[test]
fn forged_deaths_and_farewells_kill_nobody_for_good() {
    for above in [0, 1, 1 << 15, (1 << 15) + 1, 1 << 20, u32::MAX / 2 - 1] {
        explore(Cluster { faults: 2, forged: Some(above), ..UNTIMED }, 6);
    }
}

/// A suspicion, its news and the answer take a tick each at most.
const TIMED: Cluster = Cluster { faults: 1, forged: None, delay: Some(1), suspicion: (3, 6), ticks: 8 };

#[test]
fn who_hears_and_is_heard_in_time_is_never_declared_dead() {
    explore(TIMED, 0);
    explore(Cluster { faults: 2, ..TIMED }, 9);
}

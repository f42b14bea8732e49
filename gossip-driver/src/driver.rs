//! The loop: one task owns the machine and the transport, and moves everything between them.
//!
//! Each turn takes inputs (at most 64 datagrams, and a share for each other source), then the timer, then hands out
//! what the machine wants done. Sources are polled only when their waker was called, so a quiet source costs nothing.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use futures_core::Stream as _;
use gossip_proto::{Instant, Machine};

use crate::ending::{Ending, Nothing};
use crate::error::EndReason;
use crate::keyring::KeyringFile;
use crate::log;
use crate::options::Options;
use crate::recording::Recorder;
use crate::runtime::{Runtime, Timer};
use crate::snapshot::{Feed, Look};
use crate::state::{Command, Core};
use crate::streams::{FIRST_STREAM, Streams};
use crate::subscribe::Subscription;
use crate::transport::{ReceiveBatch, SendBatch, Transport, TransportEvent};
use crate::wake::WakeSet;

/// The loop. Ends when it is told to, when nobody holds a handle any more, or when the transport fails.
pub(crate) struct Driver<M: Machine, T: Transport, R: Runtime> {
    core: Core<M>,
    transport: T,
    runtime: R,
    commands: Commands<M>,
    streams: Streams<T::Stream>,
    received: ReceiveBatch,
    to_send: SendBatch,
    timer: R::Timer,
    timer_at: Option<Instant>,
    wakes: WakeSet,
    /// Sources that have something, or may have.
    ready: [bool; FIRST_STREAM],
    /// The machine's timeout is due, but what arrived before must be heard first.
    judging: Option<Judging>,
    close_timeout: Duration,
    keyring_file: KeyringFile,
    recorder: Option<Recorder>,
    dropped: log::Throttle,
    refused: log::Throttle,
}

impl<M: Machine, T: Transport, R: Runtime> Driver<M, T, R> {
    pub(crate) fn new(
        mut machine: M,
        transport: T,
        runtime: R,
        options: Options,
        commands: Receiver<Command<M>>,
    ) -> Self {
        // Before it is told anything.
        let recording = options.recording.as_ref();
        let recorder = recording.and_then(|to| Recorder::begin(to, &mut machine, runtime.now()));
        machine.persist_keyring(options.keyring_file.is_some());
        Self {
            streams: Streams::new(options.max_streams, options.close_timeout),
            received: ReceiveBatch::new(transport.receive_memory()),
            to_send: SendBatch::new(machine.config().datagram_size(), SEND_BATCH),
            timer: runtime.timer(),
            timer_at: None,
            wakes: WakeSet::default(),
            ready: [true; FIRST_STREAM],
            judging: None,
            close_timeout: options.close_timeout,
            keyring_file: KeyringFile::new(options.keyring_file.clone()),
            recorder,
            dropped: log::Throttle::default(),
            refused: log::Throttle::default(),
            core: Core::new(machine, options),
            commands: Commands(Box::pin(commands)),
            transport,
            runtime,
        }
    }

    /// Has the loop tell a snapshot file what is new.
    pub(crate) fn feed(&mut self, look: Look<M>) -> (Subscription, Arc<Feed>) {
        self.core.feed(self.runtime.now(), look)
    }

    /// Runs to the end. When `done` is dropped nothing of the loop exists any more.
    pub(crate) async fn run(mut self, ending: Arc<Ending>, done: Sender<Nothing>) {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        self.flush().await;
        let Self { mut core, mut transport, runtime, streams, commands, recorder, .. } = self;
        drop(streams);
        let mut deadline = runtime.timer();
        deadline.set(runtime.now() + self.close_timeout);
        poll_fn(|cx| match transport.poll_close(cx) {
            Poll::Pending => deadline.poll_expired(cx),
            ready => ready,
        })
        .await;
        drop(transport);
        if let Some(mut recorder) = recorder {
            core.machine.stop_recording(runtime.now());
            poll_fn(|cx| match recorder.poll(cx, &runtime, &mut core.machine) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            recorder.close(runtime).await;
        }
        ending.set(reason, &core);
        drop((core, commands));
        drop(done);
    }

    /// Gives streams that the machine is done with a last while: who was told that a message was sent may end the node at
    /// once.
    async fn flush(&mut self) {
        self.streams.keep_closing();
        let mut deadline = self.runtime.timer();
        deadline.set(self.runtime.now() + self.close_timeout);
        poll_fn(|cx| {
            let Self { wakes, streams, core, runtime, .. } = self;
            wakes.register(cx.waker());
            wakes.take(|index| {
                if let Some(stream) = index.checked_sub(FIRST_STREAM) {
                    streams.wake(stream);
                }
            });
            streams.drive(runtime.now(), wakes, &mut core.machine);
            if streams.is_empty() {
                return Poll::Ready(());
            }
            if streams.has_ready() {
                cx.waker().wake_by_ref();
            }
            deadline.poll_expired(cx)
        })
        .await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        self.wakes.register(cx.waker());
        for _ in 0..TURNS {
            let Self { wakes, ready, streams, .. } = self;
            wakes.take(|index| match ready.get_mut(index) {
                Some(source) => *source = true,
                None => streams.wake(index - FIRST_STREAM),
            });
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(reason) => return Poll::Ready(reason),
            }
        }
        // Other tasks of the runtime have their turn, then this one goes on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn; whether there is more to do at once.
    fn turn(&mut self) -> Result<bool, EndReason> {
        let now = self.runtime.now();
        let due = self.core.machine.poll_timeout().is_some_and(|at| at <= now);
        self.take_events(now)?;
        let heard = self.receive(now, due);
        if self.streams.next_deadline().is_some_and(|at| at <= now) {
            self.streams.expire(now);
        }
        self.streams.drive(now, &mut self.wakes, &mut self.core.machine);
        self.accept(now);
        let orphaned = self.execute(now);
        self.store(now);
        if due {
            self.judge(now, heard);
        }
        let unsent = self.settle();
        if let Some(reason) = self.core.stop.take().or_else(|| orphaned.then_some(EndReason::Shutdown)) {
            return Err(reason);
        }
        let timer = self.set_timer(self.runtime.now());
        let accept = self.ready[ACCEPT] && self.may_accept();
        let input = [EVENT, COMMAND, RECEIVE, STORE].iter().any(|&source| self.ready[source])
            || !self.received.is_empty();
        Ok(unsent || timer || accept || input || self.streams.has_ready())
    }

    fn take_events(&mut self, now: Instant) -> Result<(), EndReason> {
        let Core { machine, refusals, .. } = &mut self.core;
        let waker = self.wakes.waker(EVENT).clone();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..INPUTS {
            if !self.ready[EVENT] {
                break;
            }
            match self.transport.poll_event(&mut cx) {
                Poll::Ready(TransportEvent::PathMtu { to, max_datagram }) => {
                    refusals.forget(to);
                    machine.handle_path(now, to, max_datagram)
                }
                Poll::Ready(TransportEvent::PathClosed { to }) => machine.handle_path(now, to, 0),
                Poll::Ready(TransportEvent::PeerRefused { peer, why }) => {
                    self.refused.report(now, format_args!("memberlist: Refused peer={peer}: {why}"));
                    refusals.note(now, peer, why);
                }
                Poll::Ready(TransportEvent::TransmitFailed { id, why }) => {
                    machine.handle_transmit_failed(now, id, why)
                }
                Poll::Ready(TransportEvent::TransmitDelayed { id }) => {
                    machine.handle_transmit_delayed(now, id)
                }
                Poll::Ready(TransportEvent::Failed { error }) => {
                    return Err(EndReason::Transport(error.to_string()));
                }
                Poll::Pending => self.ready[EVENT] = false,
            }
        }
        Ok(())
    }

    /// Hands over at most 64 datagrams. `ask`: look for them even if nothing announced any, since a timeout is due and
    /// a process that was stopped hears of its timers before its sockets.
    fn receive(&mut self, now: Instant, ask: bool) -> usize {
        self.ready[RECEIVE] |= ask;
        let waker = self.wakes.waker(RECEIVE).clone();
        let mut cx = Context::from_waker(&waker);
        for heard in 0..INPUTS {
            if self.received.is_empty() {
                if !self.ready[RECEIVE] {
                    return heard;
                }
                if self.transport.poll_receive(&mut cx, &mut self.received).is_pending() {
                    self.ready[RECEIVE] = false;
                    return heard;
                }
            }
            let Some((source, datagram)) = self.received.pop() else { continue };
            if let Err(error) = self.core.machine.handle_datagram(now, source, datagram) {
                let from = source.addr;
                self.dropped.report(now, format_args!("memberlist: Dropped packet from={from}: {error}"));
            }
        }
        INPUTS
    }

    /// Whether a stream that a peer opened may be taken; until then it waits in the transport's listen queue.
    fn may_accept(&self) -> bool {
        self.streams.may_accept() && self.core.machine.may_accept_stream()
    }

    fn accept(&mut self, now: Instant) {
        let waker = self.wakes.waker(ACCEPT).clone();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..ACCEPTS {
            if !self.ready[ACCEPT] || !self.may_accept() {
                return;
            }
            match self.transport.poll_accept(&mut cx) {
                Poll::Ready((stream, source)) => {
                    self.streams.accept(now, stream, source, &mut self.core.machine)
                }
                Poll::Pending => self.ready[ACCEPT] = false,
            }
        }
    }

    /// Carries out commands; `true` when nobody is left to give any.
    fn execute(&mut self, now: Instant) -> bool {
        let waker = self.wakes.waker(COMMAND).clone();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..COMMANDS {
            if !self.ready[COMMAND] {
                break;
            }
            match self.commands.0.as_mut().poll_next(&mut cx) {
                Poll::Ready(Some(command)) => command(&mut self.core, now),
                Poll::Ready(None) => return true,
                Poll::Pending => self.ready[COMMAND] = false,
            }
        }
        false
    }

    /// Tells the machine that its keyring is in the file.
    fn store(&mut self, now: Instant) {
        if !self.ready[STORE] {
            return;
        }
        let waker = self.wakes.waker(STORE).clone();
        match self.keyring_file.poll_written(&mut Context::from_waker(&waker)) {
            Poll::Ready((id, result)) => {
                log::keyring_stored(&result);
                // It has not asked in vain: nothing else answers.
                let _ = self.core.machine.keyring_stored(now, id, result);
            }
            Poll::Pending => self.ready[STORE] = false,
        }
    }

    /// Tells the machine the time once everything that arrived before was heard, so that it accuses nobody whose answer
    /// is already here; within limits, so that a flood cannot stop its clock.
    fn judge(&mut self, now: Instant, heard: usize) {
        let judging = self.judging.get_or_insert(Judging { since: now, heard: 0 });
        judging.heard += heard;
        let drained = !self.ready[RECEIVE] && self.received.is_empty();
        if drained || judging.heard >= JUDGE_DATAGRAMS || now - judging.since >= JUDGE_TIME {
            self.judging = None;
            self.core.machine.handle_timeout(now);
            self.streams.resume();
        }
    }

    /// Does what the machine wants done; whether it wants to send more than one turn allows.
    fn settle(&mut self) -> bool {
        let now = self.runtime.now();
        let unsent = self.transmit(now);
        self.streams.act(now, &mut self.core.machine, &mut self.transport);
        self.core.deliver(now);
        if let Some((id, keyring)) = self.core.keyring.take() {
            self.keyring_file.write(&self.runtime, id, keyring);
            self.ready[STORE] = true;
        }
        if self.recorder.is_some() || !self.core.recorded.is_empty() {
            self.keep_recorded();
        }
        unsent
    }

    /// Has what was recorded written; tells those who wait for the end of it.
    fn keep_recorded(&mut self) {
        let waker = self.wakes.waker(RECORD).clone();
        let mut cx = Context::from_waker(&waker);
        let (runtime, machine) = (&self.runtime, &mut self.core.machine);
        let is_idle = self.recorder.as_mut().is_none_or(|recorder| recorder.poll(&mut cx, runtime, machine));
        if is_idle && !self.core.recorded.is_empty() {
            let waiting = core::mem::take(&mut self.core.recorded);
            match self.recorder.take() {
                Some(recorder) => {
                    let closed = recorder.close(runtime.clone());
                    runtime.spawn(async move {
                        closed.await;
                        drop(waiting);
                    });
                }
                None => drop(waiting),
            }
        }
    }

    fn transmit(&mut self, now: Instant) -> bool {
        let waker = self.wakes.waker(SEND).clone();
        let mut cx = Context::from_waker(&waker);
        let machine = &mut self.core.machine;
        let mut sent = 0;
        while self.ready[SEND] {
            // Asked first: what waits for a full socket is not composed yet, and so cannot grow old.
            if self.to_send.is_empty() {
                if self.transport.poll_send_ready(&mut cx).is_pending() {
                    self.ready[SEND] = false;
                    return false;
                }
                while self.to_send.compose(|buffer| machine.poll_transmit(now, buffer)) {}
                if self.to_send.is_empty() {
                    return false;
                }
                sent += self.to_send.len();
            }
            if self.transport.poll_send(&mut cx, &mut self.to_send).is_pending() {
                self.ready[SEND] = false;
                for transmit in self.to_send.iter() {
                    machine.handle_transmit_delayed(now, transmit.id);
                }
            }
            if sent >= SENDS {
                return true;
            }
        }
        false
    }

    /// Sets the timer to the next deadline; whether that has passed.
    fn set_timer(&mut self, now: Instant) -> bool {
        let machine = self.core.machine.poll_timeout();
        let next = match (machine, self.streams.next_deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if next != self.timer_at {
            self.timer_at = next;
            let Some(next) = next else { return false };
            self.timer.set(next);
            self.ready[TIMER] = true;
        }
        // Work that the machine has put off, or that came due meanwhile.
        if next.is_some_and(|at| at <= now) {
            return true;
        }
        if next.is_none() || !self.ready[TIMER] {
            return false;
        }
        let waker: &Waker = self.wakes.waker(TIMER);
        let expired = self.timer.poll_expired(&mut Context::from_waker(waker)).is_ready();
        if expired {
            self.timer_at = None;
        }
        self.ready[TIMER] = false;
        expired
    }
}

/// Where commands come from. Those that are still there at the end go with it, and so do the ends of their answers: a
/// channel keeps what is in it for as long as it has a sender, and whoever waits for an answer is one.
struct Commands<M>(Pin<Box<Receiver<Command<M>>>>);

impl<M> Drop for Commands<M> {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

#[derive(Clone, Copy)]
struct Judging {
    since: Instant,
    heard: usize,
}

// The sources of the loop, by the number of their waker.
const RECEIVE: usize = 0;
const SEND: usize = 1;
const ACCEPT: usize = 2;
const EVENT: usize = 3;
const COMMAND: usize = 4;
const TIMER: usize = 5;
const STORE: usize = 6;
const RECORD: usize = 7;

/// Datagrams heard between two transmits: rule 2 of driving a machine.
const INPUTS: usize = 64;
/// Commands carried out in one turn.
const COMMANDS: usize = 16;
/// Streams accepted in one turn.
const ACCEPTS: usize = 8;
/// Datagrams composed at once, and sent in one turn.
const SEND_BATCH: usize = 32;
const SENDS: usize = 256;
/// Turns until other tasks of the runtime have theirs.
const TURNS: usize = 8;
/// Drain before judge: what is heard at most before a timeout that is due is handled.
const JUDGE_DATAGRAMS: usize = 1024;
const JUDGE_TIME: Duration = Duration::from_millis(5);

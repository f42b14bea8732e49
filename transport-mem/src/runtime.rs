//! A runtime on virtual time: tasks of one thread, and a clock that moves only when all of them wait.

use core::fmt;
use core::future::Future;
use core::net::IpAddr;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Wake;

use gossip_driver::{Runtime, Timer};
use gossip_proto::Instant;

/// A runtime whose clock is virtual: hours of sleeping pass in no time, and a run is the same every time.
///
/// Tasks run on the thread that calls [`VirtualRuntime::block_on`] or [`VirtualRuntime::run_for`], in the order in which
/// they were woken. When all wait, the clock jumps to the next timer. Waking from other threads is not supported: who
/// waits for one would be told that nothing will ever happen.
#[derive(Clone)]
pub struct VirtualRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    now: Instant,
    tasks: BTreeMap<u64, Task>,
    ready: VecDeque<u64>,
    /// Numbers tasks and timers.
    serial: u64,
    timers: BTreeMap<(Instant, u64), Waker>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
}

struct Task {
    /// Taken out while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    waker: Waker,
    queued: bool,
}

/// The future that `block_on` runs, among the tasks.
const MAIN: u64 = 0;

/// Polls at one instant after which the tasks are taken to wake each other for ever.
const MAX_POLLS: u64 = 50_000_000;

impl VirtualRuntime {
    /// A runtime without tasks, at the origin of time.
    pub fn new() -> Self {
        let state = State {
            now: Instant::ORIGIN,
            tasks: BTreeMap::new(),
            ready: VecDeque::new(),
            serial: MAIN + 1,
            timers: BTreeMap::new(),
            hosts: BTreeMap::new(),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// Runs a future to its end, and the tasks meanwhile.
    ///
    /// # Panics
    /// If the future waits for something that can never happen: no task can run and no timer is set.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.drive(future, Instant::MAX) {
            Some(output) => output,
            None => panic!("all tasks wait and no timer is set: nothing will ever happen again"),
        }
    }

    /// Runs the tasks for that long.
    pub fn run_for(&self, duration: Duration) {
        self.run_until(self.now() + duration);
    }

    /// Runs the tasks until then.
    pub fn run_until(&self, deadline: Instant) {
        let None = self.drive(core::future::pending::<core::convert::Infallible>(), deadline);
        let mut state = self.shared.lock();
        state.now = state.now.max(deadline);
    }

    /// Has [`Runtime::resolve`] find these addresses for a host; it finds nothing else.
    pub fn add_host(&self, host: &str, addresses: &[IpAddr]) {
        self.shared.lock().hosts.insert(host.into(), addresses.to_vec());
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.shared.lock().tasks.len()
    }

    /// Timers that are waited for.
    pub fn timers(&self) -> usize {
        self.shared.lock().timers.len()
    }

    /// Drops all tasks where they stand. Tasks that hold a runtime keep it in memory; this ends them and frees it.
    pub fn drop_tasks(&self) {
        let tasks = core::mem::take(&mut self.shared.lock().tasks);
        drop(tasks); // outside the lock: what they own may use the runtime
    }

    /// Runs until the future ends or nothing is left to do by the deadline.
    fn drive<F: Future>(&self, future: F, deadline: Instant) -> Option<F::Output> {
        let mut future = pin!(future);
        let waker = self.shared.waker(MAIN);
        let mut cx = Context::from_waker(&waker);
        waker.wake_by_ref();
        let mut polls = 0;
        loop {
            let next = self.shared.lock().ready.pop_front();
            match next {
                Some(MAIN) => {
                    if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                        return Some(output);
                    }
                }
                Some(id) => self.poll_task(id),
                None if self.advance(deadline) => polls = 0,
                None => return None,
            }
            polls += 1;
            assert!(polls < MAX_POLLS, "tasks wake each other at {} without end", self.now());
        }
    }

    fn poll_task(&self, id: u64) {
        let (mut future, waker) = {
            let mut state = self.shared.lock();
            let Some(task) = state.tasks.get_mut(&id) else { return };
            task.queued = false;
            let Some(future) = task.future.take() else { return };
            (future, task.waker.clone())
        };
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let task = {
            let mut state = self.shared.lock();
            if ended {
                state.tasks.remove(&id)
            } else {
                if let Some(task) = state.tasks.get_mut(&id) {
                    task.future = Some(future);
                }
                return;
            }
        };
        drop((future, task)); // outside the lock: what the task owned may use the runtime
    }

    /// Moves the clock to the next timer by the deadline.
    fn advance(&self, deadline: Instant) -> bool {
        let mut state = self.shared.lock();
        let Some((&(at, _), _)) = state.timers.first_key_value() else { return false };
        if at > deadline {
            return false;
        }
        state.now = state.now.max(at);
        let mut due = Vec::new();
        while let Some(first) = state.timers.first_entry()
            && first.key().0 <= at
        {
            due.push(first.remove());
        }
        drop(state);
        due.into_iter().for_each(Waker::wake);
        true
    }
}

impl Runtime for VirtualRuntime {
    type Timer = VirtualTimer;

    fn now(&self) -> Instant {
        self.shared.lock().now
    }

    fn timer(&self) -> VirtualTimer {
        let mut state = self.shared.lock();
        state.serial += 1;
        VirtualTimer {
            shared: self.shared.clone(),
            serial: state.serial,
            deadline: Instant::MAX,
            registered: None,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.shared.lock();
        state.serial += 1;
        let id = state.serial;
        let task = Task { future: Some(Box::pin(task)), waker: self.shared.waker(id), queued: true };
        state.tasks.insert(id, task);
        state.ready.push_back(id);
    }

    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        let found = self.shared.lock().hosts.get(host).cloned();
        let error = || io::Error::new(io::ErrorKind::NotFound, "no such host in the virtual runtime");
        core::future::ready(found.ok_or_else(error))
    }

    #[allow(clippy::manual_async_fn)] // an `async fn` would borrow the runtime
    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static {
        async move { work() }
    }
}

impl Default for VirtualRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for VirtualRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("VirtualRuntime").field("now", &state.now).field("tasks", &state.tasks.len()).finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waker(self: &Arc<Self>, id: u64) -> Waker {
        Arc::new(TaskWaker { shared: Arc::downgrade(self), id }).into()
    }
}

struct TaskWaker {
    /// Weak: timers hold wakers, and the runtime holds timers.
    shared: Weak<Shared>,
    id: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut state = shared.lock();
        if self.id == MAIN {
            if !state.ready.contains(&MAIN) {
                state.ready.push_back(MAIN);
            }
        } else if let Some(task) = state.tasks.get_mut(&self.id)
            && !core::mem::replace(&mut task.queued, true)
        {
            state.ready.push_back(self.id);
        }
    }
}

/// A timer on the virtual clock.
pub struct VirtualTimer {
    shared: Arc<Shared>,
    serial: u64,
    deadline: Instant,
    registered: Option<Instant>,
}

impl VirtualTimer {
    fn forget(&mut self) {
        if let Some(at) = self.registered.take() {
            self.shared.lock().timers.remove(&(at, self.serial));
        }
    }
}

impl Timer for VirtualTimer {
    fn set(&mut self, deadline: Instant) {
        self.forget();
        self.deadline = deadline;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if self.deadline <= state.now {
            drop(state);
            self.forget();
            return Poll::Ready(());
        }
        if self.deadline < Instant::MAX {
            state.timers.insert((self.deadline, self.serial), cx.waker().clone());
            self.registered = Some(self.deadline);
        }
        Poll::Pending
    }
}

impl Drop for VirtualTimer {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for VirtualTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VirtualTimer({})", self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn sleeping_takes_virtual_time_only() {
        let runtime = VirtualRuntime::new();
        let inner = runtime.clone();
        let slept = runtime.block_on(async move {
            inner.sleep_until(inner.now() + Duration::from_secs(86_400)).await;
            inner.now()
        });
        assert_eq!(slept, Instant::from_millis(86_400_000));
        assert_eq!(runtime.timers(), 0);
    }

    #[test]
    fn tasks_run_in_the_order_of_their_timers_and_then_of_waking() {
        let runtime = VirtualRuntime::new();
        let (log, entries) = mpsc::channel();
        for (name, millis) in [('a', 30), ('b', 10), ('c', 30), ('d', 20)] {
            let (runtime_inside, log) = (runtime.clone(), log.clone());
            runtime.spawn(async move {
                runtime_inside.sleep_until(Instant::from_millis(millis)).await;
                log.send((name, runtime_inside.now())).unwrap();
            });
        }
        runtime.run_until(Instant::from_millis(25));
        assert_eq!(runtime.now(), Instant::from_millis(25));
        assert_eq!(runtime.tasks(), 2);
        runtime.run_for(Duration::from_millis(100));
        let order: String = entries.try_iter().map(|(name, _)| name).collect();
        assert_eq!((order.as_str(), runtime.tasks()), ("bdac", 0));
    }

    #[test]
    fn a_timer_set_again_fires_at_the_new_time_only() {
        let runtime = VirtualRuntime::new();
        let mut timer = runtime.timer();
        timer.set(Instant::from_millis(10));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(timer.poll_expired(&mut cx).is_pending());
        timer.set(Instant::from_millis(50));
        assert_eq!(runtime.timers(), 0);
        runtime.run_until(Instant::from_millis(20));
        assert!(timer.poll_expired(&mut cx).is_pending());
        runtime.run_until(Instant::from_millis(50));
        assert!(timer.poll_expired(&mut cx).is_ready() && timer.poll_expired(&mut cx).is_ready());
        drop(timer);
        assert_eq!(runtime.timers(), 0);
    }

    #[test]
    #[should_panic(expected = "nothing will ever happen again")]
    fn waiting_for_nothing_is_found_out() {
        VirtualRuntime::new().block_on(core::future::pending::<()>());
    }

    #[test]
    fn names_come_from_the_table() {
        let runtime = VirtualRuntime::new();
        let address = IpAddr::from([10, 0, 0, 1]);
        runtime.add_host("seed.example", &[address]);
        assert_eq!(runtime.block_on(runtime.resolve("seed.example")).unwrap(), [address]);
        assert_eq!(runtime.block_on(runtime.resolve("other")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn dropping_tasks_frees_what_they_hold() {
        let runtime = VirtualRuntime::new();
        let held = Arc::new(());
        let (inside, clone) = (held.clone(), runtime.clone());
        runtime.spawn(async move {
            clone.sleep_until(Instant::from_millis(1000)).await;
            drop(inside);
        });
        runtime.run_for(Duration::from_millis(1));
        assert_eq!(Arc::strong_count(&held), 2);
        runtime.drop_tasks();
        assert_eq!((Arc::strong_count(&held), runtime.timers()), (1, 0));
    }
}

//! A runtime whose clock the test moves, and a network whose every step the test decides.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod net;

use core::future::Future;
use core::net::IpAddr;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Wake;

use gossip_driver::gossip_proto::{Config, Instant, Membership, NonceSecret, Seed};
use gossip_driver::{Cluster, Options, Runtime, Timer, start};

use net::Net;

/// Everything that runs, on one thread, in virtual time.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Shared>);

#[derive(Default)]
struct Shared {
    now: Mutex<Instant>,
    ready: Mutex<VecDeque<Arc<Task>>>,
    timers: Mutex<Vec<Arc<Mutex<Slot>>>>,
    tasks: Mutex<usize>,
}

#[derive(Default)]
struct Slot {
    deadline: Option<Instant>,
    waker: Option<Waker>,
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    world: World,
    queued: AtomicBool,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let world = self.world.clone();
            world.0.ready.lock().unwrap().push_back(self);
        }
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

impl World {
    /// Polls one task that was woken; whether there was one.
    pub(crate) fn step(&self) -> bool {
        let Some(task) = self.0.ready.lock().unwrap().pop_front() else { return false };
        task.queued.store(false, Ordering::Release);
        let waker = Waker::from(task.clone());
        let mut slot = task.future.lock().unwrap();
        if let Some(future) = slot.as_mut()
            && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *slot = None;
            *self.0.tasks.lock().unwrap() -= 1;
        }
        true
    }

    /// Polls tasks until all wait; panics if that does not end.
    pub(crate) fn run(&self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the tasks never come to rest");
    }

    /// Moves the clock without polling anything: a process that was stopped.
    pub(crate) fn skip(&self, by: Duration) {
        let now = {
            let mut now = self.0.now.lock().unwrap();
            *now += by;
            *now
        };
        let timers = self.0.timers.lock().unwrap().clone();
        for timer in timers {
            let mut slot = timer.lock().unwrap();
            if slot.deadline.is_some_and(|at| at <= now)
                && let Some(waker) = slot.waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Runs the world for that long, from timer to timer.
    pub(crate) fn pass(&self, span: Duration) {
        let end = self.now() + span;
        self.run();
        while let Some(next) = self.next_timer().filter(|&at| at <= end) {
            self.skip(next - self.now());
            self.run();
        }
        self.skip(end - self.now());
        self.run();
    }

    /// Runs the world until the future is ready; panics when that takes more than a virtual minute.
    pub(crate) fn wait<A>(&self, future: impl Future<Output = A>) -> A {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let end = self.now() + Duration::from_secs(60);
        loop {
            if flag.0.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            if flag.0.load(Ordering::Acquire) || self.step() {
                continue;
            }
            let next = self.next_timer().filter(|&at| at <= end).expect("it never becomes ready");
            self.skip(next - self.now());
        }
    }

    /// Tasks that have not ended.
    pub(crate) fn tasks(&self) -> usize {
        *self.0.tasks.lock().unwrap()
    }

    fn next_timer(&self) -> Option<Instant> {
        let now = self.now();
        let timers = self.0.timers.lock().unwrap();
        timers.iter().filter_map(|timer| timer.lock().unwrap().deadline).filter(|&at| at > now).min()
    }
}

impl Runtime for World {
    type Timer = ManualTimer;

    fn now(&self) -> Instant {
        *self.0.now.lock().unwrap()
    }

    fn timer(&self) -> ManualTimer {
        let slot = Arc::new(Mutex::new(Slot::default()));
        self.0.timers.lock().unwrap().push(slot.clone());
        ManualTimer { slot, world: self.clone() }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        *self.0.tasks.lock().unwrap() += 1;
        let task = Task {
            future: Mutex::new(Some(Box::pin(task))),
            world: self.clone(),
            queued: AtomicBool::new(false),
        };
        Arc::new(task).wake();
    }

    fn resolve(&self, host: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static {
        let host = host.to_owned();
        async move {
            match host.as_str() {
                "b.test" => Ok(vec![IpAddr::from([10, 0, 0, 2])]),
                "two.test" => Ok(vec![IpAddr::from([10, 0, 0, 9]), IpAddr::from([10, 0, 0, 2])]),
                "empty.test" => Ok(Vec::new()),
                "slow.test" => core::future::pending().await,
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
            }
        }
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn would borrow the runtime")]
    fn blocking<W: Send + 'static>(
        &self,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> impl Future<Output = W> + Send + 'static {
        async move { work() }
    }
}

pub(crate) struct ManualTimer {
    slot: Arc<Mutex<Slot>>,
    world: World,
}

impl Timer for ManualTimer {
    fn set(&mut self, deadline: Instant) {
        self.slot.lock().unwrap().deadline = Some(deadline);
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.world.now();
        let mut slot = self.slot.lock().unwrap();
        if slot.deadline.is_some_and(|at| at <= now) {
            return Poll::Ready(());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualTimer {
    fn drop(&mut self) {
        self.world.0.timers.lock().unwrap().retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

/// A membership node at `10.0.0.<number>:7946` of the network.
pub(crate) fn node(world: &World, net: &Net, number: u8) -> Cluster<Membership> {
    node_with(world, net, number, Options::default(), |_| {})
}

pub(crate) fn node_with(
    world: &World,
    net: &Net,
    number: u8,
    options: Options,
    configure: impl FnOnce(&mut Config),
) -> Cluster<Membership> {
    let addr = addr(number);
    let mut config = Config::local(format!("n{number}").as_str(), addr);
    configure(&mut config);
    let seed = Seed::from_u64(number.into());
    let machine = Membership::new(world.now(), config, seed, NonceSecret::new([number; 32])).unwrap();
    start(machine, net.transport(addr), world.clone(), options)
}

pub(crate) fn addr(number: u8) -> core::net::SocketAddr {
    ([10, 0, 0, number], 7946).into()
}

//! One waker per source, so that a wake-up says which of many sources is worth polling.

use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Wake;

use atomic_waker::AtomicWaker;

/// Sources of one task, numbered; collects which of them have called their waker.
#[derive(Debug, Default)]
pub(crate) struct WakeSet {
    shared: Arc<Shared>,
    sources: Vec<(Arc<Source>, Waker)>,
    taken: Vec<usize>,
}

impl WakeSet {
    /// The waker of a source. Sources exist from the first time they are asked for.
    pub(crate) fn waker(&mut self, index: usize) -> &Waker {
        while self.sources.len() <= index {
            let index = self.sources.len();
            let source =
                Arc::new(Source { shared: self.shared.clone(), index, queued: AtomicBool::new(false) });
            let waker = Waker::from(source.clone());
            self.sources.push((source, waker));
        }
        &self.sources[index].1
    }

    /// Says which task to wake. Must precede [`WakeSet::take`], or a wake-up in between is lost.
    pub(crate) fn register(&self, task: &Waker) {
        self.shared.task.register(task);
    }

    /// Calls `visit` with each source that was woken since the last call, in the order of waking.
    pub(crate) fn take(&mut self, mut visit: impl FnMut(usize)) {
        core::mem::swap(&mut self.taken, &mut *self.shared.ready());
        for index in self.taken.drain(..) {
            // Cleared before the source is polled: a wake-up during the poll queues it anew.
            self.sources[index].0.queued.store(false, Ordering::Release);
            visit(index);
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    task: AtomicWaker,
    ready: Mutex<Vec<usize>>,
}

impl Shared {
    fn ready(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Source {
    shared: Arc<Shared>,
    index: usize,
    queued: AtomicBool,
}

impl Wake for Source {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.shared.ready().push(self.index);
            self.shared.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn reports_each_woken_source_once_and_wakes_the_task() {
        let mut set = WakeSet::default();
        let count = Arc::new(Count::default());
        set.register(&Waker::from(count.clone()));
        let (first, second) = (set.waker(0).clone(), set.waker(7).clone());
        second.wake_by_ref();
        second.wake_by_ref();
        first.wake_by_ref();
        let mut seen = Vec::new();
        set.take(|index| seen.push(index));
        assert_eq!(seen, [7, 0]);
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "a registered waker is used once");

        set.register(&Waker::from(count.clone()));
        first.wake_by_ref();
        seen.clear();
        set.take(|index| seen.push(index));
        assert_eq!(seen, [0], "a source can be woken again after it was taken");
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }
}

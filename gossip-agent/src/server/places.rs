//! How many clients there may be. When all places are taken, a newcomer gets that of the client that has been idle for the
//! longest, so that connections somebody forgot to close lock nobody out; and before any other that of one that has not
//! presented itself, so that who does not know the secret takes places from its like only.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<Vec<Arc<State>>>>,
}

/// A client's place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    state: Arc<State>,
}

/// Keeps a place from being idle.
#[derive(Debug)]
pub(super) struct Busy(Arc<State>);

#[derive(Debug)]
struct State {
    /// Requests and streams that run.
    running: AtomicUsize,
    /// It has presented itself.
    known: AtomicBool,
    since: Mutex<Instant>,
    lost: Notify,
}

impl Places {
    /// One for a newcomer; `None` if all are taken and nobody is idle.
    pub(super) fn take(&self) -> Option<Place> {
        let mut taken = self.taken();
        if taken.len() >= MAX {
            let idle =
                taken.iter().enumerate().filter(|(_, state)| state.running.load(Ordering::Relaxed) == 0);
            let (index, _) =
                idle.min_by_key(|(_, state)| (state.known.load(Ordering::Relaxed), state.since()))?;
            taken.swap_remove(index).lost.notify_one();
        }
        let state = Arc::new(State {
            running: AtomicUsize::new(0),
            known: AtomicBool::new(false),
            since: Mutex::new(Instant::now()),
            lost: Notify::new(),
        });
        taken.push(state.clone());
        drop(taken);
        Some(Place { places: self.clone(), state })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<State>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// From now on something runs for the client.
    pub(super) fn busy(&self) -> Busy {
        self.state.running.fetch_add(1, Ordering::Relaxed);
        Busy(self.state.clone())
    }

    /// Whether the client has presented itself.
    pub(super) fn set_known(&self, known: bool) {
        self.state.known.store(known, Ordering::Relaxed);
    }

    /// Ends when the place was given to somebody else; it stays lost. Safe to cancel.
    pub(super) fn lost(&self) -> impl Future<Output = ()> + use<> {
        let state = self.state.clone();
        async move {
            state.lost.notified().await;
            state.lost.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().retain(|state| !Arc::ptr_eq(state, &self.state));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    fn since(&self) -> Instant {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients at once.
pub(super) const MAX: usize = 64;

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_one_idle_for_the_longest_makes_room() {
        let places = Places::default();
        let mut all: Vec<Place> = (0..MAX).map(|_| places.take().unwrap()).collect();
        let streams = all[0].busy();
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(all[1].busy());
        let newcomer = places.take().unwrap();
        tokio::time::timeout(Duration::from_secs(1), all[2].lost()).await.unwrap();
        // The one that lost its place does not free another one's when it goes.
        all.remove(2);
        assert_eq!(places.taken().len(), MAX);
        let busy: Vec<Busy> = all.iter().chain([&newcomer]).map(Place::busy).collect();
        assert!(places.take().is_none());
        drop((busy, streams));
        assert!(places.take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_not_presented_itself_makes_room_first() {
        let places = Places::default();
        let mut all: Vec<Place> = (0..MAX).map(|_| places.take().unwrap()).collect();
        for known in &all[1..] {
            known.set_known(true);
        }
        let mut stranger = all.remove(0);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(1)).await;
            let newcomer = places.take().unwrap();
            tokio::time::timeout(Duration::from_secs(1), stranger.lost()).await.unwrap();
            stranger = newcomer;
        }
    }
}

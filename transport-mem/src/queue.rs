//! What happens when: a heap ordered by time, and by the order of scheduling among equals.

use core::cmp::Ordering;
use std::collections::BinaryHeap;

use gossip_proto::Instant;

/// Future events. Two events of one instant come out in the order in which they went in, so a run has one order.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    serial: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { heap: BinaryHeap::new(), serial: 0 }
    }

    pub(crate) fn push(&mut self, at: Instant, event: T) {
        self.heap.push(Entry { at, serial: self.serial, event });
        self.serial += 1;
    }

    /// When the next event happens.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the next event if it happens by then.
    pub(crate) fn pop_until(&mut self, until: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    serial: u64,
    event: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: the heap gives its greatest, and the earliest is wanted.
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_scheduling() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd'), (4, 'e')] {
            queue.push(Instant::from_millis(at), event);
        }
        assert_eq!(queue.next_at(), Some(Instant::from_millis(3)));
        assert_eq!(queue.pop_until(Instant::from_millis(2)), None);
        let order: String =
            core::iter::from_fn(|| queue.pop_until(Instant::MAX)).map(|(_, event)| event).collect();
        assert_eq!(order, "bdeac");
        assert_eq!(queue.len(), 0);
    }
}

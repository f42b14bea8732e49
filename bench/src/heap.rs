//! An allocator that counts, so that what is said about allocations and memory is measured.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::alloc::System;

static CALLS: AtomicU64 = AtomicU64::new(0);
static ALLOCATED: AtomicU64 = AtomicU64::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counted, for all threads together. A program that wants figures makes it its global allocator;
/// in one that does not, nothing is counted.
///
/// ```
/// #[global_allocator]
/// static HEAP: gossip_bench::heap::Counting = gossip_bench::heap::Counting;
///
/// let before = gossip_bench::heap::Heap::now();
/// let bytes = Vec::<u8>::with_capacity(100);
/// assert!(before.allocations() >= 1 && before.held() >= 100);
/// drop(bytes);
/// ```
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        FREED.fetch_add(layout.size() as u64, Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count(allocated: usize, freed: usize) {
    CALLS.fetch_add(1, Relaxed);
    ALLOCATED.fetch_add(allocated as u64, Relaxed);
    FREED.fetch_add(freed as u64, Relaxed);
}

/// A moment to count from.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    calls: u64,
    live: i64,
}

impl Heap {
    /// Counts from here.
    pub fn now() -> Self {
        Self { calls: CALLS.load(Relaxed), live: live() }
    }

    /// How often memory was asked for since, growing what there was included.
    pub fn allocations(self) -> u64 {
        CALLS.load(Relaxed) - self.calls
    }

    /// Bytes that are held beyond what was; below 0 if less is.
    pub fn held(self) -> i64 {
        live() - self.live
    }
}

fn live() -> i64 {
    ALLOCATED.load(Relaxed) as i64 - FREED.load(Relaxed) as i64
}

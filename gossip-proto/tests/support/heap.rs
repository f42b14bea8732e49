//! How much memory the thread at hand holds: what an attacker makes a node keep is measured, not estimated.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts by thread, because tests run side by side. What one thread allocates and another frees is counted wrong; tests of
/// machines have one thread each.
struct Counting;

fn add(bytes: isize) {
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        add(new_size as isize - layout.size() as isize);
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory held since then, and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap(isize);

impl Heap {
    /// Counts from here.
    pub(crate) fn now() -> Self {
        let live = LIVE.get();
        PEAK.set(live);
        Self(live)
    }

    /// Bytes held beyond those at the beginning; below 0 if less is.
    pub(crate) fn held(self) -> isize {
        LIVE.get() - self.0
    }

    /// Most bytes held at once since the beginning.
    pub(crate) fn peak(self) -> isize {
        PEAK.get() - self.0
    }
}

#[test]
fn what_is_held_is_counted_and_what_was_is_remembered() {
    let heap = Heap::now();
    let mut bytes = vec![0u8; 1000];
    bytes.reserve_exact(5000);
    bytes.truncate(10);
    bytes.shrink_to_fit();
    assert!((10..100).contains(&heap.held()) && heap.peak() >= 6000, "{} {}", heap.held(), heap.peak());
    drop(bytes);
    assert_eq!(heap.held(), 0);
}

//! How much memory this thread takes, and how often it asks for some.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn grew(by: usize) {
    let _ = LIVE.try_with(|live| {
        live.set(live.get().wrapping_add(by));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

fn shrank(by: usize) {
    let _ = LIVE.try_with(|live| live.set(live.get().wrapping_sub(by)));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        shrank(layout.size());
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new may exist side by side.
        grew(new_size);
        shrank(layout.size());
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was taken since then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heap {
    live: usize,
    allocations: usize,
}

impl Heap {
    /// Counts from here.
    pub(crate) fn now() -> Self {
        PEAK.set(LIVE.get());
        Self { live: LIVE.get(), allocations: ALLOCATIONS.get() }
    }

    /// How often memory was asked for.
    pub(crate) fn allocations(self) -> usize {
        ALLOCATIONS.get() - self.allocations
    }

    /// Bytes held beyond those at the beginning.
    pub(crate) fn held(self) -> usize {
        LIVE.get().wrapping_sub(self.live)
    }

    /// Most bytes held at once beyond those at the beginning.
    pub(crate) fn peak(self) -> usize {
        PEAK.get() - self.live
    }
}

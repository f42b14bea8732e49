//! A heap in static memory: power-of-two blocks cut from one arena, freed blocks kept in a list per size.
//!
//! The whole program has one thread, which is what makes the unsynchronised interior sound.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::ptr;

const ARENA: usize = 64 << 20;
/// Smallest block: room for the link of the free list.
const SMALLEST: usize = 16;
/// Largest alignment a block can be asked for.
const ALIGNMENT: usize = 64;
const CLASSES: usize = usize::BITS as usize;

#[repr(C, align(64))]
struct Arena(UnsafeCell<[u8; ARENA]>);

struct Heap {
    arena: Arena,
    used: Cell<usize>,
    /// Heads of the lists of freed blocks, by the logarithm of their size; the first word of each block is the next one.
    free: [Cell<*mut u8>; CLASSES],
}

// SAFETY: the program has one thread.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap {
    arena: Arena(UnsafeCell::new([0; ARENA])),
    used: Cell::new(0),
    free: [const { Cell::new(ptr::null_mut()) }; CLASSES],
};

/// The size of the block that serves a request; 0 if none can.
fn block_size(layout: Layout) -> usize {
    let wanted = layout.size().max(layout.align()).max(SMALLEST);
    if wanted > ARENA || layout.align() > ALIGNMENT { 0 } else { wanted.next_power_of_two() }
}

// SAFETY: a block lies inside the arena, is handed out once until it is given back, and is aligned: blocks of 64 bytes
// and more start at multiples of 64, smaller ones at multiples of their size, as each cut is rounded up to that.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let size = block_size(layout);
        if size == 0 {
            return ptr::null_mut();
        }
        let head = &self.free[size.trailing_zeros() as usize];
        let freed = head.get();
        if !freed.is_null() {
            // SAFETY: a freed block holds the next one in its first word; blocks are at least 16 bytes, aligned to them.
            head.set(unsafe { freed.cast::<*mut u8>().read() });
            return freed;
        }
        let start = self.used.get().next_multiple_of(size.min(ALIGNMENT));
        if start > ARENA - size {
            return ptr::null_mut();
        }
        self.used.set(start + size);
        // SAFETY: start + size is at most the arena's length.
        unsafe { self.arena.0.get().cast::<u8>().add(start) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let head = &self.free[block_size(layout).trailing_zeros() as usize];
        // SAFETY: the block came from `alloc` with this layout and nobody uses it any more.
        unsafe { block.cast::<*mut u8>().write(head.get()) };
        head.set(block);
    }
}

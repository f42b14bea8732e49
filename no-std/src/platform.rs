//! The little that the host is asked for: writing a line and ending.

use core::panic::PanicInfo;

#[link(name = "c")]
unsafe extern "C" {
    fn write(descriptor: i32, bytes: *const u8, len: usize) -> isize;
    fn abort() -> !;
}

/// Writes to the standard output.
pub(crate) fn say(text: &[u8]) {
    // SAFETY: the pointer and the length are those of one live slice. A short write loses text, nothing else.
    unsafe { write(1, text.as_ptr(), text.len()) };
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    say(b"panicked\n");
    // SAFETY: takes nothing and does not come back.
    unsafe { abort() }
}

/// Named by the precompiled `core`, which is built for unwinding; never called when panics abort.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}

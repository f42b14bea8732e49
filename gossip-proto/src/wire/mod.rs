//! Untrusted bytes to typed values and back. Nothing here keeps state.

pub mod compound;
pub mod field;
pub mod keyring;
pub mod label;
pub mod layers;
pub mod lzw;
pub mod message;
pub mod msgpack;
pub mod packet;
pub mod seal;
pub mod serf;
pub mod stream;

/// Whether these are the same bytes. An empty slice points to nothing, and glibc's `memcmp` reads from there all the same, if
/// masked to no bytes, which takes some processors longer than all else about a message.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && (a.is_empty() || a == b)
}

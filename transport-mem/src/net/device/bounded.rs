//! A writer that takes so many bytes and no more.

use std::io::{Error, Result, Write};

/// Writes whole pieces up to a limit. After the first that does not fit, or that the writer fails at, there are no more.
#[derive(Debug)]
pub(super) struct Bounded<W> {
    pub(super) writer: W,
    left: u64,
    pub(super) error: Option<Error>,
    pub(super) full: bool,
}

impl<W: Write> Bounded<W> {
    pub(super) fn new(writer: W, most: u64) -> Self {
        Self { writer, left: most, error: None, full: false }
    }

    /// Whether nothing more is written.
    pub(super) fn is_over(&self) -> bool {
        self.full || self.error.is_some()
    }

    /// Writes all of it, or nothing and no more; then `last` instead, beyond the limit.
    pub(super) fn put(&mut self, bytes: &[u8], last: &[u8]) {
        if self.is_over() {
            return;
        }
        self.full = bytes.len() as u64 > self.left;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.error = self.writer.write_all(if self.full { last } else { bytes }).err();
    }

    pub(super) fn into_inner(mut self) -> Result<W> {
        match self.error {
            Some(error) => Err(error),
            None => self.writer.flush().map(|()| self.writer),
        }
    }
}

//! The input of a body, read as a program.

/// Calls and arguments one after the other; zeros after the end, so that any bytes are a program.
pub(super) struct Arguments<'p>(&'p [u8]);

impl<'p> Arguments<'p> {
    pub(super) fn new(input: &'p [u8]) -> Self {
        Self(input)
    }

    /// The next byte; `None` ends the program.
    pub(super) fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }

    /// A length and that many bytes.
    pub(super) fn bytes(&mut self) -> &'p [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// Everything that is left.
    pub(super) fn rest(&self) -> &'p [u8] {
        self.0
    }
}

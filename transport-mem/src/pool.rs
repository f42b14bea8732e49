//! Memory for datagrams under way, used again and again.

/// Buffers by number. A number is small enough to lie in an event; the memory of a datagram that arrived serves the
/// next one.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
    free: Vec<u32>,
}

impl Pool {
    /// Keeps a copy of the bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::new());
            (self.buffers.len() - 1) as u32
        });
        let buffer = &mut self.buffers[number as usize];
        buffer.clear();
        buffer.extend_from_slice(bytes);
        number
    }

    /// How many bytes lie under that number.
    pub(crate) fn len(&self, number: u32) -> usize {
        self.buffers[number as usize].len()
    }

    /// Takes a buffer out, to be given back.
    pub(crate) fn take(&mut self, number: u32) -> Vec<u8> {
        core::mem::take(&mut self.buffers[number as usize])
    }

    /// Gives a buffer back for others to use.
    pub(crate) fn give(&mut self, number: u32, buffer: Vec<u8>) {
        self.buffers[number as usize] = buffer;
        self.free.push(number);
    }

    /// Gives a buffer back whose bytes are still wanted.
    pub(crate) fn put_back(&mut self, number: u32, buffer: Vec<u8>) {
        self.buffers[number as usize] = buffer;
    }

    /// Forgets the bytes under that number.
    pub(crate) fn discard(&mut self, number: u32) {
        self.free.push(number);
    }

    /// Buffers in use.
    pub(crate) fn in_use(&self) -> usize {
        self.buffers.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let mut pool = Pool::default();
        let (a, b) = (pool.put(b"first"), pool.put(b"second"));
        assert_eq!(pool.in_use(), 2);
        let buffer = pool.take(a);
        assert_eq!(buffer, b"first");
        let memory = buffer.as_ptr();
        pool.give(a, buffer);
        pool.discard(b);
        assert_eq!(pool.in_use(), 0);
        assert_eq!((pool.put(b"x"), pool.put(b"third")), (b, a));
        let buffer = pool.take(a);
        assert_eq!((buffer.as_slice(), buffer.as_ptr()), (b"third".as_slice(), memory));
    }
}

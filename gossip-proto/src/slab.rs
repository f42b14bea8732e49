//! A slab whose keys name nobody once their entry is gone.

use alloc::vec::Vec;

/// Entries under keys of 32 bits index and 32 bits generation; iteration is in index order.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u64 {
        self.len += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            (self.entries.len() - 1) as u32
        });
        let (generation, entry) = &mut self.entries[index as usize];
        *entry = Some(value);
        Self::key(*generation, index)
    }

    fn key(generation: u32, index: u32) -> u64 {
        u64::from(generation) << 32 | u64::from(index)
    }

    fn slot(&self, key: u64) -> Option<usize> {
        let index = (key & u64::from(u32::MAX)) as usize;
        self.entries.get(index).filter(|(generation, _)| u64::from(*generation) == key >> 32)?;
        Some(index)
    }

    pub(crate) fn get(&self, key: u64) -> Option<&T> {
        self.slot(key).and_then(|index| self.entries[index].1.as_ref())
    }

    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        self.slot(key).and_then(|index| self.entries[index].1.as_mut())
    }

    /// All entries, with their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let entries = (0..).zip(&self.entries);
        entries
            .filter_map(|(index, (generation, entry))| Some((Self::key(*generation, index), entry.as_ref()?)))
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<T> {
        let index = self.slot(key)?;
        let (generation, entry) = &mut self.entries[index];
        let value = entry.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(index as u32);
        self.len -= 1;
        Some(value)
    }
}

/// Makes room for so many more, by a sixteenth at a time: doubling would leave a large cluster's table half empty.
pub(crate) fn make_room<T>(entries: &mut Vec<T>, more: usize) {
    if entries.capacity() - entries.len() < more {
        entries.reserve_exact(more.max(entries.len() / 16).max(8));
    }
}

/// Makes the place of a slot exist in a table that has one for each.
pub(crate) fn reach<T: Clone>(entries: &mut Vec<T>, slot: u32, empty: T) {
    let len = slot as usize + 1;
    if entries.len() < len {
        make_room(entries, len - entries.len());
        entries.resize(len, empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_entry_names_nobody() {
        let mut slab = Slab::new();
        let a = slab.insert('a');
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b');
        assert_ne!(a, b);
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (None, Some(&'b'), 1));
        assert_eq!((slab.remove(a), slab.remove(b), slab.remove(b)), (None, Some('b'), None));
    }
}

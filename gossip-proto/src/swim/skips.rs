//! Ordered sets of small ids in one slab: what the rumor queue needs and `BTreeMap` cannot give, an order that
//! changes without allocating, and in which a rumor that was sent goes from the front to its next place in a few steps
//! however many are queued.
//!
//! Skip lists (Pugh) with a finger at the last place taken: rumors leave the front in the order in which they come in
//! again further back, so that each finds its place beside the one before. Anything else takes steps by the logarithm of
//! the size. Heights are drawn from a secret, because who knew them could leave only low ones.

use alloc::vec::Vec;

/// The links of any number of lists whose members are disjoint; an id is an index chosen by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Skips {
    /// By id, behind two for each list.
    nodes: Vec<Node>,
    lists: u32,
    /// State of the generator of heights.
    heights: u64,
}

/// One list of a [`Skips`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    /// Stands before the first; the one that stands behind the last follows it in the slab.
    head: u32,
    /// Where the last was put in: a member, or the head.
    finger: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    key: u128,
    /// The next on each level that this one reaches.
    next: [u32; LEVELS],
    prev: u32,
    height: u8,
}

/// A quarter of those on one level reach the next one, so that these are enough for some thousands.
const LEVELS: usize = 6;

impl List {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

impl Skips {
    /// A slab of `N` lists.
    pub(crate) fn new<const N: usize>(secret: u64) -> (Self, [List; N]) {
        let lists = core::array::from_fn(|list| {
            let head = 2 * list as u32;
            List { head, finger: head, len: 0 }
        });
        let nodes = (0..2 * N as u32).map(|at| match at % 2 {
            0 => Node { key: 0, next: [at + 1; LEVELS], prev: at, height: LEVELS as u8 },
            _ => Node { key: u128::MAX, next: [at; LEVELS], prev: at - 1, height: LEVELS as u8 },
        });
        (Self { nodes: nodes.collect(), lists: N as u32, heights: secret | 1 }, lists)
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Adds `id`, which is in no list, under a key that nothing in this list has; neither the least nor the greatest there
    /// is.
    pub(crate) fn insert(&mut self, list: &mut List, id: u32, key: u128) {
        let at = 2 * self.lists + id;
        let height = self.draw_height();
        if at as usize >= self.nodes.len() {
            let unused = Node { key: 0, next: [at; LEVELS], prev: at, height: 0 };
            self.nodes.resize(at as usize + 1, unused);
        }
        let from = if self.get(list.finger).key < key { list.finger } else { list.head };
        let before = self.last_below(from, key);
        let after = self.get(before).next[0];
        let mut node = Node { key, next: [after; LEVELS], prev: before, height: height as u8 };
        self.get_mut(before).next[0] = at;
        self.get_mut(after).prev = at;
        let mut reaches = before;
        for level in 1..height {
            reaches = self.reaching(reaches, level);
            node.next[level] = core::mem::replace(&mut self.get_mut(reaches).next[level], at);
        }
        *self.get_mut(at) = node;
        list.finger = at;
        list.len += 1;
    }

    /// Takes out `id`, which is in this list.
    pub(crate) fn remove(&mut self, list: &mut List, id: u32) {
        let at = 2 * self.lists + id;
        let node = *self.get(at);
        let mut reaches = node.prev;
        self.get_mut(node.prev).next[0] = node.next[0];
        self.get_mut(node.next[0]).prev = node.prev;
        for level in 1..usize::from(node.height) {
            reaches = self.reaching(reaches, level);
            self.get_mut(reaches).next[level] = node.next[level];
        }
        if list.finger == at {
            list.finger = node.prev;
        }
        list.len -= 1;
    }

    /// The id with the smallest key that is not below `key`, and that key.
    pub(crate) fn at_or_after(&self, list: &List, key: u128) -> Option<(u32, u128)> {
        let found = self.get(self.last_below(list.head, key)).next[0];
        (found != list.head + 1).then(|| (found - 2 * self.lists, self.get(found).key))
    }

    /// The id with the largest key.
    pub(crate) fn last(&self, list: &List) -> Option<u32> {
        let last = self.get(list.head + 1).prev;
        (last != list.head).then(|| last - 2 * self.lists)
    }

    /// The last with a smaller key than that, from one on that has.
    fn last_below(&self, from: u32, key: u128) -> u32 {
        let mut at = from;
        let mut node = self.get(at);
        // What is looked for is nearly always next.
        if self.get(node.next[0]).key >= key {
            return at;
        }
        let mut level = usize::from(node.height) - 1;
        loop {
            let next = node.next[level];
            if self.get(next).key < key {
                (at, node) = (next, self.get(next));
                level = usize::from(node.height) - 1;
            } else if level > 0 {
                level -= 1;
            } else {
                return at;
            }
        }
    }

    /// The nearest that reaches a level, going back.
    fn reaching(&self, mut at: u32, level: usize) -> u32 {
        while usize::from(self.get(at).height) <= level {
            at = self.get(at).prev;
        }
        at
    }

    fn draw_height(&mut self) -> usize {
        // xorshift64 (Marsaglia); a height takes two of its bits per level.
        self.heights ^= self.heights << 13;
        self.heights ^= self.heights >> 7;
        self.heights ^= self.heights << 17;
        1 + (self.heights.leading_zeros() as usize / 2).min(LEVELS - 1)
    }

    fn get(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn get_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// On each level a list holds, in order, those of the level below that reach it.
    fn check(skips: &Skips, list: &List) {
        let mut below: Vec<u32> = Vec::new();
        for level in 0..LEVELS {
            let (mut at, mut on) = (list.head, Vec::new());
            while at != list.head + 1 {
                let next = skips.get(at).next[level];
                assert!(skips.get(at).key < skips.get(next).key);
                assert!(level > 0 || skips.get(next).prev == at);
                on.push(next);
                at = next;
            }
            on.pop();
            if level == 0 {
                assert_eq!(on.len(), list.len());
            } else {
                below.retain(|&node| usize::from(skips.get(node).height) > level);
                assert_eq!(on, below);
            }
            below = on;
        }
    }

    proptest! {
        #[test]
        fn two_lists_in_a_slab_are_two_ordered_maps(
            ops in proptest::collection::vec((any::<bool>(), 0u32..60, any::<u8>(), any::<bool>()), 1..400),
            secret in any::<u64>(),
        ) {
            let (mut skips, mut lists) = Skips::new::<2>(secret);
            let mut models: [BTreeMap<u128, u32>; 2] = Default::default();
            for (step, (second, id, high, remove)) in (1u128..).zip(ops) {
                let owner = models.iter().position(|model| model.values().any(|&other| other == id));
                match (owner, remove) {
                    (None, false) => {
                        let key = u128::from(high) << 64 | step;
                        skips.insert(&mut lists[usize::from(second)], id, key);
                        models[usize::from(second)].insert(key, id);
                    }
                    (Some(list), true) => {
                        skips.remove(&mut lists[list], id);
                        models[list].retain(|_, other| *other != id);
                    }
                    _ => {}
                }
                for (list, model) in lists.iter().zip(&models) {
                    prop_assert_eq!(list.len(), model.len());
                    prop_assert_eq!(skips.last(list), model.values().next_back().copied());
                    let probe = u128::from(high) << 64;
                    let after = model.range(probe..).next().map(|(&key, &id)| (id, key));
                    prop_assert_eq!(skips.at_or_after(list, probe), after);
                    check(&skips, list);
                }
            }
        }
    }

    /// Steps that a search takes, whatever the order in which the list came about.
    #[test]
    fn a_search_takes_steps_by_the_logarithm() {
        for order in [|n: u32| n, |n: u32| 9999 - n, |n: u32| n.reverse_bits()] {
            let (mut skips, [mut list]) = Skips::new::<1>(7);
            (0..10_000).for_each(|id| skips.insert(&mut list, id, 1 + u128::from(order(id))));
            check(&skips, &list);
            let mut most = 0;
            for id in (0..10_000).step_by(97) {
                let (mut at, mut level, mut steps) = (list.head, LEVELS - 1, 0);
                while level > 0 || skips.get(skips.get(at).next[0]).key < skips.get(2 + id).key {
                    let next = skips.get(at).next[level];
                    if skips.get(next).key < skips.get(2 + id).key {
                        at = next
                    } else {
                        level -= 1
                    }
                    steps += 1;
                }
                most = most.max(steps);
            }
            assert!(most <= 100, "{most}");
            (0..9_990).for_each(|id| skips.remove(&mut list, id));
            check(&skips, &list);
        }
    }
}

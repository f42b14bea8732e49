//! Ordered sets of small ids in one slab: what the rumor queue needs and `BTreeMap` cannot give, an order that
//! changes without allocating.
//!
//! AA trees (Andersson): balanced in the worst case, where a treap's balance would rest on priorities that a peer
//! may learn. The recursion is at most two levels per doubling of the size.

use alloc::vec::Vec;

/// The links of any number of trees whose members are disjoint; an id is an index chosen by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Forest {
    links: Vec<Link>,
}

/// One tree of a [`Forest`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    root: u32,
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    key: u128,
    left: u32,
    right: u32,
    level: u8,
}

impl Tree {
    pub(crate) const EMPTY: Self = Self { root: NIL, len: 0 };

    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

impl Forest {
    pub(crate) const fn new() -> Self {
        Self { links: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.links.capacity()
    }

    /// Adds `id`, which is in no tree, under a key that nothing in this tree has.
    pub(crate) fn insert(&mut self, tree: &mut Tree, id: u32, key: u128) {
        let link = Link { key, left: NIL, right: NIL, level: 1 };
        let index = id as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, link);
        }
        self.links[index] = link;
        tree.root = self.insert_below(tree.root, id, key);
        tree.len += 1;
    }

    /// Takes out `id`, which is in this tree.
    pub(crate) fn remove(&mut self, tree: &mut Tree, id: u32) {
        tree.root = self.remove_below(tree.root, self.links[id as usize].key);
        tree.len -= 1;
    }

    /// The id with the smallest key that is not below `key`, and that key.
    pub(crate) fn at_or_after(&self, tree: &Tree, key: u128) -> Option<(u32, u128)> {
        let mut found = None;
        let mut at = tree.root;
        while let Some(link) = self.link(at) {
            if link.key < key {
                at = link.right;
            } else {
                found = Some((at, link.key));
                at = link.left;
            }
        }
        found
    }

    /// The id with the largest key.
    pub(crate) fn last(&self, tree: &Tree) -> Option<u32> {
        (tree.root != NIL).then(|| self.extreme(tree.root, |link| link.right))
    }

    fn link(&self, id: u32) -> Option<&Link> {
        self.links.get(id as usize) // `NIL` is out of bounds
    }

    fn get(&mut self, id: u32) -> &mut Link {
        &mut self.links[id as usize]
    }

    fn level(&self, id: u32) -> u8 {
        self.link(id).map_or(0, |link| link.level)
    }

    fn extreme(&self, mut at: u32, next: impl Fn(&Link) -> u32) -> u32 {
        while let Some(link) = self.link(at).filter(|link| next(link) != NIL) {
            at = next(link);
        }
        at
    }

    fn insert_below(&mut self, at: u32, id: u32, key: u128) -> u32 {
        let Some(&Link { key: here, left, right, .. }) = self.link(at) else { return id };
        if key < here {
            self.get(at).left = self.insert_below(left, id, key);
        } else {
            self.get(at).right = self.insert_below(right, id, key);
        }
        let at = self.skew(at);
        self.split(at)
    }

    fn remove_below(&mut self, at: u32, key: u128) -> u32 {
        let Some(&Link { key: here, left, right, level }) = self.link(at) else { return NIL };
        let mut at = at;
        if key < here {
            self.get(at).left = self.remove_below(left, key);
        } else if key > here {
            self.get(at).right = self.remove_below(right, key);
        } else if left == NIL {
            if right == NIL {
                return NIL;
            }
            // The neighbour in order takes the place: ids are fixed, so it is relinked rather than copied.
            let heir = self.extreme(right, |link| link.left);
            let key = self.get(heir).key;
            let right = self.remove_below(right, key);
            *self.get(heir) = Link { key, left, right, level };
            at = heir;
        } else {
            let heir = self.extreme(left, |link| link.right);
            let key = self.get(heir).key;
            let left = self.remove_below(left, key);
            *self.get(heir) = Link { key, left, right, level };
            at = heir;
        }
        self.rebalance(at)
    }

    fn rebalance(&mut self, at: u32) -> u32 {
        let Link { left, right, level, .. } = *self.get(at);
        let level_below = self.level(left).min(self.level(right)) + 1;
        if level_below < level {
            self.get(at).level = level_below;
            if level_below < self.level(right) {
                self.get(right).level = level_below;
            }
        }
        let at = self.skew(at);
        let right = self.skew(self.links[at as usize].right);
        self.get(at).right = right;
        if right != NIL {
            self.get(right).right = self.skew(self.links[right as usize].right);
        }
        let at = self.split(at);
        self.get(at).right = self.split(self.links[at as usize].right);
        at
    }

    /// Turns a left child of the same level into the parent.
    fn skew(&mut self, at: u32) -> u32 {
        let Some(&Link { left, level, .. }) = self.link(at) else { return NIL };
        if level != self.level(left) {
            return at;
        }
        self.get(at).left = self.links[left as usize].right;
        self.get(left).right = at;
        left
    }

    /// Lifts the middle of three that hang to the right on one level.
    fn split(&mut self, at: u32) -> u32 {
        let Some(&Link { right, level, .. }) = self.link(at) else { return NIL };
        let Some(&Link { left: middle, right: far, .. }) = self.link(right) else { return at };
        if level != self.level(far) {
            return at;
        }
        self.get(at).right = middle;
        let lifted = self.get(right);
        (lifted.left, lifted.level) = (at, level + 1);
        right
    }
}

const NIL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// The invariants of an AA tree; returns the height.
    fn check(forest: &Forest, at: u32) -> usize {
        let Some(link) = forest.link(at) else { return 0 };
        assert_eq!(forest.level(link.left), link.level - 1, "a left child is one level below");
        let right = forest.level(link.right);
        assert!(right == link.level || right == link.level - 1);
        if let Some(child) = forest.link(link.right) {
            assert!(forest.level(child.right) < link.level, "three in a row");
            assert!(child.key > link.key);
        }
        assert!(forest.link(link.left).is_none_or(|child| child.key < link.key));
        1 + check(forest, link.left).max(check(forest, link.right))
    }

    proptest! {
        #[test]
        fn two_trees_in_a_slab_are_two_ordered_maps(
            ops in proptest::collection::vec((any::<bool>(), 0u32..60, any::<u8>(), any::<bool>()), 1..400),
        ) {
            let mut forest = Forest::new();
            let mut trees = [Tree::EMPTY; 2];
            let mut models: [BTreeMap<u128, u32>; 2] = Default::default();
            for (step, (second, id, high, remove)) in (0u128..).zip(ops) {
                let owner = models.iter().position(|model| model.values().any(|&other| other == id));
                match (owner, remove) {
                    (None, false) => {
                        let key = u128::from(high) << 64 | step;
                        forest.insert(&mut trees[usize::from(second)], id, key);
                        models[usize::from(second)].insert(key, id);
                    }
                    (Some(tree), true) => {
                        forest.remove(&mut trees[tree], id);
                        models[tree].retain(|_, other| *other != id);
                    }
                    _ => {}
                }
                for (tree, model) in trees.iter().zip(&models) {
                    prop_assert_eq!(tree.len(), model.len());
                    prop_assert_eq!(forest.last(tree), model.values().next_back().copied());
                    let probe = u128::from(high) << 64;
                    let after = model.range(probe..).next().map(|(&key, &id)| (id, key));
                    prop_assert_eq!(forest.at_or_after(tree, probe), after);
                    check(&forest, tree.root);
                }
            }
        }
    }

    #[test]
    fn stays_flat_in_any_order() {
        for order in [|n: u32| n, |n: u32| 9999 - n, |n: u32| n.reverse_bits()] {
            let mut forest = Forest::new();
            let mut tree = Tree::EMPTY;
            (0..10_000).for_each(|id| forest.insert(&mut tree, id, u128::from(order(id))));
            assert!(check(&forest, tree.root) <= 2 * 14);
            (0..9_990).for_each(|id| forest.remove(&mut tree, id));
            assert!(check(&forest, tree.root) <= 2 * 4);
        }
    }
}

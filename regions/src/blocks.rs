//! An ordered set of blocks.
//!
//! # Purpose
//! Regions are asked "is this block inside?" at every edge and are walked in one fixed order. [`BlockSet`] is
//! the pair of a bit set and a list.
//!
//! # Invariants
//! *same members*: the list holds exactly the members of the bit set, once each, in order of insertion.
//!
//! # Not here
//! Removal: nothing in this crate takes a block out of a set again.

use cranelift_codegen::entity::EntitySet;
use cranelift_codegen::ir::Block;

/// A set of blocks that remembers the order of insertion.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BlockSet {
    members: EntitySet<Block>,
    order: Vec<Block>,
}

impl BlockSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add `block` at the end; false if it is a member already.
    pub fn insert(&mut self, block: Block) -> bool {
        let new = self.members.insert(block);
        if new {
            self.order.push(block);
        }
        new
    }

    /// Whether `block` is a member. O(1).
    pub fn contains(&self, block: Block) -> bool {
        self.members.contains(block)
    }

    /// The members in order of insertion.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Block> + DoubleEndedIterator + '_ {
        self.order.iter().copied()
    }

    /// The members in order of insertion.
    pub fn as_slice(&self) -> &[Block] {
        &self.order
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

impl FromIterator<Block> for BlockSet {
    fn from_iter<I: IntoIterator<Item = Block>>(blocks: I) -> Self {
        let mut set = Self::new();
        set.extend(blocks);
        set
    }
}

impl Extend<Block> for BlockSet {
    fn extend<I: IntoIterator<Item = Block>>(&mut self, blocks: I) {
        for block in blocks {
            self.insert(block);
        }
    }
}

impl<'a> IntoIterator for &'a BlockSet {
    type Item = Block;
    type IntoIter = std::iter::Copied<std::slice::Iter<'a, Block>>;

    fn into_iter(self) -> Self::IntoIter {
        self.order.iter().copied()
    }
}

impl std::fmt::Debug for BlockSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(&self.order).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_first_insertion_order() {
        let set: BlockSet = [3, 1, 3, 2].into_iter().map(Block::from_u32).collect();
        assert_eq!(format!("{set:?}"), "{block3, block1, block2}");
        assert_eq!(set.len(), 3);
        assert!(!set.contains(Block::from_u32(0)));
        assert!(!set.contains(Block::from_u32(1000)));
    }
}

//! An ordered set of blocks.
//!
//! # Purpose
//! Regions are asked "is this block inside?" at every edge and are walked in one fixed order. [`BlockSet`] is
//! the pair of a bit set and a list.
//!
//! # Invariants
//! * *same members*: the list holds exactly the members of the bit set, once each, in order of insertion.
//! * *window*: the bit set reaches from the member with the smallest number to that with the largest, so that the
//!   sets of thousands of small loops do not cost thousands of times the function.
//!
//! # Not here
//! Removal: nothing in this crate takes a block out of a set again.

use cranelift_codegen::ir::Block;

/// Bits in a word of the bit set.
const BITS: usize = u64::BITS as usize;

/// A set of blocks that remembers the order of insertion.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BlockSet {
    /// The number of the first word.
    first: usize,
    words: Vec<u64>,
    order: Vec<Block>,
}

impl BlockSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add `block` at the end; false if it is a member already.
    pub fn insert(&mut self, block: Block) -> bool {
        let (word, bit) = place(block);
        if self.words.is_empty() {
            self.first = word;
        }
        if let Some(missing) = self.first.checked_sub(word).filter(|&missing| missing > 0) {
            let zeros = std::iter::repeat_n(0, missing);
            self.words.splice(0..0, zeros);
            self.first = word;
        }
        let at = word - self.first;
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        if new {
            self.order.push(block);
        }
        new
    }

    /// Whether `block` is a member. O(1).
    pub fn contains(&self, block: Block) -> bool {
        let (word, bit) = place(block);
        let at = word.checked_sub(self.first);
        let word = at.and_then(|at| self.words.get(at));
        word.is_some_and(|word| word & bit != 0)
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

/// The word that holds `block`, and its bit in it.
fn place(block: Block) -> (usize, u64) {
    let number = block.as_u32() as usize;
    (number / BITS, 1 << (number % BITS))
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

    #[test]
    fn the_window_grows_both_ways() {
        let numbers = [700, 10, 64, 63, 5000, 700, 0, 128];
        let set: BlockSet = numbers.into_iter().map(Block::from_u32).collect();
        for number in 0..6000 {
            let member = numbers.contains(&number);
            assert_eq!(set.contains(Block::from_u32(number)), member, "{number}");
        }
        assert_eq!(set.len(), 7);
    }
}

//! Execution counts of one function, as plain data.
//!
//! # Purpose
//! [`FunctionProfile`] is what counters are turned into and what formation reads. [`crate::saved`] keeps it
//! across processes.
//!
//! # Notation
//! A *count* says how often a block or an edge was executed at tier 0. The *weight* of a block is its count times
//! its instructions; the *share* of a set of blocks is its part of the function's weight.
//!
//! # Limitations
//! Sums saturate at `u64::MAX`.
//!
//! # Not here
//! Where counts come from ([`crate::counters`], [`crate::frequency`]) and what they lead to
//! ([`crate::formation`]).

use cranelift_codegen::entity::SecondaryMap;
use cranelift_codegen::ir::{Block, Function};

use crate::flow::FlowEdge;

pub use crate::saved::{Profile, ProfileError, SavedEdge, SavedFunction, function_hash};

/// How often each block and edge of a function was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionProfile {
    entries: u64,
    block: SecondaryMap<Block, u64>,
    edge: SecondaryMap<FlowEdge, u64>,
    exact: bool,
}

impl Default for FunctionProfile {
    fn default() -> Self {
        Self::new()
    }
}

impl FunctionProfile {
    /// A profile in which nothing was executed; exact.
    pub fn new() -> Self {
        Self {
            entries: 0,
            block: SecondaryMap::new(),
            edge: SecondaryMap::new(),
            exact: true,
        }
    }

    /// How often the function was entered.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How often `block` was executed; 0 for blocks never heard of.
    pub fn block(&self, block: Block) -> u64 {
        self.block[block]
    }

    /// How often `edge` was taken; 0 for edges never heard of.
    pub fn edge(&self, edge: FlowEdge) -> u64 {
        self.edge[edge]
    }

    /// Whether the counts obey flow conservation. They do not if they are estimated, or were read while the
    /// function ran, or if calls in it did not return.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Set the number of entries.
    pub fn set_entries(&mut self, count: u64) -> &mut Self {
        self.entries = count;
        self
    }

    /// Set the count of a block.
    pub fn set_block(&mut self, block: Block, count: u64) -> &mut Self {
        self.block[block] = count;
        self
    }

    /// Set the count of an edge.
    pub fn set_edge(&mut self, edge: FlowEdge, count: u64) -> &mut Self {
        self.edge[edge] = count;
        self
    }

    /// Say whether the counts obey flow conservation.
    pub fn set_exact(&mut self, exact: bool) -> &mut Self {
        self.exact = exact;
        self
    }

    /// The weight of one block: count × instructions. O(instructions of the block).
    pub fn block_weight(&self, func: &Function, block: Block) -> u64 {
        match self.block(block) {
            0 => 0,
            count => count.saturating_mul(instruction_count(func, block)),
        }
    }

    /// The weight of the function: the instructions it executed. O(instructions).
    pub fn total(&self, func: &Function) -> u64 {
        func.layout.blocks().fold(0, |sum: u64, block| {
            sum.saturating_add(self.block_weight(func, block))
        })
    }

    /// The part of the function's executed instructions that lie in `block`, 0.0 to 1.0; 0.0 if none was
    /// executed. O(instructions): for many blocks, divide [`FunctionProfile::block_weight`] by one
    /// [`FunctionProfile::total`].
    pub fn block_share(&self, func: &Function, block: Block) -> f64 {
        share(self.block_weight(func, block), self.total(func))
    }
}

/// The number of instructions of a block; 0 if the layout does not have it.
pub fn instruction_count(func: &Function, block: Block) -> u64 {
    if func.layout.is_block_inserted(block) {
        func.layout.block_insts(block).count() as u64
    } else {
        0
    }
}

/// `part / total`, and 0.0 for an empty total.
pub(crate) fn share(part: u64, total: u64) -> f64 {
    if total == 0 {
        0.0
    } else {
        part as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::parse;

    #[test]
    fn shares_weigh_instructions() {
        let func = parse(
            "function %f(i32) {
            block0(v0: i32):
                jump block1
            block1:
                v1 = iadd v0, v0
                v2 = iadd v1, v0
                return
            }",
        );
        let [b0, b1] = [0, 1].map(Block::from_u32);
        let mut profile = FunctionProfile::new();
        profile.set_entries(3).set_block(b0, 3).set_block(b1, 3);
        assert_eq!(profile.total(&func), 12);
        assert_eq!(profile.block_share(&func, b1), 0.75);
        assert_eq!(profile.block_share(&func, Block::from_u32(9)), 0.0);
        assert_eq!(FunctionProfile::new().block_share(&func, b0), 0.0);
        profile.set_block(b1, u64::MAX);
        assert_eq!(profile.total(&func), u64::MAX);
    }
}

//! Why a set of blocks is no region.
//!
//! # Not here
//! The checks that find out ([`super`]), and refusals by policy ([`crate::formation::SkipReason`]).

use cranelift_codegen::ir::Block;

/// Why a set of blocks is no region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// No block was given.
    #[error("a region needs at least one block")]
    EmptyRegion,
    /// The function has no such block.
    #[error("{block} is not in the function's layout")]
    UnknownBlock {
        /// The missing block.
        block: Block,
    },
    /// A block cannot be reached from the function's entry.
    #[error("{block} cannot be reached from the function's entry")]
    UnreachableBlock {
        /// The unreachable block.
        block: Block,
    },
    /// A hot block lies outside the scope.
    #[error("{block} is to be compiled but lies outside the region's scope")]
    NotInScope {
        /// The stray block.
        block: Block,
    },
    /// The entry is not among the blocks.
    #[error("the entry {entry} is not one of the region's blocks")]
    EntryNotInBlocks {
        /// The entry.
        entry: Block,
    },
    /// Control can get into the scope elsewhere than at the entry.
    #[error("{from}, outside the scope, branches to {to}, which is not the region's entry")]
    SideEntry {
        /// The block outside.
        from: Block,
        /// The block inside.
        to: Block,
    },
    /// The function's entry block is in the scope without being the region's entry.
    #[error("{block} is the function's entry block; only the region's own entry may be")]
    EntryBlockInside {
        /// The function's entry block.
        block: Block,
    },
    /// A block is not reached from the entry inside the set it belongs to.
    #[error("{block} is not reached from the region's entry inside the region")]
    DisconnectedBlock {
        /// The block.
        block: Block,
    },
    /// There are too many natural exits or side exits.
    #[error("the region has {exits} exits, and no more than {limit} are supported")]
    TooManyExits {
        /// How many there are.
        exits: usize,
        /// How many there may be.
        limit: usize,
    },
}

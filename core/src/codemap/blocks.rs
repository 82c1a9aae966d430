//! Block numbers as source locations, for functions that have none.
//!
//! A source location survives outlining, the optimiser and the code generator, so it tells after a trap
//! which block of the client's CLIF the trap happened in. A client that sets source locations gets its
//! own back instead.

use cranelift_codegen::ir::{Block, Function, SourceLoc};
use cranelift_codegen::packed_option::ReservedValue;

/// Gives every instruction its block's number as its source location, unless the client has set any.
/// Says whether it did.
///
/// # Complexity
/// O(instructions).
pub(crate) fn locate_by_block(func: &mut Function) -> bool {
    // The base is the first location that was ever set.
    if !func.params.base_srcloc().is_default() {
        return false;
    }
    let mut next = func.layout.entry_block();
    while let Some(block) = next {
        let location = SourceLoc::new(block.as_u32());
        let mut inst = func.layout.first_inst(block);
        while let Some(this) = inst {
            func.set_srcloc(this, location);
            inst = func.layout.next_inst(this);
        }
        next = func.layout.next_block(block);
    }
    true
}

/// The block that a location made by [`locate_by_block`] stands for.
pub(crate) fn block_of(location: SourceLoc) -> Option<Block> {
    let block = Block::from_u32(location.bits());
    (!block.is_reserved_value()).then_some(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIF: &str = "
function %f(i32) {
block0(v0: i32):
    brif v0, block7, block2
block7:
    trap user1
block2:
    return
}";

    #[test]
    fn the_block_comes_back() {
        let mut func = cranelift_reader::parse_functions(CLIF).unwrap().remove(0);
        assert!(locate_by_block(&mut func));
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                assert_eq!(block_of(func.srcloc(inst)), Some(block));
            }
        }
        assert!(!locate_by_block(&mut func));
    }

    #[test]
    fn locations_of_the_client_are_left_alone() {
        let clif = CLIF.replace("    trap", "@0012 trap");
        let mut func = cranelift_reader::parse_functions(&clif).unwrap().remove(0);
        assert!(!locate_by_block(&mut func));
    }
}

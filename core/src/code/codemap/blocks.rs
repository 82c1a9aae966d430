//! Block numbers as source locations, for functions that have none.
//!
//! A source location survives outlining, the optimiser and the code generator, so it tells after a trap
//! which block of the client's CLIF the trap happened in. A client that sets source locations gets its
//! own back instead.
//!
//! Where both are wanted, because samples are to be told apart by block, [`Places`] stand in for the
//! client's locations while the code is generated.

use cranelift_codegen::ir::{Block, Function, SourceLoc};
use cranelift_codegen::packed_option::ReservedValue;
use indexmap::IndexSet;

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

/// The blocks and locations behind the numbers that [`Places::number`] gives.
#[derive(Debug, Default)]
pub(crate) struct LocationNumbers(IndexSet<(Block, SourceLoc)>);

impl LocationNumbers {
    /// The first number. Locations are stored as distances from the client's first, and one distance
    /// means "none": numbers that are far from usual locations do not meet it.
    const FIRST: u32 = 1 << 30;

    /// Gives every instruction the number of its block and location as its source location.
    ///
    /// # Complexity
    /// O(instructions).
    pub fn number(func: &mut Function) -> Self {
        let mut location_numbers = IndexSet::new();
        let mut next = func.layout.entry_block();
        while let Some(block) = next {
            let mut inst = func.layout.first_inst(block);
            while let Some(this) = inst {
                let (number, _) = location_numbers.insert_full((block, func.srcloc(this)));
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                func.set_srcloc(this, SourceLoc::new(Self::FIRST.saturating_add(number)));
                inst = func.layout.next_inst(this);
            }
            next = func.layout.next_block(block);
        }
        Self(location_numbers)
    }

    /// The block, and the client's location, if there is one.
    pub fn find(&self, number: SourceLoc) -> Option<(Block, Option<SourceLoc>)> {
        let index = number.bits().checked_sub(Self::FIRST)?;
        let &(block, location) = self.0.get_index(index as usize)?;
        Some((
            block,
            Some(location).filter(|location| !location.is_default()),
        ))
    }
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
    #[test]
    fn places_are_blocks_and_locations() {
        let clif = CLIF.replace("    trap", "@0012 trap");
        let original = cranelift_reader::parse_functions(&clif).unwrap().remove(0);
        let mut func = original.clone();
        let location_numbers = LocationNumbers::number(&mut func);
        for block in func.layout.blocks() {
            for inst in func.layout.block_insts(block) {
                let location = original.srcloc(inst);
                let location = (!location.is_default()).then_some(location);
                assert_eq!(
                    location_numbers.find(func.srcloc(inst)),
                    Some((block, location))
                );
            }
        }
        assert_eq!(location_numbers.find(SourceLoc::new(3)), None);
        assert_eq!(location_numbers.find(SourceLoc::default()), None);
    }
}

//! Source locations of code that holds copies of other functions.
//!
//! Locations of different functions do not mean the same, so that numbers stand in for them while the code is generated: one
//! for each function that code came from with each of its locations.

use super::Origin;
use cranelift_codegen::ir::{Function, SourceLoc};
use indexmap::IndexSet;

/// The functions and locations behind the numbers.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    origins: Vec<Origin>,
    location_numbers: IndexSet<(usize, SourceLoc)>,
}

impl Copied {
    /// See [`Places`](super::Places).
    const FIRST: u32 = 1 << 30;

    /// Gives every instruction of what was made from `origin` the number of its location.
    ///
    /// # Complexity
    /// O(instructions).
    pub fn number(&mut self, func: &mut Function, origin: Origin) {
        let number = self.origins.len();
        self.origins.push(origin);
        let mut next = func.layout.entry_block();
        while let Some(block) = next {
            let mut inst = func.layout.first_inst(block);
            while let Some(this) = inst {
                let (place, _) = self
                    .location_numbers
                    .insert_full((number, func.srcloc(this)));
                let place = u32::try_from(place).unwrap_or(u32::MAX);
                func.set_srcloc(this, SourceLoc::new(Self::FIRST.saturating_add(place)));
                inst = func.layout.next_inst(this);
            }
            next = func.layout.next_block(block);
        }
    }

    /// What holds the copies.
    pub fn holder(&self) -> Option<&Origin> {
        self.origins.first()
    }

    /// What code with a number was made from, and its location there.
    pub fn find(&self, number: SourceLoc) -> Option<(&Origin, SourceLoc)> {
        let index = number.bits().checked_sub(Self::FIRST)?;
        let &(origin, location) = self.location_numbers.get_index(index as usize)?;
        Some((self.origins.get(origin)?, location))
    }
}

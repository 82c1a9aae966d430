//! Formed regions: what was outlined, and what its side exits need. Plain data.

use crate::units::counters::{AddressTable, Counters};
use crate::units::ledger::Releasable;
use crate::units::made::Made;
use crate::units::part::HotPart;
use crate::units::version::Version;
use cranelift_codegen::ir::Block;
use regraft_executor::slots::OwnedSlot;
use regraft_outliner::Interface;
use regraft_regions::Region;
use std::collections::HashMap;

/// A region as it was formed, with what its side exits need.
#[derive(Debug)]
pub(crate) struct Formed {
    pub part: HotPart,
    pub region: Region,
    /// The interface, for a region that has no hook of its own.
    pub interface: Option<Interface>,
    pub sides: Vec<Side>,
    /// The tables of the region's code, until that is reclaimed.
    pub tables: Releasable<Vec<AddressTable>>,
}

/// A cold block that side exits lead to.
#[derive(Debug)]
pub(crate) struct Side {
    /// The block.
    pub start: Block,
    /// The number of the first side exit that leads to it.
    pub number: u32,
    /// The continuation's unit.
    pub unit: u32,
    /// The unit's slot, until the code that calls it is reclaimed.
    pub slot: Releasable<OwnedSlot>,
    /// Counts its calls.
    pub counters: Counters,
    /// The continuation, once it has been called.
    pub version: Made<Version>,
}

impl Formed {
    /// The cold blocks that side exits lead to, by block.
    pub fn sides_by_start(&self) -> HashMap<Block, &Side> {
        self.sides.iter().map(|side| (side.start, side)).collect()
    }
}

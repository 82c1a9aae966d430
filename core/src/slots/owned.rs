//! Slots that go back to their table.

use super::{SlotError, SlotRef, SlotTable};
use std::sync::Arc;

/// A slot that goes back to its table with its owner.
///
/// Nothing that may still run refers to it then: this is the owner's to know.
#[derive(Debug)]
pub struct OwnedSlot {
    slot: SlotRef,
    table: Arc<SlotTable>,
}

impl OwnedSlot {
    /// A slot whose first call asks the resolver.
    ///
    /// # Errors
    /// As [`SlotTable::allocate`].
    pub fn lazy(table: &Arc<SlotTable>, unit: u32) -> Result<Self, SlotError> {
        let slot = table.allocate(unit)?;
        let table = Arc::clone(table);
        Ok(Self { slot, table })
    }

    /// A slot that holds 0 until something is published.
    ///
    /// # Errors
    /// As [`SlotTable::allocate_empty`].
    pub fn empty(table: &Arc<SlotTable>, unit: u32) -> Result<Self, SlotError> {
        let slot = table.allocate_empty(unit)?;
        let table = Arc::clone(table);
        Ok(Self { slot, table })
    }

    /// Lets calls end in a trap from now on.
    pub fn close(&self) {
        self.slot.publish(self.table.trap_stub_address());
    }
}

impl std::ops::Deref for OwnedSlot {
    type Target = SlotRef;

    fn deref(&self) -> &SlotRef {
        &self.slot
    }
}

impl Drop for OwnedSlot {
    fn drop(&mut self) {
        self.table.free(self.slot);
    }
}

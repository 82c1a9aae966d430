//! Slots that go back to their table.

use super::{RawSlot, SlotAddresses, SlotError, SlotTable};
use crate::arch::{Cell, LAZY_OFFSET};
use crate::{entry, section};
use std::sync::Arc;

impl SlotAddresses {
    /// The entry that asks the resolver.
    pub fn lazy(self) -> usize {
        self.stub + LAZY_OFFSET
    }
}

/// A slot that goes back to its table with its owner.
///
/// Nothing that may still run refers to it then: this is the owner's to know.
#[derive(Debug)]
pub struct OwnedSlot {
    slot: RawSlot,
    table: Arc<SlotTable>,
}

impl OwnedSlot {
    /// A slot whose first call asks the resolver.
    ///
    /// # Errors
    /// [`SlotError`], when a new chunk is needed and cannot be had.
    pub fn lazy(table: &Arc<SlotTable>, unit: u32) -> Result<Self, SlotError> {
        Self::taken(table, unit, SlotAddresses::lazy)
    }

    /// A slot that holds 0 until something is published.
    ///
    /// For code that tests the word before it jumps. The stub must not be called while it is 0.
    ///
    /// # Errors
    /// [`SlotError`], when a new chunk is needed and cannot be had.
    pub fn empty(table: &Arc<SlotTable>, unit: u32) -> Result<Self, SlotError> {
        Self::taken(table, unit, |_| 0)
    }

    fn taken(
        table: &Arc<SlotTable>,
        unit: u32,
        entry: impl Fn(SlotAddresses) -> usize,
    ) -> Result<Self, SlotError> {
        let slot = table.take(unit, entry)?;
        let table = Arc::clone(table);
        Ok(Self { slot, table })
    }

    /// Makes `entry` what the slot leads to, with release order.
    pub fn publish(&self, entry: usize) {
        self.slot.publish(entry);
    }

    /// Makes `new` what the slot leads to if it still leads to `old`; says whether it did.
    pub fn replace(&self, old: usize, new: usize) -> bool {
        let _section = section::section();
        entry::replace(self.slot.entry(), old, new)
    }

    /// Makes `entry` what the slot leads to if nothing was published yet; says whether it did.
    pub fn resolve(&self, entry: usize) -> bool {
        self.replace(self.lazy_address(), entry)
    }

    /// What the slot leads to. 0 for an empty slot.
    pub fn current(&self) -> usize {
        entry::current(self.slot.entry())
    }

    /// Where generated code finds it.
    pub fn addresses(&self) -> SlotAddresses {
        self.slot.addresses
    }

    /// The unit's stable address: calling it calls what the slot leads to.
    pub fn stub_address(&self) -> usize {
        self.slot.addresses.stub
    }

    /// The address of the word that holds the entry.
    pub fn cell_address(&self) -> usize {
        self.slot.addresses.cell
    }

    /// The entry that asks the resolver.
    pub fn lazy_address(&self) -> usize {
        self.slot.addresses.lazy()
    }

    /// The cell.
    pub(super) fn cell(&self) -> *const Cell {
        self.slot.cell.as_ptr()
    }

    /// Lets calls end in a trap from now on.
    pub fn close(&self) {
        self.slot.publish(self.table.trap_stub_address());
    }
}

impl Drop for OwnedSlot {
    fn drop(&mut self) {
        self.table.free(self.slot);
    }
}

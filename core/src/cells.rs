//! The counter block of a function, as the runtime sees it.
//!
//! Tier-0 code changes the cells without atomicity; the runtime reads and
//! re-arms them with atomic accesses of the same size, so that neither side
//! ever sees half a value.
//!
//! A countdown *counts* as well. What arming and pinning do, and what a
//! decrement of another thread can undo, is in `countdown`.

use crate::arena::{Arena, ArenaError, DataBlock};
use crate::countdown;
use crate::layout::CounterLayout;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A function's counters.
#[derive(Debug)]
pub struct Counters {
    data: OwnedData,
    layout: CounterLayout,
    /// What each countdown was armed with in total: the function's entry
    /// first, then the hooks.
    armed: Vec<Mutex<i64>>,
}

impl Counters {
    /// Allocates the zeroed counters of a function with this layout.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] when data memory is full.
    pub fn new(
        arena: &Arc<Arena>,
        layout: CounterLayout,
        hooks: usize,
    ) -> Result<Self, ArenaError> {
        // Whole cache lines, so that two functions never share one.
        let bytes = layout.bytes().next_multiple_of(CACHE_LINE);
        Ok(Self {
            data: OwnedData::new(arena, bytes)?,
            layout,
            armed: (0..=hooks).map(|_| Mutex::new(0)).collect(),
        })
    }

    /// The address of the first cell, for the linker.
    pub fn address(&self) -> usize {
        self.data.address()
    }

    /// Where the counters lie.
    pub fn layout(&self) -> &CounterLayout {
        &self.layout
    }

    /// The count in the cell at `offset`; negative counts read as 0.
    pub fn count(&self, offset: i32) -> u64 {
        let count = self.cell(offset).map(|cell| cell.load(Ordering::Relaxed));
        u64::try_from(count.unwrap_or(0)).unwrap_or(0)
    }

    /// Arms the countdown of the function's calls.
    pub fn arm_entry(&self, amount: u64) {
        self.arm(0, CounterLayout::ENTRY, amount);
    }

    /// How often the function was called.
    pub fn entry_count(&self) -> u64 {
        self.counted(0, CounterLayout::ENTRY)
    }

    /// Arms the countdown of a hook.
    pub fn arm_hook(&self, hook: usize, amount: u64) {
        self.arm(hook + 1, self.layout.countdown(hook), amount);
    }

    /// Takes the countdown of a hook below zero for good.
    pub fn pin_hook(&self, hook: usize) {
        if let Some(cell) = self.cell(self.layout.countdown(hook)) {
            countdown::pin(cell);
        }
    }

    /// How often the header of a hook was executed at tier 0.
    pub fn hook_count(&self, hook: usize) -> u64 {
        self.counted(hook + 1, self.layout.countdown(hook))
    }

    fn arm(&self, index: usize, offset: i32, amount: u64) {
        if let Some(cell) = self.cell(offset) {
            countdown::arm(cell, &mut self.armed(index), amount);
        }
    }

    fn counted(&self, index: usize, offset: i32) -> u64 {
        let Some(cell) = self.cell(offset) else {
            return 0;
        };
        let armed = self.armed(index);
        countdown::counted(cell, *armed)
    }

    /// Locks the total of a countdown; a panic elsewhere leaves it usable.
    fn armed(&self, index: usize) -> MutexGuard<'_, i64> {
        let armed = &self.armed[index];
        armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, offset: i32) -> Option<&AtomicI64> {
        let block = self.data.block.as_ref()?;
        let offset = usize::try_from(offset).ok()?;
        if offset + size_of::<AtomicI64>() > block.len() || !offset.is_multiple_of(8) {
            return None;
        }
        // SAFETY: the cell lies in the block (checked above), which is aligned
        // to a cache line, zeroed, and mapped as long as `self.arena` lives.
        // Rust code accesses it through this function only, atomically;
        // generated code accesses it with aligned 64-bit moves, which are
        // single-copy atomic on every supported architecture.
        Some(unsafe { AtomicI64::from_ptr(block.address().as_ptr().add(offset).cast()) })
    }
}

/// A block of data memory, on cache lines of its own, that goes back with its owner.
#[derive(Debug)]
struct OwnedData {
    arena: Arc<Arena>,
    /// There until it is dropped.
    block: Option<DataBlock>,
}

impl OwnedData {
    fn new(arena: &Arc<Arena>, bytes: usize) -> Result<Self, ArenaError> {
        let block = arena.alloc_data(bytes, CACHE_LINE)?;
        Ok(Self {
            arena: Arc::clone(arena),
            block: Some(block),
        })
    }

    fn address(&self) -> usize {
        let block = self.block.as_ref();
        block.map_or(0, |block| block.address().as_ptr().expose_provenance())
    }
}

impl Drop for OwnedData {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.arena.free_data(block);
        }
    }
}

/// An array of addresses that generated code reads.
#[derive(Debug)]
pub struct AddressTable(OwnedData);

impl AddressTable {
    /// Allocates a table that holds `addresses`, for ever.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] when data memory is full.
    pub fn new(arena: &Arc<Arena>, addresses: &[usize]) -> Result<Self, ArenaError> {
        let data = OwnedData::new(arena, size_of_val(addresses))?;
        if let Some(block) = &data.block {
            let first = block.address().cast::<usize>();
            for (at, &address) in addresses.iter().enumerate() {
                // SAFETY: the block is aligned to a cache line and holds as many bytes as
                // the slice; nobody else knows it yet.
                unsafe { first.add(at).write(address) };
            }
        }
        Ok(Self(data))
    }

    /// Where the first address lies, for the linker.
    pub fn address(&self) -> usize {
        self.0.address()
    }
}

/// Bytes in a cache line, of data or instructions, on most machines.
pub const CACHE_LINE: usize = 64;

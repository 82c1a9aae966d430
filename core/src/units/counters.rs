//! The counter block of a function, as the runtime sees it.
//!
//! Tier-0 code changes the cells without atomicity; the runtime reads and
//! re-arms them with atomic accesses of the same size, so that neither side
//! ever sees half a value.
//!
//! A countdown *counts* as well. What arming and opening do, and what a
//! decrement of another thread can undo, is in `countdown`.

use crate::passes::layout::{CACHE_LINE, CounterLayout};
use indexmap::IndexMap;
use regraft_executor::arena::{Arena, ArenaError, OwnedData};
use regraft_executor::countdown;
use regraft_executor::locks::{Locked, lock};
use regraft_executor::locks::{read, write};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

/// A function's counters.
#[derive(Debug)]
pub struct Counters {
    cells: RwLock<Cells>,
    layout: CounterLayout,
    /// What each countdown was armed with in total: the function's entry
    /// first, then the hooks.
    armed: Vec<Mutex<i64>>,
}

/// Where the cells are.
#[derive(Debug)]
enum Cells {
    /// In data memory, where generated code changes them.
    Live(OwnedData),
    /// What they held when the code that changed them was freed.
    Frozen(Box<[AtomicI64]>),
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
        let bytes = layout.copies() as usize * layout.bytes().next_multiple_of(CACHE_LINE);
        Ok(Self {
            cells: RwLock::new(Cells::Live(OwnedData::new(arena, bytes, CACHE_LINE)?)),
            layout,
            armed: (0..=hooks).map(|_| Mutex::new(0)).collect(),
        })
    }

    /// The address of the first cell, for the linker; 0 if they are frozen.
    pub fn address(&self) -> usize {
        match &*read(&self.cells) {
            Cells::Live(data) => data.address(),
            Cells::Frozen(_) => 0,
        }
    }

    /// Gives the data memory back and keeps the counts. No code that changes them runs any more: this is
    /// the caller's to know.
    pub fn freeze(&self) {
        let bytes = match &*read(&self.cells) {
            Cells::Live(data) => data.block().map_or(0, |block| block.size()),
            Cells::Frozen(_) => return,
        };
        let offsets = 0..bytes / size_of::<AtomicI64>();
        let counts = offsets.map(|cell| {
            let offset = i32::try_from(cell * size_of::<AtomicI64>()).unwrap_or(-1);
            let count = self.with_cell(offset, |cell| cell.load(Ordering::Relaxed));
            AtomicI64::new(count.unwrap_or(0))
        });
        let frozen = Cells::Frozen(counts.collect());
        *write(&self.cells) = frozen;
    }

    /// Where the counters lie.
    pub fn layout(&self) -> &CounterLayout {
        &self.layout
    }

    /// The count in the cell at `offset`, of all copies together; negative counts read as 0.
    pub fn count(&self, offset: i32) -> u64 {
        let mut count = 0_i64;
        self.each_copy(offset, |cell| {
            count = count.wrapping_add(cell.load(Ordering::Relaxed));
        });
        u64::try_from(count).unwrap_or(0)
    }

    /// The address that an indirect call reaches more often than all others together, and how far that is ahead: the winner of
    /// the copies' votes.
    pub fn usual_target(&self, call: usize) -> Option<(usize, u64)> {
        let mut targets = vec![];
        self.each_copy(self.layout.target(call), |cell| {
            targets.push(cell.load(Ordering::Relaxed));
        });
        let mut leads = targets.into_iter();
        let mut votes: IndexMap<i64, i64> = IndexMap::new();
        self.each_copy(self.layout.lead(call), |cell| {
            if let Some(target) = leads.next() {
                *votes.entry(target).or_default() += cell.load(Ordering::Relaxed).max(0);
            }
        });
        let all: i64 = votes.values().sum();
        let (&target, &lead) = votes.iter().max_by_key(|vote| vote.1)?;
        // Who voted for others in other copies takes back.
        let ahead = lead - (all - lead);
        Some((usize::try_from(target).ok()?, u64::try_from(ahead).ok()?))
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
    pub fn open_hook(&self, hook: usize) {
        self.each_copy(self.layout.countdown(hook), countdown::open);
    }

    /// How often the header of a hook was executed at tier 0.
    pub fn hook_count(&self, hook: usize) -> u64 {
        self.counted(hook + 1, self.layout.countdown(hook))
    }

    /// Says what takes over at a hook from now on: complete code, of which the instruction caches know.
    pub fn succeed(&self, hook: usize, address: usize) {
        self.each_copy(self.layout.successor(hook), |cell| {
            cell.store((address as u64).cast_signed(), Ordering::Release);
        });
    }

    fn arm(&self, index: usize, offset: i32, amount: u64) {
        let mut armed = self.armed(index);
        self.each_copy(offset, |cell| countdown::arm(cell, &mut armed, amount));
    }

    fn counted(&self, index: usize, offset: i32) -> u64 {
        let armed = self.armed(index);
        let mut left = 0_i64;
        self.each_copy(offset, |cell| {
            left = left.wrapping_add(countdown::left(cell));
        });
        countdown::counted(left, *armed)
    }

    /// Locks the total of a countdown; a panic elsewhere leaves it usable.
    fn armed(&self, index: usize) -> Locked<'_, i64> {
        lock(&self.armed[index])
    }

    /// Works on the cell of every copy.
    fn each_copy(&self, offset: i32, mut work: impl FnMut(&AtomicI64)) {
        for copy in 0..self.layout.copies() {
            let distance = i32::try_from(copy)
                .unwrap_or(0)
                .saturating_mul(self.layout.stride());
            self.with_cell(offset.saturating_add(distance), &mut work);
        }
    }

    fn with_cell<R>(&self, offset: i32, work: impl FnOnce(&AtomicI64) -> R) -> Option<R> {
        let offset = usize::try_from(offset).ok()?;
        match &*read(&self.cells) {
            Cells::Live(data) => data.block()?.word(offset).map(work),
            Cells::Frozen(_) if !offset.is_multiple_of(size_of::<AtomicI64>()) => None,
            Cells::Frozen(counts) => counts.get(offset / size_of::<AtomicI64>()).map(work),
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
        let data = OwnedData::new(arena, size_of_val(addresses), CACHE_LINE)?;
        let block = data.block().into_iter();
        let words = block.flat_map(|block| {
            let offsets = (0..addresses.len()).map(|at| at * size_of::<AtomicI64>());
            offsets.filter_map(|offset| block.word(offset))
        });
        for (word, &address) in words.zip(addresses) {
            word.store((address as u64).cast_signed(), Ordering::Relaxed);
        }
        Ok(Self(data))
    }

    /// Where the first address lies, for the linker.
    pub fn address(&self) -> usize {
        self.0.address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regraft_executor::arena::ArenaConfig;

    #[test]
    fn copies_vote_together_for_a_target() {
        let config = ArenaConfig {
            code_bytes: 1 << 20,
            data_bytes: 1 << 20,
        };
        let arena = Arc::new(Arena::new(config).unwrap());
        let layout = CounterLayout::new([], 0).with_targets(1).with_copies(2);
        let counters = Counters::new(&arena, layout.clone(), 0).unwrap();
        let vote = |copy: i32, target: i64, lead: i64| {
            let base = copy * layout.stride();
            for (offset, value) in [(layout.target(0), target), (layout.lead(0), lead)] {
                let store = |cell: &AtomicI64| cell.store(value, Ordering::Relaxed);
                counters.with_cell(base + offset, store).unwrap();
            }
        };
        vote(0, 0x1000, 30);
        vote(1, 0x1000, 10);
        assert_eq!(counters.usual_target(0), Some((0x1000, 40)));
        vote(1, 0x2000, 10);
        assert_eq!(counters.usual_target(0), Some((0x1000, 20)));
        vote(1, 0x2000, 31);
        assert_eq!(counters.usual_target(0), Some((0x2000, 1)));
        // A decrement of one thread that another's store undid.
        vote(0, 0x1000, -1);
        assert_eq!(counters.usual_target(0), Some((0x2000, 31)));
        vote(1, 0x2000, 0);
        vote(0, 0x1000, 0);
        assert_eq!(counters.usual_target(0).map(|(_, lead)| lead), Some(0));
    }
}

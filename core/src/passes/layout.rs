//! The layout of a function's counter block.
//!
//! One array of 64-bit cells per function: the countdown of its calls, then
//! each hook's cells, then one cell per counter site, then two for each indirect call. Offsets are in bytes.
//! There may be several copies of it, one behind the other, each on cache
//! lines of its own.

/// The size of a cell in bytes.
const CELL_BYTES: i32 = 8;

/// Cells of an indirect call.
const TARGET_CELLS: usize = 2;

/// Cells of a hook before those of its exits.
const HOOK_CELLS: usize = 4;

/// Where each counter of a function lies in its counter block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterLayout {
    hooks: Vec<usize>,
    sites: usize,
    /// The first cell of targets.
    targets: usize,
    cells: usize,
    /// A power of two.
    copies: u32,
}

/// Bytes in a cache line, of data or instructions, on most machines.
pub const CACHE_LINE: usize = 64;

/// The binary logarithm of the bytes of stack that share a copy: no more than the smallest stack that threads are commonly given.
pub const GRANULE_BITS: u8 = 21;

/// Spreads numbers of granules, which lie close together: 2³² divided by the golden ratio.
pub const SPREAD: i32 = 0x9e37_79b1_u32.cast_signed();

/// The most copies that there can be.
const MOST_COPIES: u32 = 256;

impl CounterLayout {
    /// Lays out hooks with these numbers of exits, then `sites` sites.
    pub fn new(exits: impl IntoIterator<Item = usize>, sites: usize) -> Self {
        let mut cells = 1;
        let mut hooks = vec![];
        for exits in exits {
            hooks.push(cells);
            cells += HOOK_CELLS + exits;
        }
        Self {
            hooks,
            sites: cells,
            targets: cells + sites,
            cells: cells + sites,
            copies: 1,
        }
    }

    /// The same, with cells for the targets of so many indirect calls.
    pub fn with_targets(self, calls: usize) -> Self {
        Self {
            cells: self.targets + TARGET_CELLS * calls,
            ..self
        }
    }

    /// The same, in as many copies or the next power of two; 256 at most.
    pub fn with_copies(self, copies: u32) -> Self {
        Self {
            copies: copies.clamp(1, MOST_COPIES).next_power_of_two(),
            ..self
        }
    }

    /// The same with a cell for each hook behind the sites: the address of what takes over at it.
    pub fn with_successors(self) -> Self {
        Self {
            cells: self.cells + self.hooks.len(),
            ..self
        }
    }

    /// How many copies of the block there are.
    pub fn copies(&self) -> u32 {
        self.copies
    }

    /// The binary logarithm of how many copies there are.
    pub fn copy_bits(&self) -> u8 {
        self.copies.trailing_zeros() as u8
    }

    /// From one copy to the next, in bytes: whole cache lines, so that no two copies share one.
    pub fn stride(&self) -> i32 {
        i32::try_from(self.bytes().next_multiple_of(CACHE_LINE)).unwrap_or(i32::MAX)
    }

    /// The size of one copy of the counter block in bytes.
    pub fn bytes(&self) -> usize {
        self.cells * CELL_BYTES as usize
    }

    /// The countdown of the function's calls, in every layout.
    pub const ENTRY: i32 = 0;

    /// The countdown of executions of a hooked header.
    pub fn countdown(&self, hook: usize) -> i32 {
        self.hook_cell(hook, 0)
    }

    /// The countdown at the last arrival from outside the loop.
    pub fn mark(&self, hook: usize) -> i32 {
        self.hook_cell(hook, 1)
    }

    /// How often the region was entered.
    pub fn entries(&self, hook: usize) -> i32 {
        self.hook_cell(hook, 2)
    }

    /// How often the region was entered while its loop was running.
    pub fn running(&self, hook: usize) -> i32 {
        self.hook_cell(hook, 3)
    }

    /// How often the region returned by this exit (numbered from 1).
    pub fn exit(&self, hook: usize, exit: u32) -> i32 {
        self.hook_cell(hook, HOOK_CELLS + exit as usize - 1)
    }

    /// The counter of a site.
    pub fn site(&self, site: usize) -> i32 {
        offset(self.sites + site)
    }

    /// The address that an indirect call reaches most often.
    pub fn target(&self, call: usize) -> i32 {
        offset(self.targets + TARGET_CELLS * call)
    }

    /// How far that is ahead of the others.
    pub fn lead(&self, call: usize) -> i32 {
        offset(self.targets + TARGET_CELLS * call + 1)
    }

    /// The address of what takes over at a hook, in a layout with successors.
    pub fn successor(&self, hook: usize) -> i32 {
        offset(self.cells - self.hooks.len() + hook)
    }

    fn hook_cell(&self, hook: usize, cell: usize) -> i32 {
        offset(self.hooks[hook] + cell)
    }
}

fn offset(cell: usize) -> i32 {
    i32::try_from(cell).unwrap_or(i32::MAX / CELL_BYTES) * CELL_BYTES
}

//! Slots: a cell, a stub and a lazy stub for every unit.
//!
//! The word in a cell is all that ever changes when code is compiled, replaced, invalidated or
//! redefined. Reading it takes no lock, and the reader is machine code.
//!
//! Invariants:
//!
//! * The entry of a live slot is the address of code that can be called with the unit's signature:
//!   a version, the lazy stub, the trap stub. Only a slot made by [`OwnedSlot::empty`]
//!   holds 0 at times, and its users test for that.
//! * **Publication**: [`OwnedSlot::publish`] is a release store, made when the code is complete and
//!   the instruction caches know of it (`entry`), in a section ([`crate::fork`]).
//! * Cells and stubs come in chunks whose machine code is written once. A slot that is freed keeps its
//!   place, traps when called, and is given to another unit later.
//!
//! Limitations: chunks are returned when the table is dropped, not before.
//!
//! Not here: what a unit is (an index), and what the resolver does.

mod owned;

pub use self::owned::OwnedSlot;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ExecutorAddr;
pub use crate::arch::TableCodeKind;
use crate::arch::{self, CELL_SIZE, Cell, HOT_THUNK, LAZY_THUNK, RUNTIME_CODE_SIZE, STUB_SIZE};
use crate::arena::{Arena, ArenaError, CodeBlock, DataBlock};
use crate::entry;
use crate::errno;
use crate::locks::{Locked, lock};
use crate::section;
use crate::stacks::on_own_stack;

/// What generated code asks through the cells of a table.
///
/// Both run on the thread of the caller, between two functions of generated code, but on a stack of their own.
pub trait Runtime: Send + Sync {
    /// Finds the code of a unit whose lazy stub was called: returns the address to jump to.
    ///
    /// When there is no code to be had, it returns 0; the table then answers with
    /// [`SlotTable::trap_stub_address`], and so it does when this panics.
    fn resolve(&self, unit: u32) -> usize;

    /// Is told that a counter of the unit went below zero: returns an address that the caller can
    /// enter now, or 0. A panic counts as 0.
    fn hot(&self, unit: u32) -> usize {
        let _ = unit;
        0
    }
}

impl<F: Fn(u32) -> usize + Send + Sync> Runtime for F {
    fn resolve(&self, unit: u32) -> usize {
        self(unit)
    }
}

/// Why a slot could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// Code or data memory cannot hold another chunk.
    #[error("no slots: {0}")]
    Arena(#[from] ArenaError),
    /// The arena put cells and stubs too far apart: a bug.
    #[error("the cell at {cell:#x} is out of the reach of the stub at {stub:#x}")]
    OutOfReach {
        /// Address of the cell.
        cell: usize,
        /// Address of the stub.
        stub: usize,
    },
    /// Stubs were written, but the instruction caches could not be told.
    #[error("instruction caches could not be synchronised")]
    Synchronize(#[source] std::io::Error),
}

/// Slots in one chunk: a page of stubs and a page of cells.
const CHUNK: usize = 4096 / STUB_SIZE;

/// What [`Cell::owner`] points to.
struct Owner {
    runtime: Box<dyn Runtime>,
    /// The trap stub, at the start of the runtime's code.
    trap: usize,
}

/// A cell and a stub, by address: valid as long as the table.
#[derive(Clone, Copy, Debug)]
struct RawSlot {
    cell: NonNull<Cell>,
    addresses: SlotAddresses,
}

// SAFETY: the only part of a live cell that changes is atomic.
unsafe impl Send for RawSlot {}
// SAFETY: as above.
unsafe impl Sync for RawSlot {}

impl RawSlot {
    /// Makes `entry` what the slot leads to, with release order. The table is alive.
    fn publish(self, entry: usize) {
        let _section = section::section();
        entry::publish(self.entry(), entry);
    }

    fn entry(&self) -> &AtomicUsize {
        // SAFETY: the cell is in data memory, which lives as long as the table, and everybody who has a
        // `RawSlot` is the table or keeps it alive. `entry` is only accessed atomically once the chunk is
        // written. The reference covers this field alone.
        unsafe { AtomicUsize::from_ptr((&raw mut (*self.cell.as_ptr()).entry).cast()) }
    }
}

/// Where generated code finds a slot: plain numbers, which say nothing about whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotAddresses {
    /// The word that holds the entry.
    pub cell: usize,
    /// The unit's stable address: calling it calls what the slot leads to.
    pub stub: usize,
}

/// Where generated code enters the runtime: addresses of the process that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "remote", derive(serde::Serialize, serde::Deserialize))]
pub struct EntryPoints {
    /// What a counter below zero calls, with its cell.
    hot: ExecutorAddr,
    /// What a first call leads to, behind its entry thunk.
    trampoline: ExecutorAddr,
}

impl EntryPoints {
    /// Those of this process.
    #[must_use]
    pub fn here() -> Self {
        Self {
            hot: ExecutorAddr::new((regraft_hot as *const ()).expose_provenance()),
            trampoline: ExecutorAddr::new(arch::trampoline_address()),
        }
    }
}

/// Who answers what generated code asks, in the process that runs it: what the cells of a table point to.
pub struct Answerer(Box<Owner>);

impl std::fmt::Debug for Answerer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Answerer").finish_non_exhaustive()
    }
}

impl Answerer {
    /// One for a table whose runtime code is at `trap`.
    pub(crate) fn new(runtime: Box<dyn Runtime>, trap: ExecutorAddr) -> Self {
        let trap = trap.get();
        Self(Box::new(Owner { runtime, trap }))
    }

    /// What cells hold.
    pub(crate) fn address(&self) -> ExecutorAddr {
        ExecutorAddr::new(ptr::from_ref(&*self.0).expose_provenance())
    }
}

/// Machine code of a table, for tools that have names for code or walk stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableCode {
    /// What it is.
    pub kind: TableCodeKind,
    /// The address of its first byte.
    pub start: usize,
    /// Its bytes.
    pub len: usize,
}

/// From which offset on, in each stub of [`STUB_BYTES`], a word is on the stack, if any ever is.
pub const PUSHED_FROM: Option<usize> = arch::PUSHED_FROM;

/// Bytes of a stub with its lazy stub; stubs start at multiples of it.
pub const STUB_BYTES: usize = STUB_SIZE;

/// All slots of one arena.
pub struct SlotTable {
    arena: Arc<Arena>,
    /// Where cells point to is in this process; `None` where code runs in another.
    answerer: Option<Answerer>,
    /// What cells hold: an address of the process that runs code.
    owner: ExecutorAddr,
    /// The trap stub, at the start of the runtime's code.
    trap: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    chunks: Vec<(CodeBlock, DataBlock)>,
    /// Slots that belong to no unit; their cells have no owner.
    free: Vec<RawSlot>,
    live: usize,
    trap: Option<CodeBlock>,
}

impl std::fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("SlotTable")
            .field("live", &state.live)
            .field("free", &state.free.len())
            .finish_non_exhaustive()
    }
}

impl SlotTable {
    /// Makes an empty table.
    ///
    /// # Errors
    /// [`SlotError::Arena`], [`SlotError::Synchronize`]: no code memory for the trap stub.
    pub fn new(arena: Arc<Arena>, runtime: Box<dyn Runtime>) -> Result<Self, SlotError> {
        let mut table = Self::answered_by(arena, EntryPoints::here(), ExecutorAddr::default())?;
        let answerer = Answerer::new(runtime, ExecutorAddr::new(table.trap));
        table.owner = answerer.address();
        table.answerer = Some(answerer);
        Ok(table)
    }

    /// Makes an empty table, whose cells say that `owner` answers them.
    ///
    /// # Errors
    /// As [`SlotTable::new`].
    pub(crate) fn answered_by(
        arena: Arc<Arena>,
        points: EntryPoints,
        owner: ExecutorAddr,
    ) -> Result<Self, SlotError> {
        let block = arena.alloc_code(RUNTIME_CODE_SIZE, STUB_SIZE)?;
        let writable = arena.writable(block.offset());
        // SAFETY: the block is at least `RUNTIME_CODE_SIZE` bytes.
        unsafe {
            arch::write_runtime_code(writable, points.hot.get(), points.trampoline.get());
        }
        let trap = arena.executable(block.offset()).addr();
        if let Err(error) = arena.synchronize(&block) {
            arena.free_code(block);
            return Err(SlotError::Synchronize(error));
        }
        Ok(Self {
            arena,
            answerer: None,
            owner,
            trap,
            state: Mutex::new(State {
                trap: Some(block),
                ..State::default()
            }),
        })
    }

    /// Takes the slot from its unit: it traps from now on, and another unit may get it.
    ///
    /// No code that may still run refers to it: this is the caller's to know. It is freed once: its owner is dropped once.
    fn free(&self, slot: RawSlot) {
        if !self.arena.is_ours() {
            // A child of a fork: the memory is its parent's as well.
            return;
        }
        let mut state = self.state();
        let cell = slot.cell.as_ptr();
        // SAFETY: cells live as long as the table; `owner` of a cell changes under the lock, which
        // is held, and nobody resolves through a slot that is being freed.
        unsafe {
            (*cell).owner = ptr::null();
        }
        slot.publish(self.trap);
        state.free.push(slot);
        state.live -= 1;
    }

    /// Code that raises a signal: what a slot leads to when there is nothing to call. The entry thunks of the
    /// runtime are behind it.
    pub fn trap_stub_address(&self) -> usize {
        self.trap
    }

    /// Where generated code reports a hot unit: a function of one argument, the address of the
    /// unit's cell, that returns an address or 0 (`system_v` or the host's own convention).
    pub fn hot_address(&self) -> usize {
        self.trap + HOT_THUNK
    }

    /// What the first call of a slot of this table leads to: its resolver is asked. A trap where code runs in another process.
    pub fn resolve(&self, slot: &OwnedSlot) -> usize {
        match self.answerer {
            // SAFETY: a live slot, of a table that its owner keeps alive.
            Some(_) => unsafe { regraft_resolve(slot.cell()) },
            None => self.trap,
        }
    }

    /// The machine code of the table itself, where it runs: first the runtime's, then a chunk of stubs at a time. What
    /// comes later is added at the end.
    pub fn code(&self) -> Vec<TableCode> {
        let state = self.state();
        let at = |kind, block: &CodeBlock, len| TableCode {
            kind,
            start: self.arena.executable(block.offset()).addr(),
            len,
        };
        let runtime = state.trap.iter().flat_map(|block| {
            arch::RUNTIME_CODE.map(|(kind, offset, len)| {
                let code = at(kind, block, len);
                TableCode {
                    start: code.start + offset,
                    ..code
                }
            })
        });
        let chunks = state.chunks.iter();
        let stubs = chunks.map(|(code, _)| at(TableCodeKind::Stubs, code, CHUNK * STUB_SIZE));
        runtime.chain(stubs).collect()
    }

    /// How many pieces [`code`](Self::code) has.
    pub fn code_pieces(&self) -> usize {
        self.state().chunks.len() + arch::RUNTIME_CODE.len()
    }

    /// The bytes of a piece of it.
    pub fn bytes_of(&self, code: TableCode) -> Vec<u8> {
        let state = self.state();
        let chunks = state.chunks.iter().map(|(code, _)| code);
        let mut read = (state.trap.iter().chain(chunks))
            .map(|block| self.arena.read_code(block, code.start, code.len));
        read.find(|bytes| !bytes.is_empty()).unwrap_or_default()
    }

    /// The number of slots that belong to a unit.
    pub fn live(&self) -> usize {
        self.state().live
    }

    fn take(
        &self,
        unit: u32,
        entry: impl Fn(SlotAddresses) -> usize,
    ) -> Result<RawSlot, SlotError> {
        let mut state = self.state();
        let slot = match state.free.pop() {
            Some(slot) => slot,
            None => self.grow(&mut state)?,
        };
        let cell = slot.cell.as_ptr();
        // SAFETY: the slot was free, so that nothing reads these fields of its cell until the
        // handle is returned.
        unsafe {
            (*cell).owner = ptr::with_exposed_provenance(self.owner.get());
            (*cell).unit = unit;
        }
        slot.publish(entry(slot.addresses));
        state.live += 1;
        Ok(slot)
    }

    /// Adds a chunk of free slots and returns one of them.
    fn grow(&self, state: &mut State) -> Result<RawSlot, SlotError> {
        let code = self.arena.alloc_code(CHUNK * STUB_SIZE, STUB_SIZE)?;
        let data = match self.arena.alloc_data(CHUNK * CELL_SIZE, CELL_SIZE) {
            Ok(data) => data,
            Err(error) => {
                self.arena.free_code(code);
                return Err(error.into());
            }
        };
        match self.write_chunk(&code, &data) {
            Ok((first, rest)) => {
                state.free.extend(rest.into_iter().rev());
                state.chunks.push((code, data));
                Ok(first)
            }
            Err(error) => {
                self.arena.free_code(code);
                self.arena.free_data(data);
                Err(error)
            }
        }
    }

    /// Writes the stubs and the cells of a chunk, and makes them runnable.
    fn write_chunk(
        &self,
        code: &CodeBlock,
        data: &DataBlock,
    ) -> Result<(RawSlot, Vec<RawSlot>), SlotError> {
        let write = |index: usize| {
            let offset = code.offset() + index * STUB_SIZE;
            let stub = self.arena.executable(offset).expose_provenance();
            // SAFETY: `index < CHUNK`, and the block holds `CHUNK` cells at their alignment.
            let cell = unsafe { data.address().cast::<Cell>().add(index) };
            let address = data.executor_address() + index * CELL_SIZE;
            let addresses = SlotAddresses {
                cell: address,
                stub,
            };
            let slot = RawSlot { cell, addresses };
            // SAFETY: the cell is in the block, which nobody else uses.
            unsafe {
                cell.write(Cell {
                    entry: AtomicUsize::new(self.trap),
                    trampoline: self.trap + LAZY_THUNK,
                    owner: ptr::null(),
                    unit: 0,
                    pad: 0,
                });
            }
            let writable = self.arena.writable(offset);
            // SAFETY: `STUB_SIZE` bytes of the block, which nothing runs yet, in both views.
            unsafe { arch::write_stub(writable, stub, address) }
                .map(|()| slot)
                .ok_or(SlotError::OutOfReach {
                    cell: address,
                    stub,
                })
        };
        let first = write(0)?;
        let rest = (1..CHUNK).map(write).collect::<Result<Vec<_>, _>>()?;
        self.arena
            .synchronize(code)
            .map_err(SlotError::Synchronize)?;
        Ok((first, rest))
    }

    /// Locks, whatever happened to an earlier holder: nothing in the critical sections panics half way.
    fn state(&self) -> Locked<'_, State> {
        lock(&self.state)
    }
}

impl Drop for SlotTable {
    /// Returns the chunks. No generated code of the arena runs any more: the contract of the owner.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (code, data) in state.chunks.drain(..) {
            self.arena.free_code(code);
            self.arena.free_data(data);
        }
        if let Some(trap) = state.trap.take() {
            self.arena.free_code(trap);
        }
    }
}

/// What the trampoline calls: asks the resolver of the cell's table for the cell's unit.
///
/// It never unwinds, and it never returns an address that cannot be called.
///
/// # Safety
/// `cell` is the cell of a live slot, and its table outlives the call.
pub unsafe extern "C" fn regraft_resolve(cell: *const Cell) -> usize {
    // SAFETY: the cell is live by contract; `owner` and `unit` do not change while it is.
    let (owner, unit) = unsafe { ((*cell).owner.cast::<Owner>(), (*cell).unit) };
    if owner.is_null() {
        // A stale lazy stub of a slot that was freed: stop here, as the trap stub would.
        std::process::abort();
    }
    // SAFETY: the owner of a live slot is its table's `Owner`, which the table keeps in a box.
    let owner = unsafe { &*owner };
    match entered(|| owner.runtime.resolve(unit), unit) {
        0 => owner.trap,
        address => address,
    }
}

/// What a counter below zero calls: tells the runtime of the cell's table about the cell's unit.
///
/// It never unwinds. It returns 0 or an address that can be called.
///
/// # Safety
/// `cell` is the cell of a live slot, and its table outlives the call.
unsafe extern "C" fn regraft_hot(cell: *const Cell) -> usize {
    // SAFETY: the cell is live by contract; `owner` and `unit` do not change while it is.
    let (owner, unit) = unsafe { ((*cell).owner.cast::<Owner>(), (*cell).unit) };
    if owner.is_null() {
        return 0;
    }
    // SAFETY: the owner of a live slot is its table's `Owner`, which the table keeps in a box.
    let owner = unsafe { &*owner };
    entered(|| owner.runtime.hot(unit), unit)
}

/// Runs what generated code has entered the runtime for: on a stack of its own, and so that nothing shows of it, in
/// `errno` or floating-point state. 0 when it panics, or when there is no memory for a stack.
pub(crate) fn entered(work: impl FnOnce() -> usize, unit: u32) -> usize {
    let contained = || match catch_unwind(AssertUnwindSafe(work)) {
        Ok(address) => address,
        Err(payload) => {
            // Dropping what was thrown may throw again.
            std::mem::forget(payload);
            tracing::error!(
                unit,
                "the runtime panicked: a call traps, other code goes on as it is"
            );
            0
        }
    };
    errno::preserved(|| on_own_stack(contained)).unwrap_or(0)
}

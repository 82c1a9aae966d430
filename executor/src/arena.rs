//! Code and data memory: one reserved range of addresses, and two views of the code in it.
//!
//! ```text
//!          one reservation (PROT_NONE until mapped), less than 2 GiB
//!   base ┌──────────────┬──────────────────────────────┐
//!        │ data    rw-  │ code, executable view   r-x  │
//!        └──────────────┴──────────────────────────────┘
//!                        same pages (a memfd)
//!   elsewhere           ┌──────────────────────────────┐
//!                       │ code, writable view     rw-  │
//!                       └──────────────────────────────┘
//! ```
//!
//! Where code runs in another process, the reservation is there, and so is the executable view; data memory is
//! shared as well, and mapped here by itself (`shared`).
//!
//! A position in code memory is an *offset*; [`Arena::writable`] and [`Arena::executable`] turn it
//! into an address of the one view or the other. Both ranges commit their pages on first use.
//!
//! Invariants:
//!
//! * **No address is both writable and executable**, and no page changes its protection after
//!   [`Arena::new`]. (Under emulators that need it, pages are mapped anew, as they are: `remap`. For a debugger, who asks
//!   for that, the executable view is writable: [`ArenaTools`].)
//! * **Near data**: every byte of data memory is less than 2 GiB away from every byte of the
//!   executable view, so a 32-bit PC-relative displacement reaches from code to data.
//! * A block that was freed is filled with trap instructions before it is handed out again.
//!
//! * **One process**: code memory is written by the process that owns it only. A child of a fork gets a
//!   copy ([`crate::fork`]); without one, it neither allocates nor frees code. Of memory that another process
//!   runs code in, a child has what it reads, and writes to pages of its own.
//!
//! Limitations: Linux only (`memfd_create`). Pages that were touched stay committed.
//!
//! Not here: who may still be executing a block when it is freed (the caller's business), and the
//! instruction cache (`arch`).

mod copy;
mod extents;
mod mapping;
mod owned;
#[cfg(feature = "remote")]
mod range;
mod remap;
#[cfg(feature = "remote")]
mod shared;

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use self::copy::Mark;
use self::extents::Extents;
pub use self::extents::{GRANULE, RangeStats};
use self::mapping::{Mapping, code_file, page_size};
pub use self::owned::{OwnedCode, OwnedData};
#[cfg(feature = "remote")]
pub(crate) use self::range::{ForeignRange, SharedRange};
#[cfg(feature = "remote")]
pub(crate) use self::shared::{Files, Foreign, Shared};
use crate::ExecutorAddr;
use crate::arch;
use crate::fork;
use crate::locks::lock;

/// How the executable view is protected.
const EXECUTABLE: libc::c_int = libc::PROT_READ | libc::PROT_EXEC;

/// The reservation stays below this, so that a signed 32-bit displacement spans it.
pub const MAX_RESERVATION: usize = 0x7fff_0000;

/// How much address space an arena reserves. Both numbers are rounded up to whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaConfig {
    /// Bytes for stubs and versions.
    pub code_bytes: usize,
    /// Bytes for slots and counters.
    pub data_bytes: usize,
}

impl Default for ArenaConfig {
    fn default() -> Self {
        Self {
            code_bytes: 256 << 20,
            data_bytes: 64 << 20,
        }
    }
}

/// What a configuration comes to in whole pages.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    code: usize,
    data: usize,
}

impl Sizes {
    fn of(config: ArenaConfig) -> Result<Self, ArenaError> {
        let page = page_size();
        let round = |bytes: usize| bytes.checked_next_multiple_of(page);
        let sizes = round(config.code_bytes).zip(round(config.data_bytes));
        let sizes = sizes.filter(|&(code, data)| {
            let total = code.checked_add(data);
            code > 0 && data > 0 && total.is_some_and(|total| total <= MAX_RESERVATION)
        });
        let (code, data) = sizes.ok_or(ArenaError::Reservation {
            requested: config.code_bytes.saturating_add(config.data_bytes),
            limit: MAX_RESERVATION,
        })?;
        Ok(Self { code, data })
    }
}

/// One of the two ranges of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Stubs and versions.
    Code,
    /// Slots and counters.
    Data,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Code => "code",
            Self::Data => "data",
        })
    }
}

/// Why an arena could not be made, or could not give memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// No hole is large enough.
    #[error(
        "{area} memory is full: {requested} bytes requested, {free} free, {largest} in one piece"
    )]
    Full {
        /// The range that is full.
        area: Area,
        /// Bytes asked for, rounded up to the granule.
        requested: usize,
        /// Bytes free in all holes.
        free: usize,
        /// Bytes free in the largest hole.
        largest: usize,
    },
    /// The alignment is not a power of two, or larger than a page.
    #[error("an alignment of {align} bytes cannot be given (a power of two up to {limit})")]
    Alignment {
        /// The alignment asked for.
        align: usize,
        /// The largest that can be given.
        limit: usize,
    },
    /// The configuration asks for nothing, or for more than displacements can span.
    #[error("a reservation of {requested} bytes is not between 1 and {limit}")]
    Reservation {
        /// Bytes asked for in both ranges together.
        requested: usize,
        /// The most that can be reserved.
        limit: usize,
    },
    /// The process was forked, and has no copy of code memory.
    #[error(
        "code memory belongs to the process that this one was forked from: nothing is compiled or freed here; \
         fork by the C library's `fork`, outside of callbacks of the engine, or make another engine"
    )]
    Forked,
    /// The operating system refused.
    #[error("{action} failed for code memory")]
    System {
        /// The system call.
        action: &'static str,
        /// What it answered.
        source: io::Error,
    },
}

/// A block of code memory. Not `Clone`: it is given back at most once, with [`Arena::free_code`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a block that is dropped is never reused"]
pub struct CodeBlock {
    arena: u32,
    offset: usize,
    len: usize,
    reused: bool,
}

impl CodeBlock {
    /// Where the block starts in code memory.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Its length in bytes, a multiple of [`GRANULE`].
    pub fn size(&self) -> usize {
        self.len
    }

    /// Whether other code may have been at some of its addresses before.
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

/// A block of data memory. Not `Clone`: it is given back at most once, with [`Arena::free_data`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a block that is dropped is never reused"]
pub struct DataBlock {
    arena: u32,
    address: NonNull<u8>,
    executor_address: usize,
    offset: usize,
    len: usize,
}

// SAFETY: the pointer is an address in the arena's mapping; a block gives no access to the memory
// that would be tied to a thread.
unsafe impl Send for DataBlock {}
// SAFETY: as above; `&DataBlock` only lets the address and the length be read.
unsafe impl Sync for DataBlock {}

impl DataBlock {
    /// The first byte. Valid for reads and writes of [`Self::size`] bytes while the arena lives.
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// The address of the first byte for generated code.
    pub fn executor_address(&self) -> usize {
        self.executor_address
    }

    /// Its length in bytes, a multiple of [`GRANULE`].
    pub fn size(&self) -> usize {
        self.len
    }

    /// Copies bytes out; `None`, and nothing is copied, where they are not all in the block. What generated code writes
    /// meanwhile is seen byte by byte.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        let cells = self.bytes(offset, bytes.len())?;
        for (byte, cell) in bytes.iter_mut().zip(cells) {
            *byte = cell.load(Ordering::Relaxed);
        }
        Some(())
    }

    /// Copies bytes in; `None`, and nothing is copied, where the block has no room for them.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let cells = self.bytes(offset, bytes.len())?;
        for (byte, cell) in bytes.iter().zip(cells) {
            cell.store(*byte, Ordering::Relaxed);
        }
        Some(())
    }

    fn bytes(&self, offset: usize, len: usize) -> Option<&[AtomicU8]> {
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        // SAFETY: the bytes lie in the block (checked above), which is mapped as long as the arena, which whoever reaches a
        // block keeps alive. Rust code accesses it atomically only.
        Some(unsafe { std::slice::from_raw_parts(self.address.as_ptr().add(offset).cast(), len) })
    }

    /// The 64-bit word at an offset, for atomic accesses; `None` where there is none.
    ///
    /// Generated code may change it with plain moves of the same size.
    pub fn word(&self, offset: usize) -> Option<&AtomicI64> {
        let end = offset.checked_add(size_of::<AtomicI64>())?;
        if end > self.len || !offset.is_multiple_of(size_of::<AtomicI64>()) {
            return None;
        }
        // SAFETY: the word lies in the block (checked above), which is aligned to a granule, zeroed, and mapped as long
        // as the arena, which whoever reaches a block keeps alive. Rust code accesses it atomically only; generated code
        // accesses it with aligned 64-bit moves, which are single-copy atomic on every supported architecture.
        Some(unsafe { AtomicI64::from_ptr(self.address.as_ptr().add(offset).cast()) })
    }
}

/// How the memory of an arena is used at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Stubs and versions.
    pub code: RangeStats,
    /// Slots and counters.
    pub data: RangeStats,
}

/// Another process, which runs the code of an arena.
pub trait Elsewhere: std::fmt::Debug + Send + Sync {
    /// Makes code that was written visible to every thread of it, as [`Arena::synchronize`].
    ///
    /// # Errors
    /// It could not, or does not answer.
    fn synchronize(&self, start: ExecutorAddr, len: usize, reused: bool) -> io::Result<()>;
}

/// What tools need of code memory that nobody else does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaTools {
    /// The executable view is writable: a debugger puts breakpoints there, and what is mapped as shared and cannot be
    /// written, it cannot write either. Nothing else writes there.
    pub breakpoints: bool,
    /// No file is behind the views, not even one without a name: profilers look for the names of a file's code in
    /// that file, and for others in the perf map.
    pub anonymous: bool,
}

/// Code memory in two views, and data memory next to the executable one. See the module's page.
#[derive(Debug)]
pub struct Arena {
    id: u32,
    /// Data memory, followed by the executable view where code runs in this process.
    near: Mapping,
    /// Where data memory is for generated code; the executable view follows.
    start: usize,
    /// Who is asked for barriers, where code runs in another process.
    elsewhere: Option<Arc<dyn Elsewhere>>,
    /// The writable view of the code.
    writable: Mapping,
    data_bytes: usize,
    code_bytes: usize,
    page: usize,
    tools: ArenaTools,
    code: Mutex<Extents>,
    data: Mutex<Extents>,
    mark: Mark,
    /// What code memory is mapped from, where that is needed to map it anew.
    file: Mutex<Option<File>>,
    /// What both processes map, where code runs in another: code, and data.
    shared: Option<[File; 2]>,
}

impl Arena {
    /// Reserves the ranges and maps the views.
    ///
    /// # Errors
    /// [`ArenaError::Reservation`] for sizes that cannot be, [`ArenaError::System`] when the operating
    /// system refuses.
    pub fn new(config: ArenaConfig) -> Result<Arc<Self>, ArenaError> {
        Self::for_tools(config, ArenaTools::default())
    }

    /// As [`Arena::new`], for a process that is looked at by tools.
    ///
    /// # Errors
    /// As [`Arena::new`]; also where the system allows no memory that is writable and executable, and a debugger
    /// needs that.
    pub fn for_tools(config: ArenaConfig, tools: ArenaTools) -> Result<Arc<Self>, ArenaError> {
        let Sizes { code, data } = Sizes::of(config)?;
        let near = Mapping::reserve(code + data)?;
        near.map(0, data, libc::PROT_READ | libc::PROT_WRITE, None)?;
        let start = near.base.as_ptr().expose_provenance();
        let (writable, sizes) = (Mapping::reserve(code)?, Sizes { code, data });
        let mut arena = Self::over(near, writable, start, None, sizes)?;
        arena.tools = tools;
        // Where pages have to be mapped anew, they need a file, named or not.
        match tools.anonymous && !remap::is_needed()? {
            true => arena.map_anonymous_code()?,
            false => arena.map_code(code_file(code)?)?,
        }
        arena.registered()
    }

    /// Has children of a fork have memory of their own.
    fn registered(self) -> Result<Arc<Self>, ArenaError> {
        let arena = Arc::new(self);
        let memory: Weak<Self> = Arc::downgrade(&arena);
        fork::register_memory(memory).map_err(|source| ArenaError::System {
            action: "pthread_atfork",
            source,
        })?;
        Ok(arena)
    }

    /// An arena over data memory that is, for generated code, at `start`; and over a view of code.
    fn over(
        near: Mapping,
        writable: Mapping,
        start: usize,
        elsewhere: Option<Arc<dyn Elsewhere>>,
        Sizes { code, data }: Sizes,
    ) -> Result<Self, ArenaError> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            near,
            start,
            elsewhere,
            writable,
            data_bytes: data,
            code_bytes: code,
            page: page_size(),
            code: Mutex::new(Extents::new(code)),
            data: Mutex::new(Extents::new(data)),
            mark: Mark::new()?,
            file: Mutex::default(),
            shared: None,
            tools: ArenaTools::default(),
        })
    }

    /// Maps `file` as both views.
    fn map_code(&self, file: File) -> Result<(), ArenaError> {
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        let len = self.code_bytes;
        self.writable.map(0, len, rw, Some((&file, 0)))?;
        let executable = self.executable_protection();
        self.near
            .map(self.data_bytes, len, executable, Some((&file, 0)))?;
        *lock(&self.file) = remap::is_needed()?.then_some(file);
        Ok(())
    }

    /// Maps both views without a file.
    fn map_anonymous_code(&self) -> Result<(), ArenaError> {
        self.writable.map_shared()?;
        let executable = self.executable_protection();
        self.near
            .map_again(self.data_bytes, &self.writable, executable)
    }

    /// How the executable view is protected, in this process.
    fn executable_protection(&self) -> libc::c_int {
        match self.tools.breakpoints {
            true => EXECUTABLE | libc::PROT_WRITE,
            false => EXECUTABLE,
        }
    }

    /// Takes `size` bytes of code memory at a multiple of `align`.
    ///
    /// # Errors
    /// [`ArenaError::Full`], [`ArenaError::Alignment`].
    pub fn alloc_code(&self, size: usize, align: usize) -> Result<CodeBlock, ArenaError> {
        self.alloc_code_around(size, align, 0)
    }

    /// Takes `size` bytes of code memory such that the byte `lead` bytes from the start lies in the
    /// first [`GRANULE`] after a multiple of `align`.
    ///
    /// # Errors
    /// [`ArenaError::Full`], [`ArenaError::Alignment`], [`ArenaError::Forked`].
    pub fn alloc_code_around(
        &self,
        size: usize,
        align: usize,
        lead: usize,
    ) -> Result<CodeBlock, ArenaError> {
        if !self.mark.is_set() {
            return Err(ArenaError::Forked);
        }
        let (offset, len, touched) = self.take(Area::Code, size, align, lead)?;
        Ok(CodeBlock {
            arena: self.id,
            offset,
            len,
            reused: offset < touched,
        })
    }

    /// Gives a block of code back, filled with trap instructions.
    ///
    /// No thread may be executing it, and no address of it may be called any more: this is the
    /// caller's to know. A block of another arena is not touched.
    pub fn free_code(&self, block: CodeBlock) {
        debug_assert_eq!(block.arena, self.id, "a code block of another arena");
        if block.arena != self.id || !self.mark.is_set() {
            return;
        }
        // SAFETY: the block lies inside the writable view, as `alloc_code` made it, and nobody else
        // owns it: `CodeBlock` can neither be copied nor made elsewhere.
        unsafe { arch::fill_with_traps(self.writable(block.offset), block.len) };
        lock(&self.code).release(block.offset, block.len);
    }

    /// Copies `len` bytes of a block that start at an address of the executable view, as far as they lie in it.
    ///
    /// Nobody writes to the block meanwhile.
    pub(crate) fn read_code(&self, block: &CodeBlock, address: usize, len: usize) -> Vec<u8> {
        let end = block.offset + block.len;
        let inside = |offset: &usize| (block.offset..end).contains(offset);
        let Some(offset) = self.executable_offset(address).filter(inside) else {
            return vec![];
        };
        let mut bytes = vec![0; len.min(end - offset)];
        // SAFETY: the bytes lie in the block (checked above), which lies in the writable view; `bytes` is new.
        unsafe {
            let from = self.writable(offset);
            from.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len());
        }
        bytes
    }

    /// Makes code that was written to a block visible to every thread that will run it: after its last byte was written,
    /// before its address is published.
    ///
    /// # Errors
    /// The operating system refused to broadcast the barrier; the code must not be run.
    pub fn synchronize(&self, block: &CodeBlock) -> io::Result<()> {
        debug_assert_eq!(block.arena, self.id, "a code block of another arena");
        if block.arena != self.id {
            return Err(io::Error::other("a code block of another arena"));
        }
        let start = self.executable(block.offset);
        if let Some(elsewhere) = &self.elsewhere {
            let start = ExecutorAddr::new(start.addr());
            return elsewhere.synchronize(start, block.len, block.reused);
        }
        // SAFETY: the block lies inside the executable view.
        unsafe { arch::synchronize(start, block.len, block.reused) }?;
        if block.reused {
            self.map_again(block)?;
        }
        Ok(())
    }

    /// Takes `size` bytes of zeroed data memory at a multiple of `align`.
    ///
    /// # Errors
    /// [`ArenaError::Full`], [`ArenaError::Alignment`].
    pub fn alloc_data(&self, size: usize, align: usize) -> Result<DataBlock, ArenaError> {
        let (offset, len, touched) = self.take(Area::Data, size, align, 0)?;
        // SAFETY: `offset` is inside data memory, the first part of the mapping.
        let address = unsafe { self.near.base.add(offset) };
        let stale = touched.saturating_sub(offset).min(len);
        // SAFETY: `stale <= len` bytes from `address` on are the new block, owned by nobody else.
        // What lies above the old high-water mark was never written, and anonymous memory is zero.
        unsafe { address.write_bytes(0, stale) };
        Ok(DataBlock {
            arena: self.id,
            address,
            executor_address: self.start + offset,
            offset,
            len,
        })
    }

    /// Gives a block of data back.
    ///
    /// No code that reads or writes it may run any more: this is the caller's to know. A block of
    /// another arena is not touched.
    pub fn free_data(&self, block: DataBlock) {
        debug_assert_eq!(block.arena, self.id, "a data block of another arena");
        if block.arena == self.id {
            lock(&self.data).release(block.offset, block.len);
        }
    }

    /// The address at which code at `offset` is written. Offsets beyond the end give the end.
    pub fn writable(&self, offset: usize) -> *mut u8 {
        let offset = offset.min(self.code_bytes);
        // SAFETY: at most the end of the mapping.
        unsafe { self.writable.base.add(offset) }.as_ptr()
    }

    /// The address at which code at `offset` runs, in the process that runs it. Offsets beyond the end give the end.
    pub fn executable(&self, offset: usize) -> *const u8 {
        let offset = self.data_bytes + offset.min(self.code_bytes);
        std::ptr::with_exposed_provenance(self.start + offset)
    }

    /// The offset of an address of the executable view.
    pub fn executable_offset(&self, address: usize) -> Option<usize> {
        let start = self.start + self.data_bytes;
        address
            .checked_sub(start)
            .filter(|&offset| offset < self.code_bytes)
    }

    /// The offset of an address of the writable view.
    pub fn writable_offset(&self, address: usize) -> Option<usize> {
        let start = self.writable.base.as_ptr().addr();
        address
            .checked_sub(start)
            .filter(|&offset| offset < self.code_bytes)
    }

    /// Whether the calling process has made it, or has a copy of its own: not so in some children of a fork.
    pub(crate) fn is_ours(&self) -> bool {
        self.mark.is_set()
    }

    /// How the memory is used at this moment.
    ///
    /// # Complexity
    /// O(free extents).
    pub fn stats(&self) -> ArenaStats {
        ArenaStats {
            code: lock(&self.code).stats(),
            data: lock(&self.data).stats(),
        }
    }

    /// Allocates in one of the ranges: offset, length, and the high-water mark before.
    fn take(
        &self,
        area: Area,
        size: usize,
        align: usize,
        lead: usize,
    ) -> Result<(usize, usize, usize), ArenaError> {
        if !align.is_power_of_two() || align > self.page {
            return Err(ArenaError::Alignment {
                align,
                limit: self.page,
            });
        }
        let mut extents = lock(match area {
            Area::Code => &self.code,
            Area::Data => &self.data,
        });
        let touched = extents.touched();
        let len = size.max(1).checked_next_multiple_of(GRANULE);
        let (align, lead) = (align.max(GRANULE), lead / GRANULE * GRANULE);
        let taken = len.and_then(|len| Some((extents.take(len, align, lead)?, len)));
        taken
            .map(|(offset, len)| (offset, len, touched))
            .ok_or_else(|| {
                let stats = extents.stats();
                ArenaError::Full {
                    area,
                    requested: len.unwrap_or(size),
                    free: stats.free,
                    largest: stats.largest_hole,
                }
            })
    }
}

#[cfg(test)]
mod tests;

//! Machine code that no compiler wrote: stubs, and the trampoline into the runtime.
//!
//! A unit owns one [`Cell`] of data memory and [`STUB_SIZE`] bytes of code memory:
//!
//! ```text
//!   code memory                              data memory: Cell
//!   +0            stub: jump to entry ─────▶ entry       ──▶ a version, the lazy stub, a trap
//!   +LAZY_OFFSET  lazy stub: cell, jump ───▶ trampoline  ──▶ entry thunk ─▶ [`trampoline`] ─▶ the resolver
//!                                            owner, unit: arguments of the resolver
//! ```
//!
//! A table of slots has [`RUNTIME_CODE_SIZE`] bytes of code besides: the trap stub, and *runtime entry thunks*.
//! Generated code enters the runtime through an entry thunk, which touches the stack that the first steps
//! there need, up to where the runtime is on a stack of its own ([`crate::stacks`]): if the stack ends
//! here, it ends in generated code, where nothing is owned, and not in the middle of the runtime.
//!
//! Invariants:
//!
//! * **Transparent**: whatever stub, lazy stub and trampoline do, the version they end up in sees the
//!   registers and the stack that the caller left, the intra-procedure-call scratch registers of
//!   AArch64 (x16, x17) and two temporaries of RISC-V (t5, t6) excepted. So every calling convention passes through, `tail` and
//!   `preserve_all` included, stack arguments and return values in memory as well.
//! * **Write once**: the bytes of a stub never change after [`write_stub`]; redirection is a store
//!   to [`Cell::entry`].
//!
//! Limitations: vector registers are saved as 128 bits, the most that Cranelift passes. Unwind information is for whoever
//! walks the stack: no panic may pass through the trampoline. Stubs hold no landing pads for indirect branches
//! (`endbr64`, `bti`); code memory is not mapped as requiring them.
//!
//! Not here: what an entry means and when it changes ([`crate::slots`]).

use std::io;
use std::sync::atomic::AtomicUsize;

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod enter;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(not(target_arch = "x86_64"))]
mod words;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use self::aarch64 as imp;
#[cfg(target_arch = "riscv64")]
use self::riscv64 as imp;
#[cfg(target_arch = "x86_64")]
use self::x86_64 as imp;

pub use self::enter::{Entered, Interrupted, enter, landing_address};
pub use self::imp::LAZY_OFFSET;

/// Bytes of code memory that a stub and its lazy stub take together; also their alignment.
pub const STUB_SIZE: usize = 32;

/// The record behind a slot, in data memory.
///
/// Code in memory depends on the layout: the stub reads `entry`, the lazy stub reads `trampoline`.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct Cell {
    /// The unit's current entry address: the word that everything jumps through.
    pub entry: AtomicUsize,
    /// The lazy entry thunk, kept here because the lazy stub of x86-64 pushes the cell and jumps.
    pub trampoline: usize,
    /// Passed to the resolver; belongs to the slot table. Null in a cell that is not in use.
    pub owner: *const (),
    /// The unit, an index that means something to the resolver only.
    pub unit: u32,
    /// Unused.
    pub pad: u32,
}

/// Bytes that a [`Cell`] takes; also its alignment.
pub const CELL_SIZE: usize = 32;
const TRAMPOLINE_FIELD: usize = 8;

const _: () = {
    assert!(size_of::<Cell>() == CELL_SIZE && align_of::<Cell>() == CELL_SIZE);
    assert!(std::mem::offset_of!(Cell, entry) == 0);
    assert!(std::mem::offset_of!(Cell, trampoline) == TRAMPOLINE_FIELD);
};

/// Bytes of the code that [`write_runtime_code`] writes: the trap stub, which is at the start, and the
/// entry thunks.
pub const RUNTIME_CODE_SIZE: usize = LAZY_THUNK + THUNK_SIZE;
/// Where the entry thunk for hot code is in it.
pub const HOT_THUNK: usize = 16;
/// Where the entry thunk to the trampoline is in it.
pub const LAZY_THUNK: usize = HOT_THUNK + THUNK_SIZE;

/// What machine code of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableCodeKind {
    /// Where calls end that have nothing to call.
    TrapStub,
    /// The way into the runtime for hot code.
    HotThunk,
    /// The way into the runtime for first calls.
    LazyThunk,
    /// A chunk of stubs, each with its lazy stub.
    Stubs,
}

impl TableCodeKind {
    /// How far the stack pointer is from where the caller of the code left it, if that does not change: bytes. Of
    /// stubs, see `PUSHED_FROM`.
    pub fn pushed(self) -> usize {
        match self {
            Self::LazyThunk => LAZY_PUSHES,
            Self::TrapStub | Self::HotThunk | Self::Stubs => 0,
        }
    }
}

/// The parts of the runtime's code: what, where in it, and how long.
pub const RUNTIME_CODE: [(TableCodeKind, usize, usize); 3] = [
    (TableCodeKind::TrapStub, 0, HOT_THUNK),
    (TableCodeKind::HotThunk, HOT_THUNK, THUNK_SIZE),
    (TableCodeKind::LazyThunk, LAZY_THUNK, THUNK_SIZE),
];
/// From which offset on a lazy stub has its cell on the stack, from the stub, if it puts it there.
pub const PUSHED_FROM: Option<usize> = imp::PUSHED_FROM;
/// Bytes on the stack in the lazy entry thunk that the caller did not put there.
pub const LAZY_PUSHES: usize = match PUSHED_FROM {
    Some(_) => size_of::<usize>(),
    None => 0,
};

/// Bytes of an entry thunk.
const THUNK_SIZE: usize = imp::entry_thunk::SIZE;
/// How many pages an entry thunk touches: twice what entering the runtime takes on the caller's stack, and more, with
/// a dynamic linker that binds a system call first.
const PROBED_PAGES: usize = 2;
/// Bytes of the trap stub.
const TRAP_SIZE: usize = 4;
/// Bytes of [`returning`].
const RETURNING_SIZE: usize = 8;

/// Writes the stub and the lazy stub of one unit.
///
/// Returns `None`, having written nothing, when the cell is out of the reach of the stub.
///
/// # Safety
/// `writable` is valid for writes of [`STUB_SIZE`] bytes, and shows the memory that runs at
/// `executable`. Nothing runs there yet. `executable` is a multiple of [`STUB_SIZE`].
pub unsafe fn write_stub(writable: *mut u8, executable: usize, cell: usize) -> Option<()> {
    let bytes = imp::stub(executable, cell)?;
    // SAFETY: the caller's contract.
    unsafe { writable.copy_from_nonoverlapping(bytes.as_ptr(), STUB_SIZE) };
    Some(())
}

/// Writes the trap stub, which raises a signal (`SIGILL`, `SIGTRAP`), and the entry thunks: to `hot`, and to
/// the trampoline, of the process that runs the code.
///
/// # Safety
/// `writable` is valid for writes of [`RUNTIME_CODE_SIZE`] bytes.
pub unsafe fn write_runtime_code(writable: *mut u8, hot: usize, trampoline: usize) {
    let mut bytes = [imp::FILL; RUNTIME_CODE_SIZE];
    bytes[..TRAP_SIZE].copy_from_slice(&imp::TRAP);
    bytes[HOT_THUNK..LAZY_THUNK].copy_from_slice(&imp::entry_thunk::code(hot));
    bytes[LAZY_THUNK..].copy_from_slice(&imp::entry_thunk::code(trampoline));
    // SAFETY: the caller's contract.
    unsafe { writable.copy_from_nonoverlapping(bytes.as_ptr(), RUNTIME_CODE_SIZE) };
}

/// The code of a function without parameters that returns `value`.
pub fn returning(value: u8) -> [u8; RETURNING_SIZE] {
    imp::returning(value)
}

/// Which entry thunk an address belongs to, from the start of the runtime's code: words on the stack above
/// which the return address is, on targets that have it there.
pub fn words_above_return_address(offset: usize) -> Option<usize> {
    match offset {
        HOT_THUNK..LAZY_THUNK => Some(0),
        LAZY_THUNK..RUNTIME_CODE_SIZE => Some(1),
        _ => None,
    }
}

/// Calls `function(first, second)` on the stack that starts, downwards, at `top`.
///
/// Floating-point control has its defaults meanwhile, whatever the caller chose, so that what the compiler computes
/// does not depend on it; control and exception flags are afterwards as they were before.
///
/// # Safety
/// `top` is a multiple of 16, and below it is memory for a stack that nobody else uses. Calling `function` with these
/// arguments is sound, and it does not unwind.
pub unsafe fn on_stack(top: *mut u8, function: Entered, first: usize, second: *mut u8) {
    // SAFETY: the caller's contract.
    unsafe { imp::switch::on_stack(top, function, first, second) };
}

/// A return address in a frame as an address: it may be signed there.
pub fn unsigned(return_address: usize) -> usize {
    imp::switch::unsigned(return_address)
}

/// Goes on at `pc` with these pointers, and these two values of an exception.
///
/// # Safety
/// As [`crate::unwind::resume`].
pub unsafe fn resume_at(pc: usize, sp: usize, frame_pointer: usize, first: u64, second: u64) -> ! {
    // SAFETY: the caller's contract.
    unsafe { imp::switch::resume_at(pc, sp, frame_pointer, first, second) }
}

/// Fills memory with instructions that stop the process, so that a stale address is noticed.
///
/// # Safety
/// `writable` is valid for writes of `len` bytes.
pub unsafe fn fill_with_traps(writable: *mut u8, len: usize) {
    // SAFETY: the caller's contract.
    unsafe { writable.write_bytes(imp::FILL, len) };
}

/// The address behind the lazy entry thunk.
///
/// The code there is entered by a lazy stub only, through the entry thunk. It saves what can hold an argument, calls the
/// resolver with the cell, and jumps to the address it gets.
pub fn trampoline_address() -> usize {
    imp::prepare();
    (imp::trampoline as *const ()).expose_provenance()
}

/// Makes code that was written through the writable view visible to every thread that will run it.
///
/// To be called after the last byte was written and before the address is published. Where the memory is
/// `reused`, another processor may still have the old instructions in its pipeline: each executes a serialising
/// instruction (Intel SDM, volume 3, "Handling Self- and Cross-Modifying Code"), if the system can make it (Linux 4.16).
///
/// # Errors
/// The operating system refused to broadcast the barrier, or to clean the caches; the code must not be run.
///
/// # Safety
/// `executable` is readable for `len` bytes.
pub unsafe fn synchronize(executable: *const u8, len: usize, reused: bool) -> io::Result<()> {
    // SAFETY: the caller's contract.
    unsafe { imp::clean_caches(executable, len) }?;
    match imp::BARRIER {
        Barrier::Always => serialize_processors(),
        Barrier::WhereReused if reused => serialize_processors().or(Ok(())),
        Barrier::WhereReused | Barrier::Never => Ok(()),
    }
}

/// When processors have to be serialised, besides what [`imp::clean_caches`] does.
#[allow(dead_code, reason = "each architecture has one of them")]
enum Barrier {
    /// For all code, or it is not run.
    Always,
    /// Where other code was before, if the system can do it.
    WhereReused,
    /// It is done already.
    Never,
}

/// Makes every processor that runs a thread of this process execute a serialising instruction.
fn serialize_processors() -> io::Result<()> {
    let barrier = || membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
    let Err(error) = barrier() else {
        return Ok(());
    };
    match error.raw_os_error() {
        // The process has not said yet that it wants to.
        Some(libc::EPERM) => {
            membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)?;
            barrier()
        }
        // Before Linux 4.16; slower, of every process.
        Some(libc::EINVAL) => membarrier(libc::MEMBARRIER_CMD_GLOBAL),
        _ => Err(error),
    }
}

fn membarrier(command: libc::c_int) -> io::Result<()> {
    // SAFETY: the call takes numbers, and changes nothing that the process can see. An older system refuses it.
    match unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

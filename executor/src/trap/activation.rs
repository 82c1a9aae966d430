//! The safe calls of a thread, of which a signal handler sees the innermost.
//!
//! Invariants:
//!
//! * The innermost safe call is read by the handler on the same thread, and changed by that thread only.

use std::cell::Cell;
use std::ptr;

/// One safe call in progress.
#[derive(Debug)]
pub struct Activation {
    /// The stack pointer for the landing; written by [`arch::enter`].
    pub sp: usize,
    /// What the handler found.
    pub caught: Option<Caught>,
}

/// A trap as the handler saw it.
#[derive(Clone, Copy, Debug)]
pub struct Caught {
    pub signal: libc::c_int,
    /// The instruction: in generated code, or the call from there that led astray.
    pub pc: usize,
    pub sp: usize,
    /// The address that was accessed, where the system knows it.
    pub address: Option<usize>,
    pub site: Site,
}

/// Where a trap happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// At an instruction of generated code.
    Instruction,
    /// In the trap stub, which was called.
    TrapStub,
    /// In an entry thunk of the runtime, which was called, and found no stack.
    EntryThunk,
    /// At an address without code, which was called.
    Nowhere,
    /// At an instruction of generated code that did nothing: another thread has asked.
    Interrupted,
}

thread_local! {
    static INNERMOST: Cell<*mut Activation> = const { Cell::new(ptr::null_mut()) };
}

/// The safe call that the thread is in. Async-signal-safe.
pub fn innermost() -> *mut Activation {
    INNERMOST.get()
}

/// The thread is in this safe call from now on; returns the one that it was in.
pub fn enter(activation: *mut Activation) -> *mut Activation {
    INNERMOST.replace(activation)
}

/// The thread is in a call that it was in before.
pub fn leave(outer: *mut Activation) {
    INNERMOST.set(outer);
}

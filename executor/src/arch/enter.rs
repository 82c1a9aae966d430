//! Entering generated code so that a signal handler can leave it.
//!
//! ```text
//!   enter ──saves registers──▶ function ──▶ … ──▶ generated code ─┐ returns: 0
//!     │ sp ──▶ activation                             │ signal    │
//!     │                                               ▼           │
//!     │                        handler: resume(land, sp)          │
//!     ▼                                               │           │
//!   1 or 0 ◀──restores registers── land ◀─────────────┘ ◀─────────┘
//! ```
//!
//! The handler does not jump: it changes the context that the kernel returns to, so that the signal
//! mask and the alternate stack are put back as for any signal.
//!
//! Not here: which signals, and who may be skipped ([`crate::trap`]).

use super::imp::enter as imp;

/// What `enter` calls.
pub type Entered = unsafe extern "C" fn(usize, *mut u8);

/// Calls `function(first, second)`; returns 0 when it returns, and 1 when a handler sent the thread to
/// [`landing_address`] instead.
///
/// Before the call, the stack pointer that the landing needs is stored at `sp`. Callee-saved registers
/// and floating-point control are as before either way.
///
/// # Safety
/// `sp` is valid for a write; calling `function` with these arguments is sound, and it does not unwind.
/// If the thread lands, what the frames in between own stays as it is.
pub unsafe fn enter(sp: *mut usize, function: Entered, first: usize, second: *mut u8) -> bool {
    // SAFETY: the caller's contract.
    unsafe { imp::enter(sp, function, first, second) != 0 }
}

/// Where a thread goes on that leaves generated code by a trap, with the stack pointer from [`enter`].
pub fn landing_address() -> usize {
    (imp::land as *const ()).expose_provenance()
}

/// The registers of an interrupted thread. Async-signal-safe.
pub struct Interrupted<'a>(&'a mut libc::ucontext_t);

impl<'a> Interrupted<'a> {
    /// The third argument of a signal handler.
    ///
    /// # Safety
    /// It is that, and nobody else uses it during `'a`.
    pub unsafe fn new(context: *mut libc::c_void) -> Self {
        // SAFETY: the caller's contract.
        Self(unsafe { &mut *context.cast() })
    }

    /// The address of the instruction, or behind it, as the signal has it.
    pub fn pc(&self) -> usize {
        imp::position(self.0).0
    }

    /// The stack pointer.
    pub fn sp(&self) -> usize {
        imp::position(self.0).1
    }

    /// The return address of a function that was entered and has called nothing yet, but may have put
    /// `words` on the stack, on targets where return addresses are there.
    ///
    /// # Safety
    /// Such a function was entered, so that the top of the stack is readable.
    pub unsafe fn return_address(&self, words: usize) -> usize {
        // SAFETY: the caller's contract.
        unsafe { imp::return_address(self.0, words) }
    }

    /// Lets the thread go on at `pc` with the stack pointer `sp` when the handler returns.
    pub fn resume(&mut self, pc: usize, sp: usize) {
        imp::resume(self.0, pc, sp);
    }
}

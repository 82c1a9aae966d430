//! Safe calls: what a trap in generated code ends.
//!
//! Not here: what a trap is ([`crate::Trap`]), signals (the executor).

use crate::call::trap::Trap;
use crate::code::codemap::CodeLocation;
use crate::context::Engine;
use crate::enter::pinned;
use regraft_executor::trap;
use std::panic::resume_unwind;

impl Engine {
    /// What is known of an address of this engine's code: function, unit, tier, source.
    ///
    /// For a return address, ask for the byte before. May be called in a signal handler, about the
    /// address at which the signal interrupted the thread; [`locate`](crate::location::locate) does the same for
    /// all engines of the process.
    ///
    /// # Complexity
    /// O(engines + log versions).
    pub fn locate(&self, pc: usize) -> Option<CodeLocation> {
        self.inner.codemap.locate(pc)
    }

    /// Runs `body`; a trap in generated code that it calls, raw or typed, ends it.
    ///
    /// # Errors
    /// The trap.
    ///
    /// # Safety
    /// When a trap is caught, all frames between this call and the trap are skipped, and *their
    /// destructors do not run*: what `body` owns then is leaked, what it has locked stays locked, and
    /// borrows that it ends are not ended. Frames of Rust code must be able to bear that. Calling
    /// the generated code must be sound otherwise.
    ///
    /// # Panics
    /// As `body` does.
    pub unsafe fn catch<R>(&self, body: impl FnOnce() -> R) -> Result<R, Trap> {
        let safely = || {
            // SAFETY: the caller's contract.
            unsafe { trap::catch(body) }
        };
        match pinned(&self.inner, safely) {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(payload)) => resume_unwind(payload),
            Err(fault) => Err(Trap::new(&fault)),
        }
    }
}

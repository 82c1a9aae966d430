//! Going on at a handler of an exception: several frames of generated code are left at once.
//!
//! Exceptions of Cranelift restore nothing on their way: a call with a handler keeps no value in a register over the
//! exceptional edge, so that a stack pointer and a frame pointer are all that the handler needs.
//!
//! Not here: which handler ([`caller`] only walks), and where code says what it handles.

use crate::arch;
use crate::ranges::find as find_range;

/// A frame of generated code that waits for a call to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Where the call returns to.
    pub returns_to: usize,
    /// The frame pointer of the frame.
    pub frame_pointer: usize,
}

/// The frame of generated code that has called the function with this frame pointer; nothing where the caller is no
/// generated code.
///
/// # Safety
/// It is the frame pointer of a function that runs on this thread, and keeps frame pointers.
pub unsafe fn caller(frame_pointer: usize) -> Option<Waiting> {
    let frame = std::ptr::with_exposed_provenance::<[usize; 2]>(frame_pointer);
    // SAFETY: at a frame pointer are the caller's, and the return address, on both targets.
    let [outer, returns_to] = unsafe { frame.read() };
    let returns_to = arch::unsigned(returns_to);
    find_range(returns_to.checked_sub(1)?)?;
    Some(Waiting {
        returns_to,
        frame_pointer: outer,
    })
}

/// Goes on at `pc` with this stack and frame pointer and these two values of an exception.
///
/// # Safety
/// `pc` is where a call of a frame on this thread goes on when an exception comes out of it, and the pointers are those of
/// that frame. The frames that are left own nothing.
pub unsafe fn resume(pc: usize, sp: usize, frame_pointer: usize, payload: [u64; 2]) -> ! {
    let [first, second] = payload;
    // SAFETY: the caller's contract.
    unsafe { arch::resume_at(pc, sp, frame_pointer, first, second) }
}

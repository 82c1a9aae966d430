//! Exceptions: from a frame of generated code to the innermost handler above it.
//!
//! Cranelift has calls with handlers (`try_call`) and no way to throw: what an exception is, and what a tag means, is the
//! client's. This finds the handler and goes on there.
//!
//! ```text
//!   generated code ─▶ the client's `throw`, which knows a frame pointer (`get_frame_pointer`)
//!        ▲                    │ find_handler: return addresses, up to the first that is no generated code
//!        └──── resume ◀───────┘
//! ```
//!
//! Invariants:
//!
//! * Nothing is done to the stack before a handler was found: who finds none still has all frames.
//! * It works alike at every tier: a region keeps the handlers of its calls, and those that lie outside of it are exits.
//!
//! Limitations: frames of the host end the search, as nothing says what they own; the host passes an exception on by
//! throwing it again. Dynamic contexts of exception tables are not looked at. A function that can throw must have a calling convention whose callers expect every register to
//! be lost then: `tail`, or `preserve_all`; not `system_v`.
//!
//! Not here: what becomes of an exception that nobody handles.

use crate::code::codemap::map_of;
use cranelift_codegen::ir::ExceptionTag;
use regraft_executor::unwind::{self, caller};

/// Where an exception is handled: good for one [`resume`](Handler::resume), while the frames stay as they are.
#[derive(Debug, PartialEq, Eq)]
pub struct Handler {
    pc: usize,
    sp: usize,
    frame_pointer: usize,
}

/// Finds the innermost handler above a frame that `handles` says is the right one: it gets tags, in the order of the
/// exception tables, or `None` for a handler of everything.
///
/// # Safety
///
/// `frame_pointer` is that of a function of an engine that runs on this thread: what `get_frame_pointer` said there. All
/// frames of generated code above it, to the first frame of the host, keep frame pointers, as all of an engine's do.
pub unsafe fn find_handler(
    frame_pointer: usize,
    mut handles: impl FnMut(Option<ExceptionTag>) -> bool,
) -> Option<Handler> {
    let mut frame_pointer = frame_pointer;
    loop {
        // SAFETY: it is that of a frame of generated code, by the caller's contract or because the walk came through it.
        let frame = unsafe { caller(frame_pointer) }?;
        let call = frame.returns_to - 1;
        let found = map_of(call)?.with_calls(call, |start, offset, calls| {
            let site = calls.find(offset + 1)?;
            let mut handlers = site.handlers.iter();
            let (_, at) = handlers.find(|(tag, _)| handles(*tag))?;
            Some(Handler {
                pc: start + *at as usize,
                sp: frame.frame_pointer - site.frame_size as usize,
                frame_pointer: frame.frame_pointer,
            })
        });
        // Code without a listing is the engine's own; it handles nothing.
        if let Some(handler) = found.flatten() {
            return Some(handler);
        }
        frame_pointer = frame.frame_pointer;
    }
}

impl Handler {
    /// Leaves all frames up to the handler's, and goes on there with the two values of the exception.
    ///
    /// # Safety
    ///
    /// It was found on this thread, and the frame that it was found for has not returned. The frames that are left own
    /// nothing: destructors do not run.
    pub unsafe fn resume(self, payload: [u64; 2]) -> ! {
        // SAFETY: code memory says so of this call; the rest is the caller's contract.
        unsafe { unwind::resume(self.pc, self.sp, self.frame_pointer, payload) }
    }
}

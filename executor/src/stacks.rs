//! Stacks of the runtime: what generated code asks for is not done on the stack of whoever asks.
//!
//! ```text
//!   generated code ─▶ entry thunk ─▶ trampoline ─▶ │ another stack: find, define, form, compile │ ─▶ go on
//! ```
//!
//! A code generator needs far more stack than the code that it makes, and outside of safe calls nobody knows where the
//! caller's stack ends: it may be a small thread's, or a fiber's. So all that the runtime does for generated code, it
//! does on a stack from here. Thread and thread-locals stay the same.
//!
//! Invariants:
//!
//! * A stack belongs to one call of [`on_own_stack`] at a time; calls that nest have one each.
//! * Below each is memory that nobody can access.
//! * Taking a stack and giving it back take no lock and little stack, a part of what an entry thunk has probed
//!   (`arch`); a test measures it.
//!
//! Limitations: stacks are kept, a few of them, with the pages that were touched. When a trap skips what runs on a
//! stack (a client's closure that calls generated code raw beneath a safe call), the stack is lost. An overflow of
//! these stacks ends the process. What the client asks for by itself (`Engine::define`) is done on its own stack, but for
//! the calling sequence of a safe call.
//!
//! Not here: the switch itself (`arch::on_stack`).

use crate::arch;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

/// What the main thread of a program usually has. Pages are committed when they are touched.
const SIZE: usize = 8 << 20;
const GUARD: usize = 64 << 10;

/// The stacks that nobody uses, by their lowest address; null is none.
static UNUSED: [AtomicPtr<libc::c_void>; KEPT] = [const { AtomicPtr::new(ptr::null_mut()) }; KEPT];

/// How many stacks are kept that nobody uses.
pub const KEPT: usize = 16;

/// A stack, and inaccessible memory below it.
struct Stack(NonNull<libc::c_void>);

impl Stack {
    /// One that is unused, or a new one.
    fn take() -> Option<Self> {
        let unused = UNUSED
            .iter()
            .filter(|place| !place.load(Ordering::Relaxed).is_null());
        let taken = unused.map(|place| place.swap(ptr::null_mut(), Ordering::Acquire));
        taken
            .map(NonNull::new)
            .find(Option::is_some)
            .flatten()
            .map(Self)
            .or_else(Self::map)
    }

    #[cold]
    #[inline(never)]
    fn map() -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        let len = GUARD + SIZE;
        // SAFETY: without MAP_FIXED, a new range that overlaps nothing is chosen.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        let stack = Self(NonNull::new(base)?);
        let usable = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the pages were just mapped, and nothing refers to them.
        let failed = unsafe { libc::mprotect(base.wrapping_byte_add(GUARD), SIZE, usable) };
        if failed != 0 {
            stack.unmap();
            return None;
        }
        Some(stack)
    }

    /// Where the stack starts; it grows downwards. Aligned to a page.
    fn top(&self) -> *mut u8 {
        self.0.as_ptr().wrapping_byte_add(GUARD + SIZE).cast()
    }

    /// Keeps the stack for the next call, if there is room.
    fn give_back(self) {
        let kept = UNUSED.iter().any(|place| {
            let (none, base) = (ptr::null_mut(), self.0.as_ptr());
            place.load(Ordering::Relaxed).is_null()
                && place
                    .compare_exchange(none, base, Ordering::Release, Ordering::Relaxed)
                    .is_ok()
        });
        if !kept {
            self.unmap();
        }
    }

    #[cold]
    #[inline(never)]
    fn unmap(self) {
        // SAFETY: the range was mapped by `map`, and nothing runs on it or refers to it.
        unsafe { libc::munmap(self.0.as_ptr(), GUARD + SIZE) };
    }
}

/// What a call takes to the other stack, and what it brings back.
struct Exchange<F, R> {
    work: Option<F>,
    result: Option<std::thread::Result<R>>,
}

/// Runs `work` on a stack of its own, with the default floating-point environment; `None`, and it is not run, when
/// there is no memory for a stack.
///
/// # Panics
/// As `work` does.
pub fn on_own_stack<F: FnOnce() -> R, R>(work: F) -> Option<R> {
    unsafe extern "C" fn run<F: FnOnce() -> R, R>(_: usize, exchange: *mut u8) {
        // SAFETY: it is the local of `on_own_stack`, which is waiting.
        let exchange = unsafe { &mut *exchange.cast::<Exchange<F, R>>() };
        if let Some(work) = exchange.work.take() {
            // Nothing unwinds through the switch.
            exchange.result = Some(catch_unwind(AssertUnwindSafe(work)));
        }
    }
    let stack = Stack::take()?;
    let mut exchange = Exchange {
        work: Some(work),
        result: None,
    };
    // SAFETY: the top of a mapped stack that is this call's alone; `run` gets what it needs and does not unwind.
    unsafe { arch::on_stack(stack.top(), run::<F, R>, 0, (&raw mut exchange).cast()) };
    stack.give_back();
    match exchange.result? {
        Ok(result) => Some(result),
        Err(payload) => resume_unwind(payload),
    }
}

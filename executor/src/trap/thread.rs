//! What a thread needs to come back from a trap: a stack for the handler, and the limits of its own.
//!
//! Invariants:
//!
//! * An alternate stack that is large enough is left alone; ours replaces a smaller one (Rust's own,
//!   say) and is gone with the thread.
//!
//! Limitations: without memory for an alternate stack, a stack overflow ends the process, as it does
//! without this library. Stacks that the client switches to by itself have unknown limits.

use super::activation::{Activation, Caught, enter, leave};
use super::handler;
use crate::arch;
use crate::errno;
use crate::section;
use std::cell::{Cell, UnsafeCell};
use std::ptr;

/// The limits of a thread's stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    low: usize,
    guard: usize,
}

thread_local! {
    static BOUNDS: Cell<Option<Bounds>> = const { Cell::new(None) };
    static ALTERNATE: UnsafeCell<Option<Alternate>> = const { UnsafeCell::new(None) };
}

/// Calls `function(first, second)` so that a trap in generated code ends the call.
///
/// # Safety
/// As [`arch::enter`]; and what a trap skips may be skipped.
pub unsafe fn protect(
    function: arch::Entered,
    first: usize,
    second: *mut u8,
) -> Result<(), Caught> {
    if BOUNDS.get().is_none() {
        errno::preserved(prepare);
    }
    let mut activation = Activation {
        sp: 0,
        caught: None,
    };
    let this = &raw mut activation;
    let outer = enter(this);
    // SAFETY: `sp` is a field of a live local; the rest is the caller's contract.
    let landed = unsafe { arch::enter(&raw mut (*this).sp, function, first, second) };
    // A trap in a nested call that was not safe has landed here too.
    leave(outer);
    if !landed {
        return Ok(());
    }
    // SAFETY: the handler wrote it before the landing, through this pointer, on this thread.
    match unsafe { (*this).caught } {
        Some(caught) => Err(caught),
        None => std::process::abort(),
    }
}

impl Bounds {
    /// How far a frame reaches beyond the stack pointer before it touches each page: twice the size
    /// that needs a probe.
    const NEAR: usize = 8192;

    /// The limits of the calling thread's own stack, if it is on that.
    pub fn current() -> Option<Self> {
        BOUNDS.get()
    }

    /// The pages that a stack overflow runs into: below the stack or, by an older C library's way
    /// of counting, at its lower end.
    fn guard_pages(self) -> std::ops::Range<usize> {
        self.low.saturating_sub(self.guard)..self.low + self.guard
    }

    /// Whether an access, with this stack pointer, ran into the end of the stack.
    pub fn overflowed(bounds: Option<Self>, caught: &Caught) -> Overflow {
        let Some(address) = caught.address else {
            return Overflow::No;
        };
        let near = caught.sp.saturating_sub(Self::NEAR)..caught.sp.saturating_add(Self::NEAR);
        if near.contains(&address) {
            return Overflow::Yes;
        }
        match bounds {
            Some(bounds) if bounds.guard_pages().contains(&address) => Overflow::Perhaps,
            _ => Overflow::No,
        }
    }
}

/// Whether a fault is a stack overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It accessed the page at the stack pointer.
    Yes,
    /// It accessed the guard page: a large frame, or a stray pointer.
    Perhaps,
    /// It accessed something else.
    No,
}

/// Installs the handlers, finds the limits of the calling thread's stack, and gives it an alternate one.
#[cold]
fn prepare() {
    // No fork comes in between, whose child would wait for ever for who installs the handlers.
    let _section = section::section();
    handler::install();
    BOUNDS.set(Some(bounds().unwrap_or(Bounds { low: 0, guard: 0 })));
    // A thread that is ending keeps what it has.
    let _ = ALTERNATE.try_with(|alternate| {
        if let Some(installed) = Alternate::install() {
            // SAFETY: only this thread reaches the cell, and only here, where nothing borrows it.
            unsafe { *alternate.get() = Some(installed) };
        }
    });
}

fn bounds() -> Option<Bounds> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: the call initialises what it is given, unless it fails.
    let failed = unsafe { libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) };
    if failed != 0 {
        return None;
    }
    let (mut low, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: the attributes are initialised, and destroyed once.
    let failed = unsafe {
        let attributes = attributes.as_mut_ptr();
        let stack = libc::pthread_attr_getstack(attributes, &raw mut low, &raw mut size);
        let guarded = libc::pthread_attr_getguardsize(attributes, &raw mut guard);
        libc::pthread_attr_destroy(attributes);
        stack | guarded
    };
    let low = low.addr();
    (failed == 0).then_some(Bounds {
        low,
        guard: guard.max(4096),
    })
}

/// An alternate signal stack of ours, with a page below that nobody can access.
#[derive(Debug)]
struct Alternate {
    base: *mut libc::c_void,
}

impl Alternate {
    /// Enough for the handler, and for most handlers that it passes a signal on to.
    const SIZE: usize = 64 << 10;
    const GUARD: usize = 64 << 10;

    /// Gives the thread a stack, unless it has one that is as large.
    fn install() -> Option<Self> {
        let mut current = stack(ptr::null_mut(), 0, libc::SS_DISABLE);
        // SAFETY: it writes to `current`.
        let failed = unsafe { libc::sigaltstack(ptr::null(), &raw mut current) };
        let enough = current.ss_flags & libc::SS_DISABLE == 0 && current.ss_size >= Self::SIZE;
        if failed != 0 || enough || current.ss_flags & libc::SS_ONSTACK != 0 {
            return None;
        }
        let len = Self::GUARD + Self::SIZE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: without MAP_FIXED, a new range that overlaps nothing is chosen.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return None;
        }
        // From here on, dropping it unmaps it.
        let alternate = Self { base };
        let usable = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the pages were just mapped, and nothing refers to them.
        let failed = unsafe { libc::mprotect(alternate.bottom(), Self::SIZE, usable) };
        let new = stack(alternate.bottom(), Self::SIZE, 0);
        // SAFETY: the stack stays mapped until `drop`, which takes it from the thread first.
        let failed =
            failed != 0 || unsafe { libc::sigaltstack(&raw const new, ptr::null_mut()) } != 0;
        (!failed).then_some(alternate)
    }

    /// The lowest address that can be used.
    fn bottom(&self) -> *mut libc::c_void {
        self.base.wrapping_byte_add(Self::GUARD)
    }
}

fn stack(bottom: *mut libc::c_void, size: usize, flags: libc::c_int) -> libc::stack_t {
    libc::stack_t {
        ss_sp: bottom,
        ss_flags: flags,
        ss_size: size,
    }
}

impl Drop for Alternate {
    fn drop(&mut self) {
        let mut current = stack(ptr::null_mut(), 0, libc::SS_DISABLE);
        // SAFETY: it writes to `current`.
        unsafe { libc::sigaltstack(ptr::null(), &raw mut current) };
        if current.ss_sp == self.bottom() {
            let none = stack(ptr::null_mut(), Self::SIZE, libc::SS_DISABLE);
            // SAFETY: the thread has no alternate stack from here on.
            unsafe { libc::sigaltstack(&raw const none, ptr::null_mut()) };
        }
        // SAFETY: the range was mapped by `install`, and the thread, which is ending, no longer uses it
        // for signals.
        unsafe { libc::munmap(self.base, Self::GUARD + Self::SIZE) };
    }
}

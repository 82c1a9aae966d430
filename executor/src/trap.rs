//! Calls that a trap in generated code ends.
//!
//! ```text
//!   safe call ─▶ Rust ─▶ generated code ─▶ host function ─▶ safe call ─▶ generated code ─▶ trap
//!       │                                                      ◀──────────────────────────┘
//!       └─ goes on: the inner call returned a fault to the host function
//! ```
//!
//! Invariants:
//!
//! * Only frames of generated code are skipped, unless the client puts its own in between (by a raw call
//!   beneath a safe one, or by [`catch`]). The runtime holds no lock and owns nothing while
//!   generated code runs, so nothing is leaked or left locked.
//! * What faults in Rust code, or in a thread without a safe call, is not touched.
//! * Registers, floating-point control and the signal mask are after the call as they were before.
//!
//! Limitations: a fault *in* a host function or a library call (`memcpy` of a bad address), a stack
//! overflow there included, is not a trap. Frames beyond a page are probed, so that no overflow goes
//! unnoticed. What enters the runtime within 8 KiB of the end is a stack overflow too; the runtime works on
//! stacks of its own.
//! Shadow stacks are not unwound. Linux only.
//!
//! Not here: what the code at an address was made from; signals (`handler`), stacks (`thread`).

mod activation;
mod handler;
mod interrupt;
mod thread;

use crate::arch::Entered;
use crate::{epoch, section};
use activation::{Caught, Site};
pub use interrupt::Interrupter;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thread::{Bounds, Overflow, protect};

/// Why a safe call did not return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of fault it was.
    pub kind: FaultKind,
    /// The signal that reported it.
    pub signal: i32,
    /// The address of the instruction; of the last byte of the call, where a call led nowhere.
    pub pc: usize,
    /// The address that the instruction accessed, if the system knows.
    pub address: Option<usize>,
}

/// What kind of fault ended a safe call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "remote", derive(serde::Serialize, serde::Deserialize))]
pub enum FaultKind {
    /// At an instruction of generated code.
    Instruction,
    /// At an instruction of generated code that accessed a guard page: a stack overflow, or a stray pointer.
    GuardPage,
    /// The stack was used up.
    StackOverflow,
    /// A call of a slot that leads nowhere.
    Unresolvable,
    /// A call of an address where no code is.
    WildCall,
    /// Another thread has asked for the end of the call.
    Interrupted,
}

impl Fault {
    fn new(caught: &Caught) -> Self {
        let kind = match caught.site {
            Site::TrapStub => FaultKind::Unresolvable,
            Site::EntryThunk => FaultKind::StackOverflow,
            Site::Nowhere => FaultKind::WildCall,
            Site::Interrupted => FaultKind::Interrupted,
            Site::Instruction => match Bounds::overflowed(Bounds::current(), caught) {
                Overflow::Yes => FaultKind::StackOverflow,
                Overflow::Perhaps => FaultKind::GuardPage,
                Overflow::No => FaultKind::Instruction,
            },
        };
        Self {
            kind,
            signal: caught.signal,
            pc: caught.pc,
            address: caught.address,
        }
    }

    /// Whether the signal was about an access to memory.
    pub fn is_memory(&self) -> bool {
        matches!(self.signal, libc::SIGSEGV | libc::SIGBUS)
    }
}

/// Calls `function(first, second)`; a trap in generated code ends the call.
///
/// # Errors
/// What ended it.
///
/// # Safety
/// Calling it is sound, it does not unwind, and the frames between this one and generated code own
/// nothing.
pub unsafe fn call_safely(function: Entered, first: usize, second: *mut u8) -> Result<(), Fault> {
    let (pins, sections) = (epoch::depth(), section::depth());
    // SAFETY: the caller's contract.
    let called = unsafe { protect(function, first, second) };
    called.map_err(|caught| {
        // Those of the frames that were skipped.
        epoch::restore(pins);
        section::restore(sections);
        Fault::new(&caught)
    })
}

/// What a callback works on: what it consumes, and what it leaves.
struct Exchange<I, O> {
    input: Option<I>,
    output: Option<O>,
}

/// Calls `callback` with `input`; a trap in generated code ends the call.
///
/// # Errors
/// What ended it.
///
/// # Safety
/// `callback` does not unwind, and what its frames own when generated code traps may be lost.
pub unsafe fn exchange<I, O>(input: I, callback: fn(I) -> O) -> Result<O, Fault> {
    unsafe extern "C" fn run<I, O>(callback: usize, exchange: *mut u8) {
        let callback = std::ptr::with_exposed_provenance::<()>(callback);
        // SAFETY: it is the `callback` of `exchange`, with the same types.
        let callback = unsafe { std::mem::transmute::<*const (), fn(I) -> O>(callback) };
        // SAFETY: it is the local of `exchange`, which is waiting.
        let exchange = unsafe { &mut *exchange.cast::<Exchange<I, O>>() };
        exchange.output = exchange.input.take().map(callback);
    }
    let mut exchange = Exchange {
        input: Some(input),
        output: None,
    };
    let address = (callback as *const ()).expose_provenance();
    let pointer = (&raw mut exchange).cast();
    // SAFETY: `run` gets what it needs; the rest is the caller's contract.
    unsafe { call_safely(run::<I, O>, address, pointer) }?;
    match exchange.output {
        Some(output) => Ok(output),
        // Without a trap, the callback has run to its end.
        None => std::process::abort(),
    }
}

/// Runs `body`; a trap in generated code that it calls ends it. A panic of `body` is returned.
///
/// # Errors
/// What ended it.
///
/// # Safety
/// All frames between this call and a trap are skipped, without running their destructors: they must be able to bear
/// that.
pub unsafe fn catch<R>(body: impl FnOnce() -> R) -> Result<std::thread::Result<R>, Fault> {
    // SAFETY: panics are contained; the rest is the caller's contract.
    unsafe { exchange(body, contained) }
}

/// Runs `body` and keeps its panic.
fn contained<R>(body: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(body))
}

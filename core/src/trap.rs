//! Traps of generated code as errors.
//!
//! A *safe call* is one that a trap ends: [`Engine::call`], [`TypedFn::try_call`], and what runs in
//! [`Engine::catch`]. On a trap in generated code, at whatever tier, it returns a [`Trap`]; the thread
//! and the engine go on working. Raw calls ([`TypedFn::call`], [`Engine::pointer`]) know nothing of
//! this: a trap in them is a signal, and a client that handles it can ask [`locate`](crate::locate).
//!
//! ```text
//!   safe call ─▶ Rust ─▶ generated code ─▶ host function ─▶ safe call ─▶ generated code ─▶ trap
//!       │                                                      ◀──────────────────────────┘
//!       └─ goes on: the inner call returned an error to the host function
//! ```
//!
//! Invariants:
//!
//! * Only frames of generated code are skipped, unless the client puts its own in between (by a raw call
//!   beneath a safe one, or by [`Engine::catch`]). The runtime holds no lock and owns nothing while
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
//! Not here: the tables behind a location ([`crate::codemap`]), signals (`handler`), stacks (`thread`).

mod handler;
mod thread;

use crate::arch::Entered;
use crate::codemap::{CodeLocation, locate};
use crate::engine::Engine;
use crate::epoch;
use crate::fork;
use crate::typed::{ClifArgs, ClifReturn, TypedFn};
use cranelift_codegen::ir::TrapCode;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use thread::{Bounds, Caught, Overflow, Place, protect};

/// A call that ended in a trap.
///
/// ```text
///   trap heap_oob accessing 0x10 at @0012 in function f, region at block3, tier 1
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trap {
    /// What happened.
    pub kind: TrapKind,
    /// The trap code, for an instruction that has one, and for a stack overflow.
    pub code: Option<TrapCode>,
    /// The address of the instruction; of the last byte of the call, where a call led nowhere.
    pub pc: usize,
    /// The address that the instruction accessed, if the system knows.
    pub address: Option<usize>,
    /// Where that is; unknown in stubs and calling sequences.
    pub location: Option<CodeLocation>,
}

/// What kind of trap it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrapKind {
    /// An instruction with a trap code: [`Trap::code`] says why it traps.
    Code,
    /// The stack was used up.
    StackOverflow,
    /// An access that the code generator was told could not trap (`notrap`).
    Memory,
    /// A call of a function that has no code: it could not be compiled, or was never defined.
    Unresolvable,
    /// A call of an address where no code is.
    WildCall,
    /// Another signal, at an instruction without a trap code.
    Signal(i32),
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map(|code| code.to_string());
        match self.kind {
            TrapKind::Code | TrapKind::StackOverflow => {
                write!(f, "trap {}", code.as_deref().unwrap_or("without a code"))?;
            }
            TrapKind::Memory => f.write_str("trap: a memory fault")?,
            TrapKind::Unresolvable => f.write_str("trap: a call of a function without code")?,
            TrapKind::WildCall => f.write_str("trap: a call of an address without code")?,
            TrapKind::Signal(signal) => write!(f, "trap: signal {signal}")?,
        }
        if let Some(address) = self.address {
            write!(f, " accessing {address:#x}")?;
        }
        match &self.location {
            Some(location) if location.source.is_some() || location.block.is_some() => {
                write!(f, " at {location}")
            }
            Some(location) => write!(f, " in {location}"),
            None => write!(f, " at {:#x}", self.pc),
        }
    }
}

impl std::error::Error for Trap {}

impl Trap {
    /// What the handler's note means.
    fn new(caught: &Caught) -> Self {
        let location = locate(caught.pc);
        let code = location.as_ref().and_then(|location| location.trap);
        let bounds = Bounds::current();
        let overflow = match Bounds::overflowed(bounds, caught) {
            Overflow::Yes => true,
            Overflow::Perhaps => code.is_none() || code == Some(TrapCode::STACK_OVERFLOW),
            Overflow::No => false,
        };
        let (kind, code) = match caught.place {
            Place::TrapStub => (TrapKind::Unresolvable, None),
            Place::Door => (TrapKind::StackOverflow, Some(TrapCode::STACK_OVERFLOW)),
            Place::Nowhere => (TrapKind::WildCall, None),
            Place::Instruction if overflow => {
                (TrapKind::StackOverflow, Some(TrapCode::STACK_OVERFLOW))
            }
            Place::Instruction => match (code, caught.signal) {
                (Some(code), _) => (TrapKind::Code, Some(code)),
                (None, libc::SIGSEGV | libc::SIGBUS) => (TrapKind::Memory, None),
                (None, signal) => (TrapKind::Signal(signal), None),
            },
        };
        Self {
            kind,
            code,
            pc: caught.pc,
            address: caught.address,
            location,
        }
    }
}

/// Calls `function(first, second)`; a trap in generated code ends the call.
///
/// # Safety
/// Calling it is sound, it does not unwind, and the frames between this one and generated code own
/// nothing.
pub(crate) unsafe fn call_safely(
    function: Entered,
    first: usize,
    second: *mut u8,
) -> Result<(), Trap> {
    let (pins, sections) = (epoch::depth(), fork::depth());
    // SAFETY: the caller's contract.
    let called = unsafe { protect(function, first, second) };
    called.map_err(|caught| {
        // Those of the frames that were skipped.
        epoch::restore(pins);
        fork::restore(sections);
        Trap::new(&caught)
    })
}

/// What a callback works on: what it consumes, and what it leaves.
struct Exchange<I, O> {
    input: Option<I>,
    output: Option<O>,
}

/// Calls `callback` with `input`; a trap in generated code ends the call.
///
/// # Safety
/// `callback` does not unwind, and what its frames own when generated code traps may be lost.
unsafe fn exchange<I, O>(input: I, callback: fn(I) -> O) -> Result<Option<O>, Trap> {
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
    Ok(exchange.output)
}

/// Runs `body` and keeps its panic.
fn contained<R>(body: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(body))
}

impl<A: ClifArgs, R: ClifReturn> TypedFn<A, R> {
    /// Calls the function; a trap in generated code ends the call. Costs some nanoseconds more than
    /// [`TypedFn::call`].
    ///
    /// # Errors
    /// The trap.
    ///
    /// # Safety
    /// As for [`TypedFn::call`], but that the code may trap. If a host function in between calls generated
    /// code raw, and that traps, the host function's frame is skipped without running destructors.
    pub unsafe fn try_call(&self, args: A) -> Result<R, Trap> {
        let callback = |(function, args): (*const Self, A)| {
            // SAFETY: the pointer is to `self`; the rest is the caller's contract.
            unsafe { (*function).call_here(args) }
        };
        // SAFETY: the callback owns nothing but numbers; the rest is the caller's contract.
        let result = self.pinned(|| unsafe { exchange((&raw const *self, args), callback) })?;
        match result {
            Some(result) => Ok(result),
            // Without a trap, the callback has run to its end.
            None => std::process::abort(),
        }
    }
}

impl Engine {
    /// What is known of an address of this engine's code: function, unit, tier, source.
    ///
    /// For a return address, ask for the byte before. May be called in a signal handler, about the
    /// address at which the signal interrupted the thread; [`locate`] does the same for
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
            // SAFETY: panics are contained; the rest is the caller's contract.
            unsafe { exchange(body, contained) }
        };
        let result = self.inner.pinned(safely)?;
        match result {
            Some(Ok(result)) => Ok(result),
            Some(Err(payload)) => resume_unwind(payload),
            // Without a trap, the callback has run to its end.
            None => std::process::abort(),
        }
    }
}

#[cfg(test)]
mod tests;

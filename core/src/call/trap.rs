//! Traps of generated code as errors.
//!
//! A *safe call* is one that a trap ends: [`Engine::call`], [`TypedFn::try_call`], and what runs in
//! [`Engine::catch`]. On a trap in generated code, at whatever tier, it returns a [`Trap`]; the thread
//! and the engine go on working. Raw calls ([`TypedFn::call`], [`Engine::pointer`]) know nothing of
//! this: a trap in them is a signal, and a client that handles it can ask [`locate`](crate::location::locate).
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
//! Not here: the tables behind a location ([`crate::code::codemap`]), signals (`handler`), stacks (`thread`).

use crate::code::codemap::{CodeLocation, locate};
use cranelift_codegen::ir::TrapCode;
use regraft_executor::trap::{Fault, FaultKind};
use std::fmt;

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
    /// Another thread has ended the call ([`Interrupter`](crate::Interrupter)).
    Interrupted,
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
            TrapKind::Interrupted => f.write_str("interrupted")?,
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
    /// What a fault in generated code means.
    pub(crate) fn new(fault: &Fault) -> Self {
        Self::at(fault, locate(fault.pc))
    }

    /// What a fault in generated code means, which is at this location.
    pub(crate) fn at(fault: &Fault, location: Option<CodeLocation>) -> Self {
        let code = location.as_ref().and_then(|location| location.trap);
        let overflow = match fault.kind {
            FaultKind::StackOverflow => true,
            FaultKind::GuardPage => code.is_none() || code == Some(TrapCode::STACK_OVERFLOW),
            _ => false,
        };
        let (kind, code) = match fault.kind {
            FaultKind::Unresolvable => (TrapKind::Unresolvable, None),
            FaultKind::WildCall => (TrapKind::WildCall, None),
            FaultKind::Interrupted => (TrapKind::Interrupted, None),
            _ if overflow => (TrapKind::StackOverflow, Some(TrapCode::STACK_OVERFLOW)),
            _ => match code {
                Some(code) => (TrapKind::Code, Some(code)),
                None if fault.is_memory() => (TrapKind::Memory, None),
                None => (TrapKind::Signal(fault.signal), None),
            },
        };
        Self {
            kind,
            code,
            pc: fault.pc,
            address: fault.address,
            location,
        }
    }
}

#[cfg(test)]
mod tests;

//! Where generated code runs.
//!
//! All that must be in the process that runs generated code, and nothing else: it makes no code, and knows neither CLIF
//! nor a compiler.
//!
//! ```text
//!   arena    code memory in two views, data memory          slots    cells, stubs, what they lead to
//!   arch     stubs, entry thunks, trampoline, entry and landing    stacks   where the runtime works
//!   trap     a call that a trap ends                        ranges   what is generated code, for signal handlers
//!   epoch    who may be inside                              samples  where threads are seen
//!   fork     what a child process gets                      locks    taken so that a fork waits for them
//!   unwind   leaving frames for a handler of an exception
//!   session  what whoever makes code asks for               remote   the same, of another process
//! ```
//!
//! Invariants:
//!
//! * Who writes to code memory does it through a view that cannot be executed.
//! * All that changes for a running program is a word: [`slots`].
//!
//! Limitations: Linux on x86-64, AArch64 and RISC-V with 64 bits; on any other target the crate is empty.
//!
//! Not here: what is compiled, when, and why (the crate `regraft`).

#![deny(missing_docs)]
// As in the crate `regraft`, which needs nothing of this where it does not tier up.
#![cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]

mod address;
mod arch;
pub mod arena;
mod atomic;
pub mod clock;
pub mod countdown;
pub mod entry;
pub mod epoch;
pub mod errno;
pub mod executor;
pub mod fork;
pub mod locks;
pub mod priority;
pub mod ranges;
#[cfg(feature = "remote")]
pub mod remote;
pub mod samples;
pub mod section;
pub mod session;
mod signals;
pub mod slots;
pub mod stacks;
pub mod symbols;
pub mod trap;
pub mod unwind;

pub use address::ExecutorAddr;
pub use arch::{Entered, Interrupted};
pub use executor::Executor;

//! A code generator for CLIF that looks at each instruction once.
//!
//! It makes code for tier 0, where compile time counts: one template for each instruction, registers handed out on the
//! way, no intermediate form, no liveness, no optimisation beyond what a template sees of its operands. What it has no
//! template for it refuses as a whole function, with a reason; another code generator takes it then.
//!
//! ```text
//!   CLIF ── survey ──▶ uses, homes, pinned values ── lower ──▶ machine code
//!                                                     │  state: which register holds what
//!                                                     └  abi: where parameters and results are
//! ```
//!
//! Code of either generator calls code of the other: conventions, traps and source locations are Cranelift's.
//!
//! Limitations: x86-64 on Linux; scalars of at most 64 bits; no exceptions, stack maps, atomics that read and write, nor
//! functions that ask for their own frame. [`Refusal`] says which.
//!
//! Not here: placing and linking the code, and deciding which functions are compiled this way.
//!
//! Reference: H. Xu, F. Kjolstad, "Copy-and-Patch Compilation", OOPSLA 2021 (templates for each operation); C. Titzer,
//! "Whose Baseline Compiler Is It Anyway?", CGO 2024 (one pass, abstract state of registers).

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod abi;
mod asm;
mod lower;
mod probes;
mod refusal;
mod state;
mod survey;
mod target;

pub use lower::{Code, Frame, SymbolName, SymbolRef, compile};
pub use probes::{Copies, Countdown, Edge, FrameMap, Leave, LoopProbe, Probes, Site, TargetProbe};
pub use refusal::Refusal;
pub use target::Target;

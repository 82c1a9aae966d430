//! Why there is no code: the caller's other code generator takes the function then.

use cranelift_codegen::ir::{Opcode, Type};
use cranelift_codegen::isa::CallConv;

/// Why a function is left to another code generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There are no templates for the target's instruction set, or its settings.
    #[error("there are no templates for this target")]
    Target,
    /// A value's type: vectors, 128-bit integers, half and quadruple floats.
    #[error("there are no templates for values of type {0}")]
    Type(Type),
    /// An instruction.
    #[error("there is no template for {0}")]
    Opcode(Opcode),
    /// A calling convention.
    #[error("there are no templates for the calling convention {0}")]
    CallConv(CallConv),
    /// Parameters or results that are passed in memory, other than on the stack by value.
    #[error("parameters or results are passed in a way that there are no templates for")]
    Signature,
    /// A stack slot that is aligned more than the stack, or has no fixed size.
    #[error("a stack slot has an alignment or size that there are no templates for")]
    StackSlot,
    /// The code or its frame would be too large.
    #[error("the function is too large")]
    Size,
    /// CLIF that the verifier rejects.
    #[error("the function does not verify")]
    Malformed,
}

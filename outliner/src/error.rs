//! Why a region cannot be outlined.
//!
//! Three classes can be told apart with [`OutlineError::class`]: what the
//! input does that has no counterpart in a function of its own
//! ([`ErrorClass::Unsupported`]), what exceeds a limit ([`ErrorClass::Limit`]),
//! and what should never happen ([`ErrorClass::Bug`]).

use cranelift_codegen::ir::{Block, Inst, Opcode, Value};
use regraft_regions::{FlowError, RegionError};
use thiserror::Error;

/// How an [`OutlineError`] is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The region does something that only its own frame can do.
    Unsupported,
    /// The region or its interface is too large.
    Limit,
    /// A defect of this crate, or a function that the verifier would reject.
    Bug,
}

/// The reason why a region cannot be outlined.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutlineError {
    /// The instruction depends on the identity of the frame it runs in.
    #[error("{opcode} in {block} depends on the frame of the function that holds it")]
    FrameIdentity {
        /// The block that holds the instruction.
        block: Block,
        /// The instruction's opcode.
        opcode: Opcode,
    },
    /// `get_exception_handler_address` takes the address of a handler, which
    /// is good in one frame only.
    #[error("get_exception_handler_address is in {block}, or takes the address of a handler of it")]
    HandlerAddress {
        /// The block that holds the instruction, or the `try_call`.
        block: Block,
    },
    /// `stack_switch` leaves the stack that the region's frame lives on.
    #[error("stack_switch in {block} leaves the stack that holds the frame")]
    StackSwitch {
        /// The block that holds the instruction.
        block: Block,
    },
    /// A safepoint describes stack slots of the frame to a garbage collector.
    #[error("{inst} in {block} has a user stack map of slots in the frame that holds it")]
    UserStackMap {
        /// The block that holds the instruction.
        block: Block,
        /// The safepoint.
        inst: Inst,
    },
    /// A debug tag names a stack slot of the frame.
    #[error("{inst} in {block} has a debug tag that names a stack slot of the frame")]
    DebugTagOfSlot {
        /// The block that holds the instruction.
        block: Block,
        /// The tagged instruction.
        inst: Inst,
    },
    /// A value of a dynamic vector type would have to cross the boundary.
    #[error("{value}, of a dynamic vector type, would have to be passed to or from the region")]
    DynamicVector {
        /// The live-in or live-out.
        value: Value,
    },
    /// A memory access flag set of the target function is full.
    #[error("more than 65534 different sets of memory flags")]
    TooManyMemFlags,
    /// The interface has more values than a call can carry.
    #[error("{values} values would have to be passed (the limit is {limit})")]
    InterfaceTooLarge {
        /// Live-ins plus results.
        values: usize,
        /// The limit.
        limit: usize,
    },
    /// The loop has too many levels of loops in it to be worth a hook.
    #[error("it has {levels} levels of loops, and the limit is {limit}")]
    TooDeep {
        /// How many it has, itself included.
        levels: u32,
        /// The limit.
        limit: u32,
    },
    /// The set of blocks is not a legal region.
    #[error("not a legal region: {0}")]
    Region(#[from] RegionError),
    /// The function has no control flow that could be analysed.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A value is used that no definition reaches.
    #[error("{value} is used in {block}, where no definition of it reaches")]
    UndefinedValue {
        /// The value.
        value: Value,
        /// The block of the use.
        block: Block,
    },
    /// A block has no terminator, or an entity of the source is missing.
    #[error("malformed function: {0}")]
    Malformed(&'static str),
}

impl OutlineError {
    /// Tells unsupported input, exceeded limits and defects apart.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::FrameIdentity { .. }
            | Self::HandlerAddress { .. }
            | Self::StackSwitch { .. }
            | Self::UserStackMap { .. }
            | Self::DebugTagOfSlot { .. }
            | Self::DynamicVector { .. }
            | Self::Region(_) => ErrorClass::Unsupported,
            Self::TooManyMemFlags | Self::InterfaceTooLarge { .. } | Self::TooDeep { .. } => {
                ErrorClass::Limit
            }
            Self::Flow(_) | Self::UndefinedValue { .. } | Self::Malformed(_) => ErrorClass::Bug,
        }
    }

    /// A short stable name of the reason, for reports and counts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FrameIdentity { .. } => "frame-identity",
            Self::HandlerAddress { .. } => "handler-address",
            Self::StackSwitch { .. } => "stack-switch",
            Self::UserStackMap { .. } => "user-stack-map",
            Self::DebugTagOfSlot { .. } => "debug-tag-of-slot",
            Self::DynamicVector { .. } => "dynamic-vector",
            Self::TooManyMemFlags => "too-many-mem-flags",
            Self::InterfaceTooLarge { .. } => "interface-too-large",
            Self::TooDeep { .. } => "too-deep",
            Self::Region(_) => "illegal-region",
            Self::Flow(_) => "no-control-flow",
            Self::UndefinedValue { .. } => "undefined-value",
            Self::Malformed(_) => "malformed",
        }
    }
}

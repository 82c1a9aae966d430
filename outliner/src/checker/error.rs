//! What the checker found wrong.
//!
//! Purpose: every variant names the entities that disagree. `source` entities
//! belong to the source function, `outlined` ones to the function under test,
//! which may be an outlined function, a continuation or a residual.
//!
//! Not here: the proof that finds them.

use cranelift_codegen::ir::{
    Block, BlockArg, DynamicStackSlot, GlobalValue, Inst, StackSlot, Type, Value,
};
use std::fmt;
use thiserror::Error;

/// What a value of the function under test stands for in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The latest value of this (resolved) source value.
    Value(Value),
    /// An address in a stack slot of the source's frame.
    Slot {
        /// The slot.
        slot: StackSlot,
        /// The distance from its start, in bytes.
        offset: i64,
        /// The type of the address.
        ty: Type,
    },
    /// The address of a dynamic stack slot of the source's frame.
    DynamicSlot {
        /// The slot.
        slot: DynamicStackSlot,
        /// The type of the address.
        ty: Type,
    },
    /// Return value *i* of the `try_call` whose edge is being taken.
    TryCallRet(u32),
    /// Exception payload *i* of the `try_call` whose edge is being taken.
    TryCallExn(u32),
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value}"),
            Self::Slot { slot, offset, .. } => write!(f, "the address of {slot}{offset:+}"),
            Self::DynamicSlot { slot, .. } => write!(f, "the address of {slot}"),
            Self::TryCallRet(i) => write!(f, "return value {i} of the call on this edge"),
            Self::TryCallExn(i) => write!(f, "exception payload {i} of the call on this edge"),
        }
    }
}

/// Where in the function under test a value is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Operand of an instruction.
    Operand {
        /// The instruction.
        outlined: Inst,
        /// Position among its operands.
        index: usize,
    },
    /// Context value of an exception table.
    Context {
        /// The `try_call`.
        outlined: Inst,
        /// Position among the context values.
        index: usize,
    },
    /// Argument of a branch.
    Argument {
        /// The branch.
        outlined: Inst,
        /// Position among its destinations.
        destination: usize,
        /// Position among the arguments.
        index: usize,
    },
    /// Result of the outlined function.
    Result {
        /// The natural exit that returns.
        exit: u32,
        /// Position among the results.
        result: usize,
    },
    /// Argument of the tail call to a continuation.
    SideExit {
        /// The side exit.
        number: u32,
        /// Position among the arguments.
        index: usize,
    },
    /// Argument of a continuation's tail call back to the region.
    Reentry {
        /// Position among the arguments.
        index: usize,
    },
    /// Argument of the residual's call of the region.
    RegionCall {
        /// Position among the arguments.
        index: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operand { outlined, index } => write!(f, "operand {index} of {outlined}"),
            Self::Context { outlined, index } => write!(f, "context {index} of {outlined}"),
            Self::Argument {
                outlined,
                destination,
                index,
            } => write!(
                f,
                "argument {index} of destination {destination} of {outlined}"
            ),
            Self::Result { exit, result } => write!(f, "result {result} at exit {exit}"),
            Self::SideExit { number, index } => {
                write!(f, "argument {index} of side exit {number}")
            }
            Self::Reentry { index } => write!(f, "argument {index} of the call back to the region"),
            Self::RegionCall { index } => write!(f, "argument {index} of the call of the region"),
        }
    }
}

/// Why a function does not do what the source does.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The function under test or the source has no body, or a block has no terminator.
    #[error("malformed function: {0}")]
    Malformed(&'static str),
    /// The interface names another region than the one given.
    #[error("the interface is not one of this region: {0}")]
    WrongInterface(&'static str),
    /// A parameter of the interface claims what it cannot carry.
    #[error("parameter {index} of the interface cannot carry what it claims")]
    WrongParam {
        /// Position among the parameters.
        index: usize,
    },
    /// A live-out of the interface names no fitting result or value.
    #[error("exit {exit} claims a live-out for result {result} that the result cannot carry")]
    WrongLiveOut {
        /// The natural exit.
        exit: u32,
        /// The result.
        result: usize,
    },
    /// A value that is used after an exit is not among its live-outs.
    #[error("exit {exit} does not carry {value}, which is used after it")]
    MissingLiveOut {
        /// The natural exit.
        exit: u32,
        /// What is missing.
        value: Meaning,
    },
    /// The signature is not the one that the interface or the source asks for.
    #[error("the signature of the function is wrong")]
    WrongSignature,
    /// The stack limit is not the source's.
    #[error("the stack limit is not the one of the source")]
    WrongStackLimit,
    /// An instruction was replaced by another one.
    #[error("{outlined} has another opcode than {source_inst}")]
    WrongOpcode {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// An immediate, condition code, offset or trap code was changed.
    #[error("{outlined} has another immediate than {source_inst}")]
    WrongImmediate {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// Operands or results differ in number or type.
    #[error("{outlined} has operands or results of other types than {source_inst}")]
    WrongType {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The memory flags (trap code, endianness, assumptions) differ.
    #[error("{outlined} has other memory flags than {source_inst}")]
    WrongMemFlags {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The alias regions differ.
    #[error("{outlined} accesses another alias region than {source_inst}")]
    WrongAliasRegion {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The callee, its signature or its linkage differ.
    #[error("{outlined} calls another function, or in another way, than {source_inst}")]
    WrongCallee {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The contents of a constant or of a shuffle mask differ.
    #[error("{outlined} names another constant than {source_inst}")]
    WrongConstant {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The definition of a global value differs.
    #[error("{outlined} names another global value than {source_inst}")]
    WrongGlobalValue {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// A stack slot of the frame differs.
    #[error("{outlined} names another stack slot than {source_inst}")]
    WrongSlot {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The clauses of an exception table differ.
    #[error("{outlined} has other exception clauses than {source_inst}")]
    WrongExceptionTable {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The source locations differ.
    #[error("{outlined} has another source location than {source_inst}")]
    WrongSourceLocation {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The debug tags differ.
    #[error("{outlined} has other debug tags than {source_inst}")]
    WrongDebugTags {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The user stack maps differ.
    #[error("{outlined} has another user stack map than {source_inst}")]
    WrongStackMap {
        /// The source's instruction.
        source_inst: Inst,
        /// The instruction in its place.
        outlined: Inst,
    },
    /// The block under test ends before the source's block does.
    #[error("{source_inst} has no counterpart in {block}")]
    MissingInstruction {
        /// The source's instruction.
        source_inst: Inst,
        /// The block that should hold its copy.
        block: Block,
    },
    /// The source has no such instruction there.
    #[error("{outlined} has no counterpart in the source")]
    ExtraInstruction {
        /// The instruction under test.
        outlined: Inst,
    },
    /// The parameters of a block do not begin with those of its source.
    #[error("the parameters of {outlined} do not begin with those of {source_block}")]
    WrongBlockParams {
        /// The source's block.
        source_block: Block,
        /// Its copy.
        outlined: Block,
    },
    /// One block is marked cold and the other is not.
    #[error("only one of {source_block} and its copy {outlined} is cold")]
    WrongColdness {
        /// The source's block.
        source_block: Block,
        /// Its copy.
        outlined: Block,
    },
    /// Edges to one source block go to two blocks.
    #[error("{source_block} has two copies, {first} and {second}")]
    TwoCopies {
        /// The source's block.
        source_block: Block,
        /// Its first copy.
        first: Block,
        /// Its second copy.
        second: Block,
    },
    /// A block serves two purposes.
    #[error("{outlined} stands for two blocks or exits of the source")]
    TwoMeanings {
        /// The block under test.
        outlined: Block,
    },
    /// The number of destinations, or of arguments of one of them, differs.
    #[error("{outlined} has another number of destinations or arguments")]
    WrongBranch {
        /// The branch.
        outlined: Inst,
    },
    /// A value does not hold what the source's value holds there.
    #[error("{place} should be {expected}, and {found} never is")]
    WrongOperand {
        /// The use.
        place: Place,
        /// What the source uses.
        expected: Meaning,
        /// What is used.
        found: BlockArg,
    },
    /// A value held what the source's value held, but the source defined it anew since.
    #[error("{place} should be {expected}, of which {found} may hold an earlier value")]
    StaleOperand {
        /// The use.
        place: Place,
        /// What the source uses.
        expected: Meaning,
        /// What is used.
        found: Value,
    },
    /// An edge that the region does not number leaves the scope.
    #[error("{from} leaves the scope by destination {destination}, which has no exit number")]
    UnnumberedExit {
        /// The source's block.
        from: Block,
        /// Position among the destinations of its terminator.
        destination: usize,
    },
    /// An exit does not return its number and as many results as the interface says.
    #[error("{outlined} does not leave by exit {number} as the interface says")]
    WrongExit {
        /// The natural exit.
        number: u32,
        /// The instruction that should leave.
        outlined: Inst,
    },
    /// A side exit does not tail-call its continuation.
    #[error("{outlined} does not tail-call the continuation of side exit {number}")]
    WrongSideExit {
        /// The side exit.
        number: u32,
        /// The instruction that should leave.
        outlined: Inst,
    },
    /// A table of side exits does not do what the code did that it replaces.
    #[error("the table {table} of side exits is wrong: {what}")]
    WrongSideTable {
        /// The table's symbol.
        table: GlobalValue,
        /// What is wrong.
        what: &'static str,
    },
    /// A continuation does not tail-call the region where it comes to its entry again.
    #[error("{outlined} does not tail-call the region")]
    WrongReentry {
        /// The instruction that should leave.
        outlined: Inst,
    },
    /// There is no such side exit.
    #[error("the region has no side exit {number}")]
    NoSideExit {
        /// The number asked for.
        number: u32,
    },
    /// The residual does not call the region as the interface says.
    #[error("{outlined} is not the call of the region")]
    WrongRegionCall {
        /// The instruction found.
        outlined: Inst,
    },
    /// The residual does not dispatch on the exit number.
    #[error("{outlined} does not send exit {number} to a block of its own")]
    WrongDispatch {
        /// The natural exit.
        number: u32,
        /// The instruction found.
        outlined: Inst,
    },
}

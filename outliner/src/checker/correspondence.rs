//! The words in which the walk and the proof speak: what a block or a value of
//! the function under test is for, and which uses have to be shown right.
//!
//! Not here: how they are found (`walk`, `exits`, `residual`) and used (`proof`).

use super::error::{Meaning, Place};
use cranelift_codegen::ir::{Block, BlockArg, FuncRef, Inst, UserFuncName, Value};

/// Which of the three functions is under test.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    /// The outlined function; which function references are continuations.
    Region(&'a [(u32, FuncRef)]),
    /// A continuation; which function references are the region.
    Continuation(&'a [FuncRef]),
    /// The residual; the name of the region.
    Residual(&'a UserFuncName),
}

/// What a block of the function under test is for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// Not reached yet.
    #[default]
    Unknown,
    /// The copy of a source block.
    Copy,
    /// Made for the interface.
    Glue,
    /// In a residual: what follows the call for this natural exit.
    Exit(u32),
}

/// What a value of the function under test is by construction.
#[derive(Clone, Copy, Default)]
pub(super) enum Binding {
    /// Nothing of the source.
    #[default]
    Unknown,
    /// The counterpart of a definition: in step with it for ever.
    Definition(Meaning),
    /// A parameter that has this meaning when control enters the function or,
    /// in a residual, the region.
    Entry(Meaning),
    /// A block parameter that the source does not have.
    Extra {
        /// Its position.
        index: usize,
    },
    /// The parameter of a glue block: what its one edge passes.
    Edge(BlockArg),
    /// The result of the region call with this index.
    Result(usize),
    /// A constant of a glue block, made by this instruction.
    Constant(Inst),
}

/// A point in the function under test.
#[derive(Clone, Copy)]
pub(super) struct Point {
    /// The block.
    pub block: Block,
    /// In a copy: the source's instruction that is being matched.
    pub inst: Option<Inst>,
}

/// A use that has to be shown right.
#[derive(Clone, Copy)]
pub(super) struct Obligation {
    pub found: Value,
    pub expected: Meaning,
    pub point: Point,
    pub place: Place,
}

/// An edge of the function under test.
#[derive(Clone, Copy)]
pub(super) struct Incoming {
    pub from: Point,
    pub inst: Inst,
    pub destination: usize,
}

//! Why a compilation failed.

use crate::code::link::LinkError;
use regraft_executor::arena::ArenaError;
use regraft_executor::slots::SlotError;
use thiserror::Error;

/// Why a compilation failed. The unit keeps its current version.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The code generator rejected the function.
    #[error("the code generator refused it: {0}")]
    Codegen(String),
    /// The code generator panicked, at a construct that its backend lacks; or regraft did, a defect.
    #[error("the compiler panicked: {0}")]
    Panic(String),
    /// The machine code could not be placed.
    #[error("{0}")]
    Link(String),
    /// Instrumentation or outlining failed: a defect.
    #[error("{0}")]
    Transform(String),
    /// The failure was asked for by `Config::faults`.
    #[error("injected failure: {0:?}")]
    Injected(crate::config::faults::Stage),
    /// What regraft generated does not pass a check: a defect.
    #[error("the generated code does not pass its check: {0}")]
    Check(String),
    /// The engine was shut down while the code generator waited for a processor, at a low priority.
    #[error("the engine was shut down before the code generator had a processor")]
    Stopped,
    /// The function was redefined or removed before its first version was compiled.
    #[error("the function was redefined or removed while it was compiled")]
    Replaced,
    /// There is no memory for the counters or slots of the function.
    #[error("{0}")]
    Memory(String),
}

impl From<LinkError> for CompileError {
    fn from(error: LinkError) -> Self {
        Self::Link(error.to_string())
    }
}

impl From<regraft_outliner::OutlineError> for CompileError {
    fn from(error: regraft_outliner::OutlineError) -> Self {
        Self::Transform(error.to_string())
    }
}

impl From<ArenaError> for CompileError {
    fn from(error: ArenaError) -> Self {
        Self::Memory(error.to_string())
    }
}

impl From<SlotError> for CompileError {
    fn from(error: SlotError) -> Self {
        Self::Memory(error.to_string())
    }
}

//! Why a compilation failed.

use crate::code::link::LinkError;
use crate::config::faults::Stage;
use cranelift_codegen::CodegenError;
use cranelift_codegen::verifier::VerifierErrors;
use regraft_executor::arena::ArenaError;
use regraft_executor::slots::SlotError;
use regraft_outliner::{CheckError, OutlineError};
use regraft_regions::RegionError;
use std::sync::Arc;
use thiserror::Error;

/// Why a compilation failed. The unit keeps its current version.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The code generator rejected the function.
    #[error("the code generator refused it: {text}")]
    Codegen {
        /// What it said, with the function where that helps.
        text: String,
        /// What it said.
        #[source]
        source: Arc<CodegenError>,
    },
    /// The code generator panicked, at a construct that its backend lacks; or regraft did, a defect.
    #[error("the compiler panicked: {0}")]
    Panic(String),
    /// The machine code could not be placed.
    #[error(transparent)]
    Link(Arc<LinkError>),
    /// Instrumentation or outlining failed: a defect.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// The failure was asked for by `Config::faults`.
    #[error("injected failure: {0:?}")]
    Injected(Stage),
    /// What regraft generated does not pass a check: a defect.
    #[error("the generated code does not pass its check: {0}")]
    Check(#[from] CheckFailure),
    /// The engine was shut down while the code generator waited for a processor, at a low priority.
    #[error("the engine was shut down before the code generator had a processor")]
    Stopped,
    /// The function was redefined or removed before its first version was compiled.
    #[error("the function was redefined or removed while it was compiled")]
    Replaced,
    /// There is no memory for the code, the counters or the slots of the function.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Why instrumentation or outlining failed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The outliner refused what had been accepted.
    #[error(transparent)]
    Outline(#[from] OutlineError),
    /// A region is not legal.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Something is not there that was made before.
    #[error("there is no {what}")]
    Missing {
        /// What it is.
        what: &'static str,
    },
}

/// What does not pass a check.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CheckFailure {
    /// What goes to the code generator does not verify.
    #[error("{0}")]
    Verifier(#[source] Arc<VerifierErrors>),
    /// Outlined code is not equal to its source.
    #[error(transparent)]
    Outlined(#[from] CheckError),
    /// What the passes made does not verify.
    #[error("optimized: {0}")]
    Optimized(#[source] Arc<VerifierErrors>),
    /// A pass failed or panicked, as it says.
    #[error("{0}")]
    Pass(String),
}

/// Where there is no memory.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// What is left of code memory is kept for continuations, which running code waits for.
    #[error("code memory is full: {free} bytes are left, kept for continuations")]
    Reserve {
        /// Bytes that are left.
        free: usize,
    },
    /// All numbers of units were given.
    #[error("the unit table is full")]
    Units,
    /// Code or data memory is full, or the system refused.
    #[error(transparent)]
    Arena(Arc<ArenaError>),
    /// There is no slot.
    #[error(transparent)]
    Slot(Arc<SlotError>),
}

impl From<LinkError> for CompileError {
    fn from(error: LinkError) -> Self {
        Self::Link(Arc::new(error))
    }
}

impl From<OutlineError> for CompileError {
    fn from(error: OutlineError) -> Self {
        Self::Transform(error.into())
    }
}

impl From<RegionError> for CompileError {
    fn from(error: RegionError) -> Self {
        Self::Transform(error.into())
    }
}

impl From<CheckError> for CompileError {
    fn from(error: CheckError) -> Self {
        Self::Check(error.into())
    }
}

impl From<ArenaError> for CompileError {
    fn from(error: ArenaError) -> Self {
        Self::Memory(MemoryError::Arena(Arc::new(error)))
    }
}

impl From<SlotError> for CompileError {
    fn from(error: SlotError) -> Self {
        Self::Memory(MemoryError::Slot(Arc::new(error)))
    }
}

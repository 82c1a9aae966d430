//! What can go wrong, for the client.

use crate::call::invoke::InvokeError;
use crate::call::trap::Trap;
use crate::call::typed::SignatureMismatch;
use crate::code::isa::IsaError;
use crate::code::link::LinkError;
use cranelift_codegen::ir::Signature;
use regraft_executor::arena::ArenaError;
use regraft_executor::slots::SlotError;
use regraft_symbols::ToolError;
use thiserror::Error;

/// An error of the engine. Every variant names what it is about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The target or a setting is not usable.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// A tool cannot be served that `Config::observe` names.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Background compilation needs a thread at least: `Config::workers` is 0.
    #[error("compilation in the background needs at least one worker")]
    NoWorkers,
    /// Code or data memory cannot be had.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A slot cannot be had.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The function does not pass Cranelift's verifier.
    #[error("function {function} does not verify:\n{errors}")]
    Verifier {
        /// The function's name.
        function: String,
        /// The verifier's messages, one a line.
        errors: String,
    },
    /// The function has been defined already.
    #[error("function {function} is defined already")]
    DuplicateDefinition {
        /// The function's name.
        function: String,
    },
    /// A declaration and an earlier one, or a definition, disagree.
    #[error("function {function} is declared as {declared} but used or defined as {found}")]
    IncompatibleSignature {
        /// The function's name.
        function: String,
        /// The signature it was declared with.
        declared: Box<Signature>,
        /// The other one.
        found: Box<Signature>,
    },
    /// A function is called that nobody defined or registered.
    #[error("{referenced_by} needs {name}, which is neither defined nor a registered symbol")]
    UndefinedSymbol {
        /// The missing name.
        name: String,
        /// Who needs it.
        referenced_by: String,
    },
    /// The number does not belong to a function of this engine.
    #[error("there is no function {index} in this engine{}", referrer(.referenced_by))]
    UnknownFunction {
        /// The number.
        index: u32,
        /// The function that refers to it, if one does.
        referenced_by: Option<String>,
    },
    /// All numbers for functions, regions and continuations were given, 2³² in the life of an engine.
    #[error("the engine has no numbers left for functions and regions")]
    TooManyUnits,
    /// Compilation failed.
    #[error("function {function}: {source}")]
    Compile {
        /// The function's name.
        function: String,
        /// Why.
        #[source]
        source: CompileError,
    },
    /// The types of a typed callable are not those of the function.
    #[error("function {function}: {source}")]
    Typed {
        /// The function's name.
        function: String,
        /// The difference.
        #[source]
        source: SignatureMismatch,
    },
    /// A call with values failed before it began.
    #[error("call of {function}: {source}")]
    Invoke {
        /// The function's name.
        function: String,
        /// Why.
        #[source]
        source: InvokeError,
    },
    /// Generated code trapped in a safe call.
    #[error(transparent)]
    Trap(Box<Trap>),
    /// A saved profile cannot be read.
    #[error(transparent)]
    Profile(#[from] regraft_regions::ProfileError),
}

fn referrer(name: &Option<String>) -> String {
    let name = name.as_deref();
    name.map(|name| format!(", but {name} refers to it"))
        .unwrap_or_default()
}

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

//! What can go wrong, for the client.

pub use crate::call::invoke::InvokeError;
pub use crate::call::mismatch::SignatureMismatch;
use crate::call::trap::Trap;
pub use crate::code::error::{CheckFailure, CompileError, MemoryError, TransformError};
pub use crate::code::isa::IsaError;
pub use crate::code::link::LinkError;
use cranelift_codegen::ir::Signature;
use cranelift_codegen::verifier::VerifierErrors;
pub use regraft_executor::arena::ArenaError;
use regraft_executor::executor::SessionError;
pub use regraft_executor::session::ExecutorError;
pub use regraft_executor::slots::SlotError;
pub use regraft_symbols::ToolError;
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
    /// What later runs are to start with cannot be written.
    #[error("a warm start cannot be saved in {}: {source}", directory.display())]
    WarmStart {
        /// The folder.
        directory: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The function does not pass Cranelift's verifier.
    #[error("function {function} does not verify:\n{errors}")]
    Verifier {
        /// The function's name.
        function: String,
        /// What it said, one message a line.
        #[source]
        errors: Box<VerifierErrors>,
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
    /// The executor cannot be had, does not answer any more, or cannot do what was asked for.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A saved profile cannot be read.
    #[error(transparent)]
    Profile(#[from] regraft_regions::ProfileError),
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Executor(error) => Self::Executor(error),
            SessionError::Arena(error) => Self::Arena(error),
        }
    }
}

fn referrer(name: &Option<String>) -> String {
    let name = name.as_deref();
    name.map(|name| format!(", but {name} refers to it"))
        .unwrap_or_default()
}

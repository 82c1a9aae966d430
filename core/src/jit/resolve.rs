//! Why a name has no address.

use cranelift_codegen::binemit::CodeOffset;
use cranelift_codegen::ir::LibCall;
use cranelift_module::ModuleError;
use thiserror::Error;

/// Why something that a module refers to cannot be resolved. Found behind
/// [`ModuleError::Backend`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It is declared, but neither defined nor a symbol of the host.
    #[error("can't resolve symbol {name}")]
    Symbol {
        /// Its name.
        name: String,
    },
    /// It has no name, and is not defined.
    #[error("anonymous symbol must be defined locally: {name}")]
    Anonymous {
        /// The name that stands for it.
        name: String,
    },
    /// No function of the host does what Cranelift needs.
    #[error("can't resolve libcall {name} ({libcall})")]
    Libcall {
        /// What is needed.
        libcall: LibCall,
        /// What the client calls it.
        name: String,
    },
    /// The module has no such function or data object.
    #[error("invalid name {name}")]
    Undeclared {
        /// The name as CLIF prints it.
        name: String,
    },
    /// A data object would get an address outside of itself, or one that is no address.
    #[error("the address of {name} with addend {addend} does not fit at offset {offset}")]
    OutOfRange {
        /// The name as CLIF prints it.
        name: String,
        /// Where in the object.
        offset: CodeOffset,
        /// What is added to the address.
        addend: i64,
    },
}

impl From<ResolveError> for ModuleError {
    fn from(error: ResolveError) -> Self {
        Self::Backend(error.into())
    }
}

//! What can go wrong: one type for all of it.
//!
//! A refusal names the proposal that a module needs; a trap says what WebAssembly calls it; everything
//! else says what was wrong with what was asked for.

use crate::exceptions::Thrown;
use cranelift_codegen::ir::TrapCode;
use std::fmt;
use thiserror::Error;

/// Why a module was not loaded or linked, or a call did not return.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no valid WebAssembly module.
    #[error("the module is not valid: {message} (at byte {offset:#x})")]
    Invalid {
        /// What the validator says.
        message: String,
        /// Where.
        offset: u64,
    },
    /// The module is valid but needs something that is not supported.
    #[error("the module needs something that is not supported: {what}")]
    Unsupported {
        /// The proposal or feature, by name.
        what: String,
    },
    /// Something is larger than this implementation takes.
    #[error("{what}: {found} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The largest that is taken.
        limit: u64,
    },
    /// An import was not provided.
    #[error("nothing is known of the import {module}.{name} ({wanted})")]
    UnknownImport {
        /// The module that it is imported from.
        module: String,
        /// Its name.
        name: String,
        /// Its type.
        wanted: String,
    },
    /// What was provided for an import has another type.
    #[error("the import {module}.{name} should be a {wanted}, but is a {found}")]
    IncompatibleImport {
        /// The module that it is imported from.
        module: String,
        /// Its name.
        name: String,
        /// The type that the module asks for.
        wanted: String,
        /// The type of what was provided.
        found: String,
    },
    /// A value or an import belongs to another store.
    #[error("{what} belongs to another store")]
    OtherStore {
        /// What.
        what: &'static str,
    },
    /// There is no export of this name and kind.
    #[error("there is no exported {kind} {name}")]
    NoExport {
        /// The kind: function, memory, …
        kind: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// The arguments of a call are not those of its type.
    #[error("arguments ({found}) do not fit a function {wanted}")]
    Arguments {
        /// The types of the arguments.
        found: String,
        /// The type of the function.
        wanted: String,
    },
    /// A value cannot be set: the global is not mutable, or of another type.
    #[error("a global of type {wanted} cannot be set to {found}")]
    SetGlobal {
        /// The type of the global.
        wanted: String,
        /// The value.
        found: String,
    },
    /// An access from the host lies outside of the memory.
    #[error("{length} bytes at {offset:#x} are not inside of a memory of {size} bytes")]
    MemoryAccess {
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
        /// The size of the memory.
        size: u64,
    },
    /// The operating system has no address space for a memory or table.
    #[error("address space cannot be reserved for {what}")]
    Reserve {
        /// What it was for.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// WebAssembly trapped.
    #[error("{0}")]
    Trap(Trap),
    /// An exception that nobody handles came out of WebAssembly; returned by a function of the host, it is thrown on.
    #[error("{0}")]
    Exception(Thrown),
    /// Another thread has interrupted the call (`regraft::Interrupter`).
    #[error("the program was interrupted{}", location.as_ref().map_or_else(String::new, |at| format!(" at {at}")))]
    Interrupted {
        /// Where, as the engine says it.
        location: Option<String>,
    },
    /// The program asked to end.
    #[error("the program exited with status {0}")]
    Exit(u32),
    /// A function of the host failed.
    #[error("{0}")]
    Host(String),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] regraft::Error),
    /// Generated code is missing or misbehaved: a defect.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<wasmparser::Error> for Error {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid {
            message: error.message().to_string(),
            offset: error.offset(),
        }
    }
}

/// A trap of WebAssembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// What happened.
    pub kind: TrapKind,
    /// Where, as the engine says it; unknown for traps in instantiation.
    pub location: Option<String>,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "trap: {} at {location}", self.kind),
            None => write!(f, "trap: {}", self.kind),
        }
    }
}

impl From<TrapKind> for Error {
    fn from(kind: TrapKind) -> Self {
        Self::Trap(Trap {
            kind,
            location: None,
        })
    }
}

/// What kind of trap; displayed in the words of the specification's tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrapKind {
    /// The `unreachable` instruction.
    Unreachable,
    /// A memory access or bulk operation outside of a memory.
    MemoryOutOfBounds,
    /// A table access or bulk operation outside of a table.
    TableOutOfBounds,
    /// An indirect call with an index outside of the table.
    UndefinedElement,
    /// An indirect call of a null element.
    UninitializedElement,
    /// An indirect call of a function of another type.
    IndirectCallType,
    /// Integer division by zero.
    DivisionByZero,
    /// An integer result that cannot be represented.
    IntegerOverflow,
    /// A float that is no number converted to an integer.
    BadConversion,
    /// The stack is used up.
    StackOverflow,
    /// Throwing a null reference to an exception.
    NullException,
}

/// Trap codes of generated code that Cranelift has no name for.
pub(crate) mod codes {
    use super::TrapCode;

    pub const UNREACHABLE: TrapCode = TrapCode::unwrap_user(1);
    pub const TABLE_OUT_OF_BOUNDS: TrapCode = TrapCode::unwrap_user(2);
    pub const UNDEFINED_ELEMENT: TrapCode = TrapCode::unwrap_user(3);
    pub const UNINITIALIZED_ELEMENT: TrapCode = TrapCode::unwrap_user(4);
    pub const INDIRECT_CALL_TYPE: TrapCode = TrapCode::unwrap_user(5);
    /// A function of the host failed; the store knows why.
    pub const HOST: TrapCode = TrapCode::unwrap_user(6);
    pub const NULL_EXCEPTION: TrapCode = TrapCode::unwrap_user(7);
}

impl TrapKind {
    /// What a trap code means; nothing for codes that WebAssembly does not produce.
    pub(crate) fn from_code(code: TrapCode) -> Option<Self> {
        Some(match code {
            codes::UNREACHABLE => Self::Unreachable,
            codes::TABLE_OUT_OF_BOUNDS => Self::TableOutOfBounds,
            codes::UNDEFINED_ELEMENT => Self::UndefinedElement,
            codes::UNINITIALIZED_ELEMENT => Self::UninitializedElement,
            codes::INDIRECT_CALL_TYPE => Self::IndirectCallType,
            codes::NULL_EXCEPTION => Self::NullException,
            TrapCode::HEAP_OUT_OF_BOUNDS => Self::MemoryOutOfBounds,
            TrapCode::INTEGER_DIVISION_BY_ZERO => Self::DivisionByZero,
            TrapCode::INTEGER_OVERFLOW => Self::IntegerOverflow,
            TrapCode::BAD_CONVERSION_TO_INTEGER => Self::BadConversion,
            TrapCode::STACK_OVERFLOW => Self::StackOverflow,
            _ => return None,
        })
    }
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable",
            Self::MemoryOutOfBounds => "out of bounds memory access",
            Self::TableOutOfBounds => "out of bounds table access",
            Self::UndefinedElement => "undefined element",
            Self::UninitializedElement => "uninitialized element",
            Self::IndirectCallType => "indirect call type mismatch",
            Self::DivisionByZero => "integer divide by zero",
            Self::IntegerOverflow => "integer overflow",
            Self::BadConversion => "invalid conversion to integer",
            Self::StackOverflow => "call stack exhausted",
            Self::NullException => "null exception reference",
        })
    }
}
